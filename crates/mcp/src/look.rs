//! Pictures for a model.

use axum::http::{Method, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rmcp::model::ContentBlock;

use crate::{
    client::{Client, Failure},
    screen::{Area, Screen},
    tools::Screenshot,
};

const QUALITY: u8 = 80;

/// A whole screenshot, or a part in full detail, with what its pixels are.
pub(crate) async fn screenshot(client: &Client, asked: Screenshot) -> Result<Vec<ContentBlock>, Failure> {
    let screen = Screen::of(client).await?;
    let pointer = asked.pointer.unwrap_or(false);
    let how = |scale: f64| format!("format=jpeg&quality={QUALITY}&scale={scale}&showCursor={pointer}");
    let (width, height) = screen.picture();
    let (path, text) = match asked.region {
        None => {
            let path = format!("/v1/desktop/screenshot?{}", how(screen.scale()));
            let shrunk = if screen.scale() < 1.0 {
                format!(
                    " The screen itself has {}×{}; coordinates are those of this picture.",
                    screen.width, screen.height
                )
            } else {
                String::new()
            };
            (path, format!("The whole screen, {width}×{height} pixels.{shrunk}"))
        }
        Some(region) => {
            let asked = Area { x: region.x, y: region.y, width: region.width, height: region.height };
            let Area { x, y, width, height } = screen.area(asked)?;
            // Its own pixels, unless they are too many.
            let scale = Screen { width: width as f64, height: height as f64 }.scale();
            let path =
                format!("/v1/desktop/screenshot/region?x={x}&y={y}&width={width}&height={height}&{}", how(scale));
            let one = screen.scale() / scale;
            let text = format!(
                "Part of the screen from ({}, {}) on, in pixels of a whole screenshot. To click at (px, py) of this picture, use \
                 x = {} + {one:.3}·px, y = {} + {one:.3}·py.",
                region.x, region.y, region.x, region.y
            );
            (path, text)
        }
    };
    let picture = client.ask(Method::GET, &path, None).await?;
    Ok(vec![ContentBlock::text(text), ContentBlock::image(STANDARD.encode(&picture.body), "image/jpeg")])
}

/// Says which picture is on the screen, without making one that is of use.
pub(crate) async fn tag(client: &Client) -> Option<String> {
    let path = "/v1/desktop/screenshot?format=jpeg&quality=1&scale=0.1";
    let answer = client.ask(Method::GET, path, None).await.ok()?;
    answer.headers.get(header::ETAG)?.to_str().ok().map(str::to_owned)
}
