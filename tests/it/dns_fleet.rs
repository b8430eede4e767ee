//! A DNS server within the test, fed by hand: real sockets, a fleet that the test edits, a clock that it turns.

use fingerpost::clock::Clock;
use fingerpost::dns::{Rules, Server, Settings, Zones};
use fingerpost::model::agent::{Agent, Record, State};
use fingerpost::model::{
    AgentId, AgentKey, Cluster, Departed, Edit, Fleet, Group, GroupName, Label, Lease, Source, Zone,
};
use fingerpost::telemetry::Telemetry;
use fingerpost::view::{self, Publisher};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A running server.
pub struct Served {
    pub address: SocketAddr,
    pub clock: Clock,
    pub source: Arc<Source>,
    pub publisher: Publisher,
    pub telemetry: Telemetry,
    runtime: Option<tokio::runtime::Runtime>,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

/// How to change an agent's record.
pub type Change<'a> = dyn Fn(&mut Record) + 'a;

impl Served {
    /// Starts a server on a free port of 127.0.0.1 with one worker.
    pub fn start(zones: Zones, rules: Rules) -> Self {
        Self::with(Settings { zones, rules, ..Settings::default() })
    }

    pub fn with(settings: Settings) -> Self {
        Self::at(settings, Clock::manual(1_000_000))
    }

    /// With a clock that others have, too.
    pub fn at(settings: Settings, clock: Clock) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (publisher, view) = view::channel();
        let telemetry = Telemetry::new().unwrap();
        let stop = CancellationToken::new();
        let anywhere = vec!["127.0.0.1:0".parse().unwrap()];
        let listen = if settings.listen.is_empty() { anywhere } else { settings.listen };
        let settings = Settings { listen, workers: 1, ..settings };
        let _inside = runtime.enter();
        let server = Server::bind(settings, view, clock.clone(), &telemetry.dns).unwrap();
        let address = server.addresses()[0];
        let task = runtime.spawn(server.run(stop.clone()));
        drop(_inside);
        let source = Source::new("test", 60_000);
        let mut edit = publisher.current().edit();
        edit.set_sources(vec![Arc::clone(&source)]);
        publisher.publish(edit.finish());
        Self { address, clock, source, publisher, telemetry, runtime: Some(runtime), stop, task: Some(task) }
    }

    /// Publishes the fleet after `change`.
    pub fn edit(&self, change: impl FnOnce(&mut Edit)) {
        let mut edit = self.publisher.current().edit();
        change(&mut edit);
        self.publisher.publish(edit.finish());
    }

    pub fn synced(&self) {
        self.edit(Edit::set_synced);
    }

    /// An agent by `cluster/group/agent`, with a lease of `millis`.
    pub fn agent(&self, path: &str, record: Record, millis: u64) {
        let key = key(path);
        let lease = Lease::new(self.clock.now().plus_millis(millis), Arc::clone(&self.source));
        let agent = Arc::new(Agent { key: key.clone(), record: Arc::new(record), lease });
        self.rebuild(&key, |agents, departed| {
            agents.retain(|have| have.key != key);
            departed.retain(|have| have.agent.key != key);
            agents.push(agent);
        });
    }

    /// Changes an agent's record, its lease staying what it is.
    pub fn change(&self, path: &str, change: &Change<'_>) {
        let key = key(path);
        self.rebuild(&key, |agents, _| {
            let agent = agents.iter_mut().find(|have| have.key == key).expect("the agent is there");
            let mut record = (*agent.record).clone();
            change(&mut record);
            *agent = Arc::new(Agent { record: Arc::new(record), ..(**agent).clone() });
        });
    }

    /// Renews a lease, which publishes nothing.
    pub fn renew(&self, path: &str, millis: u64) {
        let key = key(path);
        let fleet = self.publisher.current();
        let group = fleet.group(key.cluster.as_str(), key.group.as_str()).expect("the group is there");
        let agent = group.agent(key.agent.as_str(), self.clock.now()).expect("the agent is there");
        agent.lease.renew(self.clock.now().plus_millis(millis));
    }

    /// The agent is gone; its name resolves for `grace` milliseconds.
    pub fn gone(&self, path: &str, grace: u64) {
        let key = key(path);
        let until = self.clock.now().plus_millis(grace);
        self.rebuild(&key, |agents, departed| {
            let at = agents.iter().position(|have| have.key == key).expect("the agent is there");
            departed.push(Departed { agent: agents.remove(at), until });
        });
    }

    /// A group without agents.
    pub fn group(&self, cluster: &str, group: &str) {
        self.rebuild(&key(&format!("{cluster}/{group}/none")), |_, _| {});
    }

    fn rebuild(&self, key: &AgentKey, change: impl FnOnce(&mut Vec<Arc<Agent>>, &mut Vec<Departed>)) {
        self.edit(|edit| rebuild(edit, key, change));
    }

    /// Asks over UDP; no answer within two seconds is `None`.
    pub fn udp(&self, query: &[u8]) -> Option<Vec<u8>> {
        self.udp_from("127.0.0.1", query)
    }

    /// As [`Served::udp`], from another of our addresses: all of 127.0.0.0/8 is.
    pub fn udp_from(&self, source: &str, query: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind((source, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket.send_to(query, self.address).unwrap();
        let mut answer = vec![0; 65_535];
        let len = socket.recv(&mut answer).ok()?;
        answer.truncate(len);
        Some(answer)
    }

    /// Asks over TCP, on a connection of its own.
    pub fn tcp(&self, query: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], query].concat()).unwrap();
        read_message(&mut stream).expect("an answer over TCP")
    }

    /// The metrics as `/metrics` prints them.
    pub fn metrics(&self) -> String {
        self.telemetry
            .registry
            .gather()
            .iter()
            .flat_map(|family| {
                family.get_metric().iter().map(move |metric| {
                    let labels: Vec<String> =
                        metric.get_label().iter().map(|l| format!("{}={}", l.name(), l.value())).collect();
                    let value = metric.get_counter().get_value();
                    format!("{} {} {value}\n", family.name(), labels.join(","))
                })
            })
            .collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        if let (Some(runtime), Some(task)) = (self.runtime.take(), self.task.take()) {
            let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), task).await });
            if !std::thread::panicking() {
                ended.expect("the server ends within its time").expect("and without a panic");
            }
        }
    }
}

/// Reads one length-prefixed message; `None` when the stream ends.
pub fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// Rebuilds one group of a fleet that is being edited.
pub fn rebuild(
    edit: &mut Edit,
    key: &AgentKey,
    change: impl FnOnce(&mut Vec<Arc<Agent>>, &mut Vec<Departed>),
) {
    let have = edit.so_far().group(key.cluster.as_str(), key.group.as_str()).cloned();
    let (mut agents, mut departed) = have
        .map(|group: Arc<Group>| (group.agents().to_vec(), group.departed().to_vec()))
        .unwrap_or_default();
    change(&mut agents, &mut departed);
    let version = edit.generation();
    let group = Group::build(key.cluster.clone(), key.group.clone(), version, agents, departed);
    edit.put_group(Arc::new(group));
}

/// `cluster/group/agent`.
pub fn key(path: &str) -> AgentKey {
    let mut parts = path.split('/');
    let mut next = || parts.next().unwrap_or_else(|| panic!("{path} is not cluster/group/agent"));
    AgentKey {
        cluster: Cluster::parse(next()).unwrap(),
        group: GroupName::parse(next()).unwrap(),
        agent: AgentId::parse(next()).unwrap(),
    }
}

/// A record from words such as `zone=a addresses=10.0.0.1,::2 weight=5 ports=kafka:9092,web:80 draining`.
pub fn record<'a>(words: impl Iterator<Item = &'a str>) -> Record {
    let mut record = Record { weight: 100, ..Record::default() };
    record.ports.insert(Label::parse("kafka").unwrap(), 9092);
    for word in words {
        match word.split_once('=') {
            Some(("zone", zone)) => record.zone = Some(Zone::parse(zone).unwrap()),
            Some(("addresses", all)) => {
                record.addresses = all.split(',').map(|one| one.parse().unwrap()).collect();
            }
            Some(("weight", weight)) => record.weight = weight.parse().unwrap(),
            Some(("ports", all)) => {
                for (service, port) in all.split(',').map(|one| one.split_once(':').unwrap()) {
                    record.ports.insert(Label::parse(service).unwrap(), port.parse().unwrap());
                }
            }
            None if word == "draining" => record.state = State::Draining,
            _ => panic!("{word:?} is no part of a record"),
        }
    }
    record
}

/// The bytes of a query.
pub fn query(name: &str, qtype: u16, edns: Option<u16>) -> Vec<u8> {
    let mut out = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&qtype.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    if let Some(size) = edns {
        out.extend_from_slice(&[0, 0, 41]);
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
    }
    out
}

/// A fleet that nobody published, for tests that need no sockets.
pub fn fleet(agents: impl Iterator<Item = (AgentKey, Record, Arc<Lease>)>) -> Fleet {
    let mut edit = Fleet::default().edit();
    edit.set_synced();
    for (key, record, lease) in agents {
        let agent = Arc::new(Agent { key: key.clone(), record: Arc::new(record), lease });
        rebuild(&mut edit, &key, |agents, _| agents.push(agent));
    }
    edit.finish()
}
