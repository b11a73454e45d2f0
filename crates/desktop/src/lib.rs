//! One X desktop: the X server and the programs on it, input, clipboard, cursor, screen size, screenshots, sound device.
//!
//! Knows nothing about people, media or networks.

use std::{collections::BTreeMap, ffi::OsString, path::{Path, PathBuf}, sync::Arc};

/// A screen size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Width.
    pub width: u16,
    /// Height.
    pub height: u16,
}

/// Smallest screen that can be asked for.
pub const MIN_SIZE: Size = Size { width: 320, height: 240 };
/// Largest screen that can be asked for.
pub const MAX_SIZE: Size = Size { width: 3840, height: 2160 };

/// Which display to use.
#[derive(Debug, Clone)]
pub enum Display {
    /// Start an X server (Xvnc) of our own with this size.
    Own(Size),
    /// Use a display that already runs, such as `:3`; nothing is started on it but the app, if there is one.
    Existing(String),
}

/// The program to run on the desktop.
#[derive(Debug, Clone)]
pub enum App {
    /// No program.
    None,
    /// Chromium with our flags and managed policy.
    Chromium {
        /// Page to open first.
        url: Option<String>,
        /// Further command-line flags, after ours, so that they win.
        flags: Vec<OsString>,
        /// Start without any of our flags but the profile directory.
        only_given_flags: bool,
    },
    /// Firefox with a profile of its own.
    Firefox {
        /// Page to open first.
        url: Option<String>,
        /// Further command-line flags.
        flags: Vec<OsString>,
    },
    /// Any command line.
    Command(Vec<OsString>),
}

/// What happens when the app ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// Start it again, at once after a clean exit and with backoff after a crash.
    Restart,
    /// End the session.
    Stop,
}

/// How to set up a desktop.
#[derive(Debug, Clone)]
pub struct Config {
    /// The display.
    pub display: Display,
    /// The program on it.
    pub app: App,
    /// What to do when it ends.
    pub on_exit: OnExit,
    /// Start a window manager (openbox).
    pub window_manager: bool,
    /// Start PulseAudio.
    pub sound: bool,
    /// Profile directory that is kept; a throwaway one if none.
    pub profile: Option<PathBuf>,
    /// Environment for the programs, over the built-in one.
    pub environment: BTreeMap<OsString, OsString>,
    /// Command that becomes the keeper: the parent of all programs, which ends them when our process is gone.
    /// `glasshouse` passes itself: `[current_exe, "keeper"]`. See [`keeper::main`].
    pub keeper: Vec<OsString>,
}

/// Why a desktop could not start or do as told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is not installed.
    #[error("{program} not found: install {package}")]
    Missing {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: String,
    },
    /// A program did not start.
    #[error("{program} did not start: {reason}")]
    Start {
        /// The program.
        program: String,
        /// Why, with the end of its log.
        reason: String,
    },
    /// The display cannot be used.
    #[error("display {display}: {reason}")]
    Display {
        /// Its name.
        display: String,
        /// Why.
        reason: String,
    },
    /// A value outside its range.
    #[error("{0}")]
    Invalid(String),
    /// A file or process operation failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

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

pub mod keeper {
    //! The keeper: a small process that is the parent (sub-reaper) of every program of a desktop and ends them all when
    //! our process is gone, however it went.

    /// Runs the keeper; `glasshouse keeper` is this.
    pub fn main() -> std::process::ExitCode {
        unimplemented!()
    }
}

/// A running desktop. Dropping it ends every program on it.
pub struct Desktop {}

impl Desktop {
    /// Starts the display and everything on it; returns when the X server, the window manager and the sound device are
    /// ready and the app has been started. `events` is called from the desktop's threads and must not block.
    ///
    /// # Errors
    /// Something is missing, or does not start; nothing is left running then.
    pub async fn start(_config: Config, _events: Arc<dyn Fn(Event) + Send + Sync>) -> Result<Self, Error> {
        unimplemented!()
    }

    /// X display name, such as `:5`.
    pub fn display(&self) -> &str {
        unimplemented!()
    }

    /// Cookie file of the display, if it needs one.
    pub fn xauthority(&self) -> Option<&Path> {
        unimplemented!()
    }

    /// FIFO with the desktop's sound (48 kHz, stereo, s16le), when there is sound.
    pub fn sound_fifo(&self) -> Option<&Path> {
        unimplemented!()
    }

    /// Unix socket of the X server's own RFB server (Xvnc), when the display is our own.
    pub fn rfb_socket(&self) -> Option<&Path> {
        unimplemented!()
    }

    /// Folder for downloads and uploads.
    pub fn downloads(&self) -> &Path {
        unimplemented!()
    }

    /// Queues input; injected in order, at once, never lost.
    pub fn input(&self, _input: Input) {}

    /// Current screen size.
    pub fn size(&self) -> Size {
        unimplemented!()
    }

    /// Changes the screen size, in pixels from [`MIN_SIZE`] to [`MAX_SIZE`], exactly as asked, and the scale in per cent (100–400)
    /// that toolkits should draw at. Returns the size in effect.
    pub async fn resize(&self, _size: Size, _scale_percent: u16) -> Result<Size, Error> {
        unimplemented!()
    }

    /// Sizes to offer in a menu.
    pub fn sizes(&self) -> Vec<Size> {
        Vec::new()
    }

    /// The screen as JPEG, quality 1–100.
    pub async fn screenshot_jpeg(&self, _quality: u8) -> Result<Vec<u8>, Error> {
        unimplemented!()
    }

    /// The pointer's image now.
    pub fn cursor(&self) -> Option<Arc<Cursor>> {
        None
    }

    /// Text in the clipboard; empty when there is none. At most 16 MiB.
    pub async fn clipboard_text(&self) -> Result<String, Error> {
        unimplemented!()
    }

    /// HTML in the clipboard; empty when there is none.
    pub async fn clipboard_html(&self) -> Result<String, Error> {
        unimplemented!()
    }

    /// Picture in the clipboard as PNG, when there is one. At most 64 MiB.
    pub async fn clipboard_png(&self) -> Result<Option<Vec<u8>>, Error> {
        unimplemented!()
    }

    /// Owns the clipboard with text, HTML, or both.
    pub async fn set_clipboard(&self, _text: Option<String>, _html: Option<String>) -> Result<(), Error> {
        unimplemented!()
    }

    /// Keyboard layout in effect.
    pub async fn keyboard_map(&self) -> Result<KeyboardMap, Error> {
        unimplemented!()
    }

    /// Changes the keyboard layout (`setxkbmap`).
    pub async fn set_keyboard_map(&self, _map: KeyboardMap) -> Result<(), Error> {
        unimplemented!()
    }

    /// Modifiers in effect.
    pub async fn keyboard_modifiers(&self) -> Result<KeyboardModifiers, Error> {
        unimplemented!()
    }

    /// Locks or unlocks modifiers.
    pub async fn set_keyboard_modifiers(&self, _modifiers: KeyboardModifiers) -> Result<(), Error> {
        unimplemented!()
    }

    /// State of every supervised program.
    pub fn programs(&self) -> Vec<(&'static str, ProgramState, String)> {
        Vec::new()
    }

    /// Ends the app, the desktop and the X server, and removes what is throwaway; returns when all are gone.
    pub async fn stop(&self) {}
}
