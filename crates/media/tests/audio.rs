//! Sound from a FIFO arrives as Opus that decodes to the same tone, and silence costs nothing.
// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::{
    f64::consts::TAU,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use glasshouse_media::{Audio, AudioConfig, AudioPacket};

/// Only ever waited for when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
const RATE: usize = 48_000;

struct Fifo(PathBuf);

impl Fifo {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("glasshouse-audio-{name}-{}", std::process::id()));
        let fifo = Self(path);
        fifo.make();
        fifo
    }

    fn make(&self) {
        rustix::fs::mkfifoat(rustix::fs::CWD, &self.0, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    }

    fn writer(&self) -> File {
        File::options().read(true).write(true).open(&self.0).unwrap()
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn start(path: &Path) -> (Audio, mpsc::Receiver<Arc<AudioPacket>>) {
    let (sender, packets) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let config = AudioConfig { fifo: path.to_owned(), bit_rate: 128_000, frame: Duration::from_millis(10) };
    let sink = move |packet| {
        let _ = sender.lock().unwrap().send(packet);
    };
    (Audio::start(config, Arc::new(sink)).unwrap(), packets)
}

/// 10 ms of a tone of amplitude one half, `n`-th piece.
fn tone(hertz: f64, n: usize) -> Vec<u8> {
    (n * 480..(n + 1) * 480)
        .flat_map(|i| {
            let sample = ((i as f64 * hertz / RATE as f64 * TAU).sin() * 16_384.0) as i16;
            [sample.to_le_bytes(), sample.to_le_bytes()].concat()
        })
        .collect()
}

/// Writes something and waits until it was read: what is read together and late is dropped but for its end.
fn give(writer: &mut File, sound: &[u8]) {
    writer.write_all(sound).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while rustix::io::ioctl_fionread(&*writer).unwrap() > 0 {
        assert!(Instant::now() < deadline, "nobody reads");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Writes a tone at its own speed until enough packets came.
fn play(
    writer: &mut File,
    hertz: f64,
    packets: &mpsc::Receiver<Arc<AudioPacket>>,
    count: usize,
) -> Vec<Arc<AudioPacket>> {
    let (deadline, mut got) = (Instant::now() + PATIENCE, Vec::new());
    for n in 0.. {
        give(writer, &tone(hertz, n));
        while let Ok(packet) = packets.recv_timeout(Duration::from_millis(10)) {
            got.push(packet);
        }
        if got.len() >= count {
            return got;
        }
        assert!(Instant::now() < deadline, "{} of {count} packets", got.len());
    }
    unreachable!()
}

/// Strength of one frequency (Goertzel).
fn strength(samples: &[i16], hertz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (i, &sample) in samples.iter().enumerate() {
        let angle = i as f64 * hertz / RATE as f64 * TAU;
        re += f64::from(sample) * angle.cos();
        im += f64::from(sample) * angle.sin();
    }
    re.hypot(im) * 2.0 / samples.len() as f64
}

#[test]
fn tone_arrives() {
    let fifo = Fifo::new("tone");
    let (audio, packets) = start(&fifo.0);
    let mut writer = fifo.writer();
    audio.acquire();
    let packets = play(&mut writer, 523.0, &packets, 60);
    let mut decoder = opus::Decoder::new(RATE as u32, opus::Channels::Stereo).unwrap();
    let mut left = Vec::new();
    for packet in &packets {
        let mut out = [0i16; 5760 * 2];
        let count = decoder.decode(&packet.data, &mut out, false).unwrap();
        assert_eq!(count, 480);
        left.extend(out[..count * 2].iter().step_by(2));
    }
    // The middle one of all: a codec begins softly.
    let typical = |hertz: f64| {
        let mut strengths: Vec<f64> = left.chunks_exact(480 * 4).map(|piece| strength(piece, hertz)).collect();
        strengths.sort_by(f64::total_cmp);
        strengths[strengths.len() / 2]
    };
    let right_one = typical(523.0);
    assert!((14_000.0..18_000.0).contains(&right_one), "amplitude {right_one}");
    assert!(typical(740.0) < right_one / 10.0);
}

#[test]
fn silence_sends_nothing_and_sound_returns() {
    let fifo = Fifo::new("silence");
    let (audio, packets) = start(&fifo.0);
    let mut writer = fifo.writer();
    audio.acquire();
    play(&mut writer, 440.0, &packets, 5);
    for _ in 0..60 {
        give(&mut writer, &[0; 1_920]);
    }
    // The tone again: what it brings first is the start of a talk spurt, so the silence in between was not sent whole.
    let more = play(&mut writer, 440.0, &packets, 30);
    assert!(more.iter().any(|packet| packet.talk_spurt_start));
    assert!(more.len() < 60 + 30, "{} packets", more.len());
}

#[test]
fn nothing_without_listeners() {
    let fifo = Fifo::new("listeners");
    let (audio, packets) = start(&fifo.0);
    let mut writer = fifo.writer();
    // Four times what a pipe holds: the pipe is emptied though nobody listens, or this would block for ever.
    for n in 0..140 {
        writer.write_all(&tone(440.0, n)).unwrap();
    }
    assert!(packets.try_recv().is_err());
    audio.acquire();
    assert!(!play(&mut writer, 440.0, &packets, 3).is_empty());
    audio.release();
}

#[test]
fn fifo_may_come_late_and_be_replaced() {
    let fifo = Fifo::new("late");
    std::fs::remove_file(&fifo.0).unwrap();
    let (audio, packets) = start(&fifo.0);
    audio.acquire();
    fifo.make();
    play(&mut fifo.writer(), 440.0, &packets, 3);
    std::fs::remove_file(&fifo.0).unwrap();
    fifo.make();
    play(&mut fifo.writer(), 440.0, &packets, 3);
}

#[test]
fn wrong_settings_are_refused() {
    let config = AudioConfig { fifo: "/nonexistent".into(), bit_rate: 128_000, frame: Duration::from_millis(15) };
    let error = Audio::start(config, Arc::new(|_| {})).err().unwrap();
    assert!(error.to_string().contains("10 or 20 ms"), "{error}");
}
