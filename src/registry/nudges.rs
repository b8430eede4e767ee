//! What a store tells the one who follows it: "these keys changed". Each key waits once however often it changes,
//! the number of waiting keys is bounded, and beyond the bound a scan takes their place.

use super::RawKey;
use crate::clock;
use crate::limits::registry as limits;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// A queue of changed keys between a store's push side and the follower.
#[derive(Debug, Default)]
pub struct Nudges {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<RawKey>,
    known: HashSet<RawKey>,
    first_at: Option<Instant>,
    flags: Flags,
    pushed: u64,
}

/// What concerns more than single keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Everything was removed at once (FLUSHALL, FLUSHDB).
    pub flushed: bool,
    /// More keys changed than can wait: only a scan tells.
    pub overflowed: bool,
    /// The connection is lost, and why.
    pub lost: Option<String>,
}

/// Some of the keys that wait.
#[derive(Debug, Default)]
pub struct Taken {
    /// The keys, the longest-waiting first.
    pub keys: Vec<RawKey>,
    /// When the first of those that waited was pushed.
    pub first_at: Option<Instant>,
}

impl Nudges {
    /// A key changed.
    pub fn push(&self, key: &[u8]) {
        // A longer key can't be a good one: the next scan will see and refuse it.
        if key.len() > limits::KEY_BYTES {
            return;
        }
        let mut waiting = self.lock();
        waiting.pushed += 1;
        if waiting.known.contains(key) {
            return;
        }
        if waiting.known.len() >= limits::NUDGES {
            waiting.flags.overflowed = true;
        } else {
            let key: RawKey = key.into();
            waiting.first_at.get_or_insert_with(clock::stopwatch);
            waiting.known.insert(RawKey::clone(&key));
            waiting.order.push_back(key);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Everything was removed.
    pub fn push_flush(&self) {
        self.lock().flags.flushed = true;
        self.wake.notify_one();
    }

    /// The connection is lost.
    pub fn push_lost(&self, why: impl Into<String>) {
        self.lock().flags.lost = Some(why.into());
        self.wake.notify_one();
    }

    /// Waits until there is something to take. Cancel-safe.
    pub async fn ready(&self) {
        loop {
            {
                let waiting = self.lock();
                if !waiting.order.is_empty() || waiting.flags != Flags::default() {
                    return;
                }
            }
            self.wake.notified().await;
        }
    }

    /// Whether keys wait.
    pub fn has_keys(&self) -> bool {
        !self.lock().order.is_empty()
    }

    /// Takes at most `most` keys.
    pub fn take(&self, most: usize) -> Taken {
        let mut waiting = self.lock();
        let count = most.min(waiting.order.len());
        let keys: Vec<RawKey> = waiting.order.drain(..count).collect();
        for key in &keys {
            waiting.known.remove(key);
        }
        let first_at = waiting.first_at;
        if waiting.order.is_empty() {
            waiting.first_at = None;
        }
        Taken { keys, first_at }
    }

    /// Takes what concerns more than single keys.
    pub fn take_flags(&self) -> Flags {
        std::mem::take(&mut self.lock().flags)
    }

    /// How many pushes came since the last call.
    pub fn take_count(&self) -> u64 {
        std::mem::take(&mut self.lock().pushed)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can panic half-way, so a poisoned lock still guards a whole value.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_once_and_what_does_not_fit_asks_for_a_scan() {
        let nudges = Nudges::default();
        for _ in 0..10 {
            nudges.push(b"a");
            nudges.push(b"b");
        }
        assert_eq!(nudges.take_count(), 20);
        let taken = nudges.take(1);
        assert_eq!((taken.keys.len(), &*taken.keys[0]), (1, b"a".as_slice()));
        nudges.push(b"a");
        let rest: Vec<_> = nudges.take(9).keys.iter().map(|key| key.to_vec()).collect();
        assert_eq!(rest, [b"b".to_vec(), b"a".to_vec()]);
        for i in 0..=limits::NUDGES {
            nudges.push(&i.to_le_bytes());
        }
        assert_eq!(nudges.take_flags(), Flags { overflowed: true, ..Flags::default() });
        assert_eq!(nudges.take(usize::MAX).keys.len(), limits::NUDGES);
        assert_eq!(nudges.take_flags(), Flags::default());
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_what_came_before_and_after_it_waits() {
        let nudges = std::sync::Arc::new(Nudges::default());
        nudges.push_flush();
        nudges.ready().await;
        assert!(nudges.take_flags().flushed);
        let waiter = tokio::spawn({
            let nudges = std::sync::Arc::clone(&nudges);
            async move { nudges.ready().await }
        });
        tokio::task::yield_now().await;
        nudges.push_lost("gone");
        waiter.await.unwrap();
        assert_eq!(nudges.take_flags().lost.as_deref(), Some("gone"));
    }
}
