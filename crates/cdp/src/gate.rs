//! The gate's settings and its life.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use axum::{Router, extract::Request, http::request::Parts, response::Response, routing::any};
use tokio::sync::{Semaphore, watch};

use crate::{Access, Upstream, Wheel, pages::Pages, routes};

/// How long [`Gate::shutdown`] waits for clients to hear of it.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);
/// Most requests under `/json` that are with the browser at a time.
const MAX_REQUESTS: usize = 8;

/// How a gate is set up.
#[derive(Clone)]
pub struct Config {
    /// The way to the browser.
    pub upstream: Upstream,
    /// Who may come in.
    pub access: Arc<dyn Access>,
    /// Host names that requests may be addressed to besides loopback names and IP addresses (DNS rebinding); `*` is any.
    pub allowed_hosts: Vec<String>,
    /// Origins whose web pages may connect besides our own; `*` is any.
    pub allowed_origins: Vec<String>,
    /// What comes before `/cdp` in the paths that clients use, such as `/desk`; the router itself does not see it.
    pub path_prefix: String,
    /// Whether `X-Forwarded-Proto`, `-Host` and `-Prefix` of a request count. They change only the addresses in its answer.
    pub is_forwarded: fn(&Parts) -> bool,
    /// WebSockets at a time, at most.
    pub max_connections: usize,
    /// How long a client waits for a browser that does not answer.
    pub patience: Duration,
    /// Called before something of a client's goes to the browser, which may have to be woken for it. Must not block.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Folder for files, which is laid on the policy of each token that is made by request.
    pub folder: Option<PathBuf>,
    /// Shares the browser between people and programs, if anything does.
    pub wheel: Option<Arc<dyn Wheel>>,
}

impl Config {
    /// The usual settings.
    #[must_use]
    pub fn new(upstream: Upstream, access: Arc<dyn Access>) -> Self {
        Self {
            upstream,
            access,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            path_prefix: String::new(),
            is_forwarded: |_| false,
            max_connections: 100,
            patience: Duration::from_secs(10),
            wake: Arc::new(|| {}),
            folder: None,
            wheel: None,
        }
    }
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) requests: Semaphore,
    /// True once the gate closes.
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) refused: AtomicU64,
    /// Path of the browser whose first page is there.
    pub(crate) first_page: tokio::sync::Mutex<Option<String>>,
    /// Its pages, where there is a wheel.
    pub(crate) pages: Option<Arc<Pages>>,
}

/// A gate in front of one browser.
#[derive(Clone)]
pub struct Gate {
    pub(crate) inner: Arc<Inner>,
}

impl Gate {
    /// Makes a gate; nothing is opened before somebody comes.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let connections = Arc::new(Semaphore::new(config.max_connections));
        let pages = config.wheel.clone().map(|wheel| Pages::new(config.upstream.clone(), wheel));
        let inner = Inner {
            config,
            pages,
            connections,
            requests: Semaphore::new(MAX_REQUESTS),
            closing: watch::Sender::new(false),
            refused: AtomicU64::new(0),
            first_page: tokio::sync::Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Routes `/json…`, `/devtools/…` and `/cdp…`.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let gate = self.clone();
        let answer = any(move |request| routes::answer(gate.clone(), request));
        ["/json", "/json/{*rest}", "/devtools/{*rest}", "/cdp", "/cdp/", "/cdp/{*rest}"]
            .into_iter()
            .fold(Router::new(), |router, path| router.route(path, answer.clone()))
    }

    /// Whether a path is the gate's.
    #[must_use]
    pub fn has(path: &str) -> bool {
        ["/json", "/devtools", "/cdp"]
            .iter()
            .any(|start| path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// Answers a request for a path that the gate [has](Self::has), without a router.
    pub async fn answer(&self, request: Request) -> Response {
        routes::answer(self.clone(), request).await
    }

    /// WebSockets that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.config.max_connections - self.inner.connections.available_permits()
    }

    /// Requests that were refused before anything reached the browser.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Closes all WebSockets, with a reason, and takes no more; waits up to 3 s for it.
    pub async fn shutdown(&self) {
        self.inner.closing.send_replace(true);
        let all = u32::try_from(self.inner.config.max_connections).unwrap_or(u32::MAX);
        // A client that does not read must not hold us up.
        let _ = tokio::time::timeout(SHUTDOWN_PATIENCE, self.inner.connections.acquire_many(all)).await;
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("connections", &self.connections()).finish_non_exhaustive()
    }
}
