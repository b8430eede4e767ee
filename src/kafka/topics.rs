//! Where a listener's topics come from, and the ids that are made for topics that nobody gave one.

use crate::model::catalog::MAX_PARTITIONS;
use crate::model::{Catalog, Cluster, Fleet, Topic};
use crate::placement::hash::{CLUSTER, TOPIC, id128};
use std::collections::HashMap;
use std::sync::Arc;

/// Where topics come from.
#[derive(Clone, Debug)]
pub enum Topics {
    /// The same list for ever.
    Static(Arc<Catalog>),
    /// What the registry lists for the cluster.
    Registry,
}

impl Topics {
    /// The topics of `cluster` in this snapshot; `None` means that it has none.
    pub fn catalog<'a>(&'a self, fleet: &'a Fleet, cluster: &Cluster) -> Option<&'a Arc<Catalog>> {
        match self {
            Self::Static(catalog) => Some(catalog),
            Self::Registry => fleet.catalog(cluster.as_str()),
        }
    }
}

/// Why a list of topics is refused. Names the topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicsError {
    /// The name is none that Kafka allows.
    #[error(
        "topic {0:?}: a name has 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', and is neither \".\" nor \"..\""
    )]
    Name(String),
    /// The number of partitions is out of range.
    #[error("topic {0:?}: {1} partitions, 1 to {MAX_PARTITIONS} are possible")]
    Partitions(String, i32),
    /// The topic is listed twice.
    #[error("topic {0:?} is listed twice")]
    Twice(String),
}

/// A catalog of these topics (name, partitions), with ids made by [`topic_id`].
pub fn static_catalog<'a>(
    cluster: &Cluster,
    list: impl IntoIterator<Item = (&'a str, i32)>,
) -> Result<Catalog, TopicsError> {
    let mut catalog = Catalog { generation: 1, ..Catalog::default() };
    for (name, partitions) in list {
        if !is_topic_name(name) {
            return Err(TopicsError::Name(name.to_owned()));
        }
        if !(1..=MAX_PARTITIONS).contains(&partitions) {
            return Err(TopicsError::Partitions(name.to_owned(), partitions));
        }
        let shared: Arc<str> = name.into();
        let topic = Topic { name: Arc::clone(&shared), id: topic_id(cluster, name), partitions };
        if catalog.topics.insert(shared, topic).is_some() {
            return Err(TopicsError::Twice(name.to_owned()));
        }
    }
    Ok(catalog)
}

/// The id of a topic that was given none: made of cluster and name, so the same on every replica and after a restart.
pub fn topic_id(cluster: &Cluster, name: &str) -> [u8; 16] {
    id128(TOPIC, &[cluster.as_str().as_bytes(), &[0], name.as_bytes()])
}

/// The cluster id that clients see: 16 bytes made of the cluster's name, in 22 characters of unpadded base64url as
/// Kafka's own. All groups of a cluster share it.
pub fn cluster_id(cluster: &Cluster) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = u128::from_be_bytes(id128(CLUSTER, &[cluster.as_str().as_bytes()]));
    let sextet = |at: u32| {
        // 128 bits are 21 sextets and two bits, which are followed by four zeroes.
        let value = if at < 21 { bits >> (122 - 6 * at) } else { bits << 4 } & 0x3f;
        ALPHABET.get(value as usize).copied().map_or('A', char::from)
    };
    (0..22).map(sextet).collect()
}

/// Whether Kafka would take this name for a topic.
pub fn is_topic_name(name: &str) -> bool {
    let legal = |byte: u8| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(legal) && name != "." && name != ".."
}

/// Whether Kafka keeps this topic for itself.
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// Topics by id, for one catalog.
#[derive(Debug)]
pub struct IdIndex {
    catalog: Arc<Catalog>,
    by_id: HashMap<[u8; 16], Arc<str>>,
}

impl IdIndex {
    /// The index of `catalog`.
    pub fn of(catalog: &Arc<Catalog>) -> Self {
        let by_id = catalog.topics.values().map(|topic| (topic.id, Arc::clone(&topic.name))).collect();
        Self { catalog: Arc::clone(catalog), by_id }
    }

    /// Whether this is the index of `catalog` as it is now.
    pub fn is_of(&self, catalog: &Arc<Catalog>) -> bool {
        Arc::ptr_eq(&self.catalog, catalog)
    }

    /// The topic with that id.
    pub fn find(&self, id: &[u8; 16]) -> Option<&Topic> {
        self.catalog.topics.get(self.by_id.get(id)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prod() -> Cluster {
        Cluster::parse("prod").unwrap()
    }

    #[test]
    fn lists_are_checked_topic_by_topic() {
        let build = |list: &[(&'static str, i32)]| static_catalog(&prod(), list.iter().copied());
        assert_eq!(build(&[("a", 1), ("b", 2)]).unwrap().topics.len(), 2);
        assert_eq!(build(&[("a b", 1)]), Err(TopicsError::Name("a b".into())));
        assert_eq!(build(&[("..", 1)]), Err(TopicsError::Name("..".into())));
        assert_eq!(build(&[("a", 0)]), Err(TopicsError::Partitions("a".into(), 0)));
        assert_eq!(build(&[("a", 1), ("a", 1)]), Err(TopicsError::Twice("a".into())));
    }

    #[test]
    fn ids_are_of_cluster_and_name() {
        assert_ne!(topic_id(&prod(), "a"), topic_id(&prod(), "b"));
        assert_ne!(topic_id(&prod(), "a"), topic_id(&Cluster::parse("test").unwrap(), "a"));
        let id = cluster_id(&prod());
        assert_eq!(id.len(), 22);
        assert!(!id.starts_with('-'));
        let catalog = Arc::new(static_catalog(&prod(), [("a", 3)]).unwrap());
        let index = IdIndex::of(&catalog);
        assert_eq!(index.find(&topic_id(&prod(), "a")).unwrap().partitions, 3);
        assert!(index.find(&[0; 16]).is_none() && index.is_of(&catalog));
    }
}
