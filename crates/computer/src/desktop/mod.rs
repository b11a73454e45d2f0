//! `/v1/desktop`.

mod apps;
mod clipboard;
mod keyboard;
pub(crate) mod keys;
mod mouse;
mod openapi;
pub(crate) mod recordings;
pub(crate) mod screenshot;
mod status;
mod stream;
mod wait;
mod windows;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{delete, get, post},
};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use openapi::Document;

use crate::{
    Shared,
    access::{Power, guarded},
};

/// Largest body that sets the clipboard, in bytes: what the desktop takes, and what JSON adds.
const MAX_CLIPBOARD: usize = 2 * 16 * 1024 * 1024;

/// What is answered when there is nothing to say.
#[derive(Serialize, ToSchema)]
struct Done {
    ok: bool,
}

const DONE: Done = Done { ok: true };

pub(crate) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let path = |rest: &str| format!("/v1/desktop/{rest}");
    let any = Router::new()
        .route(&path("status"), get(status::read))
        .route(&path("start"), post(status::start))
        .route(&path("stop"), post(status::stop));
    let watch = Router::new()
        .route(&path("screenshot"), get(screenshot::whole))
        .route(&path("screenshot/region"), get(screenshot::region))
        .route(&path("display/info"), get(status::display))
        .route(&path("mouse/position"), get(mouse::position))
        .route(&path("windows"), get(windows::list))
        .route(&path("windows/focused"), get(windows::focused))
        .route(&path("wait/stable"), post(wait::stable))
        .route(&path("wait/change"), post(wait::change))
        .route(&path("recordings"), get(recordings::list))
        .route(&path("recordings/{id}"), get(recordings::read))
        .route(&path("recordings/{id}/download"), get(recordings::download))
        .route(&path("stream/status"), get(stream::status))
        .route(&path("stream/signaling"), get(stream::signaling));
    let control = Router::new()
        .route(&path("mouse/move"), post(mouse::go))
        .route(&path("mouse/click"), post(mouse::click))
        .route(&path("mouse/down"), post(mouse::down))
        .route(&path("mouse/up"), post(mouse::up))
        .route(&path("mouse/drag"), post(mouse::drag))
        .route(&path("mouse/scroll"), post(mouse::scroll))
        .route(&path("wait/turn"), post(wait::turn))
        .route(&path("keyboard/type"), post(keyboard::write))
        .route(&path("keyboard/press"), post(keyboard::press))
        .route(&path("keyboard/down"), post(keyboard::down))
        .route(&path("keyboard/up"), post(keyboard::up))
        .route(&path("windows/{id}/focus"), post(windows::focus))
        .route(&path("windows/{id}/move"), post(windows::shift))
        .route(&path("windows/{id}/resize"), post(windows::resize))
        .route(&path("windows/{id}/close"), post(windows::close))
        .route(
            &path("clipboard"),
            get(clipboard::read).post(clipboard::write).layer(DefaultBodyLimit::max(MAX_CLIPBOARD)),
        );
    let share =
        Router::new().route(&path("stream/start"), post(stream::start)).route(&path("stream/stop"), post(stream::stop));
    let open = Router::new().route(&path("launch"), post(apps::launch)).route(&path("open"), post(apps::open));
    let admin = Router::new()
        .route(&path("recordings/{id}"), delete(recordings::remove))
        .route(&path("recording/start"), post(recordings::start))
        .route(&path("recording/stop"), post(recordings::stop));
    guarded(any, shared, Power::Any)
        .merge(guarded(watch, shared, Power::Watch))
        .merge(guarded(control, shared, Power::Control))
        .merge(guarded(share, shared, Power::Share))
        .merge(guarded(open, shared, Power::Open))
        .merge(guarded(admin, shared, Power::Admin))
}
