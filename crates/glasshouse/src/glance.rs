//! What a list of many sessions shows of this one: a small picture, also while it is frozen, and what it uses.

use std::{fs, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use glasshouse_desktop::Desktop;
use glasshouse_neko::Server;
use serde_json::{Value, json};

/// Widest picture in pixels: a card of the console on a dense screen.
const WIDTH: u16 = 560;
/// How long the last picture may hold up freezing.
const LAST_PICTURE: Duration = Duration::from_secs(2);

pub(crate) struct Glance {
    desktop: Arc<Desktop>,
    server: Server,
    /// The last picture. Held while one is made and while the session is put to sleep, so that no picture wakes it.
    last: tokio::sync::Mutex<Option<Picture>>,
}

#[derive(Clone)]
struct Picture {
    tag: u64,
    jpeg: Bytes,
}

/// Routes for the server of this session.
pub(crate) fn routes(desktop: Arc<Desktop>, server: Server) -> Router {
    let glance = Glance { desktop, server, last: tokio::sync::Mutex::default() };
    Router::new()
        .route("/managed/thumbnail", get(thumbnail))
        .route("/managed/usage", get(usage))
        .route("/managed/freeze", post(freeze))
        .with_state(Arc::new(glance))
}

impl Glance {
    async fn look(&self, last: &mut Option<Picture>) -> Result<(), glasshouse_desktop::Error> {
        let made = self.desktop.thumbnail(WIDTH, last.as_ref().map(|last| last.tag)).await?;
        if let Some(jpeg) = made.jpeg {
            *last = Some(Picture { tag: made.tag, jpeg: jpeg.into() });
        }
        Ok(())
    }
}

async fn freeze(State(glance): State<Arc<Glance>>) -> Response {
    let mut last = glance.last.lock().await;
    if !glance.desktop.is_asleep() {
        // What cannot be seen can be frozen all the same.
        let _ = tokio::time::timeout(LAST_PICTURE, glance.look(&mut last)).await;
    }
    match glance.desktop.freeze().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::CONFLICT, error.to_string()).into_response(),
    }
}

async fn thumbnail(State(glance): State<Arc<Glance>>, headers: HeaderMap) -> Response {
    let picture = {
        let mut last = glance.last.lock().await;
        if !glance.desktop.is_asleep()
            && let Err(error) = glance.look(&mut last).await
        {
            return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
        }
        last.clone()
    };
    let Some(Picture { tag, jpeg }) = picture else { return StatusCode::NO_CONTENT.into_response() };
    let tag = format!("\"{tag:016x}\"");
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    ([kind], [(header::ETAG, tag)], jpeg).into_response()
}

async fn usage(State(glance): State<Arc<Glance>>) -> Json<Value> {
    let (viewers, sent) = glance.server.traffic().await;
    // Files in /sys and /proc: no disk is read.
    let programs = glance.desktop.usage().unwrap_or_default();
    let own = own();
    let cpu = programs.cpu.map(|cpu| cpu + own.cpu);
    Json(json!({
        "cpu_seconds": cpu.map(|cpu| cpu.as_secs_f64()),
        "memory_bytes": programs.memory.map(|memory| memory + own.memory),
        "sent_bytes": sent,
        "viewers": viewers,
    }))
}

pub(crate) struct Own {
    pub(crate) cpu: Duration,
    pub(crate) memory: u64,
}

/// What this process uses, which is outside the walls: the encoder, mostly.
pub(crate) fn own() -> Own {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let number = |index| fields.split_ascii_whitespace().nth(index).and_then(|field| field.parse::<u64>().ok());
    // proc_pid_stat(5): utime is field 14, stime 15, rss 24; the first after the name is 3.
    let ticks = number(11).unwrap_or(0) + number(12).unwrap_or(0);
    let pages = number(21).unwrap_or(0);
    Own {
        cpu: Duration::from_millis(ticks.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1)),
        memory: pages.saturating_mul(rustix::param::page_size() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_use_is_read() {
        let own = own();
        assert!(own.memory > 1_000_000, "{} bytes", own.memory);
        assert!(own.cpu < Duration::from_secs(86_400));
    }
}
