//! Which configuration is in use, and how attempts at a newer one went.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Metrics of the configuration.
#[derive(Debug)]
pub struct Metrics {
    success: IntGauge,
    success_at: IntGauge,
    hash: IntGauge,
    reloads: IntCounterVec,
}

impl Metrics {
    /// Metrics at zero, registered.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let reloads = IntCounterVec::new(
            Opts::new(
                "fingerpost_config_reloads_total",
                "Attempts to take a changed configuration by how they ended: taken or refused",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(reloads.clone()))?;
        Ok(Self {
            success: gauge(
                "fingerpost_config_reload_success",
                "1 while the configuration and zone files as last read are in use, 0 while they were refused",
            )?,
            success_at: gauge(
                "fingerpost_config_reload_success_timestamp_seconds",
                "When the configuration in use was taken, in seconds since 1970",
            )?,
            hash: gauge(
                "fingerpost_config_hash",
                "48 bits of a hash of the configuration and zone files in use; replicas that should be alike have one",
            )?,
            reloads,
        })
    }

    /// A configuration is in use from now on (`at`, in seconds since 1970).
    pub fn in_use(&self, hash: u64, at: i64) {
        self.hash.set(i64::try_from(hash).unwrap_or(i64::MAX));
        self.success_at.set(at);
        self.success.set(1);
    }

    /// Another configuration was taken.
    pub fn taken(&self) {
        self.reloads.with_label_values(&["taken"]).inc();
    }

    /// A configuration was refused; the one before stays.
    pub fn refused(&self) {
        self.success.set(0);
        self.reloads.with_label_values(&["refused"]).inc();
    }
}
