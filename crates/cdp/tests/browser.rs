//! The gate in front of a real Chromium.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Browser, Client, Door, FULL, refusal, soon, until};
use glasshouse_cdp::{Grant, Policy};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::MaybeTlsStream;

#[tokio::test]
async fn every_address_leads_back_through_the_gate() {
    let browser = Browser::start().await;
    let door = Door::open_with(browser.upstream(), |config| config.is_forwarded = |_| true).await;
    let own = format!("ws://{}/devtools/", door.address);
    for path in ["/json/version", "/json/version/", "/cdp/json/version/", "/cdp", "/cdp/"] {
        let version = door.json(&format!("{path}?token={FULL}")).await;
        let url = version["webSocketDebuggerUrl"].as_str().unwrap();
        assert!(url.starts_with(&format!("{own}browser/")) && url.ends_with(&format!("?token={FULL}")), "{url}");
        assert!(version["Browser"].as_str().unwrap().contains("Chrome/"));
        assert!(
            Client::connect(url).await.unwrap().call("Browser.getVersion", json!({}), None).await["result"].is_object()
        );
    }

    // A token that was not in the address is not put into one.
    let bearer = format!("Bearer {FULL}");
    let (mut body, mut page) = (String::new(), Value::Null);
    // A browser listens before it has its first page.
    until("there is a page", async || {
        let status;
        (status, _, body) = door.ask("GET", "/cdp/json/list", &[("authorization", &bearer)], "").await;
        assert_eq!(status, 200);
        let targets: Value = serde_json::from_str(&body).unwrap();
        let found = targets.as_array().unwrap().iter().find(|target| target["type"] == "page").cloned();
        page = found.unwrap_or_default();
        page.is_object()
    })
    .await;
    let url = page["webSocketDebuggerUrl"].as_str().unwrap();
    assert!(url.starts_with(&format!("{own}page/")) && !body.contains(FULL), "{body}");
    let (status, _) = refusal(&Client::connect(url).await.err().unwrap());
    assert_eq!(status, 401);
    let mut client = Client::connect_with(url, &[("authorization", &bearer)]).await.unwrap();
    let answer = client.call("Runtime.evaluate", json!({ "expression": "6 * 7" }), None).await;
    assert_eq!(answer["result"]["result"]["value"], 42);

    let forwarded = [("x-forwarded-proto", "https"), ("x-forwarded-host", "10.1.2.3"), ("x-forwarded-prefix", "/s/1")];
    let (_, _, body) = door.ask("GET", &format!("/json/version?token={FULL}"), &forwarded, "").await;
    assert!(body.contains("wss://10.1.2.3/s/1/devtools/browser/"), "{body}");

    // Targets are made, brought to the front and closed; a new page's address keeps its query.
    let (status, ..) = door.ask("GET", &format!("/json/new?token={FULL}&about:blank"), &[], "").await;
    assert_eq!(status, 405, "Chromium wants PUT");
    let path = format!("/json/new?token={FULL}&data:text/html,t%3Fa=1%26token=x");
    let (status, _, body) = door.ask("PUT", &path, &[], "").await;
    assert_eq!(status, 200, "{body}");
    let made: Value = serde_json::from_str(&body).unwrap();
    assert!(made["url"].as_str().unwrap().ends_with("?a=1&token=x"), "{body}");
    let id = made["id"].as_str().unwrap();
    let mut client = Client::connect(made["webSocketDebuggerUrl"].as_str().unwrap()).await.unwrap();
    let (status, ..) = door.ask("GET", &format!("/json/activate/{id}?token={FULL}"), &[], "").await;
    assert_eq!(status, 200);
    let (status, ..) = door.ask("GET", &format!("/json/close/{id}?token={FULL}"), &[], "").await;
    assert_eq!(status, 200);
    let (code, reason) = client.closed().await;
    assert!(code == 1001 && reason.contains("page was closed"), "{code} {reason}");
    let gone = Client::connect(&format!("{own}page/{id}?token={FULL}")).await.err().unwrap();
    assert_eq!(refusal(&gone).0, 404);

    let (status, _, protocol) = door.ask("GET", &format!("/json/protocol?token={FULL}"), &[], "").await;
    assert_eq!(status, 200);
    assert!(serde_json::from_str::<Value>(&dechunk(&protocol)).unwrap()["domains"].as_array().unwrap().len() > 20);
    let (status, ..) = door.ask("GET", &format!("/devtools/page/{id}?token={FULL}"), &[], "").await;
    assert_eq!(status, 426);
    let (status, ..) = door.ask("GET", &format!("/json/nothing?token={FULL}"), &[], "").await;
    assert_eq!(status, 404);
}

/// A chunked body as one.
fn dechunk(body: &str) -> String {
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else { break };
        whole.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_and_many_clients() {
    let browser = Browser::start().await;
    let door = Arc::new(Door::open(browser.upstream()).await);
    let all = door.token(Policy { browser_close: true, ..Policy::full() });
    let denied = door.token(Policy { deny: vec!["Network.*".into()], ..Policy::full() });
    let mut tasks = Vec::new();
    for (number, token) in [FULL, &all, &denied].map(str::to_owned).into_iter().cycle().take(9).enumerate() {
        let door = door.clone();
        tasks.push(tokio::spawn(async move {
            let mut client = door.client(&token).await;
            let page = client.page().await;
            for round in 0..20 {
                assert_eq!(client.evaluate(&format!("{number} + {round}"), &page).await, number + round);
            }
            if number < 3 {
                // 50 MB down, 5 MB up.
                let large = client.evaluate("'x'.repeat(50_000_000)", &page).await;
                assert!(
                    large
                        .as_str()
                        .is_some_and(|text| text.len() == 50_000_000 && text.bytes().all(|byte| byte == b'x'))
                );
                let code = format!("'{}é'.length", "y".repeat(5_000_000));
                assert_eq!(client.evaluate(&code, &page).await, 5_000_001);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    until("all connections are over", async || door.gate.connections() == 0).await;
}

#[tokio::test]
async fn tokens_have_their_powers() {
    let mut browser = Browser::start().await;
    let door = Door::open(browser.upstream()).await;
    let mut full = door.client(FULL).await;
    let page = full.page().await;

    let reading = door.token(Policy::read_only());
    let mut reader = door.client(&reading).await;
    let targets = reader.call("Target.getTargets", json!({}), None).await;
    let target = targets["result"]["targetInfos"].as_array().unwrap().iter().find(|one| one["type"] == "page").unwrap();
    let seen = reader.attach(target["targetId"].as_str().unwrap()).await;
    let shot = reader.call("Page.captureScreenshot", json!({}), Some(&seen)).await;
    assert!(shot["result"]["data"].as_str().is_some_and(|data| data.len() > 100), "{shot}");
    for (method, params) in [
        ("Runtime.evaluate", json!({ "expression": "document.title = 'touched'" })),
        ("Page.navigate", json!({ "url": "data:,touched" })),
        ("Input.dispatchKeyEvent", json!({ "type": "char", "text": "a" })),
        ("Network.getCookies", json!({})),
    ] {
        let answer = reader.call(method, params, Some(&seen)).await;
        assert_eq!(answer["error"]["code"], -32000, "{answer}");
        assert_eq!(answer["sessionId"], seen);
        assert!(answer["error"]["message"].as_str().unwrap().contains(method));
    }
    for (method, path) in [("PUT", "/json/new?about:blank&"), ("GET", "/json/close/A?"), ("GET", "/json/activate/A?")] {
        let (status, _, body) = door.ask(method, &format!("{path}token={reading}"), &[], "").await;
        assert_eq!(status, 403, "{body}");
    }
    assert_eq!(full.evaluate("document.title", &page).await, "");

    let denied = door.token(Policy { deny: vec!["Page.navigate".into(), "Network.*".into()], ..Policy::full() });
    let mut client = door.client(&denied).await;
    assert!(client.call("Network.enable", json!({}), None).await["error"].is_object());
    assert!(client.call("Browser.getVersion", json!({}), None).await["result"].is_object());
    assert!(client.call("Target.sendMessageToTarget", json!({ "message": "{}" }), None).await["error"].is_object());

    // `Browser.close` ends the connection, not the browser.
    let answer = client.call("Browser.close", json!({}), None).await;
    assert_eq!(answer["result"], json!({}));
    assert_eq!(client.closed().await.0, 1000);
    assert_eq!(full.evaluate("1", &page).await, 1);
    assert!(browser.is_running());

    // Unless it may.
    let (_, _, may) = door.ask("POST", &format!("/cdp/tokens?token={FULL}"), &[], r#"{"browser_close":true}"#).await;
    let may: Value = serde_json::from_str(&may).unwrap();
    let mut client = door.client(may["token"].as_str().unwrap()).await;
    client.send(&json!({ "id": 1, "method": "Browser.close" })).await;
    let (code, reason) = full.closed().await;
    assert!(code == 1012 && reason.contains("connect again"), "{code} {reason}");
    browser.ended().await;
}

#[tokio::test]
async fn a_restart_is_a_clean_close_and_the_same_address_works_again() {
    let mut browser = Browser::start().await;
    let door = Door::open(browser.upstream()).await;
    let mut clients = [door.client(FULL).await, door.client(&door.token(Policy::read_only())).await];
    browser.restart().await;
    for client in &mut clients {
        let (code, reason) = client.closed().await;
        assert!(code == 1012 && reason.contains("connect again"), "{code} {reason}");
    }
    let mut client = door.client(FULL).await;
    assert!(client.call("Browser.getVersion", json!({}), None).await["result"].is_object());
}

#[tokio::test]
async fn tokens_are_made_and_end() {
    let browser = Browser::start().await;
    let door = Door::open(browser.upstream()).await;
    let make = async |token: &str, body: &str| {
        let (status, _, body) = door.ask("POST", &format!("/cdp/tokens?token={token}"), &[], body).await;
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let (status, made) = make(FULL, r#"{"power":"read-only","expires_in":600}"#).await;
    assert_eq!((status, made["expires_in"].as_f64()), (200, Some(600.0)));
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!(made["url"], format!("http://{}/cdp?token={token}", door.address));
    let mut client = door.client(&token).await;
    assert!(client.call("Page.navigate", json!({}), None).await["error"].is_object());
    assert_eq!(make(&token, "{}").await.0, 403, "limited tokens make no others");
    assert_eq!(make(FULL, r#"{"power":"all"}"#).await.0, 400);
    assert_eq!(make(FULL, "junk").await.0, 400);

    let body = json!({ "token": token }).to_string();
    let path = format!("/cdp/tokens?token={FULL}");
    assert_eq!(door.ask("DELETE", &path, &[], &body).await.0, 204);
    let (code, reason) = client.closed().await;
    assert!(code == 1008 && reason.contains("revoked"), "{code} {reason}");
    assert_eq!(door.ask("DELETE", &path, &[], &body).await.0, 404);
    assert_eq!(door.ask("GET", &format!("/json?token={token}"), &[], "").await.0, 401);

    // A machine that stalls may be too late for the first.
    let mut was_in_time = false;
    for seconds in [2, 10, 50] {
        let token = format!("short-{seconds}");
        door.tokens.add(&token, Grant::new(Policy::full(), Some(Instant::now() + Duration::from_secs(seconds))));
        if let Ok(mut client) = Client::connect(&format!("ws://{}/cdp?token={token}", door.address)).await {
            let (code, reason) = client.closed().await;
            assert!(code == 1008 && reason.contains("expired"), "{code} {reason}");
            was_in_time = true;
        }
        let (status, _, body) = door.ask("GET", &format!("/json?token={token}"), &[], "").await;
        assert!(status == 401 && body.contains("expired"), "{body}");
        if was_in_time {
            break;
        }
    }
    assert!(was_in_time);
}

#[tokio::test]
async fn a_gate_that_closes_says_so() {
    let browser = Browser::start().await;
    let door = Door::open(browser.upstream()).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(door.client(FULL).await);
    }
    let gate = door.gate.clone();
    let closing = tokio::spawn(async move { gate.shutdown().await });
    for client in &mut clients {
        assert_eq!(client.closed().await, (1001, "the session ended".to_owned()));
    }
    closing.await.unwrap();
    let (status, body) =
        refusal(&Client::connect(&format!("ws://{}/cdp?token={FULL}", door.address)).await.err().unwrap());
    assert_eq!(status, 503, "{body}");
}

/// Sends bytes past the client library.
async fn raw(client: &mut Client, bytes: &[u8]) {
    let MaybeTlsStream::Plain(stream) = client.socket.get_mut() else { panic!("not a plain stream") };
    stream.write_all(bytes).await.unwrap();
}

#[tokio::test]
async fn malformed_frames_end_one_connection_and_nothing_else() {
    let browser = Browser::start().await;
    let door = Door::open(browser.upstream()).await;
    let mut witness = door.client(FULL).await;
    let page = witness.page().await;
    for bytes in [
        &b"\x81\x02{}"[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x82\x82\0\0\0\0{}",
        b"\x80\x82\0\0\0\0{}",
        b"\x89\xfe\x01\x00\0\0\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut client = door.client(FULL).await;
        raw(&mut client, bytes).await;
        assert_eq!(client.closed().await.0, 1002, "{bytes:x?}");
    }
    // Who may do everything talks to the browser itself, which ends the connection.
    let all = door.token(Policy { browser_close: true, ..Policy::full() });
    let mut client = door.client(&all).await;
    raw(&mut client, b"\x81\x02{}").await;
    client.closed().await;

    // A message that never ends, and one of 8 exabytes, wait for nobody but themselves.
    let mut half = door.client(FULL).await;
    raw(&mut half, b"\x81\xfe\xff\xff\0\0\0\0{").await;
    let mut huge = door.client(FULL).await;
    raw(&mut huge, b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0{\"id\":1,").await;
    assert_eq!(witness.evaluate("1 + 1", &page).await, 2);
    drop((half, huge, client));
    until("only the witness is left", async || door.gate.connections() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connects_are_bounded_and_leave_nothing() {
    const AT_ONCE: usize = 20;
    let browser = Browser::start().await;
    let door = Door::open_with(browser.upstream(), |config| config.max_connections = AT_ONCE).await;
    let url = format!("ws://{}/cdp?token={FULL}", door.address);
    let mut held = Vec::new();
    for _ in 0..AT_ONCE {
        held.push(door.client(FULL).await);
    }
    let mut refused = 0;
    for _ in 0..20 {
        let attempts = futures_util::future::join_all((0..40).map(|_| Client::connect(&url))).await;
        refused +=
            attempts.iter().filter(|attempt| attempt.as_ref().is_err_and(|error| refusal(error).0 == 503)).count();
    }
    assert_eq!(refused, 800);
    drop(held);
    until("there is room again", async || door.gate.connections() == 0).await;
    for number in 0..200 {
        let mut client = soon("a client connects", door.client(FULL)).await;
        if number % 2 == 0 {
            // The others just go.
            let _ = client.socket.close(None).await;
            client.closed().await;
        }
        drop(client);
        until("it is over", async || door.gate.connections() == 0).await;
    }
    assert!(door.client(FULL).await.call("Browser.getVersion", json!({}), None).await["result"].is_object());
}
