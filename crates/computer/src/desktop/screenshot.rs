//! Pictures of the screen, made here from its pixels.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    http::header,
    response::IntoResponse,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    Shared,
    display::{Rect, Trouble},
    picture::{self, Format},
    problem::{Answer, Problem},
};

const QUALITY: u8 = 85;

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[schema(as = PictureFormat)]
#[serde(rename_all = "lowercase")]
pub(super) enum FormatName {
    Png,
    #[serde(alias = "jpg")]
    Jpeg,
    Webp,
}

/// How a picture is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(super) struct Look {
    format: Option<FormatName>,
    quality: Option<i64>,
    scale: Option<f64>,
    show_cursor: Option<bool>,
}

/// The same, of a part of the screen.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegionLook {
    x: i64,
    y: i64,
    width: i64,
    height: i64,
    format: Option<FormatName>,
    quality: Option<i64>,
    scale: Option<f64>,
    show_cursor: Option<bool>,
}

/// Checks the part of the screen that a client names.
pub(super) fn rect(x: i64, y: i64, width: i64, height: i64) -> Result<Rect, Problem> {
    if x < 0 || y < 0 {
        return Err(Problem::action("x and y must not be negative"));
    }
    if width <= 0 || height <= 0 {
        return Err(Problem::action("width and height must be greater than 0"));
    }
    let (Ok(x), Ok(y), Ok(width), Ok(height)) = (x.try_into(), y.try_into(), width.try_into(), height.try_into())
    else {
        return Err(Problem::action("the region is outside of the screen"));
    };
    Ok(Rect { x, y, width, height })
}

/// The screen.
#[utoipa::path(get, path = "/v1/desktop/screenshot", tag = "screenshot", params(Look), responses((status = 200, description = "The picture, as `format` says. Its `ETag` says whether pixels are the same.", body = Vec<u8>, content_type = "image/png")))]
pub(super) async fn whole(State(shared): State<Arc<Shared>>, Query(look): Query<Look>) -> Answer {
    shoot(&shared, None, look).await
}

/// A part of the screen.
#[utoipa::path(get, path = "/v1/desktop/screenshot/region", tag = "screenshot", params(RegionLook), responses((status = 200, description = "The picture, as `format` says. Its `ETag` says whether pixels are the same.", body = Vec<u8>, content_type = "image/png")))]
pub(super) async fn region(State(shared): State<Arc<Shared>>, Query(asked): Query<RegionLook>) -> Answer {
    let part = rect(asked.x, asked.y, asked.width, asked.height)?;
    let RegionLook { format, quality, scale, show_cursor, .. } = asked;
    shoot(&shared, Some(part), Look { format, quality, scale, show_cursor }).await
}

/// The screen, or a part of it, as PNG.
pub(crate) async fn png(shared: &Shared, part: Option<Rect>, with_pointer: bool) -> Answer {
    let look = Look { format: Some(FormatName::Png), quality: None, scale: None, show_cursor: Some(with_pointer) };
    shoot(shared, part, look).await
}

async fn shoot(shared: &Shared, part: Option<Rect>, look: Look) -> Answer {
    let quality = look.quality.unwrap_or(QUALITY.into());
    let quality = u8::try_from(quality).ok().filter(|quality| (1..=100).contains(quality));
    let quality = quality.ok_or_else(|| Problem::action("quality must be between 1 and 100"))?;
    let scale = look.scale.unwrap_or(1.0);
    if !(0.1..=1.0).contains(&scale) {
        return Err(Problem::action("scale must be between 0.1 and 1.0"));
    }
    let format = match look.format.unwrap_or(FormatName::Png) {
        FormatName::Png => Format::Png,
        FormatName::Jpeg => Format::Jpeg,
        FormatName::Webp => Format::Webp,
    };
    let with_pointer = look.show_cursor.unwrap_or(false);
    // Never closed.
    let _permit = shared.pictures.acquire().await;
    shared.desktop().wake();
    let taken = shared.display.with(move |eye| {
        let pointer = if with_pointer { Some(eye.pointer_image()?) } else { None };
        Ok((eye.picture(part)?, pointer))
    });
    let (mut raw, pointer) = taken.await.map_err(|trouble| match trouble {
        Trouble::Refused(text) if part.is_some() => Problem::action(text),
        trouble => Problem::screenshot(&trouble),
    })?;
    let made = tokio::task::spawn_blocking(move || {
        let tag = picture::tag(&raw.bgrx);
        if let Some(pointer) = &pointer {
            raw.draw(pointer);
        }
        raw.scaled(scale).encode(format, quality).map(|bytes| (bytes, tag))
    });
    let made = made.await.map_err(|error| Problem::screenshot(&error))?;
    let (bytes, tag) = made.map_err(|error| Problem::screenshot(&error))?;
    let headers = [
        (header::CONTENT_TYPE, format.content_type().to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::ETAG, format!("\"{tag:016x}\"")),
    ];
    Ok((headers, bytes).into_response())
}
