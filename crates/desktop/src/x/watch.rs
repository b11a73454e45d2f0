//! Sees what changes on the display: the pointer's image, the screen's size, the window manager.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
    mpsc,
};

use parking_lot::Mutex;
use x11rb::{
    connection::Connection as _,
    protocol::{
        Event as XEvent,
        xfixes::{ConnectionExt as _, CursorNotifyMask},
        xproto::{
            AtomEnum, ChangeWindowAttributesAux, ClientMessageEvent, ConnectionExt as _, EventMask, MapState,
            WindowClass,
        },
    },
};

use super::{Link, Waker, X, XError, cursor::Cursors, screen, worker::Work};
use crate::{Cursor, Event, Size, supervisor::Msg, supervisor::Sink};

/// What is known about the display, for everybody to look at.
#[derive(Default)]
pub(crate) struct Seen {
    size: AtomicU32,
    cursor: Mutex<Option<Arc<Cursor>>>,
}

impl Seen {
    pub(crate) fn size(&self) -> Size {
        let packed = self.size.load(Ordering::Acquire);
        Size { width: (packed >> 16) as u16, height: (packed & 0xffff) as u16 }
    }

    /// Returns whether the size is a new one.
    pub(crate) fn set_size(&self, size: Size) -> bool {
        let packed = u32::from(size.width) << 16 | u32::from(size.height);
        self.size.swap(packed, Ordering::AcqRel) != packed
    }

    pub(crate) fn cursor(&self) -> Option<Arc<Cursor>> {
        self.cursor.lock().clone()
    }
}

/// See the module.
pub(crate) struct Watch {
    pub(crate) seen: Arc<Seen>,
    pub(crate) events: Sink,
    pub(crate) supervisor: mpsc::Sender<Msg>,
    pub(crate) cursors: Cursors,
}

impl Work for Watch {
    fn run(&mut self, x: &X, link: &Link, waker: &Waker) -> Result<(), XError> {
        x.conn.xfixes_query_version(5, 0)?.reply()?;
        x.conn.xfixes_select_cursor_input(x.root, CursorNotifyMask::DISPLAY_CURSOR)?;
        let mask = EventMask::STRUCTURE_NOTIFY | EventMask::PROPERTY_CHANGE;
        x.conn.change_window_attributes(x.root, &ChangeWindowAttributesAux::new().event_mask(mask))?;
        let check = x.atom("_NET_SUPPORTING_WM_CHECK")?;
        self.cursors.clear();
        self.look_at_size(screen::size(x)?);
        self.look_at_cursor(x, None)?;
        self.look_for_window_manager(x, check)?;
        while !link.is_closed() {
            while let Some(event) = x.poll_event()? {
                match event {
                    XEvent::XfixesCursorNotify(event) => self.look_at_cursor(x, Some(event.cursor_serial))?,
                    XEvent::ConfigureNotify(event) if event.window == x.root => {
                        self.look_at_size(Size { width: event.width, height: event.height });
                    }
                    XEvent::PropertyNotify(event) if event.atom == check => self.look_for_window_manager(x, check)?,
                    _ => {}
                }
            }
            x.wait(waker, None)?;
        }
        Ok(())
    }

    fn lost(&mut self) {
        let _ = self.supervisor.send(Msg::DisplayLost);
    }
}

impl Watch {
    fn look_at_size(&self, size: Size) {
        if self.seen.set_size(size) {
            (self.events)(Event::Screen(size));
        }
    }

    fn look_at_cursor(&mut self, x: &X, serial: Option<u32>) -> Result<(), XError> {
        if let Some(cursor) = self.cursors.current(x, serial)? {
            *self.seen.cursor.lock() = Some(Arc::clone(&cursor));
            (self.events)(Event::Cursor(cursor));
        }
        Ok(())
    }

    /// The property may be left from a window manager that is gone; its window names itself only while it lives.
    fn look_for_window_manager(&self, x: &X, check: u32) -> Result<(), XError> {
        let read = |window| -> Result<Option<u32>, XError> {
            let Ok(reply) = x.conn.get_property(false, window, check, AtomEnum::WINDOW, 0, 1)?.reply() else {
                return Ok(None);
            };
            Ok(reply.value32().and_then(|mut values| values.next()))
        };
        if let Some(window) = read(x.root)? {
            // It names itself a moment after the root window names it: then there is another event. An error says that
            // it is gone.
            let mask = ChangeWindowAttributesAux::new().event_mask(EventMask::PROPERTY_CHANGE);
            let _ = x.conn.change_window_attributes(window, &mask)?.check();
            if read(window)? == Some(window) {
                let _ = self.supervisor.send(Msg::WindowManager);
                give_focus(x)?;
            }
        }
        Ok(())
    }
}

/// Asks a window manager that has just come to give the keyboard to the window on top: of those that were there before it, it
/// may give it to none.
fn give_focus(x: &X) -> Result<(), XError> {
    let list = x.atom("_NET_CLIENT_LIST_STACKING")?;
    let managed = x.conn.get_property(false, x.root, list, AtomEnum::WINDOW, 0, 1024)?.reply()?;
    let managed = managed.value32().and_then(Iterator::last);
    let top = match managed {
        Some(window) => Some(window),
        None => topmost(x)?,
    };
    let Some(window) = top else { return Ok(()) };
    /// As a pager asks, which window managers follow (Extended Window Manager Hints 1.5, "Source indication in requests").
    const PAGER: u32 = 2;
    let data = [PAGER, x11rb::CURRENT_TIME, 0, 0, 0];
    let event = ClientMessageEvent::new(32, window, x.atom("_NET_ACTIVE_WINDOW")?, data);
    let mask = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
    x.conn.send_event(false, x.root, mask, event)?;
    x.conn.flush()?;
    Ok(())
}

/// The topmost window that a window manager would take.
fn topmost(x: &X) -> Result<Option<u32>, XError> {
    let children = x.conn.query_tree(x.root)?.reply()?.children;
    for window in children.into_iter().rev() {
        // It may be gone by now.
        let Ok(attributes) = x.conn.get_window_attributes(window)?.reply() else { continue };
        let is_taken = attributes.map_state == MapState::VIEWABLE
            && attributes.class == WindowClass::INPUT_OUTPUT
            && !attributes.override_redirect;
        if is_taken {
            return Ok(Some(window));
        }
    }
    Ok(None)
}
