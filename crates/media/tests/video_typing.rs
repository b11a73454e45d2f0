//! Letters arrive sharp, in one frame each, and refinement leaves typing alone.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{
    Painter, Watch, XServer,
    decode::{Decoder, luma_error, psnr},
    rendition,
};
use glasshouse_media::{Quality, VideoCodec};

#[test]
fn each_letter_is_one_frame_and_sharp_at_once() {
    let server = XServer::start(1280, 720);
    let painter = Painter::new(&server.display);
    painter.fill(0xff_ffff, 0, 0, 1280, 720);
    painter.text(40);
    let watch = Watch::start(&server.display);
    let high = rendition(VideoCodec::Vp8, Quality::High);
    watch.video.acquire(high);
    watch.settle();
    let refinements = watch.stats(high).refinements;
    assert!(refinements > 0);
    let first = watch.count();
    for letter in 0..30u16 {
        let before = watch.count();
        painter.fill(0x10_1010, 600 + (letter as i16 % 10) * 14, 300 + letter as i16 / 10 * 22, 7, 11);
        watch.until("frame of the letter", |seen| (seen.len() > before).then_some(()));
        // The rhythm of a typist is what this test is about; nothing depends on its being kept.
        std::thread::sleep(Duration::from_millis(100));
    }
    watch.settle();
    let after = watch.stats(high);
    // A machine that stalls may bring two letters together, which then need refining.
    assert!(after.refinements - refinements <= 5, "{} refinements", after.refinements - refinements);
    let qualities: Vec<f64> = watch.until("", |seen| {
        let mut decoder = Decoder::new(VideoCodec::Vp8);
        Some(seen.iter().map(|frame| psnr(luma_error(&decoder.decode(&frame.data), &frame.source))).collect())
    });
    let sharp = qualities[first..].iter().filter(|&&quality| quality >= 50.0).count();
    assert!(sharp * 10 >= (qualities.len() - first) * 8, "{:.1?}", &qualities[first..]);
    let last = qualities.last().unwrap();
    assert!(*last >= 50.0, "{last:.1} dB in the end");
}
