//! A rolling restart of every gateway of a group, under load of every client: no error reaches an application, nothing
//! is lost.

use super::bed::{Bed, FIRST, Plan, ZONES, ended_well};
use super::{alone, report, setting, wanted};
use crate::support::{Client, Said};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// Records per second of each producer.
const RATE: &str = "50";
/// Those that are run for every change; `scripts/interop` takes all.
const FEW: [&str; 3] = ["java", "librdkafka", "franz-go"];

struct Pair {
    name: &'static str,
    producer: Client,
    consumer: Client,
}

#[test]
fn no_client_notices_a_rolling_restart() {
    let _alone = alone();
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
    let ended: Vec<(&str, Said, Client)> =
        pairs.into_iter().map(|pair| (pair.name, pair.producer.stop(), pair.consumer)).collect();
    let arrived = |(_, said, consumer): &(&str, Said, Client)| consumer.count("record") >= said.acked().len();
    wait_some_time(|| ended.iter().all(arrived));
    let rows: Vec<(String, Result<String, String>)> = ended
        .into_iter()
        .map(|(name, produced, consumer)| (name.to_owned(), compare(produced, consumer.stop())))
        .collect();
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

/// What both did, or what went wrong.
fn compare(produced: Said, consumed: Said) -> Result<String, String> {
    let records = consumed.records();
    let got: BTreeSet<u64> = records.iter().map(|seen| seen.seq).collect();
    let acked = produced.acked();
    let lost: Vec<u64> = acked.difference(&got).copied().collect();
    let moves = consumed.events("assigned").len() + consumed.events("revoked").len();
    let (count, first, doubled) = (lost.len(), lost.first(), records.len() - got.len());
    let mut told =
        format!("{} acknowledged, {count} lost, {doubled} doubled, {moves} assignments", acked.len());
    if !lost.is_empty() {
        let _ = write!(
            told,
            " (first lost {first:?}; {})",
            consumed.stderr.lines().rev().take(5).collect::<Vec<_>>().join(" // ")
        );
    }
    let produced = ended_well("produce", produced).map_err(|error| format!("{told}; {error}"))?;
    ended_well("consume", consumed).map_err(|error| format!("{told}; {error}"))?;
    drop(produced);
    if lost.is_empty() { Ok(told) } else { Err(told) }
}

/// Waits until everything has arrived, or no longer: what is missing then is lost.
fn wait_some_time(mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(200));
    }
}
