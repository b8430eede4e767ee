//! A real redis-server on a free loopback port, in a temporary folder, without persistence.

use super::{Process, Signal, free_port, run, tool, wait_for};
use std::net::{Ipv4Addr, SocketAddr};
use tempfile::TempDir;

/// A redis-server of one test. It can be killed, frozen and started again on the same port.
pub struct Redis {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    process: Process,
}

/// A redis-server with nothing special.
#[track_caller]
pub fn redis() -> Redis {
    Redis::with(&[])
}

impl Redis {
    /// A redis-server with further arguments, such as `["--maxmemory", "10mb"]`.
    #[track_caller]
    pub fn with(arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("make a temporary folder");
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        for _ in 0..5 {
            let port = free_port();
            if let Some(process) = launch(&folder, port, &arguments) {
                return Self { folder, port, arguments, process };
            }
        }
        panic!("redis-server found its port taken five times");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Runs one command by `redis-cli` and returns what it prints, without the last line end; fails the test if
    /// Redis refuses it.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> String {
        self.try_cli(arguments).unwrap_or_else(|error| panic!("redis-cli {arguments:?}: {error}"))
    }

    /// [`Redis::cli`] for commands that may be refused, and for a Redis that may be down.
    #[track_caller]
    pub fn try_cli(&self, arguments: &[&str]) -> Result<String, String> {
        let port = self.port.to_string();
        let mut command = tool("redis-cli");
        command.args(["-e", "-h", "127.0.0.1", "-p", &port]).args(arguments);
        let ran = run("redis-cli", &mut command);
        if ran.status.success() {
            Ok(ran.stdout.trim_end_matches('\n').to_owned())
        } else {
            Err(format!("{}{}", ran.stdout, ran.stderr))
        }
    }

    /// Dies at once, as of a power cut; the port is free then.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends a signal, such as [`Signal::Stop`] for a server that hangs.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Starts again on the same port, empty, killing the old one if it still runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let mut started = None;
        wait_for("redis-server to get its port back", super::DEADLINE, || {
            started = launch(&self.folder, self.port, &self.arguments);
            started.is_some()
        });
        self.process = started.expect("wait_for returns only when it has started");
    }

    /// The process, for its pid and output.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Starts a server and waits until it answers; `None` if the port is taken.
#[track_caller]
fn launch(folder: &TempDir, port: u16, arguments: &[String]) -> Option<Process> {
    let mut command = tool("redis-server");
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .args(arguments);
    let mut process = Process::spawn("redis-server", &mut command);
    let line = process.wait_for_line("its start-up line", |line| {
        line.contains("eady to accept connections") || line.contains("ddress already in use")
    });
    if line.contains("eady to accept") { Some(process) } else { None }
}

#[test]
fn redis_answers_dies_and_returns_empty_on_its_port() {
    let mut redis = redis();
    let before = redis.address();
    assert_eq!(redis.cli(&["SET", "key", "value with spaces"]), "OK");
    assert_eq!(redis.cli(&["GET", "key"]), "value with spaces");
    assert!(redis.try_cli(&["INCR", "key"]).is_err(), "a refused command is an error");
    redis.kill();
    assert!(redis.try_cli(&["PING"]).is_err(), "a dead Redis is an error");
    redis.restart();
    assert_eq!(redis.address(), before);
    assert_eq!(redis.cli(&["EXISTS", "key"]), "0");
}
