//! The heartbeat: writes an agent's record under a lease and keeps renewing it, and says goodbye at the end.
//! The sidecar and the demo's simulated fleet use this one.

use crate::limits::registry as limits;
use crate::model::{AgentKey, Record, State};
use crate::registry::{Error, Registry, record};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A heartbeat that beats until it is stopped or killed. Dropping it kills it: the agent stays until its lease ends.
#[derive(Debug)]
pub struct Heartbeat {
    key: AgentKey,
    record: watch::Sender<Arc<Record>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Heartbeat {
    /// Writes `record` under `key` at once, and again every third of `lease` (less or more a tenth of it).
    /// When `stop` is cancelled the agent says goodbye: it is written as draining once, then removed.
    pub fn start(
        registry: Registry,
        key: AgentKey,
        record: Record,
        lease: Duration,
        stop: CancellationToken,
    ) -> Self {
        // A child: stopping this heartbeat must not stop the others that share the signal.
        let stop = stop.child_token();
        let (sender, receiver) = watch::channel(Arc::new(record));
        let lease = lease.clamp(limits::LEASE.min, limits::LEASE.max);
        let beat = Beat {
            registry,
            key: key.clone(),
            lease,
            record: receiver,
            failing: false,
            written: String::new(),
        };
        let task = tokio::spawn(beat.run(stop.clone()));
        Self { key, record: sender, stop, task }
    }

    /// Which agent this is.
    pub fn key(&self) -> &AgentKey {
        &self.key
    }

    /// The record as it is written now.
    pub fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record.borrow())
    }

    /// Changes the record; it is written at once.
    pub fn change(&self, edit: impl FnOnce(&mut Record)) {
        self.record.send_modify(|record| edit(Arc::make_mut(record)));
    }

    /// The agent takes no new clients from now on; it stays in the registry.
    pub fn drain(&self) {
        self.change(|record| record.state = State::Draining);
    }

    /// Says goodbye and waits until that is done, a bounded time.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }

    /// Ends without a goodbye, as a crash would.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Beat {
    registry: Registry,
    key: AgentKey,
    lease: Duration,
    record: watch::Receiver<Arc<Record>>,
    failing: bool,
    /// What was written last.
    written: String,
}

impl Beat {
    async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.beat() => {}
        }
        if tokio::time::timeout(limits::GOODBYE, self.goodbye()).await.is_err() {
            tracing::warn!(agent = %self.key, "no goodbye: the registry did not answer; the lease will run out");
        }
    }

    async fn beat(&mut self) {
        let mut failures: u32 = 0;
        loop {
            let record = Arc::clone(&self.record.borrow_and_update());
            self.written = record::to_json(&record);
            let done = self.registry.put(&self.key, &self.written, self.lease).await;
            self.report(&done);
            failures = if done.is_ok() { 0 } else { failures.saturating_add(1) };
            let wait = if failures == 0 { self.interval() } else { self.retry_after(failures) };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // The sender lives as long as the heartbeat; without it only the interval counts.
                changed = self.record.changed() => if changed.is_err() { tokio::time::sleep(wait).await },
            }
        }
    }

    /// A third of the lease, so that two writes may fail, with a jitter that keeps a fleet from beating in step.
    fn interval(&self) -> Duration {
        (self.lease / 3).mul_f64(0.9 + 0.2 * fastrand::f64())
    }

    fn retry_after(&self, failures: u32) -> Duration {
        let most = limits::RECONNECT_MOST.min(self.lease / 3);
        let step = limits::RECONNECT_FIRST.saturating_mul(1 << failures.min(16)).min(most);
        // Never less than a tenth: a change of the record must not turn retries into a busy loop.
        step.mul_f64(0.1 + 0.9 * fastrand::f64())
    }

    /// Says it once when writing begins to fail, and once when it works again.
    fn report(&mut self, done: &Result<(), Error>) {
        match done {
            Ok(()) if self.failing => tracing::info!(agent = %self.key, "the heartbeat is written again"),
            Err(error) if !self.failing => {
                let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(agent = %self.key, %error, reason, "the heartbeat can't be written; trying on");
            }
            _ => {}
        }
        self.failing = done.is_err();
    }

    async fn goodbye(&mut self) {
        // A successor of the same name may have taken over: its record is not ours to remove. Where reading is not
        // allowed we can't know, and say goodbye.
        match self.registry.current(&self.key).await {
            Ok(Some(there)) if there != self.written.as_bytes() => {
                tracing::info!(agent = %self.key, "another process writes this agent's record now; it is left alone");
                return;
            }
            _ => {}
        }
        let mut record = Record::clone(&self.record.borrow());
        record.state = State::Draining;
        // Those who only see this one take the agent out of new placements before it is gone.
        let _ = self.registry.put(&self.key, &record::to_json(&record), self.lease).await;
        if let Err(error) = self.registry.remove(&self.key).await {
            tracing::warn!(agent = %self.key, %error, "no goodbye; the lease will run out");
        }
    }
}
