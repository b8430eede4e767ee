//! What a name answers: a pure function of the zones, the fleet, the question, the time and a random number.
//!
//! [`answer`] is where to start reading. It looks at static data first, for that owns its names; what static data
//! does not own belongs to the fleet ([`fleet`]). Nothing here does I/O, reads a clock or allocates: an [`Answer`]
//! borrows what it found, and [`super::render`] writes it down.

mod access;
pub mod fleet;
pub mod reverse;
pub mod sample;

pub use access::Access;

use super::names::Name;
use super::tree::{Found, Node, RrSet};
use super::wire::rtype;
use super::zones::{Zone, Zones};
use crate::limits::dns as limits;
use crate::model::{self, Agent, Cluster, Fleet, Group, Moment};
use crate::placement::ZoneRules;
use reverse::Pointers;
use sample::Sample;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

/// What the operator decides about dynamic answers.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Longest TTL of a dynamic answer in seconds; the lease left may shorten it.
    pub ttl: u32,
    /// Most addresses of one answer.
    pub sample: usize,
    /// What a known group without a live, ready agent answers.
    pub empty: Empty,
    /// Whether groups and agents have TXT records.
    pub text: bool,
    /// Clusters whose own name answers with the agents of all their groups.
    pub cluster_wide: BTreeSet<Cluster>,
    /// Clusters that exist even while no agent was ever seen of them: the configured ones.
    pub clusters: BTreeSet<Cluster>,
    /// Zones of clients by their networks, and other names of zones.
    pub client_zones: ZoneRules,
    /// Who may ask for which group.
    pub access: Access,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            ttl: limits::TTL.default,
            sample: limits::SAMPLE.default,
            empty: Empty::default(),
            text: true,
            cluster_wide: BTreeSet::new(),
            clusters: BTreeSet::new(),
            client_zones: ZoneRules::default(),
            access: Access::default(),
        }
    }
}

/// What a known group without a live, ready agent answers to A, AAAA and SRV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Empty {
    /// No data: the truth. Clients fail at once and ask again after the negative TTL.
    #[default]
    NoData,
    /// The addresses that the group had last, as far as they are remembered; TTL 1.
    LastKnown,
    /// SERVFAIL: resolvers ask again, or serve what they had (RFC 8767).
    ServFail,
}

/// A question of class IN, its name lower case.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The name.
    pub name: &'q Name,
    /// The type.
    pub qtype: u16,
    /// Who asks.
    pub client: Client<'q>,
}

/// Who asks, as far as an answer depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'q> {
    /// The address that the query came from: it decides what may be asked.
    pub source: IpAddr,
    /// The zone that is to be preferred. It never decides about more than that.
    pub zone: Option<&'q model::Zone>,
}

/// What is to be said. Borrows from the zones and the fleet.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The zone of the last name of the chain; `None` outside every apex.
    pub zone: Option<&'a Zone>,
    /// What kind of name was asked for.
    pub kind: Kind,
    /// What kind of name the aliases led to; the same as `kind` without any.
    pub last: Kind,
    /// The group whose agents, or whose existence, the answer tells of; `None` where it tells of no group, or (a
    /// group-blind name) of many. Whoever may not know of the group may not have the answer.
    pub group: Option<&'a Group>,
    /// Where a zone was to be kept: whether it could be.
    pub zone_kept: Option<ZoneKept>,
    /// CNAMEs and DNAMEs that led from the question to the outcome.
    pub aliases: Aliases<'a>,
    /// What the last name says.
    pub outcome: Outcome<'a>,
}

/// What became of a zone that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneKept {
    /// The zone of an `az-` name: whether it could be kept.
    Named(bool),
    /// The zone of the client: whether it could be kept.
    Client(bool),
}

/// Kinds of names, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Outside every zone.
    Outside,
    /// The apex.
    Apex,
    /// A name of a zone file.
    Static,
    /// `<cluster>`.
    Cluster,
    /// `<group>.<cluster>`.
    Group,
    /// `az-<zone>.<group>.<cluster>`.
    Zone,
    /// `<agent>.<group>.<cluster>`.
    Agent,
    /// An address, or a network that has some, in a reverse zone.
    Address,
    /// `_<service>._tcp.<group>.<cluster>`, and `_tcp` above it.
    Service,
    /// Nothing that exists, or that is known yet.
    Unknown,
}

/// What a name says.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // on the stack and gone at once; a box would allocate per query
pub enum Outcome<'a> {
    /// Not ours: REFUSED.
    Refused,
    /// A name of a group that this client may not ask for: REFUSED.
    Prohibited,
    /// SERVFAIL: the registry was not read yet.
    NotSynced,
    /// SERVFAIL: the group is empty and its policy says so.
    NobodyThere,
    /// NXDOMAIN, with the SOA.
    NoSuchName,
    /// The name exists, the type does not: NOERROR with the SOA.
    NoData,
    /// The chain of aliases leads where we do not answer, or is too long: the resolver goes on.
    AliasesOnly,
    /// Another name says it: an alias that is still to be followed. No answer ends with it.
    Alias(Link<'a>),
    /// YXDOMAIN: the name that a DNAME leads to would be too long (RFC 6672 §2.2).
    NameTooLong,
    /// Records of a zone file.
    Static(&'a RrSet),
    /// Another server's: a referral to the NS of this cut.
    Referral(&'a Node),
    /// ANY: one small record stands for all (RFC 8482 §4.2).
    Any,
    /// A records.
    V4(Sample<4>),
    /// AAAA records.
    V6(Sample<16>),
    /// PTR records.
    Pointers(Pointers<'a>),
    /// SRV records.
    Services(Services<'a>),
    /// The group's TXT records.
    GroupText(&'a Group),
    /// The agent's TXT record.
    AgentText(&'a Agent),
    /// The same without what changes all the time: what can be signed once.
    AgentState(&'a Agent),
}

/// SRV records of a group: its live, ready agents that offer a service.
#[derive(Clone, Copy, Debug)]
pub struct Services<'a> {
    /// The group.
    pub group: &'a Group,
    /// The service as the records name it.
    pub service: &'a str,
    /// Which label of the name is the group's: targets are `<agent>.` and the name from there on.
    pub base: usize,
    /// The time at which leases must run.
    pub now: Moment,
    /// Where the list begins, so that a client that reads only its head does not always meet the same agent.
    pub first: usize,
    /// TTL in seconds.
    pub ttl: u32,
}

impl<'a> Services<'a> {
    /// The agents and their ports.
    pub fn iter(&self) -> impl Iterator<Item = (&'a Agent, u16)> + use<'a> {
        let Services { group, service, now, first, .. } = *self;
        let (head, tail) = group.agents().split_at_checked(first).unwrap_or((group.agents(), &[]));
        tail.iter()
            .chain(head)
            .take(limits::COUNTED)
            .filter(move |agent| agent.is_ready(now))
            .filter_map(move |agent| Some((&**agent, agent.record.port(service)?)))
    }
}

/// One step of a chain: the name at hand is an alias.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The zone that says so.
    pub zone: &'a Zone,
    /// Its CNAME or DNAME.
    pub set: &'a RrSet,
    /// Which label of the name at hand is the first of the set's owner: 0 but for DNAME.
    pub owner: usize,
}

impl Link<'_> {
    /// The name that `name`, the name at hand, leads to. `None` if it would be too long.
    pub fn follow(&self, name: &Name) -> Option<Name> {
        name.moved(if self.is_moved() { self.owner } else { 0 }, self.set.target.as_deref()?)
    }

    /// Whether the name lies below a DNAME, so that the CNAME at hand is made from it.
    pub fn is_moved(&self) -> bool {
        self.set.rtype == rtype::DNAME
    }
}

/// A bounded chain of aliases.
#[derive(Debug, Default)]
pub struct Aliases<'a> {
    /// Each with a hash of the name at hand: a wildcard's alias is another one at each name.
    links: [Option<(Link<'a>, u64)>; limits::ALIASES],
    len: usize,
}

impl<'a> Aliases<'a> {
    /// The links in order.
    pub fn iter(&self) -> impl Iterator<Item = &Link<'a>> {
        self.links.iter().take(self.len).flatten().map(|(link, _)| link)
    }

    /// Whether the question's own name says it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds what `name` says; `false` when the chain is full, or has been at this name before.
    fn push(&mut self, name: &Name, link: Link<'a>) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(name.wire());
        let hash = hasher.finish();
        let is_same = |(have, at): &(Link<'_>, u64)| *at == hash && std::ptr::eq(have.set, link.set);
        if self.links.iter().take(self.len).flatten().any(is_same) {
            return false;
        }
        let Some(place) = self.links.get_mut(self.len) else { return false };
        *place = Some((link, hash));
        self.len += 1;
        true
    }
}

/// Everything an answer is made of but the question.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The zones and their static data.
    pub zones: &'a Zones,
    /// The operator's decisions.
    pub rules: &'a Rules,
    /// The fleet.
    pub fleet: &'a Fleet,
    /// The time.
    pub now: Moment,
}

/// Answers one question. `entropy` draws the sample: the same number draws the same one.
pub fn answer<'a>(known: &Known<'a>, question: Question<'_>, entropy: u64) -> Answer<'a> {
    let mut answer = of_one_name(known, question, entropy);
    if let Outcome::Alias(_) = answer.outcome {
        follow_aliases(known, question, entropy, &mut answer);
    }
    // Whichever name leads to a group, those who may not ask for it are not told what is or is not there.
    if answer.group.is_some_and(|group| !known.rules.access.admits(group, question.client.source)) {
        answer.outcome = Outcome::Prohibited;
    }
    answer
}

/// Goes on from an answer that is an alias, until a name says something else (RFC 1034 §4.3.2, step 3a; RFC 6672 §3.2,
/// step 3C). Its code is then that of the last name (RFC 6604 §3).
fn follow_aliases<'a>(known: &Known<'a>, question: Question<'_>, entropy: u64, answer: &mut Answer<'a>) {
    let mut name = question.name.clone();
    while let Outcome::Alias(link) = answer.outcome {
        // What the last alias led to stays unsaid, unless it is found below.
        answer.outcome = Outcome::AliasesOnly;
        if !answer.aliases.push(&name, link) {
            return;
        }
        let Some(target) = link.follow(&name) else {
            answer.outcome = Outcome::NameTooLong;
            return;
        };
        // The CNAME that a DNAME makes is what was asked for.
        if question.qtype == rtype::CNAME {
            return;
        }
        name = target;
        let next = of_one_name(known, Question { name: &name, ..question }, entropy);
        // Beyond our zones the resolver asks those who know.
        if let Outcome::Refused = next.outcome {
            return;
        }
        let Answer { zone, last, group, zone_kept, outcome, .. } = next;
        (answer.zone, answer.last, answer.group) = (zone, last, group);
        (answer.zone_kept, answer.outcome) = (zone_kept, outcome);
    }
}

/// What one name says, before its alias is followed.
#[inline]
fn of_one_name<'a>(known: &Known<'a>, question: Question<'_>, entropy: u64) -> Answer<'a> {
    let answer = |zone, said: fleet::Said<'a>| {
        let fleet::Said { kind, group, zone_kept, outcome } = said;
        Answer { zone, kind, last: kind, group, zone_kept, aliases: Aliases::default(), outcome }
    };
    let new = |zone, kind, outcome| answer(zone, fleet::Said::new(kind, outcome));
    let Some((zone, apex)) = known.zones.of_type(question.name, question.qtype) else {
        return new(None, Kind::Outside, Outcome::Refused);
    };
    let of_static = |outcome| new(Some(zone), if apex == 0 { Kind::Apex } else { Kind::Static }, outcome);
    match zone.tree.find(question.name, apex) {
        // DS is the one type that the parent answers at a cut (RFC 4035 §3.1.4.1).
        Found::Cut(node) if question.qtype == rtype::DS && *node.name == *question.name.wire() => {
            of_static(node.set(rtype::DS).map_or(Outcome::NoData, Outcome::Static))
        }
        Found::Cut(node) => of_static(Outcome::Referral(node)),
        Found::Moved(node, owner) => of_static(match node.set(rtype::DNAME) {
            Some(set) => Outcome::Alias(Link { zone, set, owner }),
            None => Outcome::NoSuchName,
        }),
        Found::Exact(_) if apex == 0 && question.qtype == rtype::SOA && zone.awaits_serial() => {
            of_static(Outcome::NotSynced)
        }
        Found::Exact(node) => of_static(at_node(zone, node, question.qtype)),
        // In a reverse zone the fleet is asked name by name: there is no label that it could own.
        found @ (Found::Below(_) | Found::Nowhere) if let Some(network) = zone.reverse => {
            match reverse::answer(known, question, network, apex) {
                Some(said) => answer(Some(zone), said),
                None => of_static(missing_at(zone, &found, question.qtype)),
            }
        }
        Found::Below(node) => of_static(below_node(zone, node, question.qtype)),
        Found::Nowhere => match fleet::answer(known, question, apex, entropy) {
            Some(said) => answer(Some(zone), said),
            // A wildcard at the apex covers what neither static data nor the fleet has.
            None => match missing_at(zone, &Found::Nowhere, question.qtype) {
                Outcome::NoSuchName => new(Some(zone), Kind::Unknown, Outcome::NoSuchName),
                outcome => of_static(outcome),
            },
        },
    }
}

/// What static data says of a name that does not exist.
fn missing_at<'a>(zone: &'a Zone, found: &Found<'a>, qtype: u16) -> Outcome<'a> {
    let closest = match found {
        Found::Below(node) => Some(*node),
        _ => zone.tree.apex(),
    };
    closest.map_or(Outcome::NoSuchName, |node| below_node(zone, node, qtype))
}

/// What a node of static data says to `qtype`.
fn at_node<'a>(zone: &'a Zone, node: &'a Node, qtype: u16) -> Outcome<'a> {
    if let Some(set) = node.set(qtype) {
        return Outcome::Static(set);
    }
    if qtype == rtype::ANY {
        return if node.sets.is_empty() { Outcome::NoData } else { Outcome::Any };
    }
    let alias = |set| Outcome::Alias(Link { zone, set, owner: 0 });
    node.set(rtype::CNAME).map_or(Outcome::NoData, alias)
}

/// What is said of a name that does not exist below `node`, its closest encloser (RFC 4592 §3.3).
fn below_node<'a>(zone: &'a Zone, node: &'a Node, qtype: u16) -> Outcome<'a> {
    match zone.tree.wildcard(node) {
        Some(wildcard) => at_node(zone, wildcard, qtype),
        None => Outcome::NoSuchName,
    }
}

impl From<Kind> for crate::telemetry::dns::NameKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Outside => Self::Outside,
            Kind::Apex => Self::Apex,
            Kind::Static => Self::Static,
            Kind::Cluster => Self::Cluster,
            Kind::Group => Self::Group,
            Kind::Zone => Self::Zone,
            Kind::Agent => Self::Agent,
            Kind::Address => Self::Address,
            Kind::Service => Self::Service,
            Kind::Unknown => Self::Unknown,
        }
    }
}
