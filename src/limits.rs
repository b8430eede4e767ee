//! Every bound in one place: its default, its smallest and largest value, and why. What the wire or a file asks
//! for beyond a bound is refused or clamped where it is read; nothing else in the code has a number of its own.

use std::time::Duration;

/// A bound that the configuration may move within limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<T> {
    /// What holds if nothing is said.
    pub default: T,
    /// The smallest that makes sense.
    pub min: T,
    /// The largest that is safe.
    pub max: T,
}

impl<T: PartialOrd + Copy> Bound<T> {
    /// Whether `value` lies within the bound.
    pub fn holds(&self, value: T) -> bool {
        value >= self.min && value <= self.max
    }
}

/// The registry's bounds.
pub mod registry {
    use super::{Bound, Duration};

    /// Largest record in bytes. A record of 20 addresses has 1 KiB; a bigger value is a mistake or an attack.
    pub const RECORD_BYTES: usize = 16 * 1024;
    /// Most addresses of one record: a host with more has them by accident.
    pub const RECORD_ADDRESSES: usize = 32;
    /// Most named ports of one record.
    pub const RECORD_PORTS: usize = 32;
    /// Most roles of one record.
    pub const RECORD_ROLES: usize = 32;
    /// Longest registry key in bytes: a prefix and three labels of 63.
    pub const KEY_BYTES: usize = 512;
    /// Most agents that are held; each costs about 1 KiB. What comes beyond is refused and counted.
    pub const AGENTS: Bound<usize> = Bound { default: 200_000, min: 1, max: 5_000_000 };
    /// Most refused records that are kept to be shown; all are counted.
    pub const REFUSALS: usize = 1_000;
    /// Most topics that are read of one cluster.
    pub const TOPICS: usize = 100_000;
    /// Most keys read by one pipeline: a nudge waits for at most this many others.
    pub const BATCH: usize = 512;
    /// How long nudges gather before they are read. Below what a client notices, above a burst's spacing.
    pub const BATCH_DELAY: Duration = Duration::from_millis(2);
    /// How often everything is compared with a full scan, in case a push was lost.
    pub const RESYNC: Bound<Duration> = Bound {
        default: Duration::from_secs(30),
        min: Duration::from_secs(1),
        max: Duration::from_secs(3600),
    };
    /// How long a registry operation may take before the connection is given up as lost.
    pub const OPERATION: Bound<Duration> = Bound {
        default: Duration::from_secs(3),
        min: Duration::from_millis(50),
        max: Duration::from_secs(60),
    };
    /// First wait before a reconnect; doubled each time, with full jitter.
    pub const RECONNECT_FIRST: Duration = Duration::from_millis(50);
    /// Longest wait before a reconnect: how late a returned registry may be noticed.
    pub const RECONNECT_MOST: Duration = Duration::from_secs(2);
    /// For how long a lost registry's last word is believed.
    pub const STALE_MAX: Bound<Duration> = Bound {
        default: Duration::from_secs(3600),
        min: Duration::from_secs(1),
        max: Duration::from_secs(7 * 86_400),
    };
    /// For how long a group without agents is remembered (NODATA, not NXDOMAIN).
    pub const GROUP_MEMORY: Bound<Duration> = Bound {
        default: Duration::from_secs(86_400),
        min: Duration::from_secs(1),
        max: Duration::from_secs(30 * 86_400),
    };
    /// For how long the name of an agent that is gone still resolves (clients may hold it until their next Metadata).
    pub const DEPARTED: Bound<Duration> =
        Bound { default: Duration::from_secs(300), min: Duration::ZERO, max: Duration::from_secs(86_400) };
    /// Most departed agents remembered in one group; the oldest go first.
    pub const DEPARTED_MOST: usize = 1_024;
    /// A heartbeat's lease.
    pub const LEASE: Bound<Duration> = Bound {
        default: Duration::from_secs(15),
        min: Duration::from_millis(500),
        max: Duration::from_secs(3600),
    };
}

/// TCP servers' bounds (DNS over TCP, Kafka, admin).
pub mod tcp {
    use super::{Bound, Duration};

    /// Wait after an accept error (EMFILE and the like), so that it does not spin.
    pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
    /// Open connections of one listener.
    pub const CONNECTIONS: Bound<usize> = Bound { default: 4_096, min: 1, max: 1_000_000 };
    /// Open connections of one source address (IPv6: of one /64) on one listener.
    pub const PER_SOURCE: Bound<usize> = Bound { default: 1_024, min: 1, max: 1_000_000 };
    /// Connections that wait to be accepted.
    pub const BACKLOG: i32 = 1_024;
    /// How long connections may finish when the server stops.
    pub const DRAIN: Duration = Duration::from_millis(500);
}

/// TLS bounds, of servers and of clients.
pub mod tls {
    use super::{Bound, Duration};

    /// From the first byte to the last of a handshake. A phone on another continent needs one second.
    pub const HANDSHAKE: Bound<Duration> = Bound {
        default: Duration::from_secs(10),
        min: Duration::from_millis(100),
        max: Duration::from_secs(120),
    };
    /// How often the files are looked at (a stat each, no read) for a new certificate.
    pub const RELOAD_INTERVAL: Bound<Duration> = Bound {
        default: Duration::from_secs(10),
        min: Duration::from_millis(50),
        max: Duration::from_secs(3600),
    };
    /// Largest PEM file: a distribution's bundle of all public authorities has 250 KiB.
    pub const FILE_BYTES: u64 = 4 * 1024 * 1024;
    /// Most certificates in one chain file, the server's own included.
    pub const CHAIN: usize = 16;
    /// Most certificate and key pairs of one listener.
    pub const IDENTITIES: usize = 64;
    /// Longest subject of a client that is kept for logs, in bytes.
    pub const SUBJECT_BYTES: usize = 1_024;
    /// Most alternative names of a certificate that are kept.
    pub const NAMES: usize = 256;
    /// Tickets for resumption that are sent after a handshake: a Kafka client opens a few connections, not many.
    pub const TICKETS: usize = 2;
    /// First bytes kept of a client that does not speak TLS, to say what it speaks instead.
    pub const FIRST_BYTES: usize = 16;
}

/// Bounds of the PROXY protocol (HAProxy's specification, versions 1 and 2).
pub mod proxy {
    use super::{Bound, Duration};

    /// Longest version 1 header with its CRLF (section 2.1).
    pub const V1_BYTES: usize = 107;
    /// Longest version 2 header behind its first 16 bytes. The addresses need 36 (216 for Unix sockets); the rest is
    /// type-length-values: a client certificate's names, a cloud's endpoint id.
    pub const V2_BYTES: Bound<usize> = Bound { default: 4_096, min: 216, max: 65_535 };
    /// How long the header may take: the proxy sends it before anything else, in one packet.
    pub const DEADLINE: Bound<Duration> = Bound {
        default: Duration::from_secs(5),
        min: Duration::from_millis(50),
        max: Duration::from_secs(60),
    };
    /// Most trusted networks.
    pub const NETWORKS: usize = 1_024;
}
