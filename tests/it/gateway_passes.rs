//! What passes a gateway untouched, between a real broker and real clients: requests without replies, pushed client
//! metrics, and single requests of 100 MiB.

use crate::gateway::Gate;
use crate::support::{
    Broker, BrokerOptions, DEADLINE, alone, broker, client, http_get, kafka_view, redis, wait_for,
};
use std::time::Duration;

const MIB: u64 = 1024 * 1024;

fn ready(gate: &Gate, redis: &crate::support::Redis) {
    wait_for("the record", DEADLINE, || gate.record(redis).contains("\"ready\""));
    wait_for("the gateway to know itself", DEADLINE, || http_get(gate.admin, "/ready").0 == 200);
}

#[test]
fn records_without_acknowledgement_arrive() {
    let _alone = alone();
    let (redis, broker) = (redis(), broker());
    let gate = Gate::start(&redis, broker.address(), "vpc-1", "az-1", "127.0.37.1", "1s");
    ready(&gate, &redis);
    let bootstrap = gate.kafka.to_string();
    for name in ["java", "librdkafka", "franz-go", "kafkajs"] {
        let common = ["--bootstrap", bootstrap.as_str(), "--topic", name];
        client("franz-go", &[&["admin", "create-topic"], &common[..]].concat()).finish().ok();
        let produce = ["produce", "--acks", "0", "--count", "500"];
        client(name, &[&produce[..], &common[..]].concat()).finish().ok();
        let consume = ["consume", "--group", name, "--count", "500"];
        let got = client("franz-go", &[&consume[..], &common[..]].concat()).finish().ok();
        assert_eq!(got.records().len(), 500, "{name}");
    }
}

#[test]
fn client_metrics_are_pushed_to_the_broker() {
    let _alone = alone();
    let settings = vec![("metric.reporters".to_owned(), "TelemetryReceiver".to_owned())];
    let redis = redis();
    let mut broker = Broker::with(BrokerOptions { settings, ..BrokerOptions::default() });
    let gate = Gate::start(&redis, broker.address(), "vpc-1", "az-1", "127.0.37.2", "1s");
    ready(&gate, &redis);
    let bootstrap = gate.kafka.to_string();
    let common = ["--bootstrap", bootstrap.as_str(), "--topic", "t"];
    client("java", &[&["admin", "create-topic"], &common[..]].concat()).finish().ok();
    client("java", &["admin", "client-metrics", "--bootstrap", &bootstrap]).finish().ok();
    for name in ["java", "librdkafka"] {
        let id = format!("pushes-{name}");
        let produce = ["produce", "--rate", "50", "--client-id", &id];
        let running = client(name, &[&produce[..], &common[..]].concat());
        let pushed = format!("telemetry of {id}: ");
        wait_for(&format!("metrics of {name}"), Duration::from_secs(60), || {
            broker.process().stdout().contains(&pushed)
        });
        running.stop().ok();
    }
}

#[test]
fn a_request_and_a_reply_of_a_hundred_mebibytes_pass_in_constant_memory() {
    let _alone = alone();
    let settings = [("message.max.bytes", "120000000"), ("socket.request.max.bytes", "130000000")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let jvm = ["-Xmx1200m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"].map(str::to_owned).to_vec();
    let (redis, broker) =
        (redis(), Broker::with(BrokerOptions { settings, jvm, ..BrokerOptions::default() }));
    let mut gate = Gate::start(&redis, broker.address(), "vpc-1", "az-1", "127.0.37.3", "1s");
    ready(&gate, &redis);
    let bootstrap = gate.kafka.to_string();
    let common = ["--bootstrap", bootstrap.as_str(), "--topic", "big", "--size", "104857600"];
    let create = ["admin", "create-topic", "--partitions", "1", "--bootstrap", &bootstrap, "--topic", "big"];
    client("franz-go", &create).finish().ok();
    kafka_view(gate.kafka, "warm");
    let before = gate.peak();
    let produce = ["produce", "--count", "1", "--client-id", "big"];
    client("librdkafka", &[&produce[..], &common[..]].concat()).finish().ok();
    let consume = ["consume", "--group", "g", "--count", "1"];
    let got = client("librdkafka", &[&consume[..], &common[..]].concat()).finish().ok();
    assert_eq!(got.records().len(), 1);
    let growth = gate.peak() - before;
    println!("the gateway's peak grew by {growth} KiB");
    for way in ["upstream", "client"] {
        let passed = gate.metric(&format!("fingerpost_gateway_bytes_total{{to=\"{way}\"}}"));
        assert!(passed > (100 * MIB) as f64, "to {way}: {passed}");
    }
    // Two buffers of 64 KiB per connection, and what the allocator keeps of them.
    assert!(growth < 2 * 1024, "{growth} KiB more");
}
