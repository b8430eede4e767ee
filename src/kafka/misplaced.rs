//! What a client hears that came to the wrong place: through an address where no group is its own (a TLS server name of a
//! group that is not served here, an agent's listener of another group). It is told of no agent at all.
//!
//! - ApiVersions is answered, so that the client can ask on.
//! - Metadata v13: an empty reply with error REBOOTSTRAP_REQUIRED (129, KIP-1102). Clients that know it forget all brokers and
//!   begin again with their bootstrap addresses.
//! - Anything else closes the connection ([`Stop::WrongGroup`]), which clients answer by trying other brokers.

use super::api::{self, Outcome, Stop, api_versions, error, metadata};
use super::frame;
use super::wire::Writer;

/// The version of Metadata that has a place for the error.
const REBOOTSTRAP: i16 = 13;

/// Answers one request of a misplaced client: appends the whole reply, length included, to `out`. On `Err` nothing is
/// appended and the connection is to be closed.
pub fn answer(request: &[u8], out: &mut Vec<u8>) -> Result<Outcome, Stop> {
    let begin = out.len();
    let (start, rest) = frame::start(request)?;
    let result = match start.api_key {
        api::API_VERSIONS => {
            frame::begin_reply(out, start.correlation, false);
            versions(start.version, rest, out)
        }
        key if key == metadata::API.key && start.version == REBOOTSTRAP => {
            frame::begin_reply(out, start.correlation, true);
            rebootstrap(out);
            Ok(Outcome::Error)
        }
        _ => Err(Stop::WrongGroup),
    };
    match result {
        Ok(_) => frame::end_reply(out, begin),
        Err(_) => out.truncate(begin),
    }
    result
}

fn versions(version: i16, rest: &[u8], out: &mut Vec<u8>) -> Result<Outcome, Stop> {
    if !(api_versions::API.min..=api_versions::API.max).contains(&version) {
        api_versions::unsupported(out);
        return Ok(Outcome::Error);
    }
    let (_, body) = frame::client_id(rest, version >= api_versions::API.flexible_from)?;
    api_versions::write(body, version, out)
}

/// The body of Metadata v13 that names nobody and sends the client back to its bootstrap addresses.
fn rebootstrap(out: &mut Vec<u8>) {
    let mut writer = Writer::new(out, true);
    writer.i32(0); // throttle time
    writer.count(0); // brokers
    writer.null(); // cluster id
    writer.i32(-1); // controller
    writer.count(0); // topics
    writer.i16(error::REBOOTSTRAP_REQUIRED);
    writer.no_tags();
}
