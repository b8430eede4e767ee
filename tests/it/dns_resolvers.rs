//! Real recursive resolvers in front of real replicas: what clients get who ask Unbound or BIND, as nearly all do.

use crate::support::{
    DEADLINE, Dig, Fingerpost, Process, Redis, dig, fingerpost, free_address, http_get, redis, tool, wait_for,
};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Seconds; the SOA itself may be kept for an hour.
const MINIMUM: u64 = 5;

/// Two replicas on one Redis, at two addresses and the same port (BIND asks all servers at one), and a folder for all.
struct Delegated {
    folder: TempDir,
    redis: Redis,
    replicas: Vec<Fingerpost>,
    port: u16,
}

fn delegated() -> Delegated {
    let folder = TempDir::new().unwrap();
    let mut zone = format!(
        "$TTL 300\n@ 3600 SOA ns1 hostmaster 1 3600 600 86400 {MINIMUM}\n@ NS ns1\n@ NS ns2\nns1 A 127.0.0.1\n\
         ns2 A 127.0.0.2\nbootstrap 5 CNAME vpc-1.prod\n"
    );
    (1..=100).for_each(|number| zone += &format!("many A 198.51.100.{number}\n"));
    fs::write(folder.path().join("zone"), zone).unwrap();
    let redis = redis();
    let first = replica(&folder, &redis, (Ipv4Addr::LOCALHOST, 0).into());
    let (port, mut replicas) = (first.1.port(), vec![first.0]);
    replicas.push(replica(&folder, &redis, (Ipv4Addr::new(127, 0, 0, 2), port).into()).0);
    let mut delegated = Delegated { folder, redis, replicas, port };
    for group in 1..=2 {
        (1..=3).for_each(|number| delegated.heartbeat(&format!("vpc-{group}"), number));
    }
    delegated.wait_for_agent("vpc-2", 3);
    delegated
}

fn replica(folder: &TempDir, redis: &Redis, listen: SocketAddr) -> (Fingerpost, SocketAddr) {
    let file = folder.path().join(format!("{}.toml", listen.ip()));
    let text = format!(
        "[registry]\nurl = \"{}\"\n[dns]\nlisten = [\"{listen}\"]\n[[dns.zone]]\napex = \"kafka.example\"\n\
         file = \"zone\"\n[[cluster]]\nname = \"prod\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        redis.url()
    );
    fs::write(&file, text).unwrap();
    let mut server = fingerpost(&["serve", "--config", &file.to_string_lossy()]);
    let address = server.dns();
    (server, address)
}

impl Delegated {
    fn heartbeat(&self, group: &str, number: u8) {
        let key = format!("fingerpost:agent:{{prod}}:{group}:agent-{number}");
        let third = group.trim_start_matches("vpc-");
        let value = format!(r#"{{"v":1,"zone":"a","addresses":["10.0.{third}.{number}"]}}"#);
        self.redis.cli(&["SET", &key, &value, "PX", "600000"]);
    }

    /// Waits until every replica knows an agent.
    fn wait_for_agent(&mut self, group: &str, number: u8) {
        let name = format!("agent-{number}.{group}.prod.kafka.example");
        for replica in &mut self.replicas {
            let server = replica.dns();
            wait_for(&format!("{name} at {server}"), DEADLINE, || {
                dig(server, &[&name, "A"]).answer.len() == 1
            });
        }
    }

    /// The sum of all replicas' answers whose labels contain these.
    fn answers(&mut self, labels: &[&str]) -> u64 {
        let mut sum = 0;
        for replica in &mut self.replicas {
            let metrics = http_get(replica.admin(), "/metrics").1;
            let lines = metrics.lines().filter(|line| line.starts_with("fingerpost_dns_answers_total{"));
            let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
            sum += lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64;
        }
        sum
    }
}

/// A resolver that was told where the zone's servers are.
struct Resolver {
    name: &'static str,
    address: SocketAddr,
    _process: Process,
}

impl Resolver {
    fn ask(&self, name: &str, kind: &str) -> Dig {
        dig(self.address, &[&format!("{name}.kafka.example"), kind, "+recurse", "+tcp"])
    }
}

fn unbound(delegated: &Delegated) -> Resolver {
    let (folder, port, address) = (delegated.folder.path(), delegated.port, free_address());
    let at = folder.display();
    let text = format!(
        "server:\n interface: {}@{}\n do-ip6: no\n do-not-query-localhost: no\n chroot: \"\"\n username: \"\"\n \
         directory: \"{at}\"\n pidfile: \"\"\n use-syslog: no\n module-config: \"iterator\"\n num-threads: 1\n \
         qname-minimisation: yes\n use-caps-for-id: yes\nremote-control:\n control-enable: no\nstub-zone:\n \
         name: kafka.example\n stub-addr: 127.0.0.1@{port}\n stub-addr: 127.0.0.2@{port}\n",
        address.ip(),
        address.port(),
    );
    let file = folder.join("unbound.conf");
    fs::write(&file, text).unwrap();
    started("unbound", address, Process::spawn("unbound", tool("unbound").args(["-d", "-p", "-c"]).arg(file)))
}

fn bind(delegated: &Delegated) -> Resolver {
    let (folder, port, address) = (delegated.folder.path(), delegated.port, free_address());
    let at = folder.display();
    // `port` is the one that other servers are asked at.
    let text = format!(
        "options {{\n directory \"{at}\";\n port {port};\n listen-on port {} {{ {}; }};\n listen-on-v6 {{ none; }};\n \
         pid-file none;\n session-keyfile none;\n recursion yes;\n dnssec-validation no;\n \
         qname-minimization strict;\n}};\ncontrols {{ }};\nzone \"kafka.example\" {{\n type static-stub;\n \
         server-addresses {{ 127.0.0.1; 127.0.0.2; }};\n}};\n",
        address.port(),
        address.ip(),
    );
    let file = folder.join("named.conf");
    fs::write(&file, text).unwrap();
    started(
        "named",
        address,
        Process::spawn("named", tool("named").args(["-g", "-4", "-n", "1", "-c"]).arg(file)),
    )
}

fn started(name: &'static str, address: SocketAddr, process: Process) -> Resolver {
    let resolver = Resolver { name, address, _process: process };
    wait_for(&format!("{name} to resolve"), DEADLINE, || resolver.ask("ns1", "A").answer.len() == 1);
    resolver
}

#[test]
fn unbound_resolves_with_minimised_names_and_random_case() {
    let mut delegated = delegated();
    let resolver = unbound(&delegated);
    resolves(&mut delegated, &resolver);
}

#[test]
fn bind_resolves_with_minimised_names() {
    let mut delegated = delegated();
    let resolver = bind(&delegated);
    resolves(&mut delegated, &resolver);
}

fn resolves(delegated: &mut Delegated, resolver: &Resolver) {
    let who = resolver.name;
    let bootstrap = resolver.ask("bootstrap", "A");
    let mut addresses = bootstrap.data("A");
    addresses.sort_unstable();
    assert_eq!(addresses, ["10.0.1.1", "10.0.1.2", "10.0.1.3"], "{who}: {}", bootstrap.text);
    assert_eq!(bootstrap.data("CNAME"), ["vpc-1.prod.kafka.example."], "{who}: {}", bootstrap.text);
    assert_eq!(resolver.ask("vpc-1.prod", "AAAA").status, "NOERROR", "{who}: no IPv6 is no data");
    let agent = resolver.ask("agent-1.vpc-2.prod", "A");
    assert_eq!(agent.data("A"), ["10.0.2.1"], "{who}: {}", agent.text);
    // One label more at a time (RFC 9156): the cluster's own name, which nobody asked for, was asked for.
    assert!(delegated.answers(&["name=\"cluster\""]) > 0, "{who} minimises names");

    let many = resolver.ask("many", "A");
    assert_eq!(many.answer.len(), 100, "{who}: {}", many.text);
    assert!(delegated.answers(&["transport=\"tcp\"", "name=\"static\""]) > 0, "{who} came back over TCP");

    let start = Instant::now();
    let missing = resolver.ask("vpc-9.prod", "A");
    assert_eq!(missing.status, "NXDOMAIN", "{who}: {}", missing.text);
    assert!(
        missing.authority[0].kind == "SOA" && missing.authority[0].ttl <= MINIMUM as u32,
        "{}",
        missing.text
    );
    delegated.heartbeat("vpc-9", 1);
    delegated.wait_for_agent("vpc-9", 1);
    let status = resolver.ask("vpc-9.prod", "A").status;
    let is_kept = start.elapsed() < Duration::from_secs(MINIMUM);
    assert!(status == "NXDOMAIN" || !is_kept, "{who} keeps a negative answer for MINIMUM: {status}");
    wait_for(&format!("{who} to forget that vpc-9 was missing"), DEADLINE, || {
        resolver.ask("vpc-9.prod", "A").data("A") == ["10.0.9.1"]
    });

    delegated.replicas[0].process().kill();
    for number in 1..=3 {
        let answer = resolver.ask(&format!("agent-{number}.vpc-1.prod"), "A");
        assert_eq!(answer.data("A"), [format!("10.0.1.{number}")], "{who}: {}", answer.text);
    }
    let gone = resolver.ask("agent-7.vpc-1.prod", "A");
    assert_eq!(gone.status, "NXDOMAIN", "{who}: {}", gone.text);
}
