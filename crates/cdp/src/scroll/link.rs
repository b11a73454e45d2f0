//! A conversation with the browser in which several questions can be open.

use std::{
    collections::HashMap,
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use futures_util::SinkExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::{Stream, first_page};

/// Pages whose titles are known at most.
const MAX_PAGES: usize = 500;
/// Questions that wait to be sent; there are hardly ever more than three.
pub(super) const MAX_OUT: usize = 16;

/// Our end of it; [`pump`] moves the messages.
pub(super) struct Link {
    out: mpsc::Sender<String>,
    next: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    /// Titles of pages.
    pages: Mutex<HashMap<String, String>>,
}

impl Link {
    pub(super) fn new() -> (Self, mpsc::Receiver<String>) {
        let (out, messages) = mpsc::channel(MAX_OUT);
        (Self { out, next: AtomicU64::new(0), open: Mutex::default(), pages: Mutex::default() }, messages)
    }

    /// Calls a method; its answer comes whenever it does. An error of kind `InvalidData` is the method's own.
    pub(super) async fn call(&self, method: &str, params: Value, session: Option<&str>) -> io::Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let (answer, answered) = oneshot::channel();
        {
            let mut open = self.open.lock();
            open.retain(|_, answer| !answer.is_closed());
            open.insert(id, answer);
        }
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.out.send(message.to_string()).await.map_err(|_| gone())?;
        let mut answer = answered.await.map_err(|_| gone())?;
        match answer.get("error") {
            Some(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
            None => Ok(answer["result"].take()),
        }
    }

    /// The pages, with their titles.
    pub(super) fn pages(&self) -> Vec<(String, String)> {
        self.pages.lock().iter().map(|(id, title)| (id.clone(), title.clone())).collect()
    }

    fn take(&self, mut message: Value) {
        if let Some(id) = message["id"].as_u64() {
            if let Some(answer) = self.open.lock().remove(&id) {
                let _ = answer.send(message);
            }
            return;
        }
        let method = message["method"].take();
        let mut params = message["params"].take();
        match method.as_str() {
            Some("Target.targetCreated" | "Target.targetInfoChanged") => {
                let info = params["targetInfo"].take();
                // A window of the developer tools is a page too.
                let is_page = info["type"] == "page"
                    && info["url"].as_str().is_some_and(|address| !address.starts_with("devtools://"));
                let (Some(id), Some(title)) = (info["targetId"].as_str(), info["title"].as_str()) else { return };
                let mut pages = self.pages.lock();
                if is_page && (pages.len() < MAX_PAGES || pages.contains_key(id)) {
                    pages.insert(id.to_owned(), title.to_owned());
                }
            }
            Some("Target.targetDestroyed") => {
                if let Some(id) = params["targetId"].as_str() {
                    self.pages.lock().remove(id);
                }
            }
            _ => {}
        }
    }
}

/// Moves messages both ways until the browser is gone.
pub(super) async fn pump(
    link: &Link,
    socket: &mut WebSocketStream<Box<dyn Stream>>,
    mut messages: mpsc::Receiver<String>,
) -> io::Error {
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Some(message) = message else { return io::ErrorKind::BrokenPipe.into() };
                if let Err(error) = socket.send(Message::text(message)).await {
                    return io::Error::other(error);
                }
            }
            message = first_page::read(socket) => match message {
                Ok(message) => link.take(message),
                Err(error) => return error,
            },
        }
    }
}
