//! Whether we live, and numbers about it. Nothing here names a session.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use axum::{
    extract::{Request, State},
    http::{HeaderName, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{Shared, problem::Problem};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Result {
    pub(crate) result: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Start {
    from: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Direction {
    pub(crate) direction: &'static str,
}

/// Counters of the gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Family<Status, Counter<u64, AtomicU64>>,
    /// Creations by what became of them: `created`, `repeated`, or why not.
    pub(crate) creations: Family<Result, Counter<u64, AtomicU64>>,
    /// Until a creation was answered, when it waited for the session.
    pub(crate) ready_after: Histogram,
    /// WebSockets that pass through.
    pub(crate) sockets: Gauge<i64>,
    /// Bytes of WebSockets, `in` from clients and `out` to them.
    pub(crate) bytes: Family<Direction, Counter<u64, AtomicU64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            creations: Family::default(),
            ready_after: Histogram::new([0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0]),
            sockets: Gauge::default(),
            bytes: Family::default(),
        }
    }
}

const TEXT: (HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; charset=utf-8");

/// The process answers.
pub(crate) async fn healthz() -> Response {
    ([TEXT], "ok\n").into_response()
}

/// Sessions can be created and found: the database answers.
pub(crate) async fn readyz(State(shared): State<Arc<Shared>>) -> std::result::Result<Response, Problem> {
    let answer = shared.fleet.check().await;
    answer.map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "the database does not answer"))?;
    Ok(([TEXT], "ok\n").into_response())
}

/// Counts answers.
pub(crate) async fn count(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().len());
    let response = next.run(request).await;
    shared.metrics.requests.get_or_create(&Status { code: response.status().as_u16() }).inc();
    // The path may name a session, which is a capability.
    tracing::debug!(%method, path_bytes = path, status = response.status().as_u16(), took = ?start.elapsed(), "answered");
    response
}

pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let mut registry = Registry::default();
    let (r, m) = (&mut registry, &shared.metrics);
    r.register("glasshouse_gateway_requests", "Answers by status", m.requests.clone());
    r.register("glasshouse_fleet_creations", "Requests to create a session, by result", m.creations.clone());
    r.register(
        "glasshouse_fleet_ready_seconds",
        "Time until a session was ready, for creations that waited",
        m.ready_after.clone(),
    );
    for (name, help, value) in shared.media.get().map(|media| (media.counts)()).unwrap_or_default() {
        let counter = Counter::<u64, AtomicU64>::default();
        counter.inc_by(value);
        r.register(name, help, counter);
    }
    r.register("glasshouse_gateway_websockets", "WebSockets that pass through", m.sockets.clone());
    r.register(
        "glasshouse_gateway_websocket_bytes",
        "Bytes of WebSockets, from clients (in) and to them (out)",
        m.bytes.clone(),
    );
    let sessions = Family::<InState, Gauge<i64>>::default();
    for (state, count) in shared.fleet.counts() {
        sessions.get_or_create(&InState { state: state.name() }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let pool = shared.fleet.pool();
    let ahead = Family::<InState, Gauge<i64>>::default();
    for (state, count) in [("warm", pool.warm), ("starting", pool.starting), ("wanted", pool.wanted)] {
        ahead.get_or_create(&InState { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    r.register("glasshouse_fleet_pool", "Sessions that are started ahead, and that there are to be", ahead);
    let starts = Family::<Start, Counter<u64, AtomicU64>>::default();
    for (from, count) in [("pool", pool.taken), ("cold", pool.cold)] {
        starts.get_or_create(&Start { from }).inc_by(count);
    }
    r.register("glasshouse_fleet_starts", "Sessions that were created, by whether one was started ahead", starts);
    r.register("glasshouse_fleet_sessions", "Sessions that have not ended, by state", sessions);
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        text = "# EOF\n".to_owned();
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
