//! What a zone holds for secondaries, against what the answers say; and what changed between two versions.

use super::contents::{Contents, Set};
use super::journal::Version;
use super::{Plan, agree::is_newer};
use crate::dns::answer::{Client, Known, Outcome, Question, Rules, answer};
use crate::dns::names::{Name, text_of};
use crate::dns::wire::rtype;
use crate::dns::zones::{ZoneSettings, Zones};
use crate::limits::dns as limits;
use crate::model::{
    Agent, AgentId, AgentKey, Cluster, Fleet, Group, GroupName, Label, Lease, Moment, Record, Source, State,
    Zone,
};
use crate::net::proxy::Networks;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

const NOW: Moment = Moment::from_millis(1_000);

fn cluster(name: &str) -> Cluster {
    Cluster::parse(name).unwrap()
}

fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

/// `group/agent zone address...`, with `!` before a draining one and `?` before one whose lease is over.
fn agent(line: &str) -> Arc<Agent> {
    let mut words = line.split(' ');
    let name = words.next().unwrap();
    let (group_name, id) = name.trim_start_matches(['!', '?']).split_once('/').unwrap();
    let key =
        AgentKey { cluster: cluster("p_c"), group: group(group_name), agent: AgentId::parse(id).unwrap() };
    let zone = words.next().map(|zone| Zone::parse(zone).unwrap());
    let addresses: Vec<IpAddr> = words.map(|address| address.parse().unwrap()).collect();
    let ports = [("kafka", 9092), ("http_api", 80)].map(|(name, port)| (Label::parse(name).unwrap(), port));
    let state = if name.starts_with('!') { State::Draining } else { State::Ready };
    let record =
        Record { zone, addresses, ports: BTreeMap::from(ports), state, weight: 7, ..Record::default() };
    let end = if name.starts_with('?') { NOW } else { Moment::from_millis(900_000) };
    Arc::new(Agent { key, record: Arc::new(record), lease: Lease::new(end, Source::new("test", 0)) })
}

fn fleet(lines: &[&str]) -> Fleet {
    let mut edit = Fleet::default().edit();
    edit.set_synced();
    let mut groups: BTreeMap<GroupName, Vec<Arc<Agent>>> = BTreeMap::new();
    for agent in lines.iter().map(|line| agent(line)) {
        groups.entry(agent.key.group.clone()).or_default().push(agent);
    }
    for (name, agents) in groups {
        edit.put_group(Arc::new(Group::build(cluster("p_c"), name, 1, agents, Vec::new())));
    }
    edit.put_group(Arc::new(Group::build(cluster("p_c"), group("empty"), 1, Vec::new(), Vec::new())));
    edit.configure_clusters([&cluster("p_c")]);
    edit.finish()
}

const LINES: [&str; 7] = [
    "vpc-1/a z_1 10.0.1.1 2001:db8::1",
    "vpc-1/b_1 z_2 10.0.1.2",
    "!vpc-1/c z_3 10.0.1.3",
    "?vpc-1/d z_1 10.0.1.4",
    "vpc_2/a z_1 10.0.2.1",
    "secret/a hidden 10.0.3.1",
    "secret/b hidden 10.0.3.2",
];

struct Rig {
    zones: Zones,
    rules: Rules,
    plan: Plan,
    _file: tempfile::NamedTempFile,
}

impl Rig {
    fn new() -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = "$TTL 60\n@ SOA ns1 h 5 3600 600 86400 2\n@ NS ns1\nns1 A 192.0.2.1\n* A 192.0.2.9\n\
                    sub NS ns.sub\nns.sub A 192.0.2.2\nwww CNAME vpc-1.p-c\n";
        file.write_all(text.as_bytes()).unwrap();
        let settings = ZoneSettings { file: Some(file.path().to_owned()), ..ZoneSettings::new("k.example") };
        let zones = Zones::load(&[settings], &[cluster("p_c")]).unwrap();
        let mut rules = Rules { clusters: [cluster("p_c")].into(), ..Rules::default() };
        rules.access.restrict(cluster("p_c"), group("secret"), Networks::parse(["127.0.0.0/8"]).unwrap());
        let plan =
            Plan { groups: ["vpc-1", "empty", "secret"].map(|name| (cluster("p_c"), group(name))).into() };
        Self { zones, rules, plan, _file: file }
    }

    fn contents(&self, fleet: &Fleet) -> Contents {
        let known = Known { zones: &self.zones, rules: &self.rules, fleet, now: NOW };
        Contents::of(self.zones.iter().next().unwrap(), &known, &self.plan)
    }
}

fn addresses(set: &Set) -> BTreeSet<IpAddr> {
    let read = |data: &[u8]| match <[u8; 4]>::try_from(data) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(data).unwrap()),
    };
    set.data.iter().map(read).collect()
}

/// Whatever a secondary answers of the fleet is what the server itself might answer, name by name; and what the
/// server answers for the names that clients use is in the list.
#[test]
fn a_zone_holds_what_its_names_answer() {
    let (rig, fleet) = (Rig::new(), fleet(&LINES));
    let contents = rig.contents(&fleet);
    let known = Known { zones: &rig.zones, rules: &rig.rules, fleet: &fleet, now: NOW };
    let mut seen = BTreeSet::new();
    for set in &contents.sets {
        let (name, _) = Name::read(&set.owner).unwrap();
        let client = Client { source: IpAddr::from([127, 0, 0, 1]), zone: None };
        let asked = answer(&known, Question { name: &name, qtype: set.rtype, client }, 1);
        let told = match &asked.outcome {
            Outcome::V4(sample) => sample.iter().map(|octets| IpAddr::from(*octets)).collect(),
            Outcome::V6(sample) => sample.iter().map(|octets| IpAddr::from(*octets)).collect(),
            Outcome::Services(services) => {
                assert_eq!(services.iter().count(), set.data.iter().count(), "{name}");
                continue;
            }
            // A TXT that only lets the name exist.
            _ if set.rtype == rtype::TXT => continue,
            // Glue and wildcards are not asked for by their own name.
            Outcome::Static(_) | Outcome::Referral(_) => continue,
            other => panic!("{name} {}: {other:?}", set.rtype),
        };
        let told: BTreeSet<IpAddr> = told;
        assert_eq!(addresses(set), told, "{name}");
        seen.insert(name.to_string());
    }
    for name in [
        "vpc-1.p_c",
        "vpc-1.p-c",
        "vpc_2.p_c",
        "vpc-2.p-c",
        "a.vpc-1.p_c",
        "b_1.vpc-1.p_c",
        "b-1.vpc-1.p-c",
        "c.vpc-1.p_c",
        "az-z_1.vpc-1.p_c",
        "az-z-2.vpc-1.p_c",
        "az-z_3.vpc-1.p_c",
        "az-z_3.vpc_2.p_c",
        "az-hidden.secret.p_c",
    ] {
        assert!(seen.contains(&format!("{name}.k.example.")), "{name} is missing in {seen:#?}");
    }
    let gone = ["d.vpc-1.p_c", "empty.p_c", "az-hidden.vpc-1.p_c"];
    assert!(gone.iter().all(|name| !seen.contains(&format!("{name}.k.example."))), "{seen:#?}");
    let has = |name: &str, rtype: u16| {
        let owner = Name::parse(&format!("{name}.k.example")).unwrap();
        contents.sets.iter().any(|set| *set.owner == *owner.wire() && set.rtype == rtype)
    };
    for (name, rtype) in [
        ("*", rtype::A),
        ("sub", rtype::NS),
        ("ns.sub", rtype::A),
        ("www", rtype::CNAME),
        ("p_c", rtype::TXT),
        ("p-c", rtype::TXT),
        ("empty.p_c", rtype::TXT),
        ("_http-api._tcp.vpc-1.p-c", rtype::SRV),
    ] {
        assert!(has(name, rtype), "{name} {rtype}");
    }
}

/// No set of one group holds an address of another, and nothing that names a closed group is open.
#[test]
fn groups_stay_apart() {
    let rig = Rig::new();
    let contents = rig.contents(&fleet(&LINES));
    for set in contents.sets.iter().filter(|set| matches!(set.rtype, rtype::A | rtype::AAAA | rtype::SRV)) {
        let name = text_of(&set.owner);
        let Some(third) =
            [("vpc-1.p", "10.0.1."), ("vpc_2.p", "10.0.2."), ("vpc-2.p", "10.0.2."), ("secret.p", "10.0.3.")]
                .iter()
                .find_map(|(group, prefix)| name.contains(group).then_some(prefix))
        else {
            continue;
        };
        if set.rtype == rtype::A {
            assert!(addresses(set).iter().all(|ip| ip.to_string().starts_with(third)), "{name} {set:?}");
        }
    }
    let closed = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).to_string();
        text.contains("secret") || text.contains("hidden")
    };
    for set in contents.sets.iter().filter(|set| !set.closed) {
        assert!(!closed(&set.owner) && !set.data.iter().any(closed), "{}", text_of(&set.owner));
    }
    assert!(contents.sets.iter().filter(|set| set.closed).count() > 8);
}

/// What the operator wrote is not cut, as what agents write is.
#[test]
fn a_large_static_set_is_whole() {
    let mut rig = Rig::new();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut text = "$TTL 60\n@ SOA ns1 h 5 3600 600 86400 2\n@ NS ns1\nns1 A 192.0.2.1\n".to_owned();
    (0..1_500).for_each(|n| text.push_str(&format!("big A 10.7.{}.{}\n", n / 250, n % 250)));
    file.write_all(text.as_bytes()).unwrap();
    let settings = ZoneSettings { file: Some(file.path().to_owned()), ..ZoneSettings::new("k.example") };
    rig.zones = Zones::load(&[settings], &[]).unwrap();
    let contents = rig.contents(&fleet(&LINES));
    assert!(contents.sets.iter().any(|set| set.data.iter().count() == 1_500));
}

#[test]
fn cluster_wide_names_leave_closed_groups_out() {
    let mut rig = Rig::new();
    rig.rules.cluster_wide = [cluster("p_c")].into();
    let contents = rig.contents(&fleet(&LINES));
    let owner = Name::parse("p_c.k.example").unwrap();
    let wide = contents.sets.iter().find(|set| *set.owner == *owner.wire() && set.rtype == rtype::A).unwrap();
    let wanted = ["10.0.1.1", "10.0.1.2", "10.0.2.1"].map(|ip| ip.parse().unwrap());
    assert_eq!(addresses(wide), wanted.into());
}

#[test]
fn the_digest_tells_contents_apart_and_no_order_matters() {
    let rig = Rig::new();
    let one = rig.contents(&fleet(&LINES));
    let mut lines = LINES;
    lines.reverse();
    assert_eq!(one.digest, rig.contents(&fleet(&lines)).digest);
    lines[0] = "secret/b hidden 10.0.3.9";
    assert_ne!(one.digest, rig.contents(&fleet(&lines)).digest);
    assert_eq!(
        one.soa(7)[..],
        [&one.soa(0)[..one.soa(0).len() - 20], &7u32.to_be_bytes(), &one.soa(0)[one.soa(0).len() - 16..]]
            .concat()
    );
}

#[test]
fn a_large_group_is_cut_to_what_an_answer_holds_and_stays_so() {
    let rig = Rig::new();
    let lines: Vec<String> =
        (0..1_500).map(|n| format!("big/agent-{n} z 10.9.{}.{}", n / 250, n % 250 + 1)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let of = |lines: &[&str]| {
        let contents = rig.contents(&fleet(lines));
        let owner = Name::parse("big.p_c.k.example").unwrap();
        let set =
            contents.sets.iter().find(|set| *set.owner == *owner.wire() && set.rtype == rtype::A).unwrap();
        let srv =
            contents.sets.iter().find(|set| set.owner.starts_with(b"\x06_kafka\x04_tcp\x03big")).unwrap();
        assert!(srv.data.iter().map(<[u8]>::len).sum::<usize>() <= limits::TRANSFER_SET_BYTES);
        addresses(set)
    };
    let (all, fewer) = (of(&lines), of(&lines[1..]));
    assert_eq!((all.len(), fewer.len()), (limits::TRANSFER_SET, limits::TRANSFER_SET));
    assert!(
        all.intersection(&fewer).count() >= limits::TRANSFER_SET - 1,
        "one that leaves changes one record"
    );
}

/// Steps played on the old version give the new one.
#[test]
fn steps_lead_from_any_known_version_to_the_newest() {
    let rig = Rig::new();
    let states: Vec<Arc<Contents>> = [&LINES[..], &LINES[1..], &LINES[..5], &LINES[2..], &LINES[..]]
        .iter()
        .map(|lines| Arc::new(rig.contents(&fleet(lines))))
        .collect();
    let records = |contents: &Contents| -> BTreeSet<(String, u16, u32, Vec<u8>)> {
        let of = |set: &Arc<Set>| {
            let (owner, rtype, ttl) = (text_of(&set.owner), set.rtype, set.ttl);
            set.data.iter().map(|data| (owner.clone(), rtype, ttl, data.to_vec())).collect::<Vec<_>>()
        };
        contents.sets.iter().flat_map(of).collect()
    };
    let mut version = Version::first(u32::MAX - 1, Arc::clone(&states[0]));
    for (number, state) in states.iter().enumerate().skip(1) {
        version = version.next((u32::MAX - 1).wrapping_add(number as u32), Arc::clone(state));
    }
    assert!(is_newer(version.serial, u32::MAX - 1));
    for (number, state) in states.iter().enumerate().take(4) {
        let mut have = records(state);
        for step in version.since((u32::MAX - 1).wrapping_add(number as u32)).unwrap() {
            for gone in &step.removed {
                let record = (text_of(&gone.owner), gone.rtype, gone.ttl, gone.data.to_vec());
                assert!(have.remove(&record), "{record:?} was not there");
            }
            for come in &step.added {
                assert!(have.insert((text_of(&come.owner), come.rtype, come.ttl, come.data.to_vec())));
            }
        }
        assert_eq!(have, records(&states[4]), "from version {number}");
    }
    assert!(version.since(1_000).is_none());
    let mut many = Version::first(0, Arc::clone(&states[0]));
    for serial in 1..=limits::JOURNAL_STEPS as u32 + 5 {
        many = many.next(serial, Arc::clone(&states[serial as usize % 2]));
    }
    assert!(many.since(4).is_none() && many.since(5).is_some(), "the oldest steps are forgotten");
}
