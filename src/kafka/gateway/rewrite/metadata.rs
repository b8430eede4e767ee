//! Metadata, versions 0 to 13: brokers, cluster id, controller, leaders, replicas and in-sync replicas become ours,
//! leader epochs -1, offline replicas none. Topics, their ids, errors and authorised operations are the upstream's,
//! and so is what auto-creation did. Brokers without a rack, for the reasons in docs/kafka.md.
//!
//! A partition that has no leader at the upstream (being created, or broken there) has none here: its error says why.
//!
//! One pass: what stands between leaders is copied, and all that a partition says of brokers is one block of bytes that
//! is the same for every partition of a reply.

use super::{Reply, controller, endpoint, one_node};
use crate::kafka::api::Stop;
use crate::kafka::wire::{Malformed, Reader, Writer};

/// Bytes of a partition before its leader: error and index.
const PARTITION_HEAD: usize = 6;

pub(super) fn rewrite(mut reply: Reply<'_>, mut out: Writer<'_>) -> Result<(), Stop> {
    let version = reply.asked.version;
    let now = reply.place.now;
    let roster = reply.roster()?;
    let leader = reply.leader(&roster)?;
    if version >= 3 {
        reply.copy(&mut out, Reader::i32)?; // throttle time
    }
    skip_brokers(&mut reply)?;
    out.count(roster.live(now).count());
    for broker in roster.live(now) {
        endpoint(&mut out, broker);
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
        out.i32(controller(&roster, now));
    }
    let least = 2 + 1 + 1; // error, name, partitions
    let topics = reply.copy(&mut out, |body| body.count(least))?.unwrap_or(0);
    out.reserve(reply.body.rest().len());
    let blocks = Blocks::new(version, leader, out.is_flexible());
    for _ in 0..topics {
        topic(&mut reply, &mut out, &blocks)?;
    }
    if (8..=10).contains(&version) {
        reply.copy(&mut out, Reader::i32)?; // the cluster's authorised operations
    }
    if version >= 13 {
        reply.copy(&mut out, Reader::i16)?; // error
    }
    reply.body.tags()?;
    out.no_tags();
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

fn topic(reply: &mut Reply<'_>, out: &mut Writer<'_>, blocks: &Blocks) -> Result<(), Malformed> {
    let version = reply.asked.version;
    let partitions = reply.copy(out, |body| {
        body.i16()?;
        body.nullable_bytes()?;
        if version >= 10 {
            body.skip(16)?;
        }
        if version >= 1 {
            body.bool()?;
        }
        body.count(PARTITION_HEAD + 4)
    })?;
    for _ in 0..partitions.unwrap_or(0) {
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
        out.raw(if leader < 0 { &blocks.leaderless } else { &blocks.led });
    }
    if version >= 8 {
        reply.copy(out, Reader::i32)?; // the topic's authorised operations
    }
    reply.body.tags()?;
    out.no_tags();
    Ok(())
}

/// What a partition says of brokers, from its leader to its end.
struct Blocks {
    led: Vec<u8>,
    leaderless: Vec<u8>,
}

impl Blocks {
    fn new(version: i16, leader: i32, flexible: bool) -> Self {
        let block = |led: bool| {
            let mut bytes = Vec::with_capacity(32);
            let mut writer = Writer::new(&mut bytes, flexible);
            writer.i32(if led { leader } else { -1 });
            if version >= 7 {
                writer.i32(-1); // epoch
            }
            one_node(&mut writer, leader);
            if led {
                one_node(&mut writer, leader);
            } else {
                writer.count(0);
            }
            if version >= 5 {
                writer.count(0); // offline replicas
            }
            writer.no_tags();
            bytes
        };
        Self { led: block(true), leaderless: block(false) }
    }
}
