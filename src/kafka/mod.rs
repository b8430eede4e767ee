//! The Kafka front: discovery APIs answered from the snapshot, for one group per connection. docs/kafka.md has every
//! API, version and rule. Read [`service`] first: bytes of a request in, bytes of its reply out, no I/O.

pub mod api;
#[cfg(test)]
mod battery;
pub mod connection;
pub mod frame;
pub mod gateway;
pub mod groups;
pub mod listener;
pub mod misplaced;
pub mod owners;
mod relayed;
pub mod service;
pub mod shown;
pub mod topics;
pub mod wire;

pub use groups::Clients;
pub use listener::{BindError, Limits, Listener, ListenerSettings, placement, placement_within};
pub use service::Service;
pub use topics::{Topics, TopicsError, static_catalog};
