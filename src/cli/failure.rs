//! Failures as people see them, printed once, at the edge: `error: …`, the chain of causes, the next step.

use std::error::Error;
use std::process::ExitCode;

/// A wrong command line.
pub(super) const USAGE: u8 = 64;
/// Something that is needed can't be had.
pub(super) const UNAVAILABLE: u8 = 69;
/// A wrong configuration.
pub(super) const CONFIG: u8 = 78;

/// Why a command did not do its work.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    message: String,
    causes: Vec<String>,
    next: Option<String>,
}

impl Failure {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), causes: Vec::new(), next: None }
    }

    /// From an error and all that it comes from.
    pub(super) fn from(code: u8, error: &dyn Error) -> Self {
        let mut failure = Self::new(code, error.to_string());
        let mut source = error.source();
        while let Some(error) = source {
            failure.causes.push(error.to_string());
            source = error.source();
        }
        failure
    }

    /// What to do about it.
    pub(super) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Prints it to standard error and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        complain(&format!("error: {}", self.message));
        for cause in &self.causes {
            complain(&format!("  because: {cause}"));
        }
        if let Some(next) = &self.next {
            complain(&format!("  next: {next}"));
        }
        ExitCode::from(self.code)
    }
}

/// Prints a line to standard error; who closed it does not want to know.
pub(super) fn complain(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
