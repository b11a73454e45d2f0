//! Whether we live, and numbers about it.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use glasshouse_desktop::ProgramState;

use crate::{Server, metrics};

const TEXT: (header::HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; charset=utf-8");

/// neko's: the process answers.
pub(super) async fn health() -> Response {
    ([TEXT], "true").into_response()
}

/// Whether the session can be used: 503 when a program it cannot be without has been given up.
pub(super) async fn healthz(State(server): State<Server>) -> Response {
    let programs = server.inner.desk.programs();
    match programs.iter().find(|(_, state, _)| *state == ProgramState::Failed) {
        Some((name, _, _)) => (StatusCode::SERVICE_UNAVAILABLE, [TEXT], format!("{name} failed\n")).into_response(),
        None => ([TEXT], "ok\n").into_response(),
    }
}

pub(super) async fn metrics(State(server): State<Server>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics::text(&server).await).into_response()
}
