//! What one client is shown of its group: which agents are listed, which of them may lead, and how well that fits what it
//! asked for. A function of the roster, the client and the time: every replica and gateway selects the same.
//!
//! Whoever leads, controls or coordinates is among those listed, whatever was asked for: clients look each of them up in
//! the list, and cut their connections to agents that are not in it.

use super::client_zone::ClientZone;
use super::coordinator;
use super::hash::{CLIENT, sip13};
use super::hints::Hints;
use super::rendezvous;
use super::roster::{Broker, Roster};
use super::strategy::Scope;
use crate::model::{Label, Moment, Zone};
use std::net::IpAddr;

/// An agent is overloaded if it reports more than this many quarters of its share of all reported connections.
const OVERLOAD_QUARTERS: u128 = 5;
/// And at least this many connections above its share: a handful of connections is noise.
const OVERLOAD_LEAST: u128 = 8;

/// A client as placement knows it again.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its source address, without the port: a client has several connections.
    pub source: IpAddr,
    /// Its client.id.
    pub id: Option<&'a str>,
}

impl Client<'_> {
    /// How near an agent is to this client.
    pub fn hash(&self, broker: &Broker) -> u64 {
        let source = match self.source {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let agent = broker.agent.key.agent.as_str().as_bytes();
        sip13(CLIENT, &[agent, &[0], &source, self.id.unwrap_or_default().as_bytes()])
    }
}

/// How a client fared with its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It got agents of its zone.
    Hit,
    /// It named a zone (or a rule did) and got agents of others, for its own has none to give.
    Miss,
    /// Nothing told its zone.
    Unaware,
}

/// What a client got instead of what it should have got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// Agents of any zone: its own has none to give.
    pub zone: bool,
    /// Agents of any role: none has the one it asked for.
    pub role: bool,
    /// Agents that drain: none is ready.
    pub draining: bool,
}

/// What one client is shown.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    /// The broker list, by node id; never empty.
    pub listed: Vec<&'a Broker>,
    /// Those of them that may lead, by node id; never empty.
    pub candidates: Vec<&'a Broker>,
    /// How the client fared with its zone.
    pub outcome: Outcome,
    /// What it got instead of what it should have got.
    pub fallbacks: Fallbacks,
    /// Whether the client's `broker_count` left agents out.
    pub capped: bool,
    /// The zone that all candidates are of, if that is why they are.
    pub zone: Option<Zone>,
    /// The role that they were chosen by.
    pub role: Wanted,
}

/// The role that a client asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// None, or none that any agent can serve.
    #[default]
    Any,
    /// This one, which agents of the group name.
    Role(Label),
    /// One that no agent names: agents without roles serve it.
    Unnamed,
}

impl<'a> Selection<'a> {
    /// What `client` is shown of `roster` at `now`; none only if no agent lives.
    pub fn of(
        roster: &'a Roster,
        zone: &ClientZone,
        client: Client<'_>,
        hints: &Hints<'_>,
        scope: Scope,
        now: Moment,
    ) -> Option<Self> {
        let eligible = roster.eligible(now);
        let draining = !eligible.first()?.agent.is_ready(now);
        let (able, role, role_missed) = with_role(roster, eligible, hints.role);
        let (candidates, zone, outcome) = in_zone(able, zone);
        let is_listed = |broker: &&Broker| match (scope, &zone) {
            (Scope::Zone, Some(zone)) => broker.agent.record.zone.as_ref() == Some(zone),
            _ => true,
        };
        let listed: Vec<&Broker> = roster.live(now).filter(is_listed).collect();
        let fallbacks = Fallbacks { zone: outcome == Outcome::Miss, role: role_missed, draining };
        let selection = Self { listed, candidates, outcome, fallbacks, capped: false, zone, role };
        Some(match hints.broker_count {
            Some(most) if most < selection.listed.len() => selection.cut(most, client, now),
            _ => selection,
        })
    }

    /// The agents that may coordinate: the listed ones that are ready; while none of them is, all listed.
    pub fn coordinators(&self, now: Moment) -> Vec<&'a Broker> {
        let ready: Vec<&Broker> =
            self.listed.iter().copied().filter(|broker| broker.agent.is_ready(now)).collect();
        if ready.is_empty() { self.listed.clone() } else { ready }
    }

    /// The coordinator of a key of FindCoordinator's key type.
    pub fn coordinator(&self, key_type: i8, key: &str, now: Moment) -> Option<&'a Broker> {
        coordinator::choose(&self.coordinators(now), key_type, key.as_bytes())
    }

    /// The listed ready agent with the smallest node id; while none is ready, the listed one.
    pub fn controller(&self, now: Moment) -> Option<&'a Broker> {
        let mut ready = self.listed.iter().filter(|broker| broker.agent.is_ready(now));
        ready.next().or_else(|| self.listed.first()).copied()
    }

    /// The agent that a client keeps: the nearest candidate that is not overloaded.
    pub fn sticky(&self, client: Client<'_>) -> Option<&'a Broker> {
        let load = Load::of(&self.candidates);
        let calm: Vec<&Broker> =
            self.candidates.iter().copied().filter(|broker| !load.is_too_much_for(broker)).collect();
        let hash = |broker: &Broker| client.hash(broker);
        rendezvous::choose(&calm, hash).or_else(|| rendezvous::choose(&self.candidates, hash))
    }

    /// Leaves at most `most` agents: those nearest to the client, candidates first, draining ones last.
    fn cut(mut self, most: usize, client: Client<'_>, now: Moment) -> Self {
        let is_candidate =
            |broker: &Broker| self.candidates.iter().any(|have| have.node_id == broker.node_id);
        let tier = |broker: &Broker| match (is_candidate(broker), broker.agent.is_ready(now)) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        let mut kept = self.listed.clone();
        rendezvous::rank(&mut kept, |broker| client.hash(broker));
        kept.sort_by_key(|broker| tier(broker)); // stable: the nearest stay first within a tier
        kept.truncate(most.max(1));
        kept.sort_by_key(|broker| broker.node_id);
        self.candidates.retain(|broker| kept.iter().any(|have| have.node_id == broker.node_id));
        Self { listed: kept, capped: true, ..self }
    }
}

/// Those of `eligible` that serve the role which the client asked for; all of them, if none does.
fn with_role<'a>(
    roster: &Roster,
    eligible: Vec<&'a Broker>,
    said: Option<&str>,
) -> (Vec<&'a Broker>, Wanted, bool) {
    let Some(said) = said else { return (eligible, Wanted::Any, false) };
    let role = roster.role(said);
    let able: Vec<&Broker> = eligible.iter().copied().filter(|broker| serves(broker, role)).collect();
    match role {
        _ if able.is_empty() => (eligible, Wanted::Any, true),
        Some(role) => (able, Wanted::Role(role.clone()), false),
        None => (able, Wanted::Unnamed, false),
    }
}

/// An agent that names no roles has them all, and one of role `proxy` has `proxy-produce` and `proxy-consume`.
fn serves(broker: &Broker, role: Option<&Label>) -> bool {
    let roles = &broker.agent.record.roles;
    let has = |have: &Label| {
        role.is_some_and(|role| {
            have == role || (have.as_str() == "proxy" && role.as_str().starts_with("proxy-"))
        })
    };
    roles.is_empty() || roles.iter().any(has)
}

/// Those of `able` in the client's zone; all of them, if none is there.
fn in_zone<'a>(able: Vec<&'a Broker>, zone: &ClientZone) -> (Vec<&'a Broker>, Option<Zone>, Outcome) {
    let zone = match zone {
        ClientZone::Known(zone, _) => zone,
        ClientZone::Foreign(_) => return (able, None, Outcome::Miss),
        ClientZone::Unaware => return (able, None, Outcome::Unaware),
    };
    let is_there = |broker: &&Broker| broker.agent.record.zone.as_ref() == Some(zone);
    let own: Vec<&Broker> = able.iter().copied().filter(is_there).collect();
    if own.is_empty() { (able, None, Outcome::Miss) } else { (own, Some(zone.clone()), Outcome::Hit) }
}

/// What the candidates report, together.
struct Load {
    connections: u128,
    weight: u128,
}

impl Load {
    /// Agents that report nothing, or take nothing, are left out.
    fn of(candidates: &[&Broker]) -> Self {
        let mut load = Self { connections: 0, weight: 0 };
        for broker in candidates {
            if let Some((connections, weight)) = reported(broker) {
                load.connections += connections;
                load.weight += weight;
            }
        }
        load
    }

    /// Whether an agent has clearly more than its share. With equal weights the share is the mean.
    fn is_too_much_for(&self, broker: &Broker) -> bool {
        let Some((connections, weight)) = reported(broker) else { return false };
        let (have, share) =
            (connections.saturating_mul(self.weight), self.connections.saturating_mul(weight));
        have.saturating_mul(4) > share.saturating_mul(OVERLOAD_QUARTERS)
            && have.saturating_sub(share) > OVERLOAD_LEAST.saturating_mul(self.weight)
    }
}

fn reported(broker: &Broker) -> Option<(u128, u128)> {
    let weight = u128::from(broker.agent.record.weight);
    let connections = broker.agent.lease.connections()?;
    (weight > 0).then_some((u128::from(connections), weight))
}

#[cfg(test)]
mod tests {
    use super::super::client_zone::Origin;
    use super::super::roster::tests::{agent, group, weighted};
    use super::super::strategy::{Balance, Leaders, Rules, Strategy};
    use super::super::turns::{Bounds, Placement};
    use super::*;
    use crate::model::{Agent, Record, State};
    use std::collections::{HashMap, HashSet};
    use std::sync::Arc;

    const NOW: Moment = Moment::from_millis(1);
    const BOUNDS: Bounds = Bounds { same_client_millis: 5_000, clients: 10_000, turns: 100 };

    fn client(id: &str) -> Client<'_> {
        Client { source: [127, 0, 0, 1].into(), id: Some(id) }
    }

    fn in_zone(zone: &str) -> ClientZone {
        ClientZone::Known(Zone::parse(zone).unwrap(), Origin::ClientId)
    }

    fn with_roles(agent: &Arc<Agent>, roles: &[&str]) -> Arc<Agent> {
        let roles = roles.iter().map(|role| Label::parse(role).unwrap()).collect();
        let record = Record { roles, ..(*agent.record).clone() };
        Arc::new(Agent { record: Arc::new(record), ..(**agent).clone() })
    }

    fn roster(agents: Vec<Arc<Agent>>) -> Roster {
        Roster::of(&group("g", 1, agents))
    }

    fn names(brokers: &[&Broker]) -> Vec<String> {
        let mut names: Vec<String> = brokers.iter().map(|b| b.agent.key.agent.to_string()).collect();
        names.sort();
        names
    }

    fn select<'a>(roster: &'a Roster, zone: &ClientZone, id: &str, scope: Scope) -> Selection<'a> {
        Selection::of(roster, zone, client(id), &Hints::of(Some(id)), scope, NOW).unwrap()
    }

    fn three_zones() -> Roster {
        let mut agents: Vec<Arc<Agent>> = (0..9)
            .map(|i| agent("g", &format!("a{i}"), Some(["z1", "z2", "z3"][i % 3]), State::Ready, 1_000))
            .collect();
        agents.push(agent("g", "d1", Some("z1"), State::Draining, 1_000));
        agents.push(agent("g", "dead", Some("z1"), State::Ready, 1));
        roster(agents)
    }

    #[test]
    fn a_scope_of_the_zone_lists_it_while_it_can_lead() {
        let roster = three_zones();
        let own = select(&roster, &in_zone("z1"), "x", Scope::Zone);
        assert_eq!(
            (names(&own.listed), names(&own.candidates)),
            (
                vec!["a0".into(), "a3".into(), "a6".into(), "d1".into()],
                vec!["a0".into(), "a3".into(), "a6".into()]
            )
        );
        for (zone, outcome) in [(ClientZone::Unaware, Outcome::Unaware), (in_zone("z9"), Outcome::Miss)] {
            let all = select(&roster, &zone, "x", Scope::Zone);
            assert_eq!((all.listed.len(), all.outcome), (10, outcome));
        }
        assert_eq!(select(&roster, &in_zone("z1"), "x", Scope::Group).listed.len(), 10);
    }

    #[test]
    fn roles_choose_who_leads_and_fall_back_to_anybody() {
        let base = |id: &str, zone| agent("g", id, Some(zone), State::Ready, 1_000);
        let all = vec![
            with_roles(&base("produce", "z1"), &["proxy-produce"]),
            with_roles(&base("consume", "z1"), &["proxy-consume"]),
            with_roles(&base("both", "z1"), &["proxy"]),
            with_roles(&base("jobs", "z1"), &["jobs"]),
            base("free", "z1"),
            with_roles(&base("far", "z2"), &["special"]),
        ];
        let roster = roster(all.clone());
        let lead = |id: &str| {
            let selection = select(&roster, &in_zone("z1"), id, Scope::Group);
            (names(&selection.candidates), selection.outcome, selection.fallbacks)
        };
        let produce = lead("ws_pt=proxy-produce,pod-1");
        assert_eq!(
            (produce.0, produce.2),
            (vec!["both".into(), "free".into(), "produce".into()], Fallbacks::default())
        );
        assert_eq!(
            lead("ws_proxy_target=proxy-consume-StreamThread-1-consumer").0,
            ["both", "consume", "free"]
        );
        assert_eq!(lead("ws_pt=nobody").0, ["free"], "an agent without roles has all");
        let without_free =
            super::tests::roster(all.iter().filter(|a| a.key.agent.as_str() != "free").cloned().collect());
        let far = select(&without_free, &in_zone("z1"), "ws_pt=special", Scope::Zone);
        assert_eq!(
            (names(&far.candidates), far.outcome, far.listed.len()),
            (vec!["far".into()], Outcome::Miss, 5)
        );
        let none = select(&without_free, &in_zone("z1"), "ws_pt=nobody", Scope::Group);
        assert!(none.fallbacks.role && none.candidates.len() == 4 && none.outcome == Outcome::Hit);
    }

    #[test]
    fn a_broker_count_keeps_a_constant_few_with_all_that_matter_among_them() {
        let roster = three_zones();
        let placement = Placement::new(BOUNDS, 0);
        let mut kept = HashSet::new();
        for n in 1..12 {
            for i in 0..20 {
                let id = format!("broker_count={n},client-{i}");
                let selection = select(&roster, &in_zone("z2"), &id, Scope::Group);
                let again = select(&roster, &in_zone("z2"), &id, Scope::Group);
                assert_eq!(names(&selection.listed), names(&again.listed));
                assert_eq!(selection.listed.len(), n.min(10));
                assert!(selection.listed.windows(2).all(|pair| pair[0].node_id < pair[1].node_id));
                assert_eq!(selection.candidates.len(), n.min(3), "the zone's agents are kept first");
                let listed: HashSet<i32> = selection.listed.iter().map(|b| b.node_id).collect();
                let leaders =
                    placement.leaders(&selection, Rules::default(), &Hints::default(), client(&id), NOW);
                assert!(listed.contains(&leaders.unwrap().only().unwrap()));
                assert!(listed.contains(&selection.controller(NOW).unwrap().node_id));
                assert!(listed.contains(&selection.coordinator(0, "group", NOW).unwrap().node_id));
                if n == 1 {
                    kept.extend(names(&selection.listed));
                }
            }
        }
        assert_eq!(kept.len(), 3, "different clients keep different agents");
    }

    #[test]
    fn sticky_clients_stay_and_leave_only_who_is_gone_or_overloaded() {
        let agents: Vec<Arc<Agent>> =
            (0..10).map(|i| agent("g", &format!("a{i}"), None, State::Ready, 1_000)).collect();
        let whole = roster(agents.clone());
        let kept = |roster: &Roster| -> Vec<String> {
            (0..2_000)
                .map(|i| {
                    let id = format!("client-{i}");
                    let selection = select(roster, &ClientZone::Unaware, &id, Scope::Group);
                    selection.sticky(client(&id)).unwrap().agent.key.agent.to_string()
                })
                .collect()
        };
        let before = kept(&whole);
        let mut counts: HashMap<&str, usize> = HashMap::new();
        before.iter().for_each(|agent| *counts.entry(agent).or_default() += 1);
        assert!(counts.len() == 10 && counts.values().all(|n| (140..260).contains(n)), "{counts:?}");
        let smaller = roster(agents.iter().filter(|a| a.key.agent.as_str() != "a3").cloned().collect());
        assert!(before.iter().zip(kept(&smaller)).all(|(then, now)| *then == now || then == "a3"));
        // Loads: all 100, then a5 at 125 (not above), then at 140: its clients go elsewhere, all others stay.
        agents.iter().for_each(|agent| agent.lease.report(Some(100)));
        agents[5].lease.report(Some(125));
        assert_eq!(before, kept(&whole));
        agents[5].lease.report(Some(140));
        let after = kept(&whole);
        assert!(after.iter().all(|agent| agent != "a5"));
        assert!(before.iter().zip(&after).all(|(then, now)| then == now || then == "a5"));
        agents.iter().for_each(|agent| agent.lease.report(Some(2)));
        agents[5].lease.report(Some(9));
        assert_eq!(before, kept(&whole), "a handful of connections is noise");
        let heavy = roster(
            agents
                .iter()
                .map(|a| if a.key.agent.as_str() == "a5" { weighted(a, 300) } else { Arc::clone(a) })
                .collect(),
        );
        agents.iter().for_each(|agent| agent.lease.report(Some(100)));
        agents[5].lease.report(Some(300));
        assert!(
            kept(&heavy).iter().filter(|agent| *agent == "a5").count() > 350,
            "its share is three times as large"
        );
    }

    #[test]
    fn everything_that_is_named_is_listed_in_every_strategy_and_replicas_agree() {
        let mut random = fastrand::Rng::with_seed(23);
        let (one, two) = (Placement::new(BOUNDS, 1), Placement::new(BOUNDS, 7));
        let mut checked = 0;
        for _ in 0..2_000 {
            let agents: Vec<Arc<Agent>> = (0..random.usize(1..12))
                .map(|i| {
                    let state = if random.u8(..4) == 0 { State::Draining } else { State::Ready };
                    let zone = ["z1", "z2", "z3"][random.usize(..3)];
                    let agent = weighted(
                        &agent("g", &format!("a{i}"), Some(zone), state, random.u64(1..6)),
                        [100, 100, 50, 0][random.usize(..4)],
                    );
                    with_roles(&agent, [&[][..], &["proxy-produce"], &["proxy"]][random.usize(..3)])
                })
                .collect();
            agents
                .iter()
                .for_each(|agent| agent.lease.report([None, Some(random.u64(..200))][random.usize(..2)]));
            let roster = roster(agents);
            let now = Moment::from_millis(random.u64(1..6));
            let id = format!("client-{},ws_pt=proxy-produce,broker_count={}", random.u8(..), random.u8(..14));
            let zone = [ClientZone::Unaware, in_zone("z1"), in_zone("z9")][random.usize(..3)].clone();
            let scope = Scope::ALL[random.usize(..2)];
            let hints = Hints::of(Some(&id));
            let Some(selection) = Selection::of(&roster, &zone, client(&id), &hints, scope, now) else {
                assert_eq!(roster.live(now).count(), 0);
                continue;
            };
            let listed: HashSet<i32> = selection.listed.iter().map(|b| b.node_id).collect();
            assert!(selection.listed.iter().all(|broker| broker.agent.is_live(now)));
            assert!(listed.contains(&selection.controller(now).unwrap().node_id));
            for key in ["a", "b", "c"] {
                assert!(listed.contains(&selection.coordinator(0, key, now).unwrap().node_id));
            }
            let can_lead: HashSet<i32> = selection.candidates.iter().map(|b| b.node_id).collect();
            assert!(can_lead.is_subset(&listed) && !can_lead.is_empty());
            for (strategy, balance) in Strategy::ALL.into_iter().flat_map(|s| Balance::ALL.map(|b| (s, b))) {
                let rules = Rules { strategy, balance, scope };
                let leaders = |placement: &Placement| {
                    placement.leaders(&selection, rules, &hints, client(&id), now).unwrap()
                };
                let all = |leaders: &Leaders| {
                    (0..30).map(|p| leaders.of_topic("orders").partition(p)).collect::<Vec<_>>()
                };
                let (ours, theirs) = (all(&leaders(&one)), all(&leaders(&two)));
                assert!(ours.iter().all(|leader| can_lead.contains(leader)));
                let turns = (strategy, balance, selection.capped)
                    == (Strategy::SingleAgent, Balance::RoundRobin, false);
                assert!(turns || ours == theirs, "{rules:?}");
                checked += 1;
            }
        }
        assert!(checked > 5_000, "{checked}");
    }
}
