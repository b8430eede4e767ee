//! Metadata replies per second on one core: in process and over a socket, against kafka-protocol's own encoding in the
//! same run; and what a gateway takes to rewrite an upstream's reply.
//!
//! Prints machine, date, numbers and ratios. Numbers of different runs compare badly, ratios of one run well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use bytes::{Bytes, BytesMut};
use fingerpost::clock::{Clock, stopwatch, wall};
use fingerpost::kafka::gateway::rewrite::{Asked, Place, rewrite};
use fingerpost::kafka::gateway::versions::Discovery;
use fingerpost::kafka::service::Request;
use fingerpost::kafka::{self, Listener, ListenerSettings, Service, Topics, static_catalog};
use fingerpost::limits::kafka as limits;
use fingerpost::model::{
    Agent, AgentId, AgentKey, Cluster, Fleet, Group, GroupName, Lease, Moment, Record, Source, Zone,
};
use fingerpost::placement::Strategy;
use fingerpost::telemetry::Telemetry;
use fingerpost::view;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{BrokerId, MetadataResponse, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const VERSION: i16 = 12;
const TOPICS: usize = 1_000;
const PARTITIONS: i32 = 16;
const AGENTS: u8 = 12;
const NOW: Moment = Moment::from_millis(1_000);

fn main() {
    // `cargo test --benches` passes --test: one round of each then.
    let time = if std::env::args().any(|argument| argument == "--test") { 1 } else { 2_000 };
    let time = Duration::from_millis(time);
    println!("machine: {}", machine());
    println!("date: {}", humantime::format_rfc3339_seconds(wall()));
    println!("fleet: {AGENTS} agents in 3 zones; Metadata v{VERSION}");

    let (cluster, group) = (Cluster::parse("prod").unwrap(), GroupName::parse("vpc-1").unwrap());
    let names: Vec<String> = (0..TOPICS).map(|i| format!("topic-{i:04}")).collect();
    let catalog = static_catalog(&cluster, names.iter().map(|name| (name.as_str(), PARTITIONS))).unwrap();
    let topics = Topics::Static(Arc::new(catalog));
    let telemetry = Telemetry::new().unwrap();
    let metrics = Arc::clone(&telemetry.kafka);
    let mut service =
        Service::new(cluster.clone(), group.clone(), topics.clone(), kafka::placement(), metrics.clone());
    let fleet = fleet(&cluster, &group);

    let all = request(&[0]);
    let one = request(&[&[2][..], &[0; 16], &[11], b"topic-0500", &[0]].concat());
    let mut out = Vec::new();
    let mut answer = |bytes: &[u8]| {
        out.clear();
        let source = [127, 0, 0, 1].into();
        let request = Request { bytes, source, fleet: &fleet, now: NOW, most: limits::REPLY_BYTES };
        service.answer(request, &mut out).unwrap();
        black_box(&out);
        out.len()
    };
    let size = answer(&all);
    let ours = per_second(time, || _ = black_box(answer(&all)));
    let small = per_second(time, || _ = black_box(answer(&one)));
    answer(&all);
    let (encode, build) = plain_encoding(&out, time);
    println!("{TOPICS} topics x {PARTITIONS} partitions, {size} bytes:");
    println!("  in process, on one core:          {ours:>6.0} replies/s");
    println!("  kafka-protocol, encode only:      {encode:>6.0} replies/s, ratio {:.1}", ours / encode);
    println!("  kafka-protocol, build and encode: {build:>6.0} replies/s, ratio {:.1}", ours / build);
    println!(
        "=> Metadata of {TOPICS} topics x {PARTITIONS} partitions, in process | {ours:.0} replies/s on one core"
    );
    println!("=> the same against kafka-protocol's build and encode | {:.1} times as many", ours / build);
    println!("=> and against its encode alone | {:.1} times as many", ours / encode);
    println!("one topic of {PARTITIONS} partitions: {:.0} ns per reply in process", 1e9 / small);
    for (topics, partitions) in [(1_000, 12), (5_000, 100)] {
        for (replicas, strategy) in
            [(1, Strategy::SingleAgent), (3, Strategy::SingleAgent), (1, Strategy::Consistent)]
        {
            service.rules.strategy = strategy;
            rewriting(&service, &fleet, (topics, partitions, replicas), time);
        }
    }
    for strategy in [Strategy::EqualSpread, Strategy::Consistent] {
        service.rules.strategy = strategy;
        let rate = per_second(time, || {
            out.clear();
            let source = [127, 0, 0, 1].into();
            let request = Request { bytes: &all, source, fleet: &fleet, now: NOW, most: limits::REPLY_BYTES };
            service.answer(request, &mut out).unwrap();
            black_box(&out);
        });
        println!("  {}, in process:{:>18.0} replies/s", strategy.as_str(), rate);
    }
    let socket = over_a_socket(&all, cluster, group, topics, metrics, fleet, time);
    println!("=> the same over one connection on loopback | {socket:.0} replies/s");
}

/// Rewrites an upstream's reply of so many topics, with so many partitions each, of so many replicas each.
fn rewriting(service: &Service, fleet: &Fleet, of: (usize, i32, usize), time: Duration) {
    let (topics, partitions, replicas) = of;
    let nodes: Vec<BrokerId> = (1..=replicas as i32).map(BrokerId).collect();
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(1))
            .with_leader_epoch(3)
            .with_replica_nodes(nodes.clone())
            .with_isr_nodes(nodes.clone())
    };
    let topic = |n| {
        MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_string(format!("topic-{n:04}")))))
            .with_topic_id(uuid::Uuid::from_u128(n as u128 + 1))
            .with_partitions((0..partitions).map(partition).collect())
    };
    let reply = MetadataResponse::default().with_topics((0..topics).map(topic).collect());
    let mut frame = BytesMut::from(&[0, 0, 0, 7, 0][..]);
    let mut body = BytesMut::new();
    reply.encode(&mut body, VERSION).unwrap();
    frame.extend_from_slice(&body);
    let asked = Asked {
        api: Discovery::Metadata,
        version: VERSION,
        client: Some("ws_az=us-east-1a,bench".into()),
        key_type: 0,
        key: None,
        epoch: 0,
        substitute: false,
    };
    let place = Place { service, fleet, now: NOW, source: [127, 0, 0, 1].into(), leaving: None };
    let (before, mut rounds) = (cpu(), 0u32);
    per_second(time, || {
        // A new output each time, as for a connection.
        let mut out = Vec::new();
        rewrite(place, &asked, black_box(&frame), &mut out).unwrap();
        black_box(&out);
        rounds += 1;
    });
    let each = (cpu() - before) / rounds;
    println!(
        "=> a gateway's rewrite of {topics} topics x {partitions} partitions, {replicas} replicas, {}, {} bytes | {:.2} ms of CPU",
        service.rules.strategy.as_str(),
        frame.len(),
        each.as_secs_f64() * 1e3
    );
}

/// How often per second `work` can be done.
fn per_second(time: Duration, mut work: impl FnMut()) -> f64 {
    let begin = stopwatch();
    let mut rounds = 0u32;
    while rounds == 0 || begin.elapsed() < time {
        work();
        rounds += 1;
    }
    f64::from(rounds) / begin.elapsed().as_secs_f64()
}

/// The same reply by kafka-protocol: encoding what is built already, and building it anew for each reply as another leader
/// needs.
fn plain_encoding(reply: &[u8], time: Duration) -> (f64, f64) {
    let mut bytes = Bytes::copy_from_slice(&reply[4..]);
    ResponseHeader::decode(&mut bytes, MetadataResponse::header_version(VERSION)).unwrap();
    let decoded = MetadataResponse::decode(&mut bytes, VERSION).unwrap();
    let mut out = BytesMut::with_capacity(reply.len());
    let mut encode = |response: &MetadataResponse| {
        out.clear();
        response.encode(&mut out, VERSION).unwrap();
        black_box(&out);
    };
    let only = per_second(time, || encode(&decoded));
    let built = per_second(time, || {
        let mut response = decoded.clone();
        for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            partition.leader_id = 7.into();
            partition.replica_nodes = vec![7.into()];
            partition.isr_nodes = vec![7.into()];
        }
        encode(&response);
    });
    (only, built)
}

fn over_a_socket(
    request: &[u8],
    cluster: Cluster,
    group: GroupName,
    topics: Topics,
    metrics: Arc<fingerpost::telemetry::kafka::Metrics>,
    fleet: Fleet,
    time: Duration,
) -> f64 {
    // One worker thread serves; this thread is the client.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (publisher, view) = view::channel();
    publisher.publish(fleet);
    let settings = ListenerSettings::new("127.0.0.1:0".parse().unwrap(), cluster, group, topics);
    let sources = kafka::gateway::Sources {
        view,
        clock: Clock::machine(),
        placement: kafka::placement(),
        kafka: metrics,
        metrics: fingerpost::telemetry::Telemetry::new().unwrap().gateway,
    };
    let listener = Listener::bind(settings, sources).unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    let task = runtime.spawn(listener.run(stop.clone()));
    let mut client = TcpStream::connect(address).unwrap();
    let frame = [&(request.len() as u32).to_be_bytes()[..], request].concat();
    let mut buffer = Vec::new();
    let rate = per_second(time, || {
        client.write_all(&frame).unwrap();
        let mut length = [0; 4];
        client.read_exact(&mut length).unwrap();
        buffer.resize(u32::from_be_bytes(length) as usize, 0);
        client.read_exact(&mut buffer).unwrap();
    });
    drop(client);
    stop.cancel();
    runtime.block_on(task).unwrap();
    rate
}

/// A Metadata request without its length; `topics` is the encoded list.
fn request(topics: &[u8]) -> Vec<u8> {
    let client = b"ws_az=us-east-1a,bench";
    let mut bytes = vec![0, 3, 0, VERSION as u8, 0, 0, 0, 7, 0, client.len() as u8];
    bytes.extend_from_slice(client);
    bytes.push(0); // tagged fields of the header
    bytes.extend_from_slice(topics);
    bytes.extend_from_slice(&[0, 0, 0]); // auto-creation, operations, tagged fields
    bytes
}

fn fleet(cluster: &Cluster, group: &GroupName) -> Fleet {
    let source = Source::new("bench", 0);
    let agents = (0..AGENTS)
        .map(|i| {
            let zone = ["us-east-1a", "us-east-1b", "us-east-1c"][usize::from(i) % 3];
            Arc::new(Agent {
                key: AgentKey {
                    cluster: cluster.clone(),
                    group: group.clone(),
                    agent: AgentId::parse(&format!("agent-{i}")).unwrap(),
                },
                record: Arc::new(Record {
                    zone: Some(Zone::parse(zone).unwrap()),
                    addresses: vec![[10, 0, 1, i].into()],
                    weight: 100,
                    ..Record::default()
                }),
                lease: Lease::new(Moment::from_millis(3_600_000), Arc::clone(&source)),
            })
        })
        .collect();
    let mut edit = Fleet::default().edit();
    edit.put_group(Arc::new(Group::build(cluster.clone(), group.clone(), 1, agents, Vec::new())));
    edit.set_synced();
    edit.finish()
}

/// CPU time of this thread so far, which other processes don't lengthen, as Linux tells it; elsewhere the time that passed.
fn cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split_whitespace().next()?.parse().ok());
    nanos.map_or_else(|| wall().duration_since(std::time::UNIX_EPOCH).unwrap(), Duration::from_nanos)
}

/// Processor and cores, as Linux tells them.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", model.trim_start_matches([' ', '\t', ':']))
}
