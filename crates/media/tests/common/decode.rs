//! Real decoders: libvpx and openh264.

use std::os::raw::c_int;

use glasshouse_media::{Picture, VideoCodec};
use vpx_sys as sys;

/// Decodes one stream.
pub(crate) enum Decoder {
    Vpx(Box<sys::vpx_codec_ctx_t>),
    H264(Box<openh264::decoder::Decoder>),
}

impl Decoder {
    pub(crate) fn new(codec: VideoCodec) -> Self {
        if codec == VideoCodec::H264 {
            return Self::H264(Box::new(openh264::decoder::Decoder::new().expect("openh264 starts")));
        }
        // SAFETY: both return pointers to static data.
        let interface =
            unsafe { if codec == VideoCodec::Vp8 { sys::vpx_codec_vp8_dx() } else { sys::vpx_codec_vp9_dx() } };
        // SAFETY: a plain C structure for which all bits zero is valid.
        let mut context: Box<sys::vpx_codec_ctx_t> = Box::new(unsafe { std::mem::zeroed() });
        let version = sys::VPX_DECODER_ABI_VERSION as c_int;
        // SAFETY: the context is boxed and does not move; no configuration is allowed.
        let result = unsafe { sys::vpx_codec_dec_init_ver(&raw mut *context, interface, std::ptr::null(), 0, version) };
        assert_eq!(result, sys::vpx_codec_err_t::VPX_CODEC_OK);
        Self::Vpx(context)
    }

    /// Decodes one access unit.
    pub(crate) fn decode(&mut self, data: &[u8]) -> Picture {
        match self {
            Self::Vpx(context) => decode_vpx(context, data),
            Self::H264(decoder) => {
                use openh264::formats::YUVSource;
                let picture = decoder.decode(data).expect("decodable").expect("a picture for each access unit");
                let (width, height) = picture.dimensions();
                let (luma, chroma, _) = picture.strides();
                let planes = [(picture.y(), luma), (picture.u(), chroma), (picture.v(), chroma)];
                pack(width, height, planes)
            }
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        if let Self::Vpx(context) = self {
            // SAFETY: initialised by `new`, not used afterwards.
            unsafe { sys::vpx_codec_destroy(&raw mut **context) };
        }
    }
}

fn decode_vpx(context: &mut sys::vpx_codec_ctx_t, data: &[u8]) -> Picture {
    // SAFETY: the context is initialised, and the data are read during the call only.
    let result = unsafe { sys::vpx_codec_decode(context, data.as_ptr(), data.len() as u32, std::ptr::null_mut(), 0) };
    assert_eq!(result, sys::vpx_codec_err_t::VPX_CODEC_OK, "decodable");
    let mut iterator: sys::vpx_codec_iter_t = std::ptr::null();
    // SAFETY: the context is initialised and the iterator starts as null.
    let image =
        unsafe { sys::vpx_codec_get_frame(context, &raw mut iterator).as_ref() }.expect("a picture for each frame");
    let (width, height) = (image.d_w as usize, image.d_h as usize);
    let plane = |index: usize| {
        let rows = if index == 0 { height } else { height.div_ceil(2) };
        let stride = image.stride[index] as usize;
        let cols = if index == 0 { width } else { width.div_ceil(2) };
        // SAFETY: a decoded image has `rows` rows of `stride` bytes, the last one at least `cols`, until the next call.
        (unsafe { std::slice::from_raw_parts(image.planes[index], stride * (rows - 1) + cols) }, stride)
    };
    pack(width, height, [plane(0), plane(1), plane(2)])
}

/// Copies planes into a picture without padding rows.
fn pack(width: usize, height: usize, planes: [(&[u8], usize); 3]) -> Picture {
    let stride = width.next_multiple_of(2);
    let mut picture = Picture { width, height, stride, planes: Default::default() };
    for (index, (from, from_stride)) in planes.into_iter().enumerate() {
        let (cols, rows, to_stride) =
            if index == 0 { (width, height, stride) } else { (width.div_ceil(2), height.div_ceil(2), stride / 2) };
        let plane = &mut picture.planes[index];
        plane.resize(to_stride * rows, 0);
        for row in 0..rows {
            plane[row * to_stride..row * to_stride + cols]
                .copy_from_slice(&from[row * from_stride..row * from_stride + cols]);
        }
    }
    picture
}

/// Mean squared error of luma over the part that both pictures have.
pub(crate) fn luma_error(a: &Picture, b: &Picture) -> f64 {
    let (width, height) = (a.width.min(b.width), a.height.min(b.height));
    let mut sum = 0u64;
    for row in 0..height {
        let a = &a.planes[0][row * a.stride..row * a.stride + width];
        let b = &b.planes[0][row * b.stride..row * b.stride + width];
        sum += a.iter().zip(b).map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum::<u64>();
    }
    sum as f64 / (width * height).max(1) as f64
}

/// Peak signal to noise ratio in dB for a mean squared error; 100 for equal pictures.
pub(crate) fn psnr(error: f64) -> f64 {
    if error == 0.0 { 100.0 } else { (10.0 * (255.0f64 * 255.0 / error).log10()).min(100.0) }
}
