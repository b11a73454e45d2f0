//! Fine scrolling: what it would scroll, and the wheel clicks that it makes elsewhere.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use x11rb::{
    errors::ReplyError,
    protocol::xproto::{
        Atom, AtomEnum, ConnectionExt as _, GetGeometryReply, GetPropertyReply, KeyButMask, TranslateCoordinatesReply,
        Window,
    },
    rust_connection::RustConnection,
};

use super::{X, XError};
use crate::{Beneath, Fine, FineKind};

/// Pixels that make one wheel click: what browsers report for a notch.
const PIXELS_PER_CLICK: i64 = 100;
/// A pinch takes smaller steps: so many times its pixels make a click.
const PINCH_GAIN: i64 = 6;
/// After such a pause what is left of a gesture does not count for the next one.
const FORGET: Duration = Duration::from_millis(400);
/// Windows within each other that are looked into.
const MAX_DEPTH: usize = 8;
/// Longest part of a title that is read, in bytes.
const MAX_TITLE: u32 = 1024;

/// Adds up fine scrolling until it makes wheel clicks.
#[derive(Debug, Default)]
pub(super) struct Clicks {
    /// In units of [`Fine`].
    left: (i64, i64),
    at: Option<Instant>,
}

impl Clicks {
    /// Whole clicks in X's direction, positive being left and up.
    pub(super) fn add(&mut self, by: Fine, now: Instant) -> (i32, i32) {
        if self.at.is_none_or(|at| now.saturating_duration_since(at) > FORGET) {
            self.left = (0, 0);
        }
        self.at = Some(now);
        let gain = if by.kind == FineKind::Pinch { PINCH_GAIN } else { 1 };
        let unit = PIXELS_PER_CLICK * i64::from(Fine::UNITS);
        let clicks = |left: &mut i64, delta: i32| {
            let delta = i64::from(delta.clamp(-Fine::MAX, Fine::MAX)) * gain;
            // A turn back acts at once.
            *left = if *left * delta < 0 { delta } else { *left + delta };
            let whole = *left / unit;
            *left -= whole * unit;
            // Not more than the bound above makes.
            -i32::try_from(whole).unwrap_or(0)
        };
        (clicks(&mut self.left.0, by.x), clicks(&mut self.left.1, by.y))
    }
}

/// Finds the window below the pointer.
#[derive(Debug, Default)]
pub(super) struct Finder {
    atoms: Option<Atoms>,
    /// A child of the root and the managed window in it, which was below the pointer last.
    known: Option<(Window, Window)>,
    title: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy)]
struct Atoms {
    state: Atom,
    name: Atom,
    utf8: Atom,
}

impl Finder {
    /// The managed window below the pointer, if fine scrolling may go there: no button is down, which could be dragging, and
    /// Control is not held, with which a wheel does something else.
    pub(super) fn beneath(&mut self, x: &X, kind: FineKind) -> Result<Option<Beneath>, XError> {
        let atoms = match self.atoms {
            Some(atoms) => atoms,
            None => *self.atoms.insert(Atoms {
                state: x.atom("WM_STATE")?,
                name: x.atom("_NET_WM_NAME")?,
                utf8: x.atom("UTF8_STRING")?,
            }),
        };
        // What is asked of a window that was known is asked at once with what is asked of the pointer.
        let pointer = x.conn.query_pointer(x.root)?;
        let early = match self.known {
            Some((_, window)) => Some(self.ask(x, atoms, window)?),
            None => None,
        };
        let pointer = pointer.reply()?;
        let held = u16::from(pointer.mask);
        let is_held = |mask: KeyButMask| held & u16::from(mask) != 0;
        let buttons = u16::from(KeyButMask::BUTTON1 | KeyButMask::BUTTON2 | KeyButMask::BUTTON3);
        let goes_elsewhere = held & buttons != 0 || is_held(KeyButMask::CONTROL) && kind != FineKind::Pinch;
        if pointer.child == x11rb::NONE || goes_elsewhere {
            if let Some(early) = early {
                early.discard();
            }
            return Ok(None);
        }
        let (window, asked) = match (self.known, early) {
            (Some((top, window)), Some(early)) if top == pointer.child => (window, early),
            (_, early) => {
                if let Some(early) = early {
                    early.discard();
                }
                self.known = None;
                let Some(window) = managed(x, atoms, pointer.child)? else { return Ok(None) };
                self.known = Some((pointer.child, window));
                (window, self.ask(x, atoms, window)?)
            }
        };
        let Some((place, size, title)) = asked.answer()? else {
            // It is gone.
            self.known = None;
            return Ok(None);
        };
        let title = match &self.title {
            Some(known) if known.as_bytes() == title => known.clone(),
            _ => self.title.insert(String::from_utf8_lossy(&title).into()).clone(),
        };
        Ok(Some(Beneath {
            window,
            pointer: (pointer.root_x.into(), pointer.root_y.into()),
            place,
            size,
            title,
            shift: is_held(KeyButMask::SHIFT),
            alt: is_held(KeyButMask::MOD1),
        }))
    }
}

/// Place, size and title of a window.
type Answer = ((i32, i32), (u16, u16), Vec<u8>);

/// Questions about a window that are on their way.
struct Asked<'a> {
    place: Cookie<'a, TranslateCoordinatesReply>,
    size: Cookie<'a, GetGeometryReply>,
    title: Cookie<'a, GetPropertyReply>,
}

type Cookie<'a, R> = x11rb::cookie::Cookie<'a, RustConnection, R>;

impl Asked<'_> {
    /// None when the window is gone.
    fn answer(self) -> Result<Option<Answer>, XError> {
        let (place, size, title) = (there(self.place)?, there(self.size)?, there(self.title)?);
        let (Some(place), Some(size), Some(title)) = (place, size, title) else { return Ok(None) };
        Ok(Some(((place.dst_x.into(), place.dst_y.into()), (size.width, size.height), title.value)))
    }

    fn discard(self) {
        // Nobody waits for the answers, or hears of errors.
        self.place.discard_reply_and_errors();
        self.size.discard_reply_and_errors();
        self.title.discard_reply_and_errors();
    }
}

impl Finder {
    fn ask<'a>(&self, x: &'a X, atoms: Atoms, window: Window) -> Result<Asked<'a>, XError> {
        Ok(Asked {
            place: x.conn.translate_coordinates(window, x.root, 0, 0)?,
            size: x.conn.get_geometry(window)?,
            title: x.conn.get_property(false, window, atoms.name, atoms.utf8, 0, MAX_TITLE / 4)?,
        })
    }
}

/// The window with the mark of a window manager that is at the pointer within `top`. Menus and the like have none.
fn managed(x: &X, atoms: Atoms, top: Window) -> Result<Option<Window>, XError> {
    let mut window = top;
    for _ in 0..MAX_DEPTH {
        let state = x.conn.get_property(false, window, atoms.state, AtomEnum::ANY, 0, 1)?;
        let pointer = x.conn.query_pointer(window)?;
        let (state, pointer) = (there(state)?, there(pointer)?);
        let (Some(state), Some(pointer)) = (state, pointer) else { return Ok(None) };
        if state.type_ != x11rb::NONE {
            return Ok(Some(window));
        }
        if pointer.child == x11rb::NONE {
            return Ok(None);
        }
        window = pointer.child;
    }
    Ok(None)
}

/// An answer; none when what it was about is not there any more.
fn there<R: x11rb::x11_utils::TryParse>(cookie: Cookie<'_, R>) -> Result<Option<R>, XError> {
    match cookie.reply() {
        Ok(reply) => Ok(Some(reply)),
        Err(ReplyError::X11Error(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine(x: i32, y: i32, kind: FineKind) -> Fine {
        Fine { x: x * Fine::UNITS, y: y * Fine::UNITS, kind }
    }

    #[test]
    fn small_steps_make_clicks_and_nothing_is_lost() {
        let (mut clicks, start) = (Clicks::default(), Instant::now());
        let mut sum = (0, 0);
        for step in 0..1_000 {
            let (x, y) = clicks.add(fine(-3, 7, FineKind::Scroll), start + Duration::from_millis(step * 8));
            sum = (sum.0 + x, sum.1 + y);
        }
        assert_eq!(sum, (30, -70));
    }

    #[test]
    fn a_turn_back_and_a_pause_begin_anew() {
        let (mut clicks, start) = (Clicks::default(), Instant::now());
        assert_eq!(clicks.add(fine(0, 90, FineKind::Scroll), start), (0, 0));
        assert_eq!(clicks.add(fine(0, -99, FineKind::Scroll), start), (0, 0));
        assert_eq!(clicks.add(fine(0, -1, FineKind::Drag), start), (0, 1));
        assert_eq!(clicks.add(fine(0, 90, FineKind::Scroll), start), (0, 0));
        assert_eq!(clicks.add(fine(0, 90, FineKind::Scroll), start + 2 * FORGET), (0, 0));
    }

    #[test]
    fn a_pinch_takes_less_and_absurd_distances_are_bounded() {
        let (mut clicks, start) = (Clicks::default(), Instant::now());
        assert_eq!(clicks.add(fine(0, -17, FineKind::Pinch), start), (0, 1));
        let absurd = Fine { x: i32::MIN, y: i32::MAX, kind: FineKind::Scroll };
        assert_eq!(clicks.add(absurd, start + 2 * FORGET), (163, -163));
        assert_eq!(absurd.and(absurd), Fine { x: -Fine::MAX, y: Fine::MAX, kind: FineKind::Scroll });
    }
}
