//! What each path answers.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::{delete, get, post},
};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, Take};

use super::{
    archive::{self, Incoming},
    tree::Tree,
};
use crate::{
    Shared,
    access::{Power, guarded},
    problem::{Answer, Problem},
};

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

pub(crate) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let routes = Router::new()
        .route("/v1/fs/entries", get(list))
        .route("/v1/fs/file", get(read).put(write))
        .route("/v1/fs/entry", delete(remove))
        .route("/v1/fs/mkdir", post(make))
        .route("/v1/fs/move", post(rename))
        .route("/v1/fs/stat", get(stat))
        .route("/v1/fs/upload-batch", post(upload));
    guarded(routes, shared, Power::Admin)
}

#[derive(Deserialize)]
struct MaybePath {
    path: Option<String>,
}

#[derive(Deserialize)]
struct OnePath {
    path: String,
}

#[derive(Deserialize)]
struct Removal {
    path: String,
    recursive: Option<bool>,
}

#[derive(Deserialize)]
struct Rename {
    from: String,
    to: String,
    overwrite: Option<bool>,
}

fn tree(shared: &Shared) -> Tree {
    Tree::new(shared.desktop().clone())
}

async fn list(State(shared): State<Arc<Shared>>, Query(query): Query<MaybePath>) -> Answer {
    let tree = tree(&shared);
    let place = tree.place(query.path.as_deref().unwrap_or("."))?;
    Ok(Json(tree.list(place).await?).into_response())
}

async fn stat(State(shared): State<Arc<Shared>>, Query(query): Query<OnePath>) -> Answer {
    let tree = tree(&shared);
    Ok(Json(tree.stat(tree.place(&query.path)?).await?).into_response())
}

async fn read(State(shared): State<Arc<Shared>>, Query(query): Query<OnePath>) -> Answer {
    let tree = tree(&shared);
    let (file, size) = tree.read(tree.place(&query.path)?).await?;
    // What is written to it meanwhile is not waited for.
    let file = tokio::fs::File::from_std(file).take(size);
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, Body::from_stream(stream::unfold((file, shared.closed_flag()), chunk))).into_response())
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

async fn write(State(shared): State<Arc<Shared>>, Query(query): Query<OnePath>, request: Request) -> Answer {
    let tree = tree(&shared);
    let place = tree.place(&query.path)?;
    let (parts, body) = request.into_parts();
    let body = incoming(&shared, &parts.headers, body)?;
    let shown = place.shown.clone();
    let written = archive::write(&tree, place, body).await?;
    Ok(Json(json!({ "path": shown, "bytesWritten": written })).into_response())
}

async fn remove(State(shared): State<Arc<Shared>>, Query(query): Query<Removal>) -> Answer {
    let tree = tree(&shared);
    let place = tree.place(&query.path)?;
    let shown = place.shown.clone();
    tree.remove(place, query.recursive == Some(true)).await?;
    Ok(Json(json!({ "path": shown })).into_response())
}

async fn make(State(shared): State<Arc<Shared>>, Query(query): Query<OnePath>) -> Answer {
    let tree = tree(&shared);
    let place = tree.place(&query.path)?;
    let shown = place.shown.clone();
    tree.make_folder(place).await?;
    Ok(Json(json!({ "path": shown })).into_response())
}

async fn rename(State(shared): State<Arc<Shared>>, Json(asked): Json<Rename>) -> Answer {
    let tree = tree(&shared);
    let (from, to) = (tree.place(&asked.from)?, tree.place(&asked.to)?);
    let answer = json!({ "from": from.shown, "to": to.shown });
    tree.rename(from, to, asked.overwrite == Some(true)).await?;
    Ok(Json(answer).into_response())
}

async fn upload(State(shared): State<Arc<Shared>>, Query(query): Query<MaybePath>, request: Request) -> Answer {
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
