//! An agent that leaves while it coordinates consumer groups: every client moves to the next coordinator by itself, stays
//! a member, and the agent is gone long before its patience ends.

use crate::support::{
    Client, DEADLINE, Fingerpost, KafkaClient, Redis, Signal, broker, client, fingerpost, http_get, redis,
    wait_for,
};
use kafka_protocol::messages::{ApiKey, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long agents would wait for their clients. Connections are cut after three quarters of it.
const DRAIN: &str = "120s";
const SOON: Duration = Duration::from_secs(45);

/// Clients by group protocol. Java's share consumer is missing: it stays a member, too, but goes on fetching from an agent
/// that leads nothing any more until the connection ends.
const MEMBERS: [(&str, &str); 6] = [
    ("java", "classic"),
    ("java", "consumer"),
    ("librdkafka", "classic"),
    ("librdkafka", "consumer"),
    ("franz-go", "classic"),
    ("franz-go", "consumer"),
];

struct Gate {
    process: Fingerpost,
    kafka: SocketAddr,
    admin: SocketAddr,
}

fn gate(redis: &Redis, upstream: SocketAddr, agent: &str, listen: &str) -> Gate {
    let (url, upstream) = (redis.url(), upstream.to_string());
    let mut process = fingerpost(&[
        "agent",
        "--cluster",
        "prod",
        "--group",
        "vpc-1",
        "--zone",
        "az-1",
        "--agent",
        agent,
        "--listen",
        listen,
        "--upstream",
        &upstream,
        "--registry",
        &url,
        "--admin",
        "127.0.0.1:0",
        "--drain",
        DRAIN,
    ]);
    let (kafka, admin) = (process.kafka(0), process.admin());
    Gate { process, kafka, admin }
}

/// Host of the coordinator of a group, as this gateway tells it.
fn coordinator(gate: &Gate, group: &str) -> String {
    let request =
        FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_owned())).with_key_type(0);
    let mut client = KafkaClient::connect(gate.kafka, "look");
    let found: FindCoordinatorResponse = client.ask(ApiKey::FindCoordinator, 1, &request);
    found.host.to_string()
}

struct Member {
    name: String,
    client: Client,
    joined: usize,
}

/// How often a member was given partitions, or lost some.
fn moves(client: &Client) -> usize {
    client.count("assigned") + client.count("revoked")
}

#[test]
fn members_of_a_group_stay_when_their_coordinator_leaves() {
    let _alone = crate::support::alone();
    let (redis, broker) = (redis(), broker());
    let names = ["agent-a", "agent-b"];
    let mut gates: Vec<Gate> = names
        .iter()
        .zip(["127.0.36.1:0", "127.0.36.2:0"])
        .map(|(agent, listen)| gate(&redis, broker.address(), agent, listen))
        .collect();
    for gate in &gates {
        wait_for("the gateway", DEADLINE, || http_get(gate.admin, "/ready").0 == 200);
        wait_for("both agents", DEADLINE, || {
            crate::support::kafka_view(gate.kafka, "look").brokers.len() == 2
        });
    }
    let bootstrap = gates.iter().map(|gate| gate.kafka.to_string()).collect::<Vec<_>>().join(",");
    let common = ["--bootstrap", bootstrap.as_str(), "--topic", "t", "--metadata-age", "1000"];
    client("java", &[&["admin", "create-topic", "--partitions", "3"], &common[..]].concat()).finish().ok();
    let leaving = gates[0].kafka.ip().to_string();
    let mut members: Vec<Member> = MEMBERS
        .iter()
        .map(|(name, protocol)| {
            // A name that the agent which will leave coordinates.
            let group = (0..).map(|n| format!("{name}-{protocol}-{n}"));
            let group = group.into_iter().find(|group| coordinator(&gates[0], group) == leaving).unwrap();
            let options = ["consume", "--group", &group, "--protocol", protocol, "--timeout", "150"];
            let client = client(name, &[&options[..], &common[..]].concat());
            Member { name: format!("{name} {protocol}"), client, joined: 0 }
        })
        .collect();
    let writer = ["produce", "--rate", "20", "--timeout", "150", "--client-id", "writer"];
    let _writer = client("java", &[&writer[..], &common[..]].concat());
    for member in &mut members {
        member.client.wait_for_events("record", 30);
        member.joined = moves(&member.client);
    }

    let begin = Instant::now();
    gates[0].process.process().signal(Signal::Term);
    assert_eq!(
        gates[0].process.process().wait_exit_within(SOON).code(),
        Some(0),
        "it waited for its clients"
    );
    println!("the agent was gone after {:?}", begin.elapsed());

    let mut wrong = Vec::new();
    for Member { name, client, joined } in members {
        let before = client.count("record");
        wait_for(&format!("records for {name}"), DEADLINE, || client.count("record") > before + 20);
        let moved = moves(&client) - joined;
        let said = client.stop();
        if said.code != 0 || !said.errors().is_empty() || moved > 0 {
            wrong.push(format!("{name}: code {}, {moved} moves, {:?}", said.code, said.errors()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
