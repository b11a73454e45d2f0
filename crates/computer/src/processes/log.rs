//! What a process has said, as far as there is room for it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::time;

/// Most bytes that the logs of all processes keep together; a process that writes more forgets its own.
const MAX_ALL: usize = 32 * 1024 * 1024;
/// Most entries of a log, however short they are.
const MAX_ENTRIES: usize = 16_384;
/// Most bytes that a reader gets at once.
const MAX_BATCH: usize = 256 * 1024;

/// Where something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LogStream)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    Stdout,
    Stderr,
    /// Both; no entry is of this.
    Combined,
    Pty,
}

impl Stream {
    fn has(self, other: Self) -> bool {
        self == other || self == Self::Combined && other != Self::Pty
    }
}

/// One piece of output.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// From 1, of all streams of the process.
    pub(crate) sequence: u64,
    pub(crate) stream: Stream,
    pub(crate) at_ms: u64,
    pub(crate) data: Bytes,
}

/// Bytes in all logs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used(Arc<AtomicUsize>);

/// See the module.
pub(crate) struct Log {
    kept: Mutex<Kept>,
    used: Used,
    /// Number of the last entry.
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
    next: u64,
}

impl Log {
    pub(crate) fn new(used: Used) -> Self {
        Self { kept: Mutex::new(Kept { next: 1, ..Kept::default() }), used, last: watch::Sender::new(0) }
    }

    /// Adds output, of which at most `limit` bytes are kept.
    pub(crate) fn add(&self, stream: Stream, data: Bytes, limit: usize) {
        let mut kept = self.kept.lock();
        let sequence = kept.next;
        kept.next += 1;
        kept.bytes += data.len();
        let mut all = self.used.0.fetch_add(data.len(), Ordering::AcqRel) + data.len();
        kept.entries.push_back(Entry { sequence, stream, at_ms: time::millis(SystemTime::now()), data });
        while kept.bytes > limit || all > MAX_ALL || kept.entries.len() > MAX_ENTRIES {
            let Some(oldest) = kept.entries.pop_front() else { break };
            kept.bytes -= oldest.data.len();
            all = self.used.0.fetch_sub(oldest.data.len(), Ordering::AcqRel) - oldest.data.len();
        }
        drop(kept);
        self.last.send_replace(sequence);
    }

    /// Entries of a stream after a number; the last `tail` of them, if given.
    pub(crate) fn read(&self, stream: Stream, since: u64, tail: Option<usize>) -> Vec<Entry> {
        let kept = self.kept.lock();
        let wanted = kept.entries.iter().filter(|entry| entry.sequence > since && stream.has(entry.stream));
        match tail {
            None => wanted.cloned().collect(),
            Some(tail) => {
                let mut last: Vec<_> = wanted.rev().take(tail).cloned().collect();
                last.reverse();
                last
            }
        }
    }

    /// Some of the entries after a number, and the number up to which there are no more among them.
    pub(crate) fn some(&self, stream: Stream, since: u64) -> (Vec<Entry>, u64) {
        let kept = self.kept.lock();
        let (mut some, mut bytes, mut upto) = (Vec::new(), 0, since);
        let first = kept.entries.partition_point(|entry| entry.sequence <= since);
        for entry in kept.entries.range(first..) {
            if bytes > MAX_BATCH {
                break;
            }
            upto = entry.sequence;
            if stream.has(entry.stream) {
                bytes += entry.data.len();
                some.push(entry.clone());
            }
        }
        (some, upto)
    }

    /// Number of the last entry, and word of later ones.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.used.0.fetch_sub(self.kept.get_mut().bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let used = Used::default();
        let log = Log::new(used.clone());
        for number in 0..10_u8 {
            let stream = if number % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
            log.add(stream, Bytes::from(vec![number; 10]), 50);
        }
        assert_eq!(used.0.load(Ordering::Acquire), 50);
        let numbers = |entries: Vec<Entry>| entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>();
        assert_eq!(numbers(log.read(Stream::Combined, 0, None)), [6, 7, 8, 9, 10]);
        assert_eq!(numbers(log.read(Stream::Stdout, 0, None)), [7, 9]);
        assert_eq!(numbers(log.read(Stream::Combined, 7, Some(2))), [9, 10]);
        assert_eq!(numbers(log.read(Stream::Pty, 0, None)), Vec::<u64>::new());
        let (some, upto) = log.some(Stream::Stderr, 8);
        assert_eq!((numbers(some), upto), (vec![10], 10));
        drop(log);
        assert_eq!(used.0.load(Ordering::Acquire), 0);
    }

    #[test]
    fn all_logs_share_their_room() {
        let used = Used::default();
        let (first, second) = (Log::new(used.clone()), Log::new(used.clone()));
        first.add(Stream::Stdout, Bytes::from(vec![0; MAX_ALL - 5]), usize::MAX);
        second.add(Stream::Stdout, Bytes::from(vec![0; 10]), usize::MAX);
        assert_eq!(second.read(Stream::Stdout, 0, None).len(), 0);
        assert_eq!(first.read(Stream::Stdout, 0, None).len(), 1);
        assert!(used.0.load(Ordering::Acquire) <= MAX_ALL);
    }
}
