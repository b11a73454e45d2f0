//! Only what changed is read and encoded; sizes, servers and viewers may come and go.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use common::{
    Painter, Watch, XServer,
    decode::{luma_error, psnr},
    eventually, rendition,
};
use glasshouse_media::{Quality, Video, VideoCodec, VideoConfig};

#[test]
fn a_small_change_reads_and_sends_little() {
    let server = XServer::start(1280, 720);
    let painter = Painter::new(&server.display);
    painter.noise(1, 1280, 720);
    let watch = Watch::start(&server.display);
    let high = rendition(VideoCodec::Vp8, Quality::High);
    watch.video.acquire(high);
    watch.settle();
    let (capture, frames) = (watch.video.capture_stats(), watch.count());
    assert_eq!(capture.pixels % (1280 * 720), 0, "the first look is at everything");
    painter.fill(0xff_0000, 100, 100, 20, 10);
    watch.until("frame of the change", |seen| (seen.len() > frames).then_some(()));
    watch.settle();
    let after = watch.video.capture_stats();
    assert!(after.pixels - capture.pixels <= 2 * 48 * 32, "{} pixels", after.pixels - capture.pixels);
    assert!((1..=6).contains(&(after.changed_tiles - capture.changed_tiles)));
    let bytes: usize = watch.until("", |seen| Some(seen[frames..].iter().map(|frame| frame.data.len()).sum()));
    assert!(bytes < 6_000, "{bytes} bytes for a small rectangle on a picture full of noise");
    // Drawing the same once more is damage without a change.
    let (tiles, count) = (after.changed_tiles, watch.count());
    painter.fill(0xff_0000, 100, 100, 20, 10);
    eventually("a second look", || watch.video.capture_stats().grabs > after.grabs);
    assert_eq!((watch.video.capture_stats().changed_tiles, watch.count()), (tiles, count));
}

#[test]
fn a_new_size_starts_with_a_key_frame_of_that_size() {
    let server = XServer::start(640, 480);
    let painter = Painter::new(&server.display);
    painter.fill(0x30_60c0, 0, 0, 640, 480);
    let watch = Watch::start(&server.display);
    for codec in [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264] {
        let high = rendition(codec, Quality::High);
        watch.video.acquire(high);
        for (width, height) in [(800, 600), (1024, 300), (321, 241), (640, 480)] {
            let before = watch.count();
            painter.resize(width, height);
            painter.noise(u64::from(width), width, height.min(32));
            let even = if codec == VideoCodec::H264 { 1 } else { 0 };
            let size = (width + (width & even), height + (height & even));
            let from = watch.until("key frame of the new size", |seen| {
                (before..seen.len()).find(|&index| seen[index].key && seen[index].size == size)
            });
            let rest = watch.until("", |seen| Some(seen[from..].iter().all(|frame| frame.size == size)));
            assert!(rest, "{codec:?}: an old size after {width}x{height}");
        }
        watch.video.release(high);
    }
}

#[test]
fn many_sizes_in_a_row_end_with_the_right_picture() {
    let server = XServer::start(640, 480);
    let painter = Painter::new(&server.display);
    let watch = Watch::start(&server.display);
    watch.video.acquire(rendition(VideoCodec::Vp8, Quality::High));
    for step in 0..30u16 {
        let (width, height) = (400 + step * 13 % 300, 300 + step * 29 % 250);
        painter.resize(width, height);
        painter.fill(u32::from(step) * 0x07_1105, 0, 0, width, height);
    }
    painter.resize(512, 384);
    painter.fill(0xff_ffff, 0, 0, 512, 384);
    painter.text(20);
    watch.until("picture of the last size", |seen| seen.last().filter(|f| f.size == (512, 384)).map(|_| ()));
    watch.settle();
    let source = watch.until("", |seen| seen.last().map(|frame| frame.source.clone()));
    assert_eq!((source.width, source.height), (512, 384));
    let from = watch.until("", |seen| seen.iter().rposition(|frame| frame.key));
    let mut decoder = common::decode::Decoder::new(VideoCodec::Vp8);
    let picture = watch.until("", |seen| seen[from..].iter().map(|frame| decoder.decode(&frame.data)).last());
    let quality = psnr(luma_error(&picture, &source));
    assert!(quality > 42.0, "{quality:.1} dB");
    assert_eq!(source.planes[0][380 * source.stride + 500], 235, "white at the bottom right");
}

#[test]
fn an_x_server_that_comes_back_is_found_again() {
    let display = XServer::own_display();
    let mut server = XServer::start_on(&display, 400, 300);
    let watch = Watch::start(&display);
    let high = rendition(VideoCodec::Vp8, Quality::High);
    watch.video.acquire(high);
    watch.until("first picture", |seen| (!seen.is_empty()).then_some(()));
    server.end();
    let _server = XServer::start_on(&display, 500, 200);
    let frames = watch.count();
    watch.until("picture of the new server", |seen| seen[frames..].iter().any(|f| f.size == (500, 200)).then_some(()));
    assert_eq!(watch.video.capture_stats().reconnects, 1);
    let painter = Painter::new(&display);
    let frames = watch.count();
    painter.fill(0x12_3456, 10, 10, 50, 50);
    watch.until("change on the new server", |seen| (seen.len() > frames).then_some(()));
}

#[test]
fn dropping_does_not_wait_for_a_server_that_does_not_answer() {
    let server = XServer::start(400, 300);
    let watch = Watch::start(&server.display);
    let painter = Painter::new(&server.display);
    watch.video.acquire(rendition(VideoCodec::Vp8, Quality::High));
    watch.until("first picture", |seen| (!seen.is_empty()).then_some(()));
    painter.fill(0xff_00ff, 0, 0, 100, 100);
    server.freeze();
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(watch);
        let _ = done.send(());
    });
    let dropped = is_done.recv_timeout(common::PATIENCE);
    // Whatever came of it, the server must be able to end.
    server.thaw();
    dropped.expect("it waits for the server");
}

#[test]
fn a_display_that_is_not_there_is_one_clear_line() {
    let config = VideoConfig { display: ":59124".into(), xauthority: None, max_fps: 30, max_bit_rate: 1_000_000 };
    let error = Video::start(config, Arc::new(|_| {})).err().expect("nobody there").to_string();
    assert!(error.starts_with("display :59124: no X server answers"), "{error}");
}

#[test]
fn a_sink_that_hangs_stops_neither_capture_nor_the_others() {
    let server = XServer::start(320, 240);
    let painter = Painter::new(&server.display);
    let (stuck, frames) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (gate, counter) = (stuck.clone(), frames.clone());
    let config =
        VideoConfig { display: server.display.clone(), xauthority: None, max_fps: 60, max_bit_rate: 4_000_000 };
    let video = Video::start(
        config,
        Arc::new(move |frame| {
            if frame.rendition.quality == Quality::High {
                eventually("release", || !gate.load(Ordering::Acquire));
            } else {
                counter.fetch_add(1, Ordering::AcqRel);
            }
        }),
    )
    .unwrap();
    video.acquire(rendition(VideoCodec::Vp8, Quality::High));
    video.acquire(rendition(VideoCodec::Vp8, Quality::Medium));
    for step in 0..10u32 {
        let before = (frames.load(Ordering::Acquire), video.capture_stats().grabs);
        painter.fill(step * 0x10_1010 + 0x30, 0, 0, 200, 200);
        eventually("capture goes on", || {
            frames.load(Ordering::Acquire) > before.0 && video.capture_stats().grabs > before.1
        });
    }
    stuck.store(false, Ordering::Release);
}

#[test]
fn h264_announces_exactly_its_idr_pictures_as_key_frames() {
    let server = XServer::start(640, 480);
    let painter = Painter::new(&server.display);
    painter.noise(1, 640, 480);
    let watch = Watch::start(&server.display);
    let high = rendition(VideoCodec::H264, Quality::High);
    watch.video.acquire(high);
    watch.settle();
    for seed in 2..6 {
        painter.noise(seed, 640, 480);
        watch.settle();
    }
    watch.video.request_key_frame(high);
    watch.until("second key frame", |seen| (seen.iter().filter(|frame| frame.key).count() > 1).then_some(()));
    watch.settle();
    watch.until("", |seen| {
        for frame in seen {
            // NAL unit type 5 is a slice of an IDR picture (ITU-T H.264 table 7-1).
            let idr = frame.data.windows(4).any(|bytes| bytes[..3] == [0, 0, 1] && bytes[3] & 0x1f == 5);
            assert_eq!(frame.key, idr, "decoding starts at IDR pictures and nowhere else");
        }
        Some(())
    });
    let last_key = watch.until("", |seen| seen.iter().rposition(|frame| frame.key));
    let mut decoder = common::decode::Decoder::new(VideoCodec::H264);
    let (mut next, mut quality) = (last_key, 0.0);
    // Noise takes its time: refinement waits until as much of the bit rate is saved up as it costs.
    eventually("a good picture when decoding starts at the newest key frame", || {
        watch.until("", |seen| {
            for frame in &seen[next..] {
                quality = psnr(luma_error(&decoder.decode(&frame.data), &frame.source));
            }
            next = seen.len();
            Some(())
        });
        quality >= 30.0
    });
}
