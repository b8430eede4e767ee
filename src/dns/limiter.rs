//! Response rate limiting: a forged source address must not turn us into somebody's flood. Answers over UDP are
//! counted by the network that they go to, at several prefix lengths at once, so that a victim is not flooded by asking
//! in the names of its neighbours.
//!
//! A counter is the time at which all that was sent to its network would have been sent at the allowed rate; it decays
//! by the clock alone. The table has a fixed size. Its words are atomics that are read and written without order: two
//! workers that meet in one word lose a count at worst.

use crate::limits::dns as limits;
use crate::model::Moment;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Prefix lengths that IPv4 is counted by, and how many times one address's rate each may have.
const V4: [(u32, u64); 4] = [(32, 1), (24, 32), (20, 256), (18, 768)];
/// The same of IPv6.
const V6: [(u32, u64); 5] = [(128, 1), (64, 2), (56, 3), (48, 4), (32, 64)];

/// Ticks of a counter in one millisecond: 1/16 µs, fine enough for the widest prefix at the highest rate.
const TICKS: u64 = 16_000;
/// Ticks that may be ahead of the clock: one second's answers may go at once.
const WINDOW: u64 = 1_000 * TICKS;
/// Bits of a word that hold the time; the others tell whose it is. It wraps after 203 days, which `ahead` allows for.
const TIME_BITS: u32 = 48;
const TIME: u64 = (1 << TIME_BITS) - 1;

/// Counters that one network may use: the fullest stay.
const WAYS: usize = 4;
/// How often a word is tried again that another worker changes at the same time.
const TRIES: usize = 3;

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes.
    Pass,
    /// It would have been held back, if limiting were more than counted.
    WouldLimit,
    /// In its place goes one that says: over TCP.
    Truncate,
    /// Nothing goes.
    Drop,
}

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Answers a second to one address; networks may have a multiple.
    pub per_second: u64,
    /// Of what is held back, every so-manieth is answered with TC, the others not at all; 0: none.
    pub slip: u64,
    /// Whether it is only counted what would be held back.
    pub dry_run: bool,
}

/// The counters.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    /// What an answer costs at each prefix length, in ticks.
    costs: ([u64; V4.len()], [u64; V6.len()]),
    table: Arc<[Line]>,
    /// Keeps others from choosing addresses that share counters.
    seed: u64,
}

/// Counters that share a hash. None crosses a cache line.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Line([AtomicU64; WAYS]);

impl Limiter {
    /// Counters at zero. `seed` is to be unknown to others.
    pub fn new(rate: Rate, seed: u64) -> Self {
        let table = (0..limits::RATE_COUNTERS / WAYS).map(|_| Line::default()).collect();
        let cost = |times: u64| WINDOW.div_ceil(rate.per_second.saturating_mul(times).max(1));
        let costs = (V4.map(|(_, times)| cost(times)), V6.map(|(_, times)| cost(times)));
        Self { rate, costs, table, seed }
    }

    /// Goes on with the counters of another one: they hold times, which mean the same at any rate.
    pub fn inherit(&mut self, before: &Self) {
        (self.table, self.seed) = (Arc::clone(&before.table), before.seed);
    }

    /// Counts an answer to `peer`. `random` decides about slipping.
    #[inline]
    pub fn judge(&self, peer: IpAddr, now: Moment, random: u64) -> Verdict {
        if self.allows(peer, now) { Verdict::Pass } else { self.held_back(random) }
    }

    #[cold]
    fn held_back(&self, random: u64) -> Verdict {
        match self.rate.slip {
            _ if self.rate.dry_run => Verdict::WouldLimit,
            0 => Verdict::Drop,
            slip if random.is_multiple_of(slip) => Verdict::Truncate,
            _ => Verdict::Drop,
        }
    }

    /// From the narrowest network to the widest. What the narrow one holds back is not counted for the wide one: one
    /// loud host does not use up its neighbours' share.
    fn allows(&self, peer: IpAddr, now: Moment) -> bool {
        let now = now.millis().wrapping_mul(TICKS) & TIME;
        match peer.to_canonical() {
            IpAddr::V4(v4) => V4.iter().zip(&self.costs.0).all(|((len, _), cost)| {
                let network = u64::from(v4.to_bits() >> (32 - len));
                self.count(mix(self.seed ^ network << 8 ^ u64::from(*len)), *cost, now)
            }),
            IpAddr::V6(v6) => V6.iter().zip(&self.costs.1).all(|((len, _), cost)| {
                let network = v6.to_bits() >> (128 - len);
                let high = mix(self.seed ^ (network >> 64) as u64);
                self.count(mix(high ^ network as u64 ^ u64::from(*len) << 56), *cost, now)
            }),
        }
    }

    /// Counts one answer at the counter of `hash`, unless that is full.
    #[inline]
    fn count(&self, hash: u64, cost: u64, now: u64) -> bool {
        let at = ((u128::from(hash) * self.table.len() as u128) >> 64) as usize;
        let Some(Line(words)) = self.table.get(at) else { return true };
        // The low bits choose no line (the high ones do), so they tell apart what shares one. 0 is nobody.
        let whose = (hash | 1) << TIME_BITS;
        for _ in 0..TRIES {
            let (mut best, mut found, mut least) = (None, 0, u64::MAX);
            for word in words {
                let value = word.load(Ordering::Relaxed);
                let (ahead, own) = (ahead(value, now), value & !TIME == whose);
                if own || ahead < least {
                    (best, found, least) = (Some(word), value, if own { 0 } else { ahead });
                }
                if own {
                    break;
                }
            }
            let Some(word) = best else { return true };
            let used = if found & !TIME == whose { ahead(found, now) } else { 0 };
            if used + cost > WINDOW {
                return false;
            }
            let next = whose | (now.wrapping_add(used + cost) & TIME);
            if word.compare_exchange_weak(found, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
        true
    }
}

/// Ticks that a counter is ahead of the clock. One that is farther ahead than it can be is from long ago.
#[inline]
fn ahead(word: u64, now: u64) -> u64 {
    match word.wrapping_sub(now) & TIME {
        ahead if ahead <= WINDOW => ahead,
        _ => 0,
    }
}

/// Splitmix64's last steps: every bit of the result depends on every bit of `z`.
#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const RATE: Rate = Rate { per_second: 50, slip: 1, dry_run: false };

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    /// How many of `count` answers pass, asked by the addresses in turn at one moment.
    fn passed(limiter: &Limiter, addresses: &[IpAddr], now: u64, count: usize) -> usize {
        let asked = addresses.iter().cycle().take(count);
        asked.filter(|peer| limiter.judge(**peer, at(now), 0) == Verdict::Pass).count()
    }

    #[test]
    fn a_seconds_answers_go_at_once_and_then_as_the_clock_allows() {
        let limiter = Limiter::new(RATE, 1);
        let peer = [IpAddr::from([192, 0, 2, 1])];
        assert_eq!(passed(&limiter, &peer, 1_000, 200), 50);
        assert_eq!(passed(&limiter, &peer, 1_000, 200), 0);
        assert_eq!(passed(&limiter, &peer, 1_100, 200), 5, "a tenth of a second gives five");
        assert_eq!(passed(&limiter, &peer, 60_000, 200), 50, "and no time gives more than a second's");
        assert_eq!(passed(&limiter, &["192.0.2.2".parse().unwrap()], 60_000, 200), 50, "another has its own");
        assert_eq!(
            passed(&limiter, &["::ffff:192.0.2.2".parse().unwrap()], 60_000, 9),
            0,
            "in other clothes"
        );
    }

    #[test]
    fn networks_are_limited_where_no_address_is() {
        let limiter = Limiter::new(RATE, 2);
        let of = |network: fn(u32) -> IpAddr, count: u32| (0..count).map(network).collect::<Vec<_>>();
        let c24 = of(|n| Ipv4Addr::from(0xc000_0200 | (n % 256)).into(), 256);
        assert_eq!(passed(&limiter, &c24, 1_000, 5_000), 50 * 32);
        let c20 = of(|n| Ipv4Addr::from(0x0a00_1000 | (n % 4_096)).into(), 4_096);
        assert_eq!(passed(&limiter, &c20, 1_000, 40_000), 50 * 256);
        let c18 = of(|n| Ipv4Addr::from(0x0a01_0000 | (n % 16_384)).into(), 16_384);
        let of_18 = passed(&limiter, &c18, 1_000, 100_000);
        assert!((50 * 767..=50 * 768).contains(&of_18), "{of_18}: a tick is 1/16 µs, rounded up");
        let v6 = |bits: u128| IpAddr::V6(Ipv6Addr::from(0x2001_0db8 << 96 | bits));
        let many = |shift: u32| (0..4_000u128).map(|n| v6(n << shift)).collect::<Vec<_>>();
        assert_eq!(passed(&limiter, &many(0), 1_000, 4_000), 50 * 2, "one /64");
        assert_eq!(passed(&limiter, &many(80), 60_000, 4_000), 50 * 64, "one /32");
    }

    #[test]
    fn a_loud_host_does_not_use_up_its_neighbours_share() {
        let limiter = Limiter::new(RATE, 3);
        assert_eq!(passed(&limiter, &["192.0.2.1".parse().unwrap()], 1_000, 100_000), 50);
        assert_eq!(passed(&limiter, &["192.0.2.2".parse().unwrap()], 1_000, 100), 50);
    }

    #[test]
    fn what_is_held_back_slips_is_dropped_or_only_counted() {
        let verdicts = |slip, dry_run| {
            let limiter = Limiter::new(Rate { slip, dry_run, ..RATE }, 4);
            let peer = "192.0.2.1".parse().unwrap();
            let all = (0..650u64).map(|random| limiter.judge(peer, at(1_000), random));
            all.skip(50).fold([0; 3], |[would, truncate, drop], verdict| match verdict {
                Verdict::Pass => panic!("nothing passes any more"),
                Verdict::WouldLimit => [would + 1, truncate, drop],
                Verdict::Truncate => [would, truncate + 1, drop],
                Verdict::Drop => [would, truncate, drop + 1],
            })
        };
        assert_eq!(verdicts(1, false), [0, 600, 0]);
        assert_eq!(verdicts(3, false), [0, 200, 400]);
        assert_eq!(verdicts(0, false), [0, 0, 600]);
        assert_eq!(verdicts(2, true), [600, 0, 0]);
    }

    #[test]
    fn a_flood_of_sources_leaves_the_innocent_alone_and_the_clock_may_wrap() {
        let limiter = Limiter::new(RATE, 5);
        let mut random = fastrand::Rng::with_seed(6);
        for _ in 0..2_000_000 {
            limiter.judge(Ipv4Addr::from(random.u32(..)).into(), at(1_000), 0);
        }
        let innocent = (0..2_000u32).map(|n| Ipv4Addr::from(0x0900_0000 | n << 8).into());
        let held = innocent.filter(|peer| limiter.judge(*peer, at(1_001), 0) != Verdict::Pass).count();
        assert!(held < 20, "{held} of 2000 share a full counter");
        let peer = [IpAddr::from([198, 51, 100, 1])];
        let wrap = (TIME + 1) / TICKS;
        assert_eq!(passed(&limiter, &peer, wrap - 1, 200), 50);
        assert_eq!(passed(&limiter, &peer, wrap + 99, 200), 5);
    }
}
