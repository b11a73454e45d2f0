//! WebRTC signalling of members: one viewer per `signal/request`.

use glasshouse_media::{Quality, VideoCodec};
use glasshouse_room::ConnectionId;
use glasshouse_webrtc::{ConnectOptions, Offer, VideoChoice, VideoState, ViewerId};
use serde::Serialize;
use serde_json::json;

use crate::{
    Peer, Server,
    core::{State, Viewer},
    events::ClientEvent,
    wire,
};

/// Stream ids, best first.
pub(crate) const STREAMS: [(&str, Quality); 3] =
    [("high", Quality::High), ("medium", Quality::Medium), ("low", Quality::Low)];

/// How a stream is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SelectorKind {
    /// This one.
    #[default]
    Exact,
    /// This one, or the one next to the bit rate.
    Nearest,
    /// The next worse one.
    Lower,
    /// The next better one.
    Higher,
}

/// Which stream a client wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamSelector {
    /// How `id` or `bitrate` is meant.
    pub kind: SelectorKind,
    /// Stream id.
    pub id: String,
    /// Bit rate in bit/s, when there is no id.
    pub bitrate: u32,
}

impl StreamSelector {
    /// The quality it selects, if any. Streams have no fixed bit rate here, so that selecting by it means nominal ones.
    pub(crate) fn select(&self) -> Option<Quality> {
        const NOMINAL: [u32; 3] = [4_000_000, 1_500_000, 500_000];
        let at = |index: usize| STREAMS.get(index).map(|(_, quality)| *quality);
        if self.id.is_empty() {
            let rate = self.bitrate;
            return match self.kind {
                _ if rate == 0 => None,
                SelectorKind::Nearest => at(NOMINAL.iter().position(|nominal| *nominal <= rate).unwrap_or(2)),
                SelectorKind::Lower => at(NOMINAL.iter().position(|nominal| *nominal < rate)?),
                SelectorKind::Higher => at(NOMINAL.iter().rposition(|nominal| *nominal > rate)?),
                SelectorKind::Exact => at(NOMINAL.iter().position(|nominal| *nominal == rate)?),
            };
        }
        let index = STREAMS.iter().position(|(id, _)| *id == self.id)?;
        match self.kind {
            SelectorKind::Exact | SelectorKind::Nearest => at(index),
            SelectorKind::Lower => at(index + 1),
            SelectorKind::Higher => at(index.checked_sub(1)?),
        }
    }
}

/// What a client wants to see; absent means no change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VideoRequest {
    /// No video.
    pub disabled: Option<bool>,
    /// Which stream.
    pub selector: Option<StreamSelector>,
    /// Let the congestion estimate choose.
    pub auto: Option<bool>,
    /// Codec; the inner `None` leaves it to us.
    pub codec: Option<Option<VideoCodec>>,
}

/// The codec of a name, `None` inside for `auto`.
pub(crate) fn codec_of(name: &str) -> Option<Option<VideoCodec>> {
    Some(match name {
        "auto" => None,
        "vp8" => Some(VideoCodec::Vp8),
        "vp9" => Some(VideoCodec::Vp9),
        "h264" => Some(VideoCodec::H264),
        _ => return None,
    })
}

pub(crate) fn codec_name(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::Vp8 => "vp8",
        VideoCodec::Vp9 => "vp9",
        VideoCodec::H264 => "h264",
    }
}

pub(crate) fn stream_name(quality: Quality) -> &'static str {
    match quality {
        Quality::High => "high",
        Quality::Medium => "medium",
        Quality::Low => "low",
    }
}

/// neko's `PeerVideo`; `codec` only for clients that know of it.
#[derive(Debug, Serialize)]
pub(crate) struct PeerVideo {
    disabled: bool,
    id: &'static str,
    video: &'static str,
    auto: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<&'static str>,
}

impl PeerVideo {
    fn new(viewer: &Viewer, glasshouse: bool) -> Self {
        let choice = viewer.choice;
        let (disabled, auto, quality, codec) = match viewer.state {
            Some(VideoState { disabled, auto, quality, codec }) => (disabled, auto, quality, Some(codec)),
            None => (choice.disabled, choice.auto, choice.quality, choice.codec),
        };
        let id = stream_name(quality);
        let codec = glasshouse.then(|| codec.map_or("auto", codec_name));
        Self { disabled, id, video: id, auto, codec }
    }
}

impl Server {
    /// Handles the `signal/*` events of a connection. The error is for the client's eyes.
    pub(crate) async fn signal(&self, connection: ConnectionId, peer: Peer, event: ClientEvent) -> Result<(), String> {
        let media = &self.inner.media;
        if let ClientEvent::SignalRequest { video, audio_disabled } = event {
            return self.request_viewer(connection, peer, &video, audio_disabled).await;
        }
        let viewer = self.inner.state.lock().viewer_of_connection(connection);
        let viewer = viewer.ok_or("there is no peer connection: send signal/request first")?;
        let done = match event {
            ClientEvent::SignalRestart => media.restart_ice(viewer).await.map(|offer| {
                self.send_to(connection, "signal/restart", &json!({ "sdp": offer.sdp }));
            }),
            ClientEvent::SignalOffer(sdp) => media.offer(viewer, sdp).await.map(|sdp| {
                self.send_to(connection, "signal/answer", &json!({ "sdp": sdp }));
            }),
            ClientEvent::SignalAnswer(sdp) => media.answer(viewer, sdp).await,
            ClientEvent::SignalCandidate(candidate) => media.remote_candidate(viewer, candidate).await,
            ClientEvent::SignalVideo(request) => return self.change_video(viewer, &request),
            ClientEvent::SignalAudio { disabled } => {
                self.change_audio(connection, viewer, disabled);
                Ok(())
            }
            _ => Ok(()),
        };
        done.map_err(|error| {
            self.inner.metrics.reject("signal");
            error.to_string()
        })
    }

    async fn request_viewer(
        &self,
        connection: ConnectionId,
        peer: Peer,
        request: &VideoRequest,
        audio_disabled: bool,
    ) -> Result<(), String> {
        let choice = VideoChoice {
            disabled: request.disabled.unwrap_or(false),
            auto: request.auto.unwrap_or(false),
            quality: request.selector.as_ref().and_then(StreamSelector::select).unwrap_or(Quality::High),
            codec: request.codec.flatten(),
        };
        let id = self.inner.with(|state, _| {
            let session = state.session_of(connection)?;
            if !state.room.profile(&session).is_some_and(|profile| profile.can_watch) {
                return None;
            }
            let id = ViewerId(state.next_id());
            let viewer = Viewer { session: session.as_str().into(), choice, state: None, audio_disabled };
            state.viewers.insert(id, viewer);
            // The old one is no longer current when it closes, so that the client hears nothing of it.
            if let Some(old) = state.viewer_of.insert(session, id) {
                state.viewers.remove(&old);
                self.inner.media.close(old);
            }
            Some(id)
        });
        let id = id.ok_or("session cannot watch")?;
        // There is no picture for somebody new while it is frozen.
        self.inner.desk.wake();
        let options = ConnectOptions { request_addr: Some(peer.local.ip()), video: choice, audio_disabled };
        let offer = self.inner.media.connect(id, options).await;
        self.inner.with(|state, now| {
            let Ok(offer) = offer else {
                state.forget_viewer(id);
                return Err("the peer connection could not be made".to_owned());
            };
            let Some(viewer) = state.viewers.get(&id) else {
                // It was replaced or ended meanwhile.
                self.inner.media.close(id);
                return Ok(());
            };
            if state.room.profile(&viewer.session).is_some_and(|profile| state.room.is_private_for(profile)) {
                self.inner.media.set_paused(id, true);
            }
            let session = viewer.session.clone();
            state.room.touch(&session, now);
            self.provide(state, connection, id, &offer);
            Ok(())
        })
    }

    fn provide(&self, state: &State, connection: ConnectionId, id: ViewerId, offer: &Offer) {
        let (Some(viewer), Some(target)) = (state.viewers.get(&id), state.connections.get(&connection)) else { return };
        let video = PeerVideo::new(viewer, target.glasshouse);
        #[derive(Serialize)]
        struct Provide<'a> {
            sdp: &'a str,
            iceservers: &'a [serde_json::Value],
            video: PeerVideo,
            audio: serde_json::Value,
        }
        let provide = Provide {
            sdp: &offer.sdp,
            iceservers: &self.inner.config.ice_servers,
            video,
            audio: json!({ "disabled": viewer.audio_disabled }),
        };
        state.send(connection, wire::frame("signal/provide", &provide));
    }

    fn change_video(&self, id: ViewerId, request: &VideoRequest) -> Result<(), String> {
        let mut state = self.inner.state.lock();
        let Some(viewer) = state.viewers.get_mut(&id) else { return Ok(()) };
        let choice = &mut viewer.choice;
        if let Some(disabled) = request.disabled {
            choice.disabled = disabled;
        }
        if let Some(selector) = &request.selector {
            choice.quality = selector.select().ok_or("no such stream")?;
        }
        if let Some(auto) = request.auto {
            choice.auto = auto;
        }
        if let Some(codec) = request.codec {
            choice.codec = codec;
        }
        let choice = *choice;
        self.inner.media.set_video(id, choice);
        Ok(())
    }

    fn change_audio(&self, connection: ConnectionId, id: ViewerId, disabled: Option<bool>) {
        let mut state = self.inner.state.lock();
        let Some(viewer) = state.viewers.get_mut(&id) else { return };
        if let Some(disabled) = disabled
            && disabled != viewer.audio_disabled
        {
            viewer.audio_disabled = disabled;
            self.inner.media.set_audio(id, disabled);
            state.send(connection, wire::frame("signal/audio", &json!({ "disabled": disabled })));
        }
    }

    /// The engine says what a viewer gets now.
    pub(crate) fn viewer_video(&self, id: ViewerId, now: VideoState) {
        let mut state = self.inner.state.lock();
        let Some(viewer) = state.viewers.get_mut(&id) else { return };
        if viewer.state == Some(now) {
            return;
        }
        viewer.state = Some(now);
        let viewer = &state.viewers[&id];
        let Some(connection) = state.room.connection(&viewer.session) else { return };
        let Some(target) = state.connections.get(&connection) else { return };
        state.send(connection, wire::frame("signal/video", &PeerVideo::new(viewer, target.glasshouse)));
    }
}
