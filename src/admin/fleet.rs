//! The fleet as JSON: the public shape of `/v1/clusters` and of `fingerpost agents --json`. Fields are added, never
//! renamed or removed.

use super::auth::Scope;
use crate::model::{Agent, Cluster, Fleet, Group, Moment};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that this server knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetJson {
    /// Counts publications within the server's process.
    pub generation: u64,
    /// Whether the registry was read in full at least once; before that, what is missing here may well exist.
    pub synced: bool,
    /// How old what is shown may be, in milliseconds: 0 while every registry can be reached.
    pub age_ms: u64,
    /// What the token that was used may see; absent if that is everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_to: Option<String>,
    /// The registries that feed the server.
    pub sources: Vec<SourceJson>,
    /// Clusters by name.
    pub clusters: Vec<ClusterJson>,
    /// Records that were not taken, and why.
    pub refused: Vec<RefusedJson>,
}

/// A registry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceJson {
    /// Its URL without credentials.
    pub name: String,
    /// `fresh`, or `lost`: leases stand still until it is back or `stale_max` is over.
    pub state: String,
    /// For how long it has been lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_for_ms: Option<u64>,
}

/// A cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterJson {
    /// Its name.
    pub name: String,
    /// Its groups by name.
    pub groups: Vec<GroupJson>,
}

/// A group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupJson {
    /// Its cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// Agents whose lease runs.
    pub live: usize,
    /// Those of them that take new clients.
    pub ready: usize,
    /// Agents by id; those whose lease has just run out may still be here.
    pub agents: Vec<AgentJson>,
    /// Agents that are gone and whose name still resolves.
    pub departed: Vec<DepartedJson>,
}

/// An agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentJson {
    /// Its id within the group.
    pub id: String,
    /// Its availability zone, if it knows its own.
    pub zone: Option<String>,
    /// `ready` or `draining`, as the record says.
    pub state: String,
    /// Whether its lease runs.
    pub live: bool,
    /// What is left of the lease.
    pub lease_left_ms: u64,
    /// Addresses in the record's order.
    pub addresses: Vec<String>,
    /// Ports by service.
    pub ports: BTreeMap<String, u16>,
    /// The host that Kafka clients are told.
    pub advertised_host: String,
    /// Relative share of clients.
    pub weight: u16,
    /// Roles; empty means every role.
    pub roles: Vec<String>,
    /// The Kafka node id that the record asks for.
    pub node_id: Option<i32>,
    /// Reported open connections.
    pub connections: Option<u64>,
    /// The agent's software.
    pub version: Option<String>,
    /// When it started.
    pub started_at: Option<String>,
    /// The registry that granted its lease.
    pub source: String,
}

/// An agent that is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DepartedJson {
    /// Its id.
    pub id: String,
    /// For how long its own name still resolves.
    pub resolves_for_ms: u64,
}

/// A record that was not taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusedJson {
    /// Its registry key.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
    /// The registry that it lies in.
    pub source: String,
}

/// The part of the fleet that `scope` may see; with `cluster`, only that cluster.
pub(super) fn fleet(fleet: &Fleet, scope: &Scope, cluster: Option<&str>, now: Moment) -> FleetJson {
    let lost = |since: Moment| now.since(since);
    let sources: Vec<SourceJson> = fleet
        .sources()
        .iter()
        .map(|source| SourceJson {
            name: source.name().to_owned(),
            state: if source.frozen_since().is_some() { "lost" } else { "fresh" }.to_owned(),
            lost_for_ms: source.frozen_since().map(lost),
        })
        .collect();
    let clusters = fleet
        .clusters()
        .iter()
        .filter(|(name, _)| cluster.is_none_or(|wanted| wanted == name.as_str()))
        .map(|(name, entry)| ClusterJson {
            name: name.to_string(),
            groups: entry
                .groups
                .iter()
                .filter(|group_name| scope.sees(name.as_str(), Some(group_name.as_str())))
                .filter_map(|group_name| fleet.group(name.as_str(), group_name.as_str()))
                .map(|found| group(found, now))
                .collect(),
        })
        .filter(|found| scope.sees(&found.name, None) && (scope.is_all() || !found.groups.is_empty()));
    FleetJson {
        generation: fleet.generation(),
        synced: fleet.is_synced(),
        age_ms: sources.iter().filter_map(|source| source.lost_for_ms).max().unwrap_or(0),
        limited_to: (!scope.is_all()).then(|| scope.to_string()),
        clusters: clusters.collect(),
        sources,
        refused: refused(fleet, scope, cluster),
    }
}

/// Refused records lie at keys that may not be valid; a limited token sees those that plainly belong to its part.
fn refused(fleet: &Fleet, scope: &Scope, cluster: Option<&str>) -> Vec<RefusedJson> {
    let within = |key: &str| {
        let (mine, group) = scope.parts();
        let part = match (mine.map(Cluster::as_str).or(cluster), group) {
            (Some(cluster), Some(group)) => format!("{{{cluster}}}:{group}:"),
            (Some(cluster), None) => format!("{{{cluster}}}:"),
            (None, _) => return true,
        };
        key.contains(&part)
    };
    fleet
        .refused()
        .iter()
        .filter(|refusal| within(&refusal.key))
        .map(|refusal| RefusedJson {
            key: refusal.key.clone(),
            reason: refusal.reason.clone(),
            source: refusal.source.clone(),
        })
        .collect()
}

/// One group.
pub(super) fn group(group: &Group, now: Moment) -> GroupJson {
    GroupJson {
        cluster: group.cluster.to_string(),
        name: group.name.to_string(),
        live: group.live(now).count(),
        ready: group.ready(now).count(),
        agents: group.agents().iter().map(|found| agent(found, now)).collect(),
        departed: group
            .departed()
            .iter()
            .filter(|gone| gone.until > now)
            .map(|gone| DepartedJson {
                id: gone.agent.key.agent.to_string(),
                resolves_for_ms: gone.until.since(now),
            })
            .collect(),
    }
}

/// One agent.
pub(super) fn agent(agent: &Agent, now: Moment) -> AgentJson {
    let record = &agent.record;
    AgentJson {
        id: agent.key.agent.to_string(),
        zone: record.zone.as_ref().map(ToString::to_string),
        state: record.state.to_string(),
        live: agent.is_live(now),
        lease_left_ms: agent.lease.left(now),
        addresses: record.addresses.iter().map(ToString::to_string).collect(),
        ports: record.ports.iter().map(|(service, port)| (service.to_string(), *port)).collect(),
        advertised_host: record.advertised_host(),
        weight: record.weight,
        roles: record.roles.iter().map(ToString::to_string).collect(),
        node_id: record.node_id,
        connections: agent.lease.connections(),
        version: record.version.as_deref().map(str::to_owned),
        started_at: record.started_at.as_deref().map(str::to_owned),
        source: agent.lease.source().name().to_owned(),
    }
}
