//! What is wrong with a configuration and where: every problem is collected, none stops the reading.

use super::keys::SECTIONS;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything: the table of keys has it.
    Default,
    /// The configuration file, at a line and a column (both from 1; columns count characters).
    File {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// An environment variable.
    Environment(&'static str),
}

/// Whether a problem forbids to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The server does not start with it.
    Error,
    /// It starts, but somebody should look.
    Warning,
}

/// One problem of a configuration, with its place and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it forbids to start.
    pub severity: Severity,
    /// `file:line:column`, an environment variable, or the file.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line of the file, and the column (from 1) that it is about.
    pub excerpt: Option<(String, usize)>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if let Some((line, column)) = &self.excerpt {
            write!(f, "\n    | {line}\n    | {:>column$}", "^")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n    {hint}"),
            None => Ok(()),
        }
    }
}

/// Collects problems and knows the text that they are about.
#[derive(Debug)]
pub(super) struct Problems {
    file: PathBuf,
    lines: Vec<String>,
    found: Vec<Problem>,
}

impl Problems {
    pub(super) fn of(file: &Path, text: &str) -> Self {
        Self { file: file.to_owned(), lines: text.lines().map(str::to_owned).collect(), found: Vec::new() }
    }

    pub(super) fn error(&mut self, at: Origin, message: impl Into<String>, hint: Option<String>) {
        self.add(Severity::Error, at, message.into(), hint);
    }

    pub(super) fn warning(&mut self, at: Origin, message: impl Into<String>, hint: Option<String>) {
        self.add(Severity::Warning, at, message.into(), hint);
    }

    /// A warning about an environment variable that is not in the table of keys.
    pub(super) fn stray_variable(&mut self, name: &str, hint: Option<String>) {
        let message = "no such setting: the variable is ignored".to_owned();
        let place = format!("environment {name}");
        self.found.push(Problem { severity: Severity::Warning, place, message, hint, excerpt: None });
    }

    fn add(&mut self, severity: Severity, at: Origin, message: String, hint: Option<String>) {
        let file = self.file.display();
        let (place, excerpt) = match at {
            Origin::Default => (file.to_string(), None),
            Origin::Environment(name) => (format!("environment {name}"), None),
            Origin::File { line, column } => {
                let text = self.lines.get(line.saturating_sub(1));
                let excerpt = text.and_then(|text| shown_line(text)).map(|text| (text, column));
                (format!("{file}:{line}:{column}"), excerpt)
            }
        };
        self.found.push(Problem { severity, place, message, hint, excerpt });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found.iter().any(|problem| problem.severity == Severity::Error)
    }

    pub(super) fn into_found(self) -> Vec<Problem> {
        self.found
    }
}

/// A line as it may be repeated: what it prints could end up in a log, and a secret may stand where none belongs, as
/// after a misspelt key. So only values of keys that we know, and that take no secret, are shown.
fn shown_line(line: &str) -> Option<String> {
    let Some((key, _)) = line.split_once('=') else {
        return line.trim_start().starts_with('[').then(|| line.to_owned());
    };
    let name = key.rsplit('.').next().unwrap_or(key).trim().trim_matches(['"', '\'']);
    let harmless = SECTIONS.iter().flat_map(|section| section.keys).any(|known| known.name == name)
        && !["pass", "token", "secret", "url", "@"]
            .iter()
            .any(|word| line.to_ascii_lowercase().contains(word));
    Some(if harmless { line.to_owned() } else { format!("{}= …", key) })
}

/// `did you mean "listen"?`, if one of `known` is near enough to `seen`.
pub(super) fn nearest<'a>(seen: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest_name(seen, known).map(|name| format!("did you mean {name:?}?"))
}

/// The one of `known` that is nearest to `seen`, if it is near enough to be meant.
pub(super) fn nearest_name<'a>(seen: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(&seen.to_ascii_lowercase(), &name.to_ascii_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
