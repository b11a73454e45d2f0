//! All sessions of this host.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{Method, StatusCode, body::Bytes};
use parking_lot::Mutex;
use tokio::sync::{broadcast, oneshot};

use crate::{
    Audit, AuditEntry, Bounds, Change, Error, Event, FieldError, Filter, Limits, Page, PoolConfig, SessionId, State,
    View,
    actor::{Command, Live},
    admission::Admission,
    events::Events,
    inner::Inner,
    media::MediaSockets,
    numbers::Counters,
    pool::Pool,
    process::Launcher,
    profiles::Profiles,
    socket, state_dir,
    store::{self, Store},
    time,
    tokens::Tokens,
    usage::Use,
    view::Row,
    waiting::Waiting,
};

/// Longest path of the state directory in bytes: a socket's path in it must fit into 107 (unix(7)).
const MAX_STATE: usize = 64;
/// Between rounds of tidying.
const TIDY: Duration = Duration::from_secs(60);

/// Settings of a fleet.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of ours, made with access for us only.
    pub state: PathBuf,
    /// Program and first arguments that become a session, such as `glasshouse session`.
    pub program: Vec<OsString>,
    /// Further options of every session.
    pub options: Vec<OsString>,
    /// Path below which everything of every session is, without a slash at its end, such as `/s`.
    pub path: String,
    /// Limits on creation.
    pub limits: Limits,
    /// How long a session may take to become ready.
    pub start_within: Duration,
    /// In seconds, for sessions that say nothing else; 0 never.
    pub idle_freeze: u64,
    /// In seconds, for sessions that say nothing else; 0 never.
    pub idle_timeout: u64,
    /// In seconds, for sessions that say nothing else; 0 never.
    pub max_lifetime: u64,
    /// What is left to whoever creates a session.
    pub bounds: Bounds,
    /// What is started ahead.
    pub pool: PoolConfig,
}

/// All sessions of this host. Dropping it leaves them running.
#[derive(Clone)]
pub struct Fleet {
    pub(crate) inner: Arc<Inner>,
}

impl Fleet {
    /// Opens the state directory and takes over every session that runs. To be called within a tokio runtime.
    ///
    /// # Errors
    /// Another server uses the directory, or it cannot be written to, or a newer program wrote it.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let state = &config.state;
        if state.as_os_str().len() > MAX_STATE {
            let reason =
                std::io::Error::other(format!("its path is longer than {MAX_STATE} bytes: choose a shorter one"));
            return Err(Error::io(format!("cannot use {}", state.display()))(reason));
        }
        let make = |path: &PathBuf| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        let sessions = state.join("s");
        make(&sessions).map_err(Error::io(format!("cannot make {}", sessions.display())))?;
        state_dir::check_private(state).map_err(Error::io(format!("cannot use {}", state.display())))?;
        let lock = state_dir::lock(state).await?;
        let (store, was_damaged) = Store::open(&state.join("fleet.db"))?;
        let known = store.with(|db| store::sessions::open_ones(db)).await?;
        let tokens = Tokens::default();
        tokens.set(
            store.with(|db| store::tokens::all(db)).await?.into_iter().map(|(hash, info)| (hash, info.grant)).collect(),
        );
        let launcher = Launcher {
            program: config.program.clone(),
            options: config.options.clone(),
            profiles: state.join("profiles"),
        };
        make(&launcher.profiles).map_err(Error::io(format!("cannot make {}", launcher.profiles.display())))?;
        Profiles::sweep(&launcher.profiles);
        let inner = Arc::new(Inner {
            pool: Pool::new(&config.pool)?,
            admission: Mutex::new(Admission::new(config.limits, Instant::now())),
            waiting: Waiting::default(),
            config,
            launcher,
            store,
            tokens,
            live: Mutex::default(),
            profiles: Profiles::default(),
            events: Events::default(),
            media: MediaSockets::default(),
            counters: Counters::default(),
            _lock: lock,
        });
        inner.take_over(known).await?;
        let count = inner.live.lock().len();
        if was_damaged {
            tracing::error!(
                sessions = count,
                "tokens, keys and history are lost with the damaged database; sessions that run were found"
            );
        }
        Pool::fill(&inner);
        Self::watch_links(&inner);
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TIDY).await;
                let Some(inner) = weak.upgrade() else { return };
                inner.tidy().await;
            }
        });
        Ok(Self { inner })
    }

    /// A session, ended ones too.
    ///
    /// # Errors
    /// There is none, or the database refuses.
    pub async fn get(&self, id: &SessionId) -> Result<View, Error> {
        if let Ok(live) = self.live(id) {
            return Ok(live.view());
        }
        let wanted = id.clone();
        let row = self.inner.store.with(move |db| store::sessions::get(db, &wanted)).await?;
        row.map(|row| row.view(0, None)).ok_or(Error::NotFound)
    }

    /// A page of sessions, newest first, and where the next one begins.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn list(&self, filter: Filter, page: Page) -> Result<(Vec<View>, Option<(i64, SessionId)>), Error> {
        let limit = page.limit;
        let rows = self.inner.store.with(move |db| store::sessions::list(db, &filter, &page)).await?;
        let is_full = rows.len() >= usize::from(limit);
        let next = rows.last().filter(|_| is_full).map(|row| (row.created_at, row.id.clone()));
        let live = self.inner.live.lock();
        let view = |row: Row| live.get(&row.id).map_or_else(|| row.view(0, None), |live| live.view());
        Ok((rows.into_iter().map(view).collect(), next))
    }

    /// Number of sessions in each state that is not an end.
    pub fn counts(&self) -> [(State, usize); 3] {
        let live = self.inner.live.lock();
        let count = |state| live.values().filter(|live| live.state() == state).count();
        [State::Creating, State::Ready, State::Frozen].map(|state| (state, count(state)))
    }

    /// Waits until a session is no longer being created, for `patience` at most.
    ///
    /// # Errors
    /// There is none.
    pub async fn wait(&self, id: &SessionId, patience: Duration) -> Result<View, Error> {
        if let Ok(live) = self.live(id) {
            let mut state = live.state.subscribe();
            // Its state is returned whatever it is.
            let _ = tokio::time::timeout(patience, state.wait_for(|state| *state != State::Creating)).await;
            drop(state);
        }
        self.get(id).await
    }

    /// Changes labels and time-outs.
    ///
    /// # Errors
    /// It is not right, there is no such session, or it cannot be written down.
    pub async fn change(&self, id: &SessionId, change: &Change) -> Result<View, Error> {
        let live = self.live(id)?;
        live.row.lock().spec.apply(change)?;
        self.inner.save_changed(&live).await
    }

    /// Lets a session live for so many seconds from now; `None`: without an end.
    ///
    /// # Errors
    /// The number is not right, there is no such session, or it cannot be written down.
    pub async fn extend(&self, id: &SessionId, seconds: Option<u64>) -> Result<View, Error> {
        if seconds.is_some_and(|seconds| !(1..=31_536_000).contains(&seconds)) {
            let message = "from 1 to 31536000 seconds (a year), or null for no end".into();
            return Err(Error::Invalid(vec![FieldError { field: "seconds".into(), message }]));
        }
        let live = self.live(id)?;
        live.row.lock().expires_at = seconds.map(|seconds| after(time::now(), seconds));
        self.inner.save_changed(&live).await
    }

    /// Ends a session and waits until nothing of it is left, for 30 s at most.
    ///
    /// # Errors
    /// There is none.
    pub async fn end(&self, id: &SessionId, reason: &str) -> Result<View, Error> {
        let live = self.live(id)?;
        let mut state = live.state.subscribe();
        live.end(reason);
        let _ = tokio::time::timeout(Duration::from_secs(30), state.wait_for(|state| state.is_over())).await;
        drop(state);
        self.get(id).await
    }

    /// Stops the programs of a session until it is used.
    ///
    /// # Errors
    /// There is no such session, or it cannot be frozen.
    pub async fn freeze(&self, id: &SessionId) -> Result<View, Error> {
        self.sleep(id, Command::Freeze).await
    }

    /// Lets the programs of a session go on.
    ///
    /// # Errors
    /// There is no such session, or it does not answer.
    pub async fn thaw(&self, id: &SessionId) -> Result<View, Error> {
        self.sleep(id, Command::Thaw).await
    }

    async fn sleep(
        &self,
        id: &SessionId,
        command: fn(oneshot::Sender<Result<(), Error>>) -> Command,
    ) -> Result<View, Error> {
        let live = self.live(id)?;
        if live.state() == State::Creating {
            return Err(Error::Conflict("the session is still being created: wait until it is ready".into()));
        }
        let (done, answer) = oneshot::channel();
        let sent = live.commands.send(command(done)).await;
        sent.map_err(|_| Error::NotFound)?;
        answer.await.map_err(|_| Error::NotFound)??;
        Ok(live.view())
    }

    /// Begins a use of a session that is ready; one that is frozen goes on first. With `touches` false it does neither wake
    /// it nor keep it from being idle.
    ///
    /// # Errors
    /// There is no such session, or it is not ready yet.
    pub async fn enter(&self, id: &SessionId, touches: bool) -> Result<Use, Error> {
        let live = self.live(id)?;
        if live.state() == State::Creating {
            return Err(Error::Conflict("the session is still being created: wait until it is ready".into()));
        }
        let entered = Use::new(live, touches);
        if touches && entered.live.state() == State::Frozen {
            self.thaw(id).await?;
        }
        Ok(entered)
    }

    /// The screen as JPEG.
    ///
    /// # Errors
    /// There is no such session, or it cannot show its screen.
    pub async fn screenshot(&self, id: &SessionId) -> Result<Bytes, Error> {
        let entered = self.enter(id, true).await?;
        let path = format!("{}api/room/screen/shot.jpg", entered.path());
        match entered.live.ask(Method::GET, &path, Bytes::new()).await? {
            (StatusCode::OK, picture) => Ok(picture),
            (status, _) => Err(entered.explained(Error::Session(format!("no picture: {status}")))),
        }
    }

    /// A session's own metrics as OpenMetrics text. One that is frozen stays so.
    ///
    /// # Errors
    /// There is no such session, it is not ready yet, or does not answer.
    pub async fn metrics(&self, id: &SessionId) -> Result<Bytes, Error> {
        let entered = self.enter(id, false).await?;
        match entered.live.ask(Method::GET, &format!("{}metrics", entered.path()), Bytes::new()).await? {
            (StatusCode::OK, text) => Ok(text),
            (status, _) => Err(Error::Session(format!("no metrics: {status}"))),
        }
    }

    /// Token with which programs drive a session's browser, for as long as it lives.
    ///
    /// # Errors
    /// There is no such session, it is not ready yet, or it has no browser that can be driven.
    pub async fn cdp_token(&self, id: &SessionId) -> Result<String, Error> {
        let entered = self.enter(id, false).await?;
        let token = entered.live.cdp_token.clone();
        let path = format!("{}json/version", entered.path());
        let answer = socket::ask(&entered.socket(), Method::GET, &path, &token, Bytes::new()).await;
        match answer.map_err(|error| entered.explained(error))? {
            (StatusCode::OK, _) => Ok(token),
            _ => Err(Error::Conflict(
                "no program can drive this session: it has no Chromium, or one without walls".into(),
            )),
        }
    }

    /// The end of a session's log, `bytes` at most.
    ///
    /// # Errors
    /// There is no such session, or the database refuses.
    pub async fn log(&self, id: &SessionId, bytes: u64) -> Result<String, Error> {
        if let Ok(live) = self.live(id) {
            let read = tokio::task::spawn_blocking(move || live.directory.log_end(bytes)).await;
            return read.map_err(|error| Error::Session(error.to_string()));
        }
        self.get(id).await?;
        let wanted = id.clone();
        let log = self.inner.store.with(move |db| store::sessions::log(db, &wanted)).await?;
        Ok(log.unwrap_or_default())
    }

    /// Events after a number that are still kept, and those to come.
    pub fn watch(&self, after: Option<u64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        self.inner.events.watch(after)
    }

    /// Writes down what was done. A database that refuses is logged: what was done has been done.
    pub async fn audit(&self, entry: Audit) {
        self.inner.audit(entry).await;
    }

    /// Entries of the audit log before a number, newest first.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn audit_log(&self, before: Option<i64>, limit: u16) -> Result<Vec<AuditEntry>, Error> {
        self.inner.store.with(move |db| store::audit::list(db, before, limit)).await
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn check(&self) -> Result<(), Error> {
        self.inner.store.with(|db| db.query_row("SELECT 1", [], |_| Ok(()))).await
    }

    pub(crate) fn live(&self, id: &SessionId) -> Result<Arc<Live>, Error> {
        self.inner.live.lock().get(id).cloned().ok_or(Error::NotFound)
    }
}

/// A time so many seconds later, in milliseconds since 1970.
pub(crate) fn after(millis: i64, seconds: u64) -> i64 {
    millis.saturating_add(i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX))
}
