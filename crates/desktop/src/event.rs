//! What goes into a desktop and what comes out of it.

use std::sync::Arc;

use crate::Size;

/// What an input device does. Coordinates are screen pixels and clamped to the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Pointer to a place.
    Move {
        /// From the left.
        x: i32,
        /// From the top.
        y: i32,
    },
    /// Wheel clicks: positive y is up (button 4), positive x is left (button 6), as neko counts. At most 64 each.
    Scroll {
        /// Horizontal.
        x: i32,
        /// Vertical.
        y: i32,
        /// Hold Control around it (zoom).
        control: bool,
    },
    /// Fine scrolling, by whoever scrolls finely below the pointer ([`Desktop::attach_scroller`](crate::Desktop::attach_scroller)),
    /// else by wheel clicks once there is enough for one.
    Fine(Fine),
    /// Fine scrolling by wheel clicks, whatever is below the pointer.
    FineClicks(Fine),
    /// X button 1–15 down; ignored when it is down already.
    ButtonDown(u32),
    /// X button up; ignored when it is not down.
    ButtonUp(u32),
    /// X keysym down; a keysym that the layout lacks gets a spare key.
    KeyDown(u32),
    /// X keysym up: releases the key that this keysym pressed.
    KeyUp(u32),
    /// Releases everything that is down.
    ReleaseAll,
}

/// Scrolling by any distance, as touchpads and fingers do: positive x moves on to the right, positive y down, as in the DOM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fine {
    /// Horizontal, in 256ths of a pixel.
    pub x: i32,
    /// Vertical, in 256ths of a pixel.
    pub y: i32,
    /// What a pixel is here.
    pub kind: FineKind,
}

impl Fine {
    /// Units to a pixel.
    pub const UNITS: i32 = 256;
    /// Furthest that one input goes on each axis, in units; what is more is cut off.
    pub const MAX: i32 = 16_384 * Self::UNITS;

    /// This and then `more` of the same kind.
    pub(crate) fn and(self, more: Self) -> Self {
        let add = |a: i32, b: i32| a.saturating_add(b).clamp(-Self::MAX, Self::MAX);
        Self { x: add(self.x, more.x), y: add(self.y, more.y), kind: self.kind }
    }
}

/// What fine scrolling does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FineKind {
    /// Scrolls by device-independent pixels, as a touchpad does.
    Scroll,
    /// Scrolls by pixels of the screen, so that what is below a finger stays there.
    Drag,
    /// Pinches: vertical only, 100 pixels up make everything larger by e, as browsers report it with Control.
    Pinch,
}

/// What is below the pointer: a window that a window manager manages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beneath {
    /// X window.
    pub window: u32,
    /// The pointer on the screen in pixels.
    pub pointer: (i32, i32),
    /// Left and top of the window's inside on the screen in pixels.
    pub place: (i32, i32),
    /// Its size in pixels.
    pub size: (u16, u16),
    /// Its title, at most 1,024 bytes of it.
    pub title: Arc<str>,
    /// Whether Shift is held.
    pub shift: bool,
    /// Whether Alt is held.
    pub alt: bool,
}

/// Scrolls finely what is below the pointer, later, if it says so; else it is done by wheel clicks. Must not block.
pub type Scroller = Box<dyn Fn(&Beneath, Fine) -> bool + Send + Sync>;

/// The pointer's image.
#[derive(Debug, Clone)]
pub struct Cursor {
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// Hot spot from the left.
    pub x_hot: u16,
    /// Hot spot from the top.
    pub y_hot: u16,
    /// PNG, 8 bit RGBA, straight alpha.
    pub png: Vec<u8>,
}

/// State of a supervised program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramState {
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Running,
    /// Ended; starts again after the backoff.
    Restarting,
    /// Given up after repeated crashes.
    Failed,
    /// Ended and not to be started again.
    Stopped,
}

/// What happened on the desktop.
#[derive(Debug, Clone)]
pub enum Event {
    /// The pointer looks different.
    Cursor(Arc<Cursor>),
    /// Somebody else owns the clipboard: read it anew. The flags say what is in it.
    Clipboard {
        /// Has text.
        text: bool,
        /// Has HTML.
        html: bool,
        /// Has a picture.
        image: bool,
    },
    /// The screen has a new size.
    Screen(Size),
    /// A program changed its state.
    Program {
        /// `x-server`, `window-manager`, `sound` or `app`.
        name: &'static str,
        /// New state.
        state: ProgramState,
        /// One line for people, such as `chromium ended with status 139, starting again in 2 s`.
        detail: String,
    },
    /// The desktop was frozen (`true`), or goes on.
    Asleep(bool),
    /// The programs have reached a limit.
    Limit {
        /// `memory`, `processes` or `disk`.
        name: &'static str,
        /// One line for people.
        detail: String,
    },
    /// The session is over: the app ended and `on_exit` is `Stop`, or the X server cannot be kept up.
    Ended(String),
}

/// Layout and variant as XKB names them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyboardMap {
    /// Such as `us` or `de`.
    pub layout: String,
    /// Such as `nodeadkeys`, or empty.
    pub variant: String,
}

/// Modifiers in effect, or to set (`None` leaves one alone): neko's eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct KeyboardModifiers {
    pub shift: Option<bool>,
    pub capslock: Option<bool>,
    pub control: Option<bool>,
    pub alt: Option<bool>,
    pub numlock: Option<bool>,
    pub meta: Option<bool>,
    pub super_: Option<bool>,
    pub altgr: Option<bool>,
}
