//! What the configuration says of connections before their first byte: certificates, proxies, whose clients come.

use super::secret::SecretSource;
use crate::model::GroupName;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What tells the group of a listener's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The listener: everybody is of this group.
    Listener(GroupName),
    /// Each connection.
    Connection {
        /// By the server name of TLS, below any of the zones.
        sni: bool,
        /// By its source address, if that is an agent's.
        source: bool,
    },
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(group) => group.fmt(f),
            Self::Connection { .. } => f.write_str("*"),
        }
    }
}

/// A listener's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates with their keys; the first is the default.
    pub identities: Vec<(PathBuf, PathBuf)>,
    /// Whether clients show certificates.
    pub clients: ClientAuth,
    /// Longest handshake.
    pub handshake: Duration,
}

/// Whether clients show certificates, and the file of the authorities that make them good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    Off,
    /// They may.
    Optional(PathBuf),
    /// They must.
    Required(PathBuf),
}

/// Proxies in front of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Whether everybody must come through one.
    pub required: bool,
    /// Their networks.
    pub trusted: Vec<String>,
}

/// How a listener that relays reaches agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentsConfig {
    /// The authorities of their certificates; without them, plain text.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether they are told the client's address.
    pub proxy: bool,
}

/// The registry's certificates, all PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryTls {
    /// Authorities; `None` for the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// One `[[dns.tsig_key]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsigKeyConfig {
    /// Its name, lower case, without the last dot.
    pub name: String,
    /// `hmac-sha256` and the like.
    pub algorithm: String,
    /// Its secret, in base64.
    pub secret: SecretSource,
}

/// One `[[dns.secondary]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondaryConfig {
    /// The name of its key.
    pub key: String,
    /// The zones that it may copy; empty means all.
    pub zones: Vec<String>,
    /// Networks that it asks from; empty means anywhere.
    pub networks: Vec<String>,
    /// Where it is told of changes.
    pub notify: Vec<SocketAddr>,
    /// Whether it gets the groups that only some networks may ask for.
    pub all_groups: bool,
}

/// `[dns.tls]` and `[dns.https]`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EncryptedDns {
    /// The certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Where DNS over TLS listens.
    pub tls: Vec<SocketAddr>,
    /// Where DNS over HTTPS listens.
    pub https: Vec<SocketAddr>,
    /// The path of DNS over HTTPS.
    pub path: String,
}

/// `[process]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// How often files are looked at for changes; zero is never.
    pub watch: Duration,
    /// Whether another process of the same user may listen at our addresses beside us.
    pub share_addresses: bool,
}
