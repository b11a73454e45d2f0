//! Recordings, of which there are none: sessions have no recorder yet.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::problem::Problem;

pub(super) async fn list() -> Response {
    Json(json!({ "recordings": [] })).into_response()
}

pub(super) async fn start() -> Problem {
    Problem::dependency("this version has no recorder: record the viewer's stream instead")
}

pub(super) async fn stop() -> Problem {
    Problem::conflict("no recording is active")
}

pub(super) async fn missing() -> Problem {
    Problem::missing("there is no such recording")
}
