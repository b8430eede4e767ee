//! What the kafka room counts. Every label has a bounded set of values: APIs that are answered, outcomes, reasons, and
//! at most [`limits::ZONE_LABELS`] zones that agents named (never what clients say).

use super::tls;
use crate::limits::kafka as limits;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

/// The zone label of what has no better one.
pub const OTHER: &str = "other";

/// The kafka room's metrics.
#[derive(Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    zones: IntCounterVec,
    fallbacks: IntCounterVec,
    agents: IntCounterVec,
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
    known_agents: RwLock<HashSet<String>>,
    names_agents: AtomicBool,
}

/// Placements that were not as asked for, and placements by agent.
fn placements() -> prometheus::Result<(IntCounterVec, IntCounterVec)> {
    let fallbacks = IntCounterVec::new(
        Opts::new(
            "fingerpost_kafka_fallbacks_total",
            "Placements that could not be as asked for, by the client's zone and why: zone (its zone had no agent \
             to give), role (no agent had the role), draining (no agent was ready)",
        ),
        &["zone", "reason"],
    )?;
    let agents = IntCounterVec::new(
        Opts::new(
            "fingerpost_kafka_agent_placements_total",
            "Replies in which one agent led everything, by agent; only with agent_metrics, for a bounded number of \
             agents (the others: other)",
        ),
        &["cluster", "group", "agent"],
    )?;
    Ok((fallbacks, agents))
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
        let (fallbacks, agents) = placements()?;
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
        registry.register(Box::new(fallbacks.clone()))?;
        registry.register(Box::new(agents.clone()))?;
        registry.register(Box::new(closed.clone()))?;
        registry.register(Box::new(groups.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(accepted.clone()))?;
        registry.register(Box::new(reply_bytes.clone()))?;
        Ok(Self {
            requests,
            zones,
            fallbacks,
            agents,
            closed,
            groups,
            entry: Arc::new(tls::Metrics::register(registry, "kafka")?),
            seconds,
            open,
            accepted,
            reply_bytes,
            known_zones: RwLock::default(),
            known_agents: RwLock::default(),
            names_agents: AtomicBool::new(false),
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

    /// One client of `zone` could not be placed as it asked for.
    pub fn fallback(&self, zone: Option<&str>, reason: &'static str) {
        let zone = zone.filter(|zone| self.may_name(zone)).unwrap_or(OTHER);
        self.fallbacks.with_label_values(&[zone, reason]).inc();
    }

    /// From now on, agents have counters of their own.
    pub fn name_agents(&self) {
        self.names_agents.store(true, Ordering::Relaxed);
    }

    /// Whether agents have counters of their own.
    pub fn names_agents(&self) -> bool {
        self.names_agents.load(Ordering::Relaxed)
    }

    /// One agent leads everything in a reply.
    pub fn led(&self, cluster: &str, group: &str, agent: &str) {
        let name = format!("{cluster}/{group}/{agent}");
        let labels = match may_name(&self.known_agents, &name, limits::AGENT_LABELS) {
            true => [cluster, group, agent],
            false => [OTHER; 3],
        };
        self.agents.with_label_values(&labels).inc();
    }

    /// How many placements of `zone` fell back for `reason` by now.
    pub fn fallbacks_of(&self, zone: &str, reason: &str) -> u64 {
        self.fallbacks.with_label_values(&[zone, reason]).get()
    }

    /// How many replies an agent led by now.
    pub fn led_by(&self, cluster: &str, group: &str, agent: &str) -> u64 {
        self.agents.with_label_values(&[cluster, group, agent]).get()
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
        may_name(&self.known_zones, zone, limits::ZONE_LABELS)
    }
}

/// Whether a name has, or gets, a label of its own among at most `most`.
fn may_name(known: &RwLock<HashSet<String>>, name: &str, most: usize) -> bool {
    let Ok(reading) = known.read() else { return false };
    if reading.contains(name) {
        return true;
    }
    if reading.len() >= most {
        return false;
    }
    drop(reading);
    let Ok(mut writing) = known.write() else { return false };
    writing.contains(name) || (writing.len() < most && writing.insert(name.to_owned()))
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
