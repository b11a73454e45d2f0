//! `/fs/watch`: watches that are kept under an id until they are ended.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};

use super::{
    answer::{Body, Fail, Reply},
    files::{explain, place, seen, tree},
    process,
};
use crate::{
    Shared,
    files::watch::{Change, Changes, What},
};

/// A watch whose events wait for a reader; several readers share them.
pub(super) struct Watch {
    changes: Mutex<Changes>,
    /// What the client wrote, and what it is for the programs.
    asked: String,
    seen: String,
    over: watch::Sender<bool>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    path: String,
    recursive: Option<bool>,
}

pub(super) async fn start(State(shared): State<Arc<Shared>>, Body(asked): Body<Asked>) -> Reply {
    let tree = tree(&shared);
    let place = place(&shared, &tree, &asked.path)?;
    let changes = crate::files::watch::watch(&shared, &tree, place, asked.recursive == Some(true)).await;
    let changes = changes.map_err(|problem| explain(problem, "path not found", "failed to watch path"))?;
    let id = id().map_err(|error| Fail::failed(format!("failed to watch path: {error}")))?;
    let watch = Watch {
        changes: Mutex::new(changes),
        seen: seen(&shared, &asked.path).trim_end_matches('/').to_owned(),
        asked: asked.path.trim_end_matches('/').to_owned(),
        over: watch::Sender::new(false),
    };
    shared.kernel.watches.lock().insert(id.clone(), Arc::new(watch));
    Ok((StatusCode::CREATED, Json(json!({ "watch_id": id }))).into_response())
}

/// An id of a letter and 23 letters and digits.
fn id() -> std::io::Result<String> {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = [0_u8; 24];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let letter = |(at, byte): (usize, &u8)| char::from(LETTERS[usize::from(*byte) % if at == 0 { 26 } else { 36 }]);
    Ok(random.iter().enumerate().map(letter).collect())
}

impl Watch {
    /// A path as the client writes paths.
    fn shown(&self, path: &str) -> String {
        match path.strip_prefix(&self.seen) {
            Some(rest) => format!("{}{rest}", self.asked),
            None => path.to_owned(),
        }
    }

    fn events(&self, change: &Change) -> Vec<Value> {
        let event = |name: &str, path: &str| {
            let path = self.shown(path);
            let short = path.rsplit('/').next().unwrap_or_default();
            json!({ "type": name, "name": short, "path": path, "is_dir": change.is_directory })
        };
        match (change.what, &change.from) {
            (What::Rename, Some(from)) => vec![event("RENAME", from), event("CREATE", &change.path)],
            (What::Create | What::Rename, _) => vec![event("CREATE", &change.path)],
            (What::Modify, _) => vec![event("WRITE", &change.path)],
            (What::Delete, _) => vec![event("DELETE", &change.path)],
        }
    }
}

fn find(shared: &Shared, id: &str) -> Result<Arc<Watch>, Fail> {
    shared.kernel.watches.lock().get(id).cloned().ok_or_else(|| Fail::missing("watch not found"))
}

pub(super) async fn events(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Reply {
    let watch = find(&shared, &id)?;
    let over = watch.over.subscribe();
    let state = (watch, over, Box::pin(shared.closed()), Vec::new().into_iter());
    Ok(process::events(stream::unfold(state, |(watch, mut over, mut closed, mut waiting)| async move {
        loop {
            if let Some(event) = waiting.next() {
                return Some((event, (watch, over, closed, waiting)));
            }
            let next = async { watch.changes.lock().await.events.recv().await };
            let change = tokio::select! {
                change = next => change?,
                _ = over.wait_for(|is_over| *is_over) => return None,
                () = &mut closed => return None,
            };
            waiting = watch.events(&change).into_iter();
        }
    })))
}

pub(super) async fn stop(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Reply {
    let watch = shared.kernel.watches.lock().remove(&id).ok_or_else(|| Fail::missing("watch not found"))?;
    watch.over.send_replace(true);
    Ok(StatusCode::NO_CONTENT.into_response())
}
