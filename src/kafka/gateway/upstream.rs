//! The broker behind a gateway: connecting to it, asking whether it is well, and telling everybody when it is lost. And what
//! any upstream is to a relay: a [`Link`].

use super::agents::Watched;
use super::rewrite::request;
use crate::kafka::wire::Reader;
use crate::limits::gateway as limits;
use crate::net::dial::{self, Behalf, Dial};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// A connection to an upstream.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub stream: dial::Stream,
    /// What else is known of the upstream while it lasts.
    pub watch: Watch,
}

/// What is known of an upstream beside its connection.
#[derive(Debug)]
pub enum Watch {
    /// The broker of a gateway: changes when it is declared lost.
    Broker(watch::Receiver<u64>),
    /// An agent of the client's group.
    Agent(Watched),
}

impl Watch {
    /// Waits until the upstream is lost: its connections are to be closed at once.
    pub(super) async fn lost(&self) {
        match self {
            Self::Broker(losses) => {
                if losses.clone().changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Self::Agent(agent) => agent.gone().await,
        }
    }

    /// Waits until the upstream wants no clients any more: connections are to be closed when nothing is in flight.
    pub(super) async fn leaving(&self) {
        match self {
            Self::Broker(_) => std::future::pending().await, // the agent itself drains then
            Self::Agent(agent) => agent.leaving().await,
        }
    }
}

/// The broker behind a gateway.
#[derive(Debug)]
pub struct Upstream {
    address: String,
    dial: Dial,
    losses: watch::Sender<u64>,
    poked: Notify,
}

impl Upstream {
    /// The broker at `host:port`. The name is looked up at each connect.
    pub fn new(address: String, dial: Dial) -> Self {
        Self { address, dial, losses: watch::Sender::new(0), poked: Notify::new() }
    }

    /// As it was given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Connects on behalf of a client, within [`limits::CONNECT`].
    pub(super) async fn link(&self, behalf: Option<Behalf>) -> io::Result<Link> {
        // Before the connection: a loss that is declared while it is made concerns it, too.
        let watch = Watch::Broker(self.losses.subscribe());
        Ok(Link { stream: self.connect(behalf).await?, watch })
    }

    async fn connect(&self, behalf: Option<Behalf>) -> io::Result<dial::Stream> {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match timeout(limits::CONNECT, self.dial.connect(self.address.as_str(), host, behalf)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Asks for its ApiVersions, as every client does first, over a new connection. Returns that connection, to see it
    /// end when the broker does.
    pub async fn probe(&self) -> io::Result<dial::Stream> {
        let work = async {
            let mut stream = self.connect(None).await?;
            stream.write_all(&request(0, PROBE_CORRELATION)).await?;
            stream.flush().await?; // TLS may hold it back
            let length = stream.read_i32().await?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > limits::PROBE_REPLY {
                return Err(io::Error::other("a reply of no length that ApiVersions has"));
            }
            let mut reply = vec![0; length];
            stream.read_exact(&mut reply).await?;
            match check(&reply) {
                Some(0) => Ok(stream),
                Some(code) => Err(io::Error::other(format!("ApiVersions answered with error {code}"))),
                None => Err(io::Error::other("the answer is no ApiVersions reply")),
            }
        };
        match timeout(limits::PROBE_PATIENCE, work).await {
            Ok(probed) => probed,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// A connection failed: the next probe shall come at once.
    pub fn poke(&self) {
        self.poked.notify_one();
    }

    /// Waits for [`Upstream::poke`].
    pub async fn poked(&self) {
        self.poked.notified().await;
    }

    /// It is lost: every connection to it is closed now.
    pub fn declare_lost(&self) {
        self.losses.send_modify(|losses| *losses += 1);
    }
}

/// The correlation id of probes.
const PROBE_CORRELATION: i32 = 1;

/// The error code of an ApiVersions reply of version 0 that has at least one entry or an error.
fn check(reply: &[u8]) -> Option<i16> {
    let mut reader = Reader::new(reply, false);
    let correlation = reader.i32().ok()?;
    let code = reader.i16().ok()?;
    let entries = reader.count(6).ok()??;
    (correlation == PROBE_CORRELATION && (entries > 0 || code != 0)).then_some(code)
}
