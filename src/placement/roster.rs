//! A group as Kafka clients see it: agents under node ids, sorted by them. Made once per version of the group.

use super::client_zone::CUTS;
use super::hash::{SEED, sip13};
use super::node_id::{Candidate, assign};
use crate::model::ids::MAX_LABEL;
use crate::model::{Agent, Group, Label, Moment, Zone};
use std::sync::Arc;

/// Roles that clients ask for by these names everywhere.
const WELL_KNOWN_ROLES: [&str; 2] = ["proxy-produce", "proxy-consume"];

/// One agent under its node id.
#[derive(Clone, Debug)]
pub struct Broker {
    /// The agent, with its lease.
    pub agent: Arc<Agent>,
    /// Its node id: above 0, unique in the group.
    pub node_id: i32,
    /// The advertised host.
    pub host: Arc<str>,
    /// The advertised port.
    pub port: u16,
    /// What strategy `consistent` hashes it by.
    pub seed: u64,
}

/// All agents of one group, live or not, sorted by node id. Compare leases with the clock.
#[derive(Clone, Debug)]
pub struct Roster {
    /// The version of the group that it was made of.
    pub version: u64,
    brokers: Box<[Broker]>,
    zones: Box<[Zone]>,
    roles: Box<[Label]>,
}

impl Roster {
    /// The roster of a group.
    pub fn of(group: &Group) -> Self {
        let hosts: Vec<Arc<str>> =
            group.agents().iter().map(|agent| Arc::from(agent.record.advertised_host())).collect();
        let candidates: Vec<Candidate<'_>> = group
            .agents()
            .iter()
            .zip(&hosts)
            .map(|(agent, host)| Candidate {
                agent: agent.key.agent.as_str(),
                host,
                port: agent.record.kafka_port(),
                wanted: agent.record.node_id,
            })
            .collect();
        let ids = assign(&candidates);
        let mut brokers: Vec<Broker> = group
            .agents()
            .iter()
            .zip(&hosts)
            .zip(ids)
            .map(|((agent, host), node_id)| Broker {
                agent: Arc::clone(agent),
                node_id,
                host: Arc::clone(host),
                port: agent.record.kafka_port(),
                seed: sip13(SEED, &[agent.key.agent.as_str().as_bytes()]),
            })
            .collect();
        brokers.sort_by_key(|broker| broker.node_id);
        let mut zones: Vec<Zone> =
            group.agents().iter().filter_map(|agent| agent.record.zone.clone()).collect();
        zones.sort();
        zones.dedup();
        let mut roles: Vec<Label> =
            group.agents().iter().flat_map(|agent| agent.record.roles.iter().cloned()).collect();
        roles.extend(WELL_KNOWN_ROLES.iter().filter_map(|role| Label::parse(role).ok()));
        roles.sort();
        roles.dedup();
        Self { version: group.version, brokers: brokers.into(), zones: zones.into(), roles: roles.into() }
    }

    /// Every agent that is held, sorted by node id.
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// The broker list at `now`: every live agent, ready or draining, sorted by node id.
    pub fn live(&self, now: Moment) -> impl Iterator<Item = &Broker> {
        self.brokers.iter().filter(move |broker| broker.agent.is_live(now))
    }

    /// Those that may be given something to do at `now`: the ready agents, or, while no agent is ready, the live
    /// ones that drain, for a draining agent still serves and an error would not.
    pub fn eligible(&self, now: Moment) -> Vec<&Broker> {
        let ready: Vec<&Broker> = self.brokers.iter().filter(|broker| broker.agent.is_ready(now)).collect();
        if ready.is_empty() { self.live(now).collect() } else { ready }
    }

    /// The controller at `now`: the eligible agent with the smallest node id. It is in the broker list, the same
    /// on every replica, and changes only when it goes or a smaller id comes.
    pub fn controller(&self, now: Moment) -> Option<&Broker> {
        self.brokers
            .iter()
            .find(|broker| broker.agent.is_ready(now))
            .or_else(|| self.brokers.iter().find(|broker| broker.agent.is_live(now)))
    }

    /// The zone of that name, if any agent of the group names it.
    pub fn zone(&self, name: &str) -> Option<&Zone> {
        self.zones.binary_search_by(|zone| zone.as_str().cmp(name)).ok().and_then(|at| self.zones.get(at))
    }

    /// The role that `said` is, or begins with before what frameworks append: the longest one that agents of the group
    /// name, or that is known everywhere.
    pub fn role(&self, said: &str) -> Option<&Label> {
        let folded: String = said.chars().take(MAX_LABEL).map(|c| c.to_ascii_lowercase()).collect();
        let mut rest = folded.as_str();
        let mut cut_already = said.len() > folded.len(); // a beginning must be cut before it may count
        loop {
            let found = self.roles.binary_search_by(|role| role.as_str().cmp(rest)).ok();
            if let Some(role) = found.filter(|_| !cut_already).and_then(|at| self.roles.get(at)) {
                return Some(role);
            }
            cut_already = false;
            rest = rest.get(..rest.rfind(CUTS)?)?;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::{AgentId, AgentKey, Cluster, GroupName, Lease, Record, Source, State};

    /// An agent of `c/<group>` whose lease ends at `until` milliseconds.
    pub(crate) fn agent(group: &str, id: &str, zone: Option<&str>, state: State, until: u64) -> Arc<Agent> {
        let number = id.bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let [_, b, c, d] = number.to_be_bytes();
        Arc::new(Agent {
            key: AgentKey {
                cluster: Cluster::parse("c").unwrap(),
                group: GroupName::parse(group).unwrap(),
                agent: AgentId::parse(id).unwrap(),
            },
            record: Arc::new(Record {
                zone: zone.map(|zone| Zone::parse(zone).unwrap()),
                addresses: vec![[10, b, c, d].into()],
                weight: 100,
                state,
                ..Record::default()
            }),
            lease: Lease::new(Moment::from_millis(until), Source::new("test", 0)),
        })
    }

    /// The same agent with another weight.
    pub(crate) fn weighted(agent: &Arc<Agent>, weight: u16) -> Arc<Agent> {
        let record = Record { weight, ..(*agent.record).clone() };
        Arc::new(Agent { record: Arc::new(record), ..(**agent).clone() })
    }

    /// The group `c/<name>` of these agents.
    pub(crate) fn group(name: &str, version: u64, agents: Vec<Arc<Agent>>) -> Group {
        Group::build(
            Cluster::parse("c").unwrap(),
            GroupName::parse(name).unwrap(),
            version,
            agents,
            Vec::new(),
        )
    }

    #[test]
    fn draining_agents_are_listed_but_take_nothing_while_others_can() {
        let now = Moment::from_millis(500);
        let drains = agent("g", "a", None, State::Draining, 1_000);
        let ready = agent("g", "b", Some("z1"), State::Ready, 1_000);
        let gone = agent("g", "c", Some("z2"), State::Ready, 400);
        let roster = Roster::of(&group("g", 1, vec![drains.clone(), ready, gone]));
        assert_eq!(roster.live(now).count(), 2);
        let names = |brokers: Vec<&Broker>| {
            brokers.iter().map(|broker| broker.agent.key.agent.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(roster.eligible(now)), ["b"]);
        assert_eq!(roster.controller(now).unwrap().agent.key.agent.as_str(), "b");
        assert!(roster.zone("z1").is_some() && roster.zone("z9").is_none());
        assert!(roster.brokers().windows(2).all(|pair| pair[0].node_id < pair[1].node_id));

        let alone = Roster::of(&group("g", 2, vec![drains]));
        assert_eq!(names(alone.eligible(now)), ["a"], "better a draining agent than none");
        assert_eq!(alone.controller(now).unwrap().agent.key.agent.as_str(), "a");
        assert!(alone.controller(Moment::from_millis(1_000)).is_none());
    }
}
