//! The gateway: stands in front of one broker (the upstream), for the clients of one group. Discovery replies are the
//! upstream's own, rewritten so that they name the group's agents and nobody else; endpoints in the replies to Produce,
//! Fetch, ShareFetch and ShareAcknowledge are blotted out while they stream; everything else passes byte for byte.
//! docs/gateway.md has every rule.
//!
//! Read [`versions`] first (what is done with which request), then [`relay`]. [`requests`], [`replies`],
//! [`walker`] and [`rewrite`] do no I/O.

pub mod agents;
pub mod buffer;
pub mod close;
pub mod connection;
pub mod pending;
pub mod programs;
pub mod relay;
pub mod replies;
pub mod requests;
pub mod rewrite;
pub mod upstream;
pub mod versions;
pub mod walker;
#[cfg(test)]
mod walks;

pub use close::Close;
pub use upstream::Upstream;

use super::listener::BindError;
use super::service::Service;
use super::topics::Topics;
use crate::clock::{self, Clock};
use crate::limits::gateway as limits;
use crate::limits::tls::RELOAD_INTERVAL;
use crate::model::{AgentId, Cluster, GroupName, Zone};
use crate::net::dial::Dial;
use crate::net::entry::{self, Entry};
use crate::net::tls::{ClientSettings, ClientTls, ServerSettings, ServerTls};
use crate::net::{proxy, tcp};
use crate::placement::{Placement, Rules, ZoneRules};
use crate::telemetry::{Telemetry, gateway::Metrics, kafka};
use crate::view::View;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// What a gateway is to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS to clients; without it the gateway speaks plain text.
    pub tls: Option<ServerSettings>,
    /// How often certificate files are looked at for new ones.
    pub reload: Duration,
    /// Whether proxies stand in front of it.
    pub proxy: Option<proxy::Settings>,
    /// Zones below which names are those of groups: who asks by TLS for another group's is turned away.
    pub apexes: Vec<String>,
    /// The broker behind it, as `host:port`.
    pub upstream: String,
    /// TLS to the broker.
    pub upstream_tls: Option<ClientSettings>,
    /// Whether the broker (another proxy: Kafka's own does not) reads the client's address from a PROXY header.
    pub upstream_proxy: bool,
    /// The agent that it is: while that leaves, members of groups are sent on to the other agents.
    pub agent: Option<AgentId>,
    /// The cluster of its clients.
    pub cluster: Cluster,
    /// The only group that they are told about.
    pub group: GroupName,
    /// The zone of clients that name none and lie in no known network.
    pub zone: Option<Zone>,
    /// Networks and aliases of zones.
    pub zones: Arc<ZoneRules>,
    /// How clients are placed.
    pub rules: Rules,
    /// Bounds on connections.
    pub limits: Limits,
}

impl Settings {
    /// A gateway of `group` before `upstream`, with defaults for all that need not be said.
    pub fn new(address: SocketAddr, upstream: String, cluster: Cluster, group: GroupName) -> Self {
        Self {
            address,
            tls: None,
            reload: RELOAD_INTERVAL.default,
            proxy: None,
            apexes: Vec::new(),
            upstream,
            upstream_tls: None,
            upstream_proxy: false,
            agent: None,
            cluster,
            group,
            zone: None,
            zones: Arc::default(),
            rules: Rules::default(),
            limits: Limits::default(),
        }
    }
}

/// Bounds on a gateway's connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many, in all and per source, and how long they may finish at a stop.
    pub tcp: tcp::Limits,
    /// How long a peer may take or send nothing in the middle of something.
    pub stall: Duration,
    /// How long a connection may be silent both ways.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let connections = limits::CONNECTIONS.default;
        Self {
            tcp: tcp::Limits { connections, per_source: connections, ..tcp::Limits::default() },
            stall: limits::STALL.default,
            idle: limits::IDLE.default,
        }
    }
}

/// How far an agent is with leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is not.
    Serving,
    /// Connections end when they were not used for a while and nothing is in flight; members of groups are sent on to the next
    /// coordinator.
    Draining,
    /// Connections end at the first moment with nothing in flight.
    Leaving,
}

/// Where snapshots, the time and counts come from and go to.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Snapshots.
    pub view: View,
    /// The time.
    pub clock: Clock,
    /// Whose turn it is.
    pub placement: Arc<Placement>,
    /// Placements are counted here.
    pub kafka: Arc<kafka::Metrics>,
    /// Everything else is counted here.
    pub metrics: Arc<Metrics>,
}

impl Sources {
    /// With the machine's clock and turns of its own.
    pub fn new(view: View, telemetry: &Telemetry) -> Self {
        let (kafka, metrics) = (Arc::clone(&telemetry.kafka), Arc::clone(&telemetry.gateway));
        Self { view, clock: Clock::machine(), placement: super::placement(), kafka, metrics }
    }
}

/// What relayed connections share, at a gateway or at a listener that relays.
#[derive(Debug)]
pub(crate) struct Shared {
    view: View,
    clock: Clock,
    metrics: Arc<Metrics>,
    limits: Limits,
    /// Permits for held replies, in [`limits::UNIT`]s.
    held: Semaphore,
    phase: watch::Sender<Phase>,
    /// The phase is not [`Phase::Serving`]; read with each request.
    leaving: AtomicBool,
    /// When an agent that leaves was last asked for anything but the way, in milliseconds of the clock.
    used: AtomicU64,
    /// The agent that the gateway is.
    own: Option<AgentId>,
}

impl Shared {
    pub(super) fn new(view: View, clock: Clock, metrics: Arc<Metrics>, limits: Limits) -> Self {
        Self {
            view,
            clock,
            metrics,
            limits,
            held: Semaphore::new(limits::HELD_BYTES / limits::UNIT),
            phase: watch::Sender::new(Phase::Serving),
            leaving: AtomicBool::new(false),
            used: AtomicU64::new(0),
            own: None,
        }
    }

    fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// How far the process is with leaving: connections act on it.
    pub(super) fn set_phase(&self, phase: Phase) {
        let was_leaving = self.leaving.swap(phase != Phase::Serving, Ordering::Relaxed);
        if !was_leaving {
            self.used.store(self.clock.now().millis(), Ordering::Relaxed);
        }
        self.phase.send_replace(phase);
    }

    /// How long a connection may be silent both ways.
    pub(super) const fn idle(&self) -> Duration {
        self.limits.idle
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// What the connections of a gateway share.
#[derive(Debug)]
struct Gate {
    entry: Entry,
    apexes: Vec<String>,
    service: Arc<Service>,
    upstream: Arc<Upstream>,
    shared: Arc<Shared>,
}

/// A bound gateway.
#[derive(Debug)]
pub struct Gateway {
    socket: TcpListener,
    address: SocketAddr,
    reload: Duration,
    upstream_tls: Option<ClientTls>,
    gate: Arc<Gate>,
    counts: Arc<tcp::Counts>,
}

/// What one who runs a gateway holds on to.
#[derive(Clone, Debug)]
pub struct Control {
    gate: Arc<Gate>,
    /// Connections accepted, refused and open.
    pub counts: Arc<tcp::Counts>,
}

impl Control {
    /// How far the agent is with leaving: connections act on it.
    pub fn set_phase(&self, phase: Phase) {
        self.gate.shared.set_phase(phase);
    }

    /// For how long an agent that leaves was asked for nothing but the way: a client that looks for brokers and coordinators
    /// needs none in particular.
    pub fn unused(&self) -> Duration {
        let shared = &self.gate.shared;
        let used = shared.used.load(Ordering::Relaxed);
        Duration::from_millis(shared.clock.now().millis().saturating_sub(used))
    }

    /// The upstream, to be probed and declared lost.
    pub fn upstream(&self) -> Arc<Upstream> {
        Arc::clone(&self.gate.upstream)
    }
}

impl Gateway {
    /// Binds, and reads certificates; must be called within the runtime that will run it. Clients that come before
    /// [`Gateway::run`] wait.
    pub fn bind(settings: Settings, sources: Sources) -> Result<Self, BindError> {
        let Settings { address, cluster, group, upstream, limits, .. } = settings;
        let tls = settings.tls.map(|tls| ServerTls::load(tls, clock::wall())).transpose();
        let tls = tls.map_err(|source| BindError::Tls { address, source })?;
        let upstream_tls = settings.upstream_tls.map(|tls| ClientTls::load(tls, clock::wall())).transpose();
        let upstream_tls =
            upstream_tls.map_err(|source| BindError::UpstreamTls { upstream: upstream.clone(), source })?;
        let bound = tcp::bind(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = match bound {
            Ok(bound) => bound,
            Err(source) => return Err(BindError::Address { address, cluster, source }),
        };
        let Sources { view, clock, placement, kafka, metrics } = sources;
        let mut service = Service::new(cluster, group, Topics::Registry, placement, kafka);
        service.zone = settings.zone;
        service.zones = settings.zones;
        service.rules = settings.rules;
        let dial = Dial {
            tls: upstream_tls.clone(),
            proxy: settings.upstream_proxy,
            keep_alive: limits::KEEP_ALIVE,
        };
        let shared = Shared { own: settings.agent, ..Shared::new(view, clock, metrics, limits) };
        let gate = Gate {
            entry: Entry::new(settings.proxy, limits.tcp.per_source, tls),
            apexes: settings.apexes,
            service: Arc::new(service),
            upstream: Arc::new(Upstream::new(upstream, dial)),
            shared: Arc::new(shared),
        };
        let (gate, counts, reload) = (Arc::new(gate), Arc::default(), settings.reload);
        Ok(Self { socket, address, reload, upstream_tls, gate, counts })
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to hold on to while it runs.
    pub fn control(&self) -> Control {
        Control { gate: Arc::clone(&self.gate), counts: Arc::clone(&self.counts) }
    }

    /// Serves until `stop`; returns when all connections have ended or their time to finish is over.
    pub async fn run(self, stop: CancellationToken) {
        let Self { socket, address, reload, upstream_tls, gate, counts } = self;
        let limits = gate.entry.at_accept(gate.shared.limits.tcp);
        let own = gate.entry.tls().cloned().zip(Some(Arc::clone(&gate.shared.metrics.entry)));
        let watching = async {
            if let Some((tls, metrics)) = own {
                entry::watch(tls, address.to_string(), metrics, reload, clock::wall, stop.clone()).await;
            }
        };
        let watching_upstream = async {
            if let Some(tls) = upstream_tls {
                tls.watch(reload, clock::wall, stop.clone()).await;
            }
        };
        let serving = tcp::serve(socket, limits, counts, stop.clone(), move |stream, peer, stop| {
            connection::serve(stream, peer, Arc::clone(&gate), stop)
        });
        tokio::join!(serving, watching, watching_upstream);
    }
}
