//! Windows.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::DONE;
use crate::{
    Shared,
    display::{Change, Trouble},
    problem::{Answer, Problem},
};

/// Largest coordinate and size that X has.
const LARGEST: i64 = i16::MAX as i64;

#[derive(Deserialize, ToSchema)]
#[schema(as = WindowPlace)]
pub(super) struct Place {
    x: i64,
    y: i64,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = WindowSize)]
pub(super) struct Size {
    width: i64,
    height: i64,
}

/// Windows that can be seen.
#[utoipa::path(get, path = "/v1/desktop/windows", tag = "windows", responses((status = 200, description = "The windows.", body = super::openapi::Windows)))]
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Answer {
    shared.desktop().wake();
    let windows = shared.display.with(|eye| eye.windows()).await.map_err(|trouble| Problem::runtime(&trouble))?;
    Ok(Json(json!({ "windows": windows })).into_response())
}

/// The window that has the keyboard.
#[utoipa::path(get, path = "/v1/desktop/windows/focused", tag = "windows", responses((status = 200, description = "The window.", body = crate::display::Window)))]
pub(super) async fn focused(State(shared): State<Arc<Shared>>) -> Answer {
    shared.desktop().wake();
    match shared.display.with(|eye| eye.focused()).await {
        Ok(Some(window)) => Ok(Json(window).into_response()),
        Ok(None) | Err(Trouble::NoWindow) => Err(Problem::no_focus()),
        Err(trouble) => Err(Problem::runtime(&trouble)),
    }
}

async fn change(shared: &Arc<Shared>, id: &str, change: Change) -> Answer {
    let number: u32 = id.parse().map_err(|_| Problem::no_window(id))?;
    shared.desktop().wake();
    match shared.display.with(move |eye| eye.change(number, change)).await {
        Ok(Some(window)) => Ok(Json(window).into_response()),
        Ok(None) => Ok(Json(DONE).into_response()),
        Err(Trouble::NoWindow) => Err(Problem::no_window(id)),
        Err(trouble) => Err(Problem::input(&trouble)),
    }
}

/// Gives a window the keyboard.
#[utoipa::path(post, path = "/v1/desktop/windows/{id}/focus", tag = "windows", params(("id" = String, Path, description = "Id of the window.")), responses((status = 200, description = "The window.", body = crate::display::Window)))]
pub(super) async fn focus(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    change(&shared, &id, Change::Focus).await
}

/// Moves a window.
#[utoipa::path(post, path = "/v1/desktop/windows/{id}/move", tag = "windows", request_body = Place, params(("id" = String, Path, description = "Id of the window.")), responses((status = 200, description = "The window.", body = crate::display::Window)))]
pub(super) async fn shift(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(asked): Json<Place>,
) -> Answer {
    let fits = |value: i64| i32::try_from(value).ok().filter(|_| value.abs() <= LARGEST);
    let outside = || Problem::action(format!("x and y must be from -{LARGEST} to {LARGEST}"));
    let (x, y) = fits(asked.x).zip(fits(asked.y)).ok_or_else(outside)?;
    change(&shared, &id, Change::Move(x, y)).await
}

/// Gives a window another size.
#[utoipa::path(post, path = "/v1/desktop/windows/{id}/resize", tag = "windows", request_body = Size, params(("id" = String, Path, description = "Id of the window.")), responses((status = 200, description = "The window.", body = crate::display::Window)))]
pub(super) async fn resize(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(asked): Json<Size>,
) -> Answer {
    let fits = |value: i64| u32::try_from(value).ok().filter(|_| (1..=LARGEST).contains(&value));
    let outside = || Problem::action(format!("width and height must be from 1 to {LARGEST}"));
    let (width, height) = fits(asked.width).zip(fits(asked.height)).ok_or_else(outside)?;
    change(&shared, &id, Change::Resize(width, height)).await
}

/// Asks a window to close.
#[utoipa::path(post, path = "/v1/desktop/windows/{id}/close", tag = "windows", params(("id" = String, Path, description = "Id of the window.")), responses((status = 200, description = "It is done.", body = super::Done)))]
pub(super) async fn close(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    change(&shared, &id, Change::Close).await
}
