//! What other parts of a session may let the holder of a token do.

use crate::{Server, auth::Identity};
use glasshouse_room::{API_SESSION, Actor, Mode, Profile};

/// Whom a token belongs to, and what that one may do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Session id in the room.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Whether it administrates the session, as the API token does.
    pub is_admin: bool,
    /// Whether it may see the screen.
    pub may_watch: bool,
    /// Whether it may act on the desktop: it may control, nothing locks it out, and nobody else controls. Admins may
    /// whoever controls; with [`Mode::PersonFirst`] the wheel decides instead.
    pub may_control: bool,
}

impl Server {
    /// The holder of a token; none when it is nobody's, or its holder may not log in.
    pub fn holder(&self, token: &str) -> Option<Holder> {
        let identity = self.inner.auth.lock().identify(token)?;
        self.inner.with(|state, now| {
            let room = &mut state.room;
            let (id, profile) = match identity {
                Identity::Api => (API_SESSION.to_owned(), Profile::api()),
                Identity::Session(id) => {
                    room.touch(&id, now);
                    let profile = room.profile(&id).cloned()?;
                    (id, profile)
                }
            };
            if !profile.can_login {
                return None;
            }
            // Then it waits for who has control, or is told.
            let is_in_line = room.mode() == Mode::PersonFirst && !room.settings().locked_controls;
            let is_free = || !room.settings().locked_controls && room.host().is_none_or(|host| host == id);
            let may_host = room.may_host(Actor { id: &id, profile: &profile }).is_ok();
            let is_admin = profile.is_admin;
            Some(Holder {
                is_admin,
                may_watch: profile.can_watch && !room.is_private_for(&profile),
                may_control: may_host && (is_admin || is_in_line || is_free()),
                name: profile.name,
                id,
            })
        })
    }
}
