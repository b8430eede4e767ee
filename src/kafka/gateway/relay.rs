//! One client's connection and the upstream's that belongs to it: two streams of frames, each read only as fast as the
//! other side takes them. Memory is two buffers, a bounded list of awaited replies, and the replies that are rewritten.

use super::buffer::Buffer;
use super::close::Close;
use super::pending::Pending;
use super::replies::{self, Replies};
use super::requests::{self, Requests};
use super::rewrite::{Asked, Place, rewrite};
use super::upstream::{Link, Watch};
use super::{Phase, Shared};
use crate::kafka::api::Stop;
use crate::kafka::service::Service;
use crate::limits::gateway as limits;
use crate::limits::kafka::FAREWELL;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a client may take to close after we did, before its connection is cut.
const LINGER: Duration = Duration::from_secs(1);

/// Relays between a client that came from `source` and its upstream until there is a reason to close, and parts.
pub(crate) async fn relay<S>(
    mut client: S,
    source: IpAddr,
    link: Link,
    service: Arc<Service>,
    shared: Arc<Shared>,
    stop: &CancellationToken,
) -> Close
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Link { stream: mut upstream, watch } = link;
    let now = shared.clock.now().millis();
    let (heard, used) = (AtomicU64::new(now), AtomicU64::new(now));
    let relay = Relay { source, pending: Pending::default(), heard, used, watch, service, shared };
    let close = {
        let (mut from_client, mut to_client) = tokio::io::split(&mut client);
        let (mut from_upstream, mut to_upstream) = tokio::io::split(&mut upstream);
        relay.run((&mut from_client, &mut to_client), (&mut from_upstream, &mut to_upstream), stop).await
    };
    drop(upstream);
    // Whoever does not listen is gone.
    let _ = match close {
        // Closing with unread bytes would make the kernel take back what the client has not read yet.
        Close::Drained | Close::Stopping => timeout(LINGER, linger(&mut client)).await,
        _ => timeout(FAREWELL, client.shutdown()).await,
    };
    close
}

/// Says that nothing more comes, and reads on until the client closes too.
async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
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
    /// When the agent, which leaves, was last asked here for anything but the way; on the same clock.
    used: AtomicU64,
    watch: Watch,
    service: Arc<Service>,
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
            () = self.watch.lost() => return Close::Lost,
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
                // Over TLS: it is gone without a word of farewell, as many clients do.
                Err(error) if ended(&error) && requests.is_between() => return Close::Client,
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
        requests.set_leaving(self.shared.is_leaving());
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
                    if !begin.asks_the_way() {
                        self.note_use();
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
                Err(error) if ended(&error) && self.pending.is_quiet() => return Close::Upstream,
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
                replies::Step::Forward(count) => {
                    self.note_use();
                    buffer.forward(count);
                }
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
        let made = self.rewritten(asked, frame).await;
        let (out, rewritten) = made.map_err(|stop| Close::Rewrite(name, stop))?;
        match rewritten {
            true => self.shared.metrics.rewritten(name),
            false => self.note_use(),
        }
        self.send(to, &out).await.map_err(client_failed)?;
        self.shared.metrics.client_bytes.inc_by(out.len() as u64);
        Ok(())
    }

    /// The reply as it goes on, and whether anything was to be rewritten. Large ones are made on a thread of their own, out
    /// of other connections' way.
    async fn rewritten(&self, asked: Asked, frame: Vec<u8>) -> Result<(Vec<u8>, bool), Stop> {
        let (shared, service, source) = (Arc::clone(&self.shared), Arc::clone(&self.service), self.source);
        let small = frame.len() < limits::ASIDE;
        let make = move || {
            let mut out = Vec::new();
            let fleet = shared.view.load();
            let now = shared.clock.now();
            let leaving = shared.own.as_ref().filter(|_| shared.is_leaving());
            let place = Place { service: &service, fleet: &fleet, now, source, leaving };
            rewrite(place, &asked, &frame, &mut out).map(|rewritten| (out, rewritten))
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
        // TLS may hold the last record back.
        let flushed = timeout(self.shared.limits.stall, to.flush()).await;
        flushed.map_err(|_| Unsent::Stalled)?.map_err(Unsent::Broken)
    }

    /// An agent that leaves is still needed.
    fn note_use(&self) {
        if self.shared.is_leaving() {
            let now = self.shared.clock.now().millis();
            self.used.store(now, Ordering::Relaxed);
            self.shared.used.store(now, Ordering::Relaxed);
        }
    }

    fn hear(&self) {
        self.heard.store(self.shared.clock.now().millis(), Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.since(&self.heard)
    }

    fn since(&self, moment: &AtomicU64) -> Duration {
        let now = self.shared.clock.now().millis();
        Duration::from_millis(now.saturating_sub(moment.load(Ordering::Relaxed)))
    }

    /// Waits until the agent or the upstream drains and this connection may end: not used for a while and with nothing in
    /// flight, or, when the time is nearly over, at the first moment with nothing in flight. Whoever only asks the way again
    /// and again does not use it: some clients ask each broker in turn.
    async fn leave(&self) {
        let mut phase = self.shared.phase.subscribe();
        // The upstream's leaving is always the last call: the client comes again and gets another.
        let mut last = tokio::select! {
            gone = async { phase.wait_for(|phase| *phase != Phase::Serving).await.is_err() } => match gone {
                false => false,
                true => return std::future::pending().await,
            },
            () = self.watch.leaving() => true,
        };
        self.used.store(self.shared.clock.now().millis(), Ordering::Relaxed);
        loop {
            last |= *phase.borrow() == Phase::Leaving;
            let last_call = last && self.pending.has_served();
            if self.pending.is_quiet() && (last_call || self.since(&self.used) >= limits::DRAIN_QUIET) {
                return;
            }
            tokio::select! {
                () = self.pending.quiet(), if last_call => {}
                () = tokio::time::sleep(limits::DRAIN_LOOK) => {}
            }
        }
    }
}

/// Whether a stream ended where TLS would have it end with a word.
fn ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
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
