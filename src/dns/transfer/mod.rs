//! Zones for ordinary secondaries: what the fleet is at a moment, as a list of records under a serial that all
//! replicas agree on ([`agree`]), handed out by AXFR and IXFR (`serve`) to those who show a key ([`super::tsig`])
//! and announced by NOTIFY (`notify`). [`contents`] says what a zone holds, [`journal`] what changed.

pub mod agree;
pub mod contents;
pub mod journal;
mod message;
mod notify;
mod serve;
#[cfg(test)]
mod tests;

pub use journal::Version;
pub(super) use serve::{Sent, Transfer};

use super::live::Live;
use super::names::Name;
use super::respond::Responder;
use super::tsig::{Key, Keys};
use super::zones::{Zone, Zones};
use crate::clock::Clock;
use crate::limits::dns as limits;
use crate::model::{Cluster, GroupName};
use crate::net::proxy::Networks;
use crate::telemetry::transfer::Metrics;
use crate::view::View;
use agree::{Replica, State};
use notify::Notifier;
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What transfers are made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// All TSIG keys.
    pub keys: Keys,
    /// Who may copy zones.
    pub secondaries: Vec<Secondary>,
    /// Shortest time between two serials of a zone, and between two NOTIFY of one secondary.
    pub interval: Duration,
    /// What is known of groups beside the fleet.
    pub plan: Plan,
    /// Where the serials are kept.
    pub serials: Arc<dyn Serials>,
}

/// Who may copy zones.
#[derive(Clone, Debug)]
pub struct Secondary {
    /// The key that it signs with, and that NOTIFY to it is signed with.
    pub key: Arc<Key>,
    /// Which zones; all of them if none is named.
    pub zones: Vec<Name>,
    /// Where it asks from; anywhere if no network is named.
    pub networks: Option<Networks>,
    /// Where it is told of changes.
    pub notify: Vec<SocketAddr>,
    /// Whether it also gets the groups that only some networks may ask for: it can't keep them from anybody.
    pub all_groups: bool,
}

/// What is known of groups beside the fleet.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Those that the configuration names: they exist for secondaries even without an agent.
    pub groups: BTreeSet<(Cluster, GroupName)>,
}

/// What the replicas agreed on for a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The newest serial.
    pub serial: u32,
    /// The digest of the content it stands for.
    pub digest: String,
}

/// An operation of [`Serials`]. What went wrong comes in words.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// Where the newest serial of each zone is kept, so that all replicas see the same.
pub trait Serials: Send + Sync + fmt::Debug {
    /// The mark of the zone `apex` (no final dot); `None` if it never had one.
    fn read<'a>(&'a self, apex: &'a str) -> Asked<'a, Option<Mark>>;

    /// Replaces the mark if it is still `expected`, in one step; whether it was.
    fn swap<'a>(&'a self, apex: &'a str, expected: Option<&'a Mark>, new: &'a Mark) -> Asked<'a, bool>;
}

impl Settings {
    /// Whether anybody may copy this zone. Reverse zones are not listed, so nobody may copy them.
    fn copies(&self, zone: &Zone) -> bool {
        zone.reverse.is_none() && self.secondaries.iter().any(|secondary| secondary.may_copy(&zone.apex))
    }

    /// Zones that somebody may copy show no serial until the first is agreed on: the file's would lead secondaries back
    /// in time.
    pub(super) fn suspend(&self, zones: &Zones) {
        zones.iter().filter(|zone| self.copies(zone)).for_each(|zone| zone.agreed.suspend());
    }
}

impl Secondary {
    fn may_copy(&self, apex: &Name) -> bool {
        self.zones.is_empty() || self.zones.iter().any(|zone| zone.wire() == apex.wire())
    }

    fn is_at(&self, peer: IpAddr) -> bool {
        self.networks.as_ref().is_none_or(|networks| networks.contains(peer))
    }
}

/// Who copies zones, to be replaced while the server runs. Cheap to clone; all clones see a replacement.
#[derive(Clone, Debug)]
pub struct Switch {
    wanted: watch::Sender<Option<Settings>>,
    current: watch::Sender<Option<Arc<Transfers>>>,
}

impl Switch {
    /// Begins with these settings; with none, nobody may copy.
    pub fn new(settings: Option<Settings>) -> Self {
        Self { wanted: watch::Sender::new(settings), current: watch::Sender::new(None) }
    }

    /// From now on these settings hold. What is under way ends as it began.
    pub fn replace(&self, settings: Option<Settings>) {
        self.wanted.send_replace(settings);
    }

    /// Those of this moment.
    fn current(&self) -> Option<Arc<Transfers>> {
        self.current.borrow().clone()
    }

    /// Keeps zones up to date and tells secondaries until `stop`.
    pub(super) async fn run(
        self,
        live: Live,
        view: View,
        clock: Clock,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) {
        let mut wanted = self.wanted.subscribe();
        while !stop.is_cancelled() {
            let (halt, tasks) = (stop.child_token(), TaskTracker::new());
            let settings = wanted.borrow_and_update().clone();
            let responder = Arc::clone(&live.load());
            let before = self.current();
            let next = settings.map(|settings| {
                let next = Transfers::new(&settings, &responder, before.as_deref(), Arc::clone(&metrics));
                next.start(&settings, &responder, &view, &clock, (&halt, &tasks));
                next
            });
            self.current.send_replace(next);
            tokio::select! {
                _ = wanted.changed() => {}
                () = stop.cancelled() => {}
            }
            halt.cancel();
            tasks.close();
            tasks.wait().await;
        }
    }
}

/// The zones that are copied, and by whom.
#[derive(Debug)]
pub(super) struct Transfers {
    keys: Keys,
    secondaries: Vec<Secondary>,
    zones: Vec<Copied>,
    permits: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A zone that somebody may copy.
#[derive(Debug)]
struct Copied {
    apex: Name,
    /// Its place among the responder's zones.
    index: usize,
    versions: watch::Sender<Option<Arc<Version>>>,
}

impl Transfers {
    /// The zones of `responder` that have a secondary; versions that were known `before` stay known.
    fn new(
        settings: &Settings,
        responder: &Responder,
        before: Option<&Self>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        settings.suspend(responder.zones());
        let mut zones = Vec::new();
        for (index, zone) in responder.zones().iter().enumerate() {
            if settings.copies(zone) {
                let same = |old: &&Copied| old.apex.wire() == zone.apex.wire();
                let old = before.and_then(|before| before.zones.iter().find(same));
                let version = old.and_then(|old| old.versions.borrow().clone());
                zones.push(Copied { apex: zone.apex.clone(), index, versions: watch::Sender::new(version) });
            }
        }
        Arc::new(Self {
            keys: settings.keys.clone(),
            secondaries: settings.secondaries.clone(),
            zones,
            permits: Arc::new(Semaphore::new(limits::TRANSFERS)),
            metrics,
        })
    }

    /// Starts what keeps the zones up to date and tells the secondaries.
    fn start(
        &self,
        settings: &Settings,
        responder: &Arc<Responder>,
        view: &View,
        clock: &Clock,
        (stop, tasks): (&CancellationToken, &TaskTracker),
    ) {
        let plan = Arc::new(settings.plan.clone());
        for zone in &self.zones {
            let replica = Replica {
                zone: zone.index,
                responder: Arc::clone(responder),
                view: view.clone(),
                clock: clock.clone(),
                plan: Arc::clone(&plan),
                serials: Arc::clone(&settings.serials),
                interval: settings.interval,
                versions: zone.versions.clone(),
                metrics: Arc::clone(&self.metrics),
                state: State::default(),
            };
            tasks.spawn(replica.run(stop.clone()));
            for secondary in self.secondaries.iter().filter(|secondary| secondary.may_copy(&zone.apex)) {
                for to in &secondary.notify {
                    let notifier = Notifier {
                        apex: zone.apex.clone(),
                        to: *to,
                        key: Arc::clone(&secondary.key),
                        versions: zone.versions.subscribe(),
                        interval: settings.interval,
                        metrics: Arc::clone(&self.metrics),
                        in_trouble: false,
                    };
                    tasks.spawn(notifier.run(stop.clone()));
                }
            }
        }
    }
}
