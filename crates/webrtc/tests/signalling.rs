//! Offers, answers, restarts and everything that can be wrong with them.

mod common;

use std::{net::UdpSocket, time::Duration};

use common::{HIGH_VP8, Rig, options};
use glasshouse_webrtc::{Error, Event, ViewerId};

#[test]
fn data_goes_both_ways_and_has_limits() {
    let rig = Rig::new();
    let mut one = rig.connected(1, false);
    let mut two = rig.connected(2, true);
    assert_eq!(one.channel.as_ref().unwrap().1, "data");
    one.send(b"from one");
    rig.wait("the message", || rig.has(|e| matches!(e, Event::Data(ViewerId(1), data) if data == b"from one")));
    rig.engine.send_data(ViewerId(1), vec![7; 64 << 10].into());
    rig.engine.send_data(ViewerId(1), vec![8; (64 << 10) + 1].into());
    rig.engine.broadcast_data(Some(ViewerId(2)), b"not for two".to_vec().into());
    rig.engine.broadcast_data(None, b"for all".to_vec().into());
    one.run_until("three messages", |client| client.messages.len() == 3);
    two.run_until("one message", |client| client.messages.len() == 1);
    assert_eq!(one.messages[0].len(), 64 << 10);
    assert_eq!(one.messages[1..], [b"not for two".to_vec(), b"for all".to_vec()]);
    assert_eq!(two.messages, [b"for all".to_vec()]);
}

#[test]
fn unknown_viewers_and_garbage_are_errors_and_harm_nobody() {
    let rig = Rig::new();
    let mut bystander = rig.connected(1, false);
    let engine = &rig.engine;
    let unknown = ViewerId(99);
    assert!(matches!(rig.block(engine.answer(unknown, String::new())), Err(Error::UnknownViewer)));
    assert!(matches!(rig.block(engine.stats(unknown)), Err(Error::UnknownViewer)));
    assert!(matches!(rig.block(engine.restart_ice(unknown)), Err(Error::UnknownViewer)));
    assert!(matches!(rig.block(engine.connect(ViewerId(1), options())), Err(Error::Signal { .. })));
    engine.close(unknown);
    engine.set_audio(unknown, true);

    let offer = rig.offer(2);
    let garbage = [
        String::new(),
        "v=0\r\n".into(),
        "x".repeat(100_000),
        "\u{0}\u{ffff}a=mid:0\r\n".into(),
        offer.sdp.replace("a=fingerprint", "a=fingerprinz"),
        offer.sdp.replace("m=audio", "m=video"),
        offer.sdp.chars().rev().collect(),
    ];
    for sdp in garbage {
        let result = rig.block(engine.answer(ViewerId(2), sdp));
        assert!(matches!(result, Err(Error::Signal { what: "answer", .. } | Error::UnknownViewer)), "{result:?}");
    }
    let first = rig.block(engine.offer(ViewerId(1), "nonsense".into()));
    assert!(matches!(first, Err(Error::Signal { what: "offer", .. })));
    for good in
        ["", "candidate:1 1 udp 2113937151 192.0.2.3 54400 typ host", "candidate:1 1 udp 1 a-b.local 5 typ host"]
    {
        rig.block(engine.remote_candidate(ViewerId(1), good.into())).unwrap();
    }
    for bad in ["candidate:", "hello", "candidate:1 1 udp x 192.0.2.3 1 typ host"] {
        let result = rig.block(engine.remote_candidate(ViewerId(1), bad.into()));
        assert!(matches!(result, Err(Error::Signal { what: "candidate", .. })), "{bad}: {result:?}");
    }

    let junk = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in 0..1500 {
        let data: Vec<u8> = (0..length).map(|n| (n * 31 + length) as u8).collect();
        junk.send_to(&data, ("127.0.0.1", engine.port().unwrap())).unwrap();
    }
    let data = rig.frame(HIGH_VP8, true, 5000, 1);
    bystander.run_until("a frame all the same", |client| client.has_frame(&data));
}

#[test]
fn ice_restarts_and_the_viewers_own_offer_keep_the_picture() {
    let rig = Rig::new();
    let mut client = rig.connected(1, false);
    let before = rig.frame(HIGH_VP8, true, 5000, 1);
    client.run_until("a frame", |client| client.has_frame(&before));

    let offer = rig.block(rig.engine.restart_ice(ViewerId(1))).unwrap();
    assert!(!offer.candidates.is_empty() && offer.candidates.iter().all(|c| c.starts_with("candidate:")));
    let answer = client.answer(&offer.sdp);
    rig.block(rig.engine.answer(ViewerId(1), answer)).unwrap();
    client.run_for(Duration::from_millis(500));
    let after = rig.frame(HIGH_VP8, false, 5000, 2);
    client.run_until("a frame after the restart", |client| client.has_frame(&after));

    let (sdp, pending) = client.own_offer();
    let answer = rig.block(rig.engine.offer(ViewerId(1), sdp)).unwrap();
    client.take_answer(pending, &answer);
    let last = rig.frame(HIGH_VP8, false, 5000, 3);
    client.run_until("a frame after the viewer's offer", |client| client.has_frame(&last));
}

#[test]
fn viewers_come_and_go_without_a_trace() {
    let rig = Rig::new();
    // Warms up what is allocated once.
    drop(rig.connected(1, false));
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for id in 2..202 {
        if id % 20 == 0 {
            let client = rig.connected(id, id % 40 == 0);
            rig.engine.close(ViewerId(id));
            drop(client);
        } else {
            rig.offer(id);
            rig.engine.close(ViewerId(id));
        }
    }
    rig.wait("all closed", || rig.events.lock().iter().filter(|e| matches!(e, Event::Closed(_))).count() == 200);
    rig.wait("descriptors", || descriptors() <= before);
    rig.engine.close(ViewerId(1));
    rig.wait("nothing held", || rig.sources.0.lock().held.values().all(|count| *count == 0));
    assert!(matches!(rig.block(rig.engine.stats(ViewerId(100))), Err(Error::UnknownViewer)));
}

#[test]
fn a_silent_viewer_is_given_up() {
    let rig = Rig::new();
    let client = rig.connected(1, false);
    drop(client);
    rig.wait("closed", || rig.has(|event| matches!(event, Event::Closed(ViewerId(1)))));
    assert_eq!(rig.sources.0.lock().held.get(&HIGH_VP8), Some(&0));
}

#[test]
fn after_stop_requests_fail() {
    let rig = Rig::new();
    rig.engine.stop();
    assert!(matches!(rig.block(rig.engine.connect(ViewerId(1), options())), Err(Error::Stopped)));
}
