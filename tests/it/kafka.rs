//! The Kafka front over real sockets: librdkafka (kcat), Python and Node clients, and connections that misbehave.

use super::support::{kcat, node, python, wait_for};
use fingerpost::clock::Clock;
use fingerpost::kafka::gateway::Sources;
use fingerpost::kafka::{self, Limits, Listener, ListenerSettings, Topics, static_catalog};
use fingerpost::model::{
    Agent, AgentId, AgentKey, Cluster, Fleet, Group, GroupName, Lease, Moment, Record, Source, Zone,
};
use fingerpost::placement::{self, Client, ClientZone, Hints, Leaders, Roster, Scope, Selection};
use fingerpost::telemetry::Telemetry;
use fingerpost::view::{self, Publisher};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);
const GROUPS: [&str; 2] = ["vpc-1", "vpc-2"];
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];

/// Two groups of six agents in three zones, each agent a listener of its group, and a bootstrap listener per group.
struct World {
    runtime: Runtime,
    publisher: Publisher,
    telemetry: Telemetry,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    bootstrap: HashMap<&'static str, SocketAddr>,
    /// Group, agent, zone and address of each agent.
    agents: Vec<(&'static str, String, &'static str, SocketAddr)>,
}

impl World {
    fn start(limits: Limits) -> Self {
        let runtime = Runtime::new().unwrap();
        let _inside = runtime.enter();
        let (publisher, view) = view::channel();
        let telemetry = Telemetry::new().unwrap();
        let (clock, stop) = (Clock::machine(), CancellationToken::new());
        let cluster = Cluster::parse("prod").unwrap();
        let catalog = static_catalog(&cluster, [("orders", 12), ("payments", 3)]).unwrap();
        let catalog = Arc::new(catalog);
        let (mut bootstrap, mut agents, mut tasks) = (HashMap::new(), Vec::new(), Vec::new());
        for group in GROUPS {
            let placement = kafka::placement();
            let mut listen = || {
                let mut settings = ListenerSettings::new(
                    "127.0.0.1:0".parse().unwrap(),
                    cluster.clone(),
                    GroupName::parse(group).unwrap(),
                    Topics::Static(Arc::clone(&catalog)),
                );
                settings.limits = limits;
                let sources = Sources {
                    view: view.clone(),
                    clock: clock.clone(),
                    placement: Arc::clone(&placement),
                    kafka: Arc::clone(&telemetry.kafka),
                    metrics: Arc::clone(&telemetry.gateway),
                };
                let listener = Listener::bind(settings, sources).unwrap();
                let address = listener.address();
                tasks.push(tokio::spawn(listener.run(stop.clone())));
                address
            };
            bootstrap.insert(group, listen());
            for (i, zone) in ZONES.iter().chain(&ZONES).enumerate() {
                agents.push((group, format!("agent-{i}"), *zone, listen()));
            }
        }
        let world = Self { runtime, publisher, telemetry, stop, tasks, bootstrap, agents };
        world.publish();
        world
    }

    fn publish(&self) {
        let source = Source::new("test", 0);
        let mut edit = Fleet::default().edit();
        for (version, group) in (1..).zip(GROUPS) {
            let (cluster, name) = (Cluster::parse("prod").unwrap(), GroupName::parse(group).unwrap());
            let members = self.agents.iter().filter(|(of, ..)| *of == group).map(|(_, id, zone, address)| {
                let agent = AgentId::parse(id).unwrap();
                let ports = BTreeMap::from([("kafka".parse().unwrap(), address.port())]);
                Arc::new(Agent {
                    key: AgentKey { cluster: cluster.clone(), group: name.clone(), agent },
                    record: Arc::new(Record {
                        zone: Some(Zone::parse(zone).unwrap()),
                        addresses: vec![address.ip()],
                        ports,
                        weight: 100,
                        ..Record::default()
                    }),
                    lease: Lease::new(Moment::from_millis(3_600_000), Arc::clone(&source)),
                })
            });
            let members = members.collect();
            edit.put_group(Arc::new(Group::build(cluster.clone(), name, version, members, Vec::new())));
        }
        edit.set_synced();
        self.publisher.publish(edit.finish());
    }

    /// `host:port` of the agents of a group (and zone), sorted.
    fn addresses(&self, group: &str, zone: Option<&str>) -> Vec<String> {
        let of = self
            .agents
            .iter()
            .filter(|(of, _, in_zone, _)| *of == group && zone.is_none_or(|zone| zone == *in_zone));
        let mut addresses: Vec<String> = of.map(|(.., address)| address.to_string()).collect();
        addresses.sort();
        addresses
    }

    fn stop(mut self) {
        self.stop.cancel();
        let tasks = std::mem::take(&mut self.tasks);
        self.runtime.block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

#[test]
fn kcat_sees_its_group_and_leaders_of_its_zone() {
    let world = World::start(Limits::default());
    for group in GROUPS {
        for (i, zone) in ZONES.iter().enumerate() {
            let client = format!("client.id=ws_az={zone},kcat-{i}");
            let bootstrap = world.bootstrap[group].to_string();
            let printed = kcat(&["-b", &bootstrap, "-X", &client, "-L", "-J"]).ok();
            let seen: Value = serde_json::from_str(&printed).unwrap();
            let brokers: HashMap<i64, String> = seen["brokers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|b| (b["id"].as_i64().unwrap(), b["name"].as_str().unwrap().to_owned()))
                .collect();
            let mut names: Vec<String> = brokers.values().cloned().collect();
            names.sort();
            assert_eq!(names, world.addresses(group, None));
            let topics = seen["topics"].as_array().unwrap();
            let counts: Vec<_> = topics
                .iter()
                .map(|t| (t["topic"].as_str().unwrap(), t["partitions"].as_array().unwrap().len()))
                .collect();
            assert_eq!(counts, [("orders", 12), ("payments", 3)]);
            for partition in topics.iter().flat_map(|t| t["partitions"].as_array().unwrap()) {
                let leader = &brokers[&partition["leader"].as_i64().unwrap()];
                assert!(world.addresses(group, Some(zone)).contains(leader), "{leader} is not in {zone}");
            }
        }
    }
    assert_eq!(world.telemetry.kafka.placements_of("us-east-1a", "miss"), 0);
    assert!(world.telemetry.kafka.placements_of("us-east-1a", "hit") >= 2);
    let bootstrap = world.bootstrap["vpc-1"].to_string();
    let unknown = kcat(&["-b", &bootstrap, "-L", "-t", "nowhere"]).ok();
    assert!(unknown.contains("Unknown topic or partition"), "{unknown}");
    world.stop();
}

#[test]
fn kcat_is_told_what_its_client_id_asks_for() {
    let world = World::start(Limits::default());
    let bootstrap = world.bootstrap["vpc-1"].to_string();
    let client = "client.id=ws_az=us-east-1a,ws_pas=equal_spread,broker_count=2,kcat";
    let printed = kcat(&["-b", &bootstrap, "-X", client, "-L", "-J"]).ok();
    let seen: Value = serde_json::from_str(&printed).unwrap();
    let names: HashMap<i64, &str> = seen["brokers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|broker| (broker["id"].as_i64().unwrap(), broker["name"].as_str().unwrap()))
        .collect();
    let mut listed: Vec<&str> = names.values().copied().collect();
    listed.sort_unstable();
    assert_eq!(listed, world.addresses("vpc-1", Some("us-east-1a")), "the zone's two come first");
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for partition in seen["topics"][0]["partitions"].as_array().unwrap() {
        *counts.entry(names[&partition["leader"].as_i64().unwrap()]).or_default() += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [6, 6], "twelve partitions go round two agents");
    world.stop();
}

#[test]
fn python_and_node_clients_see_their_group() {
    let world = World::start(Limits::default());
    let bootstrap = world.bootstrap["vpc-2"].to_string();
    let expected = world.addresses("vpc-2", None);
    let client = "zone=us-east-1b;orders-service";
    let seen: Value = serde_json::from_str(&python("kafka_clients.py", &[&bootstrap, client]).ok()).unwrap();
    let kafkajs: Value = serde_json::from_str(&node("kafka_clients.js", &[&bootstrap, client]).ok()).unwrap();
    let all = [&seen["librdkafka"], &seen["kafka-python"], &kafkajs];
    for view in all {
        assert_eq!(strings(&view["brokers"]), expected, "{view}");
        assert_eq!(view["topics"]["orders"], 12, "{view}");
        assert_eq!(view["cluster_id"], seen["librdkafka"]["cluster_id"]);
        assert_eq!(view["controller"], seen["librdkafka"]["controller"]);
    }
    assert_eq!(strings(&seen["librdkafka"]["described"]), expected);
    assert_eq!(seen["librdkafka"]["leaders"].as_array().unwrap().len(), 1, "one agent leads everything");
    world.stop();
}

/// A request of `api` and `version` with a client id, and a body of old form.
fn frame(api: i16, version: i16, client: &str, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(7i32.to_be_bytes());
    request.extend((client.len() as i16).to_be_bytes());
    request.extend(client.as_bytes());
    request.extend(body);
    let mut frame = (request.len() as i32).to_be_bytes().to_vec();
    frame.extend(request);
    frame
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// One reply without its length; `None` if the connection was closed instead.
fn reply(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    if let Err(error) = stream.read_exact(&mut length) {
        let kind = error.kind();
        assert!(
            kind != std::io::ErrorKind::WouldBlock && kind != std::io::ErrorKind::TimedOut,
            "no reply came"
        );
        return None;
    }
    let mut reply = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut reply).unwrap();
    Some(reply)
}

/// All topics, in version 1, where null means all.
const ALL_TOPICS: [u8; 4] = [0xff; 4];

#[test]
fn distinct_clients_are_spread_exactly_and_each_keeps_its_agent() {
    let world = World::start(Limits::default());
    let mut counts: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut stream = connect(world.bootstrap["vpc-1"]);
    for i in 0..40 {
        let ask = frame(3, 1, &format!("ws_az=us-east-1a,client-{i}"), &ALL_TOPICS);
        // Three at once: replies come in order, and the three count as one.
        stream.write_all(&[&ask[..], &ask, &ask].concat()).unwrap();
        let replies: Vec<Vec<u8>> = (0..3).map(|_| reply(&mut stream).unwrap()).collect();
        assert!(replies.iter().all(|reply| *reply == replies[0]));
        *counts.entry(replies[0].clone()).or_default() += 1;
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [20, 20], "two agents lead in the zone");
    world.stop();
}

#[test]
fn what_is_no_discovery_request_closes_the_connection_and_is_counted() {
    let world = World::start(Limits::default());
    let address = world.bootstrap["vpc-1"];
    let cases: [(&[u8], &str); 6] = [
        (&frame(0, 9, "x", &[0; 20]), "unknown_api"),
        (&frame(3, 99, "x", &[]), "unknown_version"),
        (&frame(3, 8, "x", &[0x7f, 0xff, 0xff, 0xff]), "malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", "bad_frame"),
        (&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00], "bad_frame"),
        (&[0, 0, 0, 2, 0, 3], "bad_frame"),
    ];
    for (bytes, reason) in cases {
        let before = world.telemetry.kafka.closed_of(reason);
        let mut stream = connect(address);
        stream.write_all(bytes).unwrap();
        assert_eq!(reply(&mut stream), None, "{reason}");
        wait_for("the close to be counted", DEADLINE, || {
            world.telemetry.kafka.closed_of(reason) == before + 1
        });
    }
    wait_for("no connection to be open", DEADLINE, || world.telemetry.kafka.open.get() == 0);
    world.stop();
}

#[test]
fn silent_slow_and_greedy_connections_end_and_others_go_on() {
    let short = Duration::from_millis(300);
    let limits = Limits { idle: short, read: short, write: short, ..Limits::default() };
    let world = World::start(limits);
    let address = world.bootstrap["vpc-1"];
    let mut silent = connect(address);
    let mut slow = connect(address);
    slow.write_all(&[0, 0, 0, 40, 0, 3]).unwrap();
    let mut greedy = connect(address);
    let ask = frame(3, 1, "x", &ALL_TOPICS);
    // Asks and never reads: replies pile up in the kernel, then the server stops waiting.
    greedy.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let many = ask.repeat(1_000);
    while greedy.write_all(&many).is_ok() {}
    assert_eq!(reply(&mut silent), None);
    assert_eq!(reply(&mut slow), None);
    for reason in ["idle", "slow_request", "slow_reader"] {
        wait_for(reason, DEADLINE, || world.telemetry.kafka.closed_of(reason) == 1);
    }
    let mut other = connect(address);
    other.write_all(&ask).unwrap();
    assert!(reply(&mut other).is_some());
    world.stop();
}

#[test]
fn a_stop_ends_idle_connections_at_once() {
    let world = World::start(Limits::default());
    let mut streams: Vec<TcpStream> = (0..8).map(|_| connect(world.bootstrap["vpc-1"])).collect();
    for stream in &mut streams {
        stream.write_all(&frame(18, 0, "x", &[])).unwrap();
        assert!(reply(stream).is_some());
    }
    let telemetry = world.telemetry.clone();
    let begin = fingerpost::clock::stopwatch();
    world.stop();
    assert!(begin.elapsed() < Duration::from_millis(400), "nobody had to be cut off");
    assert_eq!(telemetry.kafka.closed_of("stopping"), 8);
    assert!(streams.iter_mut().all(|stream| reply(stream).is_none()));
}

/// docs/kafka.md promises functions to others: what it says is what the code computes. (The numbers there were made by
/// another implementation.)
#[test]
fn the_documented_vectors_hold() {
    use fingerpost::placement::hash::{NODE, sip13};
    use fingerpost::placement::node_id::Candidate;
    let document = include_str!("../../docs/kafka.md");
    let mut rows = Vec::new();
    for text in ["", "abc", "fingerpost"] {
        rows.push(format!("| `{text}` | `{:016x}` |", sip13(NODE, &[text.as_bytes()])));
    }
    for (agent, host, port, attempt) in [
        ("agent-0", "10.0.1.17", 9092, 0),
        ("agent-0", "10.0.1.17", 9092, 1),
        ("agent-0", "10.0.1.18", 9092, 0),
        ("agent-1", "broker-1.example.com", 19092, 0),
        ("a", "2001:db8::17", 9092, 0),
    ] {
        let id = Candidate { agent, host, port, wanted: None }.hashed(attempt);
        rows.push(format!("| `{agent}` | `{host}` | {port} | {attempt} | {id} |"));
    }
    for (key_type, key) in
        [(0, "orders-service"), (0, "group-a"), (0, "group-b"), (1, "orders-service"), (1, "tx-7"), (0, "")]
    {
        let (equal, weighted) =
            (coordinator([100; 3], key_type, key), coordinator([100, 300, 50], key_type, key));
        rows.push(format!("| {key_type} | `{key}` | `{equal}` | `{weighted}` |"));
    }
    rows.extend(rows_of_leaders());
    for (cluster, topic) in [("prod", "orders"), ("prod", "payments"), ("demo", "orders")] {
        let id = kafka::topics::topic_id(&Cluster::parse(cluster).unwrap(), topic);
        rows.push(format!("| `{cluster}` | `{topic}` | `{}` |", uuid::Uuid::from_bytes(id)));
    }
    for cluster in ["prod", "demo"] {
        let id = kafka::topics::cluster_id(&Cluster::parse(cluster).unwrap());
        rows.push(format!("| `{cluster}` | `{id}` |"));
    }
    let missing: Vec<&String> = rows.iter().filter(|row| !document.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/kafka.md lacks {missing:#?}");
}

/// The documented leaders, of both kinds, and the agents near to clients.
fn rows_of_leaders() -> Vec<String> {
    use placement::strategy::{Nearest, Round};
    let rosters = [roster([100; 3]), roster([100, 300, 50])];
    let now = Moment::from_millis(1);
    let name = |roster: &Roster, id| {
        let broker = roster.brokers().iter().find(|broker| broker.node_id == id);
        broker.unwrap().agent.key.agent.to_string()
    };
    let mut rows = Vec::new();
    for (topic, partition) in [("orders", 0), ("orders", 1), ("orders", 2), ("payments", 0), ("payments", 11)]
    {
        let led =
            |roster: &Roster, leaders: Leaders| name(roster, leaders.of_topic(topic).partition(partition));
        let [equal, weighted] = [0, 1]
            .map(|i| led(&rosters[i], Leaders::Nearest(Nearest::of(&rosters[i].eligible(now)).unwrap())));
        rows.push(format!("| `{topic}` | {partition} | `{equal}` | `{weighted}` |"));
        if partition < 11 {
            let [equal, weighted] = [0, 1]
                .map(|i| led(&rosters[i], Leaders::Round(Round::of(&rosters[i].eligible(now)).unwrap())));
            rows.push(format!("| `{topic}` | {partition} | `{equal}` | `{weighted}` |"));
        }
    }
    for (source, id) in [
        ("10.0.1.17", "orders-service"),
        ("10.0.1.18", "orders-service"),
        ("2001:db8::17", "ws_az=us-east-1a,orders"),
        ("10.0.1.17", ""),
    ] {
        let client = Client { source: source.parse().unwrap(), id: Some(id) };
        let [equal, weighted] = [0, 1].map(|i| {
            let (zone, hints) = (ClientZone::Unaware, Hints::default());
            let selection = Selection::of(&rosters[i], &zone, client, &hints, Scope::Group, now).unwrap();
            selection.sticky(client).unwrap().agent.key.agent.to_string()
        });
        rows.push(format!("| `{source}` | `{id}` | `{equal}` | `{weighted}` |"));
    }
    rows
}

/// The coordinator of a key among agent-0, agent-1 and agent-2 of these weights.
fn coordinator(weights: [u16; 3], key_type: i8, key: &str) -> String {
    let roster = roster(weights);
    let eligible = roster.eligible(Moment::from_millis(1));
    placement::coordinator::choose(&eligible, key_type, key.as_bytes()).unwrap().agent.key.agent.to_string()
}

/// agent-0, agent-1 and agent-2 of these weights.
fn roster(weights: [u16; 3]) -> Roster {
    let agents = (0..).zip(weights).map(|(i, weight)| {
        Arc::new(Agent {
            key: AgentKey {
                cluster: Cluster::parse("prod").unwrap(),
                group: GroupName::parse("vpc-1").unwrap(),
                agent: AgentId::parse(&format!("agent-{i}")).unwrap(),
            },
            record: Arc::new(Record { addresses: vec![[10, 0, 0, i].into()], weight, ..Record::default() }),
            lease: Lease::new(Moment::from_millis(1_000), Source::new("test", 0)),
        })
    });
    let (cluster, name) = (Cluster::parse("prod").unwrap(), GroupName::parse("vpc-1").unwrap());
    Roster::of(&Group::build(cluster, name, 1, agents.collect(), Vec::new()))
}
