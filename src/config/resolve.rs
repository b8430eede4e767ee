//! From valid values to a configuration that is valid as a whole: what must be unique, what must exist, what must
//! not be open to the world.

mod listener;
mod policy;
mod secondaries;

use super::policy::PolicyConfig;
use super::problem::{Origin, Problems, nearest};
use super::read::{Document, Found, Instance};
use super::secret::{Secret, SecretSource, shown_url};
use super::value::{TopicSource, Value};
use super::{
    Admin, ClusterConfig, Config, Dns, DnssecConfig, EmptyPolicy, EncryptedDns, GroupBy, Kafka,
    ListenerConfig, Log, LogFormat, Process, Registry, RegistryTls, Setting, TokenConfig, ZoneConfig,
};
use crate::limits::dnssec as bounds;
use crate::model::{Cluster, GroupName, Zone};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Resolves a document. `None` only if a value that is needed was refused, which was reported.
pub(super) fn resolve(document: &Document, folder: &Path, problems: &mut Problems) -> Option<Config> {
    let mut clusters = clusters(document, problems);
    let listeners = listeners(document, folder, &mut clusters, problems);
    let policy = policy::policy(document, folder, &mut clusters, problems);
    let dns = policy.and_then(|policy| dns(document, folder, policy, problems));
    let admin = admin(document, folder, problems);
    let registry = registry(document, folder, problems);
    let kafka = kafka(document, listeners);
    check_addresses(document, problems);
    warn_of_idleness(document, problems);
    Some(Config {
        registry: registry?,
        dns: dns?,
        clusters: clusters.into_iter().map(|(_, cluster)| cluster).collect(),
        kafka: kafka?,
        admin: admin?,
        process: process(document)?,
        log: log(document.all("log").first()?, problems)?,
        settings: settings(document),
        warnings: Vec::new(),
    })
}

fn registry(document: &Document, folder: &Path, problems: &mut Problems) -> Option<Registry> {
    let section = document.all("registry").first()?;
    let password = section.secret("password", "password_file", folder, problems);
    let url = section.text("url")?;
    if password.is_some() && url == "memory:" {
        problems.warning(section.origin("url"), "a registry in memory has no password: it is ignored", None);
    }
    let prefix = section.text("prefix")?;
    if !crate::model::ids::is_key_prefix(prefix) {
        let message = format!("registry.prefix: {prefix:?} cannot be used");
        let hint = "1 to 64 of a-z, A-Z, 0-9, '-', '_', '.' and ':'".to_owned();
        problems.error(section.origin("prefix"), message, Some(hint));
    }
    Some(Registry {
        url: Secret::new(url),
        password,
        tls: registry_tls(section, folder, problems),
        prefix: prefix.to_owned(),
        resync: section.time("resync")?,
        operation_timeout: section.time("operation_timeout")?,
        stale_max: section.time("stale_max")?,
        group_memory: section.time("group_memory")?,
        departed_grace: section.time("departed_grace")?,
        max_agents: section.number("max_agents")?,
    })
}

/// Certificates of a TLS connection to the registry, which only a TLS address can use.
fn registry_tls(section: &Instance, folder: &Path, problems: &mut Problems) -> RegistryTls {
    let file = |key: &str| section.text(key).map(|file| find_file(folder, Path::new(file)));
    let (ca, certificate, key) = (file("ca_file"), file("certificate_file"), file("key_file"));
    let secure =
        section.text("url").is_none_or(|url| url.starts_with("rediss:") || url.starts_with("valkeys:"));
    let given = ["ca_file", "certificate_file", "key_file"].into_iter().find(|key| section.is_given(key));
    if let Some(name) = given.filter(|_| !secure) {
        let hint = Some("write url = \"rediss://…\"".to_owned());
        problems.error(section.origin(name), format!("registry.{name}: the URL is no TLS address"), hint);
    }
    if certificate.is_some() != key.is_some() {
        let what = "registry: certificate_file and key_file belong together";
        let one = if certificate.is_some() { "certificate_file" } else { "key_file" };
        problems.error(section.origin(one), what, None);
    }
    RegistryTls { ca, identity: certificate.zip(key) }
}

fn dns(document: &Document, folder: &Path, policy: PolicyConfig, problems: &mut Problems) -> Option<Dns> {
    let section = document.all("dns").first()?;
    let zones = zones(document, folder, problems);
    let whole_seconds = |name: &str, problems: &mut Problems| {
        let time = section.time(name)?;
        if time.subsec_nanos() > 0 {
            problems.error(section.origin(name), format!("dns.{name}: a TTL is whole seconds"), None);
        }
        Some(time)
    };
    let listen = section.addresses("listen")?;
    if listen.is_empty() {
        problems.error(section.origin("listen"), "dns.listen: it names no address", None);
    }
    let tsig_keys = secondaries::keys(document, folder, problems);
    let secondaries = secondaries::secondaries(document, &tsig_keys, &zones, problems);
    Some(Dns {
        listen,
        workers: section.number("workers")?,
        ttl: whole_seconds("ttl", problems)?,
        negative_ttl: whole_seconds("negative_ttl", problems)?,
        sample: section.number("sample")?,
        empty: match section.text("empty")? {
            "last-known" => EmptyPolicy::LastKnown,
            "servfail" => EmptyPolicy::Servfail,
            _ => EmptyPolicy::Nodata,
        },
        txt: section.flag("txt")?,
        tcp_connections: section.number("tcp_connections")?,
        tcp_per_source: section.number("tcp_per_source")?,
        tcp_idle: section.time("tcp_idle")?,
        zones,
        tsig_keys,
        secondaries,
        serial_interval: section.time("serial_interval")?,
        policy,
        encrypted: encrypted(document, folder, problems)?,
    })
}

/// One certificate serves all; nothing listens without.
fn encrypted(document: &Document, folder: &Path, problems: &mut Problems) -> Option<EncryptedDns> {
    let (tls, https) = (document.all("dns.tls").first()?, document.all("dns.https").first()?);
    let file = |key: &str| tls.text(key).map(|file| find_file(folder, Path::new(file)));
    let identity = file("certificate").map(|certificate| {
        let key = file("key").unwrap_or_else(|| certificate.clone());
        (certificate, key)
    });
    let (over_tls, over_https) = (tls.addresses("listen")?, https.addresses("listen")?);
    if identity.is_none() && !tls.is_refused("certificate") {
        for (section, listens) in [(tls, !over_tls.is_empty()), (https, !over_https.is_empty())] {
            if listens {
                let hint = Some("set certificate and key under [dns.tls]".to_owned());
                problems.error(section.origin("listen"), "dns: encrypted, and there is no certificate", hint);
            }
        }
    }
    let path = https.text("path")?.to_owned();
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)) {
        let hint = Some("such as \"/dns-query\"".to_owned());
        problems.error(https.origin("path"), format!("dns.https.path: {path:?} is no path"), hint);
    }
    Some(EncryptedDns { identity, tls: over_tls, https: over_https, path })
}

fn zones(document: &Document, folder: &Path, problems: &mut Problems) -> Vec<ZoneConfig> {
    let mut zones: Vec<ZoneConfig> = Vec::new();
    for section in document.all("dns.zone") {
        let Some(apex) = section.text("apex").map(str::to_owned) else { continue };
        if zones.iter().any(|zone| zone.apex == apex) {
            problems.error(section.origin("apex"), format!("dns.zone: the apex {apex} is there twice"), None);
        }
        let (ns, ns_addresses) = (section.texts("ns"), section.ips("ns_addresses"));
        let file = section.text("file").map(|file| find_file(folder, Path::new(file)));
        for key in ["ns", "ns_addresses"] {
            if file.is_some() && section.values.contains_key(key) {
                let hint = Some(format!("leave {key} out: the zone file has the name servers"));
                problems.error(
                    section.origin(key),
                    format!("dns.zone: file and {key} exclude each other"),
                    hint,
                );
            }
        }
        let dnssec = dnssec(section, folder, problems);
        zones.push(ZoneConfig { apex, file, ns, ns_addresses, dnssec });
    }
    zones
}

/// How a zone is signed: not at all without keys, and then nothing may be said about it.
fn dnssec(section: &Instance, folder: &Path, problems: &mut Problems) -> Option<DnssecConfig> {
    let Some(keys) = section.text("dnssec_keys") else {
        for key in ["dnssec_validity", "dnssec_key_ttl"] {
            if section.values.contains_key(key) {
                let hint = Some("add dnssec_keys = \"keys\", made by `fingerpost keys generate`".to_owned());
                problems.error(
                    section.origin(key),
                    format!("dns.zone: {key} without dnssec_keys signs nothing"),
                    hint,
                );
            }
        }
        return None;
    };
    let default = Duration::from_secs(bounds::DNSKEY_TTL.default.into());
    let key_ttl = section.time("dnssec_key_ttl").unwrap_or(default);
    if key_ttl.subsec_nanos() > 0 {
        problems.error(
            section.origin("dnssec_key_ttl"),
            "dns.zone: dnssec_key_ttl: a TTL is whole seconds",
            None,
        );
    }
    let validity = section.time("dnssec_validity").unwrap_or(bounds::VALIDITY.default);
    Some(DnssecConfig { keys: find_file(folder, Path::new(keys)), validity, key_ttl })
}

/// Clusters with the place of each, without those that are there twice.
fn clusters(document: &Document, problems: &mut Problems) -> Vec<(Origin, ClusterConfig)> {
    let mut clusters: Vec<(Origin, ClusterConfig)> = Vec::new();
    for section in document.all("cluster") {
        let Some(name) = section.cluster("name") else { continue };
        let at = section.origin("name");
        let canonical = |name: &Cluster| name.as_str().replace('_', "-");
        if let Some((_, other)) =
            clusters.iter().find(|(_, other)| canonical(&other.name) == canonical(&name))
        {
            let what = match other.name == name {
                true => format!("cluster {name} is there twice"),
                false => format!(
                    "clusters {name} and {} share a name in DNS, where _ may be written -",
                    other.name
                ),
            };
            problems.error(at, what, None);
            continue;
        }
        let topics = match section.values.get("topics").map(|found| &found.value) {
            Some(Value::Topics(source)) => source.clone(),
            _ => TopicSource::Registry,
        };
        let cluster = ClusterConfig {
            name,
            groups: section.groups("groups").into_iter().collect(),
            cluster_wide: section.flag("cluster_wide").unwrap_or(false),
            topics,
        };
        clusters.push((at, cluster));
    }
    clusters
}

fn listeners(
    document: &Document,
    folder: &Path,
    clusters: &mut [(Origin, ClusterConfig)],
    problems: &mut Problems,
) -> Vec<ListenerConfig> {
    let mut listeners = Vec::new();
    for section in document.all("kafka.listener") {
        let cluster = section.cluster("cluster");
        let clients = listener::clients(section, problems);
        let tls = listener::tls(section, folder, problems);
        let proxy = listener::proxy(section, problems);
        if let Some(clients) = &clients {
            let zones = document.all("dns.zone").len();
            listener::together(section, clients, tls.is_some() || proxy.is_some(), zones, problems);
        }
        let described = clusters.iter().find(|(_, described)| Some(&described.name) == cluster.as_ref());
        let topics = described.map(|(_, described)| described.topics.clone());
        let agents = listener::agents(section, topics.as_ref(), folder, problems);
        if let Some(name) = &cluster {
            let group = match &clients {
                Some(GroupBy::Listener(group)) => Some(group.clone()),
                _ => None,
            };
            match clusters.iter_mut().find(|(_, cluster)| cluster.name == *name) {
                Some((_, cluster)) => cluster.groups.extend(group),
                None => {
                    let known = clusters.iter().map(|(_, cluster)| cluster.name.as_str());
                    let hint = nearest(name.as_str(), known)
                        .unwrap_or_else(|| format!("add [[cluster]] with name = \"{name}\""));
                    let what = format!("kafka.listener: there is no cluster {name}");
                    problems.error(section.origin("cluster"), what, Some(hint));
                }
            }
        }
        let listen = section.addresses("listen").and_then(|all| all.first().copied());
        if let (Some(listen), Some(cluster), Some(clients)) = (listen, cluster, clients) {
            // What the listener does not say, [kafka] says.
            let word = |key: &str| {
                let all = document.all("kafka").first().and_then(|kafka| kafka.text(key));
                section.text(key).or(all).unwrap_or_default().to_owned()
            };
            listeners.push(ListenerConfig {
                listen,
                cluster,
                clients,
                zone: section.zone("zone"),
                tls,
                proxy,
                agents,
                strategy: word("strategy"),
                balance: word("balance"),
                scope: word("scope"),
            });
        }
    }
    listeners
}

fn kafka(document: &Document, listeners: Vec<ListenerConfig>) -> Option<Kafka> {
    let section = document.all("kafka").first()?;
    let zones = document.all("zones").first();
    Some(Kafka {
        connections: section.number("connections")?,
        per_source: section.number("per_source")?,
        idle: section.time("idle")?,
        same_client: section.time("same_client")?,
        agent_metrics: section.flag("agent_metrics")?,
        zone_aliases: zones.map(|zones| zones.texts("aliases")).unwrap_or_default(),
        zone_networks: zones.and_then(|zones| zones.text("networks")).map(str::to_owned),
        listeners,
    })
}

fn admin(document: &Document, folder: &Path, problems: &mut Problems) -> Option<Admin> {
    let section = document.all("admin").first()?;
    let mut tokens = Vec::new();
    if let Some(secret) = section.secret("token", "token_file", folder, problems) {
        tokens.push(TokenConfig {
            name: "admin".to_owned(),
            secret,
            cluster: None,
            group: None,
            write: true,
        });
    }
    for part in document.all("admin.tokens") {
        tokens.extend(token(part, folder, problems));
    }
    for (index, token) in tokens.iter().enumerate() {
        if tokens.iter().take(index).any(|other| other.name == token.name) {
            problems.error(
                section.at,
                format!("admin.tokens: the name {:?} is there twice", token.name),
                None,
            );
        }
    }
    let listen = section.addresses("listen").and_then(|all| all.first().copied())?;
    if tokens.is_empty() && !listen.ip().to_canonical().is_loopback() {
        let hint =
            "set token_file under [admin], or FINGERPOST_ADMIN_TOKEN, or listen at 127.0.0.1".to_owned();
        let what = format!("admin.listen: {listen} can be reached from elsewhere, and there is no token");
        problems.error(section.origin("listen"), what, Some(hint));
    }
    Some(Admin {
        listen,
        public_read: section.flag("public_read")?,
        hosts: section.texts("hosts"),
        connections: section.number("connections")?,
        tokens,
    })
}

fn process(document: &Document) -> Option<Process> {
    let section = document.all("process").first()?;
    Some(Process { watch: section.time("watch")?, share_addresses: section.flag("share_addresses")? })
}

fn token(section: &Instance, folder: &Path, problems: &mut Problems) -> Option<TokenConfig> {
    let (cluster, group) = (section.cluster("cluster"), section.groups("group").into_iter().next());
    if group.is_some() && cluster.is_none() {
        let hint = Some("add cluster: groups of two clusters may have one name".to_owned());
        problems.error(section.origin("group"), "admin.tokens: group without cluster", hint);
    }
    let secret = section.secret("token", "token_file", folder, problems);
    if secret.is_none() && !section.values.contains_key("token") && !section.values.contains_key("token_file")
    {
        problems.error(section.at, "admin.tokens: token_file is missing", None);
    }
    let (name, write) = (section.text("name")?.to_owned(), section.flag("write")?);
    Some(TokenConfig { name, secret: secret?, cluster, group, write })
}

fn log(section: &Instance, problems: &mut Problems) -> Option<Log> {
    let level = section.text("level")?.to_owned();
    if let Err(error) = level.parse::<tracing_subscriber::filter::Targets>() {
        let hint = Some("write error, warn, info, debug or trace, or info,fingerpost::dns=debug".to_owned());
        problems.error(section.origin("level"), format!("log.level: {level:?} is no level: {error}"), hint);
    }
    let format = if section.text("format")? == "json" { LogFormat::Json } else { LogFormat::Text };
    Some(Log { level, format })
}

/// A file that the configuration names: beside the configuration first, then in the working directory.
fn find_file(folder: &Path, file: &Path) -> PathBuf {
    let beside = folder.join(file);
    if !beside.exists() && file.exists() { file.to_owned() } else { beside }
}

/// No two TCP listeners may want the same port of the same address; a wildcard wants it of every address.
/// Sections that listen, all over TCP.
const LISTENING: [(&str, &str); 5] = [
    ("dns", "listen"),
    ("dns.tls", "listen"),
    ("dns.https", "listen"),
    ("kafka.listener", "listen"),
    ("admin", "listen"),
];

fn check_addresses(document: &Document, problems: &mut Problems) {
    let mut taken: Vec<(SocketAddr, &str)> = Vec::new();
    for (section, key) in LISTENING {
        for instance in document.all(section) {
            for address in instance.addresses(key).unwrap_or_default() {
                let clash = taken.iter().find(|(other, _)| clash(*other, address));
                if let Some((other, whose)) = clash {
                    let what = format!("{section}.{key}: {address} is taken by {other} of {whose}");
                    let hint = Some("give one of them another port".to_owned());
                    problems.error(instance.origin(key), what, hint);
                }
                taken.push((address, section));
            }
        }
    }
}

fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let wild = |ip: IpAddr| ip.is_unspecified();
    let same_ip = a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && (wild(a.ip()) || wild(b.ip())));
    a.port() != 0 && a.port() == b.port() && same_ip
}

fn warn_of_idleness(document: &Document, problems: &mut Problems) {
    if document.all("dns.zone").is_empty() {
        let hint = Some("add [[dns.zone]] with apex = \"kafka.example\"".to_owned());
        problems.warning(Origin::Default, "no DNS zone: every query will be refused", hint);
    }
    let listen =
        document.all("dns").first().and_then(|section| section.addresses("listen")).unwrap_or_default();
    let wildcard = listen.iter().all(|address| address.ip().is_unspecified());
    for zone in document.all("dns.zone") {
        let said = ["file", "ns", "ns_addresses"].iter().any(|key| zone.values.contains_key(*key));
        if let (Some(apex), true, false) = (zone.text("apex"), wildcard, said) {
            let message =
                format!("dns.zone {apex}: its name server ns1.{apex} has no address, for we listen on any");
            let hint =
                "set ns_addresses to what resolvers reach this server by, or give the zone a file".to_owned();
            problems.warning(zone.origin("apex"), message, Some(hint));
        }
    }
}

fn settings(document: &Document) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (name, instances) in document.sections() {
        let repeated = super::keys::section(name).is_some_and(|section| section.repeated);
        for (index, instance) in instances.iter().enumerate() {
            let path = if repeated { format!("{name}[{}]", index + 1) } else { name.to_owned() };
            settings.extend(instance.values.iter().map(|(key, found)| Setting {
                key: format!("{path}.{key}"),
                value: found.value.to_string(),
                origin: found.origin,
            }));
        }
    }
    settings
}

/// Reading values of the kinds that the table of keys gives them; `None` if absent or refused.
impl Instance {
    fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key).map(|found| &found.value)
    }

    /// Whether the key was given, be its value good or not.
    fn is_given(&self, key: &str) -> bool {
        self.given.contains(&key)
    }

    /// Whether the key was given and its value is not good, which was reported.
    fn is_refused(&self, key: &str) -> bool {
        self.is_given(key) && !self.values.contains_key(key)
    }

    fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(self.at, |found| found.origin)
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    fn number(&self, key: &str) -> Option<usize> {
        match self.value(key)? {
            Value::Number(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    fn time(&self, key: &str) -> Option<Duration> {
        match self.value(key)? {
            Value::Time(time) => Some(*time),
            _ => None,
        }
    }

    fn addresses(&self, key: &str) -> Option<Vec<SocketAddr>> {
        match self.value(key)? {
            Value::Addresses(addresses) => Some(addresses.clone()),
            _ => None,
        }
    }

    fn texts(&self, key: &str) -> Vec<String> {
        match self.value(key) {
            Some(Value::Texts(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }

    fn ips(&self, key: &str) -> Vec<IpAddr> {
        match self.value(key) {
            Some(Value::Ips(ips)) => ips.clone(),
            _ => Vec::new(),
        }
    }

    fn groups(&self, key: &str) -> Vec<GroupName> {
        match self.value(key) {
            Some(Value::Groups(groups)) => groups.clone(),
            _ => Vec::new(),
        }
    }

    fn cluster(&self, key: &str) -> Option<Cluster> {
        match self.value(key)? {
            Value::Cluster(cluster) => Some(cluster.clone()),
            _ => None,
        }
    }

    fn zone(&self, key: &str) -> Option<Zone> {
        match self.value(key)? {
            Value::Zone(zone) => Some(zone.clone()),
            _ => None,
        }
    }

    /// A secret given by `key`, or in the file that `file_key` names. Two from one place are a mistake; one from the
    /// environment wins over one from the file.
    fn secret(
        &self,
        key: &str,
        file_key: &str,
        folder: &Path,
        problems: &mut Problems,
    ) -> Option<SecretSource> {
        let strength = |found: &Found| matches!(found.origin, Origin::Environment(_));
        let given = self.values.get(key);
        let file = self.values.get(file_key);
        if let (Some(given), Some(file)) = (given, file)
            && strength(given) == strength(file)
        {
            let what = format!("{key} and {file_key} exclude each other");
            problems.error(file.origin, what, Some("keep the file".to_owned()));
        }
        match (given, file) {
            (Some(Found { value: Value::Secret(secret), .. }), None) => {
                Some(SecretSource::Given(secret.clone()))
            }
            (Some(found), Some(other)) if strength(found) && !strength(other) => match &found.value {
                Value::Secret(secret) => Some(SecretSource::Given(secret.clone())),
                _ => None,
            },
            (_, Some(Found { value: Value::Text(path), .. })) => {
                Some(SecretSource::File(find_file(folder, Path::new(path))))
            }
            _ => None,
        }
    }
}

impl Registry {
    /// The URL without its password.
    pub fn shown(&self) -> String {
        shown_url(self.url.expose())
    }
}
