//! One agent: who it is, what its record says, and until when that holds.

use super::ids::{AgentKey, Label, Zone};
use super::liveness::{Lease, Moment};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The Kafka port of a record that names none.
pub const DEFAULT_KAFKA_PORT: u16 = 9092;
/// The weight of a record that names none.
pub const DEFAULT_WEIGHT: u16 = 100;
/// The service whose port is the agent's Kafka port.
pub const KAFKA_SERVICE: &str = "kafka";

/// Whether an agent takes new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// It takes new clients.
    #[default]
    Ready,
    /// It is leaving: out of DNS and of new placements, still in the Kafka broker list so that clients finish.
    Draining,
}

impl State {
    /// The word that records, pages and tables use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an agent says of itself: the value of its registry key, parsed. Two equal records answer alike, so a
/// heartbeat whose record equals the last is a renewal and not a change. What only informs (load) is left out of
/// equality on purpose.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The availability zone, if it knows its own.
    pub zone: Option<Zone>,
    /// Its addresses in the record's order: at least one, none twice, none v4-mapped, unspecified or multicast.
    pub addresses: Vec<IpAddr>,
    /// Ports by service name; `kafka` is always among them.
    pub ports: BTreeMap<Label, u16>,
    /// The host that Kafka clients shall be told, if not the first address.
    pub advertise: Option<Arc<str>>,
    /// Roles, such as `proxy-produce`; empty means every role.
    pub roles: Vec<Label>,
    /// Whether it takes new clients.
    pub state: State,
    /// Relative share of clients, 0 to 65535; 100 is usual, 0 takes none while others can.
    pub weight: u16,
    /// Reported open connections, as they were when the record last changed otherwise; [`Lease::connections`] is fresh.
    /// Not part of equality: it changes all the time and no answer is made of it alone.
    pub connections: Option<u64>,
    /// The Kafka node id that the agent wants.
    pub node_id: Option<i32>,
    /// The agent's software version, for people.
    pub version: Option<Arc<str>>,
    /// When the agent started (RFC 3339), for people.
    pub started_at: Option<Arc<str>>,
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.zone == other.zone
            && self.addresses == other.addresses
            && self.ports == other.ports
            && self.advertise == other.advertise
            && self.roles == other.roles
            && self.state == other.state
            && self.weight == other.weight
            && self.node_id == other.node_id
            && self.version == other.version
            && self.started_at == other.started_at
    }
}

impl Record {
    /// The IPv4 addresses, in the record's order.
    pub fn v4(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        })
    }

    /// The IPv6 addresses, in the record's order.
    pub fn v6(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(*v6),
        })
    }

    /// The port of `service`, if the agent offers it.
    pub fn port(&self, service: &str) -> Option<u16> {
        self.ports.get(service).copied()
    }

    /// The Kafka port.
    pub fn kafka_port(&self) -> u16 {
        self.port(KAFKA_SERVICE).unwrap_or(DEFAULT_KAFKA_PORT)
    }

    /// The host that Metadata names: `advertise`, else the first address.
    pub fn advertised_host(&self) -> String {
        match &self.advertise {
            Some(host) => host.to_string(),
            None => self.addresses.first().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// One agent of the fleet. Immutable but for its lease, which renewals move and which carries the reported load.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Which agent this is: from the registry key, never from the value.
    pub key: AgentKey,
    /// What it says of itself.
    pub record: Arc<Record>,
    /// Until when.
    pub lease: Arc<Lease>,
}

impl Agent {
    /// Whether its lease still runs at `now`.
    pub fn is_live(&self, now: Moment) -> bool {
        self.lease.is_live(now)
    }

    /// Whether it may be given new clients at `now`.
    pub fn is_ready(&self, now: Moment) -> bool {
        self.record.state == State::Ready && self.is_live(now)
    }
}

/// A record that was not taken, and why. The rest of the fleet is untouched by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The registry key, as it is written there (cut at 512 bytes).
    pub key: String,
    /// What is wrong with it and where, in words for the one who wrote it.
    pub reason: String,
    /// Which registry it lies in.
    pub source: String,
}
