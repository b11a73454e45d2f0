//! A thread with a connection of its own, which connects again when the X server was restarted.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use super::{Link, Waker, X, XError};

/// Work of such a thread.
pub(crate) trait Work: Send + 'static {
    /// Works on one connection until it fails, or the link is closed.
    fn run(&mut self, x: &X, link: &Link, waker: &Waker) -> Result<(), XError>;

    /// The connection is gone.
    fn lost(&mut self) {}
}

/// Handle of a running thread; dropping it does not end it, closing the link and waking it does.
pub(crate) struct Worker {
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread; returns when it is connected for the first time and has called `run`.
    pub(crate) fn start(name: &str, link: &Arc<Link>, mut work: impl Work) -> Result<Self, XError> {
        let waker = Arc::new(Waker::new()?);
        let link = Arc::clone(link);
        let waking = Arc::clone(&waker);
        let (connected, first) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let mut x = link.connect();
            if let Err(error) = x {
                let _ = connected.send(Err(error));
                return;
            }
            let _ = connected.send(Ok(()));
            while let Ok(up) = x {
                if let Err(error) = work.run(&up, &link, &waking)
                    && !link.is_closed()
                {
                    tracing::debug!(%error, "connection to the display ended");
                }
                drop(up);
                work.lost();
                match link.reconnect() {
                    Some(again) => x = Ok(again),
                    None => return,
                }
            }
        })?;
        match first.recv() {
            Ok(Ok(())) => Ok(Self { waker, thread: Some(thread) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(XError::Refused("the thread ended".into())),
        }
    }

    pub(crate) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Waits for the end of the thread, after the link was closed.
    pub(crate) fn join(mut self) {
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
