//! The HTTP client of zone detection: one deadline for all requests of a source, bounded answers, no redirects, and
//! never a proxy. A metadata service answers for the machine that the connection comes from, so what a proxy brings
//! back is somebody else's zone.

use crate::clock;
use crate::limits::detect as limits;
use std::io;
use std::thread;
use std::time::{Duration, Instant};
use ureq::tls::{RootCerts, TlsConfig};

/// A client for the requests of one source.
pub(super) struct Client {
    agent: ureq::Agent,
    scheme: &'static str,
    begun: Instant,
    deadline: Duration,
    most: usize,
}

/// A complete answer, whatever its status.
pub(super) struct Reply {
    pub(super) status: u16,
    /// Its `Metadata-Flavor`, by which Google's metadata server makes itself known.
    pub(super) flavor: Option<String>,
    pub(super) body: String,
}

impl Reply {
    /// How to say what is unexpected about this answer.
    pub(super) fn surprise(&self) -> String {
        match self.status {
            200 => format!("answered {}", excerpt(&self.body)),
            300..=399 => format!(
                "answered HTTP {} to send us elsewhere, as a proxy or login page does and this service never",
                self.status
            ),
            status => format!("answered HTTP {status}"),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nothing, or not all of it, within the deadline.
    #[error("no answer in {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// Nobody there.
    #[error("not reachable ({0})")]
    Unreachable(String),
    /// The connection ended before the answer did.
    #[error("the connection was cut before the answer was complete ({0})")]
    Cut(String),
    /// More than any such service says.
    #[error("the answer is larger than {0} bytes, as no answer of such a service is")]
    TooLarge(usize),
    /// The peer could not prove to be the one that the cluster's CA vouches for.
    #[error("TLS failed ({0})")]
    Tls(String),
    /// Not HTTP, or a URL or header that can't be sent.
    #[error("{0}")]
    Other(String),
}

impl Client {
    /// For metadata services: plain HTTP on a link-local address.
    pub(super) fn plain(deadline: Duration) -> Self {
        Self::new("http://", deadline, limits::BODY, TlsConfig::builder().build())
    }

    /// For the Kubernetes API: HTTPS only, and only with a certificate that leads to one of these.
    pub(super) fn trusting(authorities: Vec<ureq::tls::Certificate<'static>>, deadline: Duration) -> Self {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&authorities))
            .unversioned_rustls_crypto_provider(provider);
        Self::new("https://", deadline, limits::KUBERNETES_BODY, tls.build())
    }

    fn new(scheme: &'static str, deadline: Duration, most: usize, tls: TlsConfig) -> Self {
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_response_header_size(limits::HEADER)
            .user_agent(concat!("fingerpost/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        Self { agent: config.into(), scheme, begun: clock::stopwatch(), deadline, most }
    }

    /// GET.
    pub(super) fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Reply, Failure> {
        self.patiently(url, |left| {
            let request = self.agent.get(url).config().timeout_global(Some(left)).build();
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).call()
        })
    }

    /// PUT without a body.
    pub(super) fn put(&self, url: &str, headers: &[(&str, &str)]) -> Result<Reply, Failure> {
        self.patiently(url, |left| {
            let request = self.agent.put(url).config().timeout_global(Some(left)).build();
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send_empty()
        })
    }

    /// Sends a request, again after a short pause if the service was not able to answer: freshly started machines ask
    /// services that have just started themselves, and a throttled one says so.
    fn patiently(
        &self,
        url: &str,
        send: impl Fn(Duration) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Reply, Failure> {
        if !url.starts_with(self.scheme) {
            return Err(Failure::Other(format!("{} does not begin with {}", excerpt(url), self.scheme)));
        }
        let mut pause = limits::RETRY_PAUSE;
        for _ in 0..limits::RETRIES {
            let result = self.once(&send);
            let again = match &result {
                Ok(reply) => reply.status == 429 || reply.status >= 500,
                Err(failure) => matches!(failure, Failure::Cut(_)),
            };
            if !again || self.left() <= pause {
                return result;
            }
            thread::sleep(pause);
            pause *= 2;
        }
        self.once(&send)
    }

    fn once(
        &self,
        send: impl Fn(Duration) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Reply, Failure> {
        let left = self.left();
        if left.is_zero() {
            return Err(Failure::Silent(self.deadline));
        }
        let mut response = send(left).map_err(|error| self.failure(error))?;
        let flavor = response.headers().get("metadata-flavor").and_then(|value| value.to_str().ok());
        let flavor = flavor.map(str::to_owned);
        let status = response.status().as_u16();
        // The client refuses a body that reaches its limit, not only one that goes beyond.
        let body = response.body_mut().with_config().limit(self.most as u64 + 1).read_to_vec();
        let body = body.map_err(|error| self.failure(error))?;
        Ok(Reply { status, flavor, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// What is left of the deadline that all requests of the source share.
    fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.begun.elapsed())
    }

    fn failure(&self, error: ureq::Error) -> Failure {
        use ureq::Error;
        match error {
            Error::Timeout(_) => Failure::Silent(self.deadline),
            Error::BodyExceedsLimit(_) => Failure::TooLarge(self.most),
            Error::LargeResponseHeader(..) => Failure::TooLarge(limits::HEADER),
            Error::HostNotFound => Failure::Unreachable("no such host".to_owned()),
            Error::ConnectionFailed => Failure::Unreachable("the connection failed".to_owned()),
            Error::Io(error) => self.io_failure(&error),
            Error::Rustls(error) => Failure::Tls(error.to_string()),
            Error::Protocol(error) => Failure::Other(format!("the answer is not HTTP ({error})")),
            other => Failure::Other(other.to_string()),
        }
    }

    fn io_failure(&self, error: &io::Error) -> Failure {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock,
        };
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Failure::Tls(tls.to_string());
        }
        match error.kind() {
            TimedOut | WouldBlock => Failure::Silent(self.deadline),
            ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => {
                Failure::Cut(error.to_string())
            }
            _ => Failure::Unreachable(error.to_string()),
        }
    }
}

/// The beginning of a text that came from outside, quoted and on one line.
pub(super) fn excerpt(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(limits::EXCERPT) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
