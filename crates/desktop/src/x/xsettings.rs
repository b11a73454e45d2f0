//! A tiny XSETTINGS manager: tells toolkits at which scale to draw.
//!
//! Format: the freedesktop.org XSETTINGS specification, version 0.5.

use x11rb::{
    connection::Connection,
    protocol::xproto::{AtomEnum, ClientMessageEvent, ConnectionExt as _, EventMask, PropMode, Window, WindowClass},
    wrapper::ConnectionExt as _,
};

use super::{X, XError};

/// Owns the settings selection as long as its connection lives.
pub(crate) struct XSettings {
    window: Window,
    serial: u32,
}

impl XSettings {
    /// Becomes the settings manager of the display.
    pub(crate) fn own(x: &X) -> Result<Self, XError> {
        let window = x.conn.generate_id()?;
        x.conn.create_window(
            0,
            window,
            x.root,
            -1,
            -1,
            1,
            1,
            0,
            WindowClass::INPUT_ONLY,
            x11rb::COPY_FROM_PARENT,
            &Default::default(),
        )?;
        let selection = x.atom(&format!("_XSETTINGS_S{}", x.screen_number()))?;
        x.conn.set_selection_owner(window, selection, x11rb::CURRENT_TIME)?;
        let announce =
            ClientMessageEvent::new(32, x.root, x.atom("MANAGER")?, [x11rb::CURRENT_TIME, selection, window, 0, 0]);
        x.conn.send_event(false, x.root, EventMask::STRUCTURE_NOTIFY, announce)?;
        Ok(Self { window, serial: 0 })
    }

    /// Publishes a scale in per cent.
    pub(crate) fn publish(&mut self, x: &X, scale_percent: u16) -> Result<(), XError> {
        self.serial += 1;
        let scale = u32::from(scale_percent);
        // Whole factors scale windows, what is left over scales text, as desktop environments do it.
        let factor = if scale % 100 == 0 { scale / 100 } else { 1 };
        let dpi = 96 * 1024 * scale / 100;
        let settings = [
            ("Xft/DPI", dpi),
            ("Gdk/UnscaledDPI", dpi / factor),
            ("Gdk/WindowScalingFactor", factor),
            ("Xft/Antialias", 1),
            ("Xft/Hinting", 1),
        ];
        let property = x.atom("_XSETTINGS_SETTINGS")?;
        x.conn.change_property8(PropMode::REPLACE, self.window, property, property, &encode(self.serial, &settings))?;
        // Programs without XSETTINGS read the resource database.
        let resources = format!("Xft.dpi:\t{}\nXft.antialias:\t1\nXft.hinting:\t1\n", 96 * scale / 100);
        x.conn.change_property8(
            PropMode::REPLACE,
            x.root,
            AtomEnum::RESOURCE_MANAGER,
            AtomEnum::STRING,
            resources.as_bytes(),
        )?;
        x.conn.flush()?;
        Ok(())
    }
}

fn encode(serial: u32, settings: &[(&str, u32)]) -> Vec<u8> {
    let mut out = vec![u8::from(cfg!(target_endian = "big")), 0, 0, 0];
    out.extend(serial.to_ne_bytes());
    out.extend((settings.len() as u32).to_ne_bytes());
    for (name, value) in settings {
        out.extend([0, 0]);
        out.extend((name.len() as u16).to_ne_bytes());
        out.extend(name.as_bytes());
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(serial.to_ne_bytes());
        out.extend(value.to_ne_bytes());
    }
    out
}
