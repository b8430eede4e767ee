//! The routes. Every request passes [`respond`]: a deadline, one count, hardened headers.

use super::answer::{Refusal, harden, json_answer, with_type};
use super::auth::Access;
use super::config::ConfigState;
use super::fleet;
use super::heartbeat;
use super::readiness::Readiness;
use crate::clock::Clock;
use crate::limits::admin as limits;
use crate::registry::Registry;
use crate::telemetry::Telemetry;
use crate::view::View;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::watch;

/// What handlers share.
pub(super) struct Shared {
    pub(super) view: View,
    pub(super) clock: Clock,
    pub(super) registry: Registry,
    pub(super) telemetry: Telemetry,
    pub(super) readiness: Readiness,
    pub(super) access: Access,
    pub(super) config: Option<watch::Receiver<ConfigState>>,
}

/// What `GET /` and a wrong path list.
pub(super) const ROUTES: [&str; 10] = [
    "GET /",
    "GET /live",
    "GET /ready",
    "GET /metrics",
    "GET /v1/clusters",
    "GET /v1/clusters/{cluster}",
    "GET /v1/clusters/{cluster}/groups/{group}",
    "GET /v1/clusters/{cluster}/groups/{group}/agents/{agent}",
    "PUT /v1/clusters/{cluster}/groups/{group}/agents/{agent}",
    "DELETE /v1/clusters/{cluster}/groups/{group}/agents/{agent}",
];

type S = State<Arc<Shared>>;

/// The router.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let agent = put(heartbeat::put).delete(heartbeat::delete).get(agent);
    Router::new()
        .route("/", get(index))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/clusters", get(clusters))
        .route("/v1/clusters/{cluster}", get(cluster))
        .route("/v1/clusters/{cluster}/groups/{group}", get(group))
        .route("/v1/clusters/{cluster}/groups/{group}/agents/{agent}", agent)
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), respond))
        .with_state(shared)
}

async fn respond(State(shared): S, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    // A body that is announced as too large is not waited for.
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let large =
        announced.and_then(|text| text.parse::<u64>().ok()).is_some_and(|n| n > limits::BODY_BYTES as u64);
    let work = async { if large { heartbeat::too_large().into_response() } else { next.run(request).await } };
    let mut response = match tokio::time::timeout(limits::REQUEST_TIME, work).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request took longer than {} s", limits::REQUEST_TIME.as_secs());
            let mut response = Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", message).into_response();
            // What is left of the body is not waited for.
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
            response
        }
    };
    if let Some(refusal) = in_our_shape(&response) {
        response = refusal.into_response();
    }
    harden(&mut response);
    shared.telemetry.admin.answered(route.as_deref().unwrap_or("other"), response.status().as_u16());
    response
}

/// The framework refuses some requests itself (broken percent-encoding, a query twice), in plain text.
fn in_our_shape(response: &Response) -> Option<Refusal> {
    let status = response.status();
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if json || !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    let message = format!("the request cannot be read: {}", status.canonical_reason().unwrap_or("malformed"));
    Some(Refusal::new(status, "bad_request", message).hint("look at the path and the query"))
}

async fn index() -> Response {
    let body = json!({
        "name": "fingerpost",
        "version": env!("CARGO_PKG_VERSION"),
        "routes": ROUTES,
    });
    json_answer(StatusCode::OK, &body)
}

async fn live() -> Response {
    json_answer(StatusCode::OK, &json!({ "live": true }))
}

/// Ready when every latch is set and the registry was read once. A registry that is lost later does not make the
/// server unready: it keeps answering, and says here that it is stale. Nor does a configuration that was refused: the
/// one before it is in use.
async fn ready(State(shared): S) -> Response {
    let fleet = shared.view.load();
    let now = shared.clock.now();
    let mut latches = shared.readiness.states();
    if !fleet.is_synced() {
        latches.push(super::readiness::LatchState {
            name: "registry".to_owned(),
            ready: false,
            reason: Some("the registry was not yet read in full".to_owned()),
            for_ms: now.millis(),
        });
    }
    let stale: Vec<_> = fleet
        .sources()
        .iter()
        .filter_map(|source| {
            let lost = now.since(source.frozen_since()?);
            Some(json!({ "source": source.name(), "lost_for_ms": lost, "reason": source.trouble() }))
        })
        .collect();
    let (done, missing): (Vec<_>, Vec<_>) = latches.into_iter().partition(|latch| latch.ready);
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({ "ready": missing.is_empty(), "missing": missing, "done": done, "stale": stale });
    if let (Some(config), Some(body)) = (&shared.config, body.as_object_mut()) {
        body.insert("config".to_owned(), config.borrow().shown());
    }
    json_answer(status, &body)
}

async fn metrics(State(shared): S) -> Response {
    match shared.telemetry.text() {
        Ok(text) => with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", Body::from(text)),
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics could not be written")
                .into_response()
        }
    }
}

async fn clusters(State(shared): S, headers: HeaderMap, uri: Uri) -> Result<Response, Refusal> {
    let caller = shared.access.load().read(&headers, &uri)?;
    let fleet = fleet::fleet(&shared.view.load(), &caller.scope, None, shared.clock.now());
    Ok(json_answer(StatusCode::OK, &fleet))
}

async fn cluster(
    State(shared): S,
    Path(name): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let name = name.to_ascii_lowercase();
    let caller = shared.access.load().read_of(&headers, &uri, &name, None)?;
    let fleet = fleet::fleet(&shared.view.load(), &caller.scope, Some(&name), shared.clock.now());
    match fleet.clusters.is_empty() {
        true => Err(not_known("cluster", &name, "clusters are listed at /v1/clusters")),
        false => Ok(json_answer(StatusCode::OK, &fleet)),
    }
}

async fn group(
    State(shared): S,
    Path((cluster, group)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let (cluster, group) = (cluster.to_ascii_lowercase(), group.to_ascii_lowercase());
    shared.access.load().read_of(&headers, &uri, &cluster, Some(&group))?;
    match shared.view.load().group(&cluster, &group) {
        Some(found) => Ok(json_answer(StatusCode::OK, &fleet::group(found, shared.clock.now()))),
        None => Err(not_known("group", &format!("{cluster}/{group}"), "groups are listed at /v1/clusters")),
    }
}

async fn agent(
    State(shared): S,
    Path((cluster, group, id)): Path<(String, String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let [cluster, group, id] = [cluster, group, id].map(|name| name.to_ascii_lowercase());
    shared.access.load().read_of(&headers, &uri, &cluster, Some(&group))?;
    let now = shared.clock.now();
    let fleet = shared.view.load();
    let found = fleet
        .group(&cluster, &group)
        .and_then(|group| group.agents().iter().find(|agent| agent.key.agent.as_str() == id));
    match found {
        Some(agent) => Ok(json_answer(StatusCode::OK, &fleet::agent(agent, now))),
        None => {
            Err(not_known("agent", &format!("{cluster}/{group}/{id}"), "agents are listed with their group"))
        }
    }
}

fn not_known(kind: &str, name: &str, hint: &str) -> Refusal {
    let message = format!("there is no {kind} {:?}", brief(name));
    Refusal::new(StatusCode::NOT_FOUND, "not_found", message).hint(hint)
}

async fn no_such_route(method: Method, uri: Uri) -> Refusal {
    let message = format!("there is no {method} {:?}", brief(uri.path()));
    let hint = format!("the routes are {}", ROUTES.join(", "));
    Refusal::new(StatusCode::NOT_FOUND, "no_such_route", message).hint(hint)
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    let message = format!("{method} is not for {:?}", brief(uri.path()));
    let hint = format!("the routes are {}", ROUTES.join(", "));
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message).hint(hint)
}

/// What is repeated of a request: not more than a line.
pub(super) fn brief(text: &str) -> String {
    match text.char_indices().find(|(at, _)| *at >= limits::ECHO_BYTES) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
