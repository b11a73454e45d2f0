//! Connecting to the display, and knowing when it is up.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use x11rb::{
    connection::Connection,
    errors::{ConnectError, ConnectionError, ReplyError, ReplyOrIdError},
    protocol::{
        Event,
        xproto::{Atom, ConnectionExt as _, Window},
    },
    rust_connection::{DefaultStream, RustConnection},
};

/// Anything that ends a connection or a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XError {
    #[error("cannot connect: {0}")]
    Connect(#[from] ConnectError),
    #[error("connection lost: {0}")]
    Connection(#[from] ConnectionError),
    #[error("request failed: {0}")]
    Reply(#[from] ReplyError),
    #[error("no resource id: {0}")]
    Id(#[from] ReplyOrIdError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Refused(String),
}

impl From<rustix::io::Errno> for XError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Wakes a thread that waits in [`X::wait`].
#[derive(Debug)]
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn wake(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

/// The way to the display, and its state.
#[derive(Debug)]
pub(crate) struct Link {
    display: String,
    /// Number and cookie, when the display is our own.
    own: Option<(u16, [u8; 16])>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    up: bool,
    closed: bool,
}

impl Link {
    /// A display of our own, not up yet.
    pub(crate) fn own(number: u16, cookie: [u8; 16]) -> Self {
        Self {
            display: format!(":{number}"),
            own: Some((number, cookie)),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Somebody else's display.
    pub(crate) fn existing(display: &str) -> Self {
        Self {
            display: display.into(),
            own: None,
            state: Mutex::new(State { up: true, closed: false }),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn display(&self) -> &str {
        &self.display
    }

    pub(crate) fn set_up(&self, up: bool) {
        self.state.lock().up = up;
        self.changed.notify_all();
    }

    /// Ends all waits for good.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state.lock().up
    }

    /// Waits until the display is up and connects; `None` when the link is closed.
    pub(crate) fn reconnect(&self) -> Option<X> {
        loop {
            {
                let mut state = self.state.lock();
                while !state.up && !state.closed {
                    self.changed.wait(&mut state);
                }
                if state.closed {
                    return None;
                }
            }
            if let Ok(x) = self.connect() {
                return Some(x);
            }
            // The server is going down and nobody has noticed yet, or it is busy: look again soon.
            let mut state = self.state.lock();
            if !state.closed {
                self.changed.wait_for(&mut state, Duration::from_millis(100));
            }
        }
    }

    /// Connects now.
    pub(crate) fn connect(&self) -> Result<X, XError> {
        match &self.own {
            Some((number, cookie)) => {
                let stream = UnixStream::connect(format!("/tmp/.X11-unix/X{number}"))?;
                let (stream, _) = DefaultStream::from_unix_stream(stream)?;
                let name = b"MIT-MAGIC-COOKIE-1".to_vec();
                let conn = RustConnection::connect_to_stream_with_auth_info(stream, 0, name, cookie.to_vec())?;
                Ok(X::new(conn, 0))
            }
            None => {
                let (conn, screen) = RustConnection::connect(Some(&self.display))?;
                Ok(X::new(conn, screen))
            }
        }
    }
}

/// One connection.
pub(crate) struct X {
    pub(crate) conn: RustConnection,
    pub(crate) root: Window,
    screen: usize,
    /// An event that `wait` found and the next `poll_event` gives.
    found: Mutex<Option<Event>>,
}

impl X {
    fn new(conn: RustConnection, screen: usize) -> Self {
        let root = conn.setup().roots[screen].root;
        Self { conn, root, screen, found: Mutex::new(None) }
    }

    pub(crate) fn screen_number(&self) -> usize {
        self.screen
    }

    pub(crate) fn atom(&self, name: &str) -> Result<Atom, XError> {
        Ok(self.conn.intern_atom(false, name.as_bytes())?.reply()?.atom)
    }

    /// The next event that is there, if any.
    pub(crate) fn poll_event(&self) -> Result<Option<Event>, XError> {
        if let Some(event) = self.found.lock().take() {
            return Ok(Some(event));
        }
        Ok(self.conn.poll_for_event()?)
    }

    /// Waits until the server has sent something, the waker is used, or the deadline passes. Flushes first.
    pub(crate) fn wait(&self, waker: &Waker, deadline: Option<Instant>) -> Result<(), XError> {
        self.conn.flush()?;
        // Waiting for a reply, and flushing, take events off the socket too: nothing would wake us for them.
        let event = self.poll_event()?;
        if event.is_some() {
            *self.found.lock() = event;
            return Ok(());
        }
        let timeout = deadline.map(|at| {
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() }
        });
        let mut fds = [
            PollFd::from_borrowed_fd(self.conn.stream().as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(waker.0.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        waker.clear();
        Ok(())
    }
}
