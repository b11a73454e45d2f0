//! What neko's built-in plugins add: chat, and refusals of what is disabled.

use axum::extract::State;
use glasshouse_room::merge;

use super::{Answer, ApiError, Body, Caller, done};
use crate::{Server, member::MAX_CHAT};

pub(super) async fn chat(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    caller.admin()?;
    let mut text = String::new();
    merge::object(&body.json()?, |key, field| if key == "text" { field.string(&mut text) } else { Ok(()) })?;
    if text.chars().count() > MAX_CHAT {
        return Err(ApiError::bad("message is longer than 4096 characters"));
    }
    let sent = server.inner.with(|state, now| state.room.chat(caller.actor(), text, now));
    sent.map_err(|_| ApiError::forbidden("not allowed to send chat messages"))?;
    done()
}

pub(super) async fn file_transfer(_: Caller) -> Answer {
    Err(ApiError::forbidden("file transfer is disabled"))
}

pub(super) async fn open_link(_: Caller) -> Answer {
    Err(ApiError::forbidden("openinapp is disabled"))
}
