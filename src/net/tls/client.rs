//! The client's side: TLS to a server whose certificate must be good, of an authority in a file that was named.

use super::certificate::Certificate;
use super::files::{self, Loaded};
use super::reload::{Reloaded, Reloading, Status, Told};
use super::{Error, Identity, alert_words, provider, rustls_error};
use crate::limits::tls as limits;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, InvalidMessage};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// A connection over TLS.
pub type ClientStream<S> = tokio_rustls::client::TlsStream<S>;

/// How to speak TLS to one server or one kind of servers.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Whose certificates are believed: a PEM file of authorities (or of the server's own self-signed certificate).
    pub authorities: PathBuf,
    /// What to show if the server asks for a client certificate.
    pub identity: Option<Identity>,
    /// The name to ask for and to verify, instead of the host that is connected to.
    pub server_name: Option<String>,
    /// Application protocols (ALPN) to offer.
    pub alpn: Vec<Vec<u8>>,
    /// How long a handshake may take ([`limits::HANDSHAKE`]).
    pub handshake: Duration,
}

impl ClientSettings {
    /// Trust in `authorities`, and no certificate of one's own.
    pub fn new(authorities: impl Into<PathBuf>) -> Self {
        Self {
            authorities: authorities.into(),
            identity: None,
            server_name: None,
            alpn: Vec::new(),
            handshake: limits::HANDSHAKE.default,
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.authorities.clone()];
        if let Some(identity) = &self.identity {
            files.extend([identity.certificate.clone(), identity.key.clone()]);
        }
        files
    }
}

/// TLS to servers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientTls {
    active: Arc<Reloading<Active>>,
    server_name: Option<ServerName<'static>>,
    handshake: Duration,
}

/// Why there is no TLS to a server. All but `BadName` may pass; try again with a back-off.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host to verify is neither a host name nor an address.
    #[error("{0:?} is neither a host name nor an address, so no certificate can be for it")]
    BadName(String),
    /// It was not done in time.
    #[error("{name}: no TLS handshake within {deadline:?}")]
    Timeout {
        /// The name that was asked for.
        name: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// The server does not speak TLS.
    #[error("{name} does not speak TLS on this port: check the port, or switch TLS to it off")]
    NotTls {
        /// The name that was asked for.
        name: String,
    },
    /// The server's certificate is not good.
    #[error("{name}: its certificate is refused: {reason}")]
    Untrusted {
        /// The name that was asked for.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The server ended the handshake with an alert.
    #[error("{name} refused: {reason}")]
    Refused {
        /// The name that was asked for.
        name: String,
        /// The alert in words.
        reason: String,
    },
    /// The server broke the protocol, or there is nothing in common.
    #[error("{name}: the TLS handshake failed: {reason}")]
    Protocol {
        /// The name that was asked for.
        name: String,
        /// How.
        reason: String,
    },
    /// The connection broke or was closed.
    #[error("{name}: the connection broke during the TLS handshake")]
    Io {
        /// The name that was asked for.
        name: String,
        /// How.
        source: io::Error,
    },
}

impl ConnectError {
    /// What to count it as.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BadName(_) => "bad_name",
            Self::Timeout { .. } => "timeout",
            Self::NotTls { .. } => "not_tls",
            Self::Untrusted { .. } => "untrusted",
            Self::Refused { .. } => "refused",
            Self::Protocol { .. } => "protocol",
            Self::Io { .. } => "io",
        }
    }

    fn from_handshake(name: String, error: io::Error) -> Self {
        use rustls::Error as E;
        match rustls_error(&error) {
            Some(E::InvalidCertificate(why)) => Self::Untrusted { reason: reason(why), name },
            Some(E::AlertReceived(alert)) => Self::Refused { name, reason: alert_words(*alert) },
            Some(E::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NotTls { name },
            Some(other) => Self::Protocol { name, reason: other.to_string() },
            None => Self::Io { name, source: error },
        }
    }
}

/// Why a certificate is refused, with the next step.
fn reason(why: &CertificateError) -> String {
    let step = match why {
        CertificateError::UnknownIssuer => "; its issuer is not in the file of authorities",
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "; it has no subject alternative names, which are needed (a CN is not looked at)"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "; connect by one of its names, or set the server name to verify"
        }
        _ => "",
    };
    format!("{why}{step}")
}

impl ClientTls {
    /// Reads the files; `now` is the wall clock, for warnings about dates. Blocks on the disk.
    pub fn load(settings: ClientSettings, now: SystemTime) -> Result<Self, Error> {
        let server_name = match &settings.server_name {
            Some(name) => Some(server_name(name).ok_or_else(|| Error::BadServerName(name.clone()))?),
            None => None,
        };
        let (files, handshake) = (settings.files(), settings.handshake);
        let make = move |old: Option<&Active>, now| Active::make(&settings, old, now);
        let active = Arc::new(Reloading::start(files, Box::new(make), now)?);
        Ok(Self { active, server_name, handshake })
    }

    /// Makes a TLS client of one connection to `host` (a name or an address), within the deadline.
    pub async fn connect<S>(&self, stream: S, host: &str) -> Result<ClientStream<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.server_name.clone().or_else(|| server_name(host));
        let name = name.ok_or_else(|| ConnectError::BadName(host.to_owned()))?;
        let text = name.to_str().into_owned();
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.active.load().config));
        match tokio::time::timeout(self.handshake, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(ConnectError::from_handshake(text, error)),
            Err(_) => Err(ConnectError::Timeout { name: text, deadline: self.handshake }),
        }
    }

    /// Reads the files now. On an error, which is logged too, the old ones stay. Blocks on the disk.
    pub fn reload(&self, now: SystemTime) -> Result<(), Error> {
        self.active.reload(now)
    }

    /// Reads the files if they changed. Blocks on the disk.
    pub fn poll(&self, now: SystemTime) -> Reloaded {
        self.active.poll(now)
    }

    /// Looks at the files every `interval` ([`limits::RELOAD_INTERVAL`]) until `stop`. `wall` is the wall clock.
    pub async fn watch(&self, interval: Duration, wall: fn() -> SystemTime, stop: CancellationToken) {
        Arc::clone(&self.active).watch(interval, wall, stop).await;
    }

    /// What is in use, and how the last reload went.
    pub fn status(&self) -> Status {
        self.active.status()
    }
}

/// A host as a certificate may name it; the final dot of a full name is not part of that.
fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.strip_suffix('.').unwrap_or(host).to_owned()).ok()
}

/// One generation of files.
struct Active {
    config: Arc<ClientConfig>,
    identity: Option<(PathBuf, Certificate)>,
    warnings: Vec<String>,
}

impl Told for Active {
    fn certificates(&self) -> Vec<(PathBuf, Certificate)> {
        self.identity.iter().cloned().collect()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

impl Active {
    fn make(settings: &ClientSettings, old: Option<&Self>, now: SystemTime) -> Result<Self, Error> {
        let provider = provider();
        let (roots, mut warnings) = files::authorities(&settings.authorities, now)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| Error::Refused(error.to_string()))?
            .with_root_certificates(roots);
        let (mut config, identity) = match &settings.identity {
            None => (builder.with_no_client_auth(), None),
            Some(identity) => {
                let Loaded { key, certificate, warnings: more } = files::identity(identity, &provider, now)?;
                warnings.extend(more);
                let shown = (identity.certificate.clone(), certificate);
                if let Some(Some(old)) = old.map(|old| &old.identity) {
                    files::keep_what_is_valid(std::slice::from_ref(old), std::slice::from_ref(&shown), now)?;
                }
                (builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))), Some(shown))
            }
        };
        config.alpn_protocols.clone_from(&settings.alpn);
        Ok(Self { config: Arc::new(config), identity, warnings })
    }
}
