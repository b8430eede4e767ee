//! What the dns room counts.

use prometheus::Registry;

/// The dns room's metrics.
#[derive(Debug)]
pub struct Metrics {}

impl Metrics {
    /// Metrics at zero, registered.
    pub fn register(_registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {})
    }
}
