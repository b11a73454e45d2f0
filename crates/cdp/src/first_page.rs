//! Waiting for the first page of a browser that has just started.
//!
//! Until its first navigation commits, a page's main frame has no address. Playwright (1.64) that attaches to such a page
//! waits for an event that has passed, until its own time-out; so the first client of a browser is let in when the page
//! is there. `/json/list` is no help: it has the address that is still to come.

use std::{
    io,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::ClientRequestBuilder, protocol::WebSocketConfig},
};

use crate::{Stream, ask, gate::Inner};

/// How long to wait between two questions.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest answer in bytes; a frame tree names every frame of a page.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Waits until the first page of the browser whose WebSocket is at `browser` has an address.
///
/// It waits once for each browser, at most [`patience`](crate::Config::patience), and never in the way of a client: a
/// browser that cannot be asked, has no page, or loads its first one from a server that does not answer, is let be.
pub(crate) async fn wait(gate: &Inner, browser: &str) {
    let mut seen = gate.first_page.lock().await;
    if seen.as_deref() == Some(browser) {
        return;
    }
    match tokio::time::timeout(gate.config.patience, has_come(gate)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(%error, "the browser was not asked for its first page");
            return;
        }
        Err(_) => tracing::debug!("the browser's first page has not come; programs are let in"),
    }
    *seen = Some(browser.to_owned());
}

/// Opens a WebSocket to the first page of the browser.
pub(crate) async fn connect(gate: &Inner) -> io::Result<WebSocketStream<Box<dyn Stream>>> {
    let path = loop {
        let stream = gate.config.upstream.connect().await?;
        let body = ask::ask(stream, "GET", "/json/list", &[]).await?.body(MAX_ANSWER).await?;
        let targets = serde_json::from_slice::<Value>(&body)?;
        let is_page = |target: &&Value| target["type"] == "page";
        if let Some(page) = targets.as_array().and_then(|targets| targets.iter().find(is_page)) {
            break format!("/devtools/page/{}", page["id"].as_str().unwrap_or_default());
        }
        tokio::time::sleep(PAUSE).await;
    };
    open(gate.config.upstream.connect().await?, &path).await
}

/// Opens the WebSocket at a path of the browser.
pub(crate) async fn open(stream: Box<dyn Stream>, path: &str) -> io::Result<WebSocketStream<Box<dyn Stream>>> {
    let request = format!("ws://{}{path}", ask::HOST).parse().map_err(io::Error::other)?;
    let limits = WebSocketConfig::default().max_message_size(Some(MAX_ANSWER)).max_frame_size(Some(MAX_ANSWER));
    let opened = client_async_with_config(ClientRequestBuilder::new(request), stream, Some(limits)).await;
    opened.map(|(socket, _)| socket).map_err(io::Error::other)
}

/// The next message of a page.
pub(crate) async fn read(socket: &mut WebSocketStream<Box<dyn Stream>>) -> io::Result<Value> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(text.as_str())?),
            // Control frames.
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Waits until the first page has an address.
pub(crate) async fn has_come(gate: &Inner) -> io::Result<()> {
    let start = Instant::now();
    let mut socket = connect(gate).await?;
    loop {
        socket.send(Message::text(r#"{"id":1,"method":"Page.getFrameTree"}"#)).await.map_err(io::Error::other)?;
        // Nothing else was asked for, so that nothing else comes.
        let answer = read(&mut socket).await?;
        if is_there(&answer) {
            tracing::debug!(waited = ?start.elapsed(), "the browser's first page is there");
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether an answer to `Page.getFrameTree` is of a page that has an address.
fn is_there(answer: &Value) -> bool {
    // Of the empty document before the first navigation the address is "" or ":", by the release of Chromium.
    answer["result"]["frameTree"]["frame"]["url"].as_str().is_some_and(|url| !matches!(url, "" | ":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_an_address_has_not_come() {
        for (url, wanted) in [("", false), (":", false), ("about:blank", true), ("https://a.example/", true)] {
            let answer = serde_json::json!({ "result": { "frameTree": { "frame": { "url": url } } } });
            assert_eq!(is_there(&answer), wanted, "{url:?}");
        }
        assert!(!is_there(&serde_json::json!({ "error": { "code": -32000 } })));
    }
}
