//! Time scenarios of the holdings, with hands that the tests turn.

use super::*;
use crate::model::{Fleet, State};
use crate::registry::Fields;

const LEASE: u64 = 15_000;

struct Scene {
    holdings: Holdings,
    fleet: Fleet,
    now: Moment,
    publishes: usize,
}

fn key(agent: &str) -> RawKey {
    format!("fingerpost:agent:{{c}}:g:{agent}").into_bytes().into()
}

fn value(last: u8) -> Vec<u8> {
    format!(r#"{{"zone":"z","addresses":["127.0.0.{last}"]}}"#).into_bytes()
}

impl Scene {
    /// A registry that was read in full and has nothing.
    fn new() -> Self {
        Self::with(Settings { stale_max: Duration::from_secs(600), ..Settings::default() })
    }

    fn with(settings: Settings) -> Self {
        let now = Moment::from_millis(1_000_000);
        let holdings = Holdings::new(settings, Keyspace::default(), "test", now);
        let mut scene = Self { holdings, fleet: Fleet::default(), now, publishes: 0 };
        scene.rescan(&[]);
        scene
    }

    fn pass(&mut self, millis: u64) -> &mut Self {
        self.now = self.now.plus_millis(millis);
        self.holdings.expire(self.now);
        self.publish()
    }

    fn publish(&mut self) -> &mut Self {
        if let Some(fleet) = self.holdings.publish(&self.fleet, self.now) {
            self.fleet = fleet;
            self.publishes += 1;
        }
        self
    }

    fn see(&mut self, agent: &str, bytes: Vec<u8>, left: u64) -> Outcome {
        let outcome =
            self.holdings.observe(&key(agent), Found::Value { bytes, left: Left::Millis(left) }, self.now);
        self.publish();
        outcome
    }

    fn miss(&mut self, agent: &str) -> &mut Self {
        self.holdings.observe(&key(agent), Found::Missing, self.now);
        self.publish()
    }

    /// A full scan that finds these agents, each with what is left of its lease.
    fn rescan(&mut self, there: &[(&str, u8, u64)]) {
        self.holdings.begin_scan();
        for (agent, last, left) in there {
            self.see(agent, value(*last), *left);
        }
        for missing in self.holdings.unseen() {
            self.holdings.observe(&missing, Found::Missing, self.now);
        }
        self.holdings.finish_scan(self.now);
        self.publish();
    }

    fn live(&self) -> Vec<&str> {
        self.fleet
            .groups()
            .flat_map(|group| group.live(self.now))
            .map(|agent| agent.key.agent.as_str())
            .collect()
    }
}

#[test]
fn a_renewal_publishes_nothing_and_a_lease_ends_on_time() {
    let mut scene = Scene::new();
    scene.see("a", value(1), LEASE);
    let published = scene.publishes;
    for _ in 0..10 {
        scene.pass(5_000);
        assert_eq!(scene.see("a", value(1), LEASE), Outcome::Same);
        // The same record in other bytes is a renewal too, and so is another load.
        let other = br#"{"addresses":["127.0.0.1"],"zone":"z","load":{"connections":9}}"#.to_vec();
        assert_eq!(scene.see("a", other, LEASE), Outcome::Same);
        let group = scene.fleet.group("c", "g").unwrap();
        assert_eq!(group.agents()[0].lease.connections(), Some(9), "the published agent has the new load");
    }
    assert_eq!(scene.publishes, published);
    scene.pass(LEASE - 1);
    assert_eq!(scene.live(), ["a"]);
    assert!(scene.holdings.next_expiry().unwrap() <= scene.now.plus_millis(1));
    scene.pass(1);
    assert_eq!(scene.live(), [""; 0]);
    let group = scene.fleet.group("c", "g").unwrap();
    assert!(group.agents().is_empty(), "the removal is published at the end of the lease");
    assert!(group.agent("a", scene.now).is_some(), "its name still resolves");
    scene.pass(301_000);
    assert!(scene.fleet.group("c", "g").unwrap().agent("a", scene.now).is_none());
}

#[test]
fn a_shortened_lease_counts() {
    let mut scene = Scene::new();
    scene.see("a", value(1), LEASE);
    scene.see("a", value(1), 1_000);
    scene.pass(1_000);
    assert_eq!(scene.holdings.agents(), 0);
}

#[test]
fn many_changes_of_one_group_are_one_publication() {
    let mut scene = Scene::new();
    let before = scene.publishes;
    for i in 0..100u8 {
        let found = Found::Value { bytes: value(i.max(1)), left: Left::Millis(LEASE) };
        scene.holdings.observe(&key(&format!("a{i}")), found, scene.now);
    }
    scene.publish();
    assert_eq!((scene.publishes, scene.live().len()), (before + 1, 100));
    let draining = br#"{"zone":"z","addresses":["127.0.0.1"],"state":"draining"}"#.to_vec();
    assert_eq!(scene.see("a1", draining, LEASE), Outcome::Changed);
    let group = scene.fleet.group("c", "g").unwrap();
    assert_eq!(group.agent("a1", scene.now).unwrap().record.state, State::Draining);
    assert_eq!(group.ready(scene.now).count(), 99);
}

#[test]
fn a_deletion_is_a_goodbye_at_once() {
    let mut scene = Scene::new();
    scene.see("a", value(1), LEASE);
    scene.pass(1_000).miss("a");
    assert_eq!(scene.live(), [""; 0]);
    assert!(scene.fleet.group("c", "g").is_some(), "the group is remembered");
    scene.now = scene.now.plus_millis(86_400_000);
    scene.rescan(&[]);
    assert!(scene.fleet.group("c", "g").is_none(), "and forgotten after its time");
}

#[test]
fn an_outage_costs_nobody_his_place_and_an_empty_registry_fills_again() {
    let mut scene = Scene::new();
    for (agent, last) in [("a", 1), ("b", 2)] {
        scene.see(agent, value(last), LEASE);
    }
    scene.pass(14_000);
    scene.holdings.lost(scene.now, scene.now);
    scene.publish();
    scene.pass(300_000);
    assert_eq!(scene.live(), ["a", "b"], "leases stand still");
    // It is back, and empty; only b manages to write again.
    scene.holdings.begin_grace(scene.now);
    scene.rescan(&[]);
    assert_eq!(scene.live(), ["a", "b"]);
    scene.pass(5_000);
    scene.see("b", value(2), LEASE);
    scene.pass(9_999);
    assert_eq!(scene.live(), ["a", "b"], "kept for one lease");
    scene.pass(1);
    assert_eq!(scene.live(), ["b"], "and not for longer");
    assert_eq!(scene.holdings.agents(), 1);
}

#[test]
fn what_comes_back_with_a_short_rest_of_its_lease_gets_a_whole_one() {
    let mut scene = Scene::new();
    scene.see("a", value(1), LEASE);
    scene.pass(10_000);
    scene.holdings.lost(scene.now, scene.now);
    scene.pass(4_900);
    scene.holdings.begin_grace(scene.now);
    scene.rescan(&[("a", 1, 100)]);
    scene.pass(200);
    scene.miss("a"); // the expiry is pushed
    assert_eq!(scene.live(), ["a"], "it could not renew during the outage");
    scene.pass(LEASE);
    assert_eq!(scene.live(), [""; 0]);
}

#[test]
fn a_goodbye_during_the_grace_is_heard() {
    let mut scene = Scene::new();
    scene.see("a", value(1), LEASE);
    scene.see("b", value(2), LEASE);
    scene.pass(1_000);
    scene.holdings.lost(scene.now, scene.now);
    scene.pass(1_000);
    scene.holdings.begin_grace(scene.now);
    scene.rescan(&[("a", 1, 9_000), ("b", 2, 9_000)]);
    scene.pass(1_000).miss("a");
    assert_eq!(scene.live(), ["b"], "deleted before its lease was over: no expiry");
}

#[test]
fn a_flush_is_an_empty_restart_and_later_deletions_are_goodbyes_again() {
    let mut scene = Scene::new();
    scene.see("a", value(1), LEASE);
    scene.see("b", value(2), LEASE);
    scene.pass(1_000);
    scene.holdings.begin_grace(scene.now);
    scene.rescan(&[]);
    assert_eq!(scene.live(), ["a", "b"]);
    scene.pass(3_000);
    scene.see("a", value(1), LEASE);
    scene.pass(1_000).miss("a");
    assert_eq!(scene.live(), ["b"]);
    scene.pass(LEASE);
    assert_eq!(scene.live(), [""; 0]);
}

#[test]
fn who_ran_out_while_the_registry_was_silent_is_taken_back() {
    let mut scene = Scene::new();
    scene.see("a", value(1), 2_000);
    scene.pass(1_000);
    let heard = scene.now;
    scene.pass(3_000);
    assert_eq!(scene.live(), [""; 0], "nothing was heard, so its lease ran out");
    scene.holdings.lost(heard, scene.now);
    scene.publish();
    assert_eq!(scene.live(), ["a"], "the connection was dead before that");
    scene.pass(100_000);
    assert_eq!(scene.live(), ["a"]);
}

#[test]
fn a_registry_lost_for_longer_than_stale_max_fades_over_one_lease() {
    let mut scene = Scene::new();
    scene.see("a", value(1), LEASE);
    scene.holdings.lost(scene.now, scene.now);
    scene.pass(600_000);
    assert_eq!(scene.live(), ["a"]);
    scene.pass(LEASE);
    assert_eq!(scene.live(), [""; 0]);
    assert_eq!(scene.holdings.agents(), 0);
}

#[test]
fn a_bad_record_is_refused_alone_and_its_last_good_one_lives_out_its_lease() {
    let mut scene = Scene::new();
    scene.see("a", value(1), LEASE);
    scene.see("b", value(2), LEASE);
    assert_eq!(scene.see("a", b"{".to_vec(), LEASE), Outcome::Changed);
    assert_eq!(scene.see("a", b"{".to_vec(), LEASE), Outcome::Same, "the same refusal is no news");
    assert_eq!(scene.live(), ["a", "b"]);
    let refusal = &scene.fleet.refused()[0];
    assert_eq!(refusal.key, "fingerpost:agent:{c}:g:a");
    assert!(refusal.reason.starts_with("value: no JSON"), "{}", refusal.reason);
    scene.pass(LEASE);
    assert_eq!(scene.live(), [""; 0]);
    scene.see("a", value(1), LEASE);
    scene.pass(200);
    assert!(scene.fleet.refused().is_empty());
    let forever = Found::Value { bytes: value(3), left: Left::Forever };
    scene.holdings.observe(&key("c"), forever, scene.now);
    scene.pass(200);
    assert!(scene.fleet.refused()[0].reason.starts_with("lease: it has none: set it with PX"));
    scene.miss("c").pass(200);
    assert!(scene.fleet.refused().is_empty());
}

#[test]
fn rubbish_is_bounded_and_publishes_seldom() {
    let mut scene = Scene::new();
    let before = scene.publishes;
    for i in 0..2 * limits::REFUSALS {
        scene.see(&format!("a{i}"), b"rubbish".to_vec(), LEASE);
    }
    assert_eq!(scene.holdings.refused(), limits::REFUSALS);
    assert_eq!(scene.holdings.refusals(), 2 * limits::REFUSALS as u64);
    assert!(scene.publishes <= before + 1, "{} publications", scene.publishes);
    scene.pass(100);
    assert_eq!(scene.fleet.refused().len(), limits::REFUSALS);
    for i in 0..2 * limits::REFUSALS {
        scene.see(&format!("a{i}"), b"rubbish".to_vec(), LEASE);
    }
    assert_eq!(scene.holdings.refusals(), 2 * limits::REFUSALS as u64, "read again, nothing is news");
}

#[test]
fn the_most_agents_are_held_and_one_more_is_refused() {
    let mut scene = Scene::with(Settings { agents: 2, ..Settings::default() });
    for (agent, last) in [("a", 1), ("b", 2), ("c", 3)] {
        scene.see(agent, value(last), LEASE);
    }
    scene.pass(200);
    assert_eq!(scene.live(), ["a", "b"]);
    assert!(scene.fleet.refused()[0].reason.contains("2 agents are held already"));
}

#[test]
fn configured_groups_are_there_from_the_start_and_stay() {
    let id = (Cluster::parse("prod").unwrap(), GroupName::parse("vpc-1").unwrap());
    let settings = Settings { groups: vec![id], ..Settings::default() };
    let mut holdings = Holdings::new(settings, Keyspace::default(), "test", Moment::from_millis(1));
    let fleet = holdings.publish(&Fleet::default(), Moment::from_millis(1)).unwrap();
    assert!(fleet.group("prod", "vpc-1").is_some() && !fleet.is_synced());
    holdings.begin_scan();
    holdings.finish_scan(Moment::from_millis(86_400_000 * 40));
    let fleet = holdings.publish(&fleet, Moment::from_millis(86_400_000 * 40)).unwrap();
    assert!(fleet.group("prod", "vpc-1").is_some() && fleet.is_synced());
    assert_eq!(fleet.sources().len(), 1);
}

#[test]
fn topics_are_listed_until_they_are_deleted_but_survive_a_flush() {
    let mut scene = Scene::new();
    let topics: RawKey = b"fingerpost:topics:{c}".as_slice().into();
    let id = br#"{"id":"00000000-0000-4000-8000-000000000001","partitions":3}"#.to_vec();
    let fields =
        Fields::Some { fields: vec![(b"t".to_vec(), id), (b"bad".to_vec(), b"x".to_vec())], more: false };
    let now = scene.now;
    assert_eq!(scene.holdings.observe_topics(&topics, fields.clone(), now), Outcome::Changed);
    assert_eq!(scene.holdings.observe_topics(&topics, fields, now), Outcome::Same);
    scene.pass(200);
    assert_eq!(scene.fleet.catalog("c").unwrap().topics["t"].partitions, 3);
    assert_eq!(scene.fleet.refused()[0].key, "fingerpost:topics:{c} bad");
    scene.holdings.begin_grace(now);
    scene.holdings.begin_scan();
    assert_eq!(scene.holdings.unseen_topics(), [RawKey::clone(&topics)]);
    assert_eq!(scene.holdings.observe_topics(&topics, Fields::Missing, now), Outcome::Same);
    scene.holdings.finish_scan(now);
    assert!(scene.publish().fleet.catalog("c").is_some(), "flushed with everything else");
    let mut scene = Scene::new();
    let fields = Fields::Some { fields: vec![(b"t".to_vec(), b"{}".to_vec())], more: false };
    scene.holdings.observe_topics(&topics, fields, now);
    assert_eq!(scene.holdings.observe_topics(&topics, Fields::Missing, now), Outcome::Changed);
    assert!(scene.pass(200).fleet.catalog("c").is_none(), "deleted alone");
    assert!(scene.fleet.refused().is_empty());
}

#[test]
fn an_address_that_moved_to_another_group_is_not_remembered_in_the_old_one() {
    let mut scene = Scene::new();
    let other: RawKey = b"fingerpost:agent:{c}:other:b".as_slice().into();
    let found = |last| Found::Value { bytes: value(last), left: Left::Millis(LEASE) };
    // The other group takes the address after its agent left, and before.
    scene.see("b", value(1), LEASE);
    scene.see("stays", value(3), LEASE);
    scene.miss("b");
    assert!(scene.fleet.group("c", "g").unwrap().agent("b", scene.now).is_some());
    scene.holdings.observe(&other, found(1), scene.now);
    scene.publish();
    assert!(scene.fleet.group("c", "g").unwrap().agent("b", scene.now).is_none());
    scene.see("b", value(1), LEASE);
    scene.miss("b");
    let group = scene.fleet.group("c", "g").unwrap();
    assert!(group.agent("b", scene.now).is_none() && group.agent("stays", scene.now).is_some());
    // Once nobody else has it, a departed agent is remembered again.
    scene.holdings.observe(&other, Found::Missing, scene.now);
    scene.see("b", value(1), LEASE);
    scene.miss("b");
    assert!(scene.fleet.group("c", "g").unwrap().agent("b", scene.now).is_some());
    assert!(
        scene.fleet.group("c", "other").unwrap().agent("b", scene.now).is_none(),
        "nor the other way round"
    );
}

#[test]
fn repeated_flushes_keep_nobody_alive_who_is_dead() {
    let mut scene = Scene::new();
    scene.see("dead", value(1), LEASE);
    scene.see("alive", value(2), LEASE);
    for _ in 0..20 {
        scene.holdings.begin_grace(scene.now);
        scene.rescan(&[]);
        scene.pass(1_000);
        scene.see("alive", value(2), LEASE);
        scene.pass(500);
    }
    assert_eq!(scene.live(), ["alive"]);
}
