//! The only reader of time. Everything that decides takes a [`Moment`]; tests turn the hands themselves.

use crate::model::Moment;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A monotonic clock: the machine's, or one that a test moves.
#[derive(Clone, Debug)]
pub struct Clock(Hands);

#[derive(Clone, Debug)]
enum Hands {
    Machine(Instant),
    /// Milliseconds of the monotonic clock, and the wall clock's at its zero.
    Manual(Arc<AtomicU64>, u64),
}

impl Clock {
    /// The machine's monotonic clock. It starts at one second, so that "a little before now" exists from the start.
    pub fn machine() -> Self {
        let start = Instant::now();
        Self(Hands::Machine(start.checked_sub(Duration::from_secs(1)).unwrap_or(start)))
    }

    /// A clock that stands at `millis` until [`Clock::advance`] moves it; its wall clock begins with the machine's.
    pub fn manual(millis: u64) -> Self {
        Self::manual_since(millis, unix_seconds())
    }

    /// As [`Clock::manual`], with the wall clock at `unix` seconds since 1970.
    pub fn manual_since(millis: u64, unix: u64) -> Self {
        let millis = millis.max(1);
        let zero = unix.saturating_mul(1_000).saturating_sub(millis);
        Self(Hands::Manual(Arc::new(AtomicU64::new(millis)), zero))
    }

    /// Now.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Hands::Machine(start) => {
                Moment::from_millis(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
            }
            Hands::Manual(millis, _) => Moment::from_millis(millis.load(Ordering::Relaxed)),
        }
    }

    /// Seconds since 1970, for what protocols date by the wall clock: the validity of signatures.
    pub fn unix(&self) -> u64 {
        match &self.0 {
            Hands::Machine(_) => unix_seconds(),
            Hands::Manual(millis, zero) => (zero + millis.load(Ordering::Relaxed)) / 1_000,
        }
    }

    /// Moves a manual clock forward; the machine's is left alone.
    pub fn advance(&self, by: Duration) {
        if let Hands::Manual(millis, _) = &self.0 {
            millis.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

fn millis_of(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Wall-clock time, for what people read (logs, records, `started_at`) and where a protocol asks for it (TSIG, DNSSEC,
/// DNS cookies). No other decision is made by it.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970 by the wall clock.
pub fn unix_seconds() -> u64 {
    millis_of(wall()) / 1_000
}

/// A stopwatch for latencies in metrics and tests.
pub fn stopwatch() -> Instant {
    Instant::now()
}
