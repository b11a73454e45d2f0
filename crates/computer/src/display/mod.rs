//! Our own connection to the X server: pixels, pointer, windows.

mod eye;
mod wait;
mod windows;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use x11rb::errors::{ConnectionError, ReplyError, ReplyOrIdError};

pub(crate) use eye::{Eye, Rect};
pub(crate) use wait::{Wanted, wait};
pub(crate) use windows::{Change, Window};

/// How long to wait for our turn; longer than that, the X server is stuck.
const TURN: Duration = Duration::from_secs(10);
/// A connection, with its memory for pixels, is closed when it was of no use for this long.
const IDLE: Duration = Duration::from_secs(30);

/// Why something could not be done on the display.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The server is gone, or does not answer.
    #[error("the display does not answer: {0}")]
    Gone(String),
    /// It does not do this.
    #[error("{0}")]
    Refused(String),
    /// There is no such window (any more).
    #[error("there is no such window")]
    NoWindow,
}

impl From<ConnectionError> for Trouble {
    fn from(error: ConnectionError) -> Self {
        Self::Gone(error.to_string())
    }
}

impl From<ReplyError> for Trouble {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::ConnectionError(error) => error.into(),
            ReplyError::X11Error(error) => Self::Refused(format!("the display refused: {:?}", error.error_kind)),
        }
    }
}

impl From<ReplyOrIdError> for Trouble {
    fn from(error: ReplyOrIdError) -> Self {
        match error {
            ReplyOrIdError::ConnectionError(error) => error.into(),
            ReplyOrIdError::X11Error(error) => ReplyError::X11Error(error).into(),
            ReplyOrIdError::IdsExhausted => Self::Gone("no resource id is left".into()),
        }
    }
}

/// The display, connected to when it is needed.
pub(crate) struct Display {
    name: String,
    xauthority: Option<PathBuf>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    eye: Option<Eye>,
    used: Option<Instant>,
    /// Whether somebody sees to the end of the connection.
    watched: bool,
}

impl Display {
    pub(crate) fn new(name: &str, xauthority: Option<&Path>) -> Self {
        Self { name: name.to_owned(), xauthority: xauthority.map(Path::to_path_buf), open: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A connection for the caller alone.
    pub(crate) fn connect(&self) -> Result<Eye, Trouble> {
        Eye::open(&self.name, self.xauthority.as_deref())
    }

    /// Does something with the shared connection, off the caller's thread.
    pub(crate) async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnMut(&mut Eye) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let display = Arc::clone(self);
        match tokio::task::spawn_blocking(move || display.work(work)).await {
            Ok((result, must_watch)) => {
                if must_watch {
                    tokio::spawn(close_when_idle(Arc::downgrade(self)));
                }
                result
            }
            Err(error) => Err(Trouble::Gone(error.to_string())),
        }
    }

    fn work<T>(&self, mut work: impl FnMut(&mut Eye) -> Result<T, Trouble>) -> (Result<T, Trouble>, bool) {
        let Some(mut open) = self.open.try_lock_for(TURN) else {
            return (Err(Trouble::Gone("it is stuck".into())), false);
        };
        // One that went with an X server that was restarted shows at its first use.
        let mut is_old = open.eye.is_some();
        let result = loop {
            if open.eye.is_none() {
                match self.connect() {
                    Ok(eye) => open.eye = Some(eye),
                    Err(trouble) => break Err(trouble),
                }
            }
            let Some(eye) = &mut open.eye else { break Err(Trouble::Gone("not connected".into())) };
            let result = work(eye);
            if matches!(result, Err(Trouble::Gone(_))) {
                open.eye = None;
                if std::mem::take(&mut is_old) {
                    continue;
                }
            }
            break result;
        };
        open.used = Some(Instant::now());
        let must_watch = open.eye.is_some() && !std::mem::replace(&mut open.watched, true);
        (result, must_watch)
    }
}

async fn close_when_idle(display: std::sync::Weak<Display>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(display) = display.upgrade() else { return };
        let Some(mut open) = display.open.try_lock() else { continue };
        if open.used.is_none_or(|used| used.elapsed() >= IDLE) {
            open.eye = None;
            open.watched = false;
            return;
        }
    }
}
