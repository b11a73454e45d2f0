//! What a room tells its surroundings to do.

use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime},
};

use serde::Serialize;

use crate::{MemberCursors, Note, Point, Pointer, Profile, Programs, SessionData, SessionState, Settings, time};

/// Number of a WebSocket, chosen by the caller and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// The time of a call: one clock to measure with and one to show.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Never goes back.
    pub instant: Instant,
    /// What the calendar says.
    pub wall: SystemTime,
}

/// Who controls, as `system/init` and `GET /api/room/control` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostState {
    /// Whether anybody does.
    pub has_host: bool,
    /// Session id of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_id: Option<String>,
}

impl From<Option<&str>> for HostState {
    fn from(host: Option<&str>) -> Self {
        Self { has_host: host.is_some(), host_id: host.map(str::to_owned) }
    }
}

/// The room at the moment that a member connected: its part of `system/init`.
#[derive(Debug, Clone)]
pub struct Welcome {
    /// Session id of the member.
    pub session_id: String,
    /// Who controls.
    pub control_host: HostState,
    /// Every session, by id.
    pub sessions: BTreeMap<String, SessionData>,
    /// Settings of the room.
    pub settings: Settings,
}

/// Text of a chat message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatContent {
    /// The text.
    pub text: String,
}

/// An event of the room; serialises to the payload of the WebSocket event that [`Event::name`] says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// Somebody logged in.
    SessionCreated(SessionData),
    /// A session is gone.
    SessionDeleted {
        /// Which.
        id: String,
    },
    /// A session's profile changed.
    SessionProfile {
        /// Whose.
        id: String,
        /// All of it.
        #[serde(flatten)]
        profile: Profile,
    },
    /// A session connected, disconnected, began or stopped to watch.
    SessionState {
        /// Whose.
        id: String,
        /// All of it.
        #[serde(flatten)]
        state: SessionState,
    },
    /// Control changed hands.
    ControlHost {
        /// Who caused it.
        id: String,
        /// Who controls now.
        #[serde(flatten)]
        host: HostState,
    },
    /// Somebody asks the host for control.
    ControlRequest {
        /// Who.
        id: String,
    },
    /// The settings changed.
    Settings {
        /// Who changed them.
        id: String,
        /// All of them.
        #[serde(flatten)]
        settings: Settings,
    },
    /// Pointers of members that are not host, in neko's batches.
    Cursors(Vec<MemberCursors>),
    /// Pointers of members that are not host, as they move.
    Pointers(Vec<Pointer>),
    /// Who may act, and which programs are here. Only for those who opted in.
    Programs(Programs),
    /// A program does something. Only for those who opted in.
    Acted {
        /// Which.
        id: String,
        /// `click`, `type` or `navigate`.
        act: &'static str,
        /// Where on the screen.
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        at: Option<Point>,
    },
    /// A chat message.
    Chat {
        /// Who wrote it.
        id: String,
        /// When.
        #[serde(serialize_with = "time::serialize")]
        created: SystemTime,
        /// What.
        content: ChatContent,
    },
}

impl Event {
    /// Name of the WebSocket event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SessionCreated(_) => "session/created",
            Self::SessionDeleted { .. } => "session/deleted",
            Self::SessionProfile { .. } => "session/profile",
            Self::SessionState { .. } => "session/state",
            Self::ControlHost { .. } => "control/host",
            Self::ControlRequest { .. } => "control/request",
            Self::Settings { .. } => "system/settings",
            Self::Cursors(_) => "session/cursors",
            Self::Pointers(_) => "glasshouse/cursors",
            Self::Programs(_) => "glasshouse/programs",
            Self::Acted { .. } => "glasshouse/acted",
            Self::Chat { .. } => "chat/message",
        }
    }
}

/// Something to do, in the order given.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Send an event to these connections.
    Send {
        /// To whom.
        to: Vec<ConnectionId>,
        /// What.
        event: Event,
    },
    /// Send `system/init`.
    Welcome {
        /// To whom.
        to: ConnectionId,
        /// The room's part of it.
        welcome: Box<Welcome>,
    },
    /// Send `system/admin`.
    WelcomeAdmin {
        /// To whom.
        to: ConnectionId,
    },
    /// Send what plugins say to a new connection.
    WelcomePlugins {
        /// To whom.
        to: ConnectionId,
    },
    /// Send `system/disconnect` with this reason and close the connection.
    Disconnect {
        /// Which.
        connection: ConnectionId,
        /// Why.
        reason: &'static str,
    },
    /// Release every key and button that is down.
    ReleaseInput,
    /// Pause or resume the media of a session's viewer, if it has one.
    PauseViewer {
        /// Whose.
        session: String,
        /// Pause.
        paused: bool,
    },
    /// End the viewer of a session, if it has one.
    EndViewer {
        /// Whose.
        session: String,
    },
    /// A session is gone: forget its token and end its viewer.
    SessionGone {
        /// Which.
        session: String,
    },
    /// Private mode begins: keep a picture of the screen as it is now for those who must not see more.
    KeepPicture,
    /// Something that is worth keeping happened.
    Note(Note),
}
