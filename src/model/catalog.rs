//! Topics of a cluster, where they are not asked of a broker: from the configuration or from the registry.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Most partitions of one topic (librdkafka refuses replies with more than 100,000).
pub const MAX_PARTITIONS: i32 = 100_000;

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name: 1 to 249 of `[a-zA-Z0-9._-]`, as Kafka has it.
    pub name: Arc<str>,
    /// Its id (KIP-516); the same on every replica, never zero.
    pub id: [u8; 16],
    /// How many partitions, 1 to [`MAX_PARTITIONS`].
    pub partitions: i32,
}

/// All topics of a cluster, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// The topics by name.
    pub topics: BTreeMap<Arc<str>, Topic>,
    /// Counts changes; what was encoded from an older one is out of date.
    pub generation: u64,
}
