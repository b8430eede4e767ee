//! What a listener answers: bytes of one request in, bytes of its reply out. No I/O, no clock. A reply is made of the
//! listener's own group and of nothing else: no API sees another group's agents.

use super::api::{self, Call, Outcome, Stop};
use super::frame;
use super::topics::{IdIndex, Topics, cluster_id};
use crate::model::{Catalog, Cluster, Fleet, GroupName, Moment, Zone};
use crate::placement::{Client, Placement, Roster, Rules, ZoneRules};
use crate::telemetry::kafka::Metrics;
use std::net::IpAddr;
use std::sync::{Arc, RwLock};

/// One group's discovery APIs.
#[derive(Debug)]
pub struct Service {
    /// The cluster whose clients come here.
    pub cluster: Cluster,
    /// The one group that they are told about.
    pub group: GroupName,
    /// The zone of clients that name none and lie in no known network.
    pub zone: Option<Zone>,
    /// Networks and aliases.
    pub zones: Arc<ZoneRules>,
    /// How clients are placed.
    pub rules: Rules,
    /// Where topics come from.
    pub topics: Topics,
    /// The cluster id that clients see.
    pub cluster_id: String,
    /// Whose turn it is.
    pub placement: Arc<Placement>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    roster: Kept<Roster>,
    ids: Kept<IdIndex>,
}

/// One request and what it is answered from.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The frame without its length.
    pub bytes: &'a [u8],
    /// Where it came from.
    pub source: IpAddr,
    /// The snapshot to answer from.
    pub fleet: &'a Fleet,
    /// When.
    pub now: Moment,
    /// The largest reply that may be made, in bytes.
    pub most: usize,
}

impl Service {
    /// The service of one group.
    pub fn new(
        cluster: Cluster,
        group: GroupName,
        topics: Topics,
        placement: Arc<Placement>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            cluster_id: cluster_id(&cluster),
            cluster,
            group,
            zone: None,
            zones: Arc::default(),
            rules: Rules::default(),
            topics,
            placement,
            metrics,
            roster: Kept::default(),
            ids: Kept::default(),
        }
    }

    /// Answers one request: appends the whole reply, length included, to `out`. On `Err` nothing is appended, and but
    /// for [`Stop::TooLarge`] (ask again with more room) the connection is to be closed.
    pub fn answer(&self, request: Request<'_>, out: &mut Vec<u8>) -> Result<Outcome, Stop> {
        let begin = out.len();
        let result = self.try_answer(request, out);
        if result.is_err() {
            out.truncate(begin);
        }
        result
    }

    fn try_answer(&self, request: Request<'_>, out: &mut Vec<u8>) -> Result<Outcome, Stop> {
        let begin = out.len();
        let (start, rest) = frame::start(request.bytes)?;
        let Some(api) = api::find(start.api_key) else { return Err(Stop::UnknownApi(start.api_key)) };
        if !(api.min..=api.max).contains(&start.version) {
            if api.key != api::API_VERSIONS {
                return Err(Stop::UnknownVersion(api.name, start.version));
            }
            frame::begin_reply(out, start.correlation, false);
            api::api_versions::unsupported(out);
            frame::end_reply(out, begin);
            self.metrics.request(api.name, Outcome::Error.as_str());
            return Ok(Outcome::Error);
        }
        let flexible = start.version >= api.flexible_from;
        let (client_id, body) = frame::client_id(rest, flexible)?;
        frame::begin_reply(out, start.correlation, flexible && api.flexible_reply_header);
        let outcome = (api.answer)(Call {
            service: self,
            fleet: request.fleet,
            now: request.now,
            client: Client { source: request.source.to_canonical(), id: client_id },
            version: start.version,
            flexible,
            body,
            most: begin + request.most,
            out,
        })?;
        if out.len() - begin > request.most {
            return Err(Stop::TooLarge);
        }
        frame::end_reply(out, begin);
        self.metrics.request(api.name, outcome.as_str());
        Ok(outcome)
    }

    /// The group's agents under their node ids; `None` if the group is not known.
    pub fn roster(&self, fleet: &Fleet) -> Option<Arc<Roster>> {
        let group = fleet.group(self.cluster.as_str(), self.group.as_str())?;
        Some(self.roster.get(|roster| roster.version == group.version, || Roster::of(group)))
    }

    /// The index of the topics' ids, made anew when the catalog is another.
    pub fn ids(&self, catalog: &Arc<Catalog>) -> Arc<IdIndex> {
        self.ids.get(|index| index.is_of(catalog), || IdIndex::of(catalog))
    }
}

/// Something made of a part of the snapshot, kept until that part is another. Every connection of a listener reads it;
/// it is written once per change.
#[derive(Debug)]
struct Kept<T>(RwLock<Option<Arc<T>>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(RwLock::new(None))
    }
}

impl<T> Kept<T> {
    fn get(&self, is_current: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> Arc<T> {
        let kept = self.0.read().ok().and_then(|kept| kept.clone());
        if let Some(kept) = kept.filter(|kept| is_current(kept)) {
            return kept;
        }
        let made = Arc::new(make());
        if let Ok(mut place) = self.0.write() {
            *place = Some(Arc::clone(&made));
        }
        made
    }
}
