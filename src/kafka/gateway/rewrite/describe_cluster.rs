//! DescribeCluster, versions 0 to 2: brokers, controller and cluster id become ours. An error stays as it is and names
//! nobody. Should an upstream list controllers (endpoint type 2), it is answered as a broker answers: with
//! MISMATCHED_ENDPOINT_TYPE, for the controllers' addresses are not for clients of agents.

use super::Reply;
use crate::kafka::api::{Stop, error};
use crate::kafka::wire::{Reader, Writer};

const BROKERS: i8 = 1;

pub(super) fn rewrite(mut reply: Reply<'_>, mut out: Writer<'_>) -> Result<(), Stop> {
    let version = reply.asked.version;
    reply.copy(&mut out, Reader::i32)?; // throttle time
    let mut code = reply.body.i16()?;
    let before = reply.body.rest();
    reply.body.nullable_bytes()?;
    let message = before.get(..before.len() - reply.body.rest().len()).unwrap_or_default();
    let endpoint_type = if version >= 1 { reply.body.i8()? } else { BROKERS };
    if code == error::NONE && endpoint_type != BROKERS {
        code = error::MISMATCHED_ENDPOINT_TYPE;
    }
    out.i16(code);
    out.raw(message);
    if version >= 1 {
        out.raw(&endpoint_type.to_be_bytes());
    }
    reply.body.nullable_bytes()?; // cluster id
    reply.body.i32()?; // controller
    skip_brokers(&mut reply)?;
    if code == error::NONE {
        let roster = reply.roster()?;
        let shown = reply.show(&roster)?;
        out.text(&reply.place.service.cluster_id);
        out.i32(shown.controller());
        out.count(shown.selection.listed.len());
        for broker in &shown.selection.listed {
            shown.endpoint(&mut out, broker);
            out.null(); // rack
            if version >= 2 {
                out.bool(false); // fenced
            }
            out.no_tags();
        }
    } else {
        out.text("");
        out.i32(-1);
        out.count(0);
    }
    reply.copy(&mut out, Reader::i32)?; // authorised operations
    reply.body.tags()?;
    out.no_tags();
    Ok(())
}

fn skip_brokers(reply: &mut Reply<'_>) -> Result<(), Stop> {
    let least = 4 + 1 + 4 + 1; // node id, host, port, rack
    for _ in 0..reply.body.count(least)?.unwrap_or(0) {
        reply.body.i32()?;
        reply.body.nullable_bytes()?;
        reply.body.i32()?;
        reply.body.nullable_bytes()?;
        if reply.asked.version >= 2 {
            reply.body.bool()?;
        }
        reply.body.tags()?;
    }
    Ok(())
}
