//! What strategies, hints and cursors do to whole replies.

use super::*;
use crate::kafka::misplaced;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};

fn placed(strategy: Strategy, scope: Scope) -> Service {
    let mut service = service();
    service.rules = Rules { strategy, scope, balance: Balance::Sticky };
    service
}

/// Every version's leaders, replicas and in-sync replicas as decoded are those that the strategy gives.
#[test]
fn leaders_stand_where_each_version_has_them() {
    let fleet = small_fleet();
    for strategy in Strategy::ALL {
        let service = placed(strategy, Scope::Group);
        let of = |version| {
            let reply = metadata(&service, &fleet, version, "ws_az=z-b,x", None);
            let partitions = reply.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(move |p| (topic.name.clone(), p.partition_index, p.clone()))
            });
            partitions
                .map(|(name, index, p)| {
                    assert_eq!((&p.replica_nodes, &p.isr_nodes), (&vec![p.leader_id], &vec![p.leader_id]));
                    assert_eq!((p.leader_epoch, p.error_code), (-1, 0));
                    (name, index, p.leader_id)
                })
                .collect::<Vec<_>>()
        };
        let oldest = of(0);
        assert_eq!(oldest.len(), 6);
        let distinct = oldest.iter().map(|(.., leader)| leader.0).collect::<HashSet<_>>().len();
        assert_eq!(distinct, if strategy == Strategy::SingleAgent { 1 } else { 2 }, "{strategy:?}");
        for version in 1..=13 {
            assert_eq!(of(version), oldest, "{strategy:?} version {version}");
        }
    }
}

#[test]
fn pages_of_topic_partitions_join_to_what_metadata_says() {
    let fleet = small_fleet();
    for (strategy, limit) in Strategy::ALL.into_iter().flat_map(|strategy| (1..8).map(move |n| (strategy, n)))
    {
        let service = placed(strategy, Scope::Group);
        let whole: Vec<_> = metadata(&service, &fleet, 12, "x", None)
            .topics
            .iter()
            .flat_map(|t| {
                t.partitions.iter().map(|p| (t.name.clone(), t.topic_id, p.partition_index, p.leader_id))
            })
            .collect();
        let (mut joined, mut cursor) = (Vec::new(), None);
        for _ in 0..10 {
            let body = DescribeTopicPartitionsRequest::default()
                .with_response_partition_limit(limit)
                .with_cursor(cursor.take());
            let reply =
                ask(&service, &fleet, &request(ApiKey::DescribeTopicPartitions, 0, "x", &body)).unwrap();
            let reply: DescribeTopicPartitionsResponse = decoded(&reply, 0);
            let page: Vec<_> = reply
                .topics
                .iter()
                .flat_map(|t| {
                    t.partitions.iter().map(|p| (t.name.clone(), t.topic_id, p.partition_index, p.leader_id))
                })
                .collect();
            assert!(!page.is_empty() && page.len() <= limit as usize);
            let elr = |p: &describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition| {
                p.eligible_leader_replicas == Some(vec![])
                    && p.last_known_elr == Some(vec![])
                    && p.leader_epoch == -1
            };
            assert!(reply.topics.iter().flat_map(|t| &t.partitions).all(elr));
            joined.extend(page);
            match reply.next_cursor {
                None => break,
                Some(next) => {
                    cursor = Some(
                        Cursor::default()
                            .with_topic_name(next.topic_name)
                            .with_partition_index(next.partition_index),
                    );
                }
            }
        }
        assert_eq!(joined, whole, "{strategy:?}, {limit} at a time");
    }
}

#[test]
fn odd_cursors_and_unknown_topics_are_told_as_kafka_does() {
    let (service, fleet) = (service(), small_fleet());
    let ask = |names: &[&str], limit, cursor: Option<(&str, i32)>| {
        let topic = |name: &&str| TopicRequest::default().with_name(TopicName(text(name)));
        let cursor = cursor.map(|(name, index)| {
            Cursor::default().with_topic_name(TopicName(text(name))).with_partition_index(index)
        });
        let body = DescribeTopicPartitionsRequest::default()
            .with_topics(names.iter().map(topic).collect())
            .with_response_partition_limit(limit)
            .with_cursor(cursor);
        let reply = ask(&service, &fleet, &request(ApiKey::DescribeTopicPartitions, 0, "x", &body)).unwrap();
        let reply: DescribeTopicPartitionsResponse = decoded(&reply, 0);
        let seen: Vec<_> = reply
            .topics
            .iter()
            .map(|t| (t.name.clone().unwrap().0.to_string(), t.error_code, t.partitions.len()))
            .collect();
        let next = reply.next_cursor.map(|c| (c.topic_name.0.to_string(), c.partition_index));
        (seen, next)
    };
    let of = |name: &str, code, partitions| (name.to_owned(), code, partitions);
    let (seen, next) = ask(&["payments", "nowhere", "orders", "orders"], 2_000, None);
    assert_eq!((seen, next), (vec![of("nowhere", 3, 0), of("orders", 0, 3), of("payments", 0, 1)], None));
    let (seen, next) = ask(&["payments", "orders"], 3, None);
    assert_eq!((seen, next), (vec![of("orders", 0, 3)], Some(("payments".into(), 0))));
    assert_eq!(
        ask(&[], 9, Some(("orderr", 7))).0,
        [of("orders", 0, 3), of("payments", 0, 1)],
        "it is gone: the next"
    );
    assert_eq!(ask(&[], 9, Some(("orders", 99))).0, [of("orders", 0, 0), of("payments", 0, 1)]);
    assert_eq!(ask(&["orders"], 9, Some(("orders", -1))).0, [of("orders", 42, 0)]);
    assert_eq!(ask(&["orders"], -5, None), (vec![of("orders", 0, 1)], Some(("orders".into(), 1))));
}

#[test]
fn hints_change_the_whole_picture_alike_in_every_api() {
    let fleet = small_fleet();
    for (scope, count) in [(Scope::Group, 3), (Scope::Zone, 1)] {
        let service = placed(Strategy::Consistent, scope);
        let id = format!("ws_az=z-a;broker_count={count};host_override=lb.example,ws_az=z-a,x");
        let reply = metadata(&service, &fleet, 12, &id, None);
        assert_eq!(reply.brokers.len(), count);
        assert!(reply.brokers.iter().all(|broker| broker.host.as_str() == "lb.example"));
        let listed: HashSet<i32> = reply.brokers.iter().map(|b| b.node_id.0).collect();
        assert!(listed.contains(&reply.controller_id.0));
        let told = request(ApiKey::DescribeCluster, 1, &id, &DescribeClusterRequest::default());
        let told: DescribeClusterResponse = decoded(&ask(&service, &fleet, &told).unwrap(), 1);
        assert_eq!(told.brokers.iter().map(|b| b.broker_id.0).collect::<HashSet<_>>(), listed);
        assert!(told.brokers.iter().all(|broker| broker.host.as_str() == "lb.example"));
        for key in 0..50 {
            let find = FindCoordinatorRequest::default().with_key(text(&format!("g{key}")));
            let find = request(ApiKey::FindCoordinator, 3, &id, &find);
            let found: FindCoordinatorResponse = decoded(&ask(&service, &fleet, &find).unwrap(), 3);
            assert!(listed.contains(&found.node_id.0) && found.host.as_str() == "lb.example");
        }
    }
    let service = placed(Strategy::SingleAgent, Scope::Zone);
    assert_eq!(
        metadata(&service, &fleet, 12, "ws_az=z-a,x", None).brokers.len(),
        3,
        "two ready, one draining"
    );
    let leaders = |id: &str| {
        let reply = metadata(&service, &fleet, 12, id, None);
        reply.topics.iter().flat_map(|t| &t.partitions).map(|p| p.leader_id.0).collect::<HashSet<_>>().len()
    };
    assert_eq!((leaders("ws_az=z-a,x"), leaders("ws_az=z-a,ws_pas=equal_spread,x")), (1, 2));
    service.metrics.name_agents();
    metadata(&service, &fleet, 12, "ws_az=z-x,ws_pt=none,x", None);
    assert_eq!(service.metrics.fallbacks_of("other", "zone"), 1);
    assert_eq!(service.metrics.fallbacks_of("other", "role"), 0, "agents without roles have all");
    let led: u64 = (0..6).map(|i| service.metrics.led_by("prod", "vpc-1", &format!("agent-{i}"))).sum();
    assert_eq!(led, 1);
}

#[test]
fn a_misplaced_client_is_told_of_nobody() {
    let answered = |bytes: &[u8]| {
        let mut out = b"before".to_vec();
        let result = misplaced::answer(bytes, &mut out);
        (result.map(|_| ()), out.split_off(6))
    };
    for version in 0..=4 {
        let body = ApiVersionsRequest::default()
            .with_client_software_name(text("java"))
            .with_client_software_version(text("4.1"));
        let body = if version < 3 { ApiVersionsRequest::default() } else { body };
        let (_, reply) = answered(&request(ApiKey::ApiVersions, version, "x", &body));
        assert_eq!(decoded::<ApiVersionsResponse>(&reply, version).api_keys.len(), 5);
    }
    assert_eq!(answered(&[0, 18, 0, 9, 0, 0, 0, 77]).1.get(8..10), Some(&[0, 35][..]));
    let (_, reply) = answered(&request(ApiKey::Metadata, 13, "x", &metadata_request(13, None)));
    let reply: MetadataResponse = decoded(&reply, 13);
    let expected = MetadataResponse::default().with_error_code(129).with_cluster_id(None);
    assert_eq!(reply, expected.with_controller_id(BrokerId(-1)));
    for version in 0..13 {
        let asked = request(ApiKey::Metadata, version, "x", &metadata_request(version, None));
        assert_eq!(answered(&asked), (Err(Stop::WrongGroup), vec![]));
    }
    let find = request(ApiKey::FindCoordinator, 3, "x", &FindCoordinatorRequest::default());
    assert_eq!(answered(&find), (Err(Stop::WrongGroup), vec![]));
    assert_eq!(answered(&[0, 3]).1, [0u8; 0]);
}
