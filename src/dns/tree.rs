//! Static data as it is answered: a tree of names with RRsets compiled to wire form when the zone is loaded.

use super::names::{Name, skip_labels};
use super::wire::rtype;
use super::zone_file::Entry;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// All static names of one zone, empty non-terminals included.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    index: HashMap<Box<[u8]>, u32, BuildHasherDefault<Fnv>>,
}

/// FNV-1a. Only the zone's owner puts names in, and a question looks one up, so that a keyed hash would buy nothing.
#[derive(Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        self.0 =
            bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }

    fn write_usize(&mut self, length: usize) {
        // The length, which slices put before their bytes, distinguishes no names: they end with a zero.
        let _ = length;
    }

    fn finish(&self) -> u64 {
        // The table takes its bits from both ends, and FNV's are weak at the upper one.
        self.0 ^ (self.0 << 32)
    }
}

/// One name that exists.
#[derive(Debug)]
pub struct Node {
    /// The name in wire form, lower case.
    pub name: Box<[u8]>,
    /// Its RRsets; none for an empty non-terminal (RFC 4592 §2.2.2).
    pub sets: Vec<RrSet>,
    /// Whether authority ends here: it has NS and is not the apex.
    pub is_cut: bool,
    /// Whether all names below are elsewhere: it has DNAME.
    pub is_moved: bool,
    wildcard: Option<u32>,
}

/// The records of one name and type.
#[derive(Debug)]
pub struct RrSet {
    /// The type.
    pub rtype: u16,
    /// The TTL in seconds: the smallest that the records had (RFC 2181 §5.2).
    pub ttl: u32,
    /// The data of each record.
    pub records: Vec<Rdata>,
    /// For CNAME and DNAME, where it leads, in wire form, lower case.
    pub target: Option<Box<[u8]>>,
    /// Nodes whose addresses are worth adding: targets of NS, MX and SRV within the zone.
    extra: Vec<u32>,
}

/// One record's data, cut where a name in it may end in a pointer to the apex (RFC 3597 §4: only the types of
/// RFC 1035 may be compressed).
#[derive(Debug)]
pub struct Rdata(pub Vec<Part>);

/// A piece of record data.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes as they are.
    Bytes(Box<[u8]>),
    /// The zone's apex: a pointer where the message has it already, its labels otherwise.
    Apex,
}

/// Where a name stands in the tree.
#[derive(Debug)]
pub enum Found<'a> {
    /// The name exists.
    Exact(&'a Node),
    /// It is delegated: at or below this cut.
    Cut(&'a Node),
    /// It lies below this name, which has a DNAME and begins at that label of it.
    Moved(&'a Node, usize),
    /// It does not exist; this is the longest part of it that does, and it is not the apex.
    Below(&'a Node),
    /// It does not exist, and nothing of it but the apex does.
    Nowhere,
}

impl Tree {
    /// Compiles the records of a zone; all owners lie within it. Duplicates are dropped.
    pub fn build(apex: &Name, entries: &[Entry]) -> Self {
        let mut tree = Self::default();
        tree.node(apex.wire());
        for entry in entries {
            let mut name = &*entry.owner;
            let mut below = tree.node(name);
            while name.len() > apex.wire().len() {
                let is_wildcard = name.starts_with(b"\x01*");
                name = skip_labels(name, 1);
                let here = tree.node(name);
                if let (true, Some(node)) = (is_wildcard, tree.nodes.get_mut(here as usize)) {
                    node.wildcard = Some(below);
                }
                below = here;
            }
            tree.add(apex, entry);
        }
        tree.link(apex);
        tree
    }

    /// Looks `name` up; its label at `apex_index` is the first of the apex.
    pub fn find(&self, name: &Name, apex_index: usize) -> Found<'_> {
        let mut closest = None;
        if let Some(apex) = self.apex().filter(|apex| apex.is_moved && apex_index > 0) {
            return Found::Moved(apex, apex_index);
        }
        for index in (0..apex_index).rev() {
            match self.get(name.suffix(index)) {
                Some(node) if node.is_cut => return Found::Cut(node),
                Some(node) if index == 0 => return Found::Exact(node),
                Some(node) if node.is_moved => return Found::Moved(node, index),
                Some(node) => closest = Some(node),
                None => break,
            }
        }
        match (closest, apex_index) {
            (_, 0) => self.apex().map_or(Found::Nowhere, Found::Exact),
            (Some(node), _) => Found::Below(node),
            (None, _) => Found::Nowhere,
        }
    }

    /// The node of a name in wire form.
    pub fn get(&self, wire: &[u8]) -> Option<&Node> {
        self.nodes.get(*self.index.get(wire)? as usize)
    }

    /// Every name, in the order in which the zone has them.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The apex.
    pub fn apex(&self) -> Option<&Node> {
        self.nodes.first()
    }

    /// The node `*` below `node`: the source of synthesis (RFC 4592 §3.3.1).
    pub fn wildcard(&self, node: &Node) -> Option<&Node> {
        self.nodes.get(node.wildcard? as usize)
    }

    /// The nodes whose addresses go along with an RRset.
    pub fn extra<'a>(&'a self, set: &'a RrSet) -> impl Iterator<Item = &'a Node> {
        set.extra.iter().filter_map(|at| self.nodes.get(*at as usize))
    }

    fn node(&mut self, name: &[u8]) -> u32 {
        if let Some(at) = self.index.get(name) {
            return *at;
        }
        let at = self.nodes.len() as u32;
        self.nodes.push(Node {
            name: name.into(),
            sets: Vec::new(),
            is_cut: false,
            is_moved: false,
            wildcard: None,
        });
        self.index.insert(name.into(), at);
        at
    }

    fn add(&mut self, apex: &Name, entry: &Entry) {
        let at = self.node(&entry.owner);
        let Some(node) = self.nodes.get_mut(at as usize) else { return };
        node.is_cut |= entry.rtype == rtype::NS && *entry.owner != *apex.wire();
        node.is_moved |= entry.rtype == rtype::DNAME;
        let data = Rdata(parts(apex, entry.rtype, &entry.rdata));
        match node.sets.iter_mut().find(|set| set.rtype == entry.rtype) {
            Some(set) => {
                set.ttl = set.ttl.min(entry.ttl);
                if set.records.iter().all(|have| have.0 != data.0) {
                    set.records.push(data);
                }
            }
            None => node.sets.push(RrSet {
                rtype: entry.rtype,
                ttl: entry.ttl,
                records: vec![data],
                target: matches!(entry.rtype, rtype::CNAME | rtype::DNAME)
                    .then(|| entry.rdata.to_ascii_lowercase().into()),
                extra: Vec::new(),
            }),
        }
    }

    /// Notes for every NS, MX and SRV set which nodes of this zone its targets are.
    fn link(&mut self, apex: &Name) {
        let mut nodes = std::mem::take(&mut self.nodes);
        for set in nodes.iter_mut().flat_map(|node| node.sets.iter_mut()) {
            let Some(skip) = target_at(set.rtype) else { continue };
            for data in &set.records {
                let target = data.flat(apex).get(skip..).unwrap_or_default().to_ascii_lowercase();
                if let Some(at) = self.index.get(&*target).filter(|at| !set.extra.contains(at)) {
                    set.extra.push(*at);
                }
            }
        }
        self.nodes = nodes;
    }
}

impl Node {
    /// The RRset of one type.
    pub fn set(&self, rtype: u16) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// The sets of addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &RrSet> {
        self.sets.iter().filter(|set| matches!(set.rtype, rtype::A | rtype::AAAA))
    }
}

impl RrSet {
    /// A set that no zone file holds, of records in wire form.
    pub fn of(rtype: u16, ttl: u32, records: impl Iterator<Item = Vec<u8>>) -> Self {
        let records = records.map(|data| Rdata(vec![Part::Bytes(data.into())])).collect();
        Self { rtype, ttl, records, target: None, extra: Vec::new() }
    }
}

impl Rdata {
    /// The data with its names in full.
    pub fn flat(&self, apex: &Name) -> Vec<u8> {
        let part = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.to_vec(),
            Part::Apex => apex.wire().to_vec(),
        };
        self.0.iter().flat_map(part).collect()
    }
}

/// Where the name of a host begins that the data points to.
pub fn target_at(rtype: u16) -> Option<usize> {
    match rtype {
        rtype::NS => Some(0),
        rtype::MX => Some(2),
        rtype::SRV => Some(6),
        _ => None,
    }
}

fn parts(apex: &Name, rtype: u16, rdata: &[u8]) -> Vec<Part> {
    let (skip, names) = match rtype {
        rtype::NS | rtype::CNAME | rtype::PTR => (0, 1),
        rtype::MX => (2, 1),
        rtype::SOA => (0, 2),
        _ => return vec![Part::Bytes(rdata.into())],
    };
    let mut parts = Vec::new();
    let mut literal = rdata.get(..skip).unwrap_or_default().to_vec();
    let mut rest = rdata.get(skip..).unwrap_or_default();
    for _ in 0..names {
        let len = name_len(rest);
        let (name, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        let own = len.saturating_sub(apex.wire().len());
        if name.get(own..).is_some_and(|tail| tail.eq_ignore_ascii_case(apex.wire())) && ends_at(name, own) {
            literal.extend_from_slice(name.get(..own).unwrap_or_default());
            parts.push(Part::Bytes(std::mem::take(&mut literal).into()));
            parts.push(Part::Apex);
        } else {
            literal.extend_from_slice(name);
        }
        rest = behind;
    }
    literal.extend_from_slice(rest);
    parts.push(Part::Bytes(literal.into()));
    parts
}

/// The length of the name at the start of `bytes`, its final zero included.
fn name_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(len) = bytes.get(at).filter(|len| **len != 0) {
        at += 1 + usize::from(*len);
    }
    at + 1
}

/// Whether a label of `name` begins at `at`.
fn ends_at(name: &[u8], at: usize) -> bool {
    let mut here = 0;
    while here < at {
        here += 1 + usize::from(name.get(here).copied().unwrap_or(0));
    }
    here == at
}

#[cfg(test)]
mod tests {
    use super::super::zone_file;
    use super::*;
    use std::path::Path;

    fn tree(text: &str) -> (Name, Tree) {
        let apex = Name::parse("k.example").unwrap();
        let (entries, problems) = zone_file::parse(text, Path::new("t"), &apex);
        assert!(problems.is_empty(), "{problems:?}");
        let tree = Tree::build(&apex, &entries);
        (apex, tree)
    }

    #[test]
    fn names_are_found_cut_or_missed_where_rfc_1034_says() {
        let (apex, tree) =
            tree("$TTL 60\na.b A 192.0.2.1\n*.w TXT x\nsub NS ns.sub\nns.sub A 192.0.2.2\nm DNAME x\n");
        let at = |text: &str| {
            let name = Name::parse(text).unwrap();
            match tree.find(&name, name.labels() - apex.labels()) {
                Found::Exact(node) => format!("exact {}", node.sets.len()),
                Found::Cut(node) => format!("cut {}", node.name.len()),
                Found::Moved(_, at) => format!("moved at {at}"),
                Found::Below(node) => format!("below {}", tree.wildcard(node).is_some()),
                Found::Nowhere => "nowhere".to_owned(),
            }
        };
        assert_eq!(at("a.b.k.example"), "exact 1");
        assert_eq!(at("b.k.example"), "exact 0", "an empty non-terminal");
        assert_eq!(at("c.b.k.example"), "below false");
        assert_eq!(at("x.y.w.k.example"), "below true");
        assert_eq!(at("sub.k.example"), "cut 15");
        assert_eq!(at("ns.sub.k.example"), "cut 15", "glue is not authoritative data");
        assert_eq!(at("a.b.m.k.example"), "moved at 2");
        assert_eq!(at("m.k.example"), "exact 1", "a DNAME does not move its own name");
        assert_eq!(at("z.k.example"), "nowhere");
        assert_eq!(at("k.example"), "exact 0");
        let cut = tree.get(Name::parse("sub.k.example").unwrap().wire()).unwrap();
        assert_eq!(tree.extra(cut.set(rtype::NS).unwrap()).count(), 1);
    }

    #[test]
    fn names_in_data_are_cut_at_the_apex_and_only_where_a_label_begins() {
        let apex = Name::parse("k.example").unwrap();
        let inside = parts(&apex, rtype::MX, b"\x00\x0a\x01m\x01K\x07example\x00");
        assert_eq!(inside[..2], [Part::Bytes((*b"\x00\x0a\x01m").into()), Part::Apex]);
        let outside = parts(&apex, rtype::NS, b"\x02ns\x07example\x00");
        assert_eq!(outside, [Part::Bytes((*b"\x02ns\x07example\x00").into())]);
        let srv = parts(&apex, rtype::SRV, b"\0\0\0\0\0\0\x01k\x07example\0");
        assert_eq!(srv.len(), 1, "SRV targets are not compressed (RFC 2782)");
    }
}
