//! The demo: the server on an embedded registry, with a simulated fleet in the same process.
//!
//! Its agents heartbeat through the registry as any agent does, and each has a Kafka port that answers the
//! discovery APIs for its group. With churn they come, drain and die, so that one can watch.

use super::fleet::{self, CLUSTER, GROUPS, Planned};
use super::{Addresses, Error, Handle};
use crate::agent::Heartbeat;
use crate::config::{self, Config, Environment};
use crate::kafka::{ListenerSettings, Topics, static_catalog};
use crate::model::{Catalog, Fleet, Label, Record};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What `fingerpost demo` was asked for.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where DNS answers.
    pub dns: SocketAddr,
    /// Where the Kafka listeners of vpc-1 and vpc-2 listen.
    pub kafka: [SocketAddr; 2],
    /// Where the admin API listens.
    pub admin: SocketAddr,
    /// The zone's apex, lower case, without the last dot.
    pub apex: String,
    /// Agents per zone and group.
    pub agents_per_zone: usize,
    /// Whether agents come, drain and die.
    pub churn: bool,
}

/// Topics that every client of the demo sees.
pub const TOPICS: [(&str, i32); 3] = [("orders", 12), ("payments", 6), ("clicks", 24)];
/// The lease of a simulated agent: short, so that a death shows soon.
const LEASE: Duration = Duration::from_secs(6);
/// Time between two events of the churn.
const CHURN: Duration = Duration::from_secs(4);
/// How long a simulated agent drains before it leaves.
const DRAIN: Duration = Duration::from_secs(6);
/// How long one that left or died stays away.
const AWAY: Duration = Duration::from_secs(10);

/// How long the fleet may take to show in its own server.
const APPEAR: Duration = Duration::from_secs(5);

/// A running demo.
pub struct Demo {
    handle: Handle,
    agents: Vec<Arc<Simulated>>,
    /// Agents that did not get their own loopback address.
    pub displaced: usize,
    stop: CancellationToken,
    lives: TaskTracker,
}

/// One simulated agent: a Kafka listener that stays, and what it says of itself.
struct Simulated {
    planned: Planned,
    record: Record,
}

/// Starts the demo: returns when everything is bound and every agent has been seen.
pub async fn start(options: &DemoOptions) -> Result<Demo, Error> {
    let handle = super::start(&config(options)?).await?;
    let catalog = Arc::new(catalog()?);
    // With port 0 asked for, the agents take any port too, so that demos can run side by side.
    let port = if options.kafka.iter().any(|address| address.port() == 0) { 0 } else { 9092 };
    let (stop, lives) = (CancellationToken::new(), TaskTracker::new());
    let mut demo = Demo { handle, agents: Vec::new(), displaced: 0, stop, lives };
    for planned in fleet::plan(options.agents_per_zone)? {
        demo.bind_agent(planned, port, &catalog)?;
    }
    demo.begin(options.churn).await?;
    Ok(demo)
}

/// The demo's configuration is a file like any other, so that it can't do what `serve` can't.
fn config(options: &DemoOptions) -> Result<Config, Error> {
    let mut text = format!(
        "[registry]\nurl = \"memory:\"\n[dns]\nlisten = [\"{}\"]\n[[dns.zone]]\napex = \"{}\"\n\
         [[cluster]]\nname = \"{CLUSTER}\"\ntopics = {{ source = \"static\", list = [",
        options.dns, options.apex
    );
    for (name, partitions) in TOPICS {
        let _ = write!(text, "{{ name = \"{name}\", partitions = {partitions} }}, ");
    }
    text.push_str("] }\n");
    for ((group, _), listen) in GROUPS.iter().zip(options.kafka) {
        let _ = write!(
            text,
            "[[kafka.listener]]\nlisten = \"{listen}\"\ncluster = \"{CLUSTER}\"\ngroup = \"{group}\"\n"
        );
    }
    let _ = write!(text, "[admin]\nlisten = \"{}\"\n", options.admin);
    config::parse(Path::new("(demo)"), &text, &Environment::default()).map_err(|error| match error {
        config::Error::Invalid(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Error::Config(format!("these options do not fit together:\n{}", lines.join("\n")), None)
        }
        other => Error::config("these options do not fit together", other),
    })
}

fn catalog() -> Result<Catalog, Error> {
    let cluster =
        crate::model::Cluster::parse(CLUSTER).map_err(|error| Error::config("the demo's cluster", error))?;
    static_catalog(&cluster, TOPICS).map_err(|error| Error::config("the demo's topics", error))
}

impl Demo {
    /// What the server bound.
    pub fn addresses(&self) -> &Addresses {
        &self.handle.addresses
    }

    /// How many agents are simulated.
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    /// Binds an agent's Kafka port and lets it answer.
    fn bind_agent(&mut self, planned: Planned, port: u16, catalog: &Arc<Catalog>) -> Result<(), Error> {
        let [own, elsewhere] = fleet::candidates(&planned, port);
        let settings = |address| {
            let topics = Topics::Static(Arc::clone(catalog));
            let (cluster, group) = (planned.key.cluster.clone(), planned.key.group.clone());
            ListenerSettings {
                zone: Some(planned.zone.clone()),
                ..ListenerSettings::new(address, cluster, group, topics)
            }
        };
        let (at, listener) = match self.handle.parts.listen(settings(own)) {
            Ok(bound) => bound,
            Err(error) => {
                tracing::debug!(%own, %error, "an agent of the demo listens elsewhere");
                self.displaced += 1;
                self.handle.parts.listen(settings(elsewhere))?
            }
        };
        self.handle.tasks.spawn(listener.run(self.handle.stop.clone()));
        let kafka = Label::parse(crate::model::agent::KAFKA_SERVICE)
            .map_err(|error| Error::config("the demo's service", error))?;
        let record = Record {
            zone: Some(planned.zone.clone()),
            addresses: vec![at.address.ip()],
            ports: BTreeMap::from([(kafka, at.address.port())]),
            weight: crate::model::agent::DEFAULT_WEIGHT,
            version: Some("demo".into()),
            ..Record::default()
        };
        self.agents.push(Arc::new(Simulated { planned, record }));
        Ok(())
    }

    /// Lets every agent live, and returns when the server has seen all of them.
    async fn begin(&self, churn: bool) -> Result<(), Error> {
        for (number, agent) in self.agents.iter().enumerate() {
            let registry = Arc::clone(&self.handle.registry);
            let turn = churn.then_some(Turn { number, of: self.agents.len() });
            self.lives.spawn(live(registry, Arc::clone(agent), turn, self.stop.clone()));
        }
        let all = self.agents.len();
        let seen = |fleet: &Fleet| fleet.groups().map(|group| group.agents().len()).sum::<usize>() >= all;
        tokio::time::timeout(APPEAR, self.handle.view.wait_for(seen))
            .await
            .map(drop)
            .map_err(|error| Error::unavailable("the simulated agents did not show in the server", error))
    }

    /// Serves until `stop`; then the agents say goodbye and the server drains.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
        self.stop.cancel();
        self.lives.close();
        self.lives.wait().await;
        self.handle.drain().await;
    }
}

/// Which of the agents one is: they take turns in leaving.
#[derive(Clone, Copy)]
struct Turn {
    number: usize,
    of: usize,
}

impl Turn {
    /// How long until its next turn, if it has just begun to live as the whole fleet did.
    fn first(self) -> Duration {
        CHURN.saturating_mul(u32::try_from(self.number + 1).unwrap_or(1))
    }

    /// How long a life is after the first.
    fn span(self) -> Duration {
        CHURN.saturating_mul(u32::try_from(self.of).unwrap_or(1))
    }
}

/// One agent's life: it heartbeats; with churn it leaves when its turn comes, politely or (every third) by dying, and
/// comes back.
async fn live(
    registry: crate::registry::Registry,
    agent: Arc<Simulated>,
    turn: Option<Turn>,
    stop: CancellationToken,
) {
    let mut life = turn.map(Turn::first);
    let mut deaths = turn.map_or(0, |turn| turn.number);
    loop {
        let key = agent.planned.key.clone();
        let heartbeat =
            Heartbeat::start(Arc::clone(&registry), key.clone(), agent.record.clone(), LEASE, stop.clone());
        if ends_within(life, &stop).await {
            heartbeat.stop().await;
            return;
        }
        deaths += 1;
        if deaths.is_multiple_of(3) {
            tracing::info!(agent = %key, "dies without a word; it is gone when its lease ends");
            heartbeat.kill();
        } else {
            tracing::info!(agent = %key, "drains, then leaves");
            heartbeat.drain();
            let _ = ends_within(Some(DRAIN), &stop).await;
            heartbeat.stop().await;
        }
        if ends_within(Some(AWAY), &stop).await {
            return;
        }
        tracing::info!(agent = %key, "comes back");
        life = turn.map(Turn::span);
    }
}

/// Waits for the stop, at most `time` (without one: however long it takes); whether it came.
async fn ends_within(time: Option<Duration>, stop: &CancellationToken) -> bool {
    match time {
        Some(time) => tokio::time::timeout(time, stop.cancelled()).await.is_ok(),
        None => {
            stop.cancelled().await;
            true
        }
    }
}
