//! What stands between accept and the first byte of a protocol: the PROXY header, the limit per client behind a proxy,
//! the TLS handshake. Every step may be absent; then it costs nothing. Knows no protocol above.

use super::prefixed::Prefixed;
use super::proxy::{self, Mode};
use super::tcp::{self, Share, Sources};
use super::tls::{AcceptError, Principal, ServerStream, ServerTls};
use crate::telemetry::tls::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// One listener's way in.
#[derive(Debug, Default)]
pub struct Entry {
    proxy: Option<(proxy::Settings, Arc<Sources>)>,
    tls: Option<ServerTls>,
}

/// A connection that came in.
#[derive(Debug)]
pub struct Entered {
    /// The connection; what the client sends first comes first.
    pub stream: Stream,
    /// The client's address: the PROXY header's if it said one, in IPv4 form if it is a v4-mapped one.
    pub source: SocketAddr,
    /// The host name that the client asked for by TLS (with us, or with the trusted proxy that ended TLS for us):
    /// lower case, without a final dot. It is the client's word.
    pub sni: Option<String>,
    /// Whom the client's certificate names, if it showed us one.
    pub principal: Option<Principal>,
    /// The client's share of the connections behind a proxy; to be held as long as the connection.
    pub share: Option<Share>,
}

/// Why a connection did not come in. Close it; log at debug, for any stranger can cause these.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The PROXY header.
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    /// The client has as many connections as one source may.
    #[error("{0} has as many connections as one source may have")]
    Share(SocketAddr),
    /// The TLS handshake.
    #[error(transparent)]
    Tls(#[from] AcceptError),
}

impl Error {
    /// The step that failed, as a label of a metric.
    pub const fn step(&self) -> &'static str {
        match self {
            Self::Proxy(_) => "proxy_header",
            Self::Share(_) => "over_source_limit",
            Self::Tls(_) => "tls_handshake",
        }
    }
}

impl Entry {
    /// A way in with these steps. `per_source` is the limit on connections of one client behind a proxy.
    pub fn new(proxy: Option<proxy::Settings>, per_source: usize, tls: Option<ServerTls>) -> Self {
        Self { proxy: proxy.map(|settings| (settings, Sources::new(per_source))), tls }
    }

    /// The limits of accept itself: a proxy's connections are those of all its clients, so that with a proxy only the
    /// total counts there, and each client's share after its header.
    pub fn at_accept(&self, limits: tcp::Limits) -> tcp::Limits {
        match self.proxy {
            Some(_) => tcp::Limits { per_source: limits.connections, ..limits },
            None => limits,
        }
    }

    /// The listener's TLS.
    pub fn tls(&self) -> Option<&ServerTls> {
        self.tls.as_ref()
    }

    /// Whether who comes in may have asked for a host name.
    pub fn has_names(&self) -> bool {
        self.tls.is_some() || self.proxy.is_some()
    }

    /// Takes a connection through all steps; each has its deadline.
    pub async fn enter(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        metrics: &Metrics,
    ) -> Result<Entered, Error> {
        let (stream, source, name, share) = match &self.proxy {
            None => (Prefixed::new(Vec::new(), stream), canonical(peer), None, None),
            Some((settings, sources)) => {
                let arrived = proxy::read_header(stream, peer, settings)
                    .await
                    .inspect_err(|error| metrics.proxy_refused(error.kind()))?;
                let source = canonical(arrived.source);
                let share = Sources::take(sources, source.ip()).ok_or(Error::Share(source))?;
                let name = arrived.header.and_then(|header| header.authority);
                (arrived.stream, source, name, Some(share))
            }
        };
        let Some(tls) = &self.tls else {
            let stream = Stream::Plain(stream);
            return Ok(Entered { stream, source, sni: name, principal: None, share });
        };
        let accepted = match tls.accept(stream).await {
            Ok(accepted) => accepted,
            Err(error) => {
                metrics.handshake(error.kind());
                return Err(error.into());
            }
        };
        metrics.handshake("ok");
        let stream = Stream::Tls(Box::new(accepted.stream));
        Ok(Entered { stream, source, sni: accepted.sni, principal: accepted.principal, share })
    }

    /// Whether a header is required of everybody, so that none but named proxies come in.
    pub fn requires_proxy(&self) -> bool {
        self.proxy.as_ref().is_some_and(|(settings, _)| settings.mode == Mode::Required)
    }
}

/// A v4-mapped address is the IPv4 address that it means.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Looks at the certificate files of `tls` every `interval` until `stop`, and tells the metrics of `listener`. `wall` is
/// the wall clock.
pub async fn watch(
    tls: ServerTls,
    listener: String,
    metrics: Arc<Metrics>,
    interval: Duration,
    wall: fn() -> SystemTime,
    stop: CancellationToken,
) {
    loop {
        tell(&tls, &listener, &metrics);
        if stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_none() {
            return;
        }
        let looking = tls.clone();
        // Files may be on a slow mount; the runtime's threads have better to do than to wait for it.
        if tokio::task::spawn_blocking(move || looking.poll(wall())).await.is_err() {
            tracing::error!("looking at the certificate files panicked; the ones in use stay");
        }
    }
}

/// Sets the gauges to what is in use.
fn tell(tls: &ServerTls, listener: &str, metrics: &Metrics) {
    let status = tls.status();
    for (file, certificate) in &status.certificates {
        metrics.certificate(listener, &file.display().to_string(), certificate.not_after);
    }
    metrics.reloads(listener, status.failure.is_none(), status.reloads, status.failures);
}

/// A connection that came in, over TLS or not.
pub type Stream = super::stream::Stream<Prefixed<TcpStream>, ServerStream<Prefixed<TcpStream>>>;
