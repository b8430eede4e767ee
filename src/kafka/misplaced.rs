//! What a client hears that came to the wrong place, and how that is told: through an address where no group is its own (a
//! TLS server name of a group that is not served here, an agent's listener of another group). It is told of no agent at all.
//!
//! - ApiVersions is answered, so that the client can ask on.
//! - Metadata v13: an empty reply with error REBOOTSTRAP_REQUIRED (129, KIP-1102). Clients that know it forget all brokers and
//!   begin again with their bootstrap addresses.
//! - Anything else closes the connection ([`Stop::WrongGroup`]), which clients answer by trying other brokers.

use super::api::{self, Outcome, Stop, api_versions, error, metadata};
use super::frame::{self, LENGTH_BYTES};
use super::groups::labels_below;
use super::wire::Writer;
use crate::limits::kafka as limits;
use crate::model::{Cluster, GroupName};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The version of Metadata that has a place for the error.
const REBOOTSTRAP: i16 = 13;

/// Whether a host name below one of `apexes` is that of another group or cluster than these: `<group>.<cluster>.<apex>`, or
/// one label before it. Other names tell no group. A `-` may stand for the `_` of our own names, as in DNS.
pub fn names_another(name: &str, apexes: &[String], cluster: &Cluster, group: &GroupName) -> bool {
    let is = |label: &str, own: &str| label == own || label == own.replace('_', "-");
    match labels_below(apexes, name).as_deref() {
        Some([of, within] | [_, of, within]) => !is(of, group.as_str()) || !is(within, cluster.as_str()),
        _ => false,
    }
}

/// Answers a misplaced client until it asks what closes its connection, ends it itself, or its time is over.
pub async fn turn_away(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let talk = async {
        let mut input = Vec::new();
        while let Some(end) = whole_frame(stream, &mut input).await? {
            let mut output = Vec::new();
            let request = input.get(LENGTH_BYTES..end).unwrap_or_default();
            if answer(request, &mut output).is_err() {
                break;
            }
            stream.write_all(&output).await?;
            stream.flush().await?; // TLS may hold the last record back
            input.drain(..end);
        }
        stream.shutdown().await
    };
    // Whatever the end is, it says nothing of us.
    let _: Result<io::Result<()>, _> = timeout(limits::TURNING_AWAY, talk).await;
}

/// Reads on until the first frame is whole, and returns its end; `None` if it never will be, or is none.
async fn whole_frame(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    loop {
        let Ok(length) = frame::length(input, limits::TURNED_AWAY_BYTES) else { return Ok(None) };
        if let Some(end) = length.map(|length| LENGTH_BYTES + length).filter(|end| input.len() >= *end) {
            return Ok(Some(end));
        }
        input.reserve(1_024);
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_other_groups_and_clusters_are_others() {
        let apexes = ["kafka.example".to_owned()];
        let (cluster, group) = (Cluster::parse("pr_od").unwrap(), GroupName::parse("vpc_1").unwrap());
        let another = |name: &str| names_another(name, &apexes, &cluster, &group);
        for name in ["vpc_1.pr_od", "vpc-1.pr-od", "a.vpc_1.pr_od", "az-x.vpc-1.pr_od", "pr_od", "ns1"] {
            assert!(!another(&format!("{name}.kafka.example")), "{name}");
        }
        for name in ["vpc_2.pr_od", "vpc_1.prod", "a.vpc-2.pr_od", "vpc_1.a.pr_od", "vpc_11.pr_od"] {
            assert!(another(&format!("{name}.kafka.example")), "{name}");
        }
        for name in ["kafka.example", "localhost", "10.0.0.1", "vpc-2.prod.kafka.example.org", "a.b.c.d"] {
            assert!(!another(name), "{name}");
        }
        assert!(!names_another("vpc-2.prod.kafka.example", &[], &cluster, &group), "no apex, no names");
    }
}
