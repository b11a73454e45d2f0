//! The screen's size, by RandR, and its picture.

use x11rb::{
    connection::{Connection, RequestConnection},
    protocol::{
        randr::{self, ConnectionExt as _, ModeFlag, ModeInfo, Rotation},
        xproto::{ConnectionExt as _, ImageFormat},
    },
};

use super::{X, XError};
use crate::Size;

/// Names of the modes that we make begin so; others are left alone.
const MODE_PREFIX: &str = "glasshouse-";

/// Size of the root window.
pub(crate) fn size(x: &X) -> Result<Size, XError> {
    let geometry = x.conn.get_geometry(x.root)?.reply()?;
    Ok(Size { width: geometry.width, height: geometry.height })
}

/// Makes the screen exactly this large, and its one output fill it.
pub(crate) fn resize(x: &X, want: Size) -> Result<(), XError> {
    if x.conn.extension_information(randr::X11_EXTENSION_NAME)?.is_none() {
        return Err(XError::Refused("the X server has no RandR: use Xvnc, or Xorg with the dummy driver".into()));
    }
    x.conn.randr_query_version(1, 4)?.reply()?;
    // Nobody must see the steps in between.
    let _grab = x11rb::wrapper::ConnectionExt::sync(&x.conn).map(|()| Grab::new(x))??;
    let have = size(x)?;
    let resources = x.conn.randr_get_screen_resources_current(x.root)?.reply()?;
    let crtc = resources.crtcs.first().copied();
    let output = resources.outputs.first().copied();
    if let (Some(crtc), Some(output)) = (crtc, output) {
        let mode = match find_mode(&resources.modes, want) {
            Some(mode) => mode,
            None => add_mode(x, output, want)?,
        };
        // A screen must hold its output at any time: first grow, then change the output, then shrink.
        let both = Size { width: have.width.max(want.width), height: have.height.max(want.height) };
        set_screen(x, both, have)?;
        let now = x.conn.randr_get_crtc_info(crtc, resources.config_timestamp)?.reply()?;
        if now.mode != mode {
            let known = x.conn.randr_get_output_info(output, 0)?.reply()?;
            if !known.modes.contains(&mode) {
                x.conn.randr_add_output_mode(output, mode)?.check()?;
            }
            let set = x.conn.randr_set_crtc_config(crtc, 0, 0, 0, 0, mode, Rotation::ROTATE0, &[output])?.reply()?;
            if set.status != randr::SetConfig::SUCCESS {
                return Err(XError::Refused(format!("the output refused {}x{}", want.width, want.height)));
            }
        }
        set_screen(x, want, both)?;
        remove_old_modes(x, output, mode)?;
    } else {
        set_screen(x, want, have)?;
    }
    x.conn.flush()?;
    Ok(())
}

fn set_screen(x: &X, want: Size, have: Size) -> Result<(), XError> {
    if want == have && size(x)? == want {
        return Ok(());
    }
    // 96 dots an inch whatever the size: the scale is told by XSETTINGS.
    let millimetres = |pixels: u16| u32::from(pixels) * 254 / 960;
    x.conn
        .randr_set_screen_size(x.root, want.width, want.height, millimetres(want.width), millimetres(want.height))?
        .check()?;
    Ok(())
}

fn find_mode(modes: &[ModeInfo], want: Size) -> Option<u32> {
    modes.iter().find(|mode| mode.width == want.width && mode.height == want.height).map(|mode| mode.id)
}

fn add_mode(x: &X, output: u32, want: Size) -> Result<u32, XError> {
    let name = format!("{MODE_PREFIX}{}x{}", want.width, want.height);
    let mode = ModeInfo {
        id: 0,
        width: want.width,
        height: want.height,
        // 60 Hz without blanking: nothing is scanned out.
        dot_clock: u32::from(want.width) * u32::from(want.height) * 60,
        hsync_start: want.width,
        hsync_end: want.width,
        htotal: want.width,
        hskew: 0,
        vsync_start: want.height,
        vsync_end: want.height,
        vtotal: want.height,
        name_len: u16::try_from(name.len()).unwrap_or(0),
        mode_flags: ModeFlag::from(0_u8),
    };
    let mode = x.conn.randr_create_mode(x.root, mode, name.as_bytes())?.reply()?.mode;
    x.conn.randr_add_output_mode(output, mode)?.check()?;
    Ok(mode)
}

/// Removes modes that we made and that are not in use, so that they do not pile up.
fn remove_old_modes(x: &X, output: u32, keep: u32) -> Result<(), XError> {
    let resources = x.conn.randr_get_screen_resources_current(x.root)?.reply()?;
    let mut names = resources.names.as_slice();
    for mode in &resources.modes {
        let (name, rest) = names.split_at(usize::from(mode.name_len).min(names.len()));
        names = rest;
        if mode.id != keep && name.starts_with(MODE_PREFIX.as_bytes()) {
            x.conn.randr_delete_output_mode(output, mode.id)?.ignore_error();
            x.conn.randr_destroy_mode(mode.id)?.ignore_error();
        }
    }
    Ok(())
}

struct Grab<'a>(&'a X);

impl<'a> Grab<'a> {
    fn new(x: &'a X) -> Result<Self, XError> {
        x.conn.grab_server()?;
        Ok(Self(x))
    }
}

impl Drop for Grab<'_> {
    fn drop(&mut self) {
        let _ = self.0.conn.ungrab_server();
        let _ = self.0.conn.flush();
    }
}

/// The screen as BGRX, 4 bytes a pixel, rows without padding.
pub(crate) fn picture(x: &X) -> Result<(Size, Vec<u8>), XError> {
    let size = size(x)?;
    let image = x.conn.get_image(ImageFormat::Z_PIXMAP, x.root, 0, 0, size.width, size.height, u32::MAX)?.reply()?;
    let expected = usize::from(size.width) * usize::from(size.height) * 4;
    if image.data.len() != expected || x.conn.setup().image_byte_order != x11rb::protocol::xproto::ImageOrder::LSB_FIRST
    {
        return Err(XError::Refused("the display has no 32 bit little-endian pixels: use depth 24".into()));
    }
    Ok((size, image.data))
}
