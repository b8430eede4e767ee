//! `fingerpost agent`: the heartbeat of a broker, kept up from beside it, and the gateway in front of it.

use super::arguments::Agent;
use super::failure::{CONFIG, Failure, UNAVAILABLE, USAGE};
use super::{log, run::until_signal};
use crate::admin::{self, Readiness};
use crate::agent::probe::Health;
use crate::agent::read_only::ReadOnly;
use crate::agent::{Heartbeat, Settings, Sidecar, detect};
use crate::clock::wall;
use crate::config::{Environment, Secret, read_secret_file, shown_url};
use crate::kafka::{BindError, gateway};
use crate::model::agent::{DEFAULT_KAFKA_PORT, KAFKA_SERVICE};
use crate::model::{AgentId, AgentKey, Label, Record, State, Zone};
use crate::registry::{self, Options, Registry, record};
use crate::telemetry::Telemetry;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Serves until a signal, then says goodbye.
pub(super) fn run(
    arguments: &Agent,
    level: Option<&str>,
    environment: &Environment,
) -> Result<ExitCode, Failure> {
    log::start(&log::settings(environment), level, environment)?;
    let key = AgentKey {
        cluster: arguments.cluster.clone(),
        group: arguments.group.clone(),
        agent: agent_id(arguments)?,
    };
    let registry = open(arguments, environment)?;
    match (arguments.listen, &arguments.upstream) {
        (Some(listen), Some(upstream)) => gateway(arguments, key, registry, listen, upstream),
        _ => heartbeat(arguments, key, registry),
    }
}

/// Only heartbeats, for a broker that clients reach directly.
fn heartbeat(arguments: &Agent, key: AgentKey, registry: Registry) -> Result<ExitCode, Failure> {
    let record = describe(arguments, &key, None, arguments.zone.clone())?;
    let lease = arguments.lease;
    until_signal(async |stop| {
        tracing::info!(agent = %key, registry = registry.name(), ?lease, "heartbeating");
        let heartbeat = Heartbeat::start(registry, key, record, lease, stop.clone());
        stop.cancelled().await;
        heartbeat.stop().await;
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Heartbeats for the gateway that it is.
fn gateway(
    arguments: &Agent,
    key: AgentKey,
    registry: Registry,
    listen: SocketAddr,
    upstream: &str,
) -> Result<ExitCode, Failure> {
    // What is wrong is said before anything is bound.
    describe(arguments, &key, Some(listen), None)?;
    if upstream.parse() == Ok(listen) {
        return Err(Failure::new(USAGE, "--upstream is --listen: the gateway would connect to itself")
            .next("name the broker's own address"));
    }
    let telemetry =
        Telemetry::new().map_err(|error| Failure::new(UNAVAILABLE, format!("the metrics: {error}")))?;
    let (cluster, group) = (key.cluster.clone(), key.group.clone());
    let mut gateway = gateway::Settings::new(listen, upstream.to_owned(), cluster, group);
    gateway.agent = Some(key.agent.clone());
    gateway.apexes.extend(arguments.apex.clone());
    arguments.transport.apply(&mut gateway)?;
    arguments.placing.apply(&mut gateway);
    if arguments.placing.agent_metrics {
        telemetry.kafka.name_agents();
    }
    let (lease, drain, same_client) = (arguments.lease, arguments.drain, arguments.placing.same_client);
    let settings = Settings { key, lease, drain, same_client, gateway };
    until_signal(async |stop| {
        let key = settings.key.clone();
        let sidecar = Sidecar::bind(settings, telemetry.clone()).map_err(|error| match &error {
            BindError::Address { .. } => Failure::from(UNAVAILABLE, &error),
            BindError::Tls { .. } | BindError::UpstreamTls { .. } => Failure::from(CONFIG, &error),
        })?;
        let address = sidecar.address();
        let admin = admin(arguments, &sidecar, &registry, telemetry)?;
        let zone = zone(arguments).await;
        let record = describe(arguments, &key, Some(address), zone)?;
        super::print(&format!("kafka  {address}  for {key}, before {upstream}\n"));
        let told = format!("{}:{}", record.advertised_host(), record.kafka_port());
        let zone = record.zone.as_ref().map(tracing::field::display);
        tracing::info!(agent = %key, zone, registry = registry.name(), %address, upstream, told, "a gateway");
        let admin = admin.map(|admin| {
            super::print(&format!("admin  http://{}/\n", admin.address()));
            tokio::spawn(admin.run(CancellationToken::new()))
        });
        sidecar.run(registry, record, stop).await;
        if let Some(admin) = admin {
            admin.abort();
        }
        Ok(())
    })??;
    Ok(ExitCode::SUCCESS)
}

/// The zone that was given, or that the machine's surroundings tell. Without one the agent serves clients of any zone.
async fn zone(arguments: &Agent) -> Option<Zone> {
    if arguments.zone.is_some() {
        return arguments.zone.clone();
    }
    let environment = detect::Environment::process();
    let endpoints = detect::Endpoints::of(&environment);
    match detect::detect(&environment, &endpoints, detect::Options::default()).await {
        Ok(detected) => {
            tracing::info!("{detected}");
            Some(detected.zone)
        }
        Err(error) => {
            tracing::warn!("{error}; without a zone this agent serves clients of any: --zone names one");
            None
        }
    }
}

/// The admin API, if it is wanted: it shows, and writes nothing.
fn admin(
    arguments: &Agent,
    sidecar: &Sidecar,
    registry: &Registry,
    telemetry: Telemetry,
) -> Result<Option<admin::Server>, Failure> {
    let Some(listen) = arguments.admin else { return Ok(None) };
    let (view, clock) = sidecar.view();
    let readiness = Readiness::new(clock.clone());
    let synced = readiness.latch("registry", format!("{} was not read in full yet", registry.name()));
    let up = readiness.latch("upstream", "it was not asked yet");
    let (seen, mut health) = (view.clone(), sidecar.health());
    tokio::spawn(async move {
        if seen.wait_for(crate::model::Fleet::is_synced).await.is_some() {
            synced.set();
        }
    });
    tokio::spawn(async move {
        while health.changed().await.is_ok() {
            match *health.borrow_and_update() {
                Health::Up => up.set(),
                Health::Down | Health::Unknown => up.clear("the upstream does not answer"),
            }
        }
    });
    let settings = admin::Settings { listen, ..admin::Settings::default() };
    let shown = Arc::new(ReadOnly(Arc::clone(registry)));
    admin::Server::bind(settings, view, clock, shown, telemetry, readiness)
        .map(Some)
        .map_err(|error| Failure::from(UNAVAILABLE, &error))
}

/// The record that the flags describe, checked as the servers will check it. `listen` is where the gateway listens.
fn describe(
    arguments: &Agent,
    key: &AgentKey,
    listen: Option<SocketAddr>,
    zone: Option<Zone>,
) -> Result<Record, Failure> {
    let mut addresses = arguments.address.clone();
    if addresses.is_empty() {
        let own = listen.map(|listen| listen.ip()).filter(|ip| !ip.is_unspecified());
        addresses.push(own.ok_or_else(|| {
            Failure::new(USAGE, "--listen takes clients at every address, so it names none to send them to")
                .next("add --address with the one where clients reach this agent")
        })?);
    }
    let port = arguments.port.or(listen.map(|listen| listen.port()).filter(|port| *port > 0));
    let port = Label::parse(KAFKA_SERVICE).map(|service| (service, port.unwrap_or(DEFAULT_KAFKA_PORT)));
    let name = |apex: &String| format!("{}.{}.{}.{apex}", key.agent, key.group, key.cluster);
    let advertise = arguments.advertise.clone().or(arguments.apex.as_ref().map(name));
    let described = Record {
        zone,
        addresses,
        ports: port.into_iter().collect(),
        advertise: advertise.as_deref().map(Into::into),
        roles: arguments.role.clone(),
        state: State::Ready,
        weight: arguments.weight,
        connections: None,
        node_id: arguments.node_id,
        version: None,
        started_at: Some(humantime::format_rfc3339_seconds(wall()).to_string().into()),
    };
    let checked = record::parse(record::to_json(&described).as_bytes()).map_err(|refused| {
        Failure::new(USAGE, format!("servers would refuse this record: {refused}"))
            .next("fingerpost agent --help says what each flag takes")
    })?;
    reachable(arguments, listen, &checked)?;
    Ok(checked)
}

/// Clients are only told a loopback address where that is meant: the agent itself is at one, or it was asked for.
fn reachable(arguments: &Agent, listen: Option<SocketAddr>, record: &Record) -> Result<(), Failure> {
    let told = record.advertised_host();
    let is_meant = arguments.allow_loopback
        || record.addresses.iter().any(|address| address.to_canonical().is_loopback())
        || listen.is_some_and(|listen| listen.ip().to_canonical().is_loopback());
    if is_meant || !is_loopback(&told) {
        return Ok(());
    }
    Err(Failure::new(USAGE, format!("--advertise {told} would send each client to its own machine"))
        .next("name the host where clients reach this agent, or add --allow-loopback"))
}

/// Whether a host is the machine that asks for it (RFC 6761 §6.3 for names).
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn agent_id(arguments: &Agent) -> Result<AgentId, Failure> {
    if let Some(id) = &arguments.agent {
        return Ok(id.clone());
    }
    let ask = "give one with --agent";
    let name = host_name().ok_or_else(|| {
        Failure::new(USAGE, "this host's name cannot be found for the agent's id").next(ask)
    })?;
    let short = name.split('.').next().unwrap_or_default();
    AgentId::parse(short).map_err(|error| {
        Failure::new(USAGE, format!("the host's name {short:?} cannot be the agent's id: {error}")).next(ask)
    })
}

/// The host's name as the kernel (Linux) or its configuration has it.
fn host_name() -> Option<String> {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| text.trim().to_owned())
        .find(|name| !name.is_empty())
}

fn open(arguments: &Agent, environment: &Environment) -> Result<Registry, Failure> {
    let url =
        arguments.registry.as_deref().or(environment.get("FINGERPOST_REGISTRY_URL")).ok_or_else(|| {
            Failure::new(USAGE, "no registry is given")
                .next("add --registry redis://HOST:6379, or set FINGERPOST_REGISTRY_URL")
        })?;
    if url.starts_with("memory:") {
        return Err(Failure::new(
            USAGE,
            "memory: is a registry within a server's process, out of an agent's reach",
        )
        .next("name the Redis that the servers follow, or heartbeat over a server's admin API"));
    }
    let options = Options {
        prefix: arguments.prefix.clone(),
        password: password(arguments, environment)?.map(|secret| secret.expose().to_owned()),
        ..Options::default()
    };
    registry::open(url, &options)
        .map_err(|error| Failure::from(CONFIG, &error).next(format!("look at --registry {}", shown_url(url))))
}

fn password(arguments: &Agent, environment: &Environment) -> Result<Option<Secret>, Failure> {
    let from_file = |path: &Path| read_secret_file(path).map_err(|error| Failure::from(UNAVAILABLE, &error));
    match (&arguments.password_file, environment.get("FINGERPOST_REGISTRY_PASSWORD")) {
        (Some(path), _) => from_file(path).map(Some),
        (None, Some(given)) => Ok(Some(Secret::new(given))),
        (None, None) => environment
            .get("FINGERPOST_REGISTRY_PASSWORD_FILE")
            .map(|path| from_file(Path::new(path)))
            .transpose(),
    }
}
