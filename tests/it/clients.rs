//! The test bed itself: every Kafka client against a plain broker, with nothing of ours in between. What fails
//! here is the bed's fault; what fails only behind a gateway is the gateway's.

use crate::support::{Broker, CLIENTS, SASL_PASSWORD, SASL_USER, Said, alone, broker, client};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// How many records each client produces and consumes.
const RECORDS: u64 = 200;

/// Clients at work at the same time: enough for two cores.
const AT_ONCE: usize = 3;

#[test]
fn every_client_works_with_a_plain_broker() {
    let _alone = alone();
    let broker = broker();
    let queue = Mutex::new(CLIENTS.into_iter().rev().collect::<Vec<_>>());
    let next = || queue.lock().expect("no other thread panicked").pop();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(name) = next() {
                    let start = std::time::Instant::now();
                    round_trip(&broker, name);
                    transactions(&broker, name);
                    refused(&broker, name);
                    println!("{name}: {} ms", start.elapsed().as_millis());
                }
            });
        }
    });
    newer_groups(&broker);
    ends_cleanly_when_asked(&broker);
}

/// Creates a topic, produces over SASL, consumes, and reads the metadata.
fn round_trip(broker: &Broker, name: &str) {
    let (plain, sasl) = (broker.address().to_string(), broker.sasl().to_string());
    create_topic(broker, name, name);
    let count = RECORDS.to_string();
    // kcat's librdkafka 2.0.2 fails at this broker's SCRAM.
    let scram = ["java", "librdkafka", "franz-go", "kafkajs", "kafka-python"].contains(&name);
    let mechanism = if scram { "scram" } else { "plain" };
    let mut produce =
        vec!["produce", "--bootstrap", &sasl, "--topic", name, "--count", &count, "--client-id", name];
    produce.extend(["--sasl", mechanism, "--user", SASL_USER, "--password", SASL_PASSWORD]);
    if has_idempotence(name) {
        produce.push("--idempotent");
    }
    let produced = client(name, &produce).finish().ok();
    assert_eq!(produced.acked(), (0..RECORDS).collect::<BTreeSet<_>>(), "{name}");

    let group = format!("group-of-{name}");
    let consume = ["consume", "--bootstrap", &plain, "--topic", name, "--count", &count, "--group", &group];
    let consumed = client(name, &consume).finish().ok();
    all_once_and_in_order(&consumed, name);
    assert_eq!(consumed.event("done")["count"], RECORDS, "{name}");

    let metadata = client(name, &["metadata", "--bootstrap", &plain, "--topic", name]).finish().ok();
    let seen = metadata.event("metadata");
    assert_eq!(seen["brokers"].as_array().map(Vec::len), Some(1), "{name}: {seen}");
    assert_eq!(seen["brokers"][0]["port"], broker.address().port(), "{name}");
    assert_eq!((&seen["brokers"][0]["id"], &seen["controller"]), (&1.into(), &1.into()), "{name}");
    let partitions = seen["topics"][0]["partitions"].as_array().expect("the topic's partitions");
    assert!(partitions.len() == 3 && partitions.iter().all(|one| one["leader"] == 1), "{name}: {seen}");

    if name != "kcat" {
        let groups = client(name, &["admin", "list-groups", "--bootstrap", &plain]).finish().ok();
        let groups = groups.event("groups")["groups"].as_array().expect("a list of groups").clone();
        assert!(groups.contains(&group.clone().into()), "{name}: {group} in {groups:?}");
        let cluster = client(name, &["admin", "describe-cluster", "--bootstrap", &plain]).finish().ok();
        assert_eq!(cluster.event("cluster")["brokers"][0]["id"], 1, "{name}");
    }
}

/// Produces in transactions, and lets Java count what a reader of committed records gets.
fn transactions(broker: &Broker, name: &str) {
    if !has_transactions(name) {
        return;
    }
    let bootstrap = broker.address().to_string();
    let topic = format!("tx-{name}");
    create_topic(broker, name, &topic);
    let mut produce = vec!["produce", "--bootstrap", &bootstrap, "--topic", &topic, "--client-id", name];
    produce.extend(["--count", "200", "--batch", "50", "--transactional", &topic]);
    client(name, &produce).finish().ok();
    let consume =
        ["consume", "--bootstrap", &bootstrap, "--topic", &topic, "--count", "200", "--group", &topic];
    all_once_and_in_order(&client("franz-go", &consume).finish().ok(), name);
}

/// An error that reaches the application is printed, and is the exit code: a bed that can't fail proves nothing.
fn refused(broker: &Broker, name: &str) {
    if name == "kafka-python" {
        return; // it tries for half a minute, whatever the reason
    }
    let sasl = broker.sasl().to_string();
    let mut produce =
        vec!["produce", "--bootstrap", &sasl, "--topic", name, "--count", "1", "--timeout", "5"];
    produce.extend(["--sasl", "plain", "--user", SASL_USER, "--password", "wrong"]);
    let said = client(name, &produce).finish();
    assert!(said.code == 1 && !said.errors().is_empty(), "{name}: {said:?}");
    assert!(said.acked().is_empty(), "{name}: {said:?}");
}

/// The consumer protocol of KIP-848, and share groups.
fn newer_groups(broker: &Broker) {
    let bootstrap = broker.address().to_string();
    for (name, protocol) in [("java", "consumer"), ("java", "share"), ("librdkafka", "consumer")] {
        let group = format!("{protocol}-{name}");
        let mut consume = vec!["consume", "--bootstrap", &bootstrap, "--topic", name, "--group", &group];
        consume.extend(["--count", "200", "--protocol", protocol]);
        let said = client(name, &consume).finish().ok();
        let seqs: BTreeSet<u64> = said.records().iter().map(|record| record.seq).collect();
        assert_eq!(seqs.len() as u64, RECORDS, "{name} {protocol}");
    }
}

/// SIGTERM: what was sent is acknowledged, and the last line is the sum.
fn ends_cleanly_when_asked(broker: &Broker) {
    let bootstrap = broker.address().to_string();
    for name in ["java", "franz-go", "librdkafka", "kafkajs", "aiokafka"] {
        let produce = ["produce", "--bootstrap", &bootstrap, "--topic", name, "--rate", "100"];
        let mut running = client(name, &produce);
        running.wait_for_events("acked", 5);
        let said = running.stop().ok();
        let last = said.lines.last().expect("it printed lines");
        assert_eq!((&last["event"], &last["count"]), (&"done".into(), &said.acked().len().into()), "{name}");
    }
}

fn create_topic(broker: &Broker, name: &str, topic: &str) {
    let name = if name == "kcat" { "franz-go" } else { name }; // kcat can't
    let bootstrap = broker.address().to_string();
    let create = ["admin", "create-topic", "--bootstrap", &bootstrap, "--topic", topic, "--partitions", "3"];
    assert_eq!(client(name, &create).finish().ok().event("created")["topic"], topic);
}

/// Every record of this producer once, and in order within each partition.
#[track_caller]
fn all_once_and_in_order(said: &Said, producer: &str) {
    let mut partitions: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
    for record in said.records() {
        assert_eq!(record.producer, producer);
        partitions.entry(record.partition).or_default().push(record.seq);
    }
    for (partition, seqs) in &partitions {
        assert!(seqs.is_sorted_by(|a, b| a < b), "{producer}: partition {partition} in disorder: {seqs:?}");
    }
    let mut all: Vec<u64> = partitions.into_values().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (0..RECORDS).collect::<Vec<_>>(), "{producer}: lost or doubled");
}

fn has_idempotence(name: &str) -> bool {
    name != "kafka-go"
}

fn has_transactions(name: &str) -> bool {
    !["kafka-go", "kcat"].contains(&name)
}
