//! The test bed: one broker as everybody's storage, six gateways in two groups over three zones, Redis, and a server
//! whose DNS the clients resolve by.

use crate::support::{
    Broker, BrokerOptions, Client, Fingerpost, KafkaClient, Meter, Redis, Said, Signal, client,
    client_resolving, dig, fingerpost, redis, run, tool, wait_for,
};
use kafka_protocol::messages::{ApiKey, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The zone that our DNS serves.
const APEX: &str = "kafka.test";
/// Of every client: short, so that it asks often where to go.
pub const METADATA_AGE: &str = "2000";
/// How long an agent that leaves lets its clients go on: three quarters of it are three ages of metadata, after which
/// each client has been told of the others; what is still connected then is cut at the first quiet moment.
const DRAIN: &str = "8s";
/// The zones, and the agents in them: group, agent, zone.
pub const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];
/// How long something of a few seconds may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a test wants otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Agents are advertised by their names (needs root for the resolver), else by address.
    pub names: bool,
    /// Meters stand before the gateways.
    pub metered: bool,
    /// Agents per zone in the first group; the second has one.
    pub per_zone: u8,
}

/// Everything that runs.
pub struct Bed {
    pub plan: Plan,
    pub meter: Meter,
    pub agents: Vec<Agent>,
    pub broker: Broker,
    redis: Redis,
    server: Fingerpost,
    resolver: Option<Resolver>,
    port: u16,
}

/// A resolv.conf that names our DNS.
struct Resolver {
    _folder: TempDir,
    file: std::path::PathBuf,
}

/// One gateway.
pub struct Agent {
    pub group: &'static str,
    pub id: String,
    pub zone: &'static str,
    /// Where clients connect to.
    pub address: SocketAddr,
    /// Where it listens: the same, unless a meter stands there.
    listen: SocketAddr,
    pub process: Option<Fingerpost>,
    /// When it was asked to leave.
    left: Option<Instant>,
}

impl Bed {
    /// Starts everything, waits until every agent is in DNS, and has records written and read through one of them: no
    /// client that is measured is the first.
    #[track_caller]
    pub fn start(mut plan: Plan) -> Self {
        let net = fastrand::u8(20..250);
        let (meter, redis) = (Meter::start(), redis());
        let trap =
            SocketAddr::from((Ipv4Addr::new(127, net, 9, 9), free_port(&[Ipv4Addr::new(127, net, 9, 9)])));
        meter.listen("past the gateways", trap, None);
        let broker = Broker::with(BrokerOptions { trap: Some(trap), ..BrokerOptions::default() });
        let dns = SocketAddr::from((Ipv4Addr::new(127, net, 0, 53), 53));
        let resolver = Resolver::new(dns);
        if resolver.is_none() && plan.names {
            println!(
                "interop: NOT ROOT: no resolver of our own, so clients bootstrap and connect by address"
            );
            plan.names = false;
        }
        let hosts = roster(net, plan.per_zone);
        let port = free_port(&hosts.iter().map(|(_, _, _, ip)| *ip).collect::<Vec<_>>());
        let agents = hosts.into_iter().map(|(group, id, zone, ip)| Agent {
            group,
            id,
            zone,
            address: (ip, port).into(),
            listen: (ip, if plan.metered { free_port(&[ip]) } else { port }).into(),
            process: None,
            left: None,
        });
        let agents = agents.collect();
        let listen = if resolver.is_some() { dns } else { (Ipv4Addr::LOCALHOST, 0).into() };
        let server = serve(&redis, listen);
        let mut bed = Self { plan, meter, agents, broker, redis, server, resolver, port };
        for index in 0..bed.agents.len() {
            let agent = &bed.agents[index];
            if plan.metered {
                bed.meter.listen(&agent.id, agent.address, Some(agent.listen));
            }
            bed.start_agent(index);
        }
        for index in 0..bed.agents.len() {
            bed.wait_until_ready(index);
        }
        bed.create("franz-go", "warm", "warm", 1).expect("create a topic");
        for what in ["produce", "consume"] {
            let work = [what, "--topic", "warm", "--count", "10"];
            bed.run("franz-go", FIRST, "warm", &work, PATIENCE).expect(what);
        }
        bed
    }

    /// Creates a topic through a client of the first group.
    pub fn create(&self, name: &str, id: &str, topic: &str, partitions: usize) -> Result<(), String> {
        let partitions = partitions.to_string();
        let create = ["admin", "create-topic", "--topic", topic, "--partitions", &partitions];
        self.run(name, FIRST, id, &create, PATIENCE).map(drop)
    }

    /// How many Metadata requests a client has sent, as the meters count.
    pub fn asked(&self, id: &str) -> u64 {
        self.meter.requests(id, ApiKey::Metadata as i16)
    }

    /// Starts an agent's process, without waiting for it.
    #[track_caller]
    pub fn start_agent(&mut self, index: usize) {
        let (registry, upstream) = (self.redis.url(), self.broker.behind().to_string());
        let agent = &mut self.agents[index];
        let (listen, address) = (agent.listen.to_string(), agent.address.ip().to_string());
        let port = self.port.to_string();
        let mut arguments = vec!["agent", "--cluster", "prod", "--group", agent.group, "--agent", &agent.id];
        arguments.extend(["--zone", agent.zone, "--listen", &listen, "--address", &address, "--port", &port]);
        arguments.extend([
            "--upstream",
            &upstream,
            "--registry",
            &registry,
            "--lease",
            "10s",
            "--drain",
            DRAIN,
        ]);
        if self.plan.names {
            arguments.extend(["--apex", APEX]);
        }
        agent.process = Some(fingerpost(&arguments));
    }

    /// Waits until DNS answers with an agent among its group's.
    #[track_caller]
    pub fn wait_until_ready(&mut self, index: usize) {
        let (group, ip) = (self.agents[index].group, self.agents[index].address.ip().to_string());
        self.wait_for_dns(group, &ip, true);
    }

    /// SIGTERM: the agent begins to leave.
    #[track_caller]
    pub fn terminate(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        agent.left = Some(Instant::now());
        agent.process.as_mut().expect("it runs").process().signal(Signal::Term);
    }

    /// Waits until an agent that leaves has ended; how long that took. Fails unless it ended well.
    #[track_caller]
    pub fn wait_until_ended(&mut self, index: usize) -> Duration {
        let agent = &mut self.agents[index];
        let mut process = agent.process.take().expect("it runs");
        let status = process.process().wait_exit_within(PATIENCE);
        assert!(status.success(), "agent {}: {status}", agent.id);
        agent.left.take().map_or(Duration::ZERO, |left| left.elapsed())
    }

    #[track_caller]
    fn wait_for_dns(&mut self, group: &str, ip: &str, there: bool) {
        let (server, name) = (self.server.dns(), format!("{group}.prod.{APEX}"));
        wait_for(&format!("{ip} at {name}: {there}"), PATIENCE, || {
            dig(server, &[&name, "A"]).data("A").contains(&ip) == there
        });
    }

    /// Where clients of a group begin: its name, where we are their resolver, else its agents' addresses.
    pub fn bootstrap(&self, group: &str) -> String {
        if self.resolver.is_some() {
            return format!("{group}.prod.{APEX}:{}", self.port);
        }
        let of_group = self.agents.iter().filter(|agent| agent.group == group);
        of_group.map(|agent| agent.address.to_string()).collect::<Vec<_>>().join(",")
    }

    /// Starts a client of a group: `arguments` are the command and what only it needs.
    #[track_caller]
    pub fn client(&self, name: &str, group: &str, id: &str, arguments: &[&str]) -> Client {
        let bootstrap = self.bootstrap(group);
        let mut all = arguments.to_vec();
        all.extend(["--bootstrap", &bootstrap, "--client-id", id, "--metadata-age", METADATA_AGE]);
        if !arguments.contains(&"--count") {
            all.extend(["--timeout", "600"]); // for so long it may run
        }
        match &self.resolver {
            Some(resolver) => client_resolving(name, &all, Some(&resolver.file)),
            None => client(name, &all),
        }
    }

    /// Runs a client to its end; the reason if it did not end well.
    #[track_caller]
    pub fn run(
        &self,
        name: &str,
        group: &str,
        id: &str,
        arguments: &[&str],
        within: Duration,
    ) -> Result<Said, String> {
        let what = arguments.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        let mut running = self.client(name, group, id, arguments);
        let start = std::time::Instant::now();
        while running.process().is_running() {
            if start.elapsed() > within {
                return Err(format!("{what}: no end after {within:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        ended_well(&what, running.finish())
    }

    /// The host and port that clients are told of an agent.
    pub fn told(&self, agent: &Agent) -> (String, u16) {
        let host = match self.plan.names {
            true => format!("{}.{}.prod.{APEX}", agent.id, agent.group),
            false => agent.address.ip().to_string(),
        };
        (host, self.port)
    }

    /// The coordinator of a consumer group: what every agent of the first group says, and whether it lists it.
    pub fn coordinator(&self, group: &str) -> Result<i32, String> {
        let mut said = Vec::new();
        for agent in self.agents.iter().filter(|agent| agent.group == FIRST && agent.process.is_some()) {
            let mut client = KafkaClient::connect(agent.listen, "interop-check");
            let keys = vec![StrBytes::from_string(group.to_owned())];
            let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
            let found: FindCoordinatorResponse = client.ask(ApiKey::FindCoordinator, 4, &request);
            let node = found.coordinators.first().map_or(-1, |found| found.node_id.0);
            if !client.metadata().brokers.iter().any(|broker| broker.node_id.0 == node) {
                return Err(format!("{}: coordinator {node} is not listed", agent.id));
            }
            said.push(node);
        }
        said.dedup();
        match said[..] {
            [one] => Ok(one),
            _ => Err(format!("agents name different coordinators: {said:?}")),
        }
    }
}

/// The group whose clients are measured.
pub const FIRST: &str = "vpc-1";
/// The other one.
pub const SECOND: &str = "vpc-2";

/// What a client that ended has said, or why it did not end well.
pub fn ended_well(what: &str, said: Said) -> Result<Said, String> {
    let errors = said.errors();
    if said.code == 0 && errors.is_empty() {
        return Ok(said);
    }
    let first = errors.first().cloned();
    let last = said.stderr.lines().last().unwrap_or_default();
    Err(format!("{what}: exit code {}, {}", said.code, first.unwrap_or_else(|| last.to_owned())))
}

/// Group, id, zone and address of each agent.
fn roster(net: u8, per_zone: u8) -> Vec<(&'static str, String, &'static str, Ipv4Addr)> {
    let mut agents = Vec::new();
    for (number, group, each) in [(21, FIRST, per_zone), (22, SECOND, 1)] {
        for (at, zone) in (1..).zip(ZONES) {
            for n in 1..=each {
                let letter = &zone[zone.len() - 1..];
                let id = format!("g{number}-{letter}{n}");
                agents.push((group, id, zone, Ipv4Addr::new(127, net, number, at * 10 + n)));
            }
        }
    }
    agents
}

/// A port below the ephemeral range that is free at all of these addresses.
fn free_port(at: &[Ipv4Addr]) -> u16 {
    for _ in 0..100 {
        let port = fastrand::u16(20_000..30_000);
        let bound: Vec<_> = at.iter().map_while(|ip| TcpListener::bind((*ip, port)).ok()).collect();
        if bound.len() == at.len() {
            return port;
        }
    }
    panic!("no port is free at {at:?}");
}

/// DNS, and the fleet as the server sees it.
#[track_caller]
fn serve(redis: &Redis, dns: SocketAddr) -> Fingerpost {
    let folder = TempDir::new().expect("make a temporary folder");
    let file = folder.path().join("fingerpost.toml");
    let text = format!(
        "[registry]\nurl = \"{}\"\n[dns]\nlisten = [\"{dns}\"]\n[[dns.zone]]\napex = \"{APEX}\"\n\
         [[cluster]]\nname = \"prod\"\ngroups = [\"{FIRST}\", \"{SECOND}\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        redis.url()
    );
    std::fs::write(&file, text).expect("write the configuration");
    let mut server = fingerpost(&["serve", "--config", &file.to_string_lossy()]);
    server.dns(); // it has read its configuration
    server
}

impl Resolver {
    /// `None` where port 53 or a mount namespace is not for us.
    fn new(dns: SocketAddr) -> Option<Self> {
        UdpSocket::bind(dns).ok()?;
        let folder = TempDir::new().expect("make a temporary folder");
        let file = folder.path().join("resolv.conf");
        let text = format!("nameserver {}\noptions timeout:1 attempts:3\n", dns.ip());
        std::fs::write(&file, text).expect("write resolv.conf");
        let mut look = std::process::Command::new("cat");
        look.arg("/etc/resolv.conf");
        tool("unshare");
        let ran = run("unshare", &mut crate::support::resolving(&look, &file));
        let works = ran.status.success() && ran.stdout.contains(&dns.ip().to_string());
        works.then_some(Self { _folder: folder, file })
    }
}
