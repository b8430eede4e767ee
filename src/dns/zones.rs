//! The zones that are served: each apex, its static data, and the checks that make a clash a start-up error.

mod check;

use super::answer::reverse::network_of;
use super::names::Name;
use super::tree::{RrSet, Tree};
use super::wire::rtype;
use super::zone_file::{self, Entry, Problem};
use crate::limits::dns as limits;
use crate::model::{Cluster, Network};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One zone as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneSettings {
    /// The apex: the name that is delegated to us, such as `kafka.corp.example`.
    pub apex: String,
    /// Its zone file. It must hold SOA and NS of the apex. Without one both are made from what follows.
    pub file: Option<PathBuf>,
    /// Name servers of a zone without a file, fully qualified. None: `ns1.<apex>`.
    pub name_servers: Vec<String>,
    /// Addresses of those of them that lie below the apex. Usually where we listen, wildcard addresses left out.
    pub addresses: Vec<IpAddr>,
    /// TTL of negative answers of a zone without a file, in seconds.
    pub negative_ttl: u32,
}

impl ZoneSettings {
    /// A zone without a file.
    pub fn new(apex: impl Into<String>) -> Self {
        Self {
            apex: apex.into(),
            file: None,
            name_servers: Vec::new(),
            addresses: Vec::new(),
            negative_ttl: limits::NEGATIVE_TTL.default,
        }
    }
}

/// One zone, compiled.
#[derive(Debug)]
pub struct Zone {
    /// Its apex.
    pub apex: Name,
    /// Its static data.
    pub tree: Tree,
    /// For a zone below in-addr.arpa or ip6.arpa, the network that it stands for, if any: its names are made of the agents'
    /// addresses, and no cluster lies in it.
    pub reverse: Option<Option<Network>>,
    /// Which of the configured zones it is.
    place: usize,
    /// TTL of its negative answers: the smaller of the SOA's TTL and its MINIMUM (RFC 2308 §3).
    pub negative_ttl: u32,
    /// The serial of its file; 1 without a file.
    pub serial: u32,
    /// The serial that it shows, where that is another one than the file's.
    pub agreed: Serial,
}

/// The serial of a zone that changes with the fleet: what the replicas agreed on. Clones are handles of one number.
/// A zone that nobody copies shows its file's serial and never touches this.
#[derive(Clone, Debug, Default)]
pub struct Serial(Arc<AtomicU64>);

/// Says that the low half is a serial.
const AGREED: u64 = 1 << 32;
/// Says that there is to be one and is none yet.
const PENDING: u64 = 2 << 32;

impl Serial {
    /// From now on the zone has no serial until one is set. One that was set stays.
    pub fn suspend(&self) {
        let _ = self.0.compare_exchange(0, PENDING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Shows this serial from now on.
    pub fn set(&self, serial: u32) {
        self.0.store(AGREED | u64::from(serial), Ordering::Release);
    }
}

impl Zone {
    /// Whether static data owns the label of this cluster.
    fn hides(&self, cluster: &Cluster) -> bool {
        let has = |name: Name| self.tree.get(name.wire()).is_some();
        self.tree.apex().is_some_and(|apex| apex.is_moved)
            || self.apex.child(cluster.as_str().as_bytes()).is_none_or(has)
    }

    /// Which label of `name` is the first of the apex, if it lies within the zone.
    fn apex_in(&self, name: &Name) -> Option<usize> {
        let index = name.labels().checked_sub(self.apex.labels())?;
        (name.suffix(index) == self.apex.wire()).then_some(index)
    }

    /// Its SOA. Every zone that was loaded has one.
    pub fn soa(&self) -> Option<&RrSet> {
        self.tree.apex().and_then(|apex| apex.set(rtype::SOA))
    }

    /// The serial that its SOA shows at this moment: the one that the replicas agreed on, or the file's.
    #[inline]
    pub fn shown_serial(&self) -> u32 {
        match self.agreed.0.load(Ordering::Acquire) {
            agreed if agreed & AGREED != 0 => agreed as u32,
            _ => self.serial,
        }
    }

    /// Whether it is copied by others and the replicas have not agreed on a serial yet: the file's would send
    /// secondaries back in time.
    pub fn awaits_serial(&self) -> bool {
        self.agreed.0.load(Ordering::Acquire) == PENDING
    }
}

/// All zones that are served.
#[derive(Debug, Default)]
pub struct Zones(Vec<Zone>);

impl Zones {
    /// Loads and checks all zones. `clusters` are the configured ones: static data may not own a name that belongs
    /// to one of them, or to its `-` twin. Reports every problem, with file and line where it has one.
    pub fn load(settings: &[ZoneSettings], clusters: &[Cluster]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut loaded: Vec<Loaded> = Vec::new();
        if settings.len() > limits::ZONES {
            problems.push(plain(format!(
                "{} zones are configured, {} are allowed",
                settings.len(),
                limits::ZONES
            )));
        }
        for zone in settings.iter().take(limits::ZONES) {
            let Ok(apex) = Name::parse(&zone.apex) else {
                problems.push(plain(format!("{:?} is no domain name that can be an apex", zone.apex)));
                continue;
            };
            if loaded.iter().any(|have| have.apex.wire() == apex.wire()) {
                problems.push(plain(format!("the zone {apex} is configured twice: keep one")));
                continue;
            }
            let (entries, found) = match &zone.file {
                Some(file) => zone_file::read(file, &apex),
                None => made(zone, &apex),
            };
            problems.extend(found);
            problems.extend(check::records(&apex, zone.file.as_deref(), &entries, clusters));
            loaded.push(Loaded {
                entries: entries.into_iter().filter(|entry| is_within(&apex, entry)).collect(),
                apex,
            });
        }
        problems.extend(check::nested(&loaded, clusters));
        delegate(&mut loaded);
        let mut zones: Vec<Zone> = (0..).zip(loaded).map(|(place, zone)| zone.compile(place)).collect();
        // The longest apex first: a zone below another is its own (RFC 1034 §4.3.2, step 2).
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.apex.labels()));
        if problems.is_empty() { Ok(Self(zones)) } else { Err(problems) }
    }

    /// Goes on with the agreed serials of the same zones as they were loaded before.
    pub fn inherit(&mut self, before: &Self) {
        for zone in &mut self.0 {
            if let Some(old) = before.0.iter().find(|old| old.apex.wire() == zone.apex.wire()) {
                zone.agreed = old.agreed.clone();
            }
        }
    }

    /// The zone that `name` lies in, and which of its labels is the first of the apex.
    pub fn of(&self, name: &Name) -> Option<(&Zone, usize)> {
        self.0.iter().find_map(|zone| Some((zone, zone.apex_in(name)?)))
    }

    /// The zone that answers this type at `name`: DS of an apex is answered by the zone above, if that is ours, too.
    pub fn of_type(&self, name: &Name, qtype: u16) -> Option<(&Zone, usize)> {
        let own = self.of(name)?;
        if qtype != rtype::DS || own.1 > 0 {
            return Some(own);
        }
        let above = |zone: &'_ &Zone| zone.apex.labels() < own.0.apex.labels();
        let above = self.0.iter().filter(above).find_map(|zone| Some((zone, zone.apex_in(name)?)));
        Some(above.unwrap_or(own))
    }

    /// All of them, those of the longest names first.
    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.0.iter()
    }

    /// Zones in which static data owns the label of `cluster`, so that the cluster cannot be asked for there.
    /// For configured clusters this is an error at the start; one that turns up later should be warned about.
    pub fn that_hide<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = &'a Zone> {
        self.0.iter().filter(|zone| zone.reverse.is_none() && zone.hides(cluster))
    }

    /// The zone that the names of this cluster's agents are given in where one must be chosen: the first of the
    /// configured ones in which the cluster can be asked for.
    pub fn home_of(&self, cluster: &Cluster) -> Option<&Zone> {
        let can_be = |zone: &&Zone| zone.reverse.is_none() && !zone.hides(cluster);
        self.0.iter().filter(can_be).min_by_key(|zone| zone.place)
    }
}

/// A zone's records, before they are compiled.
#[derive(Debug)]
struct Loaded {
    apex: Name,
    entries: Vec<Entry>,
}

impl Loaded {
    fn compile(self, place: usize) -> Zone {
        let Self { apex, entries } = self;
        let tree = Tree::build(&apex, &entries);
        let (serial, negative_ttl) = soa_numbers(&entries);
        let reverse = network_of(&apex);
        Zone { apex, tree, reverse, place, negative_ttl, serial, agreed: Serial::default() }
    }

    /// Whether `name` lies below this zone's apex.
    fn has_below(&self, name: &Name) -> bool {
        name.wire() != self.apex.wire() && is_below(name.wire(), self.apex.wire())
    }
}

/// Gives each zone that lies within another of ours its delegation there, unless the file has one: without it the
/// names between the two would not exist, and resolvers that ask for one label more at a time (RFC 9156) would never
/// get to the inner zone.
fn delegate(zones: &mut [Loaded]) {
    for at in 0..zones.len() {
        let Some(inner) = zones.get(at) else { continue };
        let is_ns = |entry: &&Entry| entry.rtype == rtype::NS && *entry.owner == *inner.apex.wire();
        let servers: Vec<Entry> =
            inner.entries.iter().filter(is_ns).map(|entry| Entry { line: 0, ..entry.clone() }).collect();
        let is_glue = |entry: &&Entry| {
            let is_server = |ns: &Entry| ns.rdata.eq_ignore_ascii_case(&entry.owner);
            matches!(entry.rtype, rtype::A | rtype::AAAA) && servers.iter().any(is_server)
        };
        let glue = inner.entries.iter().filter(is_glue).map(|entry| Entry { line: 0, ..entry.clone() });
        let records: Vec<Entry> = servers.iter().cloned().chain(glue).collect();
        let apex = inner.apex.clone();
        let outer = zones.iter_mut().filter(|zone| zone.has_below(&apex));
        let Some(outer) = outer.max_by_key(|zone| zone.apex.labels()) else { continue };
        let is_cut = |entry: &Entry| {
            let ends = entry.rtype == rtype::NS && *entry.owner != *outer.apex.wire();
            ends && is_below(apex.wire(), &entry.owner)
        };
        if !outer.entries.iter().any(is_cut) {
            outer.entries.extend(records);
        }
    }
}

/// SOA, NS and the name servers' addresses of a zone without a file. The serial is 1 on every replica.
fn made(zone: &ZoneSettings, apex: &Name) -> (Vec<Entry>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut servers: Vec<Name> = Vec::new();
    for server in &zone.name_servers {
        match Name::parse(server) {
            Ok(name) => servers.push(name),
            Err(_) => {
                problems.push(plain(format!("zone {apex}: the name server {server:?} is no domain name")))
            }
        }
    }
    if zone.name_servers.is_empty() {
        servers.extend(Name::parse(&format!("ns1.{apex}")));
    }
    if !limits::NEGATIVE_TTL.holds(zone.negative_ttl) {
        let (least, most) = (limits::NEGATIVE_TTL.min, limits::NEGATIVE_TTL.max);
        problems.push(plain(format!(
            "zone {apex}: the negative TTL must lie between {least} and {most} seconds"
        )));
    }
    let entry = |owner: &Name, rtype, ttl, rdata: &[u8]| Entry {
        owner: owner.wire().into(),
        rtype,
        ttl,
        rdata: rdata.into(),
        line: 0,
        file: None,
    };
    let mut entries = Vec::new();
    if let (Some(first), Ok(mailbox)) = (servers.first(), Name::parse(&format!("hostmaster.{apex}"))) {
        let numbers = [1, 3_600, 600, 86_400, zone.negative_ttl].map(u32::to_be_bytes).concat();
        let rdata = [first.wire(), mailbox.wire(), &numbers].concat();
        entries.push(entry(apex, rtype::SOA, zone.negative_ttl, &rdata));
    } else {
        problems.push(plain(format!("zone {apex}: the apex is too long for names below it")));
    }
    for server in &servers {
        entries.push(entry(apex, rtype::NS, MADE_TTL, server.wire()));
        if !server.wire().ends_with(apex.wire()) || server.wire() == apex.wire() {
            continue;
        }
        for address in &zone.addresses {
            entries.push(match address {
                IpAddr::V4(v4) => entry(server, rtype::A, MADE_TTL, &v4.octets()),
                IpAddr::V6(v6) => entry(server, rtype::AAAA, MADE_TTL, &v6.octets()),
            });
        }
    }
    (entries, problems)
}

/// TTL of made NS and address records: long enough to be cached, short enough to move a server within the hour.
const MADE_TTL: u32 = 300;

fn plain(what: String) -> Problem {
    Problem { file: None, line: None, what }
}

/// Whether `name` is `ancestor` or lies below it, label by label.
fn is_below(name: &[u8], ancestor: &[u8]) -> bool {
    Name::read(name).is_ok_and(|(name, _)| (0..=name.labels()).any(|index| name.suffix(index) == ancestor))
}

fn is_within(apex: &Name, entry: &Entry) -> bool {
    is_below(&entry.owner, apex.wire())
}

/// The label right below the apex.
fn top_label(apex: &Name, owner: &[u8]) -> Option<Vec<u8>> {
    let (name, _) = Name::read(owner).ok()?;
    let below = name.labels().checked_sub(apex.labels())?;
    Some(name.label(below.checked_sub(1)?).to_vec())
}

/// Serial and negative TTL of the SOA among `entries`.
fn soa_numbers(entries: &[Entry]) -> (u32, u32) {
    let soa = entries.iter().find(|entry| entry.rtype == rtype::SOA);
    let numbers = soa.and_then(|soa| Some((soa.ttl, soa.rdata.last_chunk::<20>()?)));
    match numbers {
        Some((ttl, [s1, s2, s3, s4, .., m1, m2, m3, m4])) => {
            let minimum = u32::from_be_bytes([*m1, *m2, *m3, *m4]);
            (u32::from_be_bytes([*s1, *s2, *s3, *s4]), ttl.min(minimum))
        }
        None => (1, limits::NEGATIVE_TTL.default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(text: &str) -> (tempfile::NamedTempFile, ZoneSettings) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let settings = ZoneSettings { file: Some(file.path().to_owned()), ..ZoneSettings::new("k.example") };
        (file, settings)
    }

    #[test]
    fn a_zone_without_a_file_has_soa_ns_and_serial_1() {
        let addresses = vec!["127.0.0.1".parse().unwrap()];
        let settings = ZoneSettings { addresses, ..ZoneSettings::new("K.Example.") };
        let zones = Zones::load(&[settings], &[]).unwrap();
        let name = Name::parse("x.k.example").unwrap();
        let (zone, index) = zones.of(&name).unwrap();
        assert_eq!((zone.serial, zone.negative_ttl, index), (1, 2, 1));
        let ns1 = zone.tree.get(Name::parse("ns1.k.example").unwrap().wire()).unwrap();
        assert_eq!(ns1.addresses().count(), 1);
        assert!(zones.of(&Name::parse("k.example.org").unwrap()).is_none());
        assert!(zones.of(&Name::parse("xk.example").unwrap()).is_none());
        assert_eq!(zones.that_hide(&Cluster::parse("ns1").unwrap()).count(), 1);
        assert_eq!(zones.that_hide(&Cluster::parse("prod").unwrap()).count(), 0);
    }

    #[test]
    fn the_longest_apex_owns_a_name() {
        let zones =
            Zones::load(&[ZoneSettings::new("example"), ZoneSettings::new("k.example")], &[]).unwrap();
        let of = |name: &str| zones.of(&Name::parse(name).unwrap()).map(|(zone, _)| zone.apex.to_string());
        assert_eq!(of("a.k.example").as_deref(), Some("k.example."));
        assert_eq!(of("a.example").as_deref(), Some("example."));
    }

    #[test]
    fn every_problem_is_reported_with_its_line() {
        let (_file, settings) = file(
            "$TTL 60
@ SOA ns1 host 7 1 1 1 2
@ SOA ns1 host 8 1 1 1 2
@ NS ns1
@ NS gone
ns1 A 192.0.2.1
x.pr-od A 192.0.2.1
other.example. A 192.0.2.1
al CNAME ns1
al TXT x
",
        );
        let clusters = [Cluster::parse("pr_od").unwrap()];
        let problems = Zones::load(&[settings.clone(), settings], &clusters).unwrap_err();
        let mut lines: Vec<Option<usize>> = problems.iter().map(|problem| problem.line).collect();
        lines.sort();
        assert_eq!(lines, [None, Some(3), Some(5), Some(7), Some(8), Some(10)], "{problems:#?}");
    }

    #[test]
    fn what_could_never_be_seen_or_is_undefined_is_refused() {
        let (_file, settings) = file(
            "$TTL 60
@ SOA ns1.other. host 7 1 1 1 2
@ NS ns1.other.
@ DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118
moved DNAME other.
moved A 192.0.2.1
below.moved A 192.0.2.1
two DNAME a.
two DNAME b.
cut DNAME a.
cut NS ns1.other.
*.w DNAME a.
*.v NS ns1.other.
twice CNAME a.
twice CNAME a.
",
        );
        let inner = ZoneSettings::new("in.moved.k.example");
        let problems = Zones::load(&[settings, inner], &[]).unwrap_err();
        let mut lines: Vec<Option<usize>> = problems.iter().map(|problem| problem.line).collect();
        lines.sort();
        assert_eq!(lines, [4, 5, 7, 9, 11, 12, 13].map(Some), "{problems:#?}");
    }

    #[test]
    fn a_dname_at_the_apex_may_not_take_configured_clusters_away() {
        let text = "$TTL 60\n@ SOA ns1.other. host 7 1 1 1 2\n@ NS ns1.other.\n@ DNAME other.\n";
        let (_file, settings) = file(text);
        let prod = Cluster::parse("prod").unwrap();
        let zones = Zones::load(std::slice::from_ref(&settings), &[]).unwrap();
        assert_eq!(zones.that_hide(&prod).count(), 1);
        assert_eq!(Zones::load(&[settings], &[prod]).unwrap_err()[0].line, Some(4));
    }

    #[test]
    fn a_zone_below_another_of_ours_is_delegated_there() {
        let addresses = vec!["192.0.2.1".parse().unwrap()];
        let inner = ZoneSettings { addresses, ..ZoneSettings::new("a.b.example") };
        let zones = Zones::load(&[inner, ZoneSettings::new("example")], &[]).unwrap();
        let outer = zones.iter().find(|zone| zone.apex.labels() == 1).unwrap();
        let node = |name: &str| outer.tree.get(Name::parse(name).unwrap().wire());
        assert!(node("b.example").is_some_and(|node| node.sets.is_empty()), "the name between exists");
        assert!(node("a.b.example").is_some_and(|node| node.is_cut));
        assert!(node("ns1.a.b.example").is_some(), "with its glue");
        let of = |qtype| zones.of_type(&Name::parse("a.b.example").unwrap(), qtype).unwrap().1;
        assert_eq!((of(rtype::A), of(rtype::DS)), (0, 2), "DS is the upper zone's");
    }

    #[test]
    fn a_file_without_soa_and_ns_is_no_zone() {
        let (_file, settings) = file("$TTL 60\nwww A 192.0.2.1\n");
        let problems = Zones::load(&[settings], &[]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        let gone = ZoneSettings { file: Some("/nonexistent".into()), ..ZoneSettings::new("k.example") };
        assert!(Zones::load(&[gone], &[]).unwrap_err()[0].what.contains("cannot be read"));
    }
}
