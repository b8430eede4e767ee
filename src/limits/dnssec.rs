//! The bounds of signing DNS data.

use super::{Bound, Duration};

/// Keys of one zone, old ones included: a rollover of two algorithms has eight.
pub const KEYS: usize = 32;
/// Files of a folder of keys that are looked at.
pub const FOLDER_FILES: usize = 10_000;
/// Bytes that are read of a key file; real ones have less than one KiB.
pub const KEY_FILE_BYTES: u64 = 16 * 1024;
/// How long a signature is valid. Short enough that a stolen one is of little use, long enough that a server that
/// stood still over a weekend can be brought back.
pub const VALIDITY: Bound<Duration> = Bound {
    default: Duration::from_secs(7 * 86_400),
    min: Duration::from_secs(3_600),
    max: Duration::from_secs(28 * 86_400),
};
/// A signature is renewed when this part of its validity is left: 1/4.
pub const RENEW_AT: u64 = 4;
/// Signatures end up to this part of their validity earlier than they could, each at a moment of its own, so that
/// they are not renewed all at once: 1/8.
pub const JITTER: u64 = 8;
/// Signatures begin this much earlier than they are made: clocks of validators differ (RFC 6781 §4.4.2).
pub const INCEPTION: u64 = 3_600;
/// TTL of DNSKEY, CDS and CDNSKEY: how fast a rollover can go, and how often resolvers ask.
pub const DNSKEY_TTL: Bound<u32> = Bound { default: 3_600, min: 1, max: 86_400 };
/// How often the folders of keys are looked at, and signatures for whether they are due.
pub const TICK: Duration = Duration::from_secs(1);
/// Every how many ticks the folders of keys are read again.
pub const RELOAD_TICKS: u32 = 10;
/// Signatures that are kept of names that exist; each has some 700 bytes.
pub const SIGNATURES: usize = 65_536;
/// Signatures that are kept of names that only their question made: denials, wildcards, `az-` of no known zone.
pub const MADE_UP: usize = 8_192;
/// Signatures per second that queries for existing names may cause: a quarter of a processor at 50 us each. Only
/// data that is new, or was forgotten, needs one.
pub const STABLE_RATE: u64 = 5_000;
/// Signatures per second over UDP for names that only their question made: a twentieth of a processor. Beyond it
/// the answer is TC: who is real comes back over TCP.
pub const MADE_UP_RATE: u64 = 1_000;
/// The same over TCP, where beyond it the answer is SERVFAIL.
pub const MADE_UP_TCP_RATE: u64 = 1_000;
/// How many seconds' worth of these rates may come at once.
pub const BURST_SECONDS: u64 = 2;
/// Signatures that one answer may cause for its additional section: what has none yet beyond that is left out.
pub const EXTRAS: usize = 8;
/// Samples of a group's addresses that signed answers are chosen from at a time.
pub const SAMPLES: u64 = 8;
/// How long these samples are offered before others are: every address is to be met.
pub const SAMPLE_SECONDS: u64 = 60;
/// A signature that nobody asked for during this time is not renewed, in seconds.
pub const UNUSED: u64 = 86_400;

/// Bytes of a message over a stream that an answer leaves for the signatures of its largest set: three of the longest
/// names.
pub const SIGNED_ROOM: usize = 1_024;
