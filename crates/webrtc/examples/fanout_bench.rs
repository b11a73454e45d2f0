//! What one more viewer costs: a synthetic stream of 30 frames and 2 Mbit/s to many viewers on loopback.
//!
//! `cargo run --release -p glasshouse-webrtc --example fanout_bench -- [--viewers N] [--seconds N] [--json]`
//!
//! The viewers are str0m clients in a second process. Prints the frames that each received, and the CPU time of the
//! engine's thread with one viewer, with all of them, and per extra viewer.
#![allow(clippy::print_stdout, reason = "a command that reports to people and scripts")]

use std::{
    error::Error,
    io::{BufRead, BufReader, Write},
    net::UdpSocket,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use glasshouse_media::{Quality, Rendition, VideoCodec, VideoFrame};
use glasshouse_webrtc::{Config, ConnectOptions, Engine, Event, Port, Sources, VideoChoice, ViewerId};
use str0m::{Candidate, Event as RtcEvent, Input, Output, Rtc, change::SdpOffer, net::Protocol, net::Receive};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const FRAMES_PER_SECOND: u32 = 30;
const BITS_PER_SECOND: usize = 2_000_000;
const RENDITION: Rendition = Rendition { codec: VideoCodec::Vp8, quality: Quality::High };

struct NoSources;

impl Sources for NoSources {
    fn acquire(&self, _: Rendition) {}
    fn release(&self, _: Rendition) {}
    fn request_key_frame(&self, _: Rendition) {}
    fn set_bit_rate(&self, _: Rendition, _: u32) {}
    fn acquire_audio(&self) {}
    fn release_audio(&self) {}
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| -> Result<usize> {
        match arguments.iter().position(|argument| argument == name) {
            Some(at) => Ok(arguments.get(at + 1).ok_or(format!("{name} needs a number"))?.parse()?),
            None => Ok(default),
        }
    };
    if arguments.first().is_some_and(|argument| argument == "--clients") {
        return clients();
    }
    let viewers = number("--viewers", 50)?.max(2);
    let time = Duration::from_secs(number("--seconds", 5)? as u64);
    let one = measure(1, time)?;
    let all = measure(viewers, time)?;
    let per_extra = (all.cpu - one.cpu) / (viewers - 1) as f64;
    let median = all.received[all.received.len() / 2];
    if arguments.iter().any(|argument| argument == "--json") {
        println!(
            "{{\"viewers\":{viewers},\"frames_sent\":{},\"frames_min\":{},\"frames_median\":{median},\
             \"cpu_percent_one\":{:.3},\"cpu_percent_all\":{:.3},\"cpu_percent_per_extra_viewer\":{per_extra:.4}}}",
            all.sent, all.received[0], one.cpu, all.cpu
        );
    } else {
        println!("{viewers} viewers, {} frames sent; received: min {}, median {median}", all.sent, all.received[0]);
        println!("engine thread: {:.2} % of a core with 1 viewer, {:.2} % with {viewers}", one.cpu, all.cpu);
        println!("per extra viewer: {per_extra:.3} % of a core");
    }
    Ok(())
}

struct Measured {
    sent: usize,
    /// Frames of each viewer, ascending.
    received: Vec<usize>,
    /// Per cent of one core.
    cpu: f64,
}

fn measure(viewers: usize, time: Duration) -> Result<Measured> {
    let connected = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connected);
    let port = Port::Own { udp: "127.0.0.1:0".parse()?, tcp: None };
    let config = Config { port, nat1to1: Vec::new(), codec: VideoCodec::Vp8 };
    let engine = Engine::start(
        config,
        Box::new(move |event| {
            if matches!(event, Event::Video(..)) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }),
    )?;
    engine.attach_sources(Box::new(NoSources));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut child =
        Command::new(std::env::current_exe()?).arg("--clients").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut to = child.stdin.take().ok_or("no stdin")?;
    let mut from = BufReader::new(child.stdout.take().ok_or("no stdout")?);
    let mut line = String::new();
    for id in 0..viewers {
        let options = ConnectOptions {
            request_addr: Some("127.0.0.1".parse()?),
            video: VideoChoice { disabled: false, auto: true, quality: Quality::High, codec: None },
            audio_disabled: true,
        };
        let offer = runtime.block_on(engine.connect(ViewerId(id as u64), options))?;
        writeln!(to, "{}", offer.sdp.replace("\r\n", "|"))?;
        line.clear();
        from.read_line(&mut line)?;
        runtime.block_on(engine.answer(ViewerId(id as u64), line.trim_end().replace('|', "\r\n")))?;
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while connected.load(Ordering::Relaxed) < viewers {
        if Instant::now() > deadline {
            return Err("the viewers did not connect".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    let period = Duration::from_secs(1) / FRAMES_PER_SECOND;
    let before = engine_cpu()?;
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < time {
        let size = if sent == 0 { 100_000 } else { BITS_PER_SECOND / 8 / FRAMES_PER_SECOND as usize };
        let mut data = vec![sent as u8; size];
        data[0] = u8::from(sent != 0);
        let now = Instant::now();
        engine.video_frame(Arc::new(VideoFrame {
            rendition: RENDITION,
            key: sent == 0,
            width: 1280,
            height: 720,
            damaged_at: now,
            captured_at: now,
            encode_time: Duration::ZERO,
            data: data.into(),
        }));
        sent += 1;
        thread::sleep((start + period * sent as u32).saturating_duration_since(Instant::now()));
    }
    let cpu = (engine_cpu()? - before) / start.elapsed().as_secs_f64() * 100.0;
    // What is on its way arrives.
    thread::sleep(Duration::from_millis(500));
    drop(to);
    let mut received = Vec::new();
    for line in from.lines() {
        received.push(line?.parse()?);
    }
    child.wait()?;
    engine.stop();
    received.sort_unstable();
    if received.len() != viewers {
        return Err("viewers were lost".into());
    }
    Ok(Measured { sent, received, cpu })
}

/// Seconds of CPU that the engine's thread has used.
fn engine_cpu() -> Result<f64> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == "webrtc" {
            let schedule = std::fs::read_to_string(task.join("schedstat"))?;
            let nanoseconds: f64 = schedule.split(' ').next().ok_or("empty schedstat")?.parse()?;
            return Ok(nanoseconds / 1e9);
        }
    }
    Err("the engine has no thread".into())
}

/// The second process: one client per offer read, frame counts written when the input ends.
fn clients() -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for offer in std::io::stdin().lines() {
        let mut client = Client::new()?;
        let offer = SdpOffer::from_sdp_string(&offer?.replace('|', "\r\n"))?;
        let answer = client.rtc.sdp_api().accept_offer(offer)?;
        println!("{}", answer.to_sdp_string().replace("\r\n", "|"));
        let stop = Arc::clone(&stop);
        threads.push(thread::spawn(move || client.run(&stop)));
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        println!("{}", thread.join().map_err(|_| "a client panicked")??);
    }
    Ok(())
}

struct Client {
    rtc: Rtc,
    socket: UdpSocket,
    frames: usize,
}

impl Client {
    fn new() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20)?;
        let mut rtc = Rtc::builder().set_reordering_size_video(1000).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr()?, "udp")?);
        Ok(Self { rtc, socket, frames: 0 })
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<usize> {
        let own = self.socket.local_addr()?;
        let mut buffer = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            let deadline = loop {
                match self.rtc.poll_output()? {
                    Output::Transmit(transmit) => {
                        self.socket.send_to(&transmit.contents, transmit.destination)?;
                    }
                    Output::Event(RtcEvent::MediaData(_)) => self.frames += 1,
                    Output::Event(_) => {}
                    Output::Timeout(at) => break at,
                }
            };
            let wait = deadline.saturating_duration_since(Instant::now());
            self.socket.set_read_timeout(Some(wait.clamp(Duration::from_millis(1), Duration::from_millis(100))))?;
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let receive = Receive::new(Protocol::Udp, from, own, &buffer[..length])?;
                    self.rtc.handle_input(Input::Receive(Instant::now(), receive))?;
                }
                Err(_) => self.rtc.handle_input(Input::Timeout(Instant::now()))?,
            }
        }
        Ok(self.frames)
    }
}
