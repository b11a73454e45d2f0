//! How much of each viewer's media waits for a UDP socket.

use crate::batch::Outgoing;

/// Bytes of one viewer that may wait for UDP sockets before its media stays in its own queue.
const FULL: usize = 256 << 10;

/// Waiting bytes by slot of the viewer.
#[derive(Default)]
pub(crate) struct Backlog {
    bytes: Vec<usize>,
    /// Viewers whose socket takes data again.
    pub(crate) relieved: Vec<usize>,
}

impl Backlog {
    /// Counts a datagram that begins to wait.
    pub(crate) fn waits(&mut self, outgoing: &Outgoing) {
        if self.bytes.len() <= outgoing.slot {
            self.bytes.resize(outgoing.slot + 1, 0);
        }
        self.bytes[outgoing.slot] += outgoing.data.len();
    }

    /// Counts a datagram that is sent, or given up.
    pub(crate) fn gone(&mut self, outgoing: &Outgoing) {
        let Some(bytes) = self.bytes.get_mut(outgoing.slot) else { return };
        let was_full = *bytes > FULL;
        *bytes = bytes.saturating_sub(outgoing.data.len());
        if was_full && *bytes <= FULL {
            self.relieved.push(outgoing.slot);
        }
    }

    pub(crate) fn is_full(&self, slot: usize) -> bool {
        self.bytes.get(slot).is_some_and(|bytes| *bytes > FULL)
    }

    /// Begins anew with another viewer in this slot.
    pub(crate) fn forget(&mut self, slot: usize) {
        if let Some(bytes) = self.bytes.get_mut(slot) {
            *bytes = 0;
        }
    }
}
