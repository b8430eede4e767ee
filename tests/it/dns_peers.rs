//! We, NSD and Knot serve the same zones and are asked the same questions, thousands of them, made from the zones' own
//! names: whatever is not the same must be one of the differences that docs/dns.md lists, and for a reason.

use crate::dns_fleet::{Served, read_message};
use crate::dns_scenarios::decode;
use crate::support::{DEADLINE, Process, free_address, tool, wait_for};
use fingerpost::dns::{Rules, ZoneSettings, Zones};
use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use tempfile::TempDir;

const ZONES: [&str; 2] = ["peers.example", "star.example"];
const QUESTIONS: usize = 6_000;
const SEED: u64 = 20_261_125;

/// Types that are asked for, each of them of any name.
const TYPES: [u16; 20] = [
    1, 1, 28, 2, 6, 15, 16, 5, 39, 33, // A twice, AAAA, NS, SOA, MX, TXT, CNAME, DNAME, SRV
    43, 255, 12, 35, 257, 65, 13, 48, 65_280,
    65_281, // DS, ANY, PTR, NAPTR, CAA, HTTPS, HINFO, DNSKEY, unknown ones
];

/// A running server under comparison.
struct Peer {
    name: &'static str,
    socket: UdpSocket,
    address: SocketAddr,
    _process: Option<Process>,
}

impl Peer {
    fn new(name: &'static str, address: SocketAddr, process: Option<Process>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { name, socket, address, _process: process }
    }

    fn udp(&self, packet: &[u8]) -> Vec<u8> {
        self.socket.send(packet).unwrap();
        let mut answer = vec![0; 4_096];
        loop {
            let len = self.socket.recv(&mut answer).unwrap_or_else(|error| panic!("{}: {error}", self.name));
            // A late answer to one of the questions at the start is passed over.
            if answer[..2] == packet[..2] {
                return answer[..len].to_vec();
            }
        }
    }

    fn tcp(&self, packet: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&[&(packet.len() as u16).to_be_bytes()[..], packet].concat()).unwrap();
        read_message(&mut stream).unwrap_or_else(|| panic!("{} answers over TCP", self.name))
    }

    /// What it says; a truncated answer is asked for again over TCP.
    fn ask(&self, packet: &[u8]) -> Said {
        let datagram = self.udp(packet);
        let short = decode(&datagram);
        let end = packet.len() - 11; // the question without the OPT
        assert_eq!(datagram[12..end], packet[12..end], "{} gives the question back as it was", self.name);
        match short.metadata.truncation {
            true => Said { truncated: true, ..Said::of(&decode(&self.tcp(packet))) },
            false => Said::of(&short),
        }
    }
}

/// An answer as far as it is compared: names without regard to case, sections as sets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    rcode: String,
    authoritative: bool,
    truncated: bool,
    answer: BTreeSet<String>,
    authority: BTreeSet<String>,
    /// A referral's addresses; nothing of other answers, whose additional section is up to the server.
    glue: BTreeSet<String>,
}

impl Said {
    fn of(message: &Message) -> Self {
        let lines = |records: &[Record]| records.iter().map(line).collect::<BTreeSet<String>>();
        let metadata = &message.metadata;
        let is_referral = message.answers.is_empty() && !metadata.authoritative;
        Self {
            rcode: metadata.response_code.to_string(),
            authoritative: metadata.authoritative,
            truncated: metadata.truncation,
            answer: lines(&message.answers),
            authority: lines(&message.authorities),
            glue: if is_referral { lines(&message.additionals) } else { BTreeSet::new() },
        }
    }

    fn aliases(&self) -> usize {
        self.answer.iter().filter(|line| line.contains(" type5 ")).count()
    }

    fn shown(&self) -> String {
        let Self { rcode, authoritative, truncated, .. } = self;
        let mut text = format!("{rcode} aa={authoritative} tc={truncated}\n");
        for (section, lines) in [("an", &self.answer), ("ns", &self.authority), ("ar", &self.glue)] {
            lines.iter().for_each(|line| text += &format!("      {section} {line:.150}\n"));
        }
        text
    }
}

fn line(record: &Record) -> String {
    let data = match &record.data {
        RData::Unknown { rdata, .. } => format!("{:02x?}", rdata.anything.to_ascii_lowercase()),
        data => data.to_string(),
    };
    let (name, ttl, kind) = (&record.name, record.ttl, u16::from(record.record_type()));
    format!("{name} {ttl} TYPE{kind} {data}").to_ascii_lowercase()
}

fn ours(folder: &Path) -> Served {
    let settings =
        ZONES.map(|zone| ZoneSettings { file: Some(folder.join(zone)), ..ZoneSettings::new(zone) });
    let served = Served::start(Zones::load(&settings, &[]).unwrap(), Rules::default());
    served.synced();
    served
}

fn nsd(folder: &Path) -> Peer {
    let address = free_address();
    let at = folder.display();
    let mut text = format!(
        "server:\n ip-address: {}@{}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{at}\"\n database: \"\"\n \
         pidfile: \"\"\n zonelistfile: \"{at}/nsd.zones\"\n xfrdfile: \"\"\n xfrdir: \"{at}\"\n server-count: 1\n \
         minimal-responses: yes\n refuse-any: no\n rrl-ratelimit: 0\nremote-control:\n control-enable: no\n",
        address.ip(),
        address.port()
    );
    ZONES.iter().for_each(|zone| text += &format!("zone:\n name: {zone}\n zonefile: {zone}\n"));
    let file = folder.join("nsd.conf");
    fs::write(&file, text).unwrap();
    let process = Process::spawn("nsd", tool("nsd").args(["-d", "-c"]).arg(file));
    started(Peer::new("NSD", address, Some(process)))
}

fn knot(folder: &Path) -> Peer {
    let address = free_address();
    let at = folder.display();
    let mut text = format!(
        "server:\n  rundir: {at}/run\n  listen: {}@{}\ndatabase:\n  storage: {at}/db\nlog:\n  - target: stderr\n    \
         any: warning\ntemplate:\n  - id: default\n    storage: {at}\n    journal-content: none\n    \
         semantic-checks: off\n    zonefile-sync: -1\nzone:\n",
        address.ip(),
        address.port()
    );
    ZONES.iter().for_each(|zone| text += &format!("  - domain: {zone}\n    file: {zone}\n"));
    let file = folder.join("knot.conf");
    fs::create_dir_all(folder.join("run")).unwrap();
    fs::write(&file, text).unwrap();
    let process = Process::spawn("knotd", tool("knotd").arg("-c").arg(file));
    started(Peer::new("Knot", address, Some(process)))
}

/// Waits until it answers for both zones.
fn started(peer: Peer) -> Peer {
    peer.socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    for zone in ZONES {
        let packet = packet(&labels(zone), 6);
        wait_for(&format!("{} to serve {zone}", peer.name), DEADLINE, || {
            let mut answer = [0; 4_096];
            peer.socket.send(&packet).is_ok()
                && peer.socket.recv(&mut answer).is_ok_and(|len| decode(&answer[..len]).answers.len() == 1)
        });
    }
    peer.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    peer
}

type Labels = Vec<Vec<u8>>;

fn labels(text: &str) -> Labels {
    text.split('.').map(|label| label.as_bytes().to_vec()).collect()
}

/// A query with EDNS and an id of its own.
fn packet(name: &[Vec<u8>], qtype: u16) -> Vec<u8> {
    static ID: AtomicU16 = AtomicU16::new(0);
    let [id1, id2] = ID.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut out = vec![id1, id2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name {
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.push(0);
    out.extend_from_slice(&qtype.to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    out
}

/// The names of the zones, and what stands in their data.
fn names(folder: &Path) -> Vec<Labels> {
    let mut names = BTreeSet::new();
    for zone in ZONES {
        let apex = fingerpost::dns::names::Name::parse(zone).unwrap();
        let (entries, problems) = fingerpost::dns::zone_file::read(&folder.join(zone), &apex);
        assert_eq!(problems, []);
        for entry in entries {
            let (name, _) = fingerpost::dns::names::Name::read(&entry.owner).unwrap();
            names.insert((0..name.labels()).map(|at| name.label(at).to_vec()).collect::<Labels>());
        }
    }
    names.into_iter().collect()
}

/// A name that exists, or one near it: above, below, beside, misspelt, as a wildcard, too deep, in any case.
fn vary(names: &[Labels], random: &mut fastrand::Rng) -> Labels {
    let mut name = names[random.usize(..names.len())].clone();
    for _ in 0..random.usize(0..3) {
        let new: &[u8] =
            [&b"a"[..], b"www", b"host", b"ns", b"*", b"hop", b"foo", b"w", b"_tcp", b"q-9", &[b'o'; 60]]
                [random.usize(0..11)];
        match random.usize(0..8) {
            0..=3 => name.insert(0, new.to_vec()),
            4 if name.len() > 2 => drop(name.remove(0)),
            5 => name[0] = new.to_vec(),
            6 if name.len() > 2 => name[0].push(b'x'),
            _ => {}
        }
    }
    name.iter_mut().flatten().for_each(|byte| {
        if byte.is_ascii_alphabetic() && random.u8(0..4) == 0 {
            *byte ^= 0x20;
        }
    });
    name
}

fn is_name(name: &Labels) -> bool {
    name.iter().all(|label| (1..=63).contains(&label.len()))
        && name.iter().map(|label| label.len() + 1).sum::<usize>() < 255
}

/// Differences that docs/dns.md lists ("Beside NSD and Knot"), each with the test that tells it.
const CLASSES: [(&str, Differs); 3] = [
    ("ANY is answered with one HINFO", |qtype, ours, nsd, knot| {
        let is_any = qtype == 255 && ours.answer.iter().any(|line| line.contains("type13 rfc8482"));
        is_any && [nsd, knot].iter().all(|other| other.rcode == ours.rcode && !other.answer.is_empty())
    }),
    ("chains of more than 5 aliases", |_, ours, nsd, knot| {
        let knots = knot.aliases() == 5 && ours.aliases() > 5 && knot.answer.is_subset(&ours.answer);
        let is_cut = ours.aliases() == 8 && nsd.aliases() > 8 && ours.answer.is_subset(&nsd.answer);
        knots && (ours == nsd || is_cut)
    }),
    ("Knot does not follow aliases into another zone", |_, ours, nsd, knot| {
        let all: String = ours.answer.iter().chain(&ours.authority).map(String::as_str).collect();
        let is_across = ZONES.iter().all(|zone| all.contains(zone));
        ours == nsd && is_across && knot.rcode == "No Error" && knot.answer.is_subset(&ours.answer)
    }),
];

type Differs = fn(u16, &Said, &Said, &Said) -> bool;

#[test]
fn nsd_and_knot_answer_alike() {
    let folder = TempDir::new().unwrap();
    let source = crate::support::root().join("tests/it/dns_peers");
    for zone in ZONES {
        fs::copy(source.join(format!("{zone}.zone")), folder.path().join(zone)).unwrap();
    }
    let served = ours(folder.path());
    let (own, nsd, knot) =
        (Peer::new("fingerpost", served.address, None), nsd(folder.path()), knot(folder.path()));
    let names = names(folder.path());
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut asked, mut same, mut unlike) = (BTreeSet::new(), 0, Vec::new());
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    while asked.len() < QUESTIONS {
        let name = vary(&names, &mut random);
        let qtype = TYPES[random.usize(..TYPES.len())];
        if !is_name(&name) || !asked.insert((name.clone(), qtype)) {
            continue;
        }
        let packet = packet(&name, qtype);
        let [own, nsd, knot] = [&own, &nsd, &knot].map(|peer| peer.ask(&packet));
        if own == nsd && own == knot {
            same += 1;
            continue;
        }
        match CLASSES.iter().find(|(_, differs)| differs(qtype, &own, &nsd, &knot)) {
            Some((class, _)) => *classes.entry(class).or_default() += 1,
            None => {
                let text: Vec<String> =
                    name.iter().map(|label| String::from_utf8_lossy(label).into_owned()).collect();
                unlike.push(format!(
                    "{} TYPE{qtype}\n  fingerpost {}  NSD {}  Knot {}",
                    text.join("."),
                    own.shown(),
                    nsd.shown(),
                    knot.shown()
                ));
            }
        }
    }
    eprintln!("{same} of {QUESTIONS} alike; listed differences: {classes:#?}");
    for (class, _) in CLASSES {
        assert!(classes.contains_key(class), "the listed difference does not show any more: {class}");
    }
    assert!(unlike.is_empty(), "{} differences that are not listed:\n{}", unlike.len(), unlike.join("\n"));
}
