//! Accepting TCP connections: a permit before each accept, a cap per source, a pause after an accept error, and a
//! stop that lets connections finish for a bounded time.

use crate::limits::tcp as limits;
pub use crate::telemetry::tcp::Counts;
use dashmap::DashMap;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections one listener holds, and how long they may finish.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections in all.
    pub connections: usize,
    /// Open connections of one source (an IPv4 address, an IPv6 /64).
    pub per_source: usize,
    /// How long connections may go on after the stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: limits::CONNECTIONS.default,
            per_source: limits::PER_SOURCE.default,
            drain: limits::DRAIN,
        }
    }
}

/// Binds and listens. An IPv6 address takes IPv6 only, so that `0.0.0.0` and `[::]` can both be bound.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    bind_as(address, false)
}

/// The same; `shared` lets other processes of this user that say so too bind the address beside us.
pub fn bind_as(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sends small writes at once, and has the kernel ask after so long a silence whether the peer is still there.
pub fn keep_alive(stream: &TcpStream, after: Duration) {
    // Neither is worth losing the connection over.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(after));
}

/// Accepts connections until `stop`, runs `handle` for each in a task of its own, and returns when all have ended
/// or their time to finish is over. `handle` is given the stop signal too: it should end soon after it.
pub async fn serve<H, F>(
    listener: TcpListener,
    limits: Limits,
    counts: Arc<Counts>,
    stop: CancellationToken,
    handle: H,
) where
    H: Fn(TcpStream, SocketAddr, CancellationToken) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let sources = Sources::new(limits.per_source);
    let tasks = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = async {
            // The permit comes first: at the limit, connections wait in the kernel's queue instead of in ours.
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            both = accepted => both,
        };
        let (stream, peer) = match accepted {
            Ok(both) => both,
            Err(error) => {
                let before = counts.errors.fetch_add(1, Ordering::Relaxed);
                if !is_the_peers_fault(&error) {
                    // The first, the second, the fourth, … : a shortage goes on for long and is one piece of news.
                    if (before + 1).is_power_of_two() {
                        tracing::warn!(%error, times = before + 1, "cannot accept connections: raise the limit of open files");
                    }
                    tokio::time::sleep(limits::ACCEPT_BACKOFF).await;
                }
                continue;
            }
        };
        let Some(share) = Sources::take(&sources, peer.ip()) else {
            counts.over_source_limit.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        let open = Open::count(&counts);
        let work = handle(stream, peer, stop.clone());
        let abort = abort.clone();
        tasks.spawn(async move {
            let _held = (permit, share, open);
            tokio::select! {
                () = work => {}
                () = abort.cancelled() => {}
            }
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(limits.drain, tasks.wait()).await.is_err() {
        abort.cancel();
        tasks.wait().await;
    }
}

/// Connections that died between the handshake and our accept say nothing of the listener.
fn is_the_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Open connections by source. [`serve`] counts those of its peers; behind a proxy, that count is one of proxies, and a
/// front counts the clients by another.
#[derive(Debug)]
pub struct Sources {
    open: DashMap<IpAddr, usize>,
    most: usize,
}

/// One connection's place among those of its source; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    /// At most so many connections of each source.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { open: DashMap::new(), most })
    }

    /// A place for a connection from `peer`; `None` if its source has its share.
    pub fn take(this: &Arc<Self>, peer: IpAddr) -> Option<Share> {
        let source = source_of(peer);
        let mut count = this.open.entry(source).or_insert(0);
        if *count >= this.most {
            return None;
        }
        *count += 1;
        Some(Share { sources: Arc::clone(this), source })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.sources.open.remove_if_mut(&self.source, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

/// Whom a limit counts: an IPv4 address, or the /64 that one IPv6 host commands.
pub fn source_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// Counts one open connection for as long as it lives.
struct Open(Arc<Counts>);

impl Open {
    fn count(counts: &Arc<Counts>) -> Self {
        counts.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_source_gets_its_share_back_and_a_stop_ends_all() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (counts, stop) = (Arc::new(Counts::default()), CancellationToken::new());
        let limits = Limits { per_source: 1, drain: Duration::from_millis(20), ..Limits::default() };
        let server = tokio::spawn(serve(
            listener,
            limits,
            Arc::clone(&counts),
            stop.clone(),
            |mut stream, _, _| async move {
                let mut byte = [0];
                while stream.read_exact(&mut byte).await.is_ok() {
                    let _ = stream.write_all(&byte).await;
                }
            },
        ));
        let echo = |mut stream: TcpStream| async move {
            stream.write_all(b"x").await.unwrap();
            let mut byte = [0];
            let got = stream.read(&mut byte).await.unwrap_or(0);
            (got, stream)
        };
        let (got, first) = echo(TcpStream::connect(address).await.unwrap()).await;
        assert_eq!(got, 1);
        let (got, _) = echo(TcpStream::connect(address).await.unwrap()).await;
        assert_eq!(got, 0, "the second connection of one source is closed at once");
        drop(first);
        while counts.open.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        let (got, _held) = echo(TcpStream::connect(address).await.unwrap()).await;
        assert_eq!(got, 1, "its share came back");
        stop.cancel();
        server.await.unwrap();
        assert_eq!(counts.open.load(Ordering::Relaxed), 0, "the last connection was cut after its time");
    }
}
