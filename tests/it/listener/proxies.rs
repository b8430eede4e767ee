//! Groups by source address, directly and behind HAProxy; zones by network behind HAProxy.

use super::{OF_NONE, OF_ONE, OF_TWO, World, over_tls, plain};
use crate::support::{DEADLINE, Process, free_port, tool, wait_for};
use std::net::{SocketAddr, TcpStream};
use tempfile::TempDir;

/// HAProxy in TCP mode in front of `server`; where it listens.
fn haproxy(folder: &TempDir, server: SocketAddr, option: &str) -> (Process, SocketAddr) {
    let front = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let file = folder.path().join("haproxy.cfg");
    let text = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen front\n bind {front}\n server back {server} {option}\n"
    );
    std::fs::write(&file, text).unwrap();
    let process = Process::spawn("haproxy", tool("haproxy").arg("-db").arg("-f").arg(&file));
    wait_for("haproxy to listen", DEADLINE, || TcpStream::connect(front).is_ok());
    (process, front)
}

#[test]
fn an_agents_address_tells_its_group_if_it_is_one_groups_only() {
    let mut world = World::start(|_| vec!["group_by_source = true".to_owned()]);
    let server = world.server.kafka(0);
    assert_eq!(plain(server, "127.0.11.1"), OF_ONE);
    assert_eq!(plain(server, "127.0.12.2"), OF_TWO);
    assert_eq!(plain(server, "127.0.0.1"), OF_NONE, "nobody's");
    world.wait_count(&["fingerpost_kafka_group_refusals_total", "\"not_an_agent\""], 1.0);
    assert_eq!(plain(server, "127.0.13.1"), OF_NONE, "of two groups");
    world.wait_count(&["fingerpost_kafka_group_refusals_total", "\"several_groups\""], 1.0);
    // When the other group's agent is gone, it is one group's.
    world._redis.cli(&["DEL", "fingerpost:agent:{prod}:vpc_2:b3"]);
    wait_for("the address to be vpc-1's alone", DEADLINE, || plain(server, "127.0.13.1") == OF_ONE);
    world._redis.cli(&["DEL", "fingerpost:agent:{prod}:vpc-1:a1"]);
    wait_for("an agent that is gone to be nobody", DEADLINE, || plain(server, "127.0.11.1") == OF_NONE);
}

#[test]
fn behind_haproxy_the_clients_address_counts_and_not_the_proxys() {
    for option in ["send-proxy", "send-proxy-v2"] {
        let mut world = World::start(|certificates| {
            let proxied = "proxy_protocol = \"required\"\ntrusted_proxies = [\"127.0.0.1\"]\n";
            vec![
                proxied.to_owned() + "group_by_source = true",
                certificates.keys() + proxied + "group_by_sni = true",
            ]
        });
        let (server, secure, roots) = (world.server.kafka(0), world.server.kafka(1), world.roots());
        let folder = TempDir::new().unwrap();
        let (_haproxy, front) = haproxy(&folder, server, option);
        assert_eq!(plain(front, "127.0.11.2"), OF_ONE, "{option}");
        assert_eq!(plain(front, "127.0.12.1"), OF_TWO, "{option}");
        assert_eq!(plain(front, "127.0.21.7"), OF_NONE, "{option}");
        // Without a header, and from where none may be sent: an agent's own address does not help.
        assert_eq!(plain(server, "127.0.0.1"), OF_NONE);
        world.wait_count(&["fingerpost_proxy_refusals_total", "\"missing\""], 1.0);
        assert_eq!(plain(server, "127.0.11.1"), OF_NONE);
        world.wait_count(&["fingerpost_proxy_refusals_total", "\"untrusted\""], 1.0);
        let folder = TempDir::new().unwrap();
        let (_haproxy, front) = haproxy(&folder, secure, option);
        let (told, errors) =
            over_tls(front, &["-CAfile", &roots, "-servername", "a1.vpc-1.prod.kafka.example"]);
        assert_eq!(told, OF_ONE, "TLS behind the header: {errors}");
    }
}

/// Where HAProxy ends TLS, the name that it was asked for counts.
#[test]
fn a_name_that_a_trusted_proxy_passes_on_tells_the_group() {
    let mut world = World::start(|_| {
        let proxied = "proxy_protocol = \"required\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
        vec![proxied.to_owned() + "group_by_sni = true"]
    });
    let (server, roots) = (world.server.kafka(0), world.roots());
    let folder = TempDir::new().unwrap();
    let pem = ["kafka.pem", "kafka.key"]
        .map(|file| std::fs::read_to_string(world.folder.path().join(file)).unwrap());
    std::fs::write(folder.path().join("both.pem"), pem.concat()).unwrap();
    let front = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let file = folder.path().join("haproxy.cfg");
    let text = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen front\n bind {front} ssl crt {}\n\
         server back {server} send-proxy-v2 proxy-v2-options authority\n",
        folder.path().join("both.pem").display()
    );
    std::fs::write(&file, text).unwrap();
    let _haproxy = Process::spawn("haproxy", tool("haproxy").arg("-db").arg("-f").arg(&file));
    wait_for("haproxy to listen", DEADLINE, || TcpStream::connect(front).is_ok());
    for (name, wanted) in [("vpc-1", &OF_ONE[..]), ("b1.vpc-2", &OF_TWO), ("vpc-3", &OF_NONE)] {
        let name = format!("{name}.prod.kafka.example");
        let (told, errors) = over_tls(front, &["-CAfile", &roots, "-servername", &name]);
        assert_eq!(told, wanted, "{name}: {errors}");
    }
}

/// Each client has its own share of the connections, and its own zone.
#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_zone_and_share_are_the_clients() {
    use fingerpost::kafka::{self, Listener, ListenerSettings, Topics, static_catalog};
    use fingerpost::model::*;
    use fingerpost::net::proxy::{Mode, Networks, Settings};
    use fingerpost::telemetry::Telemetry;
    use std::sync::Arc;
    let (publisher, view) = fingerpost::view::channel();
    let (cluster, group) = (Cluster::parse("prod").unwrap(), GroupName::parse("vpc-1").unwrap());
    let source = Source::new("test", 0);
    let agents = [("a1", "us-east-1a"), ("a2", "us-east-1b")].map(|(id, zone)| {
        let record = Record {
            zone: Some(Zone::parse(zone).unwrap()),
            addresses: vec![[127, 0, 11, 1].into()],
            weight: 100,
            ..Record::default()
        };
        let agent = AgentId::parse(id).unwrap();
        let key = AgentKey { cluster: cluster.clone(), group: group.clone(), agent };
        let lease = Lease::new(Moment::from_millis(3_600_000), Arc::clone(&source));
        Arc::new(Agent { key, record: Arc::new(record), lease })
    });
    let mut edit = Fleet::default().edit();
    edit.put_group(Arc::new(Group::build(cluster.clone(), group.clone(), 1, agents.to_vec(), Vec::new())));
    edit.set_synced();
    publisher.publish(edit.finish());
    let catalog = static_catalog(&cluster, [("orders", 3)]).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let mut settings = ListenerSettings::new(address, cluster, group, Topics::Static(Arc::new(catalog)));
    settings.proxy = Some(Settings::new(Mode::Required, Networks::parse(["127.0.0.1"]).unwrap()));
    settings.limits.tcp.per_source = 1;
    let networks = "us-east-1a@127.0.21.0/24<>us-east-1b@127.0.22.0/24".parse().unwrap();
    settings.zones = Arc::new(fingerpost::placement::ZoneRules { networks, aliases: Vec::new() });
    let (telemetry, stop) = (Telemetry::new().unwrap(), tokio_util::sync::CancellationToken::new());
    let metrics = Arc::clone(&telemetry.kafka);
    let sources = kafka::gateway::Sources::new(view, &telemetry);
    let listener = Listener::bind(settings, sources).unwrap();
    let server = listener.address();
    let running = tokio::spawn(listener.run(stop.clone()));
    let talk = move || {
        let folder = TempDir::new().unwrap();
        let (_haproxy, front) = haproxy(&folder, server, "send-proxy-v2");
        for (from, zone) in [("127.0.21.7", "us-east-1a"), ("127.0.22.7", "us-east-1b")] {
            plain(front, from);
            wait_for(zone, DEADLINE, || metrics.placements_of(zone, "hit") == 1);
        }
        wait_for("the connections to end", DEADLINE, || metrics.open.get() == 0);
        let connect = |from: &str| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
            socket.connect(&front.into()).unwrap();
            TcpStream::from(socket)
        };
        let _first = connect("127.0.21.7");
        wait_for("the first connection", DEADLINE, || metrics.open.get() == 1);
        let _second = connect("127.0.21.7");
        wait_for("the second to be refused", DEADLINE, || metrics.closed_of("over_source_limit") == 1);
        plain(front, "127.0.22.7");
        assert_eq!(
            metrics.placements_of("us-east-1b", "hit"),
            1 + 1,
            "another client has a share of its own"
        );
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
    stop.cancel();
    running.await.unwrap();
}
