//! Windows, as the window manager knows them (Extended Window Manager Hints 1.5).

use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;
use x11rb::{
    connection::Connection,
    protocol::xproto::{
        AtomEnum, ClientMessageEvent, ConfigureWindowAux, ConnectionExt as _, EventMask, InputFocus, MapState,
        StackMode,
    },
};

use super::{Eye, Trouble};

/// How long the window manager may take to do as told.
const EFFECT: Duration = Duration::from_secs(1);
/// Between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(5);
/// Longest title, in bytes.
const MAX_TITLE: u32 = 4_096;
/// Most windows that are listed.
const MAX_WINDOWS: u32 = 1_024;
/// A request of a tool that acts for a person.
const PAGER: u32 = 2;

/// A window; position and size are of its content, in pixels of the screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Window {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) is_active: bool,
}

/// What to do with a window.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Focus,
    Move(i32, i32),
    Resize(u32, u32),
    Close,
}

impl Eye {
    /// Windows that are shown; without those that no person would take for one.
    pub(crate) fn windows(&self) -> Result<Vec<Window>, Trouble> {
        let active = self.active()?;
        let mut windows = Vec::new();
        for id in self.ids()? {
            match self.window(id, active) {
                Ok(Some(window)) if window.is_active || is_for_people(&window) => windows.push(window),
                Ok(_) | Err(Trouble::NoWindow | Trouble::Refused(_)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(windows)
    }

    /// The window with the focus.
    pub(crate) fn focused(&self) -> Result<Option<Window>, Trouble> {
        let active = self.active()?;
        if active == 0 { Ok(None) } else { self.window(active, active) }
    }

    /// Does something to a window and says what became of it; nothing when it was to be closed.
    pub(crate) fn change(&self, id: u32, change: Change) -> Result<Option<Window>, Trouble> {
        if !self.ids()?.contains(&id) {
            return Err(Trouble::NoWindow);
        }
        let managed = self.is_managed()?;
        match change {
            Change::Focus if managed => self.tell(id, "_NET_ACTIVE_WINDOW", [PAGER, x11rb::CURRENT_TIME, 0, 0, 0])?,
            Change::Focus => {
                self.connection.configure_window(id, &ConfigureWindowAux::new().stack_mode(StackMode::ABOVE))?;
                self.connection.set_input_focus(InputFocus::PARENT, id, x11rb::CURRENT_TIME)?.check()?;
            }
            Change::Move(..) | Change::Resize(..) if managed => {
                // It keeps windows at their place that fill the screen.
                let full = [self.atom("_NET_WM_STATE_MAXIMIZED_VERT")?, self.atom("_NET_WM_STATE_MAXIMIZED_HORZ")?];
                self.tell(id, "_NET_WM_STATE", [0, full[0], full[1], PAGER, 0])?;
                // With static gravity, the place is that of the content, as it is listed.
                let flags = |values: u32| 10 | values << 8 | PAGER << 12;
                let data = match change {
                    Change::Resize(width, height) => [flags(0b1100), 0, 0, width, height],
                    Change::Move(x, y) => [flags(0b0011), x.cast_unsigned(), y.cast_unsigned(), 0, 0],
                    Change::Focus | Change::Close => return Ok(None),
                };
                self.tell(id, "_NET_MOVERESIZE_WINDOW", data)?;
            }
            Change::Move(x, y) => {
                self.connection.configure_window(id, &ConfigureWindowAux::new().x(x).y(y))?.check()?;
            }
            Change::Resize(width, height) => {
                let wanted = ConfigureWindowAux::new().width(width).height(height);
                self.connection.configure_window(id, &wanted)?.check()?;
            }
            Change::Close if managed => self.tell(id, "_NET_CLOSE_WINDOW", [x11rb::CURRENT_TIME, PAGER, 0, 0, 0])?,
            Change::Close => return Err(Trouble::Refused("without a window manager, windows are not closed".into())),
        }
        if matches!(change, Change::Close) {
            return Ok(None);
        }
        self.after(id, |window| match change {
            Change::Focus => window.is_active,
            Change::Move(x, y) => (window.x, window.y) == (x, y),
            Change::Resize(width, height) => (window.width, window.height) == (width, height),
            Change::Close => true,
        })
    }

    /// The window when it is as wanted, or as it is when that takes too long: a window has limits of its own.
    fn after(&self, id: u32, is_done: impl Fn(&Window) -> bool) -> Result<Option<Window>, Trouble> {
        let deadline = Instant::now() + EFFECT;
        loop {
            let window = self.window(id, self.active()?)?.ok_or(Trouble::NoWindow)?;
            if is_done(&window) || Instant::now() >= deadline {
                return Ok(Some(window));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The first window that a process shows.
    pub(crate) fn window_of(&self, pid: u32) -> Result<Option<u32>, Trouble> {
        let property = self.atom("_NET_WM_PID")?;
        for id in self.ids()? {
            let Ok(reply) = self.connection.get_property(false, id, property, AtomEnum::CARDINAL, 0, 1)?.reply() else {
                continue;
            };
            let found = reply.value32().and_then(|mut values| values.next());
            if found == Some(pid) && self.window(id, 0)?.is_some() {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn is_managed(&self) -> Result<bool, Trouble> {
        Ok(!self.root_windows("_NET_SUPPORTING_WM_CHECK")?.is_empty())
    }

    fn active(&self) -> Result<u32, Trouble> {
        if let Some(active) = self.root_windows("_NET_ACTIVE_WINDOW")?.first() {
            return Ok(*active);
        }
        let focus = self.connection.get_input_focus()?.reply()?.focus;
        // Below are names such as PointerRoot.
        Ok(if focus > 1 && focus != self.root { focus } else { 0 })
    }

    fn ids(&self) -> Result<Vec<u32>, Trouble> {
        if self.is_managed()? {
            return self.root_windows("_NET_CLIENT_LIST");
        }
        let mut children = self.connection.query_tree(self.root)?.reply()?.children;
        children.truncate(MAX_WINDOWS as usize);
        Ok(children)
    }

    fn root_windows(&self, name: &str) -> Result<Vec<u32>, Trouble> {
        let property = self.atom(name)?;
        let kind = AtomEnum::WINDOW;
        let reply = self.connection.get_property(false, self.root, property, kind, 0, MAX_WINDOWS)?.reply()?;
        Ok(reply.value32().into_iter().flatten().collect())
    }

    /// A window that is there, if it is shown.
    fn window(&self, id: u32, active: u32) -> Result<Option<Window>, Trouble> {
        let gone = |_| Trouble::NoWindow;
        let attributes = self.connection.get_window_attributes(id)?;
        let geometry = self.connection.get_geometry(id)?;
        let place = self.connection.translate_coordinates(id, self.root, 0, 0)?;
        if attributes.reply().map_err(gone)?.map_state != MapState::VIEWABLE {
            return Ok(None);
        }
        let (geometry, place) = (geometry.reply().map_err(gone)?, place.reply().map_err(gone)?);
        Ok(Some(Window {
            id: id.to_string(),
            title: self.title(id)?,
            x: place.dst_x.into(),
            y: place.dst_y.into(),
            width: geometry.width.into(),
            height: geometry.height.into(),
            is_active: id == active,
        }))
    }

    fn title(&self, id: u32) -> Result<String, Trouble> {
        let text = |property: u32, kind: u32| -> Result<Vec<u8>, Trouble> {
            let reply = self.connection.get_property(false, id, property, kind, 0, MAX_TITLE / 4)?.reply();
            Ok(reply.map(|reply| reply.value).unwrap_or_default())
        };
        let new = text(self.atom("_NET_WM_NAME")?, self.atom("UTF8_STRING")?)?;
        if !new.is_empty() {
            return Ok(String::from_utf8_lossy(&new).into_owned());
        }
        // Latin 1, where every byte is the character of that number.
        let old = text(AtomEnum::WM_NAME.into(), AtomEnum::STRING.into())?;
        Ok(old.into_iter().map(char::from).collect())
    }

    fn tell(&self, id: u32, what: &str, data: [u32; 5]) -> Result<(), Trouble> {
        let message = ClientMessageEvent::new(32, id, self.atom(what)?, data);
        let to = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
        self.connection.send_event(false, self.root, to, message)?;
        self.connection.flush()?;
        Ok(())
    }
}

fn is_for_people(window: &Window) -> bool {
    let is_small = window.width < 120 && window.height < 80;
    !window.title.is_empty() && window.title != "Openbox" && !is_small
}
