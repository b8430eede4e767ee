//! What listeners count before a connection speaks its protocol: TLS handshakes, certificates in use, PROXY headers.
//! Labels are outcomes of ours, addresses and files of the configuration.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// Metrics of TLS and of the PROXY protocol.
#[derive(Debug)]
pub struct Metrics {
    handshakes: IntCounterVec,
    not_after: IntGaugeVec,
    reload_ok: IntGaugeVec,
    reloads: IntGaugeVec,
    proxy: IntCounterVec,
}

impl Metrics {
    /// Metrics at zero, registered for one front; the fronts share the names.
    pub fn register(registry: &Registry, front: &str) -> prometheus::Result<Self> {
        let options = |name: &str, help: &str| Opts::new(name, help).const_label("front", front);
        let counter = |name: &str, help: &str, label: &str| -> prometheus::Result<IntCounterVec> {
            let counter = IntCounterVec::new(options(name, help), &[label])?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
            let gauge = IntGaugeVec::new(options(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Self {
            handshakes: counter(
                "fingerpost_tls_handshakes_total",
                "TLS handshakes of clients by how they ended: ok, or the kind of failure",
                "outcome",
            )?,
            not_after: gauge(
                "fingerpost_tls_certificate_not_after_seconds",
                "End of validity of a certificate in use, in seconds since 1970",
                &["listener", "file"],
            )?,
            reload_ok: gauge(
                "fingerpost_tls_reload_ok",
                "1 while the certificate files as they are now are in use, 0 while they were refused",
                &["listener"],
            )?,
            reloads: gauge(
                "fingerpost_tls_reloads",
                "Changes of the certificate files since the start, by whether they were taken",
                &["listener", "outcome"],
            )?,
            proxy: counter(
                "fingerpost_proxy_refusals_total",
                "Connections refused for their PROXY header, by why",
                "reason",
            )?,
        })
    }

    /// One handshake ended.
    pub fn handshake(&self, outcome: &'static str) {
        self.handshakes.with_label_values(&[outcome]).inc();
    }

    /// One connection was refused for its PROXY header.
    pub fn proxy_refused(&self, reason: &'static str) {
        self.proxy.with_label_values(&[reason]).inc();
    }

    /// A certificate is in use until `not_after`.
    pub fn certificate(&self, listener: &str, file: &str, not_after: i64) {
        self.not_after.with_label_values(&[listener, file]).set(not_after);
    }

    /// How the reloads of a listener went.
    pub fn reloads(&self, listener: &str, ok: bool, taken: u64, refused: u64) {
        let count = |outcome: &str, number: u64| {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.reloads.with_label_values(&[listener, outcome]).set(number);
        };
        self.reload_ok.with_label_values(&[listener]).set(i64::from(ok));
        count("taken", taken);
        count("refused", refused);
    }

    /// How many handshakes ended with `outcome` by now.
    pub fn handshakes_of(&self, outcome: &str) -> u64 {
        self.handshakes.with_label_values(&[outcome]).get()
    }

    /// How many connections were refused for their header for `reason` by now.
    pub fn proxy_refusals_of(&self, reason: &str) -> u64 {
        self.proxy.with_label_values(&[reason]).get()
    }
}
