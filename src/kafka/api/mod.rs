//! The APIs that are answered. One table drives dispatch and what ApiVersions advertises; where agents can be reached
//! one day, the advertised list becomes theirs cut to what this table can rewrite.

pub mod api_versions;
pub mod describe_cluster;
pub mod describe_topic_partitions;
pub mod find_coordinator;
pub mod metadata;

use super::service::Service;
use super::shown::Shown;
use super::wire::Malformed;
use crate::model::{Fleet, Moment};
use crate::placement::{Broker, Client, Roster};
use kafka_protocol::protocol::{Encodable, StrBytes};
use std::sync::Arc;

/// ApiVersions' key, which has a rule of its own for versions that we don't have.
pub const API_VERSIONS: i16 = 18;

/// Error codes of replies (Kafka's `Errors`).
pub mod error {
    /// No error.
    pub const NONE: i16 = 0;
    /// A topic that we don't have, asked for by name.
    pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    /// No agent of the group lives; clients ask again.
    pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    /// The agent does not coordinate that group: clients look for who does.
    pub const NOT_COORDINATOR: i16 = 16;
    /// A version of ApiVersions that we don't have.
    pub const UNSUPPORTED_VERSION: i16 = 35;
    /// A request that makes no sense.
    pub const INVALID_REQUEST: i16 = 42;
    /// A topic that we don't have, asked for by id.
    pub const UNKNOWN_TOPIC_ID: i16 = 100;
    /// The client is in the wrong place: it shall forget all brokers and bootstrap again (KIP-1102).
    pub const REBOOTSTRAP_REQUIRED: i16 = 129;
    /// A broker was asked for controllers.
    pub const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
    /// An endpoint type that does not exist.
    pub const UNSUPPORTED_ENDPOINT_TYPE: i16 = 115;
}

/// One API as the table has it.
#[derive(Debug)]
pub struct Api {
    /// Its key.
    pub key: i16,
    /// Its name, for metrics and logs.
    pub name: &'static str,
    /// The lowest version answered.
    pub min: i16,
    /// The highest version answered.
    pub max: i16,
    /// The first version with compact lengths and tagged fields (KIP-482).
    pub flexible_from: i16,
    /// Whether flexible replies have header version 1; ApiVersions' never has.
    pub flexible_reply_header: bool,
    /// Reads the body and appends the reply's.
    pub answer: fn(Call<'_>) -> Result<Outcome, Stop>,
}

/// Every API that is answered, by key.
pub const APIS: &[Api] = &[
    metadata::API,
    find_coordinator::API,
    api_versions::API,
    describe_cluster::API,
    describe_topic_partitions::API,
];

/// The API of that key.
pub fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key == key)
}

/// One request within its API.
#[derive(Debug)]
pub struct Call<'a> {
    /// Whose service it is.
    pub service: &'a Service,
    /// The snapshot to answer from.
    pub fleet: &'a Fleet,
    /// When.
    pub now: Moment,
    /// Who asks.
    pub client: Client<'a>,
    /// In which version.
    pub version: i16,
    /// Whether that version is flexible.
    pub flexible: bool,
    /// The body.
    pub body: &'a [u8],
    /// How long `out` may become.
    pub most: usize,
    /// Where the reply goes; its header is there already.
    pub out: &'a mut Vec<u8>,
}

/// How an answered request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With what was asked for.
    Answered,
    /// With an error code in the reply, at its top or for one of its parts.
    Error,
}

impl Outcome {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Error => "error",
        }
    }
}

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The request can't be read.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// It asks for more things than one request may.
    #[error("{0} names more than the {1} that one request may")]
    TooMany(&'static str, usize),
    /// An API that is not answered here.
    #[error("API key {0} is not answered here")]
    UnknownApi(i16),
    /// A version that is not answered here.
    #[error("{0} version {1} is not answered here")]
    UnknownVersion(&'static str, i16),
    /// The registry was not read yet: what is missing may well exist.
    #[error("the registry was not read yet")]
    NotSynced,
    /// No agent of the group lives.
    #[error("no agent of the group lives")]
    NoAgent,
    /// The connection belongs to no group that can be answered for.
    #[error("the client came to the wrong place: no group here is its own")]
    WrongGroup,
    /// The reply would be larger than allowed.
    #[error("the reply is larger than allowed")]
    TooLarge,
    /// A reply of ours can't be encoded: a mistake of this program.
    #[error("{0} version {1}: the reply can't be encoded")]
    Encode(&'static str, i16),
}

impl Stop {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooMany(..) => "too_many",
            Self::UnknownApi(_) => "unknown_api",
            Self::UnknownVersion(..) => "unknown_version",
            Self::NotSynced => "not_synced",
            Self::NoAgent => "no_agent",
            Self::WrongGroup => "wrong_group",
            Self::TooLarge => "too_large",
            Self::Encode(..) => "encode",
        }
    }
}

impl<'a> Call<'a> {
    /// The group's agents, of which at least one lives.
    pub fn live_roster(&self) -> Result<Arc<Roster>, Stop> {
        self.service.live_roster(self.fleet, self.now)
    }

    /// What the client is shown of a roster.
    pub fn show<'r>(&self, roster: &'r Roster) -> Result<Shown<'a, 'r>, Stop> {
        self.service.show(roster, self.client, self.now)
    }

    /// Appends a reply body in the version of the request.
    pub fn encode<M: Encodable>(&mut self, name: &'static str, reply: &M) -> Result<(), Stop> {
        encode(name, self.version, reply, self.out)
    }
}

/// Appends a reply body in that version.
fn encode<M: Encodable>(name: &'static str, version: i16, reply: &M, out: &mut Vec<u8>) -> Result<(), Stop> {
    // Through a buffer of its own: kafka-protocol patches earlier places relative to a buffer's start.
    let mut body = bytes::BytesMut::new();
    reply.encode(&mut body, version).map_err(|_| Stop::Encode(name, version))?;
    out.extend_from_slice(&body);
    Ok(())
}

/// The host that the client is told of an agent, as kafka-protocol wants it.
fn host_text(shown: &Shown<'_, '_>, broker: &Broker) -> StrBytes {
    StrBytes::from_string(shown.host_of(broker).to_owned())
}
