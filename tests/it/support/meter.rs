//! Counts at the socket: stands where clients connect to, passes every byte on to where a server really listens, and
//! remembers each connection with the client id of its first request. What it says does not depend on what the server
//! counts of itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Before the client id in a first request: length, API, version, correlation id.
const BEFORE_CLIENT_ID: usize = 12;

/// Meters at any number of addresses; they end with it.
pub struct Meter {
    runtime: Runtime,
    met: Arc<Mutex<Vec<Arc<Connection>>>>,
}

struct Connection {
    place: String,
    client_id: OnceLock<String>,
    bytes: AtomicU64,
}

/// One connection that was made.
#[derive(Clone, Debug)]
pub struct Met {
    /// The name of the address that it was made to.
    pub place: String,
    /// What its first request called the client; empty if none came, or none that names one.
    pub client_id: String,
    /// Bytes of both directions.
    pub bytes: u64,
}

impl Meter {
    /// Without an address yet.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_io()
            .build()
            .expect("start a runtime");
        Self { runtime, met: Arc::default() }
    }

    /// Listens at `address`, which is `place` in what it tells; passes on to `to`, or to nobody: a trap.
    #[track_caller]
    pub fn listen(&self, place: &str, address: SocketAddr, to: Option<SocketAddr>) {
        let listener = self.runtime.block_on(TcpListener::bind(address));
        let listener = listener.unwrap_or_else(|error| panic!("bind {address}: {error}"));
        let (place, met) = (place.to_owned(), Arc::clone(&self.met));
        self.runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (client_id, bytes) = (OnceLock::new(), AtomicU64::new(0));
                let connection = Arc::new(Connection { place: place.clone(), client_id, bytes });
                met.lock().expect("no thread panicked").push(Arc::clone(&connection));
                tokio::spawn(connection.pass(client, to));
            }
        });
    }

    /// Every connection so far.
    pub fn met(&self) -> Vec<Met> {
        let met = self.met.lock().expect("no thread panicked");
        let told = |connection: &Arc<Connection>| Met {
            place: connection.place.clone(),
            client_id: connection.client_id.get().cloned().unwrap_or_default(),
            bytes: connection.bytes.load(Ordering::Relaxed),
        };
        met.iter().map(told).collect()
    }
}

impl Connection {
    async fn pass(self: Arc<Self>, mut client: TcpStream, to: Option<SocketAddr>) {
        let server = match to {
            Some(to) => TcpStream::connect(to).await.ok(),
            None => None,
        };
        let Some(mut server) = server else {
            let mut first = [0; 512];
            let count = client.read(&mut first).await.unwrap_or(0);
            self.note(&first[..count]);
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        tokio::select! {
            () = self.copy(&mut from_client, &mut to_server, true) => {
                // The client ended; what the server still has to say follows.
                self.copy(&mut from_server, &mut to_client, false).await;
            }
            () = self.copy(&mut from_server, &mut to_client, false) => {}
        }
    }

    async fn copy<R, W>(&self, from: &mut R, to: &mut W, named: bool)
    where
        R: tokio::io::AsyncRead + Unpin,
        W: tokio::io::AsyncWrite + Unpin,
    {
        let (mut buffer, mut head) = (vec![0; 64 * 1024], Vec::new());
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if named && self.client_id.get().is_none() {
                head.extend_from_slice(&buffer[..count.min(1024)]);
                self.note(&head);
            }
            self.bytes.fetch_add(count as u64, Ordering::Relaxed);
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    }

    /// Reads the client id, if it has come.
    fn note(&self, head: &[u8]) {
        let length = head.get(BEFORE_CLIENT_ID..).and_then(|rest| rest.first_chunk::<2>());
        let Some(length) = length.map(|bytes| usize::try_from(i16::from_be_bytes(*bytes)).unwrap_or(0))
        else {
            return;
        };
        let start = BEFORE_CLIENT_ID + 2;
        if let Some(id) = head.get(start..start + length) {
            let _ = self.client_id.set(String::from_utf8_lossy(id).into_owned());
        }
    }
}

#[test]
fn connections_are_told_apart_by_place_and_client_id() {
    use std::io::{Read, Write};
    let meter = Meter::start();
    let [here, trap, server] = [(); 3].map(|()| super::free_address());
    meter.listen("here", here, Some(server));
    meter.listen("trap", trap, None);
    let listener = std::net::TcpListener::bind(server).expect("bind");
    let request = [&[0, 0, 0, 14, 0, 18, 0, 0, 0, 0, 0, 1, 0, 3][..], b"abc"].concat();
    let mut client = std::net::TcpStream::connect(here).expect("connect");
    client.write_all(&request).expect("send");
    let (mut accepted, _) = listener.accept().expect("accept");
    let mut got = [0; 17];
    accepted.read_exact(&mut got).expect("read");
    assert_eq!(got[..], request[..]);
    accepted.write_all(b"12345").expect("reply");
    drop(accepted);
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).expect("read the reply");
    assert_eq!(reply, b"12345");
    let mut caught = std::net::TcpStream::connect(trap).expect("connect");
    caught.write_all(&request).expect("send");
    super::wait_for("both connections", super::DEADLINE, || {
        let met = meter.met();
        let of = |place: &str| met.iter().find(|met| met.place == place && met.client_id == "abc");
        of("here").is_some_and(|met| met.bytes == 22) && of("trap").is_some()
    });
}
