//! How long changes on screen take until they are on the line.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper limits of the buckets in microseconds; a last bucket takes the rest.
const LIMITS: [u64; 18] = [
    500, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 8_000, 10_000, 12_000, 15_000, 20_000, 30_000, 50_000, 100_000,
    200_000, 500_000, 1_000_000,
];

/// Counts of delays, by size; written by the engine's thread, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    buckets: [AtomicU64; LIMITS.len() + 1],
    sum: AtomicU64,
}

impl Delays {
    pub(crate) fn record(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let bucket = LIMITS.partition_point(|limit| *limit < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn histogram(&self) -> DelayHistogram {
        let limits = LIMITS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        DelayHistogram { sum: self.sum.load(Ordering::Relaxed) as f64 / 1e6, buckets: limits.zip(counts).collect() }
    }
}

/// Delays since the start.
#[derive(Debug, Clone)]
pub struct DelayHistogram {
    /// All delays together, in seconds.
    pub sum: f64,
    /// Upper limit in seconds (the last is infinite) and how many were no larger than it but larger than the one before.
    pub buckets: Vec<(f64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_fall_into_their_buckets() {
        let delays = Delays::default();
        for micros in [0, 500, 501, 11_000, 5_000_000] {
            delays.record(Duration::from_micros(micros));
        }
        let histogram = delays.histogram();
        let filled: Vec<_> = histogram.buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(filled, [(0.000_5, 2), (0.001, 1), (0.012, 1), (f64::INFINITY, 1)]);
        assert!((histogram.sum - 5.012_001).abs() < 1e-9);
    }
}
