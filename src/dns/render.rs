//! Answers written down: from what was decided ([`super::answer`]) to bytes in the caller's buffer, in one pass and
//! without allocation. Owners are pointers to the question, so that the asked spelling comes back (0x20), and room
//! for the OPT is set aside first, so that a truncated answer has it too (RFC 6891 §7).

use super::answer::fleet::Census;
use super::answer::reverse::Pointers;
use super::answer::sample::ttl_of;
use super::answer::{Answer, Known, Link, Outcome, Services};
use super::edns::{Ede, Reply};
use super::names::{Name, text_of};
use super::tree::{Node, Part, RrSet};
use super::wire::{CLASS_CH, CLASS_IN, HEADER, Query, Rcode, rtype};
use super::zones::Zone;
use crate::limits::dns as limits;
use crate::model::{Agent, Group};
use std::borrow::Cow;
use std::fmt::{self, Write};

/// How an answer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In one datagram, short.
    Udp,
    /// On a stream, up to 65,535 bytes.
    Tcp,
}

/// What is answered, and how the answer travels.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The packet that came.
    pub packet: &'a [u8],
    /// The query in it.
    pub query: &'a Query,
    /// How the answer travels.
    pub transport: Transport,
    /// EDNS options of the answer; they go only to those who speak EDNS.
    pub options: Reply<'a>,
}

impl Envelope<'_> {
    /// Most bytes that the answer may have.
    pub fn largest(&self) -> usize {
        match (self.transport, self.query.edns) {
            (Transport::Tcp, _) => limits::TCP_MESSAGE,
            (Transport::Udp, None) => limits::UDP_PLAIN,
            (Transport::Udp, Some(edns)) => {
                usize::from(edns.size).clamp(limits::UDP_PLAIN, limits::UDP_ANSWER)
            }
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub len: usize,
    /// The response code.
    pub rcode: Rcode,
    /// Whether TC is set.
    pub truncated: bool,
}

/// Bytes of an OPT without options.
const OPT: usize = 11;

/// Bytes of a record between its owner's pointer, which they begin with, and its data.
const FIXED: usize = 12;

const QR: u8 = 0x80;
const AA: u8 = 0x04;
const TC: u8 = 0x02;
const RD: u8 = 0x01;

/// Writes a header alone: for packets whose question is not to be trusted. AA, TC, RA, AD and CD are clear.
pub fn header_only(packet: &[u8], rcode: Rcode, out: &mut [u8]) -> usize {
    let (Some([id1, id2, flags, ..]), Some(out)) =
        (packet.first_chunk::<HEADER>(), out.first_chunk_mut::<HEADER>())
    else {
        return 0;
    };
    // RD belongs to QUERY; of an operation that we don't know we echo nothing but its code.
    let kept = if flags & 0x78 == 0 { flags & RD } else { flags & 0x78 };
    *out = [*id1, *id2, QR | kept, rcode as u8, 0, 0, 0, 0, 0, 0, 0, 0];
    HEADER
}

/// Writes a code alone: an answer that echoes the question, with an OPT if the client sent one.
pub fn error(envelope: &Envelope<'_>, rcode: Rcode, out: &mut [u8]) -> Written {
    Page::start(envelope, out).finish(rcode, 0)
}

/// Writes an answer that only says: ask again over TCP. It is hardly larger than the query.
pub fn over_tcp(envelope: &Envelope<'_>, out: &mut [u8]) -> Written {
    let mut page = Page::start(envelope, out);
    page.truncated = true;
    page.finish(Rcode::NoError, 0)
}

/// Writes one TXT record of class CH, of at most 255 bytes.
pub fn chaos(envelope: &Envelope<'_>, text: &str, out: &mut [u8]) -> Written {
    let mut page = Page::start(envelope, out);
    let text = text.as_bytes().get(..text.len().min(255)).unwrap_or_default();
    let fits = page.record_of(CLASS_CH, [0xc0, HEADER as u8], rtype::TXT, 0, Section::Answer, |page| {
        page.put(&[text.len() as u8])?;
        page.put(text)
    });
    if fits.is_err() {
        page.rewind(Mark { at: envelope.query.question_end, counts: [0; 3] });
        page.truncated = true;
    }
    page.finish(Rcode::NoError, AA)
}

/// Writes an answer.
pub fn answer(envelope: &Envelope<'_>, answer: &Answer<'_>, known: &Known<'_>, out: &mut [u8]) -> Written {
    let (rcode, flags, error) = match &answer.outcome {
        Outcome::Refused => (Rcode::Refused, 0, Some(Ede::NotAuthoritative)),
        Outcome::Prohibited => (Rcode::Refused, 0, Some(Ede::Prohibited)),
        Outcome::NotSynced => (Rcode::ServFail, 0, Some(Ede::NotReady)),
        Outcome::NobodyThere => (Rcode::ServFail, 0, Some(Ede::Other)),
        Outcome::NoSuchName => (Rcode::NxDomain, AA, None),
        Outcome::NameTooLong => (Rcode::YxDomain, AA, None),
        // AA is about the question's name: of an alias it is ours to say where it leads.
        Outcome::Referral(_) if answer.aliases.is_empty() => (Rcode::NoError, 0, None),
        _ => (Rcode::NoError, AA, None),
    };
    let options = Reply { error: error.or(envelope.options.error), ..envelope.options };
    let envelope = &Envelope { options, ..*envelope };
    let mut page = Page::start(envelope, out);
    if !matches!(rcode, Rcode::Refused | Rcode::ServFail) && page.sections(answer, known).is_err() {
        page.rewind(Mark { at: envelope.query.question_end, counts: [0; 3] });
        page.truncated = true;
        // A client that reads no further must not take an empty answer for one.
        let rcode = if matches!(rcode, Rcode::NxDomain | Rcode::YxDomain) { rcode } else { Rcode::NoError };
        return page.finish(rcode, flags);
    }
    page.finish(rcode, flags)
}

/// The buffer is used up.
struct Full;

type Fits = Result<(), Full>;

/// A place to come back to.
#[derive(Clone, Copy)]
struct Mark {
    at: usize,
    counts: [u16; 3],
}

/// Sections whose records are counted.
#[derive(Clone, Copy)]
enum Section {
    Answer = 0,
    Authority = 1,
    Additional = 2,
}

/// The name that records are being written for, and where the message has it.
struct Here<'n> {
    name: Cow<'n, Name>,
    at: usize,
    /// Which label is the first of the zone's apex.
    apex: usize,
}

impl Here<'_> {
    fn pointer(&self, label: usize) -> [u8; 2] {
        // Names stand within the first 4 KiB of a message: the question, and eight aliases at most.
        (0xc000 | (self.at + self.name.start(label)) as u16).to_be_bytes()
    }
}

struct Page<'b> {
    envelope: &'b Envelope<'b>,
    out: &'b mut [u8],
    at: usize,
    limit: usize,
    counts: [u16; 3],
    truncated: bool,
}

impl<'b> Page<'b> {
    fn start(envelope: &'b Envelope<'b>, out: &'b mut [u8]) -> Self {
        let opt = envelope.query.edns.map_or(0, |_| OPT + envelope.options.len());
        let limit = envelope.largest().min(out.len()).saturating_sub(opt);
        let mut page = Self { envelope, out, at: 0, limit, counts: [0; 3], truncated: false };
        // Header and question as they came: the header is overwritten at the end.
        let _ = page.put(envelope.packet.get(..envelope.query.question_end).unwrap_or_default());
        page
    }

    fn finish(&mut self, rcode: Rcode, flags: u8) -> Written {
        self.limit = self.out.len();
        if self.opt(rcode).is_err() {
            // It was set aside: a buffer that is smaller than header, question and OPT has no use.
            return Written { len: 0, rcode, truncated: false };
        }
        let [an, ns, ar] = self.counts.map(u16::to_be_bytes);
        let Envelope { packet, query, .. } = self.envelope;
        if let (Some([id1, id2, asked, ..]), Some(header)) =
            (packet.first_chunk::<HEADER>(), self.out.first_chunk_mut::<HEADER>())
        {
            let truncated = if self.truncated { TC } else { 0 };
            let first = QR | flags | truncated | (asked & RD);
            let low = rcode as u8 & 0x0f;
            let questions = u8::from(query.question_end > HEADER);
            *header = [*id1, *id2, first, low, 0, questions, an[0], an[1], ns[0], ns[1], ar[0], ar[1]];
        }
        Written { len: self.at, rcode, truncated: self.truncated }
    }

    /// The OPT, for those who sent one. Of its flags only DO is ours to echo (RFC 6891 §6.1.4).
    fn opt(&mut self, rcode: Rcode) -> Fits {
        let Envelope { query, options, .. } = self.envelope;
        let Some(edns) = query.edns else { return Ok(()) };
        let [[s1, s2], [l1, l2]] = [limits::UDP_ANSWER as u16, options.len() as u16].map(u16::to_be_bytes);
        let (flags, extended) = (if edns.dnssec_ok { 0x80 } else { 0 }, rcode as u8 >> 4);
        self.put(&[0, 0, rtype::OPT as u8, s1, s2, extended, 0, flags, 0, l1, l2])?;
        options.write(|bytes| self.put(bytes))?;
        self.count(Section::Additional);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Fits {
        self.room(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// The next `len` bytes, to be written.
    fn room(&mut self, len: usize) -> Result<&mut [u8], Full> {
        let (start, end) = (self.at, self.at + len);
        if end > self.limit {
            return Err(Full);
        }
        self.at = end;
        self.out.get_mut(start..end).ok_or(Full)
    }

    fn count(&mut self, section: Section) {
        let [answer, authority, additional] = &mut self.counts;
        let count = match section {
            Section::Answer => answer,
            Section::Authority => authority,
            Section::Additional => additional,
        };
        *count = count.saturating_add(1);
    }

    fn mark(&self) -> Mark {
        Mark { at: self.at, counts: self.counts }
    }

    fn rewind(&mut self, mark: Mark) {
        (self.at, self.counts) = (mark.at, mark.counts);
    }

    /// Everything between the question and the OPT.
    fn sections(&mut self, answer: &Answer<'_>, known: &Known<'_>) -> Fits {
        let query = self.envelope.query;
        let apex_of = |name: &Name, zone: Option<&Zone>| {
            zone.map_or(0, |zone| name.labels().saturating_sub(zone.apex.labels()))
        };
        let first_zone = answer.aliases.iter().next().map(|link| link.zone).or(answer.zone);
        let mut here =
            Here { apex: apex_of(&query.name, first_zone), name: Cow::Borrowed(&query.name), at: HEADER };
        let mut zones = answer.aliases.iter().skip(1).map(|link| link.zone);
        for (at, link) in answer.aliases.iter().enumerate() {
            let target = link.follow(&here.name);
            // A chain that passes the same DNAME twice says it once.
            let is_said = |before: &Link<'_>| link.is_moved() && std::ptr::eq(before.set, link.set);
            if !answer.aliases.iter().take(at).any(is_said) {
                self.set(
                    &here,
                    here.pointer(link.owner),
                    link.zone,
                    link.set,
                    link.set.ttl,
                    Section::Answer,
                )?;
            }
            let Some(name) = target else { break };
            if link.is_moved() {
                // For those who don't know DNAME: the CNAME that it makes (RFC 6672 §3.1).
                let owner = here.pointer(0);
                self.record(owner, rtype::CNAME, link.set.ttl, Section::Answer, |page| {
                    page.put(name.wire())
                })?;
            }
            let next_zone = zones.next().or(answer.zone);
            // The target is the data of the record just written; a pointer in it takes the place of the apex.
            let written = match link.set.records.first().map(|data| data.0.as_slice()) {
                Some([Part::Bytes(own), Part::Apex, ..]) if !link.is_moved() => own.len() + 2,
                _ => name.wire().len(),
            };
            here = Here { apex: apex_of(&name, next_zone), at: self.at - written, name: Cow::Owned(name) };
        }
        self.outcome(&here, answer, known)
    }

    fn outcome(&mut self, here: &Here<'_>, answer: &Answer<'_>, known: &Known<'_>) -> Fits {
        let ttl = known.rules.ttl;
        match &answer.outcome {
            Outcome::V4(sample) => {
                sample.iter().try_for_each(|octets| self.address(here.pointer(0), sample.ttl, octets))
            }
            Outcome::V6(sample) => {
                sample.iter().try_for_each(|octets| self.address(here.pointer(0), sample.ttl, octets))
            }
            Outcome::NoData | Outcome::NoSuchName => self.negative(here, answer.zone),
            Outcome::Static(set) => {
                let Some(zone) = answer.zone else { return Ok(()) };
                self.set(here, here.pointer(0), zone, set, set.ttl, Section::Answer)?;
                self.extras(here, zone, set, &[]).or(Ok(()))
            }
            Outcome::Referral(cut) => self.referral(here, answer.zone, cut),
            Outcome::Any => self.record(here.pointer(0), rtype::HINFO, ttl, Section::Answer, |page| {
                page.put(b"\x07RFC8482\x00")
            }),
            Outcome::Pointers(pointers) => self.pointers(here, pointers),
            Outcome::Services(services) => self.services(here, services),
            Outcome::GroupText(group) => self.group_text(here, group, known),
            Outcome::AgentText(agent) => self.agent_text(here, agent, known, true),
            Outcome::AgentState(agent) => self.agent_text(here, agent, known, false),
            Outcome::Refused
            | Outcome::Prohibited
            | Outcome::NotSynced
            | Outcome::NobodyThere
            | Outcome::Alias(_)
            | Outcome::NameTooLong
            | Outcome::AliasesOnly => Ok(()),
        }
    }

    /// One record: its fixed part, then the data that `data` writes.
    fn record(
        &mut self,
        owner: [u8; 2],
        rtype: u16,
        ttl: u32,
        section: Section,
        data: impl FnOnce(&mut Self) -> Fits,
    ) -> Fits {
        self.record_of(CLASS_IN, owner, rtype, ttl, section, data)
    }

    fn record_of(
        &mut self,
        class: u16,
        owner: [u8; 2],
        rtype: u16,
        ttl: u32,
        section: Section,
        data: impl FnOnce(&mut Self) -> Fits,
    ) -> Fits {
        let [[t1, t2], [c1, c2]] = [rtype, class].map(u16::to_be_bytes);
        let [l1, l2, l3, l4] = ttl.to_be_bytes();
        self.put(&[owner[0], owner[1], t1, t2, c1, c2, l1, l2, l3, l4, 0, 0])?;
        self.sized(data)?;
        self.count(section);
        Ok(())
    }

    /// Data behind the two length bytes that were just written.
    fn sized(&mut self, data: impl FnOnce(&mut Self) -> Fits) -> Fits {
        let start = self.at;
        data(self)?;
        let len = u16::try_from(self.at - start).map_err(|_| Full)?;
        let place = self.out.get_mut(start - 2..start).ok_or(Full)?;
        place.copy_from_slice(&len.to_be_bytes());
        Ok(())
    }

    fn address<const N: usize>(&mut self, owner: [u8; 2], ttl: u32, octets: &[u8; N]) -> Fits {
        let kind = if N == 4 { rtype::A } else { rtype::AAAA } as u8;
        let [l1, l2, l3, l4] = ttl.to_be_bytes();
        let (fixed, data) = self.room(FIXED + N)?.split_first_chunk_mut::<FIXED>().ok_or(Full)?;
        *fixed = [owner[0], owner[1], 0, kind, 0, 1, l1, l2, l3, l4, 0, N as u8];
        data.copy_from_slice(octets);
        self.count(Section::Answer);
        Ok(())
    }

    fn set(
        &mut self,
        here: &Here<'_>,
        owner: [u8; 2],
        zone: &Zone,
        set: &RrSet,
        ttl: u32,
        section: Section,
    ) -> Fits {
        let apex = here.pointer(here.apex);
        let shares_apex = here.name.suffix(here.apex) == zone.apex.wire();
        for data in &set.records {
            self.record(owner, set.rtype, ttl, section, |page| {
                data.0.iter().try_for_each(|part| match part {
                    Part::Bytes(bytes) => page.put(bytes),
                    Part::Apex if shares_apex => page.put(&apex),
                    Part::Apex => page.put(zone.apex.wire()),
                })
            })?;
            if set.rtype == rtype::SOA {
                self.write_serial(zone.shown_serial());
            }
        }
        Ok(())
    }

    /// Puts the serial into the SOA that was just written: the first of the five numbers at its end.
    fn write_serial(&mut self, serial: u32) {
        let at = self.at.saturating_sub(20);
        if let Some(place) = self.out.get_mut(at..at + 4) {
            place.copy_from_slice(&serial.to_be_bytes());
        }
    }

    fn negative(&mut self, here: &Here<'_>, zone: Option<&Zone>) -> Fits {
        let Some((zone, soa)) = zone.and_then(|zone| Some((zone, zone.soa()?))) else { return Ok(()) };
        self.set(here, here.pointer(here.apex), zone, soa, zone.negative_ttl, Section::Authority)
    }

    fn referral(&mut self, here: &Here<'_>, zone: Option<&Zone>, cut: &Node) -> Fits {
        let (Some(zone), Some(set)) = (zone, cut.set(rtype::NS)) else { return Ok(()) };
        let below = (0..=here.apex).find(|index| here.name.suffix(*index) == &*cut.name).unwrap_or(0);
        self.set(here, here.pointer(below), zone, set, set.ttl, Section::Authority)?;
        self.extras(here, zone, set, &cut.name)
    }

    /// Addresses of the hosts that a set points to, each host whole or not at all. Those below `glue_of` are needed:
    /// an answer without them is truncated (RFC 9471). An empty `glue_of` needs none.
    fn extras(&mut self, here: &Here<'_>, zone: &Zone, set: &RrSet, glue_of: &[u8]) -> Fits {
        for node in zone.tree.extra(set) {
            let is_glue = !glue_of.is_empty() && node.name.ends_with(glue_of);
            let mark = self.mark();
            let fits = node.addresses().try_for_each(|set| self.host(here, zone, node, set));
            if fits.is_err() {
                self.rewind(mark);
                if is_glue {
                    return Err(Full);
                }
            }
        }
        Ok(())
    }

    fn host(&mut self, here: &Here<'_>, zone: &Zone, node: &Node, set: &RrSet) -> Fits {
        let own = node.name.len().saturating_sub(zone.apex.wire().len());
        let apex = here.pointer(here.apex);
        for data in &set.records {
            self.put(node.name.get(..own).unwrap_or_default())?;
            self.record(apex, set.rtype, set.ttl, Section::Additional, |page| {
                data.0.iter().try_for_each(|part| match part {
                    Part::Bytes(bytes) => page.put(bytes),
                    Part::Apex => Ok(()),
                })
            })?;
        }
        Ok(())
    }

    fn pointers(&mut self, here: &Here<'_>, pointers: &Pointers<'_>) -> Fits {
        pointers.iter().try_for_each(|Agent { key, .. }| {
            self.record(here.pointer(0), rtype::PTR, pointers.ttl, Section::Answer, |page| {
                for label in [key.agent.as_str(), key.group.as_str(), key.cluster.as_str()] {
                    page.put(&[label.len() as u8])?;
                    page.put(label.as_bytes())?;
                }
                page.put(pointers.apex.wire())
            })
        })
    }

    fn services(&mut self, here: &Here<'_>, services: &Services<'_>) -> Fits {
        let base = here.name.suffix(services.base);
        let mut complete = true;
        for (agent, port) in services.iter() {
            let mark = self.mark();
            let id = agent.key.agent.as_str().as_bytes();
            let fits = self.record(here.pointer(0), rtype::SRV, services.ttl, Section::Answer, |page| {
                let [[w1, w2], [p1, p2]] = [agent.record.weight, port].map(u16::to_be_bytes);
                page.put(&[0, 0, w1, w2, p1, p2, id.len() as u8])?;
                page.put(id)?;
                page.put(base)
            });
            if fits.is_err() {
                // A datagram says so and the client comes back over TCP. On a stream there is nothing larger to come
                // back with: as many agents as one message holds are an answer.
                if self.envelope.transport == Transport::Udp {
                    return Err(Full);
                }
                self.rewind(mark);
                complete = false;
                break;
            }
        }
        if !complete {
            return Ok(());
        }
        let group = here.pointer(services.base);
        for (agent, _) in services.iter() {
            let mark = self.mark();
            if self.service_host(group, agent, services.ttl).is_err() {
                self.rewind(mark);
                break;
            }
        }
        Ok(())
    }

    fn service_host(&mut self, group: [u8; 2], agent: &Agent, ttl: u32) -> Fits {
        let id = agent.key.agent.as_str().as_bytes();
        let owner = |page: &mut Self| {
            page.put(&[id.len() as u8])?;
            page.put(id)
        };
        for v4 in agent.record.v4() {
            owner(self)?;
            self.record(group, rtype::A, ttl, Section::Additional, |page| page.put(&v4.octets()))?;
        }
        for v6 in agent.record.v6() {
            owner(self)?;
            self.record(group, rtype::AAAA, ttl, Section::Additional, |page| page.put(&v6.octets()))?;
        }
        Ok(())
    }

    fn group_text(&mut self, here: &Here<'_>, group: &Group, known: &Known<'_>) -> Fits {
        let census = Census::of(group, known.now, known.rules.ttl);
        let (ready, draining) =
            census.rows().fold((0, 0), |(ready, draining), row| (ready + row.ready, draining + row.draining));
        let others = census.others;
        self.text(
            here,
            census.ttl,
            format_args!(
                "cluster={} group={} ready={ready} draining={draining} uncounted={others}",
                group.cluster, group.name
            ),
        )?;
        for row in census.rows() {
            let zone = row.zone.map_or("-", |zone| zone.as_str());
            let (ready, draining) = (row.ready, row.draining);
            self.text(here, census.ttl, format_args!("zone={zone} ready={ready} draining={draining}"))?;
        }
        Ok(())
    }

    fn agent_text(&mut self, here: &Here<'_>, agent: &Agent, known: &Known<'_>, with_lease: bool) -> Fits {
        let zone = agent.record.zone.as_ref().map_or("-", |zone| zone.as_str());
        let left = agent.lease.left(known.now);
        let state = if left == 0 { "gone" } else { agent.record.state.as_str() };
        let ttl = ttl_of(agent, known.rules.ttl, known.now);
        match with_lease {
            true => self.text(here, ttl, format_args!("zone={zone} state={state} lease={left}ms")),
            false => self.text(here, ttl, format_args!("zone={zone} state={state}")),
        }
    }

    /// A TXT record of one text: at most 255 bytes, which ours keep to by the length of labels.
    fn text(&mut self, here: &Here<'_>, ttl: u32, text: fmt::Arguments<'_>) -> Fits {
        self.record(here.pointer(0), rtype::TXT, ttl, Section::Answer, |page| {
            page.put(&[0])?;
            let start = page.at;
            page.write_fmt(text).map_err(|_| Full)?;
            let len = u8::try_from(page.at - start).map_err(|_| Full)?;
            *page.out.get_mut(start - 1).ok_or(Full)? = len;
            Ok(())
        })
    }
}

impl fmt::Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for Here<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", text_of(self.name.wire()), self.at)
    }
}
