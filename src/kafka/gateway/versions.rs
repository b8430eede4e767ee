//! Which requests pass, which are rewritten, and which are refused: one table, of which the ApiVersions reply is cut
//! to fit. What no table names passes, also APIs that nobody knows yet: a broker that carries an endpoint in a reply
//! does so in a new version of an API, and the versions of those that ever did are capped here.

use super::programs::{self, Op};
use crate::kafka::api;

/// Keys of APIs that are treated in a special way.
pub mod key {
    /// Produce.
    pub const PRODUCE: i16 = 0;
    /// Fetch.
    pub const FETCH: i16 = 1;
    /// Metadata.
    pub const METADATA: i16 = 3;
    /// FindCoordinator.
    pub const FIND_COORDINATOR: i16 = 10;
    /// Heartbeat, of a member of a classic group.
    pub const HEARTBEAT: i16 = 12;
    /// SaslHandshake.
    pub const SASL_HANDSHAKE: i16 = 17;
    /// ApiVersions.
    pub const API_VERSIONS: i16 = 18;
    /// DescribeQuorum.
    pub const DESCRIBE_QUORUM: i16 = 55;
    /// DescribeCluster.
    pub const DESCRIBE_CLUSTER: i16 = 60;
    /// ConsumerGroupHeartbeat (KIP-848).
    pub const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
    /// DescribeTopicPartitions.
    pub const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;
    /// ShareGroupHeartbeat (KIP-932).
    pub const SHARE_GROUP_HEARTBEAT: i16 = 76;
    /// ShareFetch.
    pub const SHARE_FETCH: i16 = 78;
    /// ShareAcknowledge.
    pub const SHARE_ACKNOWLEDGE: i16 = 79;
}

/// An API of which only some versions pass.
#[derive(Clone, Copy, Debug)]
pub struct Capped {
    /// Its key.
    pub key: i16,
    /// Its name, for metrics and logs.
    pub name: &'static str,
    /// The lowest version that passes.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

const fn capped(key: i16, name: &'static str, min: i16, max: i16) -> Capped {
    Capped { key, name, min, max }
}

/// Every API of which only some versions pass, with the reason for each bound.
pub const CAPPED: &[Capped] = &[
    // What we can walk over or rewrite.
    capped(key::PRODUCE, "Produce", 0, 13),
    capped(key::FETCH, "Fetch", 0, 18),
    capped(key::METADATA, api::metadata::API.name, 0, api::metadata::API.max),
    capped(key::FIND_COORDINATOR, api::find_coordinator::API.name, 0, api::find_coordinator::API.max),
    capped(key::API_VERSIONS, api::api_versions::API.name, 0, api::api_versions::API.max),
    capped(key::DESCRIBE_CLUSTER, api::describe_cluster::API.name, 0, api::describe_cluster::API.max),
    capped(key::DESCRIBE_TOPIC_PARTITIONS, "DescribeTopicPartitions", 0, 0),
    capped(key::SHARE_FETCH, "ShareFetch", 1, 1),
    capped(key::SHARE_ACKNOWLEDGE, "ShareAcknowledge", 1, 1),
    // After v0, tokens follow that are no Kafka frames.
    capped(key::SASL_HANDSHAKE, "SaslHandshake", 1, 1),
    // v2 lists the addresses of the voters.
    capped(key::DESCRIBE_QUORUM, "DescribeQuorum", 0, 1),
];

/// What brokers and controllers say to each other, with each other's addresses in it: LeaderAndIsr, StopReplica,
/// UpdateMetadata, ControlledShutdown, Vote, BeginQuorumEpoch, EndQuorumEpoch, Envelope, FetchSnapshot,
/// BrokerRegistration, BrokerHeartbeat, ControllerRegistration, UpdateRaftVoter.
pub const HIDDEN: &[i16] = &[4, 5, 6, 7, 52, 53, 54, 58, 59, 62, 63, 70, 82];

/// What is done with a request.
#[derive(Clone, Copy, Debug)]
pub enum Treatment {
    /// It and its reply stream through.
    Pass,
    /// Its reply is held back and rewritten.
    Rewrite(Discovery),
    /// Its reply streams through, and endpoints in it are blotted out.
    Walk(&'static str, &'static [Op]),
    /// ApiVersions in a version that we don't have: answered with those that we have, in its place among the replies.
    Substitute,
    /// The connection is closed.
    Refuse,
}

/// The replies that are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discovery {
    /// Metadata.
    Metadata,
    /// FindCoordinator.
    FindCoordinator,
    /// ApiVersions.
    ApiVersions,
    /// DescribeCluster.
    DescribeCluster,
    /// DescribeTopicPartitions.
    DescribeTopicPartitions,
    /// Heartbeat, while the agent leaves.
    Heartbeat,
    /// ConsumerGroupHeartbeat, while the agent leaves.
    ConsumerGroupHeartbeat,
    /// ShareGroupHeartbeat, while the agent leaves.
    ShareGroupHeartbeat,
}

impl Discovery {
    /// The API's name, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "Metadata",
            Self::FindCoordinator => "FindCoordinator",
            Self::ApiVersions => "ApiVersions",
            Self::DescribeCluster => "DescribeCluster",
            Self::DescribeTopicPartitions => "DescribeTopicPartitions",
            Self::Heartbeat => "Heartbeat",
            Self::ConsumerGroupHeartbeat => "ConsumerGroupHeartbeat",
            Self::ShareGroupHeartbeat => "ShareGroupHeartbeat",
        }
    }

    /// Whether this version has compact lengths and tagged fields.
    pub const fn flexible(self, version: i16) -> bool {
        match self {
            Self::Metadata => version >= 9,
            Self::FindCoordinator | Self::ApiVersions => version >= 3,
            Self::Heartbeat => version >= 4,
            Self::DescribeCluster
            | Self::DescribeTopicPartitions
            | Self::ConsumerGroupHeartbeat
            | Self::ShareGroupHeartbeat => true,
        }
    }

    /// Whether the reply's header has tagged fields in this version; ApiVersions' never has.
    pub const fn flexible_header(self, version: i16) -> bool {
        !matches!(self, Self::ApiVersions) && self.flexible(version)
    }
}

/// What is to be done with a request of that API and version.
pub fn treat(api_key: i16, version: i16) -> Treatment {
    if HIDDEN.contains(&api_key) {
        return Treatment::Refuse;
    }
    let Some(cap) = cap(api_key) else { return Treatment::Pass };
    if !(cap.min..=cap.max).contains(&version) {
        return match api_key {
            key::API_VERSIONS => Treatment::Substitute,
            _ => Treatment::Refuse,
        };
    }
    match api_key {
        key::METADATA => Treatment::Rewrite(Discovery::Metadata),
        key::FIND_COORDINATOR => Treatment::Rewrite(Discovery::FindCoordinator),
        key::API_VERSIONS => Treatment::Rewrite(Discovery::ApiVersions),
        key::DESCRIBE_CLUSTER => Treatment::Rewrite(Discovery::DescribeCluster),
        key::DESCRIBE_TOPIC_PARTITIONS => Treatment::Rewrite(Discovery::DescribeTopicPartitions),
        _ => programs::of(api_key, version).map_or(Treatment::Pass, |ops| Treatment::Walk(cap.name, ops)),
    }
}

/// The heartbeat that a request is, in a version whose reply can be read. It passes; only an agent that leaves looks at its
/// reply.
pub const fn heartbeat(api_key: i16, version: i16) -> Option<Discovery> {
    match (api_key, version) {
        (key::HEARTBEAT, 0..=4) => Some(Discovery::Heartbeat),
        (key::CONSUMER_GROUP_HEARTBEAT, 0..=1) => Some(Discovery::ConsumerGroupHeartbeat),
        (key::SHARE_GROUP_HEARTBEAT, 1) => Some(Discovery::ShareGroupHeartbeat),
        _ => None,
    }
}

/// The bounds of an API, if it has any.
pub fn cap(api_key: i16) -> Option<&'static Capped> {
    CAPPED.iter().find(|capped| capped.key == api_key)
}

/// The versions of an API that clients are told, of those that the upstream has; `None` if none is left.
pub fn advertised(api_key: i16, min: i16, max: i16) -> Option<(i16, i16)> {
    if HIDDEN.contains(&api_key) {
        return None;
    }
    let Some(cap) = cap(api_key) else { return Some((min, max)) };
    let (min, max) = (min.max(cap.min), max.min(cap.max));
    (min <= max).then_some((min, max))
}
