//! Members. The providers keep none, so that a member is there for as long as it has a session; what only a store of members
//! could do answers 500, as neko does.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use glasshouse_room::{Profile, merge};
use serde_json::Value;

use super::{Answer, ApiError, Body, Caller, done, login::check_name, ok};
use crate::Server;

fn unsupported() -> ApiError {
    ApiError::status(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) async fn list(_: Caller) -> Answer {
    ok(&[(); 0])
}

pub(super) async fn create(caller: Caller, body: Body) -> Answer {
    caller.admin()?;
    let (mut username, mut password) = (String::new(), String::new());
    let mut profile = Profile::user("");
    merge::object(&body.json()?, |key, field| match key {
        "username" => field.string(&mut username),
        "password" => field.string(&mut password),
        "profile" => profile.merge(field.value),
        _ => Ok(()),
    })?;
    if username.is_empty() {
        return Err(ApiError::bad("username cannot be empty"));
    }
    if password.is_empty() {
        return Err(ApiError::bad("password cannot be empty"));
    }
    Err(unsupported())
}

fn profile_of(server: &Server, id: &str) -> Option<Profile> {
    server.inner.state.lock().room.profile(id).cloned()
}

pub(super) async fn read(State(server): State<Server>, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.admin()?;
    ok(&profile_of(&server, &id).ok_or_else(unsupported)?)
}

pub(super) async fn update(State(server): State<Server>, caller: Caller, Path(id): Path<String>, body: Body) -> Answer {
    caller.admin()?;
    let mut profile = profile_of(&server, &id).ok_or_else(unsupported)?;
    profile.merge(&body.json()?)?;
    check_name(&profile.name)?;
    server.inner.with(|state, now| state.room.update_profile(&id, profile, now)).map_err(|_| unsupported())?;
    done()
}

pub(super) async fn password(caller: Caller, body: Body) -> Answer {
    caller.admin()?;
    let mut password = String::new();
    merge::object(&body.json()?, |key, field| match key {
        "password" => field.string(&mut password),
        _ => Ok(()),
    })?;
    Err(unsupported())
}

pub(super) async fn remove(State(server): State<Server>, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.admin()?;
    server.inner.with(|state, now| state.room.delete(&id, now)).map_err(|_| unsupported())?;
    done()
}

/// The ids of a bulk request and its `profile`. The whole body has to be JSON.
fn bulk(body: &Body) -> Result<(Vec<String>, Value), ApiError> {
    let wrong = || ApiError::bad("unable to unmarshal payload");
    let value: Value = serde_json::from_slice(&body.0).map_err(|_| wrong())?;
    let (mut ids, mut profile) = (Vec::new(), Value::Null);
    merge::object(&value, |key, field| match key {
        "ids" => field.strings(&mut ids),
        "profile" => {
            profile = field.value.clone();
            Ok(())
        }
        _ => Ok(()),
    })
    .map_err(|_| wrong())?;
    Ok((ids, profile))
}

fn failed(what: &str, id: &str) -> ApiError {
    let id: String = id.chars().take(128).collect();
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to {what} member {id}"))
}

pub(super) async fn bulk_update(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    caller.admin()?;
    let (ids, patch) = bulk(&body)?;
    for id in ids {
        let mut profile = profile_of(&server, &id).ok_or_else(|| failed("update", &id))?;
        let merged = profile.merge(&patch).is_ok() && check_name(&profile.name).is_ok();
        if !merged {
            return Err(ApiError::bad(format!("unable to unmarshal payload for member {id}")));
        }
        let updated = server.inner.with(|state, now| state.room.update_profile(&id, profile, now));
        updated.map_err(|_| failed("update", &id))?;
    }
    done()
}

pub(super) async fn bulk_delete(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    caller.admin()?;
    for id in bulk(&body)?.0 {
        let removed = server.inner.with(|state, now| state.room.delete(&id, now));
        removed.map_err(|_| failed("delete", &id))?;
    }
    done()
}
