//! Who controls the desktop.

use std::time::Duration;

use crate::{API_SESSION, Actor, Effect, Event, HostState, Note, Now, Room};

/// The host hears of the same member's wish for control at most this often.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// Why control was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlError {
    /// The profile has no `can_host`.
    CannotHost,
    /// Private mode is on and the member is no admin.
    Private,
    /// Only admins can take control.
    Locked,
    /// Somebody else is host and was asked.
    Asked,
    /// The member is not host.
    NotHost,
}

impl ControlError {
    /// One line for people.
    pub fn message(self) -> &'static str {
        match self {
            Self::CannotHost => "session cannot host",
            Self::Private => "private mode is enabled",
            Self::Locked => "controls are locked",
            Self::Asked => "control request sent",
            Self::NotHost => "session is not the host",
        }
    }
}

/// What came of asking for control over REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The caller is host now.
    Granted,
    /// There is a host already, who was asked.
    Sent,
}

/// Why control could not be given to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveError {
    /// No such session.
    NotFound,
    /// It may not control.
    CannotHost,
}

impl Room {
    /// Session id of the host, if it is a session of the room.
    ///
    /// The virtual session of the API token can take control, but does not keep others from getting it.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref().filter(|id| self.sessions.contains_key(*id))
    }

    /// Whether this session controls.
    pub fn is_host(&self, id: &str) -> bool {
        self.host.as_deref() == Some(id)
    }

    /// Whether somebody may control at all: `can_host`, and private mode does not concern it.
    pub fn may_host(&self, actor: Actor<'_>) -> Result<(), ControlError> {
        if !actor.profile.can_host {
            Err(ControlError::CannotHost)
        } else if self.is_private_for(actor.profile) {
            Err(ControlError::Private)
        } else {
            Ok(())
        }
    }

    /// A member wants control over its WebSocket: explicitly, or by sending input. Success when it is host afterwards.
    pub fn request_control(&mut self, id: &str, now: Now) -> Result<(), ControlError> {
        let profile = &self.sessions.get(id).ok_or(ControlError::CannotHost)?.profile;
        let is_admin = profile.is_admin;
        self.may_host(Actor { id, profile })?;
        if self.is_host(id) {
            return Ok(());
        }
        if self.settings.locked_controls && !is_admin {
            return Err(ControlError::Locked);
        }
        if !self.settings.implicit_hosting && self.host().is_some() {
            self.ask_host(id, now);
            return Err(ControlError::Asked);
        }
        self.set_host(id, Some(id), now);
        Ok(())
    }

    /// Asks for control over REST; guards of the caller's profile are the caller's business. Ignores implicit hosting.
    pub fn ask_control(&mut self, actor: Actor<'_>, now: Now) -> Result<Asked, ControlError> {
        if self.host().is_some() {
            self.ask_host(actor.id, now);
            return Ok(Asked::Sent);
        }
        if self.settings.locked_controls && !actor.profile.is_admin {
            return Err(ControlError::Locked);
        }
        self.set_host(actor.id, Some(actor.id), now);
        Ok(Asked::Granted)
    }

    /// The host lets go of control.
    pub fn release_control(&mut self, actor: Actor<'_>, now: Now) -> Result<(), ControlError> {
        self.may_host(actor)?;
        if !self.is_host(actor.id) {
            return Err(ControlError::NotHost);
        }
        self.effects.push(Effect::ReleaseInput);
        self.set_host(actor.id, None, now);
        Ok(())
    }

    /// An admin takes control.
    pub fn take_control(&mut self, actor: Actor<'_>, now: Now) {
        self.set_host(actor.id, Some(actor.id), now);
    }

    /// The host or an admin gives control to a session, connected or not.
    pub fn give_control(&mut self, actor: Actor<'_>, target: &str, now: Now) -> Result<(), GiveError> {
        let profile = self.profile(target).ok_or(GiveError::NotFound)?;
        if !profile.can_host {
            return Err(GiveError::CannotHost);
        }
        self.set_host(actor.id, Some(target), now);
        Ok(())
    }

    /// An admin takes control away from whoever has it.
    pub fn reset_control(&mut self, actor: Actor<'_>, now: Now) {
        self.returning = None;
        if self.host.is_some() {
            self.effects.push(Effect::ReleaseInput);
            self.set_host(actor.id, None, now);
        }
    }

    /// Changes the host and tells everybody; keys that the old one held are released.
    pub(crate) fn set_host(&mut self, by: &str, host: Option<&str>, now: Now) {
        self.returning = None;
        if self.host.as_deref() != host {
            let released = matches!(self.effects.last(), Some(Effect::ReleaseInput));
            if self.host.is_some() && !released {
                self.effects.push(Effect::ReleaseInput);
            }
            let somebody = |id: &str| self.somebody(id);
            let (by, from, to) = (somebody(by), self.host.as_deref().map(somebody), host.map(somebody));
            self.effects.push(Effect::Note(Note::Control { by, from, to }));
            self.host = host.map(str::to_owned);
            if let Some(host) = host {
                self.forget_pointer(host, now);
            }
        }
        self.broadcast(Event::ControlHost { id: by.to_owned(), host: HostState::from(host) });
    }

    fn ask_host(&mut self, id: &str, now: Now) {
        if id != API_SESSION
            && let Some(session) = self.sessions.get_mut(id)
        {
            if session.asked_at.is_some_and(|asked| now.instant < asked + ASK_INTERVAL) {
                return;
            }
            session.asked_at = Some(now.instant);
        }
        let to = self.connections(|other, _| self.is_host(other));
        self.send(to, Event::ControlRequest { id: id.to_owned() });
    }
}
