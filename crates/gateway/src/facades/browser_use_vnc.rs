//! browser-use-vnc: one POST makes a session and returns the address of its screen in noVNC; when the user's own agent script
//! has ended, so has the session. Shapes, statuses and texts are those of its orchestrator.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::PathBuf,
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State as Extract},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use glasshouse_fleet::{
    App, Filter, Fleet, LinkRole, NewLink, NewToken, Page, Power, SessionId, Spec, State as Life, View, socket,
};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Facade, entry};
use crate::{Shared, caller::ClientOf, client::Client, problem::Problem};

/// Labels of its sessions: which facade made it, its id there, and when.
const MADE_BY: (&str, &str) = ("facade", "browser-use-vnc");
const ID: &str = "browser-use-vnc.session_id";
const STARTED: &str = "browser-use-vnc.started_at";

/// How long a session may take to start.
const START: Duration = Duration::from_secs(60);
/// Between looks at whether the script runs.
const POLL: Duration = Duration::from_secs(1);
/// How long the screen stays after the script has ended.
const GRACE: Duration = Duration::from_secs(10);
/// Looks at a session that do not succeed, one after the other, before it is left to its time-outs.
const MAX_FAILURES: u32 = 30;
/// Largest script in bytes.
const MAX_SCRIPT: u64 = 16 << 20;
/// How long the login of the one who looks after the script may take to be used, in seconds.
const TICKET: u64 = 60;

/// A script of the user's own that each session runs, with the display as its `DISPLAY`.
#[derive(Clone)]
pub struct Agent {
    /// File of this machine, which is copied into the session's HOME. Its ending says what runs it.
    script: PathBuf,
    interpreter: &'static str,
    name: String,
    environment: BTreeMap<String, String>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment has keys in it.
        f.debug_struct("Agent").field("script", &self.script).finish_non_exhaustive()
    }
}

impl Agent {
    /// Names the script and its environment.
    ///
    /// # Errors
    /// Nothing is known to run a file of this name.
    pub fn new(script: PathBuf, environment: BTreeMap<String, String>) -> Result<Self, String> {
        let known = [("py", "python3"), ("sh", "sh"), ("js", "node"), ("mjs", "node")];
        let ending = script.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let wrong = || format!("{}: name a file that ends in .py, .sh, .js or .mjs", script.display());
        let (_, interpreter) = known.into_iter().find(|(one, _)| *one == ending).ok_or_else(wrong)?;
        let name = format!("agent.{ending}");
        Ok(Self { script, interpreter, name, environment })
    }
}

/// What is remembered of sessions.
#[derive(Default)]
pub(crate) struct State {
    /// The secrets in addresses that were given out, as long as their sessions live.
    secrets: Mutex<HashMap<SessionId, String>>,
}

#[derive(Serialize)]
struct SessionResponse {
    session_id: String,
    novnc_url: String,
}

#[derive(Serialize)]
struct SessionDetailResponse {
    session_id: String,
    compose_project: String,
    novnc_port: u16,
    url: String,
    status: &'static str,
    started_at: f64,
}

/// An error in the shape of FastAPI's.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "detail": self.1 }))).into_response()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let (status, text) = problem.parts();
        Self(status, text.to_owned())
    }
}

impl From<glasshouse_fleet::Error> for Failure {
    fn from(error: glasshouse_fleet::Error) -> Self {
        Problem::from(error).into()
    }
}

fn not_started(why: impl fmt::Display) -> Failure {
    // The number is the most that its orchestrator tries; here the first try tells.
    let detail = format!("Failed to start session (attempts=3). Last error:\n{why}");
    Failure(StatusCode::INTERNAL_SERVER_ERROR, detail)
}

/// Its routes; looks after the scripts of sessions that were taken over.
pub(crate) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    if shared.config.facades.agent.is_some() {
        let weak = Arc::downgrade(shared);
        tokio::spawn(async move {
            let Some(shared) = weak.upgrade() else { return };
            for view in sessions(&shared, None).await {
                tokio::spawn(attend(Arc::downgrade(&shared), view.id, None));
            }
        });
    }
    Router::new()
        .route("/sessions", post(create).fallback(wrong_method))
        .route("/sessions/", get(without_slash).post(without_slash))
        .route("/sessions/{session_id}", get(read).fallback(wrong_method))
        .route("/sessions/{session_id}/", get(without_slash))
}

async fn wrong_method() -> Failure {
    Failure(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".into())
}

async fn without_slash(ClientOf(client): ClientOf, request: Request) -> Redirect {
    Redirect::temporary(&format!("{}{}", client.prefix, request.uri().path().trim_end_matches('/')))
}

/// Whether a session of this facade shows itself to whoever has its address: where facades are open.
pub(crate) async fn is_open(shared: &Shared, id: &SessionId) -> bool {
    let facades = &shared.config.facades;
    facades.open
        && facades.serves(Facade::BrowserUseVnc)
        && shared.fleet.get(id).await.is_ok_and(|view| view.labels.get(MADE_BY.0).is_some_and(|by| by == MADE_BY.1))
}

/// Sessions of this facade that have not ended; the one with an id, if it is given.
async fn sessions(shared: &Shared, id: Option<&str>) -> Vec<View> {
    let mut labels = vec![(MADE_BY.0.to_owned(), MADE_BY.1.to_owned())];
    labels.extend(id.map(|id| (ID.to_owned(), id.to_owned())));
    let page = Page { limit: u16::MAX, after: None };
    let found = shared.fleet.list(Filter { labels, ..Filter::default() }, page).await;
    found.map(|(sessions, _)| sessions).unwrap_or_default()
}

/// `POST /sessions`: any body is ignored. Answers when the session is ready.
async fn create(
    Extract(shared): Extract<Arc<Shared>>,
    ClientOf(client): ClientOf,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, _) = request.into_parts();
    let caller = entry::caller(&shared, &parts)?;
    caller.own(Power::Control)?;
    let agent = shared.config.facades.agent.as_ref();
    let script = match agent {
        Some(agent) => Some(read_script(agent).await.map_err(not_started)?),
        None => None,
    };
    let mut random = [0_u8; 4];
    getrandom::fill(&mut random).map_err(not_started)?;
    let session_id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let labels = [(MADE_BY.0, MADE_BY.1), (ID, &session_id), (STARTED, &format!("{started_at:.3}"))];
    let spec = Spec {
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        // The script brings its own browser, and the session lives as long as it does.
        app: if agent.is_some() { App::None } else { App::default() },
        idle_freeze_seconds: agent.map(|_| 0),
        idle_timeout_seconds: agent.map(|_| 0),
        ..Spec::default()
    };
    let id = shared.fleet.create(&caller.grant, spec, None).await?.view.id;
    shared.fleet.audit(caller.did("session.create", &id, MADE_BY.1)).await;
    let mut unfinished = Unfinished { fleet: shared.fleet.clone(), id: Some(id.clone()) };
    let view = shared.fleet.wait(&id, START).await?;
    if view.state != Life::Ready {
        return Err(not_started(view.reason.unwrap_or_else(|| "it takes longer than a minute".into())));
    }
    if let Some((agent, script)) = agent.zip(script) {
        let hands = Hands::new(&shared.fleet, &id).await.map_err(not_started)?;
        hands.run(agent, script).await.map_err(not_started)?;
        tokio::spawn(attend(Arc::downgrade(&shared), id.clone(), Some(hands)));
    }
    let novnc_url = address(&shared, &client, &id).await?;
    unfinished.id = None;
    Ok(answer(&SessionResponse { session_id, novnc_url }))
}

/// `GET /sessions/{session_id}`.
async fn read(
    Extract(shared): Extract<Arc<Shared>>,
    ClientOf(client): ClientOf,
    Path(session_id): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, _) = request.into_parts();
    let caller = entry::caller(&shared, &parts)?;
    let missing = || Failure(StatusCode::NOT_FOUND, "Session not found".into());
    let view = sessions(&shared, Some(&session_id)).await.pop().ok_or_else(missing)?;
    if caller.session(Power::Control, &view.id).is_err() && !shared.fleet.owns(&caller.grant, &view.id).await? {
        return Err(missing());
    }
    let url = address(&shared, &client, &view.id).await?;
    let started_at = view.labels.get(STARTED).and_then(|text| text.parse().ok()).unwrap_or_default();
    Ok(answer(&SessionDetailResponse {
        compose_project: format!("bu_{session_id}"),
        novnc_port: port(&client),
        url,
        status: "running",
        started_at,
        session_id,
    }))
}

/// Nobody keeps what may have a secret in it.
fn answer(body: &impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(json!(body))).into_response()
}

/// The port that a client has reached us by.
fn port(client: &Client) -> u16 {
    let usual = if client.scheme == "https" { 443 } else { 80 };
    client.host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(usual)
}

/// The address of a session's screen. Unless facades are open, it has a token for that session alone, behind the `#`, which
/// noVNC reads and no server is sent.
async fn address(shared: &Shared, client: &Client, id: &SessionId) -> Result<String, Failure> {
    let page =
        format!("{}://{}{}/s/{id}/vnc.html?autoconnect=true&resize=scale", client.scheme, client.host, client.prefix);
    if shared.config.facades.open {
        return Ok(page);
    }
    let known = shared.facades.browser_use_vnc.secrets.lock().get(id).cloned();
    let secret = match known.filter(|secret| shared.fleet.grant(secret).is_some()) {
        Some(secret) => secret,
        None => {
            let token = NewToken {
                name: MADE_BY.1.into(),
                session: Some(id.clone()),
                powers: [Power::Control].into_iter().collect(),
                expires_at: None,
            };
            let (secret, _) = shared.fleet.create_token(&token).await?;
            let mut secrets = shared.facades.browser_use_vnc.secrets.lock();
            // Those of sessions that have ended are good no more.
            secrets.retain(|_, secret| shared.fleet.grant(secret).is_some());
            secrets.insert(id.clone(), secret.clone());
            secret
        }
    };
    Ok(format!("{page}#path=websockify%3Ftoken%3D{secret}"))
}

async fn read_script(agent: &Agent) -> Result<Bytes, String> {
    let failed = |error: std::io::Error| format!("the agent's script {}: {error}", agent.script.display());
    let length = tokio::fs::metadata(&agent.script).await.map_err(failed)?.len();
    if length > MAX_SCRIPT {
        return Err(format!("the agent's script {} is larger than 16 MiB", agent.script.display()));
    }
    Ok(tokio::fs::read(&agent.script).await.map_err(failed)?.into())
}

/// A session that ends if its creation does not come to an end.
struct Unfinished {
    fleet: Fleet,
    id: Option<SessionId>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) else { return };
        let fleet = self.fleet.clone();
        runtime.spawn(async move {
            // It may have ended by itself.
            let _ = fleet.end(&id, "its creation failed").await;
        });
    }
}

/// Looks after the script of a session: when it has ended, the screen stays for a while, and then nothing of it.
async fn attend(shared: Weak<Shared>, id: SessionId, mut hands: Option<Hands>) {
    let mut failures = 0;
    loop {
        tokio::time::sleep(POLL).await;
        let Some(shared) = shared.upgrade() else { return };
        if hands.is_none() {
            hands = Hands::new(&shared.fleet, &id).await.ok();
        }
        let runs = match &hands {
            Some(hands) => hands.runs().await,
            None => Err("it lets nobody in".into()),
        };
        match runs {
            Ok(true) => failures = 0,
            Ok(false) => break,
            Err(error) => {
                failures += 1;
                hands = None;
                let is_over = shared.fleet.get(&id).await.is_ok_and(|view| view.state.is_over());
                if is_over || failures > MAX_FAILURES {
                    tracing::debug!(session = %id, error, "a script is not looked after any more");
                    return;
                }
            }
        }
    }
    tokio::time::sleep(GRACE).await;
    if let Some(shared) = shared.upgrade() {
        // Somebody else may have ended it.
        let _ = shared.fleet.end(&id, "its script has ended").await;
    }
}

/// An admin of a session's room, who starts programs in it.
struct Hands {
    fleet: Fleet,
    id: SessionId,
    token: String,
}

impl Hands {
    async fn new(fleet: &Fleet, id: &SessionId) -> Result<Self, String> {
        let link = NewLink { role: LinkRole::Admin, expires_in: TICKET, uses: 1, label: None };
        let password = fleet.link(id, &link).await.map_err(|error| error.to_string())?;
        let mut hands = Self { fleet: fleet.clone(), id: id.clone(), token: String::new() };
        let login = json!({ "username": "agent", "password": password });
        let member = hands.ask(Method::POST, "api/login", login.to_string().into()).await?;
        member["token"].as_str().ok_or("it lets nobody in")?.clone_into(&mut hands.token);
        Ok(hands)
    }

    /// Asks the session something, which is no use of it.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Value, String> {
        let entered = self.fleet.enter(&self.id, false).await.map_err(|error| error.to_string())?;
        let path = format!("{}{path}", entered.path());
        let asked = socket::ask(&entered.socket(), method, &path, &self.token, body).await;
        let (status, body) = asked.map_err(|error| error.to_string())?;
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let why = value["detail"].as_str().or(value["message"].as_str()).unwrap_or_default();
        Err(format!("the session says {status}: {why}"))
    }

    /// Copies a script into the session and starts it.
    async fn run(&self, agent: &Agent, script: Bytes) -> Result<(), String> {
        self.ask(Method::PUT, &format!("v1/fs/file?path={}", agent.name), script).await?;
        let start = json!({ "command": agent.interpreter, "args": [agent.name], "env": agent.environment });
        self.ask(Method::POST, "v1/processes", start.to_string().into()).await.map(drop)
    }

    /// Whether a program that was started so runs.
    async fn runs(&self) -> Result<bool, String> {
        let all = self.ask(Method::GET, "v1/processes", Bytes::new()).await?;
        let all = all["processes"].as_array().ok_or("it does not say what runs")?;
        Ok(all.iter().any(|process| process["status"] == "running"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_a_script() {
        let of = |name: &str| Agent::new(name.into(), BTreeMap::new()).map(|agent| (agent.interpreter, agent.name));
        assert_eq!(of("/a/b.py"), Ok(("python3", "agent.py".into())));
        assert_eq!(of("run.sh"), Ok(("sh", "agent.sh".into())));
        assert!(of("/a/b").is_err() && of("b.exe").is_err());
    }

    #[test]
    fn ports() {
        let with = |host: &str, scheme| {
            let address = "127.0.0.1".parse().unwrap();
            port(&Client { address, local: address, host: host.into(), scheme, prefix: String::new() })
        };
        assert_eq!(with("a:8000", "http"), 8000);
        assert_eq!((with("a", "http"), with("a", "https")), (80, 443));
        assert_eq!(with("[::1]:81", "http"), 81);
    }
}
