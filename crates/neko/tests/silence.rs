//! A peer that says nothing, not even pongs, while its connection looks fine.
mod common;

use std::time::Duration;

use common::{Harness, eventually};
use serde_json::json;
use tokio::time;

/// Lets the clock of the connections jump; everything else goes on in real time.
async fn pass(seconds: u64) {
    time::pause();
    time::advance(Duration::from_secs(seconds)).await;
    time::resume();
}

#[tokio::test]
async fn a_silent_peer_is_lost_and_comes_back_as_itself() {
    let h = Harness::new().await;
    let mut silent = h.join("ann", "user").await;
    silent.client.say("control/request", json!(null)).await;
    silent.client.until("control/host").await;
    let mut witness = h.join("bob", "user").await;

    // Nobody reads what the silent peer is sent, so that nothing answers the server's pings.
    for _ in 0..2 {
        pass(10).await;
        witness.client.settle().await;
    }
    assert_eq!(h.metric("glasshouse_websockets").await, 2);
    pass(6).await;
    eventually("the silent one is lost", async || h.metric("glasshouse_websockets").await == 1).await;

    // In its grace it is the same member, and still host; the others have heard nothing.
    let mut again = h.open(&format!("token={}", silent.token)).await;
    let init = again.until("system/init").await;
    assert_eq!(init["session_id"], json!(silent.id));
    assert_eq!(init["control_host"]["host_id"], json!(silent.id));
    again.settle().await;
    let seen = witness.client.settle().await;
    let is_change =
        |one: &&serde_json::Value| one["event"] == "control/host" || one["payload"]["is_connected"] == json!(false);
    assert_eq!(seen.iter().find(is_change), None, "{seen:?}");
    // The old connection is over, and not by a farewell that would stop the client from coming back.
    while let Some(frame) = silent.client.frame().await {
        assert!(!frame.is_close(), "{frame:?}");
    }
}
