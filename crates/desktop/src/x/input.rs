//! Injects input by XTEST, in order, and knows what is down.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use x11rb::{
    connection::Connection,
    protocol::{
        Event as XEvent,
        xkb::{self, ConnectionExt as _},
        xproto::{self, ConnectionExt as _, ModMask},
        xtest::ConnectionExt as _,
    },
};

use super::{
    Link, Waker, X, XError,
    control::{CORE_KEYBOARD, lock_modifiers},
    fine::{Clicks, Finder},
    keymap::{self, CONTROL, Keymap, LOCK, Modifiers, Press},
    readers::Readers,
    watch::Seen,
    worker::Work,
};
use crate::{Fine, FineKind, Input, Scroller};

/// Inputs that may wait. More than that wait only when the X server is stuck; what is down is released then.
const MAX_QUEUE: usize = 16_384;

/// Most wheel clicks of one input, on each axis.
const MAX_CLICKS: u32 = 64;

/// Highest button.
const MAX_BUTTON: u32 = 15;

/// Keys down at once; a client that presses more is broken.
const MAX_KEYS: usize = 64;

/// A spare key keeps its keysym this long after it was pressed: programs look it up when they handle the key, not when
/// it is pressed.
const SPARE_REST: Duration = Duration::from_millis(100);

/// Between giving a key another keysym and pressing it, where nobody can tell whether the program has read the new
/// layout: until then it reads the key as what it was before, or as nothing.
const SPARE_NOTICE: Duration = Duration::from_millis(20);

/// Longest wait for a program to read the new layout. Many never do so before a key comes, and need no wait.
const READ_LIMIT: Duration = Duration::from_millis(500);

/// Programs remembered as such.
const MAX_LAZY: usize = 64;

/// Inputs on their way.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    scroller: OnceLock<Scroller>,
}

#[derive(Default)]
struct Waiting {
    inputs: VecDeque<Input>,
    /// Told when everything before them has reached the programs' queues.
    barriers: Vec<oneshot::Sender<()>>,
}

impl Queue {
    pub(crate) fn push(&self, input: Input) {
        let mut queue = self.waiting.lock();
        if queue.inputs.len() >= MAX_QUEUE {
            queue.inputs.clear();
            queue.inputs.push_back(Input::ReleaseAll);
        }
        if let (Input::Fine(more), Some(Input::Fine(last))) = (input, queue.inputs.back_mut())
            && more.kind == last.kind
        {
            *last = last.and(more);
            return;
        }
        queue.inputs.push_back(input);
    }

    pub(crate) fn attach_scroller(&self, scroller: Scroller) {
        // A second one would be a mistake of the caller that costs nothing.
        let _ = self.scroller.set(scroller);
    }

    /// Resolves when what is queued now has been injected; an error when it is lost with the X server.
    pub(crate) fn barrier(&self) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        let mut queue = self.waiting.lock();
        // Those who wait no more must not pile up while the server is stuck.
        queue.barriers.retain(|barrier| !barrier.is_closed());
        queue.barriers.push(done);
        wait
    }

    fn take(&self, into: &mut VecDeque<Input>) -> Vec<oneshot::Sender<()>> {
        let mut queue = self.waiting.lock();
        std::mem::swap(&mut queue.inputs, into);
        std::mem::take(&mut queue.barriers)
    }
}

/// A key without a place in the layout, lent to keysyms that the layout lacks.
struct Spare {
    keycode: u8,
    keysym: u32,
    used: Option<Instant>,
}

/// See the module.
pub(crate) struct Injector {
    queue: Arc<Queue>,
    seen: Arc<Seen>,
    batch: VecDeque<Input>,
    keymap: Option<Keymap>,
    spares: Vec<Spare>,
    readers: Option<Readers>,
    /// Programs that read the layout when a key comes, not when they are told of it.
    lazy: Vec<u32>,
    pressed: Option<Instant>,
    /// Keysyms that are down, with the keys that they pressed.
    keys: HashMap<u32, u8>,
    /// Buttons that are down, a bit each.
    buttons: u32,
    finder: Finder,
    clicks: Clicks,
}

impl Injector {
    pub(crate) fn new(queue: Arc<Queue>, seen: Arc<Seen>) -> Self {
        Self {
            queue,
            seen,
            batch: VecDeque::new(),
            keymap: None,
            spares: Vec::new(),
            readers: None,
            lazy: Vec::new(),
            pressed: None,
            keys: HashMap::new(),
            buttons: 0,
            finder: Finder::default(),
            clicks: Clicks::default(),
        }
    }
}

impl Work for Injector {
    fn run(&mut self, x: &X, link: &Link, waker: &Waker) -> Result<(), XError> {
        x.conn.xtest_get_version(2, 2)?.reply()?;
        x.conn.xkb_use_extension(1, 0)?.reply()?;
        // With these selected, the server tells of a new layout in XKB's way, else in the core's: both are understood.
        let events = xkb::EventType::NEW_KEYBOARD_NOTIFY | xkb::EventType::MAP_NOTIFY;
        let parts = xkb::MapPart::KEY_TYPES | xkb::MapPart::KEY_SYMS | xkb::MapPart::MODIFIER_MAP;
        x.conn.xkb_select_events(
            CORE_KEYBOARD,
            xkb::EventType::from(0_u16),
            events,
            parts,
            parts,
            &xkb::SelectEventsAux::new(),
        )?;
        self.readers = Readers::start(x, link).unwrap_or_else(|error| {
            tracing::debug!(%error, "who reads the layout is not seen");
            None
        });
        while !link.is_closed() {
            self.drain_events(x)?;
            let mut batch = std::mem::take(&mut self.batch);
            let barriers = self.queue.take(&mut batch);
            for input in batch.drain(..) {
                self.inject(x, input)?;
            }
            self.batch = batch;
            if !barriers.is_empty() {
                // Answered when the server has done all of it.
                x.conn.get_input_focus()?.reply()?;
                for barrier in barriers {
                    let _ = barrier.send(());
                }
            }
            x.wait(waker, None)?;
        }
        Ok(())
    }

    fn lost(&mut self) {
        // On the next server nothing is down.
        self.queue.take(&mut VecDeque::new());
        *self = Self::new(Arc::clone(&self.queue), Arc::clone(&self.seen));
    }
}

impl Injector {
    fn drain_events(&mut self, x: &X) -> Result<(), XError> {
        while let Some(event) = x.poll_event()? {
            match event {
                XEvent::MappingNotify(_) | XEvent::XkbNewKeyboardNotify(_) | XEvent::XkbMapNotify(_) => {
                    self.keymap = None;
                }
                XEvent::Error(error) => tracing::debug!(?error, "input was refused"),
                _ => {}
            }
        }
        Ok(())
    }

    fn inject(&mut self, x: &X, input: Input) -> Result<(), XError> {
        match input {
            Input::Move { x: left, y: top } => self.move_to(x, left, top),
            Input::Scroll { x: left, y: up, control } => self.scroll(x, left, up, control),
            Input::Fine(by) => self.fine(x, by),
            Input::FineClicks(by) => self.fine_clicks(x, by),
            Input::ButtonDown(button) => {
                if (1..=MAX_BUTTON).contains(&button) && self.buttons & 1 << button == 0 {
                    self.buttons |= 1 << button;
                    fake(x, xproto::BUTTON_PRESS_EVENT, button as u8)?;
                }
                Ok(())
            }
            Input::ButtonUp(button) => {
                if (1..=MAX_BUTTON).contains(&button) && self.buttons & 1 << button != 0 {
                    self.buttons &= !(1 << button);
                    fake(x, xproto::BUTTON_RELEASE_EVENT, button as u8)?;
                }
                Ok(())
            }
            Input::KeyDown(keysym) => self.key_down(x, keymap::canonical(keysym)),
            Input::KeyUp(keysym) => self.key_up(x, keymap::canonical(keysym)),
            Input::ReleaseAll => self.release_all(x),
        }
    }

    fn move_to(&self, x: &X, left: i32, top: i32) -> Result<(), XError> {
        let size = self.seen.size();
        let clamp = |value: i32, size: u16| value.clamp(0, i32::from(size.max(1)) - 1) as i16;
        let (left, top) = (clamp(left, size.width), clamp(top, size.height));
        x.conn.xtest_fake_input(xproto::MOTION_NOTIFY_EVENT, 0, x11rb::CURRENT_TIME, x.root, left, top, 0)?;
        Ok(())
    }

    fn scroll(&self, x: &X, left: i32, up: i32, control: bool) -> Result<(), XError> {
        let hold = control && modifiers(x)?.effective & CONTROL == 0;
        if hold {
            lock_modifiers(x, ModMask::CONTROL, ModMask::CONTROL)?;
        }
        for (clicks, positive, negative) in [(up, 4, 5), (left, 6, 7)] {
            let button = if clicks > 0 { positive } else { negative };
            for _ in 0..clicks.unsigned_abs().min(MAX_CLICKS) {
                fake(x, xproto::BUTTON_PRESS_EVENT, button)?;
                fake(x, xproto::BUTTON_RELEASE_EVENT, button)?;
            }
        }
        if hold {
            lock_modifiers(x, ModMask::CONTROL, ModMask::from(0_u8))?;
        }
        Ok(())
    }

    fn fine(&mut self, x: &X, by: Fine) -> Result<(), XError> {
        if let Some(scroller) = self.queue.scroller.get()
            && let Some(beneath) = self.finder.beneath(x, by.kind)?
            && scroller(&beneath, by)
        {
            return Ok(());
        }
        self.fine_clicks(x, by)
    }

    fn fine_clicks(&mut self, x: &X, by: Fine) -> Result<(), XError> {
        let (left, up) = self.clicks.add(by, Instant::now());
        self.scroll(x, left, up, by.kind == FineKind::Pinch)
    }

    fn key_down(&mut self, x: &X, keysym: u32) -> Result<(), XError> {
        if self.keys.contains_key(&keysym) || !keymap::is_valid(keysym) || self.keys.len() >= MAX_KEYS {
            return Ok(());
        }
        self.drain_events(x)?;
        let now = modifiers(x)?;
        let press = match self.keymap(x)?.find(keysym, now) {
            Some(press) => press,
            None => match self.borrow_spare(x, keysym)? {
                Some(keycode) => Press { keycode, add: 0, remove: 0 },
                None => {
                    tracing::warn!(keysym, "no spare key left, key ignored");
                    return Ok(());
                }
            },
        };
        let mut press = press;
        if let Some(spare) = self.spares.iter_mut().find(|spare| spare.keycode == press.keycode) {
            spare.used = Some(Instant::now());
            // Programs capitalise by themselves what comes from a key that does not mind Caps Lock.
            if keymap::is_letter(keysym) {
                press.remove |= LOCK & now.effective;
            }
        }
        // The same key under another name, such as a and A when Shift changed in between.
        if let Some(other) = self.keys.iter().find(|(_, keycode)| **keycode == press.keycode).map(|(sym, _)| *sym) {
            self.keys.remove(&other);
            fake(x, xproto::KEY_RELEASE_EVENT, press.keycode)?;
        }
        self.press_with(x, press, now)?;
        self.keys.insert(keysym, press.keycode);
        Ok(())
    }

    /// Presses a key, with the modifiers changed for that moment.
    fn press_with(&mut self, x: &X, press: Press, now: Modifiers) -> Result<(), XError> {
        let unlock = press.remove & now.locked;
        let affect = ModMask::from(press.add | unlock);
        if press.remove != 0 {
            self.keymap(x)?;
        }
        let held: Vec<u8> = match (&self.keymap, press.remove) {
            (Some(keymap), remove) if remove != 0 => {
                self.keys.values().copied().filter(|keycode| keymap.modifiers_of(*keycode) & remove != 0).collect()
            }
            _ => Vec::new(),
        };
        for keycode in &held {
            fake(x, xproto::KEY_RELEASE_EVENT, *keycode)?;
        }
        if affect != ModMask::from(0_u8) {
            lock_modifiers(x, affect, ModMask::from(press.add))?;
        }
        fake(x, xproto::KEY_PRESS_EVENT, press.keycode)?;
        self.pressed = Some(Instant::now());
        if affect != ModMask::from(0_u8) {
            lock_modifiers(x, affect, ModMask::from(unlock))?;
        }
        for keycode in &held {
            fake(x, xproto::KEY_PRESS_EVENT, *keycode)?;
        }
        Ok(())
    }

    fn key_up(&mut self, x: &X, keysym: u32) -> Result<(), XError> {
        let keycode = match self.keys.remove(&keysym) {
            Some(keycode) => keycode,
            None => {
                // Released under another name than pressed, such as A for a when Shift changed in between.
                self.keymap(x)?;
                let Some(keymap) = &self.keymap else { return Ok(()) };
                let found = self.keys.iter().find(|(_, keycode)| keymap.has(**keycode, keysym));
                let Some((pressed, keycode)) = found.map(|(sym, code)| (*sym, *code)) else { return Ok(()) };
                self.keys.remove(&pressed);
                keycode
            }
        };
        if let Some(spare) = self.spares.iter_mut().find(|spare| spare.keycode == keycode) {
            spare.used = Some(Instant::now());
        }
        fake(x, xproto::KEY_RELEASE_EVENT, keycode)
    }

    fn release_all(&mut self, x: &X) -> Result<(), XError> {
        for (_, keycode) in std::mem::take(&mut self.keys) {
            fake(x, xproto::KEY_RELEASE_EVENT, keycode)?;
        }
        for button in 1..=MAX_BUTTON {
            if self.buttons & 1 << button != 0 {
                fake(x, xproto::BUTTON_RELEASE_EVENT, button as u8)?;
            }
        }
        self.buttons = 0;
        Ok(())
    }

    fn keymap(&mut self, x: &X) -> Result<&Keymap, XError> {
        if self.keymap.is_none() {
            let keymap = Keymap::load(x)?;
            let unused = keymap.unused();
            // A new layout may use what was spare, and has forgotten what we bound.
            self.spares.retain(|spare| unused.contains(&spare.keycode) || keymap.has(spare.keycode, spare.keysym));
            for keycode in unused {
                if !self.spares.iter().any(|spare| spare.keycode == keycode) {
                    self.spares.push(Spare { keycode, keysym: 0, used: None });
                }
            }
            self.keymap = Some(keymap);
        }
        match &self.keymap {
            Some(keymap) => Ok(keymap),
            None => Err(XError::Refused("no keyboard layout".into())),
        }
    }

    /// Binds a keysym to the spare key that has rested longest and is not down.
    fn borrow_spare(&mut self, x: &X, keysym: u32) -> Result<Option<u8>, XError> {
        let down: Vec<u8> = self.keys.values().copied().collect();
        let rested = self.spares.iter_mut().filter(|spare| !down.contains(&spare.keycode));
        let Some(spare) = rested.min_by_key(|spare| spare.used) else { return Ok(None) };
        if let Some(used) = spare.used {
            // Typing faster than programs can look up their keys would give them wrong characters.
            x.conn.flush()?;
            std::thread::sleep((used + SPARE_REST).saturating_duration_since(Instant::now()));
        }
        spare.keysym = keysym;
        let keycode = spare.keycode;
        let mark = self.readers.as_ref().map_or(0, Readers::mark);
        x.conn.change_keyboard_mapping(1, keycode, 2, &[keysym, keysym])?.check()?;
        self.wait_for_reader(x, mark)?;
        self.keymap = None;
        self.keymap(x)?;
        Ok(Some(keycode))
    }

    /// Waits until the program that has the keyboard has read the layout since `mark`, as far as that can be known.
    fn wait_for_reader(&mut self, x: &X, mark: u64) -> Result<(), XError> {
        let focus = x.conn.get_input_focus()?.reply()?.focus;
        if let Some(readers) = &self.readers
            // Below are names such as PointerRoot.
            && focus > 1
        {
            let program = readers.program_of(focus);
            if !self.lazy.contains(&program) {
                if !readers.wait(program, mark, READ_LIMIT) {
                    self.lazy.truncate(MAX_LAZY - 1);
                    self.lazy.insert(0, program);
                }
                return Ok(());
            }
            let was_read = readers.wait(program, mark, SPARE_NOTICE);
            // Read without a key that it could be for: it was only slow the other time.
            if was_read && self.pressed.is_none_or(|at| at.elapsed() > READ_LIMIT) {
                self.lazy.retain(|other| *other != program);
            }
            return Ok(());
        }
        std::thread::sleep(SPARE_NOTICE);
        Ok(())
    }
}

fn modifiers(x: &X) -> Result<Modifiers, XError> {
    let state = x.conn.xkb_get_state(CORE_KEYBOARD)?.reply()?;
    Ok(Modifiers {
        effective: u16::from(state.mods) as u8,
        locked: u16::from(state.locked_mods) as u8,
        group: u8::from(state.group),
    })
}

fn fake(x: &X, kind: u8, detail: u8) -> Result<(), XError> {
    x.conn.xtest_fake_input(kind, detail, x11rb::CURRENT_TIME, x.root, 0, 0, 0)?;
    Ok(())
}
