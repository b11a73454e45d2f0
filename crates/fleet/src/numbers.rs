//! What has happened in the fleet since its server started, in numbers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{Fleet, State, View};

/// Upper limits of the buckets in milliseconds; a last bucket takes the rest.
const LIMITS: [u64; 14] = [50, 100, 150, 250, 400, 600, 900, 1_500, 2_500, 5_000, 10_000, 20_000, 40_000, 60_000];

/// How long things took, by size.
#[derive(Debug, Default)]
struct Times {
    buckets: [AtomicU64; LIMITS.len() + 1],
    micros: AtomicU64,
}

impl Times {
    fn add(&self, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = LIMITS.partition_point(|limit| *limit < millis);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn read(&self, from: &'static str) -> StartTimes {
        let limits = LIMITS.iter().map(|millis| *millis as f64 / 1e3).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        StartTimes {
            from,
            sum: self.micros.load(Ordering::Relaxed) as f64 / 1e6,
            buckets: limits.zip(counts).collect(),
        }
    }
}

/// Counters since the start of the server.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    freezes: AtomicU64,
    thaws: AtomicU64,
    taken_over: AtomicU64,
    terminated: AtomicU64,
    failed: AtomicU64,
    cold: Times,
    from_pool: Times,
}

impl Counters {
    /// Notes that a session was started.
    pub(crate) fn started(&self, from_pool: bool, took: Duration) {
        if from_pool { &self.from_pool } else { &self.cold }.add(took);
    }

    /// Notes that a session that was there went into another state.
    pub(crate) fn changed(&self, from: State, to: State) {
        let counter = match (from, to) {
            (State::Ready, State::Frozen) => &self.freezes,
            (State::Frozen, State::Ready) => &self.thaws,
            (_, State::Terminated) => &self.terminated,
            (_, State::Failed) => &self.failed,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a session that was found when the server started.
    pub(crate) fn taken_over(&self) {
        self.taken_over.fetch_add(1, Ordering::Relaxed);
    }
}

/// What has happened since the server started.
#[derive(Debug, Clone)]
pub struct Numbers {
    /// Sessions that were frozen.
    pub freezes: u64,
    /// Sessions that went on.
    pub thaws: u64,
    /// Sessions that were found running.
    pub taken_over: u64,
    /// Sessions that were ended.
    pub terminated: u64,
    /// Sessions that were lost, or could not be started.
    pub failed: u64,
    /// From the request until the session could be used: from the pool, and cold.
    pub starts: [StartTimes; 2],
}

/// How long starts took.
#[derive(Debug, Clone)]
pub struct StartTimes {
    /// `pool` or `cold`.
    pub from: &'static str,
    /// All together, in seconds.
    pub sum: f64,
    /// Upper limit in seconds (the last is infinite) and how many were no longer than it but longer than the one before.
    pub buckets: Vec<(f64, u64)>,
}

impl Fleet {
    /// What has happened since the server started.
    pub fn numbers(&self) -> Numbers {
        let counters = &self.inner.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Numbers {
            freezes: read(&counters.freezes),
            thaws: read(&counters.thaws),
            taken_over: read(&counters.taken_over),
            terminated: read(&counters.terminated),
            failed: read(&counters.failed),
            starts: [counters.from_pool.read("pool"), counters.cold.read("cold")],
        }
    }

    /// Sessions that have not ended, in no order, as they are in memory.
    pub fn running(&self) -> Vec<View> {
        let live: Vec<_> = self.inner.live.lock().values().cloned().collect();
        live.iter().map(|live| live.view()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_changes_are_counted() {
        let counters = Counters::default();
        for millis in [10, 50, 51, 100_000] {
            counters.started(false, Duration::from_millis(millis));
        }
        let times = counters.cold.read("cold");
        let filled: Vec<_> = times.buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(filled, [(0.05, 2), (0.1, 1), (f64::INFINITY, 1)]);
        assert!((times.sum - 100.111).abs() < 1e-9);
        counters.changed(State::Creating, State::Ready);
        counters.changed(State::Ready, State::Frozen);
        counters.changed(State::Frozen, State::Failed);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!(
            [&counters.freezes, &counters.thaws, &counters.terminated, &counters.failed].map(read),
            [1, 0, 0, 1]
        );
    }
}
