//! WebRTC viewers over str0m: one UDP port and one TCP port for all of them, one thread that sends to all.
//!
//! The ports are an engine's own, or those of a [`Door`], which many engines share: it reads the first packet of each peer and
//! hands the peer's socket to the engine that the packet is for.
//!
//! Knows nothing about rooms: a viewer is a number, told which rendition to show, and the room's messages are bytes.

mod accept;
mod adapt;
mod addresses;
mod backlog;
mod batch;
mod delay;
mod door;
mod engine;
mod handover;
mod inbox;
mod links;
mod packetize;
mod port;
mod ports;
mod sdp;
mod sources;
mod stun;
mod tcp;
mod udp;
mod viewer;

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use glasshouse_media::{Audio, AudioPacket, Quality, Video, VideoCodec, VideoFrame};
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use delay::DelayHistogram;
pub use door::{Counts, Door};
use inbox::{Command, Inbox, Media, Reply};
pub use port::{Port, SharedPort};
pub use sources::Sources;

/// A number for one peer connection, chosen by the caller and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewerId(pub u64);

/// Where the engine listens and what it tells viewers.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where viewers reach it.
    pub port: Port,
    /// Public addresses to announce in place of the machine's own.
    pub nat1to1: Vec<IpAddr>,
    /// Preferred codec when a viewer leaves the choice to us.
    pub codec: VideoCodec,
}

/// What a viewer wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoChoice {
    /// No video at all.
    pub disabled: bool,
    /// Let the congestion estimate choose the quality; `quality` is then the starting point.
    pub auto: bool,
    /// The quality.
    pub quality: Quality,
    /// The codec, or the engine's choice.
    pub codec: Option<VideoCodec>,
}

/// Options of a new viewer.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The local address that the viewer's HTTP request came to; announced as a host candidate too.
    pub request_addr: Option<IpAddr>,
    /// Initial choice.
    pub video: VideoChoice,
    /// No sound.
    pub audio_disabled: bool,
}

/// Our offer.
#[derive(Debug, Clone)]
pub struct Offer {
    /// SDP text with all candidates in it.
    pub sdp: String,
    /// The same candidates, each starting with `candidate:`.
    pub candidates: Vec<String>,
}

/// What happened to a viewer; delivered in order per viewer on the engine's thread, so the handler must not block.
#[derive(Debug)]
pub enum Event {
    /// ICE and DTLS are up.
    Connected(ViewerId),
    /// The viewer is gone: closed, or no ICE traffic for the time-out. The last event of this viewer.
    Closed(ViewerId),
    /// The data channel is open.
    DataOpen(ViewerId),
    /// A message on the data channel.
    Data(ViewerId, Vec<u8>),
    /// What the viewer now gets: after a choice of its own or of the estimator.
    Video(ViewerId, VideoState),
}

/// What a viewer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoState {
    /// No video.
    pub disabled: bool,
    /// The estimator chooses.
    pub auto: bool,
    /// Current quality.
    pub quality: Quality,
    /// Current codec.
    pub codec: VideoCodec,
}

/// Numbers of one viewer.
#[derive(Debug, Clone, Default)]
pub struct ViewerStats {
    /// Estimated bit rate towards the viewer in bit/s.
    pub estimate: Option<u64>,
    /// Round trip time of the media path.
    pub round_trip: Option<Duration>,
    /// Share of packets lost, 0–1.
    pub loss: Option<f32>,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// NACKs, PLIs and FIRs received.
    pub nacks: u64,
    /// See `nacks`.
    pub plis: u64,
    /// Frames not sent because the viewer's queue was full.
    pub frames_dropped: u64,
    /// `udp` or `tcp`, once connected.
    pub protocol: Option<&'static str>,
    /// Address of the viewer, once connected.
    pub remote: Option<SocketAddr>,
}

/// Why a request to the engine failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such viewer.
    #[error("no such viewer")]
    UnknownViewer,
    /// The peer's SDP or candidate could not be used.
    #[error("unusable {what}: {reason}")]
    Signal {
        /// `answer`, `offer` or `candidate`.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The engine has stopped.
    #[error("the WebRTC engine has stopped")]
    Stopped,
}

/// Handle of the engine; cheap to clone. The engine's thread ends when [`Engine::stop`] is called or the last handle goes.
///
/// A source that is attached and hands its frames over through a handle of its own keeps that handle: then only
/// [`Engine::stop`] ends the thread.
#[derive(Clone)]
pub struct Engine {
    thread: Arc<Thread>,
}

struct Thread {
    delays: Arc<delay::Delays>,
    inbox: Arc<Inbox>,
    port: Option<u16>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Thread {
    fn stop(&self) {
        self.inbox.command(Command::Stop);
        let handle = self.handle.lock().take();
        if let Some(handle) = handle
            && handle.thread().id() != std::thread::current().id()
        {
            // It ends in any case; a panic of it has been reported already.
            let _ = handle.join();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Engine {
    /// Opens the port, or listens for sockets of the one that is shared, and starts the thread.
    ///
    /// # Errors
    /// The port is taken or not allowed, or the path is.
    pub fn start(config: Config, events: Box<dyn FnMut(Event) + Send>) -> std::io::Result<Self> {
        let source = match &config.port {
            Port::Own { udp, .. } => ports::Source::Own(udp::Udp::bind(*udp, false)?),
            Port::Shared { socket, .. } => ports::Source::Shared(handover::Receiver::bind(socket)?),
        };
        let port = match &source {
            ports::Source::Own(udp) => Some(udp.address().port()),
            ports::Source::Shared(_) => None,
        };
        let poll = mio::Poll::new()?;
        let inbox = Arc::new(Inbox::new(mio::Waker::new(poll.registry(), engine::INBOX)?));
        let delays = Arc::new(delay::Delays::default());
        let engine = engine::Engine::new(config, events, poll, Arc::clone(&inbox), source, Arc::clone(&delays))?;
        let handle = std::thread::Builder::new().name("webrtc".into()).spawn(move || engine.run())?;
        Ok(Self { thread: Arc::new(Thread { inbox, port, delays, handle: Mutex::new(Some(handle)) }) })
    }

    /// Names the sources that the viewers' choices are acquired from; called once, before the first viewer.
    pub fn attach(&self, video: Arc<Video>, audio: Option<Arc<Audio>>) {
        let inbox = Arc::clone(&self.thread.inbox);
        self.attach_sources(Box::new(sources::Media { video, audio, inbox }));
    }

    /// Like [`Engine::attach`], for other sources than a session's own.
    pub fn attach_sources(&self, sources: Box<dyn Sources>) {
        self.tell(Command::Attach(sources));
    }

    /// The UDP port, if it has one of its own.
    pub fn port(&self) -> Option<u16> {
        self.thread.port
    }

    /// Time from the notice of a change on screen until the first packets that show it were handed to the system, for every frame
    /// that at least one viewer got; until its patch was, where all who watch got that.
    pub fn change_to_send(&self) -> DelayHistogram {
        self.thread.delays.histogram()
    }

    /// Says where viewers that come from now on reach the port that is shared. Without it, none can come.
    pub fn announce(&self, port: SharedPort) {
        self.tell(Command::Announce(port));
    }

    /// Takes an accepted connection whose first bytes are ICE over TCP (RFC 4571 framing).
    ///
    /// It is closed when it does not name a viewer by a valid STUN request within 5 s.
    pub fn accept_tcp(&self, stream: TcpStream) {
        self.tell(Command::AcceptTcp(stream));
    }

    /// Hands over a frame; called by the video's sink, never blocks.
    pub fn video_frame(&self, frame: Arc<VideoFrame>) {
        self.thread.inbox.media(Media::Video(frame));
    }

    /// Hands over a packet of sound; never blocks.
    pub fn audio_packet(&self, packet: Arc<AudioPacket>) {
        self.thread.inbox.media(Media::Audio(packet));
    }

    /// Makes a new peer connection and the offer for it.
    ///
    /// # Errors
    /// The number is in use, there are too many viewers, or the engine has stopped.
    pub async fn connect(&self, id: ViewerId, options: ConnectOptions) -> Result<Offer, Error> {
        self.ask(|reply| Command::Connect(id, options, reply)).await
    }

    /// Makes a new peer connection of an offer that the viewer has made, and the answer with all candidates in it. The viewer sends
    /// none: it is known by its checks. Messages are taken from the data channel that it makes under the name `channel`, and
    /// none are sent.
    ///
    /// # Errors
    /// The number is in use, there are too many viewers, the offer cannot be used, or the engine has stopped.
    pub async fn accept(
        &self,
        id: ViewerId,
        options: ConnectOptions,
        sdp: String,
        channel: &'static str,
    ) -> Result<String, Error> {
        self.ask(|reply| Command::Accept(id, options, sdp, channel, reply)).await
    }

    /// Takes the viewer's answer (to a first offer or to an ICE restart).
    ///
    /// # Errors
    /// No such viewer, or the answer cannot be used; nobody else is affected.
    pub async fn answer(&self, id: ViewerId, sdp: String) -> Result<(), Error> {
        self.ask(|reply| Command::Answer(id, sdp, reply)).await
    }

    /// Takes an offer of the viewer and returns the answer.
    ///
    /// # Errors
    /// No such viewer, it is not connected yet, or the offer cannot be used.
    pub async fn offer(&self, id: ViewerId, sdp: String) -> Result<String, Error> {
        self.ask(|reply| Command::Offer(id, sdp, reply)).await
    }

    /// Makes an offer with new ICE credentials.
    ///
    /// # Errors
    /// No such viewer.
    pub async fn restart_ice(&self, id: ViewerId) -> Result<Offer, Error> {
        self.ask(|reply| Command::RestartIce(id, reply)).await
    }

    /// Adds a remote candidate (`candidate:…`); an empty one ends them.
    ///
    /// # Errors
    /// No such viewer, or it is not a candidate.
    pub async fn remote_candidate(&self, id: ViewerId, candidate: String) -> Result<(), Error> {
        self.ask(|reply| Command::RemoteCandidate(id, candidate, reply)).await
    }

    /// Changes what the viewer sees; answered by [`Event::Video`] when something changed.
    pub fn set_video(&self, id: ViewerId, choice: VideoChoice) {
        self.tell(Command::SetVideo(id, choice));
    }

    /// Switches the viewer's sound.
    pub fn set_audio(&self, id: ViewerId, disabled: bool) {
        self.tell(Command::SetAudio(id, disabled));
    }

    /// Pauses or resumes all media of a viewer without closing it (private mode).
    pub fn set_paused(&self, id: ViewerId, paused: bool) {
        self.tell(Command::SetPaused(id, paused));
    }

    /// Sends a message on the viewer's data channel; dropped when it is not open, its buffer (1 MiB) is full, or the
    /// message is longer than 64 KiB.
    pub fn send_data(&self, id: ViewerId, message: bytes::Bytes) {
        self.tell(Command::SendData(id, message));
    }

    /// Sends a message to every open data channel but one.
    pub fn broadcast_data(&self, except: Option<ViewerId>, message: bytes::Bytes) {
        self.tell(Command::BroadcastData(except, message));
    }

    /// Ends a viewer.
    pub fn close(&self, id: ViewerId) {
        self.tell(Command::Close(id));
    }

    /// Numbers of a viewer.
    ///
    /// # Errors
    /// No such viewer.
    pub async fn stats(&self, id: ViewerId) -> Result<ViewerStats, Error> {
        self.ask(|reply| Command::Stats(id, reply)).await
    }

    /// Ends all viewers and the thread, and waits for it (not when called by the thread itself, from an event).
    pub fn stop(&self) {
        self.thread.stop();
    }

    fn tell(&self, command: Command) {
        if !self.thread.inbox.command(command) {
            tracing::warn!("the WebRTC engine is overloaded; a request is dropped");
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply));
        answer.await.map_err(|_| Error::Stopped)?
    }
}
