//! The whole server over real processes: the demo, replicas on one Redis, and a Redis that dies.

use crate::support::{
    DEADLINE, Fingerpost, Redis, Signal, dig, fingerpost, http_get, kafka_view, redis, run, wait_for,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// A running server on a Redis, with its configuration file.
struct Replica {
    _folder: TempDir,
    server: Fingerpost,
}

impl Replica {
    /// Serves clusters `prod` with listeners for `vpc-1` and `vpc-2`, on ports of its own.
    fn start(redis: &Redis) -> Self {
        let folder = TempDir::new().expect("make a temporary folder");
        let file = folder.path().join("fingerpost.toml");
        let mut text = format!("[registry]\nurl = \"{}\"\n", redis.url());
        text.push_str("[dns]\nlisten = [\"127.0.0.1:0\"]\n[[dns.zone]]\napex = \"kafka.example\"\n");
        text.push_str("[[cluster]]\nname = \"prod\"\n");
        text.push_str("topics = { source = \"static\", list = [{ name = \"orders\", partitions = 12 }] }\n");
        for group in ["vpc-1", "vpc-2"] {
            let _ = write!(
                text,
                "[[kafka.listener]]\nlisten = \"127.0.0.1:0\"\ncluster = \"prod\"\ngroup = \"{group}\"\n"
            );
        }
        text.push_str("[admin]\nlisten = \"127.0.0.1:0\"\n");
        std::fs::write(&file, text).expect("write the configuration");
        let server = fingerpost(&["serve", "--config", &file.to_string_lossy()]);
        Self { _folder: folder, server }
    }

    fn answers(&mut self, name: &str) -> BTreeSet<String> {
        addresses(self.server.dns(), name)
    }

    /// Waits until a name has exactly these addresses.
    #[track_caller]
    fn wait_for(&mut self, name: &str, wanted: &[&str]) {
        let server = self.server.dns();
        let wanted: BTreeSet<String> = wanted.iter().map(|&address| address.to_owned()).collect();
        wait_for(&format!("{name} to have {wanted:?}"), DEADLINE, || addresses(server, name) == wanted);
    }
}

fn addresses(server: SocketAddr, name: &str) -> BTreeSet<String> {
    dig(server, &[name, "A"]).data("A").into_iter().map(str::to_owned).collect()
}

/// Heartbeats as a shell does it: one SET with a lease.
fn heartbeat(redis: &Redis, group: &str, agent: &str, zone: &str, address: &str, lease: Duration) {
    let key = format!("fingerpost:agent:{{prod}}:{group}:{agent}");
    let value = format!(r#"{{"v":1,"zone":"{zone}","addresses":["{address}"],"ports":{{"kafka":9092}}}}"#);
    redis.cli(&["SET", &key, &value, "PX", &lease.as_millis().to_string()]);
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn the_demo_runs_answers_and_ends_within_a_second_of_ctrl_c() {
    let mut demo =
        fingerpost(&["demo", "--dns", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let server = demo.dns();
    for (group, prefix) in [("vpc-1", "127.0.11."), ("vpc-2", "127.0.12.")] {
        let name = format!("{group}.demo.kafka.example");
        wait_for("six agents in DNS", DEADLINE, || addresses(server, &name).len() == 6);
        let found = addresses(server, &name);
        assert!(found.iter().all(|address| address.starts_with(prefix)), "{name}: {found:?}");
        let zone = addresses(server, &format!("az-us-east-1b.{name}"));
        assert!(zone.len() == 2 && zone.is_subset(&found), "the zone's agents are the group's: {zone:?}");
    }
    assert_eq!(demo.addresses("kafka", 2).len(), 2);
    assert_eq!(demo.interrupt(Duration::from_secs(1)), 0);
}

#[test]
fn the_first_query_after_the_start_up_lines_is_answered() {
    let redis = redis();
    heartbeat(&redis, "vpc-1", "a", "us-east-1a", "127.0.11.1", LONG);
    let mut replica = Replica::start(&redis);
    replica.wait_for("vpc-1.prod.kafka.example", &["127.0.11.1"]);
    let unknown = dig(replica.server.dns(), &["vpc-3.prod.kafka.example", "A"]).clean();
    assert_eq!(unknown.status, "NXDOMAIN");
    let empty = dig(replica.server.dns(), &["vpc-2.prod.kafka.example", "A"]).clean();
    assert_eq!((empty.status.as_str(), empty.answer.len()), ("NOERROR", 0), "configured, hence known");
    assert_eq!(replica.server.interrupt(Duration::from_secs(2)), 0);
}

#[test]
fn two_replicas_on_one_registry_answer_alike() {
    let redis = redis();
    for n in 1..=9u8 {
        let zone = ["us-east-1a", "us-east-1b", "us-east-1c"][usize::from(n) % 3];
        heartbeat(&redis, "vpc-1", &format!("agent-{n}"), zone, &format!("127.0.11.{n}"), LONG);
    }
    let mut replicas = [Replica::start(&redis), Replica::start(&redis)];
    let serials = replicas.each_mut().map(|replica| {
        let server = replica.server.dns();
        wait_for("all nine agents", DEADLINE, || {
            dig(server, &["_kafka._tcp.vpc-1.prod.kafka.example", "SRV", "+tcp"]).answer.len() == 9
        });
        let mut targets =
            dig(server, &["_kafka._tcp.vpc-1.prod.kafka.example", "SRV", "+tcp"]).clean().answer;
        targets.sort_by(|a, b| a.data.cmp(&b.data));
        let soa = dig(server, &["kafka.example", "SOA"]).clean();
        (soa.data("SOA").concat(), targets.into_iter().map(|rr| rr.data).collect::<Vec<_>>())
    });
    assert_eq!(serials[0], serials[1], "SOA and services are the same on every replica");

    let [first, second] = replicas.each_mut().map(|replica| {
        let ask = |id: &str| kafka_view(replica.server.kafka(0), id);
        ["ws_az=us-east-1a,x", "y"].map(ask)
    });
    for (one, other) in first.iter().zip(&second) {
        assert_eq!(one.brokers, other.brokers, "node ids, hosts and ports");
        assert_eq!(one.controller, other.controller);
        assert_eq!(one.cluster_id, other.cluster_id);
        assert_eq!(one.coordinators, other.coordinators);
        assert_eq!(one.brokers.len(), 9);
    }
    let distinct: BTreeSet<_> = first[0].coordinators.iter().collect();
    assert!(distinct.len() > 3, "coordinators are spread over the agents: {distinct:?}");
}

#[test]
fn answers_go_on_while_redis_is_dead_and_the_fleet_converges_after() {
    let mut redis = redis();
    let names: Vec<String> = (1..=4u8).map(|n| format!("agent-{n}")).collect();
    let beat = |redis: &Redis, lease| {
        for (n, name) in names.iter().enumerate() {
            heartbeat(redis, "vpc-1", name, "us-east-1a", &format!("127.0.11.{}", n + 1), lease);
        }
    };
    beat(&redis, Duration::from_secs(3));
    let mut replica = Replica::start(&redis);
    let name = "vpc-1.prod.kafka.example";
    let all = ["127.0.11.1", "127.0.11.2", "127.0.11.3", "127.0.11.4"];
    replica.wait_for(name, &all);
    let server = replica.server.dns();

    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let asker = std::thread::spawn({
        let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
        move || {
            while !stop.load(Ordering::Relaxed) {
                let answer = dig(server, &[name, "A"]).clean();
                assert_eq!(answer.status, "NOERROR", "{}", answer.text);
                assert!(!answer.answer.is_empty(), "no agent was answered: {}", answer.text);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    redis.kill();
    // The leases of three seconds run out while Redis is away: nobody may notice.
    let before = asked.load(Ordering::Relaxed);
    wait_for("the leases to be over on every clock", Duration::from_secs(30), || {
        asked.load(Ordering::Relaxed) > before + 5 && replica_outage_is_older_than(&mut replica, 4_000)
    });
    redis.restart();
    beat(&redis, Duration::from_secs(600));
    heartbeat(&redis, "vpc-1", "late", "us-east-1b", "127.0.11.9", LONG);
    replica.wait_for(name, &[&all[..], &["127.0.11.9"]].concat());
    redis.cli(&["DEL", "fingerpost:agent:{prod}:vpc-1:agent-1"]);
    replica.wait_for(name, &["127.0.11.2", "127.0.11.3", "127.0.11.4", "127.0.11.9"]);
    stop.store(true, Ordering::Relaxed);
    asker.join().expect("every answer of the outage was good");
    assert!(replica.answers(name).len() == 4);
}

/// Whether the server says that its registry is lost for longer than so many milliseconds.
fn replica_outage_is_older_than(replica: &mut Replica, millis: u64) -> bool {
    let (_, body) = http_get(replica.server.admin(), "/v1/clusters");
    let fleet: serde_json::Value = serde_json::from_str(&body).expect("the fleet is JSON");
    fleet["sources"][0]["lost_for_ms"].as_u64().is_some_and(|frozen| frozen > millis)
}

/// Heartbeats of two agents with short leases, as long as it lives.
struct Beating {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Beating {
    /// A lease of one second, renewed by a client that waits for a registry that hangs.
    fn start(redis: &Redis) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (port, ended) = (redis.address().port().to_string(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for n in ["1", "2"] {
                    let key = format!("fingerpost:agent:{{prod}}:vpc-1:agent-{n}");
                    let value = format!(r#"{{"addresses":["127.0.11.{n}"]}}"#);
                    let mut cli = crate::support::tool("redis-cli");
                    run("redis-cli", cli.args(["-p", &port, "SET", &key, &value, "PX", "1000"]));
                }
                std::thread::park_timeout(Duration::from_millis(200));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Lets so much time pass while `meanwhile` goes on.
fn for_a_while(time: Duration, mut meanwhile: impl FnMut()) {
    let begun = std::time::Instant::now();
    wait_for("time to pass", DEADLINE, || {
        meanwhile();
        begun.elapsed() >= time
    });
}

#[test]
fn a_redis_that_hangs_empties_no_group() {
    let mut redis = redis();
    let mut replica = Replica::start(&redis);
    let beating = Beating::start(&redis);
    let (name, both) = ("vpc-1.prod.kafka.example", ["127.0.11.1", "127.0.11.2"]);
    replica.wait_for(name, &both);
    let server = replica.server.dns();
    redis.signal(Signal::Stop);
    // Longer than the leases, shorter than the time after which the connection is given up.
    for_a_while(Duration::from_millis(2_500), || assert_eq!(addresses(server, name).len(), 2, "Redis hangs"));
    redis.signal(Signal::Cont);
    for_a_while(Duration::from_millis(1_500), || {
        assert_eq!(addresses(server, name).len(), 2, "Redis goes on")
    });
    drop(beating);
    replica.wait_for(name, &[]);
}

#[test]
fn a_server_that_was_stopped_for_a_while_wakes_up_with_its_fleet() {
    let redis = redis();
    let mut replica = Replica::start(&redis);
    let beating = Beating::start(&redis);
    let (name, both) = ("vpc-1.prod.kafka.example", ["127.0.11.1", "127.0.11.2"]);
    replica.wait_for(name, &both);
    let server = replica.server.dns();
    replica.server.process().signal(Signal::Stop);
    let asked: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(move || addresses(server, name).len())) // each waits for its answer
        .collect();
    for_a_while(Duration::from_secs(3), || ());
    replica.server.process().signal(Signal::Cont);
    for asked in asked {
        assert_eq!(asked.join().expect("an answer"), 2, "the first answers after the pause");
    }
    for_a_while(Duration::from_millis(1_500), || assert_eq!(addresses(server, name).len(), 2));
    drop(beating);
    replica.wait_for(name, &[]);
}
