//! Sound: raw PCM from the session's PulseAudio FIFO to Opus packets.

use std::{path::PathBuf, sync::Arc, time::{Duration, Instant}};

use crate::Error;

/// Where the sound comes from: 48 kHz, two channels, signed 16 bit little endian, as `module-pipe-sink` writes it.
#[derive(Debug, Clone)]
pub struct AudioConfig {
    /// The FIFO.
    pub fifo: PathBuf,
    /// Bit rate in bit/s (6,000–510,000).
    pub bit_rate: u32,
    /// Length of a packet: 10 or 20 ms.
    pub frame: Duration,
}

/// One Opus packet.
#[derive(Debug)]
pub struct AudioPacket {
    /// When its first sample was read, the same clock as `VideoFrame::captured_at`.
    pub captured_at: Instant,
    /// First packet after silence (RTP marker bit).
    pub talk_spurt_start: bool,
    /// Opus data.
    pub data: Vec<u8>,
}

/// The sound of one session. Dropping it stops its thread.
pub struct Audio {}

impl Audio {
    /// Opens the FIFO, encodes while somebody listens, and calls `sink` with every packet; nothing is sent in silence.
    /// A FIFO that appears later or whose writer restarts is picked up by itself.
    ///
    /// # Errors
    /// The encoder refuses its settings.
    pub fn start(_config: AudioConfig, _sink: Arc<dyn Fn(Arc<AudioPacket>) + Send + Sync>) -> Result<Self, Error> {
        unimplemented!()
    }

    /// Counts one more listener.
    pub fn acquire(&self) {}

    /// Counts one listener less.
    pub fn release(&self) {}
}
