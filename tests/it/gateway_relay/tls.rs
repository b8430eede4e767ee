//! What stands before and behind the relay: TLS and the PROXY protocol, towards clients and towards the upstream.

use super::{METADATA, Relay, frame, has, reply, request};
use crate::support::{DEADLINE, Process, free_port, tool, wait_for};
use crate::tls::certificates::{Authority, Pair, put};
use fingerpost::clock;
use fingerpost::net::proxy::{Mode, Networks, Settings as Proxies};
use fingerpost::net::tls::{ClientCertificates, ClientSettings, ClientStream, ClientTls, ServerSettings};
use fingerpost::placement::ZoneRules;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The gateway's own group's names.
const NAMES: [&str; 2] = ["vpc-1.prod.kafka.example", "*.vpc-1.prod.kafka.example"];

/// A gateway with TLS, and what its clients must know.
struct Secure {
    relay: Relay,
    folder: TempDir,
    authority: Authority,
    pair: Pair,
}

impl Secure {
    fn start(change: impl FnOnce(&mut ServerSettings, &TempDir, &Authority)) -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new("Gateway Authority"));
        let pair = authority.server(folder.path(), "agent", &NAMES);
        let mut tls = ServerSettings::new(vec![pair.identity()]);
        change(&mut tls, &folder, &authority);
        let relay = Relay::with(|settings| {
            settings.tls = Some(tls);
            settings.reload = Duration::from_millis(50);
            settings.apexes = vec!["kafka.example".to_owned()];
        });
        Self { relay, folder, authority, pair }
    }

    fn trust(&self) -> ClientSettings {
        ClientSettings::new(self.authority.write(self.folder.path()))
    }

    /// A client of `name`, or why the handshake failed.
    fn connect(&self, settings: ClientSettings, name: &str) -> Result<Client, String> {
        let tls = ClientTls::load(settings, clock::wall()).unwrap();
        let connecting = async {
            let tcp = tokio::net::TcpStream::connect(self.relay.address).await.unwrap();
            tls.connect(tcp, name).await
        };
        let stream = self.relay._runtime.block_on(connecting).map_err(|error| error.to_string())?;
        Ok(Client { stream, runtime: self.relay._runtime.handle().clone() })
    }

    /// The upstream's end of the connection that was made for the last client.
    fn accept(&self) -> TcpStream {
        let (broker, _) = self.relay.upstream.accept().unwrap();
        broker.set_read_timeout(Some(DEADLINE)).unwrap();
        broker
    }

    fn handshakes(&self, outcome: &str) -> u64 {
        self.relay.telemetry.gateway.entry.handshakes_of(outcome)
    }
}

/// A client over TLS.
struct Client {
    stream: ClientStream<tokio::net::TcpStream>,
    runtime: tokio::runtime::Handle,
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.runtime.block_on(self.stream.write_all(bytes)).unwrap();
        self.runtime.block_on(self.stream.flush()).unwrap();
    }

    /// The next reply without its length; `None` when the connection was closed instead.
    fn reply(&mut self) -> Option<Vec<u8>> {
        let reading = async {
            let length = self.stream.read_u32().await.ok()?;
            let mut reply = vec![0; length as usize];
            self.stream.read_exact(&mut reply).await.unwrap();
            Some(reply)
        };
        let within = async { tokio::time::timeout(DEADLINE, reading).await };
        self.runtime.block_on(within).expect("a reply or an end")
    }

    fn certificate(&self) -> Vec<u8> {
        self.stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

/// Metadata goes out to the upstream and comes back rewritten.
#[track_caller]
fn works(client: &mut Client, broker: &mut TcpStream, correlation: i32) {
    let asked = request(3, 1, correlation, b"\xff\xff\0\0\0\0");
    client.send(&asked);
    assert_eq!(frame(broker), asked[4..]);
    broker.write_all(&reply(correlation, METADATA)).unwrap();
    let told = client.reply().unwrap();
    assert!(has(&told, b"10.0.1.7") && !has(&told, b"evil"), "{told:?}");
}

#[test]
fn large_requests_and_replies_pass_over_tls_whole() {
    let secure = Secure::start(|_, _, _| {});
    let mut client = secure.connect(secure.trust(), "a1.vpc-1.prod.kafka.example").unwrap();
    let mut broker = secure.accept();
    works(&mut client, &mut broker, 1);
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let sent = request(999, 0, 2, &body);
    let expected = sent[4..].to_vec();
    let echo = std::thread::spawn(move || {
        let came = frame(&mut broker);
        broker.write_all(&reply(2, &came[8..])).unwrap();
        (came, broker)
    });
    client.send(&sent);
    let back = client.reply().unwrap();
    let (came, mut broker) = echo.join().unwrap();
    assert!(came == expected && back[4..] == body, "{} {}", came.len(), back.len());
    // The farewell of TLS is half a close: replies still come, and then the end.
    client.send(&request(999, 0, 3, b"last"));
    secure.relay._runtime.block_on(client.stream.shutdown()).unwrap();
    assert_eq!(frame(&mut broker)[8..], *b"last");
    assert_eq!(broker.read(&mut [0]).unwrap(), 0);
    broker.write_all(&reply(3, b"answer")).unwrap();
    assert_eq!(client.reply().unwrap(), b"\0\0\0\x03answer");
    drop(broker);
    secure.relay.wait_closed("client", 1);
}

#[test]
fn who_asks_for_another_group_is_turned_away_and_who_asks_for_none_is_not() {
    let secure = Secure::start(|_, _, _| {});
    let mut turned_away = 0;
    let names = ["vpc-2.prod", "a1.vpc-2.prod", "az-x.vpc-2.prod", "vpc-1.test", "a1.vpc-1.test"];
    let ask = |name: &str, key, version, body: &[u8]| {
        // Whatever the certificate says: the client that comes astray may trust it all the same.
        let settings = ClientSettings { server_name: None, ..secure.trust() };
        let mut client = match secure.connect(settings, name) {
            Ok(client) => client,
            Err(refused) => panic!("{name}: {refused}"),
        };
        client.send(&request(key, version, 9, body));
        let first = client.reply();
        if first.is_some() && key == 3 {
            assert_eq!(secure.relay.telemetry.gateway.rewritten_of("Metadata"), 0);
        }
        first
    };
    // One certificate for all these names, so that the handshake succeeds.
    let all: Vec<String> = names.iter().map(|name| format!("{name}.kafka.example")).collect();
    let more: Vec<&str> = all.iter().map(String::as_str).chain(NAMES).chain(["localhost"]).collect();
    let wide = secure.authority.server(secure.folder.path(), "wide", &more);
    let before = secure.connect(secure.trust(), "vpc-1.prod.kafka.example").unwrap().certificate();
    put(&secure.pair.key, &std::fs::read_to_string(&wide.key).unwrap());
    put(&secure.pair.certificate, &std::fs::read_to_string(&wide.certificate).unwrap());
    wait_for("the wide certificate", DEADLINE, || {
        secure.connect(secure.trust(), "vpc-1.prod.kafka.example").unwrap().certificate() != before
    });
    for name in &all {
        assert_eq!(ask(name, 3, 1, b"\xff\xff\0\0\0\0"), None, "{name}: Metadata v1 closes");
        assert_eq!(ask(name, 0, 7, b"\xff\xff\xff\xff\0\x01"), None, "{name}: Produce closes");
        let versions = ask(name, 18, 0, b"\xff\xff").unwrap();
        assert_eq!(versions[..6], [0, 0, 0, 9, 0, 0], "{name}: ApiVersions is answered");
        let told = ask(name, 3, 13, b"\xff\xff\0\0\0\0\0").unwrap();
        let empty = b"\0\0\0\x09\0\0\0\0\0\x01\0\xff\xff\xff\xff\x01\0\x81\0";
        assert_eq!(told, empty, "{name}: REBOOTSTRAP_REQUIRED and nobody");
        turned_away += 4;
        secure.relay.wait_closed("misplaced", turned_away);
    }
    // None of them reached the broker: the next connection there is that of the next client that belongs here.
    secure.relay.upstream.set_nonblocking(true).unwrap();
    let mut stale = 0;
    while secure.relay.upstream.accept().is_ok() {
        stale += 1; // of the looks for the certificate
    }
    secure.relay.upstream.set_nonblocking(false).unwrap();
    assert!(stale > 0);
    for name in ["a1.vpc-1.prod.kafka.example", "localhost"] {
        let mut client = secure.connect(secure.trust(), name).unwrap();
        let mut broker = secure.accept();
        works(&mut client, &mut broker, 1);
    }
}

#[test]
fn a_required_certificate_is_required_and_none_is_asked_for_otherwise() {
    let secure = Secure::start(|tls, folder, authority| {
        tls.clients = ClientCertificates::Required(authority.write(folder.path()));
    });
    let name = "a1.vpc-1.prod.kafka.example";
    let mut client = secure.connect(secure.trust(), name).unwrap(); // in TLS 1.3 the client is done first
    assert!(client.reply().is_none());
    wait_for("the refusal", DEADLINE, || secure.handshakes("no_client_certificate") == 1);
    let stranger = Authority::new("Another").client(secure.folder.path(), "stranger");
    let settings = ClientSettings { identity: Some(stranger.identity()), ..secure.trust() };
    let mut client = secure.connect(settings, name).unwrap();
    assert!(client.reply().is_none());
    wait_for("the second refusal", DEADLINE, || secure.handshakes("bad_client_certificate") == 1);
    secure.relay.wait_closed("tls_handshake", 2);
    let orders = secure.authority.client(secure.folder.path(), "orders");
    let settings = ClientSettings { identity: Some(orders.identity()), ..secure.trust() };
    let mut client = secure.connect(settings, name).unwrap();
    let mut broker = secure.accept();
    works(&mut client, &mut broker, 1);
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let secure = Secure::start(|_, _, _| {});
    let name = "a1.vpc-1.prod.kafka.example";
    let mut old = secure.connect(secure.trust(), name).unwrap();
    let mut broker = secure.accept();
    works(&mut old, &mut broker, 1);
    let renewed = secure.authority.server(secure.folder.path(), "renewed", &NAMES);
    put(&secure.pair.key, &std::fs::read_to_string(&renewed.key).unwrap());
    put(&secure.pair.certificate, &std::fs::read_to_string(&renewed.certificate).unwrap());
    let mut next = None;
    wait_for("the new certificate", DEADLINE, || {
        let mut client = secure.connect(secure.trust(), name).unwrap();
        let mut broker = secure.accept();
        works(&mut client, &mut broker, 2);
        let is_new = client.certificate() != old.certificate();
        next = Some((client, broker));
        is_new
    });
    for correlation in 3..6 {
        works(&mut old, &mut broker, correlation);
        let (client, broker) = next.as_mut().unwrap();
        works(client, broker, correlation);
    }
}

#[test]
fn plain_text_at_a_gateway_with_tls_gets_no_byte() {
    let secure = Secure::start(|_, _, _| {});
    let mut plain = TcpStream::connect(secure.relay.address).unwrap();
    plain.set_read_timeout(Some(DEADLINE)).unwrap();
    plain.write_all(&request(18, 0, 1, b"\xff\xff")).unwrap();
    let mut all = Vec::new();
    let _ = plain.read_to_end(&mut all); // the end, or a reset of what was not read
    assert_eq!(all, b"");
    secure.relay.wait_closed("tls_handshake", 1);
    assert_eq!(secure.handshakes("not_tls"), 1);
}

/// HAProxy in TCP mode, with options of its own side and of the side behind it; where it listens.
fn haproxy(folder: &TempDir, bind: &str, behind: &str, option: &str) -> (Process, SocketAddr) {
    let front = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let file = folder.path().join("haproxy.cfg");
    let text = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen front\n bind {front} {bind}\n server back {behind} {option}\n"
    );
    std::fs::write(&file, text).unwrap();
    let process = Process::spawn("haproxy", tool("haproxy").arg("-db").arg("-f").arg(&file));
    wait_for("haproxy to listen", DEADLINE, || TcpStream::connect(front).is_ok());
    (process, front)
}

fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[test]
fn behind_haproxy_the_clients_address_tells_its_zone_and_the_upstream() {
    for option in ["send-proxy", "send-proxy-v2"] {
        let relay = Relay::with(|settings| {
            settings.proxy = Some(Proxies::new(Mode::Required, Networks::parse(["127.0.0.1"]).unwrap()));
            let networks = "az-1@127.0.51.0/24<>az-2@127.0.52.0/24".parse().unwrap();
            settings.zones = Arc::new(ZoneRules { networks, aliases: Vec::new() });
            settings.upstream_proxy = true;
        });
        let folder = TempDir::new().unwrap();
        let (_haproxy, front) = haproxy(&folder, "", &relay.address.to_string(), option);
        // What the wait for HAProxy connected comes first: it says nothing, so it may or may not have got here.
        for from in ["127.0.51.7", "127.0.52.7"] {
            let mut client = connect_from(from, front);
            let port = client.local_addr().unwrap().port();
            let asked = request(3, 1, 1, b"\xff\xff\0\0\0\0");
            client.write_all(&asked).unwrap();
            let mut broker = loop {
                let (mut broker, _) = relay.upstream.accept().unwrap();
                broker.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut header = [0; 28];
                broker.read_exact(&mut header).unwrap();
                assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
                if header[24..26] == port.to_be_bytes() {
                    let source: IpAddr = <[u8; 4]>::try_from(&header[16..20]).unwrap().into();
                    assert_eq!(source, from.parse::<IpAddr>().unwrap(), "{option}");
                    break broker;
                }
            };
            assert_eq!(frame(&mut broker), asked[4..]);
            broker.write_all(&reply(1, METADATA)).unwrap();
            assert!(has(&frame(&mut client), b"10.0.1.7"), "{option} {from}");
        }
        let metrics = &relay.telemetry.kafka;
        assert_eq!(metrics.placements_of("az-1", "hit"), 1, "{option}: the agent's own zone");
        assert_eq!(metrics.placements_of("other", "miss"), 1, "{option}: another zone");
        // Without a header, and from where none may be sent.
        for (from, reason) in [("127.0.0.1", "missing"), ("127.0.51.7", "untrusted")] {
            let mut client = connect_from(from, relay.address);
            let _ = client.write_all(&request(18, 0, 1, b"\xff\xff")); // it may be closed already
            let _ = client.read(&mut [0]); // the end, or a reset
            let refused = || relay.telemetry.gateway.entry.proxy_refusals_of(reason) == 1;
            wait_for(reason, DEADLINE, refused);
        }
        relay.wait_closed("proxy_header", 2);
    }
}

/// The upstream as a TLS server that asks for a certificate: its own must be of the authority and for the host, or for the
/// name that was given.
#[test]
fn the_upstreams_certificate_is_verified_and_ours_is_shown() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new("Upstream Authority"));
    let broker = authority.server(folder.path(), "broker", &["broker.internal"]);
    let ours = authority.client(folder.path(), "gateway");
    let roots = authority.write(folder.path());
    let both = folder.path().join("both.pem");
    let pem = [&broker.certificate, &broker.key].map(|file| std::fs::read_to_string(file).unwrap());
    std::fs::write(&both, pem.concat()).unwrap();
    let bind = format!("ssl crt {} ca-file {} verify required", both.display(), roots.display());
    let good = Some(ours.identity());
    for (name, identity, wanted) in [
        (Some("broker.internal"), good.clone(), true),
        (Some("broker.internal"), None, false),
        (Some("other.internal"), good.clone(), false),
        (None, good, false),
    ] {
        let mut running = None;
        let relay = Relay::with(|settings| {
            let (process, front) = haproxy(&folder, &bind, &settings.upstream, "");
            running = Some(process);
            settings.upstream = front.to_string();
            let mut tls = ClientSettings::new(&roots);
            tls.server_name = name.map(str::to_owned);
            tls.identity = identity.clone();
            settings.upstream_tls = Some(tls);
        });
        if wanted {
            let (mut client, mut broker) = relay.connect();
            let asked = request(3, 1, 5, b"\xff\xff\0\0\0\0");
            client.write_all(&asked).unwrap();
            assert_eq!(frame(&mut broker), asked[4..]);
            broker.write_all(&reply(5, METADATA)).unwrap();
            assert!(has(&frame(&mut client), b"10.0.1.7"));
            continue;
        }
        let mut client = TcpStream::connect(relay.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0, "{name:?}");
        let probe = relay._runtime.block_on(relay.control.upstream().probe());
        assert!(probe.is_err(), "{name:?}: the probe speaks TLS too");
        relay.upstream.set_nonblocking(true).unwrap();
        assert!(relay.upstream.accept().is_err(), "{name:?}: nothing came through");
    }
}
