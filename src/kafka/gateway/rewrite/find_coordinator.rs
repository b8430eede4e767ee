//! FindCoordinator, versions 0 to 6: where the upstream found a coordinator, the answer is the agent that has the key by
//! rendezvous hashing over the ready agents that the client is shown, the same at every gateway and listener. Errors
//! stay: who may not see a group is not told of it here either.

use super::Reply;
use crate::kafka::api::{Stop, error};
use crate::kafka::shown::Shown;
use crate::kafka::wire::{Reader, Writer};
use crate::placement::{Broker, coordinator};

pub(super) fn rewrite(mut reply: Reply<'_>, mut out: Writer<'_>) -> Result<(), Stop> {
    let version = reply.asked.version;
    let roster = reply.place.service.roster(reply.place.fleet);
    let shown = roster.as_ref().and_then(|roster| reply.show(roster).ok());
    let eligible = shown.as_ref().map(Shown::coordinators).unwrap_or_default();
    let key_type = reply.asked.key_type;
    let choose = |key: &str| coordinator::choose(&eligible, key_type, key.as_bytes());
    if version >= 1 {
        reply.copy(&mut out, Reader::i32)?; // throttle time
    }
    if version >= 4 {
        let least = 1 + 4 + 1 + 4 + 2 + 1; // key, node id, host, port, error, message
        let count = reply.copy(&mut out, |body| body.count(least))?.unwrap_or(0);
        for _ in 0..count {
            let key = reply.copy(&mut out, Reader::text)?;
            reply.body.i32()?;
            reply.body.nullable_bytes()?;
            reply.body.i32()?;
            let code = reply.body.i16()?;
            let found = if code == error::NONE { choose(key) } else { None };
            node(&mut out, shown.as_ref().zip(found));
            out.i16(code_of(code, found));
            reply.copy(&mut out, Reader::nullable_bytes)?; // message
            reply.body.tags()?;
            out.no_tags();
        }
    } else {
        let code = reply.body.i16()?;
        let key = reply.asked.key.as_deref();
        let found = if code == error::NONE { key.and_then(choose) } else { None };
        out.i16(code_of(code, found));
        if version >= 1 {
            reply.copy(&mut out, Reader::nullable_bytes)?; // message
        }
        reply.body.i32()?;
        reply.body.nullable_bytes()?;
        reply.body.i32()?;
        node(&mut out, shown.as_ref().zip(found));
    }
    reply.body.tags()?;
    out.no_tags();
    Ok(())
}

/// Without an agent to name, the coordinator is not available: clients ask again.
fn code_of(code: i16, found: Option<&Broker>) -> i16 {
    if code == error::NONE && found.is_none() { error::COORDINATOR_NOT_AVAILABLE } else { code }
}

fn node(out: &mut Writer<'_>, found: Option<(&Shown<'_, '_>, &Broker)>) {
    match found {
        Some((shown, broker)) => shown.endpoint(out, broker),
        None => {
            out.i32(-1);
            out.text("");
            out.i32(-1);
        }
    }
}
