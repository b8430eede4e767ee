//! Metadata (key 3), versions 0 to 13.
//!
//! - Request: v0 an empty list of topics means all; v1 null means all and empty means none; v4 auto-creation (never done
//!   here); v8 authorised operations (never told: i32::MIN); v9 flexible; v10 topic ids, of which v12 can ask by.
//! - Reply: v1 rack, controller, internal topics; v2 cluster id; v3 throttle time; v5 offline replicas; v7 leader epoch;
//!   v8-10 the cluster's authorised operations; v13 a top-level error (KIP-1102).
//! - Brokers: every live agent of the group (of the zone, in scope `zone`), ready and draining, by node id; `broker_count` in
//!   client.id caps them. Many clients cut connections to brokers that a reply leaves out. Never empty: without a live agent
//!   the connection is closed instead.
//! - Leaders are the strategy's ([`crate::placement::strategy`]); replicas = in-sync replicas = the leader.
//! - The leader epoch is -1, always: librdkafka 2.4 to 2.6 never follow a leader change at an epoch that stays.
//! - The rack is null, always: real racks of moving leaders make consumers rebalance at each refresh.
//! - A topic asked for twice is answered once. Unknown by name: UNKNOWN_TOPIC_OR_PARTITION; by id: UNKNOWN_TOPIC_ID.
//!
//! The reply is written here and not by kafka-protocol, straight into the output, without a structure per partition in
//! between (`benches/kafka.rs` has the ratio). Tests compare the bytes with kafka-protocol's in every version.

use super::{Api, Call, Outcome, Stop, error};
use crate::kafka::shown::Shown;
use crate::kafka::topics::is_internal;
use crate::kafka::wire::{Malformed, Reader, Writer};
use crate::limits::kafka as limits;
use crate::model::{Catalog, Topic};
use crate::placement::Leaders;
use std::collections::HashSet;
use std::sync::Arc;

/// The table's line.
pub const API: Api =
    Api { key: 3, name: "Metadata", min: 0, max: 13, flexible_from: 9, flexible_reply_header: true, answer };

/// Authorised operations that nobody asked about.
const UNKNOWN_OPERATIONS: i32 = i32::MIN;
/// No leader epoch.
const NO_EPOCH: i32 = -1;
/// Where a partition's index is: after its error code.
const PARTITION_INDEX: usize = 2;
/// No topic has more bytes besides its name and partitions: error 2, name's length 2, id 16, internal 1, count 5,
/// operations 4, tags 1.
const TOPIC_BYTES: usize = 32;

fn answer(call: Call<'_>) -> Result<Outcome, Stop> {
    let wanted = read(&call)?;
    let roster = call.live_roster()?;
    let shown = call.show(&roster)?;
    let leaders = shown.leaders()?;
    let mut reply = Reply {
        writer: Writer::new(call.out, call.flexible),
        version: call.version,
        most: call.most,
        partition: first_partition(call.version, leaders.only().unwrap_or(-1)),
        leaders,
        outcome: Outcome::Answered,
    };
    reply.head(&shown, &call.service.cluster_id);
    let catalog = call.service.topics.catalog(call.fleet, &call.service.cluster);
    match wanted {
        Wanted::All => reply.all(catalog)?,
        Wanted::These(topics) => {
            let index = match catalog {
                Some(catalog) if topics.iter().any(Asked::is_by_id) => Some(call.service.ids(catalog)),
                _ => None,
            };
            reply.writer.count(topics.len());
            for asked in &topics {
                let found = match asked {
                    Asked::Name(name) => catalog.and_then(|catalog| catalog.topics.get(*name)),
                    Asked::Id(id) => index.as_ref().and_then(|index| index.find(id)),
                };
                match found {
                    Some(topic) => reply.topic(topic)?,
                    None => reply.unknown(asked)?,
                }
            }
        }
    }
    reply.tail();
    // Only now: a reply that turns out too large is made once more.
    shown.count(&reply.leaders);
    Ok(reply.outcome)
}

/// Which topics a request asks for.
enum Wanted<'a> {
    All,
    These(Vec<Asked<'a>>),
}

/// One topic as it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Asked<'a> {
    Name(&'a str),
    Id([u8; 16]),
}

impl Asked<'_> {
    fn is_by_id(&self) -> bool {
        matches!(self, Self::Id(_))
    }
}

fn read<'a>(call: &Call<'a>) -> Result<Wanted<'a>, Stop> {
    let mut body = Reader::new(call.body, call.flexible);
    // A name's length and, later, tagged fields; from v10 on an id before them.
    let least = if call.version >= 10 { 18 } else { 2 };
    let wanted = match body.count(least)? {
        None if call.version == 0 => return Err(Malformed::Null.into()),
        None => Wanted::All,
        Some(0) if call.version == 0 => Wanted::All,
        Some(count) if count > limits::REQUEST_TOPICS => {
            return Err(Stop::TooMany(API.name, limits::REQUEST_TOPICS));
        }
        Some(count) => {
            let mut topics = Vec::with_capacity(count);
            for _ in 0..count {
                topics.push(read_topic(&mut body, call.version)?);
            }
            Wanted::These(each_once(topics))
        }
    };
    if call.version >= 4 {
        let _auto_create = body.bool()?;
    }
    if (8..=10).contains(&call.version) {
        let _cluster_operations = body.bool()?;
    }
    if call.version >= 8 {
        let _topic_operations = body.bool()?;
    }
    body.tags()?;
    Ok(wanted)
}

fn read_topic<'a>(body: &mut Reader<'a>, version: i16) -> Result<Asked<'a>, Malformed> {
    let id: [u8; 16] = if version >= 10 { body.array()? } else { [0; 16] };
    let name = if version >= 10 { body.nullable_text()? } else { Some(body.text()?) };
    body.tags()?;
    match name {
        // Only v12 and later may ask by id.
        _ if id != [0; 16] && version >= 12 => Ok(Asked::Id(id)),
        Some(name) => Ok(Asked::Name(name)),
        None if version >= 12 => Ok(Asked::Id(id)),
        None => Err(Malformed::Null),
    }
}

/// The topics in their order, each once: a name repeated ten thousand times must not make a reply of ten thousand.
fn each_once(mut topics: Vec<Asked<'_>>) -> Vec<Asked<'_>> {
    if topics.len() > 1 {
        let mut seen = HashSet::with_capacity(topics.len());
        topics.retain(|topic| seen.insert(*topic));
    }
    topics
}

/// A reply in the making.
struct Reply<'a> {
    writer: Writer<'a>,
    version: i16,
    most: usize,
    /// The bytes of partition 0.
    partition: Vec<u8>,
    leaders: Leaders,
    outcome: Outcome,
}

impl Reply<'_> {
    fn head(&mut self, shown: &Shown<'_, '_>, cluster_id: &str) {
        let version = self.version;
        if version >= 3 {
            self.writer.i32(0); // throttle time
        }
        self.writer.count(shown.selection.listed.len());
        for broker in &shown.selection.listed {
            shown.endpoint(&mut self.writer, broker);
            if version >= 1 {
                self.writer.null(); // rack
            }
            self.writer.no_tags();
        }
        if version >= 2 {
            self.writer.text(cluster_id);
        }
        if version >= 1 {
            self.writer.i32(shown.controller());
        }
    }

    fn all(&mut self, catalog: Option<&Arc<Catalog>>) -> Result<(), Stop> {
        let Some(catalog) = catalog else {
            self.writer.count(0);
            return Ok(());
        };
        // Judged as a whole first, so that a reply that is too large costs nothing.
        let bytes = catalog.topics.values().map(|topic| self.size_of(topic)).sum();
        self.room_for(bytes)?;
        self.writer.reserve(bytes);
        self.writer.count(catalog.topics.len());
        catalog.topics.values().for_each(|topic| self.write_topic(topic));
        Ok(())
    }

    fn topic(&mut self, topic: &Topic) -> Result<(), Stop> {
        self.room_for(self.size_of(topic))?;
        self.write_topic(topic);
        Ok(())
    }

    /// At least the bytes of a topic, and hardly more.
    fn size_of(&self, topic: &Topic) -> usize {
        topic.name.len() + TOPIC_BYTES + topic.partitions.max(0) as usize * self.partition.len()
    }

    fn write_topic(&mut self, topic: &Topic) {
        self.topic_head(error::NONE, Some(&topic.name), topic.id);
        let partitions = topic.partitions.max(0) as usize;
        self.writer.count(partitions);
        // Partitions differ in their index, and in who leads them unless one agent leads all.
        let blocks = self.writer.repeat_numbered(&self.partition, partitions, PARTITION_INDEX);
        if self.leaders.only().is_none() {
            let (of_topic, places) =
                (self.leaders.of_topic(topic.name.as_bytes()), leader_places(self.version));
            blocks.patch(|partition| of_topic.partition(partition), &places);
        }
        self.topic_tail();
    }

    fn unknown(&mut self, asked: &Asked<'_>) -> Result<(), Stop> {
        self.outcome = Outcome::Error;
        match asked {
            Asked::Name(name) => {
                self.room_for(name.len() + TOPIC_BYTES)?;
                self.topic_head(error::UNKNOWN_TOPIC_OR_PARTITION, Some(name), [0; 16]);
            }
            Asked::Id(id) => {
                self.room_for(TOPIC_BYTES)?;
                self.topic_head(error::UNKNOWN_TOPIC_ID, None, *id);
            }
        }
        self.writer.count(0);
        self.topic_tail();
        Ok(())
    }

    fn topic_head(&mut self, code: i16, name: Option<&str>, id: [u8; 16]) {
        self.writer.i16(code);
        match name {
            Some(name) => self.writer.text(name),
            None => self.writer.null(),
        }
        if self.version >= 10 {
            self.writer.raw(&id);
        }
        if self.version >= 1 {
            self.writer.bool(name.is_some_and(is_internal));
        }
    }

    fn topic_tail(&mut self) {
        if self.version >= 8 {
            self.writer.i32(UNKNOWN_OPERATIONS);
        }
        self.writer.no_tags();
    }

    fn tail(&mut self) {
        if (8..=10).contains(&self.version) {
            self.writer.i32(UNKNOWN_OPERATIONS);
        }
        if self.version >= 13 {
            self.writer.i16(error::NONE);
        }
        self.writer.no_tags();
    }

    fn room_for(&self, bytes: usize) -> Result<(), Stop> {
        if self.writer.len().saturating_add(bytes) > self.most { Err(Stop::TooLarge) } else { Ok(()) }
    }
}

/// Where a partition's leader, replica and in-sync replica are: after error and index, the epoch (v7), and a count each.
const fn leader_places(version: i16) -> [usize; 3] {
    let leader = PARTITION_INDEX + 4;
    let epoch = if version >= 7 { 4 } else { 0 };
    let count = if version >= API.flexible_from { 1 } else { 4 };
    let replica = leader + 4 + epoch + count;
    [leader, replica, replica + 4 + count]
}

/// The bytes of partition 0; the others differ in the index at [`PARTITION_INDEX`].
fn first_partition(version: i16, leader: i32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(34);
    let mut writer = Writer::new(&mut bytes, version >= API.flexible_from);
    writer.i16(error::NONE);
    writer.i32(0);
    writer.i32(leader);
    if version >= 7 {
        writer.i32(NO_EPOCH);
    }
    for _replicas_then_in_sync in 0..2 {
        writer.count(1);
        writer.i32(leader);
    }
    if version >= 5 {
        writer.count(0); // offline replicas
    }
    writer.no_tags();
    bytes
}
