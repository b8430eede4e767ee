//! Rewritten replies, compared with kafka-protocol's reading of them, in every version: what tells of brokers is the
//! group's, all else is what the upstream sent, and its endpoints are nowhere in the bytes.

use super::{Asked, Place, rewrite};
use crate::kafka::api::{Stop, error};
use crate::kafka::battery::{NOW, service, small_fleet, text};
use crate::kafka::gateway::versions::Discovery;
use crate::kafka::service::Service;
use crate::model::{Cluster, Fleet, GroupName};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable};
use uuid::Uuid;

/// What only the upstream says: none of it may be in a reply.
pub(in crate::kafka::gateway) const HOST: &str = "broker-7.inside.example";
pub(in crate::kafka::gateway) const NODE: i32 = 0x07c1_d2e3;
pub(in crate::kafka::gateway) const CLUSTER: &str = "upstream-cluster-id";

pub(super) fn asked(api: Discovery, version: i16) -> Asked {
    Asked {
        api,
        version,
        client: Some("ws_az=z-a".into()),
        key_type: 0,
        key: None,
        epoch: 0,
        substitute: false,
    }
}

fn key_of(api: Discovery) -> ApiKey {
    match api {
        Discovery::Metadata => ApiKey::Metadata,
        Discovery::FindCoordinator => ApiKey::FindCoordinator,
        Discovery::ApiVersions => ApiKey::ApiVersions,
        Discovery::DescribeCluster => ApiKey::DescribeCluster,
        Discovery::DescribeTopicPartitions => ApiKey::DescribeTopicPartitions,
        Discovery::Heartbeat => ApiKey::Heartbeat,
        Discovery::ConsumerGroupHeartbeat => ApiKey::ConsumerGroupHeartbeat,
        Discovery::ShareGroupHeartbeat => ApiKey::ShareGroupHeartbeat,
    }
}

/// A reply as the upstream sends it, without its length.
pub(super) fn frame(api: Discovery, version: i16, body: &impl Encodable) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    body.encode(&mut bytes, version).unwrap();
    let mut frame = 77i32.to_be_bytes().to_vec();
    if key_of(api).response_header_version(version) == 1 {
        frame.push(0);
    }
    frame.extend_from_slice(&bytes);
    frame
}

fn run(service: &Service, fleet: &Fleet, asked: &Asked, frame: &[u8]) -> Result<Vec<u8>, Stop> {
    let mut out = Vec::new();
    let source = [192, 0, 2, 1].into();
    rewrite(Place { service, fleet, now: NOW, source, leaving: None }, asked, frame, &mut out)?;
    Ok(out)
}

/// Rewrites, searches the bytes, and decodes.
fn through<M: Encodable + Decodable>(asked: &Asked, body: &M) -> M {
    let out = run(&service(), &small_fleet(), asked, &frame(asked.api, asked.version, body)).unwrap();
    clean(&out);
    let (length, rest) = out.split_first_chunk::<4>().unwrap();
    assert_eq!(i32::from_be_bytes(*length) as usize, rest.len());
    let header = key_of(asked.api).response_header_version(asked.version);
    assert_eq!(rest[..4], 77i32.to_be_bytes());
    let mut body = Bytes::copy_from_slice(&rest[4 + usize::from(header == 1)..]);
    let read = M::decode(&mut body, asked.version).unwrap();
    assert!(body.is_empty(), "version {}: {} bytes too many", asked.version, body.len());
    read
}

/// Nothing of the upstream, and nothing of another group, is in these bytes.
#[track_caller]
pub(in crate::kafka::gateway) fn clean(bytes: &[u8]) {
    let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|part| part == wanted);
    assert!(!has(HOST.as_bytes()) && !has(&NODE.to_be_bytes()) && !has(CLUSTER.as_bytes()));
    assert!(!has(b"10.0.2."), "an agent of vpc-2");
}

fn partition(version: i16, index: i32, leader: i32, code: i16) -> MetadataResponsePartition {
    let nodes = vec![BrokerId(NODE), BrokerId(NODE + 1)];
    let partition = MetadataResponsePartition::default()
        .with_error_code(code)
        .with_partition_index(index)
        .with_leader_id(BrokerId(leader))
        .with_replica_nodes(nodes.clone())
        .with_isr_nodes(nodes.clone());
    let partition = if version >= 5 { partition.with_offline_replicas(nodes) } else { partition };
    if version >= 7 { partition.with_leader_epoch(9) } else { partition }
}

fn metadata(version: i16) -> MetadataResponse {
    let topic = |name: &str, code: i16, partitions: i32| {
        let topic = MetadataResponseTopic::default()
            .with_error_code(code)
            .with_name(Some(TopicName(text(name))))
            .with_partitions((0..partitions).map(|index| partition(version, index, NODE, 0)).collect());
        let topic = if version >= 10 { topic.with_topic_id(Uuid::from_u128(7)) } else { topic };
        let topic = if version >= 8 { topic.with_topic_authorized_operations(5) } else { topic };
        if version >= 1 { topic.with_is_internal(true) } else { topic }
    };
    let mut broken = topic("broken", 0, 0);
    broken.partitions = vec![partition(version, 0, -1, 5)];
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(NODE))
        .with_host(text(HOST))
        .with_port(19_092)
        .with_rack((version >= 1).then(|| text(HOST)));
    let reply = MetadataResponse::default().with_brokers(vec![broker.clone(), broker]).with_topics(vec![
        topic("orders", 0, 3),
        topic("forbidden", 29, 0),
        broken,
    ]);
    let reply = if version >= 1 { reply.with_controller_id(BrokerId(NODE)) } else { reply };
    let reply = if version >= 2 { reply.with_cluster_id(Some(text(CLUSTER))) } else { reply };
    let reply = if version >= 3 { reply.with_throttle_time_ms(12) } else { reply };
    if (8..=10).contains(&version) { reply.with_cluster_authorized_operations(3) } else { reply }
}

#[test]
fn metadata_names_the_groups_agents_in_every_version() {
    for version in 0..=13 {
        let told = through(&asked(Discovery::Metadata, version), &metadata(version));
        let hosts: Vec<&str> = told.brokers.iter().map(|broker| &*broker.host).collect();
        assert_eq!(hosts.len(), 7, "six ready and one draining, none dead: {hosts:?}");
        assert!(hosts.iter().all(|host| host.starts_with("10.0.1.")));
        assert!(told.brokers.iter().all(|broker| broker.rack.is_none() && broker.port == 9092));
        if version >= 1 {
            assert!(told.brokers.iter().any(|broker| broker.node_id == told.controller_id));
        }
        if version >= 2 {
            assert_eq!(told.cluster_id.as_deref(), Some(service().cluster_id.as_str()));
        }
        let sent = metadata(version);
        assert_eq!(told.throttle_time_ms, sent.throttle_time_ms);
        assert_eq!(told.cluster_authorized_operations, sent.cluster_authorized_operations);
        let leader = told.topics[0].partitions[0].leader_id;
        let host = told.brokers.iter().find(|broker| broker.node_id == leader).unwrap();
        assert!(["10.0.1.0", "10.0.1.1"].contains(&&*host.host), "an agent of the client's zone");
        for (told, sent) in told.topics.iter().zip(&sent.topics) {
            assert_eq!(
                (&told.name, told.error_code, told.topic_id),
                (&sent.name, sent.error_code, sent.topic_id)
            );
            assert_eq!(told.is_internal, sent.is_internal);
            assert_eq!(told.topic_authorized_operations, sent.topic_authorized_operations);
            assert_eq!(told.partitions.len(), sent.partitions.len());
            for (told, sent) in told.partitions.iter().zip(&sent.partitions) {
                assert_eq!((told.partition_index, told.error_code), (sent.partition_index, sent.error_code));
                let led = sent.leader_id.0 >= 0;
                assert_eq!(told.leader_id, if led { leader } else { BrokerId(-1) });
                assert_eq!(told.isr_nodes, if led { vec![leader] } else { vec![] });
                assert_eq!((told.leader_epoch, &told.replica_nodes), (-1, &vec![leader]));
                assert!(told.offline_replicas.is_empty());
            }
        }
    }
}

#[test]
fn coordinators_are_those_of_the_listener_and_errors_stay() {
    for version in 0..=6 {
        let mut asked = asked(Discovery::FindCoordinator, version);
        let mut reply = FindCoordinatorResponse::default();
        if version >= 4 {
            let found = |key: &str, code: i16| {
                Coordinator::default()
                    .with_key(text(key))
                    .with_error_code(code)
                    .with_node_id(BrokerId(NODE))
                    .with_host(text(HOST))
                    .with_port(19_092)
            };
            reply =
                reply.with_coordinators(vec![found("group-1", 0), found("secret", 30), found("group-2", 0)]);
        } else {
            asked.key = Some("group-1".into());
            reply = reply.with_node_id(BrokerId(NODE)).with_host(text(HOST)).with_port(19_092);
        }
        let told = through(&asked, &reply);
        let (node, host) = if version >= 4 {
            assert_eq!(told.coordinators.len(), 3);
            let refused = &told.coordinators[1];
            assert_eq!((refused.error_code, refused.node_id.0, &*refused.host), (30, -1, ""));
            (told.coordinators[0].node_id.0, told.coordinators[0].host.to_string())
        } else {
            (told.node_id.0, told.host.to_string())
        };
        let (service, fleet) = (service(), small_fleet());
        let roster = service.roster(&fleet).unwrap();
        let chosen = crate::placement::coordinator::choose(&roster.eligible(NOW), 0, b"group-1").unwrap();
        assert_eq!((node, host.as_str()), (chosen.node_id, &*chosen.host), "version {version}");
    }
}

#[test]
fn cluster_and_topic_descriptions_name_the_groups_agents() {
    for version in 0..=2 {
        let broker = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(NODE))
            .with_host(text(HOST))
            .with_port(19_092)
            .with_rack(Some(text(HOST)));
        let reply = DescribeClusterResponse::default()
            .with_cluster_id(text(CLUSTER))
            .with_controller_id(BrokerId(NODE))
            .with_cluster_authorized_operations(6)
            .with_brokers(vec![broker]);
        let told = through(&asked(Discovery::DescribeCluster, version), &reply);
        assert_eq!((told.brokers.len(), told.cluster_authorized_operations), (7, 6));
        assert!(told.brokers.iter().any(|broker| broker.broker_id == told.controller_id));
        let refused = reply.clone().with_error_code(31).with_error_message(Some(text("no")));
        let told = through(&asked(Discovery::DescribeCluster, version), &refused);
        assert_eq!((told.error_code, told.brokers.len(), told.error_message), (31, 0, Some(text("no"))));
        if version >= 1 {
            let controllers = reply.with_endpoint_type(2);
            let told = through(&asked(Discovery::DescribeCluster, version), &controllers);
            assert_eq!((told.error_code, told.brokers.len()), (error::MISMATCHED_ENDPOINT_TYPE, 0));
        }
    }
    let nodes = vec![BrokerId(NODE)];
    let partition = DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(4)
        .with_leader_id(BrokerId(NODE))
        .with_replica_nodes(nodes.clone())
        .with_isr_nodes(nodes.clone())
        .with_eligible_leader_replicas(Some(nodes.clone()))
        .with_last_known_elr(Some(nodes.clone()))
        .with_offline_replicas(nodes);
    let topic = DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text("orders"))))
        .with_topic_id(Uuid::from_u128(9))
        .with_partitions(vec![partition]);
    let cursor = Cursor::default().with_topic_name(TopicName(text("payments"))).with_partition_index(3);
    let reply = DescribeTopicPartitionsResponse::default().with_topics(vec![topic]);
    for next in [None, Some(cursor)] {
        let reply = reply.clone().with_next_cursor(next.clone());
        let told = through(&asked(Discovery::DescribeTopicPartitions, 0), &reply);
        assert_eq!((told.next_cursor, told.topics[0].topic_id), (next, Uuid::from_u128(9)));
        let partition = &told.topics[0].partitions[0];
        assert_eq!((partition.partition_index, partition.leader_epoch), (4, -1));
        assert_eq!(partition.replica_nodes, [partition.leader_id]);
    }
}

#[test]
fn api_versions_are_the_upstreams_cut_to_what_passes() {
    let line =
        |key, min, max| ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max);
    let reply = ApiVersionsResponse::default().with_api_keys(vec![
        line(0, 0, 13),
        line(1, 4, 20),
        line(3, 0, 15),
        line(17, 0, 1),
        line(18, 0, 5),
        line(52, 0, 2),
        line(55, 0, 2),
        line(78, 2, 3),
        line(999, 0, 4),
    ]);
    for version in 0..=4 {
        let told = through(&asked(Discovery::ApiVersions, version), &reply);
        let list: Vec<_> =
            told.api_keys.iter().map(|line| (line.api_key, line.min_version, line.max_version)).collect();
        let expected = [(0, 0, 13), (1, 4, 18), (3, 0, 13), (17, 1, 1), (18, 0, 4), (55, 0, 1), (999, 0, 4)];
        assert_eq!(list, expected);
    }
    let substitute = Asked { substitute: true, ..asked(Discovery::ApiVersions, 0) };
    let told = through(&substitute, &reply);
    assert_eq!((told.error_code, told.api_keys), (35, vec![line(18, 0, 4)]));
    // An upstream that doesn't know the version says so in the form of v0.
    for (old, kept) in [(&b"\0\x23\0\0\0\x01\0\x12\0\0\0\x02"[..], 12), (b"\0\x23\0\0\0\0", 6)] {
        let frame = [&77i32.to_be_bytes()[..], old].concat();
        let out = run(&service(), &small_fleet(), &asked(Discovery::ApiVersions, 4), &frame).unwrap();
        assert_eq!((&out[8..], out.len()), (old, 8 + kept));
    }
}

#[test]
fn without_a_live_agent_nobody_is_named() {
    let service = service();
    let frame = frame(Discovery::Metadata, 12, &metadata(12));
    let asked = asked(Discovery::Metadata, 12);
    assert_eq!(run(&service, &Fleet::default(), &asked, &frame), Err(Stop::NotSynced));
    let mut lonely = super::super::super::battery::service();
    lonely.cluster = Cluster::parse("prod").unwrap();
    lonely.group = GroupName::parse("vpc-9").unwrap();
    assert_eq!(run(&lonely, &small_fleet(), &asked, &frame), Err(Stop::NoAgent));
}

#[test]
fn hostile_replies_end_in_an_error_and_never_in_memory() {
    let (service, fleet) = (service(), small_fleet());
    let mut random = fastrand::Rng::with_seed(7);
    for version in 0..=13 {
        let whole = frame(Discovery::Metadata, version, &metadata(version));
        let asked = asked(Discovery::Metadata, version);
        for end in 0..whole.len() {
            assert!(run(&service, &fleet, &asked, &whole[..end]).is_err(), "v{version} cut at {end}");
        }
        for _ in 0..2_000 {
            let mut broken = whole.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(4..broken.len());
                broken[at] = *random.choice([0, 1, 0x7f, 0x80, 0xff].iter()).unwrap();
            }
            if let Ok(out) = run(&service, &fleet, &asked, &broken) {
                assert!(out.len() < 4 * whole.len() + 1_000);
            }
        }
    }
}
