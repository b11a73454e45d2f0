//! At most so many frames a second on average, with as little waiting as that allows. Reads no clock itself.

use std::time::{Duration, Instant};

/// Share of the period that is left off, so that changes in the very rhythm of the frames do not wait for ever behind a frame
/// that once came early.
const CATCH_UP: u32 = 64;

/// Paces frames to a period that may change with every frame.
///
/// Not a grid: changes that come in the rhythm of the frames themselves would always wait for its next line. A frame may be ahead
/// of an even rhythm by one period, which the frames after it make up for.
pub(crate) struct Pace {
    next: Instant,
}

impl Pace {
    /// The first frame may come at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// When the next frame may come; in the past if it may come at once.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// A frame is taken now.
    pub(crate) fn take(&mut self, period: Duration, now: Instant) {
        self.next = (self.next + period - period / CATCH_UP).max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_micros(16_667);

    /// Takes a frame for every change as soon as it may, and returns the waiting times.
    fn waits(changes: impl Iterator<Item = Duration>) -> Vec<Duration> {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start;
        let wait = |change| {
            now = pace.next().max(now).max(start + change);
            pace.take(PERIOD, now);
            now - (start + change)
        };
        changes.map(wait).collect()
    }

    #[test]
    fn changes_in_the_rhythm_of_the_frames_do_not_wait_even_after_a_late_one() {
        let jitter = [0, 3, 1, 12, 2, 0, 5, 14, 0, 1, 2, 9];
        let changes = (0..240u32).map(|n| PERIOD * n + Duration::from_millis(jitter[n as usize % jitter.len()]));
        let waits = waits(changes);
        assert!(waits.iter().all(Duration::is_zero), "{waits:?}");
    }

    #[test]
    fn changes_that_come_faster_are_held_to_the_period_on_average() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut frames = 0;
        for ms in 0..1000 {
            let now = start + Duration::from_millis(ms);
            if pace.next() <= now {
                pace.take(PERIOD, now);
                frames += 1;
            }
        }
        assert!((60..=62).contains(&frames), "{frames}");
    }

    #[test]
    fn one_extra_frame_does_not_delay_all_that_follow() {
        let extra = Duration::from_millis(1);
        let changes = [Duration::ZERO, extra, 2 * extra].into_iter().chain((1..240u32).map(|n| PERIOD * n));
        let waits = waits(changes);
        assert!(waits[2] > Duration::ZERO, "three at once are too many");
        assert!(waits[150..].iter().all(Duration::is_zero), "{waits:?}");
    }
}
