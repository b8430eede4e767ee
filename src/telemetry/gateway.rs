//! What the gateway counts. Labels are of fixed sets: APIs that are rewritten, directions, reasons.

use super::tls;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::sync::Arc;

/// The gateway's metrics.
#[derive(Debug)]
pub struct Metrics {
    /// Connections open now.
    pub open: IntGauge,
    /// Connections accepted.
    pub accepted: IntCounter,
    /// Bytes from clients to the upstream.
    pub upstream_bytes: IntCounter,
    /// Bytes from the upstream to clients.
    pub client_bytes: IntCounter,
    /// Times that a client was not read because too many of its replies were awaited.
    pub pending_full: IntCounter,
    /// Whether the upstream is well.
    pub upstream_up: IntGauge,
    /// TLS and PROXY headers of clients.
    pub entry: Arc<tls::Metrics>,
    rewrites: IntCounterVec,
    closed: IntCounterVec,
    upstream_errors: IntCounterVec,
}

impl Metrics {
    /// Metrics at zero, registered.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let vector = |name: &str, help: &str, label: &str| {
            let vector = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(vector.clone()))?;
            prometheus::Result::Ok(vector)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let bytes = vector(
            "fingerpost_gateway_bytes_total",
            "Bytes that the gateway passed on, by where to (upstream, client)",
            "to",
        )?;
        Ok(Self {
            open: gauge("fingerpost_gateway_connections", "Client connections of the gateway open now")?,
            accepted: counter(
                "fingerpost_gateway_connections_total",
                "Client connections that the gateway accepted",
            )?,
            upstream_bytes: bytes.with_label_values(&["upstream"]),
            client_bytes: bytes.with_label_values(&["client"]),
            pending_full: counter(
                "fingerpost_gateway_pending_full_total",
                "Times that a client had to wait because too many of its replies were awaited",
            )?,
            upstream_up: gauge(
                "fingerpost_gateway_upstream_up",
                "1 while the upstream answers probes, else 0",
            )?,
            entry: Arc::new(tls::Metrics::register(registry, "gateway")?),
            rewrites: vector(
                "fingerpost_gateway_rewrites_total",
                "Replies that were rewritten, or of which something was blotted out, by API",
                "api",
            )?,
            closed: vector(
                "fingerpost_gateway_connections_closed_total",
                "Client connections of the gateway by why they were closed",
                "reason",
            )?,
            upstream_errors: vector(
                "fingerpost_gateway_upstream_errors_total",
                "Failures of the upstream: connect, lost, unreadable, probe",
                "kind",
            )?,
        })
    }

    /// One reply of `api` was rewritten.
    pub fn rewritten(&self, api: &'static str) {
        self.rewrites.with_label_values(&[api]).inc();
    }

    /// One connection was closed.
    pub fn closed(&self, reason: &'static str) {
        self.closed.with_label_values(&[reason]).inc();
    }

    /// The upstream failed.
    pub fn upstream_error(&self, kind: &'static str) {
        self.upstream_errors.with_label_values(&[kind]).inc();
    }

    /// How many replies of `api` were rewritten by now.
    pub fn rewritten_of(&self, api: &str) -> u64 {
        self.rewrites.with_label_values(&[api]).get()
    }

    /// How often the upstream failed in that way by now.
    pub fn upstream_errors_of(&self, kind: &str) -> u64 {
        self.upstream_errors.with_label_values(&[kind]).get()
    }

    /// How many connections were closed for `reason` by now.
    pub fn closed_of(&self, reason: &str) -> u64 {
        self.closed.with_label_values(&[reason]).get()
    }
}
