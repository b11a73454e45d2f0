//! Links for others to one session: a token that is good for it alone, with powers, an end, and a way back.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use glasshouse_fleet::{LinkRole, NewLink, NewToken, Power, Powers, TokenInfo, rfc3339};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Shared,
    caller::{Body, Caller, ClientOf, Id, Words},
    problem::{Answer, Problem},
};

/// Longest name of a link in characters.
const MAX_NAME: usize = 100;
/// How long a link may work, in seconds: a minute to thirty days.
const SECONDS: std::ops::RangeInclusive<u64> = 60..=2_592_000;
/// Tokens of one session at a time.
const MAX_TOKENS: usize = 200;
/// How long the ticket of `join` is good, in seconds: the page uses it at once.
const TICKET: u64 = 60;

/// A link to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewShare {
    /// What it lets do: `view`, `control` (which includes `view`) or `admin`. At least one, and none that the caller lacks.
    #[schema(min_items = 1, max_items = 3, required = true)]
    powers: Vec<Power>,
    /// For how long it works; a day, if not said.
    #[schema(minimum = 60, maximum = 2592000)]
    expires_in_seconds: u64,
    /// For people.
    #[schema(max_length = 100)]
    name: Option<String>,
}

impl Default for NewShare {
    fn default() -> Self {
        Self { powers: Vec::new(), expires_in_seconds: 86_400, name: None }
    }
}

/// A link to a session, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Share {
    /// Its public name, with which it is taken back.
    id: String,
    /// For people.
    name: String,
    /// What it lets do.
    powers: Vec<Power>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it ends.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// The link itself, told once. What is secret of it is behind the `#`, and never reaches a server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// All that let others in to one session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Shares {
    shares: Vec<Share>,
}

impl Share {
    fn new(info: TokenInfo, url: Option<String>) -> Self {
        Self {
            id: info.grant.token,
            name: info.name,
            powers: info.grant.powers.list(),
            created_at: rfc3339(info.created_at),
            expires_at: info.grant.expires_at.map(rfc3339),
            url,
        }
    }
}

/// What a page logs in to a session's room with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ticket {
    /// Password for neko's login, good once, for a minute.
    token: String,
    /// The strongest of the caller's powers that a room knows: `view`, `control` or `admin`.
    power: Power,
}

/// The strongest power that a room knows.
pub(crate) fn strongest(powers: Powers) -> Option<(Power, LinkRole)> {
    [(Power::Admin, LinkRole::Admin), (Power::Control, LinkRole::Member), (Power::View, LinkRole::Watcher)]
        .into_iter()
        .find(|(power, _)| powers.allow(*power))
}

/// Makes a link that opens a session's room for somebody without any other token.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/share", tag = "shares", request_body = NewShare, params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 201, description = "The link.", body = Share),
    (status = 400, description = "The body is not JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control`, or one that it wants to give.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It has too many links already.", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not said to be JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Fields are wrong, which are named.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    ClientOf(client): ClientOf,
    Id(id): Id,
    body: Body<NewShare>,
) -> Answer {
    caller.session(Power::Control, &id)?;
    let NewShare { powers, expires_in_seconds, name } = body.value;
    let name = name.unwrap_or_default();
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Problem::field("name", "at most 100 characters, none of them control characters"));
    }
    if powers.is_empty() || powers.contains(&Power::Cdp) {
        return Err(Problem::field("powers", "at least one of view, control, admin"));
    }
    if !SECONDS.contains(&expires_in_seconds) {
        return Err(Problem::field("expires_in_seconds", "from 60 to 2592000 seconds"));
    }
    for power in &powers {
        caller.session(*power, &id)?;
    }
    if shared.fleet.session_tokens(&id).await?.len() >= MAX_TOKENS {
        let detail = "this session has 200 links and tokens already: take some back";
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", detail));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let end = now.saturating_add(Duration::from_secs(expires_in_seconds));
    let token = NewToken {
        name,
        session: Some(id.clone()),
        powers: powers.into_iter().collect(),
        expires_at: Some(i64::try_from(end.as_millis()).unwrap_or(i64::MAX)),
    };
    let (secret, info) = shared.fleet.create_token(&token).await?;
    let listed: Vec<_> = info.grant.powers.list().iter().map(|power| format!("{power:?}").to_lowercase()).collect();
    let detail = format!("{}: {}, {expires_in_seconds} s", info.grant.token, listed.join(", "));
    shared.fleet.audit(caller.did("session.share", &id, detail)).await;
    let url = format!("{}/s/{id}/#token={secret}", client.url());
    let made = Share::new(info, Some(url));
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(made)).into_response())
}

/// Links and tokens that are good for a session alone, oldest first.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/share", tag = "shares", params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 200, description = "The links.", body = Shares),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, caller: Caller, Id(id): Id) -> Answer<Json<Shares>> {
    caller.session(Power::Control, &id)?;
    shared.fleet.get(&id).await?;
    let shares = shared.fleet.session_tokens(&id).await?.into_iter().map(|info| Share::new(info, None)).collect();
    Ok(Json(Shares { shares }))
}

/// Takes a link back. It is good no more as soon as this has been answered, and who came by it is out of the room.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}/share/{share}", tag = "shares", params(
    ("id" = String, Path, description = "Id of the session."),
    ("share" = String, Path, description = "Id of the link."),
), responses(
    (status = 204, description = "It is taken back."),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control`, or one of the link's.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none.", body = Problem, content_type = "application/problem+json"),
    (status = 502, description = "The link is good no more, but the session does not answer: who is in stays.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn revoke(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    words: Words,
) -> Answer<Response> {
    caller.session(Power::Control, &id)?;
    shared.fleet.get(&id).await?;
    let share = &words.get("share");
    let missing = || Problem::new(StatusCode::NOT_FOUND, "not-found", "this session has no such link");
    let all = shared.fleet.session_tokens(&id).await?;
    let info = all.into_iter().find(|info| info.grant.token == *share).ok_or_else(missing)?;
    for power in info.grant.powers.list() {
        caller.session(power, &id)?;
    }
    shared.fleet.revoke_token(share).await?;
    shared.fleet.audit(caller.did("session.unshare", &id, share)).await;
    match shared.fleet.unlink(&id, share).await {
        // It has ended, or nobody is in before it is ready.
        Ok(()) | Err(glasshouse_fleet::Error::NotFound | glasshouse_fleet::Error::Conflict(_)) => {
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// Lets the caller into a session's room, with the powers of its token: what a page does that was opened by a link.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/join", tag = "shares", params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 201, description = "What to log in with.", body = Ticket),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `view`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is not ready yet.", body = Problem, content_type = "application/problem+json"),
    (status = 502, description = "It does not answer.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn join(State(shared): State<Arc<Shared>>, caller: Caller, Id(id): Id) -> Answer {
    caller.session(Power::View, &id)?;
    // Checked just now, so that there is one.
    let (power, role) = strongest(caller.grant.powers).ok_or_else(Problem::missing)?;
    // By which they are out when the token is taken back, or they sign out.
    let label = Some(caller.grant.token.clone());
    let link = NewLink { role, expires_in: TICKET, uses: 1, label };
    let token = shared.fleet.link(&id, &link).await?;
    shared.fleet.audit(caller.did("session.join", &id, "")).await;
    let ticket = Ticket { token, power };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(ticket)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_power_counts() {
        let of = |powers: &[Power]| strongest(powers.iter().copied().collect()).map(|(power, _)| power);
        assert_eq!(of(&[Power::View, Power::Admin]), Some(Power::Admin));
        assert_eq!(of(&[Power::Control]), Some(Power::Control));
        assert_eq!(of(&[Power::View, Power::Cdp]), Some(Power::View));
        assert_eq!(of(&[Power::Cdp]), None);
    }
}
