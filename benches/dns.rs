//! What an answer costs. Nothing here fails for being slow; only an allocation per query is an error.
//!
//! `cargo bench --bench dns` asserts that no query allocates (20,000 varied ones through the UDP handler's code) and
//! prints nanoseconds per answer by kind of name. Three more modes, on the same binary (its path is printed):
//!
//! - `dns --callgrind 20000`: a loop of A queries of a group of 8 agents, for counting instructions per answer:
//!   `valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*measured_loop*' BINARY --callgrind 20000`
//!   and divide "Collected" by 20000.
//! - `dns --echo 127.0.0.1:5300`: the bare batched echo by itself, until it is killed (`scripts/bench-dns` asks it).
//! - `dns --load 5`: the real server with one worker, loaded by dnsperf (Debian: dnsperf) for 5 seconds, beside a bare
//!   batched echo in the same run: answers per second, user and system CPU per answer, allocations per answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(unsafe_code)] // a global allocator cannot be written without; it only counts and passes on

use fingerpost::clock::Clock;
use fingerpost::dns::render::Transport;
use fingerpost::dns::respond::Asked;
use fingerpost::dns::udp::SIZES;
use fingerpost::dns::{Responder, Rules, Server, Settings, ZoneSettings, Zones};
use fingerpost::model::{
    Agent, AgentId, AgentKey, Cluster, Fleet, Group, GroupName, Label, Lease, Record, Source, Zone,
};
use fingerpost::net::udp::{self, Exchange, Service};
use fingerpost::telemetry::Telemetry;
use fingerpost::view::{self, View};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Who asks: an address that nothing makes an exception for.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).and_then(|n| n.parse().ok()).unwrap_or(default);
    match arguments.first().map(String::as_str) {
        Some("--callgrind") => {
            let bench = Bench::new();
            println!(
                "{} answers' bytes",
                measured_loop(&bench, &bench.queries(&["A vpc-1.prod"]), number(1, 20_000))
            );
        }
        Some("--load") => load(number(1, 5)),
        Some("--echo") => echo(arguments.get(1).expect("an address").parse().expect("an address")),
        _ => {
            let bench = Bench::new();
            no_allocation(&bench);
            kinds(&bench);
            let binary = std::env::current_exe().unwrap();
            println!(
                "\ninstructions per answer: valgrind --tool=callgrind --callgrind-out-file=/dev/null \\"
            );
            println!("  --toggle-collect='*measured_loop*' {} --callgrind 20000", binary.display());
            println!("the real server under load: {} --load 5", binary.display());
        }
    }
}

/// A fleet with a group of 8 agents, 200 other groups, and what answers from it.
struct Bench {
    responder: Responder,
    view: View,
    clock: Clock,
    telemetry: Telemetry,
    _publisher: view::Publisher,
}

impl Bench {
    fn new() -> Self {
        let (publisher, view) = view::channel();
        publisher.publish(fleet());
        let responder = Responder::new(zones(), Rules::default());
        Self {
            responder,
            view,
            clock: Clock::machine(),
            telemetry: Telemetry::new().unwrap(),
            _publisher: publisher,
        }
    }

    /// Packets for lines such as `A vpc-1.prod`, with and without EDNS.
    fn queries(&self, lines: &[&str]) -> Vec<Vec<u8>> {
        lines.iter().flat_map(|line| [query(line, true), query(line, false)]).collect()
    }
}

fn zones() -> Zones {
    let addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    Zones::load(&[ZoneSettings { addresses, ..ZoneSettings::new("kafka.example") }], &[]).unwrap()
}

fn fleet() -> Fleet {
    let source = Source::new("bench", 0);
    let mut edit = Fleet::default().edit();
    edit.set_synced();
    for group in 0..201u16 {
        let (cluster, name) = (Cluster::parse("prod").unwrap(), format!("vpc-{group}"));
        let name = GroupName::parse(&name).unwrap();
        let agents = (0..8u8).map(|number| {
            let mut record = Record {
                zone: Some(Zone::parse(["us-east-1a", "us-east-1b"][usize::from(number % 2)]).unwrap()),
                addresses: vec![
                    Ipv4Addr::new(10, (group / 256) as u8, group as u8, number).into(),
                    Ipv6Addr::new(0x2001, 0xdb8, group, 0, 0, 0, 0, number.into()).into(),
                ],
                weight: 100,
                ..Record::default()
            };
            record.ports.insert(Label::parse("kafka").unwrap(), 9092);
            let key = AgentKey {
                cluster: cluster.clone(),
                group: name.clone(),
                agent: AgentId::parse(&format!("agent-{number}")).unwrap(),
            };
            let lease = Lease::new(Clock::machine().now().plus_millis(3_600_000), Arc::clone(&source));
            Arc::new(Agent { key, record: Arc::new(record), lease })
        });
        let agents = agents.collect();
        edit.put_group(Arc::new(Group::build(cluster.clone(), name, 1, agents, Vec::new())));
    }
    edit.finish()
}

fn query(line: &str, edns: bool) -> Vec<u8> {
    let (kind, name) = line.split_once(' ').unwrap();
    let kind: u16 = match kind {
        "A" => 1,
        "SOA" => 6,
        "TXT" => 16,
        "AAAA" => 28,
        "SRV" => 33,
        other => panic!("{other}"),
    };
    let mut out = vec![1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    for label in name.split('.').filter(|label| !label.is_empty()).chain(["kafka", "example"]) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    if edns {
        out.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    out
}

/// What a worker does with packets, without the sockets.
#[inline(never)]
fn measured_loop(bench: &Bench, packets: &[Vec<u8>], rounds: u64) -> usize {
    let counters = bench.telemetry.dns.worker();
    let mut random = fastrand::Rng::with_seed(1);
    let mut out = [0u8; 1232];
    let (mut bytes, mut done) = (0, 0);
    while done < rounds {
        let (fleet, now) = (bench.view.load(), bench.clock.now());
        for packet in packets.iter().cycle().take(64.min((rounds - done) as usize)) {
            let (transport, entropy) = (Transport::Udp, random.u64(..));
            let asked = Asked { packet, peer: PEER, transport, idle: None, fleet: &fleet, now, entropy };
            bytes += black_box(bench.responder.respond(asked, &counters, &mut out));
            done += 1;
        }
    }
    bytes
}

const NAMES: [&str; 13] = [
    "A vpc-1.prod",
    "AAAA vpc-2.prod",
    "A az-us-east-1a.vpc-1.prod",
    "A az-elsewhere.vpc-1.prod",
    "A agent-3.vpc-1.prod",
    "SRV _kafka._tcp.vpc-1.prod",
    "TXT vpc-1.prod",
    "TXT agent-3.vpc-1.prod",
    "SOA vpc-1.prod",
    "A vpc-999.prod",
    "A nothing",
    "SOA ",
    "A ns1",
];

fn no_allocation(bench: &Bench) {
    let mut packets = bench.queries(&NAMES);
    packets.extend([vec![0; 5], vec![0; 12], packets[0][..20].to_vec()]);
    let worker = bench.telemetry.dns.worker();
    drop(worker);
    let counters = bench.telemetry.dns.worker();
    let mut random = fastrand::Rng::with_seed(2);
    let mut out = [0u8; 1232];
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for packet in packets.iter().cycle().take(20_000) {
        let (fleet, now) = (bench.view.load(), bench.clock.now());
        let (transport, entropy) = (Transport::Udp, random.u64(..));
        let asked = Asked { packet, peer: PEER, transport, idle: None, fleet: &fleet, now, entropy };
        black_box(bench.responder.respond(asked, &counters, &mut out));
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(allocations, 0, "a query must not allocate");
    println!("=> allocations of 20,000 varied queries | {allocations}");
}

fn kinds(bench: &Bench) {
    const ROUNDS: u64 = 200_000;
    println!("{:<30} ns per answer (handler alone, no sockets)", "name");
    for name in NAMES {
        let packets = bench.queries(&[name]);
        let best = (0..3).map(|_| {
            let start = Instant::now();
            black_box(measured_loop(bench, &packets, ROUNDS));
            start.elapsed().as_nanos() as u64 / ROUNDS
        });
        let best = best.min().unwrap_or_default();
        println!("{name:<30} {best}");
        if name == NAMES[0] {
            println!("=> A of a group of 8 agents, handler alone | {best} ns");
        }
    }
}

/// Sends each packet back as an answer: what the sockets and dnsperf cost by themselves.
struct Echo;

impl Service for Echo {
    fn batch(&mut self, exchanges: &mut [Exchange]) {
        for exchange in exchanges {
            let (packet, out) = exchange.parts();
            let len = packet.len().min(out.len());
            out[..len].copy_from_slice(&packet[..len]);
            out[2] |= 0x80;
            exchange.reply(len);
        }
    }
    fn receive_failed(&mut self, _: &std::io::Error) {}
    fn not_sent(&mut self, _: u64) {}
}

fn echo(address: SocketAddr) {
    let socket = udp::bind(address, 1).unwrap().remove(0);
    udp::serve(&socket, SIZES, &AtomicBool::new(false), udp::End::Leave, &mut Echo).unwrap();
}

fn load(seconds: u64) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for group in 0..201 {
        writeln!(file, "vpc-{group}.prod.kafka.example A").unwrap();
    }
    println!(
        "{:<12} {:>10} {:>10} {:>10} {:>12}",
        "server", "answers/s", "us user", "us system", "allocations"
    );
    let (mut echo, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        echo.push(with_echo(file.path(), seconds));
        ours.push(with_server(file.path(), seconds));
    }
    let median = |runs: &mut Vec<Load>, of: fn(&Load) -> f64| {
        runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&runs[runs.len() / 2])
    };
    let (rate, user, system) = (|run: &Load| run.rate, |run: &Load| run.user, |run: &Load| run.system);
    let cpu = |run: &Load| run.user + run.system;
    println!(
        "=> UDP answer of the real server, user + system CPU | {:.2} + {:.2} us",
        median(&mut ours, user),
        median(&mut ours, system)
    );
    println!(
        "=> the same of a bare batched echo | {:.2} + {:.2} us",
        median(&mut echo, user),
        median(&mut echo, system)
    );
    println!("=> CPU per answer, ours/echo | {:.2}", median(&mut ours, cpu) / median(&mut echo, cpu));
    println!("=> answers a second, ours/echo | {:.2}", median(&mut ours, rate) / median(&mut echo, rate));
    println!("=> answers a second, one worker | {:.0}", median(&mut ours, rate));
}

/// One run under load: answers a second, and CPU per answer in microseconds.
struct Load {
    rate: f64,
    user: f64,
    system: f64,
}

fn with_echo(file: &std::path::Path, seconds: u64) -> Load {
    let socket = udp::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
    let address = socket.local_addr().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let halt = Arc::clone(&stop);
    let worker =
        std::thread::spawn(move || udp::serve(&socket, SIZES, &halt, udp::End::Leave, &mut Echo).unwrap());
    let run = dnsperf("echo", address, file, seconds);
    stop.store(true, Ordering::Relaxed);
    worker.join().unwrap();
    run
}

fn with_server(file: &std::path::Path, seconds: u64) -> Load {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let (publisher, view) = view::channel();
    publisher.publish(fleet());
    let telemetry = Telemetry::new().unwrap();
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let settings = Settings { listen, workers: 1, zones: zones(), ..Settings::default() };
    let server = Server::bind(settings, view, Clock::machine(), &telemetry.dns).unwrap();
    let (address, stop) = (server.addresses()[0], CancellationToken::new());
    let task = runtime.spawn(server.run(stop.clone()));
    let run = dnsperf("fingerpost", address, file, seconds);
    stop.cancel();
    runtime.block_on(task).unwrap();
    run
}

fn dnsperf(what: &str, server: SocketAddr, file: &std::path::Path, seconds: u64) -> Load {
    let before = (cpu(), ALLOCATIONS.load(Ordering::Relaxed));
    let output = Command::new("dnsperf")
        .args(["-s", &server.ip().to_string(), "-p", &server.port().to_string(), "-d"])
        .arg(file)
        .args(["-l", &seconds.to_string(), "-c", "8", "-q", "400"])
        .output()
        .expect("dnsperf is installed (Debian: apt-get install dnsperf)");
    let after = (cpu(), ALLOCATIONS.load(Ordering::Relaxed));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |label: &str| -> f64 {
        let line = text.lines().find(|line| line.contains(label)).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
    };
    let (answers, rate) = (number("Queries completed:"), number("Queries per second:"));
    let per_answer = |ticks: u64| ticks as f64 * 10_000.0 / answers; // ticks of 10 ms
    let run =
        Load { rate, user: per_answer(after.0.0 - before.0.0), system: per_answer(after.0.1 - before.0.1) };
    println!(
        "{what:<12} {rate:>10.0} {:>10.2} {:>10.2} {:>12.6}",
        run.user,
        run.system,
        (after.1 - before.1) as f64 / answers
    );
    run
}

/// User and system time of this process in ticks (the load comes from another one).
fn cpu() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let field = |at: usize| behind.split_whitespace().nth(at).and_then(|word| word.parse().ok()).unwrap_or(0);
    (field(11), field(12))
}
