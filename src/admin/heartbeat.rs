//! Heartbeats over HTTP: the same record under the same lease, for agents without a Redis client or without the right
//! to reach Redis. What is refused here would be refused in the registry too, with the same words.

use super::answer::{Refusal, json_answer};
use super::routes::{Shared, brief};
use crate::limits::registry as limits;
use crate::model::{AgentId, AgentKey, Cluster, GroupName, LabelError};
use crate::registry::{self, record};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The header that gives the lease where the query does not.
const LEASE_HEADER: &str = "fingerpost-lease";

/// What the query may say.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    lease: Option<String>,
}

type Names = (String, String, String);

/// `PUT`: writes a record under a lease.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    Path(names): Path<Names>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let key = key(&names)?;
    let caller = shared.access.load().write(&headers, &uri, key.cluster.as_str(), key.group.as_str())?;
    let lease = lease(asked.lease.as_deref(), &headers)?;
    let body = body.map_err(|rejection| unreadable(&rejection))?;
    let text = std::str::from_utf8(&body).map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_record", "the body is not UTF-8").hint(EXAMPLE)
    })?;
    record::parse(&body).map_err(|refused| {
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_record", refused.to_string()).hint(EXAMPLE)
    })?;
    shared.registry.put(&key, text, lease).await.map_err(failed)?;
    tracing::debug!(agent = %key, token = caller.name, ?lease, "heartbeat over HTTP");
    let millis = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    Ok(json_answer(StatusCode::OK, &json!({ "agent": key.to_string(), "lease_ms": millis })))
}

/// `DELETE`: the clean goodbye.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(names): Path<Names>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let key = key(&names)?;
    let caller = shared.access.load().write(&headers, &uri, key.cluster.as_str(), key.group.as_str())?;
    match shared.registry.remove(&key).await.map_err(failed)? {
        true => {
            tracing::info!(agent = %key, token = caller.name, "agent removed over HTTP");
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        false => {
            let message = format!("there is no record of agent {key}");
            Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", message).hint("its lease may have run out"))
        }
    }
}

const EXAMPLE: &str = "send a record such as {\"v\":1,\"zone\":\"us-east-1a\",\"addresses\":[\"10.0.1.17\"],\"ports\":{\"kafka\":9092}}";

fn key((cluster, group, agent): &Names) -> Result<AgentKey, Refusal> {
    let wrong = |kind: &str, text: &str, error: LabelError| {
        let message = format!("{:?} is no name for {kind}: {error}", brief(text));
        Refusal::new(StatusCode::BAD_REQUEST, "bad_name", message)
            .hint("names are DNS labels: a-z, 0-9, '-' and '_', at most 63")
    };
    Ok(AgentKey {
        cluster: Cluster::parse(cluster).map_err(|error| wrong("a cluster", cluster, error))?,
        group: GroupName::parse(group).map_err(|error| wrong("a group", group, error))?,
        agent: AgentId::parse(agent).map_err(|error| wrong("an agent", agent, error))?,
    })
}

fn lease(asked: Option<&str>, headers: &HeaderMap) -> Result<Duration, Refusal> {
    let header = headers.get(LEASE_HEADER).map(|value| value.to_str().unwrap_or("?"));
    let Some(text) = asked.or(header) else { return Ok(limits::LEASE.default) };
    let wrong = |why: String| {
        let bounds = format!("{} to {}", shown(limits::LEASE.min), shown(limits::LEASE.max));
        Refusal::new(StatusCode::BAD_REQUEST, "bad_lease", format!("lease {:?}: {why}", brief(text))).hint(
            format!("write ?lease=15s; {bounds} are allowed, {} is usual", shown(limits::LEASE.default)),
        )
    };
    let lease = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            humantime::parse_duration(text).map_err(|error| wrong(format!("it is no duration: {error}")))?
        }
    };
    if limits::LEASE.holds(lease) { Ok(lease) } else { Err(wrong("it is out of bounds".to_owned())) }
}

fn shown(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn unreadable(rejection: &BytesRejection) -> Refusal {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Refusal::new(StatusCode::BAD_REQUEST, "bad_body", "the body could not be read").hint(EXAMPLE),
    }
}

/// No record is as large as this body.
pub(super) fn too_large() -> Refusal {
    let message = format!("the record is larger than {} bytes", limits::RECORD_BYTES);
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).hint(EXAMPLE)
}

fn failed(error: registry::Error) -> Refusal {
    let message = error.to_string();
    match error {
        registry::Error::Unreachable(..) => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "registry_unreachable", message)
                .hint("repeat the heartbeat; the fleet that is served stays as it was")
        }
        _ => Refusal::new(StatusCode::BAD_GATEWAY, "registry_refused", message)
            .hint("look at the rights of the server's registry user, and whether it is a read-only replica"),
    }
}
