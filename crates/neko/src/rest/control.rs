//! Who controls.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use glasshouse_room::{Asked, GiveError, HostState};

use super::{Answer, ApiError, Caller, done, ok};
use crate::Server;

pub(super) async fn read(State(server): State<Server>, caller: Caller) -> Answer {
    caller.can_host(&server)?;
    let host = HostState::from(server.inner.state.lock().room.host());
    ok(&host)
}

pub(super) async fn request(State(server): State<Server>, caller: Caller) -> Answer {
    caller.can_host(&server)?;
    let asked = server.inner.with(|state, now| state.room.ask_control(caller.actor(), now));
    match asked {
        Ok(Asked::Granted) => done(),
        // Not an error, but neko sends it in the shape of one.
        Ok(Asked::Sent) => Err(ApiError::new(StatusCode::ACCEPTED, "control request sent")),
        Err(error) => Err(ApiError::forbidden(error.message())),
    }
}

pub(super) async fn release(State(server): State<Server>, caller: Caller) -> Answer {
    caller.can_host(&server)?;
    let released = server.inner.with(|state, now| state.room.release_control(caller.actor(), now));
    released.map_err(|error| ApiError::unprocessable(error.message()))?;
    done()
}

pub(super) async fn take(State(server): State<Server>, caller: Caller) -> Answer {
    caller.can_host(&server)?;
    caller.admin()?;
    server.inner.with(|state, now| state.room.take_control(caller.actor(), now));
    done()
}

pub(super) async fn give(State(server): State<Server>, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.can_host(&server)?;
    caller.must(caller.profile.is_admin || caller.is_host(&server), "session is not host or admin")?;
    let given = server.inner.with(|state, now| state.room.give_control(caller.actor(), &id, now));
    given.map_err(|error| match error {
        GiveError::NotFound => ApiError::not_found("target session was not found"),
        GiveError::CannotHost => ApiError::bad("target session is not allowed to host"),
    })?;
    done()
}

pub(super) async fn reset(State(server): State<Server>, caller: Caller) -> Answer {
    caller.can_host(&server)?;
    caller.admin()?;
    server.inner.with(|state, now| state.room.reset_control(caller.actor(), now));
    done()
}
