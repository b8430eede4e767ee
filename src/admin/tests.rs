//! The admin API over real sockets, on the memory store.

use super::*;
use crate::registry::{self, Options, follow};
use crate::view;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

const RECORD: &str = r#"{"v":1,"zone":"us-east-1a","addresses":["10.0.1.17"],"ports":{"kafka":9092}}"#;
const AGENT: &str = "/v1/clusters/prod/groups/vpc-1/agents/a1";

struct Running {
    address: SocketAddr,
    readiness: Readiness,
    telemetry: Telemetry,
    view: View,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(settings: Settings, url: &str) -> Running {
    let clock = Clock::machine();
    let options =
        Options { clock: clock.clone(), operation: Duration::from_millis(200), ..Options::default() };
    let registry = registry::open(url, &options).unwrap();
    let (publisher, view) = view::channel();
    let telemetry = Telemetry::new().unwrap();
    let readiness = Readiness::new(clock.clone());
    let stop = CancellationToken::new();
    let metrics = Arc::clone(&telemetry.follow);
    let follow_settings = follow::Settings::default();
    follow::start(registry.clone(), follow_settings, publisher, clock.clone(), metrics, stop.clone());
    let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), ..settings };
    let server =
        Server::bind(settings, view.clone(), clock, registry, telemetry.clone(), readiness.clone()).unwrap();
    let address = server.address();
    let task = tokio::spawn(server.run(stop.clone()));
    Running { address, readiness, telemetry, view, stop, task }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Running {
    /// One request on a connection of its own, written as given.
    async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.raw(request.as_bytes()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "").await
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task).await.expect("it stops in time").unwrap();
    }
}

fn held(fleet: &crate::model::Fleet) -> usize {
    fleet.group("prod", "vpc-1").map_or(0, |group| group.agents().len())
}

#[tokio::test]
async fn a_heartbeat_over_http_is_served_and_a_goodbye_removes_it() {
    let server = start(Settings::default(), "memory:").await;
    server.view.wait_for(|fleet| fleet.is_synced()).await.unwrap();
    let put = server.ask("PUT", &format!("{AGENT}?lease=20s"), "", RECORD).await;
    assert_eq!((put.status, put.body.trim()), (200, r#"{"agent":"prod/vpc-1/a1","lease_ms":20000}"#));
    server.view.wait_for(|fleet| held(fleet) == 1).await.unwrap();

    let fleet = server.get("/v1/clusters").await.json();
    assert_eq!(fleet["synced"], true);
    assert_eq!((&fleet["age_ms"], &fleet["sources"][0]["state"]), (&Value::from(0), &Value::from("fresh")));
    let agent = &fleet["clusters"][0]["groups"][0]["agents"][0];
    assert_eq!((agent["id"].as_str(), agent["zone"].as_str()), (Some("a1"), Some("us-east-1a")));
    assert_eq!((agent["state"].as_str(), agent["live"].as_bool()), (Some("ready"), Some(true)));
    let left = agent["lease_left_ms"].as_u64().unwrap();
    assert!((15_000..=20_000).contains(&left), "{left}");
    assert_eq!(server.get("/v1/clusters/PROD").await.json()["clusters"][0]["name"], "prod");
    assert_eq!(server.get("/v1/clusters/prod/groups/vpc-1").await.json()["ready"], 1);
    assert_eq!(server.get(AGENT).await.json()["addresses"][0], "10.0.1.17");
    for missing in
        ["/v1/clusters/dev", "/v1/clusters/prod/groups/x", "/v1/clusters/prod/groups/vpc-1/agents/a2"]
    {
        let answer = server.get(missing).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{missing}");
    }
    assert_eq!(server.ask("DELETE", AGENT, "", "").await.status, 204);
    let again = server.ask("DELETE", AGENT, "", "").await;
    assert_eq!((again.status, again.code().as_str()), (404, "not_found"));
    server.view.wait_for(|fleet| held(fleet) == 0).await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn what_the_registry_would_refuse_is_refused_with_the_reason() {
    let server = start(Settings::default(), "memory:").await;
    let put = async |path: &str, headers: &str, body: &str| {
        let answer = server.ask("PUT", path, headers, body).await;
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        (answer.status, answer.code(), message)
    };
    let (status, code, message) = put(AGENT, "", r#"{"addresses":["10.0.0.300"]}"#).await;
    assert_eq!((status, code.as_str()), (422, "bad_record"));
    assert!(message.contains("addresses[0]"), "{message}");
    assert_eq!(put(AGENT, "", "").await.0, 422);
    assert_eq!(put(AGENT, "", "[[[[[").await.0, 422);
    for lease in ["0s", "2h", "soon", "-1"] {
        let (status, code, _) = put(&format!("{AGENT}?lease={lease}"), "", RECORD).await;
        assert_eq!((status, code.as_str()), (400, "bad_lease"), "{lease}");
    }
    assert_eq!(put(AGENT, "fingerpost-lease: nope\r\n", RECORD).await.1, "bad_lease");
    assert_eq!(put(&format!("{AGENT}?lease=5s&lease=6s"), "", RECORD).await.1, "bad_request");
    for name in ["az-a1", "_a", "a.b", "%20", &"x".repeat(64)] {
        let (status, code, _) =
            put(&format!("/v1/clusters/prod/groups/vpc-1/agents/{name}"), "", RECORD).await;
        assert_eq!((status, code.as_str()), (400, "bad_name"), "{name}");
    }
    let (status, code, _) = put("/v1/clusters/prod/groups/vpc-1/agents/%ff", "", RECORD).await;
    assert_eq!((status, code.as_str()), (400, "bad_request"));
    let (status, code, _) = put(AGENT, "", &" ".repeat(16 * 1024 + 1)).await;
    assert_eq!((status, code.as_str()), (413, "too_large"));
    assert_eq!(server.view.load().clusters().len(), 0, "nothing of it was taken");
    server.end().await;
}

#[tokio::test]
async fn without_the_registry_heartbeats_are_503_and_ready_says_why() {
    // Nobody listens at port 1 of loopback.
    let server = start(Settings::default(), "redis://127.0.0.1:1").await;
    let put = server.ask("PUT", AGENT, "", RECORD).await;
    assert_eq!((put.status, put.code().as_str()), (503, "registry_unreachable"));
    let dns = server.readiness.latch("dns", "not bound yet");
    let ready = server.get("/ready").await;
    assert_eq!(ready.status, 503);
    let missing: Vec<Value> = ready.json()["missing"].as_array().unwrap().clone();
    assert_eq!(missing[0]["name"], "dns");
    assert_eq!(missing[1]["name"], "registry");
    dns.set();
    assert_eq!(server.get("/ready").await.json()["done"][0]["name"], "dns");
    assert_eq!(server.get("/live").await.status, 200);
    server.end().await;
    let ready = start(Settings::default(), "memory:").await;
    ready.view.wait_for(|fleet| fleet.is_synced()).await.unwrap();
    assert_eq!(ready.get("/ready").await.status, 200);
    ready.readiness.drain();
    assert_eq!(ready.get("/ready").await.json()["missing"][0]["name"], "serving");
    ready.end().await;
}

fn token(name: &str, scope: Scope, write: bool) -> Token {
    Token { name: name.to_owned(), secret: format!("{name}-0123456789abcdef"), scope, write }
}

#[tokio::test]
async fn a_limited_token_sees_and_writes_its_own_part_only() {
    let (cluster, group) =
        (crate::model::Cluster::parse("prod").unwrap(), crate::model::GroupName::parse("vpc-1").unwrap());
    let tokens = vec![token("all", Scope::All, true), token("vpc", Scope::Group(cluster, group), true)];
    let server = start(Settings { tokens, ..Settings::default() }, "memory:").await;
    let bearer = |name: &str| format!("authorization: Bearer {name}-0123456789abcdef\r\n");
    let other = "/v1/clusters/prod/groups/vpc-2/agents/b1";
    assert_eq!(server.ask("PUT", AGENT, &bearer("vpc"), RECORD).await.status, 200);
    assert_eq!(server.ask("PUT", other, &bearer("vpc"), RECORD).await.status, 403);
    assert_eq!(server.ask("PUT", other, &bearer("all"), RECORD).await.status, 200);
    server.view.wait_for(|fleet| fleet.group("prod", "vpc-2").is_some() && held(fleet) == 1).await.unwrap();
    let seen = server.ask("GET", "/v1/clusters", &bearer("vpc"), "").await;
    assert!(seen.body.contains("vpc-1") && !seen.body.contains("vpc-2"), "{}", seen.body);
    assert_eq!(seen.json()["limited_to"], "group prod/vpc-1");
    assert!(server.ask("GET", "/v1/clusters", &bearer("all"), "").await.body.contains("vpc-2"));
    for (method, path) in [("GET", other), ("DELETE", other), ("GET", "/v1/clusters/prod/groups/vpc-2")] {
        assert_eq!(server.ask(method, path, &bearer("vpc"), "").await.status, 403, "{method} {path}");
    }
    let nobody = server.get("/v1/clusters").await;
    assert_eq!(nobody.status, 401);
    assert!(nobody.head.to_ascii_lowercase().contains("www-authenticate: bearer"), "{}", nobody.head);
    for open in ["/", "/live", "/metrics"] {
        assert_eq!(server.get(open).await.status, 200, "{open}");
    }
    server.end().await;
}

#[tokio::test]
async fn it_does_not_open_itself_to_the_world() {
    let bind = |settings: Settings| {
        let registry = registry::open("memory:", &Options::default()).unwrap();
        let (clock, view) = (Clock::machine(), view::channel().1);
        let readiness = Readiness::new(clock.clone());
        Server::bind(settings, view, clock, registry, Telemetry::new().unwrap(), readiness).map(|_| ())
    };
    let at = |listen: &str| Settings { listen: listen.parse().unwrap(), ..Settings::default() };
    assert!(matches!(bind(at("0.0.0.0:0")), Err(Error::Open(_))));
    assert!(matches!(bind(at("[::]:0")), Err(Error::Open(_))));
    let mut weak = token("x", Scope::All, true);
    weak.secret = "short".to_owned();
    assert!(matches!(bind(Settings { tokens: vec![weak], ..at("127.0.0.1:0") }), Err(Error::WeakToken(..))));
    assert!(matches!(bind(at("192.0.2.1:0")), Err(Error::Open(_))));
    assert!(bind(at("127.0.0.1:0")).is_ok());
}

#[tokio::test]
async fn pages_of_other_sites_get_nothing() {
    let server = start(Settings::default(), "memory:").await;
    let request = |head: &str| format!("{head}connection: close\r\ncontent-length: 0\r\n\r\n");
    let read = request("GET /v1/clusters HTTP/1.1\r\nhost: evil.example:8053\r\n");
    let answer = server.raw(read.as_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "unknown_host"));
    let write =
        request(&format!("DELETE {AGENT} HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n"));
    assert_eq!(server.raw(write.as_bytes()).await.code(), "cross_site");
    let preflight = server.ask("OPTIONS", AGENT, "origin: http://evil.example\r\n", "").await;
    assert_eq!(preflight.status, 405);
    assert!(!preflight.head.to_ascii_lowercase().contains("access-control"), "{}", preflight.head);
    for header in ["x-content-type-options: nosniff", "cache-control: no-store", "x-frame-options: deny"] {
        assert!(preflight.head.to_ascii_lowercase().contains(header), "{header} in {}", preflight.head);
    }
    server.end().await;
}

#[tokio::test]
async fn ten_thousand_junk_paths_make_one_metric() {
    let server = start(Settings::default(), "memory:").await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        for i in 0..10_000 {
            let request = format!("GET /junk/{i}/%2e%2e HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
            writer.write_all(request.as_bytes()).await.unwrap();
        }
        writer
            .write_all(b"GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
    };
    let receive = async {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
        String::from_utf8(all).unwrap()
    };
    let ((), all) = tokio::join!(send, receive);
    assert_eq!(all.matches("HTTP/1.1 404").count(), 10_000);
    assert_eq!(all.matches("HTTP/1.1 200").count(), 1);
    let text = server.telemetry.text().unwrap();
    assert!(text.contains("fingerpost_admin_requests_total{route=\"other\",status=\"404\"} 10000"), "{text}");
    assert!(!text.contains("junk"));
    let listed = server.get("/nowhere").await;
    assert!(
        listed.json()["error"]["hint"].as_str().unwrap().contains("GET /v1/clusters,"),
        "{}",
        listed.body
    );
    assert_eq!(server.ask("POST", "/live", "", "").await.code(), "wrong_method");
    server.end().await;
}

#[tokio::test]
async fn slow_and_oversized_requests_are_cut() {
    let settings = Settings { head_time: Duration::from_millis(100), ..Settings::default() };
    let server = start(settings, "memory:").await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /live HTT").await.unwrap();
    let mut rest = Vec::new();
    let cut = tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "a head that never ends is cut");
    let long = format!("GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    assert_eq!(server.raw(long.as_bytes()).await.status, 431);
    let many: String = (0..100).map(|i| format!("x{i}: y\r\n")).collect();
    assert_eq!(server.raw(format!("GET /live HTTP/1.1\r\n{many}\r\n").as_bytes()).await.status, 431);
    let lie =
        format!("PUT {AGENT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 99999999999\r\n\r\n{RECORD}");
    assert_eq!(server.raw(lie.as_bytes()).await.status, 413);
    assert_eq!(server.raw(b"\x16\x03\x01\x02\x00").await.status, 400);
    assert_eq!(server.get("/live").await.status, 200, "others are served on");
    server.end().await;
}
