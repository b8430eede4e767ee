//! The gateway's relay against an upstream that the test plays itself: order, requests without replies, hostile peers,
//! bounds.

mod tls;

use crate::support::{DEADLINE, wait_for};
use fingerpost::clock::Clock;
use fingerpost::kafka::gateway::{Control, Gateway, Limits, Phase, Settings, Sources};
use fingerpost::model::{
    Agent, AgentId, AgentKey, Cluster, Fleet, Group, GroupName, Lease, Moment, Record, Source, Zone,
};
use fingerpost::telemetry::Telemetry;
use fingerpost::view::{self, Publisher};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// A gateway in this process, and the upstream's socket, which the test serves.
struct Relay {
    _runtime: Runtime,
    _publisher: Publisher,
    upstream: TcpListener,
    address: SocketAddr,
    control: Control,
    telemetry: Telemetry,
    stop: CancellationToken,
}

impl Relay {
    fn start(limits: Limits) -> Self {
        Self::with(|settings| settings.limits = limits)
    }

    /// A gateway with other settings than the usual.
    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let runtime = Runtime::new().unwrap();
        let _inside = runtime.enter();
        let (publisher, view) = view::channel();
        let telemetry = Telemetry::new().unwrap();
        let (cluster, group) = (Cluster::parse("prod").unwrap(), GroupName::parse("vpc-1").unwrap());
        let agents = [("a1", 7), ("a2", 8)].map(|(agent, host)| {
            let agent = AgentId::parse(agent).unwrap();
            let key = AgentKey { cluster: cluster.clone(), group: group.clone(), agent };
            let record = Record {
                zone: Some(Zone::parse("az-1").unwrap()),
                addresses: vec![[10, 0, 1, host].into()],
                weight: 100,
                ..Record::default()
            };
            let lease = Lease::new(Moment::from_millis(u64::MAX / 2), Source::new("test", 0));
            Arc::new(Agent { key, record: Arc::new(record), lease })
        });
        let agents = agents.to_vec();
        let mut edit = Fleet::default().edit();
        edit.put_group(Arc::new(Group::build(cluster.clone(), group.clone(), 1, agents, Vec::new())));
        edit.set_synced();
        publisher.publish(edit.finish());
        let address = "127.0.0.1:0".parse().unwrap();
        let mut settings = Settings::new(address, upstream.local_addr().unwrap().to_string(), cluster, group);
        settings.agent = Some(AgentId::parse("a1").unwrap());
        change(&mut settings);
        let sources = Sources {
            view,
            clock: Clock::machine(),
            placement: fingerpost::kafka::placement(),
            kafka: Arc::clone(&telemetry.kafka),
            metrics: Arc::clone(&telemetry.gateway),
        };
        let gateway = Gateway::bind(settings, sources).unwrap();
        let (address, control, stop) = (gateway.address(), gateway.control(), CancellationToken::new());
        tokio::spawn(gateway.run(stop.clone()));
        drop(_inside);
        Self { _runtime: runtime, _publisher: publisher, upstream, address, control, telemetry, stop }
    }

    /// A client's end, and the upstream's end of the same connection.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.address).unwrap();
        let (broker, _) = self.upstream.accept().unwrap();
        for stream in [&client, &broker] {
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
        }
        (client, broker)
    }

    fn wait_closed(&self, reason: &str, count: u64) {
        let metrics = &self.telemetry.gateway;
        wait_for(&format!("{count} closed for {reason}"), DEADLINE, || metrics.closed_of(reason) == count);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as i32).to_be_bytes()[..], body].concat()
}

fn request(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let head = [&key.to_be_bytes()[..], &version.to_be_bytes(), &correlation.to_be_bytes(), body].concat();
    framed(&head)
}

fn reply(correlation: i32, body: &[u8]) -> Vec<u8> {
    framed(&[&correlation.to_be_bytes()[..], body].concat())
}

fn frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).unwrap();
    frame
}

/// Metadata v1 without topics, as an upstream at `evil.example` answers it.
const METADATA: &[u8] = b"\0\0\0\x01\0\0\0\x05\0\x0cevil.example\0\0\x23\x84\xff\xff\0\0\0\x05\0\0\0\0";

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|part| part == wanted)
}

#[test]
fn replies_keep_their_order_and_produce_without_acks_has_none() {
    let relay = Relay::start(Limits::default());
    let (mut client, mut broker) = relay.connect();
    let sent = [
        request(3, 1, 1, b"\xff\xff\0\0\0\0"),
        request(0, 7, 2, b"\xff\xff\xff\xff\0\0rest of a produce request with acks 0"),
        request(0, 11, 3, b"\xff\xff\0\0\0\0acks 0 too, where the reply would be walked over"),
        request(999, 7, 4, b"an API that nobody knows"),
        request(18, 5, 5, b"\xff\xff\0\x01\x01\0"),
        request(3, 1, 6, b"\xff\xff\0\0\0\0"),
    ];
    client.write_all(&sent.concat()).unwrap();
    for (n, sent) in sent.iter().enumerate() {
        let came = frame(&mut broker);
        if n == 4 {
            assert_eq!(came, [0, 18, 0x7f, 0xff, 0, 0, 0, 5, 0xff, 0xff, 0], "a version that nobody knows");
        } else {
            assert_eq!(came, sent[4..]);
        }
    }
    let versions = b"\0\0\0\0\0\x02\0\x12\0\0\0\x05\0\x03\0\0\0\x0c";
    let answers = [reply(1, METADATA), reply(4, b"opaque"), reply(5, versions), reply(6, METADATA)].concat();
    for byte in answers.chunks(3) {
        broker.write_all(byte).unwrap();
        broker.flush().unwrap();
    }
    let first = frame(&mut client);
    assert!(first.starts_with(&[0, 0, 0, 1]) && has(&first, b"10.0.1.7") && has(&first, b"10.0.1.8"));
    assert!(!has(&first, b"evil"));
    assert_eq!(frame(&mut client), b"\0\0\0\x04opaque");
    assert_eq!(frame(&mut client), [0, 0, 0, 5, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    assert!(frame(&mut client).starts_with(&[0, 0, 0, 6]));
    assert_eq!(relay.telemetry.gateway.rewritten_of("Metadata"), 2);
}

#[test]
fn an_agent_that_leaves_sends_members_of_other_coordinators_on_and_nobody_else() {
    let relay = Relay::start(Limits::default());
    let (mut client, mut broker) = relay.connect();
    let name = |group: &str| [&(group.len() as i16).to_be_bytes()[..], group.as_bytes()].concat();
    let mut exchange = |request: Vec<u8>, answer: Vec<u8>| {
        client.write_all(&request).unwrap();
        assert_eq!(frame(&mut broker), request[4..]);
        broker.write_all(&answer).unwrap();
        frame(&mut client)
    };
    let groups: Vec<String> = (0..12).map(|n| format!("group-{n}")).collect();
    let mut coordinated = |group: &String| {
        let find = request(10, 1, 1, &[b"\xff\xff", &name(group)[..], b"\0"].concat());
        let found = b"\0\0\0\0\0\0\xff\xff\0\0\0\x05\0\x0cevil.example\0\0\x23\x84";
        let told = exchange(find, reply(1, found));
        assert!(has(&told, b"10.0.1.7") != has(&told, b"10.0.1.8"));
        has(&told, b"10.0.1.7")
    };
    let here: Vec<bool> = groups.iter().map(&mut coordinated).collect();
    assert!(here.contains(&true) && here.contains(&false));
    for phase in [Phase::Serving, Phase::Draining, Phase::Leaving, Phase::Serving] {
        relay.control.set_phase(phase);
        for (group, here) in groups.iter().zip(&here) {
            let beat = |code: u8| {
                let asked =
                    request(12, 1, 2, &[b"\xff\xff", &name(group)[..], b"\0\0\0\x07\0\x01m"].concat());
                (asked, reply(2, &[0, 0, 0, 0, 0, code]))
            };
            let moves = phase != Phase::Serving && !here;
            for (said, told) in [(0, if moves { 16 } else { 0 }), (27, 27)] {
                let (asked, answer) = beat(said);
                assert_eq!(exchange(asked, answer), [0, 0, 0, 2, 0, 0, 0, 0, 0, told], "{phase:?} {group}");
            }
        }
    }
    let moved = 2 * here.iter().filter(|here| !**here).count() as u64;
    assert_eq!(relay.telemetry.gateway.rewritten_of("Heartbeat"), moved);
}

#[test]
fn half_a_close_lets_replies_come_and_a_lost_upstream_closes_at_once() {
    let relay = Relay::start(Limits::default());
    let (mut client, mut broker) = relay.connect();
    client.write_all(&request(999, 0, 1, b"x")).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(frame(&mut broker), b"\x03\xe7\0\0\0\0\0\x01x");
    assert_eq!(broker.read(&mut [0]).unwrap(), 0, "the end is passed on");
    broker.write_all(&reply(1, b"late")).unwrap();
    drop(broker);
    assert_eq!(frame(&mut client), b"\0\0\0\x01late");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    relay.wait_closed("client", 1);

    let (mut client, _held) = relay.connect();
    wait_for("the connection", DEADLINE, || relay.telemetry.gateway.open.get() == 1);
    relay.control.upstream().declare_lost();
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    relay.wait_closed("upstream_lost", 1);
}

#[test]
fn hostile_upstreams_and_clients_lose_their_connection_and_nobody_elses() {
    let relay = Relay::start(Limits::default());
    let (mut healthy, mut healthy_broker) = relay.connect();
    let huge = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1];
    let bad: [(&[u8], &str); 6] = [
        (&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1], "upstream_unreadable"),
        (&[0, 0, 0, 3, 0, 0, 0, 1], "upstream_unreadable"),
        (&huge, "rewrite"),
        (b"\0\0\0\x08\0\0\0\x01\x7f\xff\xff\xff", "rewrite"),
        (b"\0\0\0\x0a\0\0\0\x01\0\0\0\x01ab", "rewrite"),
        (b"\0\0\0\x04\0\0\0\x01", "rewrite"),
    ];
    for (n, (answer, _)) in bad.iter().enumerate() {
        let (mut client, mut broker) = relay.connect();
        client.write_all(&request(3, 1, 1, b"\xff\xff\0\0\0\0")).unwrap();
        frame(&mut broker);
        broker.write_all(answer).unwrap();
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{n}: {rest:?}");
    }
    relay.wait_closed("upstream_unreadable", 2);
    relay.wait_closed("rewrite", 4);
    let requests = [
        request(17, 0, 1, b"\xff\xff\0\x05PLAIN"),
        request(3, 99, 1, b""),
        framed(&[1, 2, 3]),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        [request(3, 1, 9, b"\xff\xff\0\0\0\0"), request(3, 1, 9, b"\xff\xff\0\0\0\0")].concat(),
    ];
    for request in &requests[..3] {
        let (mut client, _broker) = relay.connect();
        client.write_all(request).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0, "{request:?}");
    }
    let (mut client, _broker) = relay.connect();
    client.write_all(&requests[4]).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0, "one correlation id for two requests");
    relay.wait_closed("refused", 4);
    healthy.write_all(&request(999, 0, 1, b"still here")).unwrap();
    assert!(has(&frame(&mut healthy_broker), b"still here"));
}

#[test]
fn who_does_not_read_is_waited_for_and_then_cut() {
    let limits = Limits { stall: Duration::from_millis(500), ..Limits::default() };
    let relay = Relay::start(limits);
    let (mut client, mut broker) = relay.connect();
    client.write_all(&request(1, 4, 1, b"\xff\xff")).unwrap();
    frame(&mut broker);
    let mut reader = client.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let chunk = vec![7; 1 << 20];
        let _ = broker.write_all(&(300i32 << 20).to_be_bytes());
        let _ = broker.write_all(&1i32.to_be_bytes());
        (0..300).take_while(|_| broker.write_all(&chunk).is_ok()).count()
    });
    relay.wait_closed("client_stalled", 1);
    assert!(writer.join().unwrap() < 100, "what nobody takes is not taken from the upstream");
    let _ = reader.read(&mut [0; 16]);
}

#[test]
fn awaited_replies_are_bounded_and_the_client_waits_for_room() {
    let relay = Relay::start(Limits::default());
    let (mut client, mut broker) = relay.connect();
    let count = 1_000;
    let sender = std::thread::spawn(move || {
        for n in 0..count {
            client.write_all(&request(3, 1, n, b"\xff\xff\0\0\0\0")).unwrap();
        }
        (0..count).for_each(|n| assert!(frame(&mut client).starts_with(&n.to_be_bytes())));
    });
    wait_for("the bound", DEADLINE, || relay.telemetry.gateway.pending_full.get() > 0);
    for n in 0..count {
        assert!(frame(&mut broker)[4..].starts_with(&n.to_be_bytes()));
        broker.write_all(&reply(n, METADATA)).unwrap();
    }
    sender.join().unwrap();
}
