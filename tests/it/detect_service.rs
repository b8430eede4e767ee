//! Small HTTP services on loopback that answer zone detection as the clouds' documented endpoints do, or as badly as a
//! network can. They record every request, so that a test can say what was asked and what was not.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Method and target.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// What a service does with a request.
pub enum Reaction {
    /// Answers: status, headers, body.
    Reply(u16, Vec<(&'static str, String)>, String),
    /// Answers in chunks of three bytes.
    Chunked(String),
    /// Answers after a while.
    Late(Duration, Box<Reaction>),
    /// Sends these bytes, whatever they are, and closes.
    Raw(Vec<u8>),
    /// Never answers, and keeps the connection open.
    Silent,
    /// Sends a reset.
    Reset,
    /// Sends a header and then a byte now and then, for ever.
    Drip,
    /// Sends a body that never ends, as fast as it is taken.
    Flood,
}

/// 200 with a text.
pub fn ok(body: &str) -> Reaction {
    Reaction::Reply(200, Vec::new(), body.to_owned())
}

/// Another status with nothing more.
pub fn status(code: u16) -> Reaction {
    Reaction::Reply(code, Vec::new(), String::new())
}

type Handler = dyn Fn(&Request) -> Reaction + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

/// A running service; it stops when it is dropped.
pub struct Service {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Service {
    /// Plain HTTP on a free port of 127.0.0.1.
    pub fn start(handler: impl Fn(&Request) -> Reaction + Send + Sync + 'static) -> Self {
        Self::run("127.0.0.1:0", None, Box::new(handler))
    }

    /// HTTPS on a free port of `host`.
    pub fn start_tls(
        host: &str,
        tls: Arc<ServerConfig>,
        handler: impl Fn(&Request) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        Self::run(host, Some(tls), Box::new(handler))
    }

    fn run(host: &str, tls: Option<Arc<ServerConfig>>, handler: Box<Handler>) -> Self {
        let listener = TcpListener::bind(host).expect("bind a loopback port");
        let address = listener.local_addr().expect("read the bound address");
        let shared = Arc::new(Shared {
            handler,
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.expect("accept");
                of_thread.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, tls) = (Arc::clone(&of_thread), tls.clone());
                std::thread::spawn(move || shared.connection(stream, tls));
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Method and target of every request so far.
    pub fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the acceptor
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn connection(&self, tcp: TcpStream, tls: Option<Arc<ServerConfig>>) {
        let handle = tcp.try_clone().expect("clone a socket");
        match tls {
            Some(config) => {
                let session = ServerConnection::new(config).expect("a TLS session");
                self.serve(StreamOwned::new(session, tcp), &handle);
            }
            None => self.serve(tcp, &handle),
        }
    }

    fn serve(&self, mut stream: impl Read + Write, tcp: &TcpStream) {
        while let Some(request) = read_request(&mut stream) {
            self.requests.lock().unwrap().push(request.clone());
            let reaction = (self.handler)(&request);
            if !self.react(reaction, &mut stream, tcp) {
                break; // both handles are dropped: the socket closes, orderly or (with SO_LINGER 0) by a reset
            }
        }
    }

    /// Whether the connection goes on.
    fn react(&self, reaction: Reaction, stream: &mut (impl Read + Write), tcp: &TcpStream) -> bool {
        match reaction {
            Reaction::Reply(status, headers, body) => {
                let headers: String =
                    headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let length = body.len();
                let text = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
                stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_ok()
            }
            Reaction::Chunked(body) => {
                let chunk =
                    |part: &[u8]| format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part));
                let chunks: String = body.as_bytes().chunks(3).map(chunk).collect();
                let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
                stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_ok()
            }
            Reaction::Late(wait, then) => {
                std::thread::sleep(wait);
                self.react(*then, stream, tcp)
            }
            Reaction::Raw(bytes) => {
                let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
                false
            }
            Reaction::Silent => {
                let _ = stream.read(&mut [0; 1]); // ends when the client gives up
                false
            }
            Reaction::Reset => {
                let socket = socket2::SockRef::from(tcp);
                socket.set_linger(Some(Duration::ZERO)).expect("set SO_LINGER");
                false
            }
            Reaction::Drip => {
                let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec();
                while stream.write_all(&bytes).and_then(|()| stream.flush()).is_ok() {
                    bytes = b"x".to_vec();
                    std::thread::sleep(Duration::from_millis(20));
                }
                false
            }
            Reaction::Flood => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
                while stream.write_all(chunk.as_bytes()).is_ok() {}
                false
            }
        }
    }
}

/// Reads one request without a body; `None` at the end of the connection.
fn read_request(stream: &mut impl Read) -> Option<Request> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) if bytes.len() < 65_536 => bytes.push(byte[0]),
            _ => return None,
        }
    }
    let text = String::from_utf8(bytes).expect("a request in UTF-8");
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let headers = lines.filter_map(|line| line.split_once(':'));
    Some(Request {
        method: first.next()?.to_owned(),
        target: first.next()?.to_owned(),
        headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect(),
    })
}

/// A base URL where nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a loopback port");
    format!("http://{}", listener.local_addr().expect("read the bound address"))
}

/// EC2 as documented, version 2 only: a token by PUT with its lifetime, then everything with that token.
pub fn ec2(request: &Request) -> Reaction {
    const TOKEN: &str = "AQAEAGpr-Tn1xwyJ3G2mZ0o3sJ8mLZ1C0eGvYhH9bK4fQ7pR5tUwXyQ==";
    if !request.header("x-forwarded-for").is_empty() {
        return status(403);
    }
    if request.method == "PUT" && request.target == "/latest/api/token" {
        let seconds = request.header("x-aws-ec2-metadata-token-ttl-seconds").parse().unwrap_or(0);
        return if (1..=21_600).contains(&seconds) { ok(TOKEN) } else { status(400) };
    }
    if request.header("x-aws-ec2-metadata-token") != TOKEN {
        return status(401);
    }
    match request.line().as_str() {
        "GET /latest/meta-data/placement/availability-zone" => ok("us-east-1a"),
        "GET /latest/meta-data/placement/availability-zone-id" => ok("use1-az2"),
        _ => status(404),
    }
}

/// Google's metadata server as documented: it wants its header, and answers with it.
pub fn gcp(request: &Request) -> Reaction {
    let flavor =
        || vec![("Metadata-Flavor", "Google".to_owned()), ("Server", "Metadata Server for VM".to_owned())];
    match (request.header("metadata-flavor"), request.line().as_str()) {
        ("Google", "GET /computeMetadata/v1/instance/zone") => {
            Reaction::Reply(200, flavor(), "projects/987654321/zones/europe-west1-b".to_owned())
        }
        ("Google", _) => Reaction::Reply(404, flavor(), "<!DOCTYPE html>".to_owned()),
        _ => Reaction::Reply(403, flavor(), "Missing Metadata-Flavor:Google header.".to_owned()),
    }
}

/// Azure's metadata service as documented, for a VM in this zone (or in none).
pub fn azure(zone: &'static str) -> impl Fn(&Request) -> Reaction + Send + Sync + 'static {
    move |request| {
        if request.header("metadata") != "true" {
            let error = r#"{"error":"Bad request. Required metadata header not specified"}"#;
            return Reaction::Reply(400, Vec::new(), error.to_owned());
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        if path != "/metadata/instance/compute" || request.method != "GET" {
            return status(404);
        }
        if !query.split('&').any(|pair| pair == "api-version=2020-06-01") {
            return status(400);
        }
        ok(&format!(
            r#"{{"azEnvironment":"AzurePublicCloud","location":"westeurope","name":"vm","tagsList":[],"vmId":"x","zone":"{zone}"}}"#
        ))
    }
}

/// The ECS agent's task metadata as documented.
pub fn ecs(request: &Request) -> Reaction {
    match request.line().as_str() {
        "GET /v4/abc-123/task" => {
            ok(r#"{"Cluster":"arn:aws:ecs:us-west-2:1:cluster/c","Family":"f","Revision":"3",
            "Containers":[{"DockerId":"abc","Labels":{"a":"b"}}],"LaunchType":"FARGATE","AvailabilityZone":"us-west-2c"}"#)
        }
        _ => status(404),
    }
}
