//! What the events of a connected member do.

use std::sync::atomic::{AtomicU64, Ordering};

use glasshouse_desktop::Size;
use glasshouse_room::{Actor, ConnectionId, Mode, Profile};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Peer, Server, core,
    events::{self, ClientEvent, ParseError},
    wire,
};

/// Longest chat message in characters.
pub(crate) const MAX_CHAT: usize = 4096;

/// Numbers lines of clients' logs, so that a flood shows as one.
static LOG_LINES: AtomicU64 = AtomicU64::new(0);

impl Server {
    /// Handles one message of a client. What cannot be used is counted, and told to clients that opted in.
    pub(crate) async fn client_message(&self, id: ConnectionId, peer: Peer, text: &str) {
        let inner = &*self.inner;
        let spent = {
            let mut state = inner.state.lock();
            // A connection that was closed by the room is not listened to any more.
            let Some(session) = state.session_of(id) else { return };
            state.spend(&session, core::now().instant)
        };
        if !spent {
            return inner.metrics.reject("rate");
        }
        let event = match events::parse(text) {
            Ok(event) => event,
            Err(error) => {
                inner.metrics.reject(match error {
                    ParseError::Malformed => "websocket",
                    ParseError::Unknown(_) => "unknown_event",
                    ParseError::Payload { .. } => "payload",
                });
                return self.tell_error(id, error.event(), &error.to_string());
            }
        };
        let name = name_of(text);
        if let Err(reason) = self.client_event(id, peer, event).await {
            inner.metrics.reject("refused");
            self.tell_error(id, &name, &reason);
        }
    }

    fn tell_error(&self, id: ConnectionId, event: &str, reason: &str) {
        self.inner.with(|state, _| {
            if state.connections.get(&id).is_some_and(|connection| connection.glasshouse) {
                state.send(id, wire::error(event, reason));
            }
        });
    }

    async fn client_event(&self, id: ConnectionId, peer: Peer, event: ClientEvent) -> Result<(), String> {
        let inner = &*self.inner;
        match event {
            ClientEvent::Heartbeat => Ok(()),
            ClientEvent::Logs(lines) => {
                for (level, message) in lines {
                    let line = LOG_LINES.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(target: "client", line, level, message);
                }
                Ok(())
            }
            ClientEvent::SignalRequest { .. }
            | ClientEvent::SignalRestart
            | ClientEvent::SignalOffer(_)
            | ClientEvent::SignalAnswer(_)
            | ClientEvent::SignalCandidate(_)
            | ClientEvent::SignalVideo(_)
            | ClientEvent::SignalAudio { .. } => self.signal(id, peer, event).await,
            ClientEvent::ControlRequest => self.claim(id),
            ClientEvent::ControlRelease => inner.with(|state, now| {
                let (session, profile) = member(state, id)?;
                let actor = Actor { id: &session, profile: &profile };
                state.room.release_control(actor, now).map_err(|error| error.message().to_owned())
            }),
            ClientEvent::Control { at, control } => inner.with(|state, now| {
                let session = state.session_of(id).ok_or("")?;
                state.room.request_control(&session, now).map_err(|error| error.message())?;
                inner.control(state, &session, at, control, now);
                Ok(())
            }),
            ClientEvent::Paste(text) => self.paste(id, text).await,
            ClientEvent::ScreenSet(size) => {
                let (session, profile) = member(&inner.state.lock(), id)?;
                if !profile.is_admin {
                    return Err("session is not admin".to_owned());
                }
                let size = size.size().ok_or("cannot set screen size")?;
                self.resize(&session, size, 100).await.map(|_| ())
            }
            ClientEvent::Resize { width, height, scale } => {
                let (session, profile) = member(&inner.state.lock(), id)?;
                if !profile.is_admin && !inner.state.lock().room.is_host(&session) {
                    return Err("session is not host or admin".to_owned());
                }
                self.resize(&session, Size { width, height }, scale).await.map(|_| ())
            }
            ClientEvent::ClipboardSet(text) => {
                self.clipboard_right(id)?;
                inner.desk.set_clipboard(Some(text), None).await.map_err(|error| error.to_string())
            }
            ClientEvent::KeyboardMap(map) => {
                self.host_right(id)?;
                inner.desk.set_keyboard_map(map).await.map_err(|error| error.to_string())
            }
            ClientEvent::KeyboardModifiers(modifiers) => {
                self.host_right(id)?;
                inner.desk.set_keyboard_modifiers(modifiers).await.map_err(|error| error.to_string())
            }
            ClientEvent::Send { receiver, subject, body } => self.relay(id, receiver, &subject, &body),
            ClientEvent::Chat(text) => {
                if text.chars().count() > MAX_CHAT {
                    return Err("message is longer than 4096 characters".to_owned());
                }
                inner.with(|state, now| {
                    let (session, profile) = member(state, id)?;
                    let actor = Actor { id: &session, profile: &profile };
                    state.room.chat(actor, text, now).map_err(|_| "not allowed to send chat messages".to_owned())
                })
            }
            ClientEvent::FileTransfer => {
                inner.with(|state, _| state.send(id, core::file_transfer()));
                Ok(())
            }
            ClientEvent::Stats { enabled } => {
                if let Some(connection) = inner.state.lock().connections.get_mut(&id) {
                    connection.stats = enabled && connection.glasshouse;
                }
                Ok(())
            }
            ClientEvent::Mode(name) => inner.with(|state, _| {
                let (session, profile) = member(state, id)?;
                if !profile.is_admin {
                    return Err("session is not admin".to_owned());
                }
                let mode = Mode::of(&name).ok_or(crate::rest::UNKNOWN_MODE)?;
                state.room.set_mode(mode, &session);
                Ok(())
            }),
            ClientEvent::CursorLeave => inner.with(|state, now| {
                let session = state.session_of(id).ok_or("")?;
                state.room.pointer_left(&session, now);
                Ok(())
            }),
        }
    }

    /// Makes a member host, if it may be.
    fn claim(&self, id: ConnectionId) -> Result<(), String> {
        self.inner.with(|state, now| {
            let session = state.session_of(id).ok_or("")?;
            state.room.request_control(&session, now).map_err(|error| error.message().to_owned())
        })
    }

    fn host_right(&self, id: ConnectionId) -> Result<Profile, String> {
        let state = self.inner.state.lock();
        let (session, profile) = member(&state, id)?;
        if state.room.is_host(&session) { Ok(profile) } else { Err("session is not host".to_owned()) }
    }

    fn clipboard_right(&self, id: ConnectionId) -> Result<(), String> {
        match self.host_right(id)?.can_access_clipboard {
            true => Ok(()),
            false => Err("session cannot access clipboard".to_owned()),
        }
    }

    async fn paste(&self, id: ConnectionId, text: String) -> Result<(), String> {
        self.claim(id)?;
        if !text.is_empty() {
            self.clipboard_right(id)?;
            self.inner.desk.set_clipboard(Some(text), None).await.map_err(|error| error.to_string())?;
            // Control may have gone to somebody else meanwhile.
            self.host_right(id)?;
        }
        self.inner.shortcut('v');
        Ok(())
    }

    /// Changes the screen size and tells everybody; returns the size in effect.
    pub(crate) async fn resize(&self, by: &str, size: Size, scale: u16) -> Result<Size, String> {
        let (min, max) = (glasshouse_desktop::MIN_SIZE, glasshouse_desktop::MAX_SIZE);
        let fits = (min.width..=max.width).contains(&size.width) && (min.height..=max.height).contains(&size.height);
        if !fits {
            return Err(format!(
                "screen size must be from {}x{} to {}x{}",
                min.width, min.height, max.width, max.height
            ));
        }
        if !(100..=400).contains(&scale) {
            return Err("scale must be from 100 to 400 per cent".to_owned());
        }
        self.inner.state.lock().resizing += 1;
        let done = self.inner.desk.resize(size, scale).await;
        self.inner.with(|state, _| {
            state.resizing -= 1;
            match done {
                Ok(size) => {
                    state.announce_screen(size, by);
                    Ok(size)
                }
                Err(error) => {
                    // What happened meanwhile was not announced.
                    let size = self.inner.desk.size();
                    if state.resizing == 0 && state.screen != size {
                        state.announce_screen(size, by);
                    }
                    Err(error.to_string())
                }
            }
        })
    }

    fn relay(&self, id: ConnectionId, receiver: Option<String>, subject: &str, body: &Value) -> Result<(), String> {
        self.inner.with(|state, _| {
            let sender = state.session_of(id).ok_or("")?;
            match receiver {
                Some(receiver) => {
                    if state.room.profile(&receiver).is_none() {
                        return Err("receiver not found".to_owned());
                    }
                    #[derive(Serialize)]
                    struct Unicast<'a> {
                        sender: &'a str,
                        receiver: &'a str,
                        subject: &'a str,
                        body: &'a Value,
                    }
                    if let Some(to) = state.room.connection(&receiver) {
                        let payload = Unicast { sender: &sender, receiver: &receiver, subject, body };
                        state.send(to, wire::frame("send/unicast", &payload));
                    }
                }
                None => {
                    let payload = json!({ "sender": sender, "subject": subject, "body": body });
                    let message = wire::frame("send/broadcast", &payload);
                    for to in state.connections.keys().filter(|to| **to != id) {
                        state.send(*to, message.clone());
                    }
                }
            }
            Ok(())
        })
    }
}

/// The session of a connection and its profile. Connections without one are being closed.
fn member(state: &core::State, id: ConnectionId) -> Result<(String, Profile), String> {
    let session = state.session_of(id).ok_or("")?;
    let profile = state.room.profile(&session).cloned().ok_or("")?;
    Ok((session, profile))
}

/// Name of the event in a message that was parsed before.
fn name_of(text: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Named {
        #[serde(default)]
        event: String,
    }
    serde_json::from_str::<Named>(text).map(|named| named.event).unwrap_or_default()
}
