//! ApiVersions, versions 0 to 4: the upstream's list, cut to what passes here ([`versions`]). Its tagged fields (features:
//! producers learn from them which transaction protocol to speak) stay as they are: they name no broker.
//!
//! A client that asks for version 5 or later gets what Kafka answers to versions that it does not know: the body of v0,
//! error 35 and one entry, ApiVersions with its range. The upstream is asked in version 0 meanwhile, so that the answer
//! has its place among the others.

use super::Reply;
use crate::kafka::api::{self, Stop, error};
use crate::kafka::frame;
use crate::kafka::gateway::versions::{self, key};
use crate::kafka::wire::{Malformed, Reader, Writer};

/// The request that is sent in place of one in a version that we don't have: version 0, no client id.
pub fn substitute(correlation: i32) -> Vec<u8> {
    let mut request = Vec::with_capacity(14);
    request.extend_from_slice(&[0; frame::LENGTH_BYTES]);
    request.extend_from_slice(&key::API_VERSIONS.to_be_bytes());
    request.extend_from_slice(&0i16.to_be_bytes());
    request.extend_from_slice(&correlation.to_be_bytes());
    request.extend_from_slice(&(-1i16).to_be_bytes());
    frame::end_reply(&mut request, 0);
    request
}

pub(super) fn rewrite(mut reply: Reply<'_>, mut out: Writer<'_>) -> Result<(), Stop> {
    let code = reply.body.i16()?;
    let mut kept = Vec::new();
    for _ in 0..reply.body.count(6)?.unwrap_or(0) {
        let (key, min, max) = (reply.body.i16()?, reply.body.i16()?, reply.body.i16()?);
        reply.body.tags()?;
        kept.extend(versions::advertised(key, min, max).map(|(min, max)| (key, min, max)));
    }
    if reply.asked.substitute {
        let most = api::api_versions::API.max;
        let range = kept.iter().find(|(key, ..)| *key == key::API_VERSIONS);
        let (min, max) = range.map_or((0, most), |(_, min, max)| (*min, *max));
        out.i16(error::UNSUPPORTED_VERSION);
        kept = vec![(key::API_VERSIONS, min, max)];
    } else {
        out.i16(code);
    }
    out.count(kept.len());
    for (key, min, max) in kept {
        out.i16(key);
        out.i16(min);
        out.i16(max);
        out.no_tags();
    }
    if reply.asked.version >= 1 {
        reply.copy(&mut out, Reader::i32)?; // throttle time
    }
    if reply.asked.version >= 3 {
        reply.copy(&mut out, tags)?;
    }
    Ok(())
}

fn tags(body: &mut Reader<'_>) -> Result<(), Malformed> {
    body.tags()
}
