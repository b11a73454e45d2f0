//! `/logs/stream`: the lines of a file, or of what one of the session's own programs has written, as they come.

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

/// Where the original's images have the logs of their supervisor's programs.
const LOGS: &str = "/var/log/supervisord/";
/// The names of their supervisor's programs, and what these are here; our own names are known as well.
const PROGRAMS: [(&str, &str); 7] = [
    ("chromium", "app"),
    ("xorg", "x-server"),
    ("xvfb", "x-server"),
    ("xvnc", "x-server"),
    ("mutter", "window-manager"),
    ("openbox", "window-manager"),
    ("pulseaudio", "sound"),
];

/// A file that is followed.
struct Tail {
    file: File,
    at: u64,
    /// Whether it is read from its beginning after it was cut off, or goes on from its new end.
    begins_anew: bool,
    line: Vec<u8>,
    /// Lines that wait to be sent.
    lines: std::vec::IntoIter<Value>,
}

impl Tail {
    /// Reads some more; false when there is nothing.
    fn read(&mut self) -> std::io::Result<bool> {
        let file = &self.file;
        if file.metadata()?.len() < self.at {
            let end = if self.begins_anew { 0 } else { file.metadata()?.len() };
            (self.at, self.line) = (end, Vec::new());
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

/// The log of a program, by the name that a client has for it.
fn program(shared: &Shared, name: &str) -> Option<File> {
    let ours = PROGRAMS.iter().find(|(theirs, _)| *theirs == name).map_or(name, |(_, ours)| ours);
    shared.desktop().program_log(ours).ok()
}

pub(super) async fn stream(State(shared): State<Arc<Shared>>, uri: Uri) -> Reply {
    let source = needed(&uri, "source")?;
    let words = query(&uri);
    let only = |text: &str| Ok(process::events(stream::iter([event(text)])));
    let path = words.get("path").filter(|path| path.starts_with('/'));
    let name = match &*source {
        "supervisor" => words.get("supervisor_process").map(String::as_str),
        _ => path.and_then(|path| path.strip_prefix(LOGS)),
    };
    let log = name.and_then(|name| program(&shared, name));
    let is_program = log.is_some();
    let opened = match (&*source, log, path) {
        ("supervisor" | "path", Some(file), _) => file.metadata().ok().map(|meta| (file, meta.len())),
        ("path", None, Some(path)) => {
            let tree = tree(&shared);
            match place(&shared, &tree, path) {
                Ok(place) => tree.read(place).await.ok(),
                Err(_) => None,
            }
        }
        _ => return only("logs source not available"),
    };
    let Some((file, size)) = opened else { return only("failed to open log path") };
    let at = if words.get("follow").is_some_and(|follow| follow == "false") { 0 } else { size };
    let tail = Tail { file, at, begins_anew: is_program, line: Vec::new(), lines: Vec::new().into_iter() };
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
