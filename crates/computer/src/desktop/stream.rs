//! The live picture: neko's WebSocket, under the member that the token is of.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tower::ServiceExt;

use crate::{
    Shared,
    access::token_of,
    problem::{Answer, Problem},
};

fn answer(shared: &Shared) -> Response {
    Json(json!({ "active": shared.streaming.load(Ordering::Acquire) })).into_response()
}

/// Whether viewers may come by `stream/signaling`.
#[utoipa::path(get, path = "/v1/desktop/stream/status", tag = "stream", responses((status = 200, description = "Whether they may.", body = super::openapi::Streaming)))]
pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Response {
    answer(&shared)
}

/// Lets viewers in by this door. Pictures are made for as long as somebody watches, whichever door that one came by.
#[utoipa::path(post, path = "/v1/desktop/stream/start", tag = "stream", responses((status = 200, description = "Whether they may.", body = super::openapi::Streaming)))]
pub(super) async fn start(State(shared): State<Arc<Shared>>) -> Response {
    shared.streaming.store(true, Ordering::Release);
    answer(&shared)
}

/// Lets no more viewers in by this door.
#[utoipa::path(post, path = "/v1/desktop/stream/stop", tag = "stream", responses((status = 200, description = "Whether they may.", body = super::openapi::Streaming)))]
pub(super) async fn stop(State(shared): State<Arc<Shared>>) -> Response {
    shared.streaming.store(false, Ordering::Release);
    answer(&shared)
}

/// The WebSocket of a viewer (neko's), for the member that the token is of. The token may be in `access_token`.
#[utoipa::path(get, path = "/v1/desktop/stream/signaling", tag = "stream", responses((status = 101, description = "A WebSocket.")))]
pub(super) async fn signaling(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    if !shared.streaming.load(Ordering::Acquire) {
        return Err(Problem::conflict("desktop streaming is not active: POST stream/start first"));
    }
    let token = token_of(request.headers(), request.uri());
    let bearer = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
    let bearer = bearer.ok_or_else(|| Problem::unauthorized("no token"))?;
    let (mut parts, body) = request.into_parts();
    parts.uri = shared.config.signaling_path.parse().map_err(|_| Problem::missing("there is no stream"))?;
    parts.headers.insert(header::AUTHORIZATION, bearer);
    match shared.config.signaling.clone().oneshot(Request::from_parts(parts, body)).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}
