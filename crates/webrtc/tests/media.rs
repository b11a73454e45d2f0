//! What reaches a viewer: frames byte for byte, sound, another codec without renegotiation, repairs after loss.

mod common;

use std::time::Duration;

use common::{HIGH_VP8, HIGH_VP9, Rig, choice};
use glasshouse_media::{Quality, Rendition, VideoCodec};
use glasshouse_webrtc::{Event, VideoChoice, ViewerId};

#[test]
fn frames_arrive_intact_and_start_with_a_key_frame() {
    for tcp in [false, true] {
        let rig = Rig::new();
        let mut client = rig.connected(1, tcp);
        let early = rig.frame(HIGH_VP8, false, 3000, 1);
        let key = rig.frame(HIGH_VP8, true, 300_000, 2);
        let small = rig.frame(HIGH_VP8, false, 10, 3);
        let last = rig.frame(HIGH_VP8, false, 40_000, 4);
        client.run_until("the last frame", |client| client.has_frame(&last));
        assert!(client.has_frame(&key) && client.has_frame(&small));
        assert!(!client.has_frame(&early), "a viewer cannot decode what comes before a key frame");
        let times: Vec<_> = client.frames.iter().map(|frame| frame.time).collect();
        assert!(times.is_sorted());
        let stats = rig.block(rig.engine.stats(ViewerId(1))).unwrap();
        assert_eq!(stats.protocol, Some(if tcp { "tcp" } else { "udp" }));
        assert!(stats.bytes_sent > 340_000 && stats.packets_sent > 300);
    }
}

#[test]
fn events_come_in_order_and_renditions_are_given_back() {
    let rig = Rig::new();
    let mut client = rig.connected(1, false);
    rig.engine.close(ViewerId(1));
    client.run_until("goodbye", |client| client.closed);
    rig.wait("the last event", || rig.has(|event| matches!(event, Event::Closed(_))));
    let held = rig.sources.0.lock().held.get(&HIGH_VP8).copied();
    assert_eq!(held, Some(0));
    assert_eq!(rig.sources.0.lock().listeners, 0);
    let names: Vec<String> =
        rig.events.lock().iter().map(|e| format!("{e:?}").split('(').next().unwrap().into()).collect();
    assert_eq!(names.first().map(String::as_str), Some("Connected"));
    assert_eq!(names.last().map(String::as_str), Some("Closed"));
    assert!(names.contains(&"DataOpen".into()) && names.contains(&"Video".into()));
}

#[test]
fn sound_arrives_and_can_be_switched_off() {
    let rig = Rig::new();
    let mut client = rig.connected(1, false);
    rig.wait("a listener", || rig.sources.0.lock().listeners == 1);
    client.run_while("sound", |client| {
        rig.sound(b"an opus packet");
        client.sounds.is_empty()
    });
    assert_eq!(&client.sounds[0].data[..], b"an opus packet");
    rig.engine.set_audio(ViewerId(1), true);
    rig.wait("no listener", || rig.sources.0.lock().listeners == 0);
}

#[test]
fn the_codec_changes_at_a_key_frame_without_renegotiation() {
    let rig = Rig::new();
    let mut client = rig.connected(1, false);
    let first = rig.frame(HIGH_VP8, true, 5000, 1);
    client.run_until("VP8", |client| client.has_frame(&first));
    rig.engine.set_video(ViewerId(1), choice(Some(VideoCodec::Vp9)));
    rig.wait("VP9", || rig.sources.0.lock().held.get(&HIGH_VP9) == Some(&1));
    let between = rig.frame(HIGH_VP8, false, 5000, 2);
    let undecodable = rig.frame(HIGH_VP9, false, 5000, 3);
    client.run_until("the old codec until the new one is ready", |client| client.has_frame(&between));
    assert_eq!(rig.sources.0.lock().held.get(&HIGH_VP8), Some(&1));
    let key = rig.frame(HIGH_VP9, true, 50_000, 4);
    let late = rig.frame(HIGH_VP8, false, 5000, 5);
    let next = rig.frame(HIGH_VP9, false, 5000, 6);
    client.run_until("VP9 frames", |client| client.has_frame(&key) && client.has_frame(&next));
    assert!(!client.has_frame(&undecodable) && !client.has_frame(&late));
    assert_eq!(rig.sources.0.lock().held.get(&HIGH_VP8), Some(&0));
    assert!(rig.has(|event| matches!(event, Event::Video(_, state) if state.codec == VideoCodec::Vp9)));
}

#[test]
fn a_viewer_without_the_preferred_codec_gets_another() {
    let rig = Rig::new();
    // As if this viewer had never heard of VP8.
    let mut client = rig.client(1, false, |sdp| *sdp = sdp.replace("VP8/90000", "VP7/90000"));
    client.run_until("connected", |client| client.connected);
    let h264 = Rendition { codec: VideoCodec::H264, quality: Quality::High };
    rig.wait("H.264", || rig.sources.0.lock().held.get(&h264) == Some(&1));
}

#[test]
fn a_lost_picture_asks_for_a_key_frame_and_a_still_one_does_not() {
    let rig = Rig::new();
    let mut client = rig.connected(1, false);
    let key = rig.frame(HIGH_VP8, true, 5000, 1);
    client.run_until("a frame", |client| client.has_frame(&key));
    let requests = || rig.sources.0.lock().key_requests.get(&HIGH_VP8).copied().unwrap_or(0);
    client.run_for(Duration::from_millis(400));
    let before = requests();
    client.request_key_frame();
    client.run_while("a request", |_| requests() == before);
    let answer = rig.frame(HIGH_VP8, true, 5000, 2);
    client.run_until("the key frame", |client| client.has_frame(&answer));
    // libwebrtc's inactivity timer: three seconds without a frame, everything delivered.
    client.run_for(Duration::from_millis(3500));
    let before = requests();
    client.request_key_frame();
    let plis = || rig.block(rig.engine.stats(ViewerId(1))).unwrap().plis;
    client.run_while("the PLI", |_| plis() < 2);
    assert_eq!(requests(), before);
}

#[test]
fn loss_is_repaired_by_retransmission() {
    let rig = Rig::new();
    let mut client = rig.connected(1, false);
    let key = rig.frame(HIGH_VP8, true, 20_000, 0);
    client.run_until("the key frame", |client| client.has_frame(&key));
    client.lose_every = Some(10);
    let mut sent = Vec::new();
    for seed in 1..=100 {
        sent.push(rig.frame(HIGH_VP8, false, 6000, seed));
        client.run_for(Duration::from_millis(15));
    }
    // A loss at the very end shows only when something follows.
    client.lose_every = None;
    sent.push(rig.frame(HIGH_VP8, false, 100, 200));
    client.run_until("all frames", |client| sent.iter().all(|data| client.has_frame(data)));
    assert!(client.lost > 30, "only {} packets were lost", client.lost);
    let record = rig.sources.0.lock();
    assert_eq!(record.key_requests.get(&HIGH_VP8), None, "a retransmission is cheaper than a key frame");
}

#[test]
fn pause_and_disable_release_the_rendition() {
    let rig = Rig::new();
    let _client = rig.connected(1, false);
    let held = || rig.sources.0.lock().held.get(&HIGH_VP8).copied();
    rig.wait("held", || held() == Some(1));
    rig.engine.set_paused(ViewerId(1), true);
    rig.wait("paused", || held() == Some(0) && rig.sources.0.lock().listeners == 0);
    rig.engine.set_paused(ViewerId(1), false);
    rig.wait("resumed", || held() == Some(1) && rig.sources.0.lock().listeners == 1);
    rig.engine.set_video(ViewerId(1), VideoChoice { disabled: true, ..choice(None) });
    rig.wait("disabled", || held() == Some(0));
    assert!(rig.has(|event| matches!(event, Event::Video(_, state) if state.disabled)));
}
