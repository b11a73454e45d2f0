//! What the gate needs of a room and of a display.

use std::{io, pin::Pin};

use tokio::net::UnixStream;

/// A future that a trait object can return.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no token, or it is nobody's.
    Unknown,
    /// It is somebody's, who may not watch now, for this reason.
    Forbidden(&'static str),
}

/// Who is let in, and to what.
pub trait Door: Send + Sync + 'static {
    /// The one whose token this is, who watches until what is returned is dropped.
    ///
    /// # Errors
    /// There is nobody, or who may not watch.
    fn admit(&self, token: Option<&str>) -> Result<Box<dyn Viewer>, Refusal>;

    /// Opens a connection to the display's RFB server, which asks for no password. Wakes a frozen one.
    ///
    /// # Errors
    /// It cannot be reached.
    fn connect(&self) -> Pending<'_, io::Result<UnixStream>>;
}

/// One who watches, and what that one may do at the moment. No call blocks.
pub trait Viewer: Send + 'static {
    /// Whether the picture may be seen.
    ///
    /// # Errors
    /// It may not, any more; why, for people.
    fn may_watch(&self) -> Result<(), &'static str>;

    /// Whether mouse and keyboard are this one's.
    fn has_control(&self) -> bool;

    /// Asks for mouse and keyboard; whether they are this one's now.
    fn claim(&mut self) -> bool;

    /// Whether the clipboard may be set.
    fn may_set_clipboard(&self) -> bool;

    /// Whether the screen may get this size.
    fn may_resize(&self, width: u16, height: u16) -> bool;

    /// The pointer of who has control is now there.
    fn moved(&mut self, x: u16, y: u16);

    /// Something was done that a frozen display has to wake for.
    fn wake(&self);

    /// Waits until any of the answers above may be another one. Cancelling it loses nothing.
    fn changed(&mut self) -> Pending<'_, ()>;
}
