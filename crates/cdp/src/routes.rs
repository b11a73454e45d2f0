//! What each path answers.

use std::{
    borrow::Cow,
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::{
    Gate, Grant,
    address::{self, Public},
    ask::{self, Answer},
    first_page,
    gate::Inner,
    guard, issue,
    policy::Verdict,
    problem::Problem,
    relay::{self, Silence},
    rider::Rider,
    wheel::{Act, Call, Client, MAX_PATIENCE, PATIENCE, Seat, Turn},
};

/// Longest answer of the browser that is rewritten, in bytes.
const MAX_JSON: usize = 8 * 1024 * 1024;
/// How long to wait before a browser that ended is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How long the browser may take to answer a request.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a client may take to go on after its handshake.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted<'a> {
    Version,
    List,
    Protocol,
    New,
    Activate(&'a str),
    Close(&'a str),
    /// The WebSocket at this path of the browser.
    Socket(&'a str),
    /// The browser's own WebSocket, whatever its path is.
    Browser,
    /// [`Wanted::Browser`] for a WebSocket, else [`Wanted::Version`].
    Entrance,
    Tokens,
}

impl<'a> Wanted<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let is_id = |id: &str| {
            (1..=128).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let id = |prefix: &str| path.strip_prefix(prefix).filter(|id| is_id(id));
        let wanted = match path {
            "/cdp" => Self::Entrance,
            "/cdp/tokens" => Self::Tokens,
            _ => match path.strip_prefix("/cdp") {
                Some(inner) if inner.starts_with("/json") || inner.starts_with("/devtools/") => Self::of(inner)?,
                Some(_) => return None,
                None => match path {
                    "/json" | "/json/list" => Self::List,
                    "/json/version" => Self::Version,
                    "/json/protocol" => Self::Protocol,
                    "/json/new" => Self::New,
                    "/devtools/browser" => Self::Browser,
                    _ if id("/devtools/browser/").or(id("/devtools/page/")).is_some() => Self::Socket(path),
                    _ => id("/json/activate/").map(Self::Activate).or(id("/json/close/").map(Self::Close))?,
                },
            },
        };
        Some(wanted)
    }

    /// Whether it changes what people see.
    fn acts(&self) -> bool {
        matches!(self, Self::New | Self::Activate(_) | Self::Close(_))
    }

    /// The CDP method that does the same, which a token must allow.
    fn method(&self) -> Option<&'static str> {
        match self {
            Self::List => Some("Target.getTargets"),
            Self::New => Some("Target.createTarget"),
            Self::Activate(_) => Some("Target.activateTarget"),
            Self::Close(_) => Some("Target.closeTarget"),
            _ => None,
        }
    }
}

/// Lets a program take its place at the wheel, if there is one.
fn join(gate: &Inner, headers: &HeaderMap, query: &str, grant: &Grant) -> Result<Option<Arc<dyn Seat>>, Problem> {
    let Some(wheel) = &gate.config.wheel else { return Ok(None) };
    let patience = match guard::word_of(query, "patience") {
        None => grant.policy.patience.unwrap_or(PATIENCE),
        Some(text) => {
            text.parse().map(Duration::from_secs).ok().filter(|time| *time <= MAX_PATIENCE).ok_or_else(|| {
                let text = "patience is how many seconds input waits for a person: from 0 (fails at once) to 600";
                Problem::new(StatusCode::BAD_REQUEST, text)
            })?
        }
    };
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).map(str::to_owned);
    let client = Client { token: grant.id.clone(), name: guard::word_of(query, "name"), agent, patience };
    wheel.join(client).map(Some).map_err(|why| Problem::new(StatusCode::FORBIDDEN, why))
}

/// The query of a request, as far as it is for us: `/json/new` has the page's address there.
fn own_words<'a>(wanted: &Wanted<'_>, query: &'a str) -> &'a str {
    if *wanted == Wanted::New { "" } else { query }
}

/// What a client says of itself in its address, to be said again in those that it gets.
fn said(query: &str) -> String {
    let is_plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%+=".contains(&byte));
    let is_ours = |part: &&str| part.starts_with("name=") || part.starts_with("patience=");
    query.split('&').filter(is_ours).filter(is_plain).map(|part| format!("&{part}")).collect()
}

/// Waits until a request may act that is no WebSocket's.
async fn act(seat: &dyn Seat, method: &str) -> Result<(), Problem> {
    let told = |is_refused| seat.called(&Call { method, target: None, count: 1, is_refused, message: None });
    let (turn, status) = match seat.may_act() {
        Turn::Go => (Ok(()), StatusCode::OK),
        Turn::Wait => (seat.turn().await, StatusCode::LOCKED),
        Turn::Refused(why) => (Err(why), StatusCode::FORBIDDEN),
    };
    told(turn.is_err());
    turn.map_err(|why| Problem::new(status, format!("{method} is not possible now: {why}")))?;
    seat.acted(Act::Navigate);
    Ok(())
}

/// Answers one request.
pub(crate) async fn answer(gate: Gate, request: Request) -> Response {
    match enter(&gate.inner, request).await {
        Ok(mut response) => {
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }
        Err(problem) => problem.into_response(),
    }
}

async fn enter(gate: &Arc<Inner>, request: Request) -> Result<Response, Problem> {
    let config = &gate.config;
    let query = request.uri().query().unwrap_or_default().to_owned();
    let path = request.uri().path().to_owned();
    let refuse = |problem| {
        gate.refused.fetch_add(1, Ordering::Relaxed);
        problem
    };
    guard::check(request.headers(), request.uri(), &config.allowed_hosts, &config.allowed_origins).map_err(refuse)?;
    let given = guard::token_of(request.headers(), &query).map_err(refuse)?;
    let grant = config.access.judge(&given.token).map_err(guard::refused).map_err(refuse)?;
    let wanted = Wanted::of(&path).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "there is nothing here: /json/version has the address to connect to")
    })?;
    if let Some(method) = wanted.method()
        && grant.policy.judge(method) != Verdict::Pass
    {
        let text = format!("this token does not allow {method}: ask for one that does");
        return Err(refuse(Problem::new(StatusCode::FORBIDDEN, text)));
    }
    let (parts, body) = request.into_parts();
    let is_forwarded = (config.is_forwarded)(&parts);
    let words = given.in_address.clone().map(|token| token + &said(own_words(&wanted, &query)));
    let public = Public::of(&parts, &config.path_prefix, is_forwarded, &config.allowed_hosts, words);
    if let (true, Some(method)) = (wanted.acts(), wanted.method())
        && let Some(seat) = join(gate, &parts.headers, own_words(&wanted, &query), &grant).map_err(refuse)?
    {
        act(&*seat, method).await.map_err(refuse)?;
    }
    let is_socket = is_websocket(&parts.headers);
    let answer = match wanted {
        Wanted::Tokens => return issue::answer(gate, &parts.method, body, &grant, &public).await,
        Wanted::Socket(path) => return socket(gate, Request::from_parts(parts, body), &grant, Some(path)).await,
        Wanted::Browser => return socket(gate, Request::from_parts(parts, body), &grant, None).await,
        Wanted::Entrance if is_socket => {
            return socket(gate, Request::from_parts(parts, body), &grant, None).await;
        }
        Wanted::Version | Wanted::Entrance => fetch(gate, "GET", "/json/version").await?,
        Wanted::List => fetch(gate, "GET", "/json/list").await?,
        Wanted::Protocol => {
            let answer = fetch(gate, "GET", "/json/protocol").await?;
            let headers = [(header::CONTENT_TYPE, answer.kind.clone().unwrap_or_default())];
            return Ok((answer.status, headers, answer.flow()).into_response());
        }
        Wanted::New => {
            let method = match parts.method {
                Method::PUT => "PUT",
                _ => "GET",
            };
            let url = without_token(&query, given.in_address.is_some());
            fetch(gate, method, &format!("/json/new?{url}")).await?
        }
        Wanted::Activate(id) => fetch(gate, "GET", &format!("/json/activate/{id}")).await?,
        Wanted::Close(id) => fetch(gate, "GET", &format!("/json/close/{id}")).await?,
    };
    rewritten(answer, &public).await
}

/// Asks the browser for something under `/json`.
async fn fetch(gate: &Inner, method: &str, path: &str) -> Result<Answer, Problem> {
    within(async {
        // Never closed.
        let _permit = gate.requests.acquire().await;
        asked(gate, method, path, &[]).await
    })
    .await
}

/// Asks the browser; asks its successor when it ends before it answers.
async fn asked(gate: &Inner, method: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<Answer> {
    let deadline = Instant::now() + gate.config.patience;
    loop {
        let stream = gate.config.upstream.open(deadline.saturating_duration_since(Instant::now())).await?;
        match ask::ask(stream, method, path, headers).await {
            Err(error) if is_ended(&error) && method == "GET" && Instant::now() < deadline => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            answer => return answer,
        }
    }
}

/// Whether the other side was gone before it answered.
fn is_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// Bounds what the browser may take, and says so.
async fn within<T>(asking: impl Future<Output = io::Result<T>>) -> Result<T, Problem> {
    match tokio::time::timeout(ANSWER_WITHIN, asking).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Problem::unready(&error)),
        Err(_) => Err(Problem::unready(&io::ErrorKind::TimedOut.into())),
    }
}

/// An answer with our addresses in it; what is no JSON goes as it is.
async fn rewritten(answer: Answer, public: &Public) -> Result<Response, Problem> {
    let (status, kind) = (answer.status, answer.kind.clone().unwrap_or_else(|| "text/plain".into()));
    let body = within(answer.body(MAX_JSON)).await?;
    let body = match serde_json::from_slice::<Value>(&body) {
        Ok(mut value) => {
            public.rewrite(&mut value);
            serde_json::to_vec_pretty(&value).map(Body::from).unwrap_or_default()
        }
        Err(_) => Body::from(body),
    };
    Ok((status, [(header::CONTENT_TYPE, kind)], body).into_response())
}

/// `/json/new` takes its whole query for the page's address, so our token has to come out of it.
fn without_token(query: &str, is_token_inside: bool) -> String {
    let mut is_found = !is_token_inside;
    let is_kept = |part: &&str| {
        let is_token = !is_found && part.starts_with("token=");
        is_found |= is_token;
        !is_token
    };
    query.split('&').filter(is_kept).collect::<Vec<_>>().join("&")
}

fn is_websocket(headers: &HeaderMap) -> bool {
    has_word(headers, header::UPGRADE, "websocket") && has_word(headers, header::CONNECTION, "upgrade")
}

fn has_word(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name);
    let mut words = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    words.any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// Opens a WebSocket to the browser and hands both ends to a relay.
async fn socket(
    gate: &Arc<Inner>,
    mut request: Request,
    grant: &Arc<Grant>,
    path: Option<&str>,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let key = headers.get("sec-websocket-key").and_then(|key| key.to_str().ok());
    let is_key = |key: &&str| key.len() == 24 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    let version = headers.get("sec-websocket-version").map(HeaderValue::as_bytes);
    let (Some(key), true, Some(b"13")) = (key.filter(is_key), is_websocket(headers), version) else {
        let text = "this is a WebSocket: connect with version 13 of the protocol";
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, text));
    };
    let busy = |text| Problem { retry_after: Some(5), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, text) };
    let permit = gate.connections.clone().try_acquire_owned();
    let permit = permit.map_err(|_| busy("too many programs are connected: close some, or try again later"))?;
    if *gate.closing.borrow() {
        return Err(busy("the session is ending"));
    }
    let seat = join(gate, headers, request.uri().query().unwrap_or_default(), grant)?;
    // From before it acts, so that it is known where pages are.
    let pages = gate.pages.clone().map(|pages| (pages.watch(), pages));
    let path = match path {
        Some(path) => Cow::Borrowed(path),
        None => Cow::Owned(browser_path(gate).await?),
    };
    let silence = if path.starts_with("/devtools/page/") { Silence::TargetEnded } else { Silence::BrowserEnded };
    if matches!(silence, Silence::BrowserEnded) {
        first_page::wait(gate, &path).await;
    }
    let mut wanted = vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
    ];
    // Compressed messages could not be judged, and on one machine compression costs more than it saves.
    let extensions = headers.get("sec-websocket-extensions").and_then(|value| value.to_str().ok());
    if let Some(extensions) = extensions.filter(|_| grant.policy.is_everything() && seat.is_none()) {
        wanted.push(("Sec-WebSocket-Extensions", extensions));
    }
    let answer = within(asked(gate, "GET", &path, &wanted)).await?;
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(no_target(answer).await);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    for (name, value) in
        [(header::SEC_WEBSOCKET_ACCEPT, &answer.accept), (header::SEC_WEBSOCKET_EXTENSIONS, &answer.extensions)]
    {
        if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
            out.insert(name, value);
        }
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let (gate, grant) = (gate.clone(), grant.clone());
    let target = path.strip_prefix("/devtools/page/").map(str::to_owned);
    tokio::spawn(async move {
        let _permit = permit;
        let (watching, pages) = pages.unzip();
        let _watching = watching;
        let Ok(Ok(upgraded)) = tokio::time::timeout(UPGRADE_WITHIN, upgrade).await else { return };
        let Answer { rest, stream, .. } = answer;
        let end = || async {
            let mut closing = gate.closing.subscribe();
            tokio::select! {
                _ = closing.wait_for(|is_closing| *is_closing) => (1001, "the session ended"),
                reason = grant.ended() => (1008, reason),
                reason = removed(seat.as_deref()) => (1008, reason),
            }
        };
        let rider = seat.clone().zip(pages).map(|(seat, pages)| Arc::new(Rider::new(seat, pages, target)));
        let wake = || (gate.config.wake)();
        relay::relay(TokioIo::new(upgraded), stream, &rest, (grant.policy.clone(), rider), silence, wake, end).await;
    });
    Ok(response)
}

/// Waits until a program is removed.
async fn removed(seat: Option<&dyn Seat>) -> &'static str {
    match seat {
        Some(seat) => seat.removed().await,
        None => std::future::pending().await,
    }
}

/// The path of the browser's own WebSocket, which is another after each start.
async fn browser_path(gate: &Inner) -> Result<String, Problem> {
    let body = within(fetch(gate, "GET", "/json/version").await?.body(MAX_JSON)).await?;
    let version = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let path = version["webSocketDebuggerUrl"].as_str().and_then(address::path_of);
    let is_plain = |path: &&str| path.bytes().all(|byte| byte.is_ascii_graphic());
    let path = path.filter(is_plain).ok_or_else(|| Problem::unready(&io::Error::other("it has no address")))?;
    Ok(path.to_owned())
}

/// Why the browser did not open a WebSocket.
async fn no_target(answer: Answer) -> Problem {
    let status = answer.status;
    let body = within(answer.body(MAX_JSON)).await.unwrap_or_default();
    if status == StatusCode::NOT_FOUND || body.starts_with(b"No such target") {
        let text = "there is no such target any more: /json/list has those that are there, /json/version the browser";
        return Problem::new(StatusCode::NOT_FOUND, text);
    }
    Problem::new(StatusCode::BAD_GATEWAY, format!("the browser refused the WebSocket with status {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, wanted) in [
            ("/cdp", Wanted::Entrance),
            ("/cdp/", Wanted::Entrance),
            ("/cdp/tokens", Wanted::Tokens),
            ("/json", Wanted::List),
            ("/json/list/", Wanted::List),
            ("/cdp/json/version/", Wanted::Version),
            ("/json/protocol", Wanted::Protocol),
            ("/json/new", Wanted::New),
            ("/json/activate/A-1", Wanted::Activate("A-1")),
            ("/json/close/A", Wanted::Close("A")),
            ("/devtools/browser", Wanted::Browser),
            ("/devtools/page/A", Wanted::Socket("/devtools/page/A")),
            ("/cdp/devtools/browser/a_b", Wanted::Socket("/devtools/browser/a_b")),
        ] {
            assert_eq!(Wanted::of(path), Some(wanted), "{path}");
        }
        for path in [
            "",
            "/",
            "/cdp/x",
            "/cdp/cdp",
            "/json/",
            "/json/x",
            "/json/close/",
            "/json/close/a/b",
            "/json/close/%2e%2e",
            "/json/activate/a?b",
            "/devtools/page/",
            "/devtools/page/../browser/x",
            "/devtools/inspector.html",
        ] {
            assert!(path == "/json/" || Wanted::of(path).is_none(), "{path}");
        }
        assert_eq!(Wanted::of(&format!("/devtools/page/{}", "a".repeat(129))), None);
    }

    #[test]
    fn the_token_is_taken_out_of_the_address_of_a_new_page() {
        for (query, inside, wanted) in [
            ("token=T&https://a.example/?b=c&token=d", true, "https://a.example/?b=c&token=d"),
            ("https://a.example/?b=c&token=T", true, "https://a.example/?b=c"),
            ("token=T", true, ""),
            ("https://a.example/?b=c&token=d", false, "https://a.example/?b=c&token=d"),
        ] {
            assert_eq!(without_token(query, inside), wanted, "{query}");
        }
    }
}
