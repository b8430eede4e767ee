//! A gateway tells each client what a listener tells it, byte for byte: random fleets, rules, clients and versions are given
//! to both. The upstream's reply is the listener's with everything that names brokers replaced.

use super::*;
use crate::kafka::gateway::pending::Handling;
use crate::kafka::gateway::requests::{Requests, Step};
use crate::kafka::gateway::rewrite::{Asked, Place, rewrite};
use crate::model::Label;
use crate::placement::{Client, ClientZone, Outcome, ZoneRules};
use fastrand::Rng;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use prometheus::Registry;
use std::net::IpAddr;

const ZONES: [&str; 4] = ["us-east-1a", "us-east-1b", "us-east-1c", "use1-az9"];
/// The upstream's own node id and host.
const UPSTREAM: (BrokerId, &str) = (BrokerId(0x07c1_d2e3), "broker-7.inside.example");

/// What differs between two rounds.
struct World {
    fleet: Fleet,
    rules: Rules,
    zones: Arc<ZoneRules>,
    zone: Option<Zone>,
}

fn pick<'a>(random: &mut Rng, all: &[&'a str]) -> &'a str {
    all[random.usize(..all.len())]
}

fn world(random: &mut Rng) -> World {
    let agents = (0..random.u8(1..10)).map(|i| {
        let state = if random.u8(..5) == 0 { State::Draining } else { State::Ready };
        let until = if random.u8(..6) == 0 { 999 } else { 60_000 };
        let zone = pick(random, &ZONES);
        let base = agent("prod", "vpc-1", &format!("agent-{i}"), [10, 0, 1, i], zone, state, until);
        let roles = ["proxy", "proxy-produce", "proxy-consume", "jobs"];
        let record = Record {
            zone: (random.u8(..8) > 0).then(|| Zone::parse(zone).unwrap()),
            weight: random.choice([0, 1, 50, 100, 100, 300, 65_535]).unwrap(),
            roles: (0..random.usize(..3)).map(|_| Label::parse(pick(random, &roles)).unwrap()).collect(),
            advertise: (random.u8(..4) == 0).then(|| format!("a{i}.example").into()),
            node_id: (random.u8(..6) == 0).then(|| random.i32(1..5)),
            connections: random.bool().then(|| random.u64(..200)),
            ..(*base.record).clone()
        };
        if let Some(connections) = record.connections {
            base.lease.report(Some(connections));
        }
        Arc::new(Agent { record: Arc::new(record), ..(*base).clone() })
    });
    let agents: Vec<Arc<Agent>> = agents.collect();
    let other = vec![agent("prod", "vpc-2", "agent-0", [10, 0, 2, 0], "us-east-1a", State::Ready, 60_000)];
    let networks = "us-east-1a@10.0.0.0/8,2001:db8:a::/48<>use1-az2@192.0.2.0/24<>nowhere@198.51.100.0/24";
    let alias = ("us-east-1b", "use1-az2");
    let alias = (Zone::parse(alias.0).unwrap(), Zone::parse(alias.1).unwrap());
    World {
        fleet: fleet_of(vec![("prod", "vpc-1", agents), ("prod", "vpc-2", other)]),
        rules: Rules {
            strategy: random.choice(Strategy::ALL).unwrap(),
            balance: random.choice(Balance::ALL).unwrap(),
            scope: random.choice(Scope::ALL).unwrap(),
        },
        zones: Arc::new(ZoneRules { networks: networks.parse().unwrap(), aliases: vec![alias] }),
        zone: (random.u8(..3) == 0).then(|| Zone::parse("us-east-1c").unwrap()),
    }
}

fn client_id(random: &mut Rng) -> String {
    let mut parts = vec![pick(random, &["orders", "a b", "", "orders-StreamThread-1-consumer"]).to_owned()];
    for wish in [
        &[
            "ws_az=us-east-1a",
            "zone=us-east-1b",
            "ws_az=use1-az2",
            "ws_az=mars",
            "warpstream_az=US-EAST-1C-x",
        ][..],
        &["ws_host_override=lb.example", "host_override=192.0.2.9", "ws_host_override=0.0.0.0"],
        &["broker_count=1", "broker_count=3", "broker_count=0"],
        &["ws_pt=proxy-produce", "ws_proxy_target=jobs", "ws_pt=nobody"],
        &["ws_pas=equal_spread", "ws_pas=consistent", "ws_pas=single_agent", "ws_pas=what"],
    ] {
        if random.bool() {
            parts.push(pick(random, wish).to_owned());
        }
    }
    random.shuffle(&mut parts);
    parts.join(",")
}

/// A listener's or gateway's service, and what it counts.
fn side(world: &World) -> (Service, Registry) {
    let registry = Registry::new();
    let cluster = Cluster::parse("prod").unwrap();
    let topics = [("orders", 30), ("payments", 1), ("__consumer_offsets", 5)];
    let catalog = static_catalog(&cluster, topics).unwrap();
    let bounds = Bounds { same_client_millis: 5_000, clients: 100, turns: 100 };
    let placement = Arc::new(Placement::new(bounds, 3));
    let metrics = Arc::new(Metrics::register(&registry).unwrap());
    metrics.name_agents();
    let group = GroupName::parse("vpc-1").unwrap();
    let mut service = Service::new(cluster, group, Topics::Static(Arc::new(catalog)), placement, metrics);
    (service.rules, service.zones, service.zone) =
        (world.rules, Arc::clone(&world.zones), world.zone.clone());
    (service, registry)
}

/// Placements as they are counted: name, labels and value.
fn counted(registry: &Registry) -> Vec<String> {
    let mut lines = Vec::new();
    for family in registry.gather() {
        if family.name().contains("placements") || family.name().contains("fallbacks") {
            let of = |m: &prometheus::proto::Metric| {
                format!("{} {:?} {}", family.name(), m.get_label(), m.get_counter().get_value())
            };
            lines.extend(family.get_metric().iter().map(of));
        }
    }
    lines
}

/// What a gateway notes of a request.
fn asked(request: &[u8]) -> Asked {
    let framed = [&(request.len() as u32).to_be_bytes()[..], request].concat();
    match Requests::default().next(&framed).unwrap() {
        Step::Begin(begin) => match begin.expected.unwrap().handling {
            Handling::Rewrite(asked) => asked,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// One client's request to the listener and, through `upstream` made of its reply, to the gateway.
fn compare<M: Decodable + Encodable + HeaderVersion + Default>(
    (listener, gateway): (&Service, &Service),
    (world, source, version): (&World, IpAddr, i16),
    request: &[u8],
    upstream: impl FnOnce(M) -> M,
) -> Option<M> {
    let fleet = &world.fleet;
    let mut told = Vec::new();
    let answered = listener
        .answer(Request { bytes: request, source, fleet, now: NOW, most: limits::REPLY_BYTES }, &mut told);
    let asked = asked(request);
    if answered.is_err() {
        let (frame, mut out) = (reply(version, &upstream(M::default())), Vec::new());
        let result = rewrite(
            Place { service: gateway, fleet, now: NOW, source, leaving: None },
            &asked,
            &frame,
            &mut out,
        );
        assert_eq!(result.err(), answered.err());
        return None;
    }
    let heard: M = decoded(&told, version);
    let frame = reply(version, &upstream(decoded(&told, version)));
    let mut out = Vec::new();
    rewrite(Place { service: gateway, fleet, now: NOW, source, leaving: None }, &asked, &frame, &mut out)
        .unwrap();
    assert!(out == told, "version {version}, {:?}: {:?}", world.rules, asked.client);
    Some(heard)
}

fn reply<M: Encodable + HeaderVersion>(version: i16, body: &M) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(77);
    header.encode(&mut bytes, M::header_version(version)).unwrap();
    body.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

fn upstream_metadata(version: i16, random: &mut Rng, mut reply: MetadataResponse) -> MetadataResponse {
    let broker = MetadataResponseBroker::default().with_node_id(UPSTREAM.0).with_host(text(UPSTREAM.1));
    reply.brokers = vec![broker.with_port(19_092); random.usize(1..4)];
    if version >= 1 {
        reply.controller_id = UPSTREAM.0;
    }
    if version >= 2 {
        reply.cluster_id = Some(text("upstream"));
    }
    for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.leader_id = UPSTREAM.0;
        partition.replica_nodes = vec![UPSTREAM.0; random.usize(0..4)];
        partition.isr_nodes = vec![UPSTREAM.0; random.usize(0..4)];
        if version >= 5 {
            partition.offline_replicas = vec![UPSTREAM.0; random.usize(0..2)];
        }
        if version >= 7 {
            partition.leader_epoch = 5;
        }
    }
    reply
}

fn upstream_topics(
    random: &mut Rng,
    mut reply: DescribeTopicPartitionsResponse,
) -> DescribeTopicPartitionsResponse {
    for partition in reply.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.leader_id = UPSTREAM.0;
        partition.leader_epoch = 5;
        partition.replica_nodes = vec![UPSTREAM.0; random.usize(0..4)];
        partition.isr_nodes = vec![UPSTREAM.0; random.usize(0..4)];
        partition.eligible_leader_replicas = random.bool().then(|| vec![UPSTREAM.0]);
        partition.last_known_elr = random.bool().then(|| vec![UPSTREAM.0]);
        partition.offline_replicas = vec![UPSTREAM.0; random.usize(0..2)];
    }
    reply
}

/// Metadata, all of its leaders listed; those of another zone than the client's exactly if that was counted as a miss.
fn metadata_is_the_same(
    sides: (&Service, &Service),
    (world, source, random): (&World, IpAddr, &mut Rng),
    id: &str,
) {
    let version = random.i16(0..=13);
    let topics = [None, Some(&["orders", "nowhere"][..])][random.usize(..2)];
    let asking = request(ApiKey::Metadata, version, id, &metadata_request(version, topics));
    let told = compare(sides, (world, source, version), &asking, |reply: MetadataResponse| {
        upstream_metadata(version, random, reply)
    });
    let Some(told) = told else { return };
    let listed: HashSet<i32> = told.brokers.iter().map(|broker| broker.node_id.0).collect();
    let leaders: HashSet<i32> = told
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.leader_id.0)
        .collect();
    assert!(leaders.is_subset(&listed));
    let roster = sides.0.roster(&world.fleet).unwrap();
    let zone =
        world.zones.zone_of(Some(id), source.to_canonical(), world.zone.as_ref(), |name| roster.zone(name));
    let shown = sides.0.show(&roster, Client { source: source.to_canonical(), id: Some(id) }, NOW).unwrap();
    if let ClientZone::Known(zone, _) = zone {
        let local = leaders.iter().filter(|leader| {
            let broker = roster.brokers().iter().find(|broker| broker.node_id == **leader).unwrap();
            broker.agent.record.zone.as_ref() == Some(&zone)
        });
        let wanted = if shown.selection.outcome == Outcome::Hit { leaders.len() } else { 0 };
        assert_eq!(local.count(), wanted, "a miss is a placement across zones, and nothing else is");
    }
}

#[test]
fn a_gateway_tells_each_client_what_a_listener_tells_it() {
    let mut random = Rng::with_seed(11);
    for _ in 0..300 {
        let world = world(&mut random);
        let ((listener, ours), (gateway, theirs)) = (side(&world), side(&world));
        let sides = (&listener, &gateway);
        for _ in 0..6 {
            let id = client_id(&mut random);
            let source = pick(
                &mut random,
                &["10.1.2.3", "192.0.2.7", "::ffff:10.0.0.9", "2001:db8:a::1", "203.0.113.1", "198.51.100.4"],
            );
            let source: IpAddr = source.parse().unwrap();
            metadata_is_the_same(sides, (&world, source, &mut random), &id);

            let version = random.i16(0..=6);
            let salt = random.u8(..);
            let keys = (0..3).map(|n| text(&format!("group-{n}-{salt}")));
            let key_type = if version >= 1 { random.i8(..2) } else { 0 };
            let body = FindCoordinatorRequest::default().with_key_type(key_type);
            let body = match version {
                4.. => body.with_coordinator_keys(keys.collect()),
                _ => body.with_key(text(&format!("group-{salt}"))),
            };
            let asking = request(ApiKey::FindCoordinator, version, &id, &body);
            compare(sides, (&world, source, version), &asking, |mut reply: FindCoordinatorResponse| {
                if version < 4 && reply.error_code == 0 {
                    (reply.node_id, reply.host, reply.port) = (UPSTREAM.0, text(UPSTREAM.1), 19_092);
                }
                for found in reply.coordinators.iter_mut().filter(|found| found.error_code == 0) {
                    (found.node_id, found.host, found.port) = (UPSTREAM.0, text(UPSTREAM.1), 19_092);
                }
                reply
            });

            let version = random.i16(0..=2);
            let asking = request(ApiKey::DescribeCluster, version, &id, &DescribeClusterRequest::default());
            compare(sides, (&world, source, version), &asking, |mut reply: DescribeClusterResponse| {
                let broker = describe_cluster_response::DescribeClusterBroker::default();
                reply.brokers = vec![broker.with_broker_id(UPSTREAM.0).with_host(text(UPSTREAM.1)); 2];
                (reply.controller_id, reply.cluster_id) = (UPSTREAM.0, text("upstream"));
                reply
            });

            let topic = |name: &str| TopicRequest::default().with_name(TopicName(text(name)));
            let cursor = Cursor::default().with_topic_name(TopicName(text("orders"))).with_partition_index(7);
            let body = DescribeTopicPartitionsRequest::default()
                .with_topics(["orders", "payments", "nowhere"].map(topic)[..random.usize(..4)].to_vec())
                .with_response_partition_limit(random.i32(1..40))
                .with_cursor(random.bool().then_some(cursor));
            let asking = request(ApiKey::DescribeTopicPartitions, 0, &id, &body);
            compare(sides, (&world, source, 0), &asking, |reply| upstream_topics(&mut random, reply));
        }
        assert_eq!(counted(&ours), counted(&theirs));
    }
}
