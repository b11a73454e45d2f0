//! The browser's front page in our own hands: which it is, and talking to it.

use std::{io, time::Duration};

use axum::{
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::{Gate, Stream, ask, first_page, guard};

/// Longest list of pages in bytes.
const MAX_LIST: usize = 8 * 1024 * 1024;
/// Pages that are asked whether they are in front.
const MAX_PAGES: usize = 16;
/// How long one of them may take to say so.
const SAY_WITHIN: Duration = Duration::from_secs(1);

/// A page of the browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its address.
    pub url: String,
    /// Its title.
    pub title: String,
    id: String,
}

/// A conversation with a page.
pub struct Page {
    /// Which page it is, as it was when the conversation began.
    pub target: Target,
    socket: WebSocketStream<Box<dyn Stream>>,
    last: u64,
}

impl Page {
    /// Calls a method, and waits for its result.
    ///
    /// # Errors
    ///
    /// The page is gone, or refuses; the text is its own.
    pub async fn call(&mut self, method: &str, params: Value) -> io::Result<Value> {
        self.last += 1;
        let id = self.last;
        let text = json!({ "id": id, "method": method, "params": params }).to_string();
        self.socket.send(Message::text(text)).await.map_err(io::Error::other)?;
        loop {
            let mut answer = first_page::read(&mut self.socket).await?;
            if answer["id"] != id {
                continue;
            }
            if let Some(error) = answer["error"]["message"].as_str() {
                return Err(io::Error::other(error.to_owned()));
            }
            return Ok(answer["result"].take());
        }
    }

    /// The value of an expression in a world of our own, in which nothing of the page's scripts can be seen or changed.
    ///
    /// # Errors
    ///
    /// As [`Page::call`], or the expression throws.
    pub async fn evaluate(&mut self, expression: &str) -> io::Result<Value> {
        let mut tree = self.call("Page.getFrameTree", json!({})).await?;
        let frame = tree["frameTree"]["frame"]["id"].take();
        let world = json!({ "frameId": frame, "worldName": "glasshouse" });
        let context = self.call("Page.createIsolatedWorld", world).await?["executionContextId"].take();
        let params = json!({ "expression": expression, "contextId": context, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", params).await?;
        if let Some(details) = answer.get("exceptionDetails") {
            let text = details["exception"]["description"].as_str().or(details["text"].as_str()).unwrap_or_default();
            return Err(io::Error::other(text.to_owned()));
        }
        Ok(answer["result"]["value"].take())
    }
}

impl Gate {
    /// The page in front; none when the browser has no page, or does not run.
    pub async fn front_page(&self) -> Option<Target> {
        let pages = self.pages().await.ok()?;
        if pages.len() < 2 {
            return pages.into_iter().next();
        }
        self.front_of(pages).await.ok().map(|page| page.target)
    }

    /// Begins to talk to the page in front.
    ///
    /// # Errors
    ///
    /// The browser has no page, or does not run.
    pub async fn page(&self) -> io::Result<Page> {
        let pages = self.pages().await?;
        self.front_of(pages).await
    }

    /// All pages, the one that was used last first.
    async fn pages(&self) -> io::Result<Vec<Target>> {
        (self.inner.config.wake)();
        let stream = self.inner.config.upstream.open(self.inner.config.patience).await?;
        let body = ask::ask(stream, "GET", "/json/list", &[]).await?.body(MAX_LIST).await?;
        let targets = serde_json::from_slice::<Value>(&body)?;
        let text = |target: &Value, key: &str| target[key].as_str().unwrap_or_default().to_owned();
        let pages = targets.as_array().into_iter().flatten().filter(|target| target["type"] == "page");
        let pages = pages.map(|target| Target {
            url: text(target, "url"),
            title: text(target, "title"),
            id: text(target, "id"),
        });
        // A window of the developer tools is a page too.
        Ok(pages.filter(|page| !page.url.starts_with("devtools://")).take(MAX_PAGES).collect())
    }

    /// The one that can be seen; else the first.
    async fn front_of(&self, pages: Vec<Target>) -> io::Result<Page> {
        let is_alone = pages.len() == 1;
        let mut first = None;
        for target in pages {
            let mut page = self.talk(target).await?;
            if is_alone {
                return Ok(page);
            }
            let seen = page.call("Runtime.evaluate", json!({ "expression": "document.visibilityState" }));
            // One that shows a dialog does not answer.
            match tokio::time::timeout(SAY_WITHIN, seen).await {
                Ok(Ok(answer)) if answer["result"]["value"] == "visible" => return Ok(page),
                _ => {
                    first.get_or_insert(page);
                }
            }
        }
        first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the browser has no page open"))
    }

    async fn talk(&self, target: Target) -> io::Result<Page> {
        let stream = self.inner.config.upstream.connect().await?;
        let socket = first_page::open(stream, &format!("/devtools/page/{}", target.id)).await?;
        Ok(Page { target, socket, last: 0 })
    }
}

/// Why a request is not to be answered that a web page elsewhere may have made: its host is not allowed, or its origin.
#[must_use]
pub fn refuse_foreign(headers: &HeaderMap, uri: &Uri, hosts: &[String], origins: &[String]) -> Option<Response> {
    guard::check(headers, uri, hosts, origins).err().map(IntoResponse::into_response)
}
