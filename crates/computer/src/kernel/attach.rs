//! `/process/{process_id}/attach`: a terminal as a WebSocket.

use std::sync::Arc;

use axum::{
    Json,
    extract::{
        Path, State, WebSocketUpgrade,
        ws::{Message, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::process::{exit_code, find};
use crate::{
    Shared,
    processes::{Process, terminal::pour},
};

/// Largest message of a client, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said {
    Resize { rows: u16, cols: u16 },
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "type": "error", "message": message }))).into_response()
}

/// The place of the one who is attached.
struct Place {
    shared: Arc<Shared>,
    id: String,
}

impl Place {
    fn take(shared: &Arc<Shared>, id: &str) -> Option<Self> {
        let is_free = shared.kernel.attached.lock().insert(id.to_owned());
        is_free.then(|| Self { shared: shared.clone(), id: id.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.kernel.attached.lock().remove(&self.id);
    }
}

pub(super) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(process) = find(&shared, &id) else { return refused(StatusCode::NOT_FOUND, "process not found") };
    if !process.has_terminal() {
        return refused(StatusCode::BAD_REQUEST, "process is not PTY-backed");
    }
    let Ok(upgrade) = upgrade else { return refused(StatusCode::BAD_REQUEST, "this is a WebSocket") };
    let Some(place) = Place::take(&shared, &id) else {
        return refused(StatusCode::CONFLICT, "process already has an active attach session");
    };
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    upgrade.on_upgrade(move |mut socket| async move {
        let _place = place;
        let closed = shared.closed();
        tokio::select! {
            // A client that is gone, or does not read for long, shows as an error.
            _ = relay(&process, &mut socket) => {}
            () = closed => {}
        }
    })
}

/// Passes what comes from now on, both ways, until one of them ends. The process goes on without a client.
async fn relay(process: &Process, socket: &mut WebSocket) -> Result<(), axum::Error> {
    let mut news = process.log.watch();
    let mut since = *news.borrow_and_update();
    let mut exit = process.exit();
    loop {
        // Before the last look at the output: nothing comes after the end.
        let has_ended = exit.borrow_and_update().is_some();
        since = pour(process, since, socket).await?;
        if has_ended {
            let exit = json!({ "type": "exit", "exitCode": exit_code(process) });
            socket.send(Message::Text(exit.to_string().into())).await?;
            return socket.send(Message::Close(None)).await;
        }
        tokio::select! {
            _ = news.changed() => {}
            _ = exit.changed() => {}
            message = socket.recv() => match message {
                None => return Ok(()),
                Some(message) => match message? {
                    Message::Binary(data) => {
                        // It ends soon, which shows above.
                        let _ = process.write(&data, false).await;
                    }
                    // What is not known is ignored.
                    Message::Text(text) => {
                        if let Ok(Said::Resize { rows: rows @ 1.., cols: cols @ 1.. }) = serde_json::from_str(&text) {
                            // It may have ended.
                            let _ = process.resize(cols, rows);
                        }
                    }
                    Message::Close(_) => return Ok(()),
                    Message::Ping(_) | Message::Pong(_) => {}
                },
            },
        }
    }
}
