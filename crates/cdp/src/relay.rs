//! One client and its stream to the browser, byte for byte.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::mpsc,
};

use crate::{
    Policy, Stream,
    filter::Filter,
    frame::{self, CLOSE, TEXT, Tracker},
};

/// Bytes that are read at once from the browser, and from the client.
const BUFFER: usize = 64 * 1024;
/// Bytes of a client that are judged at once.
const PIECE: usize = 16 * 1024;
/// Answers of ours that wait until the client has read what came before.
const MAX_ORDERS: usize = 16;
/// How long a client may take to hear that it is over.
const FAREWELL: Duration = Duration::from_secs(2);

/// Close codes of RFC 6455, section 7.4.1, and the IANA registry.
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const GOING_AWAY: u16 = 1001;
const SERVICE_RESTART: u16 = 1012;

/// What a browser that goes without a word means: Chromium does not say goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// On its own WebSocket.
    BrowserEnded,
    /// On that of a page.
    TargetEnded,
}

impl Silence {
    fn close(self) -> (u16, &'static str) {
        match self {
            Self::BrowserEnded => (SERVICE_RESTART, "the browser ended or starts again: connect again"),
            Self::TargetEnded => (GOING_AWAY, "the page was closed or the browser ended: see /json/list"),
        }
    }
}

/// What is put in between the browser's messages.
enum Order {
    Say(String),
    Close(u16, String),
}

/// Copies both ways until one side ends. `early` is what came from the browser with its handshake. `wake` is called
/// whenever the client has sent something. `end` is called twice; each future ends, with a close code and a reason, when
/// the connection has to.
pub(crate) async fn relay<F: Future<Output = (u16, &'static str)>>(
    client: impl Stream,
    browser: Box<dyn Stream>,
    early: &[u8],
    policy: Arc<Policy>,
    silence: Silence,
    wake: impl Fn(),
    end: impl Fn() -> F,
) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (from_browser, to_browser) = tokio::io::split(browser);
    let (orders, ordered) = mpsc::channel(MAX_ORDERS);
    let is_leaving = AtomicBool::new(false);
    let filter = (!policy.is_everything()).then(|| Filter::new(policy));
    let told = {
        let up = up(&mut from_client, to_browser, filter, orders, (&is_leaving, wake));
        let down = down(from_browser, &mut to_client, early, ordered, (&is_leaving, silence), end());
        let patience = async {
            end().await;
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            () = up => false,
            told = down => told.is_ok(),
            () = patience => false,
        }
    };
    if told {
        // What the client still sends must be read, or the system resets the connection and the reason is lost.
        let linger = async {
            let _ = to_client.shutdown().await;
            let mut sink = [0; 4 * 1024];
            while from_client.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        };
        let _ = tokio::time::timeout(FAREWELL, linger).await;
    }
}

/// From the client to the browser. Ends when the client is gone.
async fn up<C: AsyncRead>(
    client: &mut ReadHalf<C>,
    mut browser: impl AsyncWrite + Unpin,
    mut filter: Option<Filter>,
    orders: mpsc::Sender<Order>,
    (is_leaving, wake): (&AtomicBool, impl Fn()),
) {
    let mut buffer = vec![0; BUFFER].into_boxed_slice();
    let (mut out, mut replies) = (Vec::new(), Vec::new());
    let mut tracker = Tracker::default();
    let mut is_over = false;
    loop {
        let read = match client.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        if is_over {
            continue;
        }
        wake();
        let bytes = &buffer[..read];
        if !tracker.is_closed() {
            tracker.follow(bytes);
            is_leaving.store(tracker.is_closed(), Ordering::Relaxed);
        }
        let Some(filter) = &mut filter else {
            // That the browser is gone is seen by the other direction, which says so.
            is_over |= browser.write_all(bytes).await.is_err();
            continue;
        };
        // Small pieces bound what is said about them at once.
        for piece in bytes.chunks(PIECE) {
            if let Err(malformed) = filter.feed(piece, &mut out, &mut replies) {
                is_over = true;
                // Fails only when the other direction is over.
                let _ = orders.send(Order::Close(PROTOCOL_ERROR, malformed.0.into())).await;
                break;
            }
            is_over |= browser.write_all(&out).await.is_err();
            out.clear();
            for reply in replies.drain(..) {
                is_over |= reply.ends;
                let _ = orders.send(Order::Say(reply.text)).await;
                if reply.ends {
                    let _ = orders.send(Order::Close(NORMAL, String::new())).await;
                }
            }
            if is_over {
                break;
            }
        }
    }
}

/// From the browser to the client, and what we say ourselves. An error is the client's.
async fn down<B: AsyncRead, C: AsyncWrite>(
    mut browser: ReadHalf<B>,
    client: &mut WriteHalf<C>,
    early: &[u8],
    mut orders: mpsc::Receiver<Order>,
    (is_leaving, silence): (&AtomicBool, Silence),
    end: impl Future<Output = (u16, &'static str)>,
) -> std::io::Result<()> {
    tokio::pin!(end);
    let mut buffer = vec![0; BUFFER].into_boxed_slice();
    let mut tracker = Tracker::default();
    // Whole frames of ours, which wait for the end of the browser's message.
    let mut ours = Vec::new();
    let mut close: Option<(u16, String)> = None;
    tracker.follow(early);
    client.write_all(early).await?;
    loop {
        if !ours.is_empty() && tracker.is_between_messages() {
            client.write_all(&ours).await?;
            ours.clear();
        }
        if let Some((code, reason)) = &close
            && ours.is_empty()
            && tracker.is_between_frames()
        {
            return say_goodbye(client, *code, reason).await;
        }
        tokio::select! {
            biased;
            (code, reason) = &mut end, if close.is_none() => {
                // What is half said stays so.
                ours.clear();
                close = Some((code, reason.to_owned()));
            }
            Some(order) = orders.recv(), if ours.is_empty() && close.is_none() => match order {
                Order::Say(text) => frame::put(&mut ours, TEXT, text.as_bytes()),
                Order::Close(code, reason) => close = Some((code, reason)),
            },
            read = browser.read(&mut buffer) => {
                let Some(read) = read.ok().filter(|read| *read > 0) else {
                    return match close {
                        _ if !tracker.is_between_frames() => Ok(()),
                        Some((code, reason)) => say_goodbye(client, code, &reason).await,
                        // Chromium does not answer a Close.
                        None if is_leaving.load(Ordering::Relaxed) => say_goodbye(client, NORMAL, "").await,
                        None => {
                            let (code, reason) = silence.close();
                            say_goodbye(client, code, reason).await
                        }
                    };
                };
                let bytes = &buffer[..read];
                let place = tracker.follow(bytes);
                if let Some(place) = place.filter(|_| !ours.is_empty()) {
                    let (before, after) = bytes.split_at(place);
                    client.write_all(before).await?;
                    client.write_all(&ours).await?;
                    ours.clear();
                    client.write_all(after).await?;
                } else {
                    client.write_all(bytes).await?;
                }
            }
        }
    }
}

async fn say_goodbye(client: &mut (impl AsyncWrite + Unpin), code: u16, reason: &str) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    frame::put(&mut bytes, CLOSE, &frame::close_payload(code, reason));
    client.write_all(&bytes).await
}

#[cfg(test)]
mod tests;
