//! FindCoordinator's choice: weighted rendezvous hashing. No state, the same on every replica, and an agent that
//! comes or goes moves only its own share of the keys.
//!
//! For each eligible agent `h = SipHash-1-3(key "fingerpost-coord", agent ‖ 00 ‖ type ‖ key)`; [`super::rendezvous`]
//! decides by them.

use super::hash::{COORDINATOR, sip13};
use super::rendezvous;
use super::roster::Broker;

/// The coordinator of `key` (of FindCoordinator's key type) among `eligible`; none only if that is empty.
pub fn choose<'a>(eligible: &[&'a Broker], key_type: i8, key: &[u8]) -> Option<&'a Broker> {
    rendezvous::choose(eligible, |broker| {
        let agent = broker.agent.key.agent.as_str().as_bytes();
        sip13(COORDINATOR, &[agent, &[0], &key_type.to_be_bytes(), key])
    })
}

#[cfg(test)]
mod tests {
    use super::super::roster::Roster;
    use super::super::roster::tests::{agent, group};
    use super::*;
    use crate::model::{Agent, Moment, Record, State};
    use std::collections::HashMap;
    use std::sync::Arc;

    fn roster(count: usize, weight: impl Fn(usize) -> u16) -> Roster {
        let agents = (0..count)
            .map(|i| {
                let agent = agent("g", &format!("agent-{i}"), None, State::Ready, 1_000);
                let record = Record { weight: weight(i), ..(*agent.record).clone() };
                Arc::new(Agent { record: Arc::new(record), ..(*agent).clone() })
            })
            .collect();
        Roster::of(&group("g", 1, agents))
    }

    fn chosen(eligible: &[&Broker], keys: usize) -> Vec<String> {
        (0..keys)
            .map(|i| {
                choose(eligible, 0, format!("group-{i}").as_bytes()).unwrap().agent.key.agent.to_string()
            })
            .collect()
    }

    #[test]
    fn a_leaver_moves_only_its_own_keys() {
        let roster = roster(12, |_| 100);
        let all = roster.eligible(Moment::from_millis(1));
        let without: Vec<&Broker> =
            all.iter().copied().filter(|b| b.agent.key.agent.as_str() != "agent-3").collect();
        let (before, after) = (chosen(&all, 5_000), chosen(&without, 5_000));
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || before == "agent-3");
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        before.iter().for_each(|agent| *counts.entry(agent).or_default() += 1);
        assert!(counts.len() == 12 && counts.values().all(|count| (300..540).contains(count)), "{counts:?}");
    }

    #[test]
    fn weight_is_the_share_of_keys_and_zero_takes_none_while_others_can() {
        let roster = roster(3, |i| [100, 300, 0][i]);
        let all = roster.eligible(Moment::from_millis(1));
        let keys = chosen(&all, 8_000);
        let of = |agent| keys.iter().filter(|have| *have == agent).count();
        assert!((1_800..2_200).contains(&of("agent-0")), "{}", of("agent-0"));
        assert_eq!(of("agent-2"), 0);
        let weightless: Vec<&Broker> = all.iter().copied().filter(|b| b.agent.record.weight == 0).collect();
        assert!(choose(&weightless, 0, b"x").is_some());
        assert!(choose(&[], 0, b"x").is_none());
    }
}
