//! What the DNS front counts. Each worker counts into cells of its own, which nobody else writes, so that counting
//! costs a store and no bus traffic; they are summed when `/metrics` is read.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, proto};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Kinds of names that answers are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the label's values
pub enum NameKind {
    Outside,
    Apex,
    Static,
    Cluster,
    Group,
    Zone,
    Agent,
    Address,
    Service,
    Unknown,
    None,
}

const KINDS: [&str; 11] = [
    "outside", "apex", "static", "cluster", "group", "zone", "agent", "address", "service", "unknown", "none",
];
/// Response codes that we give, by their place in the cells.
const RCODES: [(u8, &str); 10] = [
    (0, "noerror"),
    (1, "formerr"),
    (2, "servfail"),
    (3, "nxdomain"),
    (4, "notimp"),
    (5, "refused"),
    (6, "yxdomain"),
    (9, "notauth"),
    (16, "badvers"),
    (23, "badcookie"),
];
const TRANSPORTS: [&str; 2] = ["udp", "tcp"];
const ANSWERS: usize = TRANSPORTS.len() * RCODES.len() * KINDS.len();

/// What one answered packet is counted as.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Over TCP, else over UDP.
    pub tcp: bool,
    /// The response code.
    pub rcode: u8,
    /// The kind of name.
    pub name: NameKind,
}

/// The cells of one worker. Aligned so that no two workers' cells share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    answers: [AtomicU64; ANSWERS],
    events: [AtomicU64; EVENTS.len()],
    /// Whether more than one thread counts here.
    shared: bool,
    /// Where signatures are counted, by all workers alike: they are rare.
    signing: Arc<super::dnssec::Metrics>,
}

/// What is counted beside answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An `az-` name whose zone had a live agent.
    ZoneKept,
    /// An `az-` name that other zones answered for.
    ZoneLost,
    /// A packet shorter than a header.
    DroppedShort,
    /// A response that came as if it were a query.
    DroppedResponse,
    /// A packet from port 0, which no answer reaches.
    DroppedSource,
    /// An answer with TC.
    Truncated,
    /// An answer that the system did not take.
    SendError,
    /// An error of receiving.
    ReceiveError,
    /// A TCP connection that was idle for too long.
    CutIdle,
    /// A TCP peer that was too slow in sending or taking a message.
    CutSlow,
    /// A TCP query that was too large.
    CutOversize,
    /// A group's name whose client was told of agents of its own zone.
    ClientZoneKept,
    /// The same where that zone had none.
    ClientZoneLost,
    /// A packet that rate limiting left without an answer.
    DroppedRate,
    /// One that it answered with TC.
    Slipped,
    /// One that it would have held back.
    WouldLimit,
    /// A query with a client cookie alone.
    CookieFirst,
    /// A query with a server cookie that is not good.
    CookieBad,
    /// A query with a good one.
    CookieGood,
    /// A signature that is wrong.
    BadSignature,
    /// A signature by a key that is not known.
    BadKey,
    /// A signature of another time.
    BadTime,
    /// A signature that was cut too short.
    BadTruncation,
}

/// Each event with its metric, that metric's help, its label and that label's value. Those of one metric stand together.
const EVENTS: [(Event, &str, &str, &str, &str); 23] = [
    (Event::ZoneKept, "fingerpost_dns_zone_answers_total", ZONE_HELP, "result", "hit"),
    (Event::ZoneLost, "fingerpost_dns_zone_answers_total", ZONE_HELP, "result", "fallback"),
    (Event::ClientZoneKept, CLIENT_ZONE, CLIENT_ZONE_HELP, "result", "hit"),
    (Event::ClientZoneLost, CLIENT_ZONE, CLIENT_ZONE_HELP, "result", "fallback"),
    (Event::DroppedShort, "fingerpost_dns_dropped_total", DROPPED_HELP, "reason", "short"),
    (Event::DroppedResponse, "fingerpost_dns_dropped_total", DROPPED_HELP, "reason", "response"),
    (Event::DroppedSource, "fingerpost_dns_dropped_total", DROPPED_HELP, "reason", "source_port"),
    (Event::DroppedRate, "fingerpost_dns_dropped_total", DROPPED_HELP, "reason", "rate_limit"),
    (Event::Slipped, "fingerpost_dns_rate_limit_total", RATE_HELP, "action", "truncated"),
    (Event::WouldLimit, "fingerpost_dns_rate_limit_total", RATE_HELP, "action", "dry_run"),
    (Event::CookieFirst, "fingerpost_dns_cookies_total", COOKIES_HELP, "result", "first"),
    (Event::CookieBad, "fingerpost_dns_cookies_total", COOKIES_HELP, "result", "bad"),
    (Event::CookieGood, "fingerpost_dns_cookies_total", COOKIES_HELP, "result", "good"),
    (Event::Truncated, "fingerpost_dns_truncated_total", "Answers with TC set.", "", ""),
    (
        Event::SendError,
        "fingerpost_dns_send_errors_total",
        "UDP answers that the system did not take.",
        "",
        "",
    ),
    (Event::ReceiveError, "fingerpost_dns_receive_errors_total", "Errors of receiving UDP packets.", "", ""),
    (Event::CutIdle, "fingerpost_dns_tcp_cut_total", CUT_HELP, "reason", "idle"),
    (Event::CutSlow, "fingerpost_dns_tcp_cut_total", CUT_HELP, "reason", "slow"),
    (Event::CutOversize, "fingerpost_dns_tcp_cut_total", CUT_HELP, "reason", "oversize"),
    (Event::BadSignature, "fingerpost_dns_tsig_refused_total", TSIG_HELP, "error", "badsig"),
    (Event::BadKey, "fingerpost_dns_tsig_refused_total", TSIG_HELP, "error", "badkey"),
    (Event::BadTime, "fingerpost_dns_tsig_refused_total", TSIG_HELP, "error", "badtime"),
    (Event::BadTruncation, "fingerpost_dns_tsig_refused_total", TSIG_HELP, "error", "badtrunc"),
];
const CLIENT_ZONE: &str = "fingerpost_dns_client_zone_answers_total";
const CLIENT_ZONE_HELP: &str =
    "Answers to groups' names for clients whose network tells their zone, by whether the zone could be kept.";
const RATE_HELP: &str = "Answers that rate limiting shortened to TC, or (dry run) would have held back.";
const COOKIES_HELP: &str = "Queries with DNS cookies, by what the server cookie was worth.";
const ZONE_HELP: &str = "Answers to az- names by whether the zone could be kept.";
const DROPPED_HELP: &str = "Packets that are not answered at all.";
const TSIG_HELP: &str = "Signed queries whose signature does not hold.";
const CUT_HELP: &str = "TCP connections that the server ended.";

impl Counters {
    fn new(shared: bool, signing: Arc<super::dnssec::Metrics>) -> Self {
        Self {
            answers: std::array::from_fn(|_| AtomicU64::new(0)),
            events: std::array::from_fn(|_| AtomicU64::new(0)),
            shared,
            signing,
        }
    }

    fn bump(&self, cell: Option<&AtomicU64>, by: u64) {
        let Some(cell) = cell else { return };
        if self.shared {
            cell.fetch_add(by, Ordering::Relaxed);
        } else {
            // The only writer: a load and a store are enough, and cheaper than a locked add.
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        }
    }

    /// Where signatures are counted.
    pub fn signing(&self) -> &super::dnssec::Metrics {
        &self.signing
    }

    /// Counts an answer.
    pub fn answered(&self, outcome: Outcome) {
        let Some(rcode) = RCODES.iter().position(|(code, _)| *code == outcome.rcode) else { return };
        let row = usize::from(outcome.tcp) * RCODES.len() + rcode;
        self.bump(self.answers.get(row * KINDS.len() + outcome.name as usize), 1);
    }

    /// Counts an event.
    pub fn note(&self, event: Event) {
        self.note_many(event, 1);
    }

    /// Counts an event that happened several times.
    pub fn note_many(&self, event: Event, times: u64) {
        self.bump(self.events.get(event as usize), times);
    }

    /// Counts a signature that does not hold, by the error of RFC 8945.
    pub fn bad_signature(&self, error: u16) {
        self.note(match error {
            16 => Event::BadSignature,
            17 => Event::BadKey,
            18 => Event::BadTime,
            _ => Event::BadTruncation,
        });
    }
}

/// The DNS room's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    cells: Arc<Mutex<Cells>>,
    /// What zone transfers count.
    pub transfer: Arc<super::transfer::Metrics>,
    signing: Arc<super::dnssec::Metrics>,
    entry: Arc<super::tls::Metrics>,
}

#[derive(Debug, Default)]
struct Cells {
    workers: Vec<Arc<Counters>>,
    tcp: Vec<Arc<super::tcp::Counts>>,
}

impl Metrics {
    /// Metrics at zero, registered.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let transfer = Arc::new(super::transfer::Metrics::register(registry)?);
        let signing = Arc::new(super::dnssec::Metrics::register(registry)?);
        let entry = Arc::new(super::tls::Metrics::register(registry, "dns")?);
        let metrics = Self { cells: Arc::default(), transfer, signing, entry };
        registry.register(Box::new(Exposed { metrics: metrics.clone(), descs: descs()? }))?;
        Ok(metrics)
    }

    /// Handshakes and certificates of encrypted DNS.
    pub fn entry(&self) -> Arc<super::tls::Metrics> {
        Arc::clone(&self.entry)
    }

    /// Cells for one thread.
    pub fn worker(&self) -> Arc<Counters> {
        self.add(Counters::new(false, Arc::clone(&self.signing)))
    }

    /// Cells for tasks on any thread.
    pub fn shared(&self) -> Arc<Counters> {
        self.add(Counters::new(true, Arc::clone(&self.signing)))
    }

    /// Where signatures are counted.
    pub fn signing(&self) -> Arc<super::dnssec::Metrics> {
        Arc::clone(&self.signing)
    }

    /// Adds a TCP listener's counts.
    pub fn listener(&self, counts: Arc<super::tcp::Counts>) {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).tcp.push(counts);
    }

    fn add(&self, counters: Counters) -> Arc<Counters> {
        let counters = Arc::new(counters);
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).workers.push(Arc::clone(&counters));
        counters
    }
}

const ANSWERS_NAME: &str = "fingerpost_dns_answers_total";
const ANSWERS_HELP: &str = "Answers by transport, response code and kind of name asked for.";
const OPEN_NAME: &str = "fingerpost_dns_tcp_open";
const OPEN_HELP: &str = "TCP connections open now.";
const CONNECTIONS_NAME: &str = "fingerpost_dns_tcp_connections_total";
const CONNECTIONS_HELP: &str = "TCP connections by what became of them at the door.";

fn descs() -> prometheus::Result<Vec<Desc>> {
    let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let desc = |name: &str, help: &str, names: &[&str]| {
        Desc::new(name.to_owned(), help.to_owned(), labels(names), HashMap::new())
    };
    let mut descs = vec![
        desc(ANSWERS_NAME, ANSWERS_HELP, &["transport", "rcode", "name"])?,
        desc(OPEN_NAME, OPEN_HELP, &[])?,
        desc(CONNECTIONS_NAME, CONNECTIONS_HELP, &["result"])?,
    ];
    let mut last = "";
    for (_, name, help, label, _) in EVENTS {
        if name != last {
            descs.push(desc(name, help, if label.is_empty() { &[] } else { std::slice::from_ref(&label) })?);
        }
        last = name;
    }
    Ok(descs)
}

/// What the registry reads.
struct Exposed {
    metrics: Metrics,
    descs: Vec<Desc>,
}

impl Collector for Exposed {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let cells = self.metrics.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let sum =
            |pick: &dyn Fn(&Counters) -> u64| cells.workers.iter().map(|worker| pick(worker)).sum::<u64>();
        let mut answers = Vec::new();
        for (at, _) in (0..ANSWERS).enumerate() {
            let value = sum(&|worker| worker.answers.get(at).map_or(0, |cell| cell.load(Ordering::Relaxed)));
            let transport = TRANSPORTS.get(at / KINDS.len() / RCODES.len()).copied().unwrap_or_default();
            let rcode = RCODES.get(at / KINDS.len() % RCODES.len()).map_or("", |(_, name)| *name);
            let name = KINDS.get(at % KINDS.len()).copied().unwrap_or_default();
            // Most combinations cannot happen: those that never did are left out.
            if value > 0 {
                answers.push(counter(value, &[("name", name), ("rcode", rcode), ("transport", transport)]));
            }
        }
        let mut families = vec![family(ANSWERS_NAME, ANSWERS_HELP, MetricType::COUNTER, answers)];
        for group in EVENTS.chunk_by(|a, b| a.1 == b.1) {
            let Some((_, name, help, ..)) = group.first() else { continue };
            let metrics = group.iter().map(|(event, _, _, label, value)| {
                let cell = *event as usize;
                let count =
                    sum(&|worker| worker.events.get(cell).map_or(0, |cell| cell.load(Ordering::Relaxed)));
                let labels = [(*label, *value)];
                counter(count, if label.is_empty() { &[] } else { &labels })
            });
            families.push(family(name, help, MetricType::COUNTER, metrics.collect()));
        }
        let tcp = |pick: &dyn Fn(&super::tcp::Counts) -> &AtomicU64| {
            cells.tcp.iter().map(|counts| pick(counts).load(Ordering::Relaxed)).sum::<u64>()
        };
        let mut open = proto::Gauge::default();
        open.set_value(tcp(&|counts| &counts.open) as f64);
        families.push(family(OPEN_NAME, OPEN_HELP, MetricType::GAUGE, vec![Metric::from_gauge(open)]));
        let results = [
            counter(tcp(&|counts| &counts.accepted), &[("result", "accepted")]),
            counter(tcp(&|counts| &counts.over_source_limit), &[("result", "over_source_limit")]),
            counter(tcp(&|counts| &counts.errors), &[("result", "error")]),
        ];
        families.push(family(CONNECTIONS_NAME, CONNECTIONS_HELP, MetricType::COUNTER, results.into()));
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

fn counter(value: u64, labels: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::from_label(labels.iter().map(pair).collect());
    metric.set_counter(counter);
    metric
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::TextEncoder;

    #[test]
    fn every_event_has_its_cell() {
        for (at, (event, ..)) in EVENTS.iter().enumerate() {
            assert!(EVENTS.iter().skip(at + 1).all(|(other, ..)| other != event), "{event:?} is there twice");
            assert!((*event as usize) < EVENTS.len(), "{event:?}");
        }
    }

    #[test]
    fn workers_are_summed_and_every_code_has_its_cell() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let (one, two) = (metrics.worker(), metrics.shared());
        for (rcode, _) in RCODES {
            one.answered(Outcome { tcp: false, rcode, name: NameKind::Group });
        }
        two.answered(Outcome { tcp: false, rcode: 0, name: NameKind::Group });
        two.answered(Outcome { tcp: true, rcode: 16, name: NameKind::None });
        one.note(Event::ZoneKept);
        two.note(Event::ZoneLost);
        two.note(Event::CutOversize);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            r#"fingerpost_dns_answers_total{name="group",rcode="noerror",transport="udp"} 2"#,
            r#"fingerpost_dns_answers_total{name="group",rcode="badvers",transport="udp"} 1"#,
            r#"fingerpost_dns_answers_total{name="none",rcode="badvers",transport="tcp"} 1"#,
            r#"fingerpost_dns_zone_answers_total{result="fallback"} 1"#,
            r#"fingerpost_dns_tcp_cut_total{reason="oversize"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
