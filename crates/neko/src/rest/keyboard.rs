//! Keyboard layout and modifiers.

use axum::extract::State;
use serde_json::json;

use super::{Answer, ApiError, Body, Caller, done, ok};
use crate::{Server, events};

fn failed(error: glasshouse_desktop::Error) -> ApiError {
    ApiError::internal("keyboard", &error)
}

pub(super) async fn map(State(server): State<Server>, caller: Caller) -> Answer {
    caller.can_host(&server)?;
    let map = server.inner.desk.keyboard_map().await.map_err(failed)?;
    ok(&json!({ "layout": map.layout, "variant": map.variant }))
}

pub(super) async fn set_map(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    caller.can_host(&server)?;
    caller.host(&server)?;
    let map = events::keyboard_map(&body.json()?)?;
    server.inner.desk.set_keyboard_map(map).await.map_err(failed)?;
    done()
}

pub(super) async fn modifiers(State(server): State<Server>, caller: Caller) -> Answer {
    caller.can_host(&server)?;
    let now = server.inner.desk.keyboard_modifiers().await.map_err(failed)?;
    let is = |modifier: Option<bool>| modifier.unwrap_or(false);
    ok(&json!({
        "shift": is(now.shift), "capslock": is(now.capslock), "control": is(now.control), "alt": is(now.alt),
        "numlock": is(now.numlock), "meta": is(now.meta), "super": is(now.super_), "altgr": is(now.altgr),
    }))
}

pub(super) async fn set_modifiers(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    caller.can_host(&server)?;
    caller.host(&server)?;
    let modifiers = events::keyboard_modifiers(&body.json()?)?;
    server.inner.desk.set_keyboard_modifiers(modifiers).await.map_err(failed)?;
    done()
}
