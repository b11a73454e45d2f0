//! `/process`: the processes of our own API, by ids that are UUIDs.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    answer::{Body, Fail, Reply},
    files,
};
use crate::{
    Shared, answer,
    problem::Problem,
    processes::{
        Owner, Process, Start,
        log::{Entry, Stream},
        run::{self, Done},
        signals,
    },
    time,
};

/// Most bytes of each stream that `exec` answers with.
const MAX_OUTPUT: usize = 8 * 1024 * 1024;
/// How long the answer of `exec` is held back for a status that says how it went; whoever is between us and the client waits
/// no longer than a minute.
const STATUS_WITHIN: Duration = Duration::from_secs(50);
/// Largest piece of a stream's event, in bytes.
const MAX_PIECE: usize = 4_096;
/// Largest input of one request, in bytes.
const MAX_INPUT: usize = 1024 * 1024;
/// How ids begin: they are numbers of the session's table, and unguessable ids would be of no use to who has a token.
const ID: &str = "00000000-0000-4000-8000-";

#[derive(Deserialize)]
pub(super) struct Asked {
    command: Option<String>,
    args: Option<Vec<String>>,
    cwd: Option<String>,
    env: Option<BTreeMap<String, String>>,
    as_user: Option<String>,
    as_root: Option<bool>,
    timeout_sec: Option<u64>,
    allocate_tty: Option<bool>,
    rows: Option<u64>,
    cols: Option<u64>,
}

impl Asked {
    fn start(&mut self, shared: &Shared) -> Result<Start, Fail> {
        let command = self.command.take().filter(|command| !command.is_empty());
        let command = command.ok_or_else(|| Fail::bad("command required"))?;
        let as_root = self.as_root == Some(true);
        match self.as_user.as_deref().filter(|user| !user.is_empty()) {
            Some(_) if as_root => return Err(Fail::bad("cannot specify both as_root and as_user")),
            Some("user" | "kernel" | "1000") => {}
            Some(user) => {
                let text =
                    format!("failed to lookup user {user:?}: a session's programs are all of one user: leave it out");
                return Err(Fail::bad(text));
            }
            None if as_root => {
                let text = "failed to lookup user \"root\": there is no root within the walls, and no way to become it: \
                            leave as_root out, and install what is missing below HOME, or on the host, whose programs a session has";
                return Err(Fail::bad(text));
            }
            None => {}
        }
        Ok(Start {
            command,
            args: self.args.take().unwrap_or_default(),
            cwd: self.cwd.take().filter(|cwd| !cwd.is_empty()).map(|cwd| files::seen(shared, &cwd)),
            env: self.env.take().unwrap_or_default(),
            tty: self.allocate_tty == Some(true),
            interactive: false,
        })
    }
}

fn not_started(problem: Problem) -> Fail {
    if problem.is_no_program() || problem.status().is_server_error() {
        return Fail::failed(format!("failed to start process: {problem}"));
    }
    problem.into()
}

fn outcome(done: &Done) -> Value {
    // -1 is what says that a signal ended it.
    let code = done.exit.and_then(|exit| exit.code).unwrap_or(-1);
    let mut value = json!({
        "exit_code": code,
        "stdout_b64": STANDARD.encode(&done.stdout.bytes),
        "stderr_b64": STANDARD.encode(&done.stderr.bytes),
        "duration_ms": done.duration_ms,
    });
    for (name, stream) in [("stdout_truncated", &done.stdout), ("stderr_truncated", &done.stderr)] {
        if stream.truncated {
            value[name] = true.into();
        }
    }
    if done.timed_out {
        value["message"] = "process timed out".into();
    }
    value
}

pub(super) async fn exec(State(shared): State<Arc<Shared>>, Body(mut asked): Body<Asked>) -> Reply {
    asked.allocate_tty = None;
    let start = asked.start(&shared)?;
    let longest = shared.table.limits().max_run_timeout_ms;
    let timeout = asked.timeout_sec.filter(|seconds| *seconds > 0);
    let timeout = timeout.map_or(longest, |seconds| seconds.saturating_mul(1_000));
    let mut running = Box::pin(async move { run::to_end(&shared, &start, Some(timeout), None, MAX_OUTPUT).await });
    match tokio::time::timeout(STATUS_WITHIN, &mut running).await {
        Ok(Ok(done)) if done.timed_out => Err(Fail::failed("process timed out")),
        Ok(Ok(done)) => Ok(Json(outcome(&done)).into_response()),
        Ok(Err(problem)) => Err(not_started(problem)),
        Err(_) => Ok(answer::later(async move {
            match running.await {
                Ok(done) => outcome(&done),
                Err(problem) => json!({ "message": problem.to_string() }),
            }
        })),
    }
}

pub(super) async fn spawn(State(shared): State<Arc<Shared>>, Body(mut asked): Body<Asked>) -> Reply {
    let cells = |value: Option<u64>, name: &str| match value.map(u16::try_from) {
        Some(Err(_)) => Err(Fail::bad(format!("{name} must be <= 65535"))),
        Some(Ok(value)) => Ok(Some(value).filter(|value| *value > 0)),
        None => Ok(None),
    };
    let (rows, cols) = (cells(asked.rows, "rows")?, cells(asked.cols, "cols")?);
    let mut start = asked.start(&shared)?;
    if start.tty {
        start.env.entry("TERM".into()).or_insert_with(|| "xterm-256color".into());
    }
    let process = shared.table.start(start, Owner::User).await.map_err(not_started)?;
    if let (true, Some(rows), Some(cols)) = (process.has_terminal(), rows, cols) {
        process.resize(cols, rows)?;
    }
    let started = time::rfc3339(process.created());
    let id = public_id(&process);
    Ok(Json(json!({ "process_id": id, "pid": process.pid(), "started_at": started })).into_response())
}

fn public_id(process: &Process) -> String {
    let number: u64 = process.id().trim_start_matches("proc_").parse().unwrap_or(0);
    format!("{ID}{number:012x}")
}

/// The process of an id.
pub(super) fn find(shared: &Shared, id: &str) -> Result<Arc<Process>, Fail> {
    let is_uuid = id.len() == 36
        && id
            .char_indices()
            .all(|(at, c)| if [8, 13, 18, 23].contains(&at) { c == '-' } else { c.is_ascii_hexdigit() });
    if !is_uuid {
        return Err(Fail::plain("Invalid format for parameter process_id: it is no UUID"));
    }
    let missing = || Fail::missing("process not found");
    let number = id.strip_prefix(ID).and_then(|number| u64::from_str_radix(number, 16).ok()).ok_or_else(missing)?;
    shared.table.get(&format!("proc_{number}")).map_err(|_| missing())
}

/// Its exit status as this API says it.
pub(super) fn exit_code(process: &Process) -> Option<i32> {
    process.exit().borrow().as_ref().map(|(ended, _)| ended.code.unwrap_or(-1))
}

pub(super) async fn status(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Reply {
    let process = find(&shared, &id)?;
    let state = if process.is_running() { "running" } else { "exited" };
    // The share of processors is 0 there, too, whatever it is.
    let mut value = json!({ "state": state, "exit_code": exit_code(&process), "cpu_pct": 0 });
    let resident = tokio::task::spawn_blocking(move || process.resident()).await;
    if let Ok(Some(bytes)) = resident {
        value["mem_bytes"] = bytes.into();
    }
    Ok(Json(value).into_response())
}

#[derive(Deserialize)]
pub(super) struct Input {
    data_b64: String,
}

pub(super) async fn input(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Body(asked): Body<Input>,
) -> Reply {
    let process = find(&shared, &id)?;
    let data = STANDARD.decode(asked.data_b64).map_err(|_| Fail::bad("invalid base64"))?;
    if data.len() > MAX_INPUT {
        return Err(Fail::bad(format!("the input has {} bytes: the limit of a request is {MAX_INPUT}", data.len())));
    }
    let written = process.write(&data, false).await;
    written.map_err(|problem| Fail::failed(format!("failed to write to stdin: {problem}")))?;
    Ok(Json(json!({ "written_bytes": data.len() })).into_response())
}

#[derive(Deserialize)]
pub(super) struct Kill {
    signal: Option<String>,
}

pub(super) async fn kill(State(shared): State<Arc<Shared>>, Path(id): Path<String>, Body(asked): Body<Kill>) -> Reply {
    let process = find(&shared, &id)?;
    let name = asked.signal.as_deref().filter(|name| ["TERM", "KILL", "INT", "HUP"].contains(name));
    let number = name.and_then(signals::number).ok_or_else(|| Fail::bad("invalid signal"))?;
    if !process.is_running() {
        return Err(Fail::failed("failed to signal process: it has ended"));
    }
    process.signal(number);
    Ok(Json(json!({ "ok": true })).into_response())
}

#[derive(Deserialize)]
pub(super) struct Cells {
    rows: Option<i64>,
    cols: Option<i64>,
}

pub(super) async fn resize(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Body(asked): Body<Cells>,
) -> Reply {
    let process = find(&shared, &id)?;
    let (rows, cols) = (asked.rows.unwrap_or(0), asked.cols.unwrap_or(0));
    if rows <= 0 || cols <= 0 {
        return Err(Fail::bad("rows and cols must be > 0"));
    }
    let (Ok(rows), Ok(cols)) = (u16::try_from(rows), u16::try_from(cols)) else {
        return Err(Fail::bad("rows and cols must be <= 65535"));
    };
    if !process.has_terminal() {
        return Err(Fail::bad("process is not PTY-backed"));
    }
    process.resize(cols, rows)?;
    Ok(Json(json!({ "ok": true })).into_response())
}

/// Says what the events carry.
const CARRIES: (&str, &str) = ("x-sse-content-type", "application/json");

/// Events of which each is one line of JSON.
pub(super) fn events(events: impl stream::Stream<Item = Value> + Send + 'static) -> Response {
    use futures_util::StreamExt;
    let events = events.map(|value| Ok::<_, Infallible>(Event::default().data(value.to_string())));
    // So that what is between us and the client does not take it for lost. Clients skip it.
    let alive = KeepAlive::new().interval(Duration::from_secs(15));
    ([CARRIES], Sse::new(events).keep_alive(alive)).into_response()
}

/// What a process has said, from the beginning as far as that is kept, what it says, and its end.
pub(super) async fn stream(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Reply {
    let process = find(&shared, &id)?;
    let (news, closed) = (process.log.watch(), Box::pin(shared.closed()));
    let exit = process.exit();
    let state = Some((process, news, exit, closed, Vec::new().into_iter(), 0_u64));
    Ok(events(stream::unfold(state, |state| async move {
        let (process, mut news, mut exit, mut closed, mut pieces, mut since) = state?;
        loop {
            if let Some(piece) = pieces.next() {
                let piece: Value = piece;
                return Some((piece, Some((process, news, exit, closed, pieces, since))));
            }
            // Before the last look at the output: nothing comes after the end.
            let has_ended = exit.borrow_and_update().is_some();
            news.borrow_and_update();
            let (entries, upto) = process.log.some(Stream::Combined, since);
            if upto != since {
                since = upto;
                pieces = entries.iter().flat_map(cut).collect::<Vec<_>>().into_iter();
                continue;
            }
            if has_ended {
                return Some((json!({ "event": "exit", "exit_code": exit_code(&process) }), None));
            }
            tokio::select! {
                () = &mut closed => return None,
                _ = news.changed() => {}
                _ = exit.changed() => {}
            }
        }
    })))
}

fn cut(entry: &Entry) -> Vec<Value> {
    let name = if entry.stream == Stream::Stderr { "stderr" } else { "stdout" };
    let piece = |data: &[u8]| json!({ "stream": name, "data_b64": STANDARD.encode(data) });
    entry.data.chunks(MAX_PIECE).map(piece).collect()
}
