//! Shapes of what the server sends, beside those of the room.

use axum::extract::ws::Utf8Bytes;
use glasshouse_desktop::{ProgramState, Size};
use glasshouse_room::merge::{self, MergeError};
use serde::Serialize;
use serde_json::Value;

use crate::json;

/// Frames per second that sizes are announced with; capture follows changes and has no fixed rate.
const RATE: i16 = 60;

/// A screen size (neko's `ScreenSize`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ScreenSize {
    /// Width in pixels.
    pub width: i64,
    /// Height in pixels.
    pub height: i64,
    /// Frames per second.
    pub rate: i16,
}

impl ScreenSize {
    /// Stores the keys that an object has.
    pub(crate) fn merge(&mut self, value: &Value) -> Result<(), MergeError> {
        merge::object(value, |key, field| match key {
            "width" => field.int(&mut self.width),
            "height" => field.int(&mut self.height),
            "rate" => field.int(&mut self.rate),
            _ => Ok(()),
        })
    }

    /// As a size that the desktop takes, if it is one.
    pub(crate) fn size(self) -> Option<Size> {
        Some(Size { width: u16::try_from(self.width).ok()?, height: u16::try_from(self.height).ok()? })
    }
}

impl From<Size> for ScreenSize {
    fn from(size: Size) -> Self {
        Self { width: size.width.into(), height: size.height.into(), rate: RATE }
    }
}

/// Something with the id of whoever caused it in front.
#[derive(Debug, Serialize)]
pub(crate) struct By<'a, T> {
    pub(crate) id: &'a str,
    #[serde(flatten)]
    pub(crate) what: T,
}

/// A supervised program, in `glasshouse/init` and `glasshouse/program`.
#[derive(Debug, Serialize)]
pub(crate) struct Program<'a> {
    pub(crate) name: &'a str,
    pub(crate) state: &'static str,
    pub(crate) detail: &'a str,
}

impl<'a> Program<'a> {
    pub(crate) fn new(name: &'a str, state: &ProgramState, detail: &'a str) -> Self {
        let state = match state {
            ProgramState::Starting => "starting",
            ProgramState::Running => "running",
            ProgramState::Restarting => "restarting",
            ProgramState::Failed => "failed",
            ProgramState::Stopped => "stopped",
        };
        Self { name, state, detail }
    }
}

/// A WebSocket message, ready to be sent to any number of clients.
pub(crate) fn frame(event: &str, payload: &impl Serialize) -> Utf8Bytes {
    #[derive(Serialize)]
    struct Frame<'a, T> {
        event: &'a str,
        payload: &'a T,
    }
    json::to_text(&Frame { event, payload }).into()
}

/// `system/heartbeat`, the only message without a payload.
pub(crate) fn heartbeat() -> Utf8Bytes {
    Utf8Bytes::from_static("{\"event\":\"system/heartbeat\"}\n")
}

/// `system/disconnect`.
pub(crate) fn disconnect(message: &str) -> Utf8Bytes {
    frame("system/disconnect", &serde_json::json!({ "message": message }))
}

/// `glasshouse/error`.
pub(crate) fn error(event: &str, message: &str) -> Utf8Bytes {
    frame("glasshouse/error", &serde_json::json!({ "event": event, "message": message }))
}
