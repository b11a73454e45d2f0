//! Somebody who watches and acts over another protocol than ours, such as VNC, by the room's rules: a member of its own, for as
//! long as its connection lasts.

use glasshouse_desktop::{MAX_SIZE, MIN_SIZE};
use glasshouse_room::{ConnectionId, Profile};
use glasshouse_webrtc::ViewerId;
use tokio::sync::watch;

use crate::{Server, auth::Identity, links::Role, payload, secret, ws::Running};

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestError {
    /// There is no token, or it is nobody's.
    Unknown,
    /// It is somebody's, who may not come now, for this reason.
    Refused(&'static str),
}

/// A member that watches, and leaves the room when this is dropped.
pub struct Guest {
    server: Server,
    id: String,
    connection: ConnectionId,
    /// The member that it came as, and what that one could do then.
    host: Option<(String, Rights)>,
    changed: watch::Receiver<()>,
    _running: Running,
}

/// What of a profile matters here.
type Rights = [bool; 6];

fn rights(profile: &Profile) -> Rights {
    let Profile { is_admin, can_login, can_connect, can_watch, can_host, can_access_clipboard, .. } = *profile;
    [is_admin, can_login, can_connect, can_watch, can_host, can_access_clipboard]
}

impl Server {
    /// Lets in whoever has a token: a member's, a link's (which it uses up), or the API's. With [`crate::Provider::NoAuth`] none
    /// is needed. `way` is how they come, in a word.
    ///
    /// # Errors
    /// The token is nobody's, or the room does not let its holder in to watch.
    pub fn guest(&self, token: Option<&str>, way: &str) -> Result<Guest, GuestError> {
        let inner = &*self.inner;
        let found = inner.with(|state, now| {
            // Used up only by one that is let in, and while nobody else can use it.
            let mut auth = inner.auth.lock();
            let (profile, host, is_link) = match token {
                None if auth.needs_no_password() => (Role::Admin.profile(way.to_owned()), None, false),
                None => return Err(GuestError::Unknown),
                Some(token) => match (auth.identify(token), auth.links.check(token, now.instant)) {
                    (Some(Identity::Api), _) => (Role::Admin.profile(way.to_owned()), None, false),
                    (Some(Identity::Session(id)), _) => {
                        let profile = state.room.profile(&id).cloned().ok_or(GuestError::Unknown)?;
                        state.room.touch(&id, now);
                        let name = format!("{} ({way})", profile.name);
                        let rights = rights(&profile);
                        (Profile { name, ..profile }, Some((id, rights)), false)
                    }
                    (None, Some(role)) => (role.profile(way.to_owned()), None, true),
                    (None, None) => return Err(GuestError::Unknown),
                },
            };
            if state.is_shut {
                return Err(GuestError::Refused("connection shutdown"));
            }
            if !profile.can_login || !profile.can_watch {
                return Err(GuestError::Refused("session cannot watch"));
            }
            if state.room.is_private_for(&profile) {
                return Err(GuestError::Refused("private mode is enabled"));
            }
            let id = format!("{}-{}", way.to_lowercase(), secret::random(5));
            let connection = ConnectionId(state.next_id());
            if state.room.login(&id, profile, now).is_err() {
                return Err(GuestError::Refused("the room is locked or full"));
            }
            // Nothing is sent to it: it has no WebSocket of the room's.
            if let Err(error) = state.room.connect(&id, connection, true, now) {
                let _ = state.room.delete(&id, now);
                return Err(GuestError::Refused(error.reason()));
            }
            state.room.set_watching(&id, true, now);
            if let (true, Some(token)) = (is_link, token)
                && let Some(label) = auth.links.consume(token, now.instant)
            {
                auth.set_came_by(&id, label);
            }
            state.guests += 1;
            Ok((id, connection, host))
        });
        let (id, connection, host) = found.inspect_err(|_| inner.metrics.reject("guest"))?;
        let changed = inner.changed.subscribe();
        Ok(Guest { server: self.clone(), id, connection, host, changed, _running: Running::new(self) })
    }
}

impl Guest {
    /// Whether the picture may be seen.
    ///
    /// # Errors
    /// It may not, any more; why.
    pub fn may_watch(&self) -> Result<(), &'static str> {
        let state = self.server.inner.state.lock();
        let room = &state.room;
        if state.is_shut {
            return Err("connection shutdown");
        }
        let profile = room.profile(&self.id).ok_or("session deleted")?;
        if room.connection(&self.id) != Some(self.connection) {
            return Err("session disconnected");
        }
        let is_as_it_came = |(id, then): &(String, Rights)| room.profile(id).is_some_and(|now| rights(now) == *then);
        if !self.host.as_ref().is_none_or(is_as_it_came) || !profile.can_watch {
            return Err("profile changed");
        }
        if room.is_private_for(profile) {
            return Err("private mode is enabled");
        }
        Ok(())
    }

    /// Its session id in the room.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whether this is its viewer.
    pub(crate) fn shows(&self, viewer: ViewerId) -> bool {
        self.server.inner.state.lock().viewer_of.get(&self.id) == Some(&viewer)
    }

    /// Whether it controls.
    pub fn has_control(&self) -> bool {
        self.server.inner.state.lock().room.is_host(&self.id)
    }

    /// Asks for control, as a member of neko's does that sends input; whether it controls now.
    pub fn claim(&self) -> bool {
        self.may_watch().is_ok()
            && self.server.inner.with(|state, now| state.room.request_control(&self.id, now).is_ok())
    }

    /// Whether it may set the clipboard.
    pub fn may_set_clipboard(&self) -> bool {
        let state = self.server.inner.state.lock();
        let may = state.room.profile(&self.id).is_some_and(|profile| profile.can_access_clipboard);
        may && state.room.is_host(&self.id)
    }

    /// Whether it may give the screen a size.
    pub fn may_resize(&self, width: u16, height: u16) -> bool {
        let fits =
            (MIN_SIZE.width..=MAX_SIZE.width).contains(&width) && (MIN_SIZE.height..=MAX_SIZE.height).contains(&height);
        let state = self.server.inner.state.lock();
        let is_admin = state.room.profile(&self.id).is_some_and(|profile| profile.is_admin);
        fits && (is_admin || state.room.is_host(&self.id))
    }

    /// Shows the others where its pointer is, which it has moved itself.
    pub fn pointer_moved(&self, x: u16, y: u16) {
        let inner = &*self.server.inner;
        let mut state = inner.state.lock();
        let screen = state.screen;
        let at = (x.min(screen.width.saturating_sub(1)), y.min(screen.height.saturating_sub(1)));
        if state.pointer != at {
            state.pointer = at;
            inner.media.broadcast_data(None, payload::cursor_position(at.0, at.1));
        }
    }

    /// Lets the desktop go on, if it is frozen.
    pub fn wake(&self) {
        self.server.inner.desk.wake();
    }

    /// Waits until something of the room has changed. Cancelling it loses nothing.
    pub async fn changed(&mut self) {
        // The sender is in what we hold.
        let _ = self.changed.changed().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.server.inner.with(|state, now| {
            state.guests = state.guests.saturating_sub(1);
            // It may have been removed by somebody.
            let _ = state.room.delete(&self.id, now);
        });
    }
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest").field("id", &self.id).finish_non_exhaustive()
    }
}
