//! Requests that somebody waits for: size, scale, screenshots, keyboard state. One connection, used in turn.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use x11rb::{
    connection::Connection,
    protocol::{
        xkb::{self, ConnectionExt as _},
        xproto::{AtomEnum, ConnectionExt as _, KeyButMask, ModMask},
    },
};

use super::{Link, X, XError, screen, xsettings::XSettings};
use crate::{Error, KeyboardMap, KeyboardModifiers, Size};

/// How long to wait for our turn; longer than that, the X server is stuck.
const TURN: Duration = Duration::from_secs(5);

/// The core keyboard, in XKB's terms.
pub(crate) const CORE_KEYBOARD: u16 = 0x100;

/// See the module.
pub(crate) struct Control {
    link: Arc<Link>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    x: Option<(X, XSettings)>,
    /// What the next X server is to be told as well.
    scale: Option<u16>,
    size: Option<Size>,
}

impl Control {
    /// Connects and becomes the settings manager.
    pub(crate) fn new(link: Arc<Link>) -> Result<Self, Error> {
        let control = Self { link, state: Mutex::default() };
        control.with(|_, _| Ok(()))?;
        Ok(control)
    }

    /// Uses the connection, and makes a new one first when the last is gone.
    fn with<T>(&self, work: impl FnOnce(&X, &mut XSettings) -> Result<T, XError>) -> Result<T, Error> {
        let refuse = |reason: String| Error::Display { display: self.link.display().to_owned(), reason };
        let Some(mut state) = self.state.try_lock_for(TURN) else { return Err(refuse("it does not answer".into())) };
        if state.x.is_none() {
            if self.link.is_closed() || !self.link.is_up() {
                return Err(refuse("the X server is not running".into()));
            }
            state.x = Some(self.open(&state).map_err(|e| refuse(e.to_string()))?);
        }
        let Some((x, settings)) = &mut state.x else { return Err(refuse("not connected".into())) };
        let result = work(x, settings);
        // Events nobody waits for must not pile up; an error here shows at the next use.
        while let Ok(Some(_)) = x.poll_event() {}
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                let alive = x.conn.get_input_focus().is_ok_and(|cookie| cookie.reply().is_ok());
                if !alive {
                    state.x = None;
                }
                Err(refuse(error.to_string()))
            }
        }
    }

    fn open(&self, state: &State) -> Result<(X, XSettings), XError> {
        let x = self.link.connect()?;
        x.conn.xkb_use_extension(1, 0)?.reply()?;
        let mut settings = XSettings::own(&x)?;
        settings.publish(&x, state.scale.unwrap_or(100))?;
        if let Some(size) = state.size
            && screen::size(&x)? != size
        {
            screen::resize(&x, size)?;
        }
        Ok((x, settings))
    }

    /// After the X server was restarted: gives it the size and scale it had.
    pub(crate) fn restore(&self) {
        if let Some(mut state) = self.state.try_lock_for(TURN) {
            state.x = None;
        }
        if let Err(error) = self.with(|_, _| Ok(())) {
            tracing::warn!(%error, "cannot restore the screen's size");
        }
    }

    pub(crate) fn size(&self) -> Result<Size, Error> {
        self.with(|x, _| screen::size(x))
    }

    pub(crate) fn resize(&self, size: Size, scale_percent: u16) -> Result<Size, Error> {
        let now = self.with(|x, settings| {
            if screen::size(x)? != size {
                screen::resize(x, size)?;
            }
            settings.publish(x, scale_percent)?;
            screen::size(x)
        })?;
        let mut state = self.state.lock();
        state.size = Some(now);
        state.scale = Some(scale_percent);
        Ok(now)
    }

    pub(crate) fn picture(&self) -> Result<(Size, Vec<u8>), Error> {
        self.with(|x, _| screen::picture(x))
    }

    /// What `setxkbmap -query` reads.
    pub(crate) fn keyboard_map(&self) -> Result<KeyboardMap, Error> {
        self.with(|x, _| {
            let property = x.atom("_XKB_RULES_NAMES")?;
            let reply = x.conn.get_property(false, x.root, property, AtomEnum::STRING, 0, 1024)?.reply()?;
            let mut names =
                reply.value.split(|byte| *byte == 0).map(|name| String::from_utf8_lossy(name).into_owned()).skip(2);
            Ok(KeyboardMap { layout: names.next().unwrap_or_default(), variant: names.next().unwrap_or_default() })
        })
    }

    pub(crate) fn modifiers(&self) -> Result<KeyboardModifiers, Error> {
        self.with(|x, _| {
            let state = x.conn.xkb_get_state(CORE_KEYBOARD)?.reply()?;
            let on = |bit: KeyButMask| Some(u16::from(state.mods) & u16::from(bit) != 0);
            Ok(KeyboardModifiers {
                shift: on(KeyButMask::SHIFT),
                capslock: on(KeyButMask::LOCK),
                control: on(KeyButMask::CONTROL),
                alt: on(KeyButMask::MOD1),
                numlock: on(KeyButMask::MOD2),
                meta: on(KeyButMask::MOD3),
                super_: on(KeyButMask::MOD4),
                altgr: on(KeyButMask::MOD5),
            })
        })
    }

    pub(crate) fn set_modifiers(&self, modifiers: KeyboardModifiers) -> Result<(), Error> {
        let wanted = [
            (modifiers.shift, ModMask::SHIFT),
            (modifiers.capslock, ModMask::LOCK),
            (modifiers.control, ModMask::CONTROL),
            (modifiers.alt, ModMask::M1),
            (modifiers.numlock, ModMask::M2),
            (modifiers.meta, ModMask::M3),
            (modifiers.super_, ModMask::M4),
            (modifiers.altgr, ModMask::M5),
        ];
        let mask = |filter: fn(Option<bool>) -> bool| {
            wanted.iter().filter(|(want, _)| filter(*want)).fold(ModMask::from(0_u8), |mask, (_, bit)| mask | *bit)
        };
        let (affect, set) = (mask(|want| want.is_some()), mask(|want| want == Some(true)));
        self.with(|x, _| {
            lock_modifiers(x, affect, set)?;
            // Answered when the server has done it.
            x.conn.get_input_focus()?.reply()?;
            Ok(())
        })
    }
}

/// Locks those of `affect` that are in `set` and unlocks the others.
pub(crate) fn lock_modifiers(x: &X, affect: ModMask, set: ModMask) -> Result<(), XError> {
    let none = ModMask::from(0_u8);
    x.conn.xkb_latch_lock_state(CORE_KEYBOARD, affect, set, false, xkb::Group::M1, none, false, 0)?;
    x.conn.flush()?;
    Ok(())
}
