//! Runs `tests/scenarios/*.txt`: what happens to a fleet, what is then asked, and what must be answered. The server
//! is the real one, on real sockets; its clock is turned by the scenario. docs/dns.md explains the answers.

use crate::dns_fleet::{Served, key, query, record};
use fingerpost::dns::{Empty, Rules, ZoneSettings, Zones};
use fingerpost::model::Cluster;
use fingerpost::net::proxy::Networks;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

#[test]
fn every_scenario_holds() {
    let folder = crate::support::root().join("tests/scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
    files.sort();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    assert!(files.len() >= 8, "the scenarios are gone: {files:?}");
    let wrong: Vec<String> = files.iter().flat_map(|file| run(file)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What stands above the first event.
struct Setup {
    zones: Vec<ZoneSettings>,
    rules: Rules,
    files: Vec<tempfile::NamedTempFile>,
}

fn run(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut setup = Setup { zones: Vec::new(), rules: Rules::default(), files: Vec::new() };
    let mut lines = text.lines().enumerate().peekable();
    let mut served: Option<Served> = None;
    let (mut wrong, mut asked) = (Vec::new(), 0);
    while let Some((number, line)) = lines.next() {
        let line = line.split(" #").next().unwrap_or_default().trim_end();
        let mut words = line.split_whitespace();
        let at = || format!("{}:{}", file.display(), number + 1);
        match words.next() {
            None => {}
            Some(word) if word.starts_with('#') => {}
            Some("zone") => {
                let apex = words.next().unwrap();
                let mut zone = ZoneSettings::new(apex);
                zone.addresses = vec!["192.0.2.53".parse().unwrap()];
                let mut body = String::new();
                while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with("  ")) {
                    body.push_str(line.strip_prefix("  ").unwrap_or(line));
                    body.push('\n');
                }
                if !body.is_empty() {
                    let mut kept = tempfile::NamedTempFile::new().unwrap();
                    kept.write_all(body.as_bytes()).unwrap();
                    zone.file = Some(kept.path().to_owned());
                    setup.files.push(kept);
                }
                setup.zones.push(zone);
            }
            Some("rules") => words.for_each(|word| rule(&mut setup.rules, word)),
            Some("ask") => {
                asked += 1;
                let mut expected = Vec::new();
                while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with("  ")) {
                    expected.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
                }
                let served = served.get_or_insert_with(|| start(&setup));
                let got = ask(served, words);
                if let Some(difference) = compare(&expected, &got) {
                    wrong.push(format!("{}: {line}\n{difference}", at()));
                }
            }
            Some(event) => {
                let served = served.get_or_insert_with(|| start(&setup));
                let words: Vec<&str> = words.collect();
                assert!(happen(served, event, &words), "{}: {event:?} is no event", at());
            }
        }
    }
    assert!(asked > 0, "{} asks nothing", file.display());
    wrong
}

fn start(setup: &Setup) -> Served {
    let clusters: Vec<Cluster> = setup.rules.clusters.iter().cloned().collect();
    let zones = Zones::load(&setup.zones, &clusters).unwrap_or_else(|problems| panic!("{problems:#?}"));
    Served::start(zones, setup.rules.clone())
}

fn rule(rules: &mut Rules, word: &str) {
    let clusters = |all: &str| all.split(',').map(|one| Cluster::parse(one).unwrap()).collect();
    match word.split_once('=') {
        Some(("ttl", ttl)) => rules.ttl = ttl.parse().unwrap(),
        Some(("sample", sample)) => rules.sample = sample.parse().unwrap(),
        Some(("text", text)) => rules.text = text == "on",
        Some(("empty", "nodata")) => rules.empty = Empty::NoData,
        Some(("empty", "last-known")) => rules.empty = Empty::LastKnown,
        Some(("empty", "servfail")) => rules.empty = Empty::ServFail,
        Some(("clusters", all)) => rules.clusters = clusters(all),
        Some(("networks", all)) => rules.client_zones.networks = all.parse().unwrap(),
        Some(("allow", group)) => {
            let (path, networks) = group.split_once(':').unwrap();
            let key = key(&format!("{path}/x"));
            rules.access.restrict(key.cluster, key.group, Networks::parse(networks.split(',')).unwrap());
        }
        Some(("cluster_wide", all)) => rules.cluster_wide = clusters(all),
        _ => panic!("{word:?} is no rule"),
    }
}

/// `2500ms`, `15s`.
fn millis(word: &str) -> u64 {
    match (word.strip_suffix("ms"), word.strip_suffix('s')) {
        (Some(millis), _) => millis.parse().unwrap(),
        (None, Some(seconds)) => seconds.parse::<u64>().unwrap() * 1_000,
        _ => panic!("{word:?} is no time: 15s, 500ms"),
    }
}

fn happen(served: &Served, event: &str, words: &[&str]) -> bool {
    match (event, words) {
        ("synced", []) => served.synced(),
        ("group", [cluster, group]) => served.group(cluster, group),
        ("heartbeat", [path, lease, rest @ ..]) => {
            served.agent(path, record(rest.iter().copied()), millis(lease));
        }
        ("renew", [path, lease]) => served.renew(path, millis(lease)),
        ("drain", [path]) => served.change(path, &|record| record.state = fingerpost::model::State::Draining),
        ("gone", [path, grace]) => served.gone(path, millis(grace)),
        ("wait", [time]) => served.clock.advance(Duration::from_millis(millis(time))),
        ("lost", []) => served.source.freeze(served.clock.now()),
        ("back", []) => served.source.thaw(),
        _ => return false,
    }
    true
}

/// Asks and renders the answer as scenarios write it.
fn ask<'a>(served: &Served, mut words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let name = words.next().unwrap();
    let kind = match words.next().unwrap() {
        "DNAME" => RecordType::Unknown(39),
        other => RecordType::from_str(other).unwrap(),
    };
    let (mut edns, mut tcp, mut source) = (Some(1232), false, "127.0.0.1");
    for word in words {
        match word.split_once('=') {
            None if word == "noedns" => edns = None,
            None if word == "tcp" => tcp = true,
            Some(("from", address)) => source = address,
            Some(("bufsize", size)) => edns = Some(size.parse().unwrap()),
            _ => panic!("{word:?} is no way to ask"),
        }
    }
    let packet = query(name, kind.into(), edns);
    let bytes =
        if tcp { served.tcp(&packet) } else { served.udp_from(source, &packet).expect("an answer over UDP") };
    let most = edns.map_or(512, |size| size.clamp(512, 1232));
    assert!(tcp || bytes.len() <= usize::from(most), "{name}: {} bytes, {most} are allowed", bytes.len());
    let message = decode(&bytes);
    assert_eq!(message.metadata.id, 0x1234);
    assert_eq!(
        message.edns.is_some(),
        edns.is_some(),
        "{name}: an OPT is answered if and only if one was sent"
    );
    let mut status = vec![code(message.metadata.response_code).to_owned()];
    status.extend(message.metadata.authoritative.then(|| "aa".to_owned()));
    status.extend(message.metadata.truncation.then(|| "tc".to_owned()));
    let mut lines = vec![status.join(" ")];
    let sections =
        [("", &message.answers), ("+auth ", &message.authorities), ("+add ", &message.additionals)];
    for (prefix, records) in sections {
        let mut section: Vec<String> =
            records.iter().map(|record| format!("{prefix}{}", shown(record))).collect();
        section.sort();
        lines.extend(section);
    }
    lines
}

/// The response code as dig writes it.
pub fn code(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::YXDomain => "YXDOMAIN",
        ResponseCode::BADVERS => "BADVERS",
        other => panic!("{other} is no code that we give"),
    }
}

/// Decodes an answer, which must be exactly one message.
pub fn decode(bytes: &[u8]) -> Message {
    let mut decoder = BinDecoder::new(bytes);
    let message = Message::read(&mut decoder).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
    assert!(decoder.is_empty(), "{} bytes behind the answer {bytes:02x?}", decoder.len());
    message
}

fn shown(record: &Record) -> String {
    let data = match &record.data {
        RData::HINFO(_) => "\"RFC8482\" \"\"".to_owned(),
        RData::Unknown { rdata, .. } if u16::from(record.record_type()) == 39 => {
            let mut decoder = BinDecoder::new(&rdata.anything);
            Name::read(&mut decoder).unwrap().to_string()
        }
        RData::Unknown { rdata, .. } => {
            let bytes = &rdata.anything;
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\# {} {hex}", bytes.len())
        }
        other => other.to_string(),
    };
    format!("{} {} {} {data}", record.name, record.ttl, record.record_type())
}

/// Compares line by line, in any order within a section. `N of LINE...` lines ask for that many out of a set:
/// `2 of NAME TTL A 10.0.0.1 10.0.0.2 10.0.0.3`.
fn compare(expected: &[String], got: &[String]) -> Option<String> {
    let (mut sets, mut plain): (Vec<&String>, Vec<&String>) =
        expected.iter().partition(|line| line.split(' ').nth(1) == Some("of"));
    let mut left: Vec<&String> = got.iter().collect();
    sets.retain(|set| !take_some(set, &mut left));
    plain.retain(|line| match left.iter().position(|have| have == line) {
        Some(at) => {
            left.remove(at);
            false
        }
        None => true,
    });
    if sets.is_empty() && plain.is_empty() && left.is_empty() {
        return None;
    }
    let list = |title: &str, lines: &[&String]| {
        let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
        format!("  {title}:\n{lines}")
    };
    let missing = [sets, plain].concat();
    Some(
        list("missing", &missing)
            + &list("not expected", &left)
            + &list("all", &got.iter().collect::<Vec<_>>()),
    )
}

fn take_some(set: &str, left: &mut Vec<&String>) -> bool {
    let words: Vec<&str> = set.split(' ').collect();
    let [count, "of", name, ttl, kind, choices @ ..] = words.as_slice() else { return false };
    let lines: Vec<String> = choices.iter().map(|one| format!("{name} {ttl} {kind} {one}")).collect();
    let before = left.len();
    left.retain(|have| !lines.contains(have));
    (before - left.len()).to_string() == *count
}
