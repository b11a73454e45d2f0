//! Why a desktop could not start or do as told.

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
    /// There is no such program where it was looked for, or no such working directory.
    #[error("{0}: there is no such program or working directory")]
    NoSuchProgram(String),
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
    /// The walls could not be built.
    #[error(transparent)]
    Walls(#[from] glasshouse_sandbox::Error),
    /// A file or process operation failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
