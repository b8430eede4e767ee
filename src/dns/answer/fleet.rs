//! The names that the fleet owns: `<cluster>`, `<group>.<cluster>`, and below a group its zones, agents and services.
//!
//! Isolation: from the group on, everything is read from that one [`Group`]. No path from here leads to another.

use super::sample::{Sample, mix, seconds, ttl_of};
use super::{Empty, Kind, Known, Outcome, Question, Services, ZoneKept};
use crate::dns::names::label_text;
use crate::dns::wire::rtype;
use crate::limits::dns as limits;
use crate::model::agent::KAFKA_SERVICE;
use crate::model::group::{is_twin, only};
use crate::model::ids::{MAX_LABEL, ZONE_PREFIX};
use crate::model::{Addresses, Agent, Cluster, Group, Label, Moment, State, Zone};

/// What the fleet says of a name.
#[derive(Debug)]
pub struct Said<'a> {
    /// What kind of name it is.
    pub kind: Kind,
    /// The group that it is about.
    pub group: Option<&'a Group>,
    /// Where a zone was to be kept: whether it could be.
    pub zone_kept: Option<ZoneKept>,
    /// What it answers.
    pub outcome: Outcome<'a>,
}

impl<'a> Said<'a> {
    /// Without a group, and without a zone.
    pub fn new(kind: Kind, outcome: Outcome<'a>) -> Self {
        Self { kind, group: None, zone_kept: None, outcome }
    }

    /// About a group.
    fn of(group: &'a Group, kind: Kind, outcome: Outcome<'a>) -> Self {
        Self { group: Some(group), ..Self::new(kind, outcome) }
    }
}

/// What the fleet says of the name whose first `apex` labels stand below the apex. `None`: no such cluster, so that
/// the name is free for a wildcard of the zone file.
pub fn answer<'a>(known: &Known<'a>, question: Question<'_>, apex: usize, entropy: u64) -> Option<Said<'a>> {
    if !known.fleet.is_synced() {
        return Some(Said::new(Kind::Unknown, Outcome::NotSynced));
    }
    // Labels from the apex down: cluster, group, and what stands below the group.
    let bytes = |depth: usize| apex.checked_sub(depth).map(|index| question.name.label(index));
    let label = |depth: usize| bytes(depth).and_then(label_text);
    let missing = Some(Said::new(Kind::Unknown, Outcome::NoSuchName));
    if apex == 1 {
        return at_cluster(known, label(1)?, question, entropy);
    }
    // The group's two labels are looked up as they came: what is not one of ours is not there.
    let Some(group) = known.fleet.group_by_label(bytes(1)?, bytes(2)?) else {
        return cluster_of(known, label(1)?).and(missing);
    };
    let asked = Asked { known, group, qtype: question.qtype, entropy, base: apex - 2 };
    if apex == 2 {
        return Some(match question.client.zone {
            None => Said::of(group, Kind::Group, asked.group()),
            Some(zone) => asked.group_near(zone),
        });
    }
    // Below a group, even that a name does not exist tells of the group.
    let missing = Some(Said::of(group, Kind::Unknown, Outcome::NoSuchName));
    match (apex, label(3), label(4)) {
        (3, Some("_tcp"), _) => Some(Said::of(group, Kind::Service, Outcome::NoData)),
        (4, Some("_tcp"), Some(service)) => asked.service(service).or(missing),
        (3, Some(below), _) => match below.strip_prefix(ZONE_PREFIX) {
            Some(zone) if (1..=MAX_LABEL - ZONE_PREFIX.len()).contains(&zone.len()) => Some(asked.zone(zone)),
            _ => asked.agent(below).or(missing),
        },
        _ => missing,
    }
}

fn cluster_of<'a>(known: &Known<'a>, label: &str) -> Option<&'a Cluster> {
    known.fleet.cluster_by_label(label).or_else(|| {
        let configured = known.rules.clusters.get(label);
        configured.or_else(|| known.rules.clusters.iter().find(|have| is_twin(have.as_str(), label)))
    })
}

fn at_cluster<'a>(known: &Known<'a>, label: &str, question: Question<'_>, entropy: u64) -> Option<Said<'a>> {
    let cluster = cluster_of(known, label)?;
    let entry = known.fleet.clusters().get(cluster);
    if !known.rules.cluster_wide.contains(cluster) {
        return Some(Said::new(Kind::Cluster, Outcome::NoData));
    }
    let groups = || {
        let names = entry.iter().flat_map(|entry| &entry.groups);
        let groups = names.filter_map(|name| known.fleet.group(cluster.as_str(), name.as_str()));
        // What may not be asked for by its own name is not told by another.
        groups.filter(|group| known.rules.access.admits(group, question.client.source))
    };
    let (most, ttl, now) = (known.rules.sample, known.rules.ttl, known.now);
    let outcome = match question.qtype {
        rtype::A => v4(Sample::draw_of_all(groups().map(|group| group.v4().all()), most, ttl, now, entropy)),
        rtype::AAAA => {
            v6(Sample::draw_of_all(groups().map(|group| group.v6().all()), most, ttl, now, entropy))
        }
        rtype::ANY => Outcome::Any,
        _ => Outcome::NoData,
    };
    Some(Said::new(Kind::Cluster, outcome))
}

/// One question about one group.
struct Asked<'k, 'a> {
    known: &'k Known<'a>,
    group: &'a Group,
    qtype: u16,
    entropy: u64,
    /// Which label of the name is the group's.
    base: usize,
}

impl<'a> Asked<'_, 'a> {
    fn now(&self) -> Moment {
        self.known.now
    }

    #[inline]
    fn group(&self) -> Outcome<'a> {
        match self.qtype {
            rtype::A | rtype::AAAA => self.addresses(None),
            rtype::TXT if self.known.rules.text => Outcome::GroupText(self.group),
            rtype::ANY => Outcome::Any,
            _ => Outcome::NoData,
        }
    }

    /// The group's name for a client whose zone is known: agents of that zone, and others where none of them has an
    /// address of the family asked for. An `az-` name would say "no data" there; this one is for those who never heard
    /// of zones, and who must get to some agent.
    fn group_near(&self, zone: &Zone) -> Said<'a> {
        let now = self.now();
        let lives = |zone: &&str| match self.qtype {
            rtype::A => self.group.v4().of_zone(zone).any_live(now),
            rtype::AAAA => self.group.v6().of_zone(zone).any_live(now),
            _ => false,
        };
        let kept = self.known.rules.client_zones.names(zone).find(lives);
        let outcome = match kept {
            Some(zone) => self.addresses(Some(zone)),
            None => self.group(),
        };
        let said = Said::of(self.group, Kind::Group, outcome);
        Said { zone_kept: Some(ZoneKept::Client(kept.is_some())), ..said }
    }

    fn zone(&self, label: &str) -> Said<'a> {
        let outcome = match self.qtype {
            rtype::A | rtype::AAAA => {
                let zone = live_zone(self.group, label, self.now());
                let said = Said::of(self.group, Kind::Zone, self.addresses(zone));
                return Said { zone_kept: Some(ZoneKept::Named(zone.is_some())), ..said };
            }
            rtype::ANY => Outcome::Any,
            _ => Outcome::NoData,
        };
        Said::of(self.group, Kind::Zone, outcome)
    }

    /// A sample of one family: of one zone, or of the whole group.
    #[inline]
    fn addresses(&self, zone: Option<&str>) -> Outcome<'a> {
        match self.qtype {
            rtype::AAAA => {
                let sample = self.draw(self.group.v6(), zone);
                if sample.is_empty() { self.none_drawn() } else { v6(sample) }
            }
            _ => {
                let sample = self.draw(self.group.v4(), zone);
                if sample.is_empty() { self.none_drawn() } else { v4(sample) }
            }
        }
    }

    fn draw<const N: usize>(&self, addresses: Addresses<'_, N>, zone: Option<&str>) -> Sample<N> {
        let from = zone.map_or_else(|| addresses.all(), |zone| addresses.of_zone(zone));
        Sample::draw(from, self.known.rules.sample, self.known.rules.ttl, self.now(), self.entropy)
    }

    /// Nothing of this family: no data if the group has agents of the other one, else the policy for empty groups.
    fn none_drawn(&self) -> Outcome<'a> {
        let now = self.now();
        if self.group.v4().all().any_live(now) || self.group.v6().all().any_live(now) {
            return Outcome::NoData;
        }
        match (self.known.rules.empty, self.qtype) {
            (Empty::NoData, _) => Outcome::NoData,
            (Empty::ServFail, _) => Outcome::NobodyThere,
            (Empty::LastKnown, rtype::A) => v4(self.last_known(|agent, sample: &mut Sample<4>| {
                agent.record.v4().for_each(|address| _ = sample.push_once(&address.octets()));
            })),
            (Empty::LastKnown, _) => v6(self.last_known(|agent, sample: &mut Sample<16>| {
                agent.record.v6().for_each(|address| _ = sample.push_once(&address.octets()));
            })),
        }
    }

    /// The group's own agents that may still be there, the likeliest first: draining ones that live, those whose
    /// lease ran out, those that are gone.
    fn last_known<const N: usize>(&self, add: impl Fn(&Agent, &mut Sample<N>)) -> Sample<N> {
        let (now, most) = (self.now(), self.known.rules.sample);
        let mut sample = Sample::new(1);
        let start = |len: usize| ((u128::from(mix(self.entropy)) * len as u128) >> 64) as usize;
        let agents = self.group.agents();
        let (head, tail) = agents.split_at_checked(start(agents.len())).unwrap_or((agents, &[]));
        let held = || tail.iter().chain(head);
        let gone = self.group.departed();
        let (first, rest) = gone.split_at_checked(start(gone.len())).unwrap_or((gone, &[]));
        let gone = rest.iter().chain(first).filter(|gone| gone.until > now).map(|gone| &gone.agent);
        let by_hope = held()
            .filter(|agent| agent.is_live(now))
            .chain(held().filter(|agent| !agent.is_live(now)))
            .chain(gone);
        for agent in by_hope {
            if sample.len() >= most {
                break;
            }
            add(agent, &mut sample);
        }
        sample
    }

    /// An agent's own name. It resolves while the agent is held, draining or not, and for a grace period after.
    fn agent(&self, label: &str) -> Option<Said<'a>> {
        let (now, rules) = (self.now(), self.known.rules);
        let agent = self.group.agent_by_label(label, now)?;
        let ttl = if agent.is_live(now) { ttl_of(agent, rules.ttl, now) } else { self.grace(agent) };
        let outcome = match self.qtype {
            rtype::A => v4(Sample::of_agent(agent.record.v4().map(|address| address.octets()), ttl)),
            rtype::AAAA => v6(Sample::of_agent(agent.record.v6().map(|address| address.octets()), ttl)),
            rtype::TXT if rules.text => Outcome::AgentText(agent),
            rtype::ANY => Outcome::Any,
            _ => Outcome::NoData,
        };
        Some(Said::of(self.group, Kind::Agent, outcome))
    }

    /// TTL of an agent that is gone: its name resolves for a while yet.
    fn grace(&self, agent: &Agent) -> u32 {
        let gone = self.group.departed().iter().find(|gone| gone.agent.key == agent.key);
        gone.map_or(1, |gone| self.known.rules.ttl.min(seconds(gone.until.since(self.now()))))
    }

    /// `_<service>._tcp`: exists while an agent that is held or remembered offers it; `_kafka` always does.
    fn service(&self, label: &str) -> Option<Said<'a>> {
        let service = self.service_of(label.strip_prefix('_')?)?;
        let now = self.now();
        let count = self.group.agents().len();
        let first = ((u128::from(mix(self.entropy)) * count as u128) >> 64) as usize;
        let ttl = self.known.rules.ttl;
        let mut services = Services { group: self.group, service, base: self.base, now, first, ttl };
        let outcome = match self.qtype {
            rtype::ANY => Outcome::Any,
            rtype::SRV => {
                let ttls = services.iter().map(|(agent, _)| ttl_of(agent, ttl, now));
                match ttls.min() {
                    Some(least) => {
                        services.ttl = least;
                        Outcome::Services(services)
                    }
                    None if self.group.ready(now).next().is_some() => Outcome::NoData,
                    // Targets of agents that are gone would only be dead ports: last-known has nothing for SRV.
                    None if self.known.rules.empty == Empty::ServFail => Outcome::NobodyThere,
                    None => Outcome::NoData,
                }
            }
            _ => Outcome::NoData,
        };
        Some(Said::of(self.group, Kind::Service, outcome))
    }

    /// The service's name as the records have it: this one, or the one whose `-` twin it is.
    fn service_of(&self, label: &str) -> Option<&'a str> {
        if label == KAFKA_SERVICE {
            return Some(KAFKA_SERVICE);
        }
        let services = self.group.services();
        match services.binary_search_by(|have| have.as_str().cmp(label)) {
            Ok(at) => services.get(at).map(Label::as_str),
            Err(_) => only(services.iter().filter(|have| is_twin(have.as_str(), label))).map(Label::as_str),
        }
    }
}

/// The zone of this label, if the group has a live, ready agent of any family there. A client whose zone has agents
/// without IPv6 must not be sent across zones for an AAAA.
pub fn live_zone<'z>(group: &'z Group, label: &'z str, now: Moment) -> Option<&'z str> {
    let lives = |zone: &str| group.v4().of_zone(zone).any_live(now) || group.v6().of_zone(zone).any_live(now);
    if lives(label) {
        return Some(label);
    }
    let owner = group.zone_by_label(label)?.as_str();
    (owner != label && lives(owner)).then_some(owner)
}

fn v4<'a>(sample: Sample<4>) -> Outcome<'a> {
    if sample.is_empty() { Outcome::NoData } else { Outcome::V4(sample) }
}

fn v6<'a>(sample: Sample<16>) -> Outcome<'a> {
    if sample.is_empty() { Outcome::NoData } else { Outcome::V6(sample) }
}

/// What the TXT of a group counts: zone by zone, agents without a zone under `-`.
#[derive(Debug, Default)]
pub struct Census<'a> {
    rows: [Option<Row<'a>>; limits::TEXT_ZONES],
    /// Agents of zones for which there was no row, and those beyond the first [`limits::COUNTED`].
    pub others: u32,
    /// TTL in seconds: a lease that ends changes a count.
    pub ttl: u32,
}

/// One zone's agents.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The zone; `None` for agents that name none.
    pub zone: Option<&'a Zone>,
    /// Live and ready.
    pub ready: u32,
    /// Live and draining.
    pub draining: u32,
}

impl<'a> Census<'a> {
    /// Counts the live agents of a group.
    pub fn of(group: &'a Group, now: Moment, ttl: u32) -> Self {
        let mut census = Self { ttl, ..Self::default() };
        let agents = group.agents();
        census.others = u32::try_from(agents.len().saturating_sub(limits::COUNTED)).unwrap_or(u32::MAX);
        for agent in agents.iter().take(limits::COUNTED).filter(|agent| agent.is_live(now)) {
            census.ttl = census.ttl.min(ttl_of(agent, ttl, now));
            let zone = agent.record.zone.as_ref();
            let found = census.rows.iter_mut().find(|row| row.as_ref().is_none_or(|row| row.zone == zone));
            let Some(row) = found else {
                census.others += 1;
                continue;
            };
            let row = row.get_or_insert(Row { zone, ready: 0, draining: 0 });
            match agent.record.state {
                State::Ready => row.ready += 1,
                State::Draining => row.draining += 1,
            }
        }
        census
    }

    /// The zones in the order in which they were met.
    pub fn rows(&self) -> impl Iterator<Item = &Row<'a>> {
        self.rows.iter().flatten()
    }
}
