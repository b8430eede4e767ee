//! Every key of the configuration, once: its kind, bounds, default, environment variable and meaning. Reading,
//! messages, `examples/fingerpost.toml` and `docs/config.md` all follow this table.

mod dns;
mod encrypted;
mod policy;
mod process;
mod transfer;

use super::value::Kind;
use crate::limits::{admin, kafka, registry, tcp, tls};

/// A section: `[name]`, or `[[name]]` if it may be repeated.
#[derive(Debug)]
pub struct Section {
    /// Its full name, such as `dns.zone`.
    pub name: &'static str,
    /// Whether there may be several.
    pub repeated: bool,
    /// What it is about.
    pub meaning: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds if nothing is said.
    pub default: Fallback,
    /// The environment variable that overrides it.
    pub environment: Option<&'static str>,
    /// What it means.
    pub meaning: &'static str,
}

/// What holds if a key is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The section is wrong without it; an example of a value as TOML.
    Required(&'static str),
    /// Nothing holds; an example of a value as TOML.
    Absent(&'static str),
    /// The same, of a key that most have: the example file has it too.
    Usual(&'static str),
    /// This value, as TOML.
    Is(&'static str),
}

impl Section {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// As the file writes its head.
    pub fn head(&self) -> String {
        if self.repeated { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }
}

/// The section of this name.
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

const fn key(name: &'static str, kind: Kind, default: Fallback, meaning: &'static str) -> Key {
    Key { name, kind, default, environment: None, meaning }
}

const fn from(mut key: Key, environment: &'static str) -> Key {
    key.environment = Some(environment);
    key
}

use Fallback::{Absent, Is, Required, Usual};

/// Every section.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "registry",
        repeated: false,
        meaning: "Where agents leave their heartbeats.",
        keys: REGISTRY,
    },
    Section { name: "dns", repeated: false, meaning: "The DNS front.", keys: dns::DNS },
    Section {
        name: "dns.zone",
        repeated: true,
        meaning: "A zone that this server is authoritative for; groups and agents are names below its apex.",
        keys: dns::ZONE,
    },
    Section {
        name: "dns.tsig_key",
        repeated: true,
        meaning: "A secret that a secondary shares with this server (TSIG, RFC 8945).",
        keys: transfer::TSIG_KEY,
    },
    Section {
        name: "dns.secondary",
        repeated: true,
        meaning: "A name server that copies zones by AXFR and IXFR: BIND, Knot, NSD or any other. Nobody else may.",
        keys: transfer::SECONDARY,
    },
    Section {
        name: "dns.rate_limit",
        repeated: false,
        meaning: "Response rate limiting: nobody shall be flooded by answers to questions that were asked in their name.",
        keys: policy::RATE_LIMIT,
    },
    Section {
        name: "dns.tls",
        repeated: false,
        meaning: "DNS over TLS, and the certificate of all encrypted DNS.",
        keys: encrypted::TLS,
    },
    Section { name: "dns.https", repeated: false, meaning: "DNS over HTTPS.", keys: encrypted::HTTPS },
    Section { name: "cluster", repeated: true, meaning: "A logical Kafka cluster.", keys: CLUSTER },
    Section {
        name: "group",
        repeated: true,
        meaning: "A group of a cluster that not everybody may ask for by DNS. Groups need no section to exist.",
        keys: policy::GROUP,
    },
    Section { name: "kafka", repeated: false, meaning: "What all Kafka listeners share.", keys: KAFKA },
    Section {
        name: "zones",
        repeated: false,
        meaning: "Availability zones of Kafka clients: other names, and networks.",
        keys: AVAILABILITY_ZONES,
    },
    Section {
        name: "kafka.listener",
        repeated: true,
        meaning: "A Kafka bootstrap address. Whoever connects to it belongs to one group and is told of no other: the listener's, else the one that its server name or its address tells, else the connection is closed.",
        keys: LISTENER,
    },
    Section {
        name: "admin",
        repeated: false,
        meaning: "The HTTP front: health, metrics, the fleet as JSON, heartbeats over HTTP.",
        keys: ADMIN,
    },
    Section {
        name: "admin.tokens",
        repeated: true,
        meaning: "A bearer token with rights of its own. Several may be valid at once.",
        keys: TOKEN,
    },
    Section {
        name: "process",
        repeated: false,
        meaning: "The process: reload and restart.",
        keys: process::KEYS,
    },
    Section { name: "log", repeated: false, meaning: "Logs go to standard error.", keys: LOG },
];

const REGISTRY: &[Key] = &[
    from(
        key(
            "url",
            Kind::Url,
            Required("\"redis://127.0.0.1:6379\""),
            "`redis://[user[:password]@]host:port[/db]`, the same over TLS with `rediss://`, `redis+unix:///path`, or `memory:` for a registry within this process (one server, heartbeats over the admin API only).",
        ),
        "FINGERPOST_REGISTRY_URL",
    ),
    from(
        key(
            "password_file",
            Kind::Path,
            Absent("\"/run/secrets/redis-password\""),
            "File that holds the registry's password, so that it need not stand in the URL.",
        ),
        "FINGERPOST_REGISTRY_PASSWORD_FILE",
    ),
    from(
        key(
            "password",
            Kind::Secret,
            Absent("\"…\""),
            "The password itself. Meant for the environment variable; prefer `password_file` in files.",
        ),
        "FINGERPOST_REGISTRY_PASSWORD",
    ),
    key(
        "ca_file",
        Kind::Path,
        Absent("\"/etc/fingerpost/redis-ca.pem\""),
        "With `rediss://`: the authorities (PEM) that the registry's certificate is verified with; without it those of the system.",
    ),
    key(
        "certificate_file",
        Kind::Path,
        Absent("\"/etc/fingerpost/redis-client.pem\""),
        "With `rediss://`: the certificate (PEM) that this server shows.",
    ),
    key(
        "key_file",
        Kind::Path,
        Absent("\"/etc/fingerpost/redis-client.key\""),
        "The key (PEM) of `certificate_file`.",
    ),
    key(
        "prefix",
        Kind::Text,
        Is("\"fingerpost\""),
        "Records lie at `<prefix>:agent:{<cluster>}:<group>:<agent>`.",
    ),
    key(
        "resync",
        Kind::time(&registry::RESYNC),
        Is("\"30s\""),
        "How often everything is compared with a full scan, in case a push was lost.",
    ),
    key(
        "operation_timeout",
        Kind::time(&registry::OPERATION),
        Is("\"3s\""),
        "After this long without an answer the connection counts as lost.",
    ),
    key(
        "stale_max",
        Kind::time(&registry::STALE_MAX),
        Is("\"1h\""),
        "For how long the last word of a lost registry is believed; leases stand still meanwhile.",
    ),
    key(
        "group_memory",
        Kind::time(&registry::GROUP_MEMORY),
        Is("\"1day\""),
        "For how long a group without agents still exists (NODATA instead of NXDOMAIN).",
    ),
    key(
        "departed_grace",
        Kind::time(&registry::DEPARTED),
        Is("\"5m\""),
        "For how long the own name of an agent that is gone still resolves.",
    ),
    key(
        "max_agents",
        Kind::number(&registry::AGENTS),
        Is("200000"),
        "Most agents that are held; records beyond are refused and counted.",
    ),
];

const CLUSTER: &[Key] = &[
    key("name", Kind::Cluster, Required("\"prod\""), "Its name: the label below the apex."),
    key(
        "groups",
        Kind::Groups,
        Is("[]"),
        "Groups that exist from the start, before their first agent (NODATA instead of NXDOMAIN). Those of the listeners always do.",
    ),
    key(
        "cluster_wide",
        Kind::Flag,
        Is("false"),
        "Answer `<cluster>.<apex>` with agents of all groups. It gives up the groups' isolation for those who use that name.",
    ),
    key(
        "topics",
        Kind::Topics,
        Is("{ source = \"registry\" }"),
        "Where Metadata's topics come from: `{ source = \"registry\" }` (hash `<prefix>:topics:{<cluster>}`), `{ source = \"static\", list = [{ name = \"orders\", partitions = 12 }] }`, or `{ source = \"agents\" }`: listeners then relay each connection to an agent of its group and rewrite what it says of brokers, so that every client and every request works there.",
    ),
];

const KAFKA: &[Key] = &[
    key("connections", Kind::number(&tcp::CONNECTIONS), Is("4096"), "Open connections per listener."),
    key(
        "per_source",
        Kind::number(&tcp::PER_SOURCE),
        Is("1024"),
        "Open connections of one source (IPv6: of one /64) per listener.",
    ),
    key("idle", Kind::time(&kafka::IDLE), Is("\"10m\""), "An idle connection is closed after this."),
    key(
        "strategy",
        Kind::Word(STRATEGIES),
        Is("\"single_agent\""),
        "Who leads partitions: one agent all of a reply's, or each its own. A client may ask for another one.",
    ),
    key(
        "balance",
        Kind::Word(BALANCES),
        Is("\"round_robin\""),
        "Which is the single agent: the next one at each refresh, or the one that a client keeps.",
    ),
    key(
        "scope",
        Kind::Word(SCOPES),
        Is("\"group\""),
        "Which agents are listed: all of the group, or those of the client's zone.",
    ),
    key(
        "same_client",
        Kind::time(&kafka::SAME_CLIENT),
        Is("\"5s\""),
        "Requests of one client within this time get the same agent of the round robin.",
    ),
    key(
        "agent_metrics",
        Kind::Flag,
        Is("false"),
        "Count placements by agent (1000 agents at most), not only by zone.",
    ),
];

/// Words of `strategy`.
const STRATEGIES: &[&str] = &["single_agent", "equal_spread", "consistent"];
/// Words of `balance`.
const BALANCES: &[&str] = &["round_robin", "sticky"];
/// Words of `scope`.
const SCOPES: &[&str] = &["group", "zone"];

const AVAILABILITY_ZONES: &[Key] = &[
    key(
        "aliases",
        Kind::Texts,
        Is("[]"),
        "Pairs of names for one zone, such as `us-east-1a=use1-az2`: clients may use either where agents use the other.",
    ),
    key(
        "networks",
        Kind::Text,
        Absent("\"us-east-1a@10.0.0.0/19,2001:db8:a::/48<>us-east-1b@10.0.64.0/19\""),
        "Zones by source address, for clients that name none: `zone@network,network<>zone@network`, IPv4 and IPv6. The longest prefix wins.",
    ),
];

const LISTENER: &[Key] = &[
    key("listen", Kind::Address, Required("\"127.0.0.1:9092\""), "Its address. Port 0 takes a free one."),
    key("cluster", Kind::Cluster, Required("\"prod\""), "The cluster: the name of a `[[cluster]]`."),
    key("group", Kind::Group, Usual("\"vpc-1\""), "The group of everybody who connects here."),
    key(
        "group_by_sni",
        Kind::Flag,
        Is("false"),
        "Without `group`: the server name that the client asked for by TLS tells its group: `<group>.<cluster>.<apex>`, or one label before it. A proxy that ends TLS can pass the name on.",
    ),
    key(
        "group_by_source",
        Kind::Flag,
        Is("false"),
        "Without `group`, and where no server name told it: the group whose agents registered the client's address, if it is the only one. For agents that pass on their clients' requests.",
    ),
    key(
        "zone",
        Kind::Zone,
        Absent("\"us-east-1a\""),
        "The zone of clients that name none in their client.id.",
    ),
    key(
        "certificates",
        Kind::Paths,
        Absent("[\"/etc/fingerpost/kafka.pem\"]"),
        "Switches TLS on. Certificate chains (PEM): clients get the one with the name they ask for, else the first. Files are read again when they change.",
    ),
    key(
        "keys",
        Kind::Paths,
        Absent("[\"/etc/fingerpost/kafka.key\"]"),
        "The keys (PEM) of `certificates`, in the same order; may be left out where each file holds both.",
    ),
    key(
        "client_auth",
        Kind::Word(&["off", "optional", "required"]),
        Is("\"off\""),
        "Whether clients show certificates. Whom one names is logged (debug); it grants nothing.",
    ),
    key(
        "client_ca",
        Kind::Path,
        Absent("\"/etc/fingerpost/clients-ca.pem\""),
        "The authorities (PEM) whose client certificates are good.",
    ),
    key(
        "handshake_timeout",
        Kind::time(&tls::HANDSHAKE),
        Is("\"10s\""),
        "A TLS handshake that takes longer is given up.",
    ),
    key(
        "proxy_protocol",
        Kind::Word(&["off", "optional", "required"]),
        Is("\"off\""),
        "Whether load balancers in front tell the client's address by the PROXY protocol (version 1 or 2). `optional` takes clients without it, too.",
    ),
    key(
        "trusted_proxies",
        Kind::Networks,
        Absent("[\"10.0.0.0/24\"]"),
        "Networks of those load balancers. Whoever is in them can be any client he likes.",
    ),
    key(
        "strategy",
        Kind::Word(STRATEGIES),
        Absent("\"consistent\""),
        "Another `kafka.strategy` for this listener.",
    ),
    key("balance", Kind::Word(BALANCES), Absent("\"sticky\""), "Another `kafka.balance` for this listener."),
    key("scope", Kind::Word(SCOPES), Absent("\"zone\""), "Another `kafka.scope` for this listener."),
    key(
        "agents_ca",
        Kind::Path,
        Absent("\"/etc/fingerpost/agents-ca.pem\""),
        "Where topics come from agents: speak TLS to them. The authorities (PEM) of their certificates, which must name `<agent>.<group>.<cluster>.<apex>` below the first `[[dns.zone]]`, or, where there is no zone, the host that they advertise.",
    ),
    key(
        "agents_certificate",
        Kind::Path,
        Absent("\"/etc/fingerpost/listener.pem\""),
        "The certificate (PEM) to show to agents that ask for one.",
    ),
    key(
        "agents_key",
        Kind::Path,
        Absent("\"/etc/fingerpost/listener.key\""),
        "The key (PEM) of `agents_certificate`; may be left out where that file holds both.",
    ),
    key(
        "agents_proxy_protocol",
        Kind::Flag,
        Is("false"),
        "Tell agents the client's address by the PROXY protocol (version 2): for gateways with `--proxy-protocol`. Brokers do not read it.",
    ),
];

const ADMIN: &[Key] = &[
    from(
        key(
            "listen",
            Kind::Address,
            Is("\"127.0.0.1:8053\""),
            "Its address. Anything but loopback needs a token.",
        ),
        "FINGERPOST_ADMIN_LISTEN",
    ),
    from(
        key(
            "token_file",
            Kind::Path,
            Absent("\"/run/secrets/fingerpost-token\""),
            "File that holds a token with every right.",
        ),
        "FINGERPOST_ADMIN_TOKEN_FILE",
    ),
    from(
        key(
            "token",
            Kind::Secret,
            Absent("\"…\""),
            "The token itself. Meant for the environment variable; prefer `token_file` in files.",
        ),
        "FINGERPOST_ADMIN_TOKEN",
    ),
    key(
        "public_read",
        Kind::Flag,
        Is("false"),
        "Let everybody read the fleet, where tokens are needed to write.",
    ),
    key(
        "hosts",
        Kind::Texts,
        Is("[]"),
        "Host names that requests without a token may use, beside addresses and localhost (against DNS rebinding).",
    ),
    key("connections", Kind::number(&admin::CONNECTIONS), Is("256"), "Open connections."),
];

const TOKEN: &[Key] = &[
    key("name", Kind::Text, Required("\"vpc-1-agents\""), "What logs and refusals call it; not secret."),
    key("token_file", Kind::Path, Absent("\"/run/secrets/vpc-1-token\""), "File that holds it."),
    key("token", Kind::Secret, Absent("\"…\""), "The token itself; prefer `token_file`."),
    key("cluster", Kind::Cluster, Absent("\"prod\""), "Only this cluster."),
    key("group", Kind::Group, Absent("\"vpc-1\""), "Only this group of the cluster."),
    key("write", Kind::Flag, Is("false"), "May write and remove agents' records, not only read."),
];

const LOG: &[Key] = &[
    from(
        key(
            "level",
            Kind::Text,
            Is("\"info\""),
            "`error`, `warn`, `info`, `debug`, `trace`, or by module: `info,fingerpost::dns=debug`.",
        ),
        "FINGERPOST_LOG",
    ),
    from(
        key(
            "format",
            Kind::Word(&["text", "json"]),
            Is("\"text\""),
            "`text` for people, `json` for machines.",
        ),
        "FINGERPOST_LOG_FORMAT",
    ),
];
