//! neko v3 on the wire: REST, `/api/ws` and the binary data channel, and our own events beside them.
//!
//! [`Server`] ties the room (a state machine, `glasshouse-room`) to a desktop and a WebRTC engine. Everything that
//! happens goes through one short lock, `core::Inner::with`, and nothing waits inside of it; clients have bounded queues.

#![forbid(unsafe_code)]

mod ask;
mod ask_rest;
mod auth;
mod background;
mod core;
pub mod events;
mod guard;
mod guest;
mod holder;
mod input;
mod json;
mod links;
mod member;
mod metrics;
pub mod mini;
mod outbox;
pub mod payload;
mod programs;
mod rest;
pub mod seam;
mod secret;
mod signal;
mod wire;
mod ws;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::{Duration, Instant},
};

use glasshouse_desktop::Desktop;
use glasshouse_media::Video;
use glasshouse_room::Room;
use glasshouse_webrtc::Engine;
use parking_lot::Mutex;

pub use ask_rest::{AskHooks, AskNotice, Front, FrontPage, Hear};
pub use guest::{Guest, GuestError};
pub use holder::Holder;
pub use metrics::{Reading, Readings};
pub use programs::{Notes, Program};
pub use rest::Trail;
pub use signal::{SelectorKind, StreamSelector, VideoRequest};
pub use wire::ScreenSize;

use crate::{
    auth::Auth,
    core::{Inner, State},
    seam::{Desk, Media},
};

/// How long a token of [`Server::one_time_admin_token`] is good.
const ADMIN_TOKEN_LIFETIME: Duration = Duration::from_secs(600);
/// How long a shutdown waits for clients to hear of it.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);

/// How people log in.
#[derive(Clone)]
pub enum Provider {
    /// Any name with the user's or the admin's password.
    Multiuser {
        /// Gives the user profile.
        user_password: String,
        /// Gives the admin profile.
        admin_password: String,
    },
    /// Anybody, as admin.
    NoAuth,
}

/// Settings of the neko front.
#[derive(Clone)]
pub struct Config {
    /// How people log in.
    pub provider: Provider,
    /// Initial room settings.
    pub settings: glasshouse_room::Settings,
    /// Prefix of every route, such as `/`.
    pub path_prefix: String,
    /// Origins that other sites' pages may call from; empty: same origin only.
    pub cors: Vec<String>,
    /// Host names that requests may be addressed to besides loopback names and IP addresses (DNS rebinding).
    pub allowed_hosts: Vec<String>,
    /// Token that acts as neko's `session.api_token`, if any.
    pub api_token: Option<String>,
    /// ICE servers told to viewers.
    pub ice_servers: Vec<serde_json::Value>,
}

/// The room of one session on the wire; owns the room's state and the tasks of its members.
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<Inner>,
}

impl Server {
    /// Makes the room of a desktop. Feed it the desktop's and the engine's events. To be called within a tokio runtime.
    pub fn new(config: Config, desktop: Arc<Desktop>, engine: Engine) -> Self {
        Self::with_parts(config, desktop, Arc::new(engine))
    }

    /// Like [`Server::new`], with anything that acts like a desktop and an engine.
    pub fn with_parts(mut config: Config, desk: Arc<dyn Desk>, media: Arc<dyn Media>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let room = Room::new(config.settings.clone(), core::now());
        let auth = Auth::new(&config.provider, config.api_token.as_deref());
        // Only hashes of secrets are kept.
        config.provider = Provider::NoAuth;
        config.api_token = None;
        let inner = Arc::new(Inner {
            state: Mutex::new(State::new(room, desk.size())),
            auth: Mutex::new(auth),
            config,
            desk,
            media,
            metrics: metrics::Metrics::default(),
            wake: Arc::default(),
            clipboard: Arc::default(),
            runtime,
            video: OnceLock::new(),
            ask_hooks: OnceLock::new(),
            cast: tokio::sync::Mutex::new(None),
            kept_picture: tokio::sync::watch::Sender::new(core::Kept::Nothing),
            changed: tokio::sync::watch::Sender::new(()),
            connection_ended: tokio::sync::Notify::new(),
            running: Default::default(),
            tasks: Mutex::default(),
            is_watched: Default::default(),
            notes: OnceLock::new(),
            trail: OnceLock::new(),
        });
        let weak = || Arc::downgrade(&inner);
        let tasks = [
            inner.runtime.spawn(background::deadlines(weak(), inner.wake.clone())).abort_handle(),
            inner.runtime.spawn(background::clipboard(weak(), inner.clipboard.clone())).abort_handle(),
            inner.runtime.spawn(background::statistics(weak())).abort_handle(),
        ];
        inner.tasks.lock().extend(tasks);
        Self { inner }
    }

    /// Names the video whose counters statistics and metrics show; called at most once.
    pub fn attach_video(&self, video: Arc<Video>) {
        // A second one would be a mistake of the caller that costs nothing.
        let _ = self.inner.video.set(video);
    }

    /// Names where more numbers for `/metrics` come from; called at most once.
    pub fn attach_readings(&self, readings: Readings) {
        // A second one would be a mistake of the caller that costs nothing.
        let _ = self.inner.metrics.readings.set(readings);
    }

    /// Names where `GET /api/trail` reads; called at most once.
    pub fn attach_trail(&self, trail: Trail) {
        // A second one would be a mistake of the caller that costs nothing.
        let _ = self.inner.trail.set(trail);
    }

    /// Makes a one-time token that logs in as admin; valid once, for ten minutes. Empty when a thousand links are open.
    pub fn one_time_admin_token(&self) -> String {
        let link = links::NewLink { role: links::Role::Admin, lifetime: ADMIN_TOKEN_LIFETIME, uses: 1, label: None };
        self.inner.auth.lock().links.create(link, Instant::now()).unwrap_or_default()
    }

    /// Routes under `/api`, `/health`, `/healthz`, `/metrics`. A request needs a `ConnectInfo<Peer>` extension.
    pub fn router(&self) -> axum::Router {
        self.router_with_page(axum::routing::any(rest::not_found))
    }

    /// The same, and a page behind the same checks that answers every other path below the prefix.
    pub fn router_with_page(&self, page: axum::routing::MethodRouter<Self>) -> axum::Router {
        rest::router(self, page)
    }

    /// Viewers, those over other protocols included, and how many bytes of media went to them by ours.
    pub async fn traffic(&self) -> (usize, u64) {
        let (viewers, guests): (Vec<_>, _) = {
            let state = self.inner.state.lock();
            (state.viewers.keys().copied().collect(), state.guests)
        };
        let (mut count, mut sent) = (guests, 0);
        for id in viewers {
            // One that is gone meanwhile does not count.
            if let Ok(stats) = self.inner.media.stats(id).await {
                count += 1;
                sent += stats.bytes_sent;
            }
        }
        (count, sent)
    }

    /// Tells every member that the server goes (`connection shutdown`) and closes their sockets; waits up to 3 s for it.
    pub async fn shutdown(&self) {
        let inner = &*self.inner;
        inner.with(|state, now| {
            state.is_shut = true;
            state.asks.cancel_all(now.instant);
            for (_, connection) in state.connections.drain() {
                // When even this does not fit, the task ends without a word.
                let _ = connection.outbox.close("connection shutdown", connection.alive);
            }
        });
        inner.changed.send_replace(());
        let all_ended = async {
            loop {
                let ended = inner.connection_ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                if inner.running.load(Ordering::Acquire) == 0 {
                    return;
                }
                ended.await;
            }
        };
        // A client that does not read must not hold us up.
        let _ = tokio::time::timeout(SHUTDOWN_PATIENCE, all_ended).await;
    }
}

/// Addresses of a connection, for candidates and logs.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The client's.
    pub remote: SocketAddr,
    /// Ours, that the client connected to.
    pub local: SocketAddr,
}

/// Makes a password of 16 characters that are easy to read and to type (80 bits).
///
/// # Errors
/// The system has no randomness.
pub fn random_password() -> std::io::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect())
}
