//! Encoders come and go with demand; key frames are shared; bit rates are kept.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Painter, Watch, XServer, eventually, rendition};
use glasshouse_media::{Quality, VideoCodec};

/// Requests for key frames within this time share one.
const WINDOW: Duration = Duration::from_millis(300);

const CODECS: [VideoCodec; 3] = [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264];

/// Names of this process's threads that belong to an encoder of that quality.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|comm| comm.trim() == name).count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn people_who_come_together_share_one_key_frame() {
    let server = XServer::start(640, 480);
    let painter = Painter::new(&server.display);
    painter.noise(3, 640, 480);
    for codec in CODECS {
        let watch = Watch::start(&server.display);
        let medium = rendition(codec, Quality::Medium);
        // No picture comes, and so no first frame, before all are there.
        server.freeze();
        for _ in 0..10 {
            watch.video.acquire(medium);
        }
        server.thaw();
        watch.settle();
        assert_eq!(watch.stats(medium).key_frames, 1, "{codec:?}");
        let begun = Instant::now();
        for _ in 0..10 {
            watch.video.request_key_frame(medium);
        }
        let took = begun.elapsed();
        watch.until("second key frame", |seen| (seen.iter().filter(|f| f.key).count() >= 2).then_some(()));
        watch.settle();
        // Of one that nothing has changed before, this is when it was begun.
        let times: Vec<_> =
            watch.until("", |seen| Some(seen.iter().filter(|f| f.key).map(|f| f.captured_at).collect()));
        // The first request may be served before the second comes; one more for each window that a stalled machine has spent
        // between the first and the last.
        let most = 3 + took.div_duration_f64(WINDOW) as usize;
        assert!((2..=most).contains(&times.len()), "{codec:?}: {} key frames", times.len());
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= WINDOW), "{codec:?}");
        assert_eq!(watch.stats(medium).holders, 10);
    }
}

/// The only test that counts this process's threads and descriptors, and therefore does all of that at once.
#[test]
fn coming_and_going_leaves_nothing_behind() {
    let server = XServer::start(320, 240);
    let watch = Watch::start(&server.display);
    let low = |codec| rendition(codec, Quality::Low);
    let names = ["vp8 low", "vp9 low", "h264 low"];
    for codec in CODECS {
        watch.video.acquire(low(codec));
        watch.video.release(low(codec));
    }
    let quiet = || names.iter().all(|name| threads(name) == 0);
    eventually("an end of all encoders", quiet);
    let before = descriptors();
    for round in 0..100 {
        let codec = CODECS[round % 3];
        let seen = watch.count();
        watch.video.acquire(low(codec));
        if round % 10 < 3 {
            watch.until("picture", |frames| (frames.len() > seen).then_some(()));
        }
        watch.video.release(low(codec));
    }
    eventually("an end of all encoders", quiet);
    assert!(watch.video.stats().is_empty());
    eventually("no descriptor left over", || descriptors() <= before + 8);
    // What the last ones who left too early had begun to read is read when there is a picture.
    let seen = watch.count();
    watch.video.acquire(low(VideoCodec::Vp8));
    watch.until("picture", |frames| (frames.len() > seen).then_some(()));
    watch.video.release(low(VideoCodec::Vp8));
    eventually("an end of all encoders", quiet);
    let grabs = watch.video.capture_stats().grabs;
    Painter::new(&server.display).fill(0x99_1122, 0, 0, 50, 50);
    // With nobody watching, a change is not even read; the next viewer sees it.
    assert_eq!(watch.video.capture_stats().grabs, grabs);
    let seen = watch.count();
    watch.video.acquire(low(VideoCodec::Vp8));
    let luma = watch.until("fresh picture", |frames| {
        frames.get(seen).map(|frame| frame.source.planes[0][25 * frame.source.stride + 25])
    });
    assert!(luma.abs_diff(16 + 50) < 12, "{luma}");
}

#[test]
fn noise_stays_within_the_bit_rate() {
    let server = XServer::start(640, 360);
    let painter = Painter::new(&server.display);
    for codec in CODECS {
        let watch = Watch::start_with(&server.display, 30, 8_000_000);
        let high = rendition(codec, Quality::High);
        watch.video.acquire(high);
        watch.video.set_bit_rate(high, 1_500_000);
        assert_eq!(watch.stats(high).target_bit_rate, 1_500_000);
        watch.until("first frame", |seen| seen.first().map(|_| ()));
        // Pure noise is more than any quantizer can press into 1.5 Mbit/s; a patch of it is hard but possible.
        for round in 0..150 {
            let count = watch.count();
            painter.noise(round, 160, 96);
            watch.until("frame of the noise", |seen| (seen.len() > count).then_some(()));
        }
        let (bytes, time) = watch.until("", |seen| {
            let tail = &seen[seen.len() - 100..];
            let bytes: usize = tail[1..].iter().map(|frame| frame.data.len()).sum();
            Some((bytes, (tail[99].at - tail[0].at).as_secs_f64()))
        });
        let rate = bytes as f64 * 8.0 / time;
        assert!(rate < 1_500_000.0 * 1.4, "{codec:?}: {rate:.0} bit/s");
        watch.video.set_bit_rate(high, 1);
        assert_eq!(watch.stats(high).target_bit_rate, 250_000);
        watch.video.set_bit_rate(high, u32::MAX);
        assert_eq!(watch.stats(high).target_bit_rate, 8_000_000);
    }
}
