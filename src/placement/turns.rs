//! Balance `round_robin`: each refresh gets the next agent of (cluster, group, zone, role), by weight; requests of one
//! client (source address and client.id) within a window count as one, because clients ask a fixed number of times at
//! start and a count per request would then leave half of the agents empty.
//!
//! An agent of another group can't come out of here: the candidates are those of one roster, and what is remembered
//! of a client is only believed if it is among them.

use super::hints::Hints;
use super::roster::Broker;
use super::selection::{Client, Selection, Wanted};
use super::strategy::{Balance, Leaders, Nearest, Round, Rules, Strategy};
use crate::model::{Cluster, GroupName, Moment, Zone};
use dashmap::{DashMap, Entry};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How much is remembered, and for how long requests of one client count as one.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests of one client within this many milliseconds count as one.
    pub same_client_millis: u64,
    /// Most clients remembered at once; further ones are placed anew by each request.
    pub clients: usize,
    /// Most (cluster, group, zone, role) turns; beyond, all turns start again.
    pub turns: usize,
}

/// The turns of the round robin and the clients seen lately. Shared by the listeners whose clients take turns.
#[derive(Debug)]
pub struct Placement {
    bounds: Bounds,
    seed: u64,
    hasher: RandomState,
    turns: DashMap<TurnKey, Turn>,
    recent: DashMap<u64, Recent>,
    remembered: AtomicUsize,
    next_sweep: AtomicU64,
}

type TurnKey = (Cluster, GroupName, Option<Zone>, Wanted);

/// What a client was given, and when.
#[derive(Clone, Copy, Debug)]
struct Recent {
    node_id: i32,
    at: Moment,
}

impl Placement {
    /// Nobody had a turn yet. `seed` decides who is first, so that replicas don't all begin with the same agent.
    pub fn new(bounds: Bounds, seed: u64) -> Self {
        Self {
            bounds,
            seed,
            hasher: RandomState::new(),
            turns: DashMap::new(),
            recent: DashMap::new(),
            remembered: AtomicUsize::new(0),
            next_sweep: AtomicU64::new(0),
        }
    }

    /// The leaders of a client's partitions at `now`; none only if there are no candidates.
    pub fn leaders(
        &self,
        selection: &Selection<'_>,
        rules: Rules,
        hints: &Hints<'_>,
        client: Client<'_>,
        now: Moment,
    ) -> Option<Leaders> {
        match hints.strategy.unwrap_or(rules.strategy) {
            Strategy::EqualSpread => Round::of(&selection.candidates).map(Leaders::Round),
            Strategy::Consistent => Nearest::of(&selection.candidates).map(Leaders::Nearest),
            Strategy::SingleAgent => {
                let broker = self.single(selection, rules.balance, client, now)?;
                Some(Leaders::One(broker.node_id))
            }
        }
    }

    fn single<'a>(
        &self,
        selection: &Selection<'a>,
        balance: Balance,
        client: Client<'_>,
        now: Moment,
    ) -> Option<&'a Broker> {
        // Clients with a list of their own can't take turns with others.
        if balance == Balance::Sticky || selection.capped {
            return selection.sticky(client);
        }
        let key = &selection.candidates.first()?.agent.key;
        let (cluster, group) = (key.cluster.clone(), key.group.clone());
        let turn = (cluster, group, selection.zone.clone(), selection.role.clone());
        self.next(turn, &selection.candidates, client, now)
    }

    /// How many clients are remembered, for tests and metrics.
    pub fn remembered(&self) -> usize {
        self.remembered.load(Ordering::Relaxed)
    }

    fn next<'a>(
        &self,
        turn: TurnKey,
        candidates: &[&'a Broker],
        client: Client<'_>,
        now: Moment,
    ) -> Option<&'a Broker> {
        let key = self.hasher.hash_one((&turn, client.source, client.id));
        self.make_room(now);
        // The entry stays locked until the turn is taken, so that two requests at once count as one, too.
        match self.recent.entry(key) {
            Entry::Occupied(mut seen) => {
                let fresh = now.since(seen.get().at) < self.bounds.same_client_millis;
                let same = candidates.iter().find(|broker| broker.node_id == seen.get().node_id);
                if let (true, Some(same)) = (fresh, same) {
                    return Some(same);
                }
                let broker = self.take_turn(turn, candidates)?;
                seen.insert(Recent { node_id: broker.node_id, at: now });
                Some(broker)
            }
            Entry::Vacant(unseen) => {
                let broker = self.take_turn(turn, candidates)?;
                if self.remembered() < self.bounds.clients {
                    unseen.insert(Recent { node_id: broker.node_id, at: now });
                    self.remembered.fetch_add(1, Ordering::Relaxed);
                }
                Some(broker)
            }
        }
    }

    fn take_turn<'a>(&self, key: TurnKey, candidates: &[&'a Broker]) -> Option<&'a Broker> {
        if self.turns.len() >= self.bounds.turns {
            self.turns.clear(); // groups and zones that are long gone; the others just begin again
        }
        let mut turn = self.turns.entry(key).or_insert_with(|| Turn::starting_at(self.seed, candidates));
        candidates.get(turn.next(candidates)).copied()
    }

    /// Forgets clients whose window is over: when half the room is taken, at most once per window.
    fn make_room(&self, now: Moment) {
        if self.remembered() * 2 < self.bounds.clients {
            return;
        }
        let due = self.next_sweep.load(Ordering::Relaxed);
        let next = now.plus_millis(self.bounds.same_client_millis.max(1)).millis();
        let ours = now.millis() >= due
            && self.next_sweep.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if ours {
            let mut gone = 0;
            self.recent.retain(|_, seen| {
                let keep = now.since(seen.at) < self.bounds.same_client_millis;
                gone += usize::from(!keep);
                keep
            });
            self.remembered.fetch_sub(gone, Ordering::Relaxed);
        }
    }
}

/// The turns of one zone: smooth weighted round robin. Each turn every agent is credited its weight, the richest
/// gets the turn and pays all of it. With equal weights that is plain round robin in the order of node ids.
#[derive(Debug, Default)]
struct Turn {
    /// Credit by node id, sorted by it.
    credits: Vec<(i32, i64)>,
}

impl Turn {
    fn starting_at(seed: u64, candidates: &[&Broker]) -> Self {
        let mut turn = Self::default();
        let most = candidates.len().clamp(1, 64) as u64;
        for _ in 0..seed % most {
            turn.next(candidates);
        }
        turn
    }

    /// The index of the candidate whose turn it is. `candidates` are sorted by node id and not empty.
    fn next(&mut self, candidates: &[&Broker]) -> usize {
        self.follow(candidates);
        let weightless = candidates.iter().all(|broker| broker.agent.record.weight == 0);
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (at, ((_, credit), broker)) in self.credits.iter_mut().zip(candidates).enumerate() {
            let weight = if weightless { 1 } else { i64::from(broker.agent.record.weight) };
            total += weight;
            *credit += weight;
            // Weight 0 takes no turn, whatever credit it has left from better days.
            if weight > 0 && best.is_none_or(|(_, most)| *credit > most) {
                best = Some((at, *credit));
            }
        }
        let at = best.map_or(0, |(at, _)| at);
        if let Some((_, credit)) = self.credits.get_mut(at) {
            *credit -= total;
        }
        at
    }

    /// Takes over the credits of those who are still there; newcomers start at zero.
    fn follow(&mut self, candidates: &[&Broker]) {
        let same = self.credits.len() == candidates.len()
            && self.credits.iter().zip(candidates).all(|((id, _), broker)| *id == broker.node_id);
        if same {
            return;
        }
        let old = std::mem::take(&mut self.credits);
        let credit_of = |id: i32| {
            let at = old.binary_search_by_key(&id, |(have, _)| *have).ok();
            at.and_then(|at| old.get(at)).map_or(0, |(_, credit)| *credit)
        };
        self.credits = candidates.iter().map(|broker| (broker.node_id, credit_of(broker.node_id))).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::super::client_zone::{ClientZone, Origin};
    use super::super::roster::Roster;
    use super::super::roster::tests::{agent, group};
    use super::super::selection::Outcome;
    use super::super::strategy::Scope;
    use super::*;
    use crate::model::{Agent, Record, State};
    use std::collections::HashMap;
    use std::sync::Arc;

    const BOUNDS: Bounds = Bounds { same_client_millis: 5_000, clients: 10_000, turns: 100 };

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    /// The agent that leads everything for a client, and how the client fared.
    struct Lead<'a> {
        broker: &'a Broker,
        outcome: Outcome,
    }

    impl Placement {
        fn lead<'a>(
            &self,
            roster: &'a Roster,
            zone: &ClientZone,
            client: Client<'_>,
            now: Moment,
        ) -> Option<Lead<'a>> {
            let hints = Hints::default();
            let selection = Selection::of(roster, zone, client, &hints, Scope::Group, now)?;
            let led = self.leaders(&selection, Rules::default(), &hints, client, now)?.only()?;
            let broker = roster.brokers().iter().find(|broker| broker.node_id == led)?;
            Some(Lead { broker, outcome: selection.outcome })
        }
    }

    fn client(id: &str) -> Client<'_> {
        Client { source: [127, 0, 0, 1].into(), id: Some(id) }
    }

    fn in_zone(zone: &str) -> ClientZone {
        ClientZone::Known(Zone::parse(zone).unwrap(), Origin::ClientId)
    }

    /// Two zones of four agents, and one draining in z1.
    fn roster() -> Roster {
        let mut agents: Vec<Arc<Agent>> = (0..8)
            .map(|i| agent("g", &format!("a{i}"), Some(["z1", "z2"][i % 2]), State::Ready, 1_000_000))
            .collect();
        agents.push(agent("g", "drains", Some("z1"), State::Draining, 1_000_000));
        Roster::of(&group("g", 1, agents))
    }

    fn spread(
        placement: &Placement,
        roster: &Roster,
        zone: &ClientZone,
        clients: usize,
    ) -> HashMap<i32, usize> {
        let mut counts = HashMap::new();
        for i in 0..clients {
            // Three requests each, as clients do at start.
            let id = format!("client-{i}");
            let ids: Vec<i32> = (0..3)
                .map(|n| {
                    placement.lead(roster, zone, client(&id), at(10 + n * 1_000)).unwrap().broker.node_id
                })
                .collect();
            assert!(ids.iter().all(|node| *node == ids[0]), "requests within the window count as one");
            *counts.entry(ids[0]).or_default() += 1;
        }
        counts
    }

    #[test]
    fn distinct_clients_are_spread_exactly_over_the_ready_agents_of_their_zone() {
        let roster = roster();
        for seed in 0..9 {
            let placement = Placement::new(BOUNDS, seed);
            let counts = spread(&placement, &roster, &in_zone("z1"), 400);
            assert_eq!(counts.len(), 4);
            assert!(counts.values().all(|count| *count == 100), "{counts:?}");
            let counts = spread(&placement, &roster, &ClientZone::Unaware, 800);
            assert!(counts.len() == 8 && counts.values().all(|count| *count == 100), "{counts:?}");
        }
    }

    #[test]
    fn after_the_window_the_next_agent_has_its_turn_and_a_lost_agent_is_left_at_once() {
        let (placement, roster) = (Placement::new(BOUNDS, 0), roster());
        let lead = |roster: &'_ Roster, now| {
            placement.lead(roster, &in_zone("z2"), client("x"), at(now)).unwrap().broker.node_id
        };
        let first = lead(&roster, 1);
        assert_eq!(lead(&roster, 5_000), first);
        let second = lead(&roster, 5_001);
        assert_ne!(second, first);
        let rest: Vec<Arc<Agent>> = roster
            .brokers()
            .iter()
            .filter(|broker| broker.node_id != second)
            .map(|broker| Arc::clone(&broker.agent))
            .collect();
        let smaller = Roster::of(&group("g", 2, rest));
        assert_ne!(lead(&smaller, 5_002), second);
    }

    #[test]
    fn without_an_agent_in_its_zone_a_client_gets_any_of_its_group() {
        let (placement, roster) = (Placement::new(BOUNDS, 0), roster());
        let lead = placement.lead(&roster, &in_zone("z1"), client("a"), at(1)).unwrap();
        assert_eq!(lead.outcome, Outcome::Hit);
        assert_eq!(lead.broker.agent.record.zone.as_ref().unwrap().as_str(), "z1");
        assert_ne!(lead.broker.agent.key.agent.as_str(), "drains");
        for zone in [ClientZone::Foreign(Origin::Network), in_zone("z3")] {
            assert_eq!(placement.lead(&roster, &zone, client("b"), at(1)).unwrap().outcome, Outcome::Miss);
        }
        let drained = Roster::of(&group(
            "g",
            3,
            vec![
                agent("g", "d1", Some("z1"), State::Draining, 1_000),
                agent("g", "d2", Some("z2"), State::Draining, 1_000),
                agent("g", "dead", Some("z1"), State::Ready, 1),
            ],
        ));
        let lead = placement.lead(&drained, &in_zone("z1"), client("c"), at(500)).unwrap();
        assert_eq!((lead.outcome, lead.broker.agent.key.agent.as_str()), (Outcome::Hit, "d1"));
        assert!(placement.lead(&drained, &in_zone("z1"), client("c"), at(1_000)).is_none());
    }

    #[test]
    fn turns_go_by_weight() {
        let agents = [("a", 100), ("b", 300), ("c", 0)].map(|(id, weight)| {
            let agent = agent("g", id, None, State::Ready, 1_000_000);
            let record = Record { weight, ..(*agent.record).clone() };
            Arc::new(Agent { record: Arc::new(record), ..(*agent).clone() })
        });
        let roster = Roster::of(&group("g", 1, agents.to_vec()));
        let counts = spread(&Placement::new(BOUNDS, 5), &roster, &ClientZone::Unaware, 400);
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable();
        assert_eq!(counts, [100, 300]);
    }

    #[test]
    fn memory_stays_within_its_bounds() {
        let placement = Placement::new(Bounds { clients: 100, turns: 2, ..BOUNDS }, 0);
        let roster = roster();
        for i in 0..1_000 {
            placement.lead(&roster, &ClientZone::Unaware, client(&i.to_string()), at(1)).unwrap();
            assert!(placement.remembered() <= 100);
        }
        placement.lead(&roster, &ClientZone::Unaware, client("later"), at(20_000)).unwrap();
        assert_eq!(placement.remembered(), 1, "those whose window was over made room");
        for group_number in 0..5 {
            let name = format!("g{group_number}");
            let one = Roster::of(&group(&name, 1, vec![agent(&name, "a", None, State::Ready, 1_000_000)]));
            placement.lead(&one, &ClientZone::Unaware, client("x"), at(1)).unwrap();
            assert!(placement.turns.len() <= 2);
        }
    }
}
