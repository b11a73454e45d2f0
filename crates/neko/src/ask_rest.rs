//! `/v1/ask`: programs ask people for help, and people answer.

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::stream;
use glasshouse_room::{Actor, ControlError};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{sync::watch, time::timeout};

use crate::{
    Server,
    ask::{End, Full, MAX_NOTE, MAX_REASON, MAX_TIMEOUT, New, Opened, Outcome, TIMEOUT, Taken},
    auth::Identity,
    core::{self, Inner, State as Room},
    rest::{ApiError, Caller, Query},
    seam::Pending,
    secret, wire,
};

/// Largest body in bytes.
const MAX_BODY: usize = 16 * 1024;
/// How often a byte is sent while an answer is waited for, so that nothing on the way takes it for lost.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a look at screen and page may take.
const LOOK: Duration = Duration::from_secs(3);
/// Letters of a question's id (6 bits each): nobody who was not told finds it.
const ID_LENGTH: usize = 22;

/// The page in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontPage {
    /// Its address.
    pub url: String,
    /// Its title.
    pub title: String,
}

/// A question that was put, for whoever is to tell people elsewhere.
#[derive(Debug, Clone)]
pub struct AskNotice {
    /// Id of the question.
    pub id: String,
    /// Name of the asker.
    pub name: String,
    /// What it wants.
    pub reason: String,
    /// How long it waits.
    pub timeout: Duration,
}

/// Tells which page is in front, if there is one.
pub type Front = dyn Fn() -> Pending<'static, Option<FrontPage>> + Send + Sync;
/// Hears of a question. Must not block.
pub type Hear = dyn Fn(AskNotice) + Send + Sync;

/// What asking needs of other parts of a session.
#[derive(Clone, Default)]
pub struct AskHooks {
    /// Asked before and after a question, where there is a browser.
    pub front: Option<Arc<Front>>,
    /// Hears of each question.
    pub opened: Option<Arc<Hear>>,
}

/// A refusal: what is wrong, and what to do.
struct Refused(StatusCode, String);

impl Refused {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self(status, text.into())
    }

    fn gone() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such question: it has ended, or never was")
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, text) = self;
        let title = status.canonical_reason().unwrap_or("Error");
        // Our page reads `message`, as of all that the room answers.
        let body = json!({
            "type": "urn:glasshouse:error:ask", "title": title, "status": status.as_u16(), "detail": text, "message": text,
        });
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        let status = error.into_response().status();
        let text = match status {
            StatusCode::UNAUTHORIZED => "send Authorization: Bearer with a token of this session",
            StatusCode::UNPROCESSABLE_ENTITY => "private mode is on: an admin can switch it off",
            _ => "this token may not control, and so neither ask nor answer: use another member's",
        };
        Self::new(status, text)
    }
}

type Answer = Result<Response, Refused>;
type Who = Result<Caller, ApiError>;

/// What is asked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    reason: String,
    timeout_seconds: Option<u64>,
    wait_seconds: Option<u64>,
    webhook: Option<bool>,
}

/// What a person answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Answered {
    outcome: String,
    note: Option<String>,
}

/// The routes.
pub(crate) fn router() -> Router<Server> {
    Router::new()
        .route("/v1/ask", post(ask).get(list))
        .route("/v1/ask/{id}", get(read).delete(withdraw))
        .route("/v1/ask/{id}/take", post(take))
        .route("/v1/ask/{id}/answer", post(answer))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Whoever may control may ask and answer.
fn controller(server: &Server, caller: Who) -> Result<Caller, Refused> {
    let caller = caller?;
    caller.can_host(server)?;
    Ok(caller)
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a Bytes, shape: &str) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, format!("the body must be {shape}: {error}")))
}

fn bounded(text: &str, limit: usize, what: &str) -> Result<String, Refused> {
    let text = text.trim();
    if text.chars().count() > limit {
        return Err(Refused::new(StatusCode::BAD_REQUEST, format!("{what} has at most {limit} characters")));
    }
    // It is shown to people, in one block of text.
    Ok(text.chars().filter(|character| !character.is_control() || *character == '\n').collect())
}

async fn ask(State(server): State<Server>, caller: Who, body: Bytes) -> Answer {
    let caller = controller(&server, caller)?;
    let asked: Asked = parsed(&body, "{\"reason\": \"…\", \"timeoutSeconds\": 300}")?;
    let reason = bounded(&asked.reason, MAX_REASON, "reason")?;
    if reason.is_empty() {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "reason must say what a person is to do"));
    }
    let seconds = asked.timeout_seconds.unwrap_or(TIMEOUT.as_secs());
    if !(1..=MAX_TIMEOUT.as_secs()).contains(&seconds) {
        let text = format!("timeoutSeconds must be from 1 to {}", MAX_TIMEOUT.as_secs());
        return Err(Refused::new(StatusCode::BAD_REQUEST, text));
    }
    let full = |full| {
        let text = match full {
            Full::Caller => "two questions of yours are open: wait for an answer, or withdraw one",
            Full::Room => "too many questions are open in this session: wait until one is answered",
        };
        Refused::new(StatusCode::TOO_MANY_REQUESTS, text)
    };
    let inner = &server.inner;
    let is_shut = inner.with(|state, _| state.asks.has_room(&caller.id).map(|()| state.is_shut)).map_err(full)?;
    if is_shut {
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the session is ending"));
    }
    inner.desk.wake();
    let before = look(inner).await;
    let name = if caller.is_api { "A program".to_owned() } else { caller.profile.name.clone() };
    let id = secret::random(ID_LENGTH);
    let new = New { id: id.clone(), asker: caller.id, name, reason, timeout: Duration::from_secs(seconds) };
    let notice = AskNotice { id: id.clone(), name: new.name.clone(), reason: new.reason.clone(), timeout: new.timeout };
    let opened = inner.with(|state, now| {
        let opened = state.asks.open(new, now.instant, now.wall);
        state.tell_asks(now.instant);
        opened
    });
    let opened = opened.map_err(full)?;
    let answer = opened.answer.subscribe();
    inner.runtime.spawn(see_to(Arc::downgrade(inner), id.clone(), opened, before));
    if let Some(tell) = inner.ask_hooks.get().and_then(|hooks| hooks.opened.clone())
        && asked.webhook != Some(false)
    {
        tell(notice);
    }
    Ok(held(&id, answer, asked.wait_seconds))
}

/// Sees a question to its end, and says what has changed meanwhile.
async fn see_to(server: Weak<Inner>, id: String, mut opened: Opened, before: Look) {
    let began = Instant::now();
    let in_time = tokio::time::timeout_at(opened.deadline.into(), opened.end.wait_for(Option::is_some)).await.is_ok();
    let Some(inner) = server.upgrade() else { return };
    if !in_time {
        inner.with(|state, now| {
            // Answered at the last moment is as good.
            state.asks.end(&id, End::of_nobody(Outcome::Timeout), now.instant);
            state.tell_asks(now.instant);
        });
    }
    let end = opened.end.borrow().clone().unwrap_or_else(|| End::of_nobody(Outcome::Cancelled));
    let waited = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let after = if end.outcome == Outcome::Cancelled { before.clone() } else { look(&inner).await };
    let mut value = json!({ "id": id, "outcome": end.outcome, "waitedMs": waited, "changed": before.against(&after) });
    for (key, text) in [("note", end.note), ("by", end.by)] {
        if let Some(text) = text {
            value[key] = text.into();
        }
    }
    opened.answer.send_replace(Some(value));
}

/// Begins to answer at once, and ends when the question does, or after `wait` seconds.
fn held(id: &str, answer: watch::Receiver<Option<Value>>, wait: Option<u64>) -> Response {
    let began = Instant::now();
    let wait = Duration::from_secs(wait.unwrap_or(u64::MAX)).min(MAX_TIMEOUT + LOOK + KEEP_ALIVE);
    let open = json!({ "id": id, "outcome": "open" });
    let body = stream::unfold(Some((answer, open)), move |state| async move {
        let (mut answer, open) = state?;
        let left = wait.saturating_sub(began.elapsed());
        let pause = left.min(KEEP_ALIVE);
        let answered = timeout(pause, answer.wait_for(Option::is_some)).await;
        let answered = answered.map(|answered| answered.ok().and_then(|value| value.as_ref().map(Value::to_string)));
        let (text, rest) = match answered {
            Ok(Some(text)) => (text, None),
            // Nobody is left to answer.
            Ok(None) => (json!({ "outcome": Outcome::Cancelled }).to_string(), None),
            Err(_) if left <= KEEP_ALIVE => (open.to_string(), None),
            // JSON may begin with blanks.
            Err(_) => (" ".to_owned(), Some((answer, open))),
        };
        Some((Ok::<_, Infallible>(Bytes::from(text)), rest))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that collects an answer would keep it until the end.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-ask-id", id);
    }
    response
}

/// The open questions.
async fn list(State(server): State<Server>, caller: Who) -> Answer {
    let caller = caller?;
    caller.watch()?;
    let asks = server.inner.with(|state, now| json!({ "asks": state.asks.shown(now.instant) }));
    Ok(([(header::CONTENT_TYPE, "application/json")], asks.to_string()).into_response())
}

async fn read(State(server): State<Server>, caller: Who, Path(id): Path<String>, query: Query) -> Answer {
    let caller = controller(&server, caller)?;
    let wait = match query.get("waitSeconds") {
        None => 0,
        Some(text) => {
            text.parse().map_err(|_| Refused::new(StatusCode::BAD_REQUEST, "waitSeconds must be a number"))?
        }
    };
    let found = server.inner.with(|state, now| state.asks.answer(&id, now.instant));
    let (_, answer) =
        found.filter(|(asker, _)| *asker == caller.id || caller.profile.is_admin).ok_or_else(Refused::gone)?;
    Ok(held(&id, answer, Some(wait)))
}

async fn withdraw(State(server): State<Server>, caller: Who, Path(id): Path<String>) -> Answer {
    let caller = controller(&server, caller)?;
    let ended = server.inner.with(|state, now| {
        let is_own = state.asks.asker(&id)? == caller.id || caller.profile.is_admin;
        let ended = is_own.then(|| state.asks.end(&id, End::of_nobody(Outcome::Cancelled), now.instant))?;
        state.tell_asks(now.instant);
        ended
    });
    ended.map(|_| StatusCode::NO_CONTENT.into_response()).ok_or_else(Refused::gone)
}

/// A person takes control to do what was asked for, as far as the room's rules let it.
async fn take(State(server): State<Server>, caller: Who, Path(id): Path<String>) -> Answer {
    let caller = controller(&server, caller)?;
    let taken = server.inner.with(|state, now| {
        let asker = state.asks.asker(&id)?.to_owned();
        let (room, me) = (&mut state.room, caller.id.as_str());
        let from_asker = room.host() == Some(asker.as_str()) && asker != me;
        let is_locked = room.settings().locked_controls && !caller.profile.is_admin;
        let result = match room.host() {
            Some(host) if host == me => Ok(()),
            _ if is_locked => Err(ControlError::Locked),
            // Whoever asks for help lets go for it.
            Some(_) if !from_asker && !caller.profile.is_admin => room.request_control(me, now),
            _ => {
                room.take_control(caller.actor(), now);
                Ok(())
            }
        };
        if result.is_ok() {
            state.asks.take(&id, Taken { by: me.to_owned(), from_asker });
            state.tell_asks(now.instant);
        }
        Some(result)
    });
    match taken.ok_or_else(Refused::gone)? {
        Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(ControlError::Asked) => Ok(StatusCode::ACCEPTED.into_response()),
        Err(error) => Err(Refused::new(StatusCode::FORBIDDEN, error.message())),
    }
}

async fn answer(State(server): State<Server>, caller: Who, Path(id): Path<String>, body: Bytes) -> Answer {
    let caller = controller(&server, caller)?;
    let answered: Answered = parsed(&body, "{\"outcome\": \"done\" or \"declined\", \"note\": \"…\"}")?;
    let outcome = match answered.outcome.as_str() {
        "done" => Outcome::Done,
        "declined" => Outcome::Declined,
        _ => return Err(Refused::new(StatusCode::BAD_REQUEST, "outcome must be done or declined")),
    };
    let note = bounded(&answered.note.unwrap_or_default(), MAX_NOTE, "note")?;
    let end = End { outcome, note: Some(note).filter(|note| !note.is_empty()), by: Some(caller.profile.name.clone()) };
    let ended = server.inner.with(|state, now| {
        if state.asks.asker(&id)? == caller.id {
            return Some(false);
        }
        let (asker, taken) = state.asks.end(&id, end, now.instant)?;
        hand_back(state, caller.actor(), &asker, taken, outcome);
        state.tell_asks(now.instant);
        Some(true)
    });
    if ended.ok_or_else(Refused::gone)? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Refused::new(StatusCode::FORBIDDEN, "a question is answered by somebody else: withdraw it"))
    }
}

/// Lets the program go on: whoever did what was asked for has no control any more.
fn hand_back(state: &mut Room, person: Actor<'_>, asker: &str, taken: Option<Taken>, outcome: Outcome) {
    let mine = taken.filter(|taken| taken.by == person.id);
    if !state.room.is_host(person.id) || (outcome != Outcome::Done && mine.is_none()) {
        return;
    }
    let now = core::now();
    let given = mine.is_some_and(|taken| taken.from_asker) && state.room.give_control(person, asker, now).is_ok();
    if !given {
        // Being host, it may.
        let _ = state.room.release_control(person, now);
    }
}

/// What is seen of the desktop at one time.
#[derive(Clone, Default)]
struct Look {
    front: Option<FrontPage>,
    /// Hash of a picture; none when there was none in time.
    screen: Option<[u8; 32]>,
}

impl Look {
    fn against(&self, after: &Self) -> Value {
        let screen = match (&self.screen, &after.screen) {
            (Some(before), Some(after)) => Value::Bool(before != after),
            _ => Value::Null,
        };
        let of = |part: fn(&FrontPage) -> &String| json!({ "before": self.front.as_ref().map(part), "after": after.front.as_ref().map(part) });
        json!({ "url": of(|page| &page.url), "title": of(|page| &page.title), "screen": screen })
    }
}

async fn look(inner: &Inner) -> Look {
    let front = async {
        match inner.ask_hooks.get().and_then(|hooks| hooks.front.clone()) {
            Some(front) => timeout(LOOK, front()).await.ok().flatten(),
            None => None,
        }
    };
    let screen = timeout(LOOK, inner.desk.screenshot_jpeg(50));
    let (front, screen) = tokio::join!(front, screen);
    Look { front, screen: screen.ok().and_then(Result::ok).map(|jpeg| Sha256::digest(&jpeg).into()) }
}

impl Room {
    /// Tells everybody who knows of questions which are open.
    pub(crate) fn tell_asks(&self, now: Instant) {
        self.tell_all(&wire::frame("glasshouse/asks", &self.asks.shown(now)));
    }
}

impl Server {
    /// Names what asking needs of other parts; called at most once.
    pub fn attach_asks(&self, hooks: AskHooks) {
        // A second one would be a mistake of the caller that costs nothing.
        let _ = self.inner.ask_hooks.set(hooks);
    }

    /// Whether the holder of a token may ask and answer: it may control, now or at another time.
    pub fn may_ask(&self, token: &str) -> bool {
        let identity = self.inner.auth.lock().identify(token);
        match identity {
            None => false,
            Some(Identity::Api) => true,
            Some(Identity::Session(id)) => {
                let state = self.inner.state.lock();
                state.room.profile(&id).is_some_and(|profile| profile.can_login && profile.can_host)
            }
        }
    }
}
