//! Video: capture on change, convert once, encode once per rendition.

use std::{path::PathBuf, sync::Arc, time::{Duration, Instant}};

use crate::Error;

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

/// Bytes of a frame.
pub type FrameData = Vec<u8>;

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
    /// Bytes encoded.
    pub bytes: u64,
    /// Total time spent in the encoder.
    pub encode_time: Duration,
    /// Bit rate that the encoder aims at now, in bit/s.
    pub target_bit_rate: u32,
}

/// The video of one display. Dropping it stops its threads.
pub struct Video {}

impl Video {
    /// Opens the display and starts capturing as soon as a rendition is acquired.
    ///
    /// `sink` is called on an encoder's thread with every finished frame and must not block. When the X server goes away
    /// later, capture reconnects by itself until the value is dropped.
    ///
    /// # Errors
    /// The display cannot be opened, or lacks DAMAGE, MIT-SHM or XFIXES.
    pub fn start(_config: VideoConfig, _sink: Arc<dyn Fn(Arc<VideoFrame>) + Send + Sync>) -> Result<Self, Error> {
        unimplemented!()
    }

    /// Counts one more holder of a rendition, starts its encoder with the first, and asks for a key frame.
    /// Joins within a short window share one key frame.
    pub fn acquire(&self, _rendition: Rendition) {}

    /// Counts one holder less; the encoder stops with the last.
    pub fn release(&self, _rendition: Rendition) {}

    /// Asks for a key frame (PLI, FIR); requests within a short window share one.
    pub fn request_key_frame(&self, _rendition: Rendition) {}

    /// Sets the bit rate that the rendition aims at, in bit/s; clamped to the rendition's own range.
    pub fn set_bit_rate(&self, _rendition: Rendition, _bits_per_second: u32) {}

    /// Counters of the running renditions.
    pub fn stats(&self) -> Vec<RenditionStats> {
        Vec::new()
    }
}
