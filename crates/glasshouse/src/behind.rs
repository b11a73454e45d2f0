//! A session behind a gateway: HTTP on a socket that only the gateway reaches, and no port at all.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{map_request, map_request_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use glasshouse_desktop::Desktop;
use glasshouse_fleet::Managed;
use glasshouse_neko::{Peer, Server};
use glasshouse_webrtc::{Engine, SharedPort};
use parking_lot::Mutex;
use tokio::{net::UnixListener, task::JoinHandle};

use crate::{claim::Claimed, glance};

/// Serves a session's routes on its socket until it is dropped.
pub(crate) struct Socket {
    serving: JoinHandle<()>,
}

impl Socket {
    /// Listens and says that the session is ready.
    ///
    /// # Errors
    /// The directory of the session is gone.
    pub(crate) fn serve(
        managed: &Managed,
        routes: Router,
        desktop: Arc<Desktop>,
        server: Server,
        engine: Engine,
        claimed: Claimed,
    ) -> io::Result<Self> {
        let listener = UnixListener::bind(managed.socket())?;
        let media = Arc::new(MediaPort { engine, last: Mutex::default() });
        let known = |routes: Router| {
            routes.layer(map_request(name_peer)).layer(map_request_with_state(media.clone(), note_media))
        };
        let mini = known(server.mini_browser_router());
        // No path of a client's reaches these: the gateway puts the session's own before all of them.
        let ours = Router::new()
            .route("/managed/thaw", post(thaw))
            .route("/managed/frozen", get(frozen))
            .with_state(desktop.clone())
            .merge(glance::routes(desktop, server))
            .merge(claimed.routes())
            .nest("/managed/mini-browser-isolation", mini);
        let app = ours.fallback_service(known(routes));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the session's socket failed");
            }
        });
        managed.ready()?;
        Ok(Self { serving })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The gateway says who asks.
async fn name_peer(mut request: Request) -> Request {
    let peer = Peer {
        remote: address(request.headers(), "x-glasshouse-remote"),
        local: address(request.headers(), "x-glasshouse-local"),
    };
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

/// Where viewers reach the session, which another server may say otherwise.
struct MediaPort {
    engine: Engine,
    last: Mutex<Option<SharedPort>>,
}

async fn note_media(State(media): State<Arc<MediaPort>>, request: Request) -> Request {
    let said = request.headers().get("x-glasshouse-media").and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(port) = said {
        let mut last = media.last.lock();
        if last.replace(port) != Some(port) {
            media.engine.announce(port);
        }
    }
    request
}

fn address(headers: &HeaderMap, name: &str) -> SocketAddr {
    let address = headers.get(name).and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    // The server itself, when it asks in its own name.
    SocketAddr::new(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), 0)
}

async fn thaw(State(desktop): State<Arc<Desktop>>) -> Response {
    match desktop.thaw().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::CONFLICT, error.to_string()).into_response(),
    }
}

async fn frozen(State(desktop): State<Arc<Desktop>>) -> Json<bool> {
    Json(desktop.is_asleep())
}
