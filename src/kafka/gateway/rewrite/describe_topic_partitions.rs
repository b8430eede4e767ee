//! DescribeTopicPartitions, version 0: leaders, replicas and in-sync replicas become ours as in Metadata; eligible leader
//! replicas, those last known and offline ones are none. Topics, their ids, errors and the cursor are the upstream's.
//! Not counted as a placement, as at the listener.

use super::{PARTITION_HEAD, Reply, index_in, one_node};
use crate::kafka::api::Stop;
use crate::kafka::wire::{Malformed, Reader, Writer};
use crate::placement::Leaders;

pub(super) fn rewrite(mut reply: Reply<'_>, mut out: Writer<'_>) -> Result<(), Stop> {
    let roster = reply.roster()?;
    let leaders = reply.show(&roster)?.leaders()?;
    reply.copy(&mut out, Reader::i32)?; // throttle time
    let least = 2 + 1 + 16 + 1 + 1 + 4 + 1;
    let topics = reply.copy(&mut out, |body| body.count(least))?.unwrap_or(0);
    for _ in 0..topics {
        topic(&mut reply, &mut out, &leaders)?;
    }
    let cursor = reply.copy(&mut out, Reader::i8)?;
    if cursor >= 0 {
        reply.copy(&mut out, Reader::text)?;
        reply.copy(&mut out, Reader::i32)?;
        reply.body.tags()?;
        out.no_tags();
    }
    reply.body.tags()?;
    out.no_tags();
    Ok(())
}

fn topic(reply: &mut Reply<'_>, out: &mut Writer<'_>, leaders: &Leaders) -> Result<(), Malformed> {
    let (name, partitions) = reply.copy(out, |body| {
        body.i16()?;
        let name = body.nullable_bytes()?;
        body.skip(16)?; // id
        body.bool()?;
        Ok((name, body.count(PARTITION_HEAD + 4 + 4 + 5 + 1)?))
    })?;
    let of_topic = leaders.of_topic(name.unwrap_or_default());
    for _ in 0..partitions.unwrap_or(0) {
        let head: [u8; PARTITION_HEAD] = reply.body.array()?;
        let led = reply.body.i32()? >= 0;
        reply.body.i32()?; // epoch
        for _replicas_in_sync_eligible_last_known_offline in 0..5 {
            reply.skip_nodes()?;
        }
        reply.body.tags()?;
        let leader = of_topic.partition(index_in(&head));
        out.raw(&head);
        out.i32(if led { leader } else { -1 });
        out.i32(-1);
        one_node(out, leader);
        if led {
            one_node(out, leader);
        } else {
            out.count(0);
        }
        for _eligible_last_known_offline in 0..3 {
            out.count(0);
        }
        out.no_tags();
    }
    reply.copy(out, Reader::i32)?; // authorised operations
    reply.body.tags()?;
    out.no_tags();
    Ok(())
}
