//! From the configuration to the settings of each room. The only place that knows both; `serve` and `check` share it.

use super::Error;
use crate::admin;
use crate::clock::Clock;
use crate::config::policy::CookieMode;
use crate::config::{
    AgentsConfig, ClientAuth, ClusterConfig, Config, EmptyPolicy, GroupBy, ListenerConfig, ProxyConfig,
    SecretSource, TlsConfig, TokenConfig, TopicSource, TopicSpec, ZoneConfig,
};
use crate::dns::dnssec::{SignedZone, Signer};
use crate::dns::transfer;
use crate::dns::tsig::{Algorithm, Key, Keys};
use crate::dns::{self, Empty, Rules, ZoneSettings, Zones};
use crate::kafka::{self, Clients, ListenerSettings, Topics, static_catalog};
use crate::model::{Catalog, Cluster};
use crate::net::proxy::{self, Networks};
use crate::net::tls::{ClientCertificates, ClientSettings, Identity, ServerSettings};
use crate::placement::{self, Balance, Placement, Scope, Strategy, ZoneRules};
use crate::registry::{self, follow::Configured};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Files that the process needs beside connections: sockets, the registry, logs.
const OTHER_FILES: usize = 64;

/// Raises the limit of open files as far as it goes; says so if all listeners at their limits would need more.
pub fn raise_open_files(config: &Config) {
    let needed = open_files(config) as u64;
    if let Some(limit) = crate::net::files::raise_limit().filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "fewer files may be open than connections are allowed: raise LimitNOFILE, or lower the connection limits"
        );
    }
}

/// Files that are open if every listener has as many connections as it may.
pub fn open_files(config: &Config) -> usize {
    let dns = config.dns.tcp_connections.saturating_mul(config.dns.listen.len());
    // A relayed connection has another one behind it.
    let each = |listener: &ListenerConfig| if listener.agents.is_some() { 2 } else { 1 };
    let sockets = config.kafka.listeners.iter().map(each).sum();
    let kafka = config.kafka.connections.saturating_mul(sockets);
    dns.saturating_add(kafka).saturating_add(config.admin.connections).saturating_add(OTHER_FILES)
}

/// How the registry is opened. Reads the password file, if there is one.
pub fn registry_options(config: &Config, clock: &Clock) -> Result<registry::Options, Error> {
    let password = match &config.registry.password {
        Some(source) => Some(read(source, "registry password")?),
        None => None,
    };
    Ok(registry::Options {
        prefix: config.registry.prefix.clone(),
        password,
        tls: registry::TlsFiles {
            ca: config.registry.tls.ca.clone(),
            identity: config.registry.tls.identity.clone(),
        },
        operation: config.registry.operation_timeout,
        clock: clock.clone(),
    })
}

/// What exists before the first agent: every configured cluster and group.
pub fn configured(config: &Config) -> Configured {
    let mut groups = Vec::new();
    for cluster in &config.clusters {
        groups.extend(cluster.groups.iter().map(|group| (cluster.name.clone(), group.clone())));
    }
    Configured { clusters: config.clusters.iter().map(|cluster| cluster.name.clone()).collect(), groups }
}

/// How the registry is followed; `changes` tells what else is configured later.
pub fn follow(config: &Config, changes: watch::Receiver<Configured>) -> registry::follow::Settings {
    let Configured { clusters, groups } = configured(config);
    registry::follow::Settings {
        clusters,
        groups,
        reconfigured: Some(changes),
        resync: config.registry.resync,
        stale_max: config.registry.stale_max,
        group_memory: config.registry.group_memory,
        departed: config.registry.departed_grace,
        agents: config.registry.max_agents,
    }
}

/// Loads every zone, or says everything that is wrong with any of them.
pub fn zones(config: &Config) -> Result<Zones, Vec<dns::Problem>> {
    let settings: Vec<ZoneSettings> =
        config.dns.zones.iter().map(|zone| zone_settings(config, zone)).collect();
    let clusters: Vec<Cluster> = config.clusters.iter().map(|cluster| cluster.name.clone()).collect();
    Zones::load(&settings, &clusters)
}

/// A zone without a file is served by `ns1.<apex>` where we listen, unless name servers are configured.
fn zone_settings(config: &Config, zone: &ZoneConfig) -> ZoneSettings {
    let mut settings = ZoneSettings::new(&zone.apex);
    settings.file.clone_from(&zone.file);
    settings.negative_ttl = seconds(config.dns.negative_ttl);
    settings.name_servers.clone_from(&zone.ns);
    settings.addresses = if zone.ns_addresses.is_empty() {
        let told = |ip: &IpAddr| !ip.is_unspecified();
        config.dns.listen.iter().map(SocketAddr::ip).filter(told).collect()
    } else {
        zone.ns_addresses.clone()
    };
    settings
}

/// The DNS front's settings, with its zones loaded.
pub fn dns(config: &Config) -> Result<dns::Settings, Error> {
    let zones = zones(config).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::Config(format!("the zones can't be served:\n{}", lines.join("\n")), None)
    })?;
    let wide = config.clusters.iter().filter(|cluster| cluster.cluster_wide);
    let rules = Rules {
        ttl: seconds(config.dns.ttl),
        sample: config.dns.sample,
        empty: match config.dns.empty {
            EmptyPolicy::Nodata => Empty::NoData,
            EmptyPolicy::LastKnown => Empty::LastKnown,
            EmptyPolicy::Servfail => Empty::ServFail,
        },
        text: config.dns.txt,
        cluster_wide: wide.map(|cluster| cluster.name.clone()).collect(),
        clusters: config.clusters.iter().map(|cluster| cluster.name.clone()).collect(),
        client_zones: client_zones(config)?,
        access: access(config)?,
    };
    let mut tcp = dns::tcp::Settings { idle: config.dns.tcp_idle, ..dns::tcp::Settings::default() };
    tcp.connections.connections = config.dns.tcp_connections;
    tcp.connections.per_source = config.dns.tcp_per_source;
    let encrypted = encrypted(config);
    let (listen, workers) = (config.dns.listen.clone(), config.dns.workers);
    let (policy, keys, signer) = (policy(config)?, tsig_keys(config)?, signer(config)?);
    let settings = dns::Settings::default();
    Ok(dns::Settings { listen, workers, zones, rules, policy, tcp, keys, signer, encrypted, ..settings })
}

/// The keys that secondaries sign with. Reads their files.
pub fn tsig_keys(config: &Config) -> Result<Keys, Error> {
    let keys = config.dns.tsig_keys.iter().map(|key| {
        let secret = read(&key.secret, &format!("TSIG key {}", key.name))?;
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == key.algorithm);
        let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
        Key::new(&key.name, algorithm, &secret).map_err(|error| Error::config("TSIG keys", error))
    });
    Keys::new(keys.collect::<Result<_, Error>>()?).map_err(|error| Error::config("TSIG keys", error))
}

/// Who copies zones, signing with one of `keys`, with serials kept by `serials`; `None` if nobody does.
pub fn transfers(
    config: &Config,
    keys: Keys,
    serials: Arc<dyn transfer::Serials>,
) -> Result<Option<transfer::Settings>, Error> {
    if config.dns.secondaries.is_empty() {
        return Ok(None);
    }
    let secondaries = config.dns.secondaries.iter().filter_map(|secondary| {
        let networks = (!secondary.networks.is_empty())
            .then(|| Networks::parse(secondary.networks.iter().map(String::as_str)))
            .transpose()
            .map_err(|error| Error::config("the networks of a DNS secondary", error));
        let key = Arc::clone(keys.get(&secondary.key)?);
        Some(networks.map(|networks| transfer::Secondary {
            key,
            zones: secondary.zones.iter().filter_map(|zone| dns::names::Name::parse(zone).ok()).collect(),
            networks,
            notify: secondary.notify.clone(),
            all_groups: secondary.all_groups,
        }))
    });
    let secondaries = secondaries.collect::<Result<Vec<_>, Error>>()?;
    let of_cluster = |cluster: &ClusterConfig| {
        let name = cluster.name.clone();
        cluster.groups.clone().into_iter().map(move |group| (name.clone(), group))
    };
    let groups = config.clusters.iter().flat_map(of_cluster).collect();
    let plan = transfer::Plan { groups };
    Ok(Some(transfer::Settings { keys, secondaries, interval: config.dns.serial_interval, plan, serials }))
}

/// What signs the zones that have keys; reads all of them.
pub fn signer(config: &Config) -> Result<Option<Arc<Signer>>, Error> {
    let signed = |zone: &ZoneConfig| {
        let dnssec = zone.dnssec.as_ref()?;
        Some(SignedZone {
            apex: zone.apex.clone(),
            folder: dnssec.keys.clone(),
            validity: dnssec.validity,
            dnskey_ttl: seconds(dnssec.key_ttl),
        })
    };
    let zones: Vec<SignedZone> = config.dns.zones.iter().filter_map(signed).collect();
    if zones.is_empty() {
        return Ok(None);
    }
    let signer = Signer::open(&zones, Clock::machine()).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::Config(format!("the zones can't be signed:\n{}", lines.join("\n")), None)
    })?;
    Ok(Some(Arc::new(signer)))
}

/// Who may ask for which group.
fn access(config: &Config) -> Result<dns::Access, Error> {
    let mut access = dns::Access::default();
    for group in &config.dns.policy.groups {
        let what = format!("group {} of {}: allow_query", group.name, group.cluster);
        access.restrict(group.cluster.clone(), group.name.clone(), networks(&group.allow_query, &what)?);
    }
    Ok(access)
}

/// How DNS is spoken. Reads the files of the cookies' secrets.
fn policy(config: &Config) -> Result<dns::Policy, Error> {
    let settings = &config.dns.policy;
    let secret = |file: &PathBuf| {
        let text = read(&SecretSource::File(file.clone()), "dns.cookie_secret_files")?;
        dns::cookies::Secret::parse(&text).ok_or_else(|| {
            let file = file.display();
            let what = format!(
                "{file} holds no secret of DNS cookies: write 32 hexadecimal digits (openssl rand -hex 16)"
            );
            Error::Config(what, None)
        })
    };
    let secrets = settings.cookie_secrets.iter().map(secret).collect::<Result<Vec<_>, _>>()?;
    let strict = settings.cookies == CookieMode::Strict;
    let rate = dns::limiter::Rate {
        per_second: settings.rate_limit.per_second as u64,
        slip: settings.rate_limit.slip as u64,
        dry_run: settings.rate_limit.dry_run,
    };
    Ok(dns::Policy {
        server_id: settings.server_id.clone(),
        server_version: settings.server_version.clone(),
        cookies: (settings.cookies != CookieMode::Off).then(|| dns::cookies::Cookies::new(secrets, strict)),
        limiter: (rate.per_second > 0).then(|| dns::limiter::Limiter::new(rate, fastrand::u64(..))),
        unlimited: networks(&settings.rate_limit.exempt, "dns.rate_limit.exempt")?,
        subnets: settings.ecs,
    })
}

fn networks(texts: &[String], what: &str) -> Result<Networks, Error> {
    Networks::parse(texts.iter().map(String::as_str)).map_err(|error| Error::config(what, error))
}

/// What is served over TLS and HTTPS.
fn encrypted(config: &Config) -> dns::encrypted::Settings {
    let of = &config.dns.encrypted;
    let identity = of.identity.clone().map(|(certificate, key)| Identity { certificate, key });
    dns::encrypted::Settings { identity, tls: of.tls.clone(), https: of.https.clone(), path: of.path.clone() }
}

/// The settings of every Kafka listener, in the order of the configuration.
pub fn kafka(config: &Config) -> Result<Vec<ListenerSettings>, Error> {
    let zones = Arc::new(client_zones(config)?);
    config.kafka.listeners.iter().map(|listener| kafka_listener(config, listener, &zones)).collect()
}

/// The turns and memory that all listeners share.
pub fn placement(config: &Config) -> Arc<Placement> {
    kafka::placement_within(config.kafka.same_client)
}

/// What tells the zones of Kafka clients beside their client.id.
pub fn client_zones(config: &Config) -> Result<ZoneRules, Error> {
    let wrong = |what: String| Error::Config(what, None);
    let networks = config.kafka.zone_networks.as_deref().unwrap_or_default();
    let networks = networks.parse().map_err(|error| wrong(format!("zones.networks: {error}")))?;
    let alias = |pair: &String| {
        placement::client_zone::alias(pair).map_err(|error| wrong(format!("zones.aliases: {error}")))
    };
    let aliases = config.kafka.zone_aliases.iter().map(alias);
    Ok(ZoneRules { networks, aliases: aliases.collect::<Result<_, Error>>()? })
}

/// How a listener places its clients.
fn rules(listener: &ListenerConfig) -> placement::Rules {
    placement::Rules {
        strategy: find(&Strategy::ALL, |have| have.as_str() == listener.strategy),
        balance: find(&Balance::ALL, |have| have.as_str() == listener.balance),
        scope: find(&Scope::ALL, |have| have.as_str() == listener.scope),
    }
}

/// The word that was configured; the table of keys lets no others through.
fn find<T: Copy + Default>(all: &[T], is: impl Fn(&T) -> bool) -> T {
    all.iter().copied().find(is).unwrap_or_default()
}

fn kafka_listener(
    config: &Config,
    listener: &ListenerConfig,
    zones: &Arc<ZoneRules>,
) -> Result<ListenerSettings, Error> {
    let described = config.clusters.iter().find(|cluster| cluster.name == listener.cluster);
    let topics = match described.map(|cluster| &cluster.topics) {
        Some(TopicSource::Static(list)) => Topics::Static(Arc::new(catalog(&listener.cluster, list)?)),
        Some(TopicSource::Registry | TopicSource::Agents) | None => Topics::Registry,
    };
    let clients = match &listener.clients {
        GroupBy::Listener(group) => Clients::Of(group.clone()),
        GroupBy::Connection { sni, source } => {
            let apexes = config.dns.zones.iter().map(|zone| zone.apex.clone()).filter(|_| *sni);
            Clients::Any { apexes: apexes.collect(), source: *source }
        }
    };
    let mut settings = ListenerSettings::new(listener.listen, listener.cluster.clone(), clients, topics);
    settings.zone.clone_from(&listener.zone);
    settings.tls = listener.tls.as_ref().map(tls);
    settings.proxy = listener.proxy.as_ref().map(proxies).transpose()?;
    settings.agents = listener.agents.as_ref().map(|agents| relayed(config, agents));
    settings.zones = Arc::clone(zones);
    settings.rules = rules(listener);
    settings.limits = kafka::Limits { idle: config.kafka.idle, ..kafka::Limits::default() };
    settings.limits.tcp.connections = config.kafka.connections;
    settings.limits.tcp.per_source = config.kafka.per_source;
    Ok(settings)
}

/// A listener's TLS.
pub fn tls(tls: &TlsConfig) -> ServerSettings {
    let identity = |(certificate, key): &(_, _)| Identity {
        certificate: PathBuf::clone(certificate),
        key: PathBuf::clone(key),
    };
    let mut settings = ServerSettings::new(tls.identities.iter().map(identity).collect());
    settings.handshake = tls.handshake;
    settings.clients = match &tls.clients {
        ClientAuth::Off => ClientCertificates::Off,
        ClientAuth::Optional(ca) => ClientCertificates::Optional(ca.clone()),
        ClientAuth::Required(ca) => ClientCertificates::Required(ca.clone()),
    };
    settings
}

/// How a listener reaches the agents that it relays to.
pub fn relayed(config: &Config, agents: &AgentsConfig) -> kafka::gateway::agents::Settings {
    let tls = agents.ca.as_ref().map(|ca| {
        let mut tls = ClientSettings::new(ca);
        let identity = |(certificate, key): (_, _)| Identity { certificate, key };
        tls.identity = agents.identity.clone().map(identity);
        tls
    });
    let apex = config.dns.zones.first().map(|zone| zone.apex.clone());
    kafka::gateway::agents::Settings { tls, apex, proxy: agents.proxy }
}

fn proxies(config: &ProxyConfig) -> Result<proxy::Settings, Error> {
    let trusted = Networks::parse(config.trusted.iter().map(String::as_str))
        .map_err(|error| Error::config("the trusted proxies of a Kafka listener", error))?;
    let mode = if config.required { proxy::Mode::Required } else { proxy::Mode::Optional };
    Ok(proxy::Settings::new(mode, trusted))
}

/// The topics of a static list; an id that is given wins over the one made from the name.
fn catalog(cluster: &Cluster, list: &[TopicSpec]) -> Result<Catalog, Error> {
    let names = list.iter().map(|topic| (topic.name.as_str(), topic.partitions));
    let mut catalog = static_catalog(cluster, names)
        .map_err(|error| Error::Config(format!("the topics of cluster {cluster}"), Some(Box::new(error))))?;
    for (spec, id) in list.iter().filter_map(|spec| Some((spec, spec.id?))) {
        if let Some(topic) = catalog.topics.get_mut(spec.name.as_str()) {
            topic.id = id;
        }
    }
    Ok(catalog)
}

/// The admin front's settings. Reads token files.
pub fn admin(config: &Config) -> Result<admin::Settings, Error> {
    let tokens = config.admin.tokens.iter().map(|token| {
        let secret = read(&token.secret, &format!("admin token {:?}", token.name))?;
        Ok(admin::Token { name: token.name.clone(), secret, scope: scope(token), write: token.write })
    });
    Ok(admin::Settings {
        listen: config.admin.listen,
        tokens: tokens.collect::<Result<_, Error>>()?,
        public_read: config.admin.public_read,
        hosts: config.admin.hosts.clone(),
        connections: config.admin.connections,
        ..admin::Settings::default()
    })
}

fn scope(token: &TokenConfig) -> admin::Scope {
    match (token.cluster.clone(), token.group.clone()) {
        (Some(cluster), Some(group)) => admin::Scope::Group(cluster, group),
        (Some(cluster), None) => admin::Scope::Cluster(cluster),
        (None, _) => admin::Scope::All,
    }
}

fn read(source: &SecretSource, what: &str) -> Result<String, Error> {
    let secret = source.read().map_err(|error| Error::Config(what.to_owned(), Some(Box::new(error))))?;
    Ok(secret.expose().to_owned())
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
