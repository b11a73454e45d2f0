//! Extensions of the browser: uploaded as zip archives, kept below HOME, and loaded from there.

use std::sync::Arc;

use axum::{
    extract::{Multipart, Path, State, multipart::MultipartRejection, rejection::PathRejection},
    http::{StatusCode, Uri, header},
    response::{Html, IntoResponse},
};

use super::{
    answer::{Fail, Reply},
    chromium,
    files::{explain, tree},
    forms::{self, Budget, Kept},
};
use crate::{Shared, files};

/// Where they are, below HOME.
const FOLDER: &str = "extensions";
/// Most extensions of a form.
const MAX: usize = 32;

fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && ![".", ".."].contains(&name)
}

pub(super) async fn upload(State(shared): State<Arc<Shared>>, given: Result<Multipart, MultipartRejection>) -> Reply {
    let mut form = forms::form(given)?;
    let tree = tree(&shared);
    let mut budget = Budget::new(&shared);
    let mut all: Vec<(String, Kept)> = Vec::new();
    let (mut named, mut kept): (Option<String>, Option<Kept>) = (None, None);
    while let Some(field) = forms::next(&mut form).await? {
        let name: String = field.name().unwrap_or_default().chars().take(80).collect();
        match &*name {
            "extensions.name" if named.is_some() => return Err(Fail::bad("duplicate name in pair")),
            "extensions.name" => {
                let text = forms::text(field, &name).await?;
                if !is_name(&text) {
                    return Err(Fail::bad("invalid extension name"));
                }
                named = Some(text);
            }
            "extensions.zip_file" if kept.is_some() => return Err(Fail::bad("duplicate zip_file in pair")),
            "extensions.zip_file" => kept = Some(forms::keep(&tree, field, &name, &mut budget).await?),
            _ => return Err(Fail::bad(format!("invalid field: {name}"))),
        }
        if named.is_some() && kept.is_some() {
            all.extend(named.take().zip(kept.take()));
            if all.len() > MAX {
                return Err(Fail::bad(format!("a form has at most {MAX} extensions")));
            }
        }
    }
    if named.is_some() || kept.is_some() {
        return Err(Fail::bad("each extension must include consecutive name and zip_file"));
    }
    if all.is_empty() {
        return Err(Fail::bad("no extensions provided"));
    }
    let mut names: Vec<&String> = all.iter().map(|(name, _)| name).collect();
    names.sort();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    for (name, _) in &all {
        let place = tree.place(&format!("{FOLDER}/{name}"))?;
        if twice == Some(name) || tree.stat(place).await.is_ok() {
            return Err(Fail::bad(format!("extension name already exists: {name}")));
        }
    }
    let mut folders = Vec::new();
    for (name, kept) in all {
        let folder = tree.home().join(FOLDER).join(&name).to_string_lossy().into_owned();
        if let Err(error) = forms::unzip(&shared, &tree, kept, &folder).await {
            // So that a better archive can have the name.
            let _ = tree.remove(tree.place(&folder)?, true).await;
            return Err(error);
        }
        folders.push(format!("--load-extension={folder}"));
    }
    chromium::add(&shared, folders)?;
    chromium::restart(&shared).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// The files of extensions.
pub(super) async fn browse(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Reply {
    // The folder of all has no such part.
    let rest = path.map(|Path(path)| path).unwrap_or_default();
    let tree = tree(&shared);
    let place = tree.place(&format!("{FOLDER}/{rest}"))?;
    let missing = |problem| explain(problem, "404 page not found", "internal error");
    if rest.is_empty() || uri.path().ends_with('/') {
        let mut page = String::from("<!doctype html>\n<pre>\n");
        for entry in tree.list(place).await.map_err(missing)? {
            let name: String = entry.name.unwrap_or_default();
            let name = name.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
            page.push_str(&format!("<a href=\"{name}\">{name}</a>\n"));
        }
        page.push_str("</pre>\n");
        // What programs have named must not run as a page of ours.
        return Ok(([(header::CONTENT_SECURITY_POLICY, "sandbox")], Html(page)).into_response());
    }
    let (file, size) = tree.read(place).await.map_err(missing)?;
    Ok(files::content(&shared, file, size))
}
