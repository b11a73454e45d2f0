//! Computer use over HTTP: screen, mouse, keyboard, clipboard, windows, processes and files of one desktop.
//!
//! The shapes are sandbox-agent's, so that its clients work unchanged; what it has not is added in the same style.
//! Everything happens in this process, but for programs, which the desktop starts within its walls.
//!
//! What must hold:
//!
//! * Nothing is done for a request before its token is found to have the power for it.
//! * A path of a client's leads to something below the desktop's HOME or its own `/tmp`, without passing any link, or to nothing.
//! * What clients write to memory counts as the session's.
//! * Every buffer has a bound, and what waits ends with [`Computer::shutdown`].

#![forbid(unsafe_code)]

mod access;
mod answer;
mod desktop;
mod display;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod kernel;
mod openapi;
mod picture;
mod problem;
mod processes;
mod recorder;
mod time;

use std::{
    ffi::OsString,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use glasshouse_desktop::Desktop;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

pub use access::{Act, Call, Caller, Held, MAX_PATIENCE, Pending, Rights, Wheel};

use crate::{display::Display, problem::Problem, processes::Table, recorder::Recorder};

/// Requests that are worked on at a time.
const MAX_REQUESTS: usize = 128;
/// Pictures that are made at a time: each needs some 40 MB on the largest screen.
const MAX_PICTURES: usize = 2;
/// Requests that wait for the screen at a time, each with a connection to the display.
const MAX_WAITS: usize = 16;
/// Archives that are made or unpacked at a time: each needs up to 128 MB, when it was packed so.
const MAX_ARCHIVES: usize = 4;
/// Folders that are watched at a time.
const MAX_WATCHES: usize = 16;

/// Judges tokens. Must not block.
pub type Judge = dyn Fn(&str) -> Option<Rights> + Send + Sync;

/// Says whether people watch.
pub type Watched = dyn Fn() -> Pending<'static, bool> + Send + Sync;

/// How computer use is set up.
#[derive(Clone)]
pub struct Config {
    /// What is used.
    pub desktop: Arc<Desktop>,
    /// What the holder of a token may do; none for a token that is nobody's.
    pub rights: Arc<Judge>,
    /// Answers the viewer's WebSocket for `/v1/desktop/stream/signaling`, with the token as a Bearer: neko's.
    pub signaling: Router,
    /// Its path there, such as `/api/ws`.
    pub signaling_path: String,
    /// Largest file that is taken, and largest archive, in bytes.
    pub max_file: u64,
    /// Further flags that the session's browser was started with.
    pub app_flags: Vec<OsString>,
    /// Says whether people watch.
    pub is_watched: Option<Arc<Watched>>,
    /// Shares mouse and keyboard with people, if anything does.
    pub wheel: Option<Arc<dyn Wheel>>,
}

/// Computer use of one desktop.
#[derive(Clone)]
pub struct Computer {
    shared: Arc<Shared>,
    router: Router,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) display: Arc<Display>,
    pub(crate) table: Table,
    /// Held while one request uses mouse or keyboard, so that none types into another's words.
    pub(crate) hands: tokio::sync::Mutex<()>,
    /// Whether a client holds Shift by `keyboard/down`.
    pub(crate) shift: AtomicBool,
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) pictures: Semaphore,
    pub(crate) waits: Arc<Semaphore>,
    pub(crate) archives: Arc<Semaphore>,
    pub(crate) watches: Arc<Semaphore>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) kernel: kernel::State,
    /// Whether viewers may come by `stream/signaling`.
    pub(crate) streaming: AtomicBool,
    pub(crate) started: SystemTime,
    /// True once all that waits is to end.
    pub(crate) closing: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn desktop(&self) -> &Arc<Desktop> {
        &self.config.desktop
    }

    /// Says whether all that waits is to end.
    pub(crate) fn closed_flag(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Resolves when all that waits is to end.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closing = self.closing.subscribe();
        async move {
            // An error says that it is gone altogether.
            let _ = closing.wait_for(|is_closing| *is_closing).await;
        }
    }
}

impl Computer {
    /// Makes it; nothing is opened before somebody comes. To be called within a tokio runtime.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let display = Display::new(config.desktop.display(), config.desktop.xauthority());
        let shared = Arc::new(Shared {
            display: Arc::new(display),
            table: Table::new(config.desktop.clone()),
            hands: tokio::sync::Mutex::default(),
            shift: AtomicBool::new(false),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            pictures: Semaphore::new(MAX_PICTURES),
            waits: Arc::new(Semaphore::new(MAX_WAITS)),
            archives: Arc::new(Semaphore::new(MAX_ARCHIVES)),
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
            recorder: Arc::new(Recorder::new(config.desktop.clone(), config.max_file)),
            kernel: kernel::State::default(),
            streaming: AtomicBool::new(false),
            started: SystemTime::now(),
            closing: watch::Sender::new(false),
            config,
        });
        let router = Router::new()
            .merge(health::router(&shared))
            .merge(desktop::router(&shared))
            .merge(processes::router(&shared))
            .merge(files::router(&shared))
            .merge(openapi::router())
            .merge(kernel::router(&shared))
            .fallback(|| async { Problem::missing("there is nothing here: docs/computer-use.md has the paths") })
            .with_state(shared.clone());
        Self { shared, router }
    }

    /// Whether a path is of the API of kernel-images, which is answered here as well.
    #[must_use]
    pub fn is_kernel(path: &str) -> bool {
        kernel::has(path)
    }

    /// Whether a path is computer use's.
    #[must_use]
    pub fn has(path: &str) -> bool {
        path.strip_prefix("/v1").is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) || kernel::has(path)
    }

    /// Answers a request for a path that it [has](Self::has).
    pub async fn answer(&self, request: Request) -> Response {
        let Ok(_permit) = self.shared.requests.try_acquire() else {
            return Problem::busy("too many requests at once: wait for some").into_response();
        };
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// Ends what waits, streams and terminals. Programs end with the desktop.
    pub fn shutdown(&self) {
        self.shared.closing.send_replace(true);
        self.shared.streaming.store(false, Ordering::Release);
        self.shared.kernel.shutdown();
    }
}

impl fmt::Debug for Computer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computer").field("desktop", &self.shared.config.desktop).finish_non_exhaustive()
    }
}
