//! DNS over TLS (RFC 7858) and over HTTPS (RFC 8484), from the same responder as plain DNS. The connections pass the
//! same door as any TCP connection of ours: a permit before each accept, a share per source, deadlines for the
//! handshake, each message and idleness. ARCHITECTURE.md says why it is not hickory-server that serves them.

mod base64url;
mod https;
pub(super) mod padding;

use super::tcp::{self, Context, Over};
use crate::clock;
use crate::limits::dns as limits;
use crate::limits::tls::RELOAD_INTERVAL;
use crate::net::tls::{self, Identity, ServerSettings, ServerTls};
use crate::net::{self, Sockets, entry};
use crate::telemetry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What is served encrypted.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The certificate and key of all that follows; nothing is served encrypted without.
    pub identity: Option<Identity>,
    /// Where DNS over TLS listens.
    pub tls: Vec<SocketAddr>,
    /// Where DNS over HTTPS listens.
    pub https: Vec<SocketAddr>,
    /// The path that DNS over HTTPS answers at.
    pub path: String,
}

/// Why an encrypted front can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can't be listened on.
    #[error("DNS over {over} cannot listen on {address}: free the address or choose another")]
    Bind {
        /// TLS or HTTPS.
        over: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificate can't be used.
    #[error("the certificate of encrypted DNS")]
    Certificate(#[from] tls::Error),
    /// There is none.
    #[error("encrypted DNS has no certificate: set certificate and key under [dns.tls]")]
    NoCertificate,
}

/// Bound listeners that do not serve yet.
#[derive(Debug, Default)]
pub(super) struct Fronts(Vec<Front>);

#[derive(Debug)]
struct Front {
    over: Over,
    address: SocketAddr,
    listener: TcpListener,
    tls: ServerTls,
    path: Arc<str>,
}

/// The application protocol that clients must offer if they offer any (RFC 7858 §3.2, RFC 9113 §3.2).
fn alpn(over: Over) -> Vec<Vec<u8>> {
    match over {
        Over::Https => vec![b"h2".to_vec()],
        Over::Tls | Over::Tcp => vec![b"dot".to_vec()],
    }
}

fn name(over: Over) -> &'static str {
    match over {
        Over::Https => "HTTPS",
        Over::Tls | Over::Tcp => "TLS",
    }
}

impl Fronts {
    /// Reads the certificate and binds. To be called within a tokio runtime.
    pub(super) fn bind(settings: &Settings, sockets: &Sockets) -> Result<Self, Error> {
        let tls = settings.tls.iter().map(|address| (Over::Tls, *address));
        let https = settings.https.iter().map(|address| (Over::Https, *address));
        let one = |(over, address): (Over, SocketAddr)| {
            let identity = settings.identity.clone().ok_or(Error::NoCertificate)?;
            let of_tls = ServerSettings { alpn: alpn(over), ..ServerSettings::new(vec![identity]) };
            let tls = ServerTls::load(of_tls, clock::wall())?;
            let bind = |source| Error::Bind { over: name(over), address, source };
            let listener = sockets.tcp(address).map_err(bind)?;
            let address = listener.local_addr().map_err(bind)?;
            Ok(Front { over, address, listener, tls, path: settings.path.as_str().into() })
        };
        Ok(Self(tls.chain(https).map(one).collect::<Result<_, Error>>()?))
    }

    /// The addresses of DNS over TLS, then those of DNS over HTTPS.
    pub(super) fn addresses(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let of = |over| self.0.iter().filter(move |front| front.over == over).map(|front| front.address);
        (of(Over::Tls).collect(), of(Over::Https).collect())
    }

    /// Serves in tasks until `stop`.
    pub(super) fn run(
        self,
        context: &Context,
        metrics: &telemetry::dns::Metrics,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        for front in self.0 {
            let (address, over) = (front.address, name(front.over));
            tracing::info!(%address, over, "encrypted DNS is answering");
            let watching = entry::watch(
                front.tls.clone(),
                address.to_string(),
                metrics.entry(),
                RELOAD_INTERVAL.default,
                clock::wall,
                stop.clone(),
            );
            tasks.spawn(watching);
            let counts = Arc::new(net::tcp::Counts::default());
            metrics.listener(Arc::clone(&counts));
            let context = Context { over: front.over, ..context.clone() };
            let bounds = context.settings.connections;
            let (tls, path, entered) = (front.tls, front.path, metrics.entry());
            let over = front.over;
            let serve =
                net::tcp::serve(front.listener, bounds, counts, stop.clone(), move |stream, peer, stop| {
                    let (tls, context, path) = (tls.clone(), context.clone(), Arc::clone(&path));
                    let entered = Arc::clone(&entered);
                    async move {
                        if let Some(stream) = enter(stream, &tls, &entered).await {
                            match over {
                                Over::Tls | Over::Tcp => {
                                    tcp::serve_on(stream, peer.ip(), context, stop).await
                                }
                                Over::Https => https::serve(stream, peer.ip(), context, path, stop).await,
                            }
                        }
                    }
                });
            tasks.spawn(serve);
        }
    }
}

/// The TLS handshake, counted; `None` if it failed.
async fn enter(
    stream: TcpStream,
    tls: &ServerTls,
    metrics: &telemetry::tls::Metrics,
) -> Option<tls::ServerStream<TcpStream>> {
    let _ = stream.set_nodelay(true); // not worth losing the connection over
    match tls.accept(stream).await {
        Ok(accepted) => {
            metrics.handshake("ok");
            Some(accepted.stream)
        }
        Err(error) => {
            metrics.handshake(error.kind());
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
    }
}

/// Answers one message; an empty answer is silence.
fn answer(context: &Context, peer: IpAddr, packet: &[u8]) -> Vec<u8> {
    let mut out = vec![0; limits::TCP_MESSAGE];
    let len = context.answer(packet, peer, &mut out);
    out.truncate(len);
    out
}
