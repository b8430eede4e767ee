//! The gateway: stands in front of one broker (the upstream), for the clients of one group. Discovery replies are the
//! upstream's own, rewritten so that they name the group's agents and nobody else; endpoints in the replies to Produce,
//! Fetch, ShareFetch and ShareAcknowledge are blotted out while they stream; everything else passes byte for byte.
//! docs/gateway.md has every rule.
//!
//! Read [`versions`] first (what is done with which request), then [`connection`]. [`requests`], [`replies`],
//! [`walker`] and [`rewrite`] do no I/O.

pub mod buffer;
pub mod connection;
pub mod pending;
pub mod programs;
pub mod replies;
pub mod requests;
pub mod rewrite;
pub mod upstream;
pub mod versions;
pub mod walker;
#[cfg(test)]
mod walks;

pub use upstream::Upstream;

use super::listener::BindError;
use super::service::Service;
use super::topics::Topics;
use crate::clock::Clock;
use crate::limits::gateway as limits;
use crate::model::{Cluster, GroupName, Zone};
use crate::net::tcp;
use crate::placement::{Placement, Rules, ZoneRules};
use crate::telemetry::{gateway::Metrics, kafka};
use crate::view::View;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// What a gateway is to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The broker behind it, as `host:port`.
    pub upstream: String,
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
    /// Connections end when they are silent with nothing in flight.
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

/// What the connections of a gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    service: Service,
    view: View,
    clock: Clock,
    metrics: Arc<Metrics>,
    upstream: Arc<Upstream>,
    limits: Limits,
    /// Permits for held replies, in [`limits::UNIT`]s.
    held: Semaphore,
    phase: watch::Sender<Phase>,
}

/// A bound gateway.
#[derive(Debug)]
pub struct Gateway {
    socket: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    counts: Arc<tcp::Counts>,
}

/// What one who runs a gateway holds on to.
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
    /// Connections accepted, refused and open.
    pub counts: Arc<tcp::Counts>,
}

impl Control {
    /// How far the agent is with leaving: connections act on it.
    pub fn set_phase(&self, phase: Phase) {
        self.shared.phase.send_replace(phase);
    }

    /// The upstream, to be probed and declared lost.
    pub fn upstream(&self) -> Arc<Upstream> {
        Arc::clone(&self.shared.upstream)
    }
}

impl Gateway {
    /// Binds; must be called within the runtime that will run it. Clients that come before [`Gateway::run`] wait.
    pub fn bind(settings: Settings, sources: Sources) -> Result<Self, BindError> {
        let bound = tcp::bind(settings.address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = match bound {
            Ok(bound) => bound,
            Err(source) => {
                let Settings { address, cluster, .. } = settings;
                return Err(BindError::Address { address, cluster, source });
            }
        };
        let Sources { view, clock, placement, kafka, metrics } = sources;
        let mut service = Service::new(settings.cluster, settings.group, Topics::Registry, placement, kafka);
        service.zone = settings.zone;
        service.zones = settings.zones;
        service.rules = settings.rules;
        let shared = Shared {
            service,
            view,
            clock,
            metrics,
            upstream: Arc::new(Upstream::new(settings.upstream)),
            limits: settings.limits,
            held: Semaphore::new(limits::HELD_BYTES / limits::UNIT),
            phase: watch::Sender::new(Phase::Serving),
        };
        Ok(Self { socket, address, shared: Arc::new(shared), counts: Arc::default() })
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to hold on to while it runs.
    pub fn control(&self) -> Control {
        Control { shared: Arc::clone(&self.shared), counts: Arc::clone(&self.counts) }
    }

    /// Serves until `stop`; returns when all connections have ended or their time to finish is over.
    pub async fn run(self, stop: CancellationToken) {
        let Self { socket, shared, counts, .. } = self;
        let limits = shared.limits.tcp;
        tcp::serve(socket, limits, counts, stop, move |stream, peer, stop| {
            connection::serve(stream, peer, Arc::clone(&shared), stop)
        })
        .await;
    }
}
