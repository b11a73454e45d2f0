//! Sessions of the room.

use axum::extract::{Path, State};

use super::{Answer, ApiError, Caller, done, ok};
use crate::Server;

pub(super) async fn stats(State(server): State<Server>, _: Caller) -> Answer {
    let stats = server.inner.state.lock().room.stats();
    ok(&stats)
}

pub(super) async fn list(State(server): State<Server>, _: Caller) -> Answer {
    let sessions = server.inner.state.lock().room.sessions();
    ok(&sessions)
}

pub(super) async fn read(State(server): State<Server>, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.admin()?;
    let session = server.inner.state.lock().room.session(&id);
    ok(&session.ok_or_else(|| ApiError::not_found("session not found"))?)
}

pub(super) async fn remove(State(server): State<Server>, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.admin()?;
    if id == caller.id {
        return Err(ApiError::bad("cannot delete own session"));
    }
    let removed = server.inner.with(|state, now| state.room.delete(&id, now));
    removed.map_err(|_| ApiError::bad("session not found"))?;
    done()
}

pub(super) async fn disconnect(State(server): State<Server>, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.admin()?;
    let disconnected = server.inner.with(|state, now| state.room.disconnect(&id, now));
    disconnected.map_err(|_| ApiError::bad("session not found"))?;
    done()
}
