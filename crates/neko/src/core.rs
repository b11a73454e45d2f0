//! The room's state on the wire and how its effects are carried out.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use glasshouse_desktop::{Input, Size};
use glasshouse_media::Video;
use glasshouse_room::{ConnectionId, Effect, Event, Now, Room, Welcome};
use glasshouse_webrtc::{VideoChoice, VideoState, ViewerId};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::timeout,
};

use crate::{
    Config, Server,
    ask::Asks,
    ask_rest::AskHooks,
    auth::Auth,
    metrics::Metrics,
    mini::Hands,
    outbox::Outbox,
    seam::{Desk, Media},
    signal::STREAMS,
    wire::{self, Program, ScreenSize},
};

/// How long a picture of the screen is waited for.
const PICTURE_LIMIT: Duration = Duration::from_secs(5);

/// Events of one member per second; more are dropped and counted.
const EVENTS_PER_SECOND: u32 = 2000;

/// One WebSocket.
pub(crate) struct Connection {
    pub(crate) session: String,
    pub(crate) outbox: Outbox,
    /// Knows our own events.
    pub(crate) glasshouse: bool,
    /// Wants statistics every second.
    pub(crate) stats: bool,
    /// Dropped to end the connection's task at once.
    pub(crate) alive: watch::Sender<()>,
}

/// One peer connection.
pub(crate) struct Viewer {
    pub(crate) session: Arc<str>,
    pub(crate) choice: VideoChoice,
    /// What the engine said last.
    pub(crate) state: Option<VideoState>,
    pub(crate) audio_disabled: bool,
}

/// Events that a member may still send in this second.
struct Budget {
    since: Instant,
    used: u32,
}

/// Everything behind the room's lock. Nothing in it blocks or waits for a client.
pub(crate) struct State {
    pub(crate) room: Room,
    pub(crate) connections: HashMap<ConnectionId, Connection>,
    pub(crate) viewers: HashMap<ViewerId, Viewer>,
    /// The current viewer of a session.
    pub(crate) viewer_of: HashMap<String, ViewerId>,
    /// Screen size that members were told last.
    pub(crate) screen: Size,
    /// Changes of the screen size under way that we asked for ourselves.
    pub(crate) resizing: usize,
    /// Where the host's pointer is.
    pub(crate) pointer: (u16, u16),
    budgets: HashMap<Arc<str>, Budget>,
    last_id: u64,
    /// When the background task means to wake up.
    scheduled: Option<Instant>,
    /// Connections whose queue was full; they are dropped as soon as the effects at hand are done.
    overflowed: parking_lot::Mutex<Vec<ConnectionId>>,
    pub(crate) is_shut: bool,
    /// Those who watch over another protocol.
    pub(crate) guests: usize,
    /// Programs that are members.
    pub(crate) programs: usize,
    /// What those guests hold down whose input comes as Mini-Browser-Isolation's.
    pub(crate) hands: HashMap<String, Hands>,
    /// Questions of programs to people.
    pub(crate) asks: Asks,
}

impl State {
    pub(crate) fn new(room: Room, screen: Size) -> Self {
        Self {
            room,
            connections: HashMap::new(),
            viewers: HashMap::new(),
            viewer_of: HashMap::new(),
            screen,
            resizing: 0,
            pointer: (screen.width / 2, screen.height / 2),
            budgets: HashMap::new(),
            last_id: 0,
            scheduled: None,
            overflowed: parking_lot::Mutex::new(Vec::new()),
            is_shut: false,
            guests: 0,
            programs: 0,
            hands: HashMap::new(),
            asks: Asks::default(),
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The session of a connection that is still its session's current one.
    pub(crate) fn session_of(&self, connection: ConnectionId) -> Option<String> {
        self.connections.get(&connection).map(|connection| connection.session.clone())
    }

    pub(crate) fn viewer_of_connection(&self, connection: ConnectionId) -> Option<ViewerId> {
        self.viewer_of.get(&self.connections.get(&connection)?.session).copied()
    }

    /// Queues a message for a connection, if it is still there.
    pub(crate) fn send(&self, to: ConnectionId, message: Utf8Bytes) {
        if let Some(connection) = self.connections.get(&to)
            && connection.outbox.send(message).is_err()
        {
            self.overflowed.lock().push(to);
        }
    }

    /// Forgets a viewer without telling anybody; returns its session if it was the current one.
    pub(crate) fn forget_viewer(&mut self, id: ViewerId) -> Option<Arc<str>> {
        let viewer = self.viewers.remove(&id)?;
        if self.viewer_of.get(&*viewer.session) != Some(&id) {
            return None;
        }
        self.viewer_of.remove(&*viewer.session);
        Some(viewer.session)
    }

    /// Whether a member may have one more event handled now.
    pub(crate) fn spend(&mut self, session: &str, now: Instant) -> bool {
        if !self.budgets.contains_key(session) {
            self.budgets.insert(session.into(), Budget { since: now, used: 0 });
        }
        let Some(budget) = self.budgets.get_mut(session) else { return false };
        if now >= budget.since + Duration::from_secs(1) {
            *budget = Budget { since: now, used: 0 };
        }
        budget.used += 1;
        budget.used <= EVENTS_PER_SECOND
    }
}

/// What a server is made of.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) desk: Arc<dyn Desk>,
    pub(crate) media: Arc<dyn Media>,
    /// Taken before `auth` when both are needed.
    pub(crate) state: Mutex<State>,
    pub(crate) auth: Mutex<Auth>,
    pub(crate) metrics: Metrics,
    /// Wakes the background task when the next deadline changed.
    pub(crate) wake: Arc<Notify>,
    /// Wakes the clipboard task.
    pub(crate) clipboard: Arc<Notify>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) video: OnceLock<Arc<Video>>,
    pub(crate) ask_hooks: OnceLock<AskHooks>,
    /// Latest screenshot for `cast.jpg`, and when it was made.
    pub(crate) cast: tokio::sync::Mutex<Option<(Instant, Bytes)>>,
    /// What `cast.jpg` shows to others than admins in private mode.
    pub(crate) kept_picture: watch::Sender<Kept>,
    /// Tells those who watch over another protocol that something may be different for them.
    pub(crate) changed: watch::Sender<()>,
    /// Woken when a connection's task has ended.
    pub(crate) connection_ended: Notify,
    /// Connection tasks that run.
    pub(crate) running: AtomicUsize,
    /// Whether anybody is connected who could see what programs do.
    pub(crate) is_watched: AtomicBool,
    /// Who hears what is worth keeping.
    pub(crate) notes: OnceLock<crate::Notes>,
    /// Where the trail is read.
    pub(crate) trail: OnceLock<crate::Trail>,
    /// Background tasks, aborted with us.
    pub(crate) tasks: Mutex<Vec<AbortHandle>>,
}

/// The picture that is shown in private mode.
#[derive(Clone)]
pub(crate) enum Kept {
    Nothing,
    InTheMaking,
    /// JPEG.
    Picture(Bytes),
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in self.tasks.get_mut() {
            task.abort();
        }
    }
}

pub(crate) fn now() -> Now {
    Now { instant: Instant::now(), wall: SystemTime::now() }
}

impl Inner {
    /// The picture of private mode, once it is made; nothing when that takes too long.
    pub(crate) async fn kept_picture(&self) -> Option<Bytes> {
        let mut kept = self.kept_picture.subscribe();
        let made = timeout(PICTURE_LIMIT, kept.wait_for(|kept| !matches!(kept, Kept::InTheMaking))).await;
        match made.ok()?.ok()?.clone() {
            Kept::Picture(jpeg) => Some(jpeg),
            Kept::Nothing | Kept::InTheMaking => None,
        }
    }

    /// Does something to the state and carries out what follows from it.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State, Now) -> T) -> T {
        let mut state = self.state.lock();
        let now = now();
        let result = change(&mut state, now);
        self.settle(&mut state, now);
        result
    }

    pub(crate) fn settle(&self, state: &mut State, now: Now) {
        let mut is_changed = false;
        loop {
            let effects = state.room.take_effects();
            let overflowed = std::mem::take(&mut *state.overflowed.lock());
            if effects.is_empty() && overflowed.is_empty() {
                break;
            }
            // Where pointers are changes nobody's rights.
            let is_change = |effect: &Effect| {
                !matches!(
                    effect,
                    Effect::Send { event: Event::Pointers(_) | Event::Cursors(_) | Event::Acted { .. }, .. }
                )
            };
            is_changed |= effects.iter().any(is_change);
            for effect in effects {
                self.carry_out(state, effect, now);
            }
            for id in overflowed {
                if let Some(connection) = state.connections.remove(&id) {
                    self.metrics.slow_clients.inc();
                    state.room.connection_closed(&connection.session, id, false, now);
                }
            }
        }
        self.is_watched.store(!state.connections.is_empty(), Ordering::Relaxed);
        if is_changed && state.guests + state.programs > 0 {
            self.changed.send_replace(());
        }
        let due = state.room.poll_timeout();
        if due != state.scheduled {
            state.scheduled = due;
            self.wake.notify_one();
        }
    }

    fn end_viewer(&self, state: &mut State, session: &str, now: Now) {
        let Some(id) = state.viewer_of.get(session).copied() else { return };
        state.forget_viewer(id);
        self.media.close(id);
        self.viewer_gone(state, session, now);
    }

    /// Tells everybody that a session watches no more, and then its client that it needs a new peer connection.
    pub(crate) fn viewer_gone(&self, state: &mut State, session: &str, now: Now) {
        state.room.set_watching(session, false, now);
        self.settle(state, now);
        if let Some(connection) = state.room.connection(session) {
            state.send(connection, wire::frame("signal/close", &()));
        }
    }

    fn carry_out(&self, state: &mut State, effect: Effect, now: Now) {
        match effect {
            Effect::Send { to, event } => {
                let message = wire::frame(event.name(), &event);
                for connection in to {
                    state.send(connection, message.clone());
                }
            }
            Effect::Welcome { to, welcome } => self.welcome(state, to, &welcome),
            Effect::WelcomeAdmin { to } => {
                let sizes: Vec<_> = self.desk.sizes().into_iter().map(ScreenSize::from).collect();
                let payload = json!({ "screen_sizes_list": sizes, "broadcast_status": { "is_active": false } });
                state.send(to, wire::frame("system/admin", &payload));
            }
            Effect::WelcomePlugins { to } => welcome_plugins(state, to),
            Effect::Disconnect { connection: id, reason } => {
                if let Some(connection) = state.connections.remove(&id) {
                    // When even this does not fit, the task ends without a word.
                    let _ = connection.outbox.close(reason, connection.alive);
                }
            }
            Effect::ReleaseInput => self.desk.input(Input::ReleaseAll),
            Effect::PauseViewer { session, paused } => {
                if let Some(id) = state.viewer_of.get(&session) {
                    self.media.set_paused(*id, paused);
                }
            }
            Effect::EndViewer { session } => self.end_viewer(state, &session, now),
            Effect::SessionGone { session } => {
                if let Some(id) = state.viewer_of.get(&session).copied() {
                    state.forget_viewer(id);
                    self.media.close(id);
                }
                state.budgets.remove(session.as_str());
                state.hands.remove(&session);
                self.auth.lock().remove_session(&session);
            }
            Effect::Note(note) => {
                if let Some(notes) = self.notes.get() {
                    notes(&note);
                }
            }
            Effect::KeepPicture => {
                let (desk, kept) = (self.desk.clone(), self.kept_picture.clone());
                kept.send_replace(Kept::InTheMaking);
                self.runtime.spawn(async move {
                    let picture = desk.screenshot_jpeg(90).await;
                    kept.send_replace(picture.map_or(Kept::Nothing, |jpeg| Kept::Picture(jpeg.into())));
                });
            }
        }
    }

    fn welcome(&self, state: &State, to: ConnectionId, welcome: &Welcome) {
        #[derive(Serialize)]
        struct Init<'a> {
            session_id: &'a str,
            control_host: wire::By<'a, &'a glasshouse_room::HostState>,
            screen_size: ScreenSize,
            sessions: &'a std::collections::BTreeMap<String, glasshouse_room::SessionData>,
            settings: &'a glasshouse_room::Settings,
            touch_events: bool,
            screencast_enabled: bool,
            webrtc: serde_json::Value,
        }
        let init = Init {
            session_id: &welcome.session_id,
            control_host: wire::By { id: "", what: &welcome.control_host },
            screen_size: state.screen.into(),
            sessions: &welcome.sessions,
            settings: &welcome.settings,
            touch_events: false,
            screencast_enabled: true,
            webrtc: json!({ "videos": STREAMS.map(|(id, _)| id) }),
        };
        state.send(to, wire::frame("system/init", &init));
        if state.connections.get(&to).is_some_and(|connection| connection.glasshouse) {
            let (min, max) = (glasshouse_desktop::MIN_SIZE, glasshouse_desktop::MAX_SIZE);
            let programs = self.desk.programs();
            let programs: Vec<_> =
                programs.iter().map(|(name, state, detail)| Program::new(name, state, detail)).collect();
            let init = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "codecs": ["vp8", "vp9", "h264"],
                "screen": {
                    "min": { "width": min.width, "height": min.height },
                    "max": { "width": max.width, "height": max.height },
                },
                "programs": programs,
                "has_audio": self.desk.has_sound(),
                "asleep": self.desk.is_asleep(),
                "asks": state.asks.shown(Instant::now()),
            });
            state.send(to, wire::frame("glasshouse/init", &init));
        }
    }
}

fn welcome_plugins(state: &State, to: ConnectionId) {
    state.send(to, wire::frame("chat/init", &json!({ "enabled": true })));
    state.send(to, file_transfer());
    state.send(to, wire::frame("openinapp/init", &json!({ "enabled": false })));
}

/// `filetransfer/update`: there is none.
pub(crate) fn file_transfer() -> Utf8Bytes {
    let update = json!({
        "enabled": false, "root_dir": "", "user_download": false, "user_upload": false, "user_delete": false,
        "files": null,
    });
    wire::frame("filetransfer/update", &update)
}

impl Server {
    pub(crate) fn send_to(&self, to: ConnectionId, event: &str, payload: &impl Serialize) {
        self.inner.with(|state, _| state.send(to, wire::frame(event, payload)));
    }
}
