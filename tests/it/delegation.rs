//! `fingerpost check --delegation`, with NSD as the parent zone's server and two running replicas. A delegation names no
//! ports, so everybody listens on port 53 of a loopback address of its own; that takes root, and without it the test
//! says so.

use crate::support::{DEADLINE, Fingerpost, Process, Ran, dig, fingerpost, fingerpost_run, tool, wait_for};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// A parent zone's server, and our replicas.
struct World {
    net: u8,
    folder: tempfile::TempDir,
    parent: Option<Process>,
    replicas: Vec<Fingerpost>,
}

impl World {
    /// `None` where port 53 is not for us.
    fn new() -> Option<Self> {
        let net = fastrand::u8(20..250);
        if UdpSocket::bind((Ipv4Addr::new(127, net, 77, 1), 53)).is_err() {
            println!("delegation: NOT ROOT: port 53 can't be had, nothing was checked");
            return None;
        }
        Some(Self { net, folder: tempfile::tempdir().unwrap(), parent: None, replicas: Vec::new() })
    }

    fn ip(&self, last: u8) -> IpAddr {
        Ipv4Addr::new(127, self.net, 77, last).into()
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Serves `test.` with these lines in it.
    fn delegate(&mut self, lines: &str) {
        self.parent = None;
        let ip = self.ip(1);
        let zone =
            format!("$ORIGIN test.\n$TTL 60\n@ SOA ns host 1 60 60 60 1\n@ NS ns\nns A {ip}\n{lines}\n");
        std::fs::write(self.file("test.zone"), zone).unwrap();
        let folder = self.folder.path().display();
        let config = format!(
            "server:\n server-count: 1\n ip-address: {ip}\n username: \"\"\n zonesdir: \"{folder}\"\n \
             pidfile: \"{folder}/pid\"\n xfrdfile: \"{folder}/xfrd\"\n zonelistfile: \"{folder}/list\"\n database: \"\"\n\
             remote-control:\n control-enable: no\nzone:\n name: test\n zonefile: test.zone\n"
        );
        std::fs::write(self.file("nsd.conf"), config).unwrap();
        let mut command = tool("nsd");
        command.args(["-d", "-c", &self.file("nsd.conf")]);
        self.parent = Some(Process::spawn("nsd", &mut command));
        wait_for("the parent to answer", DEADLINE, || {
            dig(SocketAddr::new(ip, 53), &["test", "SOA"]).status == "NOERROR"
        });
    }

    /// The configuration of a replica at 127.N.77.`last` whose zone has these name servers.
    fn config(&self, last: u8, ns: &[&str]) -> String {
        let mut text = format!(
            "[registry]\nurl = \"memory:\"\n[dns]\nlisten = [\"{}:53\"]\n[[dns.zone]]\napex = \"kafka.test\"\n",
            self.ip(last)
        );
        if let [first, ..] = ns {
            let (host, _) = first.split_once('=').unwrap_or((first, ""));
            let zone = format!("$TTL 60\n@ SOA {host} host {} 60 60 60 2\n", 7);
            let lines = ns.iter().fold(zone, |mut text, server| {
                let (host, ip) = server.split_once('=').unwrap();
                let _ = writeln!(text, "@ NS {host}\n{host} A {ip}");
                text
            });
            let file = self.file(&format!("kafka-{last}.zone"));
            std::fs::write(&file, lines).unwrap();
            let _ = writeln!(text, "file = \"{file}\"");
        }
        let topics = "{ source = \"static\", list = [{ name = \"t\", partitions = 1 }] }";
        let _ = writeln!(
            text,
            "[[cluster]]\nname = \"prod\"\ntopics = {topics}\n[admin]\nlisten = \"127.0.0.1:0\""
        );
        let file = self.file(&format!("fingerpost-{last}.toml"));
        std::fs::write(&file, text).unwrap();
        file
    }

    fn check(&self, config: &str, more: &[&str]) -> Ran {
        fingerpost_run(&[&["check", "--config", config, "--delegation"], more].concat())
    }
}

#[test]
fn a_delegation_is_seen_as_a_resolver_sees_it() {
    let Some(mut world) = World::new() else { return };
    let (one, two) = (world.ip(53).to_string(), world.ip(54).to_string());
    let servers = [format!("ns1={one}"), format!("ns2={two}")];
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    let (config, second) = (world.config(53, &servers), world.config(54, &servers));
    let parent = world.ip(1).to_string();

    world.delegate("");
    let ran = world.check(&config, &["--parent", &parent]);
    assert_eq!(ran.code(), 69, "{}", ran.stdout);
    assert!(ran.stdout.contains("it says that the name does not exist"), "{}", ran.stdout);
    assert!(ran.stdout.contains("hint: add to the parent zone:"), "{}", ran.stdout);
    assert!(ran.stdout.contains("- addresses can be bound\n    skipped"), "{}", ran.stdout);

    let right = format!("kafka NS ns1.kafka\nkafka NS ns2.kafka\nns1.kafka A {one}\nns2.kafka A {two}");
    world.delegate(&right);
    let ran = world.check(&config, &["--parent", &parent]);
    assert_eq!(ran.code(), 69, "nobody serves yet: {}", ran.stdout);
    assert!(ran.stdout.contains("× ns1.kafka.test. at "), "{}", ran.stdout);
    assert!(ran.stdout.contains("is fingerpost serving there"), "{}", ran.stdout);

    for config in [&config, &second] {
        let mut replica = fingerpost(&["serve", "--config", config]);
        replica.dns();
        world.replicas.push(replica);
    }
    // The resolver is asked for the parent, too: NSD has authority for what it is asked here.
    for how in [["--parent", &parent], ["--resolver", &parent]] {
        let ran = world.check(&config, &how);
        assert_eq!(ran.code(), 0, "{}", ran.stdout);
        for said in [
            "delegates kafka.test., all its servers alike",
            "ns1.kafka.test. at ",
            "answers for kafka.test. over UDP",
            "answers for kafka.test. over TCP",
            "√ the addresses of ns2.kafka.test. at the parent are those in kafka.test.",
            "√ the name servers at the parent are those in kafka.test.",
            "√ all servers of kafka.test. have the same serial (7)",
            "√ kafka.test. is not signed, and the parent has no DS for it",
            "√ ready to serve",
        ] {
            assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
        }
        assert!(how[0] == "--parent" || ran.stdout.contains("test. delegates"), "{}", ran.stdout);
    }

    let digest = "00".repeat(32);
    world.delegate(&format!("{right}\nkafka DS 4711 13 2 {digest}"));
    let ran = world.check(&config, &["--parent", &parent, "-o", "short"]);
    assert!(
        ran.code() == 69 && ran.stdout.contains("the parent has DS and the zone has no keys"),
        "{}",
        ran.stdout
    );

    world.delegate(&format!("kafka NS ns1.kafka\nns1.kafka A {two}"));
    let ran = world.check(&config, &["--parent", &parent, "-o", "short"]);
    assert_eq!(ran.code(), 69, "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("the parent has {two}; {two}:53 has {one}")), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("the parent has ns1.kafka.test.; ")
            && ran.stdout.contains("has ns1.kafka.test. ns2.kafka.test."),
        "{}",
        ran.stdout
    );

    // A server that is there and has another zone is no server of ours.
    world.delegate(&format!("kafka NS ns1.kafka\nns1.kafka A {parent}"));
    let ran = world.check(&config, &["--parent", &parent, "-o", "short"]);
    assert!(ran.stdout.contains("and not with authority"), "{}", ran.stdout);
    let ran = world.check(&config, &["--resolver", "127.0.0.1:1"]);
    assert!(ran.code() == 69 && ran.stdout.contains("--parent ADDRESS"), "{}", ran.stdout);
}

#[test]
fn a_parent_whose_ds_leads_to_no_key_is_told_from_one_whose_does() {
    let Some(mut world) = World::new() else { return };
    let one = world.ip(53).to_string();
    let config = world.config(53, &[&format!("ns1={one}")]);
    let keys = world.file("keys");
    std::fs::create_dir(&keys).unwrap();
    let made = fingerpost_run(&["keys", "generate", "--zone", "kafka.test", "--dir", &keys]).ok();
    let ds = made.lines().find(|line| line.contains(" DS ")).expect("a DS is printed");
    let ds = ds.split_once(" DS ").unwrap().1.trim();
    let text = std::fs::read_to_string(&config).unwrap();
    let signed =
        text.replace("apex = \"kafka.test\"", &format!("apex = \"kafka.test\"\ndnssec_keys = \"{keys}\""));
    std::fs::write(&config, signed).unwrap();
    let mut replica = fingerpost(&["serve", "--config", &config]);
    replica.dns();
    world.replicas.push(replica);
    let parent = world.ip(1).to_string();
    let servers = format!("kafka NS ns1.kafka\nns1.kafka A {one}");
    let wrong = format!("{} 13 2 {}", ds.split(' ').next().unwrap(), "ab".repeat(32));
    for (lines, code, said) in [
        (servers.clone(), 0, "‼ the parent's DS of kafka.test. leads to its keys"),
        (format!("{servers}\nkafka DS {ds}"), 0, "√ the parent's DS of kafka.test. leads to its keys"),
        (format!("{servers}\nkafka DS {wrong}"), 69, "none of them fits any key"),
    ] {
        world.delegate(&lines);
        let ran = world.check(&config, &["--parent", &parent]);
        assert_eq!(ran.code(), code, "{}", ran.stdout);
        assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
    }
}
