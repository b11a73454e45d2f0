//! What passes between a viewer and its session: the offer of its peer connection, and the WebSocket of pictures.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{Path, Request, State as Extract},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use glasshouse_fleet::{Error, LinkRole, NewLink, Power, State as Life, Use, socket};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Found, Visitor, answer::Refusal, body_of, find};
use crate::{
    Shared,
    caller::{Caller, ClientOf},
    client::Client,
    facades::entry,
    proxy,
};

/// Where a session's own side is, which no path of a client's reaches.
const SESSION: &str = "/managed/mini-browser-isolation";
/// How long an offer waits for its session to be ready. The page gives up after 15 s by itself.
const OFFER: Duration = Duration::from_secs(20);
/// How long a WebSocket waits, as the original's attempts to reach its runner do.
const SOCKET: Duration = Duration::from_secs(24);
/// How long a session may take to answer an offer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long what lets a viewer in is good, in seconds.
const TICKET: u64 = 60;
/// Longest answer of a session in bytes.
const MAX_ANSWER: usize = 256 * 1024;

#[derive(Deserialize)]
struct Offer {
    sdp: String,
}

/// A session's answer; what follows it lasts as long as the viewer.
#[derive(Deserialize)]
struct Answer {
    sdp: String,
    guest: String,
}

/// What lets the caller into the session's room, once and at once, with the powers of their token.
async fn ticket(shared: &Shared, found: &Found, caller: &Caller) -> Result<String, Refusal> {
    let role = if caller.grant.powers.allow(Power::Control) { LinkRole::Member } else { LinkRole::Watcher };
    // Who comes by a token of the whole fleet is not sent out with it: that one has other uses.
    let label = caller.grant.session.is_some().then(|| caller.grant.token.clone());
    let link = NewLink { role, expires_in: TICKET, uses: 1, label };
    Ok(shared.fleet.link(&found.id, &link).await?)
}

pub(super) async fn offer(
    Extract(shared): Extract<Arc<Shared>>,
    ClientOf(client): ClientOf,
    Visitor(caller): Visitor,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let answered = offer_inner(&shared, &client, caller, &name, request).await;
    let status = answered.as_ref().map_or_else(|refusal| refusal.status, |_| StatusCode::OK);
    shared.facades.mini.metrics.offered(status.as_u16());
    match answered {
        Ok(sdp) => axum::Json(json!({ "type": "answer", "sdp": sdp })).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn offer_inner(
    shared: &Arc<Shared>,
    client: &Client,
    caller: Caller,
    name: &str,
    request: Request,
) -> Result<String, Refusal> {
    let found = find(shared, &caller, name, Power::View).await?;
    let body = body_of(request).await?;
    let offer: Offer = serde_json::from_slice(&body).map_err(|error| Refusal::bad(error.to_string()))?;
    let mut entered = when_ready(shared, &found, OFFER).await?;
    let token = ticket(shared, &found, &caller).await?;
    let exchange = exchange(shared, &entered, client, "offer", json!({ "sdp": offer.sdp, "token": token }));
    let (answer, rest) = tokio::time::timeout(ANSWER, exchange).await.map_err(|_| Refusal::unreachable())??;
    // The session is in use for as long as the viewer is there.
    entered.connected();
    let (shared, client) = (shared.clone(), client.clone());
    tokio::spawn(async move {
        let over = entry::over(shared.fleet.clone(), caller);
        tokio::select! {
            () = drain(rest) => {}
            () = over => {
                // One that cannot be told so any more is gone as well.
                let _ = send_away(&shared, &entered, &client, &answer.guest).await;
            }
        }
    });
    Ok(answer.sdp)
}

/// Waits for a session that is being started; its use keeps it from being idle, and wakes it.
async fn when_ready(shared: &Shared, found: &Found, patience: Duration) -> Result<Use, Refusal> {
    let not_ready = |status: &str| Refusal::new(StatusCode::CONFLICT, format!("session not ready: {status}"));
    let view = shared.fleet.wait(&found.id, patience).await?;
    let status = super::status(view.state, shared.facades.mini.registry.is_ended(&found.name));
    if status != "ready" || !matches!(view.state, Life::Ready | Life::Frozen) {
        return Err(not_ready(status));
    }
    match shared.fleet.enter(&found.id, true).await {
        Ok(entered) => Ok(entered),
        // It has ended meanwhile.
        Err(Error::NotFound) => Err(not_ready("terminated")),
        Err(error) => Err(error.into()),
    }
}

/// Asks a session; returns the first line of its answer, and what follows.
async fn exchange(
    shared: &Shared,
    entered: &Use,
    client: &Client,
    what: &str,
    body: Value,
) -> Result<(Answer, Incoming), Refusal> {
    let failed = |_| Refusal::unreachable();
    let response = send(shared, entered, client, what, body).await?;
    let (status, mut body) = (response.status(), response.into_body());
    let mut text = Vec::new();
    while !text.contains(&b'\n') && text.len() <= MAX_ANSWER {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame.map_err(failed)?.into_data() {
            text.extend_from_slice(&data);
        }
    }
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if status != StatusCode::OK {
        let error = String::from_utf8_lossy(line).into_owned();
        return Err(match status {
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN => Refusal::new(status, error),
            _ => Refusal::unreachable(),
        });
    }
    let answer = serde_json::from_slice(line)
        .map_err(|_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "failed to read runner answer"))?;
    Ok((answer, body))
}

/// Sends a guest of a session away.
async fn send_away(shared: &Shared, entered: &Use, client: &Client, guest: &str) -> Result<(), Refusal> {
    let sent = tokio::time::timeout(ANSWER, send(shared, entered, client, "leave", json!({ "guest": guest }))).await;
    sent.map_err(|_| Refusal::unreachable())?.map(drop)
}

async fn send(
    shared: &Shared,
    entered: &Use,
    client: &Client,
    what: &str,
    body: Value,
) -> Result<hyper::Response<Incoming>, Refusal> {
    let mut sender = socket::connect::<Full<Bytes>>(&entered.socket()).await?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("{SESSION}/{what}"))
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-glasshouse-remote", client.address.to_string())
        .header("x-glasshouse-local", client.local.to_string())
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|_| Refusal::unreachable())?;
    if let Some(media) = shared.media.get() {
        let address = media.address.parse().map_err(|_| Refusal::unreachable())?;
        request.headers_mut().insert(proxy::MEDIA, address);
    }
    sender.send_request(request).await.map_err(|_| Refusal::unreachable())
}

/// Reads to the end.
async fn drain(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

pub(super) async fn socket(
    Extract(shared): Extract<Arc<Shared>>,
    ClientOf(client): ClientOf,
    Visitor(caller): Visitor,
    Path(name): Path<String>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let found = find(&shared, &caller, &name, Power::View).await?;
    if !proxy::wanted_upgrade(request.headers())? {
        return Err(Refusal::bad("this is a WebSocket"));
    }
    let entered = when_ready(&shared, &found, SOCKET).await?;
    let token = ticket(&shared, &found, &caller).await?;
    let target = format!("{SESSION}/ws?token={token}").parse().map_err(|_| Refusal::unreachable())?;
    for secret in [header::AUTHORIZATION, header::COOKIE] {
        request.headers_mut().remove(secret);
    }
    shared.facades.mini.metrics.fell_back();
    let over = entry::over(shared.fleet.clone(), caller);
    Ok(proxy::forward(&shared, &client, (entered, ()), target, request, over).await?)
}
