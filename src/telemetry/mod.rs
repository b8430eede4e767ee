//! Every metric and its name. Fronts count into plain structs of atomics; this is where they get names and help.

pub mod admin;
pub mod config;
pub mod dns;
pub mod dnssec;
pub mod gateway;
pub mod kafka;
pub mod registry;
pub mod tcp;
pub mod tls;
pub mod transfer;

use prometheus::Registry;
use std::sync::Arc;

/// All that is counted, by room.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// What `/metrics` prints.
    pub registry: Registry,
    /// The DNS front.
    pub dns: Arc<dns::Metrics>,
    /// The Kafka front.
    pub kafka: Arc<kafka::Metrics>,
    /// The gateway.
    pub gateway: Arc<gateway::Metrics>,
    /// The admin front.
    pub admin: Arc<admin::Metrics>,
    /// The configuration in use.
    pub config: Arc<config::Metrics>,
    /// Following the registry.
    pub follow: Arc<registry::Metrics>,
}

impl Telemetry {
    /// Metrics at zero, all registered. Fails only if two metrics have one name, which a test excludes.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let dns = Arc::new(dns::Metrics::register(&registry)?);
        let kafka = Arc::new(kafka::Metrics::register(&registry)?);
        let gateway = Arc::new(gateway::Metrics::register(&registry)?);
        let admin = Arc::new(admin::Metrics::register(&registry)?);
        let config = Arc::new(config::Metrics::register(&registry)?);
        let follow = Arc::new(registry::Metrics::register(&registry)?);
        Ok(Self { registry, dns, kafka, gateway, admin, config, follow })
    }

    /// Every metric in the Prometheus text format.
    pub fn text(&self) -> prometheus::Result<String> {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
