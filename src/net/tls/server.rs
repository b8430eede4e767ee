//! The server's side: which certificate for which name, whether clients must show one, and what became of each
//! handshake.

use super::certificate::{self, Certificate};
use super::files::{self, Loaded};
use super::reload::{Reloaded, Reloading, Status, Told};
use super::{Error, Identity, alert_words, provider, rustls_error};
use crate::limits::tls as limits;
use crate::net::prefixed::Prefixed;
use crate::net::proxy::{V1_SIGNATURE, V2_SIGNATURE};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{PeerMisbehaved, ServerConfig};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// A connection over TLS.
pub type ServerStream<S> = tokio_rustls::server::TlsStream<Prefixed<S>>;

/// Whether clients show certificates, and whose are believed: those of the authorities in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    #[default]
    Off,
    /// They may; one that is shown must be good.
    Optional(PathBuf),
    /// They must.
    Required(PathBuf),
}

/// One listener's TLS.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Certificates with their keys. The one whose alternative names have the name that the client asked for is
    /// shown; the first to clients that ask for none of them.
    pub identities: Vec<Identity>,
    /// Whether clients show certificates.
    pub clients: ClientCertificates,
    /// Application protocols (ALPN), the preferred first; with none, the client's offer is ignored.
    pub alpn: Vec<Vec<u8>>,
    /// How long a handshake may take ([`limits::HANDSHAKE`]).
    pub handshake: Duration,
}

impl ServerSettings {
    /// Certificates, and nothing else asked.
    pub fn new(identities: Vec<Identity>) -> Self {
        let (clients, alpn) = (ClientCertificates::Off, Vec::new());
        Self { identities, clients, alpn, handshake: limits::HANDSHAKE.default }
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            self.identities.iter().flat_map(|one| [one.certificate.clone(), one.key.clone()]).collect();
        if let ClientCertificates::Optional(file) | ClientCertificates::Required(file) = &self.clients {
            files.push(file.clone());
        }
        files
    }
}

/// A listener's TLS: certificates that can be replaced, and counts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    active: Arc<Reloading<Active>>,
    counts: Arc<Counts>,
    handshake: Duration,
}

/// Handshakes by outcome. They only grow.
#[derive(Debug, Default)]
pub struct Counts {
    /// Handshakes that succeeded.
    pub accepted: AtomicU64,
    failed: [AtomicU64; FAILURES.len()],
}

/// The names of [`AcceptError::kind`], as labels of a metric.
pub const FAILURES: [&str; 10] = [
    "timeout",
    "closed",
    "not_tls",
    "no_client_certificate",
    "bad_client_certificate",
    "bad_server_name",
    "refused_by_client",
    "nothing_in_common",
    "protocol",
    "io",
];

impl Counts {
    /// Failed handshakes by kind.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        FAILURES.iter().zip(&self.failed).map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)))
    }

    fn count(&self, error: &AcceptError) {
        if let Some((_, count)) = FAILURES.iter().zip(&self.failed).find(|(kind, _)| **kind == error.kind()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A client whose handshake succeeded.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The connection.
    pub stream: ServerStream<S>,
    /// The host name that the client asked for: syntactically valid, lower-cased, without a final dot. It is the
    /// client's word, so good for choosing among what any client may have.
    pub sni: Option<String>,
    /// Whom the client's certificate names, if it showed one; the authority vouches for it.
    pub principal: Option<Principal>,
    /// The application protocol that was agreed on.
    pub alpn: Option<Vec<u8>>,
}

/// Whom a verified client certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The subject, as Kafka writes it (RFC 2253): `CN=orders,OU=data,O=Example`.
    pub subject: String,
    /// The alternative names: `DNS:host`, `IP:10.0.0.1`, `URI:spiffe://...`, `email:...`.
    pub names: Vec<String>,
}

/// Why a handshake failed. Close the connection; log at debug, for any stranger can cause these.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It was not done in time.
    #[error("no TLS handshake within {0:?}")]
    Timeout(Duration),
    /// The client went away: at once (a port check), or in the middle (it may dislike our certificate).
    #[error("the client closed the connection {}", if *.begun { "during the TLS handshake" } else { "without a word" })]
    Closed {
        /// Whether it had sent anything.
        begun: bool,
    },
    /// The client does not speak TLS.
    #[error("the client does not speak TLS but {guess}; its first bytes are {first}")]
    NotTls {
        /// What it seems to speak, and what to do.
        guess: &'static str,
        /// Its first bytes, escaped.
        first: String,
    },
    /// The client must show a certificate and has none.
    #[error("the client showed no certificate, and one is required")]
    NoClientCertificate,
    /// The client's certificate is not good.
    #[error("the client's certificate is refused: {0}")]
    BadClientCertificate(String),
    /// The client asked for a name that can't be a host name.
    #[error("the client asked for a server name that is not a host name")]
    BadServerName,
    /// The client ended the handshake with an alert, most often because it does not trust our certificate.
    #[error("the client refused: {0}")]
    RefusedByClient(String),
    /// No version, cipher suite, signature or application protocol in common.
    #[error("nothing in common with the client: {0}")]
    NothingInCommon(String),
    /// The client broke the protocol.
    #[error("the client broke the TLS protocol: {0}")]
    Protocol(String),
    /// The connection broke.
    #[error("the connection broke during the TLS handshake")]
    Io(#[source] io::Error),
}

impl AcceptError {
    /// What to count it as; one of [`FAILURES`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Closed { .. } => "closed",
            Self::NotTls { .. } => "not_tls",
            Self::NoClientCertificate => "no_client_certificate",
            Self::BadClientCertificate(_) => "bad_client_certificate",
            Self::BadServerName => "bad_server_name",
            Self::RefusedByClient(_) => "refused_by_client",
            Self::NothingInCommon(_) => "nothing_in_common",
            Self::Protocol(_) => "protocol",
            Self::Io(_) => "io",
        }
    }

    fn from_handshake(error: io::Error) -> Self {
        use rustls::Error as E;
        match rustls_error(&error) {
            Some(E::NoCertificatesPresented) => Self::NoClientCertificate,
            Some(E::InvalidCertificate(reason)) => Self::BadClientCertificate(reason.to_string()),
            Some(E::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName)) => Self::BadServerName,
            Some(E::AlertReceived(alert)) => Self::RefusedByClient(alert_words(*alert)),
            Some(E::PeerIncompatible(why)) => Self::NothingInCommon(format!("{why:?}")),
            Some(E::NoApplicationProtocol) => {
                Self::NothingInCommon("application protocols (ALPN)".to_owned())
            }
            Some(other) => Self::Protocol(other.to_string()),
            None if went_away(&error) => Self::Closed { begun: true },
            None => Self::Io(error),
        }
    }
}

impl ServerTls {
    /// Reads the files; `now` is the wall clock, for warnings about dates. Blocks on the disk.
    pub fn load(settings: ServerSettings, now: SystemTime) -> Result<Self, Error> {
        let (files, handshake) = (settings.files(), settings.handshake);
        let make = move |old: Option<&Active>, now| Active::make(&settings, old, now);
        let active = Arc::new(Reloading::start(files, Box::new(make), now)?);
        Ok(Self { active, counts: Arc::default(), handshake })
    }

    /// Makes a TLS server of one connection, within the deadline. Counts what became of it.
    pub async fn accept<S>(&self, stream: S) -> Result<Accepted<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.active.load().config);
        let done = match tokio::time::timeout(self.handshake, shake_hands(stream, config)).await {
            Ok(done) => done,
            Err(_) => Err(AcceptError::Timeout(self.handshake)),
        };
        match &done {
            Ok(_) => _ = self.counts.accepted.fetch_add(1, Ordering::Relaxed),
            Err(error) => self.counts.count(error),
        }
        done
    }

    /// Reads the files now. On an error, which is logged too, the old certificates stay. Blocks on the disk.
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

    /// Handshakes by outcome.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

async fn shake_hands<S>(mut stream: S, config: Arc<ServerConfig>) -> Result<Accepted<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut first = [0; limits::FIRST_BYTES];
    let got = match stream.read(&mut first).await {
        Ok(got) => first.get(..got).unwrap_or_default(),
        Err(error) if went_away(&error) => &[],
        Err(error) => return Err(AcceptError::Io(error)),
    };
    match got {
        [] => return Err(AcceptError::Closed { begun: false }),
        [0x16] | [0x16, 0x03, ..] => {} // a handshake record of any version
        other => {
            return Err(AcceptError::NotTls { guess: guess(other), first: other.escape_ascii().to_string() });
        }
    }
    let stream = Prefixed::new(got.to_vec(), stream);
    let accepting = tokio_rustls::TlsAcceptor::from(config).accept(stream);
    let stream = accepting.await.map_err(AcceptError::from_handshake)?;
    let connection = stream.get_ref().1;
    let sni = connection.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
    let alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
    let shown = connection.peer_certificates().and_then(|chain| chain.first());
    let principal = shown.map(|der| Principal::of(der));
    Ok(Accepted { sni, principal, alpn, stream })
}

/// What a client that does not speak TLS seems to speak.
fn guess(first: &[u8]) -> &'static str {
    let begins = |text: &[u8]| first.iter().zip(text).all(|(byte, wanted)| byte == wanted);
    if begins(&V1_SIGNATURE) || begins(&V2_SIGNATURE) {
        return "the PROXY protocol: switch that on for this listener, or off at the load balancer";
    }
    if [&b"GET "[..], b"HEAD ", b"POST ", b"PUT ", b"OPTIONS "].iter().any(|verb| begins(verb)) {
        return "HTTP: is this the wrong port?";
    }
    match first {
        [0x16, ..] | [0x80, ..] => "something like an old SSL version",
        [0, ..] => {
            "a binary protocol in plain text: switch TLS on at the client (Kafka: security.protocol=SSL)"
        }
        _ => "something else: switch TLS on at the client, or check the port",
    }
}

fn went_away(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::UnexpectedEof | K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe)
}

impl Principal {
    fn of(der: &[u8]) -> Self {
        // rustls verified it, so it is a certificate; what our reader can't name stays nameless in the log.
        let read = certificate::read(der).unwrap_or_default();
        let dns = read.dns_names.iter().map(|name| format!("DNS:{name}"));
        Self { names: dns.chain(read.other_names).collect(), subject: read.subject }
    }
}

/// One generation of files.
struct Active {
    config: Arc<ServerConfig>,
    tickets: Arc<dyn ProducesTickets>,
    identities: Vec<(PathBuf, Certificate)>,
    warnings: Vec<String>,
}

impl Told for Active {
    fn certificates(&self) -> Vec<(PathBuf, Certificate)> {
        self.identities.clone()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

impl Active {
    fn make(settings: &ServerSettings, old: Option<&Self>, now: SystemTime) -> Result<Self, Error> {
        let provider = provider();
        let count = settings.identities.len();
        if count == 0 || count > limits::IDENTITIES {
            return Err(Error::Identities(count));
        }
        let (mut by_name, mut identities, mut warnings) = (ByName::default(), Vec::new(), Vec::new());
        for identity in &settings.identities {
            let Loaded { key, certificate, warnings: more } = files::identity(identity, &provider, now)?;
            by_name.add(key, &certificate);
            identities.push((identity.certificate.clone(), certificate));
            warnings.extend(more);
        }
        if let Some(old) = old {
            files::keep_what_is_valid(&old.identities, &identities, now)?;
        }
        let refused = |error: &dyn std::fmt::Display| Error::Refused(error.to_string());
        let verifier = match &settings.clients {
            ClientCertificates::Off => WebPkiClientVerifier::no_client_auth(),
            ClientCertificates::Optional(file) | ClientCertificates::Required(file) => {
                let (roots, more) = files::authorities(file, now)?;
                warnings.extend(more);
                let builder =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                let optional = matches!(settings.clients, ClientCertificates::Optional(_));
                let builder = if optional { builder.allow_unauthenticated() } else { builder };
                builder.build().map_err(|error| refused(&error))?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| refused(&error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(by_name));
        config.alpn_protocols.clone_from(&settings.alpn);
        let tickets = match old {
            Some(old) => Arc::clone(&old.tickets),
            None => rustls::crypto::ring::Ticketer::new().map_err(|error| refused(&error))?,
        };
        // Tickets carry all that is needed, so there is no table of sessions to fill from outside.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if settings.clients == ClientCertificates::Off {
            config.ticketer = Arc::clone(&tickets);
            config.send_tls13_tickets = limits::TICKETS;
        } else {
            config.send_tls13_tickets = 0;
        }
        Ok(Self { config: Arc::new(config), tickets, identities, warnings })
    }
}

/// Certificates by the names that they are for.
#[derive(Debug, Default)]
struct ByName {
    /// In the order of the settings; the first is for everybody else.
    keys: Vec<Arc<CertifiedKey>>,
    /// Names, and `*.` names without their `*`, lower-cased, to the keys for them: more than one where there is an
    /// RSA and an ECDSA certificate for the same name.
    names: HashMap<String, Vec<usize>>,
}

impl ByName {
    fn add(&mut self, key: Arc<CertifiedKey>, certificate: &Certificate) {
        for name in &certificate.dns_names {
            let name = name.strip_prefix('*').unwrap_or(name);
            self.names.entry(name.to_owned()).or_default().push(self.keys.len());
        }
        self.keys.push(key);
    }

    /// The keys for a name: those of the name itself before those of a wild card, which stands for one label.
    fn of(&self, name: &str) -> &[usize] {
        let parent = name.find('.').and_then(|dot| name.get(dot..));
        let exact = self.names.get(name);
        exact.or_else(|| self.names.get(parent?)).map_or(&[], Vec::as_slice)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        let fitting = self.of(&name).iter().filter_map(|&index| self.keys.get(index));
        let understood =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        // Nobody is left without: a certificate with the wrong name tells the client more than a closed connection.
        fitting.chain(&self.keys).find(understood).or(self.keys.first()).map(Arc::clone)
    }
}

/// The signatures of the PROXY protocol fit into what is kept of a client's first bytes.
const _: () = assert!(V2_SIGNATURE.len() <= limits::FIRST_BYTES);
