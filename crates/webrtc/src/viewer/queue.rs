//! What waits to be sent to a viewer, and at which pace it leaves.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use glasshouse_media::{AudioPacket, Rendition};
use str0m::{
    bwe::Bitrate,
    media::{Direction, MediaTime},
    rtp::{ExtensionValues, RtpWrite},
};

use super::{KEY_REQUEST_REPEAT, Viewer, Waiting, World};
use crate::{adapt, packetize::Packets, ports::Ports};

/// Media that may wait for a viewer, in bytes and in time (longer while a key frame leaves).
const MAX_BACKLOG: usize = 3 << 19;
const MAX_WAIT: Duration = Duration::from_millis(500);
const MAX_KEY_WAIT: Duration = Duration::from_secs(2);
/// Age of the last frame at which a PLI is taken for libwebrtc's inactivity timer.
const IDLE_PLI: std::ops::Range<Duration> = Duration::from_millis(2500)..Duration::from_secs(9);
/// Bytes per second towards viewers that are close or behind TCP: 400 Mbit/s, so that a burst fits their socket buffer.
const NEAR_RATE: f64 = 50e6;
/// Upper limit of the playout-delay extension in units of 10 ms. With 0 to 0 Chromium shows a frame as soon as it is decoded;
/// with any other maximum its renderer holds frames for the next refresh of the screen, 10 ms later at the median.
const MAX_PLAYOUT: u64 = 0;

/// The RTP timestamp of a picture whose pixels were read then; wraps as they do.
pub(crate) fn rtp_time(captured_at: Instant, epoch: Instant) -> u32 {
    (captured_at.saturating_duration_since(epoch).as_micros() * 9 / 100) as u32
}

impl Viewer {
    pub(super) fn drop_waiting(&mut self) {
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
        let mut time = rtp_time(packets.captured_at, world.epoch);
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

    pub(super) fn overloaded(&self, bytes: usize, now: Instant) -> bool {
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

    pub(super) fn rate(&self) -> f64 {
        let tcp = self.path.is_some_and(|(_, tcp)| tcp);
        if tcp || self.adapter.near() { NEAR_RATE } else { (self.adapter.capacity() as f64 * 2.5 / 8.0).max(250_000.0) }
    }

    pub(super) fn blocked(&self, ports: &Ports) -> bool {
        self.path.is_none_or(|(to, tcp)| ports.full(self.slot, to, tcp))
    }

    /// Hands over as many waiting packets as the line takes now; returns whether there were any.
    pub(super) fn pump(&mut self, world: &World<'_>) -> bool {
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
    pub(super) fn pump_at(&self, world: &World<'_>) -> Option<Instant> {
        if self.waiting.is_empty() || self.blocked(world.ports) {
            return None;
        }
        let missing = (12_000.0 - self.tokens).max(0.0);
        Some(world.now + Duration::from_secs_f64(missing / self.rate()).max(Duration::from_micros(500)))
    }

    /// Whether a PLI only says that the picture stands still: libwebrtc sends one when no frame came for 3 s but some
    /// packet within 5 s. Answered, it would cost a key frame every 3 s on a static page.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let still = now - self.last_frame;
        let complete = self.acknowledged == Some(self.sequence.saturating_sub(1));
        !self.need_key && self.next.is_none() && self.waiting.is_empty() && complete && IDLE_PLI.contains(&still)
    }

    pub(super) fn want_key(&mut self, world: &World<'_>) {
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
    pub(super) fn rest(&mut self, rest: bool) {
        if self.resting == rest || !self.direction.is_sending() {
            return;
        }
        self.resting = rest;
        let direction = if rest { Direction::Inactive } else { self.direction };
        self.rtc.sdp_api().set_direction(self.lines.video, direction);
        let desired = adapt::desired(self.quality, self.choice.auto);
        self.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::from(desired));
    }
}
