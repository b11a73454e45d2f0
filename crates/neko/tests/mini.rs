//! Viewers that come with Mini-Browser-Isolation's protocol: their offers, what their events do, and how they leave.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

mod common;

use axum::{
    Extension, Router,
    body::{Body, BodyDataStream},
    extract::ConnectInfo,
    http::{Request, StatusCode},
};
use common::{Harness, eventually};
use futures_util::{SinkExt, StreamExt};
use glasshouse_desktop::Input;
use glasshouse_neko::Peer;
use glasshouse_webrtc::{Event, ViewerId};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tower::ServiceExt;

fn router(h: &Harness) -> Router {
    let peer = Peer { remote: "192.0.2.1:1000".parse().unwrap(), local: h.address };
    h.server.mini_browser_router().layer(Extension(ConnectInfo(peer)))
}

async fn link(h: &Harness, body: Value) -> String {
    let answer = h.post("/api/glasshouse/links", "api-secret", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["token"].as_str().unwrap().to_owned()
}

async fn post(h: &Harness, path: &str, body: &Value) -> axum::response::Response {
    let request = Request::post(path).header("content-type", "application/json").body(Body::from(body.to_string()));
    router(h).oneshot(request.unwrap()).await.unwrap()
}

struct Viewer {
    id: ViewerId,
    guest: String,
    rest: BodyDataStream,
}

async fn come(h: &Harness, link_body: Value) -> Viewer {
    let token = link(h, link_body).await;
    let response = post(h, "/offer", &json!({ "sdp": "theirs", "token": token })).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut rest = response.into_body().into_data_stream();
    let line = rest.next().await.unwrap().unwrap();
    let answer: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(answer["sdp"], "answer to theirs");
    let id = h.media.last_viewer();
    h.server.viewer_event(Event::Connected(id));
    Viewer { id, guest: answer["guest"].as_str().unwrap().to_owned(), rest }
}

impl Viewer {
    fn says(&self, h: &Harness, event: &str) {
        h.server.viewer_event(Event::Data(self.id, event.as_bytes().to_vec()));
    }
}

async fn members(h: &Harness) -> Vec<String> {
    let all = h.get("/api/sessions", "api-secret").await.json();
    all.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_offer_makes_a_member_that_leaves_with_its_viewer() {
    let h = Harness::new().await;
    let mut viewer = come(&h, json!({})).await;
    assert_eq!(*h.media.calls.lock(), [format!("accept {} theirs input", viewer.id.0)]);
    assert_eq!(members(&h).await, [viewer.guest.clone()]);
    // Looking on alone does not end it.
    h.server.viewer_event(Event::DataOpen(viewer.id));
    assert_eq!(members(&h).await.len(), 1);
    h.server.viewer_event(Event::Closed(viewer.id));
    assert!(viewer.rest.next().await.is_none());
    eventually("it has left", async || members(&h).await.is_empty()).await;

    let mut sent_away = come(&h, json!({})).await;
    let left = post(&h, "/leave", &json!({ "guest": sent_away.guest })).await;
    assert_eq!(left.status(), StatusCode::NO_CONTENT);
    assert!(sent_away.rest.next().await.is_none());
    assert!(h.media.calls.lock().contains(&format!("close {}", sent_away.id.0)));
    // Who is not one of these is not sent away.
    let ann = h.join("ann", "user").await;
    post(&h, "/leave", &json!({ "guest": ann.id })).await;
    assert_eq!(members(&h).await, std::slice::from_ref(&ann.id));

    // Who made the offer need not wait for the end.
    let alone = come(&h, json!({})).await;
    drop(alone.rest);
    assert_eq!(members(&h).await.len(), 2);
    h.server.viewer_event(Event::Closed(alone.id));
    eventually("it has left as well", async || members(&h).await.len() == 1).await;
}

#[tokio::test]
async fn who_is_not_let_in() {
    let h = Harness::new().await;
    let once = link(&h, json!({})).await;
    let offer = |token: &str| json!({ "sdp": "theirs", "token": token });
    for wrong in ["", "nobody's"] {
        assert_eq!(post(&h, "/offer", &offer(wrong)).await.status(), StatusCode::FORBIDDEN);
    }
    *h.media.refuse.lock() = true;
    let refused = post(&h, "/offer", &offer(&once)).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(members(&h).await.is_empty(), "nobody stays behind");
    *h.media.refuse.lock() = false;
    assert_eq!(post(&h, "/offer", &offer(&once)).await.status(), StatusCode::FORBIDDEN, "it was used");
    for body in ["", "{", "{}", "[]"] {
        let request =
            Request::post("/offer").header("content-type", "application/json").body(Body::from(body)).unwrap();
        assert!(router(&h).oneshot(request).await.unwrap().status().is_client_error(), "{body}");
    }
}

#[tokio::test]
async fn events_do_what_they_say() {
    let h = Harness::new().await;
    let viewer = come(&h, json!({})).await;
    viewer.says(&h, r#"{"type":"mousemove","x":10.9,"y":20}"#);
    viewer.says(&h, r#"{"type":"mousedown","x":11,"y":21,"button":0}"#);
    viewer.says(&h, r#"{"type":"mouseup","x":5000,"y":-3,"button":0}"#);
    viewer.says(&h, r#"{"type":"scroll","x":5,"y":6,"deltaX":0,"deltaY":200}"#);
    let moved = |x, y| Input::Move { x, y };
    assert_eq!(
        h.desk.take_inputs(),
        [
            moved(10, 20),
            moved(11, 21),
            Input::ButtonDown(1),
            moved(1279, 0),
            Input::ButtonUp(1),
            moved(5, 6),
            Input::Scroll { x: 0, y: -2, control: false },
        ]
    );
    viewer.says(&h, r#"{"type":"keydown","key":"Shift","code":"ShiftLeft"}"#);
    viewer.says(&h, r#"{"type":"keydown","key":"A","code":"KeyA"}"#);
    viewer.says(&h, r#"{"type":"keydown","key":"A","code":"KeyA"}"#);
    viewer.says(&h, r#"{"type":"keyup","key":"A","code":"KeyA"}"#);
    viewer.says(&h, r#"{"type":"keyup","key":"Shift","code":"ShiftLeft"}"#);
    viewer.says(&h, r#"{"type":"keydown","key":"Enter","code":"Enter"}"#);
    let tap = |keysym| [Input::KeyDown(keysym), Input::KeyUp(keysym)];
    let expected: Vec<_> = [Input::KeyDown(0xffe1)]
        .into_iter()
        .chain(tap(0x41))
        .chain(tap(0x41))
        .chain([Input::KeyUp(0xffe1)])
        .chain(tap(0xff0d))
        .collect();
    assert_eq!(h.desk.take_inputs(), expected);

    // A button whose end was lost is let go before it is pressed again.
    viewer.says(&h, r#"{"type":"mousedown","x":1,"y":1,"button":"right"}"#);
    viewer.says(&h, r#"{"type":"mousedown","x":1,"y":1,"button":2}"#);
    let pressed = h.desk.take_inputs();
    assert_eq!(pressed[1..], [Input::ButtonDown(3), moved(1, 1), Input::ButtonUp(3), Input::ButtonDown(3)]);
    // What is held is let go when it leaves.
    h.server.viewer_event(Event::Closed(viewer.id));
    eventually("it is let go", async || h.desk.take_inputs().contains(&Input::ReleaseAll)).await;
}

#[tokio::test]
async fn junk_is_counted_and_does_nothing() {
    let h = Harness::new().await;
    let viewer = come(&h, json!({})).await;
    let long = format!(r#"{{"type":"mousemove","x":"{}"}}"#, "x".repeat(60_000));
    for junk in ["", "{", "[]", r#"{"type":"mousemove","x":"1"}"#, &long, "\u{0}"] {
        viewer.says(&h, junk);
    }
    h.server.viewer_event(Event::Data(viewer.id, vec![0xff, 0xfe, 0x7b]));
    viewer.says(&h, r#"{"type":"dance"}"#);
    assert_eq!(h.desk.take_inputs(), []);
    assert_eq!(h.metric(r#"glasshouse_rejected_input_total{kind="mini_event"}"#).await, 7);
    viewer.says(&h, r#"{"type":"mousemove","x":1,"y":2}"#);
    assert_eq!(h.desk.take_inputs(), [Input::Move { x: 1, y: 2 }]);
}

#[tokio::test]
async fn control_goes_by_the_rooms_rules() {
    let h = Harness::new().await;
    let (one, two) = (come(&h, json!({})).await, come(&h, json!({})).await);
    let click = r#"{"type":"mousedown","x":1,"y":1,"button":0}"#;
    one.says(&h, click);
    h.desk.take_inputs();
    // Another of them takes over by acting; what the first holds is let go before.
    two.says(&h, r#"{"type":"mousemove","x":9,"y":9}"#);
    assert_eq!(h.desk.take_inputs(), [], "looking around is no acting");
    two.says(&h, r#"{"type":"keydown","key":"a","code":"KeyA"}"#);
    assert_eq!(h.desk.take_inputs(), [Input::ReleaseAll, Input::KeyDown(0x61), Input::KeyUp(0x61)]);

    // A person in the room is asked, not overruled.
    let mut ann = h.join("ann", "admin").await;
    h.call("POST", "/api/room/control/take", &ann.token, "").await;
    h.desk.take_inputs();
    one.says(&h, click);
    assert_eq!(h.desk.take_inputs(), []);
    assert_eq!(ann.client.until("control/request").await["id"], one.guest);
    h.call("POST", "/api/room/control/release", &ann.token, "").await;
    h.desk.take_inputs();
    one.says(&h, click);
    assert!(h.desk.take_inputs().contains(&Input::ButtonDown(1)));

    let watcher = come(&h, json!({ "view_only": true })).await;
    watcher.says(&h, click);
    watcher.says(&h, r#"{"type":"keydown","key":"a","code":"KeyA"}"#);
    assert_eq!(h.desk.take_inputs(), []);

    // Private mode is for admins only.
    let private = h.post("/api/room/settings", &ann.token, json!({ "private_mode": true })).await;
    assert_eq!(private.status, 204);
    for mut viewer in [one, two, watcher] {
        assert!(viewer.rest.next().await.is_none());
    }
    eventually("they are out", async || members(&h).await == [ann.id.clone()]).await;
}

#[tokio::test]
async fn a_websocket_takes_events_and_lasts_as_long_as_its_member() {
    let h = Harness::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = router(&h);
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let refused = tokio_tungstenite::connect_async(format!("ws://{address}/ws?token=nobody's")).await;
    assert!(refused.is_err());
    let token = link(&h, json!({})).await;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws?token={token}")).await.unwrap();
    for message in
        [Message::text("junk"), Message::binary(vec![1, 2]), Message::text(r#"{"type":"mousemove","x":3,"y":4}"#)]
    {
        socket.send(message).await.unwrap();
    }
    let mut inputs = Vec::new();
    eventually("the event", async || {
        inputs.extend(h.desk.take_inputs());
        inputs == [Input::Move { x: 3, y: 4 }]
    })
    .await;
    let guest = members(&h).await.remove(0);
    let gone = h.call("DELETE", &format!("/api/sessions/{guest}"), "api-secret", "").await;
    assert!(gone.status.is_success(), "{}", gone.text());
    let end = async { while socket.next().await.is_some_and(|message| message.is_ok()) {} };
    tokio::time::timeout(common::PATIENCE, end).await.expect("it is still open");
    serving.abort();
}
