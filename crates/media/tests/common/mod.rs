//! A real X server for a test, something to draw with, and a running video to watch.
// Each test file uses a part of this; a panic is how a test fails.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod decode;

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use glasshouse_media::{Picture, Quality, Rendition, RenditionStats, Video, VideoCodec, VideoConfig, VideoFrame};
use parking_lot::{Condvar, Mutex};
use rustix::fd::AsRawFd;
use x11rb::{
    connection::Connection,
    protocol::{
        randr::{self, ConnectionExt as _},
        xproto::{ChangeGCAux, ConnectionExt as _, CreateGCAux, Gcontext, ImageFormat, Rectangle, Window},
    },
    rust_connection::RustConnection,
    wrapper::ConnectionExt as _,
};

/// Only ever waited for when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An Xvnc on a display number of its own choice; killed when dropped.
pub(crate) struct XServer {
    child: Child,
    pub(crate) display: String,
}

impl XServer {
    pub(crate) fn start(width: u16, height: u16) -> Self {
        Self::launch(width, height, None)
    }

    /// A display that no server chooses for itself, so that it is free again for who names it.
    pub(crate) fn own_display() -> String {
        format!(":{}", 10_000 + std::process::id() % 40_000)
    }

    /// Starts a server on this display, perhaps again.
    pub(crate) fn start_on(display: &str, width: u16, height: u16) -> Self {
        Self::launch(width, height, Some(display))
    }

    fn launch(width: u16, height: u16, display: Option<&str>) -> Self {
        let (mut read, write) = std::io::pipe().unwrap();
        rustix::io::fcntl_setfd(&write, rustix::io::FdFlags::empty()).unwrap();
        let mut command = Command::new("Xvnc");
        command.args(display);
        command.args(["-displayfd", &write.as_raw_fd().to_string()]);
        command.args(["-geometry", &format!("{width}x{height}"), "-depth", "24", "-SecurityTypes", "None"]);
        command.args(["-rfbport", "-1", "-nolisten", "tcp"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("Xvnc (tigervnc-standalone-server) is needed by these tests");
        drop(write);
        let mut number = String::new();
        let mut byte = [0];
        // The server writes the number and a newline once it accepts connections, and keeps the pipe open.
        while read.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            number.push(char::from(byte[0]));
        }
        assert!(!number.is_empty(), "Xvnc did not start");
        Self { child, display: format!(":{number}") }
    }

    /// Stops it without ending it, as a frozen sandbox does.
    pub(crate) fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        // It may be dead by now.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal);
    }

    /// Ends it. It is asked to: what it leaves of itself when it is killed could be removed only when the next server may have
    /// the number already.
    pub(crate) fn end(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            self.signal(rustix::process::Signal::TERM);
            std::thread::sleep(Duration::from_millis(5));
        }
        // It may be dead by now.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let number = &self.display[1..];
        let _ = std::fs::remove_file(format!("/tmp/.X{number}-lock"));
        let _ = std::fs::remove_file(format!("/tmp/.X11-unix/X{number}"));
    }
}

impl Drop for XServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Draws on the root window.
pub(crate) struct Painter {
    pub(crate) connection: RustConnection,
    root: Window,
    gc: Gcontext,
}

impl Painter {
    pub(crate) fn new(display: &str) -> Self {
        let (connection, screen) = x11rb::connect(Some(display)).unwrap();
        let root = connection.setup().roots[screen].root;
        let gc = connection.generate_id().unwrap();
        connection.create_gc(gc, root, &CreateGCAux::new()).unwrap();
        Self { connection, root, gc }
    }

    pub(crate) fn sync(&self) {
        self.connection.sync().unwrap();
    }

    pub(crate) fn fill(&self, colour: u32, x: i16, y: i16, width: u16, height: u16) {
        self.connection.change_gc(self.gc, &ChangeGCAux::new().foreground(colour)).unwrap();
        self.connection.poly_fill_rectangle(self.root, self.gc, &[Rectangle { x, y, width, height }]).unwrap();
        self.sync();
    }

    /// Lines of text in a core font, black on white.
    pub(crate) fn text(&self, lines: i16) {
        let font = self.connection.generate_id().unwrap();
        self.connection.open_font(font, b"fixed").unwrap();
        let colours = ChangeGCAux::new().foreground(0).background(0xff_ffff).font(font);
        self.connection.change_gc(self.gc, &colours).unwrap();
        for line in 0..lines {
            let text = format!("{line}: the quick brown fox jumps over the lazy dog; Pack my box with five dozen jugs");
            self.connection.image_text8(self.root, self.gc, 8, 16 + line * 15, text.as_bytes()).unwrap();
        }
        self.sync();
    }

    /// Random pixels; another `seed` gives others.
    pub(crate) fn noise(&self, mut seed: u64, width: u16, height: u16) {
        let rows = 32;
        for top in (0..height).step_by(rows) {
            let rows = (rows as u16).min(height - top);
            let mut pixels = Vec::with_capacity(usize::from(width) * usize::from(rows) * 4);
            for _ in 0..u32::from(width) * u32::from(rows) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                pixels.extend_from_slice(&((seed >> 33) as u32).to_le_bytes());
            }
            self.connection
                .put_image(ImageFormat::Z_PIXMAP, self.root, self.gc, width, rows, 0, top as i16, 0, 24, &pixels)
                .unwrap();
        }
        self.sync();
    }

    /// Sets another size through RandR, as `xrandr --fb` with a new mode would.
    pub(crate) fn resize(&self, width: u16, height: u16) {
        let resources = self.connection.randr_get_screen_resources(self.root).unwrap().reply().unwrap();
        // The server refuses a name that it has seen before, and identifiers are never used twice.
        let name = format!("{width}x{height}-{}", self.connection.generate_id().unwrap());
        let info = randr::ModeInfo { width, height, name_len: name.len() as u16, ..Default::default() };
        let mode = self.connection.randr_create_mode(self.root, info, name.as_bytes()).unwrap().reply().unwrap().mode;
        let (output, crtc) = (resources.outputs[0], resources.crtcs[0]);
        self.connection.randr_add_output_mode(output, mode).unwrap().check().unwrap();
        let time = x11rb::CURRENT_TIME;
        let off =
            self.connection.randr_set_crtc_config(crtc, time, time, 0, 0, x11rb::NONE, randr::Rotation::ROTATE0, &[]);
        off.unwrap().reply().unwrap();
        self.connection.randr_set_screen_size(self.root, width, height, 300, 200).unwrap().check().unwrap();
        let on =
            self.connection.randr_set_crtc_config(crtc, time, time, 0, 0, mode, randr::Rotation::ROTATE0, &[output]);
        on.unwrap().reply().unwrap();
        self.sync();
    }
}

/// A copy of one frame.
pub(crate) struct Seen {
    pub(crate) key: bool,
    pub(crate) size: (u16, u16),
    pub(crate) at: Instant,
    pub(crate) captured_at: Instant,
    pub(crate) data: Vec<u8>,
    pub(crate) source: Picture,
}

#[derive(Default)]
struct Log {
    frames: Mutex<Vec<Seen>>,
    more: Condvar,
}

/// A running video that remembers every frame.
pub(crate) struct Watch {
    pub(crate) video: Arc<Video>,
    log: Arc<Log>,
}

pub(crate) fn rendition(codec: VideoCodec, quality: Quality) -> Rendition {
    Rendition { codec, quality }
}

impl Watch {
    pub(crate) fn start(display: &str) -> Self {
        Self::start_with(display, 30, 8_000_000)
    }

    pub(crate) fn start_with(display: &str, max_fps: u32, max_bit_rate: u32) -> Self {
        let config = VideoConfig { display: display.to_owned(), xauthority: None, max_fps, max_bit_rate };
        let log = Arc::<Log>::default();
        let writer = log.clone();
        let inspector = move |frame: &VideoFrame, source: &Picture| {
            let size = (frame.width, frame.height);
            let source = source.clone();
            let (captured_at, data) = (frame.captured_at, frame.data.to_vec());
            let seen = Seen { key: frame.key, size, at: Instant::now(), captured_at, data, source };
            writer.frames.lock().push(seen);
            writer.more.notify_all();
        };
        let video = Video::start_inspected(config, Arc::new(|_| {}), Arc::new(inspector)).unwrap();
        Self { video: Arc::new(video), log }
    }

    /// Waits until `check` is happy with the frames so far.
    pub(crate) fn until<T>(&self, what: &str, mut check: impl FnMut(&[Seen]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut frames = self.log.frames.lock();
        loop {
            if let Some(found) = check(&frames) {
                return found;
            }
            assert!(!self.log.more.wait_until(&mut frames, deadline).timed_out(), "no {what} in time");
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.log.frames.lock().len()
    }

    /// Decodes all frames so far and returns the last picture with what it was made from.
    pub(crate) fn decode(&self, codec: VideoCodec) -> (Picture, Picture) {
        let mut decoder = decode::Decoder::new(codec);
        let frames = self.log.frames.lock();
        let mut last = None;
        for frame in frames.iter() {
            last = Some(decoder.decode(&frame.data));
        }
        (last.expect("a frame"), frames.last().expect("a frame").source.clone())
    }

    /// Waits until refinement is over: no frame for a second, in which this process had its turns: where it has none, an encoder
    /// has none either.
    pub(crate) fn settle(&self) {
        let (mut seen, mut looks) = (0, 0);
        eventually("an end of refinement", || {
            let frames = self.log.frames.lock();
            looks = if frames.len() == seen { looks + 1 } else { 0 };
            seen = frames.len();
            looks > 100 && frames.last().is_some_and(|frame| frame.at.elapsed() > Duration::from_secs(1))
        });
    }

    pub(crate) fn stats(&self, rendition: Rendition) -> RenditionStats {
        self.video.stats().into_iter().find(|stats| stats.rendition == rendition).expect("it runs")
    }
}

/// Polls a condition.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Red, green, blue at a point of a decoded picture: BT.601, limited range.
pub(crate) fn colour_at(picture: &Picture, x: usize, y: usize) -> [f64; 3] {
    let luma = (f64::from(picture.planes[0][y * picture.stride + x]) - 16.0) * 255.0 / 219.0;
    let chroma =
        |plane: usize| (f64::from(picture.planes[plane][y / 2 * (picture.stride / 2) + x / 2]) - 128.0) * 255.0 / 224.0;
    let (cb, cr) = (chroma(1), chroma(2));
    [luma + 1.402 * cr, luma - 0.344_136 * cb - 0.714_136 * cr, luma + 1.772 * cb]
}
