//! Decides from a viewer's congestion estimate which quality it gets, and from all viewers' which bit rate an encoder aims at.
//!
//! Reads no clock and does no I/O. What makes a desktop special: most of the time hardly anything is sent, so an
//! estimate that follows the sent rate says nothing about the line. An estimate below what is already known is only
//! believed while the viewer really uses the line, or shows that it suffers.

use std::time::{Duration, Instant};

use glasshouse_media::Quality;

/// A viewer's line that is close and clean is not limited by the estimate at all.
const NEAR: Duration = Duration::from_millis(5);
const UNLIMITED: u64 = 50_000_000;
/// Loss that the line suffers from rather than has.
const HEAVY_LOSS: f32 = 0.10;
/// Waiting media that shows that the line does not keep up.
const HEAVY_BACKLOG: Duration = Duration::from_millis(400);
/// How long the line must be bad before the quality falls, and good before it rises.
const BAD_FOR: Duration = Duration::from_millis(1000);
const GOOD_FOR: Duration = Duration::from_secs(4);
/// A rise that fails within this time makes the next one wait longer.
const TRIAL: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(64);

/// Bit rate below which a quality is left, in bit/s.
pub(crate) fn floor(quality: Quality) -> u64 {
    match quality {
        Quality::High => 1_500_000,
        Quality::Medium => 500_000,
        Quality::Low => 0,
    }
}

/// Bit rate above which a quality is entered from below, in bit/s.
fn entry(quality: Quality) -> u64 {
    match quality {
        Quality::High => 2_500_000,
        Quality::Medium => 900_000,
        Quality::Low => 0,
    }
}

/// Bit rate that the estimator should look for while this quality is shown, in bit/s.
pub(crate) fn desired(quality: Quality, auto: bool) -> u64 {
    match (quality, auto) {
        (Quality::High, _) => 8_000_000,
        (Quality::Medium, true) => 3_000_000,
        (Quality::Medium, false) => 2_000_000,
        (Quality::Low, true) => 1_200_000,
        (Quality::Low, false) => 500_000,
    }
}

fn better(quality: Quality) -> Option<Quality> {
    match quality {
        Quality::Low => Some(Quality::Medium),
        Quality::Medium => Some(Quality::High),
        Quality::High => None,
    }
}

fn worse(quality: Quality) -> Option<Quality> {
    match quality {
        Quality::High => Some(Quality::Medium),
        Quality::Medium => Some(Quality::Low),
        Quality::Low => None,
    }
}

/// What is known about a viewer's line at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Send-side estimate in bit/s.
    pub(crate) estimate: Option<u64>,
    /// Media sent since the last sample, in bit/s.
    pub(crate) sent: u64,
    /// Share of packets lost, 0–1.
    pub(crate) loss: f32,
    /// Round trip time.
    pub(crate) round_trip: Option<Duration>,
    /// How long what is waiting would take to send.
    pub(crate) backlog: Duration,
}

/// The line of one viewer and the quality that fits it.
#[derive(Debug)]
pub(crate) struct Adapter {
    capacity: u64,
    least_round_trip: Option<Duration>,
    near: bool,
    bad_since: Option<Instant>,
    good_since: Option<Instant>,
    risen_at: Option<Instant>,
    wait: Duration,
}

impl Adapter {
    pub(crate) fn new(first_estimate: u64) -> Self {
        Self {
            capacity: first_estimate,
            least_round_trip: None,
            near: false,
            bad_since: None,
            good_since: None,
            risen_at: None,
            wait: GOOD_FOR,
        }
    }

    /// What the line carries, in bit/s.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether the viewer is so close that packets need no spreading.
    pub(crate) fn near(&self) -> bool {
        self.near
    }

    /// Before anything is measured, from the viewer's address alone.
    pub(crate) fn assume_near(&mut self) {
        self.near = true;
    }

    /// Takes a measurement; returns the quality to show from now on.
    pub(crate) fn sample(&mut self, now: Instant, sample: Sample, auto: bool, quality: Quality) -> Quality {
        let suffering = self.measure(sample);
        if !auto {
            self.bad_since = None;
            self.good_since = None;
            return quality;
        }
        let bad = suffering && self.capacity < entry(quality) || self.capacity < floor(quality);
        let good = !suffering && better(quality).is_some_and(|better| self.capacity >= entry(better));
        self.bad_since = if bad { self.bad_since.or(Some(now)) } else { None };
        self.good_since = if good { self.good_since.or(Some(now)) } else { None };
        let lasted = |since: Option<Instant>, time: Duration| since.is_some_and(|since| now - since >= time);
        if lasted(self.bad_since, BAD_FOR)
            && let Some(worse) = worse(quality)
        {
            self.bad_since = None;
            self.wait = if self.risen_at.is_some_and(|risen| now - risen < TRIAL) {
                (self.wait * 2).min(LONGEST_WAIT)
            } else {
                GOOD_FOR
            };
            self.risen_at = None;
            return worse;
        }
        if lasted(self.good_since, self.wait)
            && let Some(better) = better(quality)
        {
            self.good_since = None;
            self.risen_at = Some(now);
            return better;
        }
        quality
    }

    fn measure(&mut self, sample: Sample) -> bool {
        let mut suffering = sample.loss > HEAVY_LOSS || sample.backlog > HEAVY_BACKLOG;
        if let Some(round_trip) = sample.round_trip {
            let least = self.least_round_trip.map_or(round_trip, |least| least.min(round_trip));
            self.least_round_trip = Some(least);
            suffering |= round_trip > least * 2 + Duration::from_millis(100);
            self.near = least < NEAR && !suffering;
        } else if suffering {
            self.near = false;
        }
        if let Some(estimate) = sample.estimate
            && (estimate > self.capacity || suffering || sample.sent >= (estimate / 2).max(self.capacity / 8))
        {
            self.capacity = estimate;
        }
        if self.near {
            self.capacity = self.capacity.max(UNLIMITED);
        } else if self.capacity >= UNLIMITED && sample.estimate.is_some() {
            // It was near only by assumption or in the past.
            self.capacity = sample.estimate.unwrap_or(self.capacity);
        }
        suffering
    }
}

/// The bit rate for an encoder: what all but the worst quarter of its viewers can take. Viewers whose line is below the
/// quality's floor do not count (they are about to leave it, or asked for too much), unless there are no others.
pub(crate) fn encoder_rate(quality: Quality, capacities: &mut Vec<u64>) -> Option<u64> {
    let best = *capacities.iter().max()?;
    let floor = floor(quality);
    if best >= floor {
        capacities.retain(|capacity| *capacity >= floor);
    } else {
        capacities.retain(|capacity| *capacity == best);
    }
    capacities.sort_unstable();
    // A tenth and 128 kbit/s remain for retransmissions and sound.
    let worst = capacities[(capacities.len() - 1) / 4];
    Some((worst - worst / 10).saturating_sub(128_000).max(100_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Line {
        adapter: Adapter,
        now: Instant,
        quality: Quality,
    }

    impl Line {
        fn new() -> Self {
            Self { adapter: Adapter::new(3_000_000), now: Instant::now(), quality: Quality::High }
        }

        /// Seconds until the quality changed, at most `limit`.
        fn run(&mut self, limit: u32, sample: Sample) -> Option<(f32, Quality)> {
            for step in 1..=limit * 4 {
                self.now += Duration::from_millis(250);
                let quality = self.adapter.sample(self.now, sample, true, self.quality);
                if quality != self.quality {
                    self.quality = quality;
                    return Some((step as f32 / 4.0, quality));
                }
            }
            None
        }
    }

    fn sample(estimate: u64, sent: u64) -> Sample {
        Sample { estimate: Some(estimate), sent, round_trip: Some(Duration::from_millis(40)), ..Sample::default() }
    }

    #[test]
    fn a_quiet_page_does_not_pull_the_quality_down() {
        let mut line = Line::new();
        assert_eq!(line.run(600, sample(60_000, 10_000)), None);
        assert_eq!(line.adapter.capacity(), 3_000_000);
    }

    #[test]
    fn a_used_line_that_shrinks_steps_down_and_returns() {
        let mut line = Line::new();
        let (seconds, quality) = line.run(5, sample(400_000, 390_000)).unwrap();
        assert_eq!(quality, Quality::Medium);
        assert!((1.0..=1.5).contains(&seconds));
        assert_eq!(line.run(5, sample(400_000, 390_000)).unwrap().1, Quality::Low);
        assert_eq!(line.run(60, sample(400_000, 390_000)), None);
        assert_eq!(line.run(10, sample(1_200_000, 200_000)).unwrap(), (4.25, Quality::Medium));
        assert_eq!(line.run(10, sample(4_000_000, 900_000)).unwrap().1, Quality::High);
    }

    #[test]
    fn between_floor_and_entry_nothing_moves() {
        let mut line = Line::new();
        assert_eq!(line.run(60, sample(1_600_000, 1_500_000)), None);
        line.quality = Quality::Medium;
        assert_eq!(line.run(60, sample(1_600_000, 900_000)), None);
    }

    #[test]
    fn a_failed_rise_waits_longer_each_time() {
        let mut line = Line::new();
        line.quality = Quality::Medium;
        line.adapter.capacity = 1_000_000;
        let mut waits = Vec::new();
        for _ in 0..6 {
            waits.push(line.run(100, sample(3_000_000, 800_000)).unwrap().0 as u32);
            assert_eq!(line.run(5, sample(700_000, 690_000)).unwrap().1, Quality::Medium);
        }
        assert_eq!(waits, [4, 8, 16, 32, 64, 64]);
    }

    #[test]
    fn loss_and_backlog_count_even_when_little_is_sent() {
        let suffering = Sample { loss: 0.3, ..sample(300_000, 20_000) };
        assert_eq!(Line::new().run(3, suffering).unwrap().1, Quality::Medium);
        let stuck = Sample { backlog: Duration::from_secs(1), ..sample(300_000, 20_000) };
        assert_eq!(Line::new().run(3, stuck).unwrap().1, Quality::Medium);
    }

    #[test]
    fn a_near_viewer_is_not_limited() {
        let mut line = Line::new();
        let near = Sample { round_trip: Some(Duration::from_micros(300)), ..sample(200_000, 190_000) };
        assert_eq!(line.run(60, near), None);
        assert!(line.adapter.near());
        assert_eq!(line.adapter.capacity(), UNLIMITED);
    }

    #[test]
    fn an_assumed_near_viewer_that_is_far_is_measured() {
        let mut line = Line::new();
        line.adapter.assume_near();
        line.run(1, Sample { round_trip: None, ..sample(900_000, 10_000) });
        assert!(line.adapter.near());
        line.run(1, sample(900_000, 10_000));
        assert!(!line.adapter.near());
        assert_eq!(line.adapter.capacity(), 900_000);
    }

    #[test]
    fn a_fixed_quality_stays() {
        let mut adapter = Adapter::new(3_000_000);
        let now = Instant::now();
        for second in 0..60 {
            let now = now + Duration::from_secs(second);
            assert_eq!(adapter.sample(now, sample(400_000, 400_000), false, Quality::High), Quality::High);
        }
        assert_eq!(adapter.capacity(), 400_000);
    }

    #[test]
    fn one_bad_line_does_not_drag_the_encoder_down() {
        let rate = |quality, capacities: &[u64]| encoder_rate(quality, &mut capacities.to_vec());
        assert_eq!(rate(Quality::High, &[]), None);
        assert_eq!(rate(Quality::High, &[200_000, 8_000_000]), Some(7_072_000));
        assert_eq!(rate(Quality::High, &[2_000_000, 8_000_000]), Some(1_672_000));
        assert_eq!(rate(Quality::High, &[2_000_000, 8_000_000, 8_000_000, 8_000_000, 8_000_000]), Some(7_072_000));
        assert_eq!(rate(Quality::High, &[200_000, 400_000]), Some(232_000));
        assert_eq!(rate(Quality::Low, &[10_000]), Some(100_000));
    }
}
