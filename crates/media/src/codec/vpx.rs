//! VP8 and VP9 by libvpx.

use std::{ffi::CStr, os::raw::c_int, ptr, time::Duration};

use vpx_sys as sys;
use vpx_sys::vp8e_enc_control_id::{self as ctl};

use super::{COARSEST, Encoded, Encoder, Order, Settings};
use crate::{Error, VideoCodec, content::Content, picture::Picture, tiles::TileMap};

/// Finest quantizer of moving pictures: finer is not seen in motion; what holds still is refined afterwards.
const FINEST_MOVING: u32 = 8;
/// Finest quantizer of a video or a game: three fifths of the bytes of 8 and nine tenths of the time, at 48 dB.
const FINEST_MOTION: u32 = 24;
/// Coarsest quantizer: text stays readable at it.
const COARSEST_MOVING: u32 = 56;
/// Longest pause whose bits rate control may spend on one frame; more would make a huge, late frame after a pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// A key frame may be as large as this much time of the bit rate: a joining viewer must not stall the others.
const KEY_FRAME_BUDGET_MS: u32 = 250;
/// Speed of VP8 ("cpu-used") where motion has to be found. From −5 on its search misses scrolling text: 32 dB at twice the
/// bytes of −4 and its 46 dB. The price: −4 also tries out its loop filter on the whole picture, again and again.
const VP8_SEARCHING_SPEED: c_int = -4;
/// Speed of VP8 for everything else. On a moving canvas −4 is 1 to 2 dB better for one and a half times the time; a letter
/// takes half the time, and is as sharp.
const VP8_SPEED: c_int = -6;
/// Speed of VP8 for a sudden change of much of the screen, such as a new page or another window: there is no motion to search
/// for, it is on its way sooner, and what it leaves coarse is refined.
const VP8_SUDDEN_SPEED: c_int = -10;
/// A change is sudden when nothing but refinement was encoded for this long before it.
const SUDDEN_PAUSE: Duration = Duration::from_millis(120);
/// Speed of VP9: as good on scrolling text as 8 for five sixths of the time.
const VP9_SPEED: c_int = 9;
/// Version of the VP8 bitstream (RFC 6386 §9.1): with the simple loop filter and bilinear prediction. Every decoder has it. On
/// scrolling text, where the encoder tries its filter again and again, it takes four fifths of the instructions of version 0 for
/// 0.3 dB more; on a moving canvas nine tenths for the same.
const VP8_VERSION: u32 = 1;
/// `VP9E_CONTENT_SCREEN`.
const VP9_CONTENT_SCREEN: c_int = 1;
/// Above this many pixels one thread no longer reaches full frame rate.
const PIXELS_PER_THREAD: usize = 1_600_000;

/// An encoder of libvpx.
pub(super) struct Vpx {
    codec: VideoCodec,
    context: Box<sys::vpx_codec_ctx_t>,
    config: sys::vpx_codec_enc_cfg_t,
    /// Time stamp of the next frame in µs: counts encoded time, not the clock.
    time: i64,
    speed: c_int,
    /// How long only refinement has been encoded.
    refining: Duration,
}

// SAFETY: a libvpx context may be used from any thread, by one at a time, which `&mut self` ensures.
unsafe impl Send for Vpx {}

impl Vpx {
    pub(super) fn new(codec: VideoCodec, settings: Settings) -> Result<Self, Error> {
        let Settings { width, height, fps, bit_rate } = settings;
        let interface = match codec {
            // SAFETY: returns a pointer to static data.
            VideoCodec::Vp9 => unsafe { sys::vpx_codec_vp9_cx() },
            // SAFETY: as above.
            _ => unsafe { sys::vpx_codec_vp8_cx() },
        };
        let mut config = std::mem::MaybeUninit::<sys::vpx_codec_enc_cfg_t>::zeroed();
        // SAFETY: `interface` is valid and `config` is writable.
        check(codec, "defaults", unsafe { sys::vpx_codec_enc_config_default(interface, config.as_mut_ptr(), 0) })?;
        // SAFETY: filled in by the call above, which succeeded.
        let mut config = unsafe { config.assume_init() };
        // SAFETY: a plain C structure for which all bits zero is valid.
        let mut context: Box<sys::vpx_codec_ctx_t> = Box::new(unsafe { std::mem::zeroed() });
        if codec == VideoCodec::Vp8 {
            config.g_profile = VP8_VERSION;
        }
        config.g_w = width as u32;
        config.g_h = height as u32;
        config.g_threads = threads(width * height);
        config.g_timebase = sys::vpx_rational { num: 1, den: 1_000_000 };
        config.g_lag_in_frames = 0;
        // Losses are answered by retransmission; resilience would cost bits in every frame.
        config.g_error_resilient = 0;
        config.g_pass = sys::vpx_enc_pass::VPX_RC_ONE_PASS;
        config.rc_end_usage = sys::vpx_rc_mode::VPX_CBR;
        config.rc_dropframe_thresh = 0;
        config.rc_resize_allowed = 0;
        config.rc_target_bitrate = (bit_rate / 1000).max(1);
        config.rc_min_quantizer = FINEST_MOVING;
        config.rc_max_quantizer = COARSEST_MOVING;
        config.rc_undershoot_pct = 100;
        config.rc_overshoot_pct = 15;
        config.rc_buf_sz = 600;
        config.rc_buf_initial_sz = 400;
        config.rc_buf_optimal_sz = 400;
        config.kf_mode = sys::vpx_kf_mode::VPX_KF_DISABLED;
        // SAFETY: the context is boxed, so that it does not move; `config` lives through the call.
        check(codec, "start", unsafe {
            sys::vpx_codec_enc_init_ver(
                &raw mut *context,
                interface,
                &raw const config,
                0,
                sys::VPX_ENCODER_ABI_VERSION as c_int,
            )
        })?;
        let speed = if codec == VideoCodec::Vp9 { VP9_SPEED } else { VP8_SEARCHING_SPEED };
        let mut this = Self { codec, context, config, time: 0, speed, refining: Duration::ZERO };
        this.control(ctl::VP8E_SET_CPUUSED, speed)?;
        let key_limit = (KEY_FRAME_BUDGET_MS * fps / 10).max(100) as c_int;
        this.control(ctl::VP8E_SET_MAX_INTRA_BITRATE_PCT, key_limit)?;
        this.control(ctl::VP8E_SET_ENABLEAUTOALTREF, 0)?;
        this.control(ctl::VP8E_SET_STATIC_THRESHOLD, 1)?;
        if codec == VideoCodec::Vp9 {
            this.control(ctl::VP9E_SET_TUNE_CONTENT, VP9_CONTENT_SCREEN)?;
            this.control(ctl::VP9E_SET_AQ_MODE, 3)?;
            this.control(ctl::VP9E_SET_ROW_MT, 1)?;
            this.control(ctl::VP9E_SET_FRAME_PERIODIC_BOOST, 0)?;
            this.control(ctl::VP9E_SET_TILE_COLUMNS, c_int::from(this.config.g_threads > 1))?;
            this.control(ctl::VP9E_SET_COLOR_SPACE, sys::vpx_color_space::VPX_CS_BT_601 as c_int)?;
        } else {
            this.control(ctl::VP8E_SET_NOISE_SENSITIVITY, 0)?;
            // 2 also re-encodes a frame that overshoots: a new page must not become one huge frame.
            this.control(ctl::VP8E_SET_SCREEN_CONTENT_MODE, 2)?;
            this.control(ctl::VP8E_SET_TOKEN_PARTITIONS, 0)?;
        }
        Ok(this)
    }

    fn control(&mut self, id: ctl, value: c_int) -> Result<(), Error> {
        // SAFETY: the context is initialised, and all controls used here take one int by value.
        let result = unsafe { sys::vpx_codec_control_(&raw mut *self.context, id as c_int, value) };
        check(self.codec, "setting", result)
    }

    fn set_speed(&mut self, speed: c_int) -> Result<(), Error> {
        if speed != self.speed {
            self.control(ctl::VP8E_SET_CPUUSED, speed)?;
            self.speed = speed;
        }
        Ok(())
    }

    fn last_quantizer(&mut self) -> u8 {
        let mut quantizer: c_int = 0;
        let id = ctl::VP8E_GET_LAST_QUANTIZER_64 as c_int;
        // SAFETY: this control takes a pointer to an int that it writes before it returns.
        unsafe { sys::vpx_codec_control_(&raw mut *self.context, id, &raw mut quantizer) };
        quantizer.clamp(0, c_int::from(COARSEST)) as u8
    }

    fn set_active(&mut self, active: &TileMap) -> Result<(), Error> {
        let mut map = sys::vpx_active_map_t {
            // libvpx copies the map and does not write to it.
            active_map: active.as_bytes().as_ptr().cast_mut(),
            rows: active.rows() as u32,
            cols: active.cols() as u32,
        };
        let id = ctl::VP8E_SET_ACTIVEMAP as c_int;
        // SAFETY: this control takes a pointer to a map of rows × cols bytes, which it reads before it returns.
        let result = unsafe { sys::vpx_codec_control_(&raw mut *self.context, id, &raw mut map) };
        check(self.codec, "active map", result)
    }

    fn set_quantizers(&mut self, finest: u32, coarsest: u32) -> Result<(), Error> {
        if (self.config.rc_min_quantizer, self.config.rc_max_quantizer) == (finest, coarsest) {
            return Ok(());
        }
        self.config.rc_min_quantizer = finest;
        self.config.rc_max_quantizer = coarsest;
        self.apply_config()
    }

    fn apply_config(&mut self) -> Result<(), Error> {
        // SAFETY: the context is initialised and the configuration is a changed copy of the one that it started with.
        check(self.codec, "setting", unsafe {
            sys::vpx_codec_enc_config_set(&raw mut *self.context, &raw const self.config)
        })
    }

    fn image(picture: &Picture) -> sys::vpx_image_t {
        // SAFETY: a plain C structure for which all bits zero is valid.
        let mut image: sys::vpx_image_t = unsafe { std::mem::zeroed() };
        // SAFETY: only fills in `image`; the pointer given is replaced below and never followed.
        unsafe {
            sys::vpx_img_wrap(
                &raw mut image,
                sys::vpx_img_fmt::VPX_IMG_FMT_I420,
                picture.width as u32,
                picture.height as u32,
                1,
                picture.planes[0].as_ptr().cast_mut(),
            )
        };
        for plane in 0..3 {
            image.planes[plane] = picture.planes[plane].as_ptr().cast_mut();
            image.stride[plane] = picture.stride_of(plane) as c_int;
        }
        image.cs = sys::vpx_color_space::VPX_CS_BT_601;
        image.range = sys::vpx_color_range::VPX_CR_STUDIO_RANGE;
        image
    }
}

impl Encoder for Vpx {
    fn encode(&mut self, picture: &Picture, order: &Order<'_>, out: &mut Vec<u8>) -> Result<Option<Encoded>, Error> {
        match (order.quantizer, order.content) {
            (Some(q), _) => self.set_quantizers(u32::from(q), u32::from(q))?,
            (None, Content::Motion) => self.set_quantizers(FINEST_MOTION, COARSEST_MOVING)?,
            (None, _) => self.set_quantizers(FINEST_MOVING, COARSEST_MOVING)?,
        }
        let pause = self.refining + order.elapsed;
        self.refining = if order.refinement { pause } else { Duration::ZERO };
        if self.codec == VideoCodec::Vp8 {
            self.set_speed(vp8_speed(order, pause))?;
        }
        self.set_active(order.active)?;
        let step = order.elapsed.clamp(Duration::from_millis(5), LONGEST_PAUSE).as_micros() as i64;
        self.time += step;
        let flags = if order.key { i64::from(sys::VPX_EFLAG_FORCE_KF) } else { 0 };
        let image = Self::image(picture);
        // SAFETY: the context is initialised; libvpx reads the image, whose planes are as large as its sizes say
        // (`Picture` pads them to whole tiles), and keeps no pointer to it.
        check(self.codec, "frame", unsafe {
            sys::vpx_codec_encode(
                &raw mut *self.context,
                &raw const image,
                self.time,
                step as std::os::raw::c_ulong,
                flags,
                std::os::raw::c_ulong::from(sys::VPX_DL_REALTIME),
            )
        })?;
        let mut iterator: sys::vpx_codec_iter_t = ptr::null();
        let mut encoded = None;
        loop {
            // SAFETY: the context is initialised and the iterator starts as null, as the interface wants.
            let packet = unsafe { sys::vpx_codec_get_cx_data(&raw mut *self.context, &raw mut iterator) };
            // SAFETY: a packet that is not null is valid until the next call of the encoder.
            let Some(packet) = (unsafe { packet.as_ref() }) else { break };
            if packet.kind != sys::vpx_codec_cx_pkt_kind::VPX_CODEC_CX_FRAME_PKT {
                continue;
            }
            // SAFETY: `kind` says which member of the union is filled in.
            let frame = unsafe { packet.data.frame };
            // SAFETY: the encoder's buffer is `sz` bytes long and valid until the next call.
            out.extend_from_slice(unsafe { std::slice::from_raw_parts(frame.buf.cast::<u8>(), frame.sz) });
            encoded = Some(frame.flags & sys::VPX_FRAME_IS_KEY != 0);
        }
        Ok(encoded.map(|key| Encoded { key, quantizer: self.last_quantizer() }))
    }

    fn set_bit_rate(&mut self, bit_rate: u32) {
        self.config.rc_target_bitrate = (bit_rate / 1000).max(1);
        if let Err(error) = self.apply_config() {
            tracing::warn!(%error, bit_rate, "the bit rate could not be changed");
        }
    }
}

impl Drop for Vpx {
    fn drop(&mut self) {
        // SAFETY: the context was initialised by `new` and is not used afterwards.
        unsafe { sys::vpx_codec_destroy(&raw mut *self.context) };
    }
}

/// The speed for a frame after this long without anything but refinement.
fn vp8_speed(order: &Order<'_>, pause: Duration) -> c_int {
    let sudden = pause >= SUDDEN_PAUSE && order.active.count() * 3 >= order.active.len();
    match order.content {
        _ if order.key => VP8_SEARCHING_SPEED,
        // The faster speeds choose the loop filter by the middle of the picture alone, and may leave it as strong as the coarse
        // frames before needed it.
        _ if order.refinement => VP8_SEARCHING_SPEED,
        _ if sudden => VP8_SUDDEN_SPEED,
        Content::Shifted => VP8_SEARCHING_SPEED,
        // Without the bits to make it sharp at once it may be a small list that scrolls.
        Content::Small if order.quantizer.is_none() => VP8_SEARCHING_SPEED,
        Content::Small | Content::Motion => VP8_SPEED,
    }
}

fn threads(pixels: usize) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    pixels.div_ceil(PIXELS_PER_THREAD).min(cores).clamp(1, 4) as u32
}

fn check(codec: VideoCodec, what: &str, result: sys::vpx_codec_err_t) -> Result<(), Error> {
    if result == sys::vpx_codec_err_t::VPX_CODEC_OK {
        return Ok(());
    }
    // SAFETY: returns a static string for every value.
    let text = unsafe { CStr::from_ptr(sys::vpx_codec_err_to_string(result)) }.to_string_lossy();
    Err(Error::Encoder { codec: codec.name(), reason: format!("{what}: {text}") })
}
