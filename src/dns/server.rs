//! The DNS server: binds every socket at once, then answers on a thread per UDP worker and a task per connection.

use super::answer::Rules;
use super::dnssec::Signer;
use super::encrypted::{self, Fronts};
use super::live::Live;
use super::policy::Policy;
use super::respond::Responder;
use super::tcp;
use super::transfer::{self, Switch};
use super::tsig::Keys;
use super::udp::{SIZES, Worker};
use super::zones::Zones;
use crate::clock::Clock;
use crate::limits::dns as limits;
use crate::net::{self, Sockets, UdpSockets};
use crate::telemetry::dns::Metrics;
use crate::view::View;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a server is made of.
#[derive(Debug)]
pub struct Settings {
    /// Where sockets come from.
    pub sockets: Sockets,
    /// Where it listens, over UDP and TCP alike. Port 0 takes any port that is free for both.
    pub listen: Vec<SocketAddr>,
    /// UDP workers of each address, a thread each; 0: one for each processor.
    pub workers: usize,
    /// The zones, from [`Zones::load`].
    pub zones: Zones,
    /// How dynamic names are answered.
    pub rules: Rules,
    /// How we speak.
    pub policy: Policy,
    /// Patience with TCP peers.
    pub tcp: tcp::Settings,
    /// Keys that queries may be signed with.
    pub keys: Keys,
    /// Secondaries that copy zones; `None`: nobody may.
    pub transfers: Option<transfer::Settings>,
    /// What signs answers, if any zone is signed.
    pub signer: Option<Arc<Signer>>,
    /// What is served over TLS and HTTPS.
    pub encrypted: encrypted::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sockets: Sockets::default(),
            listen: Vec::new(),
            workers: limits::WORKERS.default,
            zones: Zones::default(),
            rules: Rules::default(),
            policy: Policy::default(),
            tcp: tcp::Settings::default(),
            keys: Keys::default(),
            transfers: None,
            signer: None,
            encrypted: encrypted::Settings::default(),
        }
    }
}

impl Settings {
    /// What queries are answered from: made at the start, and again at each reload. Fails if a setting lies outside
    /// its bound.
    pub fn responder(self) -> Result<Responder, Error> {
        check(&self)?;
        if let Some(transfers) = &self.transfers {
            transfers.suspend(&self.zones);
        }
        let responder = Responder::new(self.zones, self.rules).with_policy(self.policy);
        Ok(responder.with_keys(self.keys).with_signer(self.signer))
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another program has the address: choose another, or end that program.
    #[error("DNS cannot listen on {address} ({transport}): it is in use{hint}", hint = in_use_hint(*.address))]
    InUse {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        transport: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// We may not have the address: choose another, or give the right to it.
    #[error(
        "DNS cannot listen on {address} ({transport}): not permitted; ports below 1024 need the capability \
         CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE) or a port above 1023"
    )]
    NotPermitted {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        transport: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address cannot be listened on for another reason, such as being no address of this machine.
    #[error("DNS cannot listen on {address} ({transport}): is it an address of this machine?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        transport: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A front of encrypted DNS can't be had.
    #[error(transparent)]
    Encrypted(#[from] encrypted::Error),
    /// A setting lies outside its bound.
    #[error("DNS setting {name} is {value}, it must lie between {min} and {max}")]
    Setting {
        /// Which.
        name: &'static str,
        /// What it is.
        value: u64,
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
    },
}

fn in_use_hint(address: SocketAddr) -> &'static str {
    if address.port() != 53 {
        return "; end the program that has it (`ss -lnup`, `ss -lntp`) or listen elsewhere";
    }
    "; on port 53 it is often systemd-resolved, which holds 127.0.0.53 and 127.0.0.54: listen on the machine's own \
     address instead of a wildcard, or set DNSStubListener=no in /etc/systemd/resolved.conf (`ss -lnup sport = :53` \
     names the program)"
}

/// A server whose sockets are bound and that answers as soon as it runs.
#[derive(Debug)]
pub struct Server {
    live: Live,
    view: View,
    clock: Clock,
    metrics: Metrics,
    tcp: tcp::Settings,
    transfers: Switch,
    places: Vec<Place>,
    encrypted: Fronts,
}

/// One address with all its sockets.
#[derive(Debug)]
struct Place {
    address: SocketAddr,
    udp: UdpSockets,
    tcp: TcpListener,
}

impl Server {
    /// Binds every socket. To be called within a tokio runtime.
    pub fn bind(settings: Settings, view: View, clock: Clock, metrics: &Metrics) -> Result<Self, Error> {
        let workers = match settings.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            some => some,
        };
        let (listen, tcp, sockets) = (settings.listen.clone(), settings.tcp, settings.sockets.clone());
        let transfers = Switch::new(settings.transfers.clone());
        let encrypted = settings.encrypted.clone();
        let live = Live::new(settings.responder()?);
        let places = listen.iter().map(|address| Place::bind(&sockets, *address, workers));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let encrypted = Fronts::bind(&encrypted, &sockets)?;
        Ok(Self { live, view, clock, metrics: metrics.clone(), tcp, transfers, places, encrypted })
    }

    /// What queries are answered from, to be replaced while the server runs.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Who copies zones, to be replaced while the server runs, after [`Server::live`].
    pub fn transfers(&self) -> Switch {
        self.transfers.clone()
    }

    /// The bound addresses, in the order of the settings; UDP and TCP have the same.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.places.iter().map(|place| place.address).collect()
    }

    /// The bound addresses of DNS over TLS, and of DNS over HTTPS.
    pub fn encrypted_addresses(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        self.encrypted.addresses()
    }

    /// Answers until `stop`; returns when all workers and connections have ended.
    pub async fn run(self, stop: CancellationToken) {
        let halt = Arc::new(AtomicBool::new(false));
        let tasks = TaskTracker::new();
        let mut ended = Vec::new();
        let (live, view, clock) = (self.live.clone(), self.view.clone(), self.clock.clone());
        let metrics = Arc::clone(&self.metrics.transfer);
        tasks.spawn(self.transfers.clone().run(live, view, clock, metrics, stop.clone()));
        let context = tcp::Context {
            live: self.live.clone(),
            view: self.view.clone(),
            clock: self.clock.clone(),
            counters: self.metrics.shared(),
            settings: self.tcp,
            transfers: self.transfers.clone(),
            over: tcp::Over::Tcp,
        };
        self.encrypted.run(&context, &self.metrics, &tasks, &stop);
        for Place { address, udp, tcp } in self.places {
            let end = udp.end;
            for (number, socket) in udp.sockets.into_iter().enumerate() {
                let counters = self.metrics.worker();
                let worker = Worker::new(
                    self.live.clone(),
                    self.view.clone(),
                    self.clock.clone(),
                    counters,
                    fastrand::Rng::new(),
                );
                let name = format!("dns-udp-{number}");
                ended.push(spawn(name, socket, Arc::clone(&halt), end, worker));
            }
            let context = context.clone();
            let counts = Arc::new(net::tcp::Counts::default());
            self.metrics.listener(Arc::clone(&counts));
            tracing::info!(%address, "DNS is answering");
            let serve = net::tcp::serve(
                tcp,
                self.tcp.connections,
                counts,
                stop.clone(),
                move |stream, peer, stop| tcp::serve(stream, peer.ip(), context.clone(), stop),
            );
            tasks.spawn(serve);
        }
        tasks.spawn(keep_signed(self.live.clone(), self.metrics.clone(), stop.clone()));
        stop.cancelled().await;
        halt.store(true, Ordering::Relaxed);
        tasks.close();
        tasks.wait().await;
        for worker in ended {
            // An error means that the thread is gone without a word, which is what we wait for.
            let _ = worker.await;
        }
    }
}

/// Renews signatures and lets keys take turns until `stop`.
async fn keep_signed(live: Live, metrics: Metrics, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(crate::limits::dnssec::TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let Some(signer) = live.load().signer().map(Arc::clone) else { continue };
        let metrics = metrics.signing();
        // It reads files and signs: not for a thread that others wait for.
        if tokio::task::spawn_blocking(move || signer.tick(&metrics)).await.is_err() {
            tracing::error!("keeping the zones signed failed; it is tried again");
        }
    }
}

/// Starts a worker's thread; the receiver resolves when it has ended.
fn spawn(
    name: String,
    socket: UdpSocket,
    halt: Arc<AtomicBool>,
    end: net::udp::End,
    mut worker: Worker,
) -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
        let _ended = ended;
        if let Err(error) = net::udp::serve(&socket, SIZES, &halt, end, &mut worker) {
            tracing::error!(%error, "a DNS worker ended: its socket cannot be used");
        }
    });
    if let Err(error) = thread {
        tracing::error!(%error, name, "a DNS worker cannot start: check the limit of threads");
    }
    receiver
}

impl Place {
    fn bind(sockets: &Sockets, address: SocketAddr, workers: usize) -> Result<Self, Error> {
        let mut tries = if address.port() == 0 { limits::PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            // TCP first: its port 0 gives a port that UDP is then asked for.
            let tcp = sockets.tcp(address).map_err(|error| explain(address, "TCP", error))?;
            let bound = tcp.local_addr().map_err(|error| explain(address, "TCP", error))?;
            match sockets.udp(bound, workers) {
                Ok(udp) => return Ok(Self { address: bound, udp, tcp }),
                Err(error) if tries > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(explain(bound, "UDP", error)),
            }
        }
    }
}

fn explain(address: SocketAddr, transport: &'static str, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::AddrInUse => Error::InUse { address, transport, source },
        io::ErrorKind::PermissionDenied => Error::NotPermitted { address, transport, source },
        _ => Error::Bind { address, transport, source },
    }
}

fn check(settings: &Settings) -> Result<(), Error> {
    let Settings { rules, workers, tcp, .. } = settings;
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (idle, message) = (limits::TCP_IDLE, limits::TCP_MESSAGE_TIME);
    let all = [
        ("ttl", u64::from(rules.ttl), u64::from(limits::TTL.min), u64::from(limits::TTL.max)),
        ("sample", rules.sample as u64, limits::SAMPLE.min as u64, limits::SAMPLE.max as u64),
        ("workers", *workers as u64, limits::WORKERS.min as u64, limits::WORKERS.max as u64),
        ("tcp.idle (ms)", millis(tcp.idle), millis(idle.min), millis(idle.max)),
        ("tcp.message (ms)", millis(tcp.message), millis(message.min), millis(message.max)),
    ];
    match all.into_iter().find(|(_, value, min, max)| value < min || value > max) {
        Some((name, value, min, max)) => Err(Error::Setting { name, value, min, max }),
        None => Ok(()),
    }
}
