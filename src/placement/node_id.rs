//! Kafka node ids. A client takes a node id and its host:port for one thing for ever (librdkafka stalled for seconds
//! and kafka-python stayed with the old host when an id changed its host), so the id is made of both.
//!
//! `node_id = SipHash-1-3(key "fingerpost-nodes", agent ‖ 00 ‖ host ‖ 00 ‖ port BE16 ‖ attempt) >> 34`, a number of 30
//! bits: attempt is one byte, 0 at first and one more while the result is 0 or taken. Within a group ids are given
//! in this order: agents whose record names an id above 0, by agent id, the first to name it gets it; then all others
//! by agent id. Every replica that holds the same agents gives the same ids.

use super::hash::{NODE, sip13};
use std::collections::HashSet;

/// One agent as its node id sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The agent id.
    pub agent: &'a str,
    /// The advertised host.
    pub host: &'a str,
    /// The advertised port.
    pub port: u16,
    /// The node id that its record asks for.
    pub wanted: Option<i32>,
}

impl Candidate<'_> {
    /// The id of this candidate at the given attempt; may be 0, which no agent is given.
    pub fn hashed(&self, attempt: u8) -> i32 {
        let parts: [&[u8]; 6] =
            [self.agent.as_bytes(), &[0], self.host.as_bytes(), &[0], &self.port.to_be_bytes(), &[attempt]];
        i32::try_from(sip13(NODE, &parts) >> 34).unwrap_or(0)
    }
}

/// Gives each candidate its node id, above 0 and unique among them. `candidates` come sorted by agent id.
pub fn assign(candidates: &[Candidate<'_>]) -> Vec<i32> {
    let mut taken = HashSet::with_capacity(candidates.len());
    let claimed: Vec<Option<i32>> = candidates
        .iter()
        .map(|candidate| candidate.wanted.filter(|id| *id > 0 && taken.insert(*id)))
        .collect();
    let mut next_free = 1;
    candidates
        .iter()
        .zip(claimed)
        .map(|(candidate, claimed)| {
            claimed
                .or_else(|| {
                    (0..=u8::MAX)
                        .map(|attempt| candidate.hashed(attempt))
                        .find(|id| *id > 0 && taken.insert(*id))
                })
                .unwrap_or_else(|| first_free(&mut taken, &mut next_free))
        })
        .collect()
}

/// After 256 collisions in a row, which no honest fleet meets: the smallest id that is free.
fn first_free(taken: &mut HashSet<i32>, next: &mut i32) -> i32 {
    while !taken.insert(*next) {
        *next = next.saturating_add(1);
    }
    *next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate<'a>(agent: &'a str, wanted: Option<i32>) -> Candidate<'a> {
        Candidate { agent, host: "10.0.1.17", port: 9092, wanted }
    }

    #[test]
    fn records_come_first_and_everyone_gets_an_id_of_its_own() {
        let stolen = candidate("c", None).hashed(0);
        let all = [
            candidate("a", Some(7)),
            candidate("b", Some(7)),
            candidate("c", None),
            candidate("d", Some(stolen)),
            candidate("e", Some(0)),
            candidate("f", Some(-3)),
        ];
        let ids = assign(&all);
        assert_eq!(ids[0], 7);
        assert_eq!(ids[1], all[1].hashed(0), "the second claim of an id counts for nothing");
        assert_eq!(ids[3], stolen, "a claim goes before any hash");
        assert_eq!(ids[2], all[2].hashed(1), "and the hash steps aside");
        assert!(ids.iter().all(|id| *id > 0));
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn host_and_port_are_part_of_the_id() {
        let one = Candidate { agent: "a", host: "h", port: 1, wanted: None };
        assert_ne!(one.hashed(0), Candidate { port: 2, ..one }.hashed(0));
        assert_ne!(one.hashed(0), Candidate { host: "i", ..one }.hashed(0));
        assert_ne!(one.hashed(0), Candidate { agent: "b", ..one }.hashed(0));
        assert!(one.hashed(0) < 1 << 30);
    }
}
