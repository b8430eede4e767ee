//! Tests of the walker and its programs: replies of every version, made by kafka-protocol, cut everywhere.

use super::programs;
use super::rewrite::tests::{HOST, NODE, clean};
use super::walker::Walker;
use crate::kafka::battery::text;
use crate::kafka::wire::Malformed;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, FetchResponse, ProduceResponse, ShareAcknowledgeResponse, ShareFetchResponse,
    TopicName, fetch_response, produce_response, share_acknowledge_response, share_fetch_response,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use uuid::Uuid;

/// A reply's bytes behind the correlation id.
fn bytes(key: ApiKey, version: i16, body: &impl Encodable) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    body.encode(&mut bytes, version).unwrap();
    let header = key.response_header_version(version) == 1;
    [if header { vec![0] } else { vec![] }, bytes.to_vec()].concat()
}

/// Walks over the bytes, `chunk` at a time.
fn walk(key: ApiKey, version: i16, bytes: &[u8], chunk: usize) -> Result<(Vec<u8>, bool), Malformed> {
    let mut bytes = bytes.to_vec();
    let mut walker = Walker::new(programs::of(key as i16, version).unwrap(), bytes.len() as u64);
    for part in bytes.chunks_mut(chunk) {
        walker.advance(part)?;
    }
    assert_eq!(walker.left(), 0);
    Ok((bytes, walker.blotted()))
}

/// Walks in chunks of many sizes; all must agree. Returns the reply as a client reads it.
fn through<M: Encodable + Decodable>(key: ApiKey, version: i16, body: &M) -> M {
    let sent = bytes(key, version, body);
    let (whole, _) = walk(key, version, &sent, sent.len()).unwrap();
    assert_eq!(whole.len(), sent.len());
    clean(&whole);
    for chunk in [1, 2, 3, 5, 17, 64] {
        assert_eq!(walk(key, version, &sent, chunk).unwrap().0, whole, "{key:?} v{version} by {chunk}");
    }
    for end in 1..sent.len() {
        // What covers endpoints up comes out even wherever the frame ends.
        match walk(key, version, &sent[..end], 7) {
            Ok((bytes, blotted)) => assert!(blotted && end > sent.len() / 4, "{bytes:?}"),
            Err(error) => assert_ne!(error, Malformed::Text),
        }
    }
    assert!(walk(key, version, &[&sent[..], &[0]].concat(), 9).is_err(), "a byte too many");
    let header = usize::from(key.response_header_version(version) == 1);
    let mut rest = Bytes::copy_from_slice(&whole[header..]);
    let read = M::decode(&mut rest, version).unwrap();
    assert!(rest.is_empty());
    read
}

fn produced(version: i16, hints: bool) -> ProduceResponse {
    let leader =
        produce_response::LeaderIdAndEpoch::default().with_leader_id(BrokerId(NODE)).with_leader_epoch(4);
    let endpoint = produce_response::NodeEndpoint::default()
        .with_node_id(BrokerId(NODE))
        .with_host(text(HOST))
        .with_port(19_092);
    let errors = vec![BatchIndexAndErrorMessage::default().with_batch_index(3), Default::default()];
    let partition = |index| {
        let partition = PartitionProduceResponse::default()
            .with_index(index)
            .with_error_code(6)
            .with_base_offset(99)
            .with_record_errors(errors.clone())
            .with_error_message(Some(text("not the leader")));
        if hints { partition.with_current_leader(leader.clone()) } else { partition }
    };
    let topic = TopicProduceResponse::default().with_partition_responses((0..3).map(partition).collect());
    let topic = if version >= 13 {
        topic.with_topic_id(Uuid::from_u128(3))
    } else {
        topic.with_name(TopicName(text("orders")))
    };
    let reply = ProduceResponse::default()
        .with_responses(vec![topic, TopicProduceResponse::default()])
        .with_throttle_time_ms(5);
    if hints { reply.with_node_endpoints(vec![endpoint.clone(), endpoint]) } else { reply }
}

#[test]
fn produce_replies_lose_their_hints_and_nothing_else() {
    for version in 10..=13 {
        let mut told = through(ApiKey::Produce, version, &produced(version, true));
        told.unknown_tagged_fields.clear();
        for topic in &mut told.responses {
            topic
                .partition_responses
                .iter_mut()
                .for_each(|partition| partition.unknown_tagged_fields.clear());
        }
        assert_eq!(told, produced(version, false));
        let plain = bytes(ApiKey::Produce, version, &produced(version, false));
        assert_eq!(walk(ApiKey::Produce, version, &plain, 10).unwrap(), (plain, false), "not a byte changes");
    }
}

fn fetched(version: i16, hints: bool) -> FetchResponse {
    let leader =
        fetch_response::LeaderIdAndEpoch::default().with_leader_id(BrokerId(NODE)).with_leader_epoch(4);
    let endpoint = fetch_response::NodeEndpoint::default()
        .with_node_id(BrokerId(NODE))
        .with_host(text(HOST))
        .with_port(19_092);
    let partition = |index| {
        let records = (index != 1).then(|| Bytes::from(vec![index as u8; 300 * index as usize]));
        let partition = PartitionData::default()
            .with_partition_index(index)
            .with_high_watermark(7)
            .with_aborted_transactions((index > 0).then(|| vec![AbortedTransaction::default(); 2]))
            .with_preferred_read_replica(BrokerId(if hints { NODE } else { -1 }))
            .with_records(records);
        let diverging = fetch_response::EpochEndOffset::default().with_epoch(3).with_end_offset(8);
        let partition = if version >= 12 { partition.with_diverging_epoch(diverging) } else { partition };
        if hints && version >= 12 { partition.with_current_leader(leader.clone()) } else { partition }
    };
    let topic = FetchableTopicResponse::default().with_partitions((0..4).map(partition).collect());
    let topic = if version >= 13 {
        topic.with_topic_id(Uuid::from_u128(3))
    } else {
        topic.with_topic(TopicName(text("orders")))
    };
    let reply = FetchResponse::default().with_session_id(77).with_responses(vec![topic; 2]);
    if hints && version >= 16 { reply.with_node_endpoints(vec![endpoint; 3]) } else { reply }
}

#[test]
fn fetch_replies_lose_their_hints_and_nothing_else() {
    for version in 11..=18 {
        let mut told = through(ApiKey::Fetch, version, &fetched(version, true));
        told.unknown_tagged_fields.clear();
        for topic in &mut told.responses {
            topic.partitions.iter_mut().for_each(|partition| partition.unknown_tagged_fields.clear());
        }
        assert_eq!(told, fetched(version, false), "v{version}");
        let empty = bytes(ApiKey::Fetch, version, &FetchResponse::default().with_session_id(1));
        assert_eq!(walk(ApiKey::Fetch, version, &empty, 3).unwrap(), (empty, false));
    }
}

#[test]
fn share_replies_lose_their_hints_and_nothing_else() {
    for endpoints in [0, 1, 2, 15, 500] {
        let leader =
            share_fetch_response::LeaderIdAndEpoch::default().with_leader_id(NODE).with_leader_epoch(4);
        let partition = share_fetch_response::PartitionData::default()
            .with_partition_index(2)
            .with_error_message(Some(text("moved")))
            .with_current_leader(leader)
            .with_records(Some(Bytes::from_static(&[5; 40])))
            .with_acquired_records(vec![share_fetch_response::AcquiredRecords::default(); 2]);
        let topic = share_fetch_response::ShareFetchableTopicResponse::default()
            .with_partitions(vec![partition.clone(), partition]);
        let endpoint = share_fetch_response::NodeEndpoint::default()
            .with_node_id(BrokerId(NODE))
            .with_host(text(HOST))
            .with_port(19_092);
        let sent = ShareFetchResponse::default()
            .with_responses(vec![topic])
            .with_node_endpoints(vec![endpoint; endpoints]);
        let told = through(ApiKey::ShareFetch, 1, &sent);
        assert!(told.node_endpoints.is_empty());
        let partition = &told.responses[0].partitions[1];
        assert_eq!(partition.current_leader.leader_id, -1);
        assert_eq!(partition.records.as_deref(), Some([5; 40].as_slice()));
        assert_eq!(partition.acquired_records.len(), 2);

        let leader = share_acknowledge_response::LeaderIdAndEpoch::default().with_leader_id(NODE);
        let partition = share_acknowledge_response::PartitionData::default()
            .with_error_code(6)
            .with_current_leader(leader);
        let topic = share_acknowledge_response::ShareAcknowledgeTopicResponse::default()
            .with_partitions(vec![partition]);
        let endpoint = share_acknowledge_response::NodeEndpoint::default()
            .with_node_id(BrokerId(NODE))
            .with_host(text(HOST))
            .with_port(19_092);
        let sent = ShareAcknowledgeResponse::default()
            .with_responses(vec![topic])
            .with_node_endpoints(vec![endpoint; endpoints]);
        let told = through(ApiKey::ShareAcknowledge, 1, &sent);
        assert!(told.node_endpoints.is_empty());
        assert_eq!(told.responses[0].partitions[0].current_leader.leader_id, -1);
    }
}

#[test]
fn hostile_replies_end_in_an_error_or_in_as_many_bytes() {
    let mut random = fastrand::Rng::with_seed(3);
    for version in 11..=18 {
        let whole = bytes(ApiKey::Fetch, version, &fetched(version, true));
        for _ in 0..3_000 {
            let mut broken = whole.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..broken.len());
                broken[at] = *random.choice([0, 1, 0x7f, 0x80, 0xff].iter()).unwrap();
            }
            if let Ok((out, _)) = walk(ApiKey::Fetch, version, &broken, random.usize(1..40)) {
                assert_eq!(out.len(), broken.len());
            }
        }
    }
}
