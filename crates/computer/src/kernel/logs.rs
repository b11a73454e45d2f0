//! `/logs/stream`: the lines of a file, as they come.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{extract::State, http::Uri};
use futures_util::stream;
use serde_json::{Value, json};

use super::{
    answer::{Reply, needed, query},
    files::{place, tree},
    process,
};
use crate::{Shared, time};

/// Between two looks at a file that has no more.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes that are read at once, and the longest line.
const CHUNK: usize = 16 * 1024;
const MAX_LINE: usize = 64 * 1024;

fn event(message: &str) -> Value {
    json!({ "timestamp": time::rfc3339(SystemTime::now()), "message": message })
}

/// A file that is followed.
struct Tail {
    file: File,
    at: u64,
    line: Vec<u8>,
    /// Lines that wait to be sent.
    lines: std::vec::IntoIter<Value>,
}

impl Tail {
    /// Reads some more; false when there is nothing.
    fn read(&mut self) -> std::io::Result<bool> {
        let file = &self.file;
        if file.metadata()?.len() < self.at {
            // Cut off: it goes on from its new end.
            (self.at, self.line) = (file.metadata()?.len(), Vec::new());
        }
        let mut buffer = vec![0; CHUNK];
        let read = file.read_at(&mut buffer, self.at)?;
        self.at += read as u64;
        let mut lines = Vec::new();
        for byte in &buffer[..read] {
            if *byte != b'\n' && self.line.len() < MAX_LINE {
                self.line.push(*byte);
                continue;
            }
            let text = String::from_utf8_lossy(&self.line).trim_end_matches('\r').to_owned();
            self.line.clear();
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if !text.is_empty() {
                lines.push(event(&text));
            }
        }
        self.lines = lines.into_iter();
        Ok(read > 0)
    }
}

pub(super) async fn stream(State(shared): State<Arc<Shared>>, uri: Uri) -> Reply {
    let source = needed(&uri, "source")?;
    let words = query(&uri);
    let path = words.get("path").filter(|path| path.starts_with('/'));
    let only = |text: &str| Ok(process::events(stream::iter([event(text)])));
    let Some(path) = path.filter(|_| source == "path") else { return only("logs source not available") };
    let tree = tree(&shared);
    let opened = match place(&shared, &tree, path) {
        Ok(place) => tree.read(place).await.ok(),
        Err(_) => None,
    };
    let Some((file, size)) = opened else { return only("failed to open log path") };
    let at = if words.get("follow").is_some_and(|follow| follow == "false") { 0 } else { size };
    let tail = Tail { file, at, line: Vec::new(), lines: Vec::new().into_iter() };
    let state = (tail, Box::pin(shared.closed()));
    Ok(process::events(stream::unfold(state, |(mut tail, mut closed)| async move {
        loop {
            if let Some(line) = tail.lines.next() {
                return Some((line, (tail, closed)));
            }
            let read = tokio::task::spawn_blocking(move || {
                let has_more = tail.read();
                (tail, has_more)
            });
            let has_more;
            (tail, has_more) = read.await.ok()?;
            if !has_more.ok()? {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = &mut closed => return None,
                }
            }
        }
    })))
}
