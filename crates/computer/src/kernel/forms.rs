//! Uploads as forms. A file may come before the field that says where it goes, so it is kept without a name until then.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Seek, SeekFrom},
    sync::Arc,
};

use axum::{
    extract::{
        Multipart, State,
        multipart::{Field, MultipartRejection},
    },
    http::StatusCode,
    response::IntoResponse,
};
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;

use super::{
    answer::{Fail, Reply},
    files::{explain, place, tree},
};
use crate::{
    Shared,
    files::{
        archive::{self, Limits},
        place::Base,
        tree::{Draft, Tree},
    },
    problem::Problem,
};

/// Longest text of a field, in bytes.
const MAX_TEXT: usize = 4_096;
/// Most files of a form.
const MAX_FILES: usize = 1_000;
/// Memory for unpacking: 2 to the power of this, in bytes.
const WINDOW: u32 = 27;

/// A file that has come.
pub(super) struct Kept {
    file: File,
    draft: Draft,
}

/// What is left of the bytes that a form may have.
pub(super) struct Budget(u64);

impl Budget {
    pub(super) fn new(shared: &Shared) -> Self {
        Self(shared.config.max_file)
    }
}

pub(super) fn form(form: Result<Multipart, MultipartRejection>) -> Result<Multipart, Fail> {
    form.map_err(|error| Fail::plain(error.body_text()))
}

pub(super) async fn next(form: &mut Multipart) -> Result<Option<Field<'_>>, Fail> {
    form.next_field().await.map_err(|error| Fail::plain(error.body_text()))
}

pub(super) async fn text(mut field: Field<'_>, name: &str) -> Result<String, Fail> {
    let mut text = Vec::new();
    while let Some(part) = field.chunk().await.map_err(|error| Fail::bad(format!("failed to read {name}: {error}")))? {
        if text.len() + part.len() > MAX_TEXT {
            return Err(Fail::bad(format!("failed to read {name}: it is longer than {MAX_TEXT} bytes")));
        }
        text.extend_from_slice(&part);
    }
    String::from_utf8(text).map_err(|_| Fail::bad(format!("failed to read {name}: it is no UTF-8")))
}

pub(super) async fn keep(tree: &Tree, mut field: Field<'_>, name: &str, budget: &mut Budget) -> Result<Kept, Fail> {
    let (file, draft) = tree.begin_nameless().await?;
    let mut to = tokio::fs::File::from_std(file);
    let failed = |error: std::io::Error| Fail::failed(format!("failed to write data: {error}"));
    while let Some(part) = field.chunk().await.map_err(|error| Fail::bad(format!("failed to read {name}: {error}")))? {
        let too_large = || Problem::too_large("the form is too large: the limit is that of a file");
        budget.0 = budget.0.checked_sub(part.len() as u64).ok_or_else(too_large)?;
        to.write_all(&part).await.map_err(failed)?;
    }
    to.flush().await.map_err(failed)?;
    Ok(Kept { file: to.into_std().await, draft })
}

/// Which item of an upload a field is of, and whether it is the file.
fn item_of(name: &str) -> Option<(String, bool)> {
    let is_file = |field: &str| match field {
        "file" => Some(true),
        "dest_path" => Some(false),
        _ => None,
    };
    if let Some(is_file) = is_file(name) {
        return Some((String::new(), is_file));
    }
    let rest = name.strip_prefix("files")?;
    let (index, field) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_once('.')?,
        None => {
            let (index, field) = rest.strip_prefix('[')?.split_once(']')?;
            let field = field.strip_prefix('.').or_else(|| field.strip_prefix('[')?.strip_suffix(']'))?;
            (index, field)
        }
    };
    let is_number = !index.is_empty() && index.len() <= 6 && index.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(())?;
    Some((index.to_owned(), is_file(field)?))
}

fn absolute(path: &str) -> Result<(), Fail> {
    if path.starts_with('/') { Ok(()) } else { Err(Fail::bad("dest_path must be an absolute path")) }
}

pub(super) async fn upload(State(shared): State<Arc<Shared>>, given: Result<Multipart, MultipartRejection>) -> Reply {
    let mut form = form(given)?;
    let tree = tree(&shared);
    let mut budget = Budget::new(&shared);
    let mut items: BTreeMap<String, (Option<Kept>, Option<String>)> = BTreeMap::new();
    while let Some(field) = next(&mut form).await? {
        let name: String = field.name().unwrap_or_default().chars().take(80).collect();
        let (item, is_file) = item_of(&name).ok_or_else(|| Fail::bad(format!("invalid form field: {name}")))?;
        if items.len() >= MAX_FILES && !items.contains_key(&item) {
            return Err(Fail::bad(format!("a form has at most {MAX_FILES} files")));
        }
        let item = items.entry(item).or_default();
        if is_file {
            item.0 = Some(keep(&tree, field, &name, &mut budget).await?);
        } else {
            let path = text(field, &name).await?;
            absolute(&path)?;
            item.1 = Some(path);
        }
    }
    if items.is_empty() {
        return Err(Fail::bad("no files provided"));
    }
    let mut ready = Vec::with_capacity(items.len());
    for item in items.into_values() {
        let (Some(kept), Some(path)) = item else {
            return Err(Fail::bad("each item must include file and dest_path"));
        };
        ready.push((kept, place(&shared, &tree, &path)?));
    }
    for (kept, place) in ready {
        let finished = match place.base {
            Base::Home => tree.finish_as(&place, kept.draft, 0o644).await,
            Base::Temporary => archive::copy(&tree, kept.file, place, 0o644).await,
        };
        finished.map_err(|problem| explain(problem, "destination not found", "failed to write data"))?;
    }
    Ok(StatusCode::CREATED.into_response())
}

/// Reads a form with an archive.
async fn archive_form(
    shared: &Shared,
    tree: &Tree,
    form: &mut Multipart,
    archive: &str,
    others: &[&str],
) -> Result<(Kept, String, BTreeMap<String, String>), Fail> {
    let mut budget = Budget::new(shared);
    let (mut kept, mut words) = (None, BTreeMap::new());
    while let Some(field) = next(form).await? {
        let name: String = field.name().unwrap_or_default().chars().take(80).collect();
        if name == archive {
            kept = Some(keep(tree, field, &name, &mut budget).await?);
        } else if name == "dest_path" || others.contains(&&*name) {
            let word = text(field, &name).await?;
            if name == "dest_path" {
                absolute(&word)?;
            }
            words.insert(name, word);
        } else {
            return Err(Fail::bad(format!("invalid form field: {name}")));
        }
    }
    match (kept, words.remove("dest_path")) {
        (Some(kept), Some(path)) => Ok((kept, path, words)),
        _ => Err(Fail::bad(format!("{archive} and dest_path are required"))),
    }
}

/// Unpacks a zip archive that has come.
pub(super) async fn unzip(shared: &Shared, tree: &Tree, kept: Kept, path: &str) -> Result<(), Fail> {
    let _permit = shared.archives.acquire().await;
    let into = place(shared, tree, path)?;
    archive::can_hold_files(&into)?;
    let (seen, limits) = (tree.home().to_path_buf(), Limits { bytes: shared.config.max_file, strip: 0 });
    let at = into.clone();
    let Kept { file, draft } = kept;
    let unpacked = tree.with(&at, move |home| {
        let unpacked = archive::unzip(&file, home, &seen, &into, limits);
        drop(draft);
        Ok(unpacked)
    });
    unpacked.await?.map_err(|problem| match problem.errno() {
        None if problem.status() == StatusCode::BAD_REQUEST => Fail::bad(format!("invalid zip file: {problem}")),
        Some(Errno::LOOP | Errno::XDEV) | None => problem.into(),
        Some(_) => Fail::failed(format!("failed to extract zip: {problem}")),
    })
}

pub(super) async fn upload_zip(
    State(shared): State<Arc<Shared>>,
    given: Result<Multipart, MultipartRejection>,
) -> Reply {
    let tree = tree(&shared);
    let (kept, path, _) = archive_form(&shared, &tree, &mut form(given)?, "zip_file", &[]).await?;
    unzip(&shared, &tree, kept, &path).await?;
    Ok(StatusCode::CREATED.into_response())
}

pub(super) async fn upload_zstd(
    State(shared): State<Arc<Shared>>,
    given: Result<Multipart, MultipartRejection>,
) -> Reply {
    let tree = tree(&shared);
    let (kept, path, words) = archive_form(&shared, &tree, &mut form(given)?, "archive", &["strip_components"]).await?;
    let _permit = shared.archives.acquire().await;
    let into = place(&shared, &tree, &path)?;
    archive::can_hold_files(&into)?;
    let strip = words.get("strip_components").and_then(|number| number.parse().ok()).unwrap_or(0);
    let (seen, limits) = (tree.home().to_path_buf(), Limits { bytes: shared.config.max_file, strip });
    let at = into.clone();
    let Kept { mut file, draft } = kept;
    let unpacked = tree.with(&at, move |home| {
        file.seek(SeekFrom::Start(0))?;
        let mut decoder = zstd::Decoder::new(file)?;
        decoder.window_log_max(WINDOW)?;
        let unpacked = archive::untar(&mut decoder, home, &seen, &into, limits);
        drop(draft);
        Ok(unpacked)
    });
    unpacked.await?.map_err(|problem| match (problem.errno(), problem.status()) {
        // A name with `..`, or an absolute one.
        (None, StatusCode::FORBIDDEN) => Fail::bad("invalid archive: path traversal detected"),
        (None, StatusCode::PAYLOAD_TOO_LARGE) => problem.into(),
        (Some(Errno::LOOP | Errno::XDEV), _) => problem.into(),
        _ => Fail::failed(format!("failed to extract archive: {problem}")),
    })?;
    Ok(StatusCode::CREATED.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields() {
        for name in ["files[0].file", "files[0][file]", "files.0.file"] {
            assert_eq!(item_of(name), Some(("0".into(), true)), "{name}");
        }
        assert_eq!(item_of("files[12][dest_path]"), Some(("12".into(), false)));
        assert_eq!(item_of("dest_path"), Some((String::new(), false)));
        for wrong in
            ["", "files", "files[].file", "files[x].file", "files[0]", "files[0].x", "files.0", "filesx", "other"]
        {
            assert_eq!(item_of(wrong), None, "{wrong}");
        }
    }
}
