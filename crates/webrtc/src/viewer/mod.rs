//! One viewer: its peer connection, what it is shown, and what waits to be sent to it.

mod queue;
mod shown;
mod signal;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use glasshouse_media::{Quality, Rendition, VideoCodec};
use str0m::{
    Candidate, Event as RtcEvent, Input, Output, Reason, Rtc, RtcError,
    bwe::BweKind,
    change::SdpPendingOffer,
    channel::ChannelId,
    media::{Direction, KeyframeRequestKind},
    net::{Protocol, Receive},
};

pub(crate) use queue::rtp_time;

use crate::{
    ConnectOptions, Event, VideoChoice, VideoState, ViewerId, ViewerStats,
    adapt::Adapter,
    packetize::Packets,
    ports::Ports,
    sdp::{self, Formats, Lines, Offered},
    sources::Sources,
};

/// A viewer without any datagram for this long is gone.
const SILENCE: Duration = Duration::from_secs(15);
/// A viewer that never connected is given up after this time.
const CONNECT_TIME: Duration = Duration::from_secs(30);
/// Without media for this long the line rests: no probes, no padding, hardly a timer.
const REST_AFTER: Duration = Duration::from_secs(2);
/// How rarely a resting viewer's congestion timers are served.
const REST_TICK: Duration = Duration::from_secs(1);
/// Shortest time between key frame requests of one viewer, and when an unanswered one is repeated.
const KEY_REQUEST_INTERVAL: Duration = Duration::from_millis(300);
const KEY_REQUEST_REPEAT: Duration = Duration::from_secs(1);
/// Name of the channel that a viewer makes who paints patches.
const PATCHES: &str = "patches";
/// Addresses remembered of one viewer.
const MAX_REMOTES: usize = 8;

/// What a viewer works with besides itself.
pub(crate) struct World<'a> {
    pub(crate) now: Instant,
    /// Zero of the RTP clocks.
    pub(crate) epoch: Instant,
    pub(crate) codec: VideoCodec,
    pub(crate) ports: &'a mut Ports,
    pub(crate) sources: Option<&'a dyn Sources>,
    pub(crate) events: &'a mut (dyn FnMut(Event) + Send),
}

/// What a viewer's packets name as their receiver.
pub(crate) struct Names {
    /// The first of the user names for ICE.
    pub(crate) ufrag: String,
    /// What all of them begin with, if the port is shared.
    pub(crate) tag: Option<Arc<str>>,
}

struct Waiting {
    packets: Arc<Packets>,
    next: usize,
    time: u32,
    queued_at: Instant,
}

/// One viewer.
pub(crate) struct Viewer {
    pub(crate) id: ViewerId,
    pub(crate) slot: usize,
    rtc: Rtc,
    lines: Lines,
    channel: Option<ChannelId>,
    /// Name of the channel that the viewer makes instead of us; nothing is sent on it.
    their_channel: Option<&'static str>,
    channel_open: bool,
    /// Where patches go, if the viewer takes them.
    patches: Option<ChannelId>,
    pending: Option<SdpPendingOffer>,
    pub(crate) local: Vec<Candidate>,
    pub(crate) ufrags: Vec<String>,
    /// What all our user names begin with, if the port is shared.
    tag: Option<Arc<str>>,
    /// Addresses that valid STUN came from, with the own address it came to.
    pub(crate) remotes: VecDeque<(SocketAddr, IpAddr)>,
    created: Instant,
    last_heard: Instant,
    connected: bool,
    closing: bool,
    /// Destination of media and whether it is TCP.
    path: Option<(SocketAddr, bool)>,

    choice: VideoChoice,
    quality: Quality,
    audio_disabled: bool,
    paused: bool,
    formats: Formats,
    /// Direction of the video line as negotiated, `Inactive` if refused.
    direction: Direction,
    resting: bool,
    reported: Option<VideoState>,

    current: Option<Rendition>,
    next: Option<Rendition>,
    listening: bool,
    /// Patches are held for it.
    patching: bool,
    need_key: bool,
    key_requested: Instant,

    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    tokens: f64,
    filled: Instant,
    sequence: u64,
    audio_sequence: u64,
    last_time: Option<u32>,
    last_frame: Instant,
    /// Highest sequence number that the viewer reported.
    acknowledged: Option<u64>,

    pub(crate) adapter: Adapter,
    sampled: Instant,
    sampled_bytes: u64,
    media_bytes: u64,
    estimate: Option<u64>,
    round_trip: Option<Duration>,
    loss: Option<f32>,
    stats: ViewerStats,
}

impl Viewer {
    pub(crate) fn new(
        id: ViewerId,
        slot: usize,
        offered: Offered,
        local: Vec<Candidate>,
        names: Names,
        options: &ConnectOptions,
        now: Instant,
    ) -> Self {
        Self {
            id,
            slot,
            rtc: offered.rtc,
            lines: offered.lines,
            channel: offered.channel,
            their_channel: offered.their_channel,
            channel_open: false,
            patches: None,
            pending: offered.pending,
            local,
            ufrags: vec![names.ufrag],
            tag: names.tag,
            remotes: VecDeque::new(),
            created: now,
            last_heard: now,
            connected: false,
            closing: false,
            path: None,
            choice: options.video,
            quality: options.video.quality,
            audio_disabled: options.audio_disabled,
            paused: false,
            formats: Formats::default(),
            direction: Direction::Inactive,
            resting: false,
            reported: None,
            current: None,
            next: None,
            listening: false,
            patching: false,
            need_key: true,
            key_requested: now,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            tokens: 0.0,
            filled: now,
            sequence: 0,
            audio_sequence: 0,
            last_time: None,
            last_frame: now,
            acknowledged: None,
            adapter: Adapter::new(sdp::FIRST_ESTIMATE),
            sampled: now,
            sampled_bytes: 0,
            media_bytes: 0,
            estimate: None,
            round_trip: None,
            loss: None,
            stats: ViewerStats::default(),
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(crate) fn send_data(&mut self, message: &[u8]) -> bool {
        if !self.channel_open || self.their_channel.is_some() || message.len() > sdp::MAX_MESSAGE {
            return false;
        }
        let channel = self.channel.and_then(|channel| self.rtc.channel(channel));
        channel.is_some_and(|mut channel| channel.write(true, message).unwrap_or(false))
    }

    /// Whether patches are of use: they go with the frames of the best rendition, onto a picture that is there.
    pub(crate) fn takes_patches(&self) -> bool {
        self.patching && !self.need_key && self.current.is_some_and(|current| current.quality == Quality::High)
    }

    /// Sends a patch, unless an earlier one still waits: the frame comes anyway. Returns whether it was sent.
    pub(crate) fn patch(&mut self, message: &[u8]) -> bool {
        let channel = self.patches.and_then(|channel| self.rtc.channel(channel));
        channel
            .is_some_and(|mut channel| channel.buffered_amount() == 0 && channel.write(true, message).unwrap_or(false))
    }

    /// Whether a channel is the one for messages: ours, or the first of the viewer's with the right name.
    fn is_channel(&self, channel: ChannelId, label: &str) -> bool {
        match self.their_channel {
            Some(name) => self.channel.is_none() && label == name,
            None => self.channel == Some(channel),
        }
    }

    /// The own candidate that a datagram came to.
    fn destination(&self, own: SocketAddr, tcp: bool) -> Option<SocketAddr> {
        let same = |candidate: &&Candidate| (candidate.proto() == Protocol::Tcp) == tcp;
        let candidates = || self.local.iter().filter(same).map(Candidate::addr);
        candidates()
            .find(|address| address.ip() == own.ip())
            // Announced under another address, by nat1to1 or a port forward.
            .or_else(|| candidates().find(|address| address.is_ipv4() == own.is_ipv4()))
    }

    /// Takes a datagram; returns whether it was valid STUN from the peer, which proves that the sender is the viewer.
    pub(crate) fn receive(
        &mut self,
        from: SocketAddr,
        own: SocketAddr,
        tcp: bool,
        datagram: &[u8],
        now: Instant,
    ) -> Result<bool, RtcError> {
        let Some(destination) = self.destination(own, tcp) else { return Ok(false) };
        let proto = if tcp { Protocol::Tcp } else { Protocol::Udp };
        let Ok(receive) = Receive::new(proto, from, destination, datagram) else { return Ok(false) };
        let input = Input::Receive(now, receive);
        let stun = crate::stun::is_stun(datagram);
        if stun && !self.rtc.accepts(&input) {
            return Ok(false);
        }
        self.last_heard = now;
        self.rtc.handle_input(input)?;
        Ok(stun)
    }

    /// Remembers where valid STUN came from; returns the address that is forgotten for it.
    pub(crate) fn remember(&mut self, from: SocketAddr, own: IpAddr) -> Option<SocketAddr> {
        if let Some(known) = self.remotes.iter_mut().find(|(remote, _)| *remote == from) {
            known.1 = own;
            return None;
        }
        self.remotes.push_back((from, own));
        if self.remotes.len() > MAX_REMOTES { self.remotes.pop_front().map(|(remote, _)| remote) } else { None }
    }

    /// Sends and reports everything that is due; returns when to call again.
    pub(crate) fn drive(&mut self, world: &mut World<'_>) -> Result<Instant, RtcError> {
        if self.pump(world) {
            self.rtc.handle_input(Input::Timeout(world.now))?;
        }
        let mut time = world.now;
        let mut deadline = loop {
            match self.rtc.poll_output()? {
                Output::Transmit(transmit) => self.transmit(transmit, world),
                Output::Event(event) => self.event(event, world),
                Output::Timeout(at) => {
                    // str0m asks for one microsecond between packets; that is no reason to sleep.
                    if at > time + Duration::from_micros(50) || self.closing && !self.rtc.is_alive() {
                        break at;
                    }
                    time = at.max(time);
                    self.rtc.handle_input(Input::Timeout(time))?;
                }
            }
        };
        if self.closing {
            return Ok(deadline);
        }
        if self.connected {
            self.want_key(world);
            self.adapt(world);
            if !self.resting && self.waiting.is_empty() && world.now - self.last_frame >= REST_AFTER {
                self.rest(true);
                // The change is settled in the next round.
                return Ok(world.now);
            }
        }
        if self.resting && matches!(self.rtc.last_timeout_reason(), Reason::Pacer(_) | Reason::BweDelayControl) {
            deadline = deadline.max(world.now + REST_TICK);
        }
        if let Some(pump) = self.pump_at(world) {
            deadline = deadline.min(pump);
        }
        if self.need_key || self.next.is_some() {
            deadline = deadline.min(self.key_requested + KEY_REQUEST_REPEAT).max(world.now + Duration::from_millis(1));
        }
        let gone_at = if self.connected { self.last_heard + SILENCE } else { self.created + CONNECT_TIME };
        Ok(deadline.min(gone_at))
    }

    /// Moves the clock of the connection.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), RtcError> {
        self.rtc.handle_input(Input::Timeout(now))
    }

    /// Whether nothing was heard for so long that the viewer is given up.
    pub(crate) fn is_gone(&self, now: Instant) -> bool {
        if self.connected { now - self.last_heard >= SILENCE } else { now - self.created >= CONNECT_TIME }
    }

    fn transmit(&mut self, transmit: str0m::net::Transmit, world: &mut World<'_>) {
        let tcp = transmit.proto == Protocol::Tcp;
        let to = transmit.destination;
        if self.path != Some((to, tcp)) && transmit.contents.first().is_some_and(|byte| *byte >= 20) {
            self.path = Some((to, tcp));
            self.stats.remote = Some(to);
            self.stats.protocol = Some(if tcp { "tcp" } else { "udp" });
            if self.round_trip.is_none() && is_private(to.ip()) {
                self.adapter.assume_near();
            }
        }
        self.stats.bytes_sent += transmit.contents.len() as u64;
        self.stats.packets_sent += 1;
        let own = self.remotes.iter().find(|(remote, _)| *remote == to).map(|(_, own)| *own);
        world.ports.transmit(self.slot, transmit, own);
    }

    fn event(&mut self, event: RtcEvent, world: &mut World<'_>) {
        match event {
            RtcEvent::Connected if !self.connected => {
                self.connected = true;
                self.last_frame = world.now;
                (world.events)(Event::Connected(self.id));
                self.retarget(world);
            }
            RtcEvent::ChannelOpen(channel, label) if self.is_channel(channel, &label) => {
                self.channel = Some(channel);
                self.channel_open = true;
                (world.events)(Event::DataOpen(self.id));
            }
            RtcEvent::ChannelOpen(channel, label) if label == PATCHES && self.patches.is_none() => {
                self.patches = Some(channel);
                self.retarget(world);
            }
            RtcEvent::ChannelClose(channel) if Some(channel) == self.channel => self.channel_open = false,
            RtcEvent::ChannelClose(channel) if Some(channel) == self.patches => {
                self.patches = None;
                self.retarget(world);
            }
            RtcEvent::ChannelData(data) if Some(data.id) == self.channel => {
                (world.events)(Event::Data(self.id, data.data));
            }
            RtcEvent::KeyframeRequest(request) => {
                self.stats.plis += 1;
                let idle = request.kind == KeyframeRequestKind::Pli && self.is_idle(world.now);
                if let (Some(sources), Some(current)) = (world.sources, self.current)
                    && !idle
                    && world.now - self.key_requested >= KEY_REQUEST_INTERVAL
                {
                    self.key_requested = world.now;
                    sources.request_key_frame(current);
                }
            }
            RtcEvent::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                self.estimate = Some(estimate.as_u64());
            }
            RtcEvent::PeerStats(stats) => self.loss = stats.egress_loss_fraction,
            RtcEvent::MediaEgressStats(stats) if stats.mid == self.lines.video => {
                self.stats.nacks = stats.nacks;
                if let Some(remote) = &stats.remote {
                    self.acknowledged = Some(*remote.maximum_sequence_number);
                }
                self.round_trip = stats.rtt.or(self.round_trip);
            }
            RtcEvent::Closed => self.closing = true,
            _ => {}
        }
    }

    /// Says goodbye and gives everything back; the last event follows from the engine.
    pub(crate) fn close(&mut self, world: &mut World<'_>) {
        self.closing = true;
        self.retarget(world);
        if self.rtc.is_alive() && self.rtc.close().is_ok() {
            while let Ok(output) = self.rtc.poll_output() {
                match output {
                    Output::Transmit(transmit) => self.transmit(transmit, world),
                    Output::Event(_) => {}
                    Output::Timeout(_) => break,
                }
            }
        }
    }

    /// Releases renditions and sound that are still held.
    pub(crate) fn give_back(&mut self, sources: Option<&dyn Sources>) {
        let Some(sources) = sources else { return };
        for rendition in [self.next.take(), self.current.take()].into_iter().flatten() {
            sources.release(rendition);
        }
        if std::mem::take(&mut self.listening) {
            sources.release_audio();
        }
        if std::mem::take(&mut self.patching) {
            sources.release_patches();
        }
    }

    pub(crate) fn statistics(&self) -> ViewerStats {
        ViewerStats { estimate: self.estimate, round_trip: self.round_trip, loss: self.loss, ..self.stats.clone() }
    }
}

/// Loopback and private networks, where a round trip is short until measured otherwise.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}
