//! What would make a zone answer wrongly is found before it is served: every problem at once, with file and line.

use super::{Loaded, is_below, is_within, plain, top_label};
use crate::dns::answer::reverse::network_of;
use crate::dns::names::{Name, label_text, text_of};
use crate::dns::tree::target_at;
use crate::dns::wire::rtype;
use crate::dns::zone_file::{Entry, Problem};
use crate::model::Cluster;
use crate::model::group::is_twin;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The problems of one zone's records. `clusters` are the configured ones; `file` is where the records came from.
pub(super) fn records(
    apex: &Name,
    file: Option<&Path>,
    entries: &[Entry],
    clusters: &[Cluster],
) -> Vec<Problem> {
    // No cluster lies in a reverse zone.
    let clusters = if network_of(apex).is_some() { &[] } else { clusters };
    Check { file, apex, entries }.all(clusters)
}

/// Zones that lie at or below the name that a configured cluster (or its `-` twin) has in another zone: they would
/// take over names of that cluster's groups and agents.
pub(super) fn nested(zones: &[Loaded], clusters: &[Cluster]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for inner in zones {
        for outer in zones {
            let Some(below) = inner.apex.labels().checked_sub(outer.apex.labels()).filter(|count| *count > 0)
            else {
                continue;
            };
            if inner.apex.suffix(below) != outer.apex.wire() {
                continue;
            }
            let moves =
                |entry: &&Entry| entry.rtype == rtype::DNAME && is_below(inner.apex.wire(), &entry.owner);
            if let Some(entry) = outer.entries.iter().find(moves) {
                let what =
                    format!("the zone {} lies below this DNAME (RFC 6672 §2.4): remove one", inner.apex);
                problems.push(at(entry, what));
            }
            let label = label_text(inner.apex.label(below - 1)).unwrap_or_default();
            if let Some(cluster) =
                clusters.iter().find(|have| have.as_str() == label || is_twin(have.as_str(), label))
            {
                let (inner, outer) = (&inner.apex, &outer.apex);
                problems.push(plain(format!(
                    "the zone {inner} lies where the cluster {cluster} is in the zone {outer}: rename one of them"
                )));
            }
        }
    }
    problems
}

/// The checks of one zone's records.
struct Check<'a> {
    file: Option<&'a Path>,
    apex: &'a Name,
    entries: &'a [Entry],
}

impl Check<'_> {
    fn all(&self, clusters: &[Cluster]) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(self.apex_records());
        problems.extend(self.owners(clusters));
        problems.extend(self.aliases());
        problems.extend(self.moved(clusters));
        problems.extend(self.misplaced());
        problems.extend(self.name_servers());
        problems
    }

    fn apex_records(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let soas: Vec<&Entry> = self.entries.iter().filter(|entry| entry.rtype == rtype::SOA).collect();
        let missing = |what: &str| Problem {
            file: self.file.map(Path::to_owned),
            line: None,
            what: format!("the zone {} has no {what} record at its apex: add one", self.apex),
        };
        match soas.split_first() {
            None => problems.push(missing("SOA")),
            Some((first, others)) => {
                if *first.owner != *self.apex.wire() {
                    problems.push(at(first, format!("the SOA must stand at the apex {}", self.apex)));
                }
                problems.extend(others.iter().map(|other| at(other, "a second SOA: keep one".to_owned())));
            }
        }
        let is_ns = |entry: &&Entry| entry.rtype == rtype::NS && *entry.owner == *self.apex.wire();
        if !self.entries.iter().any(|entry| is_ns(&entry)) {
            problems.push(missing("NS"));
        }
        problems
    }

    fn owners(&self, clusters: &[Cluster]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for entry in self.entries {
            let name = text_of(&entry.owner);
            if !is_within(self.apex, entry) {
                problems.push(at(entry, format!("{name} lies outside the zone {}", self.apex)));
                continue;
            }
            let Some(top) = top_label(self.apex, &entry.owner) else { continue };
            let owns = |cluster: &&Cluster| {
                let cluster = cluster.as_str();
                cluster.as_bytes() == top || cluster.replace('_', "-").as_bytes() == top
            };
            if let Some(cluster) = clusters.iter().find(owns) {
                let what = format!(
                    "{name} clashes with the cluster {cluster:?}, which owns its name and all below it: \
                     rename one of them"
                );
                problems.push(at(entry, what));
            }
        }
        problems
    }

    fn aliases(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut names: HashMap<(&[u8], u16), &Entry> = HashMap::new();
        for entry in self.entries.iter().filter(|entry| matches!(entry.rtype, rtype::CNAME | rtype::DNAME)) {
            let first = names.entry((&entry.owner, entry.rtype)).or_insert(entry);
            if !first.rdata.eq_ignore_ascii_case(&entry.rdata) {
                let kind = if entry.rtype == rtype::CNAME { "CNAME" } else { "DNAME" };
                let what = format!("{} has two {kind} records: keep one", text_of(&entry.owner));
                problems.push(at(entry, what));
            }
        }
        for entry in self.entries.iter().filter(|entry| entry.rtype != rtype::CNAME) {
            if names.contains_key(&(&*entry.owner, rtype::CNAME)) {
                let what = format!("{} has a CNAME and other data (RFC 1034 §3.6.2)", text_of(&entry.owner));
                problems.push(at(entry, what));
            }
        }
        problems
    }

    /// A DNAME moves all names below it: what stands there could never be seen (RFC 6672 §2.4).
    fn moved(&self, clusters: &[Cluster]) -> Vec<Problem> {
        let moved = self.entries.iter().filter(|entry| entry.rtype == rtype::DNAME);
        let moved: HashMap<&[u8], &Entry> = moved.map(|entry| (&*entry.owner, entry)).collect();
        if moved.is_empty() {
            return Vec::new();
        }
        let mut problems = Vec::new();
        for entry in self.entries {
            let Ok((name, _)) = Name::read(&entry.owner) else { continue };
            if let Some(above) = (1..=name.labels()).find_map(|index| moved.get(name.suffix(index))) {
                let dname = text_of(&above.owner);
                let what = format!("{name} lies below the DNAME of {dname}, which moves it away: remove one");
                problems.push(at(entry, what));
            }
            if entry.rtype == rtype::NS
                && moved.contains_key(&*entry.owner)
                && *entry.owner != *self.apex.wire()
            {
                problems.push(at(entry, format!("{name} has DNAME and NS (RFC 6672 §2.3): keep one")));
            }
        }
        if let (Some(entry), Some(cluster)) = (moved.get(self.apex.wire()), clusters.first()) {
            let what =
                format!("a DNAME at the apex moves all names of the cluster {cluster} away: remove it");
            problems.push(at(entry, what));
        }
        problems
    }

    /// Records that make no sense where they stand.
    fn misplaced(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for entry in self.entries {
            let is_wildcard = entry.owner.starts_with(b"\x01*");
            let what = match entry.rtype {
                rtype::NS if is_wildcard => "a wildcard cannot be delegated (RFC 4592 §4.2): name what is",
                rtype::DNAME if is_wildcard => {
                    "a wildcard cannot have a DNAME (RFC 4592 §4.4): name what is moved"
                }
                rtype::DS if *entry.owner == *self.apex.wire() => {
                    "the DS of a zone belongs into the zone above it"
                }
                _ => continue,
            };
            problems.push(at(entry, format!("{}: {what}", text_of(&entry.owner))));
        }
        problems
    }

    /// A name server below the apex must have an address here, or nobody can reach it. A made zone is let off:
    /// a server that listens on a wildcard address cannot know how others reach it.
    fn name_servers(&self) -> Vec<Problem> {
        if self.file.is_none() {
            return Vec::new();
        }
        let is_address = |entry: &&Entry| matches!(entry.rtype, rtype::A | rtype::AAAA);
        let hosts: HashSet<&[u8]> =
            self.entries.iter().filter(is_address).map(|entry| &*entry.owner).collect();
        let cuts: Vec<&[u8]> = self
            .entries
            .iter()
            .filter(|entry| entry.rtype == rtype::NS && *entry.owner != *self.apex.wire())
            .map(|entry| &*entry.owner)
            .collect();
        let mut problems = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.rtype == rtype::NS) {
            let skip = target_at(entry.rtype).unwrap_or_default();
            let target = entry.rdata.get(skip..).unwrap_or_default().to_ascii_lowercase();
            let is_ours = is_below(&target, self.apex.wire());
            // Below another zone's cut its address is that zone's business; below its own cut it is glue.
            let is_others = cuts.iter().any(|cut| *cut != &*entry.owner && is_below(&target, cut));
            if is_ours && !is_others && !hosts.contains(&*target) {
                let what = format!("the name server {} has no A or AAAA record here", text_of(&target));
                problems.push(at(entry, what));
            }
        }
        problems
    }
}

fn at(entry: &Entry, what: String) -> Problem {
    Problem {
        file: entry.file.as_deref().map(Path::to_owned),
        line: (entry.line > 0).then_some(entry.line),
        what,
    }
}
