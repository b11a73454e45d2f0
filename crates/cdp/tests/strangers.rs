//! Who has no business here is turned away before anything reaches the browser.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod common;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use common::{Client, Door, FULL, counted, refusal};
use glasshouse_cdp::{Grant, Policy, Stream, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Query, headers, and the status that they get.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);

/// A browser that is not there.
fn nobody() -> Upstream {
    Upstream::new(|| async { Err::<Box<dyn Stream>, _>(std::io::ErrorKind::ConnectionRefused.into()) })
}

#[tokio::test]
async fn strangers_reach_nothing() {
    let (upstream, opened) = counted(nobody());
    let door = Door::open(upstream).await;
    door.tokens.add("old", Grant::new(Policy::full(), Some(Instant::now())));
    let good = format!("Bearer {FULL}");
    let paths =
        ["/json/version", "/json", "/json/new?about:blank", "/cdp", "/cdp/tokens", "/devtools/page/A", "/json/x"];
    let cases: &[Case<'_>] = &[
        ("", &[], 401),
        ("token=", &[], 401),
        ("token=wrong", &[], 401),
        ("token=old", &[], 401),
        ("Token=the-full-token", &[], 401),
        ("", &[("authorization", "Bearer wrong")], 401),
        ("", &[("authorization", "Basic dGhlLWZ1bGwtdG9rZW4=")], 401),
        ("", &[("authorization", "the-full-token")], 401),
        ("", &[("cookie", "token=the-full-token")], 401),
        ("", &[("sec-websocket-protocol", "token.the-full-token")], 401),
        ("", &[("authorization", &good), ("host", "evil.example")], 421),
        ("", &[("authorization", &good), ("host", "127.0.0.1.evil.example:80")], 421),
        ("", &[("authorization", &good), ("origin", "https://evil.example")], 403),
        ("", &[("authorization", &good), ("origin", "null")], 403),
        ("", &[("authorization", &good), ("host", "localhost:1"), ("origin", "http://localhost:2")], 403),
    ];
    for path in paths {
        for (query, headers, wanted) in cases {
            let join = if path.contains('?') { '&' } else { '?' };
            let (status, head, body) = door.ask("GET", &format!("{path}{join}{query}"), headers, "").await;
            assert_eq!(status, *wanted, "{path} {query} {headers:?}: {body}");
            assert!(body.contains("\"message\":\"") && body.contains(':'), "{body}");
            assert_eq!(status == 401, head.contains("www-authenticate: bearer"));
        }
    }
    for (url, headers, wanted) in [
        (format!("ws://{}/cdp", door.address), vec![], 401),
        (format!("ws://{}/cdp?token=old", door.address), vec![], 401),
        (format!("ws://{}/cdp?token={FULL}", door.address), vec![("origin", "https://evil.example")], 403),
        (format!("ws://{}/cdp?token={FULL}", door.address), vec![("host", "rebound.example")], 421),
    ] {
        let (status, body) = refusal(&Client::connect_with(&url, &headers).await.err().unwrap());
        assert_eq!(status, wanted, "{body}");
    }
    assert_eq!(opened.load(Ordering::SeqCst), 0, "the browser was connected to");
    assert_eq!(door.gate.refused(), (paths.len() * cases.len() + 4) as u64);
}

#[tokio::test]
async fn a_browser_that_is_not_there_is_waited_for_a_while() {
    let (upstream, opened) = counted(nobody());
    let door = Door::open_with(upstream, |config| config.patience = Duration::from_millis(300)).await;
    let (status, head, body) = door.ask("GET", &format!("/json/version?token={FULL}"), &[], "").await;
    assert!(status == 503 && head.contains("retry-after: 1") && body.contains("try again"), "{head} {body}");
    assert!(opened.load(Ordering::SeqCst) > 1, "it was tried once only");
    let (status, _) =
        refusal(&Client::connect(&format!("ws://{}/cdp?token={FULL}", door.address)).await.err().unwrap());
    assert_eq!(status, 503);
    assert_eq!(door.gate.connections(), 0);
}

/// A browser that answers everything with these bytes, and then is silent.
fn canned(bytes: &'static [u8]) -> Upstream {
    Upstream::new(move || async move {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let mut sink = [0; 1024];
            let _ = near.read(&mut sink).await;
            let _ = near.write_all(bytes).await;
            while near.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        });
        Ok(Box::new(far) as Box<dyn Stream>)
    })
}

#[tokio::test]
async fn a_browser_that_answers_junk_is_an_error_of_its_own() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"[..],
        b"\0\0\0\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ] {
        let door = Door::open(canned(bytes)).await;
        let (status, _, body) = door.ask("GET", &format!("/json/version?token={FULL}"), &[], "").await;
        assert_eq!(status, 503, "{body}");
    }
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 37\r\n\r\n{\"webSocketDebuggerUrl\":\"ws://x/else\"}";
    let door = Door::open(canned(answer)).await;
    let (status, _) =
        refusal(&Client::connect(&format!("ws://{}/cdp?token={FULL}", door.address)).await.err().unwrap());
    assert_eq!(status, 503);
    let door = Door::open(canned(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")).await;
    let url = format!("ws://{}/devtools/page/A?token={FULL}", door.address);
    let (status, _) = refusal(&Client::connect(&url).await.err().unwrap());
    assert_eq!(status, 502);
}
