//! Bytes in, bytes out: the one path that every query takes, over UDP, over TCP, in scenarios and in benchmarks.

use super::answer::{Aliases, Answer, Client, Kind, Known, Outcome, Question, Rules, ZoneKept, answer};
use super::dnssec::{Job, Keyset, Signer};
use super::edns::{Ede, Reply};
use super::limiter::Verdict;
use super::policy::{Heard, Policy};
use super::render::{self, Envelope, Transport, Written};
use super::tsig::{self, Keys, Refusal};
use super::wire::{CLASS_CH, CLASS_IN, Dropped, HEADER, Parsed, Query, Rcode, parse, rtype};
use super::zones::Zones;
use crate::clock;
use crate::model::{Fleet, Moment};
use crate::telemetry::dns::{Counters, Event, NameKind, Outcome as Counted};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What does not change from query to query.
#[derive(Debug, Default)]
pub struct Responder {
    zones: Zones,
    rules: Rules,
    policy: Policy,
    keys: Keys,
    signer: Option<Arc<Signer>>,
}

impl Responder {
    /// A responder for these zones and rules.
    pub fn new(zones: Zones, rules: Rules) -> Self {
        Self { zones, rules, policy: Policy::default(), keys: Keys::default(), signer: None }
    }

    /// The same, with keys that queries may be signed with.
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// The same, with keys that answers are signed with.
    pub fn with_signer(self, signer: Option<Arc<Signer>>) -> Self {
        Self { signer, ..self }
    }

    /// What signs answers, if any zone is signed.
    pub fn signer(&self) -> Option<&Arc<Signer>> {
        self.signer.as_ref()
    }

    /// The keys that queries may be signed with.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The same with another way of speaking.
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Takes over what `before` learned while it ran and no file says: called at a reload, before this one answers.
    pub fn inherit(&mut self, before: &Self) {
        self.zones.inherit(&before.zones);
        self.policy.inherit(&before.policy);
    }

    /// The zones that it serves.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The rules that it answers by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Answers one packet into `out` and returns the answer's length; 0 means silence. Each packet is counted once:
    /// as an answer, or as dropped.
    pub fn respond(&self, asked: Asked<'_>, counters: &Counters, out: &mut [u8]) -> usize {
        let (written, kind) = match &parse(asked.packet) {
            Parsed::Query(query) => match self.judged(asked, query, counters, out) {
                Some(answered) => answered,
                None => return 0,
            },
            Parsed::Error(rcode) => match self.is_limited(asked, counters) {
                false => {
                    let len = render::header_only(asked.packet, *rcode, out);
                    (Written { len, rcode: *rcode, truncated: false }, NameKind::None)
                }
                true => return 0,
            },
            Parsed::Drop(why) => {
                counters.note(match why {
                    Dropped::Short => Event::DroppedShort,
                    Dropped::Response => Event::DroppedResponse,
                    Dropped::Source => Event::DroppedSource,
                });
                return 0;
            }
        };
        let tcp = asked.transport == Transport::Tcp;
        counters.answered(Counted { tcp, rcode: written.rcode as u8, name: kind });
        if written.truncated {
            counters.note(Event::Truncated);
        }
        written.len
    }

    /// Whether a packet that is no query draws no answer: there is no smaller one than the one it would draw.
    fn is_limited(&self, asked: Asked<'_>, counters: &Counters) -> bool {
        match self.policy.limit(&asked, &Default::default()) {
            Verdict::Pass => false,
            Verdict::WouldLimit => {
                counters.note(Event::WouldLimit);
                false
            }
            Verdict::Truncate | Verdict::Drop => {
                counters.note(Event::DroppedRate);
                true
            }
        }
    }

    /// Decides whether a query is answered, and answers it; `None` is silence.
    #[inline]
    fn judged(
        &self,
        asked: Asked<'_>,
        query: &Query,
        counters: &Counters,
        out: &mut [u8],
    ) -> Option<(Written, NameKind)> {
        let Asked { packet, transport, .. } = asked;
        let mut heard = self.policy.hear(&asked, query, counters);
        let envelope = Envelope { packet, query, transport, options: heard.reply };
        match self.policy.limit(&asked, &heard) {
            Verdict::Pass => {}
            Verdict::WouldLimit => counters.note(Event::WouldLimit),
            Verdict::Truncate => {
                counters.note(Event::Slipped);
                return Some((render::over_tcp(&envelope, out), NameKind::None));
            }
            Verdict::Drop => {
                counters.note(Event::DroppedRate);
                return None;
            }
        }
        Some(match query.tsig {
            None => self.unsigned(asked, &envelope, &mut heard, counters, out),
            Some(at) => self.signed(asked, &envelope, &mut heard, at, counters, out),
        })
    }

    fn unsigned(
        &self,
        asked: Asked<'_>,
        envelope: &Envelope<'_>,
        heard: &mut Heard<'_>,
        counters: &Counters,
        out: &mut [u8],
    ) -> (Written, NameKind) {
        let query = envelope.query;
        if let Some(rcode) = heard.refusal.or_else(|| refusal(query)) {
            let error = (query.qtype == rtype::NXNAME).then_some(Ede::InvalidType);
            let options = Reply { error: error.or(heard.reply.error), ..heard.reply };
            return (render::error(&Envelope { options, ..*envelope }, rcode, out), NameKind::None);
        }
        if query.qclass != CLASS_IN {
            return (self.of_ourselves(envelope, out), NameKind::None);
        }
        let known = Known { zones: &self.zones, rules: &self.rules, fleet: asked.fleet, now: asked.now };
        let (client, scope) = heard.client(&asked, &self.rules);
        let question = Question { name: &query.name, qtype: query.qtype, client };
        let signer = self.signer.as_deref().filter(|_| concerns_dnssec(query));
        let secure = signer.zip(query.edns.filter(|edns| edns.dnssec_ok));
        let entropy = secure.map_or(asked.entropy, |(signer, _)| signer.sample(asked.entropy));
        let keys = signer.and_then(|signer| signer.keys_at(&query.name));
        let keys = keys.as_ref().and_then(|keys| keys_of(&known, query, keys));
        let mut said = keys.unwrap_or_else(|| answer(&known, question, entropy));
        if let (Outcome::AgentText(agent), Some(_)) = (&said.outcome, secure) {
            said.outcome = Outcome::AgentState(agent);
        }
        if let (Some(kept), Outcome::V4(_) | Outcome::V6(_)) = (said.zone_kept, &said.outcome) {
            counters.note(match kept {
                ZoneKept::Named(true) => Event::ZoneKept,
                ZoneKept::Named(false) => Event::ZoneLost,
                ZoneKept::Client(true) => Event::ClientZoneKept,
                ZoneKept::Client(false) => Event::ClientZoneLost,
            });
        }
        if scope > 0 && depends_on_client(&said) {
            heard.set_scope(scope);
        }
        let mut options = heard.reply;
        if query.edns.is_some() && asked.fleet.is_stale() {
            options.error = stale(&said);
        }
        // A set that fills a stream's message is answered in part, and the part must leave room for its signatures.
        let room = match secure.is_some() && asked.transport == Transport::Tcp {
            true => out.len().saturating_sub(crate::limits::dnssec::SIGNED_ROOM),
            false => out.len(),
        };
        let page = out.get_mut(..room).unwrap_or_default();
        let mut written = render::answer(&Envelope { options, ..*envelope }, &said, &known, page);
        if let Some((signer, edns)) = secure {
            let (limit, transport) = (envelope.largest().min(out.len()), envelope.transport);
            let compact_ok = edns.compact_ok;
            let job = Job { query, client, answer: &said, known: &known, transport, limit, compact_ok };
            written = signer.seal(&job, written, counters.signing(), out);
        }
        (written, said.kind.into())
    }

    /// Answers a signed query: what holds is answered as any other and signed, what does not is refused. Rare, and
    /// apart from the path that neither locks nor allocates.
    #[cold]
    fn signed(
        &self,
        asked: Asked<'_>,
        envelope: &Envelope<'_>,
        heard: &mut Heard<'_>,
        at: usize,
        counters: &Counters,
        out: &mut [u8],
    ) -> (Written, NameKind) {
        let Envelope { packet, query, transport, .. } = *envelope;
        let now = clock::unix_seconds();
        let room = |out: &mut [u8], tsig: usize| envelope.largest().min(out.len()).saturating_sub(tsig);
        let (mut written, kind, record) = match self.keys.check(packet, at, now) {
            Ok(mut signer) => {
                let room = room(out, signer.room());
                let all = out.get_mut(..room).unwrap_or_default();
                let (written, kind) = match query.qtype {
                    rtype::IXFR if transport == Transport::Udp => self.current_soa(asked, envelope, all),
                    _ => self.unsigned(asked, envelope, heard, counters, all),
                };
                let record = signer.sign(out.get(..written.len).unwrap_or_default(), now);
                (written, kind, record)
            }
            Err(Refusal::Malformed) => {
                let len = render::header_only(packet, Rcode::FormErr, out);
                return (Written { len, rcode: Rcode::FormErr, truncated: false }, NameKind::None);
            }
            Err(Refusal::Unsigned { fault, record }) => {
                counters.bad_signature(fault as u16);
                let room = room(out, record.len());
                let all = out.get_mut(..room).unwrap_or_default();
                (render::error(envelope, Rcode::NotAuth, all), NameKind::None, record)
            }
            Err(Refusal::Signed { fault, mut signer }) => {
                counters.bad_signature(fault as u16);
                let room = room(out, signer.room());
                let all = out.get_mut(..room).unwrap_or_default();
                let written = render::error(envelope, Rcode::NotAuth, all);
                let record = signer.sign(out.get(..written.len).unwrap_or_default(), now);
                (written, NameKind::None, record)
            }
        };
        written.len = tsig::append(out, written.len, &record);
        (written, kind)
    }

    /// IXFR over UDP: the SOA alone. It says whether there is news, and news are for TCP (RFC 1995 §2).
    fn current_soa(&self, asked: Asked<'_>, envelope: &Envelope<'_>, out: &mut [u8]) -> (Written, NameKind) {
        let known = Known { zones: &self.zones, rules: &self.rules, fleet: asked.fleet, now: asked.now };
        let name = &envelope.query.name;
        let zone = known.zones.of(name).filter(|(zone, index)| *index == 0 && !zone.awaits_serial());
        let client = Client { source: asked.peer, zone: None };
        let written = match zone {
            Some(_) => {
                let said = answer(&known, Question { name, qtype: rtype::SOA, client }, asked.entropy);
                render::answer(envelope, &said, &known, out)
            }
            None => render::error(envelope, Rcode::NotAuth, out),
        };
        (written, NameKind::Apex)
    }

    /// A question that is not about the Internet: about this server (RFC 4892), or one without a question.
    fn of_ourselves(&self, envelope: &Envelope<'_>, out: &mut [u8]) -> Written {
        let query = envelope.query;
        if query.question_end == HEADER {
            // It asked for a cookie, and has it (RFC 7873 §5.4).
            return render::error(envelope, Rcode::NoError, out);
        }
        match self.policy.chaos(query).filter(|_| query.qclass == CLASS_CH) {
            Some(text) => render::chaos(envelope, text, out),
            None => render::error(envelope, Rcode::Refused, out),
        }
    }
}

/// DNSKEY, CDS or CDNSKEY of a signed zone.
fn keys_of<'a>(known: &Known<'a>, query: &Query, keys: &'a Keyset) -> Option<Answer<'a>> {
    let outcome = Outcome::Static(keys.set(query.qtype)?);
    let (zone, _) = known.zones.of(&query.name)?;
    let (kind, aliases) = (Kind::Apex, Aliases::default());
    Some(Answer { zone: Some(zone), kind, last: kind, group: None, zone_kept: None, aliases, outcome })
}

/// Whether a query asks for signatures, or for the keys that make them.
#[inline]
fn concerns_dnssec(query: &Query) -> bool {
    let keys = [rtype::DNSKEY, rtype::CDS, rtype::CDNSKEY];
    query.edns.is_some_and(|edns| edns.dnssec_ok) || keys.contains(&query.qtype)
}

/// One packet and what it is to be answered from.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The packet.
    pub packet: &'a [u8],
    /// Where it came from.
    pub peer: IpAddr,
    /// How it came.
    pub transport: Transport,
    /// For how long its connection may be idle, told to those who ask (RFC 7828); `None` where there is none.
    pub idle: Option<Duration>,
    /// The fleet of this moment.
    pub fleet: &'a Fleet,
    /// The time.
    pub now: Moment,
    /// A random number for the sample.
    pub entropy: u64,
}

/// Queries that are answered by a code alone.
fn refusal(query: &Query) -> Option<Rcode> {
    if query.edns.is_some_and(|edns| edns.version > 0) {
        return Some(Rcode::BadVers);
    }
    match query.qtype {
        // NXNAME stands in NSEC records and is no type to ask for (RFC 9824 §3.5).
        rtype::OPT | rtype::NXNAME => Some(Rcode::FormErr),
        rtype::AXFR | rtype::IXFR => Some(Rcode::Refused),
        rtype::TKEY | rtype::TSIG | rtype::MAILA | rtype::MAILB => Some(Rcode::NotImp),
        _ => None,
    }
}

/// Whether another client may get another answer because of its zone: the addresses of a group's own name.
fn depends_on_client(said: &Answer<'_>) -> bool {
    said.last == Kind::Group && matches!(said.outcome, Outcome::V4(_) | Outcome::V6(_))
}

/// What is to be said of an answer that a lost registry's last word was the reason of.
#[cold]
fn stale(said: &Answer<'_>) -> Option<Ede> {
    match &said.outcome {
        Outcome::V4(_)
        | Outcome::V6(_)
        | Outcome::Services(_)
        | Outcome::GroupText(_)
        | Outcome::AgentText(_) => Some(Ede::StaleAnswer),
        Outcome::NoSuchName if said.last == Kind::Unknown => Some(Ede::StaleNxDomain),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::check::{decode, query};
    use super::super::zones::ZoneSettings;
    use super::*;
    use hickory_proto::op::ResponseCode;

    #[test]
    fn an_unsynced_fleet_is_a_failure_and_static_data_answers() {
        let zones = Zones::load(&[ZoneSettings::new("k.example")], &[]).unwrap();
        let responder = Responder::new(zones, Rules::default());
        let metrics = crate::telemetry::Telemetry::new().unwrap();
        let counters = metrics.dns.worker();
        let fleet = Fleet::default();
        let ask = |name: &str, qtype: u16, transport: Transport| {
            let packet = query(name, qtype, Some(4096));
            let now = Moment::from_millis(1);
            let peer = IpAddr::from([192, 0, 2, 1]);
            let asked =
                Asked { packet: &packet, peer, transport, idle: None, fleet: &fleet, now, entropy: 1 };
            let mut out = vec![0; 65_535];
            let len = responder.respond(asked, &counters, &mut out);
            decode(&out[..len])
        };
        for transport in [Transport::Udp, Transport::Tcp] {
            let soa = ask("k.example", rtype::SOA, transport);
            assert_eq!((soa.answers.len(), soa.metadata.authoritative), (1, true));
            assert_eq!(soa.edns.map(|edns| edns.max_payload()), Some(1232));
            let group = ask("g.c.k.example", rtype::A, transport);
            assert_eq!(group.metadata.response_code, ResponseCode::ServFail);
            let transfer = ask("k.example", rtype::AXFR, transport);
            assert_eq!(transfer.metadata.response_code, ResponseCode::Refused);
        }
    }
}
