//! The thread of one running rendition: its own copy of the picture, its encoder, its pace.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::MutexGuard;

use crate::{
    Quality, Rendition, VideoCodec, VideoFrame,
    codec::{self, Encoded, Encoder, Order, Settings},
    content::{Content, ContentWatch},
    master::{Shared, State},
    pace::Pace,
    picture::Picture,
    pool::Pool,
    refine::{Plan, Refiner},
    tiles::TileMap,
};

/// Key frames are at least this far apart: a key frame costs up to a quarter of a second of the bit rate, and a viewer
/// who asks again within a round trip is answered by the one under way.
const KEY_WINDOW: Duration = Duration::from_millis(300);
/// Share of the time that an encoder may be busy; a slower frame period is chosen beyond it.
const BUSIEST: f64 = 0.85;
/// An encoder that refuses a frame this often gets the next state instead.
const ATTEMPTS: usize = 3;

/// Limits of a rendition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    pub(crate) fps: u32,
    pub(crate) lowest_bit_rate: u32,
    pub(crate) highest_bit_rate: u32,
    quality: Quality,
}

impl Profile {
    pub(crate) fn new(quality: Quality, max_fps: u32, max_bit_rate: u32) -> Self {
        let (fps, lowest, highest) = match quality {
            Quality::High => (120, 250_000, u32::MAX),
            Quality::Medium => (30, 150_000, 2_500_000),
            Quality::Low => (10, 80_000, 600_000),
        };
        let highest_bit_rate = highest.min(max_bit_rate).max(lowest);
        Self { fps: fps.min(max_fps).max(1), lowest_bit_rate: lowest, highest_bit_rate, quality }
    }

    /// Quantizer that still pictures are refined to.
    fn refine_to(&self, codec: VideoCodec) -> u8 {
        match (self.quality, codec) {
            // A fifth more bytes than with 4 for 3 dB more.
            (Quality::High, VideoCodec::Vp8) => 0,
            // 0 is lossless in VP9 and not needed in either.
            (Quality::High, VideoCodec::Vp9) => 3,
            (Quality::High, VideoCodec::H264) => 4,
            (Quality::Medium, _) => 8,
            (Quality::Low, _) => 16,
        }
    }

    pub(crate) fn period(&self) -> Duration {
        Duration::from_secs(1) / self.fps
    }
}

/// Receives finished frames.
pub(crate) type Sink = Arc<dyn Fn(Arc<VideoFrame>) + Send + Sync>;
/// Sees every frame with the picture that it was made from.
pub type Inspector = Arc<dyn Fn(&VideoFrame, &Picture) + Send + Sync>;

pub(crate) struct Worker {
    shared: Arc<Shared>,
    rendition: Rendition,
    serial: u64,
    profile: Profile,
    sink: Sink,
    inspector: Option<Inspector>,
    pool: Arc<Pool>,
    encoder: Option<Box<dyn Encoder>>,
    /// A size that the encoder refused; nothing is tried again until it changes.
    refused: Option<(usize, usize)>,
    picture: Picture,
    /// Tiles of the frame under way.
    active: TileMap,
    refiner: Refiner,
    content: ContentWatch,
    bit_rate: u32,
    last_key: Option<Instant>,
    last_frame: Option<Instant>,
    pace: Pace,
    /// Running mean of the time in the encoder, in seconds.
    busy: f64,
}

/// A frame to be made.
#[derive(Debug, Clone, Copy)]
struct Job {
    key: bool,
    /// It only sharpens what is known already.
    refinement: bool,
    quantizer: Option<u8>,
    damaged_at: Instant,
    captured_at: Instant,
}

enum Step {
    Stop,
    Wait(Option<Instant>),
    Encode(Job),
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        rendition: Rendition,
        serial: u64,
        profile: Profile,
        sink: Sink,
        inspector: Option<Inspector>,
    ) -> Self {
        let now = Instant::now();
        Self {
            shared,
            rendition,
            serial,
            profile,
            sink,
            inspector,
            pool: Arc::default(),
            encoder: None,
            refused: None,
            picture: Picture::default(),
            active: TileMap::default(),
            refiner: Refiner::new(0, profile.refine_to(rendition.codec), now),
            content: ContentWatch::default(),
            bit_rate: 0,
            last_key: None,
            last_frame: None,
            pace: Pace::new(now),
            busy: 0.0,
        }
    }

    /// Runs until its slot is gone.
    pub(crate) fn run(mut self) {
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        loop {
            match self.step(&mut state) {
                Step::Stop => return,
                Step::Wait(until) => {
                    let Some(slot) = state.slots.get(&self.rendition) else { return };
                    let ready = slot.ready.clone();
                    match until {
                        Some(until) => {
                            ready.wait_until(&mut state, until);
                        }
                        None => ready.wait(&mut state),
                    }
                }
                Step::Encode(job) => MutexGuard::unlocked(&mut state, || self.encode(job)),
            }
        }
    }

    /// Decides what is next, and takes over what has changed if that is to encode.
    fn step(&mut self, state: &mut State) -> Step {
        let now = Instant::now();
        let fastest = state.period();
        let State { slots, picture, valid, .. } = state;
        let Some(slot) = slots.get_mut(&self.rendition).filter(|slot| slot.serial == self.serial) else {
            return Step::Stop;
        };
        let size = (picture.width, picture.height);
        if !*valid || self.refused == Some(size) {
            return Step::Wait(None);
        }
        self.bit_rate = slot.bit_rate;
        let resized = self.encoder.is_none() || (self.picture.width, self.picture.height) != size;
        let key_at = self.last_key.map_or(now, |last| last + KEY_WINDOW);
        let next = slot.held_until.map_or(self.pace.next(), |held| held.max(self.pace.next()));
        let key = resized || (slot.key_wanted && key_at <= now);
        if key || (slot.damaged_at.is_some() && next <= now) {
            let mut quantizer = None;
            if resized {
                self.picture = picture.clone();
                self.active = TileMap::new(size.0, size.1);
                self.active.fill();
                self.encoder = None;
                self.refiner = Refiner::new(self.active.len(), self.profile.refine_to(self.rendition.codec), now);
            } else {
                std::mem::swap(&mut self.active, &mut slot.pending);
                self.picture.copy_tiles(picture, &self.active);
                if !key && !self.is_whole() {
                    quantizer = self.refiner.sharp_at_once(self.active.count(), self.bit_rate, now);
                }
                self.refiner.changed(&self.active, now);
            }
            slot.pending.clear();
            if !slot.pending.same_shape(&self.active) {
                slot.pending = TileMap::new(size.0, size.1);
            }
            slot.key_wanted &= !key;
            slot.held_until = None;
            let damaged_at = slot.damaged_at.take();
            let captured_at = damaged_at.and(slot.captured_at).unwrap_or(now);
            let damaged_at = damaged_at.unwrap_or(now);
            // Capture keeps the pace of the fastest: two paces in a row would wait for each other.
            let period = if fastest == Some(slot.period) { slot.period / 2 } else { slot.period };
            self.pace.take(period, now);
            return Step::Encode(Job { key, refinement: false, quantizer, damaged_at, captured_at });
        }
        let mut until = slot.key_wanted.then_some(key_at);
        if slot.damaged_at.is_some() {
            until = Some(until.map_or(next, |at| at.min(next)));
        } else {
            match self.refiner.plan(self.is_whole(), self.bit_rate, now, &mut self.active) {
                Plan::Nothing => {}
                Plan::Wait(at) => until = Some(until.map_or(at, |earlier| earlier.min(at))),
                Plan::Refine(_) if next > now => {
                    until = Some(until.map_or(next, |at| at.min(next)));
                }
                Plan::Refine(quantizer) => {
                    self.pace.take(slot.period, now);
                    return Step::Encode(Job {
                        key: false,
                        refinement: true,
                        quantizer: Some(quantizer),
                        damaged_at: now,
                        captured_at: now,
                    });
                }
            }
        }
        Step::Wait(until)
    }

    /// Whether the encoder cannot leave tiles out.
    fn is_whole(&self) -> bool {
        self.rendition.codec == VideoCodec::H264
    }

    /// What the frame under way shows; only VP8 wants to know.
    fn look(&mut self, job: &Job) -> Content {
        if job.refinement || self.rendition.codec != VideoCodec::Vp8 {
            return Content::Shifted;
        }
        let elapsed = self.last_frame.map_or(Duration::MAX, |last| last.elapsed());
        self.content.look(&self.picture, &self.active, elapsed)
    }

    fn encode(&mut self, job: Job) {
        let mut bytes = self.pool.take();
        let started = Instant::now();
        let encoded = match self.encode_into(&job, &mut bytes) {
            Ok(encoded) => encoded,
            Err(error) => {
                tracing::error!(rendition = ?self.rendition, %error, "this rendition stands still until the size changes");
                self.refused = Some((self.picture.width, self.picture.height));
                self.encoder = None;
                return;
            }
        };
        let encode_time = started.elapsed();
        let now = Instant::now();
        self.last_frame = Some(started);
        self.busy += (encode_time.as_secs_f64() - self.busy) * 0.2;
        let Some(encoded) = encoded else {
            // What was refused is coarse as ever and comes with the next frame or with refinement.
            self.refiner.encoded(Some(&self.active), codec::COARSEST, 0.0, self.bit_rate, now);
            return;
        };
        let bits = bytes.len() as f64 * 8.0;
        let whole = encoded.key || self.is_whole();
        let tiles = (!whole).then_some(&self.active);
        self.refiner.encoded(tiles, encoded.quantizer, bits, self.bit_rate, now);
        if job.quantizer.is_some() {
            self.refiner.learn(self.active.count(), bits);
        }
        if encoded.key {
            self.last_key = Some(now);
        }
        let even = usize::from(self.rendition.codec == VideoCodec::H264);
        let frame = VideoFrame {
            rendition: self.rendition,
            key: encoded.key,
            width: (self.picture.width + (self.picture.width & even)) as u16,
            height: (self.picture.height + (self.picture.height & even)) as u16,
            damaged_at: job.damaged_at,
            captured_at: job.captured_at,
            encode_time,
            data: self.pool.wrap(bytes),
        };
        self.count(&frame, job.refinement);
        if let Some(inspector) = &self.inspector {
            inspector(&frame, &self.picture);
        }
        (self.sink)(Arc::new(frame));
    }

    fn encode_into(&mut self, job: &Job, bytes: &mut Vec<u8>) -> Result<Option<Encoded>, crate::Error> {
        let settings = Settings {
            width: self.picture.width,
            height: self.picture.height,
            fps: self.profile.fps,
            bit_rate: self.bit_rate,
        };
        let content = self.look(job);
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(codec::encoder(self.rendition.codec, settings)?),
        };
        encoder.set_bit_rate(self.bit_rate);
        let period = self.profile.period();
        for _ in 0..ATTEMPTS {
            let elapsed = self.last_frame.map_or(period, |last| last.elapsed());
            let Job { key, refinement, quantizer, .. } = *job;
            let order = Order { key, active: &self.active, content, quantizer, refinement, elapsed };
            if let Some(encoded) = encoder.encode(&self.picture, &order, bytes)? {
                return Ok(Some(encoded));
            }
        }
        Ok(None)
    }

    fn count(&self, frame: &VideoFrame, refinement: bool) {
        let mut state = self.shared.state.lock();
        let Some(slot) = state.slots.get_mut(&self.rendition).filter(|slot| slot.serial == self.serial) else { return };
        slot.counters.frames += 1;
        slot.counters.key_frames += u64::from(frame.key);
        slot.counters.refinements += u64::from(refinement);
        slot.counters.bytes += frame.data.len() as u64;
        slot.counters.encode_time += frame.encode_time;
        slot.period = self.profile.period().max(Duration::from_secs_f64(self.busy / BUSIEST));
    }
}
