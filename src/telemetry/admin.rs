//! What the admin room counts.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// The admin room's metrics.
#[derive(Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    /// Connections open now.
    pub open: IntGauge,
}

impl Metrics {
    /// Metrics at zero, registered.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new(
                "fingerpost_admin_requests_total",
                "HTTP requests to the admin API by route and status.",
            ),
            &["route", "status"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        let open = IntGauge::new(
            "fingerpost_admin_connections_open",
            "Connections to the admin API that are open.",
        )?;
        registry.register(Box::new(open.clone()))?;
        let build = IntGauge::with_opts(
            Opts::new("fingerpost_build_info", "Always 1; the label says which version runs.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1);
        registry.register(Box::new(build))?;
        Ok(Self { requests, open })
    }

    /// Counts an answer. `route` is one of ours or `other`, never what a client wrote.
    pub fn answered(&self, route: &str, status: u16) {
        self.requests.with_label_values(&[route, &status.to_string()]).inc();
    }
}
