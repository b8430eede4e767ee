//! Readiness as a list of named latches: the server is ready when all are set, and says which are not and why.

use crate::clock::Clock;
use crate::model::Moment;
use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All latches of a server. Clones share them.
#[derive(Clone, Debug)]
pub struct Readiness {
    entries: Arc<Mutex<Vec<Entry>>>,
    clock: Clock,
}

/// One condition of readiness. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Latch {
    of: Readiness,
    index: usize,
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// Why it is not set; `None` when it is.
    waiting_for: Option<String>,
    since: Moment,
}

/// A latch as `/ready` shows it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct LatchState {
    /// Its name.
    pub name: String,
    /// Whether it is set.
    pub ready: bool,
    /// Why it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how long it has been so.
    pub for_ms: u64,
}

impl Readiness {
    /// No latch yet: ready. Add latches before the server can be asked.
    pub fn new(clock: Clock) -> Self {
        Self { entries: Arc::default(), clock }
    }

    /// A new latch that is not set; `waiting_for` says why, for people.
    pub fn latch(&self, name: impl Into<String>, waiting_for: impl Into<String>) -> Latch {
        let mut entries = self.lock();
        let since = self.clock.now();
        entries.push(Entry { name: name.into(), waiting_for: Some(waiting_for.into()), since });
        Latch { of: self.clone(), index: entries.len() - 1 }
    }

    /// The server is stopping: not ready from now on, so that load balancers send nobody else.
    pub fn drain(&self) {
        self.latch("serving", "the server is draining");
    }

    /// Every latch in the order in which they were made.
    pub fn states(&self) -> Vec<LatchState> {
        let now = self.clock.now();
        let state = |entry: &Entry| LatchState {
            name: entry.name.clone(),
            ready: entry.waiting_for.is_none(),
            reason: entry.waiting_for.clone(),
            for_ms: now.since(entry.since),
        };
        self.lock().iter().map(state).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latch {
    /// The condition holds.
    pub fn set(&self) {
        self.change(None);
    }

    /// The condition does not hold (any more), and why.
    pub fn clear(&self, reason: impl Into<String>) {
        self.change(Some(reason.into()));
    }

    fn change(&self, waiting_for: Option<String>) {
        let now = self.of.clock.now();
        if let Some(entry) = self.of.lock().get_mut(self.index) {
            if entry.waiting_for.is_none() != waiting_for.is_none() {
                entry.since = now;
            }
            entry.waiting_for = waiting_for;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_latch_says_why_and_since_when() {
        let clock = Clock::manual(1_000);
        let readiness = Readiness::new(clock.clone());
        let dns = readiness.latch("dns", "not bound yet");
        clock.advance(Duration::from_millis(50));
        let state = readiness.states().remove(0);
        assert_eq!((state.ready, state.reason.as_deref(), state.for_ms), (false, Some("not bound yet"), 50));
        dns.set();
        dns.set();
        clock.advance(Duration::from_millis(7));
        let state = readiness.states().remove(0);
        assert_eq!((state.ready, state.reason, state.for_ms), (true, None, 7));
        dns.clear("gone");
        readiness.drain();
        let names: Vec<_> = readiness.states().into_iter().filter(|s| !s.ready).map(|s| s.name).collect();
        assert_eq!(names, ["dns", "serving"]);
    }
}
