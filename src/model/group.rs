//! One group, ready for answers: agents sorted by id, and the addresses of its ready agents in wire form, zone by
//! zone. It is built anew when one of its agents changes, and never touched by a renewal.

use super::agent::{Agent, State};
use super::ids::{AgentId, Cluster, GroupName, Label, Zone};
use super::liveness::{Horizon, Lease, Moment};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Groups of more agents have no horizon: to find one would take longer than looking at a sample's leases does.
const HORIZON_AGENTS: usize = 64;

/// An agent that is gone, whose own name still resolves for a while (clients may hold the name).
#[derive(Clone, Debug)]
pub struct Departed {
    /// The agent as it was last seen.
    pub agent: Arc<Agent>,
    /// Until when its name resolves.
    pub until: Moment,
}

/// One address of one ready agent, as it goes into an answer.
#[derive(Clone, Copy, Debug)]
pub struct AddressSlot<'a, const N: usize> {
    /// The address in network order.
    pub octets: &'a [u8; N],
    /// Its agent's lease: compare it with the clock before the address is told to anyone.
    pub lease: &'a Arc<Lease>,
}

/// The addresses of one family of a group's ready agents.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<'a, const N: usize> {
    agents: &'a [Arc<Agent>],
    horizon: &'a Horizon,
    table: &'a Table<N>,
}

/// All addresses of a part of a group, for [`Walk`].
#[derive(Clone, Copy, Debug)]
pub struct ReadyAddresses<'a, const N: usize> {
    agents: &'a [Arc<Agent>],
    horizon: &'a Horizon,
    slots: &'a [Slot<N>],
    prime: u64,
}

impl<'a, const N: usize> Addresses<'a, N> {
    /// Every address of every ready agent.
    pub fn all(&self) -> ReadyAddresses<'a, N> {
        let Self { agents, horizon, table } = *self;
        ReadyAddresses { agents, horizon, slots: &table.slots, prime: table.prime }
    }

    /// Those of the agents of one zone; empty for an unknown zone.
    pub fn of_zone(&self, zone: &str) -> ReadyAddresses<'a, N> {
        let zones = &self.table.zones;
        let part =
            zones.binary_search_by(|part| part.zone.as_str().cmp(zone)).ok().and_then(|at| zones.get(at));
        let slots = part.and_then(|part| self.table.slots.get(part.range.clone())).unwrap_or_default();
        let (agents, horizon) = (self.agents, self.horizon);
        ReadyAddresses { agents, horizon, slots, prime: part.map_or(2, |part| part.prime) }
    }
}

impl<'a, const N: usize> ReadyAddresses<'a, N> {
    /// How many there are, lapsed leases included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether any of them has a live lease.
    pub fn any_live(&self, now: Moment) -> bool {
        let agents = self.slots.iter().filter_map(|slot| self.agents.get(slot.agent as usize));
        agents.map(|agent| &agent.lease).any(|lease| lease.is_live(now))
    }

    /// Whether the lease of every ready agent of the group runs for `millis` more. `false` may also mean that it is not
    /// known: then look at each.
    pub fn all_run_for(&self, now: Moment, millis: u64) -> bool {
        if self.agents.len() > HORIZON_AGENTS {
            return false;
        }
        let ready = || self.agents.iter().filter(|agent| agent.record.state == State::Ready);
        self.horizon.left(now, millis.max(1), || ready().map(|agent| &agent.lease)) >= millis.max(1)
    }

    /// Visits every address once, in an order that `entropy` decides.
    pub fn walk(self, entropy: u64) -> Walk<'a, N> {
        Walk::new(self, entropy)
    }
}

/// Visits every address once without allocating, in an order drawn by `entropy`: steps of a random stride modulo a
/// prime, from a random start, so that each address is first with the same chance, and so is each pair.
#[derive(Clone, Debug)]
pub struct Walk<'a, const N: usize> {
    of: ReadyAddresses<'a, N>,
    at: u64,
    stride: u64,
    steps_left: u64,
}

impl<'a, const N: usize> Walk<'a, N> {
    fn new(of: ReadyAddresses<'a, N>, entropy: u64) -> Self {
        let prime = of.prime;
        // Two draws from disjoint halves; the multiply-shift maps 32 bits on [0, n) without a division.
        let at = (u64::from(entropy as u32) * prime) >> 32;
        let stride = 1 + ((u64::from((entropy >> 32) as u32) * (prime - 1)) >> 32);
        Self { of, at, stride, steps_left: prime }
    }
}

impl<'a, const N: usize> Walk<'a, N> {
    /// The next address, its lease unseen.
    fn step(&mut self) -> Option<&'a Slot<N>> {
        while self.steps_left > 0 {
            self.steps_left -= 1;
            let here = self.of.slots.get(self.at as usize);
            self.at += self.stride;
            if self.at >= self.of.prime {
                self.at -= self.of.prime;
            }
            if here.is_some() {
                return here;
            }
        }
        None
    }

    /// The addresses alone, for when [`ReadyAddresses::all_run_for`] has said enough of the leases.
    pub fn octets(mut self) -> impl Iterator<Item = &'a [u8; N]> {
        std::iter::from_fn(move || self.step().map(|slot| &slot.octets))
    }
}

impl<'a, const N: usize> Iterator for Walk<'a, N> {
    type Item = AddressSlot<'a, N>;

    fn next(&mut self) -> Option<Self::Item> {
        let Slot { octets, agent } = self.step()?;
        let agent = self.of.agents.get(*agent as usize)?;
        Some(AddressSlot { octets, lease: &agent.lease })
    }
}

/// Addresses of one family: zone after zone, agents without a zone last.
#[derive(Debug)]
struct Table<const N: usize> {
    slots: Box<[Slot<N>]>,
    /// What [`Walk`] counts modulo to visit all of them.
    prime: u64,
    /// Sorted by zone.
    zones: Box<[Part]>,
}

/// An address and the place of its agent among the group's. No pointer to the lease: counting references of ten
/// thousand leases costs more than the rest of building a group.
#[derive(Clone, Copy, Debug)]
struct Slot<const N: usize> {
    octets: [u8; N],
    agent: u32,
}

/// The slots of one zone.
#[derive(Debug)]
struct Part {
    zone: Zone,
    range: Range<usize>,
    prime: u64,
}

/// Both families' slots of one zone.
type SlotsOfZone = (Vec<Slot<4>>, Vec<Slot<16>>);

/// Lays the ready agents' addresses out. Looks at each agent once, for that is what takes the time.
fn lay_out(agents: &[Arc<Agent>]) -> (Table<4>, Table<16>) {
    let mut zones: BTreeMap<(bool, Option<&Zone>), SlotsOfZone> = BTreeMap::new();
    for (agent, at) in agents.iter().zip(0u32..) {
        let record = &agent.record;
        if record.state == State::Ready {
            let zone = record.zone.as_ref();
            let (v4, v6) = zones.entry((zone.is_none(), zone)).or_default();
            v4.extend(record.v4().map(|address| Slot { octets: address.octets(), agent: at }));
            v6.extend(record.v6().map(|address| Slot { octets: address.octets(), agent: at }));
        }
    }
    let zones = || zones.iter().map(|((_, zone), slots)| (*zone, slots));
    (
        Table::of(zones().map(|(zone, (v4, _))| (zone, v4))),
        Table::of(zones().map(|(zone, (_, v6))| (zone, v6))),
    )
}

impl<const N: usize> Table<N> {
    fn of<'a>(parts: impl Iterator<Item = (Option<&'a Zone>, &'a Vec<Slot<N>>)> + Clone) -> Self {
        let mut slots = Vec::with_capacity(parts.clone().map(|(_, slots)| slots.len()).sum());
        let mut zones = Vec::new();
        for (zone, of_zone) in parts {
            let range = slots.len()..slots.len() + of_zone.len();
            slots.extend_from_slice(of_zone);
            if let Some(zone) = zone {
                zones.push(Part { zone: zone.clone(), prime: prime_from(range.len()), range });
            }
        }
        Self { prime: prime_from(slots.len()), slots: slots.into(), zones: zones.into() }
    }
}

/// The smallest prime that is at least `n` (and at least 2). Prime gaps below a million are under 115, so a walk
/// skips few steps; trial division costs √n and n is small.
fn prime_from(n: usize) -> u64 {
    let is_prime = |n: u64| (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    (n.max(2) as u64..).find(|candidate| is_prime(*candidate)).unwrap_or(2)
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
    v4: Table<4>,
    v6: Table<16>,
    horizon: Horizon,
    /// Found when it is first asked for: most groups offer what every group offers, and nobody asks.
    services: OnceLock<Box<[Label]>>,
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
        let (v4, v6) = lay_out(&agents);
        let (agents, departed, services) = (agents.into(), departed.into(), OnceLock::new());
        Self { cluster, name, version, agents, departed, v4, v6, horizon: Horizon::default(), services }
    }

    /// Every service that an agent of the group offers, or offered before it left, sorted.
    pub fn services(&self) -> &[Label] {
        self.services.get_or_init(|| {
            let agents = self.agents.iter().chain(self.departed.iter().map(|gone| &gone.agent));
            let mut services: BTreeSet<&Label> = BTreeSet::new();
            agents.for_each(|agent| services.extend(agent.record.ports.keys()));
            services.into_iter().cloned().collect()
        })
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
    pub fn v4(&self) -> Addresses<'_, 4> {
        Addresses { agents: &self.agents, horizon: &self.horizon, table: &self.v4 }
    }

    /// IPv6 addresses of ready agents.
    pub fn v6(&self) -> Addresses<'_, 16> {
        Addresses { agents: &self.agents, horizon: &self.horizon, table: &self.v6 }
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
