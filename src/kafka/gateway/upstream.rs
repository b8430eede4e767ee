//! The broker behind a gateway: connecting to it, asking whether it is well, and telling everybody when it is lost.

use super::rewrite::request;
use crate::kafka::wire::Reader;
use crate::limits::gateway as limits;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// The broker behind a gateway.
#[derive(Debug)]
pub struct Upstream {
    address: String,
    losses: watch::Sender<u64>,
    poked: Notify,
}

impl Upstream {
    /// The broker at `host:port`. The name is looked up at each connect.
    pub fn new(address: String) -> Self {
        Self { address, losses: watch::Sender::new(0), poked: Notify::new() }
    }

    /// As it was given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Connects, within [`limits::CONNECT`].
    pub async fn connect(&self) -> io::Result<TcpStream> {
        match timeout(limits::CONNECT, TcpStream::connect(&self.address)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Asks for its ApiVersions, as every client does first, over a new connection. Returns that connection, to see it
    /// end when the broker does.
    pub async fn probe(&self) -> io::Result<TcpStream> {
        let work = async {
            let mut stream = self.connect().await?;
            stream.write_all(&request(0, PROBE_CORRELATION)).await?;
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

    /// Changes when it is declared lost.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
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
