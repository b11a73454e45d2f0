//! Mini-Browser-Isolation's runner: answers a viewer's own offer, sends pictures over a WebSocket, and takes input events.
//!
//! Whoever comes this way is a guest of the room, let in by a link, and bound by the room's rules.

pub mod event;
mod hands;
pub mod keys;
mod socket;
mod viewer;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

pub(crate) use hands::Hands;

use crate::Server;

/// How these guests are called in the room.
const WAY: &str = "Viewer";
/// Largest body in bytes: an offer of 64 KiB, escaped.
const MAX_BODY: usize = 256 * 1024;

impl Server {
    /// Routes for the server that has started this session, which passes on what its clients send: `/offer`, `/leave` and `/ws`.
    /// A request needs a `ConnectInfo<Peer>` extension.
    pub fn mini_browser_router(&self) -> Router {
        Router::new()
            .route("/offer", post(viewer::offer))
            .route("/leave", post(viewer::leave))
            .route("/ws", get(socket::upgrade))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self.clone())
    }
}
