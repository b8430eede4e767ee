//! How fast a change of the registry is seen. Prints tables; asserts nothing, for a busy machine is no bug.
//!
//! `cargo bench --bench registry` measures, against a real redis-server on loopback:
//! * `SET` in Redis → visible in the view, and → the first DNS answer over UDP that has the new address, while 1,000
//!   agents heartbeat,
//! * end of a lease → its removal published, and → the first DNS answer without the address,
//! * and, without Redis: one changed record among 10,000 agents → the new snapshot published, and memory per agent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use fingerpost::agent::Heartbeat;
use fingerpost::clock::{self, Clock};
use fingerpost::dns::{self, ZoneSettings, Zones};
use fingerpost::model::{AgentId, AgentKey, Cluster, GroupName, Record};
use fingerpost::registry::follow::{self, Settings};
use fingerpost::registry::holdings::Holdings;
use fingerpost::registry::{Found, Keyspace, Left, Options, RawKey, Registry, open, record};
use fingerpost::telemetry::Telemetry;
use fingerpost::telemetry::registry::Metrics;
use fingerpost::view::{self, Publisher, View};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

const BEATING: u32 = 1_000;
const LEASE: Duration = Duration::from_secs(6);

fn main() {
    println!("{}", machine());
    memory(100_000, 1_000);
    println!("{:<64} {:>7} {:>10} {:>10} {:>10}", "what", "samples", "p50", "p99", "max");
    one_change(10_000, 1_000);
    one_change(10_000, 1);
    let redis = Redis::start();
    let (server, agents) = (runtime(), runtime());
    let (view, metrics, clock) = serve(&server, &redis);
    let stop = CancellationToken::new();
    let registry = redis.open();
    let _beats: Vec<Heartbeat> = {
        let _guard = agents.enter();
        let beat =
            |i| Heartbeat::start(Arc::clone(&registry), key("fleet", i), a_record(i), LEASE, stop.clone());
        (0..BEATING).map(beat).collect()
    };
    server.block_on(view.wait_for(|fleet| {
        fleet.group("bench", "fleet").is_some_and(|group| group.agents().len() == BEATING as usize)
    }));
    let reads = metrics.reads.get();
    let cpu = cpu_seconds();
    let watch = clock::stopwatch();
    agents.block_on(async { tokio::time::sleep(Duration::from_secs(5)).await });
    let (took, reads, cpu) =
        (watch.elapsed().as_secs_f64(), metrics.reads.get() - reads, cpu_seconds() - cpu);
    let mut dns = Dns::serve(&server, &view, &clock);
    set_to_view(&agents, &redis, &view);
    set_to_answer(&agents, &redis, &mut dns);
    lease_to_gone(&agents, &redis, &view);
    lease_to_no_answer(&agents, &redis, &mut dns);
    println!(
        "{BEATING} agents heartbeating in this process: {:.0} records/s read (renewals and scans); follower and agents together {:.1} % of one core",
        reads as f64 / took,
        100.0 * cpu / took
    );
    println!(
        "published {} snapshots; repaired by scans {} of {} (0 means that no push was lost); {} agents live at the end",
        metrics.publishes.get(),
        metrics.repaired.get(),
        metrics.scans.get(),
        view.load().group("bench", "fleet").map_or(0, |group| group.live(clock.now()).count()),
    );
}

/// From just before `SET` is sent until the view shows what it wrote.
fn set_to_view(agents: &Runtime, redis: &Redis, view: &View) {
    let (registry, probe) = (redis.open(), key("probe", 0));
    let mut samples = Vec::new();
    agents.block_on(async {
        for weight in 1..=2_000 {
            tokio::time::sleep(Duration::from_micros(fastrand::u64(500..4_000))).await;
            let value = record::to_json(&Record { weight, ..a_record(7) });
            let watch = clock::stopwatch();
            let (written, seen) = tokio::join!(
                registry.put(&probe, &value, LEASE),
                view.wait_for(|fleet| {
                    let group = fleet.group("bench", "probe");
                    group
                        .is_some_and(|group| group.agents().iter().any(|agent| agent.record.weight == weight))
                })
            );
            written.unwrap();
            assert!(seen.is_some());
            samples.push(watch.elapsed());
        }
    });
    row("SET in Redis -> visible in the view, 1,000 agents heartbeating", samples);
}

/// From just before `SET` is sent until an answer over UDP has the address that it wrote. The question is repeated
/// as fast as it is answered, which keeps one of the cores busy.
fn set_to_answer(agents: &Runtime, redis: &Redis, dns: &mut Dns) {
    let registry = redis.open();
    let mut samples = Vec::new();
    for i in 1..=1_000 {
        std::thread::sleep(Duration::from_micros(fastrand::u64(500..4_000)));
        let (registry, probe, value) =
            (Arc::clone(&registry), key("answer", 0), record::to_json(&a_record(i)));
        let watch = clock::stopwatch();
        let written = agents.spawn(async move { registry.put(&probe, &value, LEASE).await });
        while dns.ask("answer") != Some(octets(i)) {}
        samples.push(watch.elapsed());
        agents.block_on(written).unwrap().unwrap();
    }
    row("SET in Redis -> DNS answer with the new address, 1,000 agents", samples);
}

/// From the end of a lease (counted from when its SET was sent) until an answer over UDP is without the address.
fn lease_to_no_answer(agents: &Runtime, redis: &Redis, dns: &mut Dns) {
    let registry = redis.open();
    let mut samples = Vec::new();
    for i in 0..50 {
        let (group, lease) = (format!("gone-{i}"), Duration::from_millis(fastrand::u64(200..400)));
        let value = record::to_json(&a_record(i));
        let watch = clock::stopwatch();
        agents.block_on(registry.put(&key(&group, 0), &value, lease)).unwrap();
        while dns.ask(&group).is_none() {}
        while dns.ask(&group).is_some() {
            std::thread::sleep(Duration::from_micros(100));
        }
        samples.push(watch.elapsed().saturating_sub(lease));
    }
    row("end of a lease -> DNS answer without the address", samples);
}

/// The DNS server over the same view, and a client of it.
struct Dns {
    socket: UdpSocket,
    id: u16,
}

impl Dns {
    fn serve(runtime: &Runtime, view: &View, clock: &Clock) -> Self {
        let _inside = runtime.enter();
        let zones = Zones::load(&[ZoneSettings::new("kafka.example")], &[]).unwrap();
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let settings = dns::Settings { listen, workers: 1, zones, ..dns::Settings::default() };
        let telemetry = Telemetry::new().unwrap();
        let server = dns::Server::bind(settings, view.clone(), clock.clone(), &telemetry.dns).unwrap();
        let address = server.addresses()[0];
        runtime.spawn(server.run(CancellationToken::new()));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect(address).unwrap();
        Self { socket, id: 0 }
    }

    /// Asks for A of a group of at most one agent; its address, if the answer has one.
    fn ask(&mut self, group: &str) -> Option<[u8; 4]> {
        self.id = self.id.wrapping_add(1);
        let [i1, i2] = self.id.to_be_bytes();
        let mut query = vec![i1, i2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in [group, "bench", "kafka", "example"] {
            query.push(label.len() as u8);
            query.extend_from_slice(label.as_bytes());
        }
        query.extend_from_slice(&[0, 0, 1, 0, 1]);
        let mut answer = [0; 512];
        self.socket.send(&query).unwrap();
        let len = self.socket.recv(&mut answer).expect("the server answers each question");
        assert_eq!(answer[..2], query[..2], "the answer to this question");
        (answer[7] == 1).then(|| answer[..len].last_chunk().copied().unwrap())
    }
}

/// What a fleet takes in memory: what is held and what is published. To be measured first, while no memory that was
/// freed could be taken instead.
fn memory(agents: u32, groups: u32) {
    let before = resident();
    let (holdings, publisher, view) = held(agents, groups, a_full_record);
    let bytes = resident().saturating_sub(before) / u64::from(agents);
    let value = record::to_json(&a_full_record(0)).len();
    println!("=> memory per agent, {agents} in {groups} groups ({value} bytes of JSON each) | {bytes} bytes");
    drop((holdings, publisher, view));
}

/// From the end of a lease (counted from when its SET was sent) until its removal is published.
fn lease_to_gone(agents: &Runtime, redis: &Redis, view: &View) {
    let registry = redis.open();
    let samples = agents.block_on(async {
        let mut tasks = Vec::new();
        for i in 0..500 {
            let (registry, view) = (Arc::clone(&registry), view.clone());
            tasks.push(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3_000))).await;
                let lease = Duration::from_millis(fastrand::u64(500..1_500));
                let (key, value) = (key("short", i), record::to_json(&a_record(i)));
                let watch = clock::stopwatch();
                registry.put(&key, &value, lease).await.unwrap();
                let held = |fleet: &fingerpost::model::Fleet| {
                    fleet.group("bench", "short").is_some_and(|group| group.position(&key.agent).is_some())
                };
                view.wait_for(held).await.unwrap();
                view.wait_for(|fleet| !held(fleet)).await.unwrap();
                watch.elapsed().saturating_sub(lease)
            }));
        }
        let mut samples = Vec::new();
        for task in tasks {
            samples.push(task.await.unwrap());
        }
        samples
    });
    row("end of a lease -> its removal published", samples);
}

/// One changed record among many: read, compared, its group built anew, the snapshot swapped.
fn one_change(agents: u32, groups: u32) {
    let now = Clock::machine().now();
    let (mut holdings, publisher, _view) = held(agents, groups, a_record);
    let mut samples = Vec::new();
    for round in 0..1_000 {
        let i = fastrand::u32(0..agents);
        let bytes = record::to_json(&Record { weight: 101 + round, ..a_record(i) }).into_bytes();
        let key = raw(i, groups);
        let watch = clock::stopwatch();
        holdings.observe(&key, Found::Value { bytes, left: Left::Millis(60_000) }, now);
        publisher.publish(holdings.publish(&publisher.current(), now).unwrap());
        samples.push(watch.elapsed());
    }
    row(&format!("one changed agent among {agents} in {groups} group(s) -> published"), samples);
}

/// A registry's holdings with so many agents, published.
fn held(agents: u32, groups: u32, record_of: fn(u32) -> Record) -> (Holdings, Publisher, View) {
    let now = Clock::machine().now();
    let mut holdings = Holdings::new(Settings::default(), Keyspace::default(), "bench", now);
    let (publisher, view) = view::channel();
    holdings.begin_scan();
    for i in 0..agents {
        let bytes = record::to_json(&record_of(i)).into_bytes();
        holdings.observe(&raw(i, groups), Found::Value { bytes, left: Left::Millis(60_000) }, now);
    }
    holdings.finish_scan(now);
    publisher.publish(holdings.publish(&publisher.current(), now).unwrap());
    (holdings, publisher, view)
}

fn raw(i: u32, groups: u32) -> RawKey {
    let (group, agent) = (i % groups, i / groups);
    format!("fingerpost:agent:{{bench}}:g{group}:a{agent:05}").into_bytes().into()
}

fn row(what: &str, mut samples: Vec<Duration>) {
    samples.sort();
    let at = |part: f64| samples[((samples.len() - 1) as f64 * part) as usize];
    let show = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
    let (median, high, most) = (show(at(0.5)), show(at(0.99)), show(at(1.0)));
    println!("{what:<64} {:>7} {median:>10} {high:>10} {most:>10}", samples.len());
    println!("=> {what}: p50, p99 | {median}, {high}");
}

fn key(group: &str, agent: u32) -> AgentKey {
    AgentKey {
        cluster: Cluster::parse("bench").unwrap(),
        group: GroupName::parse(group).unwrap(),
        agent: AgentId::parse(&format!("a{agent:05}")).unwrap(),
    }
}

/// The address of an agent.
fn octets(i: u32) -> [u8; 4] {
    let [_, high, middle, low] = i.to_be_bytes();
    [10, high, middle, low]
}

fn a_record(i: u32) -> Record {
    let zone = ["a", "b", "c"][i as usize % 3];
    let [first, high, middle, low] = octets(i);
    let text = format!(r#"{{"zone":"us-east-1{zone}","addresses":["{first}.{high}.{middle}.{low}"]}}"#);
    record::parse(text.as_bytes()).unwrap()
}

/// A record that has what records usually have.
fn a_full_record(i: u32) -> Record {
    let extra =
        r#"{"zone":"a","addresses":["10.0.0.1"],"version":"1.42.0","started_at":"2026-01-01T00:00:00Z"}"#;
    let Record { zone, addresses, .. } = a_record(i);
    Record { zone, addresses, ..record::parse(extra.as_bytes()).unwrap() }
}

fn serve(runtime: &Runtime, redis: &Redis) -> (View, Arc<Metrics>, Clock) {
    let (publisher, view) = view::channel();
    let metrics = Arc::new(Metrics::register(&prometheus::Registry::new()).unwrap());
    let (clock, stop) = (Clock::machine(), CancellationToken::new());
    let settings = Settings { resync: Duration::from_secs(2), ..Settings::default() };
    let _guard = runtime.enter();
    follow::start(redis.open(), settings, publisher, clock.clone(), Arc::clone(&metrics), stop);
    (view, metrics, clock)
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

struct Redis {
    child: Child,
    url: String,
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is not installed: run scripts/setup");
        Self { child, url: format!("redis://127.0.0.1:{port}") }
    }

    fn open(&self) -> Registry {
        open(&self.url, &Options::default()).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory of this process in bytes, where /proc tells it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// User and system time of this process so far, where /proc tells it.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown CPU");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let date = humantime::format_rfc3339_seconds(clock::wall());
    format!(
        "{}, {cores} cores, {} {}, {date}",
        model.trim_start_matches([' ', '\t', ':']),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}
