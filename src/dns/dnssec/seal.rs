//! A finished answer gets its signatures: each set that is ours to sign one behind it, and what does not exist its
//! compact denial. Works on the message as it was written, so that it is right for every type and every way to find
//! it; memory is the thread's own and used again.

use super::cache::{Covered, Signature};
use super::canonical::{self, Canonical};
use super::key::BadKey;
use super::message::{Message, Moves, Record};
use super::{Class, Signer, Zone, denial};
use crate::dns::answer::{Answer, Client, Kind, Known, Link, Outcome, ZoneKept};
use crate::dns::names::{MAX_NAME, Name};
use crate::dns::render::{Transport, Written};
use crate::dns::tree::Found;
use crate::dns::wire::{CLASS_IN, HEADER, Query, Rcode, rtype};
use crate::dns::zones;
use crate::limits::dnssec as limits;
use crate::telemetry::dnssec::{Made, Metrics, Missed};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

/// An answer that is to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct Job<'j> {
    /// The question.
    pub query: &'j Query,
    /// Who asks.
    pub client: Client<'j>,
    /// What was decided.
    pub answer: &'j Answer<'j>,
    /// What it was decided from.
    pub known: &'j Known<'j>,
    /// How it travels.
    pub transport: Transport,
    /// Most bytes of the message.
    pub limit: usize,
    /// Whether the client wants NXDOMAIN for names that do not exist (the CO flag of RFC 9824).
    pub compact_ok: bool,
}

/// Why an answer goes without what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It is too long.
    Full,
    /// Too much was signed lately.
    Busy,
    /// A signature could not be made, or the message not be read.
    Broken,
}

impl From<BadKey> for Trouble {
    fn from(_: BadKey) -> Self {
        Self::Broken
    }
}

/// Memory of one thread.
#[derive(Debug, Default)]
struct Desk {
    records: Vec<Record>,
    page: Vec<u8>,
    moves: Moves,
    canonical: Canonical,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

impl Signer {
    /// Puts signatures and denial into the message in `out`. What it was not made for stays as it is: errors,
    /// truncated answers, zones that are not signed.
    pub fn seal(&self, job: &Job<'_>, written: Written, metrics: &Metrics, out: &mut [u8]) -> Written {
        let is_answer = matches!(written.rcode, Rcode::NoError | Rcode::NxDomain | Rcode::YxDomain);
        if self.is_empty() || written.truncated || !is_answer {
            return written;
        }
        DESK.with_borrow_mut(|desk| {
            let Some(bytes) = out.get(..written.len) else { return written };
            let message = Message { bytes };
            let mut records = std::mem::take(&mut desk.records);
            let read = message.records(job.query.question_end, &mut records);
            let opt = records.pop_if(|last| last.rtype == rtype::OPT);
            let opt = opt.and_then(|opt| bytes.get(opt.start..opt.end)).unwrap_or_default();
            let mut pass = Pass {
                signer: self,
                job,
                metrics,
                message,
                now: self.clock.unix(),
                room: job.limit.saturating_sub(opt.len()),
                names: class_of_names(job.answer),
                last: job.query.name.clone(),
                redirections: Vec::new(),
                counts: [0; 3],
                made: 0,
                rcode: written.rcode,
                desk,
            };
            let done = read.ok_or(Trouble::Broken).and_then(|()| pass.all(&records));
            let end = pass.finish(done, opt);
            desk.records = records;
            match out.get_mut(..desk.page.len()) {
                Some(place) => place.copy_from_slice(&desk.page),
                None => return written, // cannot be: the page is within the limit
            }
            end
        })
    }
}

/// Whether the name that the answer ends with, if the fleet's, is one that the fleet has, or one that only the question
/// made. The number of the latter has no bound.
fn class_of_names(answer: &Answer<'_>) -> Class {
    let is_made_up = match answer.outcome {
        Outcome::NoSuchName => true,
        // A CNAME leads to few names, whatever their kind; a DNAME to any.
        _ if !answer.aliases.is_empty() => answer.aliases.iter().any(Link::is_moved),
        _ => match answer.last {
            Kind::Zone => answer.zone_kept != Some(ZoneKept::Named(true)),
            Kind::Static | Kind::Unknown | Kind::Outside => true,
            Kind::Apex | Kind::Cluster | Kind::Group | Kind::Agent | Kind::Service | Kind::Address => false,
        },
    };
    if is_made_up { Class::MadeUp } else { Class::Stable }
}

/// A set's place in the zones.
struct Place<'s> {
    signed: &'s Zone,
    zone: &'s zones::Zone,
    /// Which label of the owner is the first of the apex.
    apex: usize,
    class: Class,
    /// The TTL that is signed where a lease may shorten the one that is sent.
    least: u32,
}

/// One pass through one message.
struct Pass<'p> {
    signer: &'p Signer,
    job: &'p Job<'p>,
    metrics: &'p Metrics,
    message: Message<'p>,
    now: u64,
    /// Most bytes before the OPT.
    room: usize,
    names: Class,
    /// The name that the aliases led to.
    last: Name,
    /// Owners of DNAMEs: CNAMEs below are made from them and not signed (RFC 6672 §5.3.1).
    redirections: Vec<Name>,
    counts: [u16; 3],
    /// Signatures made for the additional section.
    made: usize,
    rcode: Rcode,
    desk: &'p mut Desk,
}

impl<'p> Pass<'p> {
    fn all(&mut self, records: &[Record]) -> Result<(), Trouble> {
        let question = self.message.bytes.get(..self.job.query.question_end).ok_or(Trouble::Broken)?;
        self.desk.page.clear();
        self.desk.page.extend_from_slice(question);
        self.desk.moves.clear();
        let extra = records.partition_point(|record| record.section < 2);
        let (needed, extra) = records.split_at_checked(extra).ok_or(Trouble::Broken)?;
        let answers = needed.partition_point(|record| record.section == 0);
        let (answers, authority) = needed.split_at_checked(answers).ok_or(Trouble::Broken)?;
        self.sets(answers)?;
        // Who asks for the denial itself gets it as the answer.
        if matches!(self.job.query.qtype, rtype::NSEC | rtype::RRSIG) && self.denial(0)? {
            return self.fits();
        }
        self.sets(authority)?;
        self.denial(1)?;
        self.referral(authority)?;
        self.fits()?;
        for set in records_by_set(self.message, extra) {
            self.extra(set)?;
        }
        Ok(())
    }

    fn sets(&mut self, records: &[Record]) -> Result<(), Trouble> {
        for set in records_by_set(self.message, records) {
            self.set(set)?;
        }
        Ok(())
    }

    /// Copies a set and signs it, if it is ours to sign; gives its owner.
    fn set(&mut self, set: &[Record]) -> Result<(), Trouble> {
        let first = set.first().ok_or(Trouble::Broken)?;
        let mut flat = [0; MAX_NAME];
        let owner = self.name(first.start, &mut flat)?;
        let start = self.desk.page.len();
        set.iter().try_for_each(|record| self.copy(record))?;
        let owner_at = start..start + (first.fixed - first.start);
        if first.rtype == rtype::DNAME {
            self.redirections.push(owner.clone());
        }
        if first.rtype == rtype::CNAME && first.section == 0 {
            self.last = self.name(first.data, &mut flat)?;
            let made = |above: &Name| owner.labels() > above.labels() && owner.wire().ends_with(above.wire());
            if self.redirections.iter().any(made) {
                return Ok(());
            }
        }
        let Some(place) = self.place(&owner, first.rtype, first.section) else { return Ok(()) };
        if !self.desk.canonical.take(&self.message, set) {
            return Err(Trouble::Broken);
        }
        let ttl = first.ttl.max(place.least);
        self.desk.canonical.finish(owner.wire(), first.rtype, ttl);
        let covered = (first.rtype, canonical::labels(&owner), ttl);
        self.sign(&place, covered, first.ttl, owner_at, first.section)
    }

    /// A set that the answer can do without: left out if it does not fit or cannot be signed for now. Glue it cannot do
    /// without (RFC 9471), and never signs.
    fn extra(&mut self, set: &[Record]) -> Result<(), Trouble> {
        let (len, counts) = (self.desk.page.len(), self.counts);
        match self.set(set).and_then(|()| self.fits()) {
            Err(Trouble::Full) if matches!(self.job.answer.outcome, Outcome::Referral(_)) => {
                Err(Trouble::Full)
            }
            Err(Trouble::Full | Trouble::Busy) => {
                self.desk.page.truncate(len);
                self.counts = counts;
                Ok(())
            }
            done => done,
        }
    }

    fn fits(&self) -> Result<(), Trouble> {
        if self.desk.page.len() > self.room { Err(Trouble::Full) } else { Ok(()) }
    }

    fn name(&self, at: usize, flat: &mut [u8; MAX_NAME]) -> Result<Name, Trouble> {
        let (len, _) = self.message.flat_name(at, flat).ok_or(Trouble::Broken)?;
        let name = flat.get(..len).and_then(|wire| Name::read(wire).ok());
        name.map(|(name, _)| name).ok_or(Trouble::Broken)
    }

    fn copy(&mut self, record: &Record) -> Result<(), Trouble> {
        let bytes = self.message.bytes.get(record.start..record.end).ok_or(Trouble::Broken)?;
        let Desk { page, moves, .. } = &mut *self.desk;
        let start = page.len();
        page.extend_from_slice(bytes);
        moves.correct(page, start).ok_or(Trouble::Broken)?;
        if let Some((skip, names)) = canonical::is_compressed(record.rtype) {
            let data = start + record.data - record.start + skip;
            (0..names).try_fold(data, |at, _| moves.correct(page, at)).ok_or(Trouble::Broken)?;
        }
        moves.note(record.start, start);
        self.count(record.section);
        Ok(())
    }

    fn count(&mut self, section: usize) {
        if let Some(count) = self.counts.get_mut(section) {
            *count = count.saturating_add(1);
        }
    }

    /// Where a set stands, if it is ours to sign: in a signed zone, and not below a cut (RFC 4035 §2.2).
    fn place(&self, owner: &Name, rtype: u16, section: usize) -> Option<Place<'p>> {
        let (job, signer) = (self.job, self.signer);
        // DS, and that there is none, is for the zone above to say.
        let of_ds = rtype == rtype::DS || rtype == rtype::NSEC && job.query.qtype == rtype::DS;
        let (zone, apex) = job.known.zones.of_type(owner, if of_ds { rtype::DS } else { rtype })?;
        let signed = signer.zone(&zone.apex)?;
        let (class, least) = match zone.tree.find(owner, apex) {
            Found::Cut(node) => {
                let of_parent = matches!(rtype, rtype::DS | rtype::NSEC) && *node.name == *owner.wire();
                of_parent.then_some((Class::Stable, 0))?
            }
            Found::Exact(_) => (Class::Stable, 0),
            Found::Moved(..) => return None,
            Found::Below(_) if zone.reverse.is_none() => (Class::MadeUp, 0),
            Found::Nowhere if section == 2 => (Class::Stable, job.known.rules.ttl),
            Found::Below(_) | Found::Nowhere => (self.names, job.known.rules.ttl),
        };
        Some(Place { signed, zone, apex, class, least })
    }

    /// Appends the signatures of the set that lies in canonical form on the desk.
    fn sign(
        &mut self,
        place: &Place<'_>,
        (rtype, labels, ttl): (u16, u8, u32),
        sent_ttl: u32,
        owner: Range<usize>,
        section: usize,
    ) -> Result<(), Trouble> {
        let cache = match place.class {
            Class::Stable => &self.signer.stable,
            Class::MadeUp => &self.signer.made_up,
        };
        let keys = place.signed.keys.load();
        for key in keys.signers(rtype) {
            let Desk { page, canonical, .. } = &mut *self.desk;
            let number = self.signer.numbers.of(&canonical.records, key);
            let mut append = |signature: &Signature| {
                page.extend_from_within(owner.clone());
                page.extend_from_slice(&rtype::RRSIG.to_be_bytes());
                page.extend_from_slice(&CLASS_IN.to_be_bytes());
                page.extend_from_slice(&sent_ttl.to_be_bytes());
                page.extend_from_slice(&(signature.rdata.len() as u16).to_be_bytes());
                page.extend_from_slice(&signature.rdata);
            };
            if !cache.read(number, self.now, &mut append) {
                let budget = match (place.class, self.job.transport) {
                    (Class::Stable, _) => 0,
                    (Class::MadeUp, Transport::Udp) => 1,
                    (Class::MadeUp, Transport::Tcp) => 2,
                };
                let may =
                    self.signer.budgets.get(budget).is_some_and(|budget| budget.take(self.job.known.now));
                if !may || section == 2 && self.made >= limits::EXTRAS {
                    return Err(Trouble::Busy);
                }
                self.made += usize::from(section == 2);
                let covered = Covered { rtype, labels, ttl, records: &canonical.records };
                let made = Signature::make(covered, key, place.signed.terms(), self.now, number as u64)?;
                append(&made);
                cache.insert(number, Arc::new(made));
                self.metrics.made(Made::ByQuery);
            }
            self.count(section);
        }
        Ok(())
    }

    /// Denies what the answer says does not exist, if it does and the zone is signed.
    fn denial(&mut self, section: usize) -> Result<bool, Trouble> {
        let missing = match self.job.answer.outcome {
            Outcome::NoSuchName => true,
            Outcome::NoData => false,
            _ => return Ok(false),
        };
        let name = self.last.clone();
        let Some(place) = self.place(&name, rtype::NSEC, section) else { return Ok(false) };
        // The name exists as far as DNSSEC is concerned, and the map says that it does not.
        if missing && (!self.job.compact_ok || section == 0) {
            self.rcode = Rcode::NoError;
        }
        self.nsec(&place, &name, section)?;
        Ok(true)
    }

    /// What the parent says of a cut beside its NS: DS, or that there is none (RFC 4035 §3.1.4).
    fn referral(&mut self, authority: &[Record]) -> Result<(), Trouble> {
        let Outcome::Referral(cut) = &self.job.answer.outcome else { return Ok(()) };
        let Ok((name, _)) = Name::read(&cut.name) else { return Err(Trouble::Broken) };
        let Some(place) = self.place(&name, rtype::DS, 1) else { return Ok(()) };
        let Some(set) = cut.set(rtype::DS) else { return self.nsec(&place, &name, 1) };
        if authority.iter().any(|record| record.rtype == rtype::DS) {
            return Ok(());
        }
        self.desk.canonical.clear();
        let start = self.desk.page.len();
        let mut owner = start..start;
        for data in &set.records {
            let data = data.flat(&place.zone.apex);
            owner = self.put(&name, rtype::DS, set.ttl, &data, 1);
            self.desk.canonical.add(&data);
        }
        self.desk.canonical.finish(name.wire(), rtype::DS, set.ttl);
        let covered = (rtype::DS, canonical::labels(&name), set.ttl);
        self.sign(&place, covered, set.ttl, owner, 1)
    }

    /// Puts the NSEC of `name`, signed; of an answer to a question for RRSIG only the signature.
    fn nsec(&mut self, place: &Place<'_>, name: &Name, section: usize) -> Result<(), Trouble> {
        let ttl = place.zone.negative_ttl;
        let keys = place.signed.keys.load();
        let mut types = denial::types(self.job, place.zone, name, place.apex, keys.types());
        let data = denial::nsec(name.wire(), &mut types).ok_or(Trouble::Broken)?;
        let mark = self.desk.page.len();
        let mut owner = self.put(name, rtype::NSEC, ttl, &data, section);
        if section == 0 && self.job.query.qtype == rtype::RRSIG {
            // The signature's owner is the question's name: its pointer stands in the question.
            owner = HEADER..HEADER + name.wire().len();
            if self.desk.page.get(owner.clone()).is_none_or(|have| !have.eq_ignore_ascii_case(name.wire())) {
                return Err(Trouble::Broken);
            }
            self.desk.page.truncate(mark);
            let [answers, authority, additional] = self.counts;
            self.counts = [answers.saturating_sub(1), authority, additional];
        }
        self.desk.canonical.clear();
        self.desk.canonical.add(&data);
        self.desk.canonical.finish(name.wire(), rtype::NSEC, ttl);
        self.sign(place, (rtype::NSEC, canonical::labels(name), ttl), ttl, owner, section)
    }

    /// Appends a record of our own; gives the place of its owner, which points into the question if it can.
    fn put(&mut self, name: &Name, rtype: u16, ttl: u32, data: &[u8], section: usize) -> Range<usize> {
        let asked = &self.job.query.name;
        let above = asked.labels().checked_sub(name.labels());
        let start = self.desk.page.len();
        match above.filter(|above| asked.suffix(*above) == name.wire() && name.labels() > 0) {
            Some(above) => {
                let pointer = 0xc000 | (HEADER + asked.start(above)) as u16;
                self.desk.page.extend_from_slice(&pointer.to_be_bytes());
            }
            None => self.desk.page.extend_from_slice(name.wire()),
        }
        let owner = start..self.desk.page.len();
        let page = &mut self.desk.page;
        page.extend_from_slice(&rtype.to_be_bytes());
        page.extend_from_slice(&CLASS_IN.to_be_bytes());
        page.extend_from_slice(&ttl.to_be_bytes());
        page.extend_from_slice(&(data.len() as u16).to_be_bytes());
        page.extend_from_slice(data);
        self.count(section);
        owner
    }

    /// Writes OPT, counts and code; of an answer that could not be sealed only what says so.
    fn finish(&mut self, done: Result<(), Trouble>, opt: &[u8]) -> Written {
        let udp = self.job.transport == Transport::Udp;
        let (failed, truncated) = match done {
            Ok(()) => (false, false),
            Err(Trouble::Full) => (false, true),
            Err(Trouble::Busy) => {
                self.metrics.missed(if udp { Missed::BusyUdp } else { Missed::BusyTcp });
                (!udp, udp)
            }
            Err(Trouble::Broken) => {
                self.metrics.missed(Missed::Failed);
                (true, false)
            }
        };
        let page = &mut self.desk.page;
        if failed || truncated {
            page.truncate(self.job.query.question_end);
            self.counts = [0; 3];
        }
        if failed {
            self.rcode = Rcode::ServFail;
        }
        page.extend_from_slice(opt);
        let [an, ns, ar] = self.counts;
        let ar = ar.saturating_add(u16::from(!opt.is_empty()));
        if let Some([_, _, first, second, _, _, counts @ ..]) = page.first_chunk_mut::<HEADER>() {
            let kept = if failed { !AA } else { !0 };
            *first = (*first & kept) | if truncated { TC } else { 0 };
            *second = (*second & 0xf0) | (self.rcode as u8 & 0x0f);
            for (place, count) in counts.chunks_exact_mut(2).zip([an, ns, ar]) {
                place.copy_from_slice(&count.to_be_bytes());
            }
        }
        Written { len: page.len(), rcode: self.rcode, truncated }
    }
}

const AA: u8 = 0x04;
const TC: u8 = 0x02;

/// The sets among records that stand together.
fn records_by_set<'r>(message: Message<'r>, records: &'r [Record]) -> impl Iterator<Item = &'r [Record]> {
    records.chunk_by(move |one, other| message.is_one_set(one, other))
}
