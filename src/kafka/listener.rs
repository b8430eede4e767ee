//! A TCP listener for the clients of one group, or of any group that is found for each connection. Cheap enough to run
//! dozens in one process.

use super::connection;
use super::gateway::Sources;
use super::gateway::agents::{self, Agents};
use super::groups::{Clients, Groups};
use super::relayed::Relaying;
use super::service::Service;
use super::topics::Topics;
use crate::clock::{self, Clock};
use crate::limits::kafka as limits;
use crate::limits::tls::RELOAD_INTERVAL;
use crate::model::{Cluster, Zone};
use crate::net::entry::{self, Entry};
use crate::net::tls::{self, ClientTls, ServerSettings, ServerTls};
use crate::net::{Sockets, proxy, tcp};
use crate::placement::{Bounds, Placement, Rules, ZoneRules};
use crate::telemetry::gateway;
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
    /// Where its socket comes from.
    pub sockets: Sockets,
    /// The cluster of its clients.
    pub cluster: Cluster,
    /// Whose clients they are: each connection is told about one group only.
    pub clients: Clients,
    /// TLS; without it the listener speaks plain text.
    pub tls: Option<ServerSettings>,
    /// How often the certificate files are looked at for new ones.
    pub reload: Duration,
    /// Whether proxies stand in front of it.
    pub proxy: Option<proxy::Settings>,
    /// The zone of clients that name none and lie in no known network.
    pub zone: Option<Zone>,
    /// Where topics come from, where the listener answers itself.
    pub topics: Topics,
    /// How agents are reached, where it relays to them instead: then topics are theirs.
    pub agents: Option<agents::Settings>,
    /// Networks and aliases of zones.
    pub zones: Arc<ZoneRules>,
    /// How clients are placed.
    pub rules: Rules,
    /// Bounds on connections.
    pub limits: Limits,
}

impl ListenerSettings {
    /// Settings with defaults for all that need not be said; `clients` may be the one group whose clients they are.
    pub fn new(address: SocketAddr, cluster: Cluster, clients: impl Into<Clients>, topics: Topics) -> Self {
        Self {
            address,
            sockets: Sockets::default(),
            cluster,
            clients: clients.into(),
            tls: None,
            reload: RELOAD_INTERVAL.default,
            proxy: None,
            zone: None,
            topics,
            agents: None,
            zones: Arc::default(),
            rules: Rules::default(),
            limits: Limits::default(),
        }
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

/// Why a listener can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address can't be listened on.
    #[error("cannot listen for Kafka clients of {cluster} on {address}: free the address or choose another")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Whose clients.
        cluster: Cluster,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificates of TLS to the upstream can't be used.
    #[error("TLS to the upstream {upstream}")]
    UpstreamTls {
        /// The upstream.
        upstream: String,
        /// Why.
        #[source]
        source: tls::Error,
    },
    /// The certificates can't be used.
    #[error("TLS of the Kafka listener {address}")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: tls::Error,
    },
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
    /// What is answered, by group.
    pub groups: Groups,
    /// What comes before the first request.
    pub entry: Entry,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where snapshots come from.
    pub view: View,
    /// What time it is.
    pub clock: Clock,
    /// Bounds.
    pub limits: Limits,
    /// Permits for replies that take much memory.
    pub big_replies: Semaphore,
    /// To agents, if it relays.
    pub(super) relaying: Option<Relaying>,
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    reload: Duration,
    shared: Arc<Shared>,
    counts: Arc<tcp::Counts>,
}

impl Listener {
    /// Binds, and reads certificates; must be called within the runtime that will run it. Clients that come before
    /// [`Listener::run`] wait.
    pub fn bind(settings: ListenerSettings, sources: Sources) -> Result<Self, BindError> {
        let Sources { view, clock, placement, kafka: metrics, metrics: relayed } = sources;
        let ListenerSettings {
            address, cluster, clients, topics, zone, zones, rules, limits: bounds, ..
        } = settings;
        let tls = settings.tls.map(|tls| ServerTls::load(tls, clock::wall())).transpose();
        let tls = tls.map_err(|source| BindError::Tls { address, source })?;
        let relaying = settings.agents.map(|agents| relaying(agents, &bounds, (&view, &clock, relayed)));
        let relaying = relaying.transpose()?;
        let socket = settings.sockets.tcp(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = match socket {
            Ok(bound) => bound,
            Err(source) => return Err(BindError::Address { address, cluster, source }),
        };
        let entry = Entry::new(settings.proxy, bounds.tcp.per_source, tls);
        let counted = Arc::clone(&metrics);
        let of = cluster.clone();
        let make = move |group| {
            let (placement, metrics) = (Arc::clone(&placement), Arc::clone(&counted));
            let mut service = Service::new(of.clone(), group, topics.clone(), placement, metrics);
            service.zone.clone_from(&zone);
            service.zones = Arc::clone(&zones);
            service.rules = rules;
            service
        };
        let shared = Shared {
            groups: Groups::new(cluster, clients, Box::new(make)),
            entry,
            metrics,
            view,
            clock,
            limits: bounds,
            big_replies: Semaphore::new(limits::BIG_REPLIES),
            relaying,
        };
        let (shared, counts) = (Arc::new(shared), Arc::default());
        Ok(Self { socket, address, reload: settings.reload, shared, counts })
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
        let Self { socket, address, reload, shared, counts } = self;
        let limits = shared.entry.at_accept(shared.limits.tcp);
        let own = shared.entry.tls().cloned().zip(Some(Arc::clone(&shared.metrics.entry)));
        let watching = async {
            if let Some((tls, metrics)) = own {
                entry::watch(tls, address.to_string(), metrics, reload, clock::wall, stop.clone()).await;
            }
        };
        let relaying = Arc::clone(&shared);
        let relaying = async {
            let Some(relaying) = &relaying.relaying else { return };
            let watching = async {
                if let Some(tls) = relaying.agents.tls() {
                    tls.watch(reload, clock::wall, stop.clone()).await;
                }
            };
            tokio::join!(watching, relaying.leave_at(stop.clone()));
        };
        let serving = tcp::serve(socket, limits, counts, stop.clone(), move |stream, peer, stop| {
            let shared = Arc::clone(&shared);
            async move { connection::serve(stream, peer, &shared, stop).await }
        });
        tokio::join!(serving, watching, relaying);
    }
}

/// What relays to agents within the listener's bounds.
fn relaying(
    settings: agents::Settings,
    bounds: &Limits,
    (view, clock, metrics): (&View, &Clock, Arc<gateway::Metrics>),
) -> Result<Relaying, BindError> {
    let tls = settings.tls.map(|tls| ClientTls::load(tls, clock::wall())).transpose();
    let upstream = "agents".to_owned();
    let tls = tls.map_err(|source| BindError::UpstreamTls { upstream, source })?;
    let limits = super::gateway::Limits { tcp: bounds.tcp, idle: bounds.idle, ..Default::default() };
    Ok(Relaying {
        agents: Agents::new(tls, settings.apex, settings.proxy),
        shared: Arc::new(super::gateway::Shared::new(view.clone(), clock.clone(), metrics, limits)),
    })
}
