//! Recordings, one at a time.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    Shared, files,
    problem::{Answer, Problem},
    recorder::{self, Recording, Refusal, Wanted},
    time,
};

/// Pictures a second, if nothing else is asked for, and most of them.
const RATE: u32 = 30;
const MAX_RATE: u32 = 60;
/// Most bytes of a recording, and the longest time.
const MAX_BYTES: u64 = 500 * 1024 * 1024;
const MAX_TIME: Duration = Duration::from_secs(24 * 3_600);

async fn info(shared: &Shared, recording: &Recording) -> Value {
    let bytes = shared.recorder.read(recording).await.map_or(0, |(_, size)| size);
    let ended = *recording.ended.lock();
    let mut value = json!({
        "id": recording.id,
        "status": match recording.state() {
            recorder::State::Runs | recorder::State::Finishes => "recording",
            recorder::State::Complete => "completed",
            recorder::State::Failed => "failed",
        },
        "fileName": recording.file_name(),
        "bytes": bytes,
        "startedAt": time::rfc3339(recording.started),
    });
    if let Some(ended) = ended {
        value["endedAt"] = time::rfc3339(ended).into();
    }
    value
}

fn find(shared: &Shared, id: &str) -> Result<Arc<Recording>, Problem> {
    let found = shared.recorder.get(id).filter(|recording| !recording.is_deleted());
    found.ok_or_else(|| Problem::missing("there is no such recording"))
}

/// Recordings, oldest first.
#[utoipa::path(get, path = "/v1/desktop/recordings", tag = "recordings", responses((status = 200, description = "The recordings.", body = super::openapi::Recordings)))]
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Response {
    let mut all = Vec::new();
    for recording in shared.recorder.list() {
        all.push(info(&shared, &recording).await);
    }
    Json(json!({ "recordings": all })).into_response()
}

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = StartRecording)]
pub(super) struct Asked {
    fps: Option<u32>,
}

/// Begins a recording.
#[utoipa::path(post, path = "/v1/desktop/recording/start", tag = "recordings", request_body = Option<Asked>, responses((status = 200, description = "The recording.", body = super::openapi::Recording)))]
pub(super) async fn start(State(shared): State<Arc<Shared>>, asked: Option<Json<Asked>>) -> Answer {
    if shared.recorder.is_active() {
        return Err(Problem::conflict("a recording is active: stop it first"));
    }
    let rate = asked.and_then(|Json(asked)| asked.fps).unwrap_or(RATE).clamp(1, MAX_RATE);
    let wanted = Wanted { rate, bytes: MAX_BYTES, time: Some(MAX_TIME), with_pointer: true };
    let name = shared.recorder.fresh_name();
    match shared.recorder.start(&name, wanted, shared.display.name()).await {
        Ok(recording) => Ok(Json(info(&shared, &recording).await).into_response()),
        Err(Refusal::Runs | Refusal::Used) => Err(Problem::conflict("a recording is active: stop it first")),
        Err(Refusal::NoRecorder) => Err(Problem::conflict(NO_RECORDER)),
        Err(Refusal::Failed(problem)) => Err(problem),
    }
}

/// What is missing, and what to do.
pub(crate) const NO_RECORDER: &str =
    "there is no ffmpeg on this machine to record with: install it there (apt-get install ffmpeg)";

/// Ends the recording.
#[utoipa::path(post, path = "/v1/desktop/recording/stop", tag = "recordings", responses((status = 200, description = "The recording.", body = super::openapi::Recording)))]
pub(super) async fn stop(State(shared): State<Arc<Shared>>) -> Answer {
    let active = shared.recorder.list().into_iter().find(|recording| recording.state() == recorder::State::Runs);
    let recording = active.ok_or_else(|| Problem::conflict("no recording is active"))?;
    shared.recorder.stop(&recording, false).await;
    Ok(Json(info(&shared, &recording).await).into_response())
}

/// A recording.
#[utoipa::path(get, path = "/v1/desktop/recordings/{id}", tag = "recordings", params(("id" = String, Path, description = "Id of the recording.")), responses((status = 200, description = "The recording.", body = super::openapi::Recording)))]
pub(super) async fn read(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    Ok(Json(info(&shared, &*find(&shared, &id)?).await).into_response())
}

/// The film.
#[utoipa::path(get, path = "/v1/desktop/recordings/{id}/download", tag = "recordings", params(("id" = String, Path, description = "Id of the recording.")), responses((status = 200, description = "The bytes.", body = Vec<u8>, content_type = "video/mp4")))]
pub(super) async fn download(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let recording = find(&shared, &id)?;
    let (file, size) = shared.recorder.read(&recording).await?;
    let mut response = files::content(&shared, file, size);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("video/mp4"));
    response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
    Ok(response)
}

/// Removes a recording.
#[utoipa::path(delete, path = "/v1/desktop/recordings/{id}", tag = "recordings", params(("id" = String, Path, description = "Id of the recording.")), responses((status = 204, description = "It is gone.")))]
pub(super) async fn remove(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let recording = find(&shared, &id)?;
    if !matches!(recording.state(), recorder::State::Complete | recorder::State::Failed) {
        return Err(Problem::conflict("the recording is active: stop it first"));
    }
    shared.recorder.remove(&recording).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
