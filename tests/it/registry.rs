//! Stores and the follower: one battery of tests that runs on every store, Redis being a real redis-server.

use crate::support::{DEADLINE, Redis, redis, wait_for};
use fingerpost::agent::Heartbeat;
use fingerpost::clock::Clock;
use fingerpost::model::{AgentId, AgentKey, Cluster, Fleet, GroupName, Record};
use fingerpost::registry::follow::{self, Settings};
use fingerpost::registry::{Keyspace, MemoryStore, Options, Registry, ZoneMark, open, record};
use fingerpost::telemetry::registry::Metrics;
use fingerpost::view::{self, View};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// A store that is followed, and a way to write into it past our own code.
pub struct Rig {
    pub runtime: Runtime,
    pub registry: Registry,
    pub view: View,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub back: Back,
    stop: CancellationToken,
}

/// The other way in.
pub enum Back {
    Memory(MemoryStore),
    Redis(Box<Redis>),
}

impl Back {
    fn set(&self, key: &str, value: &str, lease: Option<Duration>) {
        match self {
            Self::Memory(store) => store.set(key.as_bytes(), value.as_bytes(), lease).unwrap(),
            Self::Redis(redis) => {
                let millis = lease.map(|lease| lease.as_millis().to_string());
                let mut command = vec!["SET", key, value];
                command.extend(millis.iter().flat_map(|millis| ["PX", millis]));
                assert_eq!(redis.cli(&command), "OK");
            }
        }
    }

    fn delete(&self, key: &str) {
        match self {
            Self::Memory(store) => assert!(store.delete(key.as_bytes())),
            Self::Redis(redis) => assert_eq!(redis.cli(&["DEL", key]), "1"),
        }
    }

    fn flush(&self) {
        match self {
            Self::Memory(store) => store.flush(),
            Self::Redis(redis) => assert_eq!(redis.cli(&["FLUSHALL"]), "OK"),
        }
    }

    fn set_topics(&self, cluster: &str, fields: &[(&str, &str)]) {
        match self {
            Self::Memory(store) => store.set_topics(
                &Cluster::parse(cluster).unwrap(),
                fields
                    .iter()
                    .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                    .collect(),
            ),
            Self::Redis(redis) => {
                let key = format!("fingerpost:topics:{{{cluster}}}");
                redis.cli(&["DEL", &key]);
                for (name, value) in fields {
                    redis.cli(&["HSET", &key, name, value]);
                }
            }
        }
    }

    pub fn redis(&mut self) -> &mut Redis {
        match self {
            Self::Redis(redis) => redis,
            Self::Memory(_) => panic!("no Redis here"),
        }
    }
}

impl Rig {
    pub fn memory() -> Self {
        let clock = Clock::machine();
        let store = MemoryStore::new(Keyspace::default(), clock.clone());
        Self::on(Arc::new(store.clone()), Back::Memory(store), clock)
    }

    pub fn redis() -> Self {
        let redis = redis();
        let options = Options { operation: Duration::from_millis(500), ..Options::default() };
        let registry = open(&redis.url(), &options).unwrap();
        Self::on(registry, Back::Redis(Box::new(redis)), Clock::machine())
    }

    pub fn on(registry: Registry, back: Back, clock: Clock) -> Self {
        let runtime = Runtime::new().unwrap();
        let (publisher, view) = view::channel();
        let metrics = Arc::new(Metrics::register(&prometheus::Registry::new()).unwrap());
        let stop = CancellationToken::new();
        let settings = Settings { resync: Duration::from_secs(1), ..Settings::default() };
        let guard = runtime.enter();
        follow::start(
            Arc::clone(&registry),
            settings,
            publisher,
            clock.clone(),
            Arc::clone(&metrics),
            stop.clone(),
        );
        drop(guard);
        let rig = Self { runtime, registry, view, metrics, clock, back, stop };
        rig.wait("the first full read", Fleet::is_synced);
        rig
    }

    #[track_caller]
    pub fn wait(&self, what: &str, mut wanted: impl FnMut(&Fleet) -> bool) {
        wait_for(what, DEADLINE, || wanted(&self.view.load()));
    }

    /// Agents of group `g` that are live now.
    pub fn live(&self) -> BTreeSet<String> {
        let fleet = self.view.load();
        let Some(group) = fleet.group("c", "g") else { return BTreeSet::new() };
        group.live(self.clock.now()).map(|agent| agent.key.agent.to_string()).collect()
    }

    #[track_caller]
    pub fn wait_live(&self, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|&agent| agent.to_owned()).collect();
        let mut seen = BTreeSet::new();
        wait_for(&format!("live to be {wanted:?}"), DEADLINE, || {
            seen = self.live();
            seen == wanted
        });
    }

    pub fn put(&self, agent: &str, last: u8, lease: Duration) {
        let value = record::to_json(&a_record(last));
        self.runtime.block_on(self.registry.put(&agent_key(agent), &value, lease)).unwrap();
    }

    pub fn beat(&self, agent: &str, last: u8, lease: Duration) -> Heartbeat {
        let _guard = self.runtime.enter();
        Heartbeat::start(
            Arc::clone(&self.registry),
            agent_key(agent),
            a_record(last),
            lease,
            self.stop.clone(),
        )
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn agent_key(agent: &str) -> AgentKey {
    AgentKey {
        cluster: Cluster::parse("c").unwrap(),
        group: GroupName::parse("g").unwrap(),
        agent: AgentId::parse(agent).unwrap(),
    }
}

fn a_record(last: u8) -> Record {
    record::parse(format!(r#"{{"zone":"z","addresses":["127.0.0.{last}"]}}"#).as_bytes()).unwrap()
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(700);

macro_rules! battery {
    ($($test:ident),* $(,)?) => {
        mod on_memory {
            $(#[test] fn $test() { super::$test(&super::Rig::memory()); })*
        }
        mod on_redis {
            $(#[test] fn $test() { super::$test(&super::Rig::redis()); })*
        }
    };
}

battery!(
    a_record_is_seen_changed_and_removed,
    a_lease_runs_out_and_not_before,
    a_flushed_registry_keeps_its_agents_for_one_lease,
    topics_come_and_go,
    bad_records_are_refused_alone,
    a_few_thousand_keys_are_followed_without_repairs,
    heartbeats_renew_without_publishing_and_say_goodbye,
    a_zone_mark_has_one_writer_at_a_time,
);

fn a_record_is_seen_changed_and_removed(rig: &Rig) {
    rig.put("a", 1, LONG);
    rig.wait_live(&["a"]);
    rig.put("b", 2, LONG);
    rig.wait_live(&["a", "b"]);
    rig.put("a", 3, LONG);
    rig.wait("the new address", |fleet| {
        let group = fleet.group("c", "g").unwrap();
        group.agent("a", rig.clock.now()).unwrap().record.addresses[0].to_string() == "127.0.0.3"
    });
    assert!(rig.runtime.block_on(rig.registry.remove(&agent_key("a"))).unwrap());
    assert!(!rig.runtime.block_on(rig.registry.remove(&agent_key("a"))).unwrap(), "it is gone already");
    rig.wait_live(&["b"]);
    rig.back.delete("fingerpost:agent:{c}:g:b");
    rig.wait_live(&[]);
    let fleet = rig.view.load_full();
    let group = fleet.group("c", "g").expect("the group is remembered");
    assert!(group.agent("a", rig.clock.now()).is_some(), "its name resolves for a while");
    assert_eq!(rig.metrics.repaired.get(), 0);
}

fn a_lease_runs_out_and_not_before(rig: &Rig) {
    let written = Instant::now();
    rig.put("a", 1, SHORT);
    rig.wait_live(&["a"]);
    rig.wait("the removal to be published", |fleet| fleet.group("c", "g").unwrap().agents().is_empty());
    assert!(written.elapsed() >= SHORT - Duration::from_millis(5), "gone after {:?}", written.elapsed());
    rig.put("a", 1, LONG);
    rig.wait_live(&["a"]);
}

fn a_flushed_registry_keeps_its_agents_for_one_lease(rig: &Rig) {
    let lease = Duration::from_secs(2);
    rig.put("a", 1, lease);
    rig.put("b", 2, lease);
    rig.wait_live(&["a", "b"]);
    let scans = rig.metrics.scans.get();
    rig.back.flush();
    wait_for("the flush to be noticed", DEADLINE, || rig.metrics.scans.get() > scans);
    let both: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
    assert_eq!(rig.live(), both);
    rig.put("b", 2, LONG);
    wait_for("a to go, and only a", DEADLINE, || {
        let live = rig.live();
        assert!(live.contains("b"), "b wrote again");
        !live.contains("a")
    });
    rig.back.delete("fingerpost:agent:{c}:g:b");
    rig.wait_live(&[]);
}

fn topics_come_and_go(rig: &Rig) {
    let orders = r#"{"id":"0b1c6f2e-5f43-4c58-9a57-3f0a3f6f0001","partitions":12}"#;
    rig.back.set_topics("c", &[("orders", orders), ("bad name", orders), ("none", r#"{"partitions":1}"#)]);
    rig.wait("the topic", |fleet| {
        let partitions = |fleet: &Fleet| Some(fleet.catalog("c")?.topics.get("orders")?.partitions);
        partitions(fleet) == Some(12) && fleet.refused().len() == 2
    });
    let reasons: Vec<String> =
        rig.view.load().refused().iter().map(|r| format!("{}: {}", r.key, r.reason)).collect();
    assert!(reasons.iter().any(|line| line.starts_with("fingerpost:topics:{c} none: id: ")), "{reasons:?}");
    rig.back.set_topics("c", &[("orders", orders), ("pay", &orders.replace("0001", "0002"))]);
    rig.wait("the second topic", |fleet| {
        fleet.catalog("c").is_some_and(|catalog| catalog.topics.len() == 2) && fleet.refused().is_empty()
    });
    rig.back.set_topics("c", &[]);
    rig.wait("the topics to go", |fleet| fleet.catalog("c").is_none());
}

fn bad_records_are_refused_alone(rig: &Rig) {
    let good = r#"{"addresses":["127.0.0.1"]}"#;
    let huge = format!(r#"{{"addresses":["127.0.0.1"],"x":"{}"}}"#, "x".repeat(17_000));
    rig.put("a", 1, LONG);
    let cases = [
        ("fingerpost:agent:{c}:g:json", "{\"addresses\":", Some(LONG), "value: no JSON"),
        ("fingerpost:agent:{c}:g:none", "{}", Some(LONG), "addresses: it is missing"),
        ("fingerpost:agent:{c}:g:forever", good, None, "lease: it has none: set it with PX"),
        ("fingerpost:agent:{c}:G:case", good, Some(LONG), "key: group \"G\": write it in lower case"),
        ("fingerpost:agent:{c}:g:az-1", good, Some(LONG), "key: agent \"az-1\""),
        ("fingerpost:agent:c", good, Some(LONG), "key: write it"),
        ("fingerpost:agent:{c}:g:huge", &huge, Some(LONG), "value: it is larger than 16384 bytes"),
    ];
    for (key, value, lease, _) in cases {
        rig.back.set(key, value, lease);
    }
    rig.wait("all refusals", |fleet| fleet.refused().len() == cases.len());
    for (key, _, _, reason) in cases {
        let fleet = rig.view.load();
        let refusal = fleet.refused().iter().find(|refusal| refusal.key == key).expect(key);
        assert!(refusal.reason.starts_with(reason), "{key}: {}", refusal.reason);
    }
    rig.wait_live(&["a"]);
    rig.back.set("fingerpost:agent:{c}:g:json", good, Some(LONG));
    rig.wait_live(&["a", "json"]);
    rig.back.delete("fingerpost:agent:c");
    rig.wait("the corrected and the deleted to leave the list", |fleet| {
        fleet.refused().len() == cases.len() - 2
    });
    wait_for("the metric", DEADLINE, || rig.metrics.refusals.get() == cases.len() as u64);
}

fn a_few_thousand_keys_are_followed_without_repairs(rig: &Rig) {
    let count = 3_000;
    rig.runtime.block_on(async {
        let value = record::to_json(&a_record(1));
        for i in 0..count {
            rig.registry.put(&agent_key(&format!("a{i}")), &value, LONG).await.unwrap();
        }
    });
    wait_for("all of them", DEADLINE, || rig.live().len() == count);
    let scans = rig.metrics.scans.get();
    wait_for("two more scans", DEADLINE, || rig.metrics.scans.get() >= scans + 2);
    assert_eq!(rig.metrics.repaired.get(), 0);
    let generation = rig.view.load().generation();
    wait_for("another scan", DEADLINE, || rig.metrics.scans.get() >= scans + 3);
    assert_eq!(rig.view.load().generation(), generation, "a scan without news publishes nothing");
}

fn heartbeats_renew_without_publishing_and_say_goodbye(rig: &Rig) {
    let lease = Duration::from_secs(1);
    let mut beats: Vec<Heartbeat> = (0..20).map(|i| rig.beat(&format!("a{i}"), i + 1, lease)).collect();
    wait_for("all of them", DEADLINE, || rig.live().len() == 20);
    let (generation, reads) = (rig.view.load().generation(), rig.metrics.reads.get());
    let start = Instant::now();
    wait_for("many renewals over more than one lease", DEADLINE, || {
        assert_eq!(rig.live().len(), 20, "nobody lapses between two renewals");
        rig.metrics.reads.get() > reads + 100 && start.elapsed() > lease * 2
    });
    assert_eq!(rig.view.load().generation(), generation, "renewals publish nothing");
    beats[0].drain();
    rig.wait("the draining agent", |fleet| {
        fleet.group("c", "g").unwrap().ready(rig.clock.now()).count() == 19
    });
    assert_eq!(rig.live().len(), 20, "draining agents are live");
    let gone = Instant::now();
    rig.runtime.block_on(beats.pop().unwrap().stop());
    wait_for("the goodbye", DEADLINE, || !rig.live().contains("a19"));
    assert!(gone.elapsed() < lease, "a goodbye does not wait for the lease");
    beats.pop().unwrap().kill();
    assert!(rig.live().contains("a18"), "a crash waits for the lease");
    wait_for("the crashed one to lapse", DEADLINE, || !rig.live().contains("a18"));
    assert_eq!(rig.live().len(), 18);
}

/// Many writers raise one mark, each from what it read: no step is lost and none is taken twice.
fn a_zone_mark_has_one_writer_at_a_time(rig: &Rig) {
    let mark = |serial: u32, digest: &str| ZoneMark { serial, digest: digest.to_owned() };
    let read = |apex: &str| rig.runtime.block_on(rig.registry.zone_mark(apex)).unwrap();
    let swap = |expected: Option<&ZoneMark>, new: &ZoneMark| {
        rig.runtime.block_on(rig.registry.swap_zone_mark("k.example", expected, new)).unwrap()
    };
    assert_eq!(read("k.example"), None);
    assert!(swap(None, &mark(7, "aa")));
    assert!(!swap(None, &mark(8, "bb")), "there is one");
    assert!(!swap(Some(&mark(7, "bb")), &mark(8, "bb")), "it stands for another content");
    assert!(swap(Some(&mark(7, "aa")), &mark(u32::MAX, "bb")));
    assert_eq!(read("k.example"), Some(mark(u32::MAX, "bb")));
    assert_eq!(read("other.example"), None);

    let writers = (0..8).map(|writer: u32| {
        let registry = Arc::clone(&rig.registry);
        rig.runtime.spawn(async move {
            let mut won = Vec::new();
            while won.len() < 10 {
                let have = registry.zone_mark("race.example").await.unwrap();
                let serial = have.as_ref().map_or(1, |have| have.serial + 1);
                let new = ZoneMark { serial, digest: writer.to_string() };
                if registry.swap_zone_mark("race.example", have.as_ref(), &new).await.unwrap() {
                    won.push(serial);
                }
            }
            won
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut won: Vec<u32> =
        writers.into_iter().flat_map(|writer| rig.runtime.block_on(writer).unwrap()).collect();
    won.sort_unstable();
    assert_eq!(won, (1..=80).collect::<Vec<u32>>());
}
