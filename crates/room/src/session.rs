//! One login.

use std::time::{Instant, SystemTime};

use serde::Serialize;

use crate::{ConnectionId, Profile, programs::Present, time};

/// Whether and since when a session is connected and watching (neko's `SessionState`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SessionState {
    /// A WebSocket is attached, or was until a few seconds ago.
    pub is_connected: bool,
    /// Since when, while connected.
    #[serde(serialize_with = "time::serialize_some", skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<SystemTime>,
    /// Since when not; absent before the first connection.
    #[serde(serialize_with = "time::serialize_some", skip_serializing_if = "Option::is_none")]
    pub not_connected_since: Option<SystemTime>,
    /// A viewer is connected.
    pub is_watching: bool,
    /// Since when, while watching.
    #[serde(serialize_with = "time::serialize_some", skip_serializing_if = "Option::is_none")]
    pub watching_since: Option<SystemTime>,
    /// Since when not; absent before the first viewer.
    #[serde(serialize_with = "time::serialize_some", skip_serializing_if = "Option::is_none")]
    pub not_watching_since: Option<SystemTime>,
}

/// A session as others see it (neko's `SessionData`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionData {
    /// Session id.
    pub id: String,
    /// Name and capabilities.
    pub profile: Profile,
    /// Connection state.
    pub state: SessionState,
}

/// The WebSocket of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    /// Gets pointers one by one instead of in neko's batches.
    pub(crate) live_pointers: bool,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) profile: Profile,
    pub(crate) state: SessionState,
    /// None while disconnected and during the grace after a lost connection.
    pub(crate) connection: Option<Connection>,
    /// When the session counts as disconnected, unless a connection comes first.
    pub(crate) grace_until: Option<Instant>,
    /// When its viewer has to end, after it lost the right to watch.
    pub(crate) viewer_ends_at: Option<Instant>,
    /// Last use of its token.
    pub(crate) used_at: Instant,
    /// Last time that the host was told of its wish for control.
    pub(crate) asked_at: Option<Instant>,
    /// Set for a program.
    pub(crate) program: Option<Present>,
}

impl Session {
    pub(crate) fn new(profile: Profile, now: Instant) -> Self {
        Self {
            profile,
            state: SessionState::default(),
            connection: None,
            grace_until: None,
            viewer_ends_at: None,
            used_at: now,
            asked_at: None,
            program: None,
        }
    }

    pub(crate) fn data(&self, id: &str) -> SessionData {
        SessionData { id: id.to_owned(), profile: self.profile.clone(), state: self.state.clone() }
    }
}
