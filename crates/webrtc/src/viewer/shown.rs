//! What a viewer is shown: its own choice, what its line carries, and the renditions held for it.

use std::time::Duration;

use glasshouse_media::{Quality, Rendition, VideoCodec};
use str0m::bwe::Bitrate;

use super::{Viewer, World};
use crate::{
    Event, VideoChoice, VideoState,
    adapt::{self, Sample},
};

/// Interval of measurements for the choice of quality.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

impl Viewer {
    /// The rendition whose encoder this viewer's line should have a say in.
    pub(crate) fn shown(&self) -> Option<Rendition> {
        self.next.or(self.current)
    }

    pub(super) fn codec(&self, world: &World<'_>) -> VideoCodec {
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

    pub(super) fn target(&self, world: &World<'_>) -> Option<Rendition> {
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
        let patching = self.patches.is_some() && target.is_some_and(|target| target.quality == Quality::High);
        if patching != self.patching {
            self.patching = patching;
            if patching { sources.acquire_patches() } else { sources.release_patches() }
        }
        self.report(world);
    }

    pub(super) fn report(&mut self, world: &mut World<'_>) {
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

    pub(crate) fn wants(&self, rendition: Rendition) -> bool {
        self.current == Some(rendition) || self.next == Some(rendition)
    }

    pub(crate) fn listens(&self) -> bool {
        self.listening
    }

    pub(super) fn adapt(&mut self, world: &mut World<'_>) {
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
}
