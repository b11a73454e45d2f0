//! One task per session, from its start to its end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use hyper::{Method, StatusCode, body::Bytes};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Error, SessionId, State, View,
    inner::Inner,
    lifetime::{Due, Lifetime, Next},
    managed::{Directory, Record},
    process::{Exit, Process},
    profiles, socket, time,
    view::Row,
};

/// Between looks at whether a starting session is ready.
const READY_STEP: Duration = Duration::from_millis(10);
/// Between looks at whether a frozen session that is watched has woken by itself.
const WAKE_STEP: Duration = Duration::from_secs(1);
/// The clock may be set: nothing is waited for longer without a look at it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Longest reason in characters.
const MAX_REASON: usize = 300;
/// What is kept of the log of an ended session, in bytes.
const LOG_KEPT: u64 = 64 * 1024;

/// What a session is asked to do.
pub(crate) enum Command {
    Freeze(oneshot::Sender<Result<(), Error>>),
    Thaw(oneshot::Sender<Result<(), Error>>),
    /// Something that its time-outs depend on has changed.
    Changed,
}

/// A session that has not ended.
pub(crate) struct Live {
    pub(crate) id: SessionId,
    pub(crate) directory: Directory,
    pub(crate) api_token: String,
    pub(crate) cdp_token: String,
    pub(crate) row: Mutex<Row>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) commands: mpsc::Sender<Command>,
    /// Why it is to be ended.
    pub(crate) end: watch::Sender<Option<String>>,
    /// Its process has ended, or is being ended.
    is_ending: AtomicBool,
    /// Requests and connections under way.
    pub(crate) uses: AtomicUsize,
    /// Connections among them.
    pub(crate) connections: AtomicUsize,
    /// When it was used last, in milliseconds since 1970.
    pub(crate) used_at: AtomicI64,
}

impl Live {
    pub(crate) fn new(directory: Directory, record: &Record, row: Row) -> (Arc<Self>, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(16);
        let live = Self {
            id: record.id.clone(),
            directory,
            api_token: record.api_token.clone(),
            cdp_token: record.cdp_token.clone(),
            state: watch::Sender::new(row.state),
            row: Mutex::new(row),
            commands,
            end: watch::Sender::new(None),
            is_ending: AtomicBool::new(false),
            uses: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            used_at: AtomicI64::new(time::now()),
        };
        (Arc::new(live), receiver)
    }

    pub(crate) fn view(&self) -> View {
        let used_at = self.used_at.load(Ordering::Relaxed);
        self.row.lock().view(self.connections.load(Ordering::Relaxed), Some(used_at))
    }

    pub(crate) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Asks it to be ended; the first reason counts.
    pub(crate) fn end(&self, reason: &str) {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }

    /// Asks the session something in the server's name.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), Error> {
        let answer = socket::ask(&self.directory.socket(), method, path, &self.api_token, body).await;
        answer.map_err(|error| self.explained(error))
    }

    /// What a session that is ending does not do is no error of its own: it is as good as gone.
    pub(crate) fn explained(&self, error: Error) -> Error {
        match error {
            Error::Session(_) | Error::Io { .. } if self.is_ending.load(Ordering::Acquire) => Error::NotFound,
            error => error,
        }
    }

    fn idle_since(&self) -> Option<SystemTime> {
        let is_idle = self.uses.load(Ordering::Acquire) == 0;
        is_idle.then(|| time::from_millis(self.used_at.load(Ordering::Relaxed)))
    }

    fn lifetime(&self) -> Lifetime {
        let row = self.row.lock();
        let seconds = |value: Option<u64>| value.filter(|value| *value > 0).map(Duration::from_secs);
        Lifetime {
            freeze_after: seconds(row.spec.idle_freeze_seconds),
            end_after: seconds(row.spec.idle_timeout_seconds),
            ends_at: row.expires_at.map(time::from_millis),
        }
    }
}

/// How a session ended.
struct Outcome {
    state: State,
    reason: String,
}

impl Outcome {
    fn failed(reason: impl Into<String>) -> Self {
        Self { state: State::Failed, reason: reason.into() }
    }
}

/// Runs a session to its end. `process` is one that runs already, or what starts it.
pub(crate) async fn run(
    fleet: Arc<Inner>,
    live: Arc<Live>,
    process: Option<Process>,
    mut commands: mpsc::Receiver<Command>,
) {
    let outcome = Actor { fleet: &fleet, live: &live, can_freeze: true }.life(process, &mut commands).await;
    commands.close();
    fleet.ended(&live, outcome.state, &outcome.reason, live.directory.log_end(LOG_KEPT)).await;
}

struct Actor<'a> {
    fleet: &'a Arc<Inner>,
    live: &'a Arc<Live>,
    /// Until the session says that it cannot.
    can_freeze: bool,
}

impl Actor<'_> {
    async fn life(&mut self, process: Option<Process>, commands: &mut mpsc::Receiver<Command>) -> Outcome {
        let (is_found, begun_at) = (process.is_some(), Instant::now());
        let started = match process {
            Some(process) => Ok(process),
            None => {
                let profile = self.live.row.lock().spec.profile.clone();
                if let Some(profile) = profile {
                    // What the last session has left may still be ending.
                    profiles::until_free(&self.fleet.launcher.profiles.join(profile)).await;
                }
                let row = self.live.row.lock();
                self.fleet.launcher.start(&self.live.directory, &row.spec, &row.path)
            }
        };
        let mut process = match started {
            Ok(process) => process,
            Err(error) => return Outcome::failed(format!("cannot start its process: {error}")),
        };
        let mut end = self.live.end.subscribe();
        let begun = tokio::select! {
            exit = process.exited() => return self.exited(exit),
            reason = asked_to_end(&mut end) => return self.end(process, &reason).await,
            begun = tokio::time::timeout(self.fleet.config.start_within, self.ready()) => begun,
        };
        if begun.is_err() {
            let seconds = self.fleet.config.start_within.as_secs();
            let reason = format!("it was not ready within {seconds} s");
            return Outcome { state: State::Failed, ..self.end(process, &reason).await };
        }
        if is_found {
            self.see_whether_frozen().await;
        } else {
            self.fleet.counters.started(false, begun_at.elapsed());
        }
        loop {
            let next = self.live.lifetime().next(
                self.can_freeze && self.live.state() == State::Ready,
                self.live.idle_since(),
                SystemTime::now(),
            );
            let wait = match next {
                Next::Now(Due::Freeze) => {
                    if let Err(error) = self.freeze(true, "idle").await {
                        tracing::info!(session = %self.live.id, %error, "an idle session is not frozen");
                        self.can_freeze = false;
                    }
                    continue;
                }
                Next::Now(Due::EndIdle) => return self.end(process, "idle time-out").await,
                Next::Now(Due::EndOld) => return self.end(process, "end of its life time").await,
                Next::At(at) => at.duration_since(SystemTime::now()).unwrap_or_default().min(LONGEST_WAIT),
                Next::Never => LONGEST_WAIT,
            };
            let is_watched_frozen =
                self.live.state() == State::Frozen && self.live.connections.load(Ordering::Relaxed) > 0;
            let wait = if is_watched_frozen { wait.min(WAKE_STEP) } else { wait };
            tokio::select! {
                exit = process.exited() => return self.exited(exit),
                reason = asked_to_end(&mut end) => return self.end(process, &reason).await,
                command = commands.recv() => self.command(command).await,
                () = tokio::time::sleep(wait) => if is_watched_frozen { self.see_whether_awake().await },
            }
        }
    }

    /// Waits until the session says that it is ready.
    async fn ready(&self) {
        while !self.live.directory.is_ready() {
            tokio::time::sleep(READY_STEP).await;
        }
        if self.live.state() == State::Creating {
            self.live.used_at.store(time::now(), Ordering::Relaxed);
            self.fleet.change(self.live, State::Ready, None).await;
        }
    }

    async fn command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Freeze(done)) => drop(done.send(self.freeze(true, "asked for").await)),
            Some(Command::Thaw(done)) => drop(done.send(self.freeze(false, "used").await)),
            // The sender is in what we hold.
            Some(Command::Changed) | None => {}
        }
    }

    async fn freeze(&mut self, freeze: bool, reason: &str) -> Result<(), Error> {
        let (path, to) = if freeze { ("/managed/freeze", State::Frozen) } else { ("/managed/thaw", State::Ready) };
        if self.live.state() == to {
            return Ok(());
        }
        let (status, body) = self.live.ask(Method::POST, path, Bytes::new()).await?;
        if !status.is_success() {
            let text = one_line(&String::from_utf8_lossy(&body));
            return Err(Error::Conflict(if text.is_empty() { format!("the session says {status}") } else { text }));
        }
        self.fleet.change(self.live, to, Some(reason)).await;
        Ok(())
    }

    /// A session that was found may have been frozen, or have woken, while nobody looked.
    async fn see_whether_frozen(&self) {
        let Ok((StatusCode::OK, body)) = self.live.ask(Method::GET, "/managed/frozen", Bytes::new()).await else {
            return;
        };
        let state = if body.as_ref() == b"true" { State::Frozen } else { State::Ready };
        if self.live.state() != state {
            self.fleet.change(self.live, state, Some("found")).await;
        }
    }

    /// A frozen session goes on when a viewer does something, which does not pass through us.
    async fn see_whether_awake(&self) {
        if let Ok((StatusCode::OK, body)) = self.live.ask(Method::GET, "/managed/frozen", Bytes::new()).await
            && body.as_ref() == b"false"
        {
            self.live.used_at.store(time::now(), Ordering::Relaxed);
            self.fleet.change(self.live, State::Ready, Some("used")).await;
        }
    }

    async fn end(&self, mut process: Process, reason: &str) -> Outcome {
        self.live.is_ending.store(true, Ordering::Release);
        if let Err(error) = self.live.directory.mark_end(reason) {
            tracing::warn!(session = %self.live.id, %error, "cannot note that a session is to be ended");
        }
        if process.end().await {
            Outcome { state: State::Terminated, reason: reason.to_owned() }
        } else {
            Outcome::failed(format!("{reason}; its process cannot be killed"))
        }
    }

    /// What the end of its process means.
    fn exited(&self, exit: Exit) -> Outcome {
        self.live.is_ending.store(true, Ordering::Release);
        let log = self.live.directory.log_end(LOG_KEPT);
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).map(one_line).unwrap_or_default();
        let last_words = last.strip_prefix("session ended: ");
        match (exit, last_words) {
            (Exit::Code(0) | Exit::Unknown, Some(reason)) => {
                Outcome { state: State::Terminated, reason: reason.to_owned() }
            }
            (Exit::Code(0), None) => Outcome { state: State::Terminated, reason: "it ended by itself".into() },
            (Exit::Signal(signal), _) => Outcome::failed(format!("its process was killed by signal {signal}")),
            (Exit::Code(code), _) if last.is_empty() => {
                Outcome::failed(format!("its process ended with status {code}"))
            }
            (Exit::Code(_), _) => Outcome::failed(last.strip_prefix("error: ").unwrap_or(&last)),
            (Exit::Unknown, None) => Outcome::failed("its process ended without a word"),
        }
    }
}

async fn asked_to_end(end: &mut watch::Receiver<Option<String>>) -> String {
    let reason = end.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
    match reason {
        Some(reason) => reason,
        // The sender is in what we hold.
        None => std::future::pending().await,
    }
}

/// Text from a session as one line for people.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).take(MAX_REASON).collect()
}
