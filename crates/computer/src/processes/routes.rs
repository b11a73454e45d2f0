//! What each path answers.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{
    log::{Entry, Stream},
    process::{Owner, Process, Start},
    run, signals,
    table::Limits,
    terminal,
};
use crate::{
    Shared,
    access::{Power, guarded},
    problem::{Answer, Problem},
};

/// Between two signs of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Longest wait for the end of a process that was told to end, in milliseconds.
const MAX_WAIT_MS: u64 = 50_000;
/// Largest side of a terminal.
const MAX_CELLS: u16 = 4_096;

pub(crate) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let routes = Router::new()
        .route("/v1/processes", get(list).post(start))
        .route("/v1/processes/config", get(limits).post(set_limits))
        .route("/v1/processes/run", post(run::run))
        .route("/v1/processes/{id}", get(read).delete(remove))
        .route("/v1/processes/{id}/stop", post(stop))
        .route("/v1/processes/{id}/kill", post(kill))
        .route("/v1/processes/{id}/signal", post(signal))
        .route("/v1/processes/{id}/logs", get(logs))
        .route("/v1/processes/{id}/input", post(input))
        .route("/v1/processes/{id}/terminal/resize", post(resize))
        .route("/v1/processes/{id}/terminal/ws", get(terminal::upgrade));
    guarded(routes, shared, Power::Start)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OwnerQuery {
    owner: Option<Owner>,
}

/// Processes that were started here.
#[utoipa::path(get, path = "/v1/processes", tag = "processes", params(OwnerQuery), responses((status = 200, description = "The processes.", body = super::openapi::Processes)))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, Query(query): Query<OwnerQuery>) -> Response {
    let processes: Vec<_> = shared.table.list(query.owner).iter().map(|process| process.info()).collect();
    Json(json!({ "processes": processes })).into_response()
}

/// Starts a process that stays.
#[utoipa::path(post, path = "/v1/processes", tag = "processes", request_body = Start, responses((status = 200, description = "The process.", body = super::process::Info)))]
pub(crate) async fn start(State(shared): State<Arc<Shared>>, Json(start): Json<Start>) -> Answer {
    Ok(Json(shared.table.start(start, Owner::User).await?.info()).into_response())
}

/// Limits of processes.
#[utoipa::path(get, path = "/v1/processes/config", tag = "processes", responses((status = 200, description = "The limits.", body = Limits)))]
pub(crate) async fn limits(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.table.limits()).into_response()
}

/// Sets limits of processes.
#[utoipa::path(post, path = "/v1/processes/config", tag = "processes", request_body = Limits, responses((status = 200, description = "The limits.", body = Limits)))]
pub(crate) async fn set_limits(State(shared): State<Arc<Shared>>, Json(limits): Json<Limits>) -> Answer {
    Ok(Json(shared.table.set_limits(limits)?).into_response())
}

/// A process.
#[utoipa::path(get, path = "/v1/processes/{id}", tag = "processes", params(("id" = String, Path, description = "Id of the process.")), responses((status = 200, description = "The process.", body = super::process::Info)))]
pub(crate) async fn read(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    Ok(Json(shared.table.get(&id)?.info()).into_response())
}

/// Forgets a process that has ended.
#[utoipa::path(delete, path = "/v1/processes/{id}", tag = "processes", params(("id" = String, Path, description = "Id of the process.")), responses((status = 204, description = "It is forgotten.")))]
pub(crate) async fn remove(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    shared.table.remove(&id)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wait {
    wait_ms: Option<u64>,
}

async fn end(shared: &Shared, id: &str, signal: i32, wait_ms: u64) -> Answer {
    let process = shared.table.get(id)?;
    process.signal(signal);
    process.ended_within(Duration::from_millis(wait_ms.min(MAX_WAIT_MS))).await;
    Ok(Json(process.info()).into_response())
}

/// Asks a process to end, and waits for that.
#[utoipa::path(post, path = "/v1/processes/{id}/stop", tag = "processes", params(("id" = String, Path, description = "Id of the process."), Wait), responses((status = 200, description = "The process.", body = super::process::Info)))]
pub(crate) async fn stop(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Answer {
    end(&shared, &id, libc::SIGTERM, wait.wait_ms.unwrap_or(2_000)).await
}

/// Ends a process, and waits for that.
#[utoipa::path(post, path = "/v1/processes/{id}/kill", tag = "processes", params(("id" = String, Path, description = "Id of the process."), Wait), responses((status = 200, description = "The process.", body = super::process::Info)))]
pub(crate) async fn kill(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Answer {
    end(&shared, &id, libc::SIGKILL, wait.wait_ms.unwrap_or(1_000)).await
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ProcessSignal)]
pub(crate) struct Signal {
    signal: String,
}

/// Sends a process a signal.
#[utoipa::path(post, path = "/v1/processes/{id}/signal", tag = "processes", request_body = Signal, params(("id" = String, Path, description = "Id of the process.")), responses((status = 200, description = "The process.", body = super::process::Info)))]
pub(crate) async fn signal(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(asked): Json<Signal>,
) -> Answer {
    let unknown = || Problem::invalid("there is no such signal: use a name such as SIGINT");
    let number = signals::number(&asked.signal).ok_or_else(unknown)?;
    let process = shared.table.get(&id)?;
    if !process.is_running() {
        return Err(Problem::conflict("process is not running"));
    }
    process.signal(number);
    Ok(Json(process.info()).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogsQuery {
    stream: Option<Stream>,
    tail: Option<usize>,
    since: Option<u64>,
    follow: Option<bool>,
}

/// An entry as clients see it.
#[derive(Serialize, ToSchema)]
#[schema(as = LogEntry)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntryView {
    sequence: u64,
    stream: Stream,
    timestamp_ms: u64,
    data: String,
    encoding: &'static str,
}

impl From<&Entry> for EntryView {
    fn from(entry: &Entry) -> Self {
        Self {
            sequence: entry.sequence,
            stream: entry.stream,
            timestamp_ms: entry.at_ms,
            data: STANDARD.encode(&entry.data),
            encoding: "base64",
        }
    }
}

/// What a process has said; with `follow` as server-sent events `log`, and on as it says more.
#[utoipa::path(get, path = "/v1/processes/{id}/logs", tag = "processes", params(("id" = String, Path, description = "Id of the process."), LogsQuery), responses((status = 200, description = "The entries.", body = super::openapi::Logs)))]
pub(crate) async fn logs(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(query): Query<LogsQuery>,
    headers: HeaderMap,
) -> Answer {
    let process = shared.table.get(&id)?;
    let usual = if process.has_terminal() { Stream::Pty } else { Stream::Combined };
    let stream = query.stream.unwrap_or(usual);
    let last_event = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let since = query.since.or(last_event).unwrap_or(0);
    if query.follow == Some(true) {
        let since = match query.tail {
            None => since,
            // What comes before the last ones is left out.
            Some(tail) => {
                let first = process.log.read(stream, since, Some(tail)).first().map(|entry| entry.sequence - 1);
                first.unwrap_or(*process.log.watch().borrow()).max(since)
            }
        };
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
        return Ok(Sse::new(follow(&shared, process, stream, since)).keep_alive(keep_alive).into_response());
    }
    let entries: Vec<EntryView> = process.log.read(stream, since, query.tail).iter().map(EntryView::from).collect();
    Ok(Json(json!({ "processId": process.id(), "stream": stream, "entries": entries })).into_response())
}

/// What there is after a number, and then what comes. Whoever reads too slowly misses what was forgotten meanwhile.
fn follow(
    shared: &Shared,
    process: Arc<Process>,
    stream: Stream,
    since: u64,
) -> impl stream::Stream<Item = Result<Event, Infallible>> + use<> {
    let (news, closed) = (process.log.watch(), Box::pin(shared.closed()));
    let state = (process, news, closed, Vec::new().into_iter(), since);
    stream::unfold(state, move |(process, mut news, mut closed, mut some, mut since)| async move {
        loop {
            if let Some(entry) = some.next() {
                let entry: Entry = entry;
                let data = serde_json::to_string(&EntryView::from(&entry)).unwrap_or_default();
                let event = Event::default().event("log").id(entry.sequence.to_string()).data(data);
                return Some((Ok(event), (process, news, closed, some, since)));
            }
            news.borrow_and_update();
            let (more, upto) = process.log.some(stream, since);
            let is_all = upto == since;
            (some, since) = (more.into_iter(), upto);
            if is_all {
                tokio::select! {
                    () = &mut closed => return None,
                    changed = news.changed() => if changed.is_err() { return None },
                }
            }
        }
    })
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ProcessInput)]
pub(crate) struct InputBody {
    data: String,
    encoding: Option<String>,
    /// Whether there is no more to come: its standard input is closed.
    end: Option<bool>,
}

/// Bytes that a client means.
pub(crate) fn decode(data: &str, encoding: &str) -> Result<Vec<u8>, Problem> {
    match encoding {
        "base64" => STANDARD.decode(data).map_err(|error| Problem::invalid(format!("data is no base64: {error}"))),
        "utf8" | "utf-8" | "text" => Ok(data.as_bytes().to_vec()),
        _ => Err(Problem::invalid("encoding must be base64, utf8 or text")),
    }
}

/// Writes to the standard input of a process.
#[utoipa::path(post, path = "/v1/processes/{id}/input", tag = "processes", request_body = InputBody, params(("id" = String, Path, description = "Id of the process.")), responses((status = 200, description = "How much.", body = super::openapi::Written)))]
pub(crate) async fn input(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(body): Json<InputBody>,
) -> Answer {
    let process = shared.table.get(&id)?;
    let data = decode(&body.data, body.encoding.as_deref().unwrap_or("base64"))?;
    let limit = shared.table.limits().max_input_bytes_per_request;
    if data.len() > limit {
        return Err(Problem::too_large(format!("input has {} bytes: the limit of a request is {limit}", data.len())));
    }
    process.write(&data, body.end == Some(true)).await?;
    Ok(Json(json!({ "bytesWritten": data.len() })).into_response())
}

#[derive(Deserialize, ToSchema)]
#[schema(as = TerminalSize)]
pub(crate) struct Cells {
    cols: u16,
    rows: u16,
}

/// Checks the size of a terminal and sets it.
pub(crate) fn set_size(process: &Process, cols: u16, rows: u16) -> Result<Value, Problem> {
    if !(1..=MAX_CELLS).contains(&cols) || !(1..=MAX_CELLS).contains(&rows) {
        return Err(Problem::invalid(format!("cols and rows must be from 1 to {MAX_CELLS}")));
    }
    process.resize(cols, rows)?;
    Ok(json!({ "cols": cols, "rows": rows }))
}

/// Gives a terminal another size.
#[utoipa::path(post, path = "/v1/processes/{id}/terminal/resize", tag = "processes", request_body = Cells, params(("id" = String, Path, description = "Id of the process.")), responses((status = 200, description = "The size.", body = Cells)))]
pub(crate) async fn resize(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(cells): Json<Cells>,
) -> Answer {
    let process = shared.table.get(&id)?;
    Ok(Json(set_size(&process, cells.cols, cells.rows)?).into_response())
}
