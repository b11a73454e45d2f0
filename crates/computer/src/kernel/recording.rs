//! `/recording`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Body, Fail, Reply, query};
use crate::{
    Shared,
    desktop::recordings::NO_RECORDER,
    files,
    recorder::{self, Recording, Refusal, Wanted},
    time,
};

/// What is taken when nothing is said.
const ID: &str = "default";
const RATE: u32 = 10;
const MEGABYTES: u64 = 500;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    id: Option<String>,
    framerate: Option<u32>,
    #[serde(rename = "maxFileSizeInMB")]
    max_file_size: Option<u64>,
    max_duration_in_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Which {
    id: Option<String>,
    force_stop: Option<bool>,
}

fn id(given: Option<String>) -> String {
    given.filter(|id| !id.is_empty()).unwrap_or_else(|| ID.into())
}

pub(super) async fn start(State(shared): State<Arc<Shared>>, Body(asked): Body<Asked>) -> Reply {
    let wanted = Wanted {
        rate: asked.framerate.unwrap_or(RATE).clamp(1, 60),
        bytes: asked.max_file_size.unwrap_or(MEGABYTES).saturating_mul(1024 * 1024),
        time: asked.max_duration_in_seconds.filter(|time| *time > 0).map(Duration::from_secs),
        with_pointer: !shared.kernel.is_cursor_hidden.load(Ordering::Acquire),
    };
    match shared.recorder.start(&id(asked.id), wanted, shared.display.name()).await {
        Ok(_) => Ok(StatusCode::CREATED.into_response()),
        Err(Refusal::Runs) => Err(Fail::conflict("recording already in progress")),
        Err(Refusal::Used) => Err(Fail::bad("recording already completed")),
        Err(Refusal::NoRecorder) => Err(Fail::failed(format!("failed to start recording: {NO_RECORDER}"))),
        Err(Refusal::Failed(problem)) if problem.status().is_client_error() => Err(problem.into()),
        Err(Refusal::Failed(problem)) => Err(Fail::failed(format!("failed to start recording: {problem}"))),
    }
}

pub(super) async fn stop(State(shared): State<Arc<Shared>>, Body(asked): Body<Which>) -> Reply {
    let recording = shared.recorder.get(&id(asked.id)).ok_or_else(|| Fail::bad("no active recording to stop"))?;
    shared.recorder.stop(&recording, asked.force_stop == Some(true)).await;
    Ok(StatusCode::OK.into_response())
}

fn find(shared: &Shared, id: &str) -> Result<Arc<Recording>, Fail> {
    shared.recorder.get(id).ok_or_else(|| Fail::missing("no recording found"))
}

pub(super) async fn download(State(shared): State<Arc<Shared>>, uri: Uri) -> Reply {
    let recording = find(&shared, &id(query(&uri).remove("id")))?;
    if recording.is_deleted() {
        return Err(Fail::bad("requested recording has been deleted"));
    }
    if recording.state() == recorder::State::Finishes {
        recording.settled().await;
    }
    let runs = recording.state() == recorder::State::Runs;
    let read = shared.recorder.read(&recording).await;
    if runs && read.as_ref().map_or(0, |(_, size)| *size) <= recorder::HEADER {
        return Ok((StatusCode::ACCEPTED, [(header::RETRY_AFTER, "300")]).into_response());
    }
    let (file, size) = read.map_err(|problem| Fail::failed(format!("failed to get recording: {problem}")))?;
    let mut response = files::content(&shared, file, size);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    headers.insert(header::CONTENT_LENGTH, size.into());
    let ended = recording.ended.lock().map_or_else(|| "0001-01-01T00:00:00Z".into(), time::rfc3339);
    let times = [("x-recording-started-at", time::rfc3339(recording.started)), ("x-recording-finished-at", ended)];
    for (name, at) in times {
        if let Ok(at) = HeaderValue::from_str(&at) {
            headers.insert(HeaderName::from_static(name), at);
        }
    }
    Ok(response)
}

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Response {
    let describe = |one: &Arc<Recording>| {
        json!({
            "id": one.id,
            "isRecording": one.state() == recorder::State::Runs,
            "started_at": time::rfc3339(one.started),
            "finished_at": one.ended.lock().map(time::rfc3339),
        })
    };
    let all: Vec<Value> = shared.recorder.list().iter().map(describe).collect();
    Json(all).into_response()
}

pub(super) async fn remove(State(shared): State<Arc<Shared>>, Body(asked): Body<Which>) -> Reply {
    let recording = find(&shared, &id(asked.id))?;
    match recording.state() {
        recorder::State::Runs => return Err(Fail::bad("recording must be stopped first")),
        recorder::State::Finishes => {
            return Err(Fail::conflict("recording is being finalized, please retry in a few seconds"));
        }
        _ => {}
    }
    let removed = shared.recorder.remove(&recording).await;
    removed.map_err(|problem| Fail::failed(format!("failed to delete recording: {problem}")))?;
    Ok(StatusCode::OK.into_response())
}
