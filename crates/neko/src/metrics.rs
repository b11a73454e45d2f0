//! Prometheus metrics: neko's names where we have the numbers, and our own.

use std::fmt::Write as _;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text::encode},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use glasshouse_webrtc::DelayHistogram;

use crate::{Server, signal};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SessionLabel {
    session_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabel {
    session_id: String,
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViewedLabel {
    session_id: String,
    video_id: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabel {
    video_id: &'static str,
    codec_name: &'static str,
    codec_type: &'static str,
}

/// Counters since the start.
#[derive(Default)]
pub(crate) struct Metrics {
    rejected: Family<Kind, Counter>,
    pub(crate) slow_clients: Counter,
    pub(crate) viewers_connected: Counter,
    pub(crate) connections: Counter,
    pub(crate) cast_pictures: Counter,
}

impl Metrics {
    /// Counts something that a client sent and that was not used.
    pub(crate) fn reject(&self, kind: &'static str) {
        self.rejected.get_or_create(&Kind { kind }).inc();
    }
}

/// A gauge family under a name of neko's.
///
/// neko's counters have no `_total` at the end, which this library adds to counters; as gauges they keep their names.
fn gauges<L>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Gauge>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Everything as OpenMetrics text. Series of members and viewers exist only as long as they do.
pub(crate) async fn text(server: &Server) -> String {
    let inner = &*server.inner;
    let mut registry = Registry::default();
    let r = &mut registry;
    let metrics = &inner.metrics;
    r.register("glasshouse_rejected_input", "Input that was not used, by kind", metrics.rejected.clone());
    r.register("glasshouse_slow_clients", "WebSockets closed as too slow", metrics.slow_clients.clone());
    r.register("glasshouse_viewers_connected", "Viewers that connected", metrics.viewers_connected.clone());
    r.register("glasshouse_connections", "WebSockets that were accepted", metrics.connections.clone());
    r.register("neko_capture_screencast_images", "Pictures made for cast.jpg", metrics.cast_pictures.clone());

    let (viewers, stats, open) = {
        let state = inner.state.lock();
        let viewers: Vec<_> =
            state.viewers.iter().map(|(id, viewer)| (*id, viewer.session.to_string(), viewer.state)).collect();
        (viewers, state.room.stats(), state.connections.len())
    };
    let members = gauges::<Kind>(r, "glasshouse_members", "Connected members");
    members.get_or_create(&Kind { kind: "user" }).set(gauge(stats.total_users as u64));
    members.get_or_create(&Kind { kind: "admin" }).set(gauge(stats.total_admins as u64));
    for (name, help, value) in
        [("glasshouse_viewers", "Peer connections", viewers.len()), ("glasshouse_websockets", "Open WebSockets", open)]
    {
        let single = Gauge::<i64>::default();
        single.set(gauge(value as u64));
        r.register(name, help, single);
    }
    r.register_collector(Box::new(ChangeToSend(inner.media.change_to_send())));
    viewer_metrics(server, r, viewers).await;
    stream_metrics(server, r);

    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        let _ = write!(text, "# EOF");
    }
    text
}

/// The engine's own histogram under a name of ours.
#[derive(Debug)]
struct ChangeToSend(DelayHistogram);

impl Collector for ChangeToSend {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        const HELP: &str = "Time from a change on screen until it is sent to viewers, in seconds";
        let mut metric =
            encoder.encode_descriptor("glasshouse_change_to_send_seconds", HELP, None, MetricType::Histogram)?;
        let buckets = &self.0.buckets;
        let count = buckets.iter().map(|(_, count)| count).sum();
        metric.encode_histogram::<NoLabelSet>(self.0.sum, count, buckets, None)
    }
}

async fn viewer_metrics(
    server: &Server,
    r: &mut Registry,
    viewers: Vec<(glasshouse_webrtc::ViewerId, String, Option<glasshouse_webrtc::VideoState>)>,
) {
    let state = gauges::<SessionLabel>(r, "neko_webrtc_connection_state", "5 connected, 4 connecting");
    let count = gauges::<SessionLabel>(r, "neko_webrtc_connection_count", "Peer connections of the session");
    let listeners = gauges::<ViewedLabel>(r, "neko_webrtc_video_listeners", "1 while the session gets this stream");
    let target = gauges::<SessionLabel>(
        r,
        "neko_webrtc_receiver_estimated_target_bitrate",
        "Bit rate that the congestion control estimates",
    );
    let nacks = gauges::<SessionLabel>(r, "neko_webrtc_transport_layer_nacks", "NACKs received");
    let sent = gauges::<TransportLabel>(r, "neko_webrtc_bytes_sent", "Bytes sent");
    let dropped = gauges::<SessionLabel>(r, "glasshouse_viewer_frames_dropped", "Frames not sent: queue full");
    for (id, session_id, video) in viewers {
        let label = SessionLabel { session_id: session_id.clone() };
        count.get_or_create(&label).set(1);
        if let Some(video) = video {
            let viewed = ViewedLabel { session_id: session_id.clone(), video_id: signal::stream_name(video.quality) };
            listeners.get_or_create(&viewed).set(i64::from(!video.disabled));
        }
        let Ok(stats) = server.inner.media.stats(id).await else { continue };
        state.get_or_create(&label).set(if stats.protocol.is_some() { 5 } else { 4 });
        target.get_or_create(&label).set(gauge(stats.estimate.unwrap_or(0)));
        nacks.get_or_create(&label).set(gauge(stats.nacks));
        sent.get_or_create(&TransportLabel { session_id, transport: "ice" }).set(gauge(stats.bytes_sent));
        dropped.get_or_create(&label).set(gauge(stats.frames_dropped));
    }
}

fn stream_metrics(server: &Server, r: &mut Registry) {
    let listeners = gauges::<StreamLabel>(r, "neko_capture_streamsink_listeners", "Viewers of the stream");
    let bytes = gauges::<StreamLabel>(r, "neko_capture_streamsink_bytes", "Bytes encoded");
    let frames = gauges::<StreamLabel>(r, "glasshouse_encoded_frames", "Frames encoded");
    let key_frames = gauges::<StreamLabel>(r, "glasshouse_encoded_key_frames", "Key frames encoded");
    let rate = gauges::<StreamLabel>(r, "glasshouse_target_bit_rate", "Bit rate that the encoder aims at");
    for stats in server.inner.video.get().map(|video| video.stats()).unwrap_or_default() {
        let label = StreamLabel {
            video_id: signal::stream_name(stats.rendition.quality),
            codec_name: signal::codec_name(stats.rendition.codec),
            codec_type: "video",
        };
        listeners.get_or_create(&label).set(gauge(stats.holders as u64));
        bytes.get_or_create(&label).set(gauge(stats.bytes));
        frames.get_or_create(&label).set(gauge(stats.frames));
        key_frames.get_or_create(&label).set(gauge(stats.key_frames));
        rate.get_or_create(&label).set(stats.target_bit_rate.into());
    }
}
