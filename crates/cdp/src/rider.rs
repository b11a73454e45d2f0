//! One program at the wheel: what of its messages is told, and where on the screen it is.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use serde_json::Value;

use crate::{
    Seat,
    pages::Pages,
    wheel::{Act, Call, Kind},
};

/// DevTools sessions of one connection whose targets are known at most.
const MAX_SESSIONS: usize = 1_000;
/// Methods that are counted at a time; more are told at once.
const MAX_NOTED: usize = 32;

/// How Chromium's announcements of attached targets begin, and what comes between the two ids.
const ATTACHED: &[u8] = br#"{"method":"Target.attachedToTarget","params":{"sessionId":""#;
const BETWEEN: &[u8] = br#"","targetInfo":{"targetId":""#;

/// One program at the wheel.
pub(crate) struct Rider {
    pub(crate) seat: Arc<dyn Seat>,
    pages: Arc<Pages>,
    /// The target of its whole connection, if it is one of a page.
    target: Option<String>,
    /// Targets by DevTools session.
    sessions: Mutex<HashMap<String, String>>,
}

impl Rider {
    pub(crate) fn new(seat: Arc<dyn Seat>, pages: Arc<Pages>, target: Option<String>) -> Self {
        Self { seat, pages, target, sessions: Mutex::default() }
    }

    /// Looks at the beginning of one of the browser's messages: whether it announces a session with a target.
    pub(crate) fn overhears(&self, message: &[u8]) {
        let Some(rest) = message.strip_prefix(ATTACHED) else { return };
        let word = |bytes: &[u8]| {
            let end = bytes.iter().take(128).position(|byte| *byte == b'"')?;
            std::str::from_utf8(&bytes[..end]).ok().map(str::to_owned)
        };
        let Some(session) = word(rest) else { return };
        let Some(target) = rest.get(session.len()..).and_then(|rest| rest.strip_prefix(BETWEEN)).and_then(word) else {
            return;
        };
        let mut sessions = self.sessions.lock();
        if sessions.len() >= MAX_SESSIONS {
            sessions.clear();
        }
        sessions.insert(session, target);
    }

    /// The target that a message is for; the session's own name where it is not known.
    pub(crate) fn target_of(&self, session: Option<&str>) -> Option<String> {
        match session {
            None => self.target.clone(),
            Some(session) => Some(self.sessions.lock().get(session).cloned().unwrap_or_else(|| session.to_owned())),
        }
    }

    /// Shows what a message of an acting method does, from its text.
    pub(crate) fn shows(&self, method: &str, kind: Kind, session: Option<&str>, message: &[u8]) {
        let act = match kind {
            Kind::Other => return,
            Kind::Navigation => Act::Navigate,
            Kind::Input => {
                let Ok(message) = serde_json::from_slice::<Value>(message) else { return };
                let Some(act) = Seen::of(method, &message["params"]) else { return };
                let on_screen = |x, y| self.pages.on_screen(self.target_of(session).as_deref(), x, y);
                match act {
                    Seen::Type => Act::Type,
                    Seen::Move(x, y) => {
                        let (x, y) = on_screen(x, y);
                        Act::Move(x, y)
                    }
                    Seen::Click(x, y) => {
                        let (x, y) = on_screen(x, y);
                        Act::Click(x, y)
                    }
                }
            }
        };
        self.seat.acted(act);
    }
}

/// What an input does, in the page's own pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Move(f64, f64),
    Click(f64, f64),
    Type,
}

impl Seen {
    fn of(method: &str, params: &Value) -> Option<Self> {
        let kind = params["type"].as_str().unwrap_or_default();
        let place = |of: &Value| Some((of["x"].as_f64()?, of["y"].as_f64()?));
        let (place, is_press) = match method {
            "Input.dispatchMouseEvent" | "Input.emulateTouchFromMouseEvent" => (place(params)?, kind == "mousePressed"),
            "Input.dispatchTouchEvent" => (place(&params["touchPoints"][0])?, kind == "touchStart"),
            "Input.dispatchDragEvent" | "Input.synthesizeScrollGesture" | "Input.synthesizePinchGesture" => {
                (place(params)?, false)
            }
            "Input.synthesizeTapGesture" => (place(params)?, true),
            "Input.dispatchKeyEvent" if kind == "keyUp" => return None,
            "Input.dispatchKeyEvent" | "Input.insertText" | "Input.imeSetComposition" => return Some(Self::Type),
            _ => return None,
        };
        Some(if is_press { Self::Click(place.0, place.1) } else { Self::Move(place.0, place.1) })
    }
}

/// Calls of one connection since they were told last, equal ones together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    calls: Vec<Noted>,
}

#[derive(Debug)]
struct Noted {
    method: String,
    session: Option<String>,
    is_refused: bool,
    count: u32,
}

impl Tally {
    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(crate) fn note(&mut self, rider: &Rider, method: &str, session: Option<&str>, is_refused: bool) {
        let is_same = |noted: &&mut Noted| {
            noted.method == method && noted.session.as_deref() == session && noted.is_refused == is_refused
        };
        if let Some(noted) = self.calls.iter_mut().find(is_same) {
            noted.count = noted.count.saturating_add(1);
            return;
        }
        if self.calls.len() >= MAX_NOTED {
            self.tell(rider);
        }
        let session = session.map(str::to_owned);
        self.calls.push(Noted { method: method.to_owned(), session, is_refused, count: 1 });
    }

    pub(crate) fn tell(&mut self, rider: &Rider) {
        for Noted { method, session, is_refused, count } in self.calls.drain(..) {
            let target = rider.target_of(session.as_deref());
            let call = Call { method: &method, target: target.as_deref(), count, is_refused, message: None };
            rider.seat.called(&call);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_input_does() {
        for (method, params, wanted) in [
            ("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": 1.5, "y": 2 }), Some(Seen::Move(1.5, 2.0))),
            (
                "Input.dispatchMouseEvent",
                json!({ "type": "mousePressed", "x": 1, "y": 2 }),
                Some(Seen::Click(1.0, 2.0)),
            ),
            ("Input.dispatchMouseEvent", json!({ "type": "mousePressed" }), None),
            (
                "Input.dispatchTouchEvent",
                json!({ "type": "touchStart", "touchPoints": [{ "x": 1, "y": 2 }] }),
                Some(Seen::Click(1.0, 2.0)),
            ),
            ("Input.dispatchTouchEvent", json!({ "type": "touchEnd", "touchPoints": [] }), None),
            ("Input.dispatchKeyEvent", json!({ "type": "keyDown", "text": "secret" }), Some(Seen::Type)),
            ("Input.dispatchKeyEvent", json!({ "type": "keyUp" }), None),
            ("Input.insertText", json!({ "text": "secret" }), Some(Seen::Type)),
            ("Input.setIgnoreInputEvents", json!({}), None),
        ] {
            assert_eq!(Seen::of(method, &params), wanted, "{method} {params}");
        }
    }
}
