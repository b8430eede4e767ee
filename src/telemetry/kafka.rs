//! What the kafka room counts. Every label has a bounded set of values: APIs that are answered, outcomes, reasons, and
//! at most [`limits::ZONE_LABELS`] zones that agents named (never what clients say).

use super::tls;
use crate::limits::kafka as limits;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::collections::HashSet;
use std::sync::{Arc, RwLock};

/// The zone label of what has no better one.
pub const OTHER: &str = "other";

/// The kafka room's metrics.
#[derive(Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    zones: IntCounterVec,
    closed: IntCounterVec,
    groups: IntCounterVec,
    /// TLS and PROXY headers of the listeners.
    pub entry: Arc<tls::Metrics>,
    /// Seconds from a request read to its reply ready to be written.
    pub seconds: Histogram,
    /// Connections open now, over all listeners.
    pub open: IntGauge,
    /// Connections accepted.
    pub accepted: IntCounter,
    /// Bytes of replies.
    pub reply_bytes: IntCounter,
    known_zones: RwLock<HashSet<String>>,
}

impl Metrics {
    /// Metrics at zero, registered.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new("fingerpost_kafka_requests_total", "Kafka requests by API and how they ended"),
            &["api", "outcome"],
        )?;
        let zones = IntCounterVec::new(
            Opts::new(
                "fingerpost_kafka_placements_total",
                "Metadata placements by the client's zone (other: no agent names it) and whether it was served \
                 there: hit, miss (its zone had no agent to give), unaware (nothing told its zone)",
            ),
            &["zone", "outcome"],
        )?;
        let closed = IntCounterVec::new(
            Opts::new(
                "fingerpost_kafka_connections_closed_total",
                "Kafka connections by why they were closed",
            ),
            &["reason"],
        )?;
        let groups = IntCounterVec::new(
            Opts::new(
                "fingerpost_kafka_group_refusals_total",
                "Kafka connections closed because no group, or no single one, was theirs, by why",
            ),
            &["reason"],
        )?;
        let seconds = Histogram::with_opts(
            HistogramOpts::new("fingerpost_kafka_request_seconds", "Seconds from request read to reply made")
                .buckets(vec![1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 1.0]),
        )?;
        let open = IntGauge::new("fingerpost_kafka_connections", "Kafka connections open now")?;
        let accepted = IntCounter::new("fingerpost_kafka_connections_total", "Kafka connections accepted")?;
        let reply_bytes = IntCounter::new("fingerpost_kafka_reply_bytes_total", "Bytes of Kafka replies")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(zones.clone()))?;
        registry.register(Box::new(closed.clone()))?;
        registry.register(Box::new(groups.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(accepted.clone()))?;
        registry.register(Box::new(reply_bytes.clone()))?;
        Ok(Self {
            requests,
            zones,
            closed,
            groups,
            entry: Arc::new(tls::Metrics::register(registry, "kafka")?),
            seconds,
            open,
            accepted,
            reply_bytes,
            known_zones: RwLock::default(),
        })
    }

    /// One request of `api` ended with `outcome`.
    pub fn request(&self, api: &'static str, outcome: &'static str) {
        self.requests.with_label_values(&[api, outcome]).inc();
    }

    /// One client of `zone` was placed; `None` is a client without a zone, or with one that no agent names.
    pub fn placement(&self, zone: Option<&str>, outcome: &'static str) {
        let zone = zone.filter(|zone| self.may_name(zone)).unwrap_or(OTHER);
        self.zones.with_label_values(&[zone, outcome]).inc();
    }

    /// One connection was closed.
    pub fn closed(&self, reason: &'static str) {
        self.closed.with_label_values(&[reason]).inc();
    }

    /// One connection was closed because it had no group.
    pub fn no_group(&self, reason: &'static str) {
        self.groups.with_label_values(&[reason]).inc();
    }

    /// How many connections had no group for `reason` by now.
    pub fn no_group_of(&self, reason: &str) -> u64 {
        self.groups.with_label_values(&[reason]).get()
    }

    /// How many requests of `api` ended with `outcome` by now.
    pub fn requests_of(&self, api: &str, outcome: &str) -> u64 {
        self.requests.with_label_values(&[api, outcome]).get()
    }

    /// How many connections were closed for `reason` by now.
    pub fn closed_of(&self, reason: &str) -> u64 {
        self.closed.with_label_values(&[reason]).get()
    }

    /// How many placements of `zone` had `outcome` by now.
    pub fn placements_of(&self, zone: &str, outcome: &str) -> u64 {
        self.zones.with_label_values(&[zone, outcome]).get()
    }

    /// Whether a zone has, or gets, a label of its own.
    fn may_name(&self, zone: &str) -> bool {
        let Ok(known) = self.known_zones.read() else { return false };
        if known.contains(zone) {
            return true;
        }
        if known.len() >= limits::ZONE_LABELS {
            return false;
        }
        drop(known);
        let Ok(mut known) = self.known_zones.write() else { return false };
        known.len() < limits::ZONE_LABELS && (known.insert(zone.to_owned()) || known.contains(zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_beyond_the_bound_share_one_label() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        for i in 0..limits::ZONE_LABELS + 10 {
            metrics.placement(Some(&format!("z{i}")), "hit");
        }
        metrics.placement(None, "hit");
        assert_eq!(metrics.placements_of("z0", "hit"), 1);
        assert_eq!(metrics.placements_of(OTHER, "hit"), 11);
    }
}
