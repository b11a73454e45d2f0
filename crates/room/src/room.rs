//! The room: sessions and their connections.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;

use crate::{
    ConnectionId, Effect, Event, HostState, MAX_SESSIONS, Mode, Now, Profile, SessionData, Settings, Welcome,
    cursors::Cursors,
    session::{Connection, Session},
    time,
};

/// How long a lost connection still counts as connected (neko).
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// How long after losing the connection a host gets control back.
pub(crate) const HOST_RETURN: Duration = Duration::from_secs(60);
/// How long a session that nobody uses is kept.
const EXPIRY: Duration = Duration::from_secs(24 * 3600);
/// A session that was used within this time is not dropped in favour of a new login.
const EVICTABLE_AFTER: Duration = Duration::from_secs(60);

/// Why a login was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginError {
    /// Only admins can log in.
    Locked,
    /// The session exists and is connected.
    AlreadyConnected,
    /// The room has as many sessions as it may.
    Full,
}

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// No such session.
    NotFound,
    /// The session may not use the API.
    LoginDisabled,
    /// The session may not connect.
    ConnectDisabled,
    /// It is connected already, and a second connection must not replace the first.
    AlreadyConnected,
}

impl ConnectError {
    /// What `system/disconnect` says.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "session not found",
            Self::LoginDisabled => "session login disabled",
            Self::ConnectDisabled => "connection disabled",
            Self::AlreadyConnected => "already connected",
        }
    }
}

/// There is no session with that id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownSession;

/// Counters of a room (neko's `Stats`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Whether anybody controls.
    pub has_host: bool,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_id: Option<String>,
    /// When the room began.
    #[serde(serialize_with = "time::serialize")]
    pub server_started_at: SystemTime,
    /// Connected members that are no admins.
    pub total_users: usize,
    /// When the last of them left, while none is connected.
    #[serde(serialize_with = "time::serialize_some", skip_serializing_if = "Option::is_none")]
    pub last_user_left_at: Option<SystemTime>,
    /// Connected admins.
    pub total_admins: usize,
    /// When the last of them left, while none is connected.
    #[serde(serialize_with = "time::serialize_some", skip_serializing_if = "Option::is_none")]
    pub last_admin_left_at: Option<SystemTime>,
}

/// A host that lost its connection.
#[derive(Debug)]
pub(crate) struct Returning {
    session: String,
    until: Instant,
}

/// A room of members.
#[derive(Debug)]
pub struct Room {
    pub(crate) sessions: BTreeMap<String, Session>,
    pub(crate) settings: Settings,
    /// Session id of the host; may be [`crate::API_SESSION`], which is not among the sessions.
    pub(crate) host: Option<String>,
    /// Set while nobody took control since a host was lost.
    pub(crate) returning: Option<Returning>,
    pub(crate) cursors: Cursors,
    /// Who may act.
    pub(crate) mode: Mode,
    pub(crate) effects: Vec<Effect>,
    started_at: SystemTime,
    last_user_left: Option<SystemTime>,
    last_admin_left: Option<SystemTime>,
    /// Earliest time at which a session wants attention; may be too early, never too late.
    deadline: Option<Instant>,
}

impl Room {
    /// An empty room. With control protection the controls start locked.
    pub fn new(mut settings: Settings, now: Now) -> Self {
        settings.locked_controls |= settings.control_protection;
        Self {
            sessions: BTreeMap::new(),
            settings,
            host: None,
            returning: None,
            cursors: Cursors::default(),
            mode: Mode::default(),
            effects: Vec::new(),
            started_at: now.wall,
            last_user_left: None,
            last_admin_left: None,
            deadline: None,
        }
    }

    /// What is to be done since the last call, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`Room::handle_timeout`] wants to be called, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.deadline, self.cursors.deadline()].into_iter().flatten().min()
    }

    /// Does what is due by now.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.deadline.is_some_and(|deadline| deadline <= now.instant) {
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
            let lost: Vec<_> = self.ids(|session| due(session.grace_until));
            for id in lost {
                self.disconnected(&id, true, now);
            }
            let ended: Vec<_> = self.ids(|session| due(session.viewer_ends_at));
            for id in ended {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.viewer_ends_at = None;
                }
                self.effects.push(Effect::EndViewer { session: id });
            }
            let expired: Vec<_> = self.ids(|session| session.expires_at().is_some_and(|at| at <= now.instant));
            for id in expired {
                self.remove(&id, "session deleted", now);
            }
            self.reschedule();
        }
        self.flush_cursors(now);
    }

    /// Settings in effect.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A session, if it exists.
    pub fn session(&self, id: &str) -> Option<SessionData> {
        self.sessions.get(id).map(|session| session.data(id))
    }

    /// A session's profile, if it exists.
    pub fn profile(&self, id: &str) -> Option<&Profile> {
        self.sessions.get(id).map(|session| &session.profile)
    }

    /// The connection of a session, if it has one now.
    pub fn connection(&self, id: &str) -> Option<ConnectionId> {
        self.sessions.get(id)?.connection.map(|connection| connection.id)
    }

    /// Every session, by id.
    pub fn sessions(&self) -> Vec<SessionData> {
        self.sessions.iter().map(|(id, session)| session.data(id)).collect()
    }

    /// Numbers of the room.
    pub fn stats(&self) -> Stats {
        let connected = |admin: bool| self.people().filter(|s| s.profile.is_admin == admin).count();
        let HostState { has_host, host_id } = self.host().into();
        Stats {
            has_host,
            host_id,
            server_started_at: self.started_at,
            total_users: connected(false),
            last_user_left_at: self.last_user_left,
            total_admins: connected(true),
            last_admin_left_at: self.last_admin_left,
        }
    }

    /// Whether private mode hides the room from somebody with this profile.
    pub fn is_private_for(&self, profile: &Profile) -> bool {
        self.settings.private_mode && !profile.is_admin
    }

    /// Adds a session under an id that the caller made.
    pub fn login(&mut self, id: &str, profile: Profile, now: Now) -> Result<SessionData, LoginError> {
        if self.settings.locked_logins && !profile.is_admin {
            return Err(LoginError::Locked);
        }
        match self.sessions.get(id) {
            Some(existing) if existing.state.is_connected => return Err(LoginError::AlreadyConnected),
            Some(_) => self.remove(id, "session deleted", now),
            None => {}
        }
        if self.sessions.len() >= MAX_SESSIONS {
            let idle = self
                .sessions
                .iter()
                .filter(|(_, s)| s.is_idle() && s.used_at + EVICTABLE_AFTER <= now.instant)
                .min_by_key(|(_, s)| s.used_at)
                .map(|(id, _)| id.clone());
            self.remove(&idle.ok_or(LoginError::Full)?, "session deleted", now);
        }
        let session = Session::new(profile, now.instant);
        let data = session.data(id);
        self.sessions.insert(id.to_owned(), session);
        self.broadcast(Event::SessionCreated(data.clone()));
        self.reschedule();
        Ok(data)
    }

    /// Notes that a session's token was used, which keeps the session from expiring.
    pub fn touch(&mut self, id: &str, now: Now) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.used_at = now.instant;
        }
    }

    /// Attaches a WebSocket to a session. With `live_pointers` the connection gets [`Event::Pointers`] instead of
    /// [`Event::Cursors`].
    pub fn connect(
        &mut self,
        id: &str,
        connection: ConnectionId,
        live_pointers: bool,
        now: Now,
    ) -> Result<(), ConnectError> {
        let merciful = self.settings.merciful_reconnect;
        let session = self.sessions.get_mut(id).ok_or(ConnectError::NotFound)?;
        if !session.profile.can_login {
            return Err(ConnectError::LoginDisabled);
        }
        if !session.profile.can_connect {
            return Err(ConnectError::ConnectDisabled);
        }
        if session.state.is_connected && !merciful {
            return Err(ConnectError::AlreadyConnected);
        }
        let replaced = session.connection.replace(Connection { id: connection, live_pointers });
        session.grace_until = None;
        session.used_at = now.instant;
        session.state.is_connected = true;
        session.state.connected_since = Some(now.wall);
        session.state.not_connected_since = None;
        let is_admin = session.profile.is_admin;
        let state = session.state.clone();
        if is_admin {
            self.last_admin_left = None;
        } else {
            self.last_user_left = None;
        }
        let welcome = Welcome {
            session_id: id.to_owned(),
            control_host: self.host().into(),
            sessions: self.sessions.iter().map(|(id, session)| (id.clone(), session.data(id))).collect(),
            settings: self.settings.clone(),
        };
        self.effects.push(Effect::Welcome { to: connection, welcome: Box::new(welcome) });
        if live_pointers {
            let programs = self.programs();
            self.send(vec![connection], Event::Programs(programs));
        }
        if is_admin {
            self.effects.push(Effect::WelcomeAdmin { to: connection });
            if self.settings.locked_controls && self.settings.control_protection {
                self.apply_settings(Settings { locked_controls: false, ..self.settings.clone() }, id, now);
            }
        }
        self.broadcast(Event::SessionState { id: id.to_owned(), state });
        self.effects.push(Effect::WelcomePlugins { to: connection });
        self.return_control(id, now);
        if let Some(old) = replaced {
            self.effects.push(Effect::Disconnect { connection: old.id, reason: "connection replaced" });
        }
        self.reschedule();
        Ok(())
    }

    /// A WebSocket is gone. `on_purpose` when the client closed it with 1000 or 1001; otherwise the session stays
    /// connected for a grace of 5 s. A connection that was replaced before changes nothing.
    pub fn connection_closed(&mut self, id: &str, connection: ConnectionId, on_purpose: bool, now: Now) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.connection.is_none_or(|current| current.id != connection) {
            return;
        }
        session.connection = None;
        session.used_at = now.instant;
        if on_purpose {
            self.disconnected(id, false, now);
        } else {
            session.grace_until = Some(now.instant + GRACE);
        }
        self.reschedule();
    }

    /// Closes a session's connection and viewer; the session and its token stay.
    pub fn disconnect(&mut self, id: &str, now: Now) -> Result<(), UnknownSession> {
        if !self.sessions.contains_key(id) {
            return Err(UnknownSession);
        }
        if self.is_program(id) {
            // It has no token of its own with which it could come back as the same.
            return self.delete_for(id, "session disconnected", now);
        }
        self.drop_connection(id, "session disconnected", now);
        self.effects.push(Effect::EndViewer { session: id.to_owned() });
        self.reschedule();
        Ok(())
    }

    /// Removes a session.
    pub fn delete(&mut self, id: &str, now: Now) -> Result<(), UnknownSession> {
        self.delete_for(id, "session deleted", now)
    }

    /// Like [`Room::delete`], and tells a reason of its own to whoever is connected.
    pub fn delete_for(&mut self, id: &str, reason: &'static str, now: Now) -> Result<(), UnknownSession> {
        if !self.sessions.contains_key(id) {
            return Err(UnknownSession);
        }
        self.remove(id, reason, now);
        self.reschedule();
        Ok(())
    }

    /// A session's viewer connected or is gone.
    pub fn set_watching(&mut self, id: &str, watching: bool, now: Now) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.used_at = now.instant;
        if session.state.is_watching == watching {
            return;
        }
        session.state.is_watching = watching;
        if watching {
            session.state.watching_since = Some(now.wall);
            session.state.not_watching_since = None;
        } else {
            session.state.watching_since = None;
            session.state.not_watching_since = Some(now.wall);
        }
        let state = session.state.clone();
        self.broadcast(Event::SessionState { id: id.to_owned(), state });
        self.reschedule();
    }

    /// Connections of the sessions that pass.
    pub(crate) fn connections(&self, pass: impl Fn(&str, &Session) -> bool) -> Vec<ConnectionId> {
        self.sessions
            .iter()
            .filter(|(id, session)| pass(id, session))
            .filter_map(|(_, session)| session.connection.map(|connection| connection.id))
            .collect()
    }

    pub(crate) fn send(&mut self, to: Vec<ConnectionId>, event: Event) {
        if !to.is_empty() {
            self.effects.push(Effect::Send { to, event });
        }
    }

    pub(crate) fn broadcast(&mut self, event: Event) {
        self.send(self.connections(|_, _| true), event);
    }

    /// Connected members that are no programs.
    fn people(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values().filter(|session| session.state.is_connected && session.program.is_none())
    }

    pub(crate) fn is_admin_connected(&self) -> bool {
        self.sessions.values().any(|session| session.profile.is_admin && session.state.is_connected)
    }

    /// Tells the connection, if there is one, why it ends, and makes the session a disconnected one.
    pub(crate) fn drop_connection(&mut self, id: &str, reason: &'static str, now: Now) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(connection) = session.connection.take() {
            self.effects.push(Effect::Disconnect { connection: connection.id, reason });
        }
        self.disconnected(id, false, now);
    }

    /// Everything that follows from a session being no longer connected.
    fn disconnected(&mut self, id: &str, lost: bool, now: Now) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if !session.state.is_connected {
            return;
        }
        session.connection = None;
        let lost_at = session.grace_until.take().map_or(now.instant, |until| until - GRACE);
        session.state.is_connected = false;
        session.state.connected_since = None;
        session.state.not_connected_since = Some(now.wall);
        let (is_admin, is_person) = (session.profile.is_admin, session.program.is_none());
        let state = session.state.clone();
        if self.is_host(id) {
            self.set_host(id, None, now);
            if lost {
                self.returning = Some(Returning { session: id.to_owned(), until: lost_at + HOST_RETURN });
            }
        }
        self.forget_pointer(id, now);
        if is_person && !self.people().any(|s| s.profile.is_admin == is_admin) {
            if is_admin {
                self.last_admin_left = Some(now.wall);
            } else {
                self.last_user_left = Some(now.wall);
            }
        }
        if is_admin && self.settings.control_protection && !self.settings.locked_controls && !self.is_admin_connected()
        {
            self.apply_settings(Settings { locked_controls: true, ..self.settings.clone() }, id, now);
        }
        self.broadcast(Event::SessionState { id: id.to_owned(), state });
    }

    /// Gives control back to a host that was lost a moment ago, if nobody took it since and it still may.
    fn return_control(&mut self, id: &str, now: Now) {
        let returns = self.returning.as_ref().is_some_and(|r| r.session == id && now.instant <= r.until);
        if !returns {
            return;
        }
        self.returning = None;
        let Some(profile) = self.profile(id) else { return };
        let locked = self.settings.locked_controls && !profile.is_admin;
        if self.host.is_none() && profile.can_host && !locked && !self.is_private_for(profile) {
            self.set_host(id, Some(id), now);
        }
    }

    fn remove(&mut self, id: &str, reason: &'static str, now: Now) {
        self.drop_connection(id, reason, now);
        if self.is_host(id) {
            self.set_host(id, None, now);
        }
        self.forget_pointer(id, now);
        if self.returning.as_ref().is_some_and(|returning| returning.session == id) {
            self.returning = None;
        }
        let is_program = self.is_program(id);
        self.sessions.remove(id);
        self.effects.push(Effect::SessionGone { session: id.to_owned() });
        self.broadcast(Event::SessionDeleted { id: id.to_owned() });
        if is_program {
            self.tell_programs();
        }
    }

    fn ids(&self, pass: impl Fn(&Session) -> bool) -> Vec<String> {
        self.sessions.iter().filter(|(_, session)| pass(session)).map(|(id, _)| id.clone()).collect()
    }

    /// Works out when the next session wants attention; to be called whenever a session's times changed.
    pub(crate) fn reschedule(&mut self) {
        self.deadline = self
            .sessions
            .values()
            .flat_map(|session| [session.grace_until, session.viewer_ends_at, session.expires_at()])
            .flatten()
            .min();
    }
}

impl Session {
    fn is_idle(&self) -> bool {
        !self.state.is_connected && !self.state.is_watching
    }

    fn expires_at(&self) -> Option<Instant> {
        self.is_idle().then(|| self.used_at + EXPIRY)
    }
}
