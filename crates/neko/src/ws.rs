//! `/api/ws`: one task per WebSocket.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{
    extract::{
        State as Extract, WebSocketUpgrade,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket},
    },
    http::{HeaderMap, HeaderValue, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use glasshouse_room::ConnectionId;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use crate::{
    Peer, Server, auth,
    auth::Identity,
    core::Connection,
    events, guard, outbox,
    outbox::{Item, Outgoing},
    rest::{ApiError, PeerOf},
    wire,
};

/// Time between heartbeats and pings (neko; its clients give up after 12.5 s of silence).
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A client that has not sent anything, pongs included, for this long is gone.
const SILENCE: Duration = Duration::from_secs(25);
/// How long the last words to a client may take.
const FAREWELL: Duration = Duration::from_secs(2);

const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const TOO_BIG: u16 = 1009;

/// Why the reading half ended.
enum Ended {
    /// The client said so.
    OnPurpose,
    Lost,
    TooBig,
}

/// Upgrades a request. Whom it belongs to is found out after that, as neko does, so that the client hears why it is refused.
pub(crate) async fn upgrade(
    Extract(server): Extract<Server>,
    PeerOf(peer): PeerOf,
    headers: HeaderMap,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let refuse = |kind| {
        server.inner.metrics.reject(kind);
        ApiError::status(StatusCode::BAD_REQUEST).into_response()
    };
    let Ok(mut upgrade) = upgrade else { return refuse("upgrade") };
    if !guard::is_origin_allowed(&headers, guard::host_of(&headers, &uri), &server.inner.config.cors) {
        return refuse("origin");
    }
    if upgrade.requested_protocols().any(|protocol| protocol == "glasshouse") {
        upgrade.set_selected_protocol(HeaderValue::from_static("glasshouse"));
    }
    let token = auth::token_of(&headers, &uri);
    let glasshouse = auth::query_value(uri.query().unwrap_or_default(), "glasshouse").as_deref() == Some("1");
    upgrade.max_message_size(events::MAX_MESSAGE).max_frame_size(events::MAX_MESSAGE).on_upgrade(
        move |socket| async move {
            let _running = Running::new(&server);
            serve(&server, socket, peer, token, glasshouse).await;
        },
    )
}

/// Counts a connection's task for as long as it runs.
pub(crate) struct Running(Server);

impl Running {
    pub(crate) fn new(server: &Server) -> Self {
        server.inner.running.fetch_add(1, Ordering::AcqRel);
        Self(server.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.inner.running.fetch_sub(1, Ordering::AcqRel);
        self.0.inner.connection_ended.notify_waiters();
    }
}

async fn serve(server: &Server, mut socket: WebSocket, peer: Peer, token: Option<String>, glasshouse: bool) {
    let inner = &*server.inner;
    let (id, mut outgoing, mut alive) = match connect(server, token, glasshouse) {
        Ok(connected) => connected,
        Err(reason) => {
            inner.metrics.reject("connect");
            let farewell = async {
                socket.send(Message::Text(wire::disconnect(reason))).await?;
                socket.send(close(NORMAL, reason)).await
            };
            // It may be gone already.
            let _ = timeout(FAREWELL, farewell).await;
            return;
        }
    };
    inner.metrics.connections.inc();
    let (mut sink, mut stream) = socket.split();
    let ended = tokio::select! {
        ended = read(server, id, peer, &mut stream) => ended,
        () = write(&mut sink, &mut outgoing) => Ended::Lost,
        // The room let go of the connection: it was too slow.
        _ = alive.changed() => Ended::Lost,
    };
    inner.with(|state, now| {
        if let Some(connection) = state.connections.remove(&id) {
            state.room.connection_closed(&connection.session, id, matches!(ended, Ended::OnPurpose), now);
            let has_viewer = state.viewer_of.contains_key(&connection.session);
            if !has_viewer && state.room.is_host(&connection.session) {
                // Nothing can come from it any more that would release its keys.
                inner.desk.input(glasshouse_desktop::Input::ReleaseAll);
            }
        }
    });
    if let Ended::TooBig = ended {
        inner.metrics.reject("too_big");
        let _ = timeout(FAREWELL, sink.send(close(TOO_BIG, "message is larger than 2 MiB"))).await;
    }
}

type Connected = (ConnectionId, Outgoing, watch::Receiver<()>);

fn connect(server: &Server, token: Option<String>, glasshouse: bool) -> Result<Connected, &'static str> {
    let token = token.ok_or("no authentication provided")?;
    let identity = server.inner.auth.lock().identify(&token);
    let session = match identity {
        None => return Err("session not found"),
        Some(Identity::Api) => return Err("connection disabled"),
        Some(Identity::Session(session)) => session,
    };
    let (outbox, outgoing) = outbox::channel();
    let (alive, is_alive) = watch::channel(());
    server.inner.with(|state, now| {
        if state.is_shut {
            return Err("connection shutdown");
        }
        let id = ConnectionId(state.next_id());
        let connection = Connection { session: session.clone(), outbox, glasshouse, stats: false, alive };
        state.connections.insert(id, connection);
        if let Err(error) = state.room.connect(&session, id, glasshouse, now) {
            state.connections.remove(&id);
            return Err(error.reason());
        }
        Ok((id, outgoing, is_alive))
    })
}

fn close(code: u16, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }))
}

/// Reads until the client goes. Messages are handled one after the other.
async fn read(server: &Server, id: ConnectionId, peer: Peer, stream: &mut SplitStream<WebSocket>) -> Ended {
    loop {
        let message = match timeout(SILENCE, stream.next()).await {
            Err(_) | Ok(None) => return Ended::Lost,
            Ok(Some(Ok(message))) => message,
            // The type of the error is the library's own; this is how it says that a limit was passed.
            Ok(Some(Err(error))) if error.to_string().contains("too long") => return Ended::TooBig,
            Ok(Some(Err(_))) => return Ended::Lost,
        };
        match message {
            Message::Text(text) => server.client_message(id, peer, &text).await,
            Message::Binary(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => server.client_message(id, peer, text).await,
                Err(_) => server.inner.metrics.reject("websocket"),
            },
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(frame) => {
                let code = frame.map(|frame| frame.code);
                return if matches!(code, Some(NORMAL | GOING_AWAY)) { Ended::OnPurpose } else { Ended::Lost };
            }
        }
    }
}

/// Writes what is queued, and heartbeats, until the room closes the connection or the client is gone.
async fn write(sink: &mut SplitSink<WebSocket, Message>, outgoing: &mut Outgoing) {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            biased;
            item = outgoing.next() => match item {
                Some(Item::Text(text)) => sink.send(Message::Text(text)).await,
                Some(Item::Close(reason, _alive)) => {
                    let farewell = async {
                        sink.send(Message::Text(wire::disconnect(reason))).await?;
                        sink.send(close(NORMAL, reason)).await
                    };
                    let _ = timeout(FAREWELL, farewell).await;
                    return;
                }
                None => return,
            },
            _ = heartbeat.tick() => match sink.send(Message::Text(wire::heartbeat())).await {
                Ok(()) => sink.send(Message::Ping(bytes::Bytes::new())).await,
                failed => failed,
            },
        };
        if sent.is_err() {
            return;
        }
    }
}
