//! The Kafka clients of `tests/clients/`: one command line, JSON lines, whatever the language behind it.

use super::broker::kafka_libs;
use super::{Process, Signal, root, tool, wait_for};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Every client, by the name that [`client`] takes.
pub const CLIENTS: [&str; 11] = [
    "java",
    "java-3.9",
    "librdkafka",
    "librdkafka-2.6",
    "kcat",
    "franz-go",
    "sarama",
    "kafka-go",
    "kafkajs",
    "kafka-python",
    "aiokafka",
];

/// How long a client may take to end by itself, unless the test says otherwise.
const PATIENCE: Duration = Duration::from_secs(90);

/// A client that runs.
pub struct Client {
    process: Process,
}

/// What a client that ended has printed.
#[derive(Debug)]
pub struct Said {
    /// The exit code: 0, or 1 when an error reached the application; -1 if a signal ended it.
    pub code: i32,
    /// Its JSON lines, in order.
    pub lines: Vec<Value>,
    /// Its standard error, where libraries log.
    pub stderr: String,
}

/// A record that a consumer was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The producer's client id.
    pub producer: String,
    /// Which of the producer's records.
    pub seq: u64,
    /// The partition.
    pub partition: i64,
    /// The offset there.
    pub offset: i64,
}

/// Starts a client of [`CLIENTS`] with the command line of `tests/clients/README.md`.
#[track_caller]
pub fn client(name: &str, arguments: &[&str]) -> Client {
    client_resolving(name, arguments, None)
}

/// [`client`], in a mount namespace of its own with this file as its /etc/resolv.conf (needs root).
#[track_caller]
pub fn client_resolving(name: &str, arguments: &[&str], resolver: Option<&Path>) -> Client {
    let lib = name.trim_end_matches("-2.6").trim_end_matches("-3.9");
    let mut command = command(name);
    command.args(arguments).args(["--lib", lib]).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut command = match resolver {
        Some(file) => resolving(&command, file),
        None => command,
    };
    Client { process: Process::spawn(name, &mut command) }
}

/// [`client`], in a mount namespace of its own with this file as its /etc/hosts.
#[track_caller]
pub fn client_with_hosts(name: &str, arguments: &[&str], hosts: &Path) -> Client {
    let lib = name.trim_end_matches("-2.6").trim_end_matches("-3.9");
    let mut command = command(name);
    command.args(arguments).args(["--lib", lib]).env("PYTHONDONTWRITEBYTECODE", "1");
    Client { process: Process::spawn(name, &mut instead_of("/etc/hosts", &command, hosts)) }
}

/// The command with a resolv.conf of its own. Nothing is left between: the process id is the client's.
#[track_caller]
pub fn resolving(command: &Command, resolver: &Path) -> Command {
    instead_of("/etc/resolv.conf", command, resolver)
}

/// The command in a mount namespace of its own, in which `file` lies in place of another one.
#[track_caller]
fn instead_of(place: &str, command: &Command, file: &Path) -> Command {
    let mut wrapped = tool("unshare");
    wrapped.args(["--mount", "--map-root-user", "sh", "-c"]);
    wrapped.arg(format!("mount --bind \"$0\" {place} && exec \"$@\"")).arg(file);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

impl Client {
    /// Waits until it ends by itself.
    #[track_caller]
    pub fn finish(self) -> Said {
        self.finish_within(PATIENCE)
    }

    /// Waits until it ends by itself, at most so long.
    #[track_caller]
    pub fn finish_within(mut self, deadline: Duration) -> Said {
        let status = self.process.wait_exit_within(deadline);
        let (lines, stderr) = (self.lines(), self.process.stderr());
        Said { code: status.code().unwrap_or(-1), lines, stderr }
    }

    /// Asks it to finish what it has begun (SIGTERM), and waits.
    #[track_caller]
    pub fn stop(mut self) -> Said {
        self.process.signal(Signal::Term);
        self.finish()
    }

    /// What its libraries logged so far.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Its JSON lines so far.
    pub fn lines(&self) -> Vec<Value> {
        let complete = self.process.stdout();
        let complete = complete.rsplit_once('\n').map_or("", |(lines, _)| lines);
        complete.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How many lines of an event it has printed so far; cheaper than [`Client::lines`].
    pub fn count(&self, event: &str) -> usize {
        let said = self.process.stdout();
        let forms = [format!("\"event\":\"{event}\""), format!("\"event\": \"{event}\"")];
        forms.iter().map(|form| said.matches(form.as_str()).count()).sum()
    }

    /// Waits until it has printed so many lines of an event (`acked`, `record`, `assigned`, ...).
    #[track_caller]
    pub fn wait_for_events(&mut self, event: &str, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        wait_for(&format!("{count} lines of {event}"), PATIENCE, || {
            let ended = !self.process.is_running(); // asked before reading, so that its last words are not missed
            found = self.lines().into_iter().filter(|line| line["event"] == event).collect();
            assert!(found.len() >= count || !ended, "ended before it printed {count} lines of {event}");
            found.len() >= count
        });
        found
    }

    /// The process, for its pid and signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Said {
    /// Fails the test unless it ended well and told of no error.
    #[track_caller]
    pub fn ok(self) -> Self {
        let errors = self.errors();
        assert!(
            self.code == 0 && errors.is_empty(),
            "exit code {}, errors {errors:?}\n{}",
            self.code,
            self.stderr
        );
        self
    }

    /// The errors that reached the application.
    pub fn errors(&self) -> Vec<String> {
        self.lines.iter().filter_map(|line| line["error"].as_str().map(str::to_owned)).collect()
    }

    /// The lines of one event.
    pub fn events(&self, event: &str) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["event"] == event).collect()
    }

    /// The first line of an event; fails the test if there is none.
    #[track_caller]
    pub fn event(&self, event: &str) -> &Value {
        let found = self.lines.iter().find(|line| line["event"] == event);
        found.unwrap_or_else(|| panic!("no {event} in {:?}\n{}", self.lines, self.stderr))
    }

    /// The sequence numbers that a producer got its acknowledgement for.
    pub fn acked(&self) -> BTreeSet<u64> {
        self.events("acked").iter().filter_map(|line| line["seq"].as_u64()).collect()
    }

    /// The records that a consumer was given, in order.
    pub fn records(&self) -> Vec<Seen> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_i64().unwrap_or(-1);
        let seen = |line: &&Value| Seen {
            producer: text(&line["producer"]),
            seq: line["seq"].as_u64().unwrap_or(u64::MAX),
            partition: number(&line["partition"]),
            offset: number(&line["offset"]),
        };
        self.events("record").iter().map(seen).collect()
    }
}

/// The program of a client, ready for its arguments.
#[track_caller]
fn command(name: &str) -> Command {
    let tests = root().join("tests/clients");
    match name {
        "java" => java("kafka-clients-4.4.0.jar"),
        "java-3.9" => java("kafka-clients-3.9.1.jar"),
        "librdkafka" | "kafka-python" | "aiokafka" => python("venv"),
        "librdkafka-2.6" => python("venv-old"),
        "kcat" => {
            tool("kcat"); // says so if it is missing
            let mut command = tool("python3");
            command.arg(tests.join("kcat/client.py"));
            command
        }
        "franz-go" | "sarama" | "kafka-go" => Command::new(installed("go/client")),
        "kafkajs" => {
            let mut command = tool("node");
            command.env("NODE_PATH", installed("node/node_modules")).arg(tests.join("node/client.js"));
            command
        }
        other => panic!("no client is called {other}: {CLIENTS:?}"),
    }
}

/// Our Java program on the client library in this jar.
#[track_caller]
fn java(jar: &str) -> Command {
    let libs = kafka_libs();
    let path =
        [installed("kafka/classes"), libs.join(jar), libs.join("*")].map(|part| part.display().to_string());
    let mut command = tool("java");
    command.args(["-Xmx200m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &path.join(":"), "Client"]);
    command
}

/// Our Python program in this environment.
#[track_caller]
fn python(environment: &str) -> Command {
    let mut command = Command::new(installed(&format!("{environment}/bin/python")));
    command.arg(root().join("tests/clients/python/client.py"));
    command
}

/// Something that `scripts/setup` has put into `.clients/`.
#[track_caller]
fn installed(what: &str) -> PathBuf {
    let path = root().join(".clients").join(what);
    assert!(path.exists(), "{} is not there: run scripts/setup", path.display());
    path
}
