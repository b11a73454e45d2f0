//! Computer use of the session's desktop, for the members of its room.

use std::sync::Arc;

use glasshouse_computer::{Computer, Config, Rights};
use glasshouse_desktop::Desktop;
use glasshouse_neko::Server;

use crate::{cli::SessionOptions, programs::Programs, walls};

/// Largest file or archive that is taken, and the share of the session's disk that it may be at most.
const MAX_FILE: u64 = 1 << 30;
const DISK_SHARE: u64 = 4;

/// Makes it, below the room's own paths.
pub(crate) fn make(options: &SessionOptions, desktop: &Arc<Desktop>, server: &Server, programs: &Programs) -> Computer {
    let prefix = options.path_prefix.trim_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    let (room, watched) = (server.clone(), server.clone());
    Computer::new(Config {
        desktop: desktop.clone(),
        rights: Arc::new(move |token| {
            let holder = room.holder(token)?;
            Some(Rights { admin: holder.is_admin, watch: holder.may_watch, control: holder.may_control })
        }),
        signaling: server.router(),
        signaling_path: format!("{slash}{prefix}/api/ws"),
        app_flags: options.app_flags.clone(),
        is_watched: Some(Arc::new(move || {
            let watched = watched.clone();
            Box::pin(async move { watched.traffic().await.0 > 0 })
        })),
        wheel: Some(Arc::new(programs.clone())),
        max_file: MAX_FILE.min(options.walls.disk.unwrap_or(walls::DISK) / DISK_SHARE),
    })
}
