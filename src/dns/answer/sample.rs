//! A few addresses out of many, drawn evenly and without allocation.
//!
//! Complete answers do not balance: resolvers and getaddrinfo sort them (RFC 6724) and all clients meet the same
//! agent. A small random sample does.

use crate::limits::dns as limits;
use crate::model::{Agent, Lease, Moment, ReadyAddresses};

/// Addresses of one family, with the TTL that they may be kept for.
#[derive(Clone, Copy, Debug)]
pub struct Sample<const N: usize> {
    octets: [[u8; N]; limits::SAMPLE.max],
    len: usize,
    /// TTL in seconds, 1 or more.
    pub ttl: u32,
}

impl<const N: usize> Sample<N> {
    /// An empty sample with the longest TTL that it may have.
    pub fn new(ttl: u32) -> Self {
        Self { octets: [[0; N]; limits::SAMPLE.max], len: 0, ttl: ttl.max(1) }
    }

    /// Up to `most` of those addresses whose lease runs; the TTL ends with the first of those leases.
    pub fn draw(from: ReadyAddresses<'_, N>, most: usize, ttl: u32, now: Moment, entropy: u64) -> Self {
        let mut sample = Self::new(ttl);
        let most = most.min(limits::SAMPLE.max);
        if from.all_run_for(now, u64::from(ttl) * 1_000) {
            for octets in from.walk(entropy).octets() {
                if sample.len >= most {
                    break;
                }
                sample.push_once(octets);
            }
            return sample;
        }
        let (mut shortest, mut repeated) = (u64::MAX, 0);
        for slot in from.walk(entropy) {
            let left = slot.lease.left(now);
            if left == 0 {
                continue;
            }
            if sample.len >= most || repeated > limits::REPEATED {
                break;
            }
            match sample.push_once(slot.octets) {
                true => shortest = shortest.min(left),
                false => repeated += 1,
            }
        }
        sample.ttl = sample.ttl.min(seconds(shortest));
        sample
    }

    /// As [`Sample::draw`], out of several groups: each address of them all has the same chance. Looks at every
    /// one of them, which is what a group-blind name costs.
    pub fn draw_of_all<'a>(
        parts: impl Iterator<Item = ReadyAddresses<'a, N>>,
        most: usize,
        ttl: u32,
        now: Moment,
        entropy: u64,
    ) -> Self {
        let mut sample = Self::new(ttl);
        let mut leases: [Option<&std::sync::Arc<Lease>>; limits::SAMPLE.max] = [None; limits::SAMPLE.max];
        let (mut seen, mut random) = (0u64, entropy);
        for slot in parts.flat_map(|part| part.walk(entropy)).filter(|slot| slot.lease.is_live(now)) {
            if sample.has(slot.octets) {
                continue;
            }
            seen += 1;
            let at = if sample.len < most.min(limits::SAMPLE.max) {
                sample.push(*slot.octets);
                sample.len - 1
            } else {
                random = mix(random);
                ((u128::from(random) * u128::from(seen)) >> 64) as usize
            };
            if let (Some(octets), Some(lease)) = (sample.octets.get_mut(at), leases.get_mut(at))
                && at < sample.len
            {
                (*octets, *lease) = (*slot.octets, Some(slot.lease));
            }
        }
        for lease in leases.iter().flatten() {
            sample.ttl = sample.ttl.min(seconds(lease.left(now)));
        }
        sample
    }

    /// The addresses of one agent, in its record's order.
    pub fn of_agent(addresses: impl Iterator<Item = [u8; N]>, ttl: u32) -> Self {
        let mut sample = Self::new(ttl);
        addresses.for_each(|octets| _ = sample.push_once(&octets));
        sample
    }

    fn has(&self, octets: &[u8; N]) -> bool {
        self.iter().any(|have| have == octets)
    }

    /// Adds an address unless it is there: two brokers of one host are one address, and an RRset holds no record twice
    /// (RFC 2181 §5). Whether it was new.
    pub fn push_once(&mut self, octets: &[u8; N]) -> bool {
        let new = !self.has(octets);
        if new {
            self.push(*octets);
        }
        new
    }

    /// Adds an address; one too many is left out.
    pub fn push(&mut self, octets: [u8; N]) {
        if let Some(place) = self.octets.get_mut(self.len) {
            *place = octets;
            self.len += 1;
        }
    }

    /// The addresses.
    pub fn iter(&self) -> impl Iterator<Item = &[u8; N]> {
        self.octets.get(..self.len).unwrap_or_default().iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Whole seconds of a lease left, rounded down so that no answer outlives it, and 1 at least.
pub fn seconds(millis: u64) -> u32 {
    u32::try_from(millis / 1_000).unwrap_or(u32::MAX).max(1)
}

/// The TTL of what depends on one agent alone.
pub fn ttl_of(agent: &Agent, ttl: u32, now: Moment) -> u32 {
    ttl.min(seconds(agent.lease.left(now)))
}

/// The next number of a sequence (splitmix64): spreads one random number over many draws.
pub fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
