//! The sidecar: a gateway in front of a broker, and a heartbeat that says `ready` only while clients are served. It
//! follows the registry itself, so that each gateway of a group computes the same answers without asking anybody.
//!
//! The record says `draining` while the upstream is lost or the agent leaves: out of DNS and out of new placements. It is
//! first written when the upstream has answered, and removed when the last connection has ended.

use super::heartbeat::Heartbeat;
use super::probe::{self, Health};
use crate::clock::Clock;
use crate::kafka::gateway::{self, Control, Gateway, Phase, Sources};
use crate::kafka::{self, BindError};
use crate::limits::gateway as limits;
use crate::model::{AgentKey, Fleet, Record, State};
use crate::registry::{Registry, follow};
use crate::telemetry::Telemetry;
use crate::view::{self, Publisher, View};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a sidecar is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which agent it is.
    pub key: AgentKey,
    /// For how long a heartbeat holds.
    pub lease: Duration,
    /// For how long its clients may go on when it leaves.
    pub drain: Duration,
    /// Requests of one client within this time count as one turn of the round robin.
    pub same_client: Duration,
    /// The gateway.
    pub gateway: gateway::Settings,
}

/// A bound sidecar.
#[derive(Debug)]
pub struct Sidecar {
    settings: Settings,
    gateway: Gateway,
    control: Control,
    publisher: Publisher,
    view: View,
    clock: Clock,
    telemetry: Telemetry,
    health: watch::Sender<Health>,
}

impl Sidecar {
    /// Binds the gateway; must be called within the runtime that will run it.
    pub fn bind(settings: Settings, telemetry: Telemetry) -> Result<Self, BindError> {
        let (publisher, view) = view::channel();
        let clock = Clock::machine();
        let sources = Sources {
            view: view.clone(),
            clock: clock.clone(),
            placement: kafka::placement_within(settings.same_client),
            kafka: Arc::clone(&telemetry.kafka),
            metrics: Arc::clone(&telemetry.gateway),
        };
        let gateway = Gateway::bind(settings.gateway.clone(), sources)?;
        let control = gateway.control();
        let health = watch::Sender::new(Health::Unknown);
        Ok(Self { settings, gateway, control, publisher, view, clock, telemetry, health })
    }

    /// Where clients come in.
    pub fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// What answers are made of, and the time that it goes by.
    pub fn view(&self) -> (View, Clock) {
        (self.view.clone(), self.clock.clone())
    }

    /// What is known of the upstream.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Serves and heartbeats until `stop`, then drains and says goodbye. `record` is what the agent is while it is ready.
    pub async fn run(self, registry: Registry, record: Record, stop: CancellationToken) {
        let Self { settings, gateway, control, publisher, view, clock, telemetry, health } = self;
        let (end, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (cluster, group) = (settings.key.cluster.clone(), settings.key.group.clone());
        let follow_settings =
            follow::Settings { groups: vec![(cluster, group)], ..follow::Settings::default() };
        let metrics = Arc::clone(&telemetry.follow);
        let store = Arc::clone(&registry);
        let following = follow::start(store, follow_settings, publisher, clock, metrics, end.clone());
        tasks.spawn(gateway.run(end.clone()));
        let seen = health.subscribe();
        let watching = probe::watch(control.upstream(), Arc::clone(&telemetry.gateway), health);
        tasks.spawn(end.clone().run_until_cancelled_owned(watching));

        let agent = Agent { settings: &settings, control: &control, seen, view };
        agent.live(registry, record, &stop).await;

        end.cancel();
        tasks.close();
        tasks.wait().await;
        let _ = following.await; // it ends with the same signal and says nothing more
    }
}

/// The agent's life: not there yet, ready or not, leaving.
struct Agent<'a> {
    settings: &'a Settings,
    control: &'a Control,
    seen: watch::Receiver<Health>,
    view: View,
}

impl Agent<'_> {
    async fn live(mut self, registry: Registry, record: Record, stop: &CancellationToken) {
        let stopped = stop.cancelled();
        tokio::pin!(stopped);
        tokio::select! {
            came = self.come() => if !came { return },
            () = &mut stopped => return,
        }
        let (key, lease) = (self.settings.key.clone(), self.settings.lease);
        // A token of its own: the goodbye comes after the drain.
        let heartbeat = Heartbeat::start(registry, key, record, lease, CancellationToken::new());
        tokio::select! {
            () = self.follow_health(&heartbeat) => {}
            () = &mut stopped => {}
        }
        heartbeat.drain();
        self.drain().await;
        heartbeat.stop().await;
    }

    /// Waits until there is something to say: the upstream answers, and the registry was read.
    async fn come(&mut self) -> bool {
        let synced = self.view.wait_for(Fleet::is_synced).await.is_some();
        synced && self.seen.wait_for(|health| *health == Health::Up).await.is_ok()
    }

    /// Keeps the record's state that of the upstream.
    async fn follow_health(&mut self, heartbeat: &Heartbeat) {
        loop {
            let health = *self.seen.borrow_and_update();
            let state = if health == Health::Up { State::Ready } else { State::Draining };
            if heartbeat.record().state != state {
                heartbeat.change(|record| record.state = state);
            }
            if self.seen.changed().await.is_err() {
                return;
            }
        }
    }

    /// Lets clients move: for three quarters of the time on their own, or until nobody used the gateway for a while; then at
    /// the first moment when nothing is in flight.
    async fn drain(&self) {
        let patience = self.settings.drain;
        tracing::info!(?patience, open = self.open(), "draining: clients are told of the other agents");
        self.control.set_phase(Phase::Draining);
        let _ = tokio::time::timeout(patience.mul_f64(0.75), self.unused()).await;
        tracing::info!(open = self.open(), "closing what is left as soon as nothing is in flight");
        self.control.set_phase(Phase::Leaving);
        let _ = tokio::time::timeout(patience.mul_f64(0.25), self.empty()).await;
        tracing::info!(open = self.open(), "drained");
    }

    /// Waits until nobody used the gateway for a while.
    async fn unused(&self) {
        while let Some(left) =
            limits::DRAIN_ALONE.checked_sub(self.control.unused()).filter(|left| !left.is_zero())
        {
            tokio::time::sleep(left).await;
        }
    }

    /// Waits until there is no connection.
    async fn empty(&self) {
        while self.open() > 0 {
            tokio::time::sleep(limits::DRAIN_LOOK).await;
        }
    }

    fn open(&self) -> u64 {
        self.control.counts.open.load(Ordering::Relaxed)
    }
}
