//! What viewers see is what is on the screen: colours, sharpness, odd sizes, through real decoders.

mod common;

use common::{
    Painter, Watch, XServer, colour_at,
    decode::{luma_error, psnr},
    eventually, rendition,
};
use glasshouse_media::{Quality, VideoCodec};

const CODECS: [VideoCodec; 3] = [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264];
const COLOURS: [u32; 8] = [0xff_0000, 0x00_ff00, 0x00_00ff, 0xff_ffff, 0x00_0000, 0x80_8080, 0x20_a0e0, 0xe0_a020];

#[test]
fn colours_are_right_in_every_codec() {
    let server = XServer::start(320, 160);
    let painter = Painter::new(&server.display);
    for (index, colour) in COLOURS.into_iter().enumerate() {
        painter.fill(colour, (index % 4 * 80) as i16, (index / 4 * 80) as i16, 80, 80);
    }
    for codec in CODECS {
        let watch = Watch::start(&server.display);
        watch.video.acquire(rendition(codec, Quality::High));
        watch.settle();
        let (picture, _) = watch.decode(codec);
        assert_eq!((picture.width, picture.height), (320, 160));
        for (index, colour) in COLOURS.into_iter().enumerate() {
            let seen = colour_at(&picture, index % 4 * 80 + 40, index / 4 * 80 + 40);
            for (channel, seen) in seen.into_iter().enumerate() {
                let wanted = f64::from(colour >> (16 - 8 * channel) & 0xff);
                assert!((seen - wanted).abs() <= 4.0, "{codec:?} {colour:06x}: channel {channel} is {seen:.1}");
            }
        }
    }
}

#[test]
fn still_text_becomes_sharp_and_then_nothing_is_sent() {
    let server = XServer::start(1024, 512);
    let painter = Painter::new(&server.display);
    painter.fill(0xff_ffff, 0, 0, 1024, 512);
    painter.text(30);
    for codec in CODECS {
        let watch = Watch::start(&server.display);
        let high = rendition(codec, Quality::High);
        watch.video.acquire(high);
        watch.settle();
        let (picture, source) = watch.decode(codec);
        let quality = psnr(luma_error(&picture, &source));
        assert!(quality >= 45.0, "{codec:?}: {quality:.1} dB");
        let frames = watch.count();
        let (before, stats) = (watch.video.capture_stats(), watch.stats(high));
        assert_eq!(stats.key_frames, 1, "{codec:?}");
        assert!(stats.refinements > 0, "{codec:?}");
        // Another rendition's first frame proves that the machinery had time to send something here, too.
        let low = rendition(codec, Quality::Low);
        watch.video.acquire(low);
        eventually("the other rendition", || watch.stats(low).frames > 0);
        watch.video.release(low);
        assert_eq!(watch.stats(high).frames as usize, frames, "{codec:?}");
        assert_eq!(watch.video.capture_stats().grabs, before.grabs, "{codec:?}: nothing was read");
    }
}

#[test]
fn odd_sizes_are_shown_to_the_last_pixel() {
    let server = XServer::start(333, 217);
    let painter = Painter::new(&server.display);
    painter.fill(0x20_a0e0, 0, 0, 333, 217);
    painter.fill(0xe0_2020, 332, 0, 1, 217);
    painter.fill(0xe0_2020, 0, 216, 333, 1);
    for codec in CODECS {
        let watch = Watch::start(&server.display);
        watch.video.acquire(rendition(codec, Quality::High));
        watch.settle();
        let (picture, source) = watch.decode(codec);
        let even = if codec == VideoCodec::H264 { 1 } else { 0 };
        assert_eq!((picture.width, picture.height), (333 + even, 217 + even), "{codec:?}");
        let quality = psnr(luma_error(&picture, &source));
        assert!(quality >= 40.0, "{codec:?}: {quality:.1} dB");
        let edge = [picture.planes[0][100 * picture.stride + 332], picture.planes[0][216 * picture.stride + 100]];
        let inside = picture.planes[0][100 * picture.stride + 100];
        for luma in edge {
            assert!(luma.abs_diff(84) < 12 && luma < inside, "{codec:?}: edge {luma}, inside {inside}");
        }
    }
}
