//! A TCP listener for the clients of one group. Cheap enough to run dozens in one process.

use super::connection;
use super::service::Service;
use super::topics::Topics;
use crate::clock::Clock;
use crate::limits::kafka as limits;
use crate::model::{Cluster, GroupName, Zone};
use crate::net::tcp;
use crate::placement::{Bounds, Placement, Rules, ZoneRules};
use crate::telemetry::kafka::Metrics;
use crate::view::View;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What a listener is to serve.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The cluster of its clients.
    pub cluster: Cluster,
    /// The only group that they are told about.
    pub group: GroupName,
    /// The zone of clients that name none and lie in no known network.
    pub zone: Option<Zone>,
    /// Where topics come from.
    pub topics: Topics,
    /// Networks and aliases of zones.
    pub zones: Arc<ZoneRules>,
    /// How clients are placed.
    pub rules: Rules,
    /// Bounds on connections.
    pub limits: Limits,
}

impl ListenerSettings {
    /// Settings with defaults for all that need not be said.
    pub fn new(address: SocketAddr, cluster: Cluster, group: GroupName, topics: Topics) -> Self {
        let limits = Limits::default();
        let rules = Rules::default();
        Self { address, cluster, group, zone: None, topics, zones: Arc::default(), rules, limits }
    }
}

/// Bounds on a listener's connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many, in all and per source, and how long they may finish at a stop.
    pub tcp: tcp::Limits,
    /// Largest request in bytes.
    pub frame_bytes: usize,
    /// How long a connection may be silent between requests.
    pub idle: Duration,
    /// How long a request may take to arrive.
    pub read: Duration,
    /// How long a reply may take to be taken.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tcp: tcp::Limits::default(),
            frame_bytes: limits::FRAME_BYTES.default,
            idle: limits::IDLE.default,
            read: limits::READ.default,
            write: limits::WRITE.default,
        }
    }
}

/// The address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen for Kafka clients of {cluster}/{group} on {address}: free the address or choose another"
)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Whose clients.
    pub cluster: Cluster,
    /// Whose clients.
    pub group: GroupName,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The turns of the round robin, for all listeners of a server, with the default bounds. Replicas begin with different
/// agents.
pub fn placement() -> Arc<Placement> {
    placement_within(limits::SAME_CLIENT.default)
}

/// The same with another time within which requests of one client count as one.
pub fn placement_within(same_client: Duration) -> Arc<Placement> {
    let bounds = Bounds {
        same_client_millis: u64::try_from(same_client.as_millis()).unwrap_or(u64::MAX),
        clients: limits::CLIENTS,
        turns: limits::TURNS,
    };
    Arc::new(Placement::new(bounds, fastrand::u64(..)))
}

/// What the connections of a listener share.
#[derive(Debug)]
pub struct Shared {
    /// What is answered.
    pub service: Service,
    /// Where snapshots come from.
    pub view: View,
    /// What time it is.
    pub clock: Clock,
    /// Bounds.
    pub limits: Limits,
    /// Permits for replies that take much memory.
    pub big_replies: Semaphore,
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    counts: Arc<tcp::Counts>,
}

impl Listener {
    /// Binds; must be called within the runtime that will run it. Clients that come before [`Listener::run`] wait.
    pub fn bind(
        settings: ListenerSettings,
        view: View,
        clock: Clock,
        metrics: Arc<Metrics>,
        placement: Arc<Placement>,
    ) -> Result<Self, BindError> {
        let bound = tcp::bind(settings.address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = match bound {
            Ok(bound) => bound,
            Err(source) => {
                let ListenerSettings { address, cluster, group, .. } = settings;
                return Err(BindError { address, cluster, group, source });
            }
        };
        let mut service = Service::new(settings.cluster, settings.group, settings.topics, placement, metrics);
        service.zone = settings.zone;
        service.zones = settings.zones;
        service.rules = settings.rules;
        let shared = Shared {
            service,
            view,
            clock,
            limits: settings.limits,
            big_replies: Semaphore::new(limits::BIG_REPLIES),
        };
        Ok(Self { socket, address, shared: Arc::new(shared), counts: Arc::default() })
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted, refused and open.
    pub fn counts(&self) -> Arc<tcp::Counts> {
        Arc::clone(&self.counts)
    }

    /// Serves until `stop`; returns when all connections have ended or their time to finish is over.
    pub async fn run(self, stop: CancellationToken) {
        let Self { socket, shared, counts, .. } = self;
        let limits = shared.limits.tcp;
        tcp::serve(socket, limits, counts, stop, move |stream, peer, stop| {
            let shared = Arc::clone(&shared);
            async move { connection::serve(stream, peer, &shared, stop).await }
        })
        .await;
    }
}
