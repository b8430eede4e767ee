//! Who leads each topic-partition. One agent for all of a reply (`single_agent`), partitions dealt out one after the
//! other (`equal_spread`), or each partition on the agent that is nearest to it (`consistent`).
//!
//! All but the turns of the round robin are functions of the candidates and of what is asked about, the same on every
//! replica and gateway, and made without a table: the leaders of 16,000 partitions take some hundred microseconds.

use super::hash::{TOPIC_LEADER, mix, sip13};
use super::rendezvous::{Score, neg_log2};
use super::roster::Broker;
use std::cmp::Ordering;
use std::ops::Range;

/// How leaders are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// One agent leads all partitions of a reply; which one is the balance's choice.
    #[default]
    SingleAgent,
    /// The partitions of each topic go round the agents, by weight, from a start that the topic's name decides.
    EqualSpread,
    /// Each partition is led by the agent nearest to it (rendezvous hashing, by weight).
    Consistent,
}

/// Which agent leads under [`Strategy::SingleAgent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Balance {
    /// Each refresh of metadata gets the next agent.
    #[default]
    RoundRobin,
    /// A client keeps its agent while that is ready and not overloaded.
    Sticky,
}

/// Which agents the broker list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Scope {
    /// All live agents of the group.
    #[default]
    Group,
    /// Those of the client's zone, if one of them can lead; else all of the group.
    Zone,
}

/// How clients are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Rules {
    /// How leaders are chosen, where the client asks for nothing else.
    pub strategy: Strategy,
    /// Which agent is the single one.
    pub balance: Balance,
    /// Which agents are listed.
    pub scope: Scope,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 3] = [Self::SingleAgent, Self::EqualSpread, Self::Consistent];

    /// The word that configurations and clients use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SingleAgent => "single_agent",
            Self::EqualSpread => "equal_spread",
            Self::Consistent => "consistent",
        }
    }
}

impl Balance {
    /// Every balance.
    pub const ALL: [Self; 2] = [Self::RoundRobin, Self::Sticky];

    /// The word that configurations use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Sticky => "sticky",
        }
    }
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 2] = [Self::Group, Self::Zone];

    /// The word that configurations use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Zone => "zone",
        }
    }
}

/// The leaders of one reply, as node ids of listed agents.
#[derive(Clone, Debug)]
pub enum Leaders {
    /// This one leads everything.
    One(i32),
    /// Each topic's partitions go round.
    Round(Round),
    /// Each partition has the agent nearest to it.
    Nearest(Nearest),
}

impl Leaders {
    /// The one that leads everything, if it is one.
    pub fn only(&self) -> Option<i32> {
        match self {
            Self::One(node_id) => Some(*node_id),
            Self::Round(_) | Self::Nearest(_) => None,
        }
    }

    /// Whose partitions they are: ask it about each.
    pub fn of_topic(&self, topic: impl AsRef<[u8]>) -> OfTopic<'_> {
        let hash = match self {
            Self::One(_) => 0,
            Self::Round(_) | Self::Nearest(_) => sip13(TOPIC_LEADER, &[topic.as_ref()]),
        };
        OfTopic { leaders: self, hash }
    }
}

/// The leaders of one topic's partitions.
#[derive(Clone, Copy, Debug)]
pub struct OfTopic<'a> {
    leaders: &'a Leaders,
    hash: u64,
}

impl OfTopic<'_> {
    /// The node id of the agent that leads `partition`.
    pub fn partition(&self, partition: u32) -> i32 {
        match self.leaders {
            Leaders::One(node_id) => *node_id,
            Leaders::Round(round) => round.at(self.hash, partition),
            Leaders::Nearest(nearest) => nearest.to(self.hash, partition),
        }
    }
}

/// Longest round of agents of unequal weights, unless there are more agents: weights count to a thousandth.
const ROUND: u64 = 1_024;

/// Agents one after the other, each as often as it weighs, the heavy ones spaced out.
#[derive(Clone, Debug)]
pub struct Round {
    slots: Vec<i32>,
}

impl Round {
    /// A round of `candidates`, sorted by node id; none only if there are none.
    pub fn of(candidates: &[&Broker]) -> Option<Self> {
        let mut shares = shares(candidates);
        let heaviest = shares.first().map(|(_, weight)| *weight)?;
        if shares.iter().all(|(_, weight)| *weight == heaviest) {
            return Some(Self { slots: shares.into_iter().map(|(node_id, _)| node_id).collect() });
        }
        let divisor = shares.iter().fold(0, |divisor, (_, weight)| gcd(divisor, *weight));
        let total: u64 = shares.iter().map(|(_, weight)| weight / divisor).sum();
        for (_, weight) in &mut shares {
            *weight /= divisor;
            if total > ROUND {
                *weight = ((*weight * ROUND + total / 2) / total).max(1);
            }
        }
        Some(Self { slots: smooth(&shares) })
    }

    fn at(&self, topic: u64, partition: u32) -> i32 {
        let length = self.slots.len().max(1) as u64;
        let slot = (topic % length + u64::from(partition)) % length;
        self.slots.get(slot as usize).copied().unwrap_or(-1)
    }
}

/// Node ids and weights of those that take a share; weight 0 takes none while others can.
fn shares(candidates: &[&Broker]) -> Vec<(i32, u64)> {
    let weight = |broker: &Broker| u64::from(broker.agent.record.weight);
    let weightless = candidates.iter().all(|broker| weight(broker) == 0);
    let share = |broker: &&Broker| (broker.node_id, if weightless { 1 } else { weight(broker) });
    candidates.iter().map(share).filter(|(_, weight)| *weight > 0).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Smooth weighted round robin: each slot credits every agent its weight; the richest (of equals the first) gets the
/// slot and pays all of it.
fn smooth(shares: &[(i32, u64)]) -> Vec<i32> {
    let total: i64 = shares.iter().map(|(_, weight)| *weight as i64).sum();
    let mut credits = vec![0i64; shares.len()];
    let mut slots = Vec::with_capacity(total.unsigned_abs() as usize);
    for _ in 0..total {
        let mut best = (0, i64::MIN);
        for (at, (credit, (_, weight))) in credits.iter_mut().zip(shares).enumerate() {
            *credit += *weight as i64;
            if *credit > best.1 {
                best = (at, *credit);
            }
        }
        if let (Some(credit), Some((node_id, _))) = (credits.get_mut(best.0), shares.get(best.0)) {
            *credit -= total;
            slots.push(*node_id);
        }
    }
    slots
}

/// Agents in a form in which the nearest to a partition is found quickly: by weight, and within one weight by agent id.
#[derive(Clone, Debug)]
pub struct Nearest {
    /// Seed and node id.
    agents: Vec<(u64, i32)>,
    /// Each weight and its agents; the logarithm is only needed between the best of each.
    classes: Vec<(u16, Range<usize>)>,
}

impl Nearest {
    /// The nearest of `candidates`; none only if there are none.
    pub fn of(candidates: &[&Broker]) -> Option<Self> {
        let weightless = candidates.iter().all(|broker| broker.agent.record.weight == 0);
        let weight = |broker: &Broker| if weightless { 1 } else { broker.agent.record.weight };
        let mut sorted: Vec<&Broker> =
            candidates.iter().copied().filter(|broker| weight(broker) > 0).collect();
        sorted.sort_by(|a, b| (weight(b), &a.agent.key.agent).cmp(&(weight(a), &b.agent.key.agent)));
        let mut classes: Vec<(u16, Range<usize>)> = Vec::new();
        for (at, broker) in sorted.iter().enumerate() {
            match classes.last_mut() {
                Some((have, range)) if *have == weight(broker) => range.end = at + 1,
                _ => classes.push((weight(broker), at..at + 1)),
            }
        }
        let agents: Vec<(u64, i32)> = sorted.iter().map(|broker| (broker.seed, broker.node_id)).collect();
        (!agents.is_empty()).then_some(Self { agents, classes })
    }

    fn to(&self, topic: u64, partition: u32) -> i32 {
        let key = partition_key(topic, partition);
        if let [_] = self.classes.as_slice() {
            return largest(&self.agents, key).1;
        }
        let mut best: Option<(Score, i32)> = None;
        for (weight, range) in &self.classes {
            let (hash, node_id) = largest(self.agents.get(range.clone()).unwrap_or_default(), key);
            let score = Score { distance: neg_log2(hash), weight: *weight, hash };
            // Two agents with one hash: the heavier is nearer already, so there is no tie to break.
            if best.as_ref().is_none_or(|(have, _)| score.compare(have) == Ordering::Less) {
                best = Some((score, node_id));
            }
        }
        best.map_or(-1, |(_, node_id)| node_id)
    }
}

/// What a partition is hashed to, before an agent's seed comes in.
fn partition_key(topic: u64, partition: u32) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 divided by the golden ratio
    mix(topic.wrapping_add((u64::from(partition) + 1).wrapping_mul(STEP)))
}

/// The largest hash among agents of one weight, and whose it is; of equals the first.
fn largest(agents: &[(u64, i32)], key: u64) -> (u64, i32) {
    let mut best = (0, agents.first().map_or(-1, |(_, node_id)| *node_id));
    for (seed, node_id) in agents {
        let hash = mix(key ^ seed);
        if hash > best.0 {
            best = (hash, *node_id);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::super::roster::Roster;
    use super::super::roster::tests::{agent, group, weighted};
    use super::*;
    use crate::model::{Moment, State};
    use std::collections::HashMap;

    const NOW: Moment = Moment::from_millis(1);

    fn roster(weights: &[u16]) -> Roster {
        let agents = weights.iter().enumerate().map(|(i, weight)| {
            weighted(&agent("g", &format!("agent-{i:02}"), None, State::Ready, 1_000), *weight)
        });
        Roster::of(&group("g", 1, agents.collect()))
    }

    fn leaders_of(roster: &Roster, strategy: Strategy) -> Leaders {
        let eligible = roster.eligible(NOW);
        match strategy {
            Strategy::Consistent => Leaders::Nearest(Nearest::of(&eligible).unwrap()),
            _ => Leaders::Round(Round::of(&eligible).unwrap()),
        }
    }

    /// Partitions led by each agent id.
    fn counts(roster: &Roster, strategy: Strategy, topics: u32, partitions: u32) -> HashMap<String, usize> {
        let leaders = leaders_of(roster, strategy);
        let mut counts = HashMap::new();
        for topic in 0..topics {
            let topic = format!("topic-{topic}");
            let of_topic = leaders.of_topic(&topic);
            for partition in 0..partitions {
                let id = of_topic.partition(partition);
                let broker = roster.brokers().iter().find(|broker| broker.node_id == id).unwrap();
                *counts.entry(broker.agent.key.agent.to_string()).or_default() += 1;
            }
        }
        counts
    }

    #[test]
    fn a_round_deals_each_topic_out_exactly_by_weight() {
        for topics in 0..20 {
            let counts = counts(&roster(&[100; 5]), Strategy::EqualSpread, topics, 7);
            let (most, least) = (counts.values().max().unwrap_or(&0), counts.values().min().unwrap_or(&0));
            assert!(topics != 1 || (*most, *least) == (2, 1));
        }
        let counts = counts(&roster(&[100, 300, 0, 50]), Strategy::EqualSpread, 1, 90);
        let of = |agent: &str| counts.get(agent).copied().unwrap_or(0);
        assert_eq!([of("agent-00"), of("agent-01"), of("agent-02"), of("agent-03")], [20, 60, 0, 10]);
    }

    #[test]
    fn odd_weights_make_no_long_round_and_leave_nobody_out() {
        let round = |weights: &[u16]| Round::of(&roster(weights).eligible(NOW)).unwrap().slots;
        assert_eq!(round(&[7; 12]).len(), 12);
        assert_eq!(round(&[0; 3]).len(), 3, "all of weight 0 share");
        let odd = round(&[65_535, 65_521, 1]);
        assert!((1_000..1_100).contains(&odd.len()), "{}", odd.len());
        let mut counts: HashMap<i32, usize> = HashMap::new();
        odd.iter().for_each(|id| *counts.entry(*id).or_default() += 1);
        assert_eq!(counts.len(), 3);
    }

    #[test]
    fn the_nearest_are_spread_by_weight() {
        let counts = counts(&roster(&[100; 8]), Strategy::Consistent, 1_000, 16);
        assert!(counts.len() == 8 && counts.values().all(|n| (1_800..2_200).contains(n)), "{counts:?}");
        let weights = [100, 300, 0, 50];
        let counts = super::tests::counts(&roster(&weights), Strategy::Consistent, 1_000, 9);
        for (i, expected) in [2_000.0, 6_000.0, 0.0, 1_000.0].into_iter().enumerate() {
            let n = counts.get(&format!("agent-{i:02}")).copied().unwrap_or(0) as f64;
            assert!((n - expected).abs() <= expected * 0.08, "{counts:?}");
        }
    }

    #[test]
    fn a_join_or_leave_moves_only_the_share_of_who_comes_or_goes() {
        for weights in [[100u16; 10], [100, 300, 50, 100, 100, 1, 100, 200, 100, 100]] {
            let whole = roster(&weights);
            let all = whole.eligible(NOW);
            for gone in 0..weights.len() {
                let gone = format!("agent-{gone:02}");
                let rest: Vec<&Broker> =
                    all.iter().copied().filter(|broker| broker.agent.key.agent.as_str() != gone).collect();
                let (before, after) = (leaders_of(&whole, Strategy::Consistent), Nearest::of(&rest).unwrap());
                let (after, mut moved) = (Leaders::Nearest(after), 0);
                let was = all.iter().find(|b| b.agent.key.agent.as_str() == gone).unwrap();
                for topic in ["a", "b", "orders"] {
                    for partition in 0..500 {
                        let then = before.of_topic(topic).partition(partition);
                        let now = after.of_topic(topic).partition(partition);
                        assert!(then == now || then == was.node_id);
                        moved += usize::from(then != now);
                    }
                }
                let share =
                    f64::from(was.agent.record.weight) / weights.iter().map(|w| f64::from(*w)).sum::<f64>();
                assert!((moved as f64) < 1_500.0 * share * 1.4 + 20.0, "{gone}: {moved}");
            }
        }
    }
}
