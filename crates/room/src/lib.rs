//! Members, capabilities, host control and settings of a room, as a pure state machine: no I/O, no clock.
//!
//! Every call takes the time it happens at; what must be done because of it is drained with [`Room::take_effects`], and
//! [`Room::poll_timeout`] says when [`Room::handle_timeout`] wants to be called. The behaviour is neko v3's; what goes
//! beyond it is in `docs/protocol.md`.

#![forbid(unsafe_code)]

mod chat;
mod control;
mod cursors;
mod effect;
pub mod merge;
mod profile;
mod programs;
mod room;
mod session;
mod settings;
pub mod time;
mod update;

pub use chat::ChatRefused;
pub use control::{Asked, ControlError, GiveError};
pub use cursors::{MemberCursors, Point, Pointer};
pub use effect::{ChatContent, ConnectionId, Effect, Event, HostState, Now, Welcome};
pub use profile::Profile;
pub use programs::{Act, Held, Mode, Note, Program, ProgramData, Programs, Somebody};
pub use room::{ConnectError, LoginError, Room, Stats, UnknownSession};
pub use session::{SessionData, SessionState};
pub use settings::Settings;

/// Id of the virtual session that the API token acts as; it is never listed and cannot connect.
pub const API_SESSION: &str = "API";

/// Sessions that a room holds at most, connected or not.
pub const MAX_SESSIONS: usize = 500;

/// Who asks for something: a session of the room or the virtual one of the API token.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// Session id.
    pub id: &'a str,
    /// What it may do.
    pub profile: &'a Profile,
}
