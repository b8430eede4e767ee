//! The built program, with the addresses that it bound.

use super::{DEADLINE, Process, Ran, Signal, run, wait_some};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// A running `fingerpost`. Give it port 0 everywhere and ask here for what it got.
pub struct Fingerpost {
    process: Process,
}

/// Starts `fingerpost ARGUMENTS`, which keeps running: `serve`, `demo`, `agent`, ...
#[track_caller]
pub fn fingerpost(arguments: &[&str]) -> Fingerpost {
    fingerpost_with(arguments, &[])
}

/// [`fingerpost`] with environment variables.
#[track_caller]
pub fn fingerpost_with(arguments: &[&str], environment: &[(&str, &str)]) -> Fingerpost {
    Fingerpost { process: Process::spawn("fingerpost", &mut command(arguments, environment)) }
}

/// Runs `fingerpost ARGUMENTS` to its end: `check`, `agents`, a usage error, ...
#[track_caller]
pub fn fingerpost_run(arguments: &[&str]) -> Ran {
    fingerpost_run_with(arguments, &[])
}

/// [`fingerpost_run`] with environment variables.
#[track_caller]
pub fn fingerpost_run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    run("fingerpost", &mut command(arguments, environment))
}

/// The built program with none of our settings in its environment but these.
fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fingerpost"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FINGERPOST_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).env("NO_COLOR", "1").envs(environment.iter().copied());
    command
}

impl Fingerpost {
    /// Where DNS is served.
    #[track_caller]
    pub fn dns(&mut self) -> SocketAddr {
        self.addresses("dns", 1)[0]
    }

    /// Where the n-th Kafka listener (from 0, in the order of its start-up lines) is.
    #[track_caller]
    pub fn kafka(&mut self, n: usize) -> SocketAddr {
        self.addresses("kafka", n + 1)[n]
    }

    /// Where the admin interface is.
    #[track_caller]
    pub fn admin(&mut self) -> SocketAddr {
        self.addresses("admin", 1)[0]
    }

    /// The addresses of a front (`dns`, `kafka`, `admin`), once at least `count` were printed.
    #[track_caller]
    pub fn addresses(&mut self, front: &str, count: usize) -> Vec<SocketAddr> {
        wait_some(&format!("fingerpost to print {count} address(es) of {front}"), DEADLINE, || {
            let ended = !self.process.is_running();
            let (out, err) = (self.process.stdout(), self.process.stderr());
            let mut found: Vec<SocketAddr> =
                out.lines().chain(err.lines()).filter_map(|line| bound(line, front)).collect();
            let mut seen = std::collections::HashSet::new();
            found.retain(|address| seen.insert(*address)); // the same one for UDP and TCP, or logged as well
            assert!(found.len() >= count || !ended, "fingerpost ended before it printed where {front} is");
            (found.len() >= count).then_some(found)
        })
    }

    /// Sends Ctrl-C and waits; the exit code (-1 if a signal ended it).
    #[track_caller]
    pub fn interrupt(&mut self, within: Duration) -> i32 {
        self.process.signal(Signal::Int);
        self.process.wait_exit_within(within).code().unwrap_or(-1)
    }

    /// The process, for its output, signals and exit.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The address in a start-up line of `front`: a line whose first word is the front's name (`dns  127.0.0.1:5353`),
/// or a log line with `front=dns` in it. Lines to paste (`kcat -b 127.0.0.1:9092`) are neither.
fn bound(line: &str, front: &str) -> Option<SocketAddr> {
    let is_mark = |word: &str| word.trim_end_matches(':') == front;
    let quoted = format!("front=\"{front}\"");
    let plain = format!("front={front}");
    let marked = line.split_whitespace().next().is_some_and(is_mark)
        || line.split_whitespace().any(|word| word == plain || word == quoted);
    let address = |word: &str| {
        let word = word.rsplit('=').next().unwrap_or(word).trim_start_matches("http://");
        word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '[').parse().ok()
    };
    if marked { line.split_whitespace().find_map(address) } else { None }
}

#[test]
fn start_up_lines_are_told_from_others() {
    let at = |line, front| bound(line, front).map(|address: SocketAddr| address.to_string());
    assert_eq!(at("dns    127.0.0.1:5353  udp, tcp", "dns").as_deref(), Some("127.0.0.1:5353"));
    assert_eq!(at("kafka: [::1]:9092 (demo/vpc-1)", "kafka").as_deref(), Some("[::1]:9092"));
    assert_eq!(at("admin  http://127.0.0.1:8053/", "admin").as_deref(), Some("127.0.0.1:8053"));
    let log = "INFO fingerpost::server: listening front=\"kafka\" address=127.0.0.1:9093";
    assert_eq!(at(log, "kafka").as_deref(), Some("127.0.0.1:9093"));
    assert_eq!(at(log, "dns"), None);
    assert_eq!(at("  kcat -L -b 127.0.0.1:9092", "kafka"), None);
    assert_eq!(at("agent a-1 kafka 127.0.11.1:9092", "kafka"), None);
}
