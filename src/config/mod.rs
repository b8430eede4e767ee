//! The configuration: a literal file, and what it comes to with defaults and the environment.
//!
//! [`load`] reads everything and reports every problem at once, each with file, line and column. The keys are one
//! table, [`keys::SECTIONS`]; `examples/fingerpost.toml` and `docs/config.md` follow it and are tested against it.

mod dnssec;
mod entry;
mod environment;
pub mod keys;
mod node;
mod passed;
pub mod policy;
mod problem;
mod read;
pub mod reference;
pub mod reload;
mod resolve;
mod secret;
mod value;

pub use dnssec::DnssecConfig;
pub use entry::{
    AgentsConfig, ClientAuth, EncryptedDns, GroupBy, Process, ProxyConfig, RegistryTls, SecondaryConfig,
    TlsConfig, TsigKeyConfig,
};
pub use environment::Environment;
pub use passed::passed_sockets;
pub use problem::{Origin, Problem, Severity};
pub use secret::{Secret, SecretError, SecretSource, read_secret_file, shown_url};
pub use value::{TopicSource, TopicSpec};

use crate::limits::config as limits;
use crate::model::{Cluster, GroupName, Zone};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A resolved configuration: complete and valid in itself. Files that it names were not read yet.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where heartbeats arrive.
    pub registry: Registry,
    /// The DNS front.
    pub dns: Dns,
    /// The clusters that are described; others may appear in the registry.
    pub clusters: Vec<ClusterConfig>,
    /// The Kafka front.
    pub kafka: Kafka,
    /// The HTTP front.
    pub admin: Admin,
    /// The process.
    pub process: Process,
    /// Logs.
    pub log: Log,
    /// Every value with its origin, in the order of [`keys::SECTIONS`]; secrets are not shown.
    pub settings: Vec<Setting>,
    /// What somebody should look at, though it does not keep the server from starting.
    pub warnings: Vec<Problem>,
}

/// `[registry]`.
#[derive(Clone, Debug)]
pub struct Registry {
    /// `redis://…`, `rediss://…` or `memory:`. May hold credentials: show [`shown_url`] of it.
    pub url: Secret,
    /// The password, if it stands beside the URL.
    pub password: Option<SecretSource>,
    /// Certificates of a TLS connection.
    pub tls: RegistryTls,
    /// What registry keys begin with.
    pub prefix: String,
    /// Time between full scans.
    pub resync: Duration,
    /// Longest wait for an answer.
    pub operation_timeout: Duration,
    /// For how long a lost registry is believed.
    pub stale_max: Duration,
    /// For how long a group without agents exists.
    pub group_memory: Duration,
    /// For how long a departed agent's name resolves.
    pub departed_grace: Duration,
    /// Most agents held.
    pub max_agents: usize,
}

/// `[dns]`.
#[derive(Clone, Debug)]
pub struct Dns {
    /// Where to answer, UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// UDP workers per address; 0 is one per core.
    pub workers: usize,
    /// Longest TTL of an answer about agents.
    pub ttl: Duration,
    /// TTL of negative answers of zones without a file.
    pub negative_ttl: Duration,
    /// Most addresses in an answer.
    pub sample: usize,
    /// What a group without a live agent answers.
    pub empty: EmptyPolicy,
    /// Whether TXT is answered.
    pub txt: bool,
    /// Open TCP connections per address.
    pub tcp_connections: usize,
    /// Open TCP connections per source and address.
    pub tcp_per_source: usize,
    /// Longest idle time of a TCP connection.
    pub tcp_idle: Duration,
    /// The zones.
    pub zones: Vec<ZoneConfig>,
    /// Keys that secondaries sign with.
    pub tsig_keys: Vec<TsigKeyConfig>,
    /// Who may copy zones.
    pub secondaries: Vec<SecondaryConfig>,
    /// Shortest time between two serials of a zone that is copied.
    pub serial_interval: Duration,
    /// How it is spoken.
    pub policy: policy::PolicyConfig,
    /// What is served over TLS and HTTPS.
    pub encrypted: EncryptedDns,
}

/// What a known group without a live agent answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EmptyPolicy {
    /// The name exists and has no address.
    #[default]
    Nodata,
    /// The addresses that were last known.
    LastKnown,
    /// SERVFAIL, so that resolvers try another server or serve what they kept.
    Servfail,
}

/// One `[[dns.zone]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneConfig {
    /// The zone's name, lower case, without the last dot.
    pub apex: String,
    /// Its zone file, resolved to a path that can be opened from here.
    pub file: Option<PathBuf>,
    /// Name servers where there is no file; empty means `ns1.<apex>`.
    pub ns: Vec<String>,
    /// Addresses of the name servers within the zone; empty means the listening addresses.
    pub ns_addresses: Vec<IpAddr>,
    /// How it is signed, if it is.
    pub dnssec: Option<DnssecConfig>,
}

/// One `[[cluster]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Its name.
    pub name: Cluster,
    /// Groups that exist from the start: those listed and those of the listeners.
    pub groups: BTreeSet<GroupName>,
    /// Whether the cluster's own name answers with agents of all groups.
    pub cluster_wide: bool,
    /// Where its topics come from.
    pub topics: TopicSource,
}

/// `[kafka]`.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// Open connections per listener.
    pub connections: usize,
    /// Open connections per source and listener.
    pub per_source: usize,
    /// Longest idle time of a connection.
    pub idle: Duration,
    /// Within this time requests of one client get the same agent.
    pub same_client: Duration,
    /// Whether agents have counters of their own.
    pub agent_metrics: bool,
    /// Pairs of names for one zone, written `one=other`.
    pub zone_aliases: Vec<String>,
    /// Zones by network, written `zone@network,network<>zone@network`.
    pub zone_networks: Option<String>,
    /// The listeners.
    pub listeners: Vec<ListenerConfig>,
}

/// One `[[kafka.listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Its address.
    pub listen: SocketAddr,
    /// Its cluster.
    pub cluster: Cluster,
    /// Whose clients come.
    pub clients: GroupBy,
    /// The zone of clients that name none.
    pub zone: Option<Zone>,
    /// TLS, if it is spoken.
    pub tls: Option<TlsConfig>,
    /// Proxies in front, if they tell who the client is.
    pub proxy: Option<ProxyConfig>,
    /// How agents are reached, where topics come from them.
    pub agents: Option<AgentsConfig>,
    /// `strategy`, its own or that of `[kafka]`.
    pub strategy: String,
    /// `balance`, its own or that of `[kafka]`.
    pub balance: String,
    /// `scope`, its own or that of `[kafka]`.
    pub scope: String,
}

/// `[admin]`.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Its address.
    pub listen: SocketAddr,
    /// Whether reading needs no token even where tokens are configured.
    pub public_read: bool,
    /// Further host names that requests without a token may use.
    pub hosts: Vec<String>,
    /// Open connections.
    pub connections: usize,
    /// The tokens; the one of `[admin]` itself is called `admin`.
    pub tokens: Vec<TokenConfig>,
}

/// One token of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// What logs and refusals call it.
    pub name: String,
    /// The token.
    pub secret: SecretSource,
    /// Only this cluster.
    pub cluster: Option<Cluster>,
    /// Only this group of that cluster.
    pub group: Option<GroupName>,
    /// Whether it may write.
    pub write: bool,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Level, or a list of `module=level`.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// One value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its path; occurrences of repeated sections are counted from 1, as in `cluster[1].name`.
    pub key: String,
    /// The value as the file would write it; `(secret)` for secrets.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("cannot read the configuration {0}: does it exist, and may this user read it?")]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file is no configuration.
    #[error("the configuration {0} is larger than 4 MiB: is it the right file?")]
    TooLarge(PathBuf),
    /// It can be read and is wrong: every problem, at least one of them an error.
    #[error("the configuration has {} to mend", count(.0))]
    Invalid(Vec<Problem>),
}

fn count(problems: &[Problem]) -> String {
    match problems.iter().filter(|problem| problem.severity == Severity::Error).count() {
        1 => "one problem".to_owned(),
        n => format!("{n} problems"),
    }
}

/// A DNS name in lower case without its last dot, or what is wrong with it.
pub fn dns_name(text: &str) -> Result<String, String> {
    value::read_dns_name(text).map_err(|(why, _)| why)
}

/// A word that this key of the configuration takes, or what is wrong with it in the same words as in a file.
pub fn word(section: &str, key: &str, text: &str) -> Result<String, String> {
    let key = keys::section(section).and_then(|section| section.key(key));
    let read = key.map(|key| key.kind.read_text(text));
    match read {
        Some(Ok(value::Value::Text(word))) => Ok(word),
        Some(Err((what, Some(hint)))) => Err(format!("{what}; {hint}")),
        Some(Err((what, None))) => Err(what),
        Some(Ok(_)) | None => Err(format!("{section} has no such key that takes a word")),
    }
}

/// Reads and resolves the configuration file at `path`.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, Error> {
    let unreadable = |error| Error::Unreadable(path.to_owned(), error);
    if fs::metadata(path).map_err(unreadable)?.len() > limits::FILE_BYTES {
        return Err(Error::TooLarge(path.to_owned()));
    }
    parse(path, &fs::read_to_string(path).map_err(unreadable)?, environment)
}

/// Resolves the text of a configuration file that lies at `path`. Paths in it that are not absolute are looked for
/// beside the file first, then in the working directory.
pub fn parse(path: &Path, text: &str, environment: &Environment) -> Result<Config, Error> {
    let mut problems = problem::Problems::of(path, text);
    let document = read::read(text, environment, &mut problems);
    let folder = path.parent().unwrap_or(Path::new(""));
    match resolve::resolve(&document, folder, &mut problems) {
        Some(mut config) if !problems.has_errors() => {
            config.warnings = problems.into_found();
            Ok(config)
        }
        _ => Err(Error::Invalid(problems.into_found())),
    }
}

#[cfg(test)]
mod tests;
