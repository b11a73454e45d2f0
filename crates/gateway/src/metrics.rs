//! Whether we live, and numbers about it. Nothing here names a session to who has no token: its id is what leads to it.

use std::{
    fs,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use glasshouse_fleet::{Numbers, Power, StartTimes, State as Life, View};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text::encode},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    Shared,
    caller::Caller,
    exposition::Exposition,
    facades,
    problem::{Answer, Problem},
};

/// Sessions that are asked for their numbers at most, and at a time.
const MAX_SESSIONS: usize = 1_000;
const AT_ONCE: usize = 8;
/// How long one may take to answer; it is left out then.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How many clock ticks a second has in /proc (proc_pid_stat(5)); fixed in Linux's user interface.
const TICKS: f64 = 100.0;

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
pub(crate) async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    facades::health(&shared).unwrap_or_else(|| ([TEXT], "ok\n").into_response())
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

/// `/metrics`: the server's own numbers; to a token with the power `view` over the fleet, those of every session too.
pub(crate) async fn metrics(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    given: std::result::Result<Caller, Problem>,
) -> Answer {
    let sees_sessions = headers.contains_key(header::AUTHORIZATION);
    if sees_sessions {
        given?.fleet(Power::View)?;
    }
    let mut registry = Registry::default();
    register(&shared, &mut registry);
    facades::register(&shared, &mut registry);
    let running = if sees_sessions { shared.fleet.running() } else { Vec::new() };
    if sees_sessions {
        register_sessions(&mut registry, &running);
    }
    let mut text = String::new();
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics cannot be written");
    encode(&mut text, &registry).map_err(failed)?;
    if sees_sessions {
        let end = "# EOF\n";
        text.truncate(text.len() - if text.ends_with(end) { end.len() } else { 0 });
        of_sessions(&shared, &running).await.write(&mut text);
        text.push_str(end);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// What every session that can be asked says of itself.
async fn of_sessions(shared: &Shared, running: &[View]) -> Exposition {
    let is_asked = |view: &&View| matches!(view.state, Life::Ready | Life::Frozen);
    let asked: Vec<_> = running.iter().filter(is_asked).take(MAX_SESSIONS).map(|view| view.id.clone()).collect();
    let answers = stream::iter(asked).map(|id| async move {
        let answer = tokio::time::timeout(ANSWER_WITHIN, shared.fleet.metrics(&id)).await.ok()?.ok()?;
        Some((id, answer))
    });
    let mut answers = std::pin::pin!(answers.buffer_unordered(AT_ONCE));
    let mut all = Exposition::default();
    while let Some(answer) = answers.next().await {
        if let Some((id, text)) = answer {
            all.add(&String::from_utf8_lossy(&text), "session_id", id.as_str());
        }
    }
    all
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSession {
    session_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SessionState {
    session_id: String,
    state: &'static str,
}

fn register_sessions(r: &mut Registry, running: &[View]) {
    let states = Family::<SessionState, Gauge<i64>>::default();
    let sockets = Family::<OfSession, Gauge<i64>>::default();
    for view in running.iter().take(MAX_SESSIONS) {
        let session_id = view.id.to_string();
        sockets.get_or_create(&OfSession { session_id: session_id.clone() }).set(gauge(view.connections));
        states.get_or_create(&SessionState { session_id, state: view.state.name() }).set(1);
    }
    r.register("glasshouse_session_state", "1 for the state that the session is in", states);
    r.register("glasshouse_session_websockets", "WebSockets that pass through to the session", sockets);
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn register(shared: &Shared, r: &mut Registry) {
    let m = &shared.metrics;
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
    let in_state = |pairs: &[(&'static str, usize)]| {
        let family = Family::<InState, Gauge<i64>>::default();
        for (state, count) in pairs {
            family.get_or_create(&InState { state }).set(gauge(*count));
        }
        family
    };
    let counts = shared.fleet.counts().map(|(state, count)| (state.name(), count));
    r.register("glasshouse_fleet_sessions", "Sessions that have not ended, by state", in_state(&counts));
    let pool = shared.fleet.pool();
    let ahead = in_state(&[("warm", pool.warm), ("starting", pool.starting), ("wanted", pool.wanted)]);
    r.register("glasshouse_fleet_pool", "Sessions that are started ahead, and that there are to be", ahead);
    let starts = Family::<Start, Counter<u64, AtomicU64>>::default();
    for (from, count) in [("pool", pool.taken), ("cold", pool.cold)] {
        starts.get_or_create(&Start { from }).inc_by(count);
    }
    r.register("glasshouse_fleet_starts", "Sessions that were created, by whether one was started ahead", starts);
    let numbers = shared.fleet.numbers();
    let Numbers { freezes, thaws, taken_over, terminated, failed, .. } = numbers;
    let ended = Family::<InState, Counter<u64, AtomicU64>>::default();
    for (state, count) in [("terminated", terminated), ("failed", failed)] {
        ended.get_or_create(&InState { state }).inc_by(count);
    }
    r.register("glasshouse_fleet_ended", "Sessions that are over: ended, or lost", ended);
    for (name, help, count) in [
        ("glasshouse_fleet_freezes", "Sessions that were frozen", freezes),
        ("glasshouse_fleet_thaws", "Frozen sessions that went on", thaws),
        ("glasshouse_fleet_taken_over", "Sessions that were found running when the server started", taken_over),
    ] {
        let counter = Counter::<u64, AtomicU64>::default();
        counter.inc_by(count);
        r.register(name, help, counter);
    }
    r.register_collector(Box::new(Starts(numbers.starts)));
    register_process(r);
}

/// How long starts took, as the fleet counts them.
#[derive(Debug)]
struct Starts([StartTimes; 2]);

impl Collector for Starts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::result::Result<(), std::fmt::Error> {
        const HELP: &str =
            "Time from the request for a session until it could be used, by whether one was started ahead";
        let mut metric =
            encoder.encode_descriptor("glasshouse_fleet_start_seconds", HELP, None, MetricType::Histogram)?;
        for times in &self.0 {
            let count = times.buckets.iter().map(|(_, count)| count).sum();
            let label = [("from", times.from)];
            metric.encode_family(&label)?.encode_histogram::<NoLabelSet>(times.sum, count, &times.buckets, None)?;
        }
        Ok(())
    }
}

/// What this process uses, under the names that all Prometheus clients have.
fn register_process(r: &mut Registry) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<i64>().ok()).unwrap_or(0)
    };
    let files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Resident memory of the server", field("VmRSS").saturating_mul(1_024)),
        ("process_threads", "Threads of the server", field("Threads")),
        ("process_open_fds", "Open files and sockets of the server", gauge(files)),
    ] {
        let single = Gauge::<i64>::default();
        single.set(value);
        r.register(name, help, single);
    }
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // proc_pid_stat(5): utime is field 14, stime 15; the first after the name is 3.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks = |at| fields.split_ascii_whitespace().nth(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by((ticks(11) + ticks(12)) / TICKS);
    r.register("process_cpu_seconds", "Processor time of the server", cpu);
}
