//! Slow and silent connections.

mod common;

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    time::Duration,
};

use common::{HIGH_VP8, Rig};
use glasshouse_webrtc::ViewerId;

#[test]
fn a_viewer_that_does_not_read_neither_delays_nor_grows() {
    let rig = Rig::new();
    let mut slow = rig.connected(1, true);
    let mut fast = rig.connected(2, false);
    rig.wait("both", || rig.sources.0.lock().held.get(&HIGH_VP8) == Some(&2));
    let mut last = rig.frame(HIGH_VP8, true, 100_000, 0);
    for seed in 1..=150 {
        fast.run_until("the frame before", |client| client.has_frame(&last));
        fast.frames.clear();
        last = rig.frame(HIGH_VP8, false, 100_000, seed);
    }
    fast.run_until("the last frame", |client| client.has_frame(&last));
    let stats = |id| rig.block(rig.engine.stats(ViewerId(id))).unwrap();
    assert_eq!(stats(2).frames_dropped, 0);
    assert!(stats(1).frames_dropped > 30, "15 MB cannot have left: {:?}", stats(1));
    assert!(stats(1).bytes_sent < 12_000_000);

    // Once it reads again it gets a fresh start.
    slow.run_while("a key frame request", |_| !rig.sources.0.lock().key_requests.contains_key(&HIGH_VP8));
    let key = rig.frame(HIGH_VP8, true, 50_000, 1000);
    slow.run_until("the new key frame", |client| client.has_frame(&key));
}

#[test]
fn a_connection_that_names_no_viewer_is_closed() {
    let rig = Rig::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    rig.engine.accept_tcp(listener.accept().unwrap().0);
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
}
