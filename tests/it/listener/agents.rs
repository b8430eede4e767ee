//! A listener that relays, in this process, before agents that the test plays itself: which of them is connected to, and that
//! it is never one of another group.

use crate::support::{DEADLINE, wait_for};
use fingerpost::kafka::gateway::{Sources, agents};
use fingerpost::kafka::{Clients, Listener, ListenerSettings, Topics};
use fingerpost::model::*;
use fingerpost::telemetry::Telemetry;
use fingerpost::view::{self, Publisher};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// An agent that the test plays: it answers every request with its own name, and remembers the client ids that came.
struct Played {
    address: SocketAddr,
    met: Arc<Mutex<Vec<String>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Played {
    /// Listens at a free port of `ip`.
    fn start(ip: &str, name: &'static str) -> Self {
        let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (met, open) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let (seen, kept) = (Arc::clone(&met), Arc::clone(&open));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                kept.lock().unwrap().push(stream.try_clone().unwrap());
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || answer(stream, name, &seen));
            }
        });
        Self { address, met, open }
    }

    fn met(&self) -> Vec<String> {
        self.met.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, name: &str, met: &Mutex<Vec<String>>) {
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).unwrap();
        let id = &frame[10..10 + u16::from_be_bytes([frame[8], frame[9]]) as usize];
        met.lock().unwrap().push(String::from_utf8(id.to_vec()).unwrap());
        let reply = [&frame[4..8], name.as_bytes()].concat();
        let _ = stream.write_all(&[&(reply.len() as u32).to_be_bytes()[..], &reply].concat());
    }
}

/// A listener whose clients' group is told by their address: 127.0.61.x are of `a`, 127.0.62.x of `b`.
struct World {
    _runtime: Runtime,
    publisher: Publisher,
    address: SocketAddr,
    telemetry: Telemetry,
    stop: CancellationToken,
    source: Arc<Source>,
}

/// An agent of the fleet: group, id, zone, address, state.
type Member = (&'static str, &'static str, &'static str, SocketAddr, State);

impl World {
    fn start(clients: Clients) -> Self {
        let runtime = Runtime::new().unwrap();
        let _inside = runtime.enter();
        let (publisher, view) = view::channel();
        let telemetry = Telemetry::new().unwrap();
        let cluster = Cluster::parse("prod").unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let mut settings = ListenerSettings::new(any, cluster, clients, Topics::Registry);
        settings.agents = Some(agents::Settings::default());
        settings.limits.tcp.drain = Duration::from_secs(5);
        let sources = Sources::new(view, &telemetry);
        let listener = Listener::bind(settings, sources).unwrap();
        let (address, stop) = (listener.address(), CancellationToken::new());
        tokio::spawn(listener.run(stop.clone()));
        drop(_inside);
        Self {
            _runtime: runtime,
            publisher,
            address,
            telemetry,
            stop,
            source: Source::new("test", 3_600_000),
        }
    }

    /// Makes these, and nobody else, the fleet.
    fn publish(&self, members: &[Member]) {
        let mut edit = self.publisher.current().edit();
        let (cluster, version) = (Cluster::parse("prod").unwrap(), edit.generation());
        for name in ["a", "b"] {
            let group = GroupName::parse(name).unwrap();
            let agents =
                members.iter().filter(|member| member.0 == name).map(|(_, id, zone, address, state)| {
                    let record = Record {
                        zone: Some(Zone::parse(zone).unwrap()),
                        addresses: vec![address.ip()],
                        ports: [(Label::parse("kafka").unwrap(), address.port())].into(),
                        state: *state,
                        weight: 100,
                        ..Record::default()
                    };
                    let agent = AgentId::parse(id).unwrap();
                    let key = AgentKey { cluster: cluster.clone(), group: group.clone(), agent };
                    let lease = Lease::new(Moment::from_millis(u64::MAX / 2), Arc::clone(&self.source));
                    Arc::new(Agent { key, record: Arc::new(record), lease })
                });
            let agents = agents.collect();
            edit.put_group(Arc::new(Group::build(
                cluster.clone(),
                group.clone(),
                version,
                agents,
                Vec::new(),
            )));
        }
        edit.set_synced();
        self.publisher.publish(edit.finish());
    }

    fn closed(&self, reason: &str) -> u64 {
        self.telemetry.kafka.closed_of(reason)
    }

    #[track_caller]
    fn wait_closed(&self, reason: &str, count: u64) {
        wait_for(&format!("{count} closed for {reason}"), DEADLINE, || self.closed(reason) == count);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Asks something that nobody knows; who answered, if anybody did.
fn ask(stream: &mut TcpStream, client_id: &str) -> Option<String> {
    let mut request = b"\x03\xe7\0\0\0\0\0\x01".to_vec();
    request.extend((client_id.len() as u16).to_be_bytes());
    request.extend(client_id.as_bytes());
    stream.write_all(&[&(request.len() as u32).to_be_bytes()[..], &request].concat()).ok()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut reply = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut reply).ok()?;
    Some(String::from_utf8(reply[4..].to_vec()).unwrap())
}

fn group_a() -> Clients {
    Clients::Of(GroupName::parse("a").unwrap())
}

const READY: State = State::Ready;

#[test]
fn a_client_gets_an_agent_of_its_zone_and_another_where_that_cannot_be_reached() {
    let world = World::start(group_a());
    let (near, far) = (Played::start("127.0.0.1", "near"), Played::start("127.0.0.1", "far"));
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.publish(&[("a", "n", "az-1", near.address, READY), ("a", "f", "az-2", far.address, READY)]);
    for n in 0..20 {
        let mut one = connect("127.0.0.1", world.address);
        assert_eq!(ask(&mut one, &format!("ws_az=az-1,c{n}")).as_deref(), Some("near"));
        let mut other = connect("127.0.0.1", world.address);
        assert_eq!(ask(&mut other, &format!("ws_az=az-2,c{n}")).as_deref(), Some("far"));
        assert_eq!(ask(&mut other, "ws_az=az-1,moved").as_deref(), Some("far"), "once a connection");
    }
    let told: Vec<String> =
        (0..40).filter_map(|_| ask(&mut connect("127.0.0.1", world.address), "unaware")).collect();
    assert!(told.len() == 40 && told.contains(&"near".to_owned()) && told.contains(&"far".to_owned()));
    // Its zone's agent can't be reached: the next one.
    world.publish(&[("a", "n", "az-1", dead, READY), ("a", "f", "az-2", far.address, READY)]);
    assert_eq!(ask(&mut connect("127.0.0.1", world.address), "ws_az=az-1,x").as_deref(), Some("far"));
    // None can: the end, after three.
    let members: Vec<Member> =
        ["1", "2", "3", "4", "5"].iter().map(|id| ("a", *id, "az-1", dead, READY)).collect();
    world.publish(&members);
    let failed = || world.telemetry.gateway.upstream_errors_of("connect");
    let before = failed();
    assert_eq!(ask(&mut connect("127.0.0.1", world.address), "x"), None);
    world.wait_closed("no_agent", 1);
    assert_eq!(failed() - before, 3);
}

#[test]
fn nobody_is_connected_to_before_the_first_request() {
    let world = World::start(group_a());
    let agent = Played::start("127.0.0.1", "agent");
    world.publish(&[("a", "x", "az-1", agent.address, READY)]);
    let mut silent = connect("127.0.0.1", world.address);
    silent.write_all(b"\0\0\0").unwrap();
    drop(silent);
    world.wait_closed("client", 1);
    assert_eq!(agent.open.lock().unwrap().len(), 0, "a port check costs an agent nothing");
    assert_eq!(ask(&mut connect("127.0.0.1", world.address), "x").as_deref(), Some("agent"));
}

#[test]
fn an_agent_that_drains_or_goes_takes_its_relayed_connections_with_it() {
    let world = World::start(group_a());
    let agent = Played::start("127.0.0.1", "agent");
    for (next, reason) in [(Some(State::Draining), "drained"), (None, "upstream_lost")] {
        world.publish(&[("a", "x", "az-1", agent.address, READY)]);
        let mut client = connect("127.0.0.1", world.address);
        assert_eq!(ask(&mut client, "x").as_deref(), Some("agent"));
        match next {
            Some(state) => world.publish(&[("a", "x", "az-1", agent.address, state)]),
            None => world.publish(&[]),
        }
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        world.wait_closed(reason, 1);
        assert_eq!(ask(&mut connect("127.0.0.1", world.address), "x"), None, "and nobody else is there");
    }
    world.wait_closed("no_agent", 2);
}

#[test]
fn a_stop_lets_what_is_in_flight_finish() {
    let world = World::start(group_a());
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    world.publish(&[("a", "x", "az-1", slow.local_addr().unwrap(), READY)]);
    let mut client = connect("127.0.0.1", world.address);
    let asking = std::thread::spawn(move || (ask(&mut client, "x"), client.read(&mut [0]).unwrap()));
    let (mut agent, _) = slow.accept().unwrap();
    let mut request = [0; 15];
    agent.read_exact(&mut request).unwrap();
    world.stop.cancel();
    agent.write_all(b"\0\0\0\x08\0\0\0\x01done").unwrap();
    assert_eq!(asking.join().unwrap(), (Some("done".to_owned()), 0));
    world.wait_closed("drained", 1);
}

/// The fleets that the hunt goes through: of two agents each of `a` and `b`, and of one address that both claim. Beside them
/// are agents from whose addresses the clients come.
fn fleets(own: &[&Played; 4], shared: &Played) -> Vec<Vec<Member>> {
    let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 1);
    let beside: [Member; 2] = [
        ("a", "beside", "az-1", at("127.0.61.9"), State::Draining),
        ("b", "beside", "az-1", at("127.0.62.9"), State::Draining),
    ];
    let full: [Member; 4] = [
        ("a", "1", "az-1", own[0].address, READY),
        ("a", "2", "az-2", own[1].address, READY),
        ("b", "1", "az-1", own[2].address, READY),
        ("b", "2", "az-2", own[3].address, READY),
    ];
    let both: [Member; 2] =
        [("a", "3", "az-1", shared.address, READY), ("b", "3", "az-1", shared.address, READY)];
    vec![
        [&beside[..], &full].concat(),
        beside.to_vec(),                    // both empty
        [&beside[..], &full[2..]].concat(), // a empty
        [&beside[..], &full[..2]].concat(), // b empty
        [&beside[..], &both].concat(),      // one address, two groups: nobody's
        [&beside[..], &full[..2], &both].concat(),
        [&beside[..], &full, &both].concat(),
        beside.iter().copied().chain(full.map(|m| (m.0, m.1, m.2, m.3, State::Draining))).collect(),
    ]
}

/// While groups empty, fill, drain, swap their agents' addresses and are stale, four clients of each connect as fast as they
/// can. Nobody ever meets an agent that was not of its own group at that moment or just before.
#[test]
fn no_client_ever_meets_another_groups_agent() {
    let (a1, a2) = (Played::start("127.0.61.1", "a"), Played::start("127.0.61.2", "a"));
    let (b1, b2) = (Played::start("127.0.62.1", "b"), Played::start("127.0.62.2", "b"));
    // Listens for both, one after the other: whoever comes there is only ever the one who has it alone.
    let shared = Played::start("127.0.63.1", "shared");
    // Clients connect from the addresses of agents, which tell their group.
    let world = World::start(Clients::Any { apexes: Vec::new(), source: true });
    let states = fleets(&[&a1, &a2, &b1, &b2], &shared);
    world.publish(&states[0]);
    let (done, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for (from, group) in [("127.0.61.9", "a"), ("127.0.62.9", "b")] {
            for n in 0..4 {
                let (done, served, to) = (&done, &served, world.address);
                scope.spawn(move || {
                    let id = format!("{group}-{n},ws_az=az-{}", n % 3);
                    while !done.load(Ordering::Relaxed) {
                        let mut client = connect(from, to);
                        if let Some(who) = ask(&mut client, &id) {
                            assert_eq!(who, group);
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        }
        let mut round = 0;
        while served.load(Ordering::Relaxed) < 2_000 && !done.load(Ordering::Relaxed) {
            round += 1;
            world.publish(&states[round % states.len()]);
            std::thread::sleep(Duration::from_millis(3));
            assert!(round < 20_000, "{} served", served.load(Ordering::Relaxed));
        }
        done.store(true, Ordering::Relaxed);
    });
    for (agent, group) in [(&a1, "a"), (&a2, "a"), (&b1, "b"), (&b2, "b")] {
        let met = agent.met();
        assert!(!met.is_empty() && met.iter().all(|id| id.starts_with(group)), "{group}: {met:?}");
    }
    assert_eq!(shared.met(), Vec::<String>::new(), "an address of two groups is nobody's");
    assert_eq!(shared.open.lock().unwrap().len(), 0);
    assert!(world.closed("no_agent") > 0, "there were moments without an agent");
    // The registry is lost: the last fleet holds. Another group's agents are no help to an empty one.
    world.publish(&states[2]);
    world.source.freeze(Moment::from_millis(1));
    assert_eq!(ask(&mut connect("127.0.61.9", world.address), "a-late"), None);
    assert_eq!(ask(&mut connect("127.0.62.9", world.address), "b-late").as_deref(), Some("b"));
}
