//! The API of kernel-images, for its clients: what it says by the functions that our own API uses.
//!
//! Paths, statuses, texts and keys are those of `server/openapi.yaml` of onkernel/kernel-images and of its handlers, where they
//! differ. What is different here is in docs/kernel-images.md.

mod answer;
mod attach;
mod chromium;
mod display;
mod extensions;
mod files;
mod flags;
mod forms;
mod hands;
mod logs;
mod playwright;
mod pointer;
mod process;
mod recording;
mod spec;
mod watches;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::AtomicBool},
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{map_request, map_response},
    routing::{delete, get, patch, post, put},
};
use parking_lot::Mutex;

use crate::{
    Shared,
    access::{Power, guarded},
};

/// First parts of its paths.
const FOLDERS: [&str; 8] =
    ["/computer/", "/process/", "/fs/", "/logs/", "/chromium/", "/playwright/", "/recording/", "/extensions/"];
const PATHS: [&str; 4] = ["/display", "/spec.yaml", "/spec.json", "/extensions"];

/// Whether a path is of this API.
pub(crate) fn has(path: &str) -> bool {
    PATHS.contains(&path) || FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// What it remembers.
#[derive(Default)]
pub(crate) struct State {
    /// Flags that clients have added, in their order.
    flags: Mutex<Vec<String>>,
    /// Held while the browser is started again.
    restarts: tokio::sync::Mutex<()>,
    /// Held while code is executed.
    playwright: tokio::sync::Mutex<()>,
    /// Whether pictures are to be without the pointer.
    is_cursor_hidden: AtomicBool,
    /// Processes with somebody at their terminal.
    attached: Mutex<HashSet<String>>,
    watches: Mutex<HashMap<String, Arc<watches::Watch>>>,
}

impl State {
    /// Ends what waits.
    pub(crate) fn shutdown(&self) {
        self.watches.lock().clear();
    }
}

pub(crate) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let any = Router::new()
        .route("/spec.yaml", get(spec::yaml))
        .route("/spec.json", get(spec::json))
        .route("/recording/list", get(recording::list));
    let watch = Router::new()
        .route("/computer/screenshot", post(pointer::screenshot))
        .route("/recording/download", get(recording::download));
    let control = Router::new()
        .route("/computer/move_mouse", post(pointer::go))
        .route("/computer/click_mouse", post(pointer::click))
        .route("/computer/cursor", post(pointer::cursor))
        .route("/computer/type", post(pointer::write))
        .route("/computer/press_key", post(pointer::press))
        .route("/computer/scroll", post(pointer::scroll))
        .route("/computer/drag_mouse", post(pointer::drag));
    let admin = Router::new()
        .route("/fs/read_file", get(files::read))
        .route("/fs/write_file", put(files::write))
        .route("/fs/list_files", get(files::list))
        .route("/fs/file_info", get(files::info))
        .route("/fs/create_directory", put(files::make))
        .route("/fs/delete_file", put(files::remove_file))
        .route("/fs/delete_directory", put(files::remove_folder))
        .route("/fs/set_file_permissions", put(files::set_mode))
        .route("/fs/move", put(files::rename))
        .route("/fs/upload", post(forms::upload))
        .route("/fs/upload_zip", post(forms::upload_zip))
        .route("/fs/upload_zstd", post(forms::upload_zstd))
        .route("/fs/download_dir_zip", get(files::download_zip))
        .route("/fs/download_dir_zstd", get(files::download_zstd))
        .route("/fs/watch", post(watches::start))
        .route("/fs/watch/{id}/events", get(watches::events))
        .route("/fs/watch/{id}", delete(watches::stop))
        .route("/logs/stream", get(logs::stream))
        .route("/recording/start", post(recording::start))
        .route("/recording/stop", post(recording::stop))
        .route("/recording/delete", post(recording::remove))
        .route("/extensions", get(extensions::browse))
        .route("/extensions/", get(extensions::browse))
        .route("/extensions/{*path}", get(extensions::browse));
    let start = Router::new()
        .route("/process/exec", post(process::exec))
        .route("/process/spawn", post(process::spawn))
        .route("/process/{id}/status", get(process::status))
        .route("/process/{id}/stdout/stream", get(process::stream))
        .route("/process/{id}/stdin", post(process::input))
        .route("/process/{id}/kill", post(process::kill))
        .route("/process/{id}/resize", post(process::resize))
        .route("/process/{id}/attach", get(attach::upgrade))
        .route("/playwright/execute", post(playwright::execute));
    let open = Router::new()
        .route("/display", patch(display::change))
        .route("/chromium/flags", patch(chromium::flags))
        .route("/chromium/upload-extensions-and-restart", post(extensions::upload));
    guarded(any, shared, Power::Any)
        .merge(guarded(watch, shared, Power::Watch))
        .merge(guarded(control, shared, Power::Control))
        .merge(guarded(admin, shared, Power::Admin))
        .merge(guarded(start, shared, Power::Start))
        .merge(guarded(open, shared, Power::Open))
        // What is long is bounded where it is read.
        .layer(DefaultBodyLimit::disable())
        .layer(map_request(answer::token_in_address))
        .layer(map_response(answer::reshape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for path in ["/computer/type", "/spec.json", "/display", "/extensions/a/update.xml", "/fs/watch/x"] {
            assert!(has(path), "{path}");
        }
        for path in ["/", "/displays", "/v1/fs/file", "/api/login", "/computerx/a", "/spec.yml", "/assets/x.js"] {
            assert!(!has(path), "{path}");
        }
    }
}
