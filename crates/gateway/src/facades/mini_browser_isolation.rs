//! Mini-Browser-Isolation's orchestrator: `/api/sessions` and `/ws/sessions`, with the shapes, statuses, life cycle and metrics
//! that its web page and its tests know. Sessions are made by the fleet; viewing and input are the session's own business.

mod answer;
mod metrics;
mod registry;
mod settings;
mod stream;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{FromRequestParts, Path, Request, State as Extract},
    http::{Method, StatusCode, Uri, header, request::Parts},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use glasshouse_fleet::{Error, Power, SessionId, Spec, State as Life, View};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::{answer::Refusal, metrics::Metrics, registry::Registry, settings::Settings};
use super::{Facade, entry};
use crate::{Shared, api::glance, caller::Caller, client::Client};

/// Largest body of a request in bytes; an offer has about 5 KB.
const MAX_BODY: usize = 256 * 1024;
/// How long a client may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(20);
/// A creation is answered when the session is ready, but not before and not after these times: the page's own test takes a
/// look between its request and the answer, and a person wants to see that something happens.
const ANSWER_AFTER: Duration = Duration::from_millis(700);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a session may take to start before it counts as one that did not.
const START: Duration = Duration::from_secs(90);
/// How long a session may take to say what it uses.
const USAGE: Duration = Duration::from_secs(3);
/// Bytes of a megabyte, as Docker counts memory.
const MEGABYTE: f64 = 1024.0 * 1024.0;

/// What this facade remembers.
pub(crate) struct State {
    settings: Settings,
    metrics: Metrics,
    registry: Registry,
}

impl State {
    /// `variable` looks up the settings that the original takes from its environment.
    pub(crate) fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        let settings = Settings::read(variable);
        Self { settings, metrics: Metrics::default(), registry: Registry::default() }
    }
}

pub(crate) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    // As the original's metrics name the addresses.
    let observed = |address: &'static str, handlers: MethodRouter<Arc<Shared>>| {
        handlers.layer(middleware::from_fn_with_state((shared.clone(), address), metrics::observe))
    };
    Router::new()
        .route("/api/sessions", observed("/api/sessions", post(create)))
        .route("/api/sessions/{id}", observed("/api/sessions/:id", get(read).delete(end)))
        .route("/api/sessions/{id}/ice", observed("/api/sessions/:id/ice", get(ice)))
        .route("/api/sessions/{id}/offer", observed("/api/sessions/:id/offer", post(stream::offer)))
        .route("/ws/sessions/{id}", observed("/ws/sessions/:id", get(stream::socket)))
}

/// `/healthz` as its probes know it.
pub(super) fn health() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// Its numbers, for `/metrics`.
pub(super) fn register(shared: &Shared, registry: &mut prometheus_client::registry::Registry) {
    let state = &shared.facades.mini;
    state.metrics.register(registry, state.registry.running(&shared.fleet));
}

/// What the original's framework answers at an address of this facade that is none, or to a wrong method.
pub(super) fn nothing(shared: &Shared, client: &Client, method: &Method, uri: &Uri) -> Option<Response> {
    let path = uri.path();
    let is_below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let is_ours = shared.config.facades.serves(Facade::MiniBrowserIsolation)
        && (is_below("/api/sessions") || is_below("/ws/sessions"));
    is_ours.then(|| {
        if let Some(path) = path.strip_suffix('/') {
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            let to = format!("{}{path}{query}", client.prefix);
            let status =
                if method == Method::GET { StatusCode::MOVED_PERMANENTLY } else { StatusCode::TEMPORARY_REDIRECT };
            return (status, [(header::LOCATION, to)]).into_response();
        }
        (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], "404 page not found").into_response()
    })
}

/// Whom a request acts for.
struct Visitor(Caller);

impl FromRequestParts<Arc<Shared>> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Refusal> {
        Ok(Self(entry::caller(shared, parts)?))
    }
}

/// A session of this facade that the caller may look at.
struct Found {
    /// The name that clients know.
    name: String,
    id: SessionId,
    view: View,
}

impl Found {
    fn status(&self, shared: &Shared) -> &'static str {
        status(self.view.state, shared.facades.mini.registry.is_ended(&self.name))
    }
}

/// What the original calls the state of a session.
fn status(state: Life, is_ended: bool) -> &'static str {
    match state {
        _ if is_ended => "terminated",
        Life::Creating => "starting",
        // It wakes when it is used.
        Life::Ready | Life::Frozen => "ready",
        Life::Failed => "error",
        Life::Terminated => "terminated",
    }
}

async fn find(shared: &Shared, caller: &Caller, name: &str, power: Power) -> Result<Found, Refusal> {
    let id = shared.facades.mini.registry.find(&shared.fleet, name).await?.ok_or_else(Refusal::missing)?;
    caller.session(power, &id)?;
    let view = shared.fleet.get(&id).await?;
    Ok(Found { name: name.to_owned(), id, view })
}

/// The body of a request, which is small and comes soon.
async fn body_of(request: Request) -> Result<Bytes, Refusal> {
    let read = axum::body::to_bytes(request.into_body(), MAX_BODY);
    let read = tokio::time::timeout(BODY_WITHIN, read).await.map_err(|_| Refusal::bad("failed to read body"))?;
    read.map_err(|_| Refusal::bad("failed to read body"))
}

#[derive(Deserialize)]
struct NewSession {
    url: Option<String>,
}

/// The address in the body of a creation.
fn url_of(body: &[u8]) -> Result<String, Refusal> {
    if body.is_empty() {
        return Err(Refusal::bad("the body is empty: {\"url\": \"https://…\"} is needed"));
    }
    let new: NewSession = serde_json::from_slice(body).map_err(|error| Refusal::bad(error.to_string()))?;
    new.url.filter(|url| !url.is_empty()).ok_or_else(|| Refusal::bad("url is required"))
}

async fn create(Extract(shared): Extract<Arc<Shared>>, Visitor(caller): Visitor, request: Request) -> Response {
    let state = &shared.facades.mini;
    let made = create_inner(&shared, &caller, request).await;
    state.metrics.created(match &made {
        Ok(_) => "created",
        Err(refusal) if refusal.status == StatusCode::SERVICE_UNAVAILABLE => "rejected",
        Err(_) => "error",
    });
    made.into_response()
}

async fn create_inner(shared: &Arc<Shared>, caller: &Caller, request: Request) -> Result<Response, Refusal> {
    let state = &shared.facades.mini;
    let start = Instant::now();
    caller.fleet(Power::Control)?;
    let url = url_of(&body_of(request).await?)?;
    let spec = Spec {
        url: Some(url),
        kiosk: Some(true),
        idle_timeout_seconds: Some(state.settings.session_timeout),
        ..Spec::default()
    };
    let (name, view) = state.registry.create(shared, caller, spec, state.settings.max_sessions).await?;
    shared.fleet.audit(caller.did("session.create", &view.id, "mini-browser-isolation")).await;
    let (watcher, id) = (shared.clone(), view.id.clone());
    tokio::spawn(async move {
        if watcher.fleet.wait(&id, START).await.is_ok_and(|view| view.state == Life::Failed) {
            watcher.facades.mini.metrics.failed_to_start();
        }
    });
    // What became of it is told when it is asked for.
    let _ = shared.fleet.wait(&view.id, ANSWER_WITHIN).await;
    tokio::time::sleep_until(start + ANSWER_AFTER).await;
    let answer = json!({ "sessionId": name, "status": "starting", "createdAt": view.created_at });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn read(
    Extract(shared): Extract<Arc<Shared>>,
    Visitor(caller): Visitor,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let found = find(&shared, &caller, &name, Power::View).await?;
    let status = found.status(&shared);
    let registry = &shared.facades.mini.registry;
    let (mut cpu, mut memory) = (0.0, 0.0);
    let uptime = registry::age(&found.view.created_at);
    if status == "ready"
        && let Ok(Ok(used)) = tokio::time::timeout(USAGE, glance::used(&shared, &found.id)).await
    {
        cpu = registry.cpu_percent(&name, used.cpu_seconds.unwrap_or(0.0), uptime);
        // Far below 2⁵³.
        memory = used.memory_bytes.unwrap_or(0) as f64 / MEGABYTE;
    }
    let error = if status == "error" { found.view.reason.clone().unwrap_or_default() } else { String::new() };
    Ok(Json(json!({
        "sessionId": name,
        "status": status,
        "createdAt": found.view.created_at,
        "url": found.view.url.unwrap_or_default(),
        "error": error,
        "metrics": { "uptimeSec": uptime, "cpuPercent": cpu, "memMB": memory },
    })))
}

async fn end(
    Extract(shared): Extract<Arc<Shared>>,
    Visitor(caller): Visitor,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    let found = find(&shared, &caller, &name, Power::Control).await?;
    let state = &shared.facades.mini;
    if state.registry.end(&name) && !found.view.state.is_over() {
        state.metrics.ended_after(registry::age(&found.view.created_at));
        shared.fleet.audit(caller.did("session.end", &found.id, "mini-browser-isolation")).await;
        let fleet = shared.fleet.clone();
        // It takes a moment, which nobody waits for.
        tokio::spawn(async move {
            match fleet.end(&found.id, "ended by its user").await {
                // Somebody else was faster.
                Ok(_) | Err(Error::NotFound) => {}
                Err(error) => tracing::warn!(session = %found.id, %error, "a session is not ended"),
            }
        });
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn ice(
    Extract(shared): Extract<Arc<Shared>>,
    Visitor(caller): Visitor,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    find(&shared, &caller, &name, Power::View).await?;
    Ok(Json(json!({ "iceServers": shared.facades.mini.settings.ice_servers() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_creations() {
        assert_eq!(url_of(br#"{"url":"https://example.com","more":1}"#).ok().as_deref(), Some("https://example.com"));
        for wrong in [&b""[..], b"{", b"[]", b"{}", br#"{"url":""}"#, br#"{"url":null}"#, br#"{"url":5}"#, b"\xff"] {
            let refusal = url_of(wrong).err().unwrap();
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
            assert!(!refusal.error.is_empty());
        }
    }

    #[test]
    fn states() {
        let names = Life::ALL.map(|state| status(state, false));
        assert_eq!(names, ["starting", "ready", "ready", "terminated", "error"]);
        assert!(Life::ALL.iter().all(|state| status(*state, true) == "terminated"));
    }
}
