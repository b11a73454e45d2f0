//! What the fuzz targets of this crate call; not for anybody else.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{Method, Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{Config, MAX_BODY, Mcp, Rights, SESSION, page};

/// Most requests of an input, and the largest answer to one, in bytes: an error repeats what was wrong.
const MAX_REQUESTS: usize = 8;
const MAX_ANSWER: usize = 4 * MAX_BODY;
/// Nothing takes longer, questions to people included; for a clock that stands still while there is something to do.
const WITHIN: Duration = Duration::from_secs(2 * 3_600);

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"fuzz","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// What a client of one MCP session sends: the first byte says what its token may do, each line after it is the body of a request. To
/// be called within a tokio runtime of one thread whose clock is paused.
///
/// # Panics
///
/// When a request has no answer, or when a tool asks the session for something that its caller may not, or that is no tool's.
pub async fn client(bytes: &[u8]) {
    let Some((&first, bodies)) = bytes.split_first() else { return };
    let rights = Rights { watch: first & 1 == 0, control: first & 2 == 0, admin: first & 4 == 0 };
    if let Ok(text) = std::str::from_utf8(bodies)
        && let Ok(url) = page::address(text)
    {
        let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
        assert!(["http", "https", "data", "about"].contains(&scheme.as_str()), "{url:?} may be gone to");
    }
    let routes =
        Router::new().fallback(move |method, uri: Uri, body| async move { session(rights, method, &uri, &body) });
    let mcp = Mcp::new(Config {
        routes,
        prefix: "/desk".into(),
        gate: None,
        rights: Arc::new(move |_| Some(rights)),
        allowed_hosts: Vec::new(),
        allowed_origins: Vec::new(),
    });
    let begun = ask(&mcp, None, INITIALIZE.as_bytes()).await;
    let id = begun.headers().get(SESSION).and_then(|id| id.to_str().ok()).expect("a session has begun").to_owned();
    drop(begun);
    drop(ask(&mcp, Some(&id), INITIALIZED.as_bytes()).await);
    for body in bodies.split(|byte| *byte == b'\n').take(MAX_REQUESTS) {
        let response = ask(&mcp, Some(&id), body).await;
        // A stream that stays open is one that waits for the client.
        let _ = tokio::time::timeout(WITHIN, to_bytes(response.into_body(), MAX_ANSWER)).await;
    }
    mcp.shutdown();
}

async fn ask(mcp: &Mcp, session: Option<&str>, body: &[u8]) -> Response {
    let mut request = Request::post("/mcp")
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, "Bearer of-the-fuzzer")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream");
    if let Some(session) = session {
        request = request.header(SESSION, session);
    }
    let request = request.body(Body::from(body.to_vec())).expect("these headers are good");
    tokio::time::timeout(WITHIN, mcp.answer(request)).await.expect("a request is answered")
}

/// The routes of a session: what tools may ask, with answers like those of a real one.
fn session(rights: Rights, method: Method, uri: &Uri, body: &Bytes) -> Response {
    let path = uri.path().strip_prefix("/desk/v1/").expect("the prefix comes first");
    let given: Value = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(body).expect("tools send JSON"),
    };
    let (is_allowed, answer) = match (method.as_str(), path) {
        ("GET", "desktop/display/info") => (true, json!({ "resolution": { "width": 2560, "height": 1440 } })),
        ("GET", "desktop/screenshot" | "desktop/screenshot/region") => {
            return ([(header::ETAG, "\"one\"")], "a picture").into_response();
        }
        ("GET", "desktop/windows") => (true, json!({ "windows": [{ "id": "7", "x": 1, "y": null }] })),
        ("GET", "desktop/clipboard") => (rights.control, json!({ "text": "ä".repeat(20_000) })),
        ("POST", "desktop/wait/stable") => (true, json!({ "stable": true })),
        ("POST", "desktop/wait/change") => (true, json!({ "changed": false })),
        ("POST", "desktop/wait/turn" | "desktop/clipboard" | "desktop/keyboard/type" | "desktop/keyboard/press") => {
            (rights.control, json!({}))
        }
        ("POST", "desktop/mouse/click" | "desktop/mouse/move" | "desktop/mouse/drag" | "desktop/mouse/scroll") => {
            let side = |name: &str, most: i64| given[name].as_i64().is_none_or(|at| (0..most).contains(&at));
            let is_on = ["x", "startX", "endX"].iter().all(|name| side(name, 2560))
                && ["y", "startY", "endY"].iter().all(|name| side(name, 1440));
            assert!(is_on, "{given} is not on the screen");
            (rights.control, json!({}))
        }
        ("POST", "processes/run") => (rights.admin, json!({ "exitCode": 0, "stdout": "said", "stderr": "" })),
        ("POST", "ask") => (true, json!({ "id": "1", "outcome": "open" })),
        ("GET", "ask/1") => (true, json!({ "id": "1", "outcome": "done", "by": "Ann" })),
        ("DELETE", "ask/1") => (true, json!({})),
        ("POST", path) => {
            let parts: Vec<_> = path.split('/').collect();
            let is_window = matches!(parts[..], ["desktop", "windows", id, "focus" | "close" | "move" | "resize"]
                if id.bytes().all(|byte| byte.is_ascii_digit()));
            assert!(is_window, "{path:?} is no tool's");
            // The tool is offered to all who see windows; the route says who may move them.
            (true, json!({}))
        }
        (method, path) => panic!("{method} {path:?} is no tool's"),
    };
    assert!(is_allowed, "{path} was asked without the right");
    (StatusCode::OK, answer.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    /// The target itself runs with every test run, on what it begins with.
    #[tokio::test(start_paused = true)]
    async fn the_corpus_is_read() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/mcp");
        let mut count = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            super::client(&std::fs::read(entry.unwrap().path()).unwrap()).await;
            count += 1;
        }
        assert!(count >= 10);
    }
}
