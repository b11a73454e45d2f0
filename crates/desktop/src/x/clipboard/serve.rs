//! Giving what we own to the programs that ask for it.

use std::{sync::Arc, time::Instant};

use x11rb::{
    connection::RequestConnection,
    protocol::xproto::{
        Atom, AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _, EventMask, PropMode, SELECTION_NOTIFY_EVENT,
        SelectionNotifyEvent, SelectionRequestEvent, Timestamp, Window,
    },
    wrapper::ConnectionExt as _,
};

use super::{PATIENCE, Selection, Session, What};
use crate::x::XError;

/// More than this goes in pieces of this size; small enough for any server's requests.
const PIECE: usize = 128 * 1024;

/// Transfers at a time.
const MAX_TRANSFERS: usize = 16;

/// What we own.
pub(super) struct Owned {
    text: Option<Arc<[u8]>>,
    html: Option<Arc<[u8]>>,
    time: Timestamp,
}

impl Owned {
    pub(super) fn new(text: Option<String>, html: Option<String>, time: Timestamp) -> Self {
        let bytes = |string: String| Arc::from(string.into_bytes());
        Self { text: text.map(bytes), html: html.map(bytes), time }
    }

    pub(super) fn has_text(&self) -> bool {
        self.text.is_some()
    }

    pub(super) fn has_html(&self) -> bool {
        self.html.is_some()
    }

    pub(super) fn get(&self, what: What) -> Option<Vec<u8>> {
        match what {
            What::Text => self.text.as_deref().map(<[u8]>::to_vec),
            What::Html => self.html.as_deref().map(<[u8]>::to_vec),
            What::Png => None,
        }
    }
}

/// A transfer in pieces.
struct Transfer {
    requestor: Window,
    property: Atom,
    kind: Atom,
    data: Arc<[u8]>,
    sent: usize,
    deadline: Instant,
}

/// Transfers under way.
#[derive(Default)]
pub(super) struct Serving(Vec<Transfer>);

impl Serving {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|transfer| transfer.deadline).min()
    }

    pub(super) fn give_up_late(&mut self, now: Instant) {
        self.0.retain(|transfer| transfer.deadline > now);
    }
}

impl Session<'_> {
    /// Answers a request for what we own.
    pub(super) fn serve(&mut self, request: &SelectionRequestEvent) -> Result<(), XError> {
        // Old programs name no property and mean the target.
        let property = if request.property == x11rb::NONE { request.target } else { request.property };
        let given = match self.selection(request.selection) {
            Some(selection) => self.give(selection, request, property)?,
            None => false,
        };
        let answer = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: request.time,
            requestor: request.requestor,
            selection: request.selection,
            target: request.target,
            property: if given { property } else { x11rb::NONE },
        };
        self.x.conn.send_event(false, request.requestor, EventMask::NO_EVENT, answer)?;
        Ok(())
    }

    fn give(&mut self, selection: Selection, request: &SelectionRequestEvent, property: Atom) -> Result<bool, XError> {
        let atoms = &self.atoms;
        let Some(owned) = self.owned(selection) else { return Ok(false) };
        let conn = &self.x.conn;
        let target = request.target;
        let string: Atom = AtomEnum::STRING.into();
        if target == atoms.TARGETS {
            let mut targets = vec![atoms.TARGETS, atoms.TIMESTAMP];
            if owned.has_text() {
                targets.extend([atoms.UTF8_STRING, atoms.TEXT_PLAIN_UTF8, atoms.TEXT_PLAIN, atoms.TEXT, string]);
            }
            if owned.has_html() {
                targets.push(atoms.TEXT_HTML);
            }
            conn.change_property32(PropMode::REPLACE, request.requestor, property, AtomEnum::ATOM, &targets)?;
            return Ok(true);
        }
        if target == atoms.TIMESTAMP {
            let time = [owned.time];
            conn.change_property32(PropMode::REPLACE, request.requestor, property, AtomEnum::INTEGER, &time)?;
            return Ok(true);
        }
        let (kind, data) = if target == atoms.TEXT_HTML {
            (target, owned.html.clone())
        } else if target == string {
            (target, owned.text.as_deref().map(to_latin1))
        } else if target == atoms.TEXT {
            (atoms.UTF8_STRING, owned.text.clone())
        } else if [atoms.UTF8_STRING, atoms.TEXT_PLAIN_UTF8, atoms.TEXT_PLAIN].contains(&target) {
            (target, owned.text.clone())
        } else {
            return Ok(false);
        };
        let Some(data) = data else { return Ok(false) };
        if data.len() <= PIECE.min(conn.maximum_request_bytes() / 2) {
            conn.change_property8(PropMode::REPLACE, request.requestor, property, kind, &data)?;
            return Ok(true);
        }
        self.begin_transfer(request.requestor, property, kind, data)
    }

    fn begin_transfer(
        &mut self,
        requestor: Window,
        property: Atom,
        kind: Atom,
        data: Arc<[u8]>,
    ) -> Result<bool, XError> {
        if self.serving.0.len() >= MAX_TRANSFERS {
            return Ok(false);
        }
        let conn = &self.x.conn;
        if requestor != self.window {
            let aux = ChangeWindowAttributesAux::new().event_mask(EventMask::PROPERTY_CHANGE);
            conn.change_window_attributes(requestor, &aux)?;
        }
        let size = [u32::try_from(data.len()).unwrap_or(u32::MAX)];
        conn.change_property32(PropMode::REPLACE, requestor, property, self.atoms.INCR, &size)?;
        let deadline = Instant::now() + PATIENCE;
        self.serving.0.push(Transfer { requestor, property, kind, data, sent: 0, deadline });
        Ok(true)
    }

    /// The reader of a transfer has taken a piece: sends the next, and an empty one at the end.
    pub(super) fn piece_taken(&mut self, requestor: Window, property: Atom) -> Result<(), XError> {
        let transfers = &mut self.serving.0;
        let Some(at) = transfers.iter().position(|t| t.requestor == requestor && t.property == property) else {
            return Ok(());
        };
        let transfer = &mut transfers[at];
        let end = (transfer.sent + PIECE.min(self.x.conn.maximum_request_bytes() / 2)).min(transfer.data.len());
        let piece = &transfer.data[transfer.sent..end];
        self.x.conn.change_property8(PropMode::REPLACE, requestor, property, transfer.kind, piece)?;
        transfer.deadline = Instant::now() + PATIENCE;
        if piece.is_empty() {
            transfers.swap_remove(at);
            if !transfers.iter().any(|t| t.requestor == requestor) {
                let aux = ChangeWindowAttributesAux::new().event_mask(EventMask::NO_EVENT);
                self.x.conn.change_window_attributes(requestor, &aux)?;
            }
        } else {
            transfer.sent = end;
        }
        Ok(())
    }
}

fn to_latin1(text: &[u8]) -> Arc<[u8]> {
    String::from_utf8_lossy(text).chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}
