//! The matrix: each client creates a topic, describes, produces, consumes in a group, and reads the same records as a
//! client of the other group.

use super::bed::{Bed, FIRST, PATIENCE, Plan, SECOND, ZONES, ended_well};
use super::row::{Row, table};
use super::{alone, records, report, setting, wanted};
use crate::support::{Client, Met, Said};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const PARTITIONS: usize = 6;
/// Bytes per record: enough that what a group's members say to their coordinator is little beside it.
const SIZE: &str = "1000";
/// Clients at work at the same time.
const AT_ONCE: usize = 2;
/// For so long each producer works, if it can: several ages of metadata, and in the full run several placements.
const SECONDS: u64 = 8;
const SECONDS_OF_FULL: u64 = 25;
/// A client keeps its agent for so long under round robin.
const PLACEMENT_SECONDS: f64 = 5.0;
/// Their consumers tell what they are assigned, and are run three to a group.
const GROUPS: [&str; 6] = ["java", "java-3.9", "librdkafka", "franz-go", "kafkajs", "kafka-python"];

#[test]
fn every_client_stays_in_its_group_and_zone_by_name() {
    run(Plan { names: true, metered: true, per_zone: 2 }, "Agents advertised by name", wanted());
}

#[test]
fn clients_stay_in_their_group_and_zone_by_address() {
    let mut clients = wanted();
    if !is_full() {
        // What is told apart is how hosts are written: one client per way of taking them. The others, in the full run.
        clients.retain(|name| ["java", "librdkafka", "franz-go"].contains(name));
    }
    run(Plan { names: false, metered: true, per_zone: 2 }, "Agents advertised by address", clients);
}

fn run(plan: Plan, title: &str, clients: Vec<&'static str>) {
    let _alone = alone();
    let bed = Bed::start(plan);
    let queue = Mutex::new(clients);
    let rows = Mutex::new(Vec::new());
    let next = || queue.lock().expect("no thread panicked").pop();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(name) = next() {
                    let row = measure(&bed, name);
                    println!("interop: {row:?}");
                    rows.lock().expect("no thread panicked").push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().expect("no thread panicked");
    rows.sort_by_key(|row| crate::support::CLIENTS.iter().position(|name| *name == row.client));
    let (balance, unbalanced) = balance(&bed, &rows);
    let nameless = bed.meter.met().iter().filter(|met| met.client_id.is_empty()).count();
    report(
        &format!("{title} ({} records per client, {nameless} connections said nothing)", records()),
        &format!("{}\n{balance}\n", table(&rows)),
    );
    let wrong = rows.iter().filter(|row| !row.wrong.is_empty());
    let wrong = wrong.map(|row| format!("{}: {}", row.client, row.wrong.join("; ")));
    let wrong: Vec<String> = wrong.chain(unbalanced).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A client's row, whatever happens.
fn measure(bed: &Bed, name: &str) -> Row {
    let start = Instant::now();
    let mut row = Row { client: name.to_owned(), ..Row::default() };
    let done = catch_unwind(AssertUnwindSafe(|| Case { bed, name, row: &mut row }.run()));
    match done {
        Ok(Ok(())) => {}
        Ok(Err(error)) => row.wrong.push(error),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            row.wrong.push(text.unwrap_or_else(|| "the test panicked".to_owned()));
        }
    }
    at_the_sockets(bed, name, &mut row);
    row.judge(records());
    row.seconds = start.elapsed().as_secs_f64();
    row
}

struct Case<'a> {
    bed: &'a Bed,
    name: &'a str,
    row: &'a mut Row,
}

impl Case<'_> {
    fn run(&mut self) -> Result<(), String> {
        let (name, topic) = (self.name, self.name);
        self.create(topic)?;
        self.describe(topic)?;
        self.transactions()?;
        let consumers = self.consumers(topic);
        self.coordinator(topic)?;
        let stable = consumers.iter().map(moves).sum::<u64>();

        let seconds = if is_full() { SECONDS_OF_FULL } else { SECONDS };
        let (count, rate) = (records().to_string(), (records() / seconds).to_string());
        let id = client_id(name, ZONES[0], "produce");
        let mut produce =
            vec!["produce", "--topic", topic, "--count", &count, "--rate", &rate, "--size", SIZE];
        if name != "kafka-go" {
            produce.push("--idempotent");
        }
        let start = Instant::now();
        let produced = self.bed.run(name, FIRST, &id, &produce, self.patience())?;
        self.row.placements = start.elapsed().as_secs_f64() / PLACEMENT_SECONDS;
        self.row.acked = produced.acked().len() as u64;
        let all = wait(self.patience(), || seen(&consumers) >= self.row.acked);
        if is_told(name) {
            let count = consumers.iter().map(moves).sum::<u64>() - stable;
            self.row.rebalances = Some(count);
            if count > 0 {
                self.row.wrong.push(why_moved(&consumers));
            }
        }
        self.coordinator(topic)?;
        self.row.members = consumers.len() as u64;
        let said: Result<Vec<Said>, String> =
            consumers.into_iter().map(|consumer| ended_well("consume", consumer.stop())).collect();
        let said = said?;
        let of_it = said.iter().flat_map(Said::records).filter(|seen| seen.producer == id);
        let got = of_it.map(|seen| seen.seq);
        self.compare(got.collect(), &produced);
        if !all {
            return Err("not all records came".to_owned());
        }
        self.other_group(topic, &count)
    }

    fn create(&self, topic: &str) -> Result<(), String> {
        let name = if self.name == "kcat" { "franz-go" } else { self.name }; // kcat can't
        self.bed.create(name, &client_id(self.name, ZONES[1], "admin"), topic, PARTITIONS)
    }

    /// The broker list is the group's agents, all of them and nobody else; the leaders are of the client's zone.
    fn describe(&self, topic: &str) -> Result<(), String> {
        let bed = self.bed;
        let id = client_id(self.name, ZONES[1], "describe");
        let said = bed.run(self.name, FIRST, &id, &["metadata", "--topic", topic], PATIENCE)?;
        let seen = said.event("metadata").clone();
        let brokers = seen["brokers"].as_array().cloned().unwrap_or_default();
        let host = |broker: &Value| {
            (broker["host"].as_str().unwrap_or_default().to_owned(), broker["port"].as_u64().unwrap_or(0))
        };
        let told = |zone: Option<&str>| {
            let of_group = bed.agents.iter().filter(|agent| agent.group == FIRST);
            let wanted = of_group.filter(|agent| zone.is_none_or(|zone| agent.zone == zone));
            wanted
                .map(|agent| bed.told(agent))
                .map(|(host, port)| (host, u64::from(port)))
                .collect::<BTreeSet<_>>()
        };
        let listed: BTreeSet<_> = brokers.iter().map(host).collect();
        if listed != told(None) {
            return Err(format!("brokers listed: {listed:?}"));
        }
        let ids: BTreeMap<i64, _> =
            brokers.iter().map(|one| (one["id"].as_i64().unwrap_or(-1), host(one))).collect();
        let leaders = seen["topics"][0]["partitions"].as_array().cloned().unwrap_or_default();
        let near = told(Some(ZONES[1]));
        let is_near = |leader: &Value| {
            ids.get(&leader["leader"].as_i64().unwrap_or(-1)).is_some_and(|host| near.contains(host))
        };
        if leaders.len() != PARTITIONS || !leaders.iter().all(is_near) {
            return Err(format!("leaders: {leaders:?}"));
        }
        // An older librdkafka reads the cluster id up to the next zero byte, which it looks for in the controller's id.
        if !["kcat", "librdkafka-2.6"].contains(&self.name) {
            bed.run(self.name, FIRST, &id, &["admin", "describe-cluster"], PATIENCE)?;
        }
        Ok(())
    }

    /// Produces in transactions and reads what is committed.
    fn transactions(&mut self) -> Result<(), String> {
        if ["kafka-go", "kcat"].contains(&self.name) {
            return Ok(());
        }
        let topic = format!("tx-{}", self.name);
        self.create(&topic)?;
        let id = client_id(self.name, ZONES[0], "transact");
        let produce =
            ["produce", "--topic", &topic, "--count", "200", "--batch", "50", "--transactional", &topic];
        self.bed.run(self.name, FIRST, &id, &produce, PATIENCE)?;
        let consume = ["consume", "--topic", &topic, "--count", "200", "--group", &topic];
        let id = client_id(self.name, ZONES[0], "committed");
        let said = self.bed.run("franz-go", FIRST, &id, &consume, PATIENCE)?;
        let seqs: BTreeSet<u64> = said.records().iter().map(|record| record.seq).collect();
        self.row.transactions = Some(seqs.len() as u64);
        Ok(())
    }

    /// Starts the members of a group, one per zone, and waits until all have their share.
    fn consumers(&self, topic: &str) -> Vec<Client> {
        let members = if GROUPS.contains(&self.name) { 3 } else { 1 };
        let group = format!("group-of-{topic}");
        let consume = ["consume", "--topic", topic, "--group", &group];
        let start = |n: usize| {
            let id = client_id(self.name, ZONES[n], "consume");
            self.bed.client(self.name, FIRST, &id, &consume)
        };
        let consumers: Vec<Client> = (0..members).map(start).collect();
        if is_told(self.name) {
            let owned = || consumers.iter().map(|one| owned(self.name, one)).collect::<Vec<_>>();
            let settled = wait(PATIENCE, || {
                let owned = owned();
                let union: BTreeSet<&String> = owned.iter().flatten().collect();
                let is_whole =
                    union.len() == PARTITIONS && owned.iter().map(BTreeSet::len).sum::<usize>() == PARTITIONS;
                is_whole && owned.iter().all(|owned| !owned.is_empty())
            });
            assert!(settled, "the group did not settle: {:?}", owned());
        }
        consumers
    }

    fn coordinator(&self, topic: &str) -> Result<(), String> {
        self.bed.coordinator(&format!("group-of-{topic}")).map(drop)
    }

    fn compare(&mut self, mut got: Vec<u64>, produced: &Said) {
        let total = got.len() as u64;
        got.sort_unstable();
        got.dedup();
        self.row.doubled = total - got.len() as u64;
        let got: BTreeSet<u64> = got.into_iter().collect();
        self.row.lost = produced.acked().difference(&got).count() as u64;
    }

    /// The storage is everybody's: a client of the other group reads the same records, from its own agents.
    fn other_group(&self, topic: &str, count: &str) -> Result<(), String> {
        let group = format!("other-{topic}");
        let consume = ["consume", "--topic", topic, "--group", &group, "--count", count];
        let id = client_id(self.name, ZONES[1], "other");
        self.bed.run(self.name, SECOND, &id, &consume, self.patience()).map(drop)
    }

    fn patience(&self) -> Duration {
        PATIENCE + Duration::from_millis(records() * 2)
    }
}

/// What a client did is what its connections did, each of which said who it was.
fn at_the_sockets(bed: &Bed, name: &str, row: &mut Row) {
    let own = format!(",{name}.");
    let met: Vec<Met> = bed.meter.met().into_iter().filter(|met| met.client_id.contains(&own)).collect();
    let (mut local, mut all) = (0, 0);
    let mut per_agent: BTreeMap<&str, u64> = BTreeMap::new();
    for one in &met {
        let Some(agent) = bed.agents.iter().find(|agent| agent.id == one.place) else {
            row.past += 1;
            continue;
        };
        let wanted = if one.client_id.ends_with(".other") { SECOND } else { FIRST };
        row.strays += u64::from(agent.group != wanted);
        let is_data = [".produce", ".consume", ".other"].iter().any(|end| one.client_id.ends_with(end));
        if is_data {
            all += one.bytes;
            if one.client_id.contains(agent.zone) {
                local += one.bytes;
            }
        }
        if one.client_id.ends_with(".produce") && agent.zone == ZONES[0] {
            *per_agent.entry(&agent.id).or_default() += one.bytes;
        }
    }
    if all > 0 {
        row.local = Some(local as f64 / all as f64);
    }
    let of_zone = bed.agents.iter().filter(|agent| agent.group == FIRST && agent.zone == ZONES[0]).count();
    let sum: u64 = per_agent.values().sum();
    if sum > 0 {
        let most = per_agent.values().max().copied().unwrap_or(0);
        row.balance = Some(most as f64 * of_zone as f64 / sum as f64);
    }
}

/// Every producer's bytes over the agents of their zone, in words; what is wrong with them.
///
/// Each producer is placed anew every five seconds. Were each placement a coin flip, the share of one of two agents in
/// n of them would vary by 0.5 / sqrt(n), and busiest / mean by 1 / sqrt(n). Round robin does better within one gateway;
/// clients ask several, whose turns differ. So more than four such deviations is no chance (one in 16,000), but a
/// placement that prefers an agent.
fn balance(bed: &Bed, rows: &[Row]) -> (String, Option<String>) {
    let placements: f64 = rows.iter().map(|row| row.placements).sum();
    let of_zone = |agent: &&super::bed::Agent| agent.group == FIRST && agent.zone == ZONES[0];
    let mut bytes: BTreeMap<&str, u64> =
        bed.agents.iter().filter(of_zone).map(|agent| (agent.id.as_str(), 0)).collect();
    for one in bed.meter.met().iter().filter(|one| one.client_id.ends_with(".produce")) {
        if let Some(sum) = bytes.get_mut(one.place.as_str()) {
            *sum += one.bytes;
        }
    }
    let (sum, most) = (bytes.values().sum::<u64>(), bytes.values().max().copied().unwrap_or(0));
    if sum == 0 || placements < 1.0 {
        return ("No producer ended: nothing to be said of balance.".to_owned(), None);
    }
    let (ratio, bound) = (most as f64 * bytes.len() as f64 / sum as f64, 1.0 + 4.0 / placements.sqrt());
    let judged = if bound < bytes.len() as f64 {
        format!("where at most {bound:.2} is chance")
    } else {
        "too few to judge".to_owned()
    };
    let told = format!(
        "All producers together: busiest agent / mean {ratio:.2} in {placements:.0} placements, {judged}."
    );
    let wrong = (ratio > bound).then(|| format!("unbalanced: {bytes:?}; {told}"));
    (told, wrong)
}

fn client_id(name: &str, zone: &str, what: &str) -> String {
    format!("ws_az={zone},{name}.{what}")
}

/// Whether its consumers tell of every rebalance.
fn is_told(name: &str) -> bool {
    GROUPS.contains(&name) || ["librdkafka-2.6", "sarama", "aiokafka"].contains(&name)
}

/// The partitions that a consumer has at the moment, as far as it told. kafkajs tells all of them each time.
fn owned(name: &str, consumer: &Client) -> BTreeSet<String> {
    let mut owned = BTreeSet::new();
    for line in consumer.lines() {
        let partitions = line["partitions"].as_array().cloned().unwrap_or_default();
        let partitions = partitions.iter().filter_map(|one| one.as_str().map(str::to_owned));
        match line["event"].as_str() {
            Some("assigned") if name == "kafkajs" => owned = partitions.collect(),
            Some("assigned") => owned.extend(partitions),
            Some("revoked") => owned.retain(|one| !partitions.clone().any(|gone| gone == *one)),
            _ => {}
        }
    }
    owned
}

/// What the libraries said when a group moved without a reason of ours.
fn why_moved(consumers: &[Client]) -> String {
    let said = consumers.iter().map(Client::stderr);
    let last = said.map(|said| said.lines().rev().take(8).collect::<Vec<_>>().join(" <- "));
    last.collect::<Vec<_>>().join(" || ")
}

/// Whether this is the run of `scripts/interop`.
fn is_full() -> bool {
    setting("INTEROP_RECORDS").is_some()
}

/// How often a consumer's assignment has changed.
fn moves(consumer: &Client) -> u64 {
    (consumer.count("assigned") + consumer.count("revoked")) as u64
}

fn seen(consumers: &[Client]) -> u64 {
    consumers.iter().map(|consumer| consumer.count("record") as u64).sum()
}

/// Whether a condition came true in time; looked at seldom, for a look may cost.
fn wait(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}
