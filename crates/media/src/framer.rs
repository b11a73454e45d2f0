//! Cuts raw sound into frames with an even clock, drops what is stale, and keeps silence off the line. Reads no clock itself.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Samples per second and channel.
pub(crate) const RATE: usize = 48_000;
/// Interleaved channels.
pub(crate) const CHANNELS: usize = 2;
const BYTES_PER_SECOND: usize = RATE * CHANNELS * 2;

/// Sound older than this is dropped: late sound is worse than a gap.
const MAX_BACKLOG: Duration = Duration::from_millis(60);
/// Silence that is still sent, so that a pause in speech does not cut its reverberation.
const HANGOVER: Duration = Duration::from_millis(200);
/// Loudest sample that still counts as silence: −90 dBFS.
const SILENT: i16 = 1;
/// A frame further from the even clock than this starts a new talk spurt.
const MAX_DRIFT: Duration = Duration::from_millis(80);

/// Where a frame stands in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When its first sample was read; frames of one talk spurt are exactly one frame length apart.
    pub(crate) captured_at: Instant,
    /// First frame after silence or a gap.
    pub(crate) talk_spurt_start: bool,
}

/// The state between reads.
pub(crate) struct Framer {
    frame: Duration,
    samples: usize,
    pending: VecDeque<u8>,
    /// When the last byte of `pending` was read.
    read_at: Option<Instant>,
    /// Time of the next frame on the even clock of the current talk spurt.
    next: Option<Instant>,
    silent_for: Duration,
}

impl Framer {
    /// Frames of this length; 10 or 20 ms.
    pub(crate) fn new(frame: Duration) -> Self {
        let samples = (frame.as_micros() as usize * RATE / 1_000_000) * CHANNELS;
        Self { frame, samples, pending: VecDeque::new(), read_at: None, next: None, silent_for: HANGOVER }
    }

    /// Interleaved samples of a frame.
    pub(crate) fn samples(&self) -> usize {
        self.samples
    }

    /// Takes bytes that were read at `now`.
    pub(crate) fn push(&mut self, bytes: &[u8], now: Instant) {
        self.pending.extend(bytes);
        self.read_at = Some(now);
        let limit = length(MAX_BACKLOG);
        if self.pending.len() > limit {
            // Whole frames, so that left and right stay in place.
            let frame_bytes = self.samples * 2;
            let surplus = (self.pending.len() - limit).div_ceil(frame_bytes) * frame_bytes;
            self.pending.drain(..surplus.min(self.pending.len() / 4 * 4));
        }
    }

    /// Forgets everything, as after a pause in listening.
    pub(crate) fn reset(&mut self) {
        self.pending.clear();
        self.next = None;
        self.silent_for = HANGOVER;
    }

    /// Fills `out` (of [`Framer::samples`]) with the next frame that is to be sent.
    pub(crate) fn pop(&mut self, out: &mut [i16]) -> Option<Stamp> {
        let frame_bytes = self.samples * 2;
        while self.pending.len() >= frame_bytes {
            let behind = duration(self.pending.len());
            let (low, high) = (self.pending.iter().step_by(2), self.pending.iter().skip(1).step_by(2));
            for (sample, (&low, &high)) in out.iter_mut().zip(low.zip(high)) {
                *sample = i16::from_le_bytes([low, high]);
            }
            self.pending.drain(..frame_bytes);

            if out.iter().all(|sample| sample.unsigned_abs() <= SILENT as u16) {
                self.silent_for = self.silent_for.saturating_add(self.frame);
                if self.silent_for > HANGOVER {
                    self.next = None;
                    continue;
                }
            } else {
                self.silent_for = Duration::ZERO;
            }
            let seen = self.read_at?.checked_sub(behind)?;
            let even = self.next.filter(|&next| {
                next.saturating_duration_since(seen).max(seen.saturating_duration_since(next)) <= MAX_DRIFT
            });
            let captured_at = even.unwrap_or(seen);
            self.next = Some(captured_at + self.frame);
            return Some(Stamp { captured_at, talk_spurt_start: even.is_none() });
        }
        None
    }
}

fn duration(bytes: usize) -> Duration {
    Duration::from_nanos(bytes as u64 * 1_000_000_000 / BYTES_PER_SECOND as u64)
}

fn length(time: Duration) -> usize {
    (time.as_micros() as usize * BYTES_PER_SECOND / 1_000_000) / 4 * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(10);
    const FRAME_BYTES: usize = 1_920;

    fn loud(bytes: usize) -> Vec<u8> {
        [0x10, 0x20].into_iter().cycle().take(bytes).collect()
    }

    fn all(framer: &mut Framer) -> Vec<Stamp> {
        let mut out = vec![0; framer.samples()];
        std::iter::from_fn(|| framer.pop(&mut out)).collect()
    }

    #[test]
    fn uneven_chunks_become_even_frames() {
        let (start, mut framer, mut stamps) = (Instant::now(), Framer::new(FRAME), Vec::new());
        // PulseAudio writes about 11.5 ms at a time, and is late now and then.
        for (turn, jitter) in [0u64, 3, 0, 9, 1, 0, 5, 2, 0, 0].into_iter().enumerate() {
            let now = start + Duration::from_micros(11_500) * (turn as u32 + 1) + Duration::from_millis(jitter);
            framer.push(&loud(2_208), now);
            stamps.extend(all(&mut framer));
        }
        assert_eq!(stamps.len(), 2_208 * 10 / FRAME_BYTES);
        assert!(stamps[0].talk_spurt_start);
        for pair in stamps.windows(2) {
            assert!(!pair[1].talk_spurt_start);
            assert_eq!(pair[1].captured_at - pair[0].captured_at, FRAME);
        }
    }

    #[test]
    fn silence_is_not_sent_and_sound_starts_a_spurt() {
        let (mut now, mut framer) = (Instant::now(), Framer::new(FRAME));
        let mut turn = |bytes: &[u8], framer: &mut Framer| {
            now += FRAME;
            framer.push(bytes, now);
            all(framer)
        };
        for _ in 0..50 {
            assert_eq!(turn(&[0; FRAME_BYTES], &mut framer), []);
        }
        assert!(turn(&loud(FRAME_BYTES), &mut framer)[0].talk_spurt_start);
        let tail: usize = (0..50).map(|_| turn(&[0; FRAME_BYTES], &mut framer).len()).sum();
        assert_eq!(tail, 20, "200 ms of silence follow the sound");
        assert!(turn(&loud(FRAME_BYTES), &mut framer)[0].talk_spurt_start);
    }

    #[test]
    fn backlog_is_dropped() {
        let (now, mut framer) = (Instant::now(), Framer::new(FRAME));
        framer.push(&loud(FRAME_BYTES * 100), now);
        let stamps = all(&mut framer);
        assert_eq!(stamps.len(), 6, "60 ms are kept");
        assert_eq!(now - stamps[0].captured_at, Duration::from_millis(60));
    }

    #[test]
    fn a_gap_starts_a_new_spurt() {
        let (start, mut framer) = (Instant::now(), Framer::new(FRAME));
        framer.push(&loud(FRAME_BYTES), start);
        assert_eq!(all(&mut framer).len(), 1);
        framer.push(&loud(FRAME_BYTES), start + Duration::from_secs(5));
        assert!(all(&mut framer)[0].talk_spurt_start);
    }
}
