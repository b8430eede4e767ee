//! The HTTP front: health, metrics, the fleet as JSON, heartbeats for those without a Redis client. `docs/admin-api.md`
//! is its reference.

mod answer;
pub mod auth;
mod config;
pub mod fleet;
mod heartbeat;
pub mod readiness;
mod routes;

pub use auth::{Access, Gate, Scope, Token};
pub use config::{ConfigFailure, ConfigState};
pub use readiness::{Latch, Readiness};

use crate::clock::Clock;
use crate::limits::admin as limits;
use crate::net::{Sockets, tcp};
use crate::registry::Registry;
use crate::telemetry::Telemetry;
use crate::view::View;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How the admin API is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens. Anything but loopback needs a token.
    pub listen: SocketAddr,
    /// Where its socket comes from.
    pub sockets: Sockets,
    /// Tokens; none means that whoever reaches the (loopback) address may do everything.
    pub tokens: Vec<Token>,
    /// Whether reading needs no token even if there are tokens.
    pub public_read: bool,
    /// Names that requests without a token may use in `Host`, beside addresses and localhost.
    pub hosts: Vec<String>,
    /// Open connections.
    pub connections: usize,
    /// What `/ready` says of the configuration in use.
    pub config: Option<watch::Receiver<ConfigState>>,
    /// How long a request's head may take, and how long an idle connection is kept.
    pub head_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8053)),
            sockets: Sockets::default(),
            tokens: Vec::new(),
            public_read: false,
            hosts: Vec::new(),
            connections: limits::CONNECTIONS.default,
            config: None,
            head_time: limits::HEAD_TIME,
        }
    }
}

impl Settings {
    /// Who may do what, if that is safe.
    pub fn gate(&self) -> Result<Gate, Error> {
        let listen = self.listen;
        if self.tokens.is_empty() && !listen.ip().to_canonical().is_loopback() {
            return Err(Error::Open(listen));
        }
        if let Some(weak) = self.tokens.iter().find(|token| token.secret.len() < limits::TOKEN_BYTES) {
            return Err(Error::WeakToken(weak.name.clone(), limits::TOKEN_BYTES));
        }
        for (at, token) in self.tokens.iter().enumerate() {
            if let Some(other) = self.tokens.iter().take(at).find(|other| other.secret == token.secret) {
                return Err(Error::SameToken(other.name.clone(), token.name.clone()));
            }
        }
        Ok(Gate { tokens: self.tokens.clone(), public_read: self.public_read, hosts: self.hosts.clone() })
    }
}

/// Why the admin API is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It would be open to others.
    #[error(
        "the admin API at {0} can be reached from elsewhere and has no token: set one, or listen at 127.0.0.1"
    )]
    Open(SocketAddr),
    /// A token can be guessed.
    #[error("the admin token {0:?} is shorter than {1} bytes: make one with `openssl rand -hex 32`")]
    WeakToken(String, usize),
    /// Two tokens have one secret: whose rights would its bearer have?
    #[error("the admin tokens {0:?} and {1:?} are the same: give each its own")]
    SameToken(String, String),
    /// The address can't be bound.
    #[error("cannot listen at {0} for the admin API")]
    Bind(SocketAddr, #[source] io::Error),
}

/// The admin API, bound and not yet serving.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: tcp::Limits,
    head_time: Duration,
    shared: Arc<routes::Shared>,
}

impl Server {
    /// Binds. Heartbeats go to `registry`, what is shown is what `view` holds.
    pub fn bind(
        settings: Settings,
        view: View,
        clock: Clock,
        registry: Registry,
        telemetry: Telemetry,
        readiness: Readiness,
    ) -> Result<Self, Error> {
        let (listen, gate) = (settings.listen, settings.gate()?);
        let listener = settings.sockets.tcp(listen).map_err(|error| Error::Bind(listen, error))?;
        let address = listener.local_addr().map_err(|error| Error::Bind(listen, error))?;
        let limits = tcp::Limits {
            connections: settings.connections,
            per_source: settings.connections.min(limits::PER_SOURCE),
            ..tcp::Limits::default()
        };
        let (access, config) = (Access::new(gate), settings.config);
        let shared = Arc::new(routes::Shared { view, clock, registry, telemetry, readiness, access, config });
        Ok(Self { listener, address, limits, head_time: settings.head_time, shared })
    }

    /// Where it listens, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who may do what, to be replaced while the server runs.
    pub fn access(&self) -> Access {
        self.shared.access.clone()
    }

    /// Serves until `stop`, then lets requests finish for a bounded time.
    pub async fn run(self, stop: CancellationToken) {
        let counts = Arc::new(tcp::Counts::default());
        let open = Arc::clone(&self.shared.telemetry.admin);
        let router = routes::router(self.shared);
        let head_time = self.head_time;
        let seen = Arc::clone(&counts);
        tcp::serve(self.listener, self.limits, counts, stop, move |stream, _, stop| {
            open.open.set(i64::try_from(seen.open.load(Ordering::Relaxed)).unwrap_or(i64::MAX));
            let (open, seen) = (Arc::clone(&open), Arc::clone(&seen));
            let serving = connection(stream, router.clone(), head_time, stop);
            async move {
                serving.await;
                let left = seen.open.load(Ordering::Relaxed).saturating_sub(1);
                open.open.set(i64::try_from(left).unwrap_or(i64::MAX));
            }
        })
        .await;
    }
}

/// Serves one connection: HTTP/1.1 with keep-alive, until its time is over or the server stops.
async fn connection(stream: TcpStream, router: axum::Router, head_time: Duration, stop: CancellationToken) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_buf_size(limits::HEAD_BYTES)
        .max_headers(limits::HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.as_mut().await
        }
        () = tokio::time::sleep(limits::CONNECTION_TIME) => {
            serving.as_mut().graceful_shutdown();
            // A reader that takes nothing would hold the connection for ever.
            let _ = tokio::time::timeout(limits::REQUEST_TIME, serving.as_mut()).await;
            Ok(())
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

#[cfg(test)]
mod tests;
