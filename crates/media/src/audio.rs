//! Sound: raw PCM from the session's PulseAudio FIFO to Opus packets.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use opus::{Application, Bitrate, Channels, Encoder};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::{
    Error,
    framer::{Framer, RATE},
    pool::{FrameData, Pool},
};

/// Where the sound comes from: 48 kHz, two channels, signed 16 bit little endian, as `module-pipe-sink` writes it.
#[derive(Debug, Clone)]
pub struct AudioConfig {
    /// The FIFO.
    pub fifo: PathBuf,
    /// Bit rate in bit/s (6,000–510,000).
    pub bit_rate: u32,
    /// Length of a packet: 10 or 20 ms.
    pub frame: Duration,
}

/// One Opus packet.
#[derive(Debug)]
pub struct AudioPacket {
    /// When its first sample was read, the same clock as `VideoFrame::captured_at`. Packets of one talk spurt are exactly one
    /// packet length apart.
    pub captured_at: Instant,
    /// First packet after silence (RTP marker bit).
    pub talk_spurt_start: bool,
    /// Opus data (RFC 6716).
    pub data: FrameData,
}

type Sink = Arc<dyn Fn(Arc<AudioPacket>) + Send + Sync>;

/// Bytes read at once: a third of a second, the size of a pipe.
const CHUNK: usize = 64 << 10;
/// Largest Opus packet that RFC 6716 recommends room for.
const MAX_PACKET: usize = 4_000;
/// How often a silent FIFO is looked at: has the sound server made a new one?
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often the FIFO is emptied while nobody listens; shorter than what a pipe holds.
const DISCARD: Duration = Duration::from_millis(250);

/// The sound of one session. Dropping it stops its thread.
pub struct Audio {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    listeners: AtomicUsize,
    stop: AtomicBool,
    wake: OwnedFd,
}

impl Shared {
    fn wake(&self) {
        // An eventfd that cannot take one more is readable already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Audio {
    /// Opens the FIFO, encodes while somebody listens, and calls `sink` with every packet; nothing is sent in silence.
    /// A FIFO that appears later or whose writer restarts is picked up by itself. `sink` must not block.
    ///
    /// # Errors
    /// The encoder refuses its settings, or the system has no more threads or descriptors.
    pub fn start(config: AudioConfig, sink: Sink) -> Result<Self, Error> {
        if ![10, 20].map(Duration::from_millis).contains(&config.frame) {
            return Err(refused("a packet is 10 or 20 ms long".into()));
        }
        let encoder = encoder(config.bit_rate).map_err(|error| refused(error.to_string()))?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io::Error::from)?;
        let shared = Arc::new(Shared { listeners: AtomicUsize::new(0), stop: AtomicBool::new(false), wake });
        let worker = Worker {
            shared: shared.clone(),
            framer: Framer::new(config.frame),
            fifo: config.fifo,
            encoder,
            pool: Arc::default(),
            sink,
        };
        let thread = std::thread::Builder::new().name("audio".into()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Counts one more listener.
    pub fn acquire(&self) {
        self.shared.listeners.fetch_add(1, Ordering::AcqRel);
        self.shared.wake();
    }

    /// Counts one listener less.
    pub fn release(&self) {
        let listeners = self.shared.listeners.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(listeners > 0, "released more often than acquired");
    }
}

impl Drop for Audio {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was printed by it.
            let _ = thread.join();
        }
    }
}

fn refused(reason: String) -> Error {
    Error::Encoder { codec: "Opus", reason }
}

fn encoder(bit_rate: u32) -> Result<Encoder, opus::Error> {
    let mut encoder = Encoder::new(RATE as u32, Channels::Stereo, Application::Audio)?;
    encoder.set_bitrate(Bitrate::Bits(i32::try_from(bit_rate).unwrap_or(i32::MAX)))?;
    encoder.set_inband_fec(true)?;
    encoder.set_packet_loss_perc(5)?;
    // Half the work of the default at no audible loss at the bit rates used here.
    encoder.set_complexity(5)?;
    Ok(encoder)
}

struct Worker {
    shared: Arc<Shared>,
    fifo: PathBuf,
    framer: Framer,
    encoder: Encoder,
    pool: Arc<Pool>,
    sink: Sink,
}

impl Worker {
    fn run(mut self) {
        let mut chunk = vec![0u8; CHUNK];
        let mut samples = vec![0i16; self.framer.samples()];
        let mut file = None;
        let mut listening = false;
        while !self.shared.stop.load(Ordering::Acquire) {
            if !file.as_ref().is_some_and(|file| is_still_at(file, &self.fifo)) {
                file = open(&self.fifo);
            }
            let wanted = self.shared.listeners.load(Ordering::Acquire) > 0;
            if wanted != listening {
                listening = wanted;
                self.framer.reset();
                // What waited in the pipe is old.
                if let (true, Some(file)) = (wanted, &mut file) {
                    while matches!(file.read(&mut chunk), Ok(1..)) {}
                }
            }
            if !listening {
                // One look at the pipe, a rest, and it is emptied: 4 wake-ups a second while sound plays to nobody.
                if self.wait(file.as_ref(), LOOK_AGAIN)
                    && !self.wait(None, DISCARD)
                    && let Some(file) = &mut file
                {
                    while matches!(file.read(&mut chunk), Ok(1..)) {}
                }
                continue;
            }
            // As long as there is sound nothing else is looked at.
            while self.wait(file.as_ref(), LOOK_AGAIN) {
                let Some(Ok(read @ 1..)) = file.as_mut().map(|file| file.read(&mut chunk)) else { break };
                self.framer.push(&chunk[..read], Instant::now());
                while let Some(stamp) = self.framer.pop(&mut samples) {
                    self.send(stamp, &samples);
                }
                if self.shared.listeners.load(Ordering::Acquire) == 0 {
                    break;
                }
            }
        }
    }

    fn send(&mut self, stamp: crate::framer::Stamp, samples: &[i16]) {
        let mut buffer = self.pool.take();
        buffer.resize(MAX_PACKET, 0);
        match self.encoder.encode(samples, &mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                (self.sink)(Arc::new(AudioPacket {
                    captured_at: stamp.captured_at,
                    talk_spurt_start: stamp.talk_spurt_start,
                    data: self.pool.wrap(buffer),
                }));
            }
            Err(error) => tracing::warn!(%error, "a frame of sound could not be encoded"),
        }
    }

    /// Waits for sound; `false` when there is none in time or somebody wants the thread's attention.
    fn wait(&self, file: Option<&File>, time: Duration) -> bool {
        let mut polled = [
            PollFd::new(&self.shared.wake, PollFlags::IN),
            // In place of a missing FIFO something that is never asked.
            PollFd::from_borrowed_fd(
                file.map_or(self.shared.wake.as_fd(), AsFd::as_fd),
                if file.is_some() { PollFlags::IN } else { PollFlags::empty() },
            ),
        ];
        let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        if poll(&mut polled, Some(&time)).is_err() {
            return false;
        }
        let woken = polled[0].revents().contains(PollFlags::IN);
        let sound = file.is_some() && polled[1].revents().contains(PollFlags::IN);
        if woken {
            // Emptied already: nothing to do.
            let _ = rustix::io::read(&self.shared.wake, &mut [0u8; 8]);
        }
        sound && !woken
    }
}

/// Opens for reading and writing: with a writer of our own, the end of the other writer is not the end of the file.
fn open(path: &Path) -> Option<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).write(true).custom_flags(flags).open(path).ok()?;
    file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()).then_some(file)
}

fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(there)) => open.ino() == there.ino() && open.dev() == there.dev(),
        _ => false,
    }
}
