//! Transfers out: AXFR (RFC 5936) and IXFR (RFC 1995) to a secondary that showed its key. Anyone else gets here no
//! byte: [`Transfers::begin`] says `None`, and the query is answered as any other, which is a refusal.
//!
//! A transfer reads one version from begin to end. It holds that and one message in memory; a peer that takes its
//! messages too slowly is cut.

use super::agree::is_newer;
use super::contents::{Contents, Set};
use super::journal::{Change, Step, Version};
use super::message::{Message, Rr};
use super::{Switch, Transfers};
use crate::clock;
use crate::dns::tsig::Signer;
use crate::dns::wire::{CLASS_IN, Parsed, Query, Rcode, Record, parse, rtype};
use crate::limits::dns as limits;
use crate::telemetry::dns::{Counters, NameKind, Outcome};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// A transfer that is granted, or an error that is to be signed.
pub(in crate::dns) struct Transfer {
    query: Query,
    /// Header and question as they came.
    question: Box<[u8]>,
    signer: Signer,
    what: What,
    /// Records of groups that are not for everybody are sent, too.
    all_groups: bool,
    transfers: Arc<Transfers>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// What is sent.
enum What {
    Error(Rcode, &'static str),
    /// The SOA alone: there is no news.
    Current(Arc<Version>),
    /// Everything; to an IXFR as well, if what changed is not known or is more than everything.
    Whole(Arc<Version>),
    /// What changed.
    Steps(Arc<Version>, Vec<Arc<Step>>),
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dns) enum Sent {
    /// All of it went out.
    Done,
    /// The peer was too slow.
    Slow,
}

impl Switch {
    /// See [`Transfers::begin`].
    pub(in crate::dns) fn begin(&self, packet: &[u8], peer: IpAddr, counters: &Counters) -> Option<Transfer> {
        self.current()?.begin(packet, peer, counters)
    }
}

impl Transfers {
    /// The transfer that `packet` asks for, if it is one, is signed with a good key, and comes from where that key's
    /// secondary may ask for that zone. It is counted as one answer.
    fn begin(self: &Arc<Self>, packet: &[u8], peer: IpAddr, counters: &Counters) -> Option<Transfer> {
        let Parsed::Query(query) = parse(packet) else { return None };
        let is_transfer = matches!(query.qtype, rtype::AXFR | rtype::IXFR) && query.qclass == CLASS_IN;
        if !is_transfer || query.edns.is_some_and(|edns| edns.version > 0) {
            return None;
        }
        let signer = self.keys.check(packet, query.tsig?, clock::unix_seconds()).ok()?;
        let zone = self.zones.iter().find(|zone| zone.apex.wire() == query.name.wire())?;
        let granted = self.secondaries.iter().filter(|secondary| {
            secondary.may_copy(&zone.apex)
                && secondary.is_at(peer)
                && Arc::ptr_eq(&secondary.key, signer.key())
        });
        let all_groups = granted.map(|secondary| secondary.all_groups).reduce(|one, other| one || other)?;
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok();
        let what = match (zone.versions.borrow().clone(), &permit) {
            (None, _) => What::Error(Rcode::ServFail, "unready"),
            (_, None) => What::Error(Rcode::ServFail, "busy"),
            (Some(version), _) if query.qtype == rtype::AXFR => What::Whole(version),
            (Some(version), _) => match serial_of(packet, &query) {
                Some(serial) => since(version, serial),
                None => What::Error(Rcode::FormErr, "malformed"),
            },
        };
        let rcode = if let What::Error(rcode, _) = &what { *rcode } else { Rcode::NoError };
        counters.answered(Outcome { tcp: true, rcode: rcode as u8, name: NameKind::Apex });
        let transfers = Arc::clone(self);
        let question = packet.get(..query.question_end).unwrap_or_default().into();
        Some(Transfer { query, question, signer, what, all_groups, transfers, _permit: permit })
    }
}

/// What an IXFR is answered with from `serial` on.
fn since(version: Arc<Version>, serial: u32) -> What {
    if !is_newer(version.serial, serial) {
        return What::Current(version);
    }
    match version.since(serial) {
        Some(steps) if steps.iter().map(|step| step.bytes()).sum::<usize>() <= version.contents.bytes() => {
            What::Steps(version, steps)
        }
        _ => What::Whole(version),
    }
}

/// The serial that an IXFR query says the secondary has: of the SOA in its authority section.
fn serial_of(packet: &[u8], query: &Query) -> Option<u32> {
    let [_, _, _, _, _, _, 0, 0, ns1, ns2, ..] = packet.first_chunk::<12>()? else { return None };
    if (ns1, ns2) == (&0, &0) {
        return None;
    }
    let record = Record::read(packet, query.question_end)?;
    // Its names may be compressed; the five numbers at its end are not.
    let [s1, s2, s3, s4, ..] = record.rdata.last_chunk::<20>()?;
    (record.rtype == rtype::SOA).then(|| u32::from_be_bytes([*s1, *s2, *s3, *s4]))
}

impl Transfer {
    /// Sends it; `patience` is how long a message may take to be taken.
    pub(in crate::dns) async fn send(
        self,
        stream: &mut (impl AsyncWrite + Unpin),
        patience: Duration,
    ) -> io::Result<Sent> {
        let (metrics, kind, result) = (Arc::clone(&self.transfers.metrics), self.kind(), self.result());
        let sent = self.send_all(stream, patience).await;
        metrics.transferred(kind, if matches!(sent, Ok(Sent::Done)) { result } else { "cut" });
        sent
    }

    fn kind(&self) -> &'static str {
        match (&self.what, self.query.qtype) {
            (_, rtype::AXFR) => "axfr",
            (What::Whole(_), _) => "ixfr_whole",
            (What::Current(_), _) => "ixfr_current",
            _ => "ixfr",
        }
    }

    fn result(&self) -> &'static str {
        if let What::Error(_, result) = self.what { result } else { "done" }
    }

    async fn send_all(self, stream: &mut (impl AsyncWrite + Unpin), patience: Duration) -> io::Result<Sent> {
        let Self { query, question, mut signer, what, all_groups, transfers, .. } = self;
        let started = clock::stopwatch();
        let (rcode, room) =
            (if let What::Error(rcode, _) = what { rcode } else { Rcode::NoError }, signer.room());
        let begin = || Message::answer(&question, &query, rcode, room);
        let mut message = begin();
        let soa = what.soa();
        for rr in what.records(&soa, all_groups) {
            if message.push(rr) {
                continue;
            }
            let full = std::mem::replace(&mut message, begin());
            if full.is_empty() || !message.push(rr) {
                return Err(io::Error::other("a record is larger than a message"));
            }
            let bytes = full.finish(|message| signer.sign(message, clock::unix_seconds()));
            if started.elapsed() > limits::TRANSFER_TIME {
                return Ok(Sent::Slow);
            }
            match timeout(patience, stream.write_all(&bytes)).await {
                Ok(written) => written?,
                Err(_) => return Ok(Sent::Slow),
            }
            transfers.metrics.bytes.inc_by(bytes.len() as u64);
        }
        let bytes = message.finish(|message| signer.sign(message, clock::unix_seconds()));
        transfers.metrics.bytes.inc_by(bytes.len() as u64);
        match timeout(patience, stream.write_all(&bytes)).await {
            Ok(written) => written.map(|()| Sent::Done),
            Err(_) => Ok(Sent::Slow),
        }
    }
}

/// Records of a transfer in their order.
type Records<'a> = Box<dyn Iterator<Item = Rr<'a>> + Send + 'a>;

impl What {
    fn version(&self) -> Option<&Arc<Version>> {
        match self {
            Self::Error(..) => None,
            Self::Current(version) | Self::Whole(version) | Self::Steps(version, _) => Some(version),
        }
    }

    /// The data of the newest SOA.
    fn soa(&self) -> Box<[u8]> {
        self.version().map(|version| version.contents.soa(version.serial)).unwrap_or_default()
    }

    fn records<'a>(&'a self, soa: &'a [u8], all_groups: bool) -> Records<'a> {
        let Some(version) = self.version() else { return Box::new(std::iter::empty()) };
        let contents = &*version.contents;
        let newest = soa_record(contents, soa);
        let once = || std::iter::once(newest);
        match self {
            Self::Error(..) => Box::new(std::iter::empty()),
            Self::Current(_) => Box::new(once()),
            Self::Whole(_) => {
                let sets = contents.sets.iter().filter(move |set| all_groups || !set.closed);
                Box::new(once().chain(sets.flat_map(|set| records_of(set))).chain(once()))
            }
            Self::Steps(_, steps) => {
                let steps = steps.iter().flat_map(move |step| records_of_step(contents, step, all_groups));
                Box::new(once().chain(steps).chain(once()))
            }
        }
    }
}

fn soa_record<'a>(contents: &'a Contents, data: &'a [u8]) -> Rr<'a> {
    Rr { owner: &contents.apex, rtype: rtype::SOA, ttl: contents.soa_ttl, data }
}

fn records_of(set: &Set) -> impl Iterator<Item = Rr<'_>> {
    set.data.iter().map(|data| Rr { owner: &set.owner, rtype: set.rtype, ttl: set.ttl, data })
}

fn records_of_step<'a>(
    contents: &'a Contents,
    step: &'a Step,
    all_groups: bool,
) -> impl Iterator<Item = Rr<'a>> + 'a {
    let of = move |changes: &'a [Change]| {
        let seen = changes.iter().filter(move |change| all_groups || !change.closed);
        seen.map(|change| Rr {
            owner: &change.owner,
            rtype: change.rtype,
            ttl: change.ttl,
            data: &change.data,
        })
    };
    let from = std::iter::once(soa_record(contents, &step.from_soa));
    let to = std::iter::once(soa_record(contents, &step.to_soa));
    from.chain(of(&step.removed)).chain(to).chain(of(&step.added))
}
