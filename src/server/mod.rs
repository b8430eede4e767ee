//! The composition root: everything is bound, then all of it runs, and a [`Handle`] tells what was bound. `serve`,
//! the demo and the tests all start here.

pub mod demo;
mod fleet;
pub mod notify;
pub mod reload;
mod serials;
pub mod settings;

pub use demo::{Demo, DemoOptions};

use crate::admin::{self, ConfigState, Readiness};
use crate::clock::Clock;
use crate::config::Config;
use crate::dns;
use crate::kafka::gateway::Sources;
use crate::kafka::{BindError, Clients, Listener, ListenerSettings};
use crate::limits::reload as limits;
use crate::model::{Cluster, Fleet};
use crate::net::Sockets;
use crate::placement::Placement;
use crate::registry::{self, Registry, follow};
use crate::telemetry::Telemetry;
use crate::view::{self, View};
use notify::Notifier;
use reload::{Reloader, Switches};
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration can't work.
    #[error("{0}")]
    Config(String, #[source] Option<Box<dyn StdError + Send + Sync>>),
    /// Something that is needed can't be had: an address, a file of the system.
    #[error("{0}")]
    Unavailable(String, #[source] Option<Box<dyn StdError + Send + Sync>>),
}

impl Error {
    fn config(what: &str, source: impl StdError + Send + Sync + 'static) -> Self {
        Self::Config(what.to_owned(), Some(Box::new(source)))
    }

    fn unavailable(what: &str, source: impl StdError + Send + Sync + 'static) -> Self {
        Self::Unavailable(what.to_owned(), Some(Box::new(source)))
    }
}

/// What was bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// DNS, UDP and TCP alike, in the order of the configuration.
    pub dns: Vec<SocketAddr>,
    /// DNS over TLS.
    pub dns_tls: Vec<SocketAddr>,
    /// DNS over HTTPS.
    pub dns_https: Vec<SocketAddr>,
    /// Kafka, in the order of the configuration.
    pub kafka: Vec<KafkaAddress>,
    /// HTTP.
    pub admin: SocketAddr,
}

/// Where Kafka clients come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaAddress {
    /// The address.
    pub address: SocketAddr,
    /// Whose clients.
    pub cluster: Cluster,
    /// Whose clients.
    pub clients: Clients,
}

/// A running server. Dropping it does not stop it: call [`Handle::drain`].
pub struct Handle {
    /// What was bound.
    pub addresses: Addresses,
    /// What answers are made of.
    pub view: View,
    /// Where heartbeats go.
    pub registry: Registry,
    parts: Parts,
    readiness: Readiness,
    switches: Option<Switches>,
    notifier: Notifier,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What further listeners of the same process share with the server.
#[derive(Clone)]
struct Parts {
    view: View,
    clock: Clock,
    telemetry: Telemetry,
    placement: Arc<Placement>,
    sockets: Sockets,
}

/// Binds everything that `config` names and starts to serve.
///
/// Fails if anything can't be bound or read; a registry that is out of reach is no failure, for it may come.
pub async fn start(config: &Config) -> Result<Handle, Error> {
    start_on(config, Sockets::new(Vec::new(), Vec::new(), config.process.share_addresses)).await
}

/// The same on sockets that may have been passed. Where they take over from another process, the registry is read
/// first, for a bounded time: an answer that comes too early would be a failure.
pub async fn start_on(config: &Config, sockets: Sockets) -> Result<Handle, Error> {
    settings::raise_open_files(config);
    let clock = Clock::machine();
    let telemetry = Telemetry::new().map_err(|error| Error::config("the metrics", error))?;
    let (publisher, view) = view::channel();
    let placement = settings::placement(config);
    if config.kafka.agent_metrics {
        telemetry.kafka.name_agents();
    }
    let parts = Parts { view: view.clone(), clock: clock.clone(), telemetry, placement, sockets };

    let options = settings::registry_options(config, &clock)?;
    let registry = registry::open(config.registry.url.expose(), &options)
        .map_err(|error| Error::config("the registry can't be used", error))?;
    let (configured, reconfigured) = watch::channel(settings::configured(config));
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let unless_started = stop.clone().drop_guard();
    let following = follow::start(
        Arc::clone(&registry),
        settings::follow(config, reconfigured),
        publisher,
        clock.clone(),
        Arc::clone(&parts.telemetry.follow),
        stop.clone(),
    );
    if parts.sockets.takes_over() {
        // Not in time is no failure: static names can be answered.
        let _ = tokio::time::timeout(limits::SYNC, view.wait_for(Fleet::is_synced)).await;
    }

    let mut dns = dns::Settings { sockets: parts.sockets.clone(), ..settings::dns(config)? };
    let serials: Arc<dyn dns::transfer::Serials> = Arc::new(serials::Kept(Arc::clone(&registry)));
    dns.transfers = settings::transfers(config, dns.keys.clone(), Arc::clone(&serials))?;
    let dns = dns::Server::bind(dns, view.clone(), clock.clone(), &parts.telemetry.dns)
        .map_err(|error| Error::unavailable("DNS", error))?;
    let listeners = settings::kafka(config)?.into_iter().map(|settings| parts.listen(settings));
    let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
    let readiness = Readiness::new(clock);
    let (state, shown) = watch::channel(reload::first_state(config));
    let admin = parts.admin(config, Arc::clone(&registry), readiness.clone(), shown)?;
    let metrics = Arc::clone(&parts.telemetry.config);
    let switches = Switches {
        dns: dns.live(),
        transfers: dns.transfers(),
        serials,
        access: admin.access(),
        configured,
        state,
        metrics,
    };
    switches.begin(config);
    parts.tell_of_unclaimed_sockets();

    let (dns_tls, dns_https) = dns.encrypted_addresses();
    let addresses = Addresses {
        dns_tls,
        dns_https,
        dns: dns.addresses(),
        kafka: listeners.iter().map(|(at, _)| at.clone()).collect(),
        admin: admin.address(),
    };
    tasks.spawn(dns.run(stop.clone()));
    for (_, listener) in listeners {
        tasks.spawn(listener.run(stop.clone()));
    }
    tasks.spawn(admin.run(stop.clone()));
    tasks.spawn(async move {
        // It ends with the stop signal; its own end says nothing more.
        let _ = following.await;
    });
    unless_started.disarm();
    let (switches, notifier) = (Some(switches), Notifier::default());
    Ok(Handle { addresses, view, registry, parts, readiness, switches, notifier, stop, tasks })
}

impl Handle {
    /// Tells `notifier` what the server does from now on, first that it is up.
    pub fn tell(&mut self, notifier: Notifier) {
        notifier.ready();
        self.notifier = notifier;
    }

    /// Reads `file`, which `used` was read from, again at each request and whenever it or a file that it names changed.
    pub fn reload_from(&mut self, file: reload::File, used: Config, requests: mpsc::Receiver<()>) {
        if let Some(switches) = self.switches.take() {
            let reloader = Reloader::new(file, used, switches);
            self.tasks.spawn(reloader.run(requests, self.notifier.clone(), self.stop.clone()));
        }
    }

    /// Serves until `stop`, then drains.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
        self.drain().await;
    }

    /// Stops taking work, lets what is under way finish for a bounded time, and ends.
    pub async fn drain(self) {
        self.notifier.stopping();
        self.readiness.drain();
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Parts {
    /// A socket that was passed for an address that nothing listens at is a mistake: questions wait there for ever.
    fn tell_of_unclaimed_sockets(&self) {
        for address in self.sockets.unclaimed() {
            tracing::warn!(
                address,
                "a socket was passed to us for an address that the configuration does not have"
            );
        }
    }

    /// Binds a Kafka listener.
    fn listen(&self, mut settings: ListenerSettings) -> Result<(KafkaAddress, Listener), Error> {
        settings.sockets = self.sockets.clone();
        let (cluster, clients) = (settings.cluster.clone(), settings.clients.clone());
        let sources = Sources {
            view: self.view.clone(),
            clock: self.clock.clone(),
            placement: Arc::clone(&self.placement),
            kafka: Arc::clone(&self.telemetry.kafka),
            metrics: Arc::clone(&self.telemetry.gateway),
        };
        let listener = Listener::bind(settings, sources).map_err(|error| match error {
            BindError::Address { .. } => Error::unavailable("Kafka", error),
            BindError::Tls { .. } | BindError::UpstreamTls { .. } => Error::config("Kafka", error),
        })?;
        Ok((KafkaAddress { address: listener.address(), cluster, clients }, listener))
    }

    fn admin(
        &self,
        config: &Config,
        registry: Registry,
        readiness: Readiness,
        shown: watch::Receiver<ConfigState>,
    ) -> Result<admin::Server, Error> {
        let settings = admin::Settings {
            config: Some(shown),
            sockets: self.sockets.clone(),
            ..settings::admin(config)?
        };
        let (view, clock) = (self.view.clone(), self.clock.clone());
        admin::Server::bind(settings, view, clock, registry, self.telemetry.clone(), readiness).map_err(
            |error| match error {
                admin::Error::Bind(..) => Error::unavailable("admin", error),
                admin::Error::Open(..) | admin::Error::WeakToken(..) | admin::Error::SameToken(..) => {
                    Error::config("admin", error)
                }
            },
        )
    }
}
