//! What can go wrong, in words for the person who reads them.

/// An error of the walls.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration asks for something impossible.
    #[error("{0}")]
    Invalid(String),
    /// The host does not allow the walls; says what to change.
    #[error("cannot build the walls of the session: {step}: {reason}{remedy}")]
    Walls {
        /// Which step failed.
        step: String,
        /// What the kernel said.
        reason: String,
        /// What to do, starting with "; ", or nothing.
        remedy: &'static str,
    },
    /// A system call of ours failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    /// Turns a failed call into an error that says what was being done.
    pub(crate) fn io<E: Into<std::io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { what: what.into(), source: source.into() }
    }
}
