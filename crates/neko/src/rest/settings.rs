//! Settings of the room, and the broadcast that there is not.

use axum::extract::State;
use glasshouse_room::merge;
use serde_json::{Value, json};

use super::{Answer, ApiError, Body, Caller, done, ok};
use crate::Server;

pub(super) async fn read(State(server): State<Server>, caller: Caller) -> Answer {
    caller.admin()?;
    let settings = server.inner.state.lock().room.settings().clone();
    ok(&settings)
}

pub(super) async fn update(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    caller.admin()?;
    let wrong = || ApiError::bad("unable to parse provided data");
    let value: Value = serde_json::from_slice(&body.0).map_err(|_| wrong())?;
    let is_private = server.inner.with(|state, now| {
        let mut settings = state.room.settings().clone();
        settings.merge(&value).map_err(|_| wrong())?;
        state.room.update_settings(settings, &caller.id, now);
        Ok::<_, ApiError>(state.room.settings().private_mode)
    })?;
    if is_private {
        // What comes onto the screen after the answer must not be in the picture that is kept for the others.
        server.inner.kept_picture().await;
    }
    done()
}

pub(super) async fn broadcast(caller: Caller) -> Answer {
    caller.admin()?;
    ok(&json!({ "is_active": false }))
}

pub(super) async fn broadcast_start(caller: Caller, body: Body) -> Answer {
    caller.admin()?;
    let mut url = String::new();
    merge::object(&body.json()?, |key, field| if key == "url" { field.string(&mut url) } else { Ok(()) })?;
    if url.is_empty() {
        return Err(ApiError::bad("missing broadcast URL"));
    }
    Err(ApiError::unprocessable("broadcasting is not available"))
}

pub(super) async fn broadcast_stop(caller: Caller) -> Answer {
    caller.admin()?;
    Err(ApiError::unprocessable("server is not broadcasting"))
}
