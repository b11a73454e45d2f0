//! What can go wrong in a fleet.

use std::{path::PathBuf, time::Duration};

/// A field of a request that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, such as `screen.width`.
    pub field: String,
    /// What is wrong with it, and what to give instead.
    pub message: String,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields have wrong values.
    #[error("{}", .0.iter().map(|wrong| format!("{}: {}", wrong.field, wrong.message)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<FieldError>),
    /// There is no such session, or it has ended.
    #[error("there is no such session")]
    NotFound,
    /// There is no profile of that name.
    #[error("there is no profile {0}")]
    NoProfile(String),
    /// The state of things does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// An idempotency key was used for another request before.
    #[error("this idempotency key belongs to another request: choose a new one")]
    KeyReused,
    /// As many sessions run as may.
    #[error("{0} sessions are running, which is the limit: end one, or try again later")]
    Full(usize),
    /// As many sessions of one token or account run as may.
    #[error("{0} sessions of yours are running, which is the limit: end one, or try again later")]
    TooMany(usize),
    /// Others wait for a place.
    #[error("others are waiting for a place: wait with them, or try again later")]
    Waiting,
    /// Sessions are created too fast.
    #[error("too many sessions were created within a minute: try again in {} s", .0.as_secs().max(1))]
    TooFast(Duration),
    /// Another session could push the machine out of memory.
    #[error("not enough memory for another session: {available_mib} MiB are free, {needed_mib} MiB are needed")]
    NoMemory {
        /// What is free, with what starting sessions will take taken off.
        available_mib: u64,
        /// For a session and the reserve.
        needed_mib: u64,
    },
    /// A session does not answer as it should.
    #[error("the session does not answer: {0}")]
    Session(String),
    /// The database refuses.
    #[error("the database {path} cannot be used: {reason}", path = .path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A file or process cannot be made.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the same may be possible later.
    pub(crate) fn is_limit(&self) -> bool {
        matches!(self, Self::Full(_) | Self::TooMany(_) | Self::Waiting | Self::TooFast(_) | Self::NoMemory { .. })
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
