//! ApiVersions, versions 0 to 4: the upstream's list, cut to what passes here ([`versions`]). Its tagged fields (features:
//! producers learn from them which transaction protocol to speak) stay as they are: they name no broker.
//!
//! A client that asks for version 5 or later gets what Kafka answers to versions that it does not know: the body of v0,
//! error 35 and one entry, ApiVersions with its range. So that this answer has its place among the others, and so that the
//! upstream's SASL does not take it for the one ApiVersions request that it allows, the upstream is asked in a version that
//! nobody knows, and what it says to that is not read.
//!
//! An upstream that does not know the client's version answers in the form of v0 too, whatever was asked for.

use super::Reply;
use crate::kafka::api::{self, Stop, error};
use crate::kafka::frame;
use crate::kafka::gateway::versions::{self, key};
use crate::kafka::wire::{Malformed, Reader, Writer};

/// The version that nobody knows.
const UNKNOWN: i16 = i16::MAX;

/// The request that is sent in place of one in a version that we don't have.
pub fn substitute(correlation: i32) -> Vec<u8> {
    request(UNKNOWN, correlation)
}

/// An ApiVersions request of version 0 or of one that nobody knows, without a client id.
pub fn request(version: i16, correlation: i32) -> Vec<u8> {
    let mut request = Vec::with_capacity(16);
    request.extend_from_slice(&[0; frame::LENGTH_BYTES]);
    request.extend_from_slice(&key::API_VERSIONS.to_be_bytes());
    request.extend_from_slice(&version.to_be_bytes());
    request.extend_from_slice(&correlation.to_be_bytes());
    request.extend_from_slice(&(-1i16).to_be_bytes());
    if version > 2 {
        request.push(0); // no tagged fields in the header
    }
    frame::end_reply(&mut request, 0);
    request
}

pub(super) fn rewrite(mut reply: Reply<'_>, mut out: Writer<'_>) -> Result<(), Stop> {
    let own = api::api_versions::API.max;
    if reply.asked.substitute {
        refuse(&mut out, Some((0, own)));
        return Ok(());
    }
    let code = reply.body.i16()?;
    if code == error::UNSUPPORTED_VERSION {
        let mut body = Reader::new(reply.body.rest(), false);
        let mut range = None;
        for _ in 0..body.count(6)?.unwrap_or(0) {
            let (key, min, max) = (body.i16()?, body.i16()?, body.i16()?);
            if key == key::API_VERSIONS {
                range = versions::advertised(key, min, max);
            }
        }
        refuse(&mut out, range);
        return Ok(());
    }
    let mut kept = Vec::new();
    for _ in 0..reply.body.count(6)?.unwrap_or(0) {
        let (key, min, max) = (reply.body.i16()?, reply.body.i16()?, reply.body.i16()?);
        reply.body.tags()?;
        kept.extend(versions::advertised(key, min, max).map(|(min, max)| (key, min, max)));
    }
    out.i16(code);
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

/// Writes the body of v0 for a version that is not known, with the range that is, if that is known.
fn refuse(out: &mut Writer<'_>, range: Option<(i16, i16)>) {
    let mut body = Vec::with_capacity(12);
    let mut plain = Writer::new(&mut body, false);
    plain.i16(error::UNSUPPORTED_VERSION);
    plain.count(usize::from(range.is_some()));
    if let Some((min, max)) = range {
        plain.i16(key::API_VERSIONS);
        plain.i16(min);
        plain.i16(max);
    }
    out.raw(&body);
}

fn tags(body: &mut Reader<'_>) -> Result<(), Malformed> {
    body.tags()
}
