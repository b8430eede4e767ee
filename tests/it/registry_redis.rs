//! What only Redis can do to us: die, hang, refuse, hold something else. And the commands of docs/registry.md.

use crate::registry::{Back, Rig, agent_key};
use crate::support::{DEADLINE, Redis, Signal, redis, root, run, tool, wait_for};
use fingerpost::clock::Clock;
use fingerpost::registry::follow::{self, Settings};
use fingerpost::registry::{Error, Options, open, probe};
use fingerpost::telemetry::registry::Metrics;
use fingerpost::view;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const GOOD: &str = r#"{"addresses":["127.0.0.1"]}"#;

#[test]
fn a_redis_that_dies_and_returns_empty_costs_no_agent() {
    let mut rig = Rig::redis();
    let lease = Duration::from_millis(1_500);
    let beats: Vec<_> = (0..10).map(|i| rig.beat(&format!("a{i}"), i + 1, lease)).collect();
    wait_for("the fleet", DEADLINE, || rig.live().len() == 10);
    rig.back.redis().kill();
    let down = Instant::now();
    wait_for("an outage of two leases", DEADLINE, || {
        assert_eq!(rig.live().len(), 10, "answers go on");
        down.elapsed() > lease * 2
    });
    assert_eq!(rig.metrics.connected.get(), 0);
    assert!(rig.view.load().sources()[0].frozen_since().is_some());
    let connects = rig.metrics.connects.get();
    rig.back.redis().restart();
    wait_for("the resync", DEADLINE, || {
        assert_eq!(rig.live().len(), 10, "an empty Redis does not empty the fleet");
        rig.metrics.connects.get() > connects && rig.metrics.connected.get() == 1
    });
    let back = Instant::now();
    wait_for("two leases to pass", DEADLINE, || {
        assert_eq!(rig.live().len(), 10, "everybody wrote again");
        back.elapsed() > lease * 2
    });
    assert!(rig.view.load().sources()[0].frozen_since().is_none());
    drop(beats);
    rig.wait_live(&[]);
    assert_eq!(rig.metrics.repaired.get(), 0);
}

#[test]
fn those_who_died_with_redis_go_after_one_lease() {
    let mut rig = Rig::redis();
    let lease = Duration::from_millis(1_500);
    let _stays = rig.beat("stays", 1, lease);
    let dies = rig.beat("dies", 2, lease);
    rig.wait_live(&["dies", "stays"]);
    rig.back.redis().kill();
    dies.kill();
    rig.back.redis().restart();
    wait_for("the dead one to go, and only that", DEADLINE, || {
        let live = rig.live();
        assert!(live.contains("stays"));
        live.len() == 1
    });
}

#[test]
fn a_redis_that_hangs_stops_the_clock_of_its_leases() {
    let mut rig = Rig::redis();
    let lease = Duration::from_secs(2);
    let _beats: Vec<_> = (0..5).map(|i| rig.beat(&format!("a{i}"), i + 1, lease)).collect();
    wait_for("the fleet", DEADLINE, || rig.live().len() == 5);
    rig.back.redis().signal(Signal::Stop);
    wait_for("the hang to be noticed", DEADLINE, || rig.metrics.connected.get() == 0);
    let noticed = Instant::now();
    wait_for("a lease and a half to pass", DEADLINE, || {
        assert_eq!(rig.live().len(), 5);
        noticed.elapsed() > lease * 3 / 2
    });
    rig.back.redis().signal(Signal::Cont);
    wait_for("the resync", DEADLINE, || rig.metrics.connected.get() == 1);
    let back = Instant::now();
    wait_for("a lease and a half to pass", DEADLINE, || {
        assert_eq!(rig.live().len(), 5);
        back.elapsed() > lease * 3 / 2
    });
}

#[test]
fn before_the_first_full_read_nothing_is_synced() {
    let mut redis = redis();
    redis.kill();
    let runtime = Runtime::new().unwrap();
    let (publisher, view) = view::channel();
    let metrics = Arc::new(Metrics::register(&prometheus::Registry::new()).unwrap());
    let (clock, stop) = (Clock::machine(), CancellationToken::new());
    let registry = open(&redis.url(), &Options::default()).unwrap();
    let _guard = runtime.enter();
    let task = follow::start(registry, Settings::default(), publisher, clock, metrics, stop.clone());
    wait_for("the sources to be named", DEADLINE, || !view.load().sources().is_empty());
    assert!(!view.load().is_synced() && view.load().sources()[0].frozen_since().is_some());
    redis.restart();
    wait_for("the first full read", DEADLINE, || view.load().is_synced());
    stop.cancel();
    runtime.block_on(task).unwrap();
}

#[test]
fn a_key_of_another_type_or_without_lease_is_refused_alone() {
    let mut rig = Rig::redis();
    let redis = rig.back.redis();
    redis.cli(&["SET", "fingerpost:agent:{c}:g:a", GOOD, "PX", "60000"]);
    redis.cli(&["HSET", "fingerpost:agent:{c}:g:hash", "field", "value"]);
    redis.cli(&["SET", "fingerpost:topics:{c}", "text"]);
    rig.wait("both refusals", |fleet| fleet.refused().len() == 2);
    for refusal in rig.view.load().refused() {
        assert!(
            refusal.reason.contains("write it with SET") || refusal.reason.contains("WRONGTYPE"),
            "{refusal:?}"
        );
    }
    rig.wait_live(&["a"]);
    rig.back.redis().cli(&["PERSIST", "fingerpost:agent:{c}:g:a"]);
    rig.wait("the lost lease to be told", |fleet| fleet.refused().len() == 3);
    rig.back.redis().cli(&["PEXPIRE", "fingerpost:agent:{c}:g:a", "300"]);
    rig.wait("the lease to be back", |fleet| fleet.refused().len() == 2);
    rig.wait_live(&[]);
}

/// The ACL commands of docs/registry.md, as they stand there.
fn acl_of_the_docs(redis: &Redis) {
    let docs = std::fs::read_to_string(root().join("docs/registry.md")).unwrap();
    let commands: Vec<&str> = docs.lines().filter(|line| line.starts_with("ACL SETUSER ")).collect();
    assert_eq!(commands.len(), 2, "the follower's and one writer's: {commands:?}");
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        assert_eq!(redis.cli(&words), "OK", "{command}");
    }
}

fn url(redis: &Redis, user: &str, password: &str) -> String {
    format!("redis://{user}:{password}@{}", redis.address())
}

#[test]
fn the_documented_users_can_do_what_they_must_and_no_more() {
    let redis = redis();
    acl_of_the_docs(&redis);
    let options = Options::default();
    let follower = url(&redis, "fingerpost", "follow-me");
    let writer = open(&url(&redis, "prod-vpc-1", "write-me"), &options).unwrap();
    let runtime = Runtime::new().unwrap();
    assert_eq!(runtime.block_on(probe(&follower, &options)), []);
    let key = |text: &str| {
        let mut key = agent_key("a");
        key.cluster = "prod".parse().unwrap();
        key.group = text.parse().unwrap();
        key
    };
    let lease = Duration::from_secs(60);
    runtime.block_on(async {
        writer.put(&key("vpc-1"), GOOD, lease).await.unwrap();
        writer.remove(&key("vpc-1")).await.unwrap();
        let foreign = writer.put(&key("vpc-2"), GOOD, lease).await;
        assert!(matches!(foreign, Err(Error::Refused(..))), "another group's record: {foreign:?}");
        let reader = open(&follower, &options).unwrap();
        let written = reader.put(&key("vpc-1"), GOOD, lease).await;
        assert!(matches!(written, Err(Error::Refused(..))), "the follower only reads: {written:?}");
    });
    let registry = open(&follower, &options).unwrap();
    let rig = Rig::on(registry, Back::Redis(Box::new(redis)), Clock::machine());
    runtime.block_on(writer.put(&key("vpc-1"), GOOD, lease)).unwrap();
    rig.wait("the record through both users", |fleet| {
        fleet.group("prod", "vpc-1").is_some_and(|group| group.live(rig.clock.now()).count() == 1)
    });
}

#[test]
fn a_probe_names_each_missing_right_and_a_wrong_password_shows_none() {
    let redis = redis();
    redis.cli(&[
        "ACL",
        "SETUSER",
        "half",
        "on",
        ">secret-word",
        "+ping",
        "+scan",
        "~fingerpost:agent:*",
        "+pttl",
    ]);
    let options = Options { operation: Duration::from_millis(500), ..Options::default() };
    let runtime = Runtime::new().unwrap();
    let problems = runtime.block_on(probe(&url(&redis, "half", "secret-word"), &options));
    let steps: Vec<&str> = problems.iter().map(|problem| problem.step).collect();
    assert_eq!(steps, ["CLIENT TRACKING", "GETRANGE", "HSCAN"]);
    assert_eq!(problems[0].hint, "ACL SETUSER <user> +client|tracking");
    let wrong = runtime.block_on(probe(&url(&redis, "half", "wrong-word"), &options));
    assert_eq!(wrong[0].step, "connect");
    assert!(wrong[0].hint.contains("password"), "{wrong:?}");
    assert!(!format!("{problems:?}{wrong:?}").contains("-word"), "{problems:?} {wrong:?}");
    let file = Options { password: Some("secret-word\n".to_owned()), ..options.clone() };
    assert_eq!(
        runtime.block_on(probe(&url(&redis, "half", "ignored"), &file)).len(),
        3,
        "the file's password wins"
    );
    let address = redis.address();
    drop(redis);
    let dead = runtime.block_on(probe(&format!("redis://{address}"), &options));
    assert!(dead[0].hint.contains("host, port"), "{dead:?}");
}

#[test]
fn one_node_of_a_cluster_is_refused_for_it_has_a_part_of_the_keys_only() {
    let redis = Redis::with(&["--cluster-enabled", "yes"]);
    let options = Options::default();
    let runtime = Runtime::new().unwrap();
    let problems = runtime.block_on(probe(&redis.url(), &options));
    assert!(problems[0].error.contains("cluster mode; follow a standalone Redis"), "{problems:?}");
    let session = runtime.block_on(async { open(&redis.url(), &options).unwrap().session().await.map(drop) });
    assert!(matches!(session, Err(Error::Refused(..))), "{session:?}");
}

/// Runs the `redis-cli` one-liners of docs/registry.md, as they stand there, and looks at what they do.
#[test]
fn the_documented_one_liners_make_drain_and_remove_an_agent() {
    let mut rig = Rig::redis();
    let docs = std::fs::read_to_string(root().join("docs/registry.md")).unwrap();
    let lines: Vec<String> =
        docs.lines().filter(|line| line.starts_with("redis-cli ")).map(str::to_owned).collect();
    let port = rig.back.redis().address().port();
    let sh = |line: &str| {
        let line = line.replacen("redis-cli ", &format!("redis-cli -e -p {port} "), 1);
        run("sh", tool("sh").args(["-c", &line])).ok()
    };
    assert_eq!(lines.len(), 4, "{lines:?}");
    let ready = |rig: &Rig| {
        let fleet = rig.view.load();
        let group = fleet.group("prod", "vpc-1")?;
        Some((group.ready(rig.clock.now()).count(), group.live(rig.clock.now()).count()))
    };
    for (line, wanted) in lines.iter().zip([(1, 1), (0, 1), (0, 0)]) {
        sh(line);
        wait_for(line, DEADLINE, || ready(&rig) == Some(wanted));
    }
    sh(&lines[3]);
    rig.wait("the topic", |fleet| fleet.catalog("prod").is_some_and(|c| c.topics["orders"].partitions == 12));
    let value = docs.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap().trim();
    rig.back.redis().cli(&["SET", "fingerpost:agent:{prod}:vpc-1:a17", value, "PX", "15000"]);
    wait_for("the whole record", DEADLINE, || ready(&rig) == Some((1, 1)));
    assert!(rig.view.load().refused().is_empty());
}
