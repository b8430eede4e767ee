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
        let ready: Vec<&Broker> = self.listed.iter().copied().filter(|broker| broker.agent.is_ready(now)).collect();
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
        let is_candidate = |broker: &Broker| self.candidates.iter().any(|have| have.node_id == broker.node_id);
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
fn with_role<'a>(roster: &Roster, eligible: Vec<&'a Broker>, said: Option<&str>) -> (Vec<&'a Broker>, Wanted, bool) {
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
        role.is_some_and(|role| have == role || (have.as_str() == "proxy" && role.as_str().starts_with("proxy-")))
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
        let (have, share) = (connections.saturating_mul(self.weight), self.connections.saturating_mul(weight));
        have.saturating_mul(4) > share.saturating_mul(OVERLOAD_QUARTERS)
            && have.saturating_sub(share) > OVERLOAD_LEAST.saturating_mul(self.weight)
    }
}

fn reported(broker: &Broker) -> Option<(u128, u128)> {
    let weight = u128::from(broker.agent.record.weight);
    let connections = broker.agent.lease.connections()?;
    (weight > 0).then_some((u128::from(connections), weight))
}
