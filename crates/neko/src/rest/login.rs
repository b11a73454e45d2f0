//! Logging in and out.

use axum::{extract::State, http::StatusCode};
use glasshouse_room::{LoginError, Profile, SessionData, SessionState, merge};
use serde::Serialize;

use super::{Answer, ApiError, Body, Caller, PeerOf, ok};
use crate::{Server, core, secret};

/// Longest name in characters.
pub(super) const MAX_NAME: usize = 64;

#[derive(Serialize)]
struct LoggedIn<'a> {
    id: &'a str,
    token: &'a str,
    profile: &'a Profile,
    state: &'a SessionState,
}

pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    match name.chars().count() <= MAX_NAME {
        true => Ok(()),
        false => Err(ApiError::bad("name is longer than 64 characters")),
    }
}

pub(super) async fn login(State(server): State<Server>, PeerOf(peer): PeerOf, body: Body) -> Answer {
    let (mut username, mut password) = (String::new(), String::new());
    merge::object(&body.json()?, |key, field| match key {
        "username" => field.string(&mut username),
        "password" => field.string(&mut password),
        _ => Ok(()),
    })?;
    check_name(&username)?;
    let inner = &*server.inner;
    let now = core::now();
    let (role, is_link) = {
        let mut auth = inner.auth.lock();
        // A token cannot be guessed, so the brake is only for passwords.
        if let Some(role) = auth.links.check(&password, now.instant) {
            (role, true)
        } else if auth.is_braked(peer.remote.ip(), now.instant) {
            inner.metrics.reject("login_rate");
            return Err(ApiError::too_many("too many failed logins: try again in a minute", 60));
        } else if let Some(role) = auth.check_password(&password) {
            (role, false)
        } else {
            auth.failed(peer.remote.ip(), now.instant);
            inner.metrics.reject("login");
            return Err(ApiError::status(StatusCode::UNAUTHORIZED));
        }
    };
    let id = format!("{username}-{}", secret::random(5));
    let profile = role.profile(username);
    let logged_in = inner.with(|state, now| {
        // Used up only by a login that works, and while nobody else can use it.
        let mut auth = inner.auth.lock();
        if is_link && auth.links.check(&password, now.instant).is_none() {
            return Err(ApiError::status(StatusCode::UNAUTHORIZED));
        }
        let data = state.room.login(&id, profile, now).map_err(|error| match error {
            LoginError::Locked => ApiError::forbidden("logins are locked"),
            LoginError::AlreadyConnected => ApiError::unprocessable("session already connected"),
            LoginError::Full => ApiError::unprocessable("the room is full"),
        })?;
        if is_link && let Some(label) = auth.links.consume(&password, now.instant) {
            auth.set_came_by(&id, label);
        }
        Ok((data, auth.add_token(&id)))
    });
    let (SessionData { id, profile, state }, token) = logged_in?;
    ok(&LoggedIn { id: &id, token: &token, profile: &profile, state: &state })
}

pub(super) async fn logout(State(server): State<Server>, caller: Caller) -> Answer {
    server
        .inner
        .with(|state, now| state.room.delete(&caller.id, now))
        .map_err(|_| ApiError::bad("session is not logged in"))?;
    ok(&true)
}

pub(super) async fn whoami(State(server): State<Server>, caller: Caller) -> Answer {
    match server.inner.state.lock().room.session(&caller.id) {
        Some(session) => ok(&session),
        None => ok(&SessionData { id: caller.id, profile: caller.profile, state: SessionState::default() }),
    }
}

pub(super) async fn profile(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    let body = body.json()?;
    let mut profile = caller.profile.clone();
    if caller.profile.is_admin {
        profile.merge(&body)?;
    } else {
        let mut asked = Profile::default();
        asked.merge(&body)?;
        profile.name = asked.name;
    }
    check_name(&profile.name)?;
    if caller.is_api {
        return Err(ApiError::bad("session does not exist"));
    }
    server
        .inner
        .with(|state, now| state.room.update_profile(&caller.id, profile, now))
        .map_err(|_| ApiError::bad("session does not exist"))?;
    ok(&true)
}
