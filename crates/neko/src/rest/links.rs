//! Links to log in with, made by admins.

use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use glasshouse_room::{merge, time};
use serde_json::json;

use super::{Answer, ApiError, Body, Caller, done, ok};
use crate::{
    Server, core, json as body_json,
    links::{NewLink, Role},
};

/// Longest label in bytes.
const MAX_LABEL: usize = 64;

pub(super) async fn create(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    caller.admin()?;
    let (mut admin, mut view_only, mut expires_in, mut uses) = (false, false, 86_400u32, 1u32);
    let mut label = String::new();
    let value = match body.json() {
        Ok(value) => value,
        // Everything has a default.
        Err(_) if body_json::first_value(&body.0) == Err(body_json::BodyError::Empty) => serde_json::Value::Null,
        Err(error) => return Err(error),
    };
    merge::object(&value, |key, field| match key {
        "admin" => field.bool(&mut admin),
        "view_only" => field.bool(&mut view_only),
        "expires_in" => field.int(&mut expires_in),
        "uses" => field.int(&mut uses),
        "label" => field.string(&mut label),
        _ => Ok(()),
    })?;
    if !(60..=2_592_000).contains(&expires_in) {
        return Err(ApiError::bad("expires_in must be from 60 to 2592000 seconds"));
    }
    if !(1..=1000).contains(&uses) {
        return Err(ApiError::bad("uses must be from 1 to 1000"));
    }
    if label.len() > MAX_LABEL {
        return Err(ApiError::bad("label is longer than 64 bytes"));
    }
    let role = match (admin, view_only) {
        (true, true) => return Err(ApiError::bad("an admin cannot be one who only watches: choose one")),
        (true, false) => Role::Admin,
        (false, false) => Role::Member,
        (false, true) => Role::Watcher,
    };
    let (lifetime, now) = (Duration::from_secs(expires_in.into()), core::now());
    let link = NewLink { role, lifetime, uses, label: Some(label).filter(|label| !label.is_empty()) };
    let token = server.inner.auth.lock().links.create(link, now.instant);
    let token = token.ok_or_else(|| ApiError::unprocessable("too many links are open: wait until some expire"))?;
    // Who asked for one that only lets watch can see that this was understood.
    ok(&json!({ "token": token, "expires_at": time::rfc3339(now.wall + lifetime), "view_only": view_only }))
}

/// Removes the links with a label, and whoever came by them; with `?expired`, they are told that.
pub(super) async fn remove(
    State(server): State<Server>,
    caller: Caller,
    Path(label): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    caller.admin()?;
    let members = {
        let mut auth = server.inner.auth.lock();
        auth.links.remove(&label);
        auth.came_by(&label)
    };
    let reason = if query.as_deref() == Some("expired") { "link expired" } else { "session deleted" };
    server.inner.with(|state, now| {
        for id in members {
            // Gone meanwhile is as good.
            let _ = state.room.delete_for(&id, reason, now);
        }
    });
    done()
}
