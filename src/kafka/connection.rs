//! One connection: requests are answered one after the other, so replies keep their order, and nothing more is read
//! while a reply waits to be taken. Every wait has a deadline; buffers grow only by what has arrived.

use super::api::Stop;
use super::frame;
use super::gateway;
use super::groups::NoGroup;
use super::listener::Shared;
use super::misplaced;
use super::service::{Request, Service};
use crate::clock;
use crate::limits::kafka as limits;
use crate::net::entry::{self, Entered, Stream};
use crate::telemetry::kafka::Metrics;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Close {
    /// The client closed it between two requests.
    #[error("the client closed it")]
    Client,
    /// The server stops.
    #[error("the server stops")]
    Stopping,
    /// Nothing came for too long.
    #[error("it was idle for too long")]
    Idle,
    /// A request began and did not end in time.
    #[error("a request did not arrive in time")]
    SlowRequest,
    /// A reply was not taken in time.
    #[error("a reply was not taken in time")]
    SlowReader,
    /// The connection broke.
    #[error("it broke")]
    Broken(#[source] io::Error),
    /// A frame that is no request.
    #[error("{0}")]
    Frame(frame::BadLength),
    /// A request that is not answered.
    #[error("{0}")]
    Request(Stop),
    /// It did not come in.
    #[error(transparent)]
    Entry(#[from] entry::Error),
    /// Nothing tells its group.
    #[error(transparent)]
    NoGroup(#[from] NoGroup),
    /// It was relayed.
    #[error(transparent)]
    Relay(#[from] gateway::Close),
}

impl Close {
    /// The label in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Stopping => "stopping",
            Self::Idle => "idle",
            Self::SlowRequest => "slow_request",
            Self::SlowReader => "slow_reader",
            Self::Broken(_) => "broken",
            Self::Frame(_) => "bad_frame",
            Self::Request(stop) => stop.as_str(),
            Self::Entry(error) => error.step(),
            Self::NoGroup(_) => "no_group",
            Self::Relay(close) => close.as_str(),
        }
    }
}

/// Serves one connection until it ends, and counts why it did.
pub async fn serve(stream: TcpStream, peer: SocketAddr, shared: &Shared, stop: CancellationToken) {
    let metrics = &*shared.metrics;
    metrics.accepted.inc();
    metrics.open.inc();
    let _open = Open(metrics);
    let _ = stream.set_nodelay(true);
    let own = stream.local_addr().unwrap_or(peer); // only for a PROXY header, and only if it is closed already
    let entered = match come_in(stream, peer, shared, &stop).await {
        Ok(entered) => entered,
        Err(close) => {
            metrics.closed(close.as_str());
            tracing::debug!(%peer, reason = %close, "Kafka connection closed");
            return;
        }
    };
    let Entered { mut stream, source, sni, principal, share: _share } = entered;
    let subject = principal.as_ref().map(|one| one.subject.as_str());
    let now = shared.clock.now();
    let close = match shared.groups.find(&shared.view.load(), sni.as_deref(), source.ip(), now) {
        Ok(service) => {
            tracing::debug!(%peer, %source, group = %service.group, sni, principal = subject, "Kafka connection open");
            match &shared.relaying {
                None => converse(stream, source.ip(), &service, shared, &stop).await,
                Some(relaying) => {
                    let close = relaying.serve(stream, (source, own), service, &stop).await;
                    close.upstream_error().inspect(|kind| relaying.shared.metrics().upstream_error(kind));
                    Close::Relay(close)
                }
            }
        }
        Err(refusal) => {
            metrics.no_group(refusal.as_str());
            shared.groups.tell(&refusal, source.ip(), now);
            Box::pin(misplaced::turn_away(&mut stream)).await;
            Close::NoGroup(refusal)
        }
    };
    metrics.closed(close.as_str());
    tracing::debug!(%peer, %source, sni, principal = subject, reason = %close, "Kafka connection closed");
}

/// Takes a connection through what comes before its first request.
async fn come_in(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Shared,
    stop: &CancellationToken,
) -> Result<Entered, Close> {
    // Boxed, so that the state of a handshake is given back when it is done and not kept as long as the connection.
    let entering = Box::pin(shared.entry.enter(stream, peer, &shared.metrics.entry));
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Close::Stopping),
        entered = entering => Ok(entered?),
    }
}

/// Answers requests until there is a reason to close.
async fn converse(
    stream: Stream,
    source: IpAddr,
    service: &Service,
    shared: &Shared,
    stop: &CancellationToken,
) -> Close {
    let mut connection =
        Connection { stream, source, service, shared, input: Vec::new(), output: Vec::new() };
    let close = loop {
        if let Err(close) = connection.one_request(stop).await {
            break close;
        }
    };
    part(connection.stream).await;
    close
}

/// Over TLS the end is said; clients take a connection that merely ends for one that was cut.
async fn part(mut stream: Stream) {
    if matches!(stream, Stream::Tls(_)) {
        let _ = timeout(limits::FAREWELL, stream.shutdown()).await; // whoever does not listen is gone
    }
}

/// Counts one open connection for as long as it lives, even if its task is cut.
struct Open<'a>(&'a Metrics);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}

struct Connection<'a> {
    stream: Stream,
    source: IpAddr,
    service: &'a Service,
    shared: &'a Shared,
    /// What has arrived and was not answered yet.
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection<'_> {
    async fn one_request(&mut self, stop: &CancellationToken) -> Result<(), Close> {
        if self.input.is_empty() {
            let idle = self.shared.limits.idle;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Close::Stopping),
                read = timeout(idle, read_some(&mut self.stream, &mut self.input)) => match read {
                    Err(_) => return Err(Close::Idle),
                    Ok(Err(error)) => return Err(Close::Broken(error)),
                    Ok(Ok(0)) => return Err(Close::Client),
                    Ok(Ok(_)) => {}
                },
            }
        }
        let length =
            timeout(self.shared.limits.read, self.whole_frame()).await.map_err(|_| Close::SlowRequest)??;
        let end = frame::LENGTH_BYTES + length;
        self.reply_to(end).await?;
        self.input.drain(..end);
        if self.input.is_empty() && self.input.capacity() > limits::READ_CHUNK {
            self.input = Vec::new();
        }
        Ok(())
    }

    /// Reads on until the first frame is whole; its length.
    async fn whole_frame(&mut self) -> Result<usize, Close> {
        loop {
            let most = self.shared.limits.frame_bytes;
            if let Some(length) = frame::length(&self.input, most).map_err(Close::Frame)?
                && self.input.len() >= frame::LENGTH_BYTES + length
            {
                return Ok(length);
            }
            match read_some(&mut self.stream, &mut self.input).await {
                Err(error) => return Err(Close::Broken(error)),
                Ok(0) => return Err(Close::Broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
            }
        }
    }

    /// Answers the request that ends at `end`, and sees the reply off.
    async fn reply_to(&mut self, end: usize) -> Result<(), Close> {
        let watch = clock::stopwatch();
        self.output.clear();
        let big = match self.answer(end, limits::SMALL_REPLY_BYTES) {
            Ok(()) => None,
            Err(Stop::TooLarge) => {
                // Memory for large replies is bounded per listener: whoever comes late waits.
                let permit = timeout(self.shared.limits.write, self.shared.big_replies.acquire()).await;
                let permit = permit.map_err(|_| Close::SlowReader)?.map_err(|_| Close::Stopping)?;
                self.answer(end, limits::REPLY_BYTES).map_err(Close::Request)?;
                Some(permit)
            }
            Err(stop) => return Err(Close::Request(stop)),
        };
        self.shared.metrics.seconds.observe(watch.elapsed().as_secs_f64());
        let write = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await // TLS may hold the last record back
        };
        let written = timeout(self.shared.limits.write, write).await;
        written.map_err(|_| Close::SlowReader)?.map_err(Close::Broken)?;
        self.shared.metrics.reply_bytes.inc_by(self.output.len() as u64);
        if big.is_some() {
            self.output = Vec::new(); // before the permit goes back
        }
        Ok(())
    }

    /// Makes the reply to the request that ends at `end`, of at most `most` bytes.
    fn answer(&mut self, end: usize, most: usize) -> Result<(), Stop> {
        let bytes = self.input.get(frame::LENGTH_BYTES..end).unwrap_or_default();
        let fleet = self.shared.view.load();
        let now = self.shared.clock.now();
        let request = Request { bytes, source: self.source, fleet: &fleet, now, most };
        self.service.answer(request, &mut self.output).map(|_| ())
    }
}

/// Reads what is there, at most a chunk. Cutting it off loses nothing.
async fn read_some(stream: &mut Stream, input: &mut Vec<u8>) -> io::Result<usize> {
    // An idle connection holds little; one that sends more gets a chunk's room at a time.
    input.reserve(if input.is_empty() { 1_024 } else { limits::READ_CHUNK });
    stream.read_buf(input).await
}
