//! Programs at the wheel: who may act, and the trail of what they did.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use glasshouse_room::{Mode, merge};

use super::{Answer, ApiError, Body, Caller, Query, done, ok};
use crate::Server;

pub(super) async fn read(State(server): State<Server>, _: Caller) -> Answer {
    let programs = server.inner.state.lock().room.programs();
    ok(&programs)
}

pub(super) async fn update(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    caller.admin()?;
    let mut name = String::new();
    merge::object(&body.json()?, |key, field| if key == "mode" { field.string(&mut name) } else { Ok(()) })?;
    let mode = Mode::of(&name).ok_or_else(|| ApiError::bad(UNKNOWN_MODE))?;
    server.inner.with(|state, _| state.room.set_mode(mode, &caller.id));
    done()
}

/// What is said about a mode that there is not.
pub(crate) const UNKNOWN_MODE: &str = "mode must be together, person-first or watch-only";

pub(super) async fn trail(State(server): State<Server>, caller: Caller, query: Query, headers: HeaderMap) -> Answer {
    caller.admin()?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let last = match last.or_else(|| query.get("last_event_id")) {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| ApiError::bad("Last-Event-ID must be the id of an event"))?),
    };
    match server.inner.trail.get() {
        Some(trail) => Ok(trail(last)),
        None => Err(ApiError::status(StatusCode::NOT_FOUND)),
    }
}
