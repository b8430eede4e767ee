//! The one hash that replicas agree by: SipHash-1-3 with 64-bit output and fixed, public keys. It spreads; it does
//! not protect, for whoever chooses names here is an operator.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The key of node ids.
pub const NODE: &[u8; 16] = b"fingerpost-nodes";
/// The key of coordinators.
pub const COORDINATOR: &[u8; 16] = b"fingerpost-coord";
/// The key of topic ids that nobody else gave.
pub const TOPIC: &[u8; 16] = b"fingerpost-topic";
/// The key of cluster ids.
pub const CLUSTER: &[u8; 16] = b"fingerpost-clust";

/// The key of agents that are near to clients: `sticky`, and whom `broker_count` keeps.
pub const CLIENT: &[u8; 16] = b"fingerpost-users";
/// The key of agents' seeds in strategy `consistent`.
pub const SEED: &[u8; 16] = b"fingerpost-agent";
/// The key of topics in strategies `consistent` and `equal_spread`.
pub const TOPIC_LEADER: &[u8; 16] = b"fingerpost-parts";

/// SplitMix64's finaliser: each bit of the result depends on every bit of `z`. Much cheaper than [`sip13`], for what has
/// been through that already.
pub const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The hash of `parts`, one after the other without anything between.
pub fn sip13(key: &[u8; 16], parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}

/// 16 bytes made of `parts`: the hashes of `parts ‖ 00` and `parts ‖ 01`, big endian, with the version (8) and variant
/// bits of a UUID (RFC 9562 §5.8), so never zero; the topmost bit is 0, so that its base64url form never begins with
/// `-`, which command lines would take for a flag.
pub fn id128(key: &[u8; 16], parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = SipHasher13::new_with_key(key);
    parts.iter().for_each(|part| hasher.write(part));
    let half = |last: u8| {
        let mut hasher = hasher;
        hasher.write(&[last]);
        hasher.finish()
    };
    let id = (u128::from(half(0)) << 64) | u128::from(half(1));
    let id = id & !(1 << 127) & !(0xf << 76) & !(0b11 << 62) | (8 << 76) | (0b10 << 62);
    id.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_hashed_as_one_text() {
        assert_eq!(sip13(NODE, &[b"ab", b"", b"c"]), sip13(NODE, &[b"abc"]));
        assert_ne!(sip13(NODE, &[b"abc"]), sip13(COORDINATOR, &[b"abc"]));
    }

    #[test]
    fn ids_are_uuids_of_version_8() {
        for name in ["", "orders", "payments", "x"] {
            let id = id128(TOPIC, &[name.as_bytes()]);
            assert_eq!((id[0] >> 7, id[6] >> 4, id[8] >> 6), (0, 8, 2));
        }
    }
}
