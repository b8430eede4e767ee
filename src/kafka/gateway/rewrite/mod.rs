//! Replies of the upstream, held back whole and rewritten where they stand: what tells of brokers becomes what tells
//! of the group's agents, and all else (topics, ids, errors, throttling, authorised operations) stays as it is.
//! Bytes in, bytes out, no I/O. Counts are compared with the bytes that are left, here too: an upstream is trusted
//! more than clients are, but not with this process' memory.
//!
//! Tagged fields of these replies are dropped, but for those of ApiVersions: what they may say one day is unknown.

mod api_versions;
mod describe_cluster;
mod describe_topic_partitions;
mod find_coordinator;
mod heartbeat;
mod metadata;
#[cfg(test)]
pub(super) mod tests;

pub use api_versions::{request, substitute};

use super::versions::Discovery;
use crate::kafka::api::Stop;
use crate::kafka::frame;
use crate::kafka::service::Service;
use crate::kafka::shown::Shown;
use crate::kafka::wire::{Malformed, Reader, Writer};
use crate::model::{AgentId, Fleet, Moment};
use crate::placement::{Client, Roster};
use std::net::IpAddr;
use std::sync::Arc;

/// What must be known of a request when its reply comes.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which API.
    pub api: Discovery,
    /// In which version the reply comes.
    pub version: i16,
    /// The client id.
    pub client: Option<Arc<str>>,
    /// FindCoordinator's key type.
    pub key_type: i8,
    /// FindCoordinator's only key, where the reply does not repeat it; a heartbeat's group.
    pub key: Option<Box<str>>,
    /// The epoch that a heartbeat's member has.
    pub epoch: i32,
    /// The client asked for a version of ApiVersions that we don't have.
    pub substitute: bool,
}

/// What a reply is made of, besides the upstream's.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The group's service.
    pub service: &'a Service,
    /// The snapshot.
    pub fleet: &'a Fleet,
    /// When.
    pub now: Moment,
    /// The client's address.
    pub source: IpAddr,
    /// The agent that the gateway is, if it leaves.
    pub leaving: Option<&'a AgentId>,
}

/// Appends the rewritten reply, its length included. `frame` is the upstream's without its length. Returns whether
/// anything was to be rewritten.
pub fn rewrite(place: Place<'_>, asked: &Asked, frame: &[u8], out: &mut Vec<u8>) -> Result<bool, Stop> {
    let begin = out.len();
    let flexible_header = asked.api.flexible_header(asked.version);
    let mut header = Reader::new(frame, flexible_header);
    let correlation = header.i32()?;
    header.tags()?;
    let flexible = asked.api.flexible(asked.version);
    let reply = Reply { place, asked, body: Reader::new(header.rest(), flexible) };
    frame::begin_reply(out, correlation, flexible_header);
    let writer = Writer::new(out, flexible);
    let mut rewritten = true;
    match asked.api {
        Discovery::Metadata => metadata::rewrite(reply, writer)?,
        Discovery::FindCoordinator => find_coordinator::rewrite(reply, writer)?,
        Discovery::ApiVersions => api_versions::rewrite(reply, writer)?,
        Discovery::DescribeCluster => describe_cluster::rewrite(reply, writer)?,
        Discovery::DescribeTopicPartitions => describe_topic_partitions::rewrite(reply, writer)?,
        Discovery::Heartbeat | Discovery::ConsumerGroupHeartbeat | Discovery::ShareGroupHeartbeat => {
            rewritten = heartbeat::rewrite(reply, writer)?;
        }
    }
    frame::end_reply(out, begin);
    Ok(rewritten)
}

/// One reply of the upstream, read field by field.
struct Reply<'a> {
    place: Place<'a>,
    asked: &'a Asked,
    body: Reader<'a>,
}

impl<'a> Reply<'a> {
    /// The group's agents, of which at least one lives.
    fn roster(&self) -> Result<Arc<Roster>, Stop> {
        self.place.service.live_roster(self.place.fleet, self.place.now)
    }

    /// What the client is shown of a roster: the same as by a bootstrap listener.
    fn show<'r>(&self, roster: &'r Roster) -> Result<Shown<'a, 'r>, Stop> {
        let client = Client { source: self.place.source.to_canonical(), id: self.asked.client.as_deref() };
        self.place.service.show(roster, client, self.place.now)
    }

    /// Copies what `read` reads, as it is.
    fn copy<T>(
        &mut self,
        out: &mut Writer<'_>,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let before = self.body.rest();
        let value = read(&mut self.body)?;
        out.raw(before.get(..before.len() - self.body.rest().len()).unwrap_or_default());
        Ok(value)
    }

    /// Skips an array of INT32.
    fn skip_nodes(&mut self) -> Result<(), Malformed> {
        let count = self.body.count(4)?.unwrap_or(0);
        self.body.skip(count * 4)
    }
}

/// Bytes of a partition before its leader: error and index.
const PARTITION_HEAD: usize = 6;

/// The index in the bytes of a partition before its leader.
fn index_in([_, _, index @ ..]: &[u8; PARTITION_HEAD]) -> u32 {
    u32::from_be_bytes(*index)
}

/// Writes an array of one node.
fn one_node(out: &mut Writer<'_>, node: i32) {
    out.count(1);
    out.i32(node);
}
