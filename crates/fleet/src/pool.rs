//! Sessions that are started ahead, so that a creation takes one that runs and only leads it to its page.
//!
//! They are nobody's: in no list, reached by nobody, and first to go when a real session needs a place or memory. One is
//! started at a time, and only while nothing else is.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{Method, body::Bytes};
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinHandle};

use crate::{
    App, Claim, Error, Fleet, SessionId, Spec, State,
    inner::Inner,
    managed::{Directory, Record},
    memory,
    process::Process,
    secret, socket, time,
};

/// How long nothing is started after a session was created, whose first page is then loading.
const REST: Duration = Duration::from_secs(1);
/// Between looks at what is there.
const LOOK: Duration = Duration::from_millis(500);
/// How long a shape that cannot be started is let be.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// Between looks at whether a starting session is ready, or the pool closed.
const STEP: Duration = Duration::from_millis(20);
/// How long a claim may take before a session is started in the ordinary way.
const CLAIM_WITHIN: Duration = Duration::from_secs(5);

const MIB: u64 = 1024 * 1024;

/// What is started ahead.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolConfig {
    /// How many, of what shape. What can be changed later is of no account: page, screen, egress, name, labels, time-outs.
    pub shapes: Vec<(usize, Spec)>,
    /// Whether they are frozen until they are needed.
    pub frozen: bool,
}

/// How a pool is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Sessions that can be taken.
    pub warm: usize,
    /// Sessions that are being started.
    pub starting: usize,
    /// Sessions that there are to be.
    pub wanted: usize,
    /// Creations that took one.
    pub taken: u64,
    /// Creations that did not.
    pub cold: u64,
}

/// A session that can be taken.
pub(crate) struct Warm {
    pub(crate) record: Record,
    pub(crate) directory: Directory,
    process: Process,
    shape: usize,
}

struct Shape {
    count: usize,
    spec: Spec,
    /// Not before then, because it could not be started.
    not_before: Mutex<Option<Instant>>,
}

pub(crate) struct Pool {
    shapes: Vec<Shape>,
    frozen: bool,
    warm: Mutex<VecDeque<Warm>>,
    starting: AtomicUsize,
    taken: AtomicU64,
    cold: AtomicU64,
    last_creation: Mutex<Option<Instant>>,
    closing: AtomicBool,
    changed: Notify,
    filler: Mutex<Option<JoinHandle<()>>>,
}

impl Warm {
    /// Makes it what a creation asks for.
    pub(crate) async fn claim(&self, record: &Record) -> Result<(), Error> {
        let claim = Claim { url: record.spec.url.clone(), screen: record.spec.screen, reach: record.reach.clone() };
        let claimed = async {
            // From here on it is somebody's, also for a server that comes after us.
            self.directory.write(record).map_err(Error::io("cannot write a session down"))?;
            let body = serde_json::to_vec(&claim).map_err(|error| Error::Session(error.to_string()))?;
            self.tell("claim", body.into()).await
        };
        let done = tokio::time::timeout(CLAIM_WITHIN, claimed).await;
        done.unwrap_or_else(|_| Err(Error::Session("it takes too long".into())))
    }

    /// Its process, to be led on by an actor.
    pub(crate) fn into_process(self) -> Process {
        self.process
    }

    async fn tell(&self, what: &str, body: Bytes) -> Result<(), Error> {
        let path = format!("/managed/{what}");
        let (status, answer) =
            socket::ask(&self.directory.socket(), Method::POST, &path, &self.record.api_token, body).await?;
        if status.is_success() {
            return Ok(());
        }
        Err(Error::Session(format!("{status} {}", String::from_utf8_lossy(&answer))))
    }

    /// Ends it; nothing is left of it then.
    pub(crate) async fn end(mut self) {
        // For a server that comes after us, should we be ended first.
        let _ = self.directory.mark_end("not needed");
        if !self.process.end().await {
            tracing::error!(session = %self.record.id, "a session of the pool cannot be ended");
        }
        if let Err(error) = self.directory.remove() {
            tracing::error!(directory = %self.directory.path().display(), %error, "a directory cannot be removed");
        }
    }
}

impl Pool {
    /// A pool that is empty yet.
    ///
    /// # Errors
    /// A shape is not right.
    pub(crate) fn new(config: &PoolConfig) -> Result<Self, Error> {
        let mut shapes = Vec::new();
        for (count, spec) in &config.shapes {
            let mut spec = spec.shape();
            if spec.profile.is_some() {
                return Err(Error::Conflict("a session that is started ahead cannot have a profile".into()));
            }
            spec.url = (spec.app == App::Chromium).then(|| "about:blank".to_owned());
            spec.check()?;
            shapes.push(Shape { count: *count, spec, not_before: Mutex::new(None) });
        }
        Ok(Self {
            shapes,
            frozen: config.frozen,
            warm: Mutex::default(),
            starting: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            cold: AtomicU64::new(0),
            last_creation: Mutex::new(None),
            closing: AtomicBool::new(false),
            changed: Notify::new(),
            filler: Mutex::new(None),
        })
    }

    /// Begins to fill the pool of a fleet.
    pub(crate) fn fill(inner: &Arc<Inner>) {
        if inner.pool.shapes.iter().any(|shape| shape.count > 0) {
            let weak = Arc::downgrade(inner);
            *inner.pool.filler.lock() = Some(tokio::spawn(filler(weak)));
        }
    }

    /// A session that fits, oldest first. It is the caller's.
    pub(crate) fn take(&self, spec: &Spec) -> Option<Warm> {
        let wanted = spec.shape();
        // Nobody could lead another browser to its page.
        if spec.profile.is_some() || (spec.url.is_some() && spec.app != App::Chromium) {
            return None;
        }
        let mut warm = self.warm.lock();
        let fits = |warm: &Warm| {
            let shape = self.shapes.get(warm.shape).is_some_and(|shape| shape.spec.shape() == wanted);
            shape && !warm.process.has_ended()
        };
        let at = warm.iter().position(fits)?;
        warm.remove(at)
    }

    /// Gives one back that was not used.
    pub(crate) fn put_back(&self, warm: Warm) {
        self.warm.lock().push_front(warm);
    }

    /// One to be ended in favour of a real session.
    pub(crate) fn give_way(&self) -> Option<Warm> {
        self.warm.lock().pop_back()
    }

    /// Notes a creation, during which and shortly after which nothing is started ahead.
    pub(crate) fn created(&self, from_pool: bool) {
        let counter = if from_pool { &self.taken } else { &self.cold };
        counter.fetch_add(1, Ordering::Relaxed);
        *self.last_creation.lock() = Some(Instant::now());
        self.changed.notify_one();
    }

    pub(crate) fn len(&self) -> usize {
        self.warm.lock().len() + self.starting.load(Ordering::Relaxed)
    }

    fn counts(&self) -> PoolCounts {
        PoolCounts {
            warm: self.warm.lock().len(),
            starting: self.starting.load(Ordering::Relaxed),
            wanted: self.shapes.iter().map(|shape| shape.count).sum(),
            taken: self.taken.load(Ordering::Relaxed),
            cold: self.cold.load(Ordering::Relaxed),
        }
    }

    /// The shape that lacks a session most, if it may be started.
    fn lacking(&self) -> Option<usize> {
        let warm = self.warm.lock();
        let now = Instant::now();
        let lacks = |at: usize, shape: &Shape| {
            let have = warm.iter().filter(|warm| warm.shape == at).count();
            let is_barred = shape.not_before.lock().is_some_and(|until| now < until);
            if is_barred { 0 } else { shape.count.saturating_sub(have) }
        };
        let all = self.shapes.iter().enumerate().map(|(at, shape)| (lacks(at, shape), at));
        all.max_by_key(|(lack, at)| (*lack, std::cmp::Reverse(*at))).filter(|(lack, _)| *lack > 0).map(|(_, at)| at)
    }

    fn is_resting(&self) -> bool {
        self.last_creation.lock().is_some_and(|at| at.elapsed() < REST)
    }
}

/// Fills the pool until it is closed, or the fleet is gone.
async fn filler(weak: Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let pool = &inner.pool;
        if pool.closing.load(Ordering::Acquire) {
            return;
        }
        clear_ended(&inner).await;
        let next = pool.lacking().filter(|_| !pool.is_resting() && has_room(&inner));
        match next {
            Some(shape) => {
                pool.starting.store(1, Ordering::Relaxed);
                let started = start(&inner, shape).await;
                match started {
                    Ok(Some(warm)) => pool.warm.lock().push_back(warm),
                    Ok(None) => {}
                    Err(reason) => {
                        tracing::error!(shape, reason, "no session can be started ahead; tried again later");
                        *pool.shapes[shape].not_before.lock() = Some(Instant::now() + AFTER_FAILURE);
                    }
                }
                pool.starting.store(0, Ordering::Relaxed);
            }
            None => {
                // The fleet may go meanwhile.
                let changed = async {
                    pool.changed.notified().await;
                };
                let _ = tokio::time::timeout(LOOK, changed).await;
            }
        }
    }
}

/// Whether one more would take nothing from real sessions: neither a place, nor memory that another two would need.
fn has_room(inner: &Inner) -> bool {
    let limits = inner.config.limits;
    let live = inner.live.lock();
    let is_quiet = live.values().all(|live| live.state() != State::Creating);
    let needed = limits.session_mib.saturating_mul(2).saturating_add(limits.reserve_mib).saturating_mul(MIB);
    is_quiet
        && live.len() + inner.pool.len() < limits.sessions
        && memory::available().is_none_or(|available| available >= needed)
}

async fn clear_ended(inner: &Inner) {
    let mut ended = Vec::new();
    {
        let mut warm = inner.pool.warm.lock();
        for at in (0..warm.len()).rev() {
            if warm[at].process.has_ended() {
                ended.extend(warm.remove(at));
            }
        }
    }
    for warm in ended {
        tracing::warn!(session = %warm.record.id, log = warm.directory.log_end(2_048), "a session of the pool has ended");
        warm.end().await;
    }
}

/// Starts a session and waits until it can be taken; none, when the pool is closed meanwhile.
async fn start(inner: &Arc<Inner>, shape: usize) -> Result<Option<Warm>, String> {
    let id = SessionId::random();
    let directory = Directory::new(inner.config.state.join("s").join(id.as_str()));
    let spec = inner.pool.shapes[shape].spec.clone();
    let record = Record {
        path: format!("{}/{id}/", inner.config.path),
        id,
        environment: spec.variables(),
        spec: spec.public(),
        owner: "pool".into(),
        created_at: time::now(),
        expires_at: None,
        api_token: secret::secret(),
        cdp_token: secret::secret(),
        reach: Default::default(),
        is_ahead: true,
    };
    directory.create(&record).map_err(|error| format!("cannot make its directory: {error}"))?;
    let process = match inner.launcher.start(&directory, &record.spec, &record.path) {
        Ok(process) => process,
        Err(error) => {
            let _ = directory.remove();
            return Err(format!("cannot start its process: {error}"));
        }
    };
    let mut warm = Warm { record, directory, process, shape };
    let begun = async {
        tokio::select! {
            ready = until_warm(inner, &mut warm) => ready.map(|()| true),
            () = closed(&inner.pool) => Ok(false),
        }
    };
    let ready = tokio::time::timeout(inner.config.start_within, begun);
    match ready.await.unwrap_or_else(|_| Err("it was not ready in time".into())) {
        Ok(true) => Ok(Some(warm)),
        Ok(false) => {
            warm.end().await;
            Ok(None)
        }
        Err(reason) => {
            let log = warm.directory.log_end(2_048);
            warm.end().await;
            Err(format!("{reason} {}", log.trim()))
        }
    }
}

async fn closed(pool: &Pool) {
    while !pool.closing.load(Ordering::Acquire) {
        tokio::time::sleep(STEP).await;
    }
}

async fn until_warm(inner: &Inner, warm: &mut Warm) -> Result<(), String> {
    while !warm.directory.is_ready() {
        if tokio::time::timeout(STEP, warm.process.exited()).await.is_ok() {
            return Err("its process ended".into());
        }
    }
    warm.tell("warm", Bytes::new()).await.map_err(|error| error.to_string())?;
    if inner.pool.frozen {
        warm.tell("freeze", Bytes::new()).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

impl Fleet {
    /// How the sessions that are started ahead are doing.
    pub fn pool(&self) -> PoolCounts {
        self.inner.pool.counts()
    }

    /// Ends what was started ahead and is nobody's. To be called before a server stops; real sessions go on.
    pub async fn close_pool(&self) {
        let pool = &self.inner.pool;
        pool.closing.store(true, Ordering::Release);
        pool.changed.notify_one();
        let filler = pool.filler.lock().take();
        if let Some(filler) = filler {
            // It fails only if it panicked.
            let _ = filler.await;
        }
        let all: Vec<_> = pool.warm.lock().drain(..).map(|warm| tokio::spawn(warm.end())).collect();
        for one in all {
            let _ = one.await;
        }
    }
}
