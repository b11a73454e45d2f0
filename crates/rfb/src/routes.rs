//! Who is let in by which path.

use std::time::Duration;

use axum::{
    extract::{FromRequestParts, Request, WebSocketUpgrade},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{Rfb, origin, relay, seam::Refusal};

/// How long the display may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest WebSocket message of a client in bytes: clients send theirs in small ones.
const MAX_MESSAGE: usize = 512 * 1024;

impl Rfb {
    /// Whether a path is ours: websockify's, and the one that noVNC's page asks for when it is in a folder of its own.
    #[must_use]
    pub fn has(path: &str) -> bool {
        matches!(path, "/websockify" | "/websockify/" | "/novnc/websockify")
    }

    /// Answers a request for a path that it [has](Self::has).
    pub async fn answer(&self, request: Request) -> Response {
        let (mut parts, _) = request.into_parts();
        let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => upgrade,
            Err(_) => {
                return refuse(
                    StatusCode::UPGRADE_REQUIRED,
                    "this is a WebSocket that speaks RFB, for noVNC and others",
                );
            }
        };
        let config = &self.shared.config;
        if !origin::is_allowed(&parts.headers, &parts.uri, &config.allowed_origins) {
            return refuse(
                StatusCode::FORBIDDEN,
                "pages of this origin may not connect: allow it, or use our own page",
            );
        }
        let token = origin::token_of(&parts.headers, &parts.uri);
        let viewer = match config.door.admit(token.as_deref()) {
            Ok(viewer) => viewer,
            Err(Refusal::Unknown) => {
                let text = "a token is needed: ?token=TOKEN in the address, or Authorization: Bearer TOKEN";
                return refuse(StatusCode::UNAUTHORIZED, text);
            }
            Err(Refusal::Forbidden(text)) => return refuse(StatusCode::FORBIDDEN, text),
        };
        let closing = self.shared.closing.subscribe();
        let Some(place) = self.shared.places.clone().try_acquire_owned().ok().filter(|_| !*closing.borrow()) else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many VNC clients at once: close some");
        };
        let display = match tokio::time::timeout(CONNECT, config.door.connect()).await {
            Ok(Ok(display)) => display,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the display's RFB server cannot be reached");
                return refuse(StatusCode::BAD_GATEWAY, "the display cannot be reached: it may be starting, try again");
            }
            Err(_) => return refuse(StatusCode::GATEWAY_TIMEOUT, "the display does not answer"),
        };
        // noVNC asks for no protocol; websockify's older clients for this one.
        let upgrade = upgrade.protocols(["binary"]).max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
        upgrade.on_upgrade(move |socket| async move {
            relay::run(socket, viewer, display, closing).await;
            drop(place);
        })
    }
}

fn refuse(status: StatusCode, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, format!("{text}\n")).into_response()
}
