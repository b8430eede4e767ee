//! Values made from files and made again when the files change: readers load one atomic pointer; a bad new file
//! leaves the old value in place, is said once, and shows in the status.
//!
//! Files are looked at (size, time, inode: what a `mv`, an editor or a Kubernetes mount changes) rather than watched:
//! it works on every file system and needs no descriptor. A certificate and its key are two files and change one
//! after the other, so a failure is only told when it is still there at the next look.

use super::Error;
use super::certificate::Certificate;
use arc_swap::ArcSwap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// What a value says of itself in the status.
pub trait Told {
    /// The certificates in use, with their files.
    fn certificates(&self) -> Vec<(PathBuf, Certificate)>;
    /// What should be mended though it works.
    fn warnings(&self) -> Vec<String>;
}

/// How a value is made: from the files as they are, given the one in use, at this wall-clock time.
type Make<T> = Box<dyn Fn(Option<&T>, SystemTime) -> Result<T, Error> + Send + Sync>;

/// A value of which there is always a good one.
pub struct Reloading<T> {
    current: ArcSwap<T>,
    make: Make<T>,
    files: Vec<PathBuf>,
    state: Mutex<State>,
}

struct State {
    /// The files as they were when they were last tried.
    tried: Vec<Stamp>,
    /// A failure that was seen but not told yet.
    untold: bool,
    loaded_at: SystemTime,
    reloads: u64,
    failures: u64,
    failure: Option<Failure>,
}

/// Which content a file has, as far as a look from outside tells; `None` if it is not there.
pub type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// What a reload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The files are as they were.
    Unchanged,
    /// The new files are in use; connections made before keep what they had.
    Replaced,
    /// The new files are bad and the old content stays in use.
    Kept,
}

/// A reload that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: SystemTime,
    /// Why, with the file's name.
    pub reason: String,
}

/// What is in use, and how the last reload went.
#[derive(Clone, Debug)]
pub struct Status {
    /// The certificates shown to peers, with their files.
    pub certificates: Vec<(PathBuf, Certificate)>,
    /// The earliest end of validity among them, in seconds since 1970: the metric to alert on.
    pub not_after: Option<i64>,
    /// What should be mended though it works: dates, modes.
    pub warnings: Vec<String>,
    /// Since when this content is in use.
    pub loaded_at: SystemTime,
    /// How often new content was taken, the start not counted.
    pub reloads: u64,
    /// How often new content was refused.
    pub failures: u64,
    /// Why the files as they are now were refused; `None` when they are in use.
    pub failure: Option<Failure>,
}

impl<T: Told + Send + Sync + 'static> Reloading<T> {
    /// Makes the first value; logs what should be mended.
    pub fn start(files: Vec<PathBuf>, make: Make<T>, now: SystemTime) -> Result<Self, Error> {
        let tried = stamps(&files);
        let first = make(None, now)?;
        for warning in first.warnings() {
            tracing::warn!("{warning}");
        }
        let state = State { tried, untold: false, loaded_at: now, reloads: 0, failures: 0, failure: None };
        Ok(Self { current: ArcSwap::from_pointee(first), make, files, state: Mutex::new(state) })
    }

    /// The value in use.
    pub fn load(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Reads the files now, changed or not.
    pub fn reload(&self, now: SystemTime) -> Result<(), Error> {
        let mut state = self.state();
        state.tried = stamps(&self.files); // before they are read: a later change is then seen as one
        state.untold = false;
        match self.attempt(&mut state, now) {
            Ok(()) => Ok(()),
            Err(error) => {
                tell(&error);
                Err(error)
            }
        }
    }

    /// Reads the files if they changed since they were last read.
    pub fn poll(&self, now: SystemTime) -> Reloaded {
        let mut state = self.state();
        let stamps = stamps(&self.files);
        let changed = stamps != state.tried;
        if !changed && !state.untold {
            return Reloaded::Unchanged;
        }
        state.tried = stamps;
        match self.attempt(&mut state, now) {
            Ok(()) => {
                state.untold = false;
                Reloaded::Replaced
            }
            Err(error) => {
                if !changed {
                    tell(&error);
                }
                state.untold = changed;
                Reloaded::Kept
            }
        }
    }

    /// Looks at the files every `interval` until `stop`. `wall` is the wall clock.
    pub async fn watch(
        self: Arc<Self>,
        interval: Duration,
        wall: fn() -> SystemTime,
        stop: CancellationToken,
    ) {
        while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            let this = Arc::clone(&self);
            // Files may be on a slow mount; the runtime's threads have better to do than to wait for it.
            if tokio::task::spawn_blocking(move || this.poll(wall())).await.is_err() {
                tracing::error!("looking at the certificate files panicked; the ones in use stay");
            }
        }
    }

    /// What is in use, and how the last reload went.
    pub fn status(&self) -> Status {
        let current = self.load();
        let certificates = current.certificates();
        let state = self.state();
        Status {
            not_after: certificates.iter().map(|(_, certificate)| certificate.not_after).min(),
            certificates,
            warnings: current.warnings(),
            loaded_at: state.loaded_at,
            reloads: state.reloads,
            failures: state.failures,
            failure: state.failure.clone(),
        }
    }

    fn attempt(&self, state: &mut State, now: SystemTime) -> Result<(), Error> {
        match (self.make)(Some(&self.current.load()), now) {
            Ok(new) => {
                for warning in new.warnings() {
                    tracing::warn!("{warning}");
                }
                for (file, certificate) in new.certificates() {
                    let (file, subject) = (file.display(), &certificate.subject);
                    tracing::info!(%file, subject, not_after = certificate.not_after, "certificate reloaded");
                }
                self.current.store(Arc::new(new));
                state.loaded_at = now;
                state.reloads += 1;
                state.failure = None;
                Ok(())
            }
            Err(error) => {
                state.failures += 1;
                state.failure = Some(Failure { at: now, reason: with_sources(&error) });
                Err(error)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // counters and stamps: any state is a good one
    }
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("files", &self.files).finish_non_exhaustive()
    }
}

/// The stamp of each file.
pub fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let seen = std::fs::metadata(file).ok()?;
        Some((seen.dev(), seen.ino(), seen.len(), seen.mtime(), seen.mtime_nsec()))
    };
    files.iter().map(stamp).collect()
}

fn tell(error: &Error) {
    let reason = with_sources(error);
    tracing::warn!(reason, "new certificate files are refused; the old certificates stay in use");
}

/// An error and what caused it, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
