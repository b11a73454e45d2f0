//! The encoders behind one interface.

mod h264;
mod vpx;

use std::time::Duration;

use crate::{Error, VideoCodec, content::Content, picture::Picture, tiles::TileMap};

/// Coarsest value of the quantizer scale used here, that of libvpx's `rc_max_quantizer`.
pub(crate) const COARSEST: u8 = 63;

/// What the encoder is to do with the next frame.
pub(crate) struct Order<'a> {
    /// Make it a key frame.
    pub(crate) key: bool,
    /// Tiles that may differ from the frame before; all others are to be repeated. Ignored by a key frame.
    pub(crate) active: &'a TileMap,
    /// What the active tiles show.
    pub(crate) content: Content,
    /// Use exactly this quantizer (0 finest – 63) instead of what rate control says.
    pub(crate) quantizer: Option<u8>,
    /// This only sharpens what is known already.
    pub(crate) refinement: bool,
    /// Time since the previous frame, which the rate control may spend the bits of.
    pub(crate) elapsed: Duration,
}

/// What came out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoded {
    pub(crate) key: bool,
    /// Quantizer used, 0 finest – 63.
    pub(crate) quantizer: u8,
}

/// What an encoder is made for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Settings {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Frames per second at most.
    pub(crate) fps: u32,
    /// In bit/s.
    pub(crate) bit_rate: u32,
}

/// A video encoder.
pub(crate) trait Encoder: Send {
    /// Appends the bitstream of one frame to `out`. `None`: rate control refused the frame; give it again.
    fn encode(&mut self, picture: &Picture, order: &Order<'_>, out: &mut Vec<u8>) -> Result<Option<Encoded>, Error>;

    /// Aims at another bit rate, in bit/s, from the next frame on.
    fn set_bit_rate(&mut self, bit_rate: u32);
}

/// Makes an encoder.
///
/// # Errors
/// The library refuses the settings, such as a size beyond what the codec can do.
pub(crate) fn encoder(codec: VideoCodec, settings: Settings) -> Result<Box<dyn Encoder>, Error> {
    Ok(match codec {
        VideoCodec::Vp8 | VideoCodec::Vp9 => Box::new(vpx::Vpx::new(codec, settings)?),
        VideoCodec::H264 => Box::new(h264::H264::new(settings)?),
    })
}
