//! How DNS is spoken, as peers see it who test servers (RFC 8906), carry cookies, tell networks, or flood.

use crate::dns_fleet::{Served, query, record};
use crate::dns_scenarios::decode;
use crate::support::{Dig, dig};
use fingerpost::dns::cookies::{Cookies, Judged, Secret};
use fingerpost::dns::limiter::{Limiter, Rate};
use fingerpost::dns::{Policy, Rules, Settings, ZoneSettings, Zones};
use fingerpost::net::proxy::Networks;
use hickory_proto::op::ResponseCode;

const A: u16 = 1;
const SOA: u16 = 6;

fn served(policy: Policy, rules: Rules) -> Served {
    let zones = Zones::load(&[ZoneSettings::new("kafka.example")], &[]).unwrap();
    let served = Served::with(Settings { zones, rules, policy, ..Settings::default() });
    served.synced();
    for (agent, zone) in [("a", "us-east-1a"), ("b", "us-east-1b")] {
        let words = format!("zone={zone} addresses=10.0.0.{}", agent.as_bytes()[0] - b'a' + 1);
        served.agent(&format!("prod/vpc-1/{agent}"), record(words.split(' ')), 3_600_000);
    }
    served
}

fn cookies(strict: bool) -> Option<Cookies> {
    Some(Cookies::new(vec![Secret::parse("e5e973e5a6b2a43f48e7dc849e37bfcf").unwrap()], strict))
}

/// A query with these EDNS options, version and flags.
fn with_opt(name: &str, kind: u16, version: u8, flags: u16, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut packet = query(name, kind, Some(1232));
    let opt = packet.len() - 11;
    let [high, low] = flags.to_be_bytes();
    packet[opt + 6..opt + 9].copy_from_slice(&[version, high, low]);
    let data: Vec<u8> = options
        .iter()
        .flat_map(|(code, data)| [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat())
        .collect();
    packet[opt + 9..].copy_from_slice(&(data.len() as u16).to_be_bytes());
    packet.extend(data);
    packet
}

/// The options of an answer without answer, authority and other additional records: code and data.
fn options(answer: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut at = answer.windows(5).rposition(|five| five == [0, 0, 41, 4, 208]).expect("an OPT") + 11;
    let mut found = Vec::new();
    while at < answer.len() {
        let number = |at: usize| u16::from_be_bytes([answer[at], answer[at + 1]]);
        let len = usize::from(number(at + 2));
        found.push((number(at), answer[at + 4..at + 4 + len].to_vec()));
        at += 4 + len;
    }
    found
}

fn option(answer: &[u8], code: u16) -> Option<Vec<u8>> {
    options(answer).into_iter().find(|(have, _)| *have == code).map(|(_, data)| data)
}

/// What a check of RFC 8906 §8 sends, and what must come: code, header flags (second and third byte), answers, and
/// the OPT's version and flags.
struct Check {
    section: &'static str,
    packet: Vec<u8>,
    rcode: u16,
    header: [u8; 2],
    answers: u16,
    opt: Option<[u8; 3]>,
}

fn checks() -> Vec<Check> {
    let name = "kafka.example";
    let plain = query(name, SOA, None);
    let flags = |first: u8, second: u8| {
        let mut packet = plain.clone();
        packet[2..4].copy_from_slice(&[first, second]);
        packet
    };
    let unknown: &[(u16, &[u8])] = &[(100, b"")];
    let check = |section, packet: Vec<u8>, rcode: u16, first: u8, answers, opt| {
        let header = [first, rcode as u8 & 15];
        Check { section, packet, rcode, header, answers, opt }
    };
    let opt = |flags: u8| Some([0, flags, 0]);
    let mut opcode = plain[..12].to_vec();
    opcode[2] = 0x78;
    opcode[5] = 0;
    let defined: &[(u16, &[u8])] = &[(3, b""), (10, b"12345678"), (8, &[0, 1, 0, 0]), (9, b"")];
    vec![
        check("8.1.1 configured", flags(0, 0), 0, 0x84, 1, None),
        check("8.1.2 unknown type", query(name, 1000, None), 0, 0x85, 0, None),
        check("8.1.3.1 CD", flags(0, 0x10), 0, 0x84, 1, None),
        check("8.1.3.1 AD", flags(0, 0x20), 0, 0x84, 1, None),
        check("8.1.3.2 reserved bit", flags(0, 0x40), 0, 0x84, 1, None),
        check("8.1.3.3 RD", flags(1, 0), 0, 0x85, 1, None),
        check("8.1.4 unknown opcode", opcode, 4, 0xf8, 0, None),
        check("8.2.1 EDNS", with_opt(name, SOA, 0, 0, &[]), 0, 0x85, 1, opt(0)),
        check("8.2.2 version 1", with_opt(name, SOA, 1, 0, &[]), 16, 0x81, 0, opt(0)),
        check("8.2.3 unknown option", with_opt(name, SOA, 0, 0, unknown), 0, 0x85, 1, opt(0)),
        check("8.2.4 unknown flag", with_opt(name, SOA, 0, 0x40, &[]), 0, 0x85, 1, opt(0)),
        check("8.2.5 version 1, unknown flag", with_opt(name, SOA, 1, 0x40, &[]), 16, 0x81, 0, opt(0)),
        check("8.2.6 version 1, unknown option", with_opt(name, SOA, 1, 0, unknown), 16, 0x81, 0, opt(0)),
        check("8.2.8 DO", with_opt(name, SOA, 0, 0x8000, &[]), 0, 0x85, 1, opt(0x80)),
        check("8.2.9 version 1, DO", with_opt(name, SOA, 1, 0x8000, &[]), 16, 0x81, 0, opt(0x80)),
        check("8.2.10 several defined options", with_opt(name, SOA, 0, 0, defined), 0, 0x85, 1, opt(0)),
    ]
}

#[test]
fn every_check_of_rfc_8906_passes_over_both_transports() {
    let policy = Policy { cookies: cookies(false), server_id: Some("ns1-a".into()), ..Policy::default() };
    let served = served(policy, Rules::default());
    for Check { section, packet, rcode, header, answers, opt } in checks() {
        for answer in [served.udp(&packet).expect(section), served.tcp(&packet)] {
            let message = decode(&answer);
            assert_eq!(answer[2..4], header, "{section}: header {answer:02x?}");
            assert_eq!(u16::from_be_bytes([answer[6], answer[7]]), answers, "{section}");
            assert_eq!(u16::from(message.metadata.response_code), rcode, "{section}");
            let seen = answer.windows(5).rposition(|five| five == [0, 0, 41, 4, 208]);
            assert_eq!(seen.map(|at| [answer[at + 6], answer[at + 7], answer[at + 8]]), opt, "{section}");
            if rcode == 16 || section.starts_with("8.2.3") {
                assert_eq!(options(&answer), [], "{section}: no option comes back");
            }
        }
    }
    // 8.2.7: a truncated answer has its OPT.
    for number in 0..40 {
        let path = format!("prod/vpc-1/agent-with-a-long-name-{number}");
        served.agent(&path, record(["addresses=10.0.1.1"].into_iter()), 3_600_000);
    }
    let mut packet = query("_kafka._tcp.vpc-1.prod.kafka.example", 33, Some(512));
    let answer = decode(&served.udp(&packet).unwrap());
    assert!(answer.metadata.truncation && answer.edns.is_some());
    // RFC 9619: more than one question is malformed; so is none without a cookie.
    packet[5] = 2;
    assert_eq!(decode(&served.udp(&packet).unwrap()).metadata.response_code, ResponseCode::FormErr);
}

#[test]
fn dig_learns_who_we_are_only_where_we_say_it() {
    let shy = served(Policy::default(), Rules::default());
    let names = ["version.bind", "version.server", "hostname.bind", "id.server", "authors.bind"];
    for name in names {
        assert_eq!(dig(shy.address, &[name, "TXT", "-c", "CH"]).clean().status, "REFUSED", "{name}");
    }
    assert!(!dig(shy.address, &["kafka.example", "SOA", "+nsid"]).clean().text.contains("NSID"));
    let (server_id, server_version) = (Some("ns1-a".to_owned()), Some("fingerpost".to_owned()));
    let open = served(Policy { server_id, server_version, ..Policy::default() }, Rules::default());
    for (name, says) in names.iter().zip(["fingerpost", "fingerpost", "ns1-a", "ns1-a"]) {
        let got = dig(open.address, &[name, "TXT", "-c", "CH"]).clean();
        assert_eq!(got.data("TXT"), [format!("{says:?}")], "{name}: {}", got.text);
    }
    assert_eq!(dig(open.address, &["authors.bind", "TXT", "-c", "CH"]).clean().status, "REFUSED");
    assert_eq!(dig(open.address, &["version.bind", "A", "-c", "CH"]).clean().status, "REFUSED");
    let nsid = dig(open.address, &["kafka.example", "SOA", "+nsid"]).clean();
    assert!(nsid.text.contains("(\"ns1-a\")"), "{}", nsid.text);
}

/// The cookie that dig shows, and whether it calls it good.
fn cookie_of(got: &Dig) -> (String, bool) {
    let line = got.opt.iter().find_map(|line| line.split_once("COOKIE: ")).expect(&got.text).1;
    (line.split(' ').next().unwrap().to_owned(), line.contains("(good)"))
}

#[test]
fn dig_gets_a_cookie_and_keeps_it() {
    for (strict, first) in [(false, "NOERROR"), (true, "BADCOOKIE")] {
        let served = served(Policy { cookies: cookies(strict), ..Policy::default() }, Rules::default());
        let ask = |more: &[&str]| {
            let arguments = [&["vpc-1.prod.kafka.example", "A", "+nobadcookie"], more].concat();
            dig(served.address, &arguments).clean()
        };
        let got = ask(&["+cookie=0123456789abcdef"]);
        let (cookie, good) = cookie_of(&got);
        assert_eq!((got.status.as_str(), good, cookie.len()), (first, true, 48), "{}", got.text);
        let again = ask(&[&format!("+cookie={cookie}")]);
        assert_eq!(
            (again.status.as_str(), cookie_of(&again).0),
            ("NOERROR", cookie.clone()),
            "{}",
            again.text
        );
        let forged = ask(&["+cookie=0123456789abcdef0100000000000000ffffffffffffffff"]);
        assert_eq!(forged.status, first);
        assert_eq!(
            ask(&["+tcp", "+cookie=0123456789abcdef"]).status,
            "NOERROR",
            "TCP proves the address itself"
        );
        assert_eq!(ask(&["+nocookie"]).status, "NOERROR");
        // dig by itself asks again with the cookie that it was given.
        let both = dig(served.address, &["vpc-1.prod.kafka.example", "A", "+cookie"]).clean();
        assert_eq!(both.status, "NOERROR", "{}", both.text);
    }
}

#[test]
fn a_query_without_a_question_is_given_a_cookie() {
    let served = served(Policy { cookies: cookies(false), ..Policy::default() }, Rules::default());
    let mut packet = vec![7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12];
    packet.extend(b"\0\x0a\0\x08abcdefgh");
    let answer = served.udp(&packet).unwrap();
    assert_eq!(answer[..12], [7, 7, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(option(&answer, 10).map(|cookie| cookie.len()), Some(24));
    for odd in [&b"\0\x0a\0\x07abcdefg"[..], b"\0\x0a\0\x0fabcdefghabcdefg"] {
        let options: &[(u16, &[u8])] = &[(10, &odd[4..])];
        let answer = served.udp(&with_opt("vpc-1.prod.kafka.example", A, 0, 0, options)).unwrap();
        assert_eq!(decode(&answer).metadata.response_code, ResponseCode::FormErr, "{odd:?}");
    }
}

#[test]
fn a_client_subnet_tells_the_zone_and_its_scope_comes_back() {
    let networks = "us-east-1a@10.1.0.0/16<>us-east-1b@10.2.0.0/16,10.1.128.0/20".parse().unwrap();
    let mut rules = Rules::default();
    rules.client_zones.networks = networks;
    let on = served(Policy { subnets: true, ..Policy::default() }, rules.clone());
    let ask = |subnet: &[u8], name: &str, kind: u16| {
        let answer = on.udp(&with_opt(name, kind, 0, 0, &[(8, subnet)])).unwrap();
        let addresses: Vec<String> =
            decode(&answer).answers.iter().map(|record| record.data.to_string()).collect();
        (addresses, option(&answer, 8).map(|data| data[3]))
    };
    let group = "vpc-1.prod.kafka.example";
    assert_eq!(ask(&[0, 1, 24, 0, 10, 1, 1], group, A), (vec!["10.0.0.1".into()], Some(17)));
    assert_eq!(ask(&[0, 1, 24, 0, 10, 1, 129], group, A), (vec!["10.0.0.2".into()], Some(20)));
    assert_eq!(ask(&[0, 1, 24, 0, 10, 2, 1], group, A), (vec!["10.0.0.2".into()], Some(16)));
    assert_eq!(ask(&[0, 1, 8, 0, 10], group, A).0.len(), 2, "too wide a network to have a zone");
    assert_eq!(ask(&[0, 1, 24, 0, 192, 0, 2], group, A).0.len(), 2, "no zone");
    assert_eq!(ask(&[0, 1, 0, 0], group, A).1, Some(0), "nobody shall know");
    let (named, scope) = ask(&[0, 1, 24, 0, 10, 2, 1], "az-us-east-1a.vpc-1.prod.kafka.example", A);
    assert_eq!((named, scope), (vec!["10.0.0.1".into()], Some(0)), "the same for everybody");
    assert_eq!(ask(&[0, 1, 24, 0, 10, 1, 1], "kafka.example", SOA).1, Some(0));
    assert_eq!(ask(&[0, 1, 24, 0, 10, 1, 1], group, 28).1, Some(0), "so is no data");
    let bad = on.udp(&with_opt(group, A, 0, 0, &[(8, &[0, 1, 24, 0, 10, 1])])).unwrap();
    assert_eq!(decode(&bad).metadata.response_code, ResponseCode::FormErr);
    let seen = dig(on.address, &[group, "A", "+subnet=10.1.1.0/24"]).clean();
    assert!(seen.text.contains("CLIENT-SUBNET: 10.1.1.0/24/17"), "{}", seen.text);
    assert!(on.metrics().contains("client_zone_answers_total result=hit 4"), "{}", on.metrics());
    // Switched off it is as if it were not there.
    let off = served(Policy::default(), rules);
    let answer = off.udp(&with_opt(group, A, 0, 0, &[(8, &[0, 1, 24, 0, 10, 1, 1])])).unwrap();
    assert_eq!((decode(&answer).answers.len(), option(&answer, 8)), (2, None));
}

#[test]
fn what_may_be_asked_is_told_by_the_source_and_never_by_the_subnet() {
    let mut rules = Rules::default();
    let key = crate::dns_fleet::key("prod/vpc-1/a");
    rules.access.restrict(key.cluster, key.group, Networks::parse(["10.1.0.0/16"]).unwrap());
    let served = served(Policy { subnets: true, ..Policy::default() }, rules);
    let subnet: &[(u16, &[u8])] = &[(8, &[0, 1, 24, 0, 10, 1, 1])];
    let mut shapes = Vec::new();
    for name in ["vpc-1", "a.vpc-1", "nobody.vpc-1", "az-us-east-1a.vpc-1", "_kafka._tcp.vpc-1"] {
        for kind in [A, 28, 16, 33, SOA, 255, 12, 65_280] {
            let packet = with_opt(&format!("{name}.prod.kafka.example"), kind, 0, 0, subnet);
            let answer = served.udp(&packet).unwrap();
            let code = decode(&answer).metadata.response_code;
            assert_eq!(option(&answer, 15), Some(vec![0, 18]), "{name} {kind}: prohibited");
            shapes.push((code, answer[2..4].to_vec(), answer[6..12].to_vec(), answer.len() - packet.len()));
        }
    }
    shapes.dedup();
    assert_eq!(shapes.len(), 1, "what is there and what is not look alike: {shapes:?}");
    assert_eq!(shapes[0].0, ResponseCode::Refused);
}

#[test]
fn stale_answers_say_so() {
    let served = served(Policy::default(), Rules::default());
    let error = |name: &str| option(&served.udp(&query(name, A, Some(1232))).unwrap(), 15);
    assert_eq!(error("vpc-1.prod.kafka.example"), None);
    served.source.freeze(served.clock.now());
    assert_eq!(error("vpc-1.prod.kafka.example"), Some(vec![0, 3]));
    assert_eq!(error("vpc-9.prod.kafka.example"), Some(vec![0, 19]));
    assert_eq!(error("elsewhere.example"), Some(vec![0, 20]));
    served.source.thaw();
    assert_eq!(error("vpc-1.prod.kafka.example"), None);
}

#[test]
fn keepalive_is_told_over_tcp_to_those_who_ask() {
    let served = served(Policy::default(), Rules::default());
    let packet = with_opt("vpc-1.prod.kafka.example", A, 0, 0, &[(11, b"")]);
    assert_eq!(option(&served.tcp(&packet), 11), Some(vec![0, 100]), "10 s in tenths");
    assert_eq!(option(&served.udp(&packet).unwrap(), 11), None);
    let got =
        dig(served.address, &["vpc-1.prod.kafka.example", "A", "+tcp", "+keepalive", "+keepopen"]).clean();
    assert!(got.text.contains("TCP KEEPALIVE: 10.0"), "{}", got.text);
}

/// Every packet ends in exactly one of answers and drops.
fn outcomes(served: &Served) -> u64 {
    let metrics = served.metrics();
    let counted = ["fingerpost_dns_answers_total", "fingerpost_dns_dropped_total"];
    let lines = metrics.lines().filter(|line| counted.iter().any(|name| line.starts_with(name)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

#[test]
fn a_flood_is_held_back_and_a_good_cookie_is_not() {
    for (slip, dry_run) in [(1, false), (0, false), (1, true)] {
        let rate = Rate { per_second: 20, slip, dry_run };
        let policy = Policy {
            cookies: cookies(false),
            limiter: Some(Limiter::new(rate, 7)),
            unlimited: Networks::parse(["127.0.7.0/24"]).unwrap(),
            ..Policy::default()
        };
        let served = served(policy, Rules::default());
        let packet = query("vpc-1.prod.kafka.example", A, Some(1232));
        let ask = |source: &str| decode(&served.udp_from(source, &packet).expect("an answer"));
        for _ in 0..20 {
            assert_eq!(ask("127.0.2.1").answers.len(), 2);
        }
        // Packets of one worker are answered in their order: when the exempt one has its answer, the one before it has
        // its own or never will.
        let socket = std::net::UdpSocket::bind("127.0.2.1:0").unwrap();
        socket.send_to(&packet, served.address).unwrap();
        assert_eq!(ask("127.0.7.1").answers.len(), 2, "an exempt network");
        socket.set_nonblocking(true).unwrap();
        let mut answer = [0; 1232];
        let held = socket.recv(&mut answer).ok().map(|len| decode(&answer[..len]));
        let seen = held.map(|message| (message.metadata.truncation, message.answers.len()));
        assert_eq!(
            seen,
            match (slip, dry_run) {
                (_, true) => Some((false, 2)),
                (1, _) => Some((true, 0)),
                _ => None,
            }
        );
        assert_eq!(ask("127.9.9.9").answers.len(), 2, "another network");
        let now = fingerpost::clock::unix_seconds() as u32;
        let judged = cookies(false).unwrap().judge(b"abcdefgh", "127.0.2.1".parse().unwrap(), now);
        let Judged::First(cookie) = judged else { panic!("{judged:?}") };
        let proven = with_opt("vpc-1.prod.kafka.example", A, 0, 0, &[(10, &cookie)]);
        let answer = decode(&served.udp_from("127.0.2.1", &proven).expect("an answer"));
        assert_eq!((answer.metadata.truncation, answer.answers.len()), (false, 2), "a good cookie");
        assert_eq!(decode(&served.tcp(&packet)).answers.len(), 2, "nor is TCP limited");
        assert_eq!(outcomes(&served), 25, "{}", served.metrics());
        let counted = match (slip, dry_run) {
            (_, true) => "rate_limit_total action=dry_run 1",
            (1, _) => "rate_limit_total action=truncated 1",
            _ => "dropped_total reason=rate_limit 1",
        };
        assert!(served.metrics().contains(counted), "{counted}: {}", served.metrics());
    }
}
