//! Tests of the whole path with packets that no honest client sends: each draws silence, or one well-formed message that
//! its asker can take. `fuzz/` looks for more of them.

use super::cookies::{Cookies, Secret};
use super::render::Transport;
use super::respond::Asked;
use super::wire::check::{decode, query};
use super::wire::{self, HEADER, Parsed, rtype};
use super::{Policy, Responder, Rules, ZoneSettings, Zones};
use crate::limits::dns as limits;
use crate::model::{Fleet, Moment};
use crate::telemetry::Telemetry;
use crate::telemetry::dns::Counters;
use hickory_proto::op::ResponseCode;
use std::net::IpAddr;
use std::sync::Arc;

/// Answers packets with cookies and subnets spoken, and judges each answer.
struct Server {
    responder: Responder,
    fleet: Fleet,
    counters: Arc<Counters>,
}

impl Server {
    fn new() -> Self {
        let zones = Zones::load(&[ZoneSettings::new("k.example")], &[]).unwrap();
        let secret = Secret::parse("000102030405060708090a0b0c0d0e0f").unwrap();
        let policy = Policy {
            server_id: Some("one".to_owned()),
            cookies: Some(Cookies::new(vec![secret], false)),
            subnets: true,
            ..Policy::default()
        };
        let mut edit = Fleet::default().edit();
        edit.set_synced();
        Self {
            responder: Responder::new(zones, Rules::default()).with_policy(policy),
            fleet: edit.finish(),
            counters: Telemetry::new().unwrap().dns.shared(),
        }
    }

    /// The code of the answer, the same over UDP and TCP; `None` for silence.
    #[track_caller]
    fn ask(&self, packet: &[u8]) -> Option<ResponseCode> {
        let [udp, tcp] = [Transport::Udp, Transport::Tcp].map(|transport| self.ask_over(transport, packet));
        assert_eq!(udp, tcp, "{packet:02x?}");
        udp
    }

    #[track_caller]
    fn ask_over(&self, transport: Transport, packet: &[u8]) -> Option<ResponseCode> {
        let (now, peer) = (Moment::from_millis(1), IpAddr::from([192, 0, 2, 1]));
        let asked = Asked { packet, peer, transport, idle: None, fleet: &self.fleet, now, entropy: 1 };
        let mut out = vec![0; limits::TCP_MESSAGE];
        let length = self.responder.respond(asked, &self.counters, &mut out);
        if length == 0 {
            return None;
        }
        let most = match wire::parse(packet) {
            Parsed::Query(_) if transport == Transport::Tcp => limits::TCP_MESSAGE,
            Parsed::Query(query) => query.edns.map_or(limits::UDP_PLAIN, |edns| {
                usize::from(edns.size).clamp(limits::UDP_PLAIN, limits::UDP_ANSWER)
            }),
            Parsed::Error(_) => HEADER,
            Parsed::Drop(why) => panic!("answered, but {why:?}: {packet:02x?}"),
        };
        assert!(length <= most, "{length} bytes where {most} are the most: {packet:02x?}");
        let message = decode(&out[..length]);
        assert_eq!(out[..2], packet[..2], "the id");
        Some(message.metadata.response_code)
    }

    #[track_caller]
    fn refuses(&self, packet: &[u8]) {
        assert_eq!(self.ask(packet), Some(ResponseCode::FormErr), "{packet:02x?}");
    }
}

/// A query with an OPT that holds one option.
fn with_option(code: u16, data: &[u8]) -> Vec<u8> {
    let option = [&code.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat();
    with_options(option.len() as u16, &option)
}

/// A query with an OPT that says it had `said` bytes of options.
fn with_options(said: u16, options: &[u8]) -> Vec<u8> {
    let mut packet = query("k.example", rtype::SOA, Some(1232));
    packet.truncate(packet.len() - 2);
    packet.extend_from_slice(&said.to_be_bytes());
    packet.extend_from_slice(options);
    packet
}

/// A query for a name given in wire form.
fn for_name(wire: &[u8]) -> Vec<u8> {
    [&[0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], wire, &[0, 1, 0, 1]].concat()
}

#[test]
fn counts_that_lie_are_format_errors() {
    let server = Server::new();
    let honest = query("k.example", rtype::SOA, Some(1232));
    assert_eq!(server.ask(&honest), Some(ResponseCode::NoError));
    for place in [4, 6, 8, 10] {
        for count in [0u16, 1, 2, 3, 255, 256, u16::MAX] {
            let mut packet = honest.clone();
            packet[place..place + 2].copy_from_slice(&count.to_be_bytes());
            if packet != honest && (place, count) != (6, 0) && (place, count) != (8, 0) {
                server.refuses(&packet);
            }
        }
    }
    let mut none = honest[..HEADER].to_vec();
    none[4..12].fill(0);
    server.refuses(&none);
    let question = &honest[HEADER..honest.len() - 11];
    let mut two = [&honest[..HEADER], question, question].concat();
    two[4..12].copy_from_slice(&[0, 2, 0, 0, 0, 0, 0, 0]);
    server.refuses(&two);
    for length in 0..HEADER {
        assert_eq!(server.ask(&honest[..length]), None);
    }
    for more in 1..64 {
        server.refuses(&[&honest[..], &vec![0; more]].concat());
    }
}

#[test]
fn names_that_are_none_are_format_errors() {
    let server = Server::new();
    let pointers: [&[u8]; 5] = [b"\xc0\x0c", b"\xc0\x00", b"\xc0\xff", b"\x01k\xc0\x0c", b"\x01k\xff\xff"];
    pointers.iter().for_each(|name| server.refuses(&for_name(name)));
    for length in 64..=255u8 {
        server.refuses(&for_name(&[&[length], vec![b'x'; length.into()].as_slice(), &[0]].concat()));
    }
    // Four labels of 63 bytes make 256 with their lengths; one byte less is the longest name.
    let labels = |last: usize| {
        let full = [&[63], [b'x'; 63].as_slice()].concat();
        [full.repeat(3), vec![last as u8], vec![b'y'; last], vec![0]].concat()
    };
    assert_eq!(labels(61).len(), 255);
    assert_eq!(server.ask(&for_name(&labels(61))), Some(ResponseCode::Refused));
    server.refuses(&for_name(&labels(62)));
    server.refuses(&for_name(&labels(63)));
    let many = |count: usize| [[1, b'x'].repeat(count), vec![0]].concat();
    assert_eq!(server.ask(&for_name(&many(127))), Some(ResponseCode::Refused));
    server.refuses(&for_name(&many(128)));
    server.refuses(&for_name(&[63; 400]));
}

#[test]
fn options_of_every_wrong_length_are_format_errors() {
    let server = Server::new();
    let (subnet, cookie, keepalive, unknown) = (8, 10, 11, 65_001);
    for length in 0..64 {
        let data = vec![1; length];
        let good_cookie = length == 8 || (16..=40).contains(&length);
        let expected = if good_cookie { ResponseCode::NoError } else { ResponseCode::FormErr };
        assert_eq!(server.ask(&with_option(cookie, &data)), Some(expected), "a cookie of {length} bytes");
        assert_eq!(server.ask(&with_option(unknown, &data)), Some(ResponseCode::NoError));
        server.ask(&with_option(keepalive, &data));
        for (family, bits) in [(1u8, 32u8), (2, 128)] {
            for prefix in 0..=bits.saturating_add(8) {
                let data = [&[0, family, prefix, 0][..], &vec![0; length]].concat();
                let good = prefix <= bits && length == usize::from(prefix.div_ceil(8));
                let expected = if good { ResponseCode::NoError } else { ResponseCode::FormErr };
                let told = server.ask(&with_option(subnet, &data));
                assert_eq!(told, Some(expected), "family {family}, /{prefix} in {length} bytes");
            }
        }
    }
    (0..4).for_each(|length| server.refuses(&with_option(subnet, &vec![0; length])));
    // What the option, or the OPT, says of its own length.
    let whole = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    for said in 0..300 {
        let packet = with_options(said, &whole);
        match usize::from(said) == whole.len() {
            true => assert_eq!(server.ask(&packet), Some(ResponseCode::NoError)),
            false => server.refuses(&packet),
        }
        let mut option = whole;
        option[2..4].copy_from_slice(&said.to_be_bytes());
        if said != 8 {
            server.refuses(&with_options(12, &option));
        }
    }
}

#[test]
fn every_cut_and_every_flipped_bit_draws_silence_or_a_message() {
    let server = Server::new();
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let subnet = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
    let whole = with_options(23, &[&cookie[..], &subnet].concat());
    assert_eq!(server.ask(&whole), Some(ResponseCode::NoError));
    for length in HEADER..whole.len() {
        server.refuses(&whole[..length]);
    }
    for bit in 0..whole.len() * 8 {
        let mut packet = whole.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        for transport in [Transport::Udp, Transport::Tcp] {
            server.ask_over(transport, &packet);
        }
    }
}

#[test]
fn random_packets_draw_silence_or_a_message() {
    let server = Server::new();
    let seeds = [
        query("k.example", rtype::SOA, Some(1232)),
        query("vpc-1.prod.k.example", rtype::A, None),
        with_option(10, &[7; 8]),
        with_option(8, &[0, 1, 24, 0, 192, 0, 2]),
    ];
    let mut random = fastrand::Rng::with_seed(9);
    let mut answered = 0;
    for _ in 0..100_000 {
        let mut packet = random.choice(&seeds).unwrap().clone();
        for _ in 0..random.u8(1..5) {
            let at = random.usize(..packet.len());
            match random.u8(..5) {
                0 => packet[at] = random.u8(..),
                1 => packet[at] ^= 1 << random.u8(..8),
                2 => packet[at] = *random.choice(&[0, 1, 0x3f, 0x40, 0xc0, 0xff]).unwrap(),
                3 => packet.truncate(at.max(1)),
                _ => packet.insert(at, random.u8(..)),
            }
        }
        answered += u32::from(server.ask_over(Transport::Udp, &packet).is_some());
        server.ask_over(Transport::Tcp, &packet);
    }
    assert!(answered > 10_000, "only {answered} were answered: nothing was tried");
}
