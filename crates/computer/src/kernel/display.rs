//! `/display`.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use glasshouse_desktop::{Error, Size};
use serde::Deserialize;
use serde_json::json;

use super::{
    answer::{Body, Fail, Reply},
    chromium,
};
use crate::Shared;

/// What is said of the rate when nobody has asked for one: pictures come when something changes.
const RATE: i64 = 60;

#[derive(Deserialize)]
pub(super) struct Change {
    width: Option<i64>,
    height: Option<i64>,
    refresh_rate: Option<i64>,
    require_idle: Option<bool>,
    restart_chromium: Option<bool>,
}

pub(super) async fn change(State(shared): State<Arc<Shared>>, Body(asked): Body<Change>) -> Reply {
    if asked.width.is_none() && asked.height.is_none() {
        return Err(Fail::bad("no display parameters to update"));
    }
    let now = shared.desktop().size();
    let (width, height) = (asked.width.unwrap_or(now.width.into()), asked.height.unwrap_or(now.height.into()));
    let (Some(size_width), Some(size_height)) = (side(width), side(height)) else {
        return Err(Fail::bad("invalid width/height"));
    };
    let is_watched = async {
        match &shared.config.is_watched {
            Some(is_watched) => is_watched().await,
            None => false,
        }
    };
    if asked.require_idle != Some(false) && (shared.recorder.is_active() || is_watched.await) {
        return Err(Fail::conflict("resize refused: live view or recording/replay active"));
    }
    let size = Size { width: size_width, height: size_height };
    shared.desktop().resize(size, 100).await.map_err(|error| match error {
        Error::Invalid(text) => Fail::bad(format!("invalid width/height: {text}")),
        error => Fail::failed(format!("failed to change resolution: {error}")),
    })?;
    if asked.restart_chromium == Some(true) {
        chromium::restart(&shared).await?;
    }
    let rate = asked.refresh_rate.unwrap_or(RATE);
    Ok(Json(json!({ "width": width, "height": height, "refresh_rate": rate })).into_response())
}

fn side(value: i64) -> Option<u16> {
    u16::try_from(value).ok().filter(|value| *value > 0)
}
