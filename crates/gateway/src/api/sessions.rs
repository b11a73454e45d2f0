//! Sessions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use glasshouse_fleet::{Change, Filter, Idempotency, LinkRole, Page, Power, SessionId, Spec, State as Life, View};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Shared,
    caller::{Body, Caller, ClientOf, Id, Key, Prefer, Query, number, unknown},
    client::Client,
    metrics::Result as Outcome,
    problem::{Answer, Problem},
};

/// Longest wait for a session to be ready, in seconds.
const MAX_WAIT: u64 = 60;
/// Longest wait for a place when a limit is reached, in seconds.
const MAX_QUEUE: u64 = 120;
/// Sessions on a page, if not said, and at most.
const PAGE: u16 = 50;
const MAX_PAGE: u64 = 200;
/// Longest part of a log in bytes.
const MAX_LOG: u64 = 1024 * 1024;

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sessions {
    /// Newest first.
    sessions: Vec<View>,
    /// What to give as `cursor` for the next page, if there may be one.
    next: Option<String>,
}

/// For how long a session lives on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Extension {
    /// Seconds from now, or null for no end.
    #[schema(minimum = 1, maximum = 31536000, required = true)]
    seconds: Option<u64>,
}

/// A link to a session's room.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewLink {
    /// Who opens it is an admin of the room; needs the power `admin`.
    admin: bool,
    /// For how long it works.
    #[schema(minimum = 60, maximum = 2592000)]
    expires_in_seconds: u64,
    /// How often it works.
    #[schema(minimum = 1, maximum = 1000)]
    uses: u64,
}

impl Default for NewLink {
    fn default() -> Self {
        Self { admin: false, expires_in_seconds: 86_400, uses: 1 }
    }
}

/// A link that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Link {
    /// To be opened in a browser.
    url: String,
    /// What is secret of it; also the password with which neko's clients log in.
    token: String,
}

/// Sessions of this fleet, newest first.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "sessions", params(
    ("state" = Option<Vec<Life>>, Query, description = "In one of these states, repeated or separated by commas; without it, all that have not ended."),
    ("label" = Option<Vec<String>>, Query, description = "With this label, as name=value; repeated for several."),
    ("name" = Option<String>, Query, description = "With this name."),
    ("limit" = Option<u16>, Query, description = "Most sessions, 50 if not said.", minimum = 1, maximum = 200),
    ("cursor" = Option<String>, Query, description = "`next` of the page before."),
), responses(
    (status = 200, description = "A page of sessions.", body = Sessions),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `view`.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, caller: Caller, query: Query) -> Answer {
    if !caller.grant.powers.allow(Power::View) {
        caller.fleet(Power::View)?;
    }
    let (filter, page) = listing(&query.0, &caller)?;
    let (sessions, next) = shared.fleet.list(filter, page).await?;
    let next = next.map(|(at, id)| format!("{at}.{id}"));
    Ok(Json(Sessions { sessions, next }).into_response())
}

fn listing(query: &[(String, String)], caller: &Caller) -> Result<(Filter, Page), Problem> {
    let owner = caller.grant.is_own_only().then(|| caller.grant.who().to_owned());
    let mut filter = Filter { id: caller.grant.session.clone(), owner, ..Filter::default() };
    let mut page = Page { limit: PAGE, after: None };
    for (key, value) in query {
        match key.as_str() {
            "state" => {
                for name in value.split(',') {
                    let state = Life::parse(name);
                    let names = Life::ALL.map(Life::name).join(", ");
                    filter.states.push(state.ok_or_else(|| Problem::field("state", format!("one of {names}")))?);
                }
            }
            "label" => {
                let pair = value.split_once('=').ok_or_else(|| Problem::field("label", "name=value"))?;
                filter.labels.push((pair.0.to_owned(), pair.1.to_owned()));
            }
            "name" => filter.name = Some(value.clone()),
            "limit" => page.limit = u16::try_from(number("limit", value, 1..=MAX_PAGE)?).unwrap_or(PAGE),
            "cursor" => {
                page.after = Some(cursor(value).ok_or_else(|| Problem::field("cursor", "`next` of the page before"))?)
            }
            other => return Err(unknown(other)),
        }
    }
    if filter.labels.len() > 16 || filter.states.len() > 16 {
        return Err(Problem::field("query", "at most 16 labels and 16 states"));
    }
    Ok((filter, page))
}

fn cursor(text: &str) -> Option<(i64, SessionId)> {
    let (at, id) = text.split_once('.')?;
    Some((at.parse().ok()?, SessionId::parse(id)?))
}

/// Creates a session. Answers at once, while it is being started, or with `wait` when it is ready.
///
/// With an Idempotency-Key the same request can be sent again: it makes one session, however often it comes within a day.
#[utoipa::path(post, path = "/api/v1/sessions", tag = "sessions", request_body = Spec, params(
    ("wait" = Option<u16>, Query, description = "Seconds to wait until it is ready.", minimum = 0, maximum = 60),
    ("queue" = Option<u16>, Query, description = "Seconds to wait for a place when a limit is reached; without it, the answer is 429 at once.", minimum = 0, maximum = 120),
    ("Prefer" = Option<String>, Header, description = "`wait=N`: as `queue` (RFC 7240).", pattern = "^wait=[0-9]{1,2}$"),
    ("Idempotency-Key" = Option<String>, Header, description = "Any text of ASCII.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
), responses(
    (status = 201, description = "The session.", body = View, headers(("Location" = String, description = "Its path."))),
    (status = 200, description = "The session that the same request made before.", body = View),
    (status = 400, description = "The body is not JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control` over the fleet.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The name is taken, or the profile is used.", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The body is too large.", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not said to be JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Fields are wrong, which are named; or the key belongs to another request.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "A limit is reached: sessions, their rate, or memory. Also after waiting, or when too many wait.", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64, description = "Seconds to wait."))),
))]
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    ClientOf(client): ClientOf,
    query: Query,
    prefer: Prefer,
    Key(key): Key,
    body: Body<Spec>,
) -> Answer {
    let result = create_inner(&shared, &caller, &client, (&query, prefer), key, body).await;
    let outcome = match &result {
        Ok(response) if response.status() == StatusCode::CREATED => "created",
        Ok(_) => "repeated",
        Err(problem) => problem.name(),
    };
    shared.metrics.creations.get_or_create(&Outcome { result: outcome.to_owned() }).inc();
    result
}

async fn create_inner(
    shared: &Shared,
    caller: &Caller,
    client: &Client,
    (query, prefer): (&Query, Prefer),
    key: Option<String>,
    body: Body<Spec>,
) -> Answer {
    caller.own(Power::Control)?;
    if caller.grant.is_own_only() && body.value.profile.is_some() {
        return Err(Problem::field("profile", "profiles are for tokens, and for people with the power admin"));
    }
    let (mut wait, mut queue) = (0, prefer.0);
    for (name, value) in &query.0 {
        match name.as_str() {
            "wait" => wait = number(name, value, 0..=MAX_WAIT)?,
            "queue" => queue = Some(number(name, value, 0..=MAX_QUEUE)?),
            other => return Err(unknown(other)),
        }
    }
    let start = Instant::now();
    let key = key.map(|key| Idempotency { key, request: body.bytes.to_vec() });
    let patience = Duration::from_secs(queue.unwrap_or(0));
    let created = match patience.is_zero() {
        true => shared.fleet.create(&caller.grant, body.value, key).await?,
        false => shared.fleet.create_patiently(&caller.grant, body.value, key, patience).await?,
    };
    let mut view = created.view;
    if created.is_new {
        shared.fleet.audit(caller.did("session.create", &view.id, "")).await;
    }
    if wait > 0 {
        view = shared.fleet.wait(&view.id, Duration::from_secs(wait)).await?;
        if view.state == Life::Ready {
            shared.metrics.ready_after.observe(start.elapsed().as_secs_f64());
        }
    }
    let status = if created.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("{}/api/v1/sessions/{}", client.prefix, view.id);
    Ok((status, [(header::LOCATION, location)], Json(view)).into_response())
}

/// A session, also when it has ended.
#[utoipa::path(get, path = "/api/v1/sessions/{id}", tag = "sessions", params(
    ("id" = String, Path, description = "Id of the session."),
    ("wait" = Option<u16>, Query, description = "Seconds to wait while it is being created.", minimum = 0, maximum = 60),
), responses(
    (status = 200, description = "The session.", body = View),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `view`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none, as far as the token goes.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn read(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Answer<Json<View>> {
    caller.session(Power::View, &id)?;
    let wait = query.number("wait", 0..=MAX_WAIT)?.unwrap_or(0);
    Ok(Json(shared.fleet.wait(&id, Duration::from_secs(wait)).await?))
}

/// Changes labels and time-outs.
#[utoipa::path(patch, path = "/api/v1/sessions/{id}", tag = "sessions", request_body = Change, params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 200, description = "The session.", body = View),
    (status = 400, description = "The body is not JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not said to be JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Fields are wrong, which are named.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn change(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    body: Body<Change>,
) -> Answer<Json<View>> {
    caller.session(Power::Control, &id)?;
    let view = shared.fleet.change(&id, &body.value).await?;
    shared.fleet.audit(caller.did("session.change", &id, "")).await;
    Ok(Json(view))
}

/// Ends a session; answers when nothing of it is left.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "sessions", params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 200, description = "The session, which has ended.", body = View),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn end(State(shared): State<Arc<Shared>>, caller: Caller, Id(id): Id) -> Answer<Json<View>> {
    caller.session(Power::Control, &id)?;
    shared.fleet.audit(caller.did("session.delete", &id, "")).await;
    Ok(Json(shared.fleet.end(&id, "deleted").await?))
}

/// Lets a session live for so many seconds from now.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/extend", tag = "sessions", request_body = Extension, params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 200, description = "The session.", body = View),
    (status = 400, description = "The body is not JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not said to be JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The number is wrong.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn extend(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    body: Body<Option<Extension>>,
) -> Answer<Json<View>> {
    caller.session(Power::Control, &id)?;
    let extension = body.value.ok_or_else(|| Problem::field("seconds", "say for how long, or null for no end"))?;
    let view = shared.fleet.extend(&id, extension.seconds).await?;
    shared.fleet.audit(caller.did("session.extend", &id, format!("{:?} s", extension.seconds))).await;
    Ok(Json(view))
}

/// Stops the programs of a session until it is used again. Costs no processor time then.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/freeze", tag = "sessions", params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 200, description = "The session.", body = View),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is not ready yet, or cannot be frozen.", body = Problem, content_type = "application/problem+json"),
    (status = 502, description = "It does not answer.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn freeze(State(shared): State<Arc<Shared>>, caller: Caller, Id(id): Id) -> Answer<Json<View>> {
    caller.session(Power::Control, &id)?;
    let view = shared.fleet.freeze(&id).await?;
    shared.fleet.audit(caller.did("session.freeze", &id, "")).await;
    Ok(Json(view))
}

/// Lets the programs of a session go on.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/thaw", tag = "sessions", params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 200, description = "The session.", body = View),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is not ready yet.", body = Problem, content_type = "application/problem+json"),
    (status = 502, description = "It does not answer.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn thaw(State(shared): State<Arc<Shared>>, caller: Caller, Id(id): Id) -> Answer<Json<View>> {
    caller.session(Power::Control, &id)?;
    let view = shared.fleet.thaw(&id).await?;
    shared.fleet.audit(caller.did("session.thaw", &id, "")).await;
    Ok(Json(view))
}

/// Makes a link that logs in to a session's room.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/links", tag = "sessions", request_body = NewLink, params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 201, description = "The link.", body = Link),
    (status = 400, description = "The body is not JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is not ready yet.", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not said to be JSON.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Fields are wrong, which are named.", body = Problem, content_type = "application/problem+json"),
    (status = 502, description = "It does not answer.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn link(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    ClientOf(client): ClientOf,
    Id(id): Id,
    body: Body<NewLink>,
) -> Answer {
    let NewLink { admin, expires_in_seconds, uses } = body.value;
    // Nobody gives more than they have.
    caller.session(if admin { Power::Admin } else { Power::Control }, &id)?;
    if !(60..=2_592_000).contains(&expires_in_seconds) {
        return Err(Problem::field("expires_in_seconds", "from 60 to 2592000 seconds"));
    }
    if !(1..=1_000).contains(&uses) {
        return Err(Problem::field("uses", "from 1 to 1000"));
    }
    let role = if admin { LinkRole::Admin } else { LinkRole::Member };
    let link = glasshouse_fleet::NewLink { role, expires_in: expires_in_seconds, uses, label: None };
    let token = shared.fleet.link(&id, &link).await?;
    let detail = format!("admin {admin}, {expires_in_seconds} s, {uses} uses");
    shared.fleet.audit(caller.did("session.link", &id, detail)).await;
    let url = format!("{}/s/{id}/#token={token}", client.url());
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(Link { url, token })).into_response())
}

/// Where programs drive a session's browser.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Driver {
    /// For `connectOverCDP` and the like: a WebSocket that speaks the DevTools protocol.
    url: String,
    /// What is secret of it. Good until the session ends.
    token: String,
}

/// Says where programs drive a session's Chromium.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/cdp", tag = "sessions", params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 200, description = "The address.", body = Driver),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `cdp`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is not ready yet, or has no Chromium.", body = Problem, content_type = "application/problem+json"),
    (status = 502, description = "It does not answer.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn cdp(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    ClientOf(client): ClientOf,
    Id(id): Id,
) -> Answer {
    caller.session(Power::Cdp, &id)?;
    let token = shared.fleet.cdp_token(&id).await?;
    shared.fleet.audit(caller.did("session.cdp", &id, "")).await;
    let scheme = if client.scheme == "https" { "wss" } else { "ws" };
    let url = format!("{scheme}://{}{}/s/{id}/cdp?token={token}", client.host, client.prefix);
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(Driver { url, token })).into_response())
}

/// The screen of a session as JPEG.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/screenshot", tag = "sessions", params(
    ("id" = String, Path, description = "Id of the session."),
), responses(
    (status = 200, description = "The picture.", content_type = "image/jpeg", body = Vec<u8>),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `view`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none that runs.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is not ready yet.", body = Problem, content_type = "application/problem+json"),
    (status = 502, description = "It does not answer.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn screenshot(State(shared): State<Arc<Shared>>, caller: Caller, Id(id): Id) -> Answer {
    caller.session(Power::View, &id)?;
    let picture = shared.fleet.screenshot(&id).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, picture).into_response())
}

/// The end of what a session has logged, also when it has ended.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/logs", tag = "sessions", params(
    ("id" = String, Path, description = "Id of the session."),
    ("bytes" = Option<u32>, Query, description = "Most bytes, 65536 if not said.", minimum = 1, maximum = 1048576),
), responses(
    (status = 200, description = "Lines of text.", content_type = "text/plain", body = String),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control`.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn logs(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Answer<Response> {
    caller.session(Power::Control, &id)?;
    let bytes = query.number("bytes", 1..=MAX_LOG)?.unwrap_or(65_536);
    let log = shared.fleet.log(&id, bytes).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], log).into_response())
}
