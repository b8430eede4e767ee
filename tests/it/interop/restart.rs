//! A rolling restart of every gateway of both groups, under load of every client: no error reaches an application, nothing
//! is lost, and no record is written twice by a producer that promises to write each once.

use super::bed::{Bed, FIRST, PATIENCE, Plan, SECOND, ZONES, ended_well};
use super::{alone, report, wanted};
use crate::support::{Client, Said, Seen};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

/// Records per second of each producer.
const RATE: &str = "50";

/// A client's producer in the first group, and its consumer in the second: the storage is everybody's.
struct Pair {
    name: &'static str,
    producer: Client,
    consumer: Client,
}

#[test]
fn no_client_notices_a_rolling_restart() {
    let _alone = alone();
    let mut bed = Bed::start(Plan { names: true, metered: true, per_zone: 1 });
    let mut pairs: Vec<Pair> = wanted().into_iter().map(|name| start(&bed, name)).collect();
    for pair in &mut pairs {
        pair.producer.wait_for_events("acked", if pair.name == "kcat" { 0 } else { 20 });
        pair.consumer.wait_for_events("record", 20);
    }
    let mut took = Vec::new();
    for zone in ZONES {
        took.push(restart(&mut bed, zone));
        wait_until_all_asked(&bed, &mut pairs);
    }
    let ended: Vec<(&str, Said, Client)> =
        pairs.into_iter().map(|pair| (pair.name, pair.producer.stop(), pair.consumer)).collect();
    let arrived = |(_, said, consumer): &(&str, Said, Client)| consumer.count("record") >= said.acked().len();
    wait_some_time(|| ended.iter().all(arrived));
    let rows: Vec<(&str, Result<String, String>)> = ended
        .into_iter()
        .map(|(name, produced, consumer)| (name, compare(name, produced, consumer.stop())))
        .collect();
    let mut text = "| client | outcome |\n| --- | --- |\n".to_owned();
    for (name, outcome) in &rows {
        let (Ok(told) | Err(told)) = outcome;
        let _ = writeln!(text, "| {name} | {} |", told.replace('|', "/"));
    }
    let title = "Rolling restart of six gateways, one of each group at a time; from SIGTERM to the end";
    report(&format!("{title}: {took:.1?}"), &text);
    let wrong: Vec<_> = rows.iter().filter(|(_, outcome)| outcome.is_err()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn start(bed: &Bed, name: &'static str) -> Pair {
    bed.create("franz-go", "interop-admin", name, 3).expect("create a topic");
    let group = format!("group-of-{name}");
    let consume = ["consume", "--topic", name, "--group", &group];
    let consumer = bed.client(name, SECOND, &consumer_id(name), &consume);
    let mut produce = vec!["produce", "--topic", name, "--rate", RATE];
    if is_idempotent(name) {
        produce.push("--idempotent");
    }
    Pair { name, producer: bed.client(name, FIRST, &producer_id(name), &produce), consumer }
}

/// Restarts a zone's agent of either group; how long each took from SIGTERM to its end.
fn restart(bed: &mut Bed, zone: &str) -> Vec<Duration> {
    let of_zone = |index: &usize| bed.agents[*index].zone == zone;
    let indices: Vec<usize> = (0..bed.agents.len()).filter(of_zone).collect();
    for index in &indices {
        bed.terminate(*index);
    }
    let took = indices.iter().map(|index| bed.wait_until_ended(*index)).collect();
    for index in &indices {
        bed.start_agent(*index);
    }
    for index in &indices {
        bed.wait_until_ready(*index);
    }
    took
}

/// Waits until every client has asked once more where to go, and so has been told of the agent that came back. The
/// consumer of kafka-go never asks again while all is well: it has gone on when it was given another record.
fn wait_until_all_asked(bed: &Bed, pairs: &mut [Pair]) {
    let progress = |pair: &Pair| {
        let consumer = match pair.name {
            "kafka-go" => pair.consumer.count("record") as u64,
            name => bed.asked(&consumer_id(name)),
        };
        (bed.asked(&producer_id(pair.name)), consumer)
    };
    let before: Vec<(u64, u64)> = pairs.iter().map(progress).collect();
    let start = std::time::Instant::now();
    loop {
        let waiting: Vec<&str> = pairs
            .iter()
            .zip(&before)
            .filter(|(pair, (producer, consumer))| {
                let now = progress(pair);
                now.0 <= *producer || now.1 <= *consumer
            })
            .map(|(pair, _)| pair.name)
            .collect();
        if waiting.is_empty() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "these did not ask again: {waiting:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn producer_id(name: &str) -> String {
    format!("ws_az={},{name}.produce", ZONES[0])
}

fn consumer_id(name: &str) -> String {
    format!("ws_az={},{name}.consume", ZONES[1])
}

/// All but kafka-go, which has no idempotent producer.
fn is_idempotent(name: &str) -> bool {
    name != "kafka-go"
}

/// What both did, or what went wrong.
fn compare(name: &str, produced: Said, consumed: Said) -> Result<String, String> {
    let records = consumed.records();
    let mut places: BTreeMap<u64, BTreeSet<(i64, i64)>> = BTreeMap::new();
    for Seen { seq, partition, offset, .. } in &records {
        places.entry(*seq).or_default().insert((*partition, *offset));
    }
    let acked = produced.acked();
    let lost: Vec<u64> = acked.iter().filter(|seq| !places.contains_key(seq)).copied().collect();
    let distinct: usize = places.values().map(BTreeSet::len).sum();
    let (written, read) = (distinct - places.len(), records.len() - distinct);
    let moves = consumed.events("assigned").len() + consumed.events("revoked").len();
    let mut told = format!(
        "{} acknowledged, {} lost, {written} written twice, {read} read twice, {moves} assignments",
        acked.len(),
        lost.len()
    );
    let forgotten = [&produced, &consumed].iter().map(|said| said.events("forgotten").len()).sum::<usize>();
    if forgotten > 0 {
        told.push_str(", a connection left open by the library");
    }
    if !lost.is_empty() {
        let last: Vec<&str> = consumed.stderr.lines().rev().take(5).collect();
        let _ = write!(told, " (first lost {:?}; {})", lost.first(), last.join(" // "));
    }
    let is_wrong = !lost.is_empty() || acked.is_empty() || (written > 0 && is_idempotent(name));
    ended_well("produce", produced).map_err(|error| format!("{told}; {error}"))?;
    ended_well("consume", consumed).map_err(|error| format!("{told}; {error}"))?;
    if is_wrong { Err(told) } else { Ok(told) }
}

/// Waits until everything has arrived, or no longer: what is missing then is lost.
fn wait_some_time(mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(200));
    }
}
