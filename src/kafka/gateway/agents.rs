//! The ready agents of one group as the upstream of a listener that relays: which of them gets a client, connecting to it,
//! and what becomes of the connection when it leaves.
//!
//! A connection is only ever made to an agent of the client's own group. The candidates are read from that one group of the
//! newest snapshot before each try, and an address that a live agent of another group has registered, too, is left out:
//! nobody could tell who answers there. Where TLS is spoken, the agent must show a certificate for its own name.

use super::close::Close;
use super::upstream::{Link, Watch};
use super::{Clock, Shared, limits};
use crate::kafka::owners::is_anothers;
use crate::kafka::service::Service;
use crate::model::{Agent, AgentId, Cluster, Fleet, GroupName, Moment, State, Zone};
use crate::net::dial::{Behalf, Dial};
use crate::net::tls::{ClientSettings, ClientTls};
use crate::placement::ClientZone;
use crate::view::View;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::time::timeout;

/// How a listener that relays reaches agents.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// TLS to them.
    pub tls: Option<ClientSettings>,
    /// The zone under which their certificates name them; without one they must have the host that they advertise.
    pub apex: Option<String>,
    /// Whether they are told the client's address by the PROXY protocol.
    pub proxy: bool,
}

/// How agents are reached.
#[derive(Debug)]
pub(crate) struct Agents {
    dial: Dial,
    apex: Option<String>,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct For<'a> {
    /// The service of its group.
    pub service: &'a Service,
    /// The client's address.
    pub source: IpAddr,
    /// Its client id, if its first request has one.
    pub client_id: Option<&'a str>,
    /// For the agents' logs and zones.
    pub behalf: Behalf,
}

impl Agents {
    pub(crate) fn new(tls: Option<ClientTls>, apex: Option<String>, proxy: bool) -> Self {
        let dial = Dial { tls, proxy, keep_alive: limits::KEEP_ALIVE };
        Self { dial, apex }
    }

    /// TLS to agents, whose files are to be watched.
    pub(crate) fn tls(&self) -> Option<&ClientTls> {
        self.dial.tls.as_ref()
    }

    /// Connects to a ready agent of the client's group: one of its zone if there is any, by weight, at random. Others are tried
    /// where one can't be reached in time, [`limits::AGENT_TRIES`] in all.
    pub(crate) async fn link(&self, client: For<'_>, shared: &Shared) -> Result<Link, Close> {
        let mut tried: Vec<AgentId> = Vec::new();
        while tried.len() < limits::AGENT_TRIES {
            let Some(chosen) = self.choose(client, shared, &tried) else { break };
            let Chosen { agent, addresses, host } = chosen;
            tried.push(agent.key.agent.clone());
            let connecting = self.dial.connect(&addresses[..], &host, Some(client.behalf));
            match timeout(limits::AGENT_CONNECT, connecting).await {
                Ok(Ok(stream)) => {
                    let view = shared.view.clone();
                    let watch = Watch::Agent(Watched { view, clock: shared.clock.clone(), agent });
                    return Ok(Link { stream, watch });
                }
                Ok(Err(error)) => tracing::debug!(agent = %agent.key, %error, "an agent can't be reached"),
                Err(_) => tracing::debug!(agent = %agent.key, "an agent can't be reached in time"),
            }
            shared.metrics.upstream_error("connect");
        }
        Err(Close::NoAgent(tried.len()))
    }

    fn choose(&self, client: For<'_>, shared: &Shared, tried: &[AgentId]) -> Option<Chosen> {
        // One snapshot: what is an agent's and what is another's in it must be of the same moment.
        let fleet = shared.view.load();
        let (fleet, now) = (&*fleet, shared.clock.now());
        let service = client.service;
        let (cluster, name) = (&service.cluster, &service.group);
        let roster = service.roster(fleet)?;
        let zones = &service.zones;
        let zone =
            zones.zone_of(client.client_id, client.source, service.zone.as_ref(), |zone| roster.zone(zone));
        let zone = match &zone {
            ClientZone::Known(zone, _) => Some(zone),
            ClientZone::Foreign(_) | ClientZone::Unaware => None,
        };
        let group = fleet.group(cluster.as_str(), name.as_str())?;
        let candidates = group.ready(now).filter(|agent| !tried.contains(&agent.key.agent));
        let candidates = candidates.filter_map(|agent| {
            let addresses = addresses(agent, fleet, (cluster, name), now);
            (!addresses.is_empty()).then_some((agent, addresses))
        });
        let (agent, addresses) = pick(candidates, zone, fastrand::f64)?;
        Some(Chosen { host: self.host(agent), agent: Arc::clone(agent), addresses })
    }

    /// Whom an agent's certificate must name.
    fn host(&self, agent: &Agent) -> String {
        let key = &agent.key;
        match &self.apex {
            Some(apex) => format!("{}.{}.{}.{apex}", key.agent, key.group, key.cluster),
            None => agent.record.advertised_host(),
        }
    }
}

/// An agent, and how to reach it.
struct Chosen {
    agent: Arc<Agent>,
    addresses: Vec<SocketAddr>,
    host: String,
}

/// Where an agent listens, without what an agent of another group claims, too.
fn addresses(
    agent: &Agent,
    fleet: &Fleet,
    (cluster, group): (&Cluster, &GroupName),
    now: Moment,
) -> Vec<SocketAddr> {
    let port = agent.record.kafka_port();
    let all = agent.record.addresses.iter().map(|ip| SocketAddr::new(*ip, port));
    all.filter(|address| !is_anothers(fleet, *address, cluster, group, now)).collect()
}

/// One of `agents`: of the zone if any is, each with a probability in proportion to its weight. `random` is uniform
/// in `0.0..1.0`.
fn pick<'a, T>(
    agents: impl Iterator<Item = (&'a Arc<Agent>, T)>,
    zone: Option<&Zone>,
    mut random: impl FnMut() -> f64,
) -> Option<(&'a Arc<Agent>, T)> {
    let drawn = agents.map(|(agent, more)| {
        let far = zone.is_some_and(|zone| agent.record.zone.as_ref() != Some(zone));
        // Of exponential variables with the weights as their rates, each is the least one that often.
        let draw = match agent.record.weight {
            0 => f64::INFINITY,
            weight => -random().max(f64::MIN_POSITIVE).ln() / f64::from(weight),
        };
        (far, draw, (agent, more))
    });
    drawn.min_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))).map(|(.., one)| one)
}

/// The agent that a connection goes to.
#[derive(Debug)]
pub struct Watched {
    view: View,
    clock: Clock,
    agent: Arc<Agent>,
}

impl Watched {
    /// Waits until the agent is gone, or another has its name.
    pub(super) async fn gone(&self) {
        self.until(|state| state.is_none()).await;
    }

    /// Waits until it is there and not ready any more.
    pub(super) async fn leaving(&self) {
        self.until(|state| state.is_some_and(|state| state != State::Ready)).await;
    }

    async fn until(&self, wanted: impl Fn(Option<State>) -> bool) {
        let key = &self.agent.key;
        let state = |fleet: &Fleet| {
            let group = fleet.group(key.cluster.as_str(), key.group.as_str())?;
            Some(group.agent(key.agent.as_str(), self.clock.now())?.record.state)
        };
        if self.view.wait_for(|fleet| wanted(state(fleet))).await.is_none() {
            std::future::pending::<()>().await; // nothing is published any more
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentKey, Lease, Record, Source};

    fn agent(id: &str, zone: &str, weight: u16) -> Arc<Agent> {
        let (cluster, group) = (Cluster::parse("prod").unwrap(), GroupName::parse("vpc-1").unwrap());
        let key = AgentKey { cluster, group, agent: AgentId::parse(id).unwrap() };
        let record = Record { zone: Some(Zone::parse(zone).unwrap()), weight, ..Record::default() };
        let lease = Lease::new(Moment::from_millis(1_000), Source::new("test", 0));
        Arc::new(Agent { key, record: Arc::new(record), lease })
    }

    /// How often each of `agents` is picked of 10,000 times.
    fn picked(agents: &[Arc<Agent>], zone: Option<&str>) -> Vec<usize> {
        let zone = zone.map(|zone| Zone::parse(zone).unwrap());
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = vec![0; agents.len()];
        for _ in 0..10_000 {
            let all = agents.iter().enumerate().map(|(n, agent)| (agent, n));
            counts[pick(all, zone.as_ref(), || random.f64()).unwrap().1] += 1;
        }
        counts
    }

    #[test]
    fn the_zones_own_come_first_and_weights_count() {
        let agents = [
            agent("a", "az-1", 100),
            agent("b", "az-1", 300),
            agent("c", "az-2", 400),
            agent("d", "az-3", 0),
        ];
        let near = |count: usize, wanted: usize| count.abs_diff(wanted) < 300;
        let counts = picked(&agents, None);
        assert!(near(counts[0], 1_250) && near(counts[1], 3_750) && near(counts[2], 5_000), "{counts:?}");
        assert_eq!(counts[3], 0, "only where there is no other");
        let counts = picked(&agents, Some("az-1"));
        assert!(near(counts[0], 2_500) && near(counts[1], 7_500), "{counts:?}");
        assert_eq!(picked(&agents, Some("az-2"))[2], 10_000);
        assert_eq!(picked(&agents, Some("az-3"))[3], 10_000);
        let counts = picked(&agents, Some("az-9"));
        assert!(near(counts[2], 5_000), "a zone without agents: any of the group: {counts:?}");
        assert!(pick(std::iter::empty::<(&Arc<Agent>, ())>(), None, || 0.5).is_none());
        assert_eq!(picked(&agents[3..], None), [10_000]);
    }
}
