//! A screen that holds still costs no memory to read it into, and is read rightly afterwards.
// This file holds one test: it looks at the memory of its whole process.
// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Painter, Watch, XServer,
    decode::{luma_error, psnr},
    eventually, rendition,
};
use glasshouse_media::{Quality, VideoCodec};

/// Resident KiB of the memory that is shared with the X server.
fn shared_memory() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.contains("memfd:glasshouse-capture"));
    let resident = lines.find_map(|line| line.strip_prefix("Rss:")).expect("mapped");
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_still_screen_gives_its_memory_back_and_later_changes_are_right() {
    let server = XServer::start(1280, 720);
    let painter = Painter::new(&server.display);
    painter.fill(0xff_ffff, 0, 0, 1280, 720);
    painter.text(40);
    let watch = Watch::start(&server.display);
    watch.video.acquire(rendition(VideoCodec::Vp8, Quality::High));
    for round in 0..3u32 {
        watch.until("frame", |seen| (!seen.is_empty()).then_some(()));
        eventually("rest", || shared_memory() == 0);
        let wakeups = watch.video.capture_stats().wakeups;
        let before = watch.count();
        painter.fill(0x20_5080 * (round + 1), 300, 200, 400, 300);
        watch.until("frame of the change", |seen| (seen.len() > before).then_some(()));
        watch.settle();
        assert!(watch.video.capture_stats().wakeups <= wakeups + 20, "rest is not a timer");
        let (picture, source) = watch.decode(VideoCodec::Vp8);
        let quality = psnr(luma_error(&picture, &source));
        assert!(quality >= 45.0, "{quality:.1} dB");
    }
}
