//! What zone transfers count. The label `zone` has the configured zones as its values, the others a few words of ours.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Zone transfers' metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    transfers: IntCounterVec,
    notifies: IntCounterVec,
    serial: IntGaugeVec,
    records: IntGaugeVec,
    /// Bytes of transfers.
    pub bytes: IntCounter,
    /// Seconds that building a zone's content took.
    pub build_seconds: Histogram,
    /// Times that another replica was overruled without a change of ours.
    pub disputes: IntCounter,
    /// Times that the registry did not keep or tell a serial.
    pub registry_errors: IntCounter,
}

impl Metrics {
    /// Metrics at zero, registered.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let all = IntCounterVec::new(Opts::new(format!("fingerpost_dns_{name}_total"), help), labels)?;
            registry.register(Box::new(all.clone()))?;
            Ok(all)
        };
        let gauges = |name: &str, help: &str| -> prometheus::Result<IntGaugeVec> {
            let all = IntGaugeVec::new(Opts::new(format!("fingerpost_dns_{name}"), help), &["zone"])?;
            registry.register(Box::new(all.clone()))?;
            Ok(all)
        };
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(format!("fingerpost_dns_{name}_total"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let buckets = vec![0.000_1, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5];
        let options = HistogramOpts::new(
            "fingerpost_dns_zone_build_seconds",
            "Time that listing the records of a zone for its secondaries took.",
        );
        let build_seconds = Histogram::with_opts(options.buckets(buckets))?;
        registry.register(Box::new(build_seconds.clone()))?;
        Ok(Self {
            transfers: counters(
                "transfers",
                "Transfers to secondaries by what was sent and how it ended.",
                &["kind", "result"],
            )?,
            notifies: counters(
                "notifies",
                "NOTIFY messages to secondaries, and what came of them.",
                &["result"],
            )?,
            serial: gauges("zone_serial", "The serial of a zone that secondaries copy.")?,
            records: gauges("zone_records", "Records of a zone that secondaries copy.")?,
            bytes: counter("transfer_bytes", "Bytes of transfers to secondaries.")?,
            build_seconds,
            disputes: counter(
                "serial_disputes",
                "Times that another replica's content of a zone was overruled without a change of ours.",
            )?,
            registry_errors: counter(
                "serial_errors",
                "Times that the registry did not keep or tell the serial of a zone.",
            )?,
        })
    }

    /// Counts a transfer.
    pub fn transferred(&self, kind: &str, result: &str) {
        self.transfers.with_label_values(&[kind, result]).inc();
    }

    /// Counts a NOTIFY, or what came of it.
    pub fn notified(&self, result: &str) {
        self.notifies.with_label_values(&[result]).inc();
    }

    /// Sets what a zone has.
    pub fn published(&self, zone: &str, serial: u32, records: usize) {
        self.serial.with_label_values(&[zone]).set(i64::from(serial));
        self.records.with_label_values(&[zone]).set(i64::try_from(records).unwrap_or(i64::MAX));
    }
}
