//! One group, ready for answers: agents sorted by id, and the addresses of its ready agents in wire form, zone by
//! zone. It is built anew when one of its agents changes, and never touched by a renewal.

use super::agent::{Agent, State};
use super::ids::{AgentId, Cluster, GroupName, Zone};
use super::liveness::{Lease, Moment};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// An agent that is gone, whose own name still resolves for a while (clients may hold the name).
#[derive(Clone, Debug)]
pub struct Departed {
    /// The agent as it was last seen.
    pub agent: Arc<Agent>,
    /// Until when its name resolves.
    pub until: Moment,
}

/// One address of one ready agent, as it goes into an answer.
#[derive(Clone, Debug)]
pub struct AddressSlot<const N: usize> {
    /// The address in network order.
    pub octets: [u8; N],
    /// Its agent's lease: compare it with the clock before the address is told to anyone.
    pub lease: Arc<Lease>,
}

/// The addresses of one family of a group's ready agents: zone after zone, agents without a zone last.
#[derive(Clone, Debug, Default)]
pub struct Addresses<const N: usize> {
    slots: Box<[AddressSlot<N>]>,
    /// Sorted by zone.
    zones: Box<[(Zone, Range<usize>)]>,
}

/// All slots of a part of a group, for [`Walk`].
#[derive(Clone, Copy, Debug)]
pub struct ReadyAddresses<'a, const N: usize>(&'a [AddressSlot<N>]);

/// Ready agents by zone; those without one come last.
type ByZone<'a> = BTreeMap<(bool, Option<&'a Zone>), Vec<&'a Agent>>;

fn ready_by_zone(agents: &[Arc<Agent>]) -> ByZone<'_> {
    let mut zones = ByZone::new();
    for agent in agents.iter().filter(|agent| agent.record.state == State::Ready) {
        let zone = agent.record.zone.as_ref();
        zones.entry((zone.is_none(), zone)).or_default().push(agent);
    }
    zones
}

impl<const N: usize> Addresses<N> {
    fn build<'a, I>(zones: &ByZone<'a>, octets_of: impl Fn(&'a Agent) -> I) -> Self
    where
        I: Iterator<Item = [u8; N]>,
    {
        let mut slots = Vec::with_capacity(zones.values().map(Vec::len).sum());
        let mut ranges: Vec<(Zone, Range<usize>)> = Vec::with_capacity(zones.len());
        for ((_, zone), agents) in zones {
            let start = slots.len();
            for agent in agents {
                slots.extend(
                    octets_of(agent).map(|octets| AddressSlot { octets, lease: Arc::clone(&agent.lease) }),
                );
            }
            if let Some(zone) = zone {
                ranges.push(((*zone).clone(), start..slots.len()));
            }
        }
        Self { slots: slots.into(), zones: ranges.into() }
    }

    /// Every address of every ready agent.
    pub fn all(&self) -> ReadyAddresses<'_, N> {
        ReadyAddresses(&self.slots)
    }

    /// Those of the agents of one zone; empty for an unknown zone.
    pub fn of_zone(&self, zone: &str) -> ReadyAddresses<'_, N> {
        let range = self
            .zones
            .binary_search_by(|(have, _)| have.as_str().cmp(zone))
            .ok()
            .and_then(|at| self.zones.get(at))
            .map(|(_, range)| range.clone())
            .unwrap_or_default();
        ReadyAddresses(self.slots.get(range).unwrap_or_default())
    }
}

impl<'a, const N: usize> ReadyAddresses<'a, N> {
    /// How many there are, lapsed leases included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any of them has a live lease.
    pub fn any_live(&self, now: Moment) -> bool {
        self.0.iter().any(|slot| slot.lease.is_live(now))
    }

    /// Visits every slot once, in an order that `entropy` decides.
    pub fn walk(self, entropy: u64) -> Walk<'a, N> {
        Walk::new(self.0, entropy)
    }
}

/// Visits every slot once without allocating, in an order drawn by `entropy`: slots are steps of a random stride
/// modulo a prime, from a random start, so that each slot is first with the same chance, and so is each pair.
#[derive(Clone, Debug)]
pub struct Walk<'a, const N: usize> {
    slots: &'a [AddressSlot<N>],
    prime: u64,
    at: u64,
    stride: u64,
    steps_left: u64,
}

impl<'a, const N: usize> Walk<'a, N> {
    fn new(slots: &'a [AddressSlot<N>], entropy: u64) -> Self {
        let prime = prime_from(slots.len() as u64);
        // Two draws from disjoint halves; the multiply-shift maps 32 bits on [0, n) without a division.
        let at = (u64::from(entropy as u32) * prime) >> 32;
        let stride = 1 + ((u64::from((entropy >> 32) as u32) * (prime - 1)) >> 32);
        Self { slots, prime, at, stride, steps_left: prime }
    }
}

impl<'a, const N: usize> Iterator for Walk<'a, N> {
    type Item = &'a AddressSlot<N>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.steps_left > 0 {
            self.steps_left -= 1;
            let here = self.slots.get(self.at as usize);
            self.at += self.stride;
            if self.at >= self.prime {
                self.at -= self.prime;
            }
            if here.is_some() {
                return here;
            }
        }
        None
    }
}

/// The smallest prime that is at least `n` (and at least 2). Prime gaps below a million are under 115, so a walk
/// skips few steps; trial division costs √n and n is small.
fn prime_from(n: u64) -> u64 {
    let is_prime = |n: u64| n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    (n.max(2)..).find(|candidate| is_prime(*candidate)).unwrap_or(2)
}

/// All that answers need to know of one group.
#[derive(Debug)]
pub struct Group {
    /// Its cluster.
    pub cluster: Cluster,
    /// Its name.
    pub name: GroupName,
    /// Differs between any two builds of this group within this process: caches of what was made of it compare it.
    pub version: u64,
    agents: Box<[Arc<Agent>]>,
    departed: Box<[Departed]>,
    v4: Addresses<4>,
    v6: Addresses<16>,
}

impl Group {
    /// Builds the group from its agents (in any order, each id once) and those that left it lately.
    pub fn build(
        cluster: Cluster,
        name: GroupName,
        version: u64,
        mut agents: Vec<Arc<Agent>>,
        departed: Vec<Departed>,
    ) -> Self {
        agents.sort_by(|a, b| a.key.agent.cmp(&b.key.agent));
        let zones = ready_by_zone(&agents);
        let v4 = Addresses::build(&zones, |agent| agent.record.v4().map(|address| address.octets()));
        let v6 = Addresses::build(&zones, |agent| agent.record.v6().map(|address| address.octets()));
        Self { cluster, name, version, agents: agents.into(), departed: departed.into(), v4, v6 }
    }

    /// Every agent that is held, ready or draining, sorted by id. Compare leases with the clock.
    pub fn agents(&self) -> &[Arc<Agent>] {
        &self.agents
    }

    /// The agents whose lease runs at `now`, sorted by id.
    pub fn live(&self, now: Moment) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.iter().filter(move |agent| agent.is_live(now))
    }

    /// The agents that take new clients at `now`, sorted by id.
    pub fn ready(&self, now: Moment) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.iter().filter(move |agent| agent.is_ready(now))
    }

    /// Agents that left lately.
    pub fn departed(&self) -> &[Departed] {
        &self.departed
    }

    /// IPv4 addresses of ready agents.
    pub fn v4(&self) -> &Addresses<4> {
        &self.v4
    }

    /// IPv6 addresses of ready agents.
    pub fn v6(&self) -> &Addresses<16> {
        &self.v6
    }

    /// The agent of exactly this id, live or not, departed ones (while their name resolves at `now`) included.
    pub fn agent(&self, id: &str, now: Moment) -> Option<&Arc<Agent>> {
        match self.agents.binary_search_by(|agent| agent.key.agent.as_str().cmp(id)) {
            Ok(at) => self.agents.get(at),
            Err(_) => self
                .departed
                .iter()
                .find(|gone| gone.agent.key.agent.as_str() == id && gone.until > now)
                .map(|gone| &gone.agent),
        }
    }

    /// The agent that owns `label`: the one of that id, else the only one whose `-` twin it is.
    pub fn agent_by_label(&self, label: &str, now: Moment) -> Option<&Arc<Agent>> {
        self.agent(label, now).or_else(|| {
            let gone = self.departed.iter().filter(|gone| gone.until > now).map(|gone| &gone.agent);
            only(self.agents.iter().chain(gone).filter(|agent| is_twin(agent.key.agent.as_str(), label)))
        })
    }

    /// The zone that owns `label`: that zone, else the only one whose `-` twin it is. Only zones of held agents exist.
    pub fn zone_by_label<'a>(&'a self, label: &str) -> Option<&'a Zone> {
        let zones = || self.agents.iter().filter_map(|agent| agent.record.zone.as_ref());
        zones().find(|zone| zone.as_str() == label).or_else(|| {
            let mut twins = zones().filter(|zone| is_twin(zone.as_str(), label));
            let first = twins.next()?;
            twins.all(|other| other == first).then_some(first)
        })
    }

    /// The id of the agent of this id, for building the next version of the group.
    pub fn position(&self, id: &AgentId) -> Option<usize> {
        self.agents.binary_search_by(|agent| agent.key.agent.cmp(id)).ok()
    }
}

/// Whether `label` is what `name` becomes when every `_` is written `-`, and is not `name` itself.
/// Java's TLS refuses underscores in host names, so such a name has a second spelling.
pub(crate) fn is_twin(name: &str, label: &str) -> bool {
    name.len() == label.len()
        && name.contains('_')
        && name.bytes().zip(label.bytes()).all(|(n, l)| l == if n == b'_' { b'-' } else { n })
}

/// The item, if there is exactly one: a twin that two names share belongs to neither.
pub(crate) fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentKey, Record, Source};
    use std::collections::HashSet;

    fn agent(id: &str, zone: Option<&str>, last: u8) -> Arc<Agent> {
        Arc::new(Agent {
            key: AgentKey {
                cluster: Cluster::parse("c").unwrap(),
                group: GroupName::parse("g").unwrap(),
                agent: AgentId::parse(id).unwrap(),
            },
            record: Arc::new(Record {
                zone: zone.map(|zone| Zone::parse(zone).unwrap()),
                addresses: vec![[127, 0, 0, last].into()],
                ..Record::default()
            }),
            lease: Lease::new(Moment::from_millis(1_000), Source::new("test", 0)),
        })
    }

    fn group(agents: Vec<Arc<Agent>>) -> Group {
        Group::build(Cluster::parse("c").unwrap(), GroupName::parse("g").unwrap(), 1, agents, Vec::new())
    }

    #[test]
    fn a_zone_holds_its_own_addresses_and_no_others() {
        let group = group(vec![
            agent("d", None, 4),
            agent("c", Some("zone-b"), 3),
            agent("b", Some("zone-a"), 2),
            agent("a", Some("zone-b"), 1),
        ]);
        let of = |zone| group.v4().of_zone(zone).walk(7).map(|slot| slot.octets[3]).collect::<HashSet<_>>();
        assert_eq!(of("zone-a"), [2].into());
        assert_eq!(of("zone-b"), [1, 3].into());
        assert_eq!(of("zone-c"), [].into());
        assert_eq!(group.v4().all().len(), 4);
    }

    #[test]
    fn a_walk_visits_everything_once_and_starts_anywhere_equally_often() {
        for n in 1..=40u8 {
            let group = group((0..n).map(|i| agent(&format!("a{i:02}"), None, i)).collect());
            let mut first = vec![0u32; usize::from(n)];
            for seed in 0..2_000u64 {
                let seen: Vec<u8> = group
                    .v4()
                    .all()
                    .walk(
                        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                            .rotate_left(17)
                            .wrapping_mul(0xbf58_476d_1ce4_e5b9),
                    )
                    .map(|slot| slot.octets[3])
                    .collect();
                assert_eq!(seen.len(), usize::from(n));
                assert_eq!(seen.iter().collect::<HashSet<_>>().len(), usize::from(n));
                first[usize::from(seen[0])] += 1;
            }
            let mean = 2_000.0 / f64::from(n);
            assert!(first.iter().all(|count| f64::from(*count) > mean * 0.3), "{n}: {first:?}");
        }
    }

    #[test]
    fn a_twin_resolves_unless_two_names_share_it() {
        let group = group(vec![agent("a_1", None, 1), agent("b_1-x", None, 2), agent("b-1_x", None, 3)]);
        let now = Moment::from_millis(1);
        assert_eq!(group.agent_by_label("a-1", now).unwrap().key.agent.as_str(), "a_1");
        assert_eq!(group.agent_by_label("a_1", now).unwrap().key.agent.as_str(), "a_1");
        assert!(group.agent_by_label("b-1-x", now).is_none(), "two names share this twin");
        assert!(group.agent_by_label("a-2", now).is_none());
    }
}
