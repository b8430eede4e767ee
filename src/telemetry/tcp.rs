//! What every TCP listener counts; the fronts give the counts their names.

use std::sync::atomic::AtomicU64;

/// What happened at one listener. All but `open` only grow.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections accepted and handed on.
    pub accepted: AtomicU64,
    /// Connections closed at once because their source had its share.
    pub over_source_limit: AtomicU64,
    /// Errors of accept itself.
    pub errors: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
}
