//! A window of a test's own that records what input arrives, as a plain X program sees it.

use std::time::Instant;

use glasshouse_desktop::Desktop;
use x11rb::{
    connection::Connection,
    protocol::{
        Event,
        xproto::{
            AtomEnum, ConnectionExt as _, CreateWindowAux, EventMask, InputFocus, KeyButMask, PropMode, WindowClass,
        },
    },
    rust_connection::RustConnection,
    wrapper::ConnectionExt as _,
};

pub(crate) struct TestWindow {
    pub(crate) conn: RustConnection,
    pub(crate) root: u32,
    pub(crate) id: u32,
}

impl TestWindow {
    /// Covers the screen and has the keyboard.
    pub(crate) fn open(desktop: &Desktop) -> Self {
        let (conn, root) = super::connect(desktop);
        let id = conn.generate_id().unwrap();
        let events = EventMask::KEY_PRESS
            | EventMask::KEY_RELEASE
            | EventMask::BUTTON_PRESS
            | EventMask::BUTTON_RELEASE
            | EventMask::POINTER_MOTION
            | EventMask::PROPERTY_CHANGE
            | EventMask::EXPOSURE;
        let aux = CreateWindowAux::new().override_redirect(1).event_mask(events).background_pixel(0x0020_4060);
        conn.create_window(24, id, root, 0, 0, 4000, 3000, 0, WindowClass::INPUT_OUTPUT, 0, &aux).unwrap();
        conn.map_window(id).unwrap();
        let window = Self { conn, root, id };
        while !matches!(window.next(), Event::Expose(_)) {}
        window.conn.set_input_focus(InputFocus::PARENT, id, x11rb::CURRENT_TIME).unwrap();
        window.conn.sync().unwrap();
        window
    }

    /// The next event, waited for.
    pub(crate) fn next(&self) -> Event {
        let deadline = Instant::now() + super::PATIENCE;
        self.conn.flush().unwrap();
        loop {
            if let Some(event) = self.conn.poll_for_event().unwrap() {
                return event;
            }
            assert!(Instant::now() < deadline, "no event came");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// The next key or button event as `+a`, `-a`, `+b1`, `-b4` with held modifiers `^` (Control) before it.
    pub(crate) fn next_input(&self) -> String {
        loop {
            match self.next() {
                Event::KeyPress(event) => return format!("+{}", self.name(event.detail, event.state)),
                Event::KeyRelease(event) => return format!("-{}", self.name(event.detail, event.state)),
                Event::ButtonPress(event) => {
                    let control = if event.state.contains(KeyButMask::CONTROL) { "^" } else { "" };
                    return format!("{control}+b{}", event.detail);
                }
                Event::ButtonRelease(event) => return format!("-b{}", event.detail),
                _ => {}
            }
        }
    }

    pub(crate) fn inputs(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next_input()).collect()
    }

    /// Keysyms of the next `count` key presses, but for modifiers.
    pub(crate) fn typed(&self, count: usize) -> Vec<u32> {
        let mut typed = Vec::new();
        while typed.len() < count {
            if let Event::KeyPress(event) = self.next() {
                let keysym = self.keysym(event.detail, event.state);
                if !(0xffe1..=0xffee).contains(&keysym) && keysym != 0xfe03 {
                    typed.push(keysym);
                }
            }
        }
        typed
    }

    /// As Chromium does on a busy machine: told of a changed layout, it reads it later, and keys by the old one till then.
    /// The second value: whether this program itself had no turn for longer than anybody waits for a reader.
    pub(crate) fn typed_late(&self, count: usize) -> (Vec<u32>, bool) {
        let deadline = Instant::now() + super::PATIENCE;
        let mut layout = self.layout();
        let mut typed = Vec::new();
        let mut read_at = None;
        let (mut turn, mut has_stalled) = (Instant::now(), false);
        while typed.len() < count {
            assert!(Instant::now() < deadline, "only {typed:x?} came");
            let last = std::mem::replace(&mut turn, Instant::now());
            has_stalled |= turn - last > std::time::Duration::from_millis(150);
            if read_at.is_some_and(|at| Instant::now() >= at) {
                layout = self.layout();
                read_at = None;
            }
            match self.conn.poll_for_event().unwrap() {
                Some(Event::MappingNotify(_)) => {
                    read_at.get_or_insert(Instant::now() + std::time::Duration::from_millis(120));
                }
                Some(Event::KeyPress(event)) => typed.push(layout[usize::from(event.detail)]),
                Some(_) => {}
                None => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
        (typed, has_stalled)
    }

    /// First keysym by keycode.
    fn layout(&self) -> Vec<u32> {
        let first = self.conn.setup().min_keycode;
        let reply = self.conn.get_keyboard_mapping(first, u8::MAX - first).unwrap().reply().unwrap();
        let mut layout = vec![0; usize::from(first)];
        layout.extend(reply.keysyms.chunks(usize::from(reply.keysyms_per_keycode)).map(|keysyms| keysyms[0]));
        layout.push(0);
        layout
    }

    fn name(&self, keycode: u8, state: KeyButMask) -> String {
        let keysym = self.keysym(keycode, state);
        match char::from_u32(keysym) {
            Some(c) if (0x21..0x7f).contains(&keysym) => c.to_string(),
            _ => format!("{keysym:x}"),
        }
    }

    /// As the core protocol chooses among a key's symbols.
    fn keysym(&self, keycode: u8, state: KeyButMask) -> u32 {
        let reply = self.conn.get_keyboard_mapping(keycode, 1).unwrap().reply().unwrap();
        let at = |column: usize| reply.keysyms.get(column).copied().unwrap_or(0);
        let third = if state.contains(KeyButMask::MOD5) && at(4) != 0 { 4 } else { 0 };
        let (low, high) = (at(third), at(third + 1));
        let letter = char::from_u32(low).is_some_and(char::is_lowercase) && low < 0x100;
        let shift = state.contains(KeyButMask::SHIFT) ^ (letter && state.contains(KeyButMask::LOCK));
        if shift && high != 0 { high } else { low }
    }

    pub(crate) fn atom(&self, name: &str) -> u32 {
        self.conn.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom
    }

    /// Owns the clipboard and answers one request for `target` (and any for TARGETS) with `data`, in pieces if `piece`
    /// is given.
    pub(crate) fn offer(&self, targets: &[&str], target: &str, data: &[u8], piece: Option<usize>) {
        let target = self.atom(target);
        loop {
            let Event::SelectionRequest(request) = self.next() else { continue };
            let mut property = request.property;
            if request.target == self.atom("TARGETS") {
                let list: Vec<u32> = targets.iter().map(|name| self.atom(name)).collect();
                self.conn
                    .change_property32(PropMode::REPLACE, request.requestor, property, AtomEnum::ATOM, &list)
                    .unwrap();
            } else if request.target != target {
                property = x11rb::NONE;
            } else if piece.is_some() {
                let aux =
                    x11rb::protocol::xproto::ChangeWindowAttributesAux::new().event_mask(EventMask::PROPERTY_CHANGE);
                self.conn.change_window_attributes(request.requestor, &aux).unwrap();
                let size = [data.len() as u32];
                self.conn
                    .change_property32(PropMode::REPLACE, request.requestor, property, self.atom("INCR"), &size)
                    .unwrap();
            } else {
                self.conn.change_property8(PropMode::REPLACE, request.requestor, property, target, data).unwrap();
            }
            let answer = x11rb::protocol::xproto::SelectionNotifyEvent {
                response_type: x11rb::protocol::xproto::SELECTION_NOTIFY_EVENT,
                sequence: 0,
                time: request.time,
                requestor: request.requestor,
                selection: request.selection,
                target: request.target,
                property,
            };
            self.conn.send_event(false, request.requestor, EventMask::NO_EVENT, answer).unwrap();
            self.conn.flush().unwrap();
            if request.target != target {
                continue;
            }
            if let Some(piece) = piece {
                let mut pieces = data.chunks(piece).chain(std::iter::once([].as_slice()));
                let mut left = data.len().div_ceil(piece) + 1;
                while left > 0 {
                    let Event::PropertyNotify(event) = self.next() else { continue };
                    if event.atom == property && event.state == x11rb::protocol::xproto::Property::DELETE {
                        let part = pieces.next().unwrap();
                        self.conn
                            .change_property8(PropMode::REPLACE, request.requestor, property, target, part)
                            .unwrap();
                        self.conn.flush().unwrap();
                        left -= 1;
                    }
                }
            }
            return;
        }
    }

    pub(crate) fn own_clipboard(&self) {
        let clipboard = self.atom("CLIPBOARD");
        self.conn.set_selection_owner(self.id, clipboard, x11rb::CURRENT_TIME).unwrap();
        self.conn.sync().unwrap();
    }
}
