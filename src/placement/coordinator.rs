//! FindCoordinator's choice: weighted rendezvous hashing. No state, the same on every replica, and an agent that
//! comes or goes moves only its own share of the keys.
//!
//! For each eligible agent `h = SipHash-1-3(key "fingerpost-coord", agent ‖ 00 ‖ type ‖ key)`; the smallest
//! `-log2((h + 1) / 2^64) / weight` wins, then the larger `h`, then the smaller agent id. The logarithm is a fixed-point
//! number with 32 binary places computed with integers only, so that no two machines round it differently.

use super::hash::{COORDINATOR, sip13};
use super::roster::Broker;
use std::cmp::Ordering;

/// The coordinator of `key` (of FindCoordinator's key type) among `eligible`; none only if that is empty.
pub fn choose<'a>(eligible: &[&'a Broker], key_type: i8, key: &[u8]) -> Option<&'a Broker> {
    let lightest = eligible.iter().map(|broker| broker.agent.record.weight).min()?;
    let heaviest = eligible.iter().map(|broker| broker.agent.record.weight).max()?;
    let mut best: Option<(Score, &'a Broker)> = None;
    for broker in eligible {
        // Weight 0 takes nothing while others can.
        let weight = if heaviest == 0 { 1 } else { broker.agent.record.weight };
        if weight == 0 {
            continue;
        }
        let agent = broker.agent.key.agent.as_str();
        let hash = sip13(COORDINATOR, &[agent.as_bytes(), &[0], &key_type.to_be_bytes(), key]);
        // Equal weights need no logarithm: the larger hash has the smaller one.
        let distance = if lightest == heaviest { 0 } else { neg_log2(hash) };
        let score = Score { distance, weight, hash };
        let wins = best.as_ref().is_none_or(|(have, other)| match score.compare(have) {
            Ordering::Less => true,
            Ordering::Equal => broker.agent.key.agent < other.agent.key.agent,
            Ordering::Greater => false,
        });
        if wins {
            best = Some((score, broker));
        }
    }
    best.map(|(_, broker)| broker)
}

/// How far an agent is from a key.
struct Score {
    distance: u64,
    weight: u16,
    hash: u64,
}

impl Score {
    /// `Less` is nearer. Compares distance / weight without dividing.
    fn compare(&self, other: &Self) -> Ordering {
        let ours = u128::from(self.distance) * u128::from(other.weight);
        let theirs = u128::from(other.distance) * u128::from(self.weight);
        ours.cmp(&theirs).then(other.hash.cmp(&self.hash))
    }
}

/// `-log2((h + 1) / 2^64)` in units of 2^-32, rounded up: 64 minus the binary logarithm, bit by bit by squaring.
pub fn neg_log2(h: u64) -> u64 {
    let n = u128::from(h) + 1;
    let whole = 127 - u64::from(n.leading_zeros());
    // The mantissa in [1, 2) with 63 binary places.
    let mut mantissa = if whole >= 63 { n >> (whole - 63) } else { n << (63 - whole) };
    let mut fraction = 0u64;
    for _ in 0..32 {
        mantissa = (mantissa * mantissa) >> 63;
        fraction <<= 1;
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            fraction |= 1;
        }
    }
    (64 << 32) - ((whole << 32) | fraction)
}

#[cfg(test)]
mod tests {
    use super::super::roster::Roster;
    use super::super::roster::tests::{agent, group};
    use super::*;
    use crate::model::{Agent, Moment, Record, State};
    use std::collections::HashMap;
    use std::sync::Arc;

    fn roster(count: usize, weight: impl Fn(usize) -> u16) -> Roster {
        let agents = (0..count)
            .map(|i| {
                let agent = agent("g", &format!("agent-{i}"), None, State::Ready, 1_000);
                let record = Record { weight: weight(i), ..(*agent.record).clone() };
                Arc::new(Agent { record: Arc::new(record), ..(*agent).clone() })
            })
            .collect();
        Roster::of(&group("g", 1, agents))
    }

    fn chosen(eligible: &[&Broker], keys: usize) -> Vec<String> {
        (0..keys)
            .map(|i| {
                choose(eligible, 0, format!("group-{i}").as_bytes()).unwrap().agent.key.agent.to_string()
            })
            .collect()
    }

    #[test]
    fn a_leaver_moves_only_its_own_keys() {
        let roster = roster(12, |_| 100);
        let all = roster.eligible(Moment::from_millis(1));
        let without: Vec<&Broker> =
            all.iter().copied().filter(|b| b.agent.key.agent.as_str() != "agent-3").collect();
        let (before, after) = (chosen(&all, 5_000), chosen(&without, 5_000));
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || before == "agent-3");
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        before.iter().for_each(|agent| *counts.entry(agent).or_default() += 1);
        assert!(counts.len() == 12 && counts.values().all(|count| (300..540).contains(count)), "{counts:?}");
    }

    #[test]
    fn weight_is_the_share_of_keys_and_zero_takes_none_while_others_can() {
        let roster = roster(3, |i| [100, 300, 0][i]);
        let all = roster.eligible(Moment::from_millis(1));
        let keys = chosen(&all, 8_000);
        let of = |agent| keys.iter().filter(|have| *have == agent).count();
        assert!((1_800..2_200).contains(&of("agent-0")), "{}", of("agent-0"));
        assert_eq!(of("agent-2"), 0);
        let weightless: Vec<&Broker> = all.iter().copied().filter(|b| b.agent.record.weight == 0).collect();
        assert!(choose(&weightless, 0, b"x").is_some());
        assert!(choose(&[], 0, b"x").is_none());
    }

    #[test]
    fn the_logarithm_is_right_to_nine_places_and_never_rises() {
        assert_eq!(neg_log2(u64::MAX), 0);
        assert_eq!(neg_log2((1 << 63) - 1), 1 << 32);
        assert_eq!(neg_log2(0), 64 << 32);
        let mut last = neg_log2(0);
        for step in 0..10_000u64 {
            let h = step * (u64::MAX / 10_000) + step * step;
            let exact = 64.0 - ((h as f64) + 1.0).log2();
            let got = neg_log2(h);
            assert!((got as f64 / 2f64.powi(32) - exact).abs() < 1e-9, "{h}: {got} {exact}");
            assert!(got <= last);
            last = got;
        }
    }
}
