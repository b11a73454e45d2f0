//! One coordinate system for everything: the pixels of a whole screenshot.
//!
//! Models scale large pictures down before they look at them, and then name places in the smaller one. So a whole
//! screenshot is never larger than they take, always by the same factor for a screen, and all tools speak in its pixels:
//! nothing has to be remembered of the last picture.

use serde_json::Value;

use crate::client::{Client, Failure};

/// Longest side of a picture, in pixels.
const LONGEST: f64 = 1280.0;

/// The screen, and how it is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Screen {
    /// Of the screen, in its own pixels.
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) x: i64,
    pub(crate) y: i64,
    pub(crate) width: i64,
    pub(crate) height: i64,
}

impl Screen {
    /// Asks how large the screen is.
    pub(crate) async fn of(client: &Client) -> Result<Self, Failure> {
        let info = client.get("/v1/desktop/display/info").await?;
        let side = |name: &str| info["resolution"][name].as_f64().filter(|side| *side >= 1.0);
        let size = side("width").zip(side("height"));
        size.map(|(width, height)| Self { width, height }).ok_or_else(|| Failure::new("the screen has no size"))
    }

    /// Pixels of a picture for one of the screen, at most 1.
    pub(crate) fn scale(self) -> f64 {
        (LONGEST / self.width.max(self.height)).min(1.0)
    }

    /// Size of a whole picture.
    pub(crate) fn picture(self) -> (i64, i64) {
        let side = |side: f64| (side * self.scale()).round() as i64;
        (side(self.width), side(self.height))
    }

    /// A place of the picture on the screen: the middle of its pixel.
    pub(crate) fn place(self, x: i64, y: i64) -> Result<(i64, i64), Failure> {
        let (width, height) = self.picture();
        if !(0..width).contains(&x) || !(0..height).contains(&y) {
            return Err(Failure::new(format!(
                "({x}, {y}) is outside of the screen: x is from 0 to {}, y from 0 to {}, in pixels of a whole screenshot",
                width - 1,
                height - 1
            )));
        }
        let on = |at: i64, side: f64| {
            let exact = if self.scale() < 1.0 { (at as f64 + 0.5) / self.scale() } else { at as f64 };
            exact.min(side - 1.0) as i64
        };
        Ok((on(x, self.width), on(y, self.height)))
    }

    /// A length or a place of the screen in the picture.
    pub(crate) fn shown(self, pixels: &Value) -> Value {
        pixels.as_f64().map_or(Value::Null, |pixels| ((pixels * self.scale()).round() as i64).into())
    }

    /// An area of the picture on the screen, cut to it.
    pub(crate) fn area(self, asked: Area) -> Result<Area, Failure> {
        if asked.width < 1 || asked.height < 1 {
            return Err(Failure::new("width and height of the region must be at least 1"));
        }
        let (left, top) = self.place(asked.x, asked.y)?;
        let cut = |from: i64, length: i64, side: f64| {
            let length = (length as f64 / self.scale()).round().max(1.0);
            length.min(side - from as f64) as i64
        };
        let (width, height) = (cut(left, asked.width, self.width), cut(top, asked.height, self.height));
        Ok(Area { x: left, y: top, width, height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_the_picture_on_the_screen() {
        let same = Screen { width: 1280.0, height: 720.0 };
        assert_eq!((same.scale(), same.picture()), (1.0, (1280, 720)));
        assert_eq!(same.place(5, 719), Ok((5, 719)));
        assert!(same.place(0, 720).is_err() && same.place(-1, 0).is_err() && same.place(i64::MAX, 0).is_err());
        let large = Screen { width: 2560.0, height: 1440.0 };
        assert_eq!((large.scale(), large.picture()), (0.5, (1280, 720)));
        assert_eq!((large.place(0, 0), large.place(1279, 719)), (Ok((1, 1)), Ok((2559, 1439))));
        assert_eq!(large.shown(&serde_json::json!(101)), 51);
        let all = Area { x: 640, y: 360, width: 4000, height: 10 };
        assert_eq!(large.area(all), Ok(Area { x: 1281, y: 721, width: 1279, height: 20 }));
        assert!(large.area(Area { width: 0, ..all }).is_err());
    }
}
