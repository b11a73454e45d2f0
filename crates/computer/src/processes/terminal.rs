//! The terminal of a process as a WebSocket.

use std::sync::Arc;

use axum::extract::{
    Path, State, WebSocketUpgrade,
    ws::{Message, WebSocket, rejection::WebSocketUpgradeRejection},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    log::Stream,
    process::Process,
    routes::{decode, set_size},
};
use crate::{
    Shared,
    problem::{Answer, Problem},
};

/// Largest message of a client, in bytes.
const MAX_MESSAGE: usize = 256 * 1024;

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said {
    Input { data: String, encoding: Option<String> },
    Resize { cols: u16, rows: u16 },
    Close,
}

/// The WebSocket of a terminal. The token may be in `access_token`.
#[utoipa::path(get, path = "/v1/processes/{id}/terminal/ws", tag = "processes", params(("id" = String, Path, description = "Id of the process.")), responses((status = 101, description = "A WebSocket.")))]
pub(crate) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer {
    let process = shared.table.get(&id)?;
    if !process.has_terminal() {
        return Err(Problem::conflict("process has no terminal: start it with tty"));
    }
    let upgrade = upgrade.map_err(|_| Problem::invalid("this is a WebSocket"))?;
    // Pages of other sites have no token, without which nobody gets here.
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    Ok(upgrade.on_upgrade(move |socket| serve(shared, process, socket)))
}

fn text(value: &Value) -> Message {
    Message::Text(value.to_string().into())
}

/// Passes what comes from now on, both ways, until one of them ends.
async fn serve(shared: Arc<Shared>, process: Arc<Process>, mut socket: WebSocket) {
    let closed = shared.closed();
    let talk = async {
        // A client that is gone, or does not read for long, shows as an error.
        let _ = relay(&shared, &process, &mut socket).await;
    };
    tokio::select! {
        () = talk => {}
        () = closed => {}
    }
    // Dropped, it is closed.
}

/// Sends what a process has written to its terminal since then; says up to where.
pub(crate) async fn pour(process: &Process, mut since: u64, socket: &mut WebSocket) -> Result<u64, axum::Error> {
    loop {
        let (entries, upto) = process.log.some(Stream::Pty, since);
        if upto == since {
            return Ok(since);
        }
        since = upto;
        for entry in entries {
            socket.send(Message::Binary(entry.data)).await?;
        }
    }
}

async fn relay(shared: &Shared, process: &Process, socket: &mut WebSocket) -> Result<(), axum::Error> {
    let mut news = process.log.watch();
    let mut since = *news.borrow_and_update();
    let mut exit = process.exit();
    socket.send(text(&json!({ "type": "ready", "processId": process.id() }))).await?;
    loop {
        // Before the last look at the output: nothing comes after the end.
        let ended = *exit.borrow_and_update();
        since = pour(process, since, socket).await?;
        if let Some((ended, _)) = ended {
            socket.send(text(&json!({ "type": "exit", "exitCode": ended.code }))).await?;
            return socket.send(Message::Close(None)).await;
        }
        tokio::select! {
            _ = news.changed() => {}
            _ = exit.changed() => {}
            message = socket.recv() => match message {
                None => return Ok(()),
                Some(message) => match answer(shared, process, message?).await {
                    Some(Reply::Close) => return socket.send(Message::Close(None)).await,
                    Some(Reply::Say(message)) => socket.send(message).await?,
                    None => {}
                },
            },
        }
    }
}

enum Reply {
    Say(Message),
    Close,
}

async fn answer(shared: &Shared, process: &Process, message: Message) -> Option<Reply> {
    let error = |message: String| Some(Reply::Say(text(&json!({ "type": "error", "message": message }))));
    let said = match message {
        Message::Text(said) => said,
        Message::Binary(_) => return error("binary messages are not understood: send {\"type\":\"input\"}".into()),
        Message::Ping(_) | Message::Pong(_) => return None,
        Message::Close(_) => return Some(Reply::Close),
    };
    let done = match serde_json::from_str(&said) {
        Err(wrong) => return error(format!("that is not understood: {wrong}")),
        Ok(Said::Close) => return Some(Reply::Close),
        Ok(Said::Resize { cols, rows }) => set_size(process, cols, rows).map(drop),
        Ok(Said::Input { data, encoding }) => {
            write(shared, process, &data, encoding.as_deref().unwrap_or("utf8")).await
        }
    };
    match done {
        Ok(()) => None,
        Err(problem) => error(problem.to_string()),
    }
}

async fn write(shared: &Shared, process: &Process, data: &str, encoding: &str) -> Result<(), Problem> {
    let data = decode(data, encoding)?;
    let limit = shared.table.limits().max_input_bytes_per_request;
    if data.len() > limit {
        return Err(Problem::too_large(format!("input has {} bytes: the limit is {limit}", data.len())));
    }
    process.write(&data, false).await
}
