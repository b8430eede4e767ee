//! Bytes in, bytes out: the one path that every query takes, over UDP, over TCP, in scenarios and in benchmarks.

use super::answer::{Known, Outcome, Question, Rules, answer};
use super::render::{self, Transport, Written};
use super::tsig::{self, Keys, Refusal};
use super::wire::{CLASS_IN, Dropped, Parsed, Query, Rcode, parse, rtype};
use super::zones::Zones;
use crate::clock;
use crate::model::{Fleet, Moment};
use crate::telemetry::dns::{Counters, NameKind, Outcome as Counted};

/// What does not change from query to query.
#[derive(Debug, Default)]
pub struct Responder {
    zones: Zones,
    rules: Rules,
    keys: Keys,
}

impl Responder {
    /// A responder for these zones and rules.
    pub fn new(zones: Zones, rules: Rules) -> Self {
        Self { zones, rules, keys: Keys::default() }
    }

    /// The same, with keys that queries may be signed with.
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// The keys that queries may be signed with.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Takes over what `before` learned while it ran and no file says: called at a reload, before this one answers.
    pub fn inherit(&mut self, before: &Self) {
        self.zones.inherit(&before.zones);
    }

    /// The zones that it serves.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The rules that it answers by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Answers one packet into `out` and returns the answer's length; 0 means silence. Each packet is counted once.
    pub fn respond(&self, asked: Asked<'_>, counters: &Counters, out: &mut [u8]) -> usize {
        let Asked { packet, transport, .. } = asked;
        let parsed = parse(packet);
        let query = match &parsed {
            Parsed::Query(query) => query,
            Parsed::Error(rcode) => {
                counters.answered(outcome_of(transport, *rcode, NameKind::None));
                return render::header_only(packet, *rcode, out);
            }
            Parsed::Drop(why) => {
                match why {
                    Dropped::Short => counters.dropped_short(),
                    Dropped::Response => counters.dropped_response(),
                    Dropped::Source => counters.dropped_source(),
                }
                return 0;
            }
        };
        let (written, kind) = match query.tsig {
            None => self.unsigned(asked, query, counters, out),
            Some(at) => self.signed(asked, query, at, counters, out),
        };
        counters.answered(outcome_of(transport, written.rcode, kind));
        if written.truncated {
            counters.truncated();
        }
        written.len
    }

    fn unsigned(
        &self,
        asked: Asked<'_>,
        query: &Query,
        counters: &Counters,
        out: &mut [u8],
    ) -> (Written, NameKind) {
        match refusal(query) {
            Some(rcode) => (render::error(asked.packet, query, rcode, out, asked.transport), NameKind::None),
            None => self.answered(asked, query, counters, out),
        }
    }

    /// Answers a signed query: what holds is answered as any other and signed, what does not is refused. Rare, and
    /// apart from the path that neither locks nor allocates.
    #[cold]
    fn signed(
        &self,
        asked: Asked<'_>,
        query: &Query,
        at: usize,
        counters: &Counters,
        out: &mut [u8],
    ) -> (Written, NameKind) {
        let Asked { packet, transport, .. } = asked;
        let now = clock::unix_seconds();
        let room = |out: &mut [u8], tsig: usize| {
            render::largest(query, transport).min(out.len()).saturating_sub(tsig)
        };
        let (mut written, kind, record) = match self.keys.check(packet, at, now) {
            Ok(mut signer) => {
                let room = room(out, signer.room());
                let all = out.get_mut(..room).unwrap_or_default();
                let (written, kind) = match query.qtype {
                    rtype::IXFR if transport == Transport::Udp => self.current_soa(asked, query, all),
                    _ => self.unsigned(asked, query, counters, all),
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
                (render::error(packet, query, Rcode::NotAuth, all, transport), NameKind::None, record)
            }
            Err(Refusal::Signed { fault, mut signer }) => {
                counters.bad_signature(fault as u16);
                let room = room(out, signer.room());
                let all = out.get_mut(..room).unwrap_or_default();
                let written = render::error(packet, query, Rcode::NotAuth, all, transport);
                let record = signer.sign(out.get(..written.len).unwrap_or_default(), now);
                (written, NameKind::None, record)
            }
        };
        written.len = tsig::append(out, written.len, &record);
        (written, kind)
    }

    /// IXFR over UDP: the SOA alone. It says whether there is news, and news are for TCP (RFC 1995 §2).
    fn current_soa(&self, asked: Asked<'_>, query: &Query, out: &mut [u8]) -> (Written, NameKind) {
        let known = Known { zones: &self.zones, rules: &self.rules, fleet: asked.fleet, now: asked.now };
        let zone = known.zones.of(&query.name).filter(|(zone, index)| *index == 0 && !zone.awaits_serial());
        let soa = Question { name: &query.name, qtype: rtype::SOA };
        let written = match zone {
            Some(_) => {
                let said = answer(&known, soa, asked.entropy);
                render::answer(asked.packet, query, &said, &known, out, asked.transport)
            }
            None => render::error(asked.packet, query, Rcode::NotAuth, out, asked.transport),
        };
        (written, NameKind::Apex)
    }

    fn answered(
        &self,
        asked: Asked<'_>,
        query: &Query,
        counters: &Counters,
        out: &mut [u8],
    ) -> (Written, NameKind) {
        let known = Known { zones: &self.zones, rules: &self.rules, fleet: asked.fleet, now: asked.now };
        let question = Question { name: &query.name, qtype: query.qtype };
        let said = answer(&known, question, asked.entropy);
        if let (Some(kept), Outcome::V4(_) | Outcome::V6(_)) = (said.zone_kept, &said.outcome) {
            counters.zone(kept);
        }
        let written = render::answer(asked.packet, query, &said, &known, out, asked.transport);
        (written, said.kind.into())
    }
}

/// One packet and what it is to be answered from.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The packet.
    pub packet: &'a [u8],
    /// How it came.
    pub transport: Transport,
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
    if query.qclass != CLASS_IN {
        return Some(Rcode::Refused);
    }
    match query.qtype {
        rtype::OPT => Some(Rcode::FormErr),
        rtype::AXFR | rtype::IXFR => Some(Rcode::Refused),
        rtype::TKEY | rtype::TSIG | rtype::MAILA | rtype::MAILB => Some(Rcode::NotImp),
        _ => None,
    }
}

fn outcome_of(transport: Transport, rcode: Rcode, name: NameKind) -> Counted {
    Counted { tcp: transport == Transport::Tcp, rcode: rcode as u8, name }
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
            let asked = Asked { packet: &packet, transport, fleet: &fleet, now, entropy: 1 };
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
