//! The nouns: who an agent is, what it says of itself, how long it may be believed, and the whole fleet as one
//! immutable snapshot. No I/O, no clock, no third-party crate: a value of one of these types is valid.

pub mod addresses;
pub mod agent;
pub mod catalog;
pub mod fleet;
pub mod group;
pub mod ids;
pub mod liveness;

pub use addresses::{Claim, Network};
pub use agent::{Agent, Record, Refusal, State};
pub use catalog::{Catalog, Topic};
pub use fleet::{ClusterEntry, Edit, Fleet};
pub use group::{AddressSlot, Addresses, Departed, Group, ReadyAddresses, Walk};
pub use ids::{AgentId, AgentKey, Cluster, GroupName, Label, LabelError, Zone};
pub use liveness::{Lease, Moment, Source};
