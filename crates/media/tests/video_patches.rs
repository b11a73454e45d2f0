//! Small changes that come alone are handed out as their very pixels, before the frame that shows them.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Painter, Watch, XServer, colour_at, eventually, rendition};
use glasshouse_media::{PATCH_TIME, Patch, Quality, VideoCodec};
use parking_lot::Mutex;

/// All that has been handed out.
type Log = Arc<Mutex<Vec<Patch>>>;

fn take(watch: &Watch, log: &Log) {
    let log = log.clone();
    watch.video.acquire_patches(Arc::new(move |patch| log.lock().push(patch)));
}

/// The patch of four tiles of one colour at 160, 160 on a screen of 640×480.
fn square(red: u8, green: u8, blue: u8) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 0, 0, 2, 128, 1, 224];
    bytes.extend([0, 10, 0, 10, 0, 2, 0, 2]);
    bytes.extend([1, 0, 4, red, green, blue]);
    bytes
}

#[test]
fn a_change_that_comes_alone_is_a_patch_of_its_very_pixels_and_frames_after_it_show_it() {
    let server = XServer::start(640, 480);
    let painter = Painter::new(&server.display);
    painter.fill(0xff_ffff, 0, 0, 640, 480);
    let watch = Watch::start(&server.display);
    watch.video.acquire(rendition(VideoCodec::Vp8, Quality::High));
    let log = Log::default();
    take(&watch, &log);
    watch.settle();
    for turn in 0..10u8 {
        log.lock().clear();
        let (before, colour) = (watch.count(), [20 * turn, 255 - 20 * turn, 77]);
        let [red, green, blue] = colour.map(u32::from);
        painter.fill(red << 16 | green << 8 | blue, 160, 160, 32, 32);
        eventually("a patch", || !log.lock().is_empty());
        let patch = log.lock()[0].clone();
        assert!(patch.bytes[PATCH_TIME].iter().all(|&byte| byte == 0));
        assert_eq!(patch.bytes, square(colour[0], colour[1], colour[2]));
        assert!(patch.damaged_at <= patch.captured_at);
        // The promise that viewers rely on: a frame with the patch's time or a later one shows the change, any other does not.
        watch.until("a frame of the change", |seen| {
            let mut found = None;
            for frame in &seen[before..] {
                let shown = colour_at(&frame.source, 176, 176);
                let is_shown =
                    shown.iter().zip(colour).all(|(value, expected)| (value - f64::from(expected)).abs() < 8.0);
                assert_eq!(frame.captured_at >= patch.captured_at, is_shown, "turn {turn}: {shown:?}");
                found = found.or(is_shown.then_some(()));
            }
            found
        });
        watch.settle();
    }
}

#[test]
fn photographs_and_screens_that_nobody_wants_patches_of_have_none() {
    let server = XServer::start(640, 480);
    let painter = Painter::new(&server.display);
    let watch = Watch::start(&server.display);
    let high = rendition(VideoCodec::Vp8, Quality::High);
    watch.video.acquire(high);
    let log = Log::default();
    take(&watch, &log);
    watch.settle();
    log.lock().clear();
    let seen = || log.lock().len();
    // The frame comes after the patch, if there is one.
    let frame_after = |before: usize| watch.until("frame", |seen| (seen.len() > before).then_some(()));
    let before = watch.count();
    painter.noise(1, 640, 480);
    frame_after(before);
    watch.settle();
    assert_eq!(seen(), 0, "a photograph is too much for a patch");
    painter.fill(0xff_0000, 160, 160, 32, 32);
    eventually("a patch", || seen() > 0);
    watch.settle();

    watch.video.release_patches();
    log.lock().clear();
    let before = watch.count();
    painter.fill(0x00_ff00, 160, 160, 32, 32);
    frame_after(before);
    watch.settle();
    assert_eq!(seen(), 0);
}

#[test]
fn a_poorer_rendition_has_no_patches() {
    let server = XServer::start(640, 480);
    let painter = Painter::new(&server.display);
    let watch = Watch::start(&server.display);
    watch.video.acquire(rendition(VideoCodec::Vp8, Quality::Medium));
    let log = Log::default();
    take(&watch, &log);
    watch.settle();
    let before = watch.count();
    painter.fill(0x00_ff00, 160, 160, 32, 32);
    watch.until("frame", |seen| (seen.len() > before).then_some(()));
    assert!(log.lock().is_empty());
}
