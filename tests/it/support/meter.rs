//! Counts at the socket: stands where clients connect to, passes every byte on to where a server really listens, and
//! remembers each connection with the first client id that a request named, and how many requests of each API it sent. What it
//! says does not depend on what the server counts of itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Before the client id in a request: length, API, version, correlation id.
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
    requests: Mutex<BTreeMap<i16, u64>>,
}

/// One connection that was made.
#[derive(Clone, Debug)]
pub struct Met {
    /// The name of the address that it was made to.
    pub place: String,
    /// What its first request that names the client called it; empty if none came.
    pub client_id: String,
    /// Bytes of both directions.
    pub bytes: u64,
    /// How many requests it sent, by API key. Raw SASL tokens and TLS would be counted as anything: don't ask then.
    pub requests: BTreeMap<i16, u64>,
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
                let connection = Arc::new(Connection::new(&place));
                met.lock().expect("no thread panicked").push(Arc::clone(&connection));
                tokio::spawn(connection.pass(client, to));
            }
        });
    }

    /// How many requests of an API a client has sent so far, over all its connections.
    pub fn requests(&self, client_id: &str, api: i16) -> u64 {
        let met = self.met.lock().expect("no thread panicked");
        let of_it = met.iter().filter(|one| one.client_id.get().is_some_and(|id| id == client_id));
        let count = |one: &Arc<Connection>| {
            one.requests.lock().expect("no thread panicked").get(&api).copied().unwrap_or(0)
        };
        of_it.map(count).sum()
    }

    /// Every connection so far.
    pub fn met(&self) -> Vec<Met> {
        let met = self.met.lock().expect("no thread panicked");
        let told = |connection: &Arc<Connection>| Met {
            place: connection.place.clone(),
            client_id: connection.client_id.get().cloned().unwrap_or_default(),
            bytes: connection.bytes.load(Ordering::Relaxed),
            requests: connection.requests.lock().expect("no thread panicked").clone(),
        };
        met.iter().map(told).collect()
    }
}

impl Connection {
    fn new(place: &str) -> Self {
        let (place, client_id, bytes) = (place.to_owned(), OnceLock::new(), AtomicU64::new(0));
        Self { place, client_id, bytes, requests: Mutex::default() }
    }

    async fn pass(self: Arc<Self>, mut client: TcpStream, to: Option<SocketAddr>) {
        let server = match to {
            Some(to) => TcpStream::connect(to).await.ok(),
            None => None,
        };
        let Some(mut server) = server else {
            let mut first = [0; 512];
            let count = client.read(&mut first).await.unwrap_or(0);
            Walk::default().feed(&first[..count], |api, id| self.note(api, id));
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
        let (mut buffer, mut walk) = (vec![0; 64 * 1024], Walk::default());
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if named {
                walk.feed(&buffer[..count], |api, id| self.note(api, id));
            }
            self.bytes.fetch_add(count as u64, Ordering::Relaxed);
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    }

    /// Counts a request; the first that names the client names the connection.
    fn note(&self, api: i16, client_id: &[u8]) {
        *self.requests.lock().expect("no thread panicked").entry(api).or_default() += 1;
        if !client_id.is_empty() {
            let _ = self.client_id.set(String::from_utf8_lossy(client_id).into_owned());
        }
    }
}

/// Finds the API key and the client id of each request in a stream of frames.
#[derive(Default)]
struct Walk {
    head: Vec<u8>,
    left: usize,
}

impl Walk {
    fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(i16, &[u8])) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skipped = bytes.len().min(self.left);
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            let number =
                |at: usize| self.head.get(at..at + 2).map(|two| i16::from_be_bytes([two[0], two[1]]));
            let Some(length) = self.head.first_chunk().map(|length| u32::from_be_bytes(*length) as usize)
            else {
                continue;
            };
            let id = number(BEFORE_CLIENT_ID).map(|length| usize::try_from(length).unwrap_or(0));
            let wanted = BEFORE_CLIENT_ID + 2 + id.unwrap_or(0);
            if self.head.len() < wanted.min(4 + length) {
                continue;
            }
            if let Some(api) = number(4) {
                each(api, self.head.get(BEFORE_CLIENT_ID + 2..).unwrap_or_default());
            }
            self.left = (4 + length).saturating_sub(self.head.len());
            self.head.clear();
        }
    }
}

#[test]
fn requests_are_counted_however_they_are_cut() {
    let one = |api: u8, rest: &[u8]| {
        [&[0, 0, 0, 8 + rest.len() as u8, 0, api, 0, 0, 0, 0, 0, 1][..], rest].concat()
    };
    let stream =
        [one(18, b"\xff\xff"), one(3, b"\0\x02id1234567"), one(3, b"\0\0"), one(0, &[1; 200])].concat();
    let wanted = [(18, ""), (3, "id"), (3, ""), (0, &"\x01".repeat(198))];
    for size in 1..stream.len() {
        let (mut walk, mut seen) = (Walk::default(), Vec::new());
        let mut note = |api, id: &[u8]| seen.push((api, String::from_utf8_lossy(id).into_owned()));
        stream.chunks(size).for_each(|chunk| walk.feed(chunk, &mut note));
        assert_eq!(seen, wanted.map(|(api, id)| (api, id.to_owned())), "in pieces of {size}");
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
        of("here").is_some_and(|met| met.bytes == 22 && met.requests == BTreeMap::from([(18, 1)]))
            && of("trap").is_some()
            && meter.requests("abc", 18) == 2
    });
}
