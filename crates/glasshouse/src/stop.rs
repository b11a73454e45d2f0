//! The signals that end this program.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears them from when it is made: one that comes before somebody waits for it is not lost.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    /// Begins to hear. This is to happen before anybody is told that the program runs.
    ///
    /// # Errors
    ///
    /// The system refuses a handler.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one, and says what it means. Nothing is lost when the wait is given up.
    pub(crate) async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "terminated",
            _ = self.hangup.recv() => "the terminal closed",
        }
    }
}
