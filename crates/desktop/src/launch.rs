//! Programs that somebody starts beside the app.

use std::{ffi::OsString, fmt, os::fd::OwnedFd, path::PathBuf};

use tokio::sync::oneshot;

/// A program to start. What is not given a descriptor is `/dev/null`.
#[derive(Debug, Default)]
pub struct Launch {
    /// A path as the programs see it, or a name to be looked for in their `PATH`.
    pub program: OsString,
    /// Without the program's name.
    pub args: Vec<OsString>,
    /// Environment over that of all programs.
    pub environment: Vec<(OsString, OsString)>,
    /// Working directory as the programs see it; their HOME if none.
    pub folder: Option<PathBuf>,
    /// Descriptors and the numbers that the program gets them under; at most eight.
    pub descriptors: Vec<(OwnedFd, i32)>,
    /// Whether its standard input becomes its controlling terminal, see [`crate::Desktop::terminal`].
    pub has_terminal: bool,
}

/// A program that runs. Dropping this does not end it.
#[derive(Debug)]
pub struct Launched {
    /// For [`crate::Desktop::signal`].
    pub id: u32,
    /// Number of the process, as the programs see it.
    pub pid: i32,
    /// Says how it ended; an error when it ended with the desktop.
    pub ended: oneshot::Receiver<Ended>,
}

/// How a program ended: by itself with an exit status, or by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Exit status, if it exited.
    pub code: Option<i32>,
    /// Signal, if it was killed.
    pub signal: Option<i32>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "ended with status {code}"),
            (None, Some(signal)) => write!(f, "was ended by signal {signal}"),
            (None, None) => write!(f, "ended"),
        }
    }
}
