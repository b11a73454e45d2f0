//! How a desktop is set up.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use glasshouse_sandbox::Limits;

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

/// Where a browser finds its way out, on the loopback of its own network.
pub const PROXY_PORT: u16 = 3128;

/// Where Chromium's DevTools listen, on the loopback of the desktop's own network.
pub(crate) const DEVTOOLS_PORT: u16 = 9222;

/// What the programs of a desktop are kept within.
#[derive(Debug, Clone)]
pub struct Walls {
    /// Command that becomes the stage, which builds the walls; `glasshouse` passes itself: `[current_exe,
    /// "sandbox-stage"]`. The keeper inside is the same executable, called with `keeper`.
    pub stage: Vec<OsString>,
    /// Limits of memory, processes and processor time.
    pub limits: Limits,
    /// Most bytes in HOME and profile together. The session ends when there are more.
    pub disk: u64,
    /// Whether the programs share the host's network. If not, they have loopback only, and on it, at [`PROXY_PORT`], a
    /// proxy that is for the caller to serve, see [`crate::Desktop::take_listeners`].
    pub host_network: bool,
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
    /// Whether an X server of our own offers OpenGL to programs (GLX, in software). It loads a compiler for that, which takes
    /// longer than all the rest of its start.
    pub glx: bool,
    /// Profile directory that is kept; a throwaway one if none.
    pub profile: Option<PathBuf>,
    /// Environment for the programs, over the built-in one.
    pub environment: BTreeMap<OsString, OsString>,
    /// Whether Chromium listens for DevTools on loopback, see [`crate::Desktop::devtools`]. Without a network of its own,
    /// that is the host's, where every program of the machine reaches it.
    pub devtools: bool,
    /// What the programs are kept within; nothing, if none. Without effect on a display that already runs.
    pub walls: Option<Walls>,
    /// Command that becomes the keeper: the parent of all programs, which ends them when our process is gone.
    /// `glasshouse` passes itself: `[current_exe, "keeper"]`. See [`crate::keeper::main`].
    pub keeper: Vec<OsString>,
}
