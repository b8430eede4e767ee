//! NSD, Knot and BIND, each with its configuration from docs/transfers.md, following a fleet.

use super::rig::{APEX, Replica, SECRET, heartbeat, leave, serial, snippet};
use crate::support::{DEADLINE, Process, Redis, Signal, dig, free_address, redis, tool, wait_for};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A name server of another make that copies the zone.
struct Secondary {
    address: SocketAddr,
    process: Process,
    folder: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Make {
    Nsd,
    Knot,
    Bind,
}

impl Secondary {
    #[track_caller]
    fn start(make: Make, address: SocketAddr, primaries: &[SocketAddr]) -> Self {
        let folder = TempDir::new().expect("make a temporary folder");
        let file = folder.path().join("config");
        std::fs::write(&file, configuration(make, address, primaries, folder.path())).expect("write it");
        let mut command: Command = match make {
            Make::Nsd => tool("nsd"),
            Make::Knot => tool("knotd"),
            Make::Bind => tool("named"),
        };
        match make {
            Make::Nsd => command.args(["-d", "-c"]).arg(&file),
            Make::Knot => command.arg("-c").arg(&file),
            Make::Bind => command.args(["-g", "-n", "1", "-c"]).arg(&file),
        };
        let process = Process::spawn(&format!("{make:?}"), &mut command);
        Self { address, process, folder }
    }

    fn addresses(&self, name: &str) -> BTreeSet<String> {
        let said = dig(self.address, &[&format!("{name}.{APEX}"), "A"]);
        said.data("A").into_iter().map(str::to_owned).collect()
    }

    #[track_caller]
    fn wait_for(&mut self, name: &str, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|&address| address.to_owned()).collect();
        wait_for(&format!("{name} to have {wanted:?} at the secondary"), DEADLINE, || {
            assert!(self.process.is_running(), "the secondary ended");
            self.addresses(name) == wanted
        });
    }
}

impl Drop for Secondary {
    fn drop(&mut self) {
        // NSD and Knot have children and threads: they end them when they are asked to.
        self.process.signal(Signal::Term);
        for _ in 0..500 {
            if !self.process.is_running() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("nsd.log")).unwrap_or_default();
            eprintln!("--- nsd.log\n{log}---");
        }
    }
}

/// The documentation's example with this test's addresses, and what keeps the server within its folder.
fn configuration(make: Make, address: SocketAddr, primaries: &[SocketAddr], folder: &Path) -> String {
    let (port, folder) = (address.port(), folder.to_string_lossy());
    let (own, example, line) = match make {
        Make::Nsd => (
            format!(
                "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{folder}\"\n  database: \"\"\n  \
                 pidfile: \"{folder}/nsd.pid\"\n  xfrdfile: \"{folder}/xfrd.state\"\n  xfrdir: \"{folder}\"\n  \
                 zonelistfile: \"{folder}/zone.list\"\n  logfile: \"{folder}/nsd.log\"\n  server-count: 1\n  verbosity: 2\n\
                 remote-control:\n  control-enable: no\n"
            ),
            "nsd",
            "request-xfr: 192.0.2.1@53 fp-xfer",
        ),
        Make::Knot => (
            format!(
                "server:\n    rundir: \"{folder}\"\n    listen: 127.0.0.1@{port}\nlog:\n  - target: stderr\n    any: info\n\
                 database:\n    storage: \"{folder}\"\ntemplate:\n  - id: default\n    storage: \"{folder}\"\n"
            ),
            "knot",
            "address: 192.0.2.1@53",
        ),
        Make::Bind => (
            format!(
                "options {{ directory \"{folder}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
                 pid-file \"{folder}/named.pid\"; session-keyfile \"{folder}/session.key\"; recursion no; \
                 dnssec-validation no; notify no; }};\ncontrols {{ }};\n"
            ),
            "bind",
            "192.0.2.1 port 53 key \"fp-xfer\";",
        ),
    };
    let example = snippet(example);
    assert!(example.contains(line) && example.contains(SECRET), "{example}");
    let of = |primary: &SocketAddr| {
        line.replace("@53", &format!("@{}", primary.port()))
            .replace("port 53", &format!("port {}", primary.port()))
    };
    // Knot takes a list there, the others the line once more.
    let lines: Vec<String> = primaries.iter().map(of).collect();
    let lines = match make {
        Make::Nsd => lines.join("\n  "),
        Make::Knot => {
            let all: Vec<String> =
                primaries.iter().map(|primary| format!("192.0.2.1@{}", primary.port())).collect();
            format!("address: [{}]", all.join(", "))
        }
        Make::Bind => lines.join(" "),
    };
    format!("{own}{}", example.replace(line, &lines).replace("192.0.2.1", "127.0.0.1"))
}

/// From the first copy to a fleet that grows, shrinks and loses its registry.
#[track_caller]
fn follows_the_fleet(make: Make) {
    let mut redis: Redis = redis();
    for n in 1..=30 {
        heartbeat(&redis, "vpc-1", &format!("agent-{n}"), &format!("127.0.11.{n}"));
    }
    heartbeat(&redis, "vpc-2", "a", "127.0.12.1");
    let address = free_address();
    let mut replica = Replica::start(&redis, &[address]);
    let primary = replica.dns();
    let mut secondary = Secondary::start(make, address, &[primary]);
    secondary.wait_for("a.vpc-2.prod", &["127.0.12.1"]);
    assert_eq!(secondary.addresses("vpc-1.prod").len(), 30, "all of them, not a sample");
    assert_eq!(secondary.addresses("az-us-east-1a.vpc-2.prod"), ["127.0.12.1".to_owned()].into());

    // Its refresh timer is an hour: only NOTIFY brings what follows within the deadline.
    heartbeat(&redis, "vpc-2", "b", "127.0.12.2");
    secondary.wait_for("vpc-2.prod", &["127.0.12.1", "127.0.12.2"]);
    leave(&redis, "vpc-2", "a");
    secondary.wait_for("vpc-2.prod", &["127.0.12.2"]);
    secondary.wait_for("a.vpc-2.prod", &[]);
    wait_for("the serials to be equal", DEADLINE, || serial(address) == serial(primary));
    let incremental = "fingerpost_dns_transfers_total{kind=\"ixfr\",result=\"done\"} ";
    assert!(replica.metric(incremental) >= 1, "{make:?} took no IXFR: {}", replica.metrics());
    wait_for("a NOTIFY to be acknowledged", DEADLINE, || {
        replica.metric("fingerpost_dns_notifies_total{result=\"acknowledged\"} ") >= 1
    });
    assert_eq!(replica.metric("fingerpost_dns_notifies_total{result=\"refused\"} "), 0);

    let empty = dig(address, &[&format!("vpc-9.prod.{APEX}"), "A"]);
    assert_eq!(empty.status, "NXDOMAIN", "{}", empty.text);
    redis.kill();
    wait_for("the loss to be noticed", DEADLINE, || replica.metric("fingerpost_registry_connected ") == 0);
    assert_eq!(serial(address), serial(primary));
    replica.stop();
    assert_eq!(secondary.addresses("vpc-2.prod"), ["127.0.12.2".to_owned()].into(), "it answers alone");
}

#[test]
fn nsd_follows_the_fleet() {
    follows_the_fleet(Make::Nsd);
}

#[test]
fn knot_follows_the_fleet() {
    follows_the_fleet(Make::Knot);
}

#[test]
fn bind_follows_the_fleet() {
    follows_the_fleet(Make::Bind);
}

#[test]
fn a_secondary_of_two_replicas_goes_on_with_the_one_that_is_left() {
    let redis = redis();
    heartbeat(&redis, "vpc-1", "a", "127.0.11.1");
    let address = free_address();
    let mut first = Replica::start(&redis, &[address]);
    let mut second = Replica::start(&redis, &[address]);
    let secondary_of = [first.dns(), second.dns()];
    let mut secondary = Secondary::start(Make::Knot, address, &secondary_of);
    secondary.wait_for("vpc-1.prod", &["127.0.11.1"]);
    first.stop();
    heartbeat(&redis, "vpc-1", "b", "127.0.11.2");
    secondary.wait_for("vpc-1.prod", &["127.0.11.1", "127.0.11.2"]);
    assert_eq!(serial(address), serial(second.dns()));
}
