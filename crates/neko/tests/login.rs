//! Logging in and out, tokens, links, and the brake on guessing.
mod common;

use common::{Harness, config};
use glasshouse_neko::Provider;
use serde_json::json;

const USER: &str = r#"{"name":"ann","is_admin":false,"can_login":true,"can_connect":true,"can_watch":true,"can_host":true,"can_share_media":true,"can_access_clipboard":true,"sends_inactive_cursor":true,"can_see_inactive_cursors":true,"plugins":null}"#;

#[tokio::test]
async fn login_answers_like_neko() {
    let h = Harness::new().await;
    let answer = h.post("/api/login", "", json!({"username": "ann", "password": "user"})).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let (id, token) = (answer.json()["id"].as_str().unwrap().to_owned(), answer.json()["token"].clone());
    assert_eq!(token.as_str().unwrap().len(), 64);
    let (name, suffix) = id.split_at(4);
    assert_eq!((name, suffix.len()), ("ann-", 5));
    let state = r#"{"is_connected":false,"is_watching":false}"#;
    assert_eq!(answer.text(), format!("{{\"id\":\"{id}\",\"token\":{token},\"profile\":{USER},\"state\":{state}}}\n"));
    let token = token.as_str().unwrap();
    let whoami = format!("{{\"id\":\"{id}\",\"profile\":{USER},\"state\":{state}}}");
    h.expect("GET", "/api/whoami", token, "", 200, &whoami).await;
    h.expect("GET", &format!("/api/whoami?token={token}"), "", "", 200, &whoami).await;
    h.expect("POST", "/api/logout", token, "", 200, "true").await;
    h.refused("GET", "/api/whoami", token, "", 401, "Unauthorized").await;
}

#[tokio::test]
async fn refusals() {
    let h = Harness::new().await;
    h.refused("POST", "/api/login", "", "", 400, "no data provided").await;
    h.refused("POST", "/api/login", "", "{", 400, "unable to parse provided data").await;
    h.refused("POST", "/api/login", "", r#"{"username":1}"#, 400, "unable to parse provided data").await;
    h.refused("POST", "/api/login", "", r#"{"username":"a","password":"x"}"#, 401, "Unauthorized").await;
    let long = json!({"username": "x".repeat(65), "password": "user"}).to_string();
    h.refused("POST", "/api/login", "", &long, 400, "name is longer than 64 characters").await;
    h.refused("GET", "/api/whoami", "", "", 401, "Unauthorized").await;
    h.refused("GET", "/api/whoami", "nonsense", "", 401, "Unauthorized").await;
    let (_, admin) = h.login("root", "admin").await;
    h.expect("POST", "/api/room/settings", &admin, r#"{"locked_logins":true}"#, 204, "").await;
    h.refused("POST", "/api/login", "", r#"{"username":"a","password":"user"}"#, 403, "logins are locked").await;
    h.login("other", "admin").await;
}

#[tokio::test]
async fn the_api_token_is_an_admin_without_a_session() {
    let h = Harness::new().await;
    let whoami = h.get("/api/whoami", "api-secret").await.json();
    assert_eq!((&whoami["id"], &whoami["profile"]["name"]), (&json!("API"), &json!("API Session")));
    h.expect("GET", "/api/sessions", "api-secret", "", 200, "[]").await;
    h.refused("POST", "/api/logout", "api-secret", "", 400, "session is not logged in").await;
    h.refused("POST", "/api/profile", "api-secret", r#"{"name":"x"}"#, 400, "session does not exist").await;
    h.expect("POST", "/api/room/control/take", "api-secret", "", 204, "").await;
    h.expect("GET", "/api/room/control", "api-secret", "", 200, r#"{"has_host":false}"#).await;
}

#[tokio::test]
async fn ten_failures_brake_passwords_but_not_tokens() {
    let h = Harness::new().await;
    for _ in 0..10 {
        h.refused("POST", "/api/login", "", r#"{"username":"a","password":"x"}"#, 401, "Unauthorized").await;
    }
    let answer = h.post("/api/login", "", json!({"username": "a", "password": "admin"})).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers["retry-after"], "60");
    assert_eq!(answer.json()["message"], "too many failed logins: try again in a minute");
    h.login("me", &h.server.one_time_admin_token()).await;
    assert_eq!(h.metric(r#"glasshouse_rejected_input_total{kind="login"}"#).await, 10);
}

#[tokio::test]
async fn a_one_time_token_makes_an_admin_once() {
    let h = Harness::new().await;
    let token = h.server.one_time_admin_token();
    let (_, session) = h.login("me", &token).await;
    assert_eq!(h.get("/api/whoami", &session).await.json()["profile"]["is_admin"], true);
    let again = json!({"username": "me", "password": token}).to_string();
    h.refused("POST", "/api/login", "", &again, 401, "Unauthorized").await;
}

#[tokio::test]
async fn links_of_admins() {
    let h = Harness::new().await;
    let (_, user) = h.login("ann", "user").await;
    let (_, admin) = h.login("root", "admin").await;
    h.refused("POST", "/api/glasshouse/links", &user, "{}", 403, "session is not admin").await;
    for wrong in [r#"{"uses":0}"#, r#"{"uses":1001}"#, r#"{"expires_in":59}"#, r#"{"expires_in":2592001}"#] {
        assert_eq!(h.call("POST", "/api/glasshouse/links", &admin, wrong).await.status, 400, "{wrong}");
    }
    let link = h.post("/api/glasshouse/links", &admin, json!({"uses": 2})).await.json();
    assert!(link["expires_at"].as_str().unwrap().ends_with('Z'));
    for _ in 0..2 {
        let (_, guest) = h.login("guest", link["token"].as_str().unwrap()).await;
        assert_eq!(h.get("/api/whoami", &guest).await.json()["profile"]["is_admin"], false);
    }
    let again = json!({"username": "guest", "password": link["token"]}).to_string();
    h.refused("POST", "/api/login", "", &again, 401, "Unauthorized").await;
    assert_eq!(h.call("POST", "/api/glasshouse/links", &admin, "").await.status, 200, "everything has a default");
}

#[tokio::test]
async fn links_for_watching_only() {
    let h = Harness::new().await;
    let (_, admin) = h.login("root", "admin").await;
    let refused = h.call("POST", "/api/glasshouse/links", &admin, r#"{"admin":true,"view_only":true}"#).await;
    assert_eq!(refused.status, 400);
    let ask = json!({"view_only": true, "uses": 3, "label": "share-1"});
    let link = h.post("/api/glasshouse/links", &admin, ask).await.json();
    assert_eq!(link["view_only"], true);
    let (_, watcher) = h.login("eve", link["token"].as_str().unwrap()).await;
    let profile = h.get("/api/whoami", &watcher).await.json()["profile"].clone();
    assert_eq!((&profile["can_host"], &profile["can_access_clipboard"]), (&json!(false), &json!(false)));
    assert_eq!(h.call("POST", "/api/room/control/request", &watcher, "").await.status, 403);
    // It cannot give itself more.
    h.call("POST", "/api/profile", &watcher, r#"{"name":"eve","can_host":true}"#).await;
    assert_eq!(h.get("/api/whoami", &watcher).await.json()["profile"]["can_host"], false);

    // With the link go all who came by it, and nobody else.
    let (_, other) = h.login("ann", "user").await;
    h.refused("DELETE", "/api/glasshouse/links/share-1", &watcher, "", 403, "session is not admin").await;
    assert_eq!(h.call("DELETE", "/api/glasshouse/links/share-1", &admin, "").await.status, 204);
    assert_eq!(h.get("/api/whoami", &watcher).await.status, 401);
    assert_eq!(h.get("/api/whoami", &other).await.status, 200);
    let again = json!({"username": "eve", "password": link["token"]}).to_string();
    h.refused("POST", "/api/login", "", &again, 401, "Unauthorized").await;
}

#[tokio::test]
async fn noauth_makes_everybody_admin() {
    let h = Harness::with(glasshouse_neko::Config { provider: Provider::NoAuth, ..config() }).await;
    let (_, token) = h.login("x", "anything").await;
    assert_eq!(h.get("/api/whoami", &token).await.json()["profile"]["is_admin"], true);
}

#[tokio::test]
async fn profiles() {
    let h = Harness::new().await;
    let (id, user) = h.login("ann", "user").await;
    let (_, admin) = h.login("root", "admin").await;
    h.expect("POST", "/api/profile", &user, r#"{"name":"<b>","is_admin":true}"#, 200, "true").await;
    let answer = h.get("/api/whoami", &user).await;
    assert!(answer.text().contains(r#""name":"\u003cb\u003e","is_admin":false"#), "{}", answer.text());
    let path = format!("/api/members/{id}");
    h.expect("POST", &path, &admin, r#"{"can_login":false,"plugins":{"a":1}}"#, 204, "").await;
    h.refused("GET", "/api/whoami", &user, "", 403, "login is disabled for this session").await;
    h.expect("POST", &path, &admin, r#"{"can_login":true,"plugins":{"b":2}}"#, 204, "").await;
    assert_eq!(h.get(&path, &admin).await.json()["plugins"], json!({"a": 1, "b": 2}));
}
