//! Creating a session: whether it may be, where it gets its process from, and writing it down.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    Error, Fleet, Grant, Power, Reach, SessionId, Spec, State, View,
    actor::{self, Command, Live},
    admission,
    fleet::after,
    inner::row_of,
    managed::{Directory, Record},
    memory,
    pool::Warm,
    secret,
    store::{self, Begun, KeyUse},
    time,
};

/// Between looks at whether there is a place, when nothing says so.
const LOOK: Duration = Duration::from_millis(250);

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

/// A session that has its place.
struct Placed {
    record: Record,
    live: Arc<Live>,
    commands: mpsc::Receiver<Command>,
    /// What was started ahead, and has become it.
    warm: Option<Warm>,
}

impl Fleet {
    /// Creates a session; returns at once, while it is being started.
    ///
    /// # Errors
    /// It is not right, a limit is reached, or it cannot be written down.
    pub async fn create(&self, grant: &Grant, spec: Spec, key: Option<Idempotency>) -> Result<Created, Error> {
        self.create_in_turn(grant, spec, key, false).await
    }

    /// Like [`Fleet::create`], and waits for a place when a limit is reached, for so long at most: in order, tokens in turn.
    /// Who drops this gives up the place.
    ///
    /// # Errors
    /// As for [`Fleet::create`]; a limit's when nothing was free in time, or too many wait already.
    pub async fn create_patiently(
        &self,
        grant: &Grant,
        spec: Spec,
        key: Option<Idempotency>,
        patience: Duration,
    ) -> Result<Created, Error> {
        let until = tokio::time::Instant::now() + patience;
        let mut refused = match self.create(grant, spec.clone(), key.clone()).await {
            Err(error) if error.is_limit() => error,
            other => return other,
        };
        let Some(ticket) = self.inner.waiting.enter(grant.who()) else { return Err(refused) };
        loop {
            // One whose turn it is already would never be late otherwise.
            let is_late = tokio::time::Instant::now() >= until;
            if is_late || tokio::time::timeout_at(until, ticket.turn()).await.is_err() {
                return Err(refused);
            }
            refused = match self.create_in_turn(grant, spec.clone(), key.clone(), true).await {
                Err(error) if error.is_limit() => error,
                other => {
                    ticket.served();
                    return other;
                }
            };
            let own_wait = self.inner.admission.lock().own_wait(grant.who(), Instant::now());
            match (&refused, own_wait) {
                (_, Some(wait)) => ticket.hold(wait),
                (Error::TooMany(_), None) => ticket.hold(LOOK),
                _ => drop(tokio::time::timeout_at(until, ticket.pause(LOOK)).await),
            }
        }
    }

    async fn create_in_turn(
        &self,
        grant: &Grant,
        spec: Spec,
        key: Option<Idempotency>,
        is_turn: bool,
    ) -> Result<Created, Error> {
        // On its own, because whoever asked may go in the middle of it.
        let (fleet, grant) = (self.clone(), grant.clone());
        let made = tokio::spawn(async move { fleet.create_whole(&grant, spec, key, is_turn).await });
        made.await.unwrap_or_else(|error| Err(Error::Session(error.to_string())))
    }

    async fn create_whole(
        &self,
        grant: &Grant,
        mut spec: Spec,
        key: Option<Idempotency>,
        is_turn: bool,
    ) -> Result<Created, Error> {
        let (inner, asked_at) = (&self.inner, Instant::now());
        spec.check()?;
        let is_admin = grant.powers.allow(Power::Admin);
        let refused = inner.config.bounds.wrong(spec.limits.as_ref(), spec.egress.as_ref(), is_admin);
        if !refused.is_empty() {
            return Err(Error::Invalid(refused));
        }
        let key = key.map(|key| KeyUse {
            token: grant.who().to_owned(),
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
        spec.max_lifetime_seconds.get_or_insert(inner.config.max_lifetime);
        if !is_turn && inner.waiting.is_anybody_before() {
            return Err(Error::Waiting);
        }
        let Placed { record, live, commands, warm } = self.place(grant, &spec).await?;
        let row = live.row.lock().clone();
        let begun = inner.store.with(move |db| store::sessions::begin(db, &row, key.as_ref())).await;
        if !matches!(begun, Ok(Begun::New)) {
            inner.forget(&record.id);
            if let Some(claimed) = warm {
                claimed.end().await;
            }
            return self.before(begun?).await;
        }
        if warm.is_none()
            && let Err(error) = live.directory.create(&record)
        {
            let failed = format!("cannot make {}", live.directory.path().display());
            inner.ended(&live, State::Failed, "its directory cannot be made", String::new()).await;
            return Err(Error::io(failed)(error));
        }
        inner.pool.created(warm.is_some());
        if warm.is_some() {
            inner.counters.started(true, asked_at.elapsed());
        }
        inner.events.send(&record.id, State::Creating, None);
        let view = live.view();
        tokio::spawn(actor::run(inner.clone(), live, warm.map(Warm::into_process), commands));
        Ok(Created { view, is_new: true })
    }

    /// Takes a place for a session, and one that was started ahead, if there is one that fits.
    async fn place(&self, grant: &Grant, spec: &Spec) -> Result<Placed, Error> {
        let inner = &self.inner;
        if let Some(warm) = inner.pool.take(spec) {
            let record = self.record(grant, spec, Some(&warm.record));
            let (live, commands) = self.live_of(&record);
            if let Err(error) = self.admit(grant, &live, true) {
                inner.pool.put_back(warm);
                return Err(error);
            }
            match warm.claim(&record).await {
                Ok(()) => return Ok(Placed { record, live, commands, warm: Some(warm) }),
                Err(error) => {
                    tracing::warn!(session = %record.id, %error, "a session of the pool cannot be used: another is started");
                    inner.forget(&record.id);
                    warm.end().await;
                }
            }
        }
        let record = self.record(grant, spec, None);
        let (live, commands) = self.live_of(&record);
        while let Err(error) = self.admit(grant, &live, false) {
            // What nobody uses goes first.
            let other = if matches!(error, Error::NoMemory { .. }) { inner.pool.give_way() } else { None };
            match other {
                Some(other) => other.end().await,
                None => return Err(error),
            }
        }
        let running = inner.live.lock().len();
        if running + inner.pool.len() > inner.config.limits.sessions
            && let Some(other) = inner.pool.give_way()
        {
            tokio::spawn(other.end());
        }
        Ok(Placed { record, live, commands, warm: None })
    }

    /// What a session is to be, with the names of one that was started ahead, or new ones.
    fn record(&self, grant: &Grant, spec: &Spec, ahead: Option<&Record>) -> Record {
        let id = ahead.map_or_else(SessionId::random, |ahead| ahead.id.clone());
        let created_at = time::now();
        let max_lifetime = spec.max_lifetime_seconds.unwrap_or(0);
        Record {
            path: format!("{}/{id}/", self.inner.config.path),
            id,
            spec: spec.public(),
            owner: grant.who().to_owned(),
            created_at,
            expires_at: (max_lifetime > 0).then(|| after(created_at, max_lifetime)),
            api_token: ahead.map_or_else(secret::secret, |ahead| ahead.api_token.clone()),
            cdp_token: ahead.map_or_else(secret::secret, |ahead| ahead.cdp_token.clone()),
            environment: spec.variables(),
            reach: Reach {
                egress: spec.egress.clone().unwrap_or_default(),
                is_trusted: grant.powers.allow(Power::Admin),
            },
            is_ahead: false,
        }
    }

    fn live_of(&self, record: &Record) -> (Arc<Live>, mpsc::Receiver<Command>) {
        let directory = Directory::new(self.inner.config.state.join("s").join(record.id.as_str()));
        Live::new(directory, record, row_of(record))
    }

    /// Takes a place for a session, if there is one. One of the pool has its memory already.
    fn admit(&self, grant: &Grant, live: &Arc<Live>, from_pool: bool) -> Result<(), Error> {
        let available = if from_pool { None } else { memory::available() };
        let mut all = self.inner.live.lock();
        let (name, profile) = {
            let row = live.row.lock();
            (row.spec.name.clone(), row.spec.profile.clone())
        };
        if let Some(name) = &name
            && all.values().any(|other| other.row.lock().spec.name.as_ref() == Some(name))
        {
            return Err(Error::Conflict(format!("a session named {name} is running: choose another name, or end it")));
        }
        if let Some(profile) = &profile {
            self.inner.profiles.check_free(profile, &all)?;
        }
        let starting = all.values().filter(|other| other.state() == State::Creating).count();
        let own = all.values().filter(|other| other.row.lock().owner == grant.who()).count();
        let now = admission::Now { at: Instant::now(), running: all.len(), own, starting, available };
        self.inner.admission.lock().admit(grant.who(), now)?;
        all.insert(live.id.clone(), live.clone());
        self.inner.media.add(live);
        Ok(())
    }

    async fn before(&self, begun: Begun) -> Result<Created, Error> {
        match begun {
            Begun::Before(id) => Ok(Created { view: self.get(&id).await?, is_new: false }),
            Begun::New | Begun::Reused => Err(Error::KeyReused),
        }
    }
}
