//! Bytes in, bytes out: the one path that every query takes, over UDP, over TCP, in scenarios and in benchmarks.

use super::answer::{Known, Outcome, Question, Rules, answer};
use super::render::{self, Transport, Written};
use super::wire::{CLASS_IN, Dropped, Parsed, Query, Rcode, parse, rtype};
use super::zones::Zones;
use crate::model::{Fleet, Moment};
use crate::telemetry::dns::{Counters, NameKind, Outcome as Counted};

/// What does not change from query to query.
#[derive(Debug, Default)]
pub struct Responder {
    zones: Zones,
    rules: Rules,
}

impl Responder {
    /// A responder for these zones and rules.
    pub fn new(zones: Zones, rules: Rules) -> Self {
        Self { zones, rules }
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
        let (written, kind) = match refusal(query) {
            Some(rcode) => (render::error(packet, query, rcode, out, transport), NameKind::None),
            None => self.answered(asked, query, counters, out),
        };
        counters.answered(outcome_of(transport, written.rcode, kind));
        if written.truncated {
            counters.truncated();
        }
        written.len
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
