//! DNSSEC as validators see it: every kind of answer, signed by the real server on real sockets, must be genuine to
//! `delv`, to unbound and to BIND; what was not signed for this moment must not be.

mod validators;

use crate::dns_fleet::{Served, record};
use crate::support::{DEADLINE, Dig, dig, free_port, wait_for};
use fingerpost::clock::Clock;
use fingerpost::dns::dnssec::files::save;
use fingerpost::dns::dnssec::key::{KSK, ZSK};
use fingerpost::dns::dnssec::times::Times;
use fingerpost::dns::dnssec::{Algorithm, Key, SignedZone, Signer};
use fingerpost::dns::names::Name;
use fingerpost::dns::{Rules, Settings, ZoneSettings, Zones};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use validators::{Anchor, Hands, anchor_of, delv, named, unbound};

const ZONE: &str = "$TTL 300
@ SOA ns1 hostmaster 7 3600 600 86400 2
@ NS ns1
ns1 A 127.0.0.1
www A 192.0.2.80
www A 192.0.2.81
WwW.MiXed CNAME www
out CNAME www.elsewhere.example.
mail MX 10 www
txt TXT \"one\" \"two\"
a.ent A 192.0.2.1
*.wild A 192.0.2.7
*.wild TXT \"w\"
*.alias CNAME www
insecure NS ns.insecure
ns.insecure A 127.0.0.9
moved DNAME ent
sub NS ns.sub
ns.sub A 127.0.0.2
";

/// A signed zone below, on the same server: its DS stands in the upper one.
const BELOW: &str = "$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 2
@ NS ns
ns A 127.0.0.2
host A 192.0.2.90
";

const DAY: u64 = 86_400;

/// A signed zone `k.example` with a fleet, and all that a validator needs.
struct Bed {
    served: Served,
    anchor: Anchor,
    _folder: TempDir,
}

/// What a bed is made of.
struct Plan {
    listen: SocketAddr,
    keys: Vec<(Algorithm, u16, Times)>,
    validity: u64,
}

impl Plan {
    fn csk(algorithm: Algorithm) -> Self {
        let keys = vec![(algorithm, KSK, Times::default())];
        Self { listen: "127.0.0.1:0".parse().unwrap(), keys, validity: 7 * DAY }
    }
}

/// Makes a key and its files.
fn make(zone: &SignedZone, algorithm: Algorithm, flags: u16, times: Times) -> Key {
    std::fs::create_dir_all(&zone.folder).unwrap();
    let apex = Name::parse(&zone.apex).unwrap();
    let (key, secret) = Key::generate(apex, algorithm, flags, times).unwrap();
    save(&zone.folder, &key, &secret, 3_600).unwrap();
    key
}

impl Bed {
    fn new(plan: Plan, clock: Clock) -> Self {
        let folder = TempDir::new().unwrap();
        let signed = |apex: &str| SignedZone {
            apex: apex.to_owned(),
            folder: folder.path().join(apex),
            validity: Duration::from_secs(plan.validity),
            dnskey_ttl: 3_600,
        };
        let (upper, lower) = (signed("k.example"), signed("sub.k.example"));
        for (algorithm, flags, times) in plan.keys {
            make(&upper, algorithm, flags, times);
        }
        let ds = make(&lower, Algorithm::Ed25519, KSK, Times::default()).ds();
        let digest: String = ds[4..].iter().map(|byte| format!("{byte:02x}")).collect();
        let ds = format!("sub DS {} 15 2 {digest}\n", u16::from_be_bytes([ds[0], ds[1]]));
        let zones = [("k.example", format!("{ZONE}{ds}")), ("sub.k.example", BELOW.to_owned())];
        let zones = zones.map(|(apex, text)| {
            let file = folder.path().join(format!("{apex}.zone"));
            std::fs::write(&file, text).unwrap();
            ZoneSettings { file: Some(file), ..ZoneSettings::new(apex) }
        });
        let anchor = anchor_of(&upper.folder, "k.example");
        let signer =
            Signer::open(&[upper, lower], clock.clone()).unwrap_or_else(|problems| panic!("{problems:?}"));
        let settings = Settings {
            listen: vec![plan.listen],
            zones: Zones::load(&zones, &[]).unwrap(),
            rules: Rules::default(),
            signer: Some(Arc::new(signer)),
            ..Settings::default()
        };
        let served = Served::at(settings, clock);
        served.synced();
        for at in 1..=20 {
            let words = format!("zone=az-{} addresses=10.0.0.{at}", at % 2);
            served.agent(&format!("prod/vpc-1/a{at}"), record(words.split(' ')), 30 * DAY * 1_000);
        }
        served.group("prod", "empty");
        Self { served, anchor, _folder: folder }
    }

    fn ask(&self, arguments: &[&str]) -> Dig {
        dig(self.served.address, &[arguments, &["+dnssec"]].concat()).clean()
    }

    /// A counter of the server.
    fn count(&self, by: &str) -> u64 {
        let line = format!("fingerpost_dns_signatures_total by={by} ");
        let metrics = self.served.metrics();
        let found = metrics.lines().find_map(|have| have.strip_prefix(&line));
        found.unwrap_or_else(|| panic!("{line} is missing in:\n{metrics}")).parse().unwrap()
    }
}

/// A query with an OPT that has these flags: 0x80 is DO, 0x40 is CO.
fn secure_query(name: &str, rtype: u16, flags: u8) -> Vec<u8> {
    let mut query = crate::dns_fleet::query(name, rtype, Some(1232));
    let at = query.len() - 4;
    query[at] = flags;
    query
}

/// Every kind of answer: name, type, the rcode that a resolver gives, and how many records of the type.
const QUESTIONS: &[(&str, &str, &str, usize)] = &[
    ("k.example", "SOA", "NOERROR", 1),
    ("k.example", "NS", "NOERROR", 1),
    ("k.example", "DNSKEY", "NOERROR", 1),
    ("k.example", "CDS", "NOERROR", 1),
    ("k.example", "CDNSKEY", "NOERROR", 1),
    ("k.example", "A", "NOERROR", 0),
    ("www.k.example", "A", "NOERROR", 2),
    ("www.k.example", "AAAA", "NOERROR", 0),
    ("www.mixed.k.example", "A", "NOERROR", 2),
    ("mail.k.example", "MX", "NOERROR", 1),
    ("txt.k.example", "TXT", "NOERROR", 1),
    ("ent.k.example", "A", "NOERROR", 0),
    ("x.wild.k.example", "A", "NOERROR", 1),
    ("x.y.wild.k.example", "TXT", "NOERROR", 1),
    ("x.wild.k.example", "AAAA", "NOERROR", 0),
    ("x.alias.k.example", "A", "NOERROR", 2),
    ("vpc-1.prod.k.example", "A", "NOERROR", 8),
    ("vpc-1.prod.k.example", "AAAA", "NOERROR", 0),
    ("vpc-1.prod.k.example", "TXT", "NOERROR", 3),
    ("az-az-1.vpc-1.prod.k.example", "A", "NOERROR", 8),
    ("az-nowhere.vpc-1.prod.k.example", "A", "NOERROR", 8),
    ("a7.vpc-1.prod.k.example", "A", "NOERROR", 1),
    ("a7.vpc-1.prod.k.example", "TXT", "NOERROR", 1),
    ("_kafka._tcp.vpc-1.prod.k.example", "SRV", "NOERROR", 20),
    ("_tcp.vpc-1.prod.k.example", "A", "NOERROR", 0),
    ("prod.k.example", "A", "NOERROR", 0),
    ("empty.prod.k.example", "A", "NOERROR", 0),
    ("insecure.k.example", "DS", "NOERROR", 0),
    ("moved.k.example", "DNAME", "NOERROR", 1),
    ("a.moved.k.example", "A", "NOERROR", 1),
    ("a.moved.k.example", "AAAA", "NOERROR", 0),
    ("sub.k.example", "DS", "NOERROR", 1),
    ("sub.k.example", "SOA", "NOERROR", 1),
    ("host.sub.k.example", "A", "NOERROR", 1),
    ("host.sub.k.example", "AAAA", "NOERROR", 0),
];

/// Names that do not exist. Validators that know RFC 9824 say NXDOMAIN, the others NODATA; both are genuine.
const MISSING: &[&str] = &[
    "nothing.k.example",
    "a.b.c.nothing.k.example",
    "nothing.www.k.example",
    "nothing.ent.k.example",
    "none.prod.k.example",
    "nobody.vpc-1.prod.k.example",
    "*.nothing.k.example",
    "nothing.moved.k.example",
    "nothing.sub.k.example",
];

/// Whether delv found so many records, or their absence, genuine. Behind an alias it judges what there is first, and
/// then says that there is no more.
fn is_genuine(text: &str, count: usize) -> bool {
    let found = text.contains("; fully validated");
    match count {
        0 => {
            text.contains("; negative response, fully validated") || found && text.contains("ncache nxrrset")
        }
        _ => found,
    }
}

#[test]
fn delv_finds_every_kind_of_answer_genuine() {
    for algorithm in Algorithm::ALL {
        let bed = Bed::new(Plan::csk(algorithm), Clock::manual(1_000_000));
        let ask = |name: &str, rtype: &str| delv(bed.served.address, &bed.anchor, &[name, rtype]);
        for (name, rtype, _, count) in QUESTIONS {
            let said = ask(name, rtype);
            let text = format!("{}{}", said.stdout, said.stderr);
            assert!(is_genuine(&text, *count), "{algorithm:?} {name} {rtype}: {text}");
        }
        for name in MISSING {
            let said = ask(name, "A");
            let text = format!("{}{}", said.stdout, said.stderr);
            assert!(is_genuine(&text, 0), "{name}: {text}");
        }
        let said = ask("insecure.k.example", "NS");
        assert!(
            !said.stdout.contains("; fully validated"),
            "a delegation is not ours to sign: {}",
            said.stdout
        );
    }
}

/// Asks a resolver everything; it must find all of it genuine.
fn all_is_secure(resolver: &validators::Resolver) {
    for (name, rtype, status, count) in QUESTIONS {
        let said = resolver.secure(name, rtype);
        let found = said.data(rtype).len();
        let is_right = found == *count || *rtype == "DNSKEY" && found > 0;
        assert!(said.status == *status && is_right, "{found} records, not {count}: {}", said.text);
    }
    for name in MISSING {
        let said = resolver.secure(name, "A");
        assert!(said.answer.iter().all(|rr| rr.kind != "A"), "{}", said.text);
    }
    let insecure = resolver.ask("insecure.k.example", "A");
    assert!(!insecure.flag("ad"), "nobody vouches for what is delegated: {}", insecure.text);
}

#[test]
fn unbound_finds_every_kind_of_answer_genuine() {
    let bed = Bed::new(Plan::csk(Algorithm::EcdsaP256Sha256), Clock::manual(1_000_000));
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let stubs = [("k.example", bed.served.address)];
    all_is_secure(&unbound(address, &bed.anchor, &stubs, &Hands::new()));
}

#[test]
fn bind_finds_every_kind_of_answer_genuine() {
    let port = free_port();
    let mut plan = Plan::csk(Algorithm::Ed25519);
    plan.listen = SocketAddr::from(([127, 0, 0, 2], port));
    let bed = Bed::new(plan, Clock::manual(1_000_000));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    all_is_secure(&named(address, &bed.anchor, &[("k.example", bed.served.address)]));
}

#[test]
fn what_has_not_changed_is_signed_once_and_lease_and_order_change_nothing() {
    let bed = Bed::new(Plan::csk(Algorithm::EcdsaP256Sha256), Clock::manual(1_000_000));
    let ask = |name: &str, rtype: &str| {
        let rtype: hickory_proto::rr::RecordType = rtype.parse().unwrap();
        bed.served.udp(&secure_query(name, rtype.into(), 0x80)).unwrap()
    };
    let all = || {
        for (name, rtype, ..) in QUESTIONS {
            (0..20).for_each(|_| drop(ask(name, rtype)));
        }
    };
    all();
    let signed = bed.count("query");
    for at in 1..=20 {
        bed.served.renew(&format!("prod/vpc-1/a{at}"), 3_000 + at * 100);
    }
    all();
    // Of the three samples names, those that were not drawn before may still be drawn; there are few.
    let again = bed.count("query") - signed;
    assert!(again <= 24, "{again} signatures after {signed}");
    for _ in 0..100 {
        ask("vpc-1.prod.k.example", "A");
    }
    let signed = bed.count("query");
    all();
    let short = bed.ask(&["vpc-1.prod.k.example", "A"]);
    let rrsig = short.data("RRSIG")[0].to_owned();
    assert!(short.answer.iter().all(|rr| rr.ttl == 3) && rrsig.starts_with("A 13 4 5 "), "{}", short.text);
    assert_eq!(bed.count("query"), signed, "{}", bed.served.metrics());
}

#[test]
fn codes_flags_and_sizes_are_as_the_rfcs_say() {
    let bed = Bed::new(Plan::csk(Algorithm::EcdsaP256Sha256), Clock::manual(1_000_000));
    let plain = dig(bed.served.address, &["nothing.k.example", "A"]).clean();
    assert_eq!((plain.status.as_str(), plain.authority.len()), ("NXDOMAIN", 1), "without DO nothing is new");
    let compact = bed.ask(&["nothing.k.example", "A"]);
    let nsec: Vec<_> = compact.authority.iter().filter(|rr| rr.kind == "NSEC").collect();
    assert_eq!((compact.status.as_str(), nsec.len(), nsec[0].ttl), ("NOERROR", 1, 2), "{}", compact.text);
    assert_eq!(nsec[0].data, "\\000.nothing.k.example. RRSIG NSEC TYPE128");
    let restored = bed.served.udp(&secure_query("nothing.k.example", 1, 0xc0)).unwrap();
    let original = bed.served.udp(&secure_query("nothing.k.example", 1, 0x80)).unwrap();
    assert_eq!((restored[3] & 15, original[3] & 15), (3, 0), "NXDOMAIN for those who know it (CO)");
    assert_eq!(restored[4..], original[4..], "and no other difference");
    assert_eq!(bed.ask(&["k.example", "TYPE128"]).status, "FORMERR");
    let explicit = bed.ask(&["www.k.example", "NSEC"]);
    assert_eq!(explicit.data("NSEC"), ["\\000.www.k.example. A RRSIG NSEC"], "{}", explicit.text);
    assert_eq!(bed.ask(&["www.k.example", "RRSIG"]).data("RRSIG").len(), 1);
    let maps = [
        ("k.example", "A", "NS SOA RRSIG NSEC DNSKEY CDS CDNSKEY"),
        ("ent.k.example", "A", "RRSIG NSEC"),
        ("insecure.k.example", "DS", "NS RRSIG NSEC"),
        ("x.wild.k.example", "MX", "A TXT RRSIG NSEC"),
        ("vpc-1.prod.k.example", "AAAA", "A TXT RRSIG NSEC"),
        ("_kafka._tcp.vpc-1.prod.k.example", "A", "RRSIG NSEC SRV"),
        ("_tcp.vpc-1.prod.k.example", "A", "RRSIG NSEC"),
        ("empty.prod.k.example", "A", "TXT RRSIG NSEC"),
    ];
    for (name, rtype, types) in maps {
        let said = bed.ask(&[name, rtype]);
        let nsec: Vec<_> = said.authority.iter().filter(|rr| rr.kind == "NSEC").collect();
        let wanted = if types.contains("SRV") { "SRV RRSIG NSEC" } else { types };
        assert_eq!(nsec[0].data, format!("\\000.{name}. {wanted}"), "{}", said.text);
    }
    let referral = bed.ask(&["x.insecure.k.example", "A"]);
    let kinds: Vec<&str> = referral.authority.iter().map(|rr| rr.kind.as_str()).collect();
    assert_eq!(
        (kinds, referral.additional.len(), referral.flag("aa")),
        (vec!["NS", "NSEC", "RRSIG"], 1, false)
    );
    for (name, rtype, ..) in QUESTIONS {
        for size in [512, 600, 700, 800, 1_000, 1_232] {
            let said = bed.ask(&[name, rtype, &format!("+bufsize={size}"), "+ignore", "+notcp"]);
            assert!(said.size <= size && !said.flag("ad"), "{}", said.text);
            let signed = said.answer.iter().chain(&said.authority).any(|rr| rr.kind == "RRSIG");
            assert!(
                said.flag("tc") != signed,
                "{name} {rtype} {size}: all of it signed, or TC: {}",
                said.text
            );
        }
        let whole = bed.ask(&[name, rtype, "+tcp"]);
        assert!(
            !whole.flag("tc") && whole.opt.iter().any(|line| line.contains("flags: do")),
            "{}",
            whole.text
        );
    }
}

#[test]
fn names_without_number_cannot_make_the_server_sign_without_bound() {
    let bed = Bed::new(Plan::csk(Algorithm::EcdsaP256Sha256), Clock::manual(1_000_000));
    let query = |at: u32| secure_query(&format!("n{at}.k.example"), 1, 0x80);
    // The clock stands: a bucket is emptied once and stays empty. Two signatures of one answer, SOA and NSEC, of which
    // the first is of a name that exists.
    let most = 2 * fingerpost::limits::dnssec::MADE_UP_RATE as u32;
    let asked = most + 50;
    let truncated = (0..asked).filter(|at| bed.served.udp(&query(*at)).unwrap()[2] & 2 != 0).count();
    assert_eq!(truncated, 50);
    assert!(u64::from(most) <= bed.count("query") && bed.count("query") <= u64::from(most) + 2);
    assert_eq!(bed.served.udp(&query(0)).unwrap()[2] & 2, 0, "what was signed is still there");
    assert_eq!(bed.served.tcp(&query(asked))[3] & 15, 0, "who comes back over TCP has an answer");
    bed.served.clock.advance(Duration::from_secs(1));
    assert_eq!(bed.served.udp(&query(asked + 1)).unwrap()[2] & 2, 0);
    assert!(bed.served.metrics().contains("signatures_missed_total reason=busy_udp 50"));
}

/// What an RRSIG says: type, expiration as seconds since 1970, key tag.
fn rrsig(said: &Dig) -> (String, u64, u16) {
    let words: Vec<&str> = said.data("RRSIG")[0].split(' ').collect();
    let expires = fingerpost::dns::dnssec::times::of_stamp(words[4]).unwrap();
    (words[0].to_owned(), expires, words[6].parse().unwrap())
}

#[test]
fn signatures_are_renewed_before_they_end_and_never_by_a_query() {
    let plan = Plan { validity: DAY, ..Plan::csk(Algorithm::EcdsaP256Sha256) };
    // The server's clock stands a day and a bit in the past: what it signs there has ended for everybody else.
    let start = fingerpost::clock::unix_seconds() - DAY * 11 / 10;
    let bed = Bed::new(plan, Clock::manual_since(1_000_000, start));
    let judged = || {
        let said = delv(bed.served.address, &bed.anchor, &["www.k.example", "A"]);
        format!("{}{}", said.stdout, said.stderr)
    };
    let said = judged();
    assert!(!said.contains("fully validated") && said.contains("expired"), "{said}");
    let (_, first, _) = rrsig(&bed.ask(&["www.k.example", "A"]));
    assert!(first > start + DAY * 7 / 8 - 2 && first <= start + DAY, "{first} of {start}");
    let (by_query, in_advance) = (bed.count("query"), bed.count("advance"));
    // Just before a quarter of the validity is left of the first one nothing happens, whatever is asked.
    bed.served.clock.advance(Duration::from_secs(DAY * 5 / 8 - 60));
    assert_eq!(rrsig(&bed.ask(&["www.k.example", "A"])).1, first);
    assert_eq!((bed.count("query"), bed.count("advance")), (by_query, in_advance));
    bed.served.clock.advance(Duration::from_secs(DAY / 8 + 120));
    wait_for("the signatures to be renewed", DEADLINE, || bed.count("advance") >= in_advance + by_query);
    let (_, second, _) = rrsig(&bed.ask(&["www.k.example", "A"]));
    assert!(second > first + DAY / 2, "{second} after {first}");
    assert_eq!(bed.count("query"), by_query);
    let said = judged();
    assert!(said.contains("; fully validated"), "{said}");
}

#[test]
fn a_zone_signing_key_is_rolled_while_unbound_keeps_what_it_has() {
    let clock = Clock::manual(1_000_000);
    let start = clock.unix();
    let times = |publish: u64, activate: u64, rest: Option<(u64, u64)>| Times {
        created: Some(start - 1),
        publish: Some(start - 1 + publish),
        activate: Some(start - 1 + activate),
        inactive: rest.map(|(inactive, _)| start + inactive),
        delete: rest.map(|(_, delete)| start + delete),
        ..Times::default()
    };
    let p256 = Algorithm::EcdsaP256Sha256;
    let keys = vec![
        (p256, KSK, times(0, 0, None)),
        (p256, ZSK, times(0, 0, Some((2 * DAY, 4 * DAY)))),
        (p256, ZSK, times(DAY, 2 * DAY, None)),
    ];
    let bed = Bed::new(Plan { keys, ..Plan::csk(p256) }, clock.clone());
    let hands = Hands::new();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let unbound = unbound(address, &bed.anchor, &[("k.example", bed.served.address)], &hands);
    let mut at = 0;
    let mut go_to = |seconds: u64| {
        clock.advance(Duration::from_secs(seconds - at));
        hands.turn(seconds);
        at = seconds;
    };
    let keys = || bed.ask(&["k.example", "DNSKEY"]).data("DNSKEY").len();
    let tag = |name: &str| rrsig(&unbound.secure(name, "A")).2;
    let old = tag("www.k.example");
    assert_eq!(keys(), 2);
    go_to(DAY + 10);
    wait_for("the successor to be published", DEADLINE, || keys() == 3);
    assert_eq!(tag("www.k.example"), old);
    // A minute before the successor signs the resolver has both keys, for an hour.
    go_to(2 * DAY - 60);
    unbound.secure("k.example", "DNSKEY");
    let by_query = bed.count("query");
    go_to(2 * DAY + 60);
    wait_for("the successor to sign", DEADLINE, || rrsig(&bed.ask(&["www.k.example", "A"])).2 != old);
    assert_eq!(bed.count("query"), by_query, "what was asked for was signed before the successor took over");
    let new = tag("a.ent.k.example");
    assert_ne!(new, old);
    go_to(4 * DAY + 60);
    wait_for("the old key to be gone", DEADLINE, || keys() == 2);
    assert_eq!(tag("www.k.example"), new);
    all_is_secure(&unbound);
}
