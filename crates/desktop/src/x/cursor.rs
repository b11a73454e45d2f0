//! The pointer's image.

use std::{collections::HashMap, sync::Arc};

use x11rb::protocol::xfixes::{ConnectionExt as _, GetCursorImageReply};

use super::{X, XError};
use crate::Cursor;

/// Images kept by serial, as neko does.
const MAX_CACHED: usize = 300;

/// Largest side of an image that is taken, in pixels.
const MAX_SIDE: u16 = 512;

/// Images seen so far.
#[derive(Default)]
pub(crate) struct Cursors {
    known: HashMap<u32, Arc<Cursor>>,
}

impl Cursors {
    /// Serials mean something else on the next X server.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }

    /// The pointer's image now; `serial` is what the notification said, if there was one.
    pub(crate) fn current(&mut self, x: &X, serial: Option<u32>) -> Result<Option<Arc<Cursor>>, XError> {
        if let Some(cursor) = serial.and_then(|serial| self.known.get(&serial)) {
            return Ok(Some(Arc::clone(cursor)));
        }
        let image = x.conn.xfixes_get_cursor_image()?.reply()?;
        let Some(cursor) = encode(&image) else { return Ok(None) };
        let cursor = Arc::new(cursor);
        if self.known.len() >= MAX_CACHED {
            self.known.clear();
        }
        self.known.insert(image.cursor_serial, Arc::clone(&cursor));
        Ok(Some(cursor))
    }
}

fn encode(image: &GetCursorImageReply) -> Option<Cursor> {
    let (width, height) = (image.width, image.height);
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return None;
    }
    let pixels: Vec<u8> = image.cursor_image.iter().flat_map(|argb| straight(*argb)).collect();
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, width.into(), height.into());
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&pixels).ok()?;
    writer.finish().ok()?;
    Some(Cursor { width, height, x_hot: image.xhot, y_hot: image.yhot, png })
}

/// RGBA with straight alpha from premultiplied ARGB.
fn straight(argb: u32) -> [u8; 4] {
    let [alpha, red, green, blue] = argb.to_be_bytes();
    if alpha == 0 {
        return [0; 4];
    }
    let divide = |channel: u8| {
        let value = (u32::from(channel) * 255 + u32::from(alpha) / 2) / u32::from(alpha);
        u8::try_from(value).unwrap_or(u8::MAX)
    };
    [divide(red), divide(green), divide(blue), alpha]
}

#[cfg(test)]
mod tests {
    use super::straight;

    #[test]
    fn alpha_is_divided_out() {
        assert_eq!(straight(0xff10_2030), [0x10, 0x20, 0x30, 0xff]);
        assert_eq!(straight(0x8040_0080), [0x80, 0, 0xff, 0x80]);
        assert_eq!(straight(0x00ff_ffff), [0; 4]);
    }
}
