//! Which session the packets of a viewer are for.

use std::{collections::HashMap, path::PathBuf};

use parking_lot::Mutex;

use crate::{Fleet, SessionId, actor::Live};

/// Sockets that sessions are handed those of their viewers by, by the tags of these viewers' packets.
#[derive(Debug, Default)]
pub(crate) struct MediaSockets(Mutex<HashMap<String, PathBuf>>);

impl MediaSockets {
    pub(crate) fn add(&self, live: &Live) {
        self.0.lock().insert(live.id.media_tag(), live.directory.media());
    }

    pub(crate) fn remove(&self, id: &SessionId) {
        self.0.lock().remove(&id.media_tag());
    }
}

impl Fleet {
    /// The Unix socket by which the session with this tag ([`SessionId::media_tag`]) is handed sockets of its viewers. Sessions
    /// that are nobody's yet have none.
    pub fn media_socket(&self, tag: &str) -> Option<PathBuf> {
        self.inner.media.0.lock().get(tag).cloned()
    }
}
