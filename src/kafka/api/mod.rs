//! The APIs that are answered. One table drives dispatch and what ApiVersions advertises; where agents can be reached
//! one day, the advertised list becomes theirs cut to what this table can rewrite.

pub mod api_versions;
pub mod describe_cluster;
pub mod describe_topic_partitions;
pub mod find_coordinator;
pub mod metadata;

use super::service::Service;
use super::wire::Malformed;
use crate::model::{Fleet, Moment};
use crate::placement::{self, Broker, Client, ClientZone, Hints, Leaders, Roster, Selection};
use crate::telemetry::kafka::Metrics;
use kafka_protocol::protocol::Encodable;
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
    /// The group's agents, of which at least one lives. Without one there is no reply that would not mislead: clients
    /// forget the brokers that an empty list lacks, so the connection is closed and they come again.
    pub fn live_roster(&self) -> Result<Arc<Roster>, Stop> {
        match self.service.roster(self.fleet) {
            Some(roster) if roster.live(self.now).next().is_some() => Ok(roster),
            None if !self.fleet.is_synced() => Err(Stop::NotSynced),
            _ => Err(Stop::NoAgent),
        }
    }

    /// What the client is shown of a roster, and in which zone it is.
    pub fn show<'r>(&self, roster: &'r Roster) -> Result<Shown<'a, 'r>, Stop> {
        let service = self.service;
        let zone = service
            .zones
            .zone_of(self.client.id, self.client.source, service.zone.as_ref(), |name| roster.zone(name));
        let hints = Hints::of(self.client.id);
        let scope = service.rules.scope;
        let selection =
            Selection::of(roster, &zone, self.client, &hints, scope, self.now).ok_or(Stop::NoAgent)?;
        Ok(Shown { selection, zone, hints })
    }

    /// Who leads what for the client.
    pub fn place(&self, shown: &Shown<'_, '_>) -> Result<Leaders, Stop> {
        let (placement, rules) = (&self.service.placement, self.service.rules);
        let leaders = placement.leaders(&shown.selection, rules, &shown.hints, self.client, self.now);
        leaders.ok_or(Stop::NoAgent)
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

/// What one client is shown of its group.
#[derive(Debug)]
pub struct Shown<'a, 'r> {
    /// The agents.
    pub selection: Selection<'r>,
    /// The zone that it is in.
    pub zone: ClientZone,
    /// What its client.id asks for.
    pub hints: Hints<'a>,
}

impl Shown<'_, '_> {
    /// The host that this client is told of an agent.
    pub fn host_of<'b>(&'b self, broker: &'b Broker) -> &'b str {
        self.hints.host.unwrap_or(&broker.host)
    }

    /// The same as kafka-protocol wants it.
    fn host_text(&self, broker: &Broker) -> kafka_protocol::protocol::StrBytes {
        kafka_protocol::protocol::StrBytes::from_string(self.host_of(broker).to_owned())
    }

    /// The node id of the controller: always one of those listed.
    pub fn controller(&self, now: Moment) -> i32 {
        self.selection.controller(now).map_or(-1, |broker| broker.node_id)
    }
}

/// Counts how the client fared, under the name of its zone if an agent of the group bears it.
fn count_placement(metrics: &Metrics, shown: &Shown<'_, '_>, leaders: &Leaders) {
    let zone = match &shown.zone {
        ClientZone::Known(zone, _) => Some(zone.as_str()),
        ClientZone::Foreign(_) | ClientZone::Unaware => None,
    };
    let outcome = match shown.selection.outcome {
        placement::Outcome::Hit => "hit",
        placement::Outcome::Miss => "miss",
        placement::Outcome::Unaware => "unaware",
    };
    metrics.placement(zone, outcome);
    let fallbacks = shown.selection.fallbacks;
    for (fell, reason) in
        [(fallbacks.zone, "zone"), (fallbacks.role, "role"), (fallbacks.draining, "draining")]
    {
        if fell {
            metrics.fallback(zone, reason);
        }
    }
    if let Some(led) = leaders.only().filter(|_| metrics.names_agents()) {
        let broker = shown.selection.candidates.iter().find(|broker| broker.node_id == led);
        if let Some(key) = broker.map(|broker| &broker.agent.key) {
            metrics.led(key.cluster.as_str(), key.group.as_str(), key.agent.as_str());
        }
    }
}
