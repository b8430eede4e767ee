//! DNS over TCP (RFC 7766): length-prefixed messages, any number on one connection, answered in order. Idle
//! connections are closed, peers that send or take a message too slowly are cut.

use super::encrypted::padding;
use super::live::Live;
use super::render::Transport;
use super::respond::Asked;
use super::transfer::{Sent, Switch, Transfer};
use crate::clock::Clock;
use crate::limits::dns as limits;
use crate::telemetry::dns::{Counters, Event};
use crate::view::View;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How patient the server is with TCP peers.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a connection may be idle between messages.
    pub idle: Duration,
    /// How long a begun query may take to arrive, and an answer to be taken.
    pub message: Duration,
    /// Connections and shares of one listener.
    pub connections: crate::net::tcp::Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle: limits::TCP_IDLE.default,
            message: limits::TCP_MESSAGE_TIME.default,
            connections: crate::net::tcp::Limits::default(),
        }
    }
}

/// All that a connection needs.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) live: Live,
    pub(super) view: View,
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
    pub(super) settings: Settings,
    pub(super) transfers: Switch,
    pub(super) over: Over,
}

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// TCP alone.
    Tcp,
    /// TLS: answers are padded for those who pad their queries.
    Tls,
    /// HTTPS: the same, and how long connections live is HTTP's business.
    Https,
}

impl Context {
    /// Answers one message into `room`; says how long the answer is, 0 for silence.
    pub(super) fn answer(&self, packet: &[u8], peer: IpAddr, room: &mut [u8]) -> usize {
        let fleet = self.view.load();
        let asked = Asked {
            packet,
            peer,
            transport: Transport::Tcp,
            idle: (self.over != Over::Https).then_some(self.settings.idle),
            fleet: &fleet,
            now: self.clock.now(),
            entropy: fastrand::u64(..),
        };
        let len = self.live.load().respond(asked, &self.counters, room);
        match self.over {
            Over::Tcp => len,
            Over::Tls | Over::Https => padding::pad(packet, room, len),
        }
    }
}

/// Why a connection ends.
enum End {
    /// The peer is done, or we are stopping.
    Done,
    /// Nothing came for too long.
    Idle,
    /// A message came or went too slowly.
    Slow,
    /// A query longer than is read.
    Oversize,
    /// A packet that deserves no answer: the connection has no further use.
    Silence,
}

/// Serves one TCP connection to its end.
pub(super) async fn serve(stream: TcpStream, peer: IpAddr, context: Context, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    serve_on(stream, peer, context, stop).await;
}

/// Serves one connection of any kind to its end.
pub(super) async fn serve_on<S>(mut stream: S, peer: IpAddr, context: Context, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let counters = Arc::clone(&context.counters);
    let end = converse(&mut stream, peer, context, stop).await;
    match end.unwrap_or(End::Done) {
        End::Idle => counters.note(Event::CutIdle),
        End::Slow => counters.note(Event::CutSlow),
        End::Oversize => counters.note(Event::CutOversize),
        End::Done | End::Silence => {}
    }
}

async fn converse<S>(
    stream: &mut S,
    peer: IpAddr,
    context: Context,
    stop: CancellationToken,
) -> io::Result<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut inbox = vec![0u8; 2 + limits::TCP_QUERY];
    let mut outbox = Vec::new();
    let mut have = 0;
    loop {
        // Answer all that has arrived in full, up to a transfer: pipelined queries share one write.
        let (used, then) = answer_all(inbox.get(..have).unwrap_or_default(), peer, &context, &mut outbox);
        inbox.copy_within(used..have, 0);
        have -= used;
        if !outbox.is_empty() {
            // Over TLS, what is not flushed may be held back.
            let writing = async {
                stream.write_all(&outbox).await?;
                stream.flush().await
            };
            match timeout(context.settings.message, writing).await {
                Ok(written) => written?,
                Err(_) => return Ok(End::Slow),
            }
            outbox.clear();
            outbox.shrink_to(2 * limits::TCP_QUERY);
        }
        match then {
            None => {}
            Some(Then::End(end)) => return Ok(end),
            Some(Then::Transfer(transfer)) => {
                let sent = transfer.send(stream, context.settings.message).await?;
                // Over TLS, what is not flushed may be held back.
                if !matches!(timeout(context.settings.message, stream.flush()).await, Ok(Ok(()))) {
                    return Ok(End::Slow);
                }
                if sent == Sent::Slow {
                    return Ok(End::Slow);
                }
            }
        }
        if used > 0 && has_message(inbox.get(..have).unwrap_or_default()) {
            continue;
        }
        // A message that has begun must end in time, however the bytes trickle in.
        have = if have == 0 {
            let room = inbox.as_mut_slice();
            // What has arrived is answered, also while we are stopping.
            let read = tokio::select! {
                biased;
                read = timeout(context.settings.idle, stream.read(room)) => read,
                () = stop.cancelled() => return Ok(End::Done),
            };
            match read {
                Ok(Ok(0)) => return Ok(End::Done),
                Ok(read) => read?,
                Err(_) => return Ok(End::Idle),
            }
        } else {
            match timeout(context.settings.message, fill(stream, &mut inbox, have)).await {
                Ok(Ok(None)) => return Ok(End::Done),
                Ok(more) => more?.unwrap_or(have),
                Err(_) => return Ok(End::Slow),
            }
        };
    }
}

/// Reads until the first message is whole or its length is known to be too large; `None` at the end of the stream.
async fn fill<S>(stream: &mut S, inbox: &mut [u8], mut have: usize) -> io::Result<Option<usize>>
where
    S: AsyncRead + Unpin,
{
    while !has_message(inbox.get(..have).unwrap_or_default()) {
        let Some(room) = inbox.get_mut(have..).filter(|room| !room.is_empty()) else { break };
        match stream.read(room).await? {
            0 => return Ok(None),
            more => have += more,
        }
    }
    Ok(Some(have))
}

/// Whether the bytes begin with a whole message, or with one that is too long to wait for.
fn has_message(bytes: &[u8]) -> bool {
    match bytes.first_chunk::<2>().map(|len| usize::from(u16::from_be_bytes(*len))) {
        Some(len) => len > limits::TCP_QUERY || bytes.len() >= 2 + len,
        None => false,
    }
}

/// What follows the answers that were written.
enum Then {
    /// The connection ends.
    End(End),
    /// A transfer, which takes as many messages as it takes.
    Transfer(Box<Transfer>),
}

/// Answers the whole messages at the start of `bytes`, until the answers fill one message's size or a transfer is
/// asked for; says how many bytes were used, and what is to follow.
fn answer_all(bytes: &[u8], peer: IpAddr, context: &Context, outbox: &mut Vec<u8>) -> (usize, Option<Then>) {
    let mut used = 0;
    while outbox.len() < limits::TCP_MESSAGE {
        let rest = bytes.get(used..).unwrap_or_default();
        let Some(len) = rest.first_chunk::<2>().map(|len| usize::from(u16::from_be_bytes(*len))) else {
            break;
        };
        if len > limits::TCP_QUERY {
            return (used, Some(Then::End(End::Oversize)));
        }
        let Some(packet) = rest.get(2..2 + len) else { break };
        used += 2 + len;
        if let Some(transfer) = context.transfers.begin(packet, peer, &context.counters) {
            return (used, Some(Then::Transfer(Box::new(transfer))));
        }
        let start = outbox.len();
        outbox.resize(start + 2 + limits::TCP_MESSAGE, 0);
        let (prefix, room) = match outbox.get_mut(start..).and_then(|room| room.split_first_chunk_mut::<2>())
        {
            Some(both) => both,
            None => break,
        };
        let written = context.answer(packet, peer, room);
        *prefix = u16::try_from(written).unwrap_or(u16::MAX).to_be_bytes();
        outbox.truncate(if written == 0 { start } else { start + 2 + written });
        if written == 0 {
            return (used, Some(Then::End(End::Silence)));
        }
    }
    (used, None)
}
