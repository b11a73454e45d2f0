//! Every other REST call: rights, bodies, errors.
mod common;

use common::{Harness, config};
use glasshouse_desktop::{Input, KeyboardMap};
use serde_json::json;
use tower::ServiceExt;

#[tokio::test]
async fn sessions() {
    let h = Harness::new().await;
    let (ann, user) = h.login("ann", "user").await;
    let (root, admin) = h.login("root", "admin").await;
    assert_eq!(h.get("/api/sessions", &user).await.json().as_array().unwrap().len(), 2);
    assert_eq!(h.get("/api/sessions/", &user).await.status, 200);
    h.refused("GET", &format!("/api/sessions/{ann}"), &user, "", 403, "session is not admin").await;
    assert_eq!(h.get(&format!("/api/sessions/{ann}"), &admin).await.json()["id"], json!(ann));
    h.refused("GET", "/api/sessions/x", &admin, "", 404, "session not found").await;
    h.refused("DELETE", "/api/sessions/x", &admin, "", 400, "session not found").await;
    h.refused("POST", "/api/sessions/x/disconnect", &admin, "", 400, "session not found").await;
    h.refused("DELETE", &format!("/api/sessions/{root}"), &admin, "", 400, "cannot delete own session").await;
    h.expect("POST", &format!("/api/sessions/{ann}/disconnect"), &admin, "", 204, "").await;
    h.expect("DELETE", &format!("/api/sessions/{ann}"), &admin, "", 204, "").await;
    h.refused("GET", "/api/whoami", &user, "", 401, "Unauthorized").await;
    let stats = h.get("/api/stats", &admin).await.text();
    assert!(stats.starts_with(r#"{"has_host":false,"server_started_at":""#), "{stats}");
}

#[tokio::test]
async fn members() {
    let h = Harness::new().await;
    let (ann, user) = h.login("ann", "user").await;
    let (_, admin) = h.login("root", "admin").await;
    h.expect("GET", "/api/members?limit=1", &user, "", 200, "[]").await;
    let create = |body: serde_json::Value| body.to_string();
    h.refused("POST", "/api/members", &user, "{}", 403, "session is not admin").await;
    h.refused("POST", "/api/members", &admin, "{}", 400, "username cannot be empty").await;
    h.refused("POST", "/api/members", &admin, &create(json!({"username": "x"})), 400, "password cannot be empty").await;
    let full = create(json!({"username": "x", "password": "y"}));
    h.refused("POST", "/api/members", &admin, &full, 500, "Internal Server Error").await;
    h.refused("GET", "/api/members/x", &admin, "", 500, "Internal Server Error").await;
    let wrong = json!({"ids": [ann], "profile": {"name": 1}}).to_string();
    let message = format!("unable to unmarshal payload for member {ann}");
    h.refused("POST", "/api/members_bulk/update", &admin, &wrong, 400, &message).await;
    h.refused("POST", "/api/members_bulk/update", &admin, "[", 400, "unable to unmarshal payload").await;
    h.refused("POST", "/api/members_bulk/update", &admin, r#"{"ids":["x"]}"#, 500, "failed to update member x").await;
    let right = json!({"ids": [ann], "profile": {"can_host": false}}).to_string();
    h.expect("POST", "/api/members_bulk/update", &admin, &right, 204, "").await;
    h.refused("GET", "/api/room/control", &user, "", 403, "session cannot host").await;
    h.expect("POST", "/api/members_bulk/delete", &admin, &json!({"ids": [ann]}).to_string(), 204, "").await;
    h.refused("GET", "/api/whoami", &user, "", 401, "Unauthorized").await;
}

#[tokio::test]
async fn settings() {
    let h = Harness::new().await;
    let (_, user) = h.login("ann", "user").await;
    let (_, admin) = h.login("root", "admin").await;
    h.refused("GET", "/api/room/settings", &user, "", 403, "session is not admin").await;
    let before = r#"{"private_mode":false,"locked_logins":false,"locked_controls":false,"control_protection":false,"implicit_hosting":false,"inactive_cursors":false,"merciful_reconnect":true,"heartbeat_interval":10,"plugins":null}"#;
    h.expect("GET", "/api/room/settings", &admin, "", 200, before).await;
    h.refused("POST", "/api/room/settings", &admin, "", 400, "unable to parse provided data").await;
    h.refused("POST", "/api/room/settings", &admin, "{} x", 400, "unable to parse provided data").await;
    h.expect("POST", "/api/room/settings", &admin, r#"{"implicit_hosting":true}"#, 204, "").await;
    h.expect("GET", "/api/room/settings/", &admin, "", 200, &before.replace("hosting\":false", "hosting\":true")).await;
    h.expect("GET", "/api/room/broadcast", &admin, "", 200, r#"{"is_active":false}"#).await;
    h.refused("POST", "/api/room/broadcast/start", &admin, "{}", 400, "missing broadcast URL").await;
    let start = h.post("/api/room/broadcast/start", &admin, json!({"url": "rtmp://x"})).await;
    assert_eq!(start.status, 422);
    h.refused("POST", "/api/room/broadcast/stop", &admin, "", 422, "server is not broadcasting").await;
}

#[tokio::test]
async fn control() {
    let h = Harness::new().await;
    let (ann, user) = h.login("ann", "user").await;
    let (root, admin) = h.login("root", "admin").await;
    h.expect("GET", "/api/room/control", &user, "", 200, r#"{"has_host":false}"#).await;
    h.refused("POST", "/api/room/control/release", &user, "", 422, "session is not the host").await;
    h.expect("POST", "/api/room/control/request", &user, "", 204, "").await;
    h.expect("GET", "/api/room/control", &admin, "", 200, &format!(r#"{{"has_host":true,"host_id":"{ann}"}}"#)).await;
    h.refused("POST", "/api/room/control/request", &admin, "", 202, "control request sent").await;
    h.refused("POST", "/api/room/control/take", &user, "", 403, "session is not admin").await;
    h.expect("POST", "/api/room/control/take", &admin, "", 204, "").await;
    let give = format!("/api/room/control/give/{ann}");
    h.refused("POST", &give, &user, "", 403, "session is not host or admin").await;
    h.refused("POST", "/api/room/control/give/x", &admin, "", 404, "target session was not found").await;
    h.expect("POST", &give, &admin, "", 204, "").await;
    h.desk.take_inputs();
    h.expect("POST", "/api/room/control/release", &user, "", 204, "").await;
    assert_eq!(h.desk.take_inputs(), [Input::ReleaseAll]);
    h.expect("POST", "/api/room/settings", &admin, r#"{"locked_controls":true}"#, 204, "").await;
    h.refused("POST", "/api/room/control/request", &user, "", 403, "controls are locked").await;
    h.expect("POST", "/api/room/control/reset", &admin, "", 204, "").await;
    h.expect("POST", "/api/room/settings", &admin, r#"{"private_mode":true}"#, 204, "").await;
    h.refused("POST", "/api/room/control/request", &user, "", 422, "private mode is enabled").await;
    assert!(root.starts_with("root-"));
}

#[tokio::test]
async fn clipboard_and_keyboard() {
    let h = Harness::new().await;
    let (ann, user) = h.login("ann", "user").await;
    let (_, admin) = h.login("root", "admin").await;
    h.refused("GET", "/api/room/clipboard", &user, "", 403, "session is not host").await;
    h.refused("POST", "/api/room/keyboard/map", &user, "{}", 403, "session is not host").await;
    h.post("/api/room/control/request", &user, json!(null)).await;
    h.expect("GET", "/api/room/clipboard", &user, "", 200, "{}").await;
    h.expect("POST", "/api/room/clipboard", &user, r#"{"text":"é<"}"#, 204, "").await;
    h.expect("GET", "/api/room/clipboard", &user, "", 200, r#"{"text":"é\u003c"}"#).await;
    let big = "x".repeat(15 * 1024 * 1024);
    h.expect("POST", "/api/room/clipboard", &user, &json!({"html": big}).to_string(), 204, "").await;
    assert_eq!(h.desk.html.lock().len(), big.len());
    let too_big = "x".repeat(17 * 1024 * 1024);
    h.refused("POST", "/api/room/clipboard", &user, &too_big, 413, "request body is too large").await;
    assert_eq!(h.get("/api/room/clipboard/image.png", &user).await.status, 404);
    *h.desk.png.lock() = Some(vec![1, 2, 3]);
    let image = h.get("/api/room/clipboard/image.png", &user).await;
    assert_eq!((image.headers["content-type"].to_str().unwrap(), image.bytes), ("image/png", vec![1, 2, 3]));
    assert_eq!(image.headers["cache-control"], "no-cache, no-store, must-revalidate");

    h.expect("POST", "/api/room/keyboard/map", &user, r#"{"layout":"de"}"#, 204, "").await;
    assert_eq!(*h.desk.map.lock(), KeyboardMap { layout: "de".into(), variant: String::new() });
    h.expect("GET", "/api/room/keyboard/map", &user, "", 200, r#"{"layout":"de","variant":""}"#).await;
    h.expect("POST", "/api/room/keyboard/modifiers", &user, r#"{"super":true,"alt":null}"#, 204, "").await;
    let all = r#"{"shift":false,"capslock":false,"control":false,"alt":false,"numlock":false,"meta":false,"super":true,"altgr":false}"#;
    h.expect("GET", "/api/room/keyboard/modifiers", &user, "", 200, all).await;
    *h.desk.fails.lock() = true;
    h.refused("GET", "/api/room/keyboard/map", &user, "", 500, "Internal Server Error").await;
    let body = r#"{"can_access_clipboard":false}"#;
    h.expect("POST", &format!("/api/members/{ann}"), &admin, body, 204, "").await;
    h.refused("GET", "/api/room/clipboard", &user, "", 403, "session cannot access clipboard").await;
}

#[tokio::test]
async fn screen() {
    let h = Harness::new().await;
    let (_, user) = h.login("ann", "user").await;
    let (_, admin) = h.login("root", "admin").await;
    h.expect("GET", "/api/room/screen", &user, "", 200, r#"{"width":1280,"height":720,"rate":60}"#).await;
    h.refused("POST", "/api/room/screen", &user, "{}", 403, "session is not admin").await;
    for wrong in [r#"{"width":1}"#, r#"{"width":99999,"height":1000}"#, r#"{"width":-5,"height":1000}"#, "{}"] {
        h.refused("POST", "/api/room/screen", &admin, wrong, 422, "cannot set screen size").await;
    }
    let huge = r#"{"rate":99999}"#;
    h.refused("POST", "/api/room/screen", &admin, huge, 400, "unable to parse provided data").await;
    let size = r#"{"width":801,"height":603,"rate":60}"#;
    h.expect("POST", "/api/room/screen", &admin, r#"{"width":801,"height":603,"rate":30}"#, 200, size).await;
    h.expect("GET", "/api/room/screen", &user, "", 200, size).await;
    assert_eq!(h.get("/api/room/screen/configurations", &admin).await.json().as_array().unwrap().len(), 2);
    h.refused("GET", "/api/room/screen/shot.jpg", &user, "", 403, "session is not admin").await;
    for (query, quality) in
        [("", 90), ("?quality=x", 90), ("?quality=0", 1), ("?quality=55", 55), ("?quality=999", 100)]
    {
        let shot = h.get(&format!("/api/room/screen/shot.jpg{query}"), &admin).await;
        assert_eq!((shot.status.as_u16(), shot.bytes[2]), (200, quality), "{query}");
    }
}

#[tokio::test]
async fn cast_is_shared_and_frozen_in_private_mode() {
    let h = Harness::new().await;
    let (_, user) = h.login("ann", "user").await;
    let (_, admin) = h.login("root", "admin").await;
    let cast = h.get("/api/room/screen/cast.jpg", &user).await;
    assert_eq!((cast.status.as_u16(), &cast.bytes[2]), (200, &60));
    assert_eq!(cast.headers["content-type"], "image/jpeg");
    h.expect("POST", "/api/room/settings", &admin, r#"{"private_mode":true}"#, 204, "").await;
    common::eventually("the kept picture", async || h.get("/api/room/screen/cast.jpg", &user).await.status == 200)
        .await;
    assert_eq!(h.get("/api/room/screen/cast.jpg", &user).await.bytes[2], 90, "the one that was kept");
}

#[tokio::test]
async fn what_is_disabled_says_so() {
    let h = Harness::new().await;
    let (_, user) = h.login("ann", "user").await;
    let upload = "without implicit hosting, only host can upload files";
    h.refused("POST", "/api/room/upload/drop", &user, "", 403, upload).await;
    h.post("/api/room/control/request", &user, json!(null)).await;
    h.refused("POST", "/api/room/upload/drop", &user, "", 400, "upload drop is disabled").await;
    h.refused("POST", "/api/room/upload/dialog", &user, "", 400, "file chooser dialog is disabled").await;
    h.refused("DELETE", "/api/room/upload/dialog", &user, "", 400, "file chooser dialog is disabled").await;
    h.refused("GET", "/api/filetransfer", &user, "", 403, "file transfer is disabled").await;
    h.refused("POST", "/api/openinapp/openlink", &user, "{}", 403, "openinapp is disabled").await;
    h.refused("POST", "/api/chat", &user, r#"{"text":"x"}"#, 403, "session is not admin").await;
}

#[tokio::test]
async fn batch() {
    let h = Harness::new().await;
    let (_, admin) = h.login("root", "admin").await;
    let items = json!([
        {"path": "/api/room/control", "method": "GET"},
        {"path": "/api/batch?x", "method": "POST"},
        {"path": "/api/ws", "method": "GET"},
        {"path": "/health", "method": "GET"},
        {"path": "/api/room/settings", "method": "POST", "body": {"implicit_hosting": true}},
        {"path": "/api/nothing", "method": "GET"},
        {"path": "/api/room/screen/cast.jpg", "method": "GET"},
    ]);
    let answer = h.post("/api/batch", &admin, items).await;
    let expected = concat!(
        r#"[{"path":"/api/room/control","method":"GET","body":{"has_host":false},"status":200},"#,
        r#"{"path":"/api/batch?x","method":"POST","body":{"code":400,"message":"this path is excluded from batch requests"},"status":400},"#,
        r#"{"path":"/api/ws","method":"GET","body":{"code":400,"message":"this path is excluded from batch requests"},"status":400},"#,
        r#"{"path":"/health","method":"GET","body":{"code":400,"message":"this path is not allowed in batch requests"},"status":400},"#,
        r#"{"path":"/api/room/settings","method":"POST","status":204},"#,
        r#"{"path":"/api/nothing","method":"GET","body":"404 page not found\n","status":404},"#,
        r#"{"path":"/api/room/screen/cast.jpg","method":"GET","status":200}]"#,
        "\n"
    );
    assert_eq!(answer.text(), expected);
    h.refused("POST", "/api/batch", "", "{", 500, "Internal Server Error").await;
    let prefixed = Harness::with(glasshouse_neko::Config { path_prefix: "/desk/".into(), ..config() }).await;
    let items = json!([{"path": "/api/whoami", "method": "GET"}]);
    assert_eq!(prefixed.post("/desk/api/batch", "api-secret", items).await.json()[0]["status"], 200);
    assert_eq!(prefixed.get("/api/whoami", "api-secret").await.status, 404);
}

#[tokio::test]
async fn paths_methods_hosts_and_origins() {
    let h = Harness::with(glasshouse_neko::Config { cors: vec!["https://a.example".into()], ..config() }).await;
    let answer = h.get("/api/nothing", "").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (404, "404 page not found\n"));
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(h.call("PUT", "/api/login", "", "").await.status, 405);
    assert_eq!(h.get("/health", "").await.text(), "true");
    assert_eq!(h.get("/healthz", "").await.text(), "ok\n");
    let request = |host: &str, origin: &str, method: &str| {
        let request = axum::http::Request::builder().method(method).uri("/api/login").header("Host", host);
        let request = request.header("Origin", origin).header("Access-Control-Request-Method", "POST");
        let request = request.header("Access-Control-Request-Headers", "content-type,authorization");
        request.body(axum::body::Body::empty()).unwrap()
    };
    let answer = h.send(request("evil.example", "https://a.example", "POST")).await;
    assert_eq!(answer.status, 421);
    let answer = h.send(request("localhost", "https://a.example", "OPTIONS")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["access-control-allow-origin"], "https://a.example");
    assert_eq!(answer.headers["access-control-allow-headers"], "Content-Type, Authorization");
    assert_eq!(answer.headers["access-control-max-age"], "300");
    let answer = h.send(request("localhost", "https://b.example", "OPTIONS")).await;
    assert_eq!((answer.status.as_u16(), answer.headers.contains_key("access-control-allow-origin")), (200, false));
    assert_eq!(answer.headers.get_all("vary").iter().count(), 3);
    *h.desk.fails.lock() = true;
    assert_eq!(h.get("/healthz", "").await.status, 503);
}

#[tokio::test]
async fn metrics_show_how_long_changes_take() {
    let h = Harness::with(config()).await;
    let text = h.get("/metrics", "").await.text();
    for line in [
        "glasshouse_change_to_send_seconds_sum 0.75",
        "glasshouse_change_to_send_seconds_count 3",
        "glasshouse_change_to_send_seconds_bucket{le=\"0.01\"} 2",
        "glasshouse_change_to_send_seconds_bucket{le=\"+Inf\"} 3",
    ] {
        assert!(text.lines().any(|present| present == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn page_answers_below_the_prefix_and_only_to_allowed_hosts() {
    let h = Harness::with(glasshouse_neko::Config { path_prefix: "/desk".into(), ..config() }).await;
    let page = axum::routing::any(|uri: axum::http::Uri| async move { format!("page {}", uri.path()) });
    let peer = glasshouse_neko::Peer { remote: h.address, local: h.address };
    let router = h.server.router_with_page(page).layer(axum::Extension(axum::extract::ConnectInfo(peer)));
    let get = async |path: &str, host: &str| {
        let request = axum::http::Request::builder().uri(path).header("Host", host);
        let response = router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(get("/desk/", "localhost").await, (200, "page /".into()));
    assert_eq!(get("/desk/assets/app.js", "localhost").await, (200, "page /assets/app.js".into()));
    assert_eq!(get("/desk", "localhost").await.0, 308);
    assert_eq!(get("/desk/health", "localhost").await, (200, "true".into()));
    assert_eq!(get("/", "localhost").await.0, 404);
    assert_eq!(get("/desk/", "rebound.example").await.0, 421);
}
