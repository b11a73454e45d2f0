//! Windows.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::json;

use super::DONE;
use crate::{
    Shared,
    display::{Change, Trouble},
    problem::{Answer, Problem},
};

/// Largest coordinate and size that X has.
const LARGEST: i64 = i16::MAX as i64;

#[derive(Deserialize)]
pub(super) struct Place {
    x: i64,
    y: i64,
}

#[derive(Deserialize)]
pub(super) struct Size {
    width: i64,
    height: i64,
}

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Answer {
    shared.desktop().wake();
    let windows = shared.display.with(|eye| eye.windows()).await.map_err(|trouble| Problem::runtime(&trouble))?;
    Ok(Json(json!({ "windows": windows })).into_response())
}

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

pub(super) async fn focus(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    change(&shared, &id, Change::Focus).await
}

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

pub(super) async fn close(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    change(&shared, &id, Change::Close).await
}
