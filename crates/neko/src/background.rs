//! What happens without anybody asking: the room's deadlines, the clipboard, statistics.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use glasshouse_desktop::Event as DesktopEvent;
use glasshouse_room::ConnectionId;
use glasshouse_webrtc::{Event as ViewerEvent, ViewerId, ViewerStats};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    Server,
    core::{Inner, State},
    payload, signal,
    wire::{self, By, Program, ScreenSize},
};

/// How often subscribed clients get statistics.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// Carries out the room's deadlines. Like the other tasks it holds the server only while it works, and is aborted when
/// the server goes.
pub(crate) async fn deadlines(server: Weak<Inner>, wake: Arc<Notify>) {
    loop {
        let due = match server.upgrade() {
            None => return,
            Some(inner) => inner.state.lock().room.poll_timeout(),
        };
        match due {
            None => wake.notified().await,
            Some(due) => tokio::select! {
                () = wake.notified() => continue,
                () = tokio::time::sleep_until(due.into()) => {}
            },
        }
        if let Some(inner) = server.upgrade() {
            inner.with(|state, now| state.room.handle_timeout(now));
        }
    }
}

/// Reads the clipboard whenever it changed and tells the host.
pub(crate) async fn clipboard(server: Weak<Inner>, changed: Arc<Notify>) {
    loop {
        changed.notified().await;
        let Some(inner) = server.upgrade() else { return };
        if clipboard_reader(&inner.state.lock()).is_none() {
            continue;
        }
        let Ok(text) = inner.desk.clipboard_text().await else { continue };
        inner.with(|state, _| {
            // Control may have changed hands while we read.
            if let Some(host) = clipboard_reader(state) {
                state.send(host, wire::frame("clipboard/updated", &json!({ "text": text })));
            }
        });
    }
}

/// The connection of the host, if it may know the clipboard.
fn clipboard_reader(state: &State) -> Option<ConnectionId> {
    let host = state.room.host()?;
    state.room.profile(host).filter(|profile| profile.can_access_clipboard)?;
    state.room.connection(host)
}

/// Sends statistics to those who asked for them.
pub(crate) async fn statistics(server: Weak<Inner>) {
    loop {
        tokio::time::sleep(STATS_INTERVAL).await;
        let Some(inner) = server.upgrade() else { return };
        let wanted: Vec<(ConnectionId, Option<ViewerId>)> = {
            let state = inner.state.lock();
            state
                .connections
                .iter()
                .filter(|(_, connection)| connection.stats)
                .map(|(id, connection)| (*id, state.viewer_of.get(&connection.session).copied()))
                .collect()
        };
        for (connection, viewer) in wanted {
            let stats = match viewer {
                Some(viewer) => inner.media.stats(viewer).await.ok(),
                None => None,
            };
            let payload = json!({
                "video": viewer.and_then(|viewer| inner.video_statistics(viewer)),
                "viewer": stats.as_ref().map(viewer_statistics),
            });
            inner.with(|state, _| state.send(connection, wire::frame("glasshouse/stats", &payload)));
        }
    }
}

fn viewer_statistics(stats: &ViewerStats) -> Value {
    json!({
        "estimate": stats.estimate,
        "round_trip_ms": stats.round_trip.map(|time| time.as_secs_f64() * 1000.0),
        "loss": stats.loss,
        "bytes_sent": stats.bytes_sent,
        "packets_sent": stats.packets_sent,
        "nacks": stats.nacks,
        "plis": stats.plis,
        "frames_dropped": stats.frames_dropped,
        "protocol": stats.protocol,
        "remote": stats.remote,
    })
}

impl Inner {
    fn video_statistics(&self, viewer: ViewerId) -> Option<Value> {
        let showing = self.state.lock().viewers.get(&viewer)?.state?;
        let all = self.video.get()?.stats();
        let stats =
            all.iter().find(|s| s.rendition.codec == showing.codec && s.rendition.quality == showing.quality)?;
        let frames = stats.frames.max(1);
        Some(json!({
            "codec": signal::codec_name(stats.rendition.codec),
            "quality": signal::stream_name(stats.rendition.quality),
            "frames": stats.frames,
            "key_frames": stats.key_frames,
            "bytes": stats.bytes,
            // Mean of a frame; frame counts stay far below 2⁵³.
            "encode_ms": stats.encode_time.as_secs_f64() * 1000.0 / frames as f64,
            "target_bit_rate": stats.target_bit_rate,
        }))
    }
}

impl Server {
    /// What happened on the desktop. Never blocks.
    pub fn desktop_event(&self, event: DesktopEvent) {
        let inner = &*self.inner;
        match event {
            DesktopEvent::Cursor(cursor) => inner.media.broadcast_data(None, payload::cursor_image(&cursor)),
            DesktopEvent::Clipboard { text, html, image } => {
                inner.with(|state, _| {
                    let Some(host) = clipboard_reader(state) else { return };
                    if state.connections.get(&host).is_some_and(|connection| connection.glasshouse) {
                        let payload = json!({ "text": text, "html": html, "image": image });
                        state.send(host, wire::frame("glasshouse/clipboard", &payload));
                    }
                });
                inner.clipboard.notify_one();
            }
            DesktopEvent::Screen(size) => inner.with(|state, _| {
                // Sizes that a member asked for are announced with its name when they are in effect.
                if state.resizing == 0 && state.screen != size {
                    state.announce_screen(size, "");
                }
            }),
            DesktopEvent::Program { name, state: program, detail } => inner.with(|state, _| {
                state.tell_all(&wire::frame("glasshouse/program", &Program::new(name, &program, &detail)));
            }),
            DesktopEvent::Asleep(asleep) => inner.with(|state, _| {
                state.tell_all(&wire::frame("glasshouse/asleep", &json!({ "asleep": asleep })));
            }),
            DesktopEvent::Limit { name, detail } => inner.with(|state, _| {
                state.tell_all(&wire::frame("glasshouse/limit", &json!({ "name": name, "detail": detail })));
            }),
            DesktopEvent::Ended(_) => {}
        }
    }

    /// What happened to a viewer. Never blocks.
    pub fn viewer_event(&self, event: ViewerEvent) {
        let inner = &*self.inner;
        match event {
            ViewerEvent::Connected(id) => inner.with(|state, now| {
                inner.metrics.viewers_connected.inc();
                if let Some(viewer) = state.viewers.get(&id) {
                    let session = viewer.session.clone();
                    state.room.set_watching(&session, true, now);
                }
            }),
            ViewerEvent::Closed(id) => inner.with(|state, now| {
                if let Some(session) = state.forget_viewer(id) {
                    if state.room.is_host(&session) {
                        inner.desk.input(glasshouse_desktop::Input::ReleaseAll);
                    }
                    inner.viewer_gone(state, &session, now);
                }
            }),
            ViewerEvent::DataOpen(id) => {
                if let Some(cursor) = inner.desk.cursor() {
                    inner.media.send_data(id, payload::cursor_image(&cursor));
                }
                let (x, y) = inner.state.lock().pointer;
                inner.media.send_data(id, payload::cursor_position(x, y));
            }
            ViewerEvent::Data(id, bytes) => self.viewer_data(id, &bytes),
            ViewerEvent::Video(id, video) => self.viewer_video(id, video),
        }
    }
}

impl State {
    /// Sends one of our own events to everybody who knows of them.
    pub(crate) fn tell_all(&self, message: &axum::extract::ws::Utf8Bytes) {
        for (id, connection) in &self.connections {
            if connection.glasshouse {
                self.send(*id, message.clone());
            }
        }
    }

    /// Notes a new screen size and tells everybody.
    pub(crate) fn announce_screen(&mut self, size: glasshouse_desktop::Size, by: &str) {
        self.screen = size;
        let message = wire::frame("screen/updated", &By { id: by, what: ScreenSize::from(size) });
        for id in self.connections.keys() {
            self.send(*id, message.clone());
        }
    }
}
