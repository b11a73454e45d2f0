//! A viewer that makes the offer: its peer connection, and how long it lasts.

use axum::{
    Json,
    body::{Body, Bytes},
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use glasshouse_media::Quality;
use glasshouse_webrtc::{ConnectOptions, VideoChoice, ViewerId};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::{Hands, WAY};
use crate::{Guest, Server, core::Viewer, guest::GuestError, rest::PeerOf};

/// Label of the channel that the page makes for input.
const CHANNEL: &str = "input";

#[derive(Deserialize)]
pub(super) struct Offer {
    sdp: String,
    /// Of a link.
    token: String,
}

#[derive(Deserialize)]
pub(super) struct Leaving {
    guest: String,
}

pub(super) fn refuse(error: GuestError) -> Response {
    let reason = match error {
        GuestError::Unknown => "the link is good no more",
        GuestError::Refused(reason) => reason,
    };
    (StatusCode::FORBIDDEN, reason).into_response()
}

/// Answers an offer: a line of JSON, and nothing more until the viewer is gone. Who does not wait for that ends nothing by it.
pub(super) async fn offer(
    Extract(server): Extract<Server>,
    PeerOf(peer): PeerOf,
    Json(offer): Json<Offer>,
) -> Response {
    let inner = &*server.inner;
    let guest = match server.guest(Some(&offer.token), WAY) {
        Ok(guest) => guest,
        Err(error) => return refuse(error),
    };
    let video = VideoChoice { disabled: false, auto: true, quality: Quality::High, codec: None };
    let id = inner.with(|state, _| {
        let (id, session) = (ViewerId(state.next_id()), guest.id());
        let viewer = Viewer { session: session.into(), choice: video, state: None, audio_disabled: false };
        state.viewers.insert(id, viewer);
        state.viewer_of.insert(session.to_owned(), id);
        state.hands.insert(session.to_owned(), Hands::default());
        id
    });
    // There is no picture for somebody new while it is frozen.
    guest.wake();
    let options = ConnectOptions { request_addr: Some(peer.local.ip()), video, audio_disabled: false };
    let sdp = match inner.media.accept(id, options, offer.sdp, CHANNEL).await {
        Ok(sdp) => sdp,
        Err(error) => {
            inner.metrics.reject("signal");
            // The guest leaves with its viewer, if there is one.
            return (StatusCode::BAD_REQUEST, error.to_string()).into_response();
        }
    };
    let answer = format!("{}\n", json!({ "sdp": sdp, "guest": guest.id() }));
    let (done, is_done) = oneshot::channel::<()>();
    inner.runtime.spawn(async move {
        attend(guest, id).await;
        drop(done);
    });
    let line = stream::once(async { Ok::<_, std::convert::Infallible>(Bytes::from(answer)) });
    // Ends with an error as soon as the sender is dropped.
    let end = stream::once(is_done).filter_map(|_| async { None::<Result<Bytes, std::convert::Infallible>> });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(line.chain(end))).into_response()
}

/// Lasts until the viewer is gone, or may not watch any more; it is gone then.
async fn attend(mut guest: Guest, id: ViewerId) {
    while guest.shows(id) && guest.may_watch().is_ok() {
        guest.changed().await;
    }
}

/// Sends a viewer away.
pub(super) async fn leave(Extract(server): Extract<Server>, Json(leaving): Json<Leaving>) -> StatusCode {
    server.inner.with(|state, now| {
        if state.hands.contains_key(&leaving.guest) {
            // Gone meanwhile is as good.
            let _ = state.room.delete(&leaving.guest, now);
        }
    });
    StatusCode::NO_CONTENT
}
