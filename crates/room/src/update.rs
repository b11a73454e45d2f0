//! Changes of settings and profiles, with everything that follows from them.

use std::time::Duration;

use crate::{Effect, Event, Now, Profile, Room, Settings, UnknownSession};

/// How long a viewer goes on after its session lost the right to watch (neko).
const VIEWER_GRACE: Duration = Duration::from_secs(1);

impl Room {
    /// Replaces the settings; `by` is who did it.
    pub fn update_settings(&mut self, settings: Settings, by: &str, now: Now) {
        self.apply_settings(settings, by, now);
        self.reschedule();
    }

    pub(crate) fn apply_settings(&mut self, settings: Settings, by: &str, now: Now) {
        let old = std::mem::replace(&mut self.settings, settings);
        if old.private_mode != self.settings.private_mode {
            self.private_mode_changed(by, now);
        }
        if !old.control_protection
            && self.settings.control_protection
            && !self.settings.locked_controls
            && !self.is_admin_connected()
        {
            self.settings.locked_controls = true;
        }
        if !old.locked_controls
            && self.settings.locked_controls
            && self.host().and_then(|host| self.profile(host)).is_some_and(|profile| !profile.is_admin)
        {
            self.set_host(by, None, now);
        }
        if old.inactive_cursors && !self.settings.inactive_cursors {
            self.stop_cursors();
        }
        self.broadcast(Event::Settings { id: by.to_owned(), settings: self.settings.clone() });
    }

    fn private_mode_changed(&mut self, by: &str, now: Now) {
        let paused = self.settings.private_mode;
        if paused {
            self.effects.push(Effect::KeepPicture);
        }
        let users: Vec<_> =
            self.sessions.iter().filter(|(_, s)| !s.profile.is_admin).map(|(id, _)| id.clone()).collect();
        for session in users {
            if paused && self.is_host(&session) {
                self.set_host(by, None, now);
            }
            self.effects.push(Effect::PauseViewer { session, paused });
        }
    }

    /// Replaces the profile of a session.
    pub fn update_profile(&mut self, id: &str, profile: Profile, now: Now) -> Result<(), UnknownSession> {
        let session = self.sessions.get_mut(id).ok_or(UnknownSession)?;
        let old = std::mem::replace(&mut session.profile, profile.clone());
        if !(profile.can_watch && profile.can_connect && profile.can_login) {
            session.viewer_ends_at = Some(now.instant + VIEWER_GRACE);
        } else {
            session.viewer_ends_at = None;
        }
        self.broadcast(Event::SessionProfile { id: id.to_owned(), profile: profile.clone() });
        if !profile.can_host && self.is_host(id) {
            self.set_host(id, None, now);
        }
        if !(profile.can_connect && profile.can_login) {
            self.drop_connection(id, "profile changed", now);
        }
        if old.is_admin != profile.is_admin && self.settings.private_mode {
            if !profile.is_admin && self.is_host(id) {
                self.set_host(id, None, now);
            }
            self.effects.push(Effect::PauseViewer { session: id.to_owned(), paused: !profile.is_admin });
        }
        if old.sends_inactive_cursor && !profile.sends_inactive_cursor {
            self.forget_pointer(id, now);
        }
        self.reschedule();
        Ok(())
    }
}
