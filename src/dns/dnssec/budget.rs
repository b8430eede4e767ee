//! How many signatures queries may cause: a token bucket in one atomic number.

use crate::limits::dnssec as limits;
use crate::model::Moment;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bucket that fills at a steady rate.
#[derive(Debug)]
pub(super) struct Budget {
    /// The microsecond at which the bucket is full again (the theoretical arrival time of GCRA).
    full_at: AtomicU64,
    /// Microseconds that one signature costs.
    cost: u64,
}

impl Budget {
    /// A full bucket of so many signatures per second.
    pub(super) fn new(rate: u64) -> Self {
        Self { full_at: AtomicU64::new(0), cost: 1_000_000 / rate.max(1) }
    }

    /// Takes one signature out, if there is one.
    pub(super) fn take(&self, now: Moment) -> bool {
        let now = now.millis().saturating_mul(1_000);
        let most = now.saturating_add(limits::BURST_SECONDS * 1_000_000);
        let spend = |full_at: u64| Some(full_at.max(now) + self.cost).filter(|full_at| *full_at <= most);
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_spent_and_comes_back_with_time() {
        let budget = Budget::new(100);
        let taken = |at: u64| (0..1_000).filter(|_| budget.take(Moment::from_millis(at))).count() as u64;
        assert_eq!(taken(10_000), 100 * limits::BURST_SECONDS);
        assert_eq!((taken(10_000), taken(10_050)), (0, 5));
        assert_eq!(taken(60_000), 100 * limits::BURST_SECONDS);
    }
}
