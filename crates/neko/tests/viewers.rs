//! Signalling, the data channel, and what viewers do to the room.
mod common;

use common::{Harness, Member};
use glasshouse_desktop::{Fine, FineKind, Input};
use glasshouse_media::{Quality, VideoCodec};
use glasshouse_webrtc::{Event, VideoState, ViewerId};
use serde_json::json;

async fn watch(h: &Harness, member: &mut Member) -> ViewerId {
    member.client.say("signal/request", json!({})).await;
    member.client.until("signal/provide").await;
    let viewer = h.media.last_viewer();
    h.server.viewer_event(Event::Connected(viewer));
    viewer
}

#[tokio::test]
async fn an_offer_and_what_follows() {
    let h = Harness::new().await;
    let mut ann = h.join("ann", "user").await;
    ann.client.say("signal/request", json!({"video": {"selector": {"id": "low"}, "auto": true}})).await;
    let provide = ann.client.text().await;
    assert_eq!(
        provide,
        concat!(
            r#"{"event":"signal/provide","payload":{"sdp":"offer","iceservers":[{"urls":["stun:stun.example.org:3478"]}],"#,
            r#""video":{"disabled":false,"id":"low","video":"low","auto":true},"audio":{"disabled":false}}}"#,
            "\n"
        )
    );
    let (viewer, options) = h.media.options.lock()[0].clone();
    assert_eq!(options.request_addr, Some(h.address.ip()));
    assert_eq!((options.video.quality, options.video.codec), (Quality::Low, None));
    ann.client.say("signal/answer", json!({"sdp": "mine"})).await;
    ann.client.say("signal/candidate", json!({"candidate": "candidate:1"})).await;
    ann.client.say("signal/restart", json!(null)).await;
    assert_eq!(ann.client.until("signal/restart").await["sdp"], "restart");
    ann.client.say("signal/offer", json!({"sdp": "more"})).await;
    assert_eq!(ann.client.until("signal/answer").await["sdp"], "answer to more");
    ann.client.say("signal/audio", json!({"disabled": true})).await;
    assert_eq!(ann.client.until("signal/audio").await["disabled"], true);
    ann.client.say("signal/video", json!({"selector": {"id": "nothing"}, "auto": false})).await;
    ann.client.say("signal/video", json!({"selector": {"id": "low", "type": "Higher"}, "codec": "vp9"})).await;
    ann.client.settle().await;
    let id = viewer.0;
    assert_eq!(
        *h.media.calls.lock(),
        [
            format!("answer {id} mine"),
            format!("candidate {id} candidate:1"),
            "audio disabled=true".into(),
            "video Medium auto=true codec=Some(Vp9)".into()
        ]
    );
    let state = VideoState { disabled: false, auto: false, quality: Quality::Medium, codec: VideoCodec::Vp9 };
    h.server.viewer_event(Event::Video(viewer, state));
    let video = ann.client.until("signal/video").await;
    assert_eq!(video, json!({"disabled": false, "id": "medium", "video": "medium", "auto": false}));
}

#[tokio::test]
async fn watching_and_its_end_are_told() {
    let h = Harness::new().await;
    let mut ann = h.join("ann", "user").await;
    let viewer = watch(&h, &mut ann).await;
    assert_eq!(ann.client.until("session/state").await["is_watching"], true);
    let second = watch(&h, &mut ann).await;
    assert_eq!(*h.media.calls.lock(), [format!("close {}", viewer.0)]);
    // The first one's end is no news, the second one's is.
    h.server.viewer_event(Event::Closed(viewer));
    h.server.viewer_event(Event::Closed(second));
    assert_eq!(ann.client.names(2).await, ["session/state", "signal/close"]);
    ann.client.say("signal/answer", json!({"sdp": "late"})).await;
    ann.client.settle().await;
    assert_eq!(h.metric(r#"glasshouse_rejected_input_total{kind="refused"}"#).await, 1);
}

#[tokio::test]
async fn nobody_watches_without_the_right_and_garbage_is_refused() {
    let h = Harness::new().await;
    let root = h.join("root", "admin").await;
    let mut ann = h.join_as("ann", "user", "&glasshouse=1").await;
    h.post(&format!("/api/members/{}", ann.id), &root.token, json!({"can_watch": false})).await;
    ann.client.say("signal/request", json!({})).await;
    assert_eq!(ann.client.until("glasshouse/error").await["message"], "session cannot watch");
    h.post(&format!("/api/members/{}", ann.id), &root.token, json!({"can_watch": true})).await;
    *h.media.refuse.lock() = true;
    ann.client.say("signal/request", json!({})).await;
    ann.client.until("glasshouse/error").await;
    *h.media.refuse.lock() = false;
    ann.client.say("signal/request", json!({"video": {"codec": "h264"}})).await;
    assert_eq!(ann.client.until("signal/provide").await["video"]["codec"], "h264");
    *h.media.refuse.lock() = true;
    ann.client.say("signal/answer", json!({"sdp": "garbage"})).await;
    let error = ann.client.until("glasshouse/error").await;
    assert_eq!(error["message"], "unusable answer: garbage");
}

#[tokio::test]
async fn private_mode_pauses() {
    let h = Harness::new().await;
    let root = h.join("root", "admin").await;
    let mut ann = h.join("ann", "user").await;
    watch(&h, &mut ann).await;
    h.post("/api/room/settings", &root.token, json!({"private_mode": true})).await;
    watch(&h, &mut ann).await;
    h.post("/api/room/settings", &root.token, json!({"private_mode": false})).await;
    let calls = h.media.calls.lock().clone();
    let paused: Vec<_> = calls.iter().filter(|call| call.starts_with("paused")).collect();
    assert_eq!(paused, ["paused=true", "paused=true", "paused=false"]);
}

#[tokio::test]
async fn the_data_channel() {
    let h = Harness::new().await;
    let root = h.join("root", "admin").await;
    let mut ann = h.join("ann", "user").await;
    let viewer = watch(&h, &mut ann).await;
    h.server.viewer_event(Event::DataOpen(viewer));
    let sent = std::mem::take(&mut *h.media.data.lock());
    assert_eq!(sent[0].1[..11], [0x02, 0x01, 0x37, 0, 24, 0, 24, 0, 4, 0, 4]);
    assert_eq!(sent[1].1[..], [0x01, 0, 7, 0x02, 0x80, 0x01, 0x68], "the middle of the screen");

    let data = |bytes: &[u8]| h.server.viewer_event(Event::Data(viewer, bytes.to_vec()));
    data(&[7, 0, 8, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x69, 0x8b]);
    let pong = h.media.data.lock().pop().unwrap().1;
    assert_eq!(pong[..11], [3, 0, 19, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x69, 0x8b]);
    data(&[3, 0, 4, 0, 0, 0, 0x61]);
    data(&[0x40, 0, 9, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    data(&[0xff, 0, 0]);
    data(&[1, 0]);
    assert_eq!(h.desk.take_inputs(), [], "not host");
    assert_eq!(h.metric(r#"glasshouse_rejected_input_total{kind="not_host"}"#).await, 2);
    assert_eq!(h.metric(r#"glasshouse_rejected_input_total{kind="data_channel"}"#).await, 2);

    ann.client.say("control/request", json!(null)).await;
    ann.client.settle().await;
    data(&[1, 0, 4, 0, 10, 0, 20]);
    data(&[1, 0, 4, 0xff, 0xff, 0xff, 0xff]);
    data(&[2, 0, 5, 0, 0, 0xff, 0xff, 1]);
    data(&[0x40, 0, 9, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x80, 1]);
    data(&[0x40, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    data(&[5, 0, 4, 0, 0, 0, 1]);
    data(&[6, 0, 4, 0, 0, 0, 1]);
    data(&[5, 0, 4, 0xff, 0, 0, 1]);
    assert_eq!(
        h.desk.take_inputs(),
        [
            Input::Move { x: 10, y: 20 },
            Input::Move { x: 1279, y: 719 },
            Input::Scroll { x: 0, y: -1, control: true },
            Input::Fine(Fine { x: 0, y: -128, kind: FineKind::Drag }),
            Input::ButtonDown(1),
            Input::ButtonUp(1)
        ]
    );
    let relayed = h.media.broadcasts.lock().clone();
    assert_eq!(relayed.len(), 2);
    assert_eq!((relayed[0].0, &relayed[0].1[..]), (Some(viewer), &[1, 0, 7, 0, 10, 0, 20][..]));
    // The host's peer connection is gone: what it held is released.
    h.server.viewer_event(Event::Closed(viewer));
    assert_eq!(h.desk.take_inputs(), [Input::ReleaseAll]);
    drop(root);
}

#[tokio::test]
async fn pointers_of_members_that_are_not_host() {
    let h = Harness::new().await;
    let mut root = h.join("root", "admin").await;
    let mut bob = h.join_as("bob", "user", "&glasshouse=1").await;
    let mut ann = h.join("ann", "user").await;
    h.post("/api/room/settings", &root.token, json!({"inactive_cursors": true})).await;
    let viewer = watch(&h, &mut ann).await;
    h.server.viewer_event(Event::Data(viewer, vec![1, 0, 4, 0, 10, 0, 20]));
    assert_eq!(bob.client.until("glasshouse/cursors").await, json!([{"id": ann.id, "x": 10, "y": 20}]));
    let batch = root.client.until("session/cursors").await;
    assert_eq!(batch, json!([{"id": ann.id, "cursors": [{"x": 10, "y": 20}]}]));
    assert_eq!(root.client.until("session/cursors").await, json!([]));
    ann.client.say("glasshouse/cursor_leave", json!(null)).await;
    assert_eq!(bob.client.until("glasshouse/cursors").await, json!([{"id": ann.id, "x": -1, "y": -1}]));
}

#[tokio::test]
async fn too_many_events_are_dropped() {
    let h = Harness::new().await;
    let mut ann = h.join("ann", "user").await;
    let viewer = watch(&h, &mut ann).await;
    ann.client.say("control/request", json!(null)).await;
    ann.client.settle().await;
    for _ in 0..20_000 {
        h.server.viewer_event(Event::Data(viewer, vec![5, 0, 4, 0, 0, 0, 1]));
    }
    let injected = h.desk.take_inputs().len() as u64;
    let dropped = h.metric(r#"glasshouse_rejected_input_total{kind="rate"}"#).await;
    assert_eq!(injected + dropped, 20_000);
    assert!(dropped > 0, "20,000 events take far less than ten seconds");
}

#[tokio::test]
async fn statistics_for_who_asked() {
    let h = Harness::new().await;
    let mut ann = h.join_as("ann", "user", "&glasshouse=1").await;
    watch(&h, &mut ann).await;
    ann.client.say("glasshouse/stats", json!({"enabled": true})).await;
    let stats = ann.client.until("glasshouse/stats").await;
    assert_eq!((&stats["viewer"]["bytes_sent"], &stats["viewer"]["protocol"]), (&json!(7), &json!("udp")));
    assert_eq!(stats["video"], json!(null));
    assert_eq!(h.metric(r#"neko_webrtc_bytes_sent{transport="ice"}"#).await, 7);
    assert_eq!(h.metric(r#"neko_webrtc_ice_candidates_used{protocol="udp"}"#).await, 1);
    let text = h.get("/metrics", "").await.text();
    assert!(!text.contains(ann.id.as_str()), "a member is named in\n{text}");
}
