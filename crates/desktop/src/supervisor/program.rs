//! One supervised program.

use std::{fmt, time::Instant};

use super::{Kind, backoff::Backoff};
use crate::{ProgramState, log::Log};

/// What the supervisor knows about a program.
pub(super) struct Program {
    pub(super) kind: Kind,
    /// Name for people, such as `chromium`.
    pub(super) label: String,
    pub(super) state: ProgramState,
    /// The running process, as the keeper knows it.
    pub(super) id: Option<u32>,
    pub(super) started: Instant,
    /// Without a process: when to start it. With one: until when it must be ready.
    pub(super) due: Option<Instant>,
    /// Starts as soon as what it needs is there.
    pub(super) waiting: bool,
    /// It was ended by us because it did not get ready.
    pub(super) overdue: bool,
    /// It ends because it is to start again.
    pub(super) restarts: bool,
    pub(super) backoff: Backoff,
    pub(super) log: Log,
}

impl Program {
    pub(super) fn new(kind: Kind, label: String) -> Self {
        Self {
            kind,
            label,
            state: ProgramState::Starting,
            id: None,
            started: Instant::now(),
            due: None,
            waiting: false,
            overdue: false,
            restarts: false,
            backoff: Backoff::default(),
            log: Log::default(),
        }
    }
}

/// How a program ended.
pub(super) enum Exit {
    NotStarted(String),
    Ended { code: Option<i32>, signal: Option<i32> },
}

impl Exit {
    pub(super) fn is_clean(&self) -> bool {
        matches!(self, Self::Ended { code: Some(0), .. })
    }

    /// Killed by a signal other than those that ask a program to end; browsers end themselves so when they crash.
    pub(super) fn is_crash(&self) -> bool {
        matches!(self, Self::Ended { signal: Some(signal), .. }
            if ![libc::SIGTERM, libc::SIGINT, libc::SIGHUP].contains(signal))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(reason) => write!(f, "could not be started: {reason}"),
            Self::Ended { code: Some(code), .. } => write!(f, "ended with status {code}"),
            Self::Ended { signal: Some(signal), .. } => write!(f, "was ended by signal {signal}"),
            Self::Ended { .. } => write!(f, "ended"),
        }
    }
}
