//! Video: capture on change, convert once, encode once per rendition.

use std::{
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

pub use crate::rendition::Inspector;
use crate::{
    Error,
    capture::{Capture, Target},
    master::{Counters, PatchSlot, Shared, Slot, State},
    patch::PatchSink,
    rendition::{Profile, Sink, Worker},
    screen::Screen,
    still::{self, StillSink, Stills},
    tiles::TileMap,
};
pub use crate::{master::CaptureStats, picture::Picture, pool::FrameData};

/// A video codec that this crate can encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// VP8 (RFC 6386).
    Vp8,
    /// VP9 profile 0 with screen tuning.
    Vp9,
    /// H.264 constrained baseline, Annex B byte stream.
    H264,
}

impl VideoCodec {
    /// Its name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H.264",
        }
    }
}

/// How good a rendition is; the frame size is the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// Saves data: low bit rate, low frame rate.
    Low,
    /// Keeps moving smoothly on an ordinary line.
    Medium,
    /// Full frame rate, refined to near-lossless when the picture holds still.
    High,
}

/// One encoded stream of the desktop, shared by all who watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rendition {
    /// The codec.
    pub codec: VideoCodec,
    /// The quality.
    pub quality: Quality,
}

/// One encoded frame.
#[derive(Debug)]
pub struct VideoFrame {
    /// The rendition that it belongs to.
    pub rendition: Rendition,
    /// Whether decoding can start here.
    pub key: bool,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// When the change on screen was noticed.
    pub damaged_at: Instant,
    /// When its pixels were copied; the RTP timestamp follows this one.
    pub captured_at: Instant,
    /// Time spent in the encoder.
    pub encode_time: Duration,
    /// The bitstream of one access unit. Returned to a pool when the frame is dropped.
    pub data: FrameData,
}

/// What to capture.
#[derive(Debug, Clone)]
pub struct VideoConfig {
    /// X display, such as `:3`.
    pub display: String,
    /// Cookie file of the display, if it has one.
    pub xauthority: Option<PathBuf>,
    /// Frames per second at most (1–120).
    pub max_fps: u32,
    /// Upper limit of the bit rate of a `High` rendition in bit/s.
    pub max_bit_rate: u32,
}

/// Counters of one rendition since its encoder started.
#[derive(Debug, Clone)]
pub struct RenditionStats {
    /// Which one.
    pub rendition: Rendition,
    /// How many hold it.
    pub holders: usize,
    /// Frames encoded.
    pub frames: u64,
    /// Key frames among them.
    pub key_frames: u64,
    /// Frames among them that only sharpened what held still.
    pub refinements: u64,
    /// Bytes encoded.
    pub bytes: u64,
    /// Total time spent in the encoder.
    pub encode_time: Duration,
    /// Bit rate that the encoder aims at now, in bit/s.
    pub target_bit_rate: u32,
}

/// The video of one display. Dropping it stops its threads.
pub struct Video {
    shared: Arc<Shared>,
    config: VideoConfig,
    sink: Sink,
    inspector: Option<Inspector>,
    capture: Option<JoinHandle<()>>,
    /// Encoder threads, among them some that are about to end.
    encoders: Mutex<Vec<JoinHandle<()>>>,
}

impl Video {
    /// Ends capture and encoders for good without waiting for their threads, as before the display is taken down.
    pub fn stop(&self) {
        {
            let mut state = self.shared.state.lock();
            state.stop = true;
            for (_, slot) in state.slots.drain() {
                slot.ready.notify_all();
            }
            if let Some(stills) = state.stills.take() {
                stills.end();
            }
            state.patches = None;
            if let Some(socket) = state.socket.take() {
                // A server that does not answer must not keep us.
                let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Both);
            }
        }
        self.shared.wake_capture();
    }

    /// Opens the display and starts capturing as soon as a rendition is acquired.
    ///
    /// `sink` is called on an encoder's thread with every finished frame and must not block. When the X server goes away
    /// later, capture reconnects by itself until the value is dropped.
    ///
    /// # Errors
    /// The display cannot be opened, or lacks DAMAGE, MIT-SHM or XFIXES.
    pub fn start(config: VideoConfig, sink: Arc<dyn Fn(Arc<VideoFrame>) + Send + Sync>) -> Result<Self, Error> {
        Self::start_inner(config, sink, None)
    }

    /// As [`Video::start`]; `inspector` sees every frame with the picture that it was made from, on the encoder's thread.
    /// For measuring quality.
    ///
    /// # Errors
    /// As [`Video::start`].
    pub fn start_inspected(
        config: VideoConfig,
        sink: Arc<dyn Fn(Arc<VideoFrame>) + Send + Sync>,
        inspector: Inspector,
    ) -> Result<Self, Error> {
        Self::start_inner(config, sink, Some(inspector))
    }

    fn start_inner(config: VideoConfig, sink: Sink, inspector: Option<Inspector>) -> Result<Self, Error> {
        let screen = Screen::open(&config.display, config.xauthority.as_deref())?;
        let shared = Arc::new(Shared::new(State::default())?);
        let target = Target { display: config.display.clone(), xauthority: config.xauthority.clone() };
        let capture = Capture::new(shared.clone(), target);
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || capture.run(screen))?;
        Ok(Self { shared, config, sink, inspector, capture: Some(thread), encoders: Mutex::default() })
    }

    /// Counts one more holder of a rendition, starts its encoder with the first, and asks for a key frame.
    /// Joins within a short window share one key frame.
    pub fn acquire(&self, rendition: Rendition) {
        let mut state = self.shared.state.lock();
        if let Some(slot) = state.slots.get_mut(&rendition) {
            slot.holders += 1;
            slot.key_wanted = true;
            slot.ready.notify_one();
            drop(state);
            self.start_encoder(rendition);
            return;
        }
        let profile = self.profile(rendition.quality);
        let slot = Slot {
            serial: self.shared.next_serial(),
            started: false,
            holders: 1,
            pending: TileMap::new(state.picture.width, state.picture.height),
            damaged_at: None,
            captured_at: None,
            held_until: None,
            key_wanted: true,
            bit_rate: profile.highest_bit_rate,
            period: profile.period(),
            ready: Arc::default(),
            counters: Counters::default(),
        };
        state.slots.insert(rendition, slot);
        drop(state);
        self.shared.wake_capture();
        self.start_encoder(rendition);
    }

    /// Gives a rendition its thread if it has none. A machine that is out of threads refuses one; every later
    /// holder, request for a key frame or change of the bit rate tries once more.
    fn start_encoder(&self, rendition: Rendition) {
        let serial = {
            let mut state = self.shared.state.lock();
            let Some(slot) = state.slots.get_mut(&rendition).filter(|slot| !slot.started) else { return };
            slot.started = true;
            slot.serial
        };
        let profile = self.profile(rendition.quality);
        let worker =
            Worker::new(self.shared.clone(), rendition, serial, profile, self.sink.clone(), self.inspector.clone());
        let name = format!("{:?} {:?}", rendition.codec, rendition.quality).to_lowercase();
        let mut encoders = self.encoders.lock();
        // Those that ended are joined by being dropped: their threads are gone.
        encoders.retain(|thread| !thread.is_finished());
        match std::thread::Builder::new().name(name).spawn(move || worker.run()) {
            Ok(thread) => encoders.push(thread),
            Err(error) => {
                tracing::error!(?rendition, %error, "no thread for an encoder; tried again with the next request");
                let mut state = self.shared.state.lock();
                if let Some(slot) = state.slots.get_mut(&rendition).filter(|slot| slot.serial == serial) {
                    slot.started = false;
                }
            }
        }
    }

    /// Counts one holder less; the encoder stops with the last.
    pub fn release(&self, rendition: Rendition) {
        let mut state = self.shared.state.lock();
        let Some(slot) = state.slots.get_mut(&rendition) else { return };
        slot.holders -= 1;
        if slot.holders > 0 {
            return;
        }
        slot.ready.notify_all();
        state.slots.remove(&rendition);
        if state.period().is_none() {
            // From here on changes go unseen; the next to come gets a fresh look.
            state.valid = false;
            drop(state);
            self.shared.wake_capture();
        }
    }

    /// Asks for a key frame (PLI, FIR); requests within a short window share one.
    pub fn request_key_frame(&self, rendition: Rendition) {
        if let Some(slot) = self.shared.state.lock().slots.get_mut(&rendition) {
            slot.key_wanted = true;
            slot.ready.notify_one();
        }
        self.start_encoder(rendition);
    }

    /// Sets the bit rate that the rendition aims at, in bit/s; clamped to the rendition's own range.
    pub fn set_bit_rate(&self, rendition: Rendition, bits_per_second: u32) {
        let profile = self.profile(rendition.quality);
        if let Some(slot) = self.shared.state.lock().slots.get_mut(&rendition) {
            slot.bit_rate = bits_per_second.clamp(profile.lowest_bit_rate, profile.highest_bit_rate);
        }
        self.start_encoder(rendition);
    }

    /// Hands the present picture of the screen to `sink`, and one after every change, at most five a second, as JPEG of the
    /// usual quality, until the value is dropped. However many want them, each is made once.
    ///
    /// `sink` is called on a thread of its own for all of them and must not block.
    pub fn stills(&self, sink: StillSink) -> Stills {
        let (stills, worker) = still::join(&self.shared, sink);
        if let Some(worker) = worker {
            let mut encoders = self.encoders.lock();
            encoders.retain(|thread| !thread.is_finished());
            match std::thread::Builder::new().name("jpeg".into()).spawn(move || worker.run()) {
                Ok(thread) => encoders.push(thread),
                Err(error) => {
                    tracing::error!(%error, "no thread for JPEG pictures; tried again with the next who wants them");
                    still::failed(&self.shared);
                }
            }
        }
        self.shared.wake_capture();
        stills
    }

    /// Counts one more who wants small changes as [`crate::Patch`]es, beside the frames of a rendition of high quality. All get them from
    /// the `sink` of the first.
    pub fn acquire_patches(&self, sink: PatchSink) {
        let mut state = self.shared.state.lock();
        state.patches.get_or_insert(PatchSlot { holders: 0, sink }).holders += 1;
    }

    /// Counts one less; no patches are made after the last.
    pub fn release_patches(&self) {
        let mut state = self.shared.state.lock();
        if let Some(slot) = &mut state.patches {
            slot.holders -= 1;
            if slot.holders == 0 {
                state.patches = None;
            }
        }
    }

    /// Counters of the running renditions.
    pub fn stats(&self) -> Vec<RenditionStats> {
        let state = self.shared.state.lock();
        let stats = state.slots.iter().map(|(&rendition, slot)| RenditionStats {
            rendition,
            holders: slot.holders,
            frames: slot.counters.frames,
            key_frames: slot.counters.key_frames,
            refinements: slot.counters.refinements,
            bytes: slot.counters.bytes,
            encode_time: slot.counters.encode_time,
            target_bit_rate: slot.bit_rate,
        });
        stats.collect()
    }

    /// Counters of the capture side.
    pub fn capture_stats(&self) -> CaptureStats {
        self.shared.state.lock().capture
    }

    fn profile(&self, quality: Quality) -> Profile {
        Profile::new(quality, self.config.max_fps, self.config.max_bit_rate)
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        self.stop();
        // Panics in a thread were printed by it.
        if let Some(thread) = self.capture.take() {
            let _ = thread.join();
        }
        for thread in self.encoders.get_mut().drain(..) {
            let _ = thread.join();
        }
    }
}
