//! `/api/ws` over real sockets: order of events, ways to lose a connection, hosting, refusals.
mod common;

use common::{Harness, PATIENCE, config, eventually, without_times};
use futures_util::SinkExt;
use glasshouse_desktop::{Event as DesktopEvent, Input, ProgramState, Size};
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

const USER: &str = r#"{"name":"ann","is_admin":false,"can_login":true,"can_connect":true,"can_watch":true,"can_host":true,"can_share_media":true,"can_access_clipboard":true,"sends_inactive_cursor":true,"can_see_inactive_cursors":true,"plugins":null}"#;

#[tokio::test]
async fn what_a_user_sees_first() {
    let h = Harness::new().await;
    let (id, token) = h.login("ann", "user").await;
    let mut client = h.open(&format!("token={token}")).await;
    let state = r#""is_connected":true,"connected_since":"TIME","is_watching":false"#;
    let init = format!(
        concat!(
            r#"{{"event":"system/init","payload":{{"session_id":"{id}","control_host":{{"id":"","has_host":false}},"#,
            r#""screen_size":{{"width":1280,"height":720,"rate":60}},"sessions":{{"{id}":{{"id":"{id}","profile":{user},"#,
            r#""state":{{{state}}}}}}},"settings":{{"private_mode":false,"locked_logins":false,"locked_controls":false,"#,
            r#""control_protection":false,"implicit_hosting":false,"inactive_cursors":false,"merciful_reconnect":true,"#,
            r#""heartbeat_interval":10,"plugins":null}},"touch_events":false,"screencast_enabled":true,"#,
            r#""webrtc":{{"videos":["high","medium","low"]}}}}}}"#,
            "\n"
        ),
        id = id,
        user = USER,
        state = state
    );
    assert_eq!(without_times(&client.text().await), init);
    assert_eq!(
        without_times(&client.text().await),
        format!("{{\"event\":\"session/state\",\"payload\":{{\"id\":\"{id}\",{state}}}}}\n")
    );
    assert_eq!(client.text().await, "{\"event\":\"chat/init\",\"payload\":{\"enabled\":true}}\n");
    let files =
        r#"{"enabled":false,"root_dir":"","user_download":false,"user_upload":false,"user_delete":false,"files":null}"#;
    assert_eq!(client.text().await, format!("{{\"event\":\"filetransfer/update\",\"payload\":{files}}}\n"));
    assert_eq!(client.text().await, "{\"event\":\"openinapp/init\",\"payload\":{\"enabled\":false}}\n");
}

#[tokio::test]
async fn what_an_admin_and_our_own_clients_see_besides() {
    let h = Harness::new().await;
    let (_, token) = h.login("root", "admin").await;
    let mut client = h.open(&format!("token={token}&glasshouse=1")).await;
    assert_eq!(
        client.names(8).await,
        [
            "system/init",
            "glasshouse/init",
            "glasshouse/programs",
            "system/admin",
            "session/state",
            "chat/init",
            "filetransfer/update",
            "openinapp/init"
        ]
    );
    h.server.desktop_event(DesktopEvent::Program {
        name: "app",
        state: ProgramState::Restarting,
        detail: "again in 2 s".into(),
    });
    let program = client.until("glasshouse/program").await;
    assert_eq!(program, json!({"name": "app", "state": "restarting", "detail": "again in 2 s"}));
}

#[tokio::test]
async fn refusals_come_in_band() {
    let h = Harness::new().await;
    let (id, user) = h.login("ann", "user").await;
    let (_, admin) = h.login("root", "admin").await;
    let reason = async |query: &str| {
        let mut client = h.open(query).await;
        let text = client.text().await;
        assert_eq!(client.close_code().await, Some(1000));
        text
    };
    let says =
        |message: &str| format!("{{\"event\":\"system/disconnect\",\"payload\":{{\"message\":\"{message}\"}}}}\n");
    assert_eq!(reason("").await, says("no authentication provided"));
    assert_eq!(reason("token=x").await, says("session not found"));
    assert_eq!(reason("token=api-secret").await, says("connection disabled"));
    let path = format!("/api/members/{id}");
    h.post(&path, &admin, json!({"can_connect": false})).await;
    assert_eq!(reason(&format!("token={user}")).await, says("connection disabled"));
    h.post(&path, &admin, json!({"can_login": false})).await;
    assert_eq!(reason(&format!("token={user}")).await, says("session login disabled"));
    h.post(&path, &admin, json!({"can_login": true, "can_connect": true})).await;
    h.post("/api/room/settings", &admin, json!({"merciful_reconnect": false})).await;
    let mut first = h.open(&format!("token={user}")).await;
    first.until("openinapp/init").await;
    assert_eq!(reason(&format!("token={user}")).await, says("already connected"));
    first.say("client/heartbeat", json!(null)).await;
    first.settle().await;
}

#[tokio::test]
async fn origins_and_subprotocols() {
    let h = Harness::with(glasshouse_neko::Config { cors: vec!["https://a.example".into()], ..config() }).await;
    let (_, token) = h.login("ann", "user").await;
    let own = format!("http://{}", h.address);
    assert_eq!(h.open_with(&[("Origin", "https://evil.example")]).await.err(), Some(400));
    assert_eq!(h.open_with(&[("Host", "evil.example")]).await.err(), Some(421));
    assert!(h.open_with(&[("Origin", "https://a.example")]).await.is_ok());
    let protocols = format!("glasshouse, token.{token}");
    let headers = [("Origin", own.as_str()), ("Sec-WebSocket-Protocol", protocols.as_str())];
    let (mut client, answer) = h.open_with(&headers).await.unwrap();
    assert_eq!(answer["sec-websocket-protocol"], "glasshouse");
    client.until("system/init").await;
    h.refused("GET", "/api/ws", "", "", 400, "Bad Request").await;
}

#[tokio::test]
async fn ways_to_be_disconnected() {
    let h = Harness::new().await;
    let mut root = h.join("root", "admin").await;
    let mut ann = h.join("ann", "user").await;
    let mut second = h.open(&format!("token={}", ann.token)).await;
    second.until("openinapp/init").await;
    assert_eq!(ann.client.until("system/disconnect").await["message"], "connection replaced");
    assert_eq!(ann.client.close_code().await, Some(1000));

    h.post(&format!("/api/sessions/{}/disconnect", ann.id), &root.token, json!(null)).await;
    assert_eq!(second.until("system/disconnect").await["message"], "session disconnected");
    let mut third = h.open(&format!("token={}", ann.token)).await;
    third.until("openinapp/init").await;
    h.post(&format!("/api/members/{}", ann.id), &root.token, json!({"can_connect": false})).await;
    assert_eq!(third.until("system/disconnect").await["message"], "profile changed");
    h.post(&format!("/api/members/{}", ann.id), &root.token, json!({"can_connect": true})).await;
    let mut fourth = h.open(&format!("token={}", ann.token)).await;
    fourth.until("openinapp/init").await;
    h.call("DELETE", &format!("/api/sessions/{}", ann.id), &root.token, "").await;
    assert_eq!(fourth.until("system/disconnect").await["message"], "session deleted");
    assert_eq!(root.client.until("session/deleted").await["id"], json!(ann.id));
    let shutdown = h.server.shutdown();
    let told = async { root.client.until("system/disconnect").await };
    let ((), told) = tokio::join!(shutdown, told);
    assert_eq!(told["message"], "connection shutdown");
    let mut late = h.open(&format!("token={}", root.token)).await;
    assert_eq!(late.until("system/disconnect").await["message"], "connection shutdown");
}

#[tokio::test]
async fn closing_on_purpose_and_being_lost() {
    let h = Harness::new().await;
    let mut root = h.join("root", "admin").await;
    let mut ann = h.join("ann", "user").await;
    ann.client.say("control/request", json!(null)).await;
    assert_eq!(root.client.until("control/host").await["host_id"], json!(ann.id));
    // Lost: within the grace another connection takes over, and control stays.
    drop(ann.client);
    let mut back = h.open(&format!("token={}", ann.token)).await;
    let init = back.until("system/init").await;
    assert_eq!(init["control_host"]["host_id"], json!(ann.id));
    back.until("openinapp/init").await;
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    back.0.send(Message::Close(Some(close))).await.unwrap();
    let gone = root.client.until("control/host").await;
    assert_eq!(gone, json!({"id": ann.id, "has_host": false}));
    let state = root.client.until("session/state").await;
    assert_eq!((&state["id"], &state["is_connected"]), (&json!(ann.id), &json!(false)));
    assert!(h.desk.take_inputs().contains(&Input::ReleaseAll));
}

#[tokio::test]
async fn hosting_and_input() {
    let h = Harness::new().await;
    let mut ann = h.join("ann", "user").await;
    let mut bob = h.join("bob", "user").await;
    ann.client.say("control/keydown", json!({"keysym": 0x61, "x": -5, "y": 99999})).await;
    let host = ann.client.until("control/host").await;
    assert_eq!(host, json!({"id": ann.id, "has_host": true, "host_id": ann.id}), "input asks for control");
    ann.client.settle().await;
    assert_eq!(h.desk.take_inputs(), [Input::Move { x: 0, y: 719 }, Input::KeyDown(0x61)]);
    bob.client.say("control/buttonpress", json!({"code": 1})).await;
    assert_eq!(ann.client.until("control/request").await["id"], json!(bob.id));
    bob.client.settle().await;
    assert_eq!(h.desk.take_inputs(), []);
    for (event, payload) in [
        ("control/scroll", json!({"delta_x": 0, "delta_y": 0, "x": 1, "y": -1000})),
        ("control/buttonpress", json!({"code": 3})),
        ("control/buttondown", json!({"code": 99})),
        ("control/keypress", json!({"keysym": 0xff0d})),
        ("control/keyup", json!({"keysym": 0})),
        ("control/copy", json!(null)),
        ("control/touchbegin", json!({"touch_id": 1})),
        ("control/move", json!({"x": 10, "y": 20})),
    ] {
        ann.client.say(event, payload).await;
    }
    ann.client.settle().await;
    assert_eq!(
        h.desk.take_inputs(),
        [
            Input::Scroll { x: 1, y: -64, control: false },
            Input::ReleaseAll,
            Input::ButtonDown(3),
            Input::ButtonUp(3),
            Input::ReleaseAll,
            Input::KeyDown(0xff0d),
            Input::KeyUp(0xff0d),
            Input::ReleaseAll,
            Input::KeyDown(0xffe3),
            Input::KeyDown(0x63),
            Input::KeyUp(0x63),
            Input::KeyUp(0xffe3),
            Input::ReleaseAll,
            Input::Move { x: 10, y: 20 },
        ]
    );
    ann.client.say("control/paste", json!({"text": "ü"})).await;
    ann.client.settle().await;
    assert_eq!(*h.desk.text.lock(), "ü");
    assert!(h.desk.take_inputs().contains(&Input::KeyDown('v'.into())));
    ann.client.say("control/release", json!(null)).await;
    ann.client.until("control/host").await;
    assert_eq!(h.desk.take_inputs(), [Input::ReleaseAll]);
}

#[tokio::test]
async fn clipboard_keyboard_and_screen() {
    let h = Harness::new().await;
    let mut root = h.join_as("root", "admin", "&glasshouse=1").await;
    let mut ann = h.join("ann", "user").await;
    ann.client.say("clipboard/set", json!({"text": "no"})).await;
    ann.client.say("keyboard/map", json!({"layout": "fr"})).await;
    ann.client.say("screen/set", json!({"width": 640, "height": 480})).await;
    ann.client.settle().await;
    assert_eq!((h.desk.text.lock().as_str(), h.desk.map.lock().layout.as_str()), ("", ""));
    ann.client.say("control/request", json!(null)).await;
    ann.client.say("clipboard/set", json!({"text": "yes"})).await;
    ann.client.say("keyboard/map", json!({"layout": "fr"})).await;
    ann.client.settle().await;
    assert_eq!((h.desk.text.lock().as_str(), h.desk.map.lock().layout.as_str()), ("yes", "fr"));
    h.server.desktop_event(DesktopEvent::Clipboard { text: true, html: false, image: false });
    assert_eq!(ann.client.until("clipboard/updated").await, json!({"text": "yes"}));

    root.client.say("screen/set", json!({"width": 640, "height": 480})).await;
    let updated = ann.client.until("screen/updated").await;
    assert_eq!(updated, json!({"id": root.id, "width": 640, "height": 480, "rate": 60}));
    // The desktop's own word for it comes later and says nothing new.
    h.server.desktop_event(DesktopEvent::Screen(Size { width: 640, height: 480 }));
    h.server.desktop_event(DesktopEvent::Screen(Size { width: 800, height: 600 }));
    assert_eq!(ann.client.until("screen/updated").await["width"], 800);
    root.client.say("glasshouse/resize", json!({"width": 10, "height": 10, "scale": 100})).await;
    let error = root.client.until("glasshouse/error").await;
    assert_eq!(error["event"], "glasshouse/resize");
    assert_eq!(error["message"], "screen size must be from 320x240 to 3840x2160");
}

#[tokio::test]
async fn messages_between_members() {
    let h = Harness::new().await;
    let mut ann = h.join("ann", "user").await;
    let mut bob = h.join("bob", "user").await;
    let body = json!({"a": [1]});
    ann.client.say("send/unicast", json!({"receiver": bob.id, "sender": "x", "subject": "s", "body": body})).await;
    let got = bob.client.until("send/unicast").await;
    assert_eq!(got, json!({"sender": ann.id, "receiver": bob.id, "subject": "s", "body": body}));
    ann.client.say("send/broadcast", json!({"subject": "s", "body": null})).await;
    assert_eq!(bob.client.until("send/broadcast").await, json!({"sender": ann.id, "subject": "s", "body": null}));
    assert!(!ann.client.settle().await.iter().any(|message| message["event"] == "send/broadcast"));
    ann.client.say("chat/message", json!({"text": "x".repeat(4097)})).await;
    ann.client.say("chat/message", json!({"text": "hello"})).await;
    bob.client.until("chat/message").await;
    let chat = bob.client.until("chat/message").await;
    assert_eq!((&chat["id"], &chat["content"]["text"]), (&json!(ann.id), &json!("hello")));
}

#[tokio::test]
async fn nonsense_is_counted_and_changes_nothing() {
    let h = Harness::new().await;
    let mut ann = h.join("ann", "user").await;
    let mut own = h.join_as("bob", "user", "&glasshouse=1").await;
    for nonsense in [
        "",
        "{",
        "[]",
        "null",
        r#"{"event":1}"#,
        r#"{"event":"no/such"}"#,
        r#"{"event":"control/move"}"#,
        r#"{"event":"control/move","payload":{"x":"1"}}"#,
        r#"{"event":"signal/answer","payload":{"sdp":"x"}}"#,
    ] {
        ann.client.raw(nonsense).await;
        own.client.raw(nonsense).await;
    }
    ann.client.0.send(Message::binary(vec![0xff, 0xfe])).await.unwrap();
    assert!(ann.client.settle().await.iter().all(|message| message["event"] != "glasshouse/error"));
    let errors = own.client.settle().await;
    assert_eq!(errors.iter().filter(|message| message["event"] == "glasshouse/error").count(), 9);
    assert_eq!(h.metric(r#"glasshouse_rejected_input_total{kind="websocket"}"#).await, 11);
    assert_eq!(h.metric(r#"glasshouse_rejected_input_total{kind="unknown_event"}"#).await, 2);
    assert_eq!(h.metric(r#"glasshouse_rejected_input_total{kind="payload"}"#).await, 4);
    ann.client.raw(&"x".repeat(3 * 1024 * 1024)).await;
    assert_eq!(ann.client.close_code().await, Some(1009));
    own.client.settle().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection_and_nobody_else() {
    let h = Harness::new().await;
    let slow = h.join("slow", "user").await;
    let mut ann = h.join("ann", "user").await;
    let body = "x".repeat(1024 * 1024);
    let end = tokio::time::Instant::now() + PATIENCE;
    while h.metric("glasshouse_slow_clients_total").await == 0 {
        assert!(tokio::time::Instant::now() < end);
        ann.client.say("send/broadcast", json!({"subject": "s", "body": body})).await;
        ann.client.settle().await;
    }
    assert_eq!(h.metric("glasshouse_websockets").await, 1);
    drop(slow);
}

#[tokio::test]
async fn a_thousand_connections_leave_nothing() {
    let h = Harness::new().await;
    let (_, token) = h.login("ann", "user").await;
    for _ in 0..1000 {
        let mut client = h.open(&format!("token={token}")).await;
        client.until("openinapp/init").await;
    }
    eventually("all are gone", async || h.metric("glasshouse_websockets").await == 0).await;
    assert_eq!(h.get("/api/sessions", &token).await.json().as_array().unwrap().len(), 1);
}
