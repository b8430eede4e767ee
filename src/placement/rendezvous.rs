//! Weighted rendezvous hashing: of several agents the one that is nearest to a key. No state, the same on every
//! replica; an agent that comes or goes moves only its own share of the keys.
//!
//! Each agent has a hash `h` for the key. The smallest `-log2((h + 1) / 2^64) / weight` wins, then the larger `h`, then the
//! smaller agent id. The logarithm is a fixed-point number with 32 binary places computed with integers only, so that
//! no two machines round it differently. Weight 0 takes nothing while others can.

use super::roster::Broker;
use std::cmp::Ordering;

/// The nearest of `brokers`; none only if there are none.
pub fn choose<'a>(brokers: &[&'a Broker], hash: impl Fn(&Broker) -> u64) -> Option<&'a Broker> {
    let scale = Scale::of(brokers);
    let mut best: Option<(Score, &'a Broker)> = None;
    for broker in brokers {
        let Some(score) = scale.score(broker, hash(broker)) else { continue };
        if best.as_ref().is_none_or(|(have, other)| nearer((&score, broker), (have, other)).is_lt()) {
            best = Some((score, broker));
        }
    }
    best.map(|(_, broker)| broker)
}

/// Sorts `brokers`, the nearest first and those of weight 0 last.
pub fn rank(brokers: &mut [&Broker], hash: impl Fn(&Broker) -> u64) {
    let scale = Scale::of(brokers);
    brokers.sort_by_cached_key(|broker| Ranked {
        score: scale.score(broker, hash(broker)),
        broker: (*broker).clone(),
    });
}

/// How weights count among some agents.
struct Scale {
    /// All weigh 0, which then counts as 1.
    weightless: bool,
    /// All weigh the same: no logarithm is needed, for the larger hash has the smaller one.
    equal: bool,
}

impl Scale {
    fn of(brokers: &[&Broker]) -> Self {
        let weights = || brokers.iter().map(|broker| broker.agent.record.weight);
        let heaviest = weights().max().unwrap_or(0);
        Self { weightless: heaviest == 0, equal: weights().min() == Some(heaviest) }
    }

    /// `None` for weight 0 while others have some.
    fn score(&self, broker: &Broker, hash: u64) -> Option<Score> {
        let weight = if self.weightless { 1 } else { broker.agent.record.weight };
        let distance = if self.equal { 0 } else { neg_log2(hash) };
        (weight > 0).then_some(Score { distance, weight, hash })
    }
}

/// How far an agent is from a key.
pub(super) struct Score {
    pub(super) distance: u64,
    pub(super) weight: u16,
    pub(super) hash: u64,
}

impl Score {
    /// `Less` is nearer. Compares distance / weight without dividing.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let ours = u128::from(self.distance) * u128::from(other.weight);
        let theirs = u128::from(other.distance) * u128::from(self.weight);
        ours.cmp(&theirs).then(other.hash.cmp(&self.hash))
    }
}

fn nearer((score, broker): (&Score, &Broker), (other, than): (&Score, &Broker)) -> Ordering {
    score.compare(other).then_with(|| broker.agent.key.agent.cmp(&than.agent.key.agent))
}

/// A broker in the order of nearness.
struct Ranked {
    score: Option<Score>,
    broker: Broker,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.score, &other.score) {
            (Some(ours), Some(theirs)) => nearer((ours, &self.broker), (theirs, &other.broker)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.broker.agent.key.agent.cmp(&other.broker.agent.key.agent),
        }
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

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
    use super::*;

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
