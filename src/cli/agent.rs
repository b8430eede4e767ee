//! `fingerpost agent`: the heartbeat of a broker, kept up from beside it.

use super::arguments::Agent;
use super::failure::{CONFIG, Failure, UNAVAILABLE, USAGE};
use super::{log, run::until_signal};
use crate::agent::Heartbeat;
use crate::clock::wall;
use crate::config::{Environment, Secret, read_secret_file, shown_url};
use crate::model::{AgentId, AgentKey, Label, Record, State, agent::KAFKA_SERVICE};
use crate::registry::{self, Options, Registry, record};
use std::path::Path;
use std::process::ExitCode;

/// Heartbeats until a signal, then says goodbye.
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
    let record = describe(arguments)?;
    let registry = open(arguments, environment)?;
    let lease = arguments.lease;
    until_signal(async |stop| {
        tracing::info!(agent = %key, registry = registry.name(), ?lease, "heartbeating");
        let heartbeat = Heartbeat::start(registry, key, record, lease, stop.clone());
        stop.cancelled().await;
        heartbeat.stop().await;
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The record that the flags describe, checked as the servers will check it.
fn describe(arguments: &Agent) -> Result<Record, Failure> {
    let port = Label::parse(KAFKA_SERVICE).map(|service| (service, arguments.port));
    let described = Record {
        zone: arguments.zone.clone(),
        addresses: arguments.address.clone(),
        ports: port.into_iter().collect(),
        advertise: arguments.advertise.as_deref().map(Into::into),
        roles: arguments.role.clone(),
        state: State::Ready,
        weight: arguments.weight,
        connections: None,
        node_id: arguments.node_id,
        version: None,
        started_at: Some(humantime::format_rfc3339_seconds(wall()).to_string().into()),
    };
    record::parse(record::to_json(&described).as_bytes()).map_err(|refused| {
        Failure::new(USAGE, format!("servers would refuse this record: {refused}"))
            .next("fingerpost agent --help says what each flag takes")
    })
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
