//! H.264 constrained baseline by openh264.
//!
//! openh264's own rate control knows neither an exact quantizer (which refinement needs) nor pauses, so it is switched
//! off and a small one of ours sets the quantizer of every frame.

use std::{os::raw::c_int, ptr};

use openh264_sys2 as sys;
use sys::{API, ISVCEncoder, ISVCEncoderVtbl, SEncParamExt, SFrameBSInfo, SSourcePicture};

use super::{COARSEST, Encoded, Encoder, Order, Settings};
use crate::{Error, picture::Picture};

/// H.264 quantizers that the scale of 0–63 is spread over.
const FINEST_QP: f64 = 12.0;
const COARSEST_QP: f64 = 46.0;
/// Finest quantizer of moving pictures; what holds still is refined afterwards.
const FINEST_MOVING_QP: f64 = 16.0;
/// Key frames are no finer than this: a joining viewer must not stall the others.
const FINEST_KEY_QP: f64 = 28.0;
/// Longest pause whose bits one frame may spend.
const LONGEST_PAUSE: f64 = 0.1;

/// An encoder of openh264.
pub(super) struct H264 {
    encoder: *mut ISVCEncoder,
    parameters: SEncParamExt,
    info: Box<SFrameBSInfo>,
    bit_rate: u32,
    /// Quantizer for the next frame of moving pictures.
    qp: f64,
    /// Bits by which we are ahead of the bit rate.
    debt: f64,
    time: i64,
}

// SAFETY: an openh264 encoder may be used from any thread, by one at a time, which `&mut self` ensures.
unsafe impl Send for H264 {}

impl H264 {
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        let api = sys::source::APILoader::new();
        let mut encoder: *mut ISVCEncoder = ptr::null_mut();
        // SAFETY: writes the new encoder's address to `encoder`.
        let created = unsafe { api.WelsCreateSVCEncoder(&raw mut encoder) };
        if created != 0 || encoder.is_null() {
            return Err(fail("start", created));
        }
        let info = Box::new(SFrameBSInfo::default());
        let parameters = SEncParamExt::default();
        let qp = 30.0;
        let mut this = Self { encoder, parameters, info, bit_rate: settings.bit_rate, qp, debt: 0.0, time: 0 };
        this.initialise(settings)?;
        Ok(this)
    }

    fn table(&self) -> &ISVCEncoderVtbl {
        // SAFETY: an encoder made by WelsCreateSVCEncoder starts with a pointer to its table, valid until destroyed.
        unsafe { &**self.encoder }
    }

    fn initialise(&mut self, settings: Settings) -> Result<(), Error> {
        let (width, height) = even(settings.width, settings.height);
        let missing = || fail("start", -1);
        let defaults = self.table().GetDefaultParams.ok_or_else(missing)?;
        let initialise = self.table().InitializeExt.ok_or_else(missing)?;
        let mut quiet: c_int = sys::WELS_LOG_QUIET;
        self.set_option(sys::ENCODER_OPTION_TRACE_LEVEL, (&raw mut quiet).cast())?;
        // SAFETY: the encoder is valid and the parameters are writable.
        check("defaults", unsafe { defaults(self.encoder, &raw mut self.parameters) })?;
        let p = &mut self.parameters;
        p.iUsageType = sys::SCREEN_CONTENT_REAL_TIME;
        p.iPicWidth = width;
        p.iPicHeight = height;
        p.iRCMode = sys::RC_OFF_MODE;
        p.iTargetBitrate = settings.bit_rate as c_int;
        p.fMaxFrameRate = settings.fps as f32;
        p.iMultipleThreadIdc = 1;
        p.iComplexityMode = sys::LOW_COMPLEXITY;
        p.uiIntraPeriod = 0;
        p.bEnableFrameSkip = false;
        // Screen content insists on it: a picture that is new all over may become a key frame unasked; it is reported as one.
        p.bEnableSceneChangeDetect = true;
        p.bEnableAdaptiveQuant = false;
        p.bEnableBackgroundDetection = false;
        p.bEnableDenoise = false;
        p.bEnableLongTermReference = false;
        p.iSpatialLayerNum = 1;
        p.iTemporalLayerNum = 1;
        p.iMinQp = 0;
        p.iMaxQp = 51;
        let layer = &mut p.sSpatialLayers[0];
        layer.iVideoWidth = width;
        layer.iVideoHeight = height;
        layer.fFrameRate = settings.fps as f32;
        layer.iSpatialBitrate = settings.bit_rate as c_int;
        layer.uiProfileIdc = sys::PRO_BASELINE;
        layer.iDLayerQp = self.qp as c_int;
        layer.sSliceArgument.uiSliceMode = sys::SM_SINGLE_SLICE;
        // BT.601 as one is used to from VP8: SMPTE 170M is 6 in all three (ITU-T H.264 tables E-3 to E-5).
        layer.bVideoSignalTypePresent = true;
        layer.uiVideoFormat = 5;
        layer.bFullRange = false;
        layer.bColorDescriptionPresent = true;
        layer.uiColorPrimaries = 6;
        layer.uiTransferCharacteristics = 6;
        layer.uiColorMatrix = 6;
        // SAFETY: the encoder is valid; the parameters are read before the call returns.
        check("start", unsafe { initialise(self.encoder, &raw const self.parameters) })
    }

    fn set_option(&mut self, option: sys::ENCODER_OPTION, value: *mut std::os::raw::c_void) -> Result<(), Error> {
        let set = self.table().SetOption.ok_or_else(|| fail("setting", -1))?;
        // SAFETY: the encoder is valid, and the caller passes the type that the option wants; it is read only.
        check("setting", unsafe { set(self.encoder, option, value) })
    }

    fn set_qp(&mut self, qp: c_int) -> Result<(), Error> {
        if self.parameters.sSpatialLayers[0].iDLayerQp == qp {
            return Ok(());
        }
        self.parameters.sSpatialLayers[0].iDLayerQp = qp;
        let mut parameters = self.parameters;
        self.set_option(sys::ENCODER_OPTION_SVC_ENCODE_PARAM_EXT, (&raw mut parameters).cast())
    }

    /// Steers the quantizer so that the bits of moving pictures follow the bit rate.
    fn steer(&mut self, bits: f64, elapsed: f64, moving: bool) {
        let rate = f64::from(self.bit_rate);
        let earned = rate * elapsed.min(LONGEST_PAUSE);
        self.debt = (self.debt + bits - rate * elapsed).clamp(0.0, rate);
        if moving {
            // Half of a second's debt is paid back by halving the frames.
            let target = earned * (1.0 - self.debt / rate).max(0.3);
            let step = 4.0 * (bits.max(1.0) / target).log2();
            self.qp = (self.qp + step.clamp(-2.0, 6.0)).clamp(FINEST_MOVING_QP, COARSEST_QP);
        }
    }

    fn take_bitstream(&self, out: &mut Vec<u8>) {
        let layers = usize::try_from(self.info.iLayerNum).unwrap_or(0);
        for layer in self.info.sLayerInfo.iter().take(layers) {
            let count = usize::try_from(layer.iNalCount).unwrap_or(0);
            if count == 0 || layer.pBsBuf.is_null() || layer.pNalLengthInByte.is_null() {
                continue;
            }
            // SAFETY: the encoder filled in `count` lengths, valid until its next call.
            let lengths = unsafe { std::slice::from_raw_parts(layer.pNalLengthInByte, count) };
            let total = lengths.iter().map(|&length| usize::try_from(length).unwrap_or(0)).sum();
            // SAFETY: the NAL units of a layer lie one after the other in its buffer, valid until the next call.
            out.extend_from_slice(unsafe { std::slice::from_raw_parts(layer.pBsBuf, total) });
        }
    }
}

impl Encoder for H264 {
    fn encode(&mut self, picture: &Picture, order: &Order<'_>, out: &mut Vec<u8>) -> Result<Option<Encoded>, Error> {
        let qp = match order.quantizer {
            Some(quantizer) => from_scale(quantizer),
            None if order.key => self.qp.max(FINEST_KEY_QP),
            None => self.qp,
        };
        self.set_qp(qp.round() as c_int)?;
        if order.key {
            let force = self.table().ForceIntraFrame.ok_or_else(|| fail("key frame", -1))?;
            // SAFETY: the encoder is valid and initialised.
            check("key frame", unsafe { force(self.encoder, true) })?;
        }
        let (width, height) = even(picture.width, picture.height);
        let stride = |plane| picture.stride_of(plane) as c_int;
        self.time += order.elapsed.as_millis().max(1) as i64;
        let data = |plane: usize| picture.planes[plane].as_ptr().cast_mut();
        let source = SSourcePicture {
            iColorFormat: sys::videoFormatI420,
            iStride: [stride(0), stride(1), stride(2), 0],
            pData: [data(0), data(1), data(2), ptr::null_mut()],
            iPicWidth: width,
            iPicHeight: height,
            uiTimeStamp: self.time,
            bPsnrY: false,
            bPsnrU: false,
            bPsnrV: false,
        };
        let encode = self.table().EncodeFrame.ok_or_else(|| fail("frame", -1))?;
        // SAFETY: the encoder is initialised; it reads the planes, which `Picture` pads to whole tiles and thus to even
        // sizes, and keeps no pointer to them; `info` is writable.
        check("frame", unsafe { encode(self.encoder, &raw const source, &raw mut *self.info) })?;
        let before = out.len();
        self.take_bitstream(out);
        let bits = (out.len() - before) as f64 * 8.0;
        self.steer(bits, order.elapsed.as_secs_f64(), order.quantizer.is_none() && !order.key);
        if out.len() == before {
            return Ok(None);
        }
        let key = self.info.eFrameType == sys::videoFrameTypeIDR;
        Ok(Some(Encoded { key, quantizer: to_scale(qp) }))
    }

    fn set_bit_rate(&mut self, bit_rate: u32) {
        self.bit_rate = bit_rate;
    }
}

impl Drop for H264 {
    fn drop(&mut self) {
        if let Some(uninitialise) = self.table().Uninitialize {
            // SAFETY: the encoder is valid; undoing an initialisation that failed is allowed.
            unsafe { uninitialise(self.encoder) };
        }
        // SAFETY: made by WelsCreateSVCEncoder and not used afterwards.
        unsafe { sys::source::APILoader::new().WelsDestroySVCEncoder(self.encoder) };
    }
}

/// 4:2:0 H.264 has even sizes only; the picture repeats its last column and row for that.
fn even(width: usize, height: usize) -> (c_int, c_int) {
    (width.next_multiple_of(2) as c_int, height.next_multiple_of(2) as c_int)
}

fn from_scale(quantizer: u8) -> f64 {
    FINEST_QP + f64::from(quantizer) * (COARSEST_QP - FINEST_QP) / f64::from(COARSEST)
}

fn to_scale(qp: f64) -> u8 {
    ((qp - FINEST_QP) * f64::from(COARSEST) / (COARSEST_QP - FINEST_QP)).round().clamp(0.0, f64::from(COARSEST)) as u8
}

fn check(what: &str, result: c_int) -> Result<(), Error> {
    if result == 0 { Ok(()) } else { Err(fail(what, result)) }
}

fn fail(what: &str, result: c_int) -> Error {
    Error::Encoder { codec: "H.264", reason: format!("{what}: openh264 error {result}") }
}
