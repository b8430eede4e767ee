//! The harness: real processes on free loopback ports, waited for by condition and stopped by pid.
//!
//! | to get | call |
//! | --- | --- |
//! | a redis-server | [`redis()`], [`Redis::with`] |
//! | the built program | [`fingerpost`] (keeps running), [`fingerpost_run`] (ends by itself); `_with` environment |
//! | an answer of a DNS server | [`dig`], [`kdig`] |
//! | what Kafka clients see | [`kcat`], [`python`], [`node`], [`kafka_view`], [`KafkaClient`] |
//! | a Kafka broker | [`broker()`], [`Broker::with`] |
//! | a Kafka client of any ecosystem | [`client`], with a name of [`CLIENTS`] |
//! | who connects to an address, with what client id, for how many bytes | [`Meter`] |
//! | an HTTP reply | [`http_get`], [`http`] |
//! | any other program | [`Process::spawn`] (keeps running), [`run`] (ends by itself) |
//! | a steady load of DNS queries, and what of it is lost | [`Load`] |
//! | a condition | [`wait_for`], [`wait_some`] |
//!
//! A tool that is missing fails the test and names `scripts/setup`: a skipped test looks like a passed one.
#![allow(dead_code, unused_imports)] // a harness offers more than the tests of one day use

mod broker;
mod clients;
mod dig;
mod ecosystem;
mod fingerpost;
mod load;
mod meter;
mod process;
mod redis;
mod wire;

pub use broker::{Broker, BrokerOptions, SASL_PASSWORD, SASL_USER, broker, kafka_libs};
pub use clients::{kcat, node, python};
pub use dig::{Dig, Rr, dig, kdig};
pub use ecosystem::{CLIENTS, Client, Said, Seen, client, client_resolving, client_with_hosts, resolving};
pub use fingerpost::{Fingerpost, fingerpost, fingerpost_run, fingerpost_run_with, fingerpost_with};
pub use load::Load;
pub use meter::{Met, Meter};
pub use process::{Process, Ran, Signal, run};
pub use redis::{Redis, redis};
pub use wire::{KafkaClient, KafkaView, http, http_get, kafka_view};

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long any wait may take. Generous, for machines under load: what is waited for is a condition, so a test
/// that passes never waits longer than it must.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// Held by tests that start brokers and many clients: each loads both cores of a small machine, so one at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `condition` holds; fails the test with `what` after `deadline`.
#[track_caller]
pub fn wait_for(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    wait_some(what, deadline, || condition().then_some(()));
}

/// Waits until `look` returns something, and returns that; fails the test with `what` after `deadline`.
#[track_caller]
pub fn wait_some<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for: {what}");
        std::thread::sleep(POLL);
    }
}

/// A loopback port that is free for TCP and UDP at this moment. Prefer letting the server bind port 0 itself
/// (nobody can take the port in between); this is for programs that can't. It is below the range of which the system
/// gives outgoing connections theirs, and no other caller in this process is given the same.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    for _ in 0..1000 {
        let port = fastrand::u16(12_000..32_000);
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (Ipv4Addr::LOCALHOST, port);
        if !given.contains(&port) && TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no loopback port is free for both TCP and UDP after 1000 tries");
}

/// [`free_port`] with its address.
pub fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// The root of the source tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A command for a tool on the PATH; fails the test when it is not installed.
#[track_caller]
pub fn tool(name: &str) -> Command {
    Command::new(find_tool(name))
}

/// Where a tool is; fails the test when it is not installed.
#[track_caller]
fn find_tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from); // not on every user's PATH
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run scripts/setup"))
}

#[test]
#[should_panic(expected = "waited 30ms in vain for: a pig to fly")]
fn a_wait_in_vain_says_for_what() {
    wait_for("a pig to fly", Duration::from_millis(30), || false);
}

#[test]
#[should_panic(expected = "run scripts/setup")]
fn a_missing_tool_is_a_failure_not_a_skip() {
    tool("no-such-tool-anywhere");
}
