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

/// Bounds of zone detection (`agent::detect`).
pub mod detect {
    use super::{Bound, Duration};

    /// How long one source may take, all its requests together. Metadata services answer within milliseconds; a lost
    /// SYN is sent again after one second, and one of those shall be survived.
    pub const SOURCE: Bound<Duration> = Bound {
        default: Duration::from_secs(2),
        min: Duration::from_millis(100),
        max: Duration::from_secs(30),
    };
    /// How much longer than a source's own deadline its answer is waited for, should its thread be held up.
    pub const GRACE: Duration = Duration::from_millis(250);
    /// Times that a request is repeated after a reset, HTTP 429 or 5xx, within the source's deadline.
    pub const RETRIES: u32 = 2;
    /// Wait before the first repetition; doubled each time.
    pub const RETRY_PAUSE: Duration = Duration::from_millis(100);
    /// Largest answer of a metadata service in bytes. ECS describes every container of a task: about 2 KiB each.
    pub const BODY: usize = 64 * 1024;
    /// Largest answer of the Kubernetes API in bytes. A node lists its images and volumes: 20 to 200 KiB.
    pub const KUBERNETES_BODY: usize = 1024 * 1024;
    /// Largest header of any answer in bytes.
    pub const HEADER: usize = 16 * 1024;
    /// Longest token in bytes: EC2's have 56, a Kubernetes service account's about 1,200.
    pub const TOKEN: usize = 16 * 1024;
    /// Largest file of the mounted service account in bytes; a CA bundle has a few certificates of 1 to 2 KiB.
    pub const FILE: u64 = 1024 * 1024;
    /// Characters of a wrong answer that are shown.
    pub const EXCERPT: usize = 48;
}
