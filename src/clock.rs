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
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's monotonic clock. It starts at one second, so that "a little before now" exists from the start.
    pub fn machine() -> Self {
        let start = Instant::now();
        Self(Hands::Machine(start.checked_sub(Duration::from_secs(1)).unwrap_or(start)))
    }

    /// A clock that stands at `millis` until [`Clock::advance`] moves it.
    pub fn manual(millis: u64) -> Self {
        Self(Hands::Manual(Arc::new(AtomicU64::new(millis.max(1)))))
    }

    /// Now.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Hands::Machine(start) => {
                Moment::from_millis(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
            }
            Hands::Manual(millis) => Moment::from_millis(millis.load(Ordering::Relaxed)),
        }
    }

    /// Moves a manual clock forward; the machine's is left alone.
    pub fn advance(&self, by: Duration) {
        if let Hands::Manual(millis) = &self.0 {
            millis.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

/// Wall-clock time, for what people read (logs, records, `started_at`) and where a protocol asks for it (TSIG, DNS
/// cookies). No other decision is made by it.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970 by the wall clock.
pub fn unix_seconds() -> u64 {
    wall().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A stopwatch for latencies in metrics and tests.
pub fn stopwatch() -> Instant {
    Instant::now()
}
