//! Tokens and the audit log.

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
use glasshouse_fleet::{AuditEntry, NewToken, Power, SessionId, TokenInfo, rfc3339};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Shared,
    caller::{Body, Caller, Query, Words, number, unknown},
    problem::{Answer, Problem},
};

/// Longest name of a token in characters.
const MAX_NAME: usize = 100;
/// Longest life of a token: ten years, in seconds.
const MAX_SECONDS: u64 = 315_360_000;

/// A token to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TokenSpec {
    /// For people.
    #[schema(max_length = 100)]
    name: String,
    /// What it lets do; at least one.
    #[schema(min_items = 1, max_items = 4, required = true)]
    powers: Vec<Power>,
    /// The only session that it is good for; without it, the whole fleet.
    session: Option<String>,
    /// For how long it is good; without it, until it is revoked.
    #[schema(minimum = 1, maximum = 315360000)]
    expires_in_seconds: Option<u64>,
}

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Token {
    /// Its public name.
    id: String,
    /// For people.
    name: String,
    /// What it lets do.
    powers: Vec<Power>,
    /// The only session that it is good for, or null for the whole fleet.
    session: Option<String>,
    /// Whose browser it is, for those who have signed in; null for a token.
    account: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it ends.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// The secret, told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// All tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tokens {
    tokens: Vec<Token>,
}

/// Part of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditLog {
    /// Newest first.
    entries: Vec<AuditEntry>,
}

impl Token {
    fn new(info: TokenInfo, token: Option<String>) -> Self {
        Self {
            id: info.grant.token,
            name: info.name,
            powers: info.grant.powers.list(),
            session: info.grant.session.map(|session| session.to_string()),
            account: info.grant.login.map(|login| login.account),
            created_at: rfc3339(info.created_at),
            expires_at: info.grant.expires_at.map(rfc3339),
            token,
        }
    }
}

/// All tokens, without their secrets.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", responses(
    (status = 200, description = "The tokens.", body = Tokens),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `admin` over the fleet.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> Answer<Json<Tokens>> {
    caller.fleet(Power::Admin)?;
    let tokens = shared.fleet.tokens().await?.into_iter().map(|info| Token::new(info, None)).collect();
    Ok(Json(Tokens { tokens }))
}

/// Makes a token. Its secret is told now and never again.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = TokenSpec, responses(
    (status = 201, description = "The token with its secret.", body = Token),
    (status = 400, description = "The body is not JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `admin` over the fleet.", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not said to be JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Fields are wrong, which are named.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(State(shared): State<Arc<Shared>>, caller: Caller, body: Body<TokenSpec>) -> Answer {
    caller.fleet(Power::Admin)?;
    let spec = body.value;
    if spec.name.chars().count() > MAX_NAME || spec.name.chars().any(char::is_control) {
        return Err(Problem::field("name", "at most 100 characters, none of them control characters"));
    }
    if spec.powers.is_empty() {
        return Err(Problem::field("powers", "at least one of view, control, cdp, admin"));
    }
    let missing = || Problem::field("session", "the id of a session that runs");
    let session = match &spec.session {
        Some(id) => Some(SessionId::parse(id).ok_or_else(missing)?),
        None => None,
    };
    let expires_at = match spec.expires_in_seconds {
        None => None,
        Some(seconds) if (1..=MAX_SECONDS).contains(&seconds) => Some(in_millis(Duration::from_secs(seconds))),
        Some(_) => return Err(Problem::field("expires_in_seconds", "from 1 to 315360000 seconds")),
    };
    let token = NewToken { name: spec.name, session, powers: spec.powers.into_iter().collect(), expires_at };
    let made = shared.fleet.create_token(&token).await;
    let (secret, info) = made.map_err(|error| match error {
        glasshouse_fleet::Error::NotFound => missing(),
        error => error.into(),
    })?;
    shared.fleet.audit(caller.did("token.create", &info.grant.token, &info.name)).await;
    let made = Token::new(info, Some(secret));
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(made)).into_response())
}

/// Milliseconds since 1970 of a time from now.
fn in_millis(later: Duration) -> i64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(later);
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Revokes a token. It is good no more as soon as this has been answered, and who came by it is out of all rooms.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", params(
    ("id" = String, Path, description = "Id of the token."),
), responses(
    (status = 204, description = "It is revoked."),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `admin` over the fleet.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn revoke(State(shared): State<Arc<Shared>>, caller: Caller, words: Words) -> Answer<Response> {
    caller.fleet(Power::Admin)?;
    let id = words.get("id");
    let revoked = shared.fleet.revoke_token(&id).await;
    revoked.map_err(|error| match error {
        glasshouse_fleet::Error::NotFound => Problem::new(StatusCode::NOT_FOUND, "not-found", "there is no such token"),
        error => error.into(),
    })?;
    shared.fleet.audit(caller.did("token.revoke", &id, "")).await;
    shared.fleet.unlink_everywhere(&id).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Who did what, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(
    ("before" = Option<u64>, Query, description = "Only entries with a smaller number.", minimum = 1),
    ("limit" = Option<u16>, Query, description = "Most entries, 100 if not said.", minimum = 1, maximum = 1000),
), responses(
    (status = 200, description = "Entries.", body = AuditLog),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `admin` over the fleet.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn audit(State(shared): State<Arc<Shared>>, caller: Caller, query: Query) -> Answer<Json<AuditLog>> {
    caller.fleet(Power::Admin)?;
    let (mut before, mut limit) = (None, 100);
    for (key, value) in &query.0 {
        match key.as_str() {
            "before" => before = i64::try_from(number("before", value, 1..=i64::MAX.unsigned_abs())?).ok(),
            "limit" => limit = u16::try_from(number("limit", value, 1..=1_000)?).unwrap_or(limit),
            other => return Err(unknown(other)),
        }
    }
    Ok(Json(AuditLog { entries: shared.fleet.audit_log(before, limit).await? }))
}
