//! DNS as `dig` and `kdig` see it, and as those see it who send odd packets, pipeline, stall or ask thousands of times.

use crate::dns_fleet::{Served, fleet, key, query, read_message, rebuild, record};
use crate::dns_scenarios::{code, decode};
use crate::support::{DEADLINE, Dig, dig, kdig, wait_for};
use fingerpost::dns::{Rules, Settings, ZoneSettings, Zones, tcp};
use fingerpost::model::{Agent, Lease, Moment, Source};
use hickory_proto::rr::RData;
use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const A: u16 = 1;
const SRV: u16 = 33;
/// Who asks where no socket says so.
const PEER: std::net::IpAddr = std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Two groups with three agents in three zones each, one of them draining, and the shipped example zone.
fn served() -> Served {
    served_with(Settings::default())
}

fn served_with(settings: Settings) -> Served {
    let file = crate::support::root().join("zones/kafka.example.zone");
    let zone = ZoneSettings { file: Some(file), ..ZoneSettings::new("kafka.example") };
    let zones = Zones::load(&[zone], &[key("prod/x/x").cluster]).unwrap();
    let served = Served::with(Settings { zones, ..settings });
    served.synced();
    for group in [1, 2] {
        for (number, zone) in ["a", "b", "c", "a"].iter().enumerate() {
            let words = format!(
                "zone=us-east-1{zone} addresses=10.0.{group}.{n},2001:db8::{group}:{n}{state}",
                n = number + 1,
                state = if number == 3 { " draining" } else { "" }
            );
            let path = format!("prod/vpc-{group}/agent-{}", number + 1);
            served.agent(&path, record(words.split(' ')), 3_600_000);
        }
    }
    served
}

/// One look: arguments, status, flags without `qr`, and how many records each section has.
type Look = (&'static str, &'static str, &'static str, [usize; 3]);

const LOOKS: [Look; 29] = [
    ("kafka.example SOA", "NOERROR", "aa", [1, 0, 0]),
    ("kafka.example NS", "NOERROR", "aa", [2, 0, 4]),
    ("kafka.example A", "NOERROR", "aa", [0, 1, 0]),
    ("kafka.example ANY +notcp", "NOERROR", "aa", [1, 0, 0]),
    ("ns1.kafka.example A", "NOERROR", "aa", [1, 0, 0]),
    ("vpc-1.prod.kafka.example A", "NOERROR", "aa", [3, 0, 0]),
    ("vpc-1.prod.kafka.example AAAA", "NOERROR", "aa", [3, 0, 0]),
    ("vpc-1.prod.kafka.example TXT", "NOERROR", "aa", [4, 0, 0]),
    ("vpc-1.prod.kafka.example SOA", "NOERROR", "aa", [0, 1, 0]),
    ("vpc-1.prod.kafka.example HTTPS", "NOERROR", "aa", [0, 1, 0]),
    ("vpc-1.prod.kafka.example TYPE65280", "NOERROR", "aa", [0, 1, 0]),
    ("az-us-east-1a.vpc-1.prod.kafka.example A", "NOERROR", "aa", [1, 0, 0]),
    ("az-elsewhere.vpc-1.prod.kafka.example AAAA", "NOERROR", "aa", [3, 0, 0]),
    ("agent-1.vpc-1.prod.kafka.example A", "NOERROR", "aa", [1, 0, 0]),
    ("agent-4.vpc-1.prod.kafka.example AAAA", "NOERROR", "aa", [1, 0, 0]),
    ("agent-1.vpc-1.prod.kafka.example TXT", "NOERROR", "aa", [1, 0, 0]),
    ("agent-9.vpc-1.prod.kafka.example A", "NXDOMAIN", "aa", [0, 1, 0]),
    ("_kafka._tcp.vpc-1.prod.kafka.example SRV", "NOERROR", "aa", [3, 0, 6]),
    ("_kafka._tcp.vpc-1.prod.kafka.example A", "NOERROR", "aa", [0, 1, 0]),
    ("_tcp.vpc-1.prod.kafka.example A", "NOERROR", "aa", [0, 1, 0]),
    ("_x._tcp.vpc-1.prod.kafka.example SRV", "NXDOMAIN", "aa", [0, 1, 0]),
    ("prod.kafka.example A", "NOERROR", "aa", [0, 1, 0]),
    ("vpc-3.prod.kafka.example A", "NXDOMAIN", "aa", [0, 1, 0]),
    ("nothing.kafka.example A", "NXDOMAIN", "aa", [0, 1, 0]),
    ("bootstrap.kafka.example A", "NOERROR", "aa", [4, 0, 0]),
    ("kafka.test A", "REFUSED", "", [0, 0, 0]),
    ("kafka.example A -c CH", "REFUSED", "", [0, 0, 0]),
    ("kafka.example A -c ANY", "REFUSED", "", [0, 0, 0]),
    ("version.bind TXT -c CH", "REFUSED", "", [0, 0, 0]),
];

#[track_caller]
fn check(got: Dig, what: &str, (_, status, flags, counts): Look) {
    let got = got.clean();
    let mut seen = got.flags.clone();
    seen.retain(|flag| flag != "qr");
    assert_eq!((got.status.as_str(), seen.join(" ").as_str()), (status, flags), "{what}\n{}", got.text);
    assert_eq!([got.answer.len(), got.authority.len(), got.additional.len()], counts, "{what}\n{}", got.text);
}

#[test]
fn dig_finds_nothing_odd_in_any_kind_of_answer() {
    let served = served();
    let ways: [&[&str]; 6] = [
        &[],
        &["+tcp"],
        &["+noedns"],
        &["+bufsize=512"],
        &["+bufsize=4096", "+dnssec", "+nsid", "+cookie"],
        &["+ednsopt=100:c0ffee", "+subnet=192.0.2.0/24", "+nocookie"],
    ];
    for look in LOOKS {
        let words: Vec<&str> = look.0.split(' ').collect();
        for way in ways {
            let arguments = [&words[..], way].concat();
            let got = dig(served.address, &arguments);
            assert_eq!(got.opt.is_empty(), way.contains(&"+noedns"), "{arguments:?}\n{}", got.text);
            assert!(got.opt.iter().all(|line| !line.starts_with("EDNS") || line.contains("udp: 1232")));
            check(got, &format!("{arguments:?}"), look);
        }
    }
}

#[test]
fn kdig_agrees() {
    let served = served();
    for look in LOOKS.into_iter().filter(|look| !look.0.contains("-c ") && !look.0.contains("+notcp")) {
        let words: Vec<&str> = look.0.split(' ').collect();
        for way in [&[][..], &["+tcp"], &["+edns"]] {
            check(kdig(served.address, &[&words[..], way].concat()), look.0, look);
        }
    }
}

#[test]
fn errors_keep_their_flags_clean() {
    let served = served();
    let notify = dig(served.address, &["kafka.example", "SOA", "+opcode=NOTIFY", "+recurse", "+cdflag"]);
    assert_eq!(
        (notify.status.as_str(), notify.flags.join(" ").as_str()),
        ("NOTIMP", "qr"),
        "{}",
        notify.text
    );
    let badvers = dig(served.address, &["kafka.example", "SOA", "+edns=1", "+noednsnegotiation"]).clean();
    assert_eq!(badvers.status, "BADVERS", "{}", badvers.text);
    assert!(badvers.opt.iter().any(|line| line.contains("version: 0")), "{}", badvers.text);
    let flags = dig(served.address, &["vpc-1.prod.kafka.example", "A", "+recurse", "+adflag", "+cdflag"]);
    assert_eq!(flags.flags, ["qr", "aa", "rd"], "{}", flags.text);
    let transfer = dig(served.address, &["kafka.example", "AXFR"]);
    assert!(transfer.text.contains("Transfer failed"), "{}", transfer.text);
}

#[test]
fn odd_packets_get_what_peers_give_or_silence() {
    let served = served();
    let good = query("vpc-1.prod.kafka.example", A, None);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        change(&mut packet);
        packet
    };
    let rcode_of = |packet: &[u8]| {
        let answer = served.udp(packet).expect("an answer");
        code(decode(&answer).metadata.response_code)
    };
    assert_eq!(rcode_of(&changed(&|packet| packet[5] = 0)), "FORMERR", "no question");
    assert_eq!(rcode_of(&changed(&|packet| packet[5] = 2)), "FORMERR", "two questions");
    assert_eq!(rcode_of(&changed(&|packet| packet.push(0))), "FORMERR", "a byte too many");
    assert_eq!(rcode_of(&good[..14]), "FORMERR", "cut short");
    assert_eq!(rcode_of(&changed(&|packet| packet[12] = 0xc0)), "FORMERR", "a pointer in the question");
    assert_eq!(rcode_of(&changed(&|packet| packet[2] = 0x10)), "NOTIMP", "STATUS");
    // Silence is told from loss by the next query of the same socket: it alone is answered.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    for silent in [vec![], vec![0; 11], changed(&|packet| packet[2] |= 0x80)] {
        socket.send_to(&silent, served.address).unwrap();
    }
    socket.send_to(&changed(&|packet| packet[0] = 0x77), served.address).unwrap();
    let mut answer = [0; 1500];
    let len = socket.recv(&mut answer).unwrap();
    assert_eq!((answer[0], decode(&answer[..len]).answers.len()), (0x77, 3));
    let metrics = served.metrics();
    for line in ["dropped_total reason=short 2", "dropped_total reason=response 1"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn thousands_of_answers_stay_in_their_group_and_visit_every_agent_alike() {
    let zones = Zones::load(&[ZoneSettings::new("kafka.example")], &[]).unwrap();
    let served = Served::start(zones, Rules { sample: 4, ..Rules::default() });
    served.synced();
    for group in 1..=2u8 {
        for number in 1..=20u8 {
            let words = format!("addresses=10.0.{group}.{number} zone=z{}", number % 3);
            served.agent(&format!("c/g{group}/a{number}"), record(words.split(' ')), 3_600_000);
        }
    }
    let mut seen: BTreeMap<Ipv4Addr, u32> = BTreeMap::new();
    let rounds = 4_000;
    for round in 0..rounds {
        let group = 1 + round % 2;
        let name = ["", "az-z1.", "az-none."][round / 2 % 3];
        let packet = query(&format!("{name}g{group}.c.kafka.example"), A, Some(1232));
        let answer = decode(&served.udp(&packet).expect("an answer"));
        let addresses: HashSet<Ipv4Addr> = answer
            .answers
            .iter()
            .map(|record| match &record.data {
                RData::A(address) => address.0,
                other => panic!("{other}"),
            })
            .collect();
        assert_eq!((answer.answers.len(), addresses.len()), (4, 4), "four different ones");
        for address in addresses {
            assert_eq!(usize::from(address.octets()[2]), group, "an agent of another group");
            assert!(name != "az-z1." || address.octets()[3] % 3 == 1, "an agent of another zone");
            if name.is_empty() {
                *seen.entry(address).or_default() += 1;
            }
        }
    }
    // 40 agents, drawn 4 of 20 at a time: chi-square with 38 degrees of freedom is below 80 but once in 10,000.
    let total: u32 = seen.values().sum();
    let expected = f64::from(total) / 40.0;
    let chi: f64 = seen.values().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    assert!(seen.len() == 40 && chi < 80.0, "chi-square {chi}: {seen:?}");
    let metrics = served.metrics();
    assert!(metrics.contains("zone_answers_total result=hit 1334"), "{metrics}");
    assert!(metrics.contains("zone_answers_total result=fallback 13"), "{metrics}");
}

/// Random fleets, every policy, every kind of name: an address that is answered belongs to the group asked for.
#[test]
fn no_fleet_and_no_policy_leads_into_another_group() {
    use fingerpost::dns::render::Transport;
    use fingerpost::dns::respond::Asked;
    use fingerpost::dns::{Empty, Responder};
    let mut random = fastrand::Rng::with_seed(20_261_122);
    let metrics = fingerpost::telemetry::Telemetry::new().unwrap();
    let counters = metrics.dns.worker();
    let mut answered = 0;
    for round in 0..400 {
        let now = Moment::from_millis(100_000);
        let mut agents = Vec::new();
        for group in 0..4u8 {
            for number in 0..random.u8(0..6) {
                let mut words = format!("addresses=10.{group}.0.{number}");
                if random.bool() {
                    words += &format!(",2001:db8:{group}::{number}");
                }
                words += [" zone=a", " zone=b_c", " zone=b-c", ""][random.usize(0..4)];
                words += ["", " draining"][random.usize(0..2)];
                let names = ["g_x", "g-x", "g_y", "h"];
                let path = format!("c/{}/n_{number}", names[usize::from(group)]);
                let lease = Lease::new(Moment::from_millis(random.u64(90_000..130_000)), Source::new("t", 0));
                agents.push((key(&path), record(words.split(' ')), lease));
            }
        }
        let fleet = fleet(agents.into_iter());
        let zones = Zones::load(&[ZoneSettings::new("k.example")], &[]).unwrap();
        let empty = [Empty::NoData, Empty::LastKnown, Empty::ServFail][round % 3];
        let responder = Responder::new(zones, Rules { empty, ..Rules::default() });
        for (group, own) in [("g_x", 0), ("g-x", 1), ("g_y", 2), ("g-y", 2), ("h", 3)] {
            for below in ["", "az-a.", "az-b-c.", "az-b_c.", "az-q.", "n_1.", "n-1.", "_kafka._tcp."] {
                for kind in [A, 28, SRV] {
                    let packet = query(&format!("{below}{group}.c.k.example"), kind, Some(1232));
                    let entropy = random.u64(..);
                    let (transport, packet) = (Transport::Udp, &packet[..]);
                    let asked =
                        Asked { packet, peer: PEER, transport, idle: None, fleet: &fleet, now, entropy };
                    let mut out = [0; 1232];
                    let len = responder.respond(asked, &counters, &mut out);
                    let message = decode(&out[..len]);
                    for record in message.answers.iter().chain(&message.additionals) {
                        answered += 1;
                        let of = match &record.data {
                            RData::A(v4) => u16::from(v4.0.octets()[1]),
                            RData::AAAA(v6) => v6.0.segments()[2],
                            RData::SRV(srv) => {
                                assert!(srv.target.to_ascii().ends_with(&format!(".{group}.c.k.example.")));
                                own
                            }
                            _ => own,
                        };
                        // `g-x` exists twice over as a twin, and is its own group wherever that group is known.
                        let twin_of_missing = group == "g-x" && fleet.group("c", "g-x").is_none() && of == 0;
                        assert!(of == own || twin_of_missing, "{below}{group}: {}", record.data);
                    }
                }
            }
        }
    }
    assert!(answered > 20_000, "{answered}");
}

/// Whatever bytes come, what goes out is one message that fits, for the question that was asked.
#[test]
fn mutated_packets_draw_well_formed_answers_or_silence() {
    use fingerpost::dns::Responder;
    use fingerpost::dns::render::Transport;
    use fingerpost::dns::respond::Asked;
    let mut random = fastrand::Rng::with_seed(7);
    let telemetry = fingerpost::telemetry::Telemetry::new().unwrap();
    let counters = telemetry.dns.worker();
    let file = crate::support::root().join("zones/kafka.example.zone");
    let zone = ZoneSettings { file: Some(file), ..ZoneSettings::new("kafka.example") };
    let responder = Responder::new(Zones::load(&[zone], &[]).unwrap(), Rules::default());
    let agents = (0..30).map(|number| {
        let lease = Lease::new(Moment::from_millis(9_000), Source::new("t", 0));
        let words = format!("addresses=10.0.0.{number},::{number} zone=z");
        (key(&format!("c/g/agent-{number}")), record(words.split(' ')), lease)
    });
    let fleet = fleet(agents);
    let names =
        ["g.c.kafka.example", "_kafka._tcp.g.c.kafka.example", "kafka.example", "bootstrap.kafka.example"];
    let (mut answered, mut truncated) = (0, 0);
    for round in 0..60_000 {
        let kind = [A, 28, SRV, 16, 2, 255][random.usize(0..6)];
        let edns = [None, Some(random.u16(..))][random.usize(0..2)];
        let mut packet = query(names[random.usize(0..4)], kind, edns);
        for _ in 0..random.usize(0..4) {
            let at = random.usize(0..packet.len());
            packet[at] = random.u8(..);
        }
        if round % 5 == 0 {
            packet.truncate(random.usize(0..packet.len()));
        }
        let (now, transport, entropy) = (Moment::from_millis(5_000), Transport::Udp, random.u64(..));
        let asked = Asked { packet: &packet, peer: PEER, transport, idle: None, fleet: &fleet, now, entropy };
        let mut out = [0xee; 1232];
        let len = responder.respond(asked, &counters, &mut out);
        if len > 0 {
            let message = decode(&out[..len]);
            assert_eq!(message.metadata.id.to_be_bytes()[..], packet[..2]);
            answered += 1;
            truncated += u32::from(message.metadata.truncation);
        }
    }
    assert!(answered > 20_000 && truncated > 100, "{answered} {truncated}");
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes()[..], packet].concat()
}

fn connect(served: &Served) -> TcpStream {
    let stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[test]
fn tcp_takes_any_number_of_queries_in_any_pieces() {
    let served = served();
    let mut stream = connect(&served);
    let mut all = Vec::new();
    for id in 0..300u16 {
        let mut packet =
            query(["vpc-1.prod.kafka.example", "vpc-3.prod.kafka.example"][usize::from(id % 2)], A, None);
        packet[..2].copy_from_slice(&id.to_be_bytes());
        all.extend(framed(&packet));
    }
    for piece in all.chunks(777) {
        stream.write_all(piece).unwrap();
    }
    for id in 0..300 {
        let answer = decode(&read_message(&mut stream).unwrap());
        assert_eq!((answer.metadata.id, answer.answers.len()), (id, if id % 2 == 0 { 3 } else { 0 }));
    }
    for byte in framed(&query("vpc-2.prod.kafka.example", A, None)) {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(decode(&read_message(&mut stream).unwrap()).answers.len(), 3);
}

#[test]
fn tcp_cuts_idle_slow_and_greedy_peers() {
    let patience = Duration::from_millis(200);
    let settings = tcp::Settings { idle: patience, message: patience, ..tcp::Settings::default() };
    let served = served_with(Settings { tcp: settings, ..Settings::default() });
    let ends = |stream: &mut TcpStream| {
        let start = Instant::now();
        let got = stream.read(&mut [0; 64]).unwrap_or(0);
        assert_eq!(got, 0, "the server ends the connection");
        start.elapsed()
    };
    let mut idle = connect(&served);
    assert!(ends(&mut idle) >= patience / 2);
    let mut slow = connect(&served);
    slow.write_all(&[0, 40, 1, 2, 3]).unwrap();
    ends(&mut slow);
    let mut greedy = connect(&served);
    greedy.write_all(&[0xff, 0xff]).unwrap();
    ends(&mut greedy);
    // One that asks on and on but takes no answer: the server does not buffer for it without end.
    let mut deaf = connect(&served);
    deaf.set_write_timeout(Some(DEADLINE)).unwrap();
    let many = framed(&query("_kafka._tcp.vpc-1.prod.kafka.example", SRV, Some(1232))).repeat(1_000);
    let mut written = 0;
    while deaf.write_all(&many).is_ok() {
        written += many.len();
        assert!(written < 200_000_000, "the server took everything");
    }
    for line in ["cut_total reason=idle 1", "cut_total reason=slow 2", "cut_total reason=oversize 1"] {
        wait_for(line, DEADLINE, || served.metrics().contains(line));
    }
}

#[test]
fn a_large_group_is_whole_over_tcp_and_truncated_over_udp() {
    let zones = Zones::load(&[ZoneSettings::new("kafka.example")], &[]).unwrap();
    let served = Served::start(zones, Rules::default());
    for (group, count) in [("g", 500u32), ("huge", 2_000)] {
        served.edit(|edit| {
            edit.set_synced();
            let agent = |number: u32| {
                let key = key(&format!("c/{group}/agent-with-a-long-name-{number:05}"));
                let words = format!("addresses=10.1.{}.{}", number / 256, number % 256);
                let lease = Lease::new(Moment::from_millis(9_000_000), Source::new("t", 0));
                Arc::new(Agent { key, record: Arc::new(record(words.split(' '))), lease })
            };
            let first = key(&format!("c/{group}/x"));
            rebuild(edit, &first, |agents, _| agents.extend((0..count).map(agent)));
        });
    }
    let packet = query("_kafka._tcp.g.c.kafka.example", SRV, Some(4096));
    let short = decode(&served.udp(&packet).unwrap());
    assert!(short.metadata.truncation && short.answers.is_empty() && short.edns.is_some());
    let whole = decode(&served.tcp(&packet));
    assert!(!whole.metadata.truncation && whole.answers.len() == 500, "{}", whole.answers.len());
    // What no message holds is answered in part: TC over TCP would leave the client with nothing.
    let part = decode(&served.tcp(&query("_kafka._tcp.huge.c.kafka.example", SRV, None)));
    assert!(
        !part.metadata.truncation && (800..2_000).contains(&part.answers.len()),
        "{}",
        part.answers.len()
    );
}

#[test]
fn an_address_that_is_taken_is_refused_with_advice() {
    let served = served();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let (_publisher, view) = fingerpost::view::channel();
    let settings = Settings { listen: vec![served.address], ..Settings::default() };
    let telemetry = fingerpost::telemetry::Telemetry::new().unwrap();
    let clock = fingerpost::clock::Clock::machine();
    let error = fingerpost::dns::Server::bind(settings, view, clock, &telemetry.dns).unwrap_err().to_string();
    assert!(error.contains("in use") && error.contains(&served.address.to_string()), "{error}");
}
