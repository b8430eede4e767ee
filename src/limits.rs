//! Every bound in one place: its default, its smallest and largest value, and why. What the wire or a file asks
//! for beyond a bound is refused or clamped where it is read; nothing else in the code has a number of its own.

pub mod dnssec;

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
    /// Longest text for people (`version`, `started_at`) in bytes: it ends up in tables and TXT records.
    pub const RECORD_TEXT: usize = 64;
    /// Largest value of one topic's field in bytes; a right one has 70.
    pub const TOPIC_BYTES: usize = 1024;
    /// Longest registry key in bytes: a prefix and three labels of 63.
    pub const KEY_BYTES: usize = 512;
    /// Most agents that are held; each costs about 1 KiB. What comes beyond is refused and counted.
    pub const AGENTS: Bound<usize> = Bound { default: 200_000, min: 1, max: 5_000_000 };
    /// Most refused records that are kept to be shown; all are counted.
    pub const REFUSALS: usize = 1_000;
    /// Most refused records beyond those that are remembered by a hash, to be counted and logged once.
    pub const REFUSALS_UNSHOWN: usize = 65_536;
    /// Most topics that are read of one cluster.
    pub const TOPICS: usize = 100_000;
    /// Most clusters whose topics are held.
    pub const CATALOGS: usize = 1_000;
    /// Most keys read by one pipeline: a nudge waits for at most this many others.
    pub const BATCH: usize = 512;
    /// How long nudges gather before they are read. Below what a client notices, above a burst's spacing.
    pub const BATCH_DELAY: Duration = Duration::from_millis(2);
    /// Keys asked for by one step of a scan: a few hundred microseconds of Redis' time each.
    pub const SCAN_COUNT: usize = 1_000;
    /// Most keys that wait to be read again; beyond it everything is read by a scan instead.
    pub const NUDGES: usize = 65_536;
    /// How long a changed topics hash is let alone before it is read again: it is written field by field.
    pub const TOPICS_DELAY: Duration = Duration::from_millis(100);
    /// How often a silent registry is asked whether it is still there: half-open connections say nothing. Below
    /// [`crate::model::liveness::UNHEARD_MILLIS`], or leases would stand still between two answers.
    pub const PING: Duration = Duration::from_millis(200);
    /// Silence after which renewals may have been missed (it hung, or this process was stopped): everything is read
    /// again before a lease may end. Longer than any scan step or scheduling delay of a healthy machine.
    pub const SILENCE: Duration = Duration::from_secs(1);
    /// How often what scans found changed is looked through, and the ages in the metrics are set.
    pub const LOOK: Duration = Duration::from_secs(1);
    /// How often the list of refused records is published on its own: whoever writes rubbish must not keep us busy.
    pub const REFUSALS_DELAY: Duration = Duration::from_millis(100);
    /// How long a key that a scan found changed may wait for its push before it counts as repaired.
    pub const PUSH_PATIENCE: Duration = Duration::from_secs(1);
    /// Most changes found by scans that wait for their push at a time.
    pub const SUSPECTS: usize = 1_024;
    /// For how long a lapsed agent can be taken back, should the registry turn out to have been lost before it lapsed.
    pub const SECOND_THOUGHT: Duration = Duration::from_secs(10);
    /// Most groups that are remembered; beyond it an unconfigured group is forgotten with its last agent.
    pub const GROUPS: usize = 100_000;
    /// How long a goodbye may take: it must not hold up the end of the process.
    pub const GOODBYE: Duration = Duration::from_secs(2);
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
    /// Most addresses of departed agents in all groups; while there are more, those who leave are not remembered.
    pub const DEPARTED_ADDRESSES: usize = 500_000;
    /// A lease. A longer one would be answered long after its agent died.
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

/// The Kafka front's bounds.
pub mod kafka {
    use super::{Bound, Duration};

    /// Largest request in bytes. Discovery requests are lists of names; 1 MiB holds 25,000 topics of 40 bytes.
    pub const FRAME_BYTES: Bound<usize> = Bound { default: 1024 * 1024, min: 1024, max: 16 * 1024 * 1024 };
    /// Smallest request: api key, version and correlation id.
    pub const FRAME_LEAST: usize = 8;
    /// Most topics that one Metadata request may name.
    pub const REQUEST_TOPICS: usize = 50_000;
    /// Most keys of one FindCoordinator request: each is hashed with every agent of the group.
    pub const REQUEST_KEYS: usize = 4_096;
    /// Largest reply in bytes: 2.5 million partitions. What would be larger closes the connection.
    pub const REPLY_BYTES: usize = 64 * 1024 * 1024;
    /// A reply up to this size is written without asking; larger ones need one of [`BIG_REPLIES`].
    pub const SMALL_REPLY_BYTES: usize = 64 * 1024;
    /// Replies above [`SMALL_REPLY_BYTES`] that one listener holds in memory at once.
    pub const BIG_REPLIES: usize = 32;
    /// How long a connection may be silent between requests: Kafka's own `connections.max.idle.ms`.
    pub const IDLE: Bound<Duration> = Bound {
        default: Duration::from_secs(600),
        min: Duration::from_millis(100),
        max: Duration::from_secs(86_400),
    };
    /// How long a request may take to arrive once its first byte is there.
    pub const READ: Bound<Duration> = Bound {
        default: Duration::from_secs(15),
        min: Duration::from_millis(100),
        max: Duration::from_secs(600),
    };
    /// How long a reply may take to be taken by the client, waiting for a big-reply permit included.
    pub const WRITE: Bound<Duration> = Bound {
        default: Duration::from_secs(30),
        min: Duration::from_millis(100),
        max: Duration::from_secs(600),
    };
    /// How much is read from a socket at once; a buffer grows only by what has arrived.
    pub const READ_CHUNK: usize = 16 * 1024;
    /// Requests of one client (source address and client.id) within this time count as one in the round robin.
    pub const SAME_CLIENT: Bound<Duration> = Bound {
        default: Duration::from_secs(5),
        min: Duration::from_millis(1),
        max: Duration::from_secs(3_600),
    };
    /// Clients that the round robin remembers, about 64 bytes each. Beyond it each request is a turn.
    pub const CLIENTS: usize = 100_000;
    /// Turns (cluster, group, zone) of the round robin.
    pub const TURNS: usize = 100_000;
    /// How long the end of a TLS connection may take to be said.
    pub const FAREWELL: Duration = Duration::from_millis(200);
    /// How long a client in the wrong place is answered: two requests tell it all.
    pub const TURNING_AWAY: Duration = Duration::from_secs(10);
    /// Largest request of a client in the wrong place: a client id of 32,767 bytes, and what an honest one asks.
    pub const TURNED_AWAY_BYTES: usize = 64 * 1024;
    /// Groups whose derived state one listener keeps, some kilobytes each; beyond it those without a connection go.
    pub const GROUPS: usize = 16_384;
    /// Time between two lines in the log about connections without a group: anyone can cause them.
    pub const REFUSAL_LINES: Duration = Duration::from_secs(10);
    /// Longest host name of a client that a log repeats, in bytes (RFC 1035 §2.3.4 allows no longer ones).
    pub const NAME_BYTES: usize = 255;
    /// Zones that metrics name; further ones are counted as `other`.
    pub const ZONE_LABELS: usize = 256;
    /// Agents that metrics name, where they name any; further ones are counted as `other`.
    pub const AGENT_LABELS: usize = 1_000;
    /// Most partitions of one DescribeTopicPartitions reply: Kafka's own `max.request.partition.size.limit`.
    pub const DESCRIBED_PARTITIONS: usize = 2_000;
}

/// The gateway's bounds.
pub mod gateway {
    use super::{Bound, Duration};

    /// How much of a request is looked at: a client id and a key of 32,767 bytes each, and what stands between.
    pub const PEEK: usize = 72 * 1024;
    /// Bytes that are read at once while data flows, each way and connection. Larger ones gain nothing on loopback.
    pub const BUFFER: usize = 64 * 1024;
    /// Bytes that an idle connection holds ready, each way.
    pub const IDLE_BUFFER: usize = 512;
    /// Replies of one connection that wait to be rewritten or walked over. Clients have 5 requests in flight, few have
    /// 100; while it is full, the client is not read.
    pub const PENDING: usize = 256;
    /// Largest reply that is held back to be rewritten: 4 million partitions.
    pub const REPLY_BYTES: usize = 128 * 1024 * 1024;
    /// Bytes of held replies above [`UNIT`] that one gateway holds at once; whoever comes late waits.
    pub const HELD_BYTES: usize = 256 * 1024 * 1024;
    /// In these steps held bytes are counted; smaller replies are not.
    pub const UNIT: usize = 64 * 1024;
    /// Replies from this size on are rewritten on a thread of their own: smaller ones take well below a millisecond.
    pub const ASIDE: usize = 256 * 1024;
    /// How long the upstream may take to accept a connection.
    pub const CONNECT: Duration = Duration::from_secs(5);
    /// How long an agent may take to accept a connection that a listener relays, its TLS handshake included: there are
    /// others, and the client waits.
    pub const AGENT_CONNECT: Duration = Duration::from_secs(1);
    /// Agents that are tried for one connection.
    pub const AGENT_TRIES: usize = 3;
    /// How long a peer may take nothing of what is sent to it. A consumer that works on its last batch does not read:
    /// Kafka's own `connections.max.idle.ms`, after which it would be cut by the broker too.
    pub const STALL: Bound<Duration> = Bound {
        default: Duration::from_secs(600),
        min: Duration::from_millis(100),
        max: Duration::from_secs(86_400),
    };
    /// How long a connection may be silent both ways. Brokers end idle connections themselves, after ten minutes.
    pub const IDLE: Bound<Duration> = Bound {
        default: Duration::from_secs(3_600),
        min: Duration::from_millis(100),
        max: Duration::from_secs(86_400),
    };
    /// How long replies may still come after a client said that it sends no more.
    pub const HALF_CLOSED: Duration = Duration::from_secs(30);
    /// Silence after which the kernel asks whether a peer is still there.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(60);
    /// How often the upstream is asked whether it is well.
    pub const PROBE: Duration = Duration::from_millis(500);
    /// How long an upstream that accepts connections may take to answer a probe. A busy broker is slow, not lost.
    pub const PROBE_PATIENCE: Duration = Duration::from_secs(5);
    /// Largest reply to a probe: an ApiVersions list has some hundred bytes.
    pub const PROBE_REPLY: usize = 64 * 1024;
    /// For how long a draining agent waits for its clients.
    pub const DRAIN: Bound<Duration> =
        Bound { default: Duration::from_secs(300), min: Duration::ZERO, max: Duration::from_secs(86_400) };
    /// A draining agent closes connections that asked for nothing but the way for so long, with nothing in flight.
    pub const DRAIN_QUIET: Duration = Duration::from_secs(5);
    /// A draining agent that nobody uses waits so long for those who looked its name up just before.
    pub const DRAIN_ALONE: Duration = Duration::from_secs(10);
    /// How often a draining connection looks whether it may end.
    pub const DRAIN_LOOK: Duration = Duration::from_millis(250);
    /// Open connections. Each takes two file descriptors.
    pub const CONNECTIONS: Bound<usize> = Bound { default: 20_000, min: 1, max: 1_000_000 };
}

/// The DNS front's bounds.
pub mod dns {
    use super::{Bound, Duration};

    /// Largest UDP answer, and the size we advertise: fits every path without fragments (DNS flag day 2020).
    pub const UDP_ANSWER: usize = 1232;
    /// Largest UDP answer to a client without EDNS (RFC 1035 §4.2.1), and the smallest that EDNS can ask for.
    pub const UDP_PLAIN: usize = 512;
    /// Largest UDP query that is read. Queries have some 50 bytes, a TSIG or padding some hundred; what is longer
    /// is cut by the kernel and thus malformed.
    pub const UDP_QUERY: usize = 2_048;
    /// Packets that one system call receives or sends: beyond some dozens nothing is gained.
    pub const UDP_BATCH: usize = 64;
    /// Bytes that the kernel holds for a UDP socket: some thousand queries while a worker is not scheduled.
    pub const UDP_BUFFER: usize = 4 * 1024 * 1024;
    /// How late a UDP worker may notice that it shall stop.
    pub const UDP_WAKE: Duration = Duration::from_millis(100);
    /// Batches that a worker still answers after its socket left the port: more than the largest buffer holds.
    pub const UDP_LAST_BATCHES: usize = 1_000;
    /// UDP workers, a thread each.
    pub const WORKERS: Bound<usize> = Bound { default: 0, min: 0, max: 256 };
    /// Ports that are tried when any will do and UDP and TCP must get the same.
    pub const PORT_TRIES: usize = 16;
    /// Largest TCP message: what its two length bytes can say.
    pub const TCP_MESSAGE: usize = 65_535;
    /// Largest query over TCP. More has no use, and each connection holds a buffer of this size.
    pub const TCP_QUERY: usize = 4_096;
    /// Requests of one HTTP/2 connection that may be under way (RFC 9113 §6.5.2 asks for no fewer than 100).
    pub const HTTP_STREAMS: u32 = 100;
    /// Largest head of an HTTP request: a query in GET has some 200 bytes, the largest 5,500.
    pub const HTTP_HEAD: u32 = 16 * 1024;
    /// Requests that a peer may begin and reset before we have looked at them (CVE-2023-44487).
    pub const HTTP_RESETS: usize = 20;
    /// How long a TCP connection may be idle (RFC 7766 §6.2.3 asks for seconds).
    pub const TCP_IDLE: Bound<Duration> = Bound {
        default: Duration::from_secs(10),
        min: Duration::from_millis(100),
        max: Duration::from_secs(120),
    };
    /// How long a begun query may take to arrive in full, and an answer to be taken: slow peers are cut.
    pub const TCP_MESSAGE_TIME: Bound<Duration> = Bound {
        default: Duration::from_secs(2),
        min: Duration::from_millis(50),
        max: Duration::from_secs(30),
    };
    /// Zones that one server serves; each query is compared with every apex.
    pub const ZONES: usize = 64;
    /// Largest zone file in bytes, those that it includes counted in.
    pub const ZONE_FILE_BYTES: u64 = 64 * 1024 * 1024;
    /// How deep zone files may include one another; more is a mistake sooner than an order.
    pub const ZONE_INCLUDES: usize = 8;
    /// Records that one `$GENERATE` may stand for: a /16 of addresses.
    pub const ZONE_GENERATE: usize = 65_536;
    /// Most records of one zone file.
    pub const ZONE_RECORDS: usize = 1_000_000;
    /// Links of a CNAME chain that one answer follows; a longer chain is left to the resolver.
    pub const ALIASES: usize = 8;
    /// PTR records of one address: who asks wants a name, and agents that share an address are few.
    pub const POINTERS: usize = 16;
    /// TTL of dynamic answers in seconds: 0 makes some resolvers misbehave, long ones keep dead agents alive.
    pub const TTL: Bound<u32> = Bound { default: 5, min: 1, max: 3_600 };
    /// TTL of negative answers in seconds where no zone file says another.
    pub const NEGATIVE_TTL: Bound<u32> = Bound { default: 2, min: 1, max: 3_600 };
    /// Addresses in one answer. The most is also the size of the array that a sample is drawn into.
    pub const SAMPLE: Bound<usize> = Bound { default: 8, min: 1, max: 32 };
    /// Agents of one group that a query for SRV or TXT looks at: more than any message holds, few enough for a query to
    /// cost a fraction of a millisecond whatever the size of the group.
    pub const COUNTED: usize = 4_096;
    /// Shortest secret of a TSIG key in bytes: half of the shortest hash (RFC 8945 §8 warns of short ones).
    pub const TSIG_SECRET: usize = 16;
    /// Counters of response rate limiting, 8 bytes each: 1 MiB. Each source has one for each of four (IPv6: five) prefix
    /// lengths, and most share the wider ones: room for some 50,000 sources that ask within one second.
    pub const RATE_COUNTERS: usize = 128 * 1024;
    /// Answers a second to one address before they are held back.
    pub const RATE: Bound<usize> = Bound { default: 1_000, min: 0, max: 1_000_000 };
    /// Which part of what is held back is answered with TC.
    pub const SLIP: Bound<usize> = Bound { default: 1, min: 0, max: 100 };
    /// Secrets of DNS cookies that hold at once: one in use, one before it, one to come.
    pub const COOKIE_SECRETS: usize = 3;
    /// Longest text that this server says of itself in bytes: NSID and TXT strings are to stay small.
    pub const IDENTITY: usize = 64;
    /// TSIG keys that are held; each signed query is compared with every name.
    pub const TSIG_KEYS: usize = 64;
    /// Secondaries that are served; each NOTIFY address of one is a task.
    pub const SECONDARIES: usize = 64;
    /// Transfers at a time; each holds a version of a zone and one message. Secondaries try again.
    pub const TRANSFERS: usize = 8;
    /// How far a message of a transfer is filled: large ones gain nothing, and each is signed as a whole.
    pub const TRANSFER_FILL: usize = 16 * 1024;
    /// How long a whole transfer may take: 100 MB at 0.3 MB/s. A peer that takes each message late is cut, too.
    pub const TRANSFER_TIME: Duration = Duration::from_secs(300);
    /// Most records of one name and type that a secondary is told of the fleet: 1,000 addresses fill 28 KB at most of
    /// the 64 KB that its answer may have.
    pub const TRANSFER_SET: usize = 1_000;
    /// Most bytes of the data of one name and type of the fleet, for SRV with long names.
    pub const TRANSFER_SET_BYTES: usize = 48 * 1024;
    /// Steps back that IXFR knows of a zone.
    pub const JOURNAL_STEPS: usize = 100;
    /// Most bytes of the records of those steps.
    pub const JOURNAL_BYTES: usize = 4 * 1024 * 1024;
    /// Shortest time between two serials of a zone, and between two NOTIFY of one secondary. Below a second, a serial that
    /// began at the time could overtake it.
    pub const SERIAL_INTERVAL: Bound<Duration> = Bound {
        default: Duration::from_secs(1),
        min: Duration::from_secs(1),
        max: Duration::from_secs(3_600),
    };
    /// How often the registry is asked for the newest serial while nothing happens.
    pub const SERIAL_POLL: Duration = Duration::from_secs(1);
    /// Shortest time between two looks at a fleet that keeps changing.
    pub const SERIAL_LOOK: Duration = Duration::from_millis(100);
    /// How long a replica waits, beyond the interval, for its fleet to become the one that another published. All follow
    /// one registry within milliseconds.
    pub const SERIAL_PATIENCE: Duration = Duration::from_secs(1);
    /// The longest such wait, of replicas that keep disagreeing.
    pub const SERIAL_PATIENCE_MOST: Duration = Duration::from_secs(60);
    /// First wait for the reply to a NOTIFY; doubled each time.
    pub const NOTIFY_WAIT: Duration = Duration::from_secs(1);
    /// How often a NOTIFY is sent in all before it is given up: 1 + 2 + 4 + 8 + 16 + 32 seconds.
    pub const NOTIFY_TRIES: u32 = 6;
    /// Zones that a group's TXT counts; those beyond are summed up.
    pub const TEXT_ZONES: usize = 16;

    /// How long `fingerpost check` waits for one answer of another server: as long as resolvers do.
    pub const ASK_TRY: Duration = Duration::from_millis(1_500);
    /// How often it asks over UDP.
    pub const ASK_TRIES: usize = 2;
    /// Most servers of a zone, and addresses of a server, that it asks: honest delegations have a handful.
    pub const ASK_SERVERS: usize = 16;

    /// Most addresses met a second time while a sample is drawn: a host has a handful of brokers, and a group that is
    /// all one host must not be walked from end to end for each query.
    pub const REPEATED: usize = 256;
}

/// The admin API's bounds.
pub mod admin {
    use super::{Bound, Duration};

    /// Open connections: a page, a scraper and heartbeats over HTTP need few.
    pub const CONNECTIONS: Bound<usize> = Bound { default: 256, min: 1, max: 100_000 };
    /// Share of the connections that one source may hold: the rest is for those who scrape and probe.
    pub const PER_SOURCE: usize = 64;
    /// Largest request body in bytes: a record and no more.
    pub const BODY_BYTES: usize = super::registry::RECORD_BYTES;
    /// Largest request head in bytes (hyper's smallest sensible buffer).
    pub const HEAD_BYTES: usize = 16 * 1024;
    /// Most header fields of one request.
    pub const HEADERS: usize = 64;
    /// How long a request's head may take to arrive; also how long an idle connection is kept.
    pub const HEAD_TIME: Duration = Duration::from_secs(10);
    /// How long a request may take from its head to its answer, a slow body included.
    pub const REQUEST_TIME: Duration = Duration::from_secs(10);
    /// How long a reader may take to accept an answer before the connection is cut, from its first byte.
    pub const CONNECTION_TIME: Duration = Duration::from_secs(300);
    /// Longest text from a request that is repeated in an answer or a log, in bytes.
    pub const ECHO_BYTES: usize = 100;
    /// Shortest token that is accepted, in bytes: shorter ones can be guessed.
    pub const TOKEN_BYTES: usize = 16;
    /// Most bytes that `fingerpost agents` reads of an answer (200,000 agents of 500 bytes).
    pub const ANSWER_BYTES: u64 = 256 * 1024 * 1024;
    /// How long `fingerpost agents` and `fingerpost check` wait for a server.
    pub const CLIENT_TIME: Duration = Duration::from_secs(5);
}

/// Bounds of keys of the configuration whose room has none of its own.
pub mod config {
    use super::Bound;

    /// Largest configuration file in bytes: larger ones are not configurations.
    pub const FILE_BYTES: u64 = 4 * 1024 * 1024;
    /// Agents per zone and group of the demo's fleet.
    pub const DEMO_AGENTS: Bound<usize> = Bound { default: 2, min: 1, max: 40 };
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

/// Bounds of reading the configuration again.
pub mod reload {
    use super::{Bound, Duration};

    /// How often the files are looked at (a stat each, no read). A change is taken at the second look that finds it, so
    /// that a file that is being written is not; 0 is never, for those who would rather send SIGHUP.
    pub const INTERVAL: Bound<Duration> =
        Bound { default: Duration::from_secs(2), min: Duration::ZERO, max: Duration::from_secs(3600) };
    /// How long a server that takes over from another one waits for its first full read of the registry before it
    /// answers: the other one goes on meanwhile, or the questions wait in the sockets that were passed.
    pub const SYNC: Duration = Duration::from_secs(3);
    /// Longest reason of a refusal that `/ready` shows; the log has all of it.
    pub const REASON_CHARS: usize = 2_000;
    /// Requests to reload that wait: any number of signals during a reload asks for one more.
    pub const REQUESTS: usize = 1;
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
