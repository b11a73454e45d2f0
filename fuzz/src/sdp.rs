//! Session descriptions and candidates of viewers, given to a real engine.
#![no_main]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use glasshouse_media::{DEFAULT_CODEC, Quality};
use glasshouse_webrtc::{Config, ConnectOptions, Engine, Port, VideoChoice, ViewerId};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

struct World {
    runtime: Runtime,
    engine: Engine,
    next: AtomicU64,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let config = Config {
        port: Port::Own { udp: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), tcp: None },
        nat1to1: Vec::new(),
        codec: DEFAULT_CODEC,
    };
    World {
        runtime: tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime without drivers needs nothing"),
        engine: Engine::start(config, Box::new(|_| {})).expect("loopback has a free port"),
        next: AtomicU64::new(1),
    }
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let world = &*WORLD;
    let id = ViewerId(world.next.fetch_add(1, Ordering::Relaxed));
    world.runtime.block_on(async {
        let video = VideoChoice { disabled: false, auto: true, quality: Quality::High, codec: None };
        let options = ConnectOptions { request_addr: None, video, audio_disabled: false };
        world.engine.connect(id, options).await.expect("the engine goes on");
        for candidate in text.lines().filter_map(|line| line.strip_prefix("a=")).take(4) {
            let _ = world.engine.remote_candidate(id, candidate.to_owned()).await;
        }
        if world.engine.answer(id, text.to_owned()).await.is_err() {
            let _ = world.engine.offer(id, text.to_owned()).await;
        }
        world.engine.close(id);
        let id = ViewerId(world.next.fetch_add(1, Ordering::Relaxed));
        let options = ConnectOptions { request_addr: None, video, audio_disabled: false };
        let _ = world.engine.accept(id, options, text.to_owned(), "input").await;
        world.engine.close(id);
    });
});
