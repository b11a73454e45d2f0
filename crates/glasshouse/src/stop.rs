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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_signal_before_the_wait_is_not_lost_nor_one_after_a_wait_that_was_given_up() {
        let mut stop = Stop::new().unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(1), stop.asked()).await;
        assert!(given_up.is_err(), "nobody has asked yet");
        kill_process(getpid(), Signal::HUP).unwrap();
        // Long enough for the runtime to have seen it while nobody waits.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let asked = tokio::time::timeout(Duration::from_secs(60), stop.asked()).await;
        assert_eq!(asked, Ok("the terminal closed"));
    }
}
