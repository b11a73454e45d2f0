//! Pictures as JPEG: the right ones, after changes only, and only while somebody wants them.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Painter, Watch, XServer, eventually, rendition};
use glasshouse_media::{Quality, Still, Stills, VideoCodec};
use parking_lot::Mutex;

const COLOURS: [u32; 8] = [0xff_0000, 0x00_ff00, 0x00_00ff, 0xff_ffff, 0x00_0000, 0x80_8080, 0x20_a0e0, 0xe0_a020];

#[derive(Clone, Default)]
struct Reader(Arc<Mutex<Vec<Arc<Still>>>>);

impl Reader {
    fn join(&self, watch: &Watch) -> Stills {
        let seen = self.0.clone();
        watch.video.stills(Arc::new(move |still| seen.lock().push(still.clone())))
    }

    fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// Size of the last picture, and the colour of a pixel of it.
    fn colour(&self, x: usize, y: usize) -> ((u16, u16), [u8; 3]) {
        let still = self.0.lock().last().unwrap().clone();
        let mut decoder = jpeg_decoder::Decoder::new(&still.jpeg[..]);
        let pixels = decoder.decode().unwrap();
        let info = decoder.info().unwrap();
        assert_eq!((info.width, info.height), (still.width, still.height));
        let at = (y * usize::from(info.width) + x) * 3;
        ((info.width, info.height), pixels[at..at + 3].try_into().unwrap())
    }
}

fn is_near(seen: [u8; 3], colour: u32) -> bool {
    seen.iter().enumerate().all(|(channel, seen)| {
        let wanted = (colour >> (16 - 8 * channel) & 0xff) as u8;
        seen.abs_diff(wanted) <= 6
    })
}

#[test]
fn they_show_the_screen_after_every_change_and_cost_nothing_otherwise() {
    let server = XServer::start(321, 161);
    let painter = Painter::new(&server.display);
    for (index, colour) in COLOURS.into_iter().enumerate() {
        painter.fill(colour, (index % 4 * 80) as i16, (index / 4 * 80) as i16, 81, 81);
    }
    let watch = Watch::start(&server.display);
    assert_eq!(watch.video.capture_stats().grabs, 0, "nobody wants anything yet");

    let one = Reader::default();
    let holding = one.join(&watch);
    eventually("the first picture", || one.count() == 1);
    for (index, colour) in COLOURS.into_iter().enumerate() {
        let (size, seen) = one.colour(index % 4 * 80 + 40, index / 4 * 80 + 40);
        assert_eq!(size, (321, 161));
        assert!(is_near(seen, colour), "{colour:06x} is {seen:?}");
    }

    // Who comes later gets the present picture; for who has it nothing has changed.
    let grabs = watch.video.capture_stats().grabs;
    let two = Reader::default();
    let other = two.join(&watch);
    eventually("the picture for the second", || two.count() == 1);
    assert_eq!((one.count(), watch.video.capture_stats().grabs), (1, grabs), "it was there already");

    painter.fill(0x20_a0e0, 0, 0, 80, 80);
    eventually("the change", || one.count() == 2 && two.count() == 2);
    assert!(is_near(one.colour(40, 40).1, 0x20_a0e0));
    assert!(Arc::ptr_eq(&one.0.lock()[1], &two.0.lock()[1]), "made once for both");

    drop(other);
    painter.fill(0xff_ffff, 0, 0, 80, 80);
    eventually("the change for the one who stays", || one.count() == 3);
    assert_eq!(two.count(), 2);
    drop(holding);
    painter.fill(0, 0, 0, 321, 161);
    // An encoder's first frame proves that the machinery had time to do more.
    let low = rendition(VideoCodec::Vp8, Quality::Low);
    watch.video.acquire(low);
    eventually("a frame of another kind", || watch.stats(low).frames > 0);
    assert_eq!(one.count(), 3);
    watch.video.release(low);

    let again = Reader::default();
    let _holding = again.join(&watch);
    eventually("a fresh look", || again.count() == 1);
    assert!(is_near(again.colour(40, 40).1, 0));
    painter.resize(640, 480);
    eventually("the new size", || again.0.lock().last().is_some_and(|still| (still.width, still.height) == (640, 480)));
}

#[test]
fn a_flood_of_changes_makes_few_pictures_and_the_last_is_right() {
    let server = XServer::start(320, 160);
    let painter = Painter::new(&server.display);
    let watch = Watch::start(&server.display);
    let one = Reader::default();
    let _holding = one.join(&watch);
    eventually("the first picture", || one.count() == 1);
    let begun = std::time::Instant::now();
    for step in 0..200u32 {
        painter.fill(step * 0x01_0101, 0, 0, 320, 160);
        std::thread::yield_now();
    }
    painter.fill(0x20_a0e0, 0, 0, 320, 160);
    let took = begun.elapsed();
    eventually("the last state", || is_near(one.colour(160, 80).1, 0x20_a0e0));
    let most = (took.as_millis() / Duration::from_millis(200).as_millis()) as usize + 6;
    assert!(one.count() <= most, "{} pictures in {took:?}", one.count());
}
