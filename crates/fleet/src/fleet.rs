//! All sessions of this host.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    net::IpAddr,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{Method, StatusCode, body::Bytes};
use parking_lot::Mutex;
use tokio::sync::{broadcast, oneshot};

use crate::{
    Audit, AuditEntry, Bounds, Change, Error, Event, FieldError, Filter, Grant, Limits, Page, Power, Reach, SessionId,
    Spec, State, View,
    actor::{self, Command, Live},
    admission::{self, Admission},
    events::Events,
    managed::{Directory, Record},
    memory,
    process::{self, Launcher, Process},
    secret, socket, state_dir,
    store::{self, Begun, KeyUse, Store},
    time,
    tokens::Tokens,
    usage::Use,
    view::Row,
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
    /// Address that sessions listen on for media.
    pub media: IpAddr,
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
}

/// Key of a request that may come twice.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// What the client chose.
    pub key: String,
    /// The whole request, to tell another one with the same key.
    pub request: Vec<u8>,
}

/// A session, and whether the request has made it.
#[derive(Debug, Clone)]
pub struct Created {
    /// It.
    pub view: View,
    /// False when the same request came before.
    pub is_new: bool,
}

/// All sessions of this host. Dropping it leaves them running.
#[derive(Clone)]
pub struct Fleet {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) launcher: Launcher,
    pub(crate) store: Store,
    pub(crate) tokens: Tokens,
    live: Mutex<HashMap<SessionId, Arc<Live>>>,
    admission: Mutex<Admission>,
    events: Events,
    // Locked for as long as we live.
    _lock: fs::File,
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
        let launcher =
            Launcher { program: config.program.clone(), options: config.options.clone(), media: config.media };
        let inner = Arc::new(Inner {
            admission: Mutex::new(Admission::new(config.limits, Instant::now())),
            config,
            launcher,
            store,
            tokens,
            live: Mutex::default(),
            events: Events::default(),
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

    /// Creates a session; returns at once, while it is being started.
    ///
    /// # Errors
    /// It is not right, a limit is reached, or it cannot be written down.
    pub async fn create(&self, grant: &Grant, mut spec: Spec, key: Option<Idempotency>) -> Result<Created, Error> {
        let inner = &self.inner;
        spec.check()?;
        let is_admin = grant.powers.allow(Power::Admin);
        let refused = inner.config.bounds.wrong(spec.limits.as_ref(), spec.egress.as_ref(), is_admin);
        if !refused.is_empty() {
            return Err(Error::Invalid(refused));
        }
        let key = key.map(|key| KeyUse {
            token: grant.token.clone(),
            key: key.key,
            request: secret::hash(&String::from_utf8_lossy(&key.request)),
        });
        if let Some(key) = key.clone()
            && let Some(begun) = inner.store.with(move |db| store::sessions::key_use(db, &key)).await?
        {
            return self.before(begun).await;
        }
        spec.idle_freeze_seconds.get_or_insert(inner.config.idle_freeze);
        spec.idle_timeout_seconds.get_or_insert(inner.config.idle_timeout);
        let max_lifetime = *spec.max_lifetime_seconds.get_or_insert(inner.config.max_lifetime);
        let (id, created_at) = (SessionId::random(), time::now());
        let expires_at = (max_lifetime > 0).then(|| after(created_at, max_lifetime));
        let path = format!("{}/{id}/", inner.config.path);
        let directory = Directory::new(inner.config.state.join("s").join(id.as_str()));
        let record = Record {
            id: id.clone(),
            spec: spec.public(),
            path: path.clone(),
            owner: grant.token.clone(),
            created_at,
            expires_at,
            api_token: secret::secret(),
            cdp_token: secret::secret(),
            environment: spec.variables(),
            reach: Reach { egress: spec.egress.clone().unwrap_or_default(), is_trusted: is_admin },
        };
        let row = row_of(&record);
        let (live, commands) = Live::new(directory, &record, row.clone());
        self.admit(grant, &live)?;
        let begun = inner.store.with(move |db| store::sessions::begin(db, &row, key.as_ref())).await;
        let begun = begun.inspect_err(|_| inner.forget(&id))?;
        if begun != Begun::New {
            inner.forget(&id);
            return self.before(begun).await;
        }
        let failed = format!("cannot make {}", live.directory.path().display());
        if let Err(error) = live.directory.create(&record) {
            inner.ended(&live, State::Failed, "its directory cannot be made", String::new()).await;
            return Err(Error::io(failed)(error));
        }
        inner.events.send(&id, State::Creating, None);
        let view = live.view();
        tokio::spawn(actor::run(inner.clone(), live, None, commands));
        Ok(Created { view, is_new: true })
    }

    /// Takes a place for a session, if there is one.
    fn admit(&self, grant: &Grant, live: &Arc<Live>) -> Result<(), Error> {
        let available = memory::available();
        let mut all = self.inner.live.lock();
        let name = live.row.lock().spec.name.clone();
        if let Some(name) = &name
            && all.values().any(|other| other.row.lock().spec.name.as_ref() == Some(name))
        {
            return Err(Error::Conflict(format!("a session named {name} is running: choose another name, or end it")));
        }
        let starting = all.values().filter(|other| other.state() == State::Creating).count();
        let now = admission::Now { at: Instant::now(), running: all.len(), starting, available };
        self.inner.admission.lock().admit(&grant.token, now)?;
        all.insert(live.id.clone(), live.clone());
        Ok(())
    }

    async fn before(&self, begun: Begun) -> Result<Created, Error> {
        match begun {
            Begun::Before(id) => Ok(Created { view: self.get(&id).await?, is_new: false }),
            Begun::New | Begun::Reused => Err(Error::KeyReused),
        }
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
            (status, _) => Err(Error::Session(format!("no picture: {status}"))),
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
        match socket::ask(&entered.socket(), Method::GET, &path, &token, Bytes::new()).await? {
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

impl Inner {
    /// Finds what runs: every directory with a living process, whatever the database says of it.
    async fn take_over(self: &Arc<Self>, known: Vec<Row>) -> Result<(), Error> {
        let root = self.config.state.join("s");
        let found = process::directories(&root).map_err(Error::io(format!("cannot read {}", root.display())))?;
        let mut known: HashMap<_, _> = known.into_iter().map(|row| (row.id.clone(), row)).collect();
        for path in found {
            let directory = Directory::new(path);
            let record = match directory.read() {
                Ok(record) if directory.path().ends_with(record.id.as_str()) => record,
                // It was not even begun, or is no session at all.
                _ => {
                    self.remove(&directory);
                    continue;
                }
            };
            let mut row = known.remove(&record.id).unwrap_or_else(|| row_of(&record));
            if row.state == State::Creating && directory.is_ready() {
                (row.state, row.ready_at) = (State::Ready, Some(time::now()));
            }
            let process = Process::adopt(&directory).await;
            let (live, commands) = Live::new(directory, &record, row.clone());
            match process {
                Ok(Some(process)) => {
                    self.live.lock().insert(live.id.clone(), live.clone());
                    self.save(row).await;
                    if let Some(reason) = live.directory.end_mark() {
                        live.end(&reason);
                    }
                    tokio::spawn(actor::run(self.clone(), live, Some(process), commands));
                }
                Ok(None) => {
                    let log = live.directory.log_end(64 * 1024);
                    let (state, reason) = match live.directory.end_mark() {
                        Some(reason) => (State::Terminated, reason),
                        None => (State::Failed, "it ended while the server was away".to_owned()),
                    };
                    self.ended(&live, state, &reason, log).await;
                }
                Err(error) => {
                    tracing::error!(session = %live.id, %error, "cannot take over a session");
                    known.insert(live.id.clone(), row);
                }
            }
        }
        for row in known.into_values() {
            let reason = Some("it was gone when the server came back".to_owned());
            self.save(Row { state: State::Failed, reason, ended_at: Some(time::now()), ..row }).await;
        }
        Ok(())
    }

    /// Changes the state of a session and tells everybody.
    pub(crate) async fn change(&self, live: &Live, state: State, reason: Option<&str>) {
        let row = {
            let mut row = live.row.lock();
            row.state = state;
            row.reason = reason.filter(|_| state != State::Ready).map(str::to_owned);
            if state == State::Ready {
                row.ready_at.get_or_insert_with(time::now);
            }
            row.clone()
        };
        self.save(row).await;
        live.state.send_replace(state);
        self.events.send(&live.id, state, reason);
    }

    /// Clears away after a session, and only then says that it is over.
    pub(crate) async fn ended(&self, live: &Live, state: State, reason: &str, log: String) {
        self.remove(&live.directory);
        let row = {
            let mut row = live.row.lock();
            (row.state, row.reason, row.ended_at) = (state, Some(reason.to_owned()), Some(time::now()));
            row.clone()
        };
        self.save(row).await;
        let id = live.id.clone();
        let written = self.store.with(move |db| {
            store::sessions::put_log(db, &id, &log)?;
            store::tokens::remove_of_session(db, &id)
        });
        if let Err(error) = written.await {
            tracing::error!(session = %live.id, %error, "the log of an ended session is lost");
        }
        self.tokens.remove_session(&live.id);
        self.forget(&live.id);
        live.state.send_replace(state);
        self.events.send(&live.id, state, Some(reason));
        tracing::info!(session = %live.id, state = state.name(), reason, "a session has ended");
        let entry = Audit {
            who: "fleet".into(),
            origin: String::new(),
            action: "session.ended",
            target: live.id.to_string(),
            detail: format!("{}: {reason}", state.name()),
        };
        self.audit(entry).await;
    }

    fn remove(&self, directory: &Directory) {
        match directory.remove() {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!(directory = %directory.path().display(), %error, "a directory cannot be removed");
            }
            _ => {}
        }
    }

    fn forget(&self, id: &SessionId) {
        self.live.lock().remove(id);
    }

    async fn save(&self, row: Row) {
        let id = row.id.clone();
        if let Err(error) = self.store.with(move |db| store::sessions::put(db, &row)).await {
            // The session goes on; its directory tells the next server.
            tracing::error!(session = %id, %error, "the state of a session is not written down");
        }
    }

    /// Writes down what was changed by hand, in the database and in the session's directory.
    async fn save_changed(&self, live: &Live) -> Result<View, Error> {
        let row = live.row.lock().clone();
        let written = live.directory.read().and_then(|record| {
            live.directory.write(&Record { spec: row.spec.clone(), expires_at: row.expires_at, ..record })
        });
        written.map_err(Error::io("cannot write the change down"))?;
        self.store.with(move |db| store::sessions::put(db, &row)).await?;
        let _ = live.commands.send(Command::Changed).await;
        Ok(live.view())
    }

    async fn audit(&self, entry: Audit) {
        if let Err(error) = self.store.with(move |db| store::audit::add(db, time::now(), &entry)).await {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }

    async fn tidy(&self) {
        let all: Vec<_> = self.live.lock().values().cloned().collect();
        let cut = tokio::task::spawn_blocking(move || {
            for live in all {
                // It may have ended meanwhile.
                let _ = live.directory.cut_log();
            }
        });
        let _ = cut.await;
        let pruned = self.store.with(|db| {
            store::sessions::prune(db, time::now())?;
            store::tokens::prune(db, time::now())?;
            store::audit::prune(db)
        });
        if let Err(error) = pruned.await {
            tracing::error!(%error, "old entries of the database cannot be removed");
        }
    }
}

fn row_of(record: &Record) -> Row {
    Row {
        id: record.id.clone(),
        state: State::Creating,
        reason: None,
        spec: record.spec.clone(),
        path: record.path.clone(),
        owner: record.owner.clone(),
        created_at: record.created_at,
        ready_at: None,
        expires_at: record.expires_at,
        ended_at: None,
    }
}

/// A time so many seconds later, in milliseconds since 1970.
fn after(millis: i64, seconds: u64) -> i64 {
    millis.saturating_add(i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX))
}
