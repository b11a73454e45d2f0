//! What each path answers.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{delete, get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, Take};
use utoipa::{IntoParams, ToSchema};

use super::{
    archive::{self, Incoming},
    pack,
    tree::{Replace, Tree},
    watch,
};
use crate::{
    Shared,
    access::{Power, guarded},
    problem::{Answer, Problem},
};

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// Between two signs of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let routes = Router::new()
        .route("/v1/fs/entries", get(list))
        .route("/v1/fs/file", get(read).put(write))
        .route("/v1/fs/entry", delete(remove))
        .route("/v1/fs/mkdir", post(make))
        .route("/v1/fs/move", post(rename))
        .route("/v1/fs/stat", get(stat))
        .route("/v1/fs/upload-batch", post(upload))
        .route("/v1/fs/archive", get(download))
        .route("/v1/fs/watch", get(watched));
    guarded(routes, shared, Power::Admin)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MaybePath {
    path: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OnePath {
    path: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Removal {
    path: String,
    recursive: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = MoveFile)]
pub(super) struct Rename {
    from: String,
    to: String,
    overwrite: Option<bool>,
}

fn tree(shared: &Shared) -> Tree {
    Tree::new(shared.desktop().clone())
}

/// What is in a folder.
#[utoipa::path(get, path = "/v1/fs/entries", tag = "files", params(MaybePath), responses((status = 200, description = "The entries.", body = Vec<super::tree::Entry>)))]
pub(super) async fn list(State(shared): State<Arc<Shared>>, Query(query): Query<MaybePath>) -> Answer {
    let tree = tree(&shared);
    let place = tree.place(query.path.as_deref().unwrap_or("."))?;
    Ok(Json(tree.list(place).await?).into_response())
}

/// What something is.
#[utoipa::path(get, path = "/v1/fs/stat", tag = "files", params(OnePath), responses((status = 200, description = "The entry.", body = super::tree::Entry)))]
pub(super) async fn stat(State(shared): State<Arc<Shared>>, Query(query): Query<OnePath>) -> Answer {
    let tree = tree(&shared);
    Ok(Json(tree.stat(tree.place(&query.path)?).await?).into_response())
}

/// Content of a file.
#[utoipa::path(get, path = "/v1/fs/file", tag = "files", params(OnePath), responses((status = 200, description = "The bytes.", body = Vec<u8>, content_type = "application/octet-stream")))]
pub(super) async fn read(State(shared): State<Arc<Shared>>, Query(query): Query<OnePath>) -> Answer {
    let tree = tree(&shared);
    let (file, size) = tree.read(tree.place(&query.path)?).await?;
    Ok(content(&shared, file, size))
}

/// The bytes of a file, as many as it has now: what is written to it meanwhile is not waited for.
pub(crate) fn content(shared: &Shared, file: std::fs::File, size: u64) -> Response {
    let file = tokio::fs::File::from_std(file).take(size);
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Body::from_stream(stream::unfold((file, shared.closed_flag()), chunk))).into_response()
}

type Source = (Take<tokio::fs::File>, tokio::sync::watch::Receiver<bool>);

async fn chunk((mut file, closing): Source) -> Option<(std::io::Result<Bytes>, Source)> {
    if *closing.borrow() {
        return Some((Err(std::io::Error::other("the session ends")), (file, closing)));
    }
    let mut buffer = Vec::with_capacity(CHUNK);
    match file.read_buf(&mut buffer).await {
        Ok(0) => None,
        Ok(_) => Some((Ok(buffer.into()), (file, closing))),
        Err(error) => Some((Err(error), (file, closing))),
    }
}

/// The body, if it is not said to be too large.
fn incoming(shared: &Shared, headers: &HeaderMap, body: Body) -> Result<Incoming, Problem> {
    let limit = shared.config.max_file;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(Problem::too_large(format!("the body is too large: the limit is {limit} bytes")));
    }
    Ok(Incoming::new(body, limit))
}

/// Writes a file, which has its name when all of it has come.
#[utoipa::path(put, path = "/v1/fs/file", tag = "files", request_body(content = Vec<u8>, content_type = "application/octet-stream"), params(OnePath), responses((status = 200, description = "How much.", body = super::openapi::FileWritten)))]
pub(super) async fn write(State(shared): State<Arc<Shared>>, Query(query): Query<OnePath>, request: Request) -> Answer {
    let tree = tree(&shared);
    let place = tree.place(&query.path)?;
    let (parts, body) = request.into_parts();
    let body = incoming(&shared, &parts.headers, body)?;
    let shown = place.shown.clone();
    let written = archive::write(&tree, place, 0o644, body).await?;
    Ok(Json(json!({ "path": shown, "bytesWritten": written })).into_response())
}

/// Removes a file, or a folder.
#[utoipa::path(delete, path = "/v1/fs/entry", tag = "files", params(Removal), responses((status = 200, description = "Its path.", body = super::openapi::FilePath)))]
pub(super) async fn remove(State(shared): State<Arc<Shared>>, Query(query): Query<Removal>) -> Answer {
    let tree = tree(&shared);
    let place = tree.place(&query.path)?;
    let shown = place.shown.clone();
    tree.remove(place, query.recursive == Some(true)).await?;
    Ok(Json(json!({ "path": shown })).into_response())
}

/// Makes a folder, with those above it.
#[utoipa::path(post, path = "/v1/fs/mkdir", tag = "files", params(OnePath), responses((status = 200, description = "Its path.", body = super::openapi::FilePath)))]
pub(super) async fn make(State(shared): State<Arc<Shared>>, Query(query): Query<OnePath>) -> Answer {
    let tree = tree(&shared);
    let place = tree.place(&query.path)?;
    let shown = place.shown.clone();
    tree.make_folder(place).await?;
    Ok(Json(json!({ "path": shown })).into_response())
}

/// Moves a file or a folder.
#[utoipa::path(post, path = "/v1/fs/move", tag = "files", request_body = Rename, responses((status = 200, description = "From where to where.", body = super::openapi::Moved)))]
pub(super) async fn rename(State(shared): State<Arc<Shared>>, Json(asked): Json<Rename>) -> Answer {
    let tree = tree(&shared);
    let (from, to) = (tree.place(&asked.from)?, tree.place(&asked.to)?);
    let answer = json!({ "from": from.shown, "to": to.shown });
    let replace = if asked.overwrite == Some(true) { Replace::Everything } else { Replace::Nothing };
    tree.rename(from, to, replace).await?;
    Ok(Json(answer).into_response())
}

/// Unpacks a tar archive that is not compressed.
#[utoipa::path(post, path = "/v1/fs/upload-batch", tag = "files", request_body(content = Vec<u8>, content_type = "application/x-tar"), params(MaybePath), responses((status = 200, description = "What is there now.", body = super::openapi::Unpacked)))]
pub(super) async fn upload(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<MaybePath>,
    request: Request,
) -> Answer {
    let tree = tree(&shared);
    let place = tree.place(query.path.as_deref().unwrap_or("."))?;
    let (parts, body) = request.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-tar") {
        let text = "send a tar archive, not compressed, as application/x-tar";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text));
    }
    let body = incoming(&shared, &parts.headers, body)?;
    let (paths, truncated) = archive::unpack(&tree, &place, body).await?;
    Ok(Json(json!({ "paths": paths, "truncated": truncated })).into_response())
}

/// A folder as a tar archive, without links and whatever else is no file or folder.
#[utoipa::path(get, path = "/v1/fs/archive", tag = "files", params(OnePath), responses((status = 200, description = "The archive, as it is made.", body = Vec<u8>, content_type = "application/x-tar")))]
pub(super) async fn download(State(shared): State<Arc<Shared>>, Query(query): Query<OnePath>) -> Answer {
    let tree = tree(&shared);
    let body = pack::pack(&shared, &tree, tree.place(&query.path)?, pack::Kind::Tar).await?;
    let headers = [(header::CONTENT_TYPE, "application/x-tar"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Watched {
    path: Option<String>,
    recursive: Option<bool>,
}

/// What changes in a folder, as it happens.
#[utoipa::path(get, path = "/v1/fs/watch", tag = "files", params(Watched), responses((status = 200, description = "Events create, modify, delete and rename, with JSON.", body = String, content_type = "text/event-stream")))]
pub(super) async fn watched(State(shared): State<Arc<Shared>>, Query(query): Query<Watched>) -> Answer {
    let tree = tree(&shared);
    let place = tree.place(query.path.as_deref().unwrap_or("."))?;
    let changes = watch::watch(&shared, &tree, place, query.recursive == Some(true)).await?;
    let events = stream::unfold((changes, shared.closed_flag()), |(mut changes, mut closed)| async move {
        let change = tokio::select! {
            change = changes.events.recv() => change?,
            _ = closed.wait_for(|is_closing| *is_closing) => return None,
        };
        let event = Event::default().event("change").data(serde_json::to_string(&change).unwrap_or_default());
        Some((Ok::<_, Infallible>(event), (changes, closed)))
    });
    // Said at once, so that whoever waits for the headers knows that nothing is missed from now on.
    let ready = stream::once(async { Ok(Event::default().comment("watching")) });
    Ok(Sse::new(ready.chain(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}
