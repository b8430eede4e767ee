//! A DNS packet of any bytes, over UDP and TCP, signed with TSIG or not, to a server with and without everything switched on.
//! The first byte says how; the rest is the packet. Whatever comes, the answer is silence, or one whole message of no more
//! bytes than the asker can take.
#![no_main]

use fingerpost::clock;
use fingerpost::dns::Responder;
use fingerpost::dns::render::Transport;
use fingerpost::dns::respond::Asked;
use fingerpost::dns::tsig::{self, Signer};
use fingerpost::dns::wire::{self, Parsed};
use fingerpost::limits::dns as limits;
use fingerpost::model::Fleet;
use fingerpost::telemetry::{Telemetry, dns::Counters};
use fingerpost_fuzz::{NOW, TSIG_KEY};
use hickory_proto::op::Message;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const FULL: u8 = 1;
const TCP: u8 = 2;
const V6: u8 = 4;
const SIGNED: u8 = 8;
const UNSYNCED: u8 = 16;

/// The option of a client subnet of family 0.
const NOBODY: [u8; 8] = [0, 8, 0, 4, 0, 0, 0, 0];

struct Server {
    responders: [Responder; 2],
    fleets: [Fleet; 2],
    counters: Arc<Counters>,
    _telemetry: Telemetry,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let telemetry = Telemetry::new().unwrap();
    Server {
        responders: fingerpost_fuzz::responders(),
        fleets: [fingerpost_fuzz::fleet(), Fleet::default()],
        counters: telemetry.dns.shared(),
        _telemetry: telemetry,
    }
});

fuzz_target!(|data: &[u8]| {
    let Some((&how, packet)) = data.split_first() else { return };
    let has = |flag| how & flag != 0;
    let signed = has(SIGNED).then(|| sign(packet));
    let packet = signed.as_deref().unwrap_or(packet);
    let transport = if has(TCP) { Transport::Tcp } else { Transport::Udp };
    let peer =
        if has(V6) { IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]) } else { IpAddr::from([192, 0, 2, 1]) };
    let idle = has(TCP).then_some(Duration::from_secs(10));
    let fleet = &SERVER.fleets[usize::from(has(UNSYNCED))];
    let asked = Asked { packet, peer, transport, idle, fleet, now: NOW, entropy: 7 };
    let room = if has(TCP) { limits::TCP_MESSAGE } else { limits::UDP_ANSWER };
    let mut out = vec![0; room];
    let length = SERVER.responders[usize::from(has(FULL))].respond(asked, &SERVER.counters, &mut out);
    if length > 0 {
        judge(packet, has(TCP), &out[..length]);
    }
});

/// A packet with a signature that holds, or would hold if the rest of it were well-formed.
fn sign(packet: &[u8]) -> Vec<u8> {
    static KEY: LazyLock<tsig::Keys> = LazyLock::new(fingerpost_fuzz::keys);
    let now = clock::unix_seconds();
    let id = packet.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    let record = Signer::of_request(Arc::clone(KEY.get(TSIG_KEY).unwrap()), id, now).sign(packet, now);
    let mut whole = packet.to_vec();
    whole.resize(packet.len() + record.len(), 0);
    tsig::append(&mut whole, packet.len(), &record);
    whole
}

/// Judges an answer.
fn judge(packet: &[u8], tcp: bool, answer: &[u8]) {
    let most = match wire::parse(packet) {
        Parsed::Drop(_) => panic!("what is to be dropped was answered"),
        _ if tcp => limits::TCP_MESSAGE,
        Parsed::Error(_) => wire::HEADER,
        Parsed::Query(query) => query.edns.map_or(limits::UDP_PLAIN, |edns| {
            usize::from(edns.size).clamp(limits::UDP_PLAIN, limits::UDP_ANSWER)
        }),
    };
    assert!(answer.len() <= most, "{} bytes, {most} are the most", answer.len());
    assert_eq!(answer[..2], packet[..2], "the id");
    assert!(answer[2] & 0x80 != 0, "no response");
    let mut decoder = BinDecoder::new(answer);
    if let Err(error) = Message::read(&mut decoder) {
        // The client subnet of nobody (family 0, RFC 7871 §7.1.2) is repeated; hickory-proto knows no such family, and
        // depending on what follows says so or stops there.
        let nobodys = answer.windows(NOBODY.len()).any(|part| part == NOBODY);
        assert!(nobodys, "{error}: {answer:02x?}");
        return;
    }
    assert!(decoder.is_empty(), "{} bytes at the end of {answer:02x?}", decoder.len());
}
