//! VNC: RFB (RFC 6143) over WebSocket, as noVNC and websockify speak it, relayed to a display's own RFB server.
//!
//! The display's server knows no people: whoever reaches it sees and does everything. So each connection has a gate, which
//! takes apart what the client says and lets through what its viewer may do at that moment. What the display says passes as
//! it is.
//!
//! What must hold:
//!
//! * Nothing is sent to the display for a client before its token is found to be somebody's.
//! * Of a client that may not control, no key, button, clipboard or size reaches the display, whatever it sends.
//! * Each side waits for the other: nothing is read that cannot be passed on, and every buffer has a bound.
//! * A client that does not read, or is gone, ends alone.

#![forbid(unsafe_code)]

pub mod client;
mod gate;
mod origin;
mod relay;
mod routes;
mod seam;

use std::{fmt, sync::Arc};

use tokio::sync::{Semaphore, watch};

pub use gate::Gate;
pub use seam::{Door, Pending, Refusal, Viewer};

/// How VNC is set up.
#[derive(Clone)]
pub struct Config {
    /// Who is let in, and to what.
    pub door: Arc<dyn Door>,
    /// Origins whose pages may connect besides our own.
    pub allowed_origins: Vec<String>,
    /// Clients at a time.
    pub max_clients: usize,
}

/// VNC to one display.
#[derive(Clone)]
pub struct Rfb {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) places: Arc<Semaphore>,
    /// True once all connections are to end.
    pub(crate) closing: watch::Sender<bool>,
}

impl Rfb {
    /// Makes it; nothing is opened before somebody comes.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let places = Arc::new(Semaphore::new(config.max_clients));
        Self { shared: Arc::new(Shared { config, places, closing: watch::Sender::new(false) }) }
    }

    /// Ends all connections, and lets nobody in any more.
    pub fn shutdown(&self) {
        self.shared.closing.send_replace(true);
    }
}

impl fmt::Debug for Rfb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rfb").field("max_clients", &self.shared.config.max_clients).finish_non_exhaustive()
    }
}
