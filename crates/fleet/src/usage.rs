//! A session in use.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    Error,
    actor::{Command, Live},
    time,
};

/// Use of a session for as long as this is held: it is not idle meanwhile.
pub struct Use {
    pub(crate) live: Arc<Live>,
    is_connection: bool,
    touches: bool,
}

impl Use {
    /// Begins a use; with `touches` it keeps the session from being idle.
    pub(crate) fn new(live: Arc<Live>, touches: bool) -> Self {
        if touches {
            live.uses.fetch_add(1, Ordering::AcqRel);
            live.used_at.store(time::now(), Ordering::Relaxed);
        }
        Self { live, is_connection: false, touches }
    }

    /// The session's socket for HTTP.
    pub fn socket(&self) -> PathBuf {
        self.live.directory.socket()
    }

    /// An error of asking the session, which is none of its own when it is ending.
    pub fn explained(&self, error: Error) -> Error {
        self.live.explained(error)
    }

    /// Path of everything of the session as it knows it itself, with a slash at the end.
    pub fn path(&self) -> String {
        self.live.row.lock().path.clone()
    }

    /// From now on it is a connection that lasts, and is counted as such.
    pub fn connected(&mut self) {
        if !std::mem::replace(&mut self.is_connection, true) {
            self.live.connections.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if self.is_connection {
            self.live.connections.fetch_sub(1, Ordering::AcqRel);
        }
        if self.touches {
            self.live.used_at.store(time::now(), Ordering::Relaxed);
            if self.live.uses.fetch_sub(1, Ordering::AcqRel) == 1 {
                // When its queue is full, it looks at its time-outs anyway.
                let _ = self.live.commands.try_send(Command::Changed);
            }
        }
    }
}
