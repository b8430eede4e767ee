//! One client's connection and the upstream's that belongs to it: two streams of frames, each read only as fast as the
//! other side takes them. Memory is two buffers, a bounded list of awaited replies, and the replies that are rewritten.

use super::buffer::Buffer;
use super::pending::{Pending, Twice};
use super::replies::{self, Replies, Unreadable};
use super::requests::{self, Refusal, Requests};
use super::rewrite::{Asked, Place, rewrite};
use super::{Phase, Shared};
use crate::kafka::api::Stop;
use crate::limits::gateway as limits;
use crate::net::tcp;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a client may take to close after we did, before its connection is cut.
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Close {
    /// The client closed it.
    #[error("the client closed it")]
    Client,
    /// The client said that it sends no more, and has its replies or waited long enough.
    #[error("the client ended and has its replies")]
    HalfClosed,
    /// The connection to the client broke.
    #[error("the client's connection broke")]
    ClientBroken(#[source] io::Error),
    /// The client took nothing for too long.
    #[error("the client took nothing for too long")]
    ClientStalled,
    /// A request that does not pass.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Two requests that can't be told apart.
    #[error("{0}")]
    Twice(#[from] Twice),
    /// The upstream can't be connected to.
    #[error("the upstream can't be connected to")]
    Connect(#[source] io::Error),
    /// The upstream closed it.
    #[error("the upstream closed it")]
    Upstream,
    /// The connection to the upstream broke.
    #[error("the upstream's connection broke")]
    UpstreamBroken(#[source] io::Error),
    /// The upstream took or sent nothing for too long in the middle of a frame.
    #[error("the upstream stalled")]
    UpstreamStalled,
    /// The upstream was found to be lost.
    #[error("the upstream is lost")]
    Lost,
    /// The upstream sent what is none of a broker's replies.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    /// A reply could not be rewritten.
    #[error("a {0} reply could not be rewritten: {1}")]
    Rewrite(&'static str, Stop),
    /// Nothing came for too long.
    #[error("it was idle for too long")]
    Idle,
    /// The agent drains, and nothing was in flight.
    #[error("the agent drains")]
    Drained,
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

impl Close {
    /// The label in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Client | Self::HalfClosed => "client",
            Self::ClientBroken(_) => "client_broken",
            Self::ClientStalled => "client_stalled",
            Self::Refused(_) | Self::Twice(_) => "refused",
            Self::Connect(_) => "connect",
            Self::Upstream => "upstream",
            Self::UpstreamBroken(_) => "upstream_broken",
            Self::UpstreamStalled => "upstream_stalled",
            Self::Lost => "upstream_lost",
            Self::Unreadable(_) => "upstream_unreadable",
            Self::Rewrite(..) => "rewrite",
            Self::Idle => "idle",
            Self::Drained => "drained",
            Self::Stopping => "stopping",
        }
    }

    /// What it says of the upstream, as a label.
    const fn upstream_error(&self) -> Option<&'static str> {
        match self {
            Self::Connect(_) => Some("connect"),
            Self::UpstreamBroken(_) | Self::UpstreamStalled | Self::Lost => Some("lost"),
            Self::Unreadable(_) | Self::Rewrite(_, Stop::Malformed(_)) => Some("unreadable"),
            _ => None,
        }
    }
}

/// Serves one client until its connection ends, and counts why it did.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, stop: CancellationToken) {
    let metrics = Arc::clone(&shared.metrics);
    metrics.accepted.inc();
    metrics.open.inc();
    let open = Open(Arc::clone(&shared));
    let close = client(stream, peer, shared, &stop).await;
    metrics.closed(close.as_str());
    if let Some(kind) = close.upstream_error() {
        metrics.upstream_error(kind);
        open.0.upstream.poke();
    }
    let group = &open.0.service.group;
    tracing::debug!(%peer, %group, reason = %close, "gateway connection closed");
}

/// Counts one open connection for as long as it lives, even if its task is cut.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.open.dec();
    }
}

async fn client(
    mut stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    stop: &CancellationToken,
) -> Close {
    tcp::keep_alive(&stream, limits::KEEP_ALIVE);
    // Before the connection: a loss that is declared while it is made concerns it, too.
    let losses = shared.upstream.losses();
    let mut upstream = tokio::select! {
        connected = shared.upstream.connect() => match connected {
            Ok(upstream) => upstream,
            Err(error) => return Close::Connect(error),
        },
        () = stop.cancelled() => return Close::Stopping,
    };
    tcp::keep_alive(&upstream, limits::KEEP_ALIVE);
    let relay = Relay {
        source: peer.ip(),
        pending: Pending::default(),
        heard: AtomicU64::new(shared.clock.now().millis()),
        losses,
        shared,
    };
    let close = {
        let (mut from_client, mut to_client) = stream.split();
        let (mut from_upstream, mut to_upstream) = upstream.split();
        relay.run((&mut from_client, &mut to_client), (&mut from_upstream, &mut to_upstream), stop).await
    };
    drop(upstream);
    if matches!(close, Close::Drained | Close::Stopping) {
        // Closing with unread bytes would make the kernel take back what the client has not read yet.
        let _ = timeout(LINGER, linger(&mut stream)).await;
    }
    close
}

/// Says that nothing more comes, and reads on until the client closes too.
async fn linger(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = [0; limits::IDLE_BUFFER];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// The two directions of one connection.
struct Relay {
    source: IpAddr,
    pending: Pending,
    /// When something was last read, either way, in milliseconds of the clock.
    heard: AtomicU64,
    /// Changes when the upstream is declared lost.
    losses: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

impl Relay {
    async fn run<CR, CW, UR, UW>(
        &self,
        client: (&mut CR, &mut CW),
        upstream: (&mut UR, &mut UW),
        stop: &CancellationToken,
    ) -> Close
    where
        CR: AsyncRead + Unpin,
        CW: AsyncWrite + Unpin,
        UR: AsyncRead + Unpin,
        UW: AsyncWrite + Unpin,
    {
        let mut lost = self.losses.clone();
        let up = self.requests(client.0, upstream.1);
        let down = self.replies(upstream.0, client.1);
        let leave = self.leave();
        tokio::pin!(up, down, leave);
        tokio::select! {
            close = &mut up => match close {
                Close::HalfClosed => {}
                other => return other,
            },
            close = &mut down => return close,
            _ = lost.changed() => return Close::Lost,
            () = &mut leave => return Close::Drained,
            () = stop.cancelled() => return Close::Stopping,
        }
        tokio::select! {
            close = timeout(limits::HALF_CLOSED, &mut down) => match close {
                Ok(Close::Upstream) | Err(_) => Close::HalfClosed,
                Ok(other) => other,
            },
            () = stop.cancelled() => Close::Stopping,
        }
    }

    /// Requests, from the client to the upstream.
    async fn requests<R, W>(&self, from: &mut R, to: &mut W) -> Close
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (mut requests, mut buffer) = (Requests::default(), Buffer::default());
        let mut wanted = 1;
        loop {
            match self.fill(&mut buffer, from, wanted).await {
                Ok(Some(0)) if requests.is_between() && buffer.unseen().is_empty() => {
                    return match to.shutdown().await {
                        Ok(()) => Close::HalfClosed,
                        Err(error) => Close::UpstreamBroken(error),
                    };
                }
                Ok(Some(0)) => return Close::Client,
                Ok(Some(_)) => {}
                Ok(None) => return Close::Idle,
                Err(error) => return Close::ClientBroken(error),
            }
            wanted = match self.forward_requests(&mut requests, &mut buffer, to).await {
                Ok(wanted) => wanted,
                Err(close) => return close,
            };
            self.pending.set_partial(!requests.is_between() || !buffer.unseen().is_empty());
        }
    }

    /// Sends on what has come; returns how many bytes are wanted next.
    async fn forward_requests(
        &self,
        requests: &mut Requests,
        buffer: &mut Buffer,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<usize, Close> {
        loop {
            match requests.next(buffer.unseen())? {
                requests::Step::More(wanted) => {
                    self.send_upstream(buffer, to).await?;
                    return Ok(wanted);
                }
                requests::Step::Forward(count) => buffer.forward(count),
                requests::Step::Discard(count) => {
                    self.send_upstream(buffer, to).await?;
                    buffer.discard(count);
                }
                requests::Step::Begin(begin) => {
                    if let Some(expected) = &begin.expected {
                        while !self.pending.note(expected)? {
                            self.shared.metrics.pending_full.inc();
                            self.send_upstream(buffer, to).await?;
                            self.pending.room().await;
                        }
                    }
                    if begin.answered {
                        self.pending.asked();
                    }
                    if let Some(instead) = &begin.instead {
                        self.send_upstream(buffer, to).await?;
                        self.send(to, instead).await.map_err(upstream)?;
                    }
                }
            }
        }
    }

    async fn send_upstream(
        &self,
        buffer: &mut Buffer,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), Close> {
        self.send(to, buffer.ready()).await.map_err(upstream)?;
        self.shared.metrics.upstream_bytes.inc_by(buffer.ready().len() as u64);
        buffer.sent();
        Ok(())
    }

    /// Replies, from the upstream to the client.
    async fn replies<R, W>(&self, from: &mut R, to: &mut W) -> Close
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (mut replies, mut buffer) = (Replies::default(), Buffer::default());
        let mut wanted = 1;
        loop {
            match self.fill(&mut buffer, from, wanted).await {
                Ok(Some(0)) if self.pending.is_quiet() => return Close::Upstream,
                Ok(Some(0)) => return Close::UpstreamBroken(io::ErrorKind::UnexpectedEof.into()),
                Ok(Some(_)) => {}
                Ok(None) => return Close::Idle,
                Err(error) => return Close::UpstreamBroken(error),
            }
            wanted = match self.forward_replies(&mut replies, &mut buffer, from, to).await {
                Ok(wanted) => wanted,
                Err(close) => return close,
            };
        }
    }

    async fn forward_replies(
        &self,
        replies: &mut Replies,
        buffer: &mut Buffer,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<usize, Close> {
        loop {
            let metrics = &self.shared.metrics;
            let step = replies.next(buffer.unseen(), &self.pending, |api| metrics.rewritten(api));
            match step? {
                replies::Step::More(wanted) => {
                    self.send_client(buffer, to).await?;
                    return Ok(wanted);
                }
                replies::Step::Forward(count) => buffer.forward(count),
                replies::Step::Hold(length, asked) => {
                    self.send_client(buffer, to).await?;
                    self.rewrite(length, asked, buffer, from, to).await?;
                    self.pending.answered();
                }
            }
        }
    }

    async fn send_client(
        &self,
        buffer: &mut Buffer,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), Close> {
        self.send(to, buffer.ready()).await.map_err(client_failed)?;
        self.shared.metrics.client_bytes.inc_by(buffer.ready().len() as u64);
        buffer.sent();
        Ok(())
    }

    /// Holds a reply back, rewrites it and sends it on.
    async fn rewrite(
        &self,
        length: usize,
        asked: Asked,
        buffer: &mut Buffer,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), Close> {
        let name = asked.api.name();
        if length > limits::REPLY_BYTES {
            return Err(Close::Rewrite(name, Stop::TooLarge));
        }
        let units = u32::try_from(length / limits::UNIT).unwrap_or(u32::MAX);
        let held = timeout(self.shared.limits.stall, self.shared.held.acquire_many(units)).await;
        let _held = held.map_err(|_| Close::UpstreamStalled)?.map_err(|_| Close::Stopping)?;
        let mut frame = Vec::new();
        buffer.discard(crate::kafka::frame::LENGTH_BYTES);
        buffer.take(length, &mut frame);
        while frame.len() < length {
            frame.reserve((length - frame.len()).min(limits::BUFFER));
            let mut rest = (&mut *from).take((length - frame.len()) as u64);
            let read = timeout(self.shared.limits.stall, rest.read_buf(&mut frame)).await;
            match read.map_err(|_| Close::UpstreamStalled)?.map_err(Close::UpstreamBroken)? {
                0 => return Err(Close::UpstreamBroken(io::ErrorKind::UnexpectedEof.into())),
                _ => self.hear(),
            }
        }
        let out = self.rewritten(asked, frame).await.map_err(|stop| Close::Rewrite(name, stop))?;
        self.shared.metrics.rewritten(name);
        self.send(to, &out).await.map_err(client_failed)?;
        self.shared.metrics.client_bytes.inc_by(out.len() as u64);
        Ok(())
    }

    /// The rewritten reply. Large ones are made on a thread of their own, out of other connections' way.
    async fn rewritten(&self, asked: Asked, frame: Vec<u8>) -> Result<Vec<u8>, Stop> {
        let (shared, source) = (Arc::clone(&self.shared), self.source);
        let small = frame.len() < limits::ASIDE;
        let make = move || {
            let mut out = Vec::new();
            let fleet = shared.view.load();
            let (service, now) = (&shared.service, shared.clock.now());
            rewrite(Place { service, fleet: &fleet, now, source }, &asked, &frame, &mut out).map(|()| out)
        };
        if small {
            return make();
        }
        tokio::task::spawn_blocking(make).await.unwrap_or(Err(Stop::TooLarge))
    }

    /// Reads more; `None` if both sides were silent for too long.
    async fn fill(
        &self,
        buffer: &mut Buffer,
        from: &mut (impl AsyncRead + Unpin),
        wanted: usize,
    ) -> io::Result<Option<usize>> {
        let idle = self.shared.limits.idle;
        loop {
            match timeout(idle, buffer.fill(from, wanted)).await {
                Ok(read) => {
                    self.hear();
                    return read.map(Some);
                }
                Err(_) if self.silence() >= idle => return Ok(None),
                Err(_) => {} // the other direction was busy
            }
        }
    }

    /// Sends all of `bytes`; each step of it has its time.
    async fn send(&self, to: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> Result<(), Unsent> {
        while !bytes.is_empty() {
            let sent = timeout(self.shared.limits.stall, to.write(bytes)).await;
            match sent.map_err(|_| Unsent::Stalled)?.map_err(Unsent::Broken)? {
                0 => return Err(Unsent::Broken(io::ErrorKind::WriteZero.into())),
                count => bytes = bytes.get(count..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    fn hear(&self) {
        self.heard.store(self.shared.clock.now().millis(), Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        let now = self.shared.clock.now().millis();
        Duration::from_millis(now.saturating_sub(self.heard.load(Ordering::Relaxed)))
    }

    /// Waits until the agent drains and this connection may end: silent and with nothing in flight, or, when the time is
    /// nearly over, at the first moment with nothing in flight.
    async fn leave(&self) {
        let mut phase = self.shared.phase.subscribe();
        if phase.wait_for(|phase| *phase != Phase::Serving).await.is_err() {
            return std::future::pending().await;
        }
        loop {
            let last_call = *phase.borrow() == Phase::Leaving && self.pending.has_served();
            if self.pending.is_quiet() && (last_call || self.silence() >= limits::DRAIN_QUIET) {
                return;
            }
            tokio::select! {
                () = self.pending.quiet(), if last_call => {}
                () = tokio::time::sleep(limits::DRAIN_LOOK) => {}
            }
        }
    }
}

/// Why bytes could not be sent.
enum Unsent {
    Stalled,
    Broken(io::Error),
}

fn upstream(unsent: Unsent) -> Close {
    match unsent {
        Unsent::Stalled => Close::UpstreamStalled,
        Unsent::Broken(error) => Close::UpstreamBroken(error),
    }
}

fn client_failed(unsent: Unsent) -> Close {
    match unsent {
        Unsent::Stalled => Close::ClientStalled,
        Unsent::Broken(error) => Close::ClientBroken(error),
    }
}
