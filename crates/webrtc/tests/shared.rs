//! An engine without ports of its own, behind a door that other engines could share.

mod common;

use std::net::UdpSocket;

use common::{Client, HIGH_VP8, Rig, TAG, options};
use glasshouse_webrtc::{Config, Engine, Event, Port, ViewerId};

#[test]
fn frames_arrive_intact_over_sockets_that_were_handed_over() {
    for tcp in [false, true] {
        let rig = Rig::behind_a_door();
        let door = rig.door.as_ref().unwrap();
        let mut client = rig.connected(1, tcp);
        let port = door.address().address.port();
        rig.wait("its socket is counted", || door.counts().udp + door.counts().tcp > 0);
        let counts = door.counts();
        assert_eq!((counts.udp, counts.tcp, counts.strange), if tcp { (0, 1, 0) } else { (1, 0, 0) });
        let key = rig.frame(HIGH_VP8, true, 300_000, 1);
        let small = rig.frame(HIGH_VP8, false, 10, 2);
        let last = rig.frame(HIGH_VP8, false, 40_000, 3);
        client.run_until("the last frame", |client| client.has_frame(&last));
        assert!(client.has_frame(&key) && client.has_frame(&small));
        client.send(b"hello");
        client
            .run_while("the message", |_| !rig.has(|event| matches!(event, Event::Data(_, data) if data == b"hello")));
        let stats = rig.block(rig.engine.stats(ViewerId(1))).unwrap();
        assert_eq!(stats.protocol, Some(if tcp { "tcp" } else { "udp" }));
        assert!(stats.bytes_sent > 340_000);
        assert_eq!(door.counts(), counts, "nothing of it came to the door again");
        let offer = rig.offer(2);
        let ports: Vec<_> = offer.candidates.iter().map(|text| text.split(' ').nth(5).unwrap().to_owned()).collect();
        assert!(ports.len() >= 2 && ports.iter().all(|other| *other == port.to_string()), "{ports:?}");
        assert!(offer.sdp.contains(&format!("a=ice-ufrag:{TAG}+")), "{}", offer.sdp);
    }
}

#[test]
fn a_viewer_goes_on_without_a_door_and_others_come_with_the_next() {
    let mut rig = Rig::behind_a_door();
    let mut client = rig.connected(1, false);
    let key = rig.frame(HIGH_VP8, true, 50_000, 1);
    client.run_until("a frame", |client| client.has_frame(&key));
    let address = rig.door.take().unwrap().address().address;
    let alone = rig.frame(HIGH_VP8, false, 50_000, 2);
    client.run_until("a frame without a door", |client| client.has_frame(&alone));
    rig.reopen(address);
    let mut second = rig.client(2, false, |_| {});
    second.run_until("connected", |client| client.connected);
    // It is counted after it was handed over.
    rig.wait("the second's socket", || rig.door.as_ref().unwrap().counts().udp == 1);
    let late = rig.frame(HIGH_VP8, false, 50_000, 3);
    client.run_until("a frame with another door", |client| client.has_frame(&late));
}

#[test]
fn a_viewer_whose_port_changes_gets_another_socket() {
    let rig = Rig::behind_a_door();
    let mut client = rig.connected(1, false);
    let key = rig.frame(HIGH_VP8, true, 20_000, 1);
    client.run_until("a frame", |client| client.has_frame(&key));
    client.rebind();
    rig.engine.set_paused(ViewerId(1), false);
    let door = rig.door.as_ref().unwrap();
    client.run_while("the door hears of it", |_| door.counts().udp < 2);
    sees_a_frame(&rig, &mut client);
}

#[test]
fn an_ice_restart_keeps_the_tag() {
    let rig = Rig::behind_a_door();
    let mut client = rig.connected(1, false);
    for round in 1..=2 {
        let offer = rig.block(rig.engine.restart_ice(ViewerId(1))).unwrap();
        assert_eq!(
            offer.sdp.matches(&format!("a=ice-ufrag:{TAG}+")).count(),
            offer.sdp.matches("a=ice-ufrag:").count()
        );
        let answer = client.answer(&offer.sdp);
        rig.block(rig.engine.answer(ViewerId(1), answer)).unwrap();
        // A new port shows that the new name leads here.
        client.rebind();
        let door = rig.door.as_ref().unwrap();
        client.run_while("the door hears of it", |_| door.counts().udp <= round);
        sees_a_frame(&rig, &mut client);
    }
}

#[test]
fn what_proves_nothing_gets_no_answer_and_disturbs_nobody() {
    let rig = Rig::behind_a_door();
    let mut client = rig.connected(1, false);
    let door = rig.door.as_ref().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The user name of a viewer that waits, without its password.
    let offer = rig.offer(2);
    let ufrag = offer.sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap();
    let request = binding_request(&format!("{ufrag}:abcd"));
    for _ in 0..20 {
        // It comes to the door again only when the socket that it was given is closed.
        let before = door.counts().udp;
        // The viewer reads meanwhile: with its socket's buffer full of probes, the end of a frame would be lost, which it cannot know.
        client.run_while("it is handed over", |_| {
            stranger.send_to(&request, door.address().address).unwrap();
            door.counts().udp == before
        });
    }
    let key = rig.frame(HIGH_VP8, true, 50_000, 1);
    client.run_until("a frame", |client| client.has_frame(&key));
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 100]).is_err());
}

#[test]
fn without_a_word_where_viewers_reach_it_none_can_come() {
    let socket = std::env::temp_dir().join(format!("glasshouse-media-silent-{}", std::process::id()));
    let _ = std::fs::remove_file(&socket);
    let config = Config {
        port: Port::Shared { socket: socket.clone(), tag: TAG.into() },
        nat1to1: Vec::new(),
        codec: glasshouse_media::VideoCodec::Vp8,
    };
    let engine = Engine::start(config, Box::new(|_| {})).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = runtime.block_on(engine.connect(ViewerId(1), options()));
    assert!(refused.unwrap_err().to_string().contains("nobody has said"));
    engine.announce("127.0.0.1:8080".parse().unwrap());
    assert!(runtime.block_on(engine.connect(ViewerId(1), options())).unwrap().sdp.contains(" 8080 typ host"));
    engine.stop();
    std::fs::remove_file(socket).unwrap();
}

/// Waits for a new frame. What is sent to the port of before is lost.
fn sees_a_frame(rig: &Rig, client: &mut Client) {
    let mut tries = 0;
    let mut wanted = Vec::new();
    let before = client.frames.len();
    client.run_while("a frame at the new port", |client| {
        if tries % 200 == 0 {
            wanted = rig.frame(HIGH_VP8, true, 20_000, 1000 + tries);
        }
        tries += 1;
        client.frames.len() == before || !client.has_frame(&wanted)
    });
}

/// A binding request (RFC 8489) whose integrity is no use.
fn binding_request(username: &str) -> Vec<u8> {
    let mut attributes = vec![0, 6, 0, username.len() as u8];
    attributes.extend(username.as_bytes());
    attributes.resize(attributes.len().next_multiple_of(4), 0);
    attributes.extend([0, 8, 0, 20]);
    attributes.extend([7; 20]);
    let mut request = vec![0, 1, 0, attributes.len() as u8];
    request.extend([0x21, 0x12, 0xa4, 0x42]);
    request.extend([7; 12]);
    request.extend(attributes);
    request
}
