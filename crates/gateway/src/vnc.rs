//! `/s/{id}/websockify`: VNC with a token of the fleet. noVNC knows the address only, so what it has is good for this too.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderValue, StatusCode, Uri, header, request::Parts},
};
use glasshouse_fleet::{LinkRole, NewLink, Power, SessionId};

use crate::{
    Shared,
    api::share,
    caller::{self, Caller},
    client::Client,
    facades::browser_use_vnc,
    problem::{Answer, Problem},
    proxy,
};

/// What tokens of a fleet begin with; others are a session's own.
const PREFIX: &str = "gh_";
/// How long the session may take to let in whom we have let in, in seconds.
const TICKET: u64 = 60;
/// Between looks at whether a token is still good.
const LOOK: Duration = Duration::from_secs(2);

/// Whether what follows a session's path is VNC's: what `glasshouse_rfb` answers there.
pub(crate) fn has(rest: &str) -> bool {
    matches!(rest, "websockify" | "websockify/" | "novnc/websockify")
}

/// Lets in whoever has a token of the fleet, as a member of the room with its powers; others are for the session to judge.
pub(crate) async fn pass(shared: Arc<Shared>, client: Client, id: SessionId, rest: &str, request: Request) -> Answer {
    let (mut parts, body) = request.into_parts();
    let caller = caller(&shared, &client, &mut parts).await?;
    let role = match &caller {
        Some(caller) => {
            caller.session(Power::View, &id)?;
            // Checked just now, so that there is one.
            let (_, role) = share::strongest(caller.grant.powers).ok_or_else(Problem::missing)?;
            Some(role)
        }
        None if has_token(&parts) => None,
        None => browser_use_vnc::is_open(&shared, &id).await.then_some(LinkRole::Member),
    };
    let entered = shared.fleet.enter(&id, true).await.map_err(proxy::refused)?;
    if let Some(role) = role {
        // Who comes by a token of the whole fleet is not sent out with it: that one has other uses.
        let label = caller.as_ref().filter(|caller| caller.grant.session.is_some());
        let label = label.map(|caller| caller.grant.token.clone());
        let link = NewLink { role, expires_in: TICKET, uses: 1, label };
        let ticket = shared.fleet.link(&id, &link).await?;
        let bearer = HeaderValue::from_str(&format!("Bearer {ticket}")).map_err(|_| Problem::missing())?;
        parts.headers.insert(header::AUTHORIZATION, bearer);
        parts.headers.remove(header::COOKIE);
        parts.uri = Uri::from_static("/");
        if let Some(caller) = &caller {
            shared.fleet.audit(caller.did("session.vnc", &id, "")).await;
        }
    }
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{rest}{query}", entered.path()).parse().map_err(|_| Problem::missing())?;
    let over = over(shared.clone(), caller);
    proxy::forward(&shared, &client, (entered, ()), target, Request::from_parts(parts, body), over).await
}

/// Who asks, if it is by a token of the fleet or a cookie of the server.
async fn caller(shared: &Arc<Shared>, client: &Client, parts: &mut Parts) -> Result<Option<Caller>, Problem> {
    let unauthorized = || {
        let detail = "this token is not good: ?token=gh_…, or Authorization: Bearer gh_…";
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    };
    let given = caller::bearer(&parts.headers).or_else(|| in_query(&parts.uri)).map(str::to_owned);
    match given {
        Some(secret) if secret.starts_with(PREFIX) => {
            let grant = shared.fleet.grant(&secret).ok_or_else(unauthorized)?;
            Ok(Some(Caller { grant, address: client.address, secret, own: None }))
        }
        Some(_) => Ok(None),
        // A cookie, or nothing.
        None => Ok(Caller::from_request_parts(parts, shared).await.ok()),
    }
}

/// Whether there is a token for the session to judge.
fn has_token(parts: &Parts) -> bool {
    caller::bearer(&parts.headers).is_some()
        || in_query(&parts.uri).is_some()
        || parts.headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL)
            && parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().any(|value| {
                value.to_str().is_ok_and(|value| value.split(',').any(|one| one.trim().starts_with("token.")))
            })
}

/// Tokens of a fleet have no character that a query encodes.
fn in_query(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token=")).filter(|token| !token.is_empty())
}

/// Ends when what the caller came by is good no more, or lets do less.
async fn over(shared: Arc<Shared>, caller: Option<Caller>) {
    let Some(Caller { grant, secret, .. }) = caller else { return std::future::pending().await };
    while shared.grant(&secret).is_some_and(|now| now.powers == grant.powers) {
        tokio::time::sleep(LOOK).await;
    }
}
