//! Encodes a display for some seconds, decodes what came out, and prints what it cost and how good it is.
//!
//! `encode_bench --display :N [--xauthority FILE] [--codec vp8|vp9|h264] [--quality low|medium|high] [--fps N]
//! [--bit-rate BITS] [--seconds N] [--skip-seconds N] [--json]`
#![allow(clippy::print_stdout)]

#[path = "../tests/common/decode.rs"]
mod decode;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use decode::{Decoder, luma_error, psnr};
use glasshouse_media::{Picture, Quality, Rendition, Video, VideoCodec, VideoConfig, VideoFrame};
use parking_lot::Mutex;

struct Options {
    config: VideoConfig,
    rendition: Rendition,
    bit_rate: u32,
    seconds: f64,
    skip: f64,
    json: bool,
}

/// One frame with a copy of the luma that it was made from.
struct Recorded {
    at: Instant,
    data: Vec<u8>,
    source: Picture,
    key: bool,
    encode_time: Duration,
    delay: Duration,
}

#[derive(Default)]
struct Recording {
    frames: Vec<Recorded>,
    /// CPU time spent on recording, which is not the encoder's.
    overhead: Duration,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        config: VideoConfig { display: String::new(), xauthority: None, max_fps: 30, max_bit_rate: 20_000_000 },
        rendition: Rendition { codec: VideoCodec::Vp8, quality: Quality::High },
        bit_rate: 2_000_000,
        seconds: 6.0,
        skip: 2.0,
        json: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        if name == "--json" {
            options.json = true;
            continue;
        }
        let value = args.next().ok_or(format!("{name} wants a value"))?;
        let number = || value.parse::<f64>().map_err(|_| format!("{name} wants a number, not {value}"));
        match name.as_str() {
            "--display" => options.config.display = value,
            "--xauthority" => options.config.xauthority = Some(value.into()),
            "--fps" => options.config.max_fps = number()? as u32,
            "--bit-rate" => options.bit_rate = number()? as u32,
            "--seconds" => options.seconds = number()?,
            "--skip-seconds" => options.skip = number()?,
            "--codec" => {
                options.rendition.codec = match value.as_str() {
                    "vp8" => VideoCodec::Vp8,
                    "vp9" => VideoCodec::Vp9,
                    "h264" => VideoCodec::H264,
                    other => return Err(format!("unknown codec {other}")),
                }
            }
            "--quality" => {
                options.rendition.quality = match value.as_str() {
                    "low" => Quality::Low,
                    "medium" => Quality::Medium,
                    "high" => Quality::High,
                    other => return Err(format!("unknown quality {other}")),
                }
            }
            other => return Err(format!("unknown option {other}")),
        }
    }
    if options.config.display.is_empty() {
        options.config.display = std::env::var("DISPLAY").map_err(|_| "name a display with --display :N")?;
    }
    Ok(options)
}

/// CPU time of one thread or of the process so far.
fn cpu(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() {
    let options = options().unwrap_or_else(|error| {
        eprintln!("encode_bench: {error}");
        std::process::exit(2);
    });
    let recording = Arc::new(Mutex::new(Recording::default()));
    let recorder = recording.clone();
    let inspector = move |frame: &VideoFrame, source: &Picture| {
        let before = cpu(rustix::time::ClockId::ThreadCPUTime);
        let luma = [source.planes[0].clone(), Vec::new(), Vec::new()];
        let recorded = Recorded {
            at: Instant::now(),
            data: frame.data.to_vec(),
            source: Picture { planes: luma, ..*source },
            key: frame.key,
            encode_time: frame.encode_time,
            delay: frame.damaged_at.elapsed(),
        };
        let mut recording = recorder.lock();
        recording.frames.push(recorded);
        recording.overhead += cpu(rustix::time::ClockId::ThreadCPUTime) - before;
    };
    let video = Video::start_inspected(options.config.clone(), Arc::new(|_| {}), Arc::new(inspector));
    let video = video.unwrap_or_else(|error| {
        eprintln!("encode_bench: {error}");
        std::process::exit(1);
    });
    video.acquire(options.rendition);
    video.set_bit_rate(options.rendition, options.bit_rate);
    // The first key frame and its refinement are not what is measured.
    std::thread::sleep(Duration::from_secs_f64(options.skip));
    let overhead = recording.lock().overhead;
    let (start, start_cpu) = (Instant::now(), cpu(rustix::time::ClockId::ProcessCPUTime));
    std::thread::sleep(Duration::from_secs_f64(options.seconds));
    let (end, end_cpu) = (Instant::now(), cpu(rustix::time::ClockId::ProcessCPUTime));
    let (stats, capture) = (video.stats(), video.capture_stats());
    drop(video);
    let mut recording = recording.lock();
    let spent = (end_cpu - start_cpu).saturating_sub(recording.overhead.saturating_sub(overhead));
    let wall = (end - start).as_secs_f64();
    report(&options, &std::mem::take(&mut recording.frames), start..end, spent.as_secs_f64() / wall * 100.0);
    if !options.json {
        println!("{stats:?}\n{capture:?}");
    }
}

/// Decodes everything and prints the measured part.
fn report(options: &Options, frames: &[Recorded], measured: std::ops::Range<Instant>, cpu: f64) {
    let mut decoder = Decoder::new(options.rendition.codec);
    let (mut count, mut keys, mut bytes, mut psnr_sum, mut psnr_min) = (0u32, 0u32, 0usize, 0.0, f64::MAX);
    let mut encode = Vec::new();
    let mut delays = Vec::new();
    let mut last_psnr = 0.0;
    for frame in frames {
        let decoded = decoder.decode(&frame.data);
        let quality = psnr(luma_error(&decoded, &frame.source));
        last_psnr = quality;
        if !measured.contains(&frame.at) {
            continue;
        }
        count += 1;
        keys += u32::from(frame.key);
        bytes += frame.data.len();
        psnr_sum += quality;
        psnr_min = quality.min(psnr_min);
        encode.push(frame.encode_time.as_secs_f64() * 1000.0);
        delays.push(frame.delay.as_secs_f64() * 1000.0);
    }
    encode.sort_by(f64::total_cmp);
    delays.sort_by(f64::total_cmp);
    let at = |list: &[f64], share: f64| list.get((list.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    let mean = if count > 0 { psnr_sum / f64::from(count) } else { last_psnr };
    let least = if count > 0 { psnr_min } else { last_psnr };
    let first = frames.first().map_or(0, |frame| frame.data.len());
    let (codec, json) = (options.rendition.codec.name(), options.json);
    let (p50, p95, delay50, delay95) = (at(&encode, 0.5), at(&encode, 0.95), at(&delays, 0.5), at(&delays, 0.95));
    if json {
        println!(
            "{{\"codec\":\"{codec}\",\"frames\":{count},\"key_frames\":{keys},\"bytes\":{bytes},\"cpu_percent\":{cpu:.2},\
             \"psnr\":{mean:.2},\"psnr_min\":{least:.2},\"psnr_last\":{last_psnr:.2},\"encode_ms_p50\":{p50:.2},\
             \"encode_ms_p95\":{p95:.2},\"delay_ms_p50\":{delay50:.2},\"delay_ms_p95\":{delay95:.2},\"first_key_bytes\":{first}}}"
        );
    } else {
        println!(
            "{codec}: {count} frames ({keys} key), {bytes} bytes, {cpu:.2} % of a core, PSNR mean {mean:.2} min {least:.2} \
             last {last_psnr:.2} dB, encode p50 {p50:.2} p95 {p95:.2} ms, damage to frame p50 {delay50:.2} p95 {delay95:.2} ms, \
             first key frame {first} bytes"
        );
    }
}
