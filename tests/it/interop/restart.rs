//! A rolling restart of every gateway of a group, under load of every client: no error reaches an application, nothing
//! is lost.

use super::bed::{Bed, FIRST, Plan, ZONES};
use super::{report, setting, wanted};
use crate::support::{Client, Said, wait_for};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// Records per second of each producer.
const RATE: &str = "50";
/// Those that are run for every change; `scripts/interop` takes all.
const FEW: [&str; 5] = ["java", "librdkafka", "franz-go", "kafkajs", "kafka-python"];

struct Pair {
    name: &'static str,
    producer: Client,
    consumer: Client,
}

#[test]
fn no_client_notices_a_rolling_restart() {
    let mut bed = Bed::start(Plan { names: true, metered: false, per_zone: 1 });
    let all = setting("INTEROP_RECORDS").is_some();
    let names = wanted().into_iter().filter(|name| all || FEW.contains(name));
    let mut pairs: Vec<Pair> = names.map(|name| start(&bed, name)).collect();
    for pair in &mut pairs {
        pair.producer.wait_for_events("acked", if pair.name == "kcat" { 0 } else { 20 });
        pair.consumer.wait_for_events("record", 20);
    }
    let mut took = Vec::new();
    for index in 0..bed.agents.len() {
        if bed.agents[index].group == FIRST {
            took.push(bed.stop_agent(index));
            bed.start_agent(index);
            bed.wait_until_ready(index);
            std::thread::sleep(Duration::from_secs(3)); // every client asks once more
        }
    }
    let rows: Vec<(String, Result<String, String>)> =
        pairs.into_iter().map(|pair| (pair.name.to_owned(), finish(pair))).collect();
    let mut text = "| client | outcome |\n| --- | --- |\n".to_owned();
    for (name, outcome) in &rows {
        let (Ok(told) | Err(told)) = outcome;
        let _ = writeln!(text, "| {name} | {} |", told.replace('|', "/"));
    }
    report(&format!("Rolling restart of three gateways; from SIGTERM to the end: {took:.1?}"), &text);
    let wrong: Vec<_> = rows.iter().filter(|(_, outcome)| outcome.is_err()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn start(bed: &Bed, name: &'static str) -> Pair {
    let admin = if name == "kcat" { "franz-go" } else { name };
    let create = ["admin", "create-topic", "--topic", name, "--partitions", "3"];
    bed.run(admin, FIRST, "interop-admin", &create, super::bed::PATIENCE).expect("create a topic");
    let id = |zone: &str, what: &str| format!("ws_az={zone},{name}.{what}");
    let group = format!("group-of-{name}");
    let consumer =
        bed.client(name, FIRST, &id(ZONES[1], "consume"), &["consume", "--topic", name, "--group", &group]);
    let mut produce = vec!["produce", "--topic", name, "--rate", RATE];
    if name != "kafka-go" {
        produce.push("--idempotent");
    }
    Pair { name, producer: bed.client(name, FIRST, &id(ZONES[0], "produce"), &produce), consumer }
}

/// Ends both; what they did, or what went wrong.
fn finish(pair: Pair) -> Result<String, String> {
    let produced = ended("produce", pair.producer.stop())?;
    let acked = produced.acked();
    let consumer = pair.consumer;
    let distinct =
        |records: Vec<crate::support::Seen>| records.iter().map(|seen| seen.seq).collect::<BTreeSet<u64>>();
    let arrived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for("every record", Duration::from_secs(20), || consumer.count("record") >= acked.len());
    }));
    let consumed = ended("consume", consumer.stop())?;
    let total = consumed.records().len();
    let seen = distinct(consumed.records());
    let lost = acked.difference(&seen).count();
    let told = format!("{} acknowledged, {lost} lost, {} doubled", acked.len(), total - seen.len());
    if lost > 0 || arrived.is_err() { Err(told) } else { Ok(told) }
}

fn ended(what: &str, said: Said) -> Result<Said, String> {
    super::bed::ended_well(what, said)
}
