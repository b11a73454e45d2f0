//! Sees the screen and the pointer.

use std::path::Path;

use glasshouse_media::SharedMemory;
use x11rb::{
    connection::{Connection, RequestConnection},
    protocol::{
        shm::{self, ConnectionExt as _},
        xfixes::ConnectionExt as _,
        xproto::{Atom, ConnectionExt as _, ImageFormat, ImageOrder, Window},
    },
    rust_connection::RustConnection,
};

use super::Trouble;
use crate::picture::{Pointer, Raw};

/// A part of the screen in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Rect {
    /// The part of it that is on a screen of this size; none if nothing is.
    pub(crate) fn on(self, width: u16, height: u16) -> Option<Self> {
        let end = |start: i32, length: u32, size: u16| {
            i64::from(start).saturating_add(i64::from(length)).clamp(0, i64::from(size)) as i32
        };
        let (x, y) = (self.x.clamp(0, width.into()), self.y.clamp(0, height.into()));
        let (right, bottom) = (end(self.x, self.width, width), end(self.y, self.height, height));
        (right > x && bottom > y).then(|| Self { x, y, width: right.abs_diff(x), height: bottom.abs_diff(y) })
    }
}

/// A connection, with memory that the server writes pixels to.
pub(crate) struct Eye {
    pub(super) connection: RustConnection,
    pub(super) root: Window,
    segment: Option<(shm::Seg, SharedMemory)>,
}

impl Eye {
    pub(super) fn open(name: &str, xauthority: Option<&Path>) -> Result<Self, Trouble> {
        let (connection, screen) =
            glasshouse_media::connect(name, xauthority).map_err(|error| Trouble::Gone(error.to_string()))?;
        connection.xfixes_query_version(5, 0)?.reply()?;
        let version = connection.shm_query_version()?.reply()?;
        if (version.major_version, version.minor_version) < (1, 2) {
            return Err(Trouble::Refused("the X server's MIT-SHM is older than 1.2".into()));
        }
        let setup = connection.setup();
        let roots = setup.roots.get(screen).ok_or_else(|| Trouble::Gone("it has no screen".into()))?;
        let bits = setup.pixmap_formats.iter().find(|format| format.depth == roots.root_depth);
        if bits.is_none_or(|format| format.bits_per_pixel != 32) || setup.image_byte_order != ImageOrder::LSB_FIRST {
            return Err(Trouble::Refused(
                "the screen is not true colour of depth 24: start the X server with it".into(),
            ));
        }
        let root = roots.root;
        Ok(Self { connection, root, segment: None })
    }

    /// Width and height of the screen.
    pub(crate) fn size(&self) -> Result<(u16, u16), Trouble> {
        let geometry = self.connection.get_geometry(self.root)?.reply()?;
        Ok((geometry.width, geometry.height))
    }

    /// Has the server write a part of the screen, or all of it, and reads it.
    pub(crate) fn look<T>(&mut self, part: Option<Rect>, read: impl FnOnce(Rect, &[u8]) -> T) -> Result<T, Trouble> {
        let (width, height) = self.size()?;
        let whole = Rect { x: 0, y: 0, width: width.into(), height: height.into() };
        let outside = || Trouble::Refused(format!("the region is outside of the screen of {width}x{height}"));
        let part = part.unwrap_or(whole).on(width, height).ok_or_else(outside)?;
        let needed = part.width as usize * part.height as usize * 4;
        if self.segment.as_ref().is_none_or(|(_, memory)| memory.len() < needed) {
            if let Some((segment, _)) = self.segment.take() {
                self.connection.shm_detach(segment)?.check()?;
            }
            let (memory, file) = SharedMemory::new(needed).map_err(|error| Trouble::Gone(error.to_string()))?;
            let segment = self.connection.generate_id()?;
            self.connection.shm_attach_fd(segment, file, false)?.check()?;
            self.segment = Some((segment, memory));
        }
        let Some((segment, memory)) = &self.segment else { return Err(Trouble::Gone("no memory".into())) };
        // A screen that shrank meanwhile makes the server refuse.
        let (left, top) = (part.x as i16, part.y as i16);
        let (width, height) = (part.width as u16, part.height as u16);
        let format = u8::from(ImageFormat::Z_PIXMAP);
        self.connection.shm_get_image(self.root, left, top, width, height, !0, format, *segment, 0)?.reply()?;
        Ok(read(part, &memory.bytes()[..needed]))
    }

    /// A picture of a part of the screen, or all of it.
    pub(crate) fn picture(&mut self, part: Option<Rect>) -> Result<Raw, Trouble> {
        self.look(part, |part, pixels| Raw {
            left: part.x,
            top: part.y,
            width: part.width as usize,
            height: part.height as usize,
            bgrx: pixels.to_vec(),
        })
    }

    /// The pointer as it looks now, where it is.
    pub(crate) fn pointer_image(&self) -> Result<Pointer, Trouble> {
        let image = self.connection.xfixes_get_cursor_image()?.reply()?;
        Ok(Pointer {
            left: i32::from(image.x) - i32::from(image.xhot),
            top: i32::from(image.y) - i32::from(image.yhot),
            width: image.width.into(),
            height: image.height.into(),
            argb: image.cursor_image,
        })
    }

    /// Where the pointer is, and the top window below it.
    pub(crate) fn pointer(&self) -> Result<(i16, i16, Window), Trouble> {
        let pointer = self.connection.query_pointer(self.root)?.reply()?;
        Ok((pointer.root_x, pointer.root_y, pointer.child))
    }

    pub(super) fn atom(&self, name: &str) -> Result<Atom, Trouble> {
        Ok(self.connection.intern_atom(false, name.as_bytes())?.reply()?.atom)
    }

    pub(super) fn has(&self, extension: &'static str) -> Result<bool, Trouble> {
        Ok(self.connection.extension_information(extension)?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_to_the_screen() {
        let rect = |x, y, width, height| Rect { x, y, width, height };
        assert_eq!(rect(0, 0, 10, 10).on(10, 10), Some(rect(0, 0, 10, 10)));
        assert_eq!(rect(-5, 5, 10, 10).on(10, 10), Some(rect(0, 5, 5, 5)));
        assert_eq!(rect(10, 0, 1, 1).on(10, 10), None);
        assert_eq!(rect(0, 0, 0, 1).on(10, 10), None);
        assert_eq!(rect(i32::MIN, i32::MIN, u32::MAX, u32::MAX).on(10, 10), Some(rect(0, 0, 10, 10)));
        assert_eq!(rect(i32::MAX, 0, u32::MAX, 1).on(10, 10), None);
    }
}
