//! Screen size and pictures of the screen.

use std::time::{Duration, Instant};

use axum::extract::State;
use bytes::Bytes;

use super::{Answer, ApiError, Body, Caller, Query, ok, picture};
use crate::{Server, wire::ScreenSize};

/// However many clients poll `cast.jpg`, a picture is made at most this often.
const CAST_INTERVAL: Duration = Duration::from_millis(500);
/// JPEG quality of `cast.jpg`.
const CAST_QUALITY: u8 = 60;

pub(super) async fn read(State(server): State<Server>, caller: Caller) -> Answer {
    caller.watch()?;
    ok(&ScreenSize::from(server.inner.desk.size()))
}

pub(super) async fn set(State(server): State<Server>, caller: Caller, body: Body) -> Answer {
    caller.watch()?;
    caller.admin()?;
    let mut asked = ScreenSize::default();
    asked.merge(&body.json()?)?;
    let impossible = || ApiError::unprocessable("cannot set screen size");
    let size = asked.size().ok_or_else(impossible)?;
    let size = server.resize(&caller.id, size, 100).await.map_err(|_| impossible())?;
    ok(&ScreenSize::from(size))
}

pub(super) async fn configurations(State(server): State<Server>, caller: Caller) -> Answer {
    caller.watch()?;
    caller.admin()?;
    let sizes: Vec<_> = server.inner.desk.sizes().into_iter().map(ScreenSize::from).collect();
    ok(&sizes)
}

pub(super) async fn shot(State(server): State<Server>, caller: Caller, query: Query) -> Answer {
    caller.watch()?;
    caller.admin()?;
    let quality = query.get("quality").and_then(|quality| quality.parse::<i64>().ok()).unwrap_or(90).clamp(1, 100);
    let quality = u8::try_from(quality).unwrap_or(90);
    let jpeg = server.inner.desk.screenshot_jpeg(quality).await;
    picture("image/jpeg", jpeg.map_err(|error| ApiError::internal("screenshot", &error))?.into())
}

pub(super) async fn cast(State(server): State<Server>, caller: Caller) -> Answer {
    caller.watch()?;
    if server.inner.state.lock().room.is_private_for(&caller.profile) {
        return match server.inner.kept_picture().await {
            Some(kept) => picture("image/jpeg", kept),
            None => Err(ApiError::bad("private mode is enabled but no fallback image available")),
        };
    }
    let mut cast = server.inner.cast.lock().await;
    if let Some((made, jpeg)) = &*cast
        && made.elapsed() < CAST_INTERVAL
    {
        return picture("image/jpeg", jpeg.clone());
    }
    let jpeg = server.inner.desk.screenshot_jpeg(CAST_QUALITY).await;
    let jpeg = Bytes::from(jpeg.map_err(|error| ApiError::internal("screenshot", &error))?);
    server.inner.metrics.cast_pictures.inc();
    *cast = Some((Instant::now(), jpeg.clone()));
    // Private mode may have begun while the picture was made.
    if server.inner.state.lock().room.is_private_for(&caller.profile) {
        return Err(ApiError::bad("private mode is enabled but no fallback image available"));
    }
    picture("image/jpeg", jpeg)
}
