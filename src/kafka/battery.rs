//! Tests of the whole service without sockets: every version against kafka-protocol, hostile bytes, isolation, and
//! that replicas agree.

use super::api::Stop;
use super::frame::LENGTH_BYTES;
use super::service::{Request, Service};
use super::topics::{Topics, static_catalog};
use super::wire::Malformed;
use crate::limits::kafka as limits;
use crate::model::{
    Agent, AgentId, AgentKey, Cluster, Fleet, Group, GroupName, Lease, Moment, Record, Source, State, Zone,
};
use crate::placement::{Balance, Bounds, Placement, Rules, Scope, Strategy};
use crate::telemetry::kafka::Metrics;
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::describe_cluster_response::DescribeClusterResponse;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

mod hostile;
mod placed;
mod same;

pub(super) const NOW: Moment = Moment::from_millis(1_000);

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn agent(
    cluster: &str,
    group: &str,
    id: &str,
    host: [u8; 4],
    zone: &str,
    state: State,
    until: u64,
) -> Arc<Agent> {
    Arc::new(Agent {
        key: AgentKey {
            cluster: Cluster::parse(cluster).unwrap(),
            group: GroupName::parse(group).unwrap(),
            agent: AgentId::parse(id).unwrap(),
        },
        record: Arc::new(Record {
            zone: Some(Zone::parse(zone).unwrap()),
            addresses: vec![host.into()],
            weight: 100,
            state,
            ..Record::default()
        }),
        lease: Lease::new(Moment::from_millis(until), Source::new("test", 0)),
    })
}

fn fleet_of(groups: Vec<(&str, &str, Vec<Arc<Agent>>)>) -> Fleet {
    let mut edit = Fleet::default().edit();
    for (version, (cluster, name, agents)) in groups.into_iter().enumerate() {
        let (cluster, name) = (Cluster::parse(cluster).unwrap(), GroupName::parse(name).unwrap());
        edit.put_group(Arc::new(Group::build(cluster, name, version as u64 + 1, agents, Vec::new())));
    }
    edit.set_synced();
    edit.finish()
}

/// Group vpc-1 of three zones with two agents each, one draining and one dead; and another group.
pub(super) fn small_fleet() -> Fleet {
    let mut agents: Vec<Arc<Agent>> = (0..6u8)
        .map(|i| {
            let zone = ["z-a", "z-b", "z-c"][usize::from(i) / 2];
            agent("prod", "vpc-1", &format!("agent-{i}"), [10, 0, 1, i], zone, State::Ready, 60_000)
        })
        .collect();
    agents.push(agent("prod", "vpc-1", "drains", [10, 0, 1, 100], "z-a", State::Draining, 60_000));
    agents.push(agent("prod", "vpc-1", "dead", [10, 0, 1, 101], "z-a", State::Ready, 999));
    let other = vec![agent("prod", "vpc-2", "agent-0", [10, 0, 2, 0], "z-a", State::Ready, 60_000)];
    fleet_of(vec![("prod", "vpc-1", agents), ("prod", "vpc-2", other)])
}

fn service_of(group: &str, topics: &[(&str, i32)]) -> Service {
    let cluster = Cluster::parse("prod").unwrap();
    let catalog = Arc::new(static_catalog(&cluster, topics.iter().copied()).unwrap());
    let bounds = Bounds { same_client_millis: 5_000, clients: 100_000, turns: 1_000 };
    let metrics = Arc::new(Metrics::register(&prometheus_registry()).unwrap());
    let group = GroupName::parse(group).unwrap();
    Service::new(cluster, group, Topics::Static(catalog), Arc::new(Placement::new(bounds, 3)), metrics)
}

fn prometheus_registry() -> prometheus::Registry {
    prometheus::Registry::new()
}

pub(super) fn service() -> Service {
    service_of("vpc-1", &[("orders", 3), ("payments", 1), ("__consumer_offsets", 2)])
}

/// The bytes of a request, without the frame's length.
fn request<M: Encodable + HeaderVersion>(key: ApiKey, version: i16, client: &str, body: &M) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(text(client)))
        .encode(&mut bytes, M::header_version(version))
        .unwrap();
    body.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

fn ask_at(service: &Service, fleet: &Fleet, bytes: &[u8], now: Moment) -> Result<Vec<u8>, Stop> {
    let mut out = b"before".to_vec();
    let most = limits::REPLY_BYTES;
    let request = Request { bytes, source: [127, 0, 0, 1].into(), fleet, now, most };
    let result = service.answer(request, &mut out);
    assert_eq!(&out[..6], b"before");
    match result {
        Ok(_) => Ok(out.split_off(6)),
        Err(stop) => {
            assert_eq!(out.len(), 6, "a request that is not answered leaves nothing behind");
            Err(stop)
        }
    }
}

fn ask(service: &Service, fleet: &Fleet, bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    ask_at(service, fleet, bytes, NOW)
}

/// Decodes a whole reply: the length fits, the correlation id is ours, nothing is left over.
fn decoded<M: Decodable + HeaderVersion>(reply: &[u8], version: i16) -> M {
    let mut bytes = Bytes::copy_from_slice(reply);
    assert_eq!(bytes.get_i32() as usize, reply.len() - LENGTH_BYTES);
    let header = ResponseHeader::decode(&mut bytes, M::header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 77);
    let body = M::decode(&mut bytes, version).unwrap();
    assert!(bytes.is_empty(), "bytes after the reply in version {version}");
    body
}

fn metadata_request(version: i16, topics: Option<&[&str]>) -> MetadataRequest {
    let topics = topics.map(|names| {
        names
            .iter()
            .map(|name| MetadataRequestTopic::default().with_name(Some(TopicName(text(name)))))
            .collect()
    });
    let topics = if version == 0 { Some(topics.unwrap_or_default()) } else { topics };
    MetadataRequest::default().with_topics(topics)
}

fn metadata(
    service: &Service,
    fleet: &Fleet,
    version: i16,
    client: &str,
    topics: Option<&[&str]>,
) -> MetadataResponse {
    let bytes = request(ApiKey::Metadata, version, client, &metadata_request(version, topics));
    decoded(&ask(service, fleet, &bytes).unwrap(), version)
}

#[test]
fn metadata_is_what_kafka_protocol_would_have_written_in_every_version() {
    let (service, fleet) = (service(), small_fleet());
    let roster = service.roster(&fleet).unwrap();
    for version in 0..=13 {
        for topics in [None, Some(["orders", "nowhere", "orders"].as_slice()), Some(&[])] {
            if version == 0 && topics == Some(&[]) {
                continue; // means all
            }
            let bytes = request(ApiKey::Metadata, version, "x", &metadata_request(version, topics));
            let reply = ask(&service, &fleet, &bytes).unwrap();
            let got: MetadataResponse = decoded(&reply, version);
            let leader = got.topics.iter().find_map(|t| t.partitions.first()).map_or(0, |p| p.leader_id.0);
            let epoch = -1;
            let brokers = roster
                .live(NOW)
                .map(|b| {
                    MetadataResponseBroker::default()
                        .with_node_id(BrokerId(b.node_id))
                        .with_host(text(&b.host))
                        .with_port(9092)
                })
                .collect::<Vec<_>>();
            assert_eq!(brokers.len(), 7, "six ready, one draining, not the dead one");
            let catalog = service.topics.catalog(&fleet, &service.cluster).unwrap();
            let expected_topic = |name: &str| {
                let topic = MetadataResponseTopic::default().with_name(Some(TopicName(text(name))));
                let Some(known) = catalog.topics.get(name) else { return topic.with_error_code(3) };
                let mut topic = topic.with_topic_id(Uuid::from_bytes(known.id)).with_partitions(
                    (0..known.partitions)
                        .map(|i| {
                            MetadataResponsePartition::default()
                                .with_partition_index(i)
                                .with_leader_id(BrokerId(leader))
                                .with_leader_epoch(epoch)
                                .with_replica_nodes(vec![BrokerId(leader)])
                                .with_isr_nodes(vec![BrokerId(leader)])
                        })
                        .collect(),
                );
                topic.is_internal = name.starts_with("__");
                topic
            };
            let names: Vec<&str> = match topics {
                None => vec!["__consumer_offsets", "orders", "payments"],
                Some([]) => vec![],
                Some(_) => vec!["orders", "nowhere"],
            };
            let expected = MetadataResponse::default()
                .with_brokers(brokers)
                .with_cluster_id(Some(text(&service.cluster_id)))
                .with_controller_id(BrokerId(roster.controller(NOW).unwrap().node_id))
                .with_topics(names.into_iter().map(expected_topic).collect());
            let mut bytes = BytesMut::new();
            bytes.extend_from_slice(&[0; LENGTH_BYTES]);
            let header = ResponseHeader::default().with_correlation_id(77);
            header.encode(&mut bytes, MetadataResponse::header_version(version)).unwrap();
            expected.encode(&mut bytes, version).unwrap();
            assert_eq!(bytes[LENGTH_BYTES..], reply[LENGTH_BYTES..], "version {version}, topics {topics:?}");
        }
    }
}

#[test]
fn topics_are_found_by_id_from_version_12_on() {
    let (service, fleet) = (service(), small_fleet());
    let id = super::topics::topic_id(&service.cluster, "orders");
    let by_id = |id| MetadataRequestTopic::default().with_name(None).with_topic_id(Uuid::from_bytes(id));
    for version in [12, 13] {
        let body =
            MetadataRequest::default().with_topics(Some(vec![by_id(id), by_id([9; 16]), by_id([0; 16])]));
        let reply = ask(&service, &fleet, &request(ApiKey::Metadata, version, "x", &body)).unwrap();
        let reply: MetadataResponse = decoded(&reply, version);
        let seen: Vec<_> = reply
            .topics
            .iter()
            .map(|t| (t.name.as_ref().map(|n| n.0.to_string()), t.error_code, t.topic_id.into_bytes()))
            .collect();
        assert_eq!(seen, [(Some("orders".into()), 0, id), (None, 100, [9; 16]), (None, 100, [0; 16])]);
    }
    let body = MetadataRequest::default().with_topics(Some(vec![by_id(id)]));
    let bytes = request(ApiKey::Metadata, 10, "x", &body);
    assert_eq!(ask(&service, &fleet, &bytes), Err(Stop::Malformed(Malformed::Null)));
}

#[test]
fn api_versions_lists_the_table_and_answers_newer_versions_in_the_oldest_form() {
    let (service, fleet) = (service(), small_fleet());
    let software = ApiVersionsRequest::default()
        .with_client_software_name(text("librdkafka"))
        .with_client_software_version(text("2.0.2"));
    for version in 0..=4 {
        let body = if version >= 3 { software.clone() } else { ApiVersionsRequest::default() };
        let reply = ask(&service, &fleet, &request(ApiKey::ApiVersions, version, "x", &body)).unwrap();
        let reply: ApiVersionsResponse = decoded(&reply, version);
        let keys: Vec<_> = reply.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
        assert_eq!(
            (reply.error_code, keys),
            (0, vec![(3, 0, 13), (10, 0, 6), (18, 0, 4), (60, 0, 2), (75, 0, 0)])
        );
    }
    // Golden: error 35, one entry, header version 0; whatever the body is.
    let newer = [&[0, 18, 0, 5, 0, 0, 0, 77][..], b"anything"].concat();
    let golden = [0, 0, 0, 16, 0, 0, 0, 77, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
    assert_eq!(ask(&service, &fleet, &newer).unwrap(), golden);
    let negative = [0, 18, 0xff, 0xff, 0, 0, 0, 77];
    assert_eq!(ask(&service, &fleet, &negative).unwrap(), golden);
    let odd = software.with_client_software_name(text("-odd-"));
    let reply = ask(&service, &fleet, &request(ApiKey::ApiVersions, 3, "x", &odd)).unwrap();
    assert_eq!(decoded::<ApiVersionsResponse>(&reply, 3).error_code, 42);
    // Golden v3: no tagged field.
    let v3 = [0, 18, 0, 3, 0, 0, 0, 77, 0xff, 0xff, 0, 2, b'a', 2, b'1', 0];
    let golden = [
        0, 0, 0, 47, 0, 0, 0, 77, 0, 0, 6, //
        0, 3, 0, 0, 0, 13, 0, 0, 10, 0, 0, 0, 6, 0, 0, 18, 0, 0, 0, 4, 0, 0, 60, 0, 0, 0, 2, 0, //
        0, 75, 0, 0, 0, 0, 0, //
        0, 0, 0, 0, 0,
    ];
    assert_eq!(ask(&service, &fleet, &v3).unwrap(), golden);
}

#[test]
fn find_coordinator_answers_each_key_in_every_version() {
    let (service, fleet) = (service(), small_fleet());
    let listed: HashMap<i32, String> = metadata(&service, &fleet, 9, "x", None)
        .brokers
        .iter()
        .map(|broker| (broker.node_id.0, broker.host.to_string()))
        .collect();
    let mut chosen = HashSet::new();
    for version in 0..=6 {
        let body = if version < 4 {
            FindCoordinatorRequest::default().with_key(text("group-a"))
        } else {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![text("group-a"), text("group-b")])
        };
        let reply = ask(&service, &fleet, &request(ApiKey::FindCoordinator, version, "x", &body)).unwrap();
        let reply: FindCoordinatorResponse = decoded(&reply, version);
        let (id, host) = if version < 4 {
            assert_eq!(reply.error_code, 0);
            (reply.node_id.0, reply.host.to_string())
        } else {
            let keys: Vec<_> = reply.coordinators.iter().map(|c| (c.key.to_string(), c.error_code)).collect();
            assert_eq!(keys, [("group-a".into(), 0), ("group-b".into(), 0)]);
            (reply.coordinators[0].node_id.0, reply.coordinators[0].host.to_string())
        };
        assert_eq!(listed.get(&id), Some(&host), "the coordinator is in the broker list");
        chosen.insert(id);
    }
    assert_eq!(chosen.len(), 1, "one coordinator in every version");
    for (version, key_type, error) in [(1, 2, 42), (5, 2, 42), (6, 2, 42), (4, 9, 42)] {
        let mut body = FindCoordinatorRequest::default().with_key_type(key_type);
        body =
            if version < 4 { body.with_key(text("k")) } else { body.with_coordinator_keys(vec![text("k")]) };
        let reply = ask(&service, &fleet, &request(ApiKey::FindCoordinator, version, "x", &body)).unwrap();
        let reply: FindCoordinatorResponse = decoded(&reply, version);
        let code = reply.coordinators.first().map_or(reply.error_code, |c| c.error_code);
        assert_eq!(code, error, "version {version}, key type {key_type}");
    }
}

#[test]
fn describe_cluster_tells_the_same_brokers_as_metadata() {
    let (service, fleet) = (service(), small_fleet());
    let metadata = metadata(&service, &fleet, 9, "x", None);
    let listed: Vec<_> = metadata.brokers.iter().map(|b| (b.node_id, b.host.clone(), b.port)).collect();
    for version in 0..=2 {
        let body = DescribeClusterRequest::default();
        let reply = ask(&service, &fleet, &request(ApiKey::DescribeCluster, version, "x", &body)).unwrap();
        let reply: DescribeClusterResponse = decoded(&reply, version);
        let told: Vec<_> = reply.brokers.iter().map(|b| (b.broker_id, b.host.clone(), b.port)).collect();
        assert_eq!(told, listed);
        assert!(reply.brokers.iter().all(|b| b.rack.is_none() && !b.is_fenced));
        assert_eq!(reply.controller_id, metadata.controller_id);
        assert_eq!(Some(&reply.cluster_id), metadata.cluster_id.as_ref());
    }
    for (endpoint, error) in [(2, 114), (7, 115)] {
        let body = DescribeClusterRequest::default().with_endpoint_type(endpoint);
        let reply = ask(&service, &fleet, &request(ApiKey::DescribeCluster, 1, "x", &body)).unwrap();
        assert_eq!(decoded::<DescribeClusterResponse>(&reply, 1).error_code, error);
    }
}

#[test]
fn without_a_live_agent_nothing_is_made_up() {
    let service = service();
    let ask_all = |fleet: &Fleet, now| {
        let metadata = request(ApiKey::Metadata, 12, "x", &metadata_request(12, None));
        let describe = request(ApiKey::DescribeCluster, 1, "x", &DescribeClusterRequest::default());
        let find = FindCoordinatorRequest::default().with_key(text("g"));
        let find = request(ApiKey::FindCoordinator, 2, "x", &find);
        let versions = request(ApiKey::ApiVersions, 0, "x", &ApiVersionsRequest::default());
        assert!(ask_at(&service, fleet, &versions, now).is_ok(), "ApiVersions is always answered");
        let found: FindCoordinatorResponse = decoded(&ask_at(&service, fleet, &find, now).unwrap(), 2);
        assert_eq!((found.error_code, found.node_id.0, found.port), (15, -1, -1));
        let stop = ask_at(&service, fleet, &metadata, now).unwrap_err();
        assert_eq!(ask_at(&service, fleet, &describe, now).unwrap_err(), stop);
        stop
    };
    assert_eq!(ask_all(&Fleet::default(), NOW), Stop::NotSynced);
    let others = fleet_of(vec![(
        "prod",
        "vpc-2",
        vec![agent("prod", "vpc-2", "a", [10, 0, 2, 0], "z-a", State::Ready, 60_000)],
    )]);
    assert_eq!(ask_all(&others, NOW), Stop::NoAgent);
    assert_eq!(ask_all(&small_fleet(), Moment::from_millis(60_000)), Stop::NoAgent);
}

#[test]
fn a_client_gets_leaders_of_its_zone_and_others_only_of_its_group() {
    let (service, fleet) = (service(), small_fleet());
    let zone_of: HashMap<i32, String> = service
        .roster(&fleet)
        .unwrap()
        .brokers()
        .iter()
        .map(|b| (b.node_id, b.agent.record.zone.as_ref().unwrap().to_string()))
        .collect();
    let leader =
        |client: &str| metadata(&service, &fleet, 9, client, None).topics[0].partitions[0].leader_id.0;
    for (i, zone) in ["z-a", "z-b", "z-c", "z-a", "z-b", "z-c"].iter().enumerate() {
        assert_eq!(zone_of[&leader(&format!("ws_az={zone},client-{i}"))], *zone);
    }
    leader("ws_az=z-x,client");
    leader("client");
    let metrics = &service.metrics;
    assert_eq!(metrics.placements_of("z-a", "hit"), 2);
    assert_eq!(metrics.placements_of("other", "miss"), 1);
    assert_eq!(metrics.placements_of("other", "unaware"), 1);
    assert_eq!(metrics.requests_of("Metadata", "answered"), 8);
}

/// A fleet of random groups with random agents; every agent's address tells its group.
fn random_fleet(random: &mut fastrand::Rng) -> Fleet {
    let groups = random.u8(1..6);
    let names: Vec<String> = (0..groups).map(|g| format!("g{g}")).collect();
    let list = names
        .iter()
        .zip(0u8..)
        .map(|(name, g)| {
            let agents = (0..random.u8(0..9))
                .map(|i| {
                    let zone = ["z-a", "z-b", "z-c"][random.usize(..3)];
                    let state = if random.u8(..4) == 0 { State::Draining } else { State::Ready };
                    // Ids are the same in all groups, so nothing but the group tells them apart.
                    agent("prod", name, &format!("a{i}"), [10, g, 0, i], zone, state, random.u64(1..3_000))
                })
                .collect();
            ("prod", name.as_str(), agents)
        })
        .collect();
    fleet_of(list)
}

#[test]
fn no_reply_ever_names_an_agent_of_another_group() {
    let mut random = fastrand::Rng::with_seed(20_261_122);
    let mut services: Vec<Service> = (0..6).map(|g| service_of(&format!("g{g}"), &[("orders", 3)])).collect();
    let mut replies = 0;
    for _ in 0..150 {
        let fleet = random_fleet(&mut random);
        let now = Moment::from_millis(random.u64(1..2_500));
        for (service, g) in services.iter_mut().zip(0..) {
            service.rules = Rules {
                strategy: Strategy::ALL[random.usize(..3)],
                balance: Balance::ALL[random.usize(..2)],
                scope: Scope::ALL[random.usize(..2)],
            };
            let service = &*service;
            let prefix = format!("10.{g}.0.");
            for version in 0..=13 {
                let zone = ["z-a", "z-b", "z-c", "z-x"][random.usize(..4)];
                let hint = ["x", "broker_count=2", "ws_pas=consistent", "ws_pt=none"][random.usize(..4)];
                let client = format!("ws_az={zone},client-{},{hint}", random.u8(..20));
                let bytes = request(ApiKey::Metadata, version, &client, &metadata_request(version, None));
                let Ok(reply) = ask_at(service, &fleet, &bytes, now) else { continue };
                let reply: MetadataResponse = decoded(&reply, version);
                let ids: HashSet<i32> = reply.brokers.iter().map(|b| b.node_id.0).collect();
                assert!(!ids.is_empty() && ids.len() == reply.brokers.len());
                assert!(reply.brokers.iter().all(|b| b.host.starts_with(&prefix)), "{prefix} {reply:?}");
                assert!(reply.brokers.iter().all(|b| b.node_id.0 > 0 && b.rack.is_none()));
                assert!(version == 0 || ids.contains(&reply.controller_id.0));
                for partition in reply.topics.iter().flat_map(|topic| &topic.partitions) {
                    assert!(ids.contains(&partition.leader_id.0));
                    assert_eq!(partition.leader_epoch, -1);
                    assert_eq!(partition.replica_nodes, [partition.leader_id]);
                    assert_eq!(partition.isr_nodes, [partition.leader_id]);
                }
                let find = FindCoordinatorRequest::default().with_key(text(&format!("g-{}", random.u8(..))));
                let find = request(ApiKey::FindCoordinator, 3, &client, &find);
                let found = ask_at(service, &fleet, &find, now).unwrap();
                let found: FindCoordinatorResponse = decoded(&found, 3);
                assert!(found.host.starts_with(&prefix) && ids.contains(&found.node_id.0));
                let describe = DescribeClusterRequest::default();
                let describe = request(ApiKey::DescribeCluster, 2, &client, &describe);
                let told = ask_at(service, &fleet, &describe, now).unwrap();
                let told: DescribeClusterResponse = decoded(&told, 2);
                assert!(told.brokers.iter().all(|b| b.host.starts_with(&prefix)));
                let topics = DescribeTopicPartitionsRequest::default().with_response_partition_limit(9);
                let topics = request(ApiKey::DescribeTopicPartitions, 0, &client, &topics);
                let told = ask_at(service, &fleet, &topics, now).unwrap();
                let told: DescribeTopicPartitionsResponse = decoded(&told, 0);
                let partitions = told.topics.iter().flat_map(|topic| &topic.partitions);
                assert!(
                    partitions.clone().count() == 3
                        && partitions.clone().all(|p| ids.contains(&p.leader_id.0))
                );
                replies += 4;
            }
        }
    }
    assert!(replies > 10_000, "{replies}");
}

#[test]
fn replicas_agree_without_talking() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..50 {
        let fleet = random_fleet(&mut random);
        let (one, two) = (service_of("g0", &[("orders", 3)]), service_of("g0", &[("orders", 3)]));
        let metadata = request(ApiKey::Metadata, 12, "x", &metadata_request(12, Some(&[])));
        assert_eq!(
            ask(&one, &fleet, &metadata),
            ask(&two, &fleet, &metadata),
            "brokers, controller, cluster id"
        );
        for key in 0..50 {
            let find = FindCoordinatorRequest::default().with_key(text(&key.to_string()));
            let find = request(ApiKey::FindCoordinator, 2, "x", &find);
            assert_eq!(ask(&one, &fleet, &find), ask(&two, &fleet, &find));
        }
    }
}

#[test]
fn topics_of_the_registry_are_followed() {
    let mut service = service();
    service.topics = Topics::Registry;
    let names = |fleet: &Fleet| {
        let reply = metadata(&service, fleet, 12, "x", None);
        reply.topics.iter().map(|topic| topic.name.clone().unwrap().0.to_string()).collect::<Vec<_>>()
    };
    let by_id = |fleet: &Fleet, name: &str| {
        let id = Uuid::from_bytes(super::topics::topic_id(&service.cluster, name));
        let topic = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        let body = MetadataRequest::default().with_topics(Some(vec![topic]));
        let reply = ask(&service, fleet, &request(ApiKey::Metadata, 12, "x", &body)).unwrap();
        decoded::<MetadataResponse>(&reply, 12).topics[0].error_code
    };
    let with = |fleet: &Fleet, topics: &[(&'static str, i32)]| {
        let mut edit = fleet.edit();
        let catalog = static_catalog(&service.cluster, topics.iter().copied()).unwrap();
        edit.set_catalog(service.cluster.clone(), Some(Arc::new(catalog)));
        edit.finish()
    };
    let none = small_fleet();
    assert!(names(&none).is_empty(), "a cluster without a list has no topics");
    let one = with(&none, &[("a", 1)]);
    assert_eq!((names(&one), by_id(&one, "a"), by_id(&one, "b")), (vec!["a".to_owned()], 0, 100));
    let two = with(&one, &[("a", 1), ("b", 2)]);
    assert_eq!((names(&two).len(), by_id(&two, "b")), (2, 0), "the index of ids follows the list");
}
