//! `/cdp` of the door itself: a session that is created when a program connects, and ended when it leaves.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, Uri, header},
    response::IntoResponse,
    routing::{any, get},
};
use glasshouse_fleet::{Fleet, Grant, Power, Screen, SessionId, Spec, State as Life};
use serde_json::json;

use crate::{
    Shared,
    caller::{self, Caller, ClientOf, Query},
    metrics::Result as Outcome,
    problem::{Answer, Problem},
    proxy,
};

/// How long the session and its browser may take to start.
const START: Duration = Duration::from_secs(60);
/// Between attempts to reach a browser that is starting.
const STEP: Duration = Duration::from_millis(20);
/// Between looks at whether the token is still good.
const LOOK: Duration = Duration::from_secs(2);
/// How long the session of a program stays whose server was killed, in seconds, once there is a server again.
const IDLE: u64 = 60;
/// Longest time in seconds: a year.
const MAX_SECONDS: u64 = 31_536_000;

pub(crate) fn router() -> Router<Arc<Shared>> {
    let version = get(version);
    Router::new()
        .route("/cdp", any(connect))
        .route("/cdp/", any(connect))
        .route("/cdp/json/version", version.clone())
        .route("/cdp/json/version/", version)
}

/// Who connects, and to what: everything is in the address, because that is all that many clients let their users choose.
struct Wanted {
    caller: Caller,
    spec: Spec,
}

impl Wanted {
    /// Reads the query. The token may also come as `Authorization: Bearer`, which counts first.
    fn read(shared: &Shared, given: Option<Caller>, address: std::net::IpAddr, query: Query) -> Result<Self, Problem> {
        let mut spec = Spec {
            // A program that is connected uses it, also while it says nothing.
            idle_freeze_seconds: Some(0),
            idle_timeout_seconds: Some(IDLE),
            ..Spec::default()
        };
        let mut token = None;
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in query.0 {
            if seen.contains(&name) {
                return Err(Problem::field(name, "once only"));
            }
            match name.as_str() {
                "token" => token = Some(value),
                "url" => spec.url = Some(value),
                "name" => spec.name = Some(value),
                "screen" => spec.screen = screen(&value)?,
                "locale" => spec.locale = Some(value),
                "timezone" => spec.timezone = Some(value),
                "profile" => spec.profile = Some(value),
                "max_lifetime_seconds" => {
                    spec.max_lifetime_seconds = Some(caller::number(&name, &value, 0..=MAX_SECONDS)?);
                }
                _ => return Err(caller::unknown(&name)),
            }
            seen.push(name);
        }
        let caller = given.or_else(|| {
            let secret = token?;
            let grant = shared.fleet.grant(&secret)?;
            Some(Caller { grant, address, secret, own: None })
        });
        let caller = caller.ok_or_else(|| {
            let detail = "a token is needed: ?token=gh_…, or Authorization: Bearer gh_…";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        })?;
        for power in [Power::Control, Power::Cdp] {
            caller.fleet(power)?;
        }
        Ok(Self { caller, spec })
    }
}

/// `1280x720`.
fn screen(text: &str) -> Result<Screen, Problem> {
    let (width, height) = text.split_once('x').unwrap_or_default();
    match (width.parse(), height.parse()) {
        // Whether the size is possible is said with all else.
        (Ok(width), Ok(height)) => Ok(Screen { width, height }),
        _ => Err(Problem::field("screen", "WIDTHxHEIGHT in pixels, such as 1280x720")),
    }
}

/// Where clients are sent that ask over HTTP first, as Chromium answers it. Nothing is created yet.
async fn version(
    State(shared): State<Arc<Shared>>,
    ClientOf(client): ClientOf,
    given: Result<Caller, Problem>,
    uri: Uri,
    query: Query,
) -> Answer {
    Wanted::read(&shared, given.ok(), client.address, query)?;
    let scheme = if client.scheme == "https" { "wss" } else { "ws" };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let url = format!("{scheme}://{}{}/cdp{query}", client.host, client.prefix);
    let version = json!({ "Browser": "Chrome", "Protocol-Version": "1.3", "webSocketDebuggerUrl": url });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(version)).into_response())
}

/// Creates a session, and is its browser's WebSocket from then on.
async fn connect(
    State(shared): State<Arc<Shared>>,
    ClientOf(client): ClientOf,
    given: Result<Caller, Problem>,
    query: Query,
    mut request: Request,
) -> Answer {
    let Wanted { caller, spec } = Wanted::read(&shared, given.ok(), client.address, query)?;
    if !proxy::wanted_upgrade(request.headers())? {
        let detail = "this is a WebSocket: connectOverCDP and the like connect to it, and get a session of their own";
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade", detail));
    }
    let created = shared.fleet.create(&caller.grant, spec, None).await.map_err(Problem::from);
    let result = created.as_ref().map_or_else(Problem::name, |_| "created").to_owned();
    shared.metrics.creations.get_or_create(&Outcome { result }).inc();
    let created = created?;
    let id = created.view.id;
    let ending = Ending { fleet: shared.fleet.clone(), id: id.clone() };
    shared.fleet.audit(caller.did("session.create", &id, "by connecting")).await;
    let token = tokio::time::timeout(START, driver(&shared.fleet, &id)).await.unwrap_or_else(|_| {
        Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "session", "the session was not ready within 60 s"))
    })?;
    let entered = shared.fleet.enter(&id, true).await?;
    let target = format!("{}cdp?token={token}", entered.path()).parse().map_err(|_| Problem::missing())?;
    // The session's own token is in the address.
    request.headers_mut().remove(header::AUTHORIZATION);
    let over = revoked(shared.fleet.clone(), caller.grant, caller.secret);
    proxy::forward(&shared, &client, (entered, ending), target, request, over).await
}

/// Waits for a session and its browser; returns the token that drives it.
async fn driver(fleet: &Fleet, id: &SessionId) -> Result<String, Problem> {
    let view = fleet.wait(id, START).await?;
    if view.state != Life::Ready {
        let reason = view.reason.unwrap_or_else(|| "it ended".into());
        return Err(Problem::new(StatusCode::BAD_GATEWAY, "session", format!("the session did not start: {reason}")));
    }
    loop {
        match fleet.cdp_token(id).await {
            Ok(token) => return Ok(token),
            // Chromium comes after the desktop.
            Err(glasshouse_fleet::Error::Conflict(_)) => tokio::time::sleep(STEP).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends when a token is good no more, or lets do less.
pub(crate) async fn revoked(fleet: Fleet, grant: Grant, secret: String) {
    while fleet.grant(&secret).is_some_and(|now| now.powers == grant.powers) {
        tokio::time::sleep(LOOK).await;
    }
}

/// A session that ends with the connection that made it.
struct Ending {
    fleet: Fleet,
    id: SessionId,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let (fleet, id) = (self.fleet.clone(), self.id.clone());
        // There is none when the server stops; the next one ends it for being idle.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Somebody else may have ended it.
                let _ = fleet.end(&id, "its program left").await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(screen("1280x720").ok(), Some(Screen { width: 1280, height: 720 }));
        for wrong in ["", "x", "1280", "1280x", "x720", "1280x720x1", "-1x5", "99999x1"] {
            assert!(screen(wrong).is_err(), "{wrong}");
        }
    }
}
