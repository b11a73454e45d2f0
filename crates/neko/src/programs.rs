//! Programs that act on the desktop past the room, such as by CDP: members that people see, and whose turn it is.

use std::time::Duration;

use glasshouse_room::{Act, ConnectionId, Held, Mode, Note, Point, Program as Kind};
use tokio::time::{Instant, timeout_at};

use crate::{Server, secret};

/// Longest name of a program in characters.
const MAX_NAME: usize = 64;

/// Hears what is worth keeping. Called while the room is locked: it must neither block nor call back.
pub type Notes = Box<dyn Fn(&Note) + Send + Sync>;

/// A program in the room, for as long as this lives.
pub struct Program {
    server: Server,
    id: String,
    name: String,
    connection: ConnectionId,
}

impl Server {
    /// Lets a program in under a name, which gets a number if another has it. `None` when the room is full or shut.
    pub fn program(&self, name: &str, kind: Kind) -> Option<Program> {
        let name: String = name.trim().chars().filter(|letter| !letter.is_control()).take(MAX_NAME).collect();
        let name = if name.is_empty() { "Program".to_owned() } else { name };
        let id = format!("{}-{}", kind.way, secret::random(5));
        let (connection, name) = self.inner.with(|state, now| {
            if state.is_shut {
                return None;
            }
            let connection = ConnectionId(state.next_id());
            state.room.join_program(&id, &name, kind, connection, now).ok()?;
            state.programs += 1;
            Some((connection, state.room.profile(&id).map(|profile| profile.name.clone()).unwrap_or_default()))
        })?;
        Some(Program { server: self.clone(), id, name, connection })
    }

    /// Who may act on the desktop.
    pub fn mode(&self) -> Mode {
        self.inner.state.lock().room.mode()
    }

    /// Sets who may act on the desktop, in the name of the session itself.
    pub fn set_mode(&self, mode: Mode) {
        self.inner.with(|state, _| state.room.set_mode(mode, ""));
    }

    /// Names who hears what is worth keeping; called at most once.
    pub fn attach_notes(&self, notes: Notes) {
        // A second one would be a mistake of the caller that costs nothing.
        let _ = self.inner.notes.set(notes);
    }
}

impl Program {
    /// Its session id in the room.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What people see it called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may act on the desktop now.
    ///
    /// # Errors
    /// It may not; why.
    pub fn may_act(&self) -> Result<(), Held> {
        let state = self.server.inner.state.lock();
        if state.is_shut { Err(Held::Gone) } else { state.room.may_act(&self.id) }
    }

    /// Waits until it may act, for so long at most.
    ///
    /// # Errors
    /// It still may not; why.
    pub async fn turn(&self, patience: Duration) -> Result<(), Held> {
        let until = Instant::now() + patience;
        let mut changed = self.server.inner.changed.subscribe();
        loop {
            let held = match self.may_act() {
                Err(held @ Held::Person(_)) => held,
                other => return other,
            };
            if timeout_at(until, changed.changed()).await.is_err() {
                return Err(held);
            }
        }
    }

    /// Waits until somebody removes it.
    pub async fn removed(&self) {
        let mut changed = self.server.inner.changed.subscribe();
        while !self.is_removed() {
            // The sender is in what we hold.
            let _ = changed.changed().await;
        }
    }

    /// Whether somebody has removed it; the end of the session does not.
    pub fn is_removed(&self) -> bool {
        let state = self.server.inner.state.lock();
        !state.is_shut && state.room.connection(&self.id) != Some(self.connection)
    }

    /// Whether anybody could see what it does.
    pub fn is_watched(&self) -> bool {
        self.server.inner.is_watched.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Shows where it points on the screen.
    pub fn points(&self, x: i32, y: i32) {
        self.at(x, y, None);
    }

    /// Shows where it presses a button.
    pub fn clicks(&self, x: i32, y: i32) {
        self.at(x, y, Some(Act::Click));
    }

    /// Shows that it types.
    pub fn types(&self) {
        self.server.inner.with(|state, now| state.room.acted(&self.id, Act::Type, now));
    }

    /// Shows that it leads the browser somewhere.
    pub fn navigates(&self) {
        self.server.inner.with(|state, now| state.room.acted(&self.id, Act::Navigate, now));
    }

    fn at(&self, x: i32, y: i32, act: Option<fn(Point) -> Act>) {
        self.server.inner.with(|state, now| {
            let (x, y) = crate::input::clamp(state, x, y);
            let point = Point { x, y };
            state.room.pointer_moved(&self.id, point, now);
            if let Some(act) = act {
                state.room.acted(&self.id, act(point), now);
            }
        });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.server.inner.with(|state, now| {
            state.programs = state.programs.saturating_sub(1);
            // It may have been removed by somebody.
            let _ = state.room.delete(&self.id, now);
        });
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}
