//! What of the API's document is about the desktop.

#![expect(dead_code, reason = "these describe answers that are made as JSON")]

use utoipa::{OpenApi, ToSchema};

use crate::display::Window;

#[derive(OpenApi)]
#[openapi(
    paths(
        super::apps::launch,
        super::apps::open,
        super::clipboard::read,
        super::clipboard::write,
        super::keyboard::down,
        super::keyboard::press,
        super::keyboard::up,
        super::keyboard::write,
        super::mouse::click,
        super::mouse::down,
        super::mouse::drag,
        super::mouse::go,
        super::mouse::position,
        super::mouse::scroll,
        super::mouse::up,
        super::recordings::download,
        super::recordings::list,
        super::recordings::read,
        super::recordings::remove,
        super::recordings::start,
        super::recordings::stop,
        super::screenshot::region,
        super::screenshot::whole,
        super::status::display,
        super::status::read,
        super::status::start,
        super::status::stop,
        super::stream::signaling,
        super::stream::start,
        super::stream::status,
        super::stream::stop,
        super::wait::change,
        super::wait::stable,
        super::wait::turn,
        super::windows::close,
        super::windows::focus,
        super::windows::focused,
        super::windows::list,
        super::windows::resize,
        super::windows::shift,
    ),
    components(schemas(super::screenshot::FormatName))
)]
pub(crate) struct Document;

/// Where the pointer is, in pixels of the screen.
#[derive(ToSchema)]
pub(super) struct Position {
    x: i32,
    y: i32,
    /// Always 0.
    screen: u32,
    /// The window below it, if any.
    #[schema(nullable = false)]
    window: Option<String>,
}

/// Windows, lowest first.
#[derive(ToSchema)]
pub(super) struct Windows {
    windows: Vec<Window>,
}

/// What is on the clipboard, or marked.
#[derive(ToSchema)]
pub(super) struct Clipboard {
    text: String,
    /// `clipboard` or `primary`.
    selection: String,
}

/// A program that was started.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Launched {
    /// Its id below `/v1/processes`; `app` for the session's own browser.
    process_id: String,
    #[schema(nullable = false)]
    pid: Option<i32>,
    /// Its window, if that was waited for and came.
    #[schema(nullable = false)]
    window_id: Option<String>,
}

/// What became of a wait for a screen that is still.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct WasStable {
    stable: bool,
    waited_ms: u64,
    /// Why it ended early.
    #[schema(nullable = false)]
    error: Option<String>,
}

/// What became of a wait for another picture.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct HasChanged {
    changed: bool,
    waited_ms: u64,
    /// Of the picture now, to wait for the next change of it.
    #[schema(nullable = false)]
    tag: Option<String>,
    /// Why it ended early.
    #[schema(nullable = false)]
    error: Option<String>,
}

/// Size of the screen in pixels, and dots an inch.
#[derive(ToSchema)]
pub(super) struct Resolution {
    width: u32,
    height: u32,
    dpi: u32,
}

/// The display.
#[derive(ToSchema)]
pub(super) struct DisplayInfo {
    display: String,
    resolution: Resolution,
}

/// A program of the desktop.
#[derive(ToSchema)]
pub(super) struct DesktopProcess {
    name: String,
    running: bool,
}

/// Why the desktop failed.
#[derive(ToSchema)]
pub(super) struct DesktopError {
    code: String,
    message: String,
}

/// How the desktop is.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct DesktopStatus {
    /// `active`, `starting` or `failed`.
    state: String,
    display: String,
    resolution: Resolution,
    /// When computer use began (RFC 3339).
    started_at: String,
    missing_dependencies: Vec<String>,
    processes: Vec<DesktopProcess>,
    #[schema(nullable = false)]
    last_error: Option<DesktopError>,
    /// Left out when there are none, or the desktop is frozen.
    #[schema(nullable = false)]
    windows: Option<Vec<Window>>,
}

/// Whether viewers may come by `stream/signaling`.
#[derive(ToSchema)]
pub(super) struct Streaming {
    active: bool,
}

/// A film of the screen.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Recording {
    id: String,
    /// `recording`, `completed` or `failed`.
    status: String,
    file_name: String,
    bytes: u64,
    /// When it began (RFC 3339).
    started_at: String,
    #[schema(nullable = false)]
    ended_at: Option<String>,
}

/// Films of the screen.
#[derive(ToSchema)]
pub(super) struct Recordings {
    recordings: Vec<Recording>,
}
