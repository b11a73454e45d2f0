//! Input of members: from the data channel and from the WebSocket to the desktop.

use glasshouse_desktop::{Fine, Input};
use glasshouse_room::{Now, Point};
use glasshouse_webrtc::ViewerId;

use crate::{
    Server,
    core::{Inner, State},
    events::Control,
    payload::{self, Message},
};

/// X keysym of the left Control key.
const CONTROL: u32 = 0xffe3;
/// Largest keysym that X knows (X11 protocol, appendix A: 29 bits).
const MAX_KEYSYM: u32 = 0x1fff_ffff;
/// Wheel clicks in one event at most.
const MAX_CLICKS: i32 = 64;

impl Server {
    /// A message of a viewer's data channel. Called on the engine's thread.
    pub(crate) fn viewer_data(&self, id: ViewerId, bytes: &[u8]) {
        let inner = &*self.inner;
        let message = match payload::decode(bytes) {
            Ok(message) => message,
            Err(_) if self.mini_data(id, bytes) => return,
            Err(_) => return inner.metrics.reject("data_channel"),
        };
        inner.with(|state, now| {
            let Some(viewer) = state.viewers.get(&id) else { return };
            let session = viewer.session.clone();
            if !state.spend(&session, now.instant) {
                return inner.metrics.reject("rate");
            }
            if let Message::Ping { high, low } = message {
                let since = now.wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
                return inner.media.send_data(id, payload::pong(high, low, now_ms));
            }
            if !state.room.is_host(&session) {
                match message {
                    Message::Move { x, y } => {
                        let (x, y) = clamp(state, x.into(), y.into());
                        state.room.pointer_moved(&session, Point { x, y }, now);
                    }
                    _ => inner.metrics.reject("not_host"),
                }
                return;
            }
            match message {
                Message::Move { x, y } => inner.move_pointer(state, &session, x.into(), y.into()),
                Message::Scroll { x, y, control } => inner.scroll(x.into(), y.into(), control),
                Message::Fine(by) => inner.fine(by),
                Message::KeyDown(keysym) => inner.key(Input::KeyDown, keysym),
                Message::KeyUp(keysym) => inner.key(Input::KeyUp, keysym),
                Message::ButtonDown(button) => inner.button(Input::ButtonDown, button),
                Message::ButtonUp(button) => inner.button(Input::ButtonUp, button),
                Message::Touch { .. } => inner.metrics.reject("touch"),
                Message::Ping { .. } => {}
            }
        });
    }
}

impl Inner {
    /// Input over the WebSocket, of the host.
    pub(crate) fn control(
        &self,
        state: &mut State,
        session: &str,
        at: Option<(i32, i32)>,
        control: Control,
        _now: Now,
    ) {
        if let Some((x, y)) = at
            && control != Control::Touch
        {
            self.move_pointer(state, session, x, y);
        }
        match control {
            Control::Move => {}
            Control::Scroll { x, y, control } => self.scroll(x, y, control),
            Control::ButtonDown(button) => self.button(Input::ButtonDown, button),
            Control::ButtonUp(button) => self.button(Input::ButtonUp, button),
            Control::ButtonPress(button) => {
                self.desk.input(Input::ReleaseAll);
                self.button(Input::ButtonDown, button);
                self.button(Input::ButtonUp, button);
            }
            Control::KeyDown(keysym) => self.key(Input::KeyDown, keysym),
            Control::KeyUp(keysym) => self.key(Input::KeyUp, keysym),
            Control::KeyPress(keysym) => {
                self.desk.input(Input::ReleaseAll);
                self.key(Input::KeyDown, keysym);
                self.key(Input::KeyUp, keysym);
            }
            Control::Shortcut(letter) => self.shortcut(letter),
            Control::Touch => self.metrics.reject("touch"),
        }
    }

    /// Presses Control and a letter, with everything else released.
    pub(crate) fn shortcut(&self, letter: char) {
        for input in [
            Input::ReleaseAll,
            Input::KeyDown(CONTROL),
            // The keysym of an ASCII character is its code.
            Input::KeyDown(letter.into()),
            Input::KeyUp(letter.into()),
            Input::KeyUp(CONTROL),
            Input::ReleaseAll,
        ] {
            self.desk.input(input);
        }
    }

    /// Moves the pointer and shows it to the others.
    pub(crate) fn move_pointer(&self, state: &mut State, session: &str, x: i32, y: i32) {
        let (x, y) = clamp(state, x, y);
        self.desk.input(Input::Move { x: x.into(), y: y.into() });
        if state.pointer != (x, y) {
            state.pointer = (x, y);
            self.media.broadcast_data(state.viewer_of.get(session).copied(), payload::cursor_position(x, y));
        }
    }

    pub(crate) fn scroll(&self, x: i32, y: i32, control: bool) {
        let (x, y) = (x.clamp(-MAX_CLICKS, MAX_CLICKS), y.clamp(-MAX_CLICKS, MAX_CLICKS));
        if (x, y) != (0, 0) {
            self.desk.input(Input::Scroll { x, y, control });
        }
    }

    fn fine(&self, by: Fine) {
        if (by.x, by.y) != (0, 0) {
            self.desk.input(Input::Fine(by));
        }
    }

    fn button(&self, input: fn(u32) -> Input, button: u32) {
        if (1..=15).contains(&button) {
            self.desk.input(input(button));
        } else {
            self.metrics.reject("button");
        }
    }

    fn key(&self, input: fn(u32) -> Input, keysym: u32) {
        if (1..=MAX_KEYSYM).contains(&keysym) {
            self.desk.input(input(keysym));
        } else {
            self.metrics.reject("keysym");
        }
    }
}

/// The place on the screen that is nearest.
pub(crate) fn clamp(state: &State, x: i32, y: i32) -> (u16, u16) {
    let inside =
        |value: i32, length: u16| u16::try_from(value.clamp(0, i32::from(length.saturating_sub(1)))).unwrap_or(0);
    (inside(x, state.screen.width), inside(y, state.screen.height))
}
