//! DescribeTopicPartitions (key 75), version 0 (KIP-966); Java's admin client asks it instead of Metadata where it is
//! advertised.
//!
//! - No topics means all. Topics come in the order of their names, each once, as from Kafka.
//! - At most the partitions that the client allows and [`limits::DESCRIBED_PARTITIONS`]; where more follow, a cursor tells
//!   the topic and partition to go on from. A cursor at a topic that is gone goes on with the next one.
//! - Leaders as in Metadata: the strategy's, epoch -1, replicas = in-sync replicas = the leader. Eligible leader replicas
//!   are empty and not null, for Java's admin client fails on null.
//! - Unknown: UNKNOWN_TOPIC_OR_PARTITION. A cursor at a negative partition: INVALID_REQUEST for each topic.
//! - Not counted as a placement: who asks this has asked Metadata before.

use super::{Api, Call, Outcome, Stop, error};
use crate::kafka::topics::is_internal;
use crate::kafka::wire::{Malformed, Reader};
use crate::limits::kafka as limits;
use crate::model::{Catalog, Topic};
use crate::placement::Leaders;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition as Partition,
    DescribeTopicPartitionsResponseTopic as Described,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeSet;
use std::ops::Bound;

/// The table's line.
pub const API: Api = Api {
    key: 75,
    name: "DescribeTopicPartitions",
    min: 0,
    max: 0,
    flexible_from: 0,
    flexible_reply_header: true,
    answer,
};

/// Authorised operations that nobody asked about.
const UNKNOWN_OPERATIONS: i32 = i32::MIN;

fn answer(mut call: Call<'_>) -> Result<Outcome, Stop> {
    let asked = read(&call)?;
    if asked.from.is_some_and(|(_, partition)| partition < 0) {
        let topics = asked.topics.iter().map(|name| refused(name, error::INVALID_REQUEST)).collect();
        call.encode(API.name, &DescribeTopicPartitionsResponse::default().with_topics(topics))?;
        return Ok(Outcome::Error);
    }
    let roster = call.live_roster()?;
    let leaders = call.show(&roster)?.leaders()?;
    let catalog = call.service.topics.catalog(call.fleet, &call.service.cluster);
    let mut page =
        Page { leaders, left: asked.limit, topics: Vec::new(), next: None, outcome: Outcome::Answered };
    page.fill(catalog.map(AsRef::as_ref), &asked);
    let reply =
        DescribeTopicPartitionsResponse::default().with_topics(page.topics).with_next_cursor(page.next);
    call.encode(API.name, &reply)?;
    Ok(page.outcome)
}

/// What a request asks for.
struct Asked<'a> {
    /// By name; empty means all.
    topics: BTreeSet<&'a str>,
    /// Most partitions.
    limit: usize,
    /// The topic and partition to begin with.
    from: Option<(&'a str, i32)>,
}

fn read<'a>(call: &Call<'a>) -> Result<Asked<'a>, Stop> {
    let mut body = Reader::new(call.body, call.flexible);
    let count = body.count(2)?.ok_or(Malformed::Null)?;
    if count > limits::REQUEST_TOPICS {
        return Err(Stop::TooMany(API.name, limits::REQUEST_TOPICS));
    }
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        topics.insert(body.text()?);
        body.tags()?;
    }
    let limit = usize::try_from(body.i32()?).unwrap_or(1).clamp(1, limits::DESCRIBED_PARTITIONS);
    let from = if body.i8()? < 0 {
        None
    } else {
        let from = (body.text()?, body.i32()?);
        body.tags()?;
        Some(from)
    };
    body.tags()?;
    Ok(Asked { topics, limit, from })
}

/// A reply in the making.
struct Page {
    leaders: Leaders,
    /// Partitions that still fit.
    left: usize,
    topics: Vec<Described>,
    next: Option<Cursor>,
    outcome: Outcome,
}

impl Page {
    fn fill(&mut self, catalog: Option<&Catalog>, asked: &Asked<'_>) {
        let first = asked.from.map_or("", |(topic, _)| topic);
        let begin = |name: &str| match asked.from {
            Some((topic, partition)) if topic == name => partition.unsigned_abs() as usize,
            _ => 0,
        };
        if asked.topics.is_empty() {
            let all = catalog
                .map(|catalog| catalog.topics.range::<str, _>((Bound::Included(first), Bound::Unbounded)))
                .into_iter()
                .flatten();
            for (name, topic) in all {
                if !self.take(topic, begin(name)) {
                    return;
                }
            }
            return;
        }
        for name in asked.topics.range::<str, _>((Bound::Included(first), Bound::Unbounded)) {
            match catalog.and_then(|catalog| catalog.topics.get(*name)) {
                Some(topic) if !self.take(topic, begin(name)) => return,
                Some(_) => {}
                None => {
                    self.outcome = Outcome::Error;
                    self.topics.push(refused(name, error::UNKNOWN_TOPIC_OR_PARTITION));
                }
            }
        }
    }

    /// Takes a topic from partition `begin` on; false if the page is full now and more follows.
    fn take(&mut self, topic: &Topic, begin: usize) -> bool {
        let partitions = topic.partitions.max(0) as usize;
        if self.left == 0 {
            self.next = Some(cursor(topic, 0));
            return false;
        }
        let end = partitions.min(begin.saturating_add(self.left));
        let of_topic = self.leaders.of_topic(topic.name.as_bytes());
        let described = (begin..end)
            .map(|index| {
                let leader = BrokerId(of_topic.partition(index as u32));
                Partition::default()
                    .with_partition_index(index as i32)
                    .with_leader_id(leader)
                    .with_leader_epoch(-1)
                    .with_replica_nodes(vec![leader])
                    .with_isr_nodes(vec![leader])
                    .with_eligible_leader_replicas(Some(Vec::new()))
                    .with_last_known_elr(Some(Vec::new()))
            })
            .collect();
        self.topics.push(
            Described::default()
                .with_name(Some(name_of(&topic.name)))
                .with_topic_id(uuid::Uuid::from_bytes(topic.id))
                .with_is_internal(is_internal(&topic.name))
                .with_partitions(described)
                .with_topic_authorized_operations(UNKNOWN_OPERATIONS),
        );
        self.left -= end.saturating_sub(begin);
        if end < partitions {
            self.next = Some(cursor(topic, end as i32));
        }
        end >= partitions
    }
}

fn cursor(topic: &Topic, partition: i32) -> Cursor {
    Cursor::default().with_topic_name(name_of(&topic.name)).with_partition_index(partition)
}

fn refused(name: &str, code: i16) -> Described {
    Described::default()
        .with_error_code(code)
        .with_name(Some(name_of(name)))
        .with_is_internal(is_internal(name))
        .with_topic_authorized_operations(UNKNOWN_OPERATIONS)
}

fn name_of(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
