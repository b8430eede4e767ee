//! What the registry room counts.

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

/// The registry room's metrics.
#[derive(Debug)]
pub struct Metrics {
    /// 1 while the registry is connected and was read in full, else 0.
    pub connected: IntGauge,
    /// Seconds since the registry was last heard, as of the last look (each second).
    pub view_age: Gauge,
    /// The generation of the published snapshot.
    pub generation: IntGauge,
    /// Agents held.
    pub agents: IntGauge,
    /// Groups known.
    pub groups: IntGauge,
    /// Refused records shown now.
    pub refused: IntGauge,
    /// Records refused since the start; repetitions of the same refusal count once.
    pub refusals: IntCounter,
    /// Changes pushed by the registry.
    pub nudges: IntCounter,
    /// Records read.
    pub reads: IntCounter,
    /// Full scans completed.
    pub scans: IntCounter,
    /// Changes that only a scan found: a push was lost.
    pub repaired: IntCounter,
    /// Connections made, the first included.
    pub connects: IntCounter,
    /// Snapshots published.
    pub publishes: IntCounter,
    /// Seconds that building and publishing a snapshot took.
    pub publish_seconds: Histogram,
    /// Seconds from the arrival of a push to the publication of what it changed.
    pub lag_seconds: Histogram,
}

impl Metrics {
    /// Metrics at zero, registered.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(format!("fingerpost_registry_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(format!("fingerpost_registry_{name}_total"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let seconds = |name: &str, help: &str| -> prometheus::Result<Histogram> {
            let buckets = vec![0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 1.0];
            let options =
                HistogramOpts::new(format!("fingerpost_registry_{name}_seconds"), help).buckets(buckets);
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let view_age =
            Gauge::new("fingerpost_registry_view_age_seconds", "Seconds since the registry was last heard")?;
        registry.register(Box::new(view_age.clone()))?;
        Ok(Self {
            connected: gauge("connected", "1 while the registry is connected and was read in full")?,
            view_age,
            generation: gauge("generation", "Generation of the published snapshot")?,
            agents: gauge("agents", "Agents held")?,
            groups: gauge("groups", "Groups known")?,
            refused: gauge("refused_records", "Refused records shown now")?,
            refusals: counter("refusals", "Records refused since the start")?,
            nudges: counter("nudges", "Changes pushed by the registry")?,
            reads: counter("reads", "Records read")?,
            scans: counter("scans", "Full scans completed")?,
            repaired: counter("repaired", "Changes that only a scan found; should stay 0")?,
            connects: counter("connects", "Connections made, the first included")?,
            publishes: counter("publishes", "Snapshots published")?,
            publish_seconds: seconds("publish", "Time to build and publish a snapshot")?,
            lag_seconds: seconds("lag", "From the arrival of a push to the publication of what it changed")?,
        })
    }
}
