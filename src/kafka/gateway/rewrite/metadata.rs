//! Metadata, versions 0 to 13: brokers, cluster id, controller, leaders, replicas and in-sync replicas become ours,
//! leader epochs -1, offline replicas none. Topics, their ids, errors and authorised operations are the upstream's,
//! and so is what auto-creation did. Brokers without a rack, for the reasons in docs/kafka.md.
//!
//! A partition that has no leader at the upstream (being created, or broken there) has none here: its error says why.
//!
//! One pass: what stands between leaders is copied, and all that a partition says of brokers is one block of bytes, in
//! which the leader is patched where partitions have leaders of their own. Partitions of one replica, which is all that
//! leaderless brokers have, are laid out as ours are: a run of them is copied at once and patched where it stands.

use super::{PARTITION_HEAD, Reply, index_in, one_node};
use crate::kafka::api::Stop;
use crate::kafka::wire::{Malformed, Reader, Writer};
use crate::placement::Leaders;
use crate::placement::strategy::OfTopic;

pub(super) fn rewrite(mut reply: Reply<'_>, mut out: Writer<'_>) -> Result<(), Stop> {
    let version = reply.asked.version;
    let roster = reply.roster()?;
    let shown = reply.show(&roster)?;
    let leaders = shown.leaders()?;
    if version >= 3 {
        reply.copy(&mut out, Reader::i32)?; // throttle time
    }
    skip_brokers(&mut reply)?;
    out.count(shown.selection.listed.len());
    for broker in &shown.selection.listed {
        shown.endpoint(&mut out, broker);
        if version >= 1 {
            out.null(); // rack
        }
        out.no_tags();
    }
    if version >= 2 {
        reply.body.nullable_bytes()?;
        out.text(&reply.place.service.cluster_id);
    }
    if version >= 1 {
        reply.body.i32()?;
        out.i32(shown.controller());
    }
    let least = 2 + 1 + 1; // error, name, partitions
    let topics = reply.copy(&mut out, |body| body.count(least))?.unwrap_or(0);
    out.reserve(reply.body.rest().len());
    let mut blocks = Blocks::new(version, out.is_flexible());
    for _ in 0..topics {
        topic(&mut reply, &mut out, &mut blocks, &leaders)?;
    }
    if (8..=10).contains(&version) {
        reply.copy(&mut out, Reader::i32)?; // the cluster's authorised operations
    }
    if version >= 13 {
        reply.copy(&mut out, Reader::i16)?; // error
    }
    reply.body.tags()?;
    out.no_tags();
    shown.count(&leaders);
    Ok(())
}

fn skip_brokers(reply: &mut Reply<'_>) -> Result<(), Malformed> {
    let least = 4 + 1 + 4; // node id, host, port
    for _ in 0..reply.body.count(least)?.unwrap_or(0) {
        reply.body.i32()?;
        reply.body.nullable_bytes()?;
        reply.body.i32()?;
        if reply.asked.version >= 1 {
            reply.body.nullable_bytes()?;
        }
        reply.body.tags()?;
    }
    Ok(())
}

fn topic(
    reply: &mut Reply<'_>,
    out: &mut Writer<'_>,
    blocks: &mut Blocks,
    leaders: &Leaders,
) -> Result<(), Malformed> {
    let version = reply.asked.version;
    let (name, partitions) = reply.copy(out, |body| {
        body.i16()?;
        let name = body.nullable_bytes()?;
        if version >= 10 {
            body.skip(16)?;
        }
        if version >= 1 {
            body.bool()?;
        }
        Ok((name, body.count(PARTITION_HEAD + 4)?))
    })?;
    let of_topic = leaders.of_topic(name.unwrap_or_default());
    let mut left = partitions.unwrap_or(0);
    while left > 0 {
        let run = if version >= 9 { plain::run(&mut reply.body, out, left, of_topic)? } else { 0 };
        left -= run;
        if run > 0 {
            continue;
        }
        left -= 1;
        let head: [u8; PARTITION_HEAD] = reply.body.array()?;
        let leader = reply.body.i32()?;
        if version >= 7 {
            reply.body.i32()?;
        }
        reply.skip_nodes()?;
        reply.skip_nodes()?;
        if version >= 5 {
            reply.skip_nodes()?;
        }
        reply.body.tags()?;
        out.raw(&head);
        out.raw(blocks.of(leader >= 0, of_topic.partition(index_in(&head))));
    }
    if version >= 8 {
        reply.copy(out, Reader::i32)?; // the topic's authorised operations
    }
    reply.body.tags()?;
    out.no_tags();
    Ok(())
}

/// Partitions in the flexible versions that have one replica, which is in sync, and a leader. The rewritten ones are laid
/// out alike.
mod plain {
    use super::{Malformed, OfTopic, Reader, Writer};

    /// Error 0..2, index 2..6, leader 6..10, epoch 10..14, a count of one and the replica 15..19, the same in sync 20..24, no
    /// offline replicas, no tagged fields.
    const BYTES: usize = 26;

    /// Rewrites as many as come one after the other, at most `most`; returns how many.
    pub(super) fn run(
        body: &mut Reader<'_>,
        out: &mut Writer<'_>,
        most: usize,
        leaders: OfTopic<'_>,
    ) -> Result<usize, Malformed> {
        let rest = body.rest();
        let count = rest.as_chunks().0.iter().take(most).take_while(|bytes| is_plain(bytes)).count();
        let run = rest.get(..count * BYTES).unwrap_or_default();
        body.skip(run.len())?;
        for bytes in out.raw_mut(run).as_chunks_mut().0 {
            lead(bytes, leaders);
        }
        Ok(count)
    }

    fn is_plain(bytes: &[u8; BYTES]) -> bool {
        let has_leader = bytes[6] & 0x80 == 0;
        has_leader && bytes[14] == 2 && bytes[19] == 2 && bytes[24] == 1 && bytes[25] == 0
    }

    fn lead(bytes: &mut [u8; BYTES], leaders: OfTopic<'_>) {
        let index = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
        let node = leaders.partition(index).to_be_bytes();
        bytes[6..10].copy_from_slice(&node);
        bytes[10..14].copy_from_slice(&(-1i32).to_be_bytes());
        bytes[15..19].copy_from_slice(&node);
        bytes[20..24].copy_from_slice(&node);
    }
}

/// What a partition says of brokers, from its leader to its end.
struct Blocks {
    led: Block,
    leaderless: Block,
}

impl Blocks {
    fn new(version: i16, flexible: bool) -> Self {
        Self { led: Block::new(version, flexible, true), leaderless: Block::new(version, flexible, false) }
    }

    /// The bytes of a partition that `leader` would lead, if it has a leader.
    fn of(&mut self, led: bool, leader: i32) -> &[u8] {
        let block = if led { &mut self.led } else { &mut self.leaderless };
        block.patch(leader)
    }
}

/// One of them, and where node ids stand in it.
struct Block {
    bytes: Vec<u8>,
    node: i32,
    places: Vec<usize>,
}

impl Block {
    fn new(version: i16, flexible: bool, led: bool) -> Self {
        let node = -1;
        let mut bytes = Vec::with_capacity(32);
        let mut places = Vec::with_capacity(3);
        let mut writer = Writer::new(&mut bytes, flexible);
        if led {
            places.push(writer.len());
        }
        writer.i32(-1);
        if version >= 7 {
            writer.i32(-1); // epoch
        }
        one_node(&mut writer, node); // replicas
        places.push(writer.len() - 4);
        if led {
            one_node(&mut writer, node); // in sync
            places.push(writer.len() - 4);
        } else {
            writer.count(0);
        }
        if version >= 5 {
            writer.count(0); // offline replicas
        }
        writer.no_tags();
        Self { bytes, node, places }
    }

    fn patch(&mut self, node: i32) -> &[u8] {
        if self.node != node {
            self.node = node;
            for at in &self.places {
                if let Some(place) = self.bytes.get_mut(*at..*at + 4) {
                    place.copy_from_slice(&node.to_be_bytes());
                }
            }
        }
        &self.bytes
    }
}
