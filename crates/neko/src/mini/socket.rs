//! Pictures over a WebSocket: the whole screen as JPEG after every change, only as fast as the client takes them.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{
        Query, State as Extract, WebSocketUpgrade,
        ws::{Message, Utf8Bytes, WebSocket},
    },
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use glasshouse_media::Still;
use serde::Deserialize;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use super::{Hands, WAY, event::MAX_EVENT, viewer::refuse};
use crate::{Guest, Server};

/// Time between pings, and after how long without an answer to any a client is gone, as in the original.
const PING: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(60);
/// Pictures on their way. One is sent when the client has answered the ping behind the one before the last, which every browser
/// does by itself: what is not taken in time is left out, instead of waiting in buffers.
const ON_THEIR_WAY: u64 = 2;

#[derive(Deserialize)]
pub(super) struct Wanted {
    /// Of a link.
    token: String,
}

/// What the client has answered.
#[derive(Debug, Clone, Copy)]
struct Heard {
    /// Number of the last picture whose ping it answered.
    picture: u64,
    /// When it answered any.
    at: Instant,
}

pub(super) async fn upgrade(
    Extract(server): Extract<Server>,
    Query(wanted): Query<Wanted>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let guest = match server.guest(Some(&wanted.token), WAY) {
        Ok(guest) => guest,
        Err(error) => return refuse(error),
    };
    let upgrade = upgrade.max_message_size(4 * MAX_EVENT).max_frame_size(4 * MAX_EVENT);
    upgrade.on_upgrade(move |socket| serve(server, guest, socket))
}

async fn serve(server: Server, mut guest: Guest, socket: WebSocket) {
    let inner = &*server.inner;
    let session = guest.id().to_owned();
    inner.with(|state, _| state.hands.insert(session.clone(), Hands::default()));
    guest.wake();
    let (latest, pictures) = watch::channel(None::<Arc<Still>>);
    let latest = Arc::new(latest);
    let sink = {
        let latest = latest.clone();
        move |still: &Arc<Still>| drop(latest.send_replace(Some(still.clone())))
    };
    let _stills = inner.video.get().map(|video| video.stills(Arc::new(sink)));
    let (heard, is_heard) = watch::channel(Heard { picture: 0, at: Instant::now() });
    let (sender, receiver) = socket.split();
    tokio::select! {
        () = read(&server, &session, receiver, &heard) => {}
        () = write(sender, pictures, is_heard.clone()) => {}
        () = silence(is_heard) => {}
        () = async { while guest.may_watch().is_ok() { guest.changed().await } } => {}
    }
}

/// Reads until the client goes.
async fn read(server: &Server, session: &str, mut from: SplitStream<WebSocket>, heard: &watch::Sender<Heard>) {
    while let Some(Ok(message)) = from.next().await {
        match message {
            Message::Text(text) => server.mini_message(session, text.as_bytes()),
            Message::Pong(number) => heard.send_modify(|heard| {
                heard.at = Instant::now();
                if let Ok(number) = number[..].try_into() {
                    // One that was never sent would only harm the client itself.
                    heard.picture = heard.picture.max(u64::from_be_bytes(number));
                }
            }),
            Message::Close(_) => return,
            Message::Binary(_) | Message::Ping(_) => {}
        }
    }
}

/// Ends when the client has answered no ping for too long.
async fn silence(heard: watch::Receiver<Heard>) {
    loop {
        let until = heard.borrow().at + SILENCE;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// Sends pictures and pings until the client is gone.
async fn write(
    mut to: SplitSink<WebSocket, Message>,
    mut pictures: watch::Receiver<Option<Arc<Still>>>,
    mut heard: watch::Receiver<Heard>,
) {
    let mut ping = interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0u64;
    loop {
        let may_send = sent < heard.borrow_and_update().picture.saturating_add(ON_THEIR_WAY);
        let done = tokio::select! {
            changed = pictures.changed(), if may_send => {
                // The sender is kept for as long as we run.
                if changed.is_err() {
                    return;
                }
                let Some(still) = pictures.borrow_and_update().clone() else { continue };
                sent += 1;
                match to.send(Message::Text(frame(&still))).await {
                    Ok(()) => to.send(Message::Ping(Bytes::copy_from_slice(&sent.to_be_bytes()))).await,
                    failed => failed,
                }
            }
            heard = heard.changed() => match heard {
                Ok(()) => continue,
                Err(_) => return,
            },
            _ = ping.tick() => to.send(Message::Ping(Bytes::new())).await,
        };
        if done.is_err() {
            return;
        }
    }
}

/// `{"type":"frame","data":…}`; base64 needs no escaping.
fn frame(still: &Still) -> Utf8Bytes {
    const START: &str = r#"{"type":"frame","data":""#;
    const END: &str = r#""}"#;
    let mut text = String::with_capacity(START.len() + still.jpeg.len().div_ceil(3) * 4 + END.len());
    text.push_str(START);
    STANDARD.encode_string(&still.jpeg, &mut text);
    text.push_str(END);
    text.into()
}
