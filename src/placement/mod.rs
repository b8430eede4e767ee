//! Who leads, who coordinates, which node id an agent has and in which zone a client is. No I/O and no clock: each is
//! a function of a snapshot and a request. All but the turns of the round robin are the same on every replica.
//!
//! The functions are public contracts with fixed test vectors (docs/kafka.md), so that others can compute them too.

pub mod cidr;
pub mod client_zone;
pub mod coordinator;
pub mod hash;
pub mod hints;
pub mod node_id;
pub mod rendezvous;
pub mod roster;
pub mod selection;
pub mod strategy;
pub mod turns;

pub use cidr::CidrMap;
pub use client_zone::{ClientZone, Origin, ZoneRules};
pub use hints::Hints;
pub use roster::{Broker, Roster};
pub use selection::{Client, Fallbacks, Outcome, Selection};
pub use strategy::{Balance, Leaders, Rules, Scope, Strategy};
pub use turns::{Bounds, Placement};
