//! Links to log in with, made by admins.

use std::time::Duration;

use axum::extract::State;
use glasshouse_room::{merge, time};
use serde_json::json;

use super::{Answer, ApiError, Body, Caller, ok};
use crate::{Server, core, json as body_json};

pub(super) async fn create(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    caller.admin()?;
    let (mut admin, mut expires_in, mut uses) = (false, 86_400u32, 1u32);
    let value = match body.json() {
        Ok(value) => value,
        // Everything has a default.
        Err(_) if body_json::first_value(&body.0) == Err(body_json::BodyError::Empty) => serde_json::Value::Null,
        Err(error) => return Err(error),
    };
    merge::object(&value, |key, field| match key {
        "admin" => field.bool(&mut admin),
        "expires_in" => field.int(&mut expires_in),
        "uses" => field.int(&mut uses),
        _ => Ok(()),
    })?;
    if !(60..=2_592_000).contains(&expires_in) {
        return Err(ApiError::bad("expires_in must be from 60 to 2592000 seconds"));
    }
    if !(1..=1000).contains(&uses) {
        return Err(ApiError::bad("uses must be from 1 to 1000"));
    }
    let (lifetime, now) = (Duration::from_secs(expires_in.into()), core::now());
    let token = server.inner.auth.lock().links.create(admin, lifetime, uses, now.instant);
    let token = token.ok_or_else(|| ApiError::unprocessable("too many links are open: wait until some expire"))?;
    ok(&json!({ "token": token, "expires_at": time::rfc3339(now.wall + lifetime) }))
}
