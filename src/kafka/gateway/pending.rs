//! Requests of one connection whose replies must not stream through untouched, by correlation id, until the reply
//! comes. Not a queue of all requests: a Produce with acks=0 has no reply, and what streams needs no memory.

use super::programs::Op;
use super::rewrite::Asked;
use crate::limits::gateway as limits;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tokio::sync::Notify;

/// A reply that is waited for.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The correlation id of the request.
    pub correlation: i32,
    /// What is done with it.
    pub handling: Handling,
}

/// What is done with a reply.
#[derive(Clone, Debug)]
pub enum Handling {
    /// It is held back and rewritten.
    Rewrite(Asked),
    /// It streams, and endpoints in it are blotted out.
    Walk(&'static str, &'static [Op]),
}

/// What both directions of a connection know. Bounded: while it is full, the client is not read.
#[derive(Debug, Default)]
pub struct Pending {
    expected: Mutex<VecDeque<Expected>>,
    room: Notify,
    /// Requests that were passed on and whose replies have not come. A reply that nobody asked for makes it negative.
    in_flight: AtomicI64,
    /// A reply was passed on whole.
    served: AtomicBool,
    /// A request has come in part.
    partial: AtomicBool,
    quiet: Notify,
}

/// Two requests that wait for their replies have the same correlation id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two requests in flight have correlation id {0}")]
pub struct Twice(pub i32);

impl Pending {
    /// Notes a request. `Ok(false)` if there is no room.
    pub fn note(&self, expected: &Expected) -> Result<bool, Twice> {
        let Ok(mut list) = self.expected.lock() else { return Ok(false) };
        if list.iter().any(|other| other.correlation == expected.correlation) {
            return Err(Twice(expected.correlation));
        }
        if list.len() >= limits::PENDING {
            return Ok(false);
        }
        list.push_back(expected.clone());
        Ok(true)
    }

    /// Waits until a reply has made room.
    pub async fn room(&self) {
        self.room.notified().await;
    }

    /// What is to be done with the reply of that correlation id, if anything.
    pub fn take(&self, correlation: i32) -> Option<Handling> {
        let mut list = self.expected.lock().ok()?;
        let at = list.iter().position(|expected| expected.correlation == correlation)?;
        let found = list.remove(at)?;
        drop(list);
        self.room.notify_one();
        Some(found.handling)
    }

    /// A request that has a reply is passed on.
    pub fn asked(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A reply was passed on whole.
    pub fn answered(&self) {
        self.served.store(true, Ordering::Relaxed);
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) <= 1 {
            self.quiet.notify_one();
        }
    }

    /// Whether a request has come in part.
    pub fn set_partial(&self, partial: bool) {
        self.partial.store(partial, Ordering::Relaxed);
    }

    /// Whether every request came whole and has its reply.
    pub fn is_quiet(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) <= 0 && !self.partial.load(Ordering::Relaxed)
    }

    /// Whether any reply was passed on. Some clients take a connection that ends before its first reply for a wrong
    /// listener (franz-go: "is TLS missing?") and tell the application.
    pub fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until the last reply that was awaited has come.
    pub async fn quiet(&self) {
        self.quiet.notified().await;
    }
}
