//! The original's metrics under its names, so that its dashboard shows ours.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::Shared;

/// Buckets of requests, and those that Prometheus takes when none are named, in seconds.
const REQUESTS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
const SESSIONS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Signal {
    endpoint: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    path: &'static str,
    status: u16,
}

type Count = Counter<u64, AtomicU64>;

/// Counters since the start.
#[derive(Debug)]
pub(super) struct Metrics {
    sessions: Family<Outcome, Count>,
    durations: Histogram,
    spawn_errors: Count,
    signals: Family<Signal, Count>,
    fallbacks: Count,
    requests: Family<Answered, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sessions: Family::default(),
            durations: Histogram::new(SESSIONS),
            spawn_errors: Count::default(),
            signals: Family::default(),
            fallbacks: Count::default(),
            requests: Family::new_with_constructor(|| Histogram::new(REQUESTS)),
        }
    }
}

impl Metrics {
    /// A creation was answered: `created`, `rejected` or `error`.
    pub(super) fn created(&self, result: &'static str) {
        self.sessions.get_or_create(&Outcome { result }).inc();
    }

    /// A session did not become ready.
    pub(super) fn failed_to_start(&self) {
        self.spawn_errors.inc();
    }

    /// A session was ended so many seconds after its creation.
    pub(super) fn ended_after(&self, seconds: f64) {
        self.durations.observe(seconds);
    }

    /// An offer was answered.
    pub(super) fn offered(&self, status: u16) {
        self.signals.get_or_create(&Signal { endpoint: "offer", status }).inc();
    }

    /// A client takes pictures over a WebSocket.
    pub(super) fn fell_back(&self) {
        self.fallbacks.inc();
    }

    /// Adds all of them to what is told, with the sessions that run.
    pub(super) fn register(&self, r: &mut Registry, running: usize) {
        // Counters get `_total` at the end of their names.
        r.register("browser_sessions", "Requests to create a session, by result", self.sessions.clone());
        let active = Gauge::<i64>::default();
        active.set(i64::try_from(running).unwrap_or(i64::MAX));
        r.register("browser_sessions_active", "Sessions that run", active);
        let duration = "Time from a session's creation to its end, for those that were ended";
        r.register("browser_session_duration_seconds", duration, self.durations.clone());
        r.register("browser_container_spawn_errors", "Sessions that did not become ready", self.spawn_errors.clone());
        r.register("browser_signaling_requests", "Offers of clients, by status", self.signals.clone());
        r.register("browser_webrtc_fallbacks", "WebSockets of clients that take pictures", self.fallbacks.clone());
        let took = "Time until requests of this interface were answered";
        r.register("browser_http_request_duration_seconds", took, self.requests.clone());
    }
}

/// Notes how long a request took.
pub(super) async fn observe(
    State((shared, path)): State<(Arc<Shared>, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    // Others than those of the routes are counted as one, so that nobody can make series.
    let method = match request.method().as_str() {
        known @ ("GET" | "POST" | "DELETE" | "PUT" | "PATCH" | "HEAD" | "OPTIONS") => known.to_owned(),
        _ => "OTHER".to_owned(),
    };
    let response = next.run(request).await;
    let labels = Answered { method, path, status: response.status().as_u16() };
    shared.facades.mini.metrics.requests.get_or_create(&labels).observe(start.elapsed().as_secs_f64());
    response
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn names_are_the_originals() {
        let metrics = Metrics::default();
        metrics.created("created");
        metrics.ended_after(3.0);
        metrics.offered(200);
        let labels = Answered { method: "GET".into(), path: "/api/sessions/:id", status: 200 };
        metrics.requests.get_or_create(&labels).observe(0.02);
        let mut registry = Registry::default();
        metrics.register(&mut registry, 2);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "browser_sessions_total{result=\"created\"} 1",
            "browser_sessions_active 2",
            "browser_session_duration_seconds_bucket{le=\"5.0\"} 1",
            "browser_session_duration_seconds_bucket{le=\"2.5\"} 0",
            "browser_container_spawn_errors_total 0",
            "browser_signaling_requests_total{endpoint=\"offer\",status=\"200\"} 1",
            "browser_webrtc_fallbacks_total 0",
            "browser_http_request_duration_seconds_count{method=\"GET\",path=\"/api/sessions/:id\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line} is missing in\n{text}");
        }
    }
}
