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
    rider::Rider,
};

/// Bytes that are read at once from the browser, and from the client.
const BUFFER: usize = 64 * 1024;
/// Bytes of a client that are judged at once.
const PIECE: usize = 16 * 1024;
/// Answers of ours that wait until the client has read what came before.
const MAX_ORDERS: usize = 16;
/// Bytes of a client that are read at once while one of its messages waits.
const AHEAD: usize = 4 * 1024;
/// How long calls are counted before they are told.
const NOTES: Duration = Duration::from_secs(1);
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
/// the connection has to. A message of the `rider`'s that acts is held back until it may, and with it all that its client sends.
pub(crate) async fn relay<F: Future<Output = (u16, &'static str)>>(
    client: impl Stream,
    browser: Box<dyn Stream>,
    early: &[u8],
    (policy, rider): (Arc<Policy>, Option<Arc<Rider>>),
    silence: Silence,
    wake: impl Fn(),
    end: impl Fn() -> F,
) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (from_browser, to_browser) = tokio::io::split(browser);
    let (orders, ordered) = mpsc::channel(MAX_ORDERS);
    let is_leaving = AtomicBool::new(false);
    let is_judged = !policy.is_everything() || rider.is_some();
    let filter = is_judged.then(|| Filter::with_rider(policy, rider.clone()));
    let told = {
        let up = up(&mut from_client, to_browser, (filter, rider.as_deref()), orders, (&is_leaving, wake));
        let down = down(from_browser, &mut to_client, early, ordered, (&is_leaving, silence, rider.as_deref()), end());
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
    (mut filter, rider): (Option<Filter>, Option<&Rider>),
    orders: mpsc::Sender<Order>,
    (is_leaving, wake): (&AtomicBool, impl Fn()),
) {
    let mut buffer = vec![0; BUFFER].into_boxed_slice();
    let (mut out, mut replies) = (Vec::new(), Vec::new());
    let mut tracker = Tracker::default();
    let mut is_over = false;
    // What came while a message waited.
    let mut ahead = Vec::new();
    let (telling, mut is_telling) = (tokio::time::sleep(NOTES), false);
    tokio::pin!(telling);
    loop {
        let read = if ahead.is_empty() {
            let read = tokio::select! {
                biased;
                () = &mut telling, if is_telling => {
                    is_telling = false;
                    if let Some(filter) = &mut filter {
                        filter.tell();
                    }
                    continue;
                }
                read = client.read(&mut buffer) => read,
            };
            let Some(read) = read.ok().filter(|read| *read > 0) else { return };
            if !tracker.is_closed() {
                tracker.follow(&buffer[..read]);
                is_leaving.store(tracker.is_closed(), Ordering::Relaxed);
            }
            read
        } else {
            let read = ahead.len();
            buffer[..read].copy_from_slice(&ahead);
            ahead = Vec::new();
            read
        };
        if is_over {
            continue;
        }
        wake();
        let bytes = &buffer[..read];
        let Some(filter) = &mut filter else {
            // That the browser is gone is seen by the other direction, which says so.
            is_over |= browser.write_all(bytes).await.is_err();
            continue;
        };
        // Small pieces bound what is said about them at once.
        let mut pieces = bytes.chunks(PIECE);
        let mut piece = pieces.next();
        while let Some(now) = piece {
            let left = match filter.feed(now, &mut out, &mut replies) {
                Ok(left) => left,
                Err(malformed) => {
                    is_over = true;
                    // Fails only when the other direction is over.
                    let _ = orders.send(Order::Close(PROTOCOL_ERROR, malformed.0.into())).await;
                    break;
                }
            };
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
            if let Some(rider) = rider.filter(|_| filter.waits()) {
                let turn = tokio::select! {
                    turn = rider.seat.turn() => turn,
                    left = read_ahead(client, &mut ahead, &mut tracker) => match left {
                        Left::Gone => return,
                        Left::Closing => Err("its client is leaving".into()),
                    },
                };
                is_leaving.store(tracker.is_closed(), Ordering::Relaxed);
                wake();
                filter.decide(turn, &mut out);
                piece = Some(&now[now.len() - left..]);
            } else {
                piece = pieces.next();
            }
        }
        if !is_telling && filter.has_notes() {
            is_telling = true;
            telling.as_mut().reset(tokio::time::Instant::now() + NOTES);
        }
    }
}

/// How a client leaves.
enum Left {
    /// Without a word.
    Gone,
    /// It has said so.
    Closing,
}

/// Reads what a client sends while one of its messages waits, as much as is read at once otherwise; returns when it leaves.
async fn read_ahead<C: AsyncRead>(client: &mut ReadHalf<C>, ahead: &mut Vec<u8>, tracker: &mut Tracker) -> Left {
    let mut piece = [0; AHEAD];
    loop {
        if tracker.is_closed() {
            return Left::Closing;
        }
        let room = (BUFFER - ahead.len()).min(AHEAD);
        if room == 0 {
            return std::future::pending().await;
        }
        let Some(read) = client.read(&mut piece[..room]).await.ok().filter(|read| *read > 0) else { return Left::Gone };
        tracker.follow(&piece[..read]);
        ahead.extend_from_slice(&piece[..read]);
    }
}

/// From the browser to the client, and what we say ourselves. An error is the client's.
async fn down<B: AsyncRead, C: AsyncWrite>(
    mut browser: ReadHalf<B>,
    client: &mut WriteHalf<C>,
    early: &[u8],
    mut orders: mpsc::Receiver<Order>,
    (is_leaving, silence, rider): (&AtomicBool, Silence, Option<&Rider>),
    end: impl Future<Output = (u16, &'static str)>,
) -> std::io::Result<()> {
    tokio::pin!(end);
    let mut buffer = vec![0; BUFFER].into_boxed_slice();
    let mut tracker = Tracker::default();
    // Whole frames of ours, which wait for the end of the browser's message.
    let mut ours = Vec::new();
    let mut close: Option<(u16, String)> = None;
    let overhear = |text: &[u8]| {
        if let Some(rider) = rider {
            rider.overhears(text);
        }
    };
    tracker.follow_texts(early, overhear);
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
                let place = tracker.follow_texts(bytes, overhear);
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
