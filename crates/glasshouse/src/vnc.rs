//! VNC to a session: RFB over WebSocket for members of its room, and the pages of noVNC.

use std::{io, os::fd::AsRawFd, path::Path, sync::Arc};

use axum::{
    extract::Request,
    http::{HeaderValue, Uri, header},
    response::Response,
};
use glasshouse_desktop::Desktop;
use glasshouse_neko::{Guest, GuestError, Server};
use glasshouse_rfb::{Config, Door, Pending, Refusal, Rfb, Viewer};
use rustix::fs::{FileType, Mode, OFlags};
use tokio::net::UnixStream;

use crate::{cli::SessionOptions, web};

/// Clients at a time. For each the X server encodes the picture anew.
const MAX_CLIENTS: usize = 16;

/// What members are called in the room that came this way.
const NAME: &str = "VNC";

/// Where the pages are in what is embedded, and what they load when they are at the root, as websockify serves them.
const FOLDER: &str = "/novnc/";
const PAGES: [&str; 2] = ["/vnc.html", "/vnc_lite.html"];
const FOLDERS: [&str; 3] = ["/app/", "/core/", "/vendor/"];

/// Makes it; there is none for a display that somebody else has started.
pub(crate) fn make(options: &SessionOptions, desktop: &Arc<Desktop>, server: &Server) -> Option<Rfb> {
    desktop.rfb_socket()?;
    let door = Entrance { desktop: desktop.clone(), server: server.clone() };
    Some(Rfb::new(Config { door: Arc::new(door), allowed_origins: options.cors.clone(), max_clients: MAX_CLIENTS }))
}

/// Whether a path is a page of noVNC, or a file that it loads.
pub(crate) fn is_page(path: &str) -> bool {
    path == "/novnc"
        || path.starts_with(FOLDER)
        || PAGES.contains(&path)
        || FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// Answers a request for a path that [is a page's](is_page).
pub(crate) async fn page(request: Request) -> Response {
    let path = request.uri().path();
    if path == "/novnc" {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = axum::http::StatusCode::TEMPORARY_REDIRECT;
        // Relative, because a prefix or a gateway may stand before it.
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("novnc/"));
        return response;
    }
    let file = match path.strip_prefix(FOLDER) {
        Some("") => "vnc.html",
        Some(file) => file,
        None => path.trim_start_matches('/'),
    };
    let Ok(uri) = format!("{FOLDER}{file}").parse::<Uri>() else {
        return web::serve(request.method().clone(), Uri::from_static("/-")).await;
    };
    web::serve(request.method().clone(), uri).await
}

struct Entrance {
    desktop: Arc<Desktop>,
    server: Server,
}

impl Door for Entrance {
    fn admit(&self, token: Option<&str>) -> Result<Box<dyn Viewer>, Refusal> {
        match self.server.guest(token, NAME) {
            Ok(guest) => Ok(Box::new(Member(guest))),
            Err(GuestError::Unknown) => Err(Refusal::Unknown),
            Err(GuestError::Refused(why)) => Err(Refusal::Forbidden(why)),
        }
    }

    fn connect(&self) -> Pending<'_, io::Result<UnixStream>> {
        Box::pin(async {
            self.desktop.wake();
            let path = self.desktop.rfb_socket().ok_or(io::ErrorKind::NotFound)?;
            connect(path).await
        })
    }
}

/// Connects to a socket, and to nothing that a link leads to: without a user of its own, a program of the session could put one
/// there.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no socket"));
    }
    // The link of an open file leads to that file, whatever its name is now (proc_pid_fd(5)).
    UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
}

/// A member of the room that came this way.
struct Member(Guest);

impl Viewer for Member {
    fn may_watch(&self) -> Result<(), &'static str> {
        self.0.may_watch()
    }

    fn has_control(&self) -> bool {
        self.0.has_control()
    }

    fn claim(&mut self) -> bool {
        self.0.claim()
    }

    fn may_set_clipboard(&self) -> bool {
        self.0.may_set_clipboard()
    }

    fn may_resize(&self, width: u16, height: u16) -> bool {
        self.0.may_resize(width, height)
    }

    fn moved(&mut self, x: u16, y: u16) {
        self.0.pointer_moved(x, y);
    }

    fn wake(&self) {
        self.0.wake();
    }

    fn changed(&mut self) -> Pending<'_, ()> {
        Box::pin(self.0.changed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for path in
            ["/novnc", "/novnc/", "/novnc/vnc.html", "/vnc.html", "/vnc_lite.html", "/core/rfb.js", "/app/ui.js"]
        {
            assert!(is_page(path), "{path}");
        }
        for path in ["/", "/index.html", "/novncx", "/assets/x.js", "/api/vnc.html"] {
            assert!(!is_page(path), "{path}");
        }
    }

    #[tokio::test]
    async fn only_a_socket_itself_is_connected_to() {
        let folder = std::env::temp_dir().join(format!("glasshouse-vnc-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let _listener = tokio::net::UnixListener::bind(folder.join("socket")).unwrap();
        std::os::unix::fs::symlink(folder.join("socket"), folder.join("link")).unwrap();
        std::fs::write(folder.join("file"), "").unwrap();
        assert!(connect(&folder.join("socket")).await.is_ok());
        for wrong in ["link", "file", "nothing"] {
            assert!(connect(&folder.join(wrong)).await.is_err(), "{wrong}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
