//! One client, from its first word to its last.

use std::{io, pin::pin, time::Duration};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::{Bytes, BytesMut};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use crate::{client, gate::Gate, seam::Viewer};

/// Bytes that are read from the display at once.
const CHUNK: usize = 64 * 1024;
/// How long one chunk may take to a client that does not read.
const UNREAD: Duration = Duration::from_secs(60);
/// Between two pings, which keep proxies awake and find clients that are gone.
const PING: Duration = Duration::from_secs(20);
/// A client that has said nothing for so long, pongs included, is gone.
const SILENCE: Duration = Duration::from_secs(70);
/// How long a display may be busy before it is taken to be asleep.
const BUSY: Duration = Duration::from_secs(1);
/// How long it may not read at all.
const STUCK: Duration = Duration::from_secs(60);
/// How long the last words to a client may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Codes of RFC 6455, section 7.4.1.
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED: u16 = 1003;
const POLICY: u16 = 1008;

/// Why a connection ends.
enum End {
    /// The client is gone: there is nobody to tell.
    Gone,
    Left,
    NoDisplay,
    NotBinary,
    Wrong(client::Error),
    NotAllowed(&'static str),
    Stopping,
}

impl End {
    fn frame(&self) -> Option<(u16, String)> {
        Some(match self {
            Self::Gone => return None,
            Self::Left => (NORMAL, String::new()),
            Self::NoDisplay => (GOING_AWAY, "the display has gone".into()),
            Self::NotBinary => (UNSUPPORTED, "RFB is sent in binary messages".into()),
            Self::Wrong(error) => (PROTOCOL_ERROR, error.to_string()),
            Self::NotAllowed(why) => (POLICY, (*why).to_owned()),
            Self::Stopping => (GOING_AWAY, "the session ends".into()),
        })
    }
}

/// Passes on what both sides say until one of them ends, the viewer may not watch any more, or all is to end.
pub(crate) async fn run(
    socket: WebSocket,
    mut viewer: Box<dyn Viewer>,
    display: UnixStream,
    mut closing: watch::Receiver<bool>,
) {
    let (mut sink, mut source) = socket.split();
    let (mut from_display, mut to_display) = display.into_split();
    let end = tokio::select! {
        end = down(&mut from_display, &mut sink) => end,
        end = up(&mut source, &mut to_display, &mut *viewer) => end,
        _ = closing.wait_for(|is_closing| *is_closing) => End::Stopping,
    };
    // Before the words to the client, which may take their time: nobody watches any more, and what is down is let go of.
    drop((from_display, to_display, viewer));
    if let Some((code, reason)) = end.frame() {
        tracing::debug!(code, reason, "a VNC connection ends");
        let frame = CloseFrame { code, reason: Utf8Bytes::from(reason) };
        let _ = timeout(FAREWELL, sink.send(Message::Close(Some(frame)))).await;
    }
}

/// From the display to the client, no faster than the client reads.
async fn down(display: &mut OwnedReadHalf, sink: &mut SplitSink<WebSocket, Message>) -> End {
    let mut ping = interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = BytesMut::new();
    loop {
        // What was sent before is given back by then, so that this takes the same memory again.
        buffer.reserve(CHUNK);
        let message = tokio::select! {
            read = display.read_buf(&mut buffer) => match read {
                Ok(1..) => Message::Binary(buffer.split().freeze()),
                Ok(0) | Err(_) => return End::NoDisplay,
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        match timeout(UNREAD, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return End::Gone,
        }
    }
}

/// From the client through the gate to the display.
async fn up(source: &mut SplitStream<WebSocket>, display: &mut OwnedWriteHalf, viewer: &mut dyn Viewer) -> End {
    let (mut gate, mut out) = (Gate::default(), Vec::new());
    let mut heard = Instant::now();
    loop {
        out.clear();
        let message = tokio::select! {
            message = source.next() => Some(message),
            () = viewer.changed() => None,
            () = tokio::time::sleep_until(heard + SILENCE) => return End::Gone,
        };
        if let Err(why) = viewer.may_watch() {
            return End::NotAllowed(why);
        }
        match message {
            None if viewer.has_control() => {}
            None => gate.release(&mut out),
            Some(message) => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Binary(bytes))) => {
                        if let Err(error) = gate.pass(&bytes, viewer, &mut out) {
                            return End::Wrong(error);
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Text(_))) => return End::NotBinary,
                    Some(Ok(Message::Close(_))) => return End::Left,
                    Some(Err(_)) | None => return End::Gone,
                }
            }
        }
        if !out.is_empty() && write(display, &out, viewer).await.is_err() {
            return End::NoDisplay;
        }
    }
}

/// Writes all of it. A display that does not read may be asleep, and is then woken: nothing may wait for it for ever.
async fn write(display: &mut OwnedWriteHalf, bytes: &[u8], viewer: &mut dyn Viewer) -> io::Result<()> {
    let since = Instant::now();
    let mut writing = pin!(display.write_all(bytes));
    loop {
        tokio::select! {
            written = &mut writing => return written,
            () = sleep(BUSY) => viewer.wake(),
        }
        if since.elapsed() > STUCK {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}
