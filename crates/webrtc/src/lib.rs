//! WebRTC viewers over str0m: one UDP port and one TCP port for all of them, one thread that sends to all.
//!
//! Knows nothing about rooms: a viewer is a number, told which rendition to show, and the room's messages are bytes.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use glasshouse_media::{Audio, AudioPacket, Quality, Video, VideoCodec, VideoFrame};

/// A number for one peer connection, chosen by the caller and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewerId(pub u64);

/// Where the engine listens and what it tells viewers.
#[derive(Debug, Clone)]
pub struct Config {
    /// UDP address for all viewers; port 0 picks a free one.
    pub udp: SocketAddr,
    /// Port to announce for ICE over TCP (RFC 6544, passive), if connections are handed to [`Engine::accept_tcp`].
    pub tcp_port: Option<u16>,
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
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// Opens the port and starts the thread.
    ///
    /// # Errors
    /// The port is taken or not allowed.
    pub fn start(_config: Config, _events: Box<dyn FnMut(Event) + Send>) -> std::io::Result<Self> {
        unimplemented!()
    }

    /// Names the sources that the viewers' choices are acquired from; called once, before the first viewer.
    pub fn attach(&self, _video: Arc<Video>, _audio: Option<Arc<Audio>>) {}

    /// The UDP port.
    pub fn port(&self) -> u16 {
        0
    }

    /// Takes an accepted connection whose first bytes are ICE over TCP (RFC 4571 framing).
    pub fn accept_tcp(&self, _stream: TcpStream) {}

    /// Hands over a frame; called by the video's sink, never blocks.
    pub fn video_frame(&self, _frame: Arc<VideoFrame>) {}

    /// Hands over a packet of sound; never blocks.
    pub fn audio_packet(&self, _packet: Arc<AudioPacket>) {}

    /// Makes a new peer connection and the offer for it.
    pub async fn connect(&self, _id: ViewerId, _options: ConnectOptions) -> Result<Offer, Error> {
        unimplemented!()
    }

    /// Takes the viewer's answer (to a first offer or to an ICE restart).
    pub async fn answer(&self, _id: ViewerId, _sdp: String) -> Result<(), Error> {
        unimplemented!()
    }

    /// Takes an offer of the viewer and returns the answer.
    pub async fn offer(&self, _id: ViewerId, _sdp: String) -> Result<String, Error> {
        unimplemented!()
    }

    /// Makes an offer with new ICE credentials.
    pub async fn restart_ice(&self, _id: ViewerId) -> Result<Offer, Error> {
        unimplemented!()
    }

    /// Adds a remote candidate (`candidate:…`); an empty one ends them.
    pub async fn remote_candidate(&self, _id: ViewerId, _candidate: String) -> Result<(), Error> {
        unimplemented!()
    }

    /// Changes what the viewer sees; answered by [`Event::Video`] when something changed.
    pub fn set_video(&self, _id: ViewerId, _choice: VideoChoice) {}

    /// Switches the viewer's sound.
    pub fn set_audio(&self, _id: ViewerId, _disabled: bool) {}

    /// Pauses or resumes all media of a viewer without closing it (private mode).
    pub fn set_paused(&self, _id: ViewerId, _paused: bool) {}

    /// Sends a message on the viewer's data channel; dropped when it is not open or its buffer is full.
    pub fn send_data(&self, _id: ViewerId, _message: bytes::Bytes) {}

    /// Sends a message to every open data channel but one.
    pub fn broadcast_data(&self, _except: Option<ViewerId>, _message: bytes::Bytes) {}

    /// Ends a viewer.
    pub fn close(&self, _id: ViewerId) {}

    /// Numbers of a viewer.
    pub async fn stats(&self, _id: ViewerId) -> Result<ViewerStats, Error> {
        unimplemented!()
    }

    /// Ends all viewers and the thread, and waits for it.
    pub fn stop(&self) {}
}
