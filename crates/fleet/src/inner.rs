//! What all of a fleet share: its sessions, what is written down of them, and what becomes of them.

use std::{collections::HashMap, fs, sync::Arc};

use parking_lot::Mutex;

use crate::{
    Audit, Config, Error, SessionId, State, View,
    actor::{self, Command, Live},
    admission::Admission,
    events::Events,
    managed::{Directory, Record},
    media::MediaSockets,
    numbers::Counters,
    pool::Pool,
    process::{self, Launcher, Process},
    profiles::Profiles,
    store::{self, Store},
    time,
    tokens::Tokens,
    view::Row,
    waiting::Waiting,
};

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) launcher: Launcher,
    pub(crate) store: Store,
    pub(crate) tokens: Tokens,
    pub(crate) live: Mutex<HashMap<SessionId, Arc<Live>>>,
    /// Kept profiles that something is being done with.
    pub(crate) profiles: Profiles,
    pub(crate) pool: Pool,
    pub(crate) admission: Mutex<Admission>,
    /// Creations that wait for a place.
    pub(crate) waiting: Waiting,
    pub(crate) events: Events,
    pub(crate) media: MediaSockets,
    pub(crate) counters: Counters,
    // Locked for as long as we live.
    pub(crate) _lock: fs::File,
}

impl Inner {
    /// Finds what runs: every directory with a living process, whatever the database says of it.
    pub(crate) async fn take_over(self: &Arc<Self>, known: Vec<Row>) -> Result<(), Error> {
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
            if record.is_ahead {
                // It was nobody's. A pool of our own is started anew.
                if let Ok(Some(mut process)) = Process::adopt(&directory).await {
                    let inner = self.clone();
                    tokio::spawn(async move {
                        if process.end().await {
                            inner.remove(&directory);
                        }
                    });
                } else {
                    self.remove(&directory);
                }
                continue;
            }
            let mut row = known.remove(&record.id).unwrap_or_else(|| row_of(&record));
            if row.state == State::Creating && directory.is_ready() {
                (row.state, row.ready_at) = (State::Ready, Some(time::now()));
            }
            let process = Process::adopt(&directory).await;
            let (live, commands) = Live::new(directory, &record, row.clone());
            match process {
                Ok(Some(process)) => {
                    self.counters.taken_over();
                    self.live.lock().insert(live.id.clone(), live.clone());
                    self.media.add(&live);
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
            let (id, from, reason) = (row.id.clone(), row.state, "it was gone when the server came back");
            let over = Row { state: State::Failed, reason: Some(reason.into()), ended_at: Some(time::now()), ..row };
            self.save(over).await;
            self.say_over(&id, from, State::Failed, reason).await;
        }
        Ok(())
    }

    /// Changes the state of a session and tells everybody.
    pub(crate) async fn change(&self, live: &Live, state: State, reason: Option<&str>) {
        let row = {
            let mut row = live.row.lock();
            self.counters.changed(row.state, state);
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
        let from = live.row.lock().state;
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
        self.say_over(&live.id, from, state, reason).await;
    }

    /// Tells everybody that a session is over, and why.
    async fn say_over(&self, id: &SessionId, from: State, state: State, reason: &str) {
        self.counters.changed(from, state);
        self.events.send(id, state, Some(reason));
        tracing::info!(session = %id, state = state.name(), reason, "a session has ended");
        let entry = Audit {
            who: "fleet".into(),
            origin: String::new(),
            action: "session.ended",
            target: id.to_string(),
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

    pub(crate) fn forget(&self, id: &SessionId) {
        self.live.lock().remove(id);
        self.waiting.wake();
        self.media.remove(id);
    }

    async fn save(&self, row: Row) {
        let id = row.id.clone();
        if let Err(error) = self.store.with(move |db| store::sessions::put(db, &row)).await {
            // The session goes on; its directory tells the next server.
            tracing::error!(session = %id, %error, "the state of a session is not written down");
        }
    }

    /// Writes down what was changed by hand, in the database and in the session's directory.
    pub(crate) async fn save_changed(&self, live: &Live) -> Result<View, Error> {
        let row = live.row.lock().clone();
        let written = live.directory.read().and_then(|record| {
            live.directory.write(&Record { spec: row.spec.clone(), expires_at: row.expires_at, ..record })
        });
        written.map_err(|error| live.explained(Error::io("cannot write the change down")(error)))?;
        self.store.with(move |db| store::sessions::put(db, &row)).await?;
        let _ = live.commands.send(Command::Changed).await;
        Ok(live.view())
    }

    pub(crate) async fn audit(&self, entry: Audit) {
        if let Err(error) = self.store.with(move |db| store::audit::add(db, time::now(), &entry)).await {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }

    pub(crate) async fn tidy(&self) {
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

pub(crate) fn row_of(record: &Record) -> Row {
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
