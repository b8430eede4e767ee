//! A child process with its output in files: waited for by line or exit, killed when the test ends.

use super::{DEADLINE, wait_for, wait_some};
use std::fmt::Write as _;
use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A running child. Dropped, it is killed and reaped; in a failing test its output is printed first.
pub struct Process {
    name: String,
    child: Child,
    files: TempDir,
    ended: Option<ExitStatus>,
}

/// What tests send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Please stop.
    Term,
    /// Ctrl-C.
    Int,
    /// Die.
    Kill,
    /// Freeze: connections stay open and nothing answers.
    Stop,
    /// Go on after [`Signal::Stop`].
    Cont,
    /// Reload.
    Hup,
}

impl Process {
    /// Starts `command` with no input and with its output captured. `name` is for messages.
    #[track_caller]
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let files = TempDir::new().expect("make a temporary folder");
        let out = File::create(files.path().join("stdout")).expect("create the stdout file");
        let err = File::create(files.path().join("stderr")).expect("create the stderr file");
        let child =
            command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap_or_else(|error| {
                panic!("{name} does not start: {error}; the command was {command:?}")
            });
        Self { name: name.to_owned(), child, files, ended: None }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// Both outputs, for messages.
    pub fn log(&self) -> String {
        let mut log = String::new();
        for stream in ["stdout", "stderr"] {
            for line in self.read(stream).lines() {
                writeln!(log, "{} {stream} | {line}", self.name).expect("write to a string");
            }
        }
        log
    }

    /// Waits for the first line of either output of which `wanted` holds. Fails when the process ends first.
    #[track_caller]
    pub fn wait_for_line(&mut self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
        wait_some(&format!("{}: {what}", self.name), DEADLINE, || {
            let ended = !self.is_running(); // asked before reading, so that its last words are not missed
            let all = [self.stdout(), self.stderr()];
            let found = all.iter().flat_map(|text| text.lines()).find(|line| wanted(line)).map(str::to_owned);
            assert!(found.is_some() || !ended, "{} ended before: {what}", self.name);
            found
        })
    }

    /// Waits for a line that contains `text`.
    #[track_caller]
    pub fn wait_for_text(&mut self, text: &str) -> String {
        self.wait_for_line(&format!("a line with {text:?}"), |line| line.contains(text))
    }

    /// Whether it still runs (a stopped one does).
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("ask for the exit status");
        }
        self.ended.is_none()
    }

    /// Sends a signal to this process alone.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) {
        if !self.is_running() {
            return; // its pid may belong to somebody else by now
        }
        let name = match signal {
            Signal::Term => "TERM",
            Signal::Int => "INT",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Cont => "CONT",
            Signal::Hup => "HUP",
        };
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status();
        assert!(status.is_ok_and(|status| status.success()), "can't send SIG{name} to {}", self.name);
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        self.wait_exit_within(DEADLINE)
    }

    /// Waits until it ends by itself, at most `deadline`.
    #[track_caller]
    pub fn wait_exit_within(&mut self, deadline: Duration) -> ExitStatus {
        wait_for(&format!("{} to end", self.name), deadline, || !self.is_running());
        self.ended.expect("wait_for returns only when it has ended")
    }

    /// Asks it to stop (SIGTERM) and waits.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::Term);
        self.wait_exit()
    }

    /// Kills it (SIGKILL) and waits.
    pub fn kill(&mut self) {
        if self.is_running() {
            let _ = self.child.kill(); // it may have ended just now
            self.ended = self.child.wait().ok();
        }
    }

    fn read(&self, stream: &str) -> String {
        let bytes = std::fs::read(self.files.path().join(stream)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} ({:?})\n{}---", self.name, self.ended, self.log());
        }
    }
}

/// What a program that ended has left.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// The exit code; -1 if a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Fails the test, with all output, unless the exit code was 0. Returns the standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{}\nstdout:\n{}stderr:\n{}", self.status, self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs `command` to its end, which must come within [`DEADLINE`].
#[track_caller]
pub fn run(name: &str, command: &mut Command) -> Ran {
    let mut process = Process::spawn(name, command);
    let status = process.wait_exit();
    Ran { status, stdout: process.stdout(), stderr: process.stderr() }
}

#[test]
fn output_and_exit_code_of_a_child_are_seen() {
    let ran = run("sh", Command::new("sh").args(["-c", "echo out; echo err >&2; exit 7"]));
    assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (7, "out\n", "err\n"));
}

#[test]
fn a_stopped_child_runs_on_after_cont_and_ends_on_term() {
    let mut process = Process::spawn("sh", Command::new("sh").args(["-c", "echo ready; exec sleep 600"]));
    process.wait_for_text("ready");
    process.signal(Signal::Stop);
    assert!(process.is_running());
    process.signal(Signal::Cont);
    assert!(!process.stop().success());
}

#[test]
#[should_panic(expected = "ended before")]
fn waiting_for_the_line_of_a_dead_child_fails_at_once() {
    Process::spawn("true", &mut Command::new("true")).wait_for_text("never");
}
