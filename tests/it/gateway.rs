//! Gateways before a real broker, with real clients: who is told what, what passes, and what happens when the broker or
//! the agent goes.

use crate::support::{
    Broker, CLIENTS, DEADLINE, Fingerpost, Redis, SASL_PASSWORD, SASL_USER, broker, client, fingerpost,
    http_get, kafka_view, redis, wait_for,
};
use std::net::SocketAddr;
use std::time::Duration;

const GROUPS: [&str; 2] = ["vpc-1", "vpc-2"];
const ZONES: [&str; 3] = ["az-1", "az-2", "az-3"];

/// One gateway of the fleet.
pub(crate) struct Gate {
    group: &'static str,
    agent: String,
    process: Fingerpost,
    pub(crate) kafka: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Gate {
    pub(crate) fn start(
        redis: &Redis,
        upstream: SocketAddr,
        group: &'static str,
        zone: &str,
        ip: &str,
        drain: &str,
    ) -> Self {
        let agent = format!("agent-{zone}");
        let (url, listen, upstream) = (redis.url(), format!("{ip}:0"), upstream.to_string());
        let arguments = [
            "agent",
            "--cluster",
            "prod",
            "--group",
            group,
            "--zone",
            zone,
            "--agent",
            &agent,
            "--listen",
            &listen,
            "--upstream",
            &upstream,
            "--registry",
            &url,
            "--admin",
            "127.0.0.1:0",
            "--drain",
            drain,
            "--lease",
            "3s",
        ];
        let mut process = fingerpost(&arguments);
        let (kafka, admin) = (process.kafka(0), process.admin());
        Self { group, agent, process, kafka, admin }
    }

    /// A metric's value; 0 when it is not there yet.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = http_get(self.admin, "/metrics");
        let line = text.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(' '));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    fn accepted(&self) -> u64 {
        self.metric("fingerpost_gateway_connections_total") as u64
    }

    pub(crate) fn record(&self, redis: &Redis) -> String {
        redis.cli(&["GET", &format!("fingerpost:agent:{{prod}}:{}:{}", self.group, self.agent)])
    }

    /// The most memory that the process ever had, in KiB.
    pub(crate) fn peak(&mut self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.process().pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// Two groups of three gateways before one broker.
struct World {
    redis: Redis,
    broker: Broker,
    gates: Vec<Gate>,
}

impl World {
    fn start(drain: &str) -> Self {
        let (redis, broker) = (redis(), broker());
        let mut world = Self { redis, broker, gates: Vec::new() };
        for (group, octet) in GROUPS.into_iter().zip([31, 32]) {
            for (zone, last) in ZONES.into_iter().zip(1..) {
                let ip = format!("127.0.{octet}.{last}");
                let upstream = world.broker.address();
                world.gates.push(Gate::start(&world.redis, upstream, group, zone, &ip, drain));
            }
        }
        for gate in &world.gates {
            wait_for("all gateways to know each other", DEADLINE, || http_get(gate.admin, "/ready").0 == 200);
            wait_for("a full broker list", DEADLINE, || {
                world.gates.iter().filter(|other| other.record(&world.redis).contains("ready")).count() == 6
                    && kafka_view(gate.kafka, "look").brokers.len() == 3
            });
        }
        world
    }

    fn of(&self, group: &str) -> Vec<&Gate> {
        self.gates.iter().filter(|gate| gate.group == group).collect()
    }
}

#[test]
fn every_client_works_through_its_own_group_and_meets_no_other() {
    let _alone = crate::support::alone();
    let world = World::start("2s");
    let bootstrap = world.of("vpc-1")[0].kafka.to_string();
    let others: Vec<u64> = world.of("vpc-2").iter().map(|gate| gate.accepted()).collect();
    let own: Vec<String> = world.of("vpc-1").iter().map(|gate| gate.kafka.ip().to_string()).collect();
    let mut failed = Vec::new();
    for (n, name) in CLIENTS.into_iter().enumerate() {
        let topic = format!("topic-{n}");
        let id = format!("ws_az=az-2,{name}");
        let common = ["--bootstrap", &bootstrap, "--topic", &topic, "--client-id", &id];
        let creator = ["--bootstrap", &bootstrap, "--topic", &topic, "--partitions", "3"];
        client("librdkafka", &[&["admin", "create-topic"], &creator[..]].concat()).finish().ok();
        let told = client(name, &[&["metadata"], &common[..]].concat()).finish().ok();
        let brokers = told.event("metadata")["brokers"].as_array().unwrap().clone();
        assert_eq!(brokers.len(), 3, "{name}: {brokers:?}");
        assert!(brokers.iter().all(|b| own.iter().any(|ip| b["host"] == ip.as_str())), "{name}: {brokers:?}");
        let produced = client(name, &[&["produce", "--count", "500"], &common[..]].concat()).finish();
        let read = [&["consume", "--count", "500", "--group", name, "--timeout", "60"], &common[..]].concat();
        let consumed = client(name, &read).finish();
        for (what, said) in [("produce", &produced), ("consume", &consumed)] {
            if said.code != 0 || !said.errors().is_empty() {
                failed.push(format!("{name} {what}: {} {:?}\n{}", said.code, said.errors(), said.stderr));
            }
        }
        let mut seen: Vec<u64> = consumed.records().iter().map(|record| record.seq).collect();
        seen.sort_unstable();
        seen.dedup();
        if seen.len() != 500 {
            failed.push(format!("{name}: {} of 500 records", seen.len()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let after: Vec<u64> = world.of("vpc-2").iter().map(|gate| gate.accepted()).collect();
    assert_eq!(after, others, "a client of vpc-1 came to a gateway of vpc-2");
    let local = world.of("vpc-1")[1].metric("fingerpost_gateway_bytes_total{to=\"upstream\"}");
    let far = world.of("vpc-1")[2].metric("fingerpost_gateway_bytes_total{to=\"upstream\"}");
    assert!(local > 10.0 * far, "the zone's own agent leads: {local} against {far}");
}

#[test]
fn transactions_new_group_protocols_and_sasl_pass() {
    let _alone = crate::support::alone();
    let (redis, broker) = (redis(), broker());
    let gate = Gate::start(&redis, broker.address(), "vpc-1", "az-1", "127.0.33.1", "1s");
    let sasl = Gate::start(&redis, broker.sasl(), "vpc-3", "az-1", "127.0.33.2", "1s");
    for gate in [&gate, &sasl] {
        wait_for("the gateway to be ready", DEADLINE, || gate.record(&redis).contains("ready"));
        wait_for("the gateway to know itself", DEADLINE, || http_get(gate.admin, "/ready").0 == 200);
    }
    let bootstrap = gate.kafka.to_string();
    let common = ["--bootstrap", bootstrap.as_str(), "--topic", "t"];
    client("java", &[&["admin", "create-topic", "--partitions", "3"], &common[..]].concat()).finish().ok();
    client("java", &[&["admin", "describe-topics"], &common[..]].concat()).finish().ok();
    let transactional = ["produce", "--count", "200", "--transactional", "tx", "--batch", "50"];
    for name in ["java", "librdkafka", "franz-go"] {
        client(name, &[&transactional[..], &common[..]].concat()).finish().ok();
    }
    for (name, protocol) in
        [("java", "consumer"), ("java", "share"), ("librdkafka", "consumer"), ("franz-go", "consumer")]
    {
        let group = format!("{name}-{protocol}");
        if protocol == "share" {
            // A share group begins at the end of its topic: it must be there first.
            let options = ["--group", &group, "--protocol", protocol, "--timeout", "60", "--count", "100"];
            let reader = client(name, &[&["consume"], &options[..], &common[..]].concat());
            let mut writer =
                client("java", &[&["produce", "--rate", "100", "--timeout", "60"], &common[..]].concat());
            writer.wait_for_events("acked", 1);
            reader.finish().ok();
            writer.stop();
            continue;
        }
        let options = ["--group", &group, "--protocol", protocol, "--timeout", "60", "--count", "600"];
        client(name, &[&["consume"], &options[..], &common[..]].concat()).finish().ok();
    }
    let bootstrap = sasl.kafka.to_string();
    for (name, mechanism) in
        [("java", "plain"), ("librdkafka", "plain"), ("kafkajs", "plain"), ("franz-go", "plain")]
    {
        let common = ["--bootstrap", bootstrap.as_str(), "--topic", "t", "--count", "20"];
        let login = ["--sasl", mechanism, "--user", SASL_USER, "--password", SASL_PASSWORD];
        client(name, &[&["produce"], &common[..], &login[..]].concat()).finish().ok();
    }
}

#[test]
fn a_lost_broker_takes_its_agent_out_within_a_second_and_a_new_one_brings_it_back() {
    let _alone = crate::support::alone();
    let redis = redis();
    let mut broker = broker();
    let gate = Gate::start(&redis, broker.address(), "vpc-1", "az-1", "127.0.34.1", "1s");
    wait_for("the record", DEADLINE, || gate.record(&redis).contains("\"ready\""));
    let mut held = std::net::TcpStream::connect(gate.kafka).unwrap();
    held.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    wait_for("the held connection", DEADLINE, || gate.metric("fingerpost_gateway_connections") >= 1.0);
    broker.kill();
    wait_for("draining", Duration::from_secs(1), || gate.record(&redis).contains("\"draining\""));
    assert_eq!(
        std::io::Read::read(&mut held, &mut [0]).unwrap_or(1),
        0,
        "its connections are closed at once"
    );
    broker.restart();
    wait_for("ready again", DEADLINE, || gate.record(&redis).contains("\"ready\""));
    wait_for("answers again", DEADLINE, || kafka_view(gate.kafka, "x").brokers.len() == 1);
}

#[test]
fn a_hundred_mebibytes_pass_both_ways_in_constant_memory() {
    let _alone = crate::support::alone();
    let (redis, broker) = (redis(), broker());
    let mut gate = Gate::start(&redis, broker.address(), "vpc-1", "az-1", "127.0.35.1", "1s");
    wait_for("the record", DEADLINE, || gate.record(&redis).contains("\"ready\""));
    wait_for("the gateway to know itself", DEADLINE, || http_get(gate.admin, "/ready").0 == 200);
    let bootstrap = gate.kafka.to_string();
    let common = ["--bootstrap", bootstrap.as_str(), "--topic", "big"];
    client("librdkafka", &[&["admin", "create-topic", "--partitions", "1"], &common[..]].concat())
        .finish()
        .ok();
    kafka_view(gate.kafka, "warm");
    let before = gate.peak();
    let big = ["produce", "--count", "110000", "--size", "1000"];
    client("librdkafka", &[&big[..], &common[..]].concat()).finish().ok();
    let read = ["consume", "--group", "g", "--count", "110000", "--timeout", "80"];
    client("librdkafka", &[&read[..], &common[..]].concat()).finish().ok();
    let after = gate.peak();
    let passed = gate.metric("fingerpost_gateway_bytes_total{to=\"client\"}");
    assert!(passed > 100.0 * 1024.0 * 1024.0, "{passed}");
    assert!(after - before < 4 * 1024, "{before} KiB before, {after} KiB after");
}

#[test]
fn a_rolling_restart_of_all_agents_is_not_noticed() {
    let _alone = crate::support::alone();
    let mut world = World::start("6s");
    let bootstrap: Vec<String> = world.of("vpc-1").iter().map(|gate| gate.kafka.to_string()).collect();
    let bootstrap = bootstrap.join(",");
    let common = ["--bootstrap", bootstrap.as_str(), "--topic", "t", "--metadata-age", "1000"];
    client(
        "java",
        &["admin", "create-topic", "--partitions", "3", "--bootstrap", &bootstrap, "--topic", "t"],
    )
    .finish()
    .ok();
    let names = ["java", "librdkafka", "franz-go"];
    let mut running: Vec<_> = names
        .iter()
        .map(|name| {
            let writer =
                ["produce", "--rate", "200", "--acks", "all", "--timeout", "90", "--client-id", name];
            let reader = ["consume", "--group", name, "--timeout", "90"];
            let mut reader = client(name, &[&reader[..], &common[..]].concat());
            reader.wait_for_events("assigned", 1);
            let idempotent: &[&str] = if *name == "franz-go" { &[] } else { &["--idempotent"] };
            let mut writer = client(name, &[&writer[..], idempotent, &common[..]].concat());
            writer.wait_for_events("acked", 50);
            (*name, writer, reader)
        })
        .collect();
    for (at, zone) in ZONES.iter().enumerate().take(3) {
        let upstream = world.broker.address();
        let gate = &mut world.gates[at];
        gate.process.process().signal(crate::support::Signal::Term);
        assert_eq!(gate.process.process().wait_exit_within(Duration::from_secs(12)).code(), Some(0));
        assert_eq!(gate.record(&world.redis), "", "the record is gone");
        let ip = format!("127.0.31.{}", at + 1);
        world.gates[at] = Gate::start(&world.redis, upstream, "vpc-1", zone, &ip, "6s");
        let gate = &world.gates[at];
        wait_for("the new agent", DEADLINE, || gate.record(&world.redis).contains("\"ready\""));
    }
    let mut failed = Vec::new();
    for (name, writer, reader) in running.drain(..) {
        let written = writer.stop();
        let acked = written.acked();
        wait_for("the consumer to catch up", DEADLINE, || {
            let lines = reader.lines();
            lines.iter().filter(|line| line["event"] == "record" && line["producer"] == name).count()
                >= acked.len()
        });
        let read = reader.stop();
        for said in [&written, &read] {
            if said.code != 0 || !said.errors().is_empty() {
                failed.push(format!("{name}: {} {:?}", said.code, said.errors()));
            }
        }
        let seen: Vec<u64> =
            read.records().iter().filter(|record| record.producer == name).map(|record| record.seq).collect();
        let lost = acked.iter().filter(|seq| !seen.contains(seq)).count();
        if lost > 0 {
            failed.push(format!("{name}: {lost} lost of {}", acked.len()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
