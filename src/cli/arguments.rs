//! The command line. Help, man page and completions all come from here.

use crate::dns::dnssec::Algorithm;
use crate::limits::{Bound, config as bounds, dnssec, gateway, registry};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// fingerpost points each Kafka client to the right broker: one of its own group, in its own availability zone.
#[derive(Debug, Parser)]
#[command(
    name = "fingerpost",
    version,
    about = "Discovery server for leaderless Kafka-compatible brokers",
    long_about = "fingerpost points each Kafka client to the right broker: one of its own group, in its own \
                  availability zone. Brokers (\"agents\") leave heartbeats in Redis; fingerpost turns them into \
                  DNS answers and zone-aware Kafka Metadata.",
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES,
    max_term_width = 100
)]
pub(super) struct Arguments {
    /// Log level, or a list of module=level [environment: FINGERPOST_LOG]
    #[arg(long, global = true, value_name = "LEVEL", display_order = 900)]
    pub(super) log: Option<String>,
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXAMPLES: &str = "Examples:
  fingerpost demo                              try it: no Redis, no root, nothing to configure
  fingerpost check --config fingerpost.toml    what start-up would trip over
  fingerpost serve --config fingerpost.toml    serve DNS, Kafka and the admin API
  fingerpost agents                            the fleet as a table

Exit codes: 0 done, 64 wrong usage, 69 something needed is unavailable, 78 wrong configuration";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve DNS, Kafka and the admin API
    #[command(after_help = "Examples:
  fingerpost serve --config /etc/fingerpost.toml
  FINGERPOST_REGISTRY_PASSWORD_FILE=/run/secrets/redis fingerpost serve --config fingerpost.toml

SIGTERM and Ctrl-C drain and exit 0; a second signal ends at once.")]
    Serve(Serve),
    /// Walk the start-up path and report every problem
    #[command(after_help = "Examples:
  fingerpost check --config fingerpost.toml
  fingerpost check --config fingerpost.toml --config-only    no network, no other file: for CI
  fingerpost check --config fingerpost.toml -o short         only problems, to paste in a chat

Exit codes: 0 fine (warnings included), 69 the environment is not ready, 78 the configuration is wrong")]
    Check(Check),
    /// Serve a small simulated fleet: no Redis, no root
    #[command(after_help = "Examples:
  fingerpost demo
  fingerpost demo --churn                                 agents come, drain and die
  fingerpost demo --dns 127.0.0.1:0 --kafka 127.0.0.1:0 --admin 127.0.0.1:0    on free ports")]
    Demo(Demo),
    /// Show the fleet as a table
    #[command(after_help = "Examples:
  fingerpost agents
  fingerpost agents --cluster prod --group vpc-1
  fingerpost agents --server http://10.0.0.5:8053 --token-file token --json

The server can also be given by FINGERPOST_SERVER, the token by FINGERPOST_TOKEN or FINGERPOST_TOKEN_FILE.")]
    Agents(Agents),
    /// Sidecar of a broker: its heartbeat, and a gateway in front of it
    #[command(after_help = "Examples:
  fingerpost agent --cluster prod --group vpc-1 --zone us-east-1a --apex kafka.corp.example \\
      --listen 10.0.1.17:9092 --upstream 127.0.0.1:19092 --registry redis://10.0.0.2:6379
  fingerpost agent --cluster prod --group vpc-1 --zone us-east-1a --apex kafka.corp.example \\
      --listen 10.0.1.17:9093 --tls-cert agent.pem --tls-key agent.key --upstream 127.0.0.1:19092 \\
      --registry redis://10.0.0.2:6379
  fingerpost agent --cluster prod --group vpc-1 --zone us-east-1a --address 10.0.1.17 \\
      --registry redis://10.0.0.2:6379
  fingerpost agent --cluster prod --group vpc-1 --address 10.0.1.17 --address 2001:db8::17 \\
      --agent broker-17 --port 9092 --lease 10s --registry redis://agents@10.0.0.2 \\
      --password-file /run/secrets/redis

With --listen, clients come through the agent to the broker at --upstream and are only ever told of agents of
their group. Without, the command heartbeats for a broker that clients reach directly.

SIGTERM and Ctrl-C say goodbye (draining, then removed) and exit 0; a second signal ends at once.")]
    Agent(Box<Agent>),
    /// Make, list and replace the keys that a zone is signed with
    #[command(after_help = "Examples:
  fingerpost keys generate --zone kafka.corp.example --dir keys
  fingerpost keys ds --zone kafka.corp.example --dir keys          what the parent zone needs
  fingerpost keys roll --zone kafka.corp.example --dir keys        a successor that takes over when caches know it

The files are those of BIND's dnssec-keygen, which can be used as well.")]
    Keys {
        #[command(subcommand)]
        keys: Keys,
    },
    /// Print shell completions
    #[command(after_help = "Examples:
  fingerpost completions bash > /etc/bash_completion.d/fingerpost
  fingerpost completions zsh > ~/.zfunc/_fingerpost")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page, or write one per command into a directory
    #[command(after_help = "Examples:
  fingerpost man | man -l -
  fingerpost man /usr/local/share/man/man1")]
    Man {
        /// Where to write the pages; standard output has only the first
        directory: Option<PathBuf>,
    },
    /// Print generated parts of the documentation
    #[command(hide = true)]
    Reference {
        /// Which part
        part: Part,
    },
}

/// Parts of the documentation that are made from the table of keys.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Part {
    /// examples/fingerpost.toml
    Example,
    /// The tables of docs/config.md
    Tables,
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration file
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The configuration file
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// The same as --output json
    #[arg(long)]
    pub(super) json: bool,
    /// How to report
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(super) output: Output,
    /// Look at the configuration file only: no network, no other file
    #[arg(long)]
    pub(super) config_only: bool,
    /// Ask the parent zones whether they delegate to us, and every server that they name whether it answers: for a
    /// server that is running
    #[arg(long, conflicts_with = "config_only")]
    pub(super) delegation: bool,
    /// The resolver that finds the parents; the first of /etc/resolv.conf if left out
    #[arg(long, value_name = "ADDRESS", requires = "delegation", value_parser = name_server)]
    pub(super) resolver: Option<SocketAddr>,
    /// A server of the parent zone, instead of those that the resolver finds; may be repeated
    #[arg(long, value_name = "ADDRESS", requires = "delegation", value_parser = name_server)]
    pub(super) parent: Vec<SocketAddr>,
}

/// What `keys` does.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a key
    Generate(GenerateKey),
    /// List the keys of a zone with their states and times
    List(Shown),
    /// Print the DS records that the parent zone needs
    Ds(Shown),
    /// Make the successor of a key: published now, signing later
    Roll(RollKey),
    /// Take a key out that has a successor
    Retire(OneKey),
}

#[derive(Debug, Args)]
pub(super) struct KeysOf {
    /// The zone
    #[arg(long, value_name = "APEX", value_parser = crate::config::dns_name)]
    pub(super) zone: String,
    /// The folder of its keys
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Shown {
    #[command(flatten)]
    pub(super) of: KeysOf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct GenerateKey {
    #[command(flatten)]
    pub(super) of: KeysOf,
    /// How it signs
    #[arg(long, value_name = "NAME", default_value = "ecdsap256sha256", value_parser = algorithm)]
    pub(super) algorithm: Algorithm,
    /// A combined key: signs all of the zone, and the DS points to it (what is made if nothing is said)
    #[arg(long, group = "use")]
    pub(super) csk: bool,
    /// A key-signing key: the DS points to it, a zone-signing key signs the data
    #[arg(long, group = "use")]
    pub(super) ksk: bool,
    /// A zone-signing key
    #[arg(long, group = "use")]
    pub(super) zsk: bool,
    /// TTL of its DNSKEY in its file
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = key_ttl)]
    pub(super) ttl: Duration,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyUse {
    /// The DS points to it; it signs data while no zone-signing key does.
    Entry,
    /// It signs data.
    Zsk,
}

impl GenerateKey {
    pub(super) fn role(&self) -> KeyUse {
        if self.zsk && !self.ksk && !self.csk { KeyUse::Zsk } else { KeyUse::Entry }
    }
}

#[derive(Debug, Args)]
pub(super) struct RollKey {
    #[command(flatten)]
    pub(super) of: KeysOf,
    /// The key that is to be replaced, if several are active
    #[arg(long, value_name = "TAG")]
    pub(super) tag: Option<u16>,
    /// Another algorithm for the successor
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    pub(super) algorithm: Option<Algorithm>,
    /// When the successor signs: longer than the keys' TTL
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = humantime::parse_duration)]
    pub(super) after: Duration,
    /// How long a zone-signing key stays published after that: longer than the longest TTL of the zone
    #[arg(long, value_name = "TIME", default_value = "2d", value_parser = humantime::parse_duration)]
    pub(super) remove_after: Duration,
}

#[derive(Debug, Args)]
pub(super) struct OneKey {
    #[command(flatten)]
    pub(super) of: KeysOf,
    /// The key
    #[arg(long, value_name = "TAG")]
    pub(super) tag: u16,
    /// When it is gone
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(super) after: Duration,
    /// Even if no key like it is left
    #[arg(long)]
    pub(super) force: bool,
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    let found = Algorithm::ALL
        .into_iter()
        .find(|one| one.as_str().eq_ignore_ascii_case(text) || (*one as u8).to_string() == text);
    found.ok_or_else(|| "ecdsap256sha256 (13) and ed25519 (15) are supported".to_owned())
}

fn key_ttl(text: &str) -> Result<Duration, String> {
    let bound = dnssec::DNSKEY_TTL;
    let [default, min, max] =
        [bound.default, bound.min, bound.max].map(|ttl| Duration::from_secs(ttl.into()));
    within(text, Bound { default, min, max })
}

/// How `check` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Every check
    Text,
    /// Problems and the verdict
    Short,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Where DNS answers
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5353")]
    pub(super) dns: SocketAddr,
    /// Where the Kafka listener of vpc-1 listens; that of vpc-2 has the next port (or any, with port 0)
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9092")]
    pub(super) kafka: SocketAddr,
    /// Where the admin API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8053")]
    pub(super) admin: SocketAddr,
    /// The zone's name
    #[arg(long, value_name = "NAME", default_value = "kafka.example", value_parser = crate::config::dns_name)]
    pub(super) apex: String,
    /// Agents per zone and group
    #[arg(long, value_name = "N", default_value_t = bounds::DEMO_AGENTS.default, value_parser = demo_agents)]
    pub(super) agents_per_zone: usize,
    /// Let agents come, drain and die
    #[arg(long)]
    pub(super) churn: bool,
}

#[derive(Debug, Args)]
pub(super) struct Agents {
    /// The admin API to ask
    #[arg(long, value_name = "URL")]
    pub(super) server: Option<String>,
    /// Print the API's JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Only this cluster
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Option<String>,
    /// Only this group
    #[arg(long, value_name = "NAME")]
    pub(super) group: Option<String>,
    /// File that holds the token for the admin API
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Agent {
    /// The agent's cluster
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: crate::model::Cluster,
    /// The agent's group
    #[arg(long, value_name = "NAME")]
    pub(super) group: crate::model::GroupName,
    /// The agent's id within its group; the host's name if left out
    #[arg(long, value_name = "ID")]
    pub(super) agent: Option<crate::model::AgentId>,
    /// The availability zone it is in; a gateway finds it out if left out
    #[arg(long, value_name = "NAME")]
    pub(super) zone: Option<crate::model::Zone>,
    /// Be a gateway: listen for Kafka clients here
    #[arg(long, value_name = "ADDRESS", requires = "upstream")]
    pub(super) listen: Option<SocketAddr>,
    /// The broker behind the gateway
    #[arg(long, value_name = "HOST:PORT", requires = "listen", value_parser = upstream)]
    pub(super) upstream: Option<String>,
    /// For how long clients may go on when the agent leaves
    #[arg(long, value_name = "TIME", default_value = "300s", requires = "listen", value_parser = drain)]
    pub(super) drain: Duration,
    /// Serve health, metrics and the fleet over HTTP here, read-only; a loopback address
    #[arg(long, value_name = "ADDRESS", requires = "listen")]
    pub(super) admin: Option<SocketAddr>,
    /// An address where clients reach the agent; may be repeated; that of --listen if left out
    #[arg(long, value_name = "IP", required_unless_present = "listen")]
    pub(super) address: Vec<IpAddr>,
    /// The port where clients reach the agent; that of --listen, or 9092, if left out
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// The zone that fingerpost's DNS serves: clients are told the agent's own name under it
    #[arg(long, value_name = "NAME", value_parser = crate::config::dns_name)]
    pub(super) apex: Option<String>,
    /// The host that clients are told, if neither the agent's name under --apex nor its first address
    #[arg(long, value_name = "HOST")]
    pub(super) advertise: Option<String>,
    /// Let clients be told a loopback address or localhost, which leads each to its own machine
    #[arg(long)]
    pub(super) allow_loopback: bool,
    /// A role, such as proxy-produce; may be repeated
    #[arg(long, value_name = "ROLE")]
    pub(super) role: Vec<crate::model::Label>,
    /// Relative share of clients
    #[arg(long, value_name = "N", default_value_t = crate::model::agent::DEFAULT_WEIGHT)]
    pub(super) weight: u16,
    /// The Kafka node id it wants
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i32).range(1..=0x3fff_ffff))]
    pub(super) node_id: Option<i32>,
    /// For how long a heartbeat holds; it is renewed three times as often
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = lease)]
    pub(super) lease: Duration,
    /// The registry [environment: FINGERPOST_REGISTRY_URL]
    #[arg(long, value_name = "URL")]
    pub(super) registry: Option<String>,
    /// What registry keys begin with
    #[arg(long, value_name = "TEXT", default_value = "fingerpost")]
    pub(super) prefix: String,
    /// File that holds the registry's password [environment: FINGERPOST_REGISTRY_PASSWORD_FILE]
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) transport: super::transport::Transport,
    #[command(flatten)]
    pub(super) placing: super::placing::Placing,
}

/// An address, with port 53 unless it names another.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
    address.map_err(|_| "write an IP address, or ADDRESS:PORT".to_owned())
}

fn demo_agents(text: &str) -> Result<usize, String> {
    let (min, max) = (bounds::DEMO_AGENTS.min, bounds::DEMO_AGENTS.max);
    let number = text.parse().map_err(|_| "it is no number".to_owned())?;
    if bounds::DEMO_AGENTS.holds(number) { Ok(number) } else { Err(format!("{min} to {max} are allowed")) }
}

fn lease(text: &str) -> Result<Duration, String> {
    within(text, registry::LEASE)
}

fn drain(text: &str) -> Result<Duration, String> {
    within(text, gateway::DRAIN)
}

/// A host and a port; the host is looked up when it is connected to.
fn upstream(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or("write HOST:PORT")?;
    let literal = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || host.contains(':') && !literal {
        return Err("write HOST:PORT, an IPv6 address in brackets".to_owned());
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(text.to_owned()),
        _ => Err("the port is a number from 1 to 65535".to_owned()),
    }
}

pub(super) fn within(text: &str, bound: Bound<Duration>) -> Result<Duration, String> {
    let time = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string())?,
    };
    let shown = |time| humantime::format_duration(time).to_string();
    match bound.holds(time) {
        true => Ok(time),
        false => Err(format!("{} to {} are allowed", shown(bound.min), shown(bound.max))),
    }
}
