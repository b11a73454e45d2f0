//! `/fs`: the files of our own API, by the paths that clients of this one use.

use std::{
    path::{Component, Path},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Json,
    body::Body as Bytes,
    extract::{Request, State},
    http::{StatusCode, Uri, header},
    response::IntoResponse,
};
use rustix::{fs::FileType, io::Errno};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Body, Fail, Reply, needed, query};
use crate::{
    Shared,
    files::{
        archive::{self, Incoming},
        content,
        pack::{self, Kind},
        place::Place,
        tree::{Entry, Replace, Tree},
    },
    problem::Problem,
    time,
};

/// HOME in the original's images, and where its recordings are; here they are below HOME.
const HOME: &str = "/home/kernel";
const RECORDINGS: &str = "/recordings";

pub(super) fn tree(shared: &Shared) -> Tree {
    Tree::new(shared.desktop().clone())
}

/// A path as the programs of the session see it.
pub(super) fn seen(shared: &Shared, path: &str) -> String {
    let home = shared.desktop().home_inside();
    let inside = |rest: &Path, below: &str| home.join(below).join(rest).to_string_lossy().into_owned();
    let given = Path::new(path);
    if let Ok(rest) = given.strip_prefix(HOME) {
        return inside(rest, "");
    }
    match given.strip_prefix(RECORDINGS) {
        Ok(rest) => inside(rest, "recordings"),
        Err(_) => path.to_owned(),
    }
}

/// The place of a path.
pub(super) fn place(shared: &Shared, tree: &Tree, path: &str) -> Result<Place, Fail> {
    if path.is_empty() {
        return Err(Fail::bad("path cannot be empty"));
    }
    Ok(tree.place(&seen(shared, path))?)
}

/// An error of the system's for which this API has words of its own.
pub(super) fn explain(problem: Problem, missing: &'static str, failed: &'static str) -> Fail {
    match problem.errno() {
        Some(Errno::NOENT) => Fail::missing(missing),
        // What is busy is so for a moment.
        _ if problem.status() == StatusCode::SERVICE_UNAVAILABLE => problem.into(),
        _ if problem.status().is_server_error() => Fail::failed(format!("{failed}: {problem}")),
        _ => problem.into(),
    }
}

fn done(status: StatusCode) -> Reply {
    Ok(status.into_response())
}

fn octal(mode: &str) -> Result<u32, Fail> {
    let is_octal = (1..=5).contains(&mode.len());
    u32::from_str_radix(mode, 8).ok().filter(|_| is_octal).ok_or_else(|| Fail::bad("invalid mode"))
}

pub(super) async fn read(State(shared): State<Arc<Shared>>, uri: Uri) -> Reply {
    let tree = tree(&shared);
    let place = place(&shared, &tree, &needed(&uri, "path")?)?;
    let (file, size) =
        tree.read(place).await.map_err(|problem| explain(problem, "file not found", "unable to open file"))?;
    let mut response = content(&shared, file, size);
    response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
    Ok(response)
}

pub(super) async fn write(State(shared): State<Arc<Shared>>, request: Request) -> Reply {
    let tree = tree(&shared);
    let place = place(&shared, &tree, &needed(request.uri(), "path")?)?;
    let mode =
        query(request.uri()).get("mode").filter(|mode| !mode.is_empty()).map_or(Ok(0o644), |mode| octal(mode))?;
    let body = Incoming::new(request.into_body(), shared.config.max_file);
    let written = archive::write(&tree, place, mode, body).await;
    written.map_err(|problem| explain(problem, "file not found", "failed to write data"))?;
    done(StatusCode::CREATED)
}

/// What this API says of a file; `path` as the client writes it.
fn describe(entry: &Entry, name: &str, path: &str) -> Value {
    let is_dir = FileType::from_raw_mode(entry.mode) == FileType::Directory;
    let (seconds, nanos) = entry.modified_at;
    let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let mut modified = time::rfc3339(at);
    if nanos > 0 {
        modified.insert_str(modified.len() - 1, format!(".{nanos:09}").trim_end_matches('0'));
    }
    json!({
        "name": name,
        "path": path,
        "size_bytes": if is_dir { 0 } else { entry.size },
        "is_dir": is_dir,
        "mod_time": modified,
        "mode": mode_text(entry.mode),
    })
}

/// Rights as Go writes them.
fn mode_text(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => "d",
        FileType::Symlink => "L",
        FileType::Fifo => "p",
        FileType::Socket => "S",
        FileType::CharacterDevice => "Dc",
        FileType::BlockDevice => "D",
        _ => "-",
    };
    let rights = "rwxrwxrwx".chars().enumerate();
    let rights: String = rights.map(|(at, letter)| if mode & (0o400 >> at) == 0 { '-' } else { letter }).collect();
    format!("{kind}{rights}")
}

pub(super) async fn list(State(shared): State<Arc<Shared>>, uri: Uri) -> Reply {
    let tree = tree(&shared);
    let path = needed(&uri, "path")?;
    let listed = tree.list(place(&shared, &tree, &path)?).await;
    let entries = listed.map_err(|problem| match problem.errno() {
        Some(Errno::NOENT | Errno::NOTDIR) => Fail::missing("directory not found"),
        _ => explain(problem, "directory not found", "failed to read directory"),
    })?;
    let all: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let name = entry.name.as_deref().unwrap_or_default();
            describe(entry, name, &Path::new(&path).join(name).to_string_lossy())
        })
        .collect();
    Ok(Json(all).into_response())
}

pub(super) async fn info(State(shared): State<Arc<Shared>>, uri: Uri) -> Reply {
    let tree = tree(&shared);
    let path = needed(&uri, "path")?;
    let entry = tree.stat(place(&shared, &tree, &path)?).await;
    let entry = entry.map_err(|problem| explain(problem, "path not found", "failed to stat path"))?;
    let name = Path::new(&path).components().next_back();
    let name = if let Some(Component::Normal(name)) = name { name.to_string_lossy() } else { "/".into() };
    Ok(Json(describe(&entry, &name, &path)).into_response())
}

#[derive(Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    path: String,
    mode: Option<String>,
}

pub(super) async fn make(State(shared): State<Arc<Shared>>, Body(asked): Body<Named>) -> Reply {
    let tree = tree(&shared);
    let place = place(&shared, &tree, &asked.path)?;
    let mode = asked.mode.as_deref().filter(|mode| !mode.is_empty()).map(octal).transpose()?;
    let is_new = tree.stat(place.clone()).await.is_err();
    let failed = |problem| explain(problem, "path not found", "unable to create directory");
    tree.make_folder(place.clone()).await.map_err(failed)?;
    if let (Some(mode), true) = (mode, is_new) {
        tree.set_mode(place, mode).await.map_err(failed)?;
    }
    done(StatusCode::CREATED)
}

pub(super) async fn remove_file(State(shared): State<Arc<Shared>>, Body(asked): Body<Named>) -> Reply {
    let tree = tree(&shared);
    let removed = tree.remove(place(&shared, &tree, &asked.path)?, false).await;
    removed.map_err(|problem| match problem.errno() {
        Some(Errno::NOTEMPTY) => Fail::failed(format!("unable to delete file: {problem}")),
        _ => explain(problem, "file not found", "unable to delete file"),
    })?;
    done(StatusCode::OK)
}

pub(super) async fn remove_folder(State(shared): State<Arc<Shared>>, Body(asked): Body<Named>) -> Reply {
    let tree = tree(&shared);
    match tree.remove(place(&shared, &tree, &asked.path)?, true).await {
        Err(problem) if problem.errno() != Some(Errno::NOENT) => {
            Err(explain(problem, "path not found", "unable to delete directory"))
        }
        _ => done(StatusCode::OK),
    }
}

pub(super) async fn set_mode(State(shared): State<Arc<Shared>>, Body(asked): Body<Named>) -> Reply {
    let tree = tree(&shared);
    let place = place(&shared, &tree, &asked.path)?;
    let mode = octal(asked.mode.as_deref().unwrap_or_default())?;
    tree.set_mode(place, mode).await.map_err(|problem| explain(problem, "path not found", "failed to chmod"))?;
    done(StatusCode::OK)
}

#[derive(Deserialize)]
pub(super) struct Move {
    #[serde(default)]
    src_path: String,
    #[serde(default)]
    dest_path: String,
}

pub(super) async fn rename(State(shared): State<Arc<Shared>>, Body(asked): Body<Move>) -> Reply {
    if asked.src_path.is_empty() || asked.dest_path.is_empty() {
        return Err(Fail::bad("src_path and dest_path required"));
    }
    let tree = tree(&shared);
    let (from, to) = (place(&shared, &tree, &asked.src_path)?, place(&shared, &tree, &asked.dest_path)?);
    let moved = tree.rename(from, to, Replace::Plain).await;
    moved.map_err(|problem| match problem.errno() {
        Some(Errno::NOENT) => Fail::missing("source not found"),
        Some(_) => Fail::failed(format!("failed to move path: {problem}")),
        None => problem.into(),
    })?;
    done(StatusCode::OK)
}

pub(super) async fn download_zip(State(shared): State<Arc<Shared>>, uri: Uri) -> Reply {
    download(&shared, &needed(&uri, "path")?, Kind::Zip, "application/zip").await
}

pub(super) async fn download_zstd(State(shared): State<Arc<Shared>>, uri: Uri) -> Reply {
    let level = match query(&uri).get("compression_level").map(String::as_str) {
        Some("fastest") => 1,
        Some("better") => 7,
        Some("best") => 12,
        _ => 3,
    };
    download(&shared, &needed(&uri, "path")?, Kind::Zstd(level), "application/zstd").await
}

async fn download(shared: &Arc<Shared>, path: &str, kind: Kind, content_type: &'static str) -> Reply {
    let tree = tree(shared);
    let place = place(shared, &tree, path)?;
    let body: Bytes = pack::pack(shared, &tree, place, kind).await.map_err(|problem| match problem.errno() {
        Some(Errno::NOTDIR) => Fail::bad("path is not a directory"),
        _ => explain(problem, "directory not found", "failed to create archive"),
    })?;
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_as_go_writes_them() {
        for (mode, text) in
            [(0o100_644, "-rw-r--r--"), (0o040_755, "drwxr-xr-x"), (0o120_777, "Lrwxrwxrwx"), (0o010_600, "prw-------")]
        {
            assert_eq!(mode_text(mode), text);
        }
        assert_eq!(octal("755").unwrap(), 0o755);
        for wrong in ["", "9", "x", "-1", "7777777"] {
            assert!(octal(wrong).is_err(), "{wrong}");
        }
    }
}
