//! When to start a program again: a pure rule, with the times given to it.

use std::time::Duration;

/// First wait before a program is started again after a crash; it doubles with each.
const FIRST: Duration = Duration::from_millis(500);

/// A program that lived this long was well: its earlier crashes are forgotten.
const WELL: Duration = Duration::from_secs(10);

/// Crashes in a row after which it is given up.
const MAX_CRASHES: u32 = 6;

/// A clean exit sooner than this counts as a crash: an app that ends at once must not be started in a tight loop.
const TOO_SOON: Duration = Duration::from_secs(2);

/// Crashes of one program so far.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    crashes: u32,
}

impl Backoff {
    /// The program ended after `lived`. Returns how long to wait before the next start, or `None` to give up.
    pub(super) fn ended(&mut self, lived: Duration, clean: bool) -> Option<Duration> {
        if lived >= WELL {
            self.crashes = 0;
        }
        if clean && lived >= TOO_SOON {
            self.crashes = 0;
            return Some(Duration::ZERO);
        }
        self.crashes += 1;
        if self.crashes >= MAX_CRASHES {
            return None;
        }
        Some(FIRST * 2_u32.pow(self.crashes - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_and_gives_up_after_six_quick_crashes() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..6).map(|_| backoff.ended(Duration::from_secs(1), false)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(waits, [ms(500), ms(1000), ms(2000), ms(4000), ms(8000), None]);
    }

    #[test]
    fn forgets_crashes_of_a_program_that_lived_long() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            assert_eq!(backoff.ended(Duration::from_secs(11), false), Some(Duration::from_millis(500)));
        }
    }

    #[test]
    fn restarts_at_once_after_a_clean_exit_but_not_in_a_loop() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.ended(Duration::from_secs(3), true), Some(Duration::ZERO));
        assert_eq!(backoff.ended(Duration::from_millis(10), true), Some(Duration::from_millis(500)));
        assert_eq!(backoff.ended(Duration::from_millis(10), true), Some(Duration::from_secs(1)));
    }
}
