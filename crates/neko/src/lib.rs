//! neko v3 on the wire: REST, `/api/ws` and the binary data channel, and our own events beside them.

use std::{net::SocketAddr, sync::Arc};

use glasshouse_desktop::Desktop;
use glasshouse_webrtc::Engine;

/// How people log in.
#[derive(Debug, Clone)]
pub enum Provider {
    /// Any name with the user's or the admin's password.
    Multiuser {
        /// Gives the user profile.
        user_password: String,
        /// Gives the admin profile.
        admin_password: String,
    },
    /// Anybody, as admin.
    NoAuth,
}

/// Settings of the neko front.
#[derive(Debug, Clone)]
pub struct Config {
    /// How people log in.
    pub provider: Provider,
    /// Initial room settings.
    pub settings: glasshouse_room::Settings,
    /// Prefix of every route, such as `/`.
    pub path_prefix: String,
    /// Origins that other sites' pages may call from; empty: same origin only.
    pub cors: Vec<String>,
    /// Host names that requests may be addressed to besides loopback names and IP addresses (DNS rebinding).
    pub allowed_hosts: Vec<String>,
    /// Token that acts as neko's `session.api_token`, if any.
    pub api_token: Option<String>,
    /// ICE servers told to viewers.
    pub ice_servers: Vec<serde_json::Value>,
}

/// The room of one session on the wire; owns the room's state and the tasks of its members.
#[derive(Clone)]
pub struct Server {}

impl Server {
    /// Makes the room of a desktop. Feed it the desktop's and the engine's events.
    pub fn new(_config: Config, _desktop: Arc<Desktop>, _engine: Engine) -> Self {
        unimplemented!()
    }

    /// Makes a one-time token that logs in as admin; valid once, for ten minutes.
    pub fn one_time_admin_token(&self) -> String {
        unimplemented!()
    }

    /// What happened on the desktop. Never blocks.
    pub fn desktop_event(&self, _event: glasshouse_desktop::Event) {}

    /// What happened to a viewer. Never blocks.
    pub fn viewer_event(&self, _event: glasshouse_webrtc::Event) {}

    /// Routes under `/api`, `/health`, `/healthz`, `/metrics`. To be served with `into_make_service_with_connect_info::<Peer>()`.
    pub fn router(&self) -> axum::Router {
        unimplemented!()
    }

    /// Tells every member that the server goes (`connection shutdown`) and closes their sockets.
    pub async fn shutdown(&self) {}
}

/// Addresses of a connection, for candidates and logs.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The client's.
    pub remote: SocketAddr,
    /// Ours, that the client connected to.
    pub local: SocketAddr,
}

/// Makes a password of 16 characters that are easy to read and to type (80 bits).
///
/// # Errors
/// The system has no randomness.
pub fn random_password() -> std::io::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect())
}
