//! Records that are not taken: each is refused alone, shown with its reason, and counted and logged once.

use super::record::Refused;
use super::{Holdings, Outcome, RawKey, shown_key};
use crate::limits::registry as limits;
use crate::model::Moment;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};

/// A refused record.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) reason: String,
    pub(super) scan: u64,
}

impl Holdings {
    /// The key is good or gone: what it was refused for is over.
    pub(super) fn accept(&mut self, key: &RawKey) -> Outcome {
        if !self.unshown.is_empty() {
            self.unshown.remove(&hash(key));
        }
        match self.refused.remove(key) {
            None => Outcome::Same,
            Some(_) => {
                self.changes.refused = true;
                Outcome::Changed
            }
        }
    }

    pub(super) fn refuse(&mut self, key: &RawKey, refused: &Refused, at: Moment) -> Outcome {
        // What was good of it before is believed until the lease that it came with ends.
        if let Some(held) = self.held.get_mut(key) {
            held.scan = self.scan;
        }
        let reason = refused.to_string();
        if let Some(bad) = self.refused.get_mut(key)
            && bad.reason == reason
        {
            bad.scan = self.scan;
            return Outcome::Same;
        }
        let shown = self.refused.len() < limits::REFUSALS || self.refused.contains_key(key);
        if !shown && !self.is_news(key, &reason) {
            return Outcome::Same;
        }
        self.refusals += 1;
        self.warn(at, || {
            let key = shown_key(key);
            tracing::warn!(key, reason, "a record was refused; correct what writes it");
        });
        if !shown {
            return Outcome::Same;
        }
        self.refused.insert(RawKey::clone(key), Bad { reason, scan: self.scan });
        self.changes.refused = true;
        Outcome::Changed
    }

    /// Whether a refusal that is not shown, for too many are, was not met before. Beyond what is remembered even of
    /// those, nothing is news: it must not be logged and counted again with each scan.
    fn is_news(&mut self, key: &RawKey, reason: &str) -> bool {
        let (key, reason) = (hash(key), hash(reason));
        match self.unshown.get(&key) {
            Some(before) if *before == reason => false,
            None if self.unshown.len() >= limits::REFUSALS_UNSHOWN => false,
            _ => {
                self.unshown.insert(key, reason);
                true
            }
        }
    }

    /// Logs, but at most 20 lines a second: what is written to the registry must not fill the disk.
    pub(super) fn warn(&mut self, now: Moment, log: impl FnOnce()) {
        let (since, count) = &mut self.warnings;
        if now.since(*since) >= 1_000 {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count <= 20 {
            log();
        }
    }
}

/// For telling whether something was met before, within this process.
fn hash(what: impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(what)
}
