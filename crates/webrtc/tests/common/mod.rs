//! A real engine with recorded sources, and viewers made of str0m on real sockets.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use glasshouse_media::{AudioPacket, Quality, Rendition, VideoCodec, VideoFrame};
use glasshouse_webrtc::{Config, ConnectOptions, Door, Engine, Event, Offer, Port, Sources, VideoChoice, ViewerId};
use parking_lot::Mutex;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use str0m::{
    Candidate, Event as RtcEvent, Input, Output, Rtc,
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    channel::ChannelId,
    media::{KeyframeRequestKind, MediaData, MediaKind, Mid},
    net::{Protocol, Receive, TcpType},
};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// Of a viewer's UDP socket, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;
pub const HIGH_VP8: Rendition = Rendition { codec: VideoCodec::Vp8, quality: Quality::High };
pub const HIGH_VP9: Rendition = Rendition { codec: VideoCodec::Vp9, quality: Quality::High };

#[derive(Default)]
pub struct Record {
    pub held: HashMap<Rendition, i32>,
    pub acquired: HashMap<Rendition, u32>,
    pub key_requests: HashMap<Rendition, u32>,
    pub rates: HashMap<Rendition, u32>,
    pub listeners: i32,
}

#[derive(Clone, Default)]
pub struct Recorder(pub Arc<Mutex<Record>>);

impl Sources for Recorder {
    fn acquire(&self, rendition: Rendition) {
        let mut record = self.0.lock();
        *record.held.entry(rendition).or_default() += 1;
        *record.acquired.entry(rendition).or_default() += 1;
    }
    fn release(&self, rendition: Rendition) {
        *self.0.lock().held.entry(rendition).or_default() -= 1;
    }
    fn request_key_frame(&self, rendition: Rendition) {
        *self.0.lock().key_requests.entry(rendition).or_default() += 1;
    }
    fn set_bit_rate(&self, rendition: Rendition, bits_per_second: u32) {
        self.0.lock().rates.insert(rendition, bits_per_second);
    }
    fn acquire_audio(&self) {
        self.0.lock().listeners += 1;
    }
    fn release_audio(&self) {
        self.0.lock().listeners -= 1;
    }
}

/// The engine under test.
pub struct Rig {
    pub engine: Engine,
    pub sources: Recorder,
    pub events: Arc<Mutex<Vec<Event>>>,
    pub door: Option<Door>,
    socket: Option<PathBuf>,
    listener: TcpListener,
    runtime: tokio::runtime::Runtime,
}

/// Tag of the engine behind a door.
pub const TAG: &str = "abcd2345";

impl Rig {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = Some(listener.local_addr().unwrap().port());
        Self::with(Port::Own { udp: "127.0.0.1:0".parse().unwrap(), tcp }, listener, None)
    }

    /// An engine without ports, behind a door.
    pub fn behind_a_door() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let socket = std::env::temp_dir().join(format!("glasshouse-media-{}-{count}", std::process::id()));
        let _ = std::fs::remove_file(&socket);
        // UDP and TCP with the same number, of which either may be taken.
        let (door, listener) = std::iter::repeat_with(|| {
            let door = open_door("127.0.0.1:0".parse().unwrap(), &socket).unwrap();
            let listener = TcpListener::bind(door.address().address).ok()?;
            Some((door, listener))
        })
        .take(100)
        .find_map(|both| both)
        .unwrap();
        let mut rig = Self::with(Port::Shared { socket: socket.clone(), tag: TAG.to_owned() }, listener, Some(socket));
        rig.engine.announce(door.address());
        rig.door = Some(door);
        rig
    }

    /// Opens the door anew, at the same place.
    pub fn reopen(&mut self, address: SocketAddr) {
        let socket = self.socket.clone().unwrap();
        self.door = Some(open_door(address, &socket).unwrap());
    }

    fn with(port: Port, listener: TcpListener, socket: Option<PathBuf>) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let config = Config { port, nat1to1: Vec::new(), codec: VideoCodec::Vp8 };
        let engine = Engine::start(config, Box::new(move |event| seen.lock().push(event))).unwrap();
        let sources = Recorder::default();
        engine.attach_sources(Box::new(sources.clone()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { engine, sources, events, door: None, socket, listener, runtime }
    }

    pub fn block<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn offer(&self, id: u64) -> Offer {
        self.block(self.engine.connect(ViewerId(id), options())).unwrap()
    }

    /// A viewer over UDP that has answered; it connects when it is run.
    pub fn udp(&self, id: u64) -> Client {
        self.client(id, false, |_| {})
    }

    /// A viewer over TCP only.
    pub fn tcp(&self, id: u64) -> Client {
        self.client(id, true, |_| {})
    }

    pub fn client(&self, id: u64, tcp: bool, edit: impl FnOnce(&mut String)) -> Client {
        let offer = self.offer(id);
        let mut sdp = offer.sdp;
        edit(&mut sdp);
        let mut client = if tcp {
            let stream = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let accepted = self.listener.accept().unwrap().0;
            match &self.door {
                None => self.engine.accept_tcp(accepted),
                Some(door) => {
                    accepted.set_nonblocking(true).unwrap();
                    let _within = self.runtime.enter();
                    door.accept_tcp(tokio::net::TcpStream::from_std(accepted).unwrap());
                }
            }
            Client::new(Socket::tcp(stream))
        } else {
            Client::new(Socket::udp())
        };
        let answer = client.answer(&sdp);
        self.block(self.engine.answer(ViewerId(id), answer)).unwrap();
        client
    }

    /// A viewer that is connected, shows `High` VP8 and has its data channel open.
    pub fn connected(&self, id: u64, tcp: bool) -> Client {
        let mut client = self.client(id, tcp, |_| {});
        client.run_until("connected", |client| client.connected && client.channel.is_some());
        self.wait("a rendition", || self.sources.0.lock().acquired.values().sum::<u32>() > 0);
        client
    }

    pub fn has(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.lock().iter().any(wanted)
    }

    pub fn wait(&self, what: &str, done: impl Fn() -> bool) {
        wait(what, done);
    }

    pub fn frame(&self, rendition: Rendition, key: bool, size: usize, seed: u64) -> Vec<u8> {
        let data = bitstream(key, size, seed);
        let now = Instant::now();
        self.engine.video_frame(Arc::new(VideoFrame {
            rendition,
            key,
            width: 1280,
            height: 720,
            damaged_at: now,
            captured_at: now,
            encode_time: Duration::ZERO,
            data: data.clone().into(),
        }));
        data
    }

    pub fn sound(&self, data: &[u8]) {
        let packet = AudioPacket { captured_at: Instant::now(), talk_spurt_start: true, data: data.to_vec().into() };
        self.engine.audio_packet(Arc::new(packet));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.engine.stop();
        if let Some(socket) = &self.socket {
            let _ = std::fs::remove_file(socket);
        }
    }
}

fn open_door(address: SocketAddr, socket: &std::path::Path) -> std::io::Result<Door> {
    let socket = socket.to_owned();
    Door::open(address, move |tag| (tag == TAG).then(|| socket.clone()))
}

pub fn options() -> ConnectOptions {
    ConnectOptions { request_addr: Some("127.0.0.1".parse().unwrap()), video: choice(None), audio_disabled: false }
}

pub fn choice(codec: Option<VideoCodec>) -> VideoChoice {
    VideoChoice { disabled: false, auto: false, quality: Quality::High, codec }
}

pub fn wait(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// Bytes whose first one says key frame or not as VP8 does; the rest is noise.
pub fn bitstream(key: bool, size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut data: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(size)
    .collect();
    data[0] = u8::from(!key);
    data
}

pub enum Socket {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, incoming: Vec<u8> },
}

impl Socket {
    /// With room for the largest frame at once: str0m asks for no more than about a hundred lost packets again, and on a busy
    /// machine the reader may be late by more.
    fn udp() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER).unwrap();
        }
        Self::Udp(socket)
    }

    fn tcp(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self::Tcp { stream, incoming: Vec::new() }
    }

    fn local(&self) -> SocketAddr {
        match self {
            Self::Udp(socket) => socket.local_addr().unwrap(),
            Self::Tcp { stream, .. } => stream.local_addr().unwrap(),
        }
    }

    fn send(&mut self, to: SocketAddr, data: &[u8]) {
        match self {
            Self::Udp(socket) => drop(socket.send_to(data, to)),
            Self::Tcp { stream, .. } => {
                let mut framed = u16::try_from(data.len()).unwrap().to_be_bytes().to_vec();
                framed.extend(data);
                let _ = stream.write_all(&framed);
            }
        }
    }

    fn receive(&mut self, timeout: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        let mut buffer = [0; 8192];
        match self {
            Self::Udp(socket) => {
                socket.set_read_timeout(Some(timeout)).unwrap();
                let (length, from) = socket.recv_from(&mut buffer).ok()?;
                Some((from, buffer[..length].to_vec()))
            }
            Self::Tcp { stream, incoming } => {
                let whole = |incoming: &Vec<u8>| {
                    let length = incoming.first_chunk::<2>().map(|length| usize::from(u16::from_be_bytes(*length)));
                    length.filter(|length| incoming.len() >= 2 + length)
                };
                if whole(incoming).is_none() {
                    stream.set_read_timeout(Some(timeout)).unwrap();
                    match stream.read(&mut buffer) {
                        Ok(length) => incoming.extend(&buffer[..length]),
                        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                        Err(_) => return None,
                    }
                }
                let length = whole(incoming)?;
                let datagram = incoming[2..2 + length].to_vec();
                incoming.drain(..2 + length);
                Some((stream.peer_addr().unwrap(), datagram))
            }
        }
    }
}

/// A viewer.
pub struct Client {
    pub rtc: Rtc,
    pub socket: Socket,
    pub connected: bool,
    pub closed: bool,
    pub channel: Option<(ChannelId, String)>,
    pub messages: Vec<Vec<u8>>,
    pub frames: Vec<MediaData>,
    pub sounds: Vec<MediaData>,
    pub restarted: bool,
    /// Every n-th RTP packet is lost.
    pub lose_every: Option<u32>,
    pub lost: u32,
    rtp: u32,
    told: Option<SocketAddr>,
    deadline: Instant,
}

impl Client {
    pub fn new(socket: Socket) -> Self {
        let mut rtc = Rtc::builder().set_reordering_size_video(1000).build(Instant::now());
        let candidate = match &socket {
            Socket::Udp(_) => Candidate::host(socket.local(), "udp").unwrap(),
            Socket::Tcp { .. } => {
                Candidate::builder().tcp().host(socket.local()).tcptype(TcpType::Active).build().unwrap()
            }
        };
        rtc.add_local_candidate(candidate);
        Self {
            rtc,
            socket,
            connected: false,
            closed: false,
            channel: None,
            messages: Vec::new(),
            frames: Vec::new(),
            sounds: Vec::new(),
            restarted: false,
            lose_every: None,
            lost: 0,
            rtp: 0,
            told: None,
            deadline: Instant::now(),
        }
    }

    /// Goes on from another port, as behind a NAT that forgot it.
    pub fn rebind(&mut self) {
        // What it says of itself stays what it was, as behind a NAT.
        self.told.get_or_insert(self.socket.local());
        self.socket = Socket::udp();
    }

    fn local(&self) -> SocketAddr {
        self.told.unwrap_or_else(|| self.socket.local())
    }

    pub fn answer(&mut self, offer: &str) -> String {
        let offer = SdpOffer::from_sdp_string(offer).unwrap();
        let answer = self.rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
        self.drain();
        answer
    }

    pub fn own_offer(&mut self) -> (String, SdpPendingOffer) {
        let mut api = self.rtc.sdp_api();
        api.add_media(MediaKind::Audio, str0m::media::Direction::SendOnly, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        (offer.to_sdp_string(), pending)
    }

    pub fn take_answer(&mut self, pending: SdpPendingOffer, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        self.drain();
    }

    pub fn send(&mut self, message: &[u8]) {
        let channel = self.channel.as_ref().unwrap().0;
        assert!(self.rtc.channel(channel).unwrap().write(true, message).unwrap());
        self.drain();
    }

    pub fn request_key_frame(&mut self) {
        let mid: Mid = "1".into();
        self.rtc.writer(mid).unwrap().request_keyframe(None, KeyframeRequestKind::Pli).unwrap();
        self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Transmit(transmit) => self.socket.send(transmit.destination, &transmit.contents),
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
                Output::Event(event) => match event {
                    RtcEvent::Connected => self.connected = true,
                    RtcEvent::ChannelOpen(channel, label) => self.channel = Some((channel, label)),
                    RtcEvent::ChannelData(data) => self.messages.push(data.data),
                    RtcEvent::MediaData(data) if data.params.spec().codec.is_video() => self.frames.push(data),
                    RtcEvent::MediaData(data) => self.sounds.push(data),
                    RtcEvent::Closed => self.closed = true,
                    _ => {}
                },
            }
        }
    }

    /// Takes one datagram, or lets a moment pass.
    pub fn step(&mut self) {
        let now = Instant::now();
        let wait =
            self.deadline.saturating_duration_since(now).clamp(Duration::from_millis(1), Duration::from_millis(5));
        let received = self.socket.receive(wait);
        let now = Instant::now();
        if let Some((from, datagram)) = received {
            let is_rtp = (128..192).contains(&datagram[0]) && !(192..224).contains(&datagram[1]);
            self.rtp += u32::from(is_rtp);
            if is_rtp && self.lose_every.is_some_and(|every| self.rtp.is_multiple_of(every)) {
                self.lost += 1;
            } else {
                let proto = if matches!(self.socket, Socket::Udp(_)) { Protocol::Udp } else { Protocol::Tcp };
                if let Ok(receive) = Receive::new(proto, from, self.local(), &datagram) {
                    self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
                    self.drain();
                }
            }
        }
        if self.deadline <= now {
            self.rtc.handle_input(Input::Timeout(now)).unwrap();
            self.drain();
        }
    }

    pub fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        self.run_while(what, |client| !done(client));
    }

    pub fn run_while(&mut self, what: &str, mut more: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while more(self) {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            self.step();
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step();
        }
    }

    pub fn has_frame(&self, data: &[u8]) -> bool {
        self.frames.iter().any(|frame| &frame.data[..] == data)
    }
}
