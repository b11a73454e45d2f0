//! Prometheus metrics: neko's names where we have the numbers, and our own. Nothing names a member or a viewer: what is theirs
//! is added up, so that the number of series does not grow with the people who come and go.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, OnceLock, atomic::AtomicU64},
};

use glasshouse_webrtc::{DelayHistogram, VideoState, ViewerId, ViewerStats};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text::encode},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{Server, signal};

/// A number from elsewhere that `/metrics` shows too.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Its name; one that counts up is shown with `_total` at its end.
    pub name: &'static str,
    /// What it is, in a few words.
    pub help: &'static str,
    /// Name and value of a label, if it has one: such count up, and those with the same name come one after another.
    pub label: Option<(&'static str, &'static str)>,
    /// The number.
    pub value: f64,
    /// Whether it only ever grows.
    pub counts_up: bool,
}

/// Where numbers from elsewhere come from. Asked at every look at `/metrics`; must not wait.
pub type Readings = Arc<dyn Fn() -> Vec<Reading> + Send + Sync>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabel {
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProtocolLabel {
    protocol: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViewedLabel {
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
    /// Locked during a look, so that nothing is counted twice.
    had: tokio::sync::Mutex<Had>,
    pub(crate) readings: OnceLock<Readings>,
}

impl Metrics {
    /// Counts something that a client sent and that was not used.
    pub(crate) fn reject(&self, kind: &'static str) {
        self.rejected.get_or_create(&Kind { kind }).inc();
    }
}

/// What viewers have had since the start, added up at every look: what one gets after the last look is not counted.
#[derive(Debug, Default)]
struct Had {
    last: HashMap<ViewerId, Share>,
    sum: Share,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Share {
    bytes: u64,
    nacks: u64,
    dropped: u64,
}

impl Had {
    fn add(&mut self, now: &[(ViewerId, Share)]) -> Share {
        for (id, share) in now {
            let last = self.last.get(id).copied().unwrap_or_default();
            self.sum.bytes += share.bytes.saturating_sub(last.bytes);
            self.sum.nacks += share.nacks.saturating_sub(last.nacks);
            self.sum.dropped += share.dropped.saturating_sub(last.dropped);
        }
        self.last = now.iter().copied().collect();
        self.sum
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

/// Everything as OpenMetrics text.
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
        let viewers: Vec<_> = state.viewers.iter().map(|(id, viewer)| (*id, viewer.state)).collect();
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
    for reading in
        inner.metrics.readings.get().map(|readings| readings()).unwrap_or_default().chunk_by(|a, b| a.name == b.name)
    {
        register(r, reading);
    }

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

/// Shows readings of one name.
fn register(r: &mut Registry, readings: &[Reading]) {
    match readings {
        [] => {}
        [Reading { label: None, name, help, value, counts_up: true }] => {
            let counter = Counter::<f64, AtomicU64>::default();
            // A counter takes no number below zero.
            counter.inc_by(value.max(0.0));
            r.register(*name, *help, counter);
        }
        [Reading { label: None, name, help, value, counts_up: false }] => {
            let gauge = Gauge::<f64, AtomicU64>::default();
            gauge.set(*value);
            r.register(*name, *help, gauge);
        }
        [first, ..] => {
            let family = Family::<[(&'static str, &'static str); 1], Counter<f64, AtomicU64>>::default();
            for reading in readings {
                family.get_or_create(&[reading.label.unwrap_or_default()]).inc_by(reading.value.max(0.0));
            }
            r.register(first.name, first.help, family);
        }
    }
}

fn single(r: &mut Registry, name: &str, help: &str, value: u64) {
    let only = Gauge::<i64>::default();
    only.set(gauge(value));
    r.register(name, help, only);
}

async fn viewer_metrics(server: &Server, r: &mut Registry, viewers: Vec<(ViewerId, Option<VideoState>)>) {
    let metrics = &server.inner.metrics;
    let mut had = metrics.had.lock().await;
    let mut seen: Vec<(ViewerId, ViewerStats)> = Vec::with_capacity(viewers.len());
    for (id, _) in &viewers {
        // One may go meanwhile.
        if let Ok(stats) = server.inner.media.stats(*id).await {
            seen.push((*id, stats));
        }
    }
    let shares: Vec<_> = seen
        .iter()
        .map(|(id, stats)| (*id, Share { bytes: stats.bytes_sent, nacks: stats.nacks, dropped: stats.frames_dropped }))
        .collect();
    let Share { bytes, nacks, dropped } = had.add(&shares);
    drop(had);

    single(r, "neko_webrtc_connection_count", "Peer connections since the start", metrics.viewers_connected.get());
    let used = gauges::<ProtocolLabel>(r, "neko_webrtc_ice_candidates_used", "Viewers connected by this protocol");
    let listeners = gauges::<ViewedLabel>(r, "neko_webrtc_video_listeners", "Viewers that get this stream");
    for protocol in ["udp", "tcp"] {
        let count = seen.iter().filter(|(_, stats)| stats.protocol == Some(protocol)).count();
        used.get_or_create(&ProtocolLabel { protocol }).set(gauge(count as u64));
    }
    for video in viewers.iter().filter_map(|(_, video)| video.as_ref()).filter(|video| !video.disabled) {
        listeners.get_or_create(&ViewedLabel { video_id: signal::stream_name(video.quality) }).inc();
    }
    let estimates = || seen.iter().filter_map(|(_, stats)| stats.estimate);
    single(
        r,
        "neko_webrtc_receiver_estimated_target_bitrate",
        "Bit rate that the congestion control estimates, of all viewers together",
        estimates().fold(0, u64::saturating_add),
    );
    if let Some(lowest) = estimates().min() {
        single(r, "glasshouse_viewer_lowest_estimate", "The lowest estimate of a viewer in bit/s", lowest);
    }
    if let Some(slowest) = seen.iter().filter_map(|(_, stats)| stats.round_trip).max() {
        let round_trip = Gauge::<f64, AtomicU64>::default();
        round_trip.set(slowest.as_secs_f64());
        r.register("glasshouse_viewer_longest_round_trip_seconds", "The longest round trip to a viewer", round_trip);
    }
    single(r, "neko_webrtc_transport_layer_nacks", "NACKs received", nacks);
    let sent = gauges::<TransportLabel>(r, "neko_webrtc_bytes_sent", "Bytes of picture and sound sent to viewers");
    sent.get_or_create(&TransportLabel { transport: "ice" }).set(gauge(bytes));
    single(r, "glasshouse_viewer_frames_dropped", "Frames not sent: queue full", dropped);
}

fn stream_metrics(server: &Server, r: &mut Registry) {
    let listeners = gauges::<StreamLabel>(r, "neko_capture_streamsink_listeners", "Viewers of the stream");
    let bytes = gauges::<StreamLabel>(r, "neko_capture_streamsink_bytes", "Bytes encoded");
    let frames = gauges::<StreamLabel>(r, "glasshouse_encoded_frames", "Frames encoded");
    let key_frames = gauges::<StreamLabel>(r, "glasshouse_encoded_key_frames", "Key frames encoded");
    let refinements =
        gauges::<StreamLabel>(r, "glasshouse_encoded_refinements", "Frames that only sharpened the picture");
    let encoding = Family::<StreamLabel, Counter<f64, AtomicU64>>::default();
    r.register("glasshouse_encode_seconds", "Time spent in the encoder", encoding.clone());
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
        refinements.get_or_create(&label).set(gauge(stats.refinements));
        encoding.get_or_create(&label).inc_by(stats.encode_time.as_secs_f64());
        rate.get_or_create(&label).set(stats.target_bit_rate.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_viewers_had_stays_counted_when_they_go() {
        let share = |bytes| Share { bytes, nacks: 1, dropped: 0 };
        let mut had = Had::default();
        assert_eq!(had.add(&[(ViewerId(1), share(10)), (ViewerId(2), share(5))]).bytes, 15);
        assert_eq!(had.add(&[(ViewerId(1), share(14))]), Share { bytes: 19, nacks: 2, dropped: 0 });
        assert_eq!(had.add(&[]).bytes, 19);
        assert_eq!(had.add(&[(ViewerId(3), share(1))]), Share { bytes: 20, nacks: 3, dropped: 0 });
        assert_eq!(had.last.len(), 1);
    }

    #[test]
    fn readings_are_shown_by_name_and_label() {
        let reading = |label, value, counts_up| Reading {
            name: if counts_up { "a" } else { "b" },
            help: "h",
            label,
            value,
            counts_up,
        };
        let mut registry = Registry::default();
        register(&mut registry, &[reading(Some(("way", "in")), 1.0, true), reading(Some(("way", "out")), 2.0, true)]);
        register(&mut registry, &[reading(None, 0.5, false)]);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in ["a_total{way=\"in\"} 1.0", "a_total{way=\"out\"} 2.0"] {
            assert!(text.lines().any(|present| present == line), "{line} is not in\n{text}");
        }
        assert!(text.lines().any(|line| line.starts_with('b') && line.ends_with(" 0.5")), "{text}");
    }
}
