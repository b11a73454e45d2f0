//! A session as a [Model Context Protocol](https://modelcontextprotocol.io) server over streamable HTTP.
//!
//! A thin layer: each tool calls the session's own HTTP routes in this process, with the caller's `Authorization`, so that
//! rights, and whatever else holds for programs, hold here as well. Only the browser's front page is asked past them, by
//! the DevTools gate's own way. It knows neither rooms nor media.
//!
//! What must hold:
//!
//! * Nothing is done for a request before its host, its origin and its token are found good.
//! * An MCP session is used with the token that began it, and by nobody else.
//! * Sessions, bodies and results are bounded, and sessions that nobody uses end.

#![forbid(unsafe_code)]

mod act;
mod ask;
mod client;
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod look;
mod page;
mod screen;
mod sessions;
mod tools;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use glasshouse_cdp::{Gate, refuse_foreign};
use parking_lot::Mutex;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService,
    session::{SessionManager, local::LocalSessionManager},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::AbortHandle;

use crate::{handler::Handler, sessions::Sessions};

/// Largest body in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// MCP sessions at a time.
const MAX_SESSIONS: usize = 64;
/// How long a session lasts that nobody uses, and how often that is looked at.
const UNUSED: Duration = Duration::from_secs(30 * 60);
const SWEEP: Duration = Duration::from_secs(30);
/// Ends what the sweep would miss; longer than any question to a person.
const AT_LAST: Duration = Duration::from_secs(2 * 3_600);
/// Time-out of a client that does not go on after its first message.
const BEGIN: Duration = Duration::from_secs(20);

/// Names the session in requests.
const SESSION: &str = "mcp-session-id";

/// What the holder of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// See the screen.
    pub watch: bool,
    /// Use mouse, keyboard and browser at some time; whether it may now is each call's affair.
    pub control: bool,
    /// Run programs.
    pub admin: bool,
}

/// Judges tokens. Must not block.
pub type Judge = dyn Fn(&str) -> Option<Rights> + Send + Sync;

/// How it is set up.
#[derive(Clone)]
pub struct Config {
    /// Answers the session's own routes, `/v1/…`.
    pub routes: Router,
    /// What comes before their paths, such as `/desk`; empty without a prefix.
    pub prefix: String,
    /// The way to the browser, if there is one.
    pub gate: Option<Gate>,
    /// What the holder of a token may do; none for a token that is nobody's.
    pub rights: Arc<Judge>,
    /// Host names that requests may be addressed to besides loopback names and IP addresses (DNS rebinding); `*` is any.
    pub allowed_hosts: Vec<String>,
    /// Origins whose web pages may connect besides our own; `*` is any.
    pub allowed_origins: Vec<String>,
}

struct Inner {
    config: Arc<Config>,
    service: StreamableHttpService<Handler, LocalSessionManager>,
    manager: Arc<LocalSessionManager>,
    sessions: Arc<Mutex<Sessions>>,
    sweeper: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.sweeper.abort();
        self.service.config.cancellation_token.cancel();
    }
}

/// The MCP server of one session.
#[derive(Clone)]
pub struct Mcp {
    inner: Arc<Inner>,
}

/// Counts a request as use of its session for as long as it is answered.
struct InUse {
    sessions: Arc<Mutex<Sessions>>,
    id: String,
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.sessions.lock().left(&self.id, Instant::now());
    }
}

impl Mcp {
    /// Makes it. To be called within a tokio runtime.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let config = Arc::new(config);
        let mut manager = LocalSessionManager::default();
        manager.session_config.keep_alive = Some(AT_LAST);
        manager.session_config.init_timeout = Some(BEGIN);
        let manager = Arc::new(manager);
        let shared = config.clone();
        let settings = StreamableHttpServerConfig::default()
            // Checked by us, with the settings of the session.
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(MAX_BODY);
        let make = move || Ok(Handler::new(shared.clone()));
        let service = StreamableHttpService::new(make, manager.clone(), settings);
        let sessions = Arc::<Mutex<Sessions>>::default();
        let sweeper = tokio::spawn(sweep(Arc::downgrade(&sessions), Arc::downgrade(&manager))).abort_handle();
        Self { inner: Arc::new(Inner { config, service, manager, sessions, sweeper }) }
    }

    /// Whether a path is ours.
    #[must_use]
    pub fn has(path: &str) -> bool {
        matches!(path, "/mcp" | "/mcp/")
    }

    /// Answers a request for a path that it [has](Self::has).
    pub async fn answer(&self, request: Request) -> Response {
        let inner = &self.inner;
        let Config { allowed_hosts, allowed_origins, rights, .. } = &*inner.config;
        if let Some(refusal) = refuse_foreign(request.headers(), request.uri(), allowed_hosts, allowed_origins) {
            return refusal;
        }
        let Some(token) = bearer(request.headers()) else {
            return unauthorized("send Authorization: Bearer with a token of this session");
        };
        if rights(token).is_none() {
            return unauthorized("this token is nobody's: log in for a new one");
        }
        let owner: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let id = request.headers().get(SESSION).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let in_use = match &id {
            Some(id) => {
                if !inner.sessions.lock().entered(id, &owner, Instant::now()) {
                    let text =
                        "this MCP session is not known: it has ended, or is another token's; initialize a new one";
                    return problem(StatusCode::NOT_FOUND, text);
                }
                Some(InUse { sessions: inner.sessions.clone(), id: id.clone() })
            }
            None if request.method() == Method::POST && !inner.has_room().await => {
                let text = "too many MCP sessions are open: end one with DELETE, or wait until one has expired";
                return problem(StatusCode::SERVICE_UNAVAILABLE, text);
            }
            None => None,
        };
        let is_end = request.method() == Method::DELETE;
        let response = inner.service.handle(request).await;
        let (mut parts, body) = response.into_parts();
        parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // A proxy that collects an answer would keep events until the end.
        parts.headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        let made = parts.headers.get(SESSION).and_then(|id| id.to_str().ok());
        let in_use = match (in_use, made) {
            (None, Some(made)) => {
                inner.sessions.lock().begun(made, owner, Instant::now());
                Some(InUse { sessions: inner.sessions.clone(), id: made.to_owned() })
            }
            (in_use, _) => in_use,
        };
        if let Some(id) = id.filter(|_| is_end && parts.status.is_success()) {
            inner.sessions.lock().ended(&id);
        }
        let flow = Body::new(body).into_data_stream().map(move |part| {
            let _in_use = &in_use;
            part
        });
        Response::from_parts(parts, Body::from_stream(flow))
    }

    /// Ends all sessions, and what they wait for.
    pub fn shutdown(&self) {
        self.inner.service.config.cancellation_token.cancel();
    }
}

impl Inner {
    /// Whether there can be one more session; makes room for it if one is not used just now.
    async fn has_room(&self) -> bool {
        if self.manager.sessions.read().await.len() < MAX_SESSIONS {
            return true;
        }
        let unused = self.sessions.lock().take_unused();
        let Some(id) = unused else { return false };
        // Gone meanwhile is as good.
        let _ = self.manager.close_session(&id.into()).await;
        true
    }
}

/// Ends sessions that nobody uses.
async fn sweep(sessions: Weak<Mutex<Sessions>>, manager: Weak<LocalSessionManager>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let (Some(sessions), Some(manager)) = (sessions.upgrade(), manager.upgrade()) else { return };
        let expired = sessions.lock().take_expired(Instant::now(), UNUSED);
        for id in expired {
            // Gone meanwhile is as good.
            let _ = manager.close_session(&id.into()).await;
        }
    }
}

/// The token of a request. In addresses there are none: they end up in logs.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

fn unauthorized(detail: &str) -> Response {
    let mut response = problem(StatusCode::UNAUTHORIZED, detail);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"glasshouse\""));
    response
}

impl fmt::Debug for Mcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mcp").field("sessions", &self.inner.sessions.lock().len()).finish_non_exhaustive()
    }
}
