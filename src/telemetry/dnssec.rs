//! What signing counts.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Why a signature was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// A query asked for what had none yet.
    ByQuery,
    /// In the background: a signature was due, or another key takes over.
    InAdvance,
}

/// Why an answer went without its signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Too many signatures at once, over UDP: TC.
    BusyUdp,
    /// The same over TCP: SERVFAIL.
    BusyTcp,
    /// They could not be made: SERVFAIL.
    Failed,
}

/// The metrics of signing.
#[derive(Debug)]
pub struct Metrics {
    made: IntCounterVec,
    missed: IntCounterVec,
    kept: IntGauge,
}

impl Metrics {
    /// Metrics at zero, registered.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, label: &str, values: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
            values.iter().for_each(|value| counter.with_label_values(&[*value]).reset());
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let made = counter(
            "fingerpost_dns_signatures_total",
            "DNSSEC signatures made, for a query or in advance.",
            "by",
            &["query", "advance"],
        )?;
        let missed = counter(
            "fingerpost_dns_signatures_missed_total",
            "Answers that lack signatures: too many at once (TC over UDP, SERVFAIL over TCP), or an error.",
            "reason",
            &["busy_udp", "busy_tcp", "failed"],
        )?;
        let kept = IntGauge::new("fingerpost_dns_signatures", "DNSSEC signatures held.")?;
        registry.register(Box::new(kept.clone()))?;
        Ok(Self { made, missed, kept })
    }

    /// Counts a signature.
    pub fn made(&self, made: Made) {
        self.made.with_label_values(&[if made == Made::ByQuery { "query" } else { "advance" }]).inc();
    }

    /// Counts an answer without signatures.
    pub fn missed(&self, missed: Missed) {
        let reason = match missed {
            Missed::BusyUdp => "busy_udp",
            Missed::BusyTcp => "busy_tcp",
            Missed::Failed => "failed",
        };
        self.missed.with_label_values(&[reason]).inc();
    }

    /// Sets how many signatures are held.
    pub fn kept(&self, count: usize) {
        self.kept.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
