//! Kafka listeners of the whole server, as clients come to them: over TLS, by server name, through HAProxy, from an
//! agent's address. Each client sees its own group, or nothing.

mod agents;
mod clients;
mod proxies;

use crate::support::{DEADLINE, Fingerpost, Redis, fingerpost, http_get, redis, tool, wait_for};
use crate::tls::certificates::{Authority, Pair};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

/// Agents: group, id, zone and address. 127.0.13.1 is one of `vpc-1` and of `vpc_2`.
const AGENTS: [(&str, &str, &str, &str); 6] = [
    ("vpc-1", "a1", "us-east-1a", "127.0.11.1"),
    ("vpc-1", "a2", "us-east-1b", "127.0.11.2"),
    ("vpc-1", "a3", "us-east-1b", "127.0.13.1"),
    ("vpc_2", "b1", "us-east-1a", "127.0.12.1"),
    ("vpc_2", "b2", "us-east-1b", "127.0.12.2"),
    ("vpc_2", "b3", "us-east-1b", "127.0.13.1"),
];

/// A server on a Redis with those agents.
struct World {
    folder: TempDir,
    authority: Authority,
    server: Fingerpost,
    _redis: Redis,
}

impl World {
    /// Starts the server; `listeners` says of each one what stands in its section beside address and cluster.
    #[track_caller]
    fn start(listeners: impl FnOnce(&Certificates) -> Vec<String>) -> Self {
        let (folder, redis) = (TempDir::new().unwrap(), redis());
        let authority = Authority::new("Listener Authority");
        let certificates = Certificates::make(folder.path(), &authority);
        let mut text = format!("[registry]\nurl = \"{}\"\n", redis.url());
        text.push_str("[dns]\nlisten = [\"127.0.0.1:0\"]\n[[dns.zone]]\napex = \"kafka.example\"\n");
        text.push_str("[[cluster]]\nname = \"prod\"\n");
        text.push_str("topics = { source = \"static\", list = [{ name = \"orders\", partitions = 3 }] }\n");
        text.push_str("[kafka]\nidle = \"15s\"\n");
        let listeners = listeners(&certificates);
        for listener in &listeners {
            text +=
                &format!("[[kafka.listener]]\nlisten = \"127.0.0.1:0\"\ncluster = \"prod\"\n{listener}\n");
        }
        text.push_str("[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"info,fingerpost::kafka=debug\"\n");
        let file = folder.path().join("fingerpost.toml");
        std::fs::write(&file, text).unwrap();
        for (group, id, zone, address) in AGENTS {
            let key = format!("fingerpost:agent:{{prod}}:{group}:{id}");
            let value = format!(
                r#"{{"zone":"{zone}","addresses":["{address}"],"advertise":"{id}.{group}.prod.kafka.example"}}"#
            );
            redis.cli(&["SET", &key, &value, "PX", "600000"]);
        }
        let server = fingerpost(&["serve", "--config", file.to_str().unwrap()]);
        let mut world = Self { folder, authority, server, _redis: redis };
        world.server.addresses("kafka", listeners.len());
        let admin = world.server.admin();
        wait_for("the server to be ready", DEADLINE, || http_get(admin, "/ready").0 == 200);
        wait_for("the agents", DEADLINE, || http_get(admin, "/v1/clusters/prod").1.contains("vpc_2"));
        world
    }

    /// The sum of the metrics whose line has all of `parts`.
    fn count(&mut self, parts: &[&str]) -> f64 {
        let (_, text) = http_get(self.server.admin(), "/metrics");
        let lines = text.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    #[track_caller]
    fn wait_count(&mut self, parts: &[&str], wanted: f64) {
        wait_for(&format!("{wanted} of {parts:?}"), DEADLINE, || self.count(parts) >= wanted);
        assert_eq!(self.count(parts), wanted, "{parts:?}");
    }

    fn roots(&self) -> String {
        self.authority.write(self.folder.path()).to_str().unwrap().to_owned()
    }
}

/// What listeners are given.
struct Certificates {
    server: Pair,
    authority: String,
}

impl Certificates {
    fn make(folder: &Path, authority: &Authority) -> Self {
        let names = [
            "127.0.0.1",
            "vpc-1.prod.kafka.example",
            "*.vpc-1.prod.kafka.example",
            "vpc-2.prod.kafka.example",
            "*.vpc-2.prod.kafka.example",
        ];
        let server = authority.server(folder, "kafka", &names);
        Self { server, authority: authority.write(folder).to_str().unwrap().to_owned() }
    }

    /// The keys that switch TLS on.
    fn keys(&self) -> String {
        let (certificate, key) = (self.server.certificate.display(), self.server.key.display());
        format!("certificates = [\"{certificate}\"]\nkeys = [\"{key}\"]\n")
    }
}

/// A Metadata request of version 1 for all topics.
fn metadata(client_id: &str) -> Vec<u8> {
    let mut request = [0, 3, 0, 1, 0, 0, 0, 7].to_vec();
    request.extend((client_id.len() as u16).to_be_bytes());
    request.extend(client_id.as_bytes());
    request.extend([0xff; 4]);
    [&(request.len() as u32).to_be_bytes()[..], &request].concat()
}

/// The agents that a Metadata reply names, by id; none if there was no reply.
fn named(reply: &[u8]) -> Vec<&'static str> {
    let has = |text: String| reply.windows(text.len()).any(|window| window == text.as_bytes());
    let agents = AGENTS.iter().filter(|(group, id, ..)| has(format!("{id}.{group}.prod.kafka.example")));
    agents.map(|(_, id, ..)| *id).collect()
}

const OF_ONE: [&str; 3] = ["a1", "a2", "a3"];
const OF_TWO: [&str; 3] = ["b1", "b2", "b3"];
const OF_NONE: [&str; 0] = [];

/// One reply, or nothing if the connection was closed instead.
fn read_reply(mut from: impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    if from.read_exact(&mut length).is_err() {
        return Vec::new();
    }
    let mut reply = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut reply).expect("a reply comes whole");
    reply
}

/// The agents that a client is told without TLS, connecting from the loopback address `from`.
#[track_caller]
fn plain(server: SocketAddr, from: &str) -> Vec<&'static str> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from = SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0);
    socket.bind(&from.into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let _ = stream.write_all(&metadata("me")); // it may be closed already
    let mut first = [0];
    match stream.read(&mut first) {
        Ok(1) => {}
        Ok(_) => return Vec::new(),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "neither reply nor end");
            return Vec::new();
        }
    }
    named(&read_reply(first.as_slice().chain(&stream)))
}

/// The agents that a client of `openssl s_client` is told, and what openssl printed as errors.
#[track_caller]
fn over_tls(server: SocketAddr, arguments: &[&str]) -> (Vec<&'static str>, String) {
    let mut command = tool("openssl");
    command.args(["s_client", "-connect", &server.to_string(), "-quiet", "-verify_return_error"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(&metadata("me")); // it may have ended already
    let reply = read_reply(child.stdout.take().unwrap());
    let _ = child.kill(); // it may have ended already
    let ended = child.wait_with_output().unwrap();
    drop(stdin);
    (named(&reply), String::from_utf8_lossy(&ended.stderr).into_owned())
}
