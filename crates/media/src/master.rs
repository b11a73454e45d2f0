//! What the capture thread and the encoder threads share: the picture, and what each rendition has still to see of it.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::{PatchSink, Quality, Rendition, picture::Picture, still, tiles::TileMap};

/// Counters of the capture side since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureStats {
    /// Times that pixels were read.
    pub grabs: u64,
    /// Pixels read and converted.
    pub pixels: u64,
    /// 16×16 tiles that turned out to differ.
    pub changed_tiles: u64,
    /// Times that the X server had to be connected to anew.
    pub reconnects: u64,
    /// Times that the capture thread woke up for any reason.
    pub wakeups: u64,
}

/// All that is shared; one for each `Video`.
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// Wakes the capture thread out of `poll`.
    wake: OwnedFd,
    pub(crate) encode_serial: AtomicU64,
}

impl Shared {
    pub(crate) fn new(state: State) -> std::io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: Mutex::new(state), wake, encode_serial: AtomicU64::new(0) })
    }

    /// Makes the capture thread look at the state anew.
    pub(crate) fn wake_capture(&self) {
        // An eventfd that cannot take one more is readable already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    pub(crate) fn wake_fd(&self) -> &OwnedFd {
        &self.wake
    }

    pub(crate) fn next_serial(&self) -> u64 {
        self.encode_serial.fetch_add(1, Ordering::Relaxed)
    }
}

/// Under the one lock, which is held for copies and bookkeeping only, never while encoding or in a sink.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) stop: bool,
    /// The whole picture, once `valid`.
    pub(crate) picture: Picture,
    /// The picture shows the screen: false until the first full grab of its size.
    pub(crate) valid: bool,
    pub(crate) slots: HashMap<Rendition, Slot>,
    /// Those who want pictures as JPEG, while there are any.
    pub(crate) stills: Option<still::Slot>,
    /// Those who want patches, while there are any.
    pub(crate) patches: Option<PatchSlot>,
    pub(crate) capture: CaptureStats,
    /// A second handle of the X socket, to wake a capture thread that waits for a server which does not answer.
    pub(crate) socket: Option<OwnedFd>,
    /// When the picture last changed: event noticed, pixels read.
    pub(crate) damaged_at: Option<Instant>,
    pub(crate) captured_at: Option<Instant>,
}

impl State {
    /// Shortest frame period that any running rendition can keep up with; `None` when nobody watches.
    pub(crate) fn period(&self) -> Option<Duration> {
        let stills = self.stills.as_ref().map(|_| still::PERIOD);
        self.slots.values().map(|slot| slot.period).chain(stills).min()
    }

    /// Bit rate of the renditions that patches are sent along with; `None` when nobody watches one.
    pub(crate) fn sharpest_bit_rate(&self) -> Option<u32> {
        let high = self.slots.iter().filter(|(rendition, _)| rendition.quality == Quality::High);
        high.map(|(_, slot)| slot.bit_rate).min()
    }

    /// Whether all who watch the best quality take patches.
    pub(crate) fn all_take_patches(&self) -> bool {
        let high = self.slots.iter().filter(|(rendition, _)| rendition.quality == Quality::High);
        self.patches.as_ref().is_some_and(|patches| patches.holders >= high.map(|(_, slot)| slot.holders).sum())
    }

    /// Lets the frames of the best quality wait until then, for a patch shows the change before; `None`: no longer.
    pub(crate) fn hold(&mut self, until: Option<Instant>) {
        for (_, slot) in self.slots.iter_mut().filter(|(rendition, _)| rendition.quality == Quality::High) {
            if until.is_none() && slot.held_until.is_some() {
                slot.ready.notify_one();
            }
            slot.held_until = until;
        }
    }

    /// Tells all renditions about changed tiles.
    pub(crate) fn publish(&mut self, changed: &TileMap, damaged_at: Instant, captured_at: Instant) {
        self.damaged_at = Some(damaged_at);
        self.captured_at = Some(captured_at);
        for slot in self.slots.values_mut() {
            if !slot.pending.same_shape(changed) {
                slot.pending = changed.clone();
                slot.damaged_at = None;
            } else {
                slot.pending.union(changed);
            }
            slot.damaged_at.get_or_insert(damaged_at);
            slot.captured_at = Some(captured_at);
            slot.ready.notify_one();
        }
        if let Some(stills) = &mut self.stills {
            stills.changed();
        }
    }

    /// Starts over with a picture of another size that is not valid yet.
    pub(crate) fn resize(&mut self, width: usize, height: usize) {
        self.valid = false;
        self.picture = Picture::new(width, height);
        for slot in self.slots.values_mut() {
            slot.pending = TileMap::new(width, height);
            slot.damaged_at = None;
        }
    }
}

/// Who wants patches.
pub(crate) struct PatchSlot {
    pub(crate) holders: usize,
    pub(crate) sink: PatchSink,
}

/// One running rendition.
pub(crate) struct Slot {
    /// Tells this encoder's run from an earlier one of the same rendition.
    pub(crate) serial: u64,
    /// Whether it has its thread.
    pub(crate) started: bool,
    pub(crate) holders: usize,
    /// Tiles that changed since the encoder last copied.
    pub(crate) pending: TileMap,
    /// When the oldest of them was noticed.
    pub(crate) damaged_at: Option<Instant>,
    /// When the newest of them was read.
    pub(crate) captured_at: Option<Instant>,
    /// Changes wait until then, if at all.
    pub(crate) held_until: Option<Instant>,
    /// Somebody wants a key frame.
    pub(crate) key_wanted: bool,
    /// In bit/s.
    pub(crate) bit_rate: u32,
    /// Frame period that the encoder keeps up with.
    pub(crate) period: Duration,
    pub(crate) ready: Arc<Condvar>,
    pub(crate) counters: Counters,
}

/// What `RenditionStats` reports.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) frames: u64,
    pub(crate) key_frames: u64,
    pub(crate) refinements: u64,
    pub(crate) bytes: u64,
    pub(crate) encode_time: Duration,
}
