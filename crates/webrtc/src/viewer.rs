//! One viewer: its peer connection, what it is shown, and what waits to be sent to it.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use glasshouse_media::{AudioPacket, Quality, Rendition, VideoCodec};
use str0m::{
    Candidate, Event as RtcEvent, Input, Output, Reason, Rtc, RtcError,
    bwe::{Bitrate, BweKind},
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    channel::ChannelId,
    media::{Direction, KeyframeRequestKind, MediaTime},
    net::{Protocol, Receive},
    rtp::{ExtensionValues, RtpWrite},
};

use crate::{
    ConnectOptions, Event, VideoChoice, VideoState, ViewerId, ViewerStats,
    adapt::{self, Adapter, Sample},
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
/// Media that may wait for a viewer, in bytes and in time (longer while a key frame leaves).
const MAX_BACKLOG: usize = 3 << 19;
const MAX_WAIT: Duration = Duration::from_millis(500);
const MAX_KEY_WAIT: Duration = Duration::from_secs(2);
/// Shortest time between key frame requests of one viewer, and when an unanswered one is repeated.
const KEY_REQUEST_INTERVAL: Duration = Duration::from_millis(300);
const KEY_REQUEST_REPEAT: Duration = Duration::from_secs(1);
/// Interval of measurements for the choice of quality.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);
/// Age of the last frame at which a PLI is taken for libwebrtc's inactivity timer.
const IDLE_PLI: std::ops::Range<Duration> = Duration::from_millis(2500)..Duration::from_secs(9);
/// Addresses remembered of one viewer.
const MAX_REMOTES: usize = 8;
/// Bytes per second towards viewers that are close or behind TCP: 400 Mbit/s, so that a burst fits their socket buffer.
const NEAR_RATE: f64 = 50e6;
/// Upper limit of the playout-delay extension in units of 10 ms. With 0 to 0 Chromium shows a frame as soon as it is decoded;
/// with any other maximum its renderer holds frames for the next refresh of the screen, 10 ms later at the median.
const MAX_PLAYOUT: u64 = 0;

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
    channel: ChannelId,
    channel_open: bool,
    pending: Option<SdpPendingOffer>,
    pub(crate) local: Vec<Candidate>,
    pub(crate) ufrags: Vec<String>,
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
        ufrag: String,
        options: &ConnectOptions,
        now: Instant,
    ) -> Self {
        Self {
            id,
            slot,
            rtc: offered.rtc,
            lines: offered.lines,
            channel: offered.channel,
            channel_open: false,
            pending: Some(offered.pending),
            local,
            ufrags: vec![ufrag],
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

    /// The rendition whose encoder this viewer's line should have a say in.
    pub(crate) fn shown(&self) -> Option<Rendition> {
        self.next.or(self.current)
    }

    // Signalling

    pub(crate) fn answer(&mut self, sdp: &str, world: &mut World<'_>) -> Result<(), String> {
        let answer = SdpAnswer::from_sdp_string(&self.lines.inward(sdp)).map_err(|error| error.to_string())?;
        let pending = self.pending.take().ok_or("there is no offer to answer")?;
        self.rest(false);
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(|error| error.to_string())?;
        self.negotiated(world);
        Ok(())
    }

    pub(crate) fn offer(&mut self, sdp: &str, world: &mut World<'_>) -> Result<String, String> {
        if !self.connected {
            return Err("the first offer is the server's".into());
        }
        let offer = SdpOffer::from_sdp_string(&self.lines.inward(sdp)).map_err(|error| error.to_string())?;
        self.rest(false);
        self.pending = None;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(|error| error.to_string())?;
        let ufrag = self.rtc.direct_api().local_ice_credentials().ufrag;
        self.add_ufrag(ufrag);
        self.negotiated(world);
        Ok(self.lines.outward(&answer.to_sdp_string()))
    }

    pub(crate) fn restart(&mut self) -> Option<String> {
        self.rest(false);
        let (credentials, offer, pending) = sdp::restart(&mut self.rtc)?;
        self.add_ufrag(credentials.ufrag);
        self.pending = Some(pending);
        Some(self.lines.outward(&offer.to_sdp_string()))
    }

    fn add_ufrag(&mut self, ufrag: String) {
        if !self.ufrags.contains(&ufrag) {
            self.ufrags.push(ufrag);
        }
    }

    fn negotiated(&mut self, world: &mut World<'_>) {
        self.formats = Formats::negotiated(&self.rtc, &self.lines);
        self.direction = self.rtc.media(self.lines.video).map_or(Direction::Inactive, |media| media.direction());
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_tx_by_mid(self.lines.video, None) {
            // Frames are spread here, where a whole frame can still be dropped, and not by str0m.
            stream.set_unpaced(true);
        }
        self.retarget(world);
    }

    // What is shown

    fn codec(&self, world: &World<'_>) -> VideoCodec {
        self.formats.choose(self.choice.codec, world.codec).or(self.choice.codec).unwrap_or(world.codec)
    }

    pub(crate) fn set_video(&mut self, choice: VideoChoice, world: &mut World<'_>) {
        let unchanged = choice.auto && self.choice.auto && choice.quality == self.choice.quality;
        if !unchanged {
            self.quality = choice.quality;
        }
        self.choice = choice;
        self.retarget(world);
    }

    pub(crate) fn set_audio(&mut self, disabled: bool, world: &mut World<'_>) {
        self.audio_disabled = disabled;
        self.retarget(world);
    }

    pub(crate) fn set_paused(&mut self, paused: bool, world: &mut World<'_>) {
        self.paused = paused;
        self.retarget(world);
    }

    fn target(&self, world: &World<'_>) -> Option<Rendition> {
        if !self.connected || self.closing || self.paused || self.choice.disabled || !self.direction.is_sending() {
            return None;
        }
        let codec = self.formats.choose(self.choice.codec, world.codec)?;
        Some(Rendition { codec, quality: self.quality })
    }

    /// Holds exactly the renditions and the sound that the viewer should get now, and reports a change.
    pub(crate) fn retarget(&mut self, world: &mut World<'_>) {
        let Some(sources) = world.sources else { return };
        let target = self.target(world);
        if target != self.shown() {
            if let Some(next) = self.next.take() {
                sources.release(next);
            }
            match target {
                None => {
                    if let Some(current) = self.current.take() {
                        sources.release(current);
                    }
                    self.drop_waiting();
                }
                Some(target) if self.current != Some(target) => {
                    sources.acquire(target);
                    self.key_requested = world.now;
                    self.next = Some(target);
                }
                Some(_) => {}
            }
            if let Some(target) = target {
                let desired = adapt::desired(target.quality, self.choice.auto);
                self.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::from(desired));
            }
        }
        let listen = self.connected
            && !self.closing
            && !self.paused
            && !self.audio_disabled
            && self.formats.opus.is_some()
            && self.rtc.media(self.lines.audio).is_some_and(|media| media.direction().is_sending());
        if listen != self.listening {
            self.listening = listen;
            if listen { sources.acquire_audio() } else { sources.release_audio() }
        }
        self.report(world);
    }

    fn report(&mut self, world: &mut World<'_>) {
        if !self.connected || self.closing {
            return;
        }
        let state = VideoState {
            disabled: self.choice.disabled,
            auto: self.choice.auto,
            quality: self.quality,
            codec: self.codec(world),
        };
        if self.reported.replace(state) != Some(state) {
            (world.events)(Event::Video(self.id, state));
        }
    }

    // Media

    fn drop_waiting(&mut self) {
        self.stats.frames_dropped += self.waiting.len() as u64;
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.need_key = true;
    }

    /// Takes a frame of any rendition; queues it if it is for this viewer. Returns whether it was.
    pub(crate) fn video(&mut self, packets: &Arc<Packets>, world: &mut World<'_>) -> bool {
        let mine = if self.next == Some(packets.rendition) {
            if !packets.key {
                return false;
            }
            if let (Some(current), Some(sources)) = (self.current.take(), world.sources) {
                sources.release(current);
            }
            self.current = self.next.take();
            true
        } else {
            self.current == Some(packets.rendition)
        };
        if !mine {
            return false;
        }
        if self.need_key && !packets.key {
            self.stats.frames_dropped += 1;
            return false;
        }
        if packets.key {
            self.drop_waiting();
            self.need_key = false;
        } else if self.overloaded(packets.bytes, world.now) {
            self.stats.frames_dropped += 1;
            self.need_key = true;
            return false;
        }
        let elapsed = packets.captured_at.saturating_duration_since(world.epoch);
        // Wraps as RTP timestamps do.
        let mut time = (elapsed.as_micros() * 9 / 100) as u32;
        if let Some(last) = self.last_time
            && time.wrapping_sub(last).cast_signed() <= 0
        {
            time = last.wrapping_add(1);
        }
        self.last_time = Some(time);
        self.waiting_bytes += packets.bytes;
        self.waiting.push_back(Waiting { packets: Arc::clone(packets), next: 0, time, queued_at: world.now });
        self.rest(false);
        self.last_frame = world.now;
        true
    }

    fn overloaded(&self, bytes: usize, now: Instant) -> bool {
        let Some(first) = self.waiting.front() else { return false };
        let limit = if first.packets.key { MAX_KEY_WAIT } else { MAX_WAIT };
        self.waiting_bytes + bytes > MAX_BACKLOG || now.saturating_duration_since(first.queued_at) > limit
    }

    /// A frame of `rendition` was lost before it came here.
    pub(crate) fn missed(&mut self, rendition: Rendition) {
        if self.current == Some(rendition) {
            self.stats.frames_dropped += 1;
            self.need_key = true;
        }
    }

    pub(crate) fn audio(&mut self, packet: &AudioPacket, data: &Arc<[u8]>, world: &World<'_>) -> bool {
        let (true, Some(format)) = (self.listening, self.formats.opus) else { return false };
        let elapsed = packet.captured_at.saturating_duration_since(world.epoch);
        let time = (elapsed.as_micros() * 48 / 1000) as u32;
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(self.lines.audio, None) else { return false };
        let write = RtpWrite::new(format, self.audio_sequence.into(), time, packet.captured_at, Arc::clone(data))
            .marker(packet.talk_spurt_start);
        stream.write_rtp(write);
        self.audio_sequence += 1;
        true
    }

    fn rate(&self) -> f64 {
        let tcp = self.path.is_some_and(|(_, tcp)| tcp);
        if tcp || self.adapter.near() { NEAR_RATE } else { (self.adapter.capacity() as f64 * 2.5 / 8.0).max(250_000.0) }
    }

    fn blocked(&self, ports: &Ports) -> bool {
        self.path.is_none_or(|(to, tcp)| ports.full(self.slot, to, tcp))
    }

    /// Hands over as many waiting packets as the line takes now; returns whether there were any.
    fn pump(&mut self, world: &World<'_>) -> bool {
        let rate = self.rate();
        let elapsed = world.now.saturating_duration_since(self.filled);
        self.filled = world.now;
        let burst = (rate * 0.04).clamp(12_000.0, 56_000.0);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * rate).min(burst);
        if self.waiting.is_empty() || self.blocked(world.ports) {
            return false;
        }
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(self.lines.video, None) else { return false };
        let mut any = false;
        while self.tokens > 0.0
            && let Some(waiting) = self.waiting.front_mut()
        {
            let packets = &waiting.packets;
            let payload = Arc::clone(&packets.payloads[waiting.next]);
            let last = waiting.next + 1 == packets.payloads.len();
            let bytes = payload.len();
            if let Some(format) = self.formats.video(packets.rendition.codec) {
                let values = ExtensionValues {
                    play_delay_min: Some(MediaTime::from_hundredths(0)),
                    play_delay_max: Some(MediaTime::from_hundredths(MAX_PLAYOUT)),
                    ..ExtensionValues::default()
                };
                let write = RtpWrite::new(format, self.sequence.into(), waiting.time, packets.captured_at, payload)
                    .marker(last)
                    .nackable(true)
                    .ext_vals(values);
                stream.write_rtp(write);
                self.sequence += 1;
            }
            any = true;
            self.tokens -= bytes as f64;
            self.waiting_bytes -= bytes;
            self.media_bytes += bytes as u64;
            waiting.next += 1;
            if last {
                self.waiting.pop_front();
            }
        }
        self.last_frame = world.now;
        any
    }

    /// When the next waiting packets may leave.
    fn pump_at(&self, world: &World<'_>) -> Option<Instant> {
        if self.waiting.is_empty() || self.blocked(world.ports) {
            return None;
        }
        let missing = (12_000.0 - self.tokens).max(0.0);
        Some(world.now + Duration::from_secs_f64(missing / self.rate()).max(Duration::from_micros(500)))
    }

    /// Whether a PLI only says that the picture stands still: libwebrtc sends one when no frame came for 3 s but some
    /// packet within 5 s. Answered, it would cost a key frame every 3 s on a static page.
    fn is_idle(&self, now: Instant) -> bool {
        let still = now - self.last_frame;
        let complete = self.acknowledged == Some(self.sequence.saturating_sub(1));
        !self.need_key && self.next.is_none() && self.waiting.is_empty() && complete && IDLE_PLI.contains(&still)
    }

    fn want_key(&mut self, world: &World<'_>) {
        let (Some(sources), Some(shown)) = (world.sources, self.shown()) else { return };
        let missing = self.next.is_some() || self.need_key;
        if missing && self.waiting.is_empty() && world.now - self.key_requested >= KEY_REQUEST_REPEAT {
            self.key_requested = world.now;
            sources.request_key_frame(shown);
        }
    }

    /// Stops probes, padding and most timers of a line without media, or starts them again.
    ///
    /// str0m pads every sending line at 50 kbit/s and probes it every five seconds; a line whose direction is not
    /// sending it leaves alone. The direction is changed here only, it is never negotiated.
    fn rest(&mut self, rest: bool) {
        if self.resting == rest || !self.direction.is_sending() {
            return;
        }
        self.resting = rest;
        let direction = if rest { Direction::Inactive } else { self.direction };
        self.rtc.sdp_api().set_direction(self.lines.video, direction);
        let desired = adapt::desired(self.quality, self.choice.auto);
        self.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::from(desired));
    }

    // Data

    pub(crate) fn send_data(&mut self, message: &[u8]) -> bool {
        if !self.channel_open || message.len() > sdp::MAX_MESSAGE {
            return false;
        }
        let channel = self.rtc.channel(self.channel);
        channel.is_some_and(|mut channel| channel.write(true, message).unwrap_or(false))
    }

    // Network

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
            RtcEvent::ChannelOpen(channel, _) if channel == self.channel => {
                self.channel_open = true;
                (world.events)(Event::DataOpen(self.id));
            }
            RtcEvent::ChannelClose(channel) if channel == self.channel => self.channel_open = false,
            RtcEvent::ChannelData(data) if data.id == self.channel => {
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

    fn adapt(&mut self, world: &mut World<'_>) {
        let elapsed = world.now - self.sampled;
        if self.resting || elapsed < SAMPLE_INTERVAL {
            return;
        }
        let sent = (self.media_bytes - self.sampled_bytes) as f64 * 8.0 / elapsed.as_secs_f64();
        self.sampled = world.now;
        self.sampled_bytes = self.media_bytes;
        let sample = Sample {
            estimate: self.estimate,
            sent: sent as u64,
            loss: self.loss.unwrap_or(0.0),
            round_trip: self.round_trip,
            backlog: self.waiting.front().map_or(Duration::ZERO, |first| world.now - first.queued_at),
        };
        let auto = self.choice.auto && self.current.is_some();
        let quality = self.adapter.sample(world.now, sample, auto, self.quality);
        if quality != self.quality {
            tracing::debug!(viewer = self.id.0, ?quality, ?sample, "quality");
            self.quality = quality;
            self.retarget(world);
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
    }

    pub(crate) fn wants(&self, rendition: Rendition) -> bool {
        self.current == Some(rendition) || self.next == Some(rendition)
    }

    pub(crate) fn listens(&self) -> bool {
        self.listening
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
