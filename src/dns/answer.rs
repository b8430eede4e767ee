//! What a name answers: a pure function of the zones, the fleet, the question, the time and a random number.
//!
//! [`answer`] is where to start reading. It looks at static data first, for that owns its names; what static data
//! does not own belongs to the fleet ([`fleet`]). Nothing here does I/O, reads a clock or allocates: an [`Answer`]
//! borrows what it found, and [`super::render`] writes it down.

pub mod fleet;
pub mod sample;

use super::names::Name;
use super::tree::{Found, Node, RrSet};
use super::wire::rtype;
use super::zones::{Zone, Zones};
use crate::limits::dns as limits;
use crate::model::{Agent, Cluster, Fleet, Group, Moment};
use sample::Sample;
use std::collections::BTreeSet;

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
}

/// What is to be said. Borrows from the zones and the fleet.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The zone of the last name of the chain; `None` outside every apex.
    pub zone: Option<&'a Zone>,
    /// What kind of name was asked for.
    pub kind: Kind,
    /// For `az-` names: whether the zone could be kept.
    pub zone_kept: Option<bool>,
    /// CNAMEs that led from the question to the outcome.
    pub aliases: Aliases<'a>,
    /// What the last name says.
    pub outcome: Outcome<'a>,
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
    Alias(&'a RrSet),
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
    /// SRV records.
    Services(Services<'a>),
    /// The group's TXT records.
    GroupText(&'a Group),
    /// The agent's TXT record.
    AgentText(&'a Agent),
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

/// A bounded chain of CNAMEs.
#[derive(Debug, Default)]
pub struct Aliases<'a> {
    links: [Option<(&'a Zone, &'a RrSet)>; limits::ALIASES],
    len: usize,
}

impl<'a> Aliases<'a> {
    /// The links in order, with the zone of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'a Zone, &'a RrSet)> + '_ {
        self.links.iter().take(self.len).filter_map(|link| *link)
    }

    /// The name that the last link leads to, in wire form.
    pub fn target(&self) -> Option<&'a [u8]> {
        let (_, set) = self.links.get(self.len.checked_sub(1)?).copied().flatten()?;
        set.target.as_deref()
    }

    /// Adds a link; `false` when the chain is full, or has been here before.
    fn push(&mut self, zone: &'a Zone, set: &'a RrSet) -> bool {
        if self.iter().any(|(_, have)| std::ptr::eq(have, set)) {
            return false;
        }
        let Some(link) = self.links.get_mut(self.len) else { return false };
        *link = Some((zone, set));
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
    answer
}

/// Goes on from an answer that is an alias, until a name says something else.
fn follow_aliases<'a>(known: &Known<'a>, question: Question<'_>, entropy: u64, answer: &mut Answer<'a>) {
    while let Outcome::Alias(set) = answer.outcome {
        let (zone, target) = (answer.zone, set.target.as_deref().and_then(|target| Name::read(target).ok()));
        // What the last alias led to stays unsaid, unless it is found below.
        answer.outcome = Outcome::AliasesOnly;
        let (Some(zone), Some((name, _))) = (zone, target) else { return };
        if !answer.aliases.push(zone, set) {
            return;
        }
        let next = of_one_name(known, Question { name: &name, ..question }, entropy);
        match next.outcome {
            // Beyond our authority the resolver asks those who know (RFC 1034 §4.3.2, step 3a).
            Outcome::Refused | Outcome::Referral(_) => return,
            outcome => (answer.zone, answer.zone_kept, answer.outcome) = (next.zone, next.zone_kept, outcome),
        }
    }
}

/// What one name says, before its alias is followed.
#[inline]
fn of_one_name<'a>(known: &Known<'a>, question: Question<'_>, entropy: u64) -> Answer<'a> {
    let new =
        |zone, kind, outcome| Answer { zone, kind, zone_kept: None, aliases: Aliases::default(), outcome };
    let Some((zone, apex)) = known.zones.of(question.name) else {
        return new(None, Kind::Outside, Outcome::Refused);
    };
    let of_static = |outcome| new(Some(zone), if apex == 0 { Kind::Apex } else { Kind::Static }, outcome);
    match zone.tree.find(question.name, apex) {
        // DS is the one type that the parent answers at a cut (RFC 4035 §3.1.4.1).
        Found::Cut(node) if question.qtype == rtype::DS && *node.name == *question.name.wire() => {
            of_static(node.set(rtype::DS).map_or(Outcome::NoData, Outcome::Static))
        }
        Found::Cut(node) => of_static(Outcome::Referral(node)),
        Found::Exact(_) if apex == 0 && question.qtype == rtype::SOA && zone.awaits_serial() => {
            of_static(Outcome::NotSynced)
        }
        Found::Exact(node) => of_static(at_node(node, question.qtype)),
        Found::Below(node) => of_static(below_node(zone, node, question.qtype)),
        Found::Nowhere => match fleet::answer(known, question, apex, entropy) {
            Some(fleet::Said { kind, zone_kept, outcome }) => {
                Answer { zone: Some(zone), kind, zone_kept, aliases: Aliases::default(), outcome }
            }
            // A wildcard at the apex covers what neither static data nor the fleet has.
            None => match zone.tree.apex().map(|node| below_node(zone, node, question.qtype)) {
                None | Some(Outcome::NoSuchName) => new(Some(zone), Kind::Unknown, Outcome::NoSuchName),
                Some(outcome) => of_static(outcome),
            },
        },
    }
}

/// What a node of static data says to `qtype`.
fn at_node(node: &Node, qtype: u16) -> Outcome<'_> {
    if let Some(set) = node.set(qtype) {
        return Outcome::Static(set);
    }
    if qtype == rtype::ANY {
        return if node.sets.is_empty() { Outcome::NoData } else { Outcome::Any };
    }
    node.set(rtype::CNAME).map_or(Outcome::NoData, Outcome::Alias)
}

/// What is said of a name that does not exist below `node`, its closest encloser (RFC 4592 §3.3).
fn below_node<'a>(zone: &'a Zone, node: &'a Node, qtype: u16) -> Outcome<'a> {
    match zone.tree.wildcard(node) {
        Some(wildcard) => at_node(wildcard, qtype),
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
            Kind::Service => Self::Service,
            Kind::Unknown => Self::Unknown,
        }
    }
}
