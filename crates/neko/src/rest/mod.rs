//! REST: routes, errors, and who is asking.

mod batch;
mod clipboard;
mod control;
mod error;
mod extract;
mod health;
mod keyboard;
mod links;
mod login;
mod members;
mod plugins;
mod programs;
mod screen;
mod sessions;
mod settings;
mod sleep;
mod upload;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Redirect, Response},
    routing::{MethodRouter, any, delete, get, post},
};
use serde::Serialize;

use crate::{Server, ask_rest, guard, json, ws};

pub(crate) use error::ApiError;
pub(crate) use extract::{Body, Caller, PeerOf, Query};
pub(crate) use programs::UNKNOWN_MODE;

/// Largest body of most requests in bytes.
const MAX_BODY: usize = 2 * 1024 * 1024;
/// Largest body that sets the clipboard.
const MAX_CLIPBOARD: usize = 16 * 1024 * 1024;

/// Answers who reads the trail with a stream of events, from after the one with this id.
pub type Trail = Box<dyn Fn(Option<u64>) -> Response + Send + Sync>;

/// What a handler answers.
pub(crate) type Answer = Result<Response, ApiError>;

/// 200 with JSON.
pub(crate) fn ok(value: &impl Serialize) -> Answer {
    Ok(json_response(StatusCode::OK, value))
}

/// 204.
pub(crate) fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], json::to_text(value)).into_response()
}

/// An image that must not be kept by anybody.
fn picture(kind: &'static str, bytes: bytes::Bytes) -> Answer {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache, no-store, must-revalidate")];
    Ok((headers, bytes).into_response())
}

pub(crate) async fn not_found() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::NOT_FOUND, headers, "404 page not found\n").into_response()
}

/// Everything under the path prefix; `page` answers what is no route.
pub(crate) fn router(server: &Server, page: MethodRouter<Server>) -> Router {
    let routes = Router::new()
        .merge(api(server))
        .merge(ask_rest::router())
        .route("/health", get(health::health))
        .route("/healthz", get(health::healthz))
        .route("/metrics", get(health::metrics))
        .fallback_service(page.with_state(server.clone()));
    let routes = match server.inner.config.path_prefix.trim_matches('/') {
        "" => routes,
        prefix => {
            // The page's addresses are relative to its folder.
            let folder = format!("/{prefix}/");
            let to_folder = get(move || async move { Redirect::permanent(&folder) });
            Router::new().route(&format!("/{prefix}"), to_folder).nest(&format!("/{prefix}/"), routes)
        }
    };
    routes
        .layer(middleware::from_fn_with_state(server.clone(), guard::cors))
        .layer(middleware::from_fn_with_state(server.clone(), guard::check_host))
        .with_state(server.clone())
}

/// Routes under `/api`, without prefix and checks of the connection; batch requests go through it again.
fn api(server: &Server) -> Router<Server> {
    let rooms = room(server);
    Router::new()
        .route("/api/batch", post(batch::run))
        .route("/api/ws", get(ws::upgrade))
        .route("/api/login", post(login::login))
        .route("/api/logout", post(login::logout))
        .route("/api/whoami", get(login::whoami))
        .route("/api/profile", post(login::profile))
        .route("/api/stats", get(sessions::stats))
        .merge(both("/api/sessions", || get(sessions::list)))
        .merge(both("/api/sessions/{id}", || get(sessions::read).delete(sessions::remove)))
        .route("/api/sessions/{id}/disconnect", post(sessions::disconnect))
        .merge(both("/api/members", || get(members::list).post(members::create)))
        .merge(both("/api/members/{id}", || get(members::read).post(members::update).delete(members::remove)))
        .route("/api/members/{id}/password", post(members::password))
        .route("/api/members_bulk/update", post(members::bulk_update))
        .route("/api/members_bulk/delete", post(members::bulk_delete))
        .merge(rooms)
        .merge(both("/api/chat", || post(plugins::chat)))
        .merge(both("/api/filetransfer", || {
            get(plugins::file_transfer).post(plugins::file_transfer).delete(plugins::file_transfer)
        }))
        .route("/api/openinapp/openlink", post(plugins::open_link))
        .route("/api/glasshouse/links", post(links::create))
        .route("/api/glasshouse/links/{label}", delete(links::remove))
        .route("/api/glasshouse/programs", get(programs::read).post(programs::update))
        .route("/api/trail", get(programs::trail))
        .route("/api/glasshouse/freeze", post(sleep::freeze))
        .route("/api/glasshouse/thaw", post(sleep::thaw))
        .route("/api/{*rest}", any(not_found))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

fn room(_server: &Server) -> Router<Server> {
    Router::new()
        .merge(both("/api/room/settings", || get(settings::read).post(settings::update)))
        .merge(both("/api/room/broadcast", || get(settings::broadcast)))
        .route("/api/room/broadcast/start", post(settings::broadcast_start))
        .route("/api/room/broadcast/stop", post(settings::broadcast_stop))
        .merge(both("/api/room/clipboard", || {
            get(clipboard::read).post(clipboard::write).layer(DefaultBodyLimit::max(MAX_CLIPBOARD))
        }))
        .route("/api/room/clipboard/image.png", get(clipboard::image))
        .route("/api/room/keyboard/map", get(keyboard::map).post(keyboard::set_map))
        .route("/api/room/keyboard/modifiers", get(keyboard::modifiers).post(keyboard::set_modifiers))
        .merge(both("/api/room/control", || get(control::read)))
        .route("/api/room/control/request", post(control::request))
        .route("/api/room/control/release", post(control::release))
        .route("/api/room/control/take", post(control::take))
        .route("/api/room/control/give/{id}", post(control::give))
        .route("/api/room/control/reset", post(control::reset))
        .merge(both("/api/room/screen", || get(screen::read).post(screen::set)))
        .route("/api/room/screen/configurations", get(screen::configurations))
        .route("/api/room/screen/cast.jpg", get(screen::cast))
        .route("/api/room/screen/shot.jpg", get(screen::shot))
        .route("/api/room/upload/drop", post(upload::drop))
        .route("/api/room/upload/dialog", delete(upload::dialog).post(upload::dialog))
}

/// A group's root answers with and without a slash at the end.
fn both(path: &str, handlers: impl Fn() -> axum::routing::MethodRouter<Server>) -> Router<Server> {
    Router::new().route(path, handlers()).route(&format!("{path}/"), handlers())
}
