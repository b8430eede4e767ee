//! The DNS front: authoritative answers for the zones that are delegated to us.
//!
//! A packet is judged ([`wire`]), answered ([`answer`]: pure, read it first) and written down ([`render`]);
//! [`respond`] strings these together and is the one path for every transport ([`udp`], [`tcp`]). Static data comes
//! from [`zone_file`]s, is checked by [`zones`] and answered from a [`tree`]; [`dnssec`] signs what was written.
//! [`Server`] binds and runs it all, and [`Live`] is how a reload exchanges what it answers from.

pub mod answer;
pub(crate) mod base64;
pub mod cookies;
pub mod dnssec;
pub mod edns;
pub mod encrypted;
#[cfg(test)]
mod hostile;
pub mod limiter;
mod live;
pub mod names;
pub mod policy;
pub mod render;
pub mod respond;
pub mod server;
pub mod subnet;
pub mod tcp;
pub mod transfer;
pub mod tree;
pub mod tsig;
pub mod udp;
pub mod wire;
pub mod zone_file;
pub mod zones;

pub use answer::{Access, Empty, Rules};
pub use live::Live;
pub use policy::Policy;
pub use respond::Responder;
pub use server::{Error, Server, Settings};
pub use zone_file::Problem;
pub use zones::{ZoneSettings, Zones};
