//! Our end of the keeper.

use std::{
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Command, Stdio},
    sync::Arc,
    thread::JoinHandle,
};

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};

use super::wire::{FromKeeper, ToKeeper, receive, send};
use crate::Error;

/// A running keeper. Dropping it makes the keeper end everything; [`Keeper::wait`] waits for that.
pub(crate) struct Keeper {
    socket: Arc<OwnedFd>,
    reader: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the keeper. `sink` gets its messages, and `None` once when it is gone, from a thread.
    pub(crate) fn start(
        command: &[OsString],
        sink: impl FnMut(Option<FromKeeper>) + Send + 'static,
    ) -> Result<Self, Error> {
        let Some((program, args)) = command.split_first() else {
            return Err(Error::Invalid("no keeper command given".into()));
        };
        let (ours, theirs) = pair()?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(theirs)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| Error::Start { program: program.to_string_lossy().into_owned(), reason: e.to_string() })?;
        Self::attach(ours, sink, move || {
            let _ = child.wait();
        })
    }

    /// Takes the socket of a keeper that somebody else has started; `reap` is called when it is gone.
    pub(crate) fn attach(
        socket: OwnedFd,
        mut sink: impl FnMut(Option<FromKeeper>) + Send + 'static,
        reap: impl FnOnce() + Send + 'static,
    ) -> Result<Self, Error> {
        let socket = Arc::new(socket);
        let reading = Arc::clone(&socket);
        let reader = std::thread::Builder::new().name("keeper".into()).spawn(move || {
            while let Ok(Some((message, _))) = receive::<FromKeeper>(&*reading) {
                sink(Some(message));
            }
            // A keeper that sent nonsense must go, too.
            let _ = shutdown(&*reading, Shutdown::Both);
            reap();
            sink(None);
        });
        match reader {
            Ok(reader) => Ok(Self { socket, reader: Some(reader) }),
            Err(e) => {
                let _ = shutdown(&*socket, Shutdown::Both);
                Err(e.into())
            }
        }
    }

    /// Tells the keeper something.
    pub(crate) fn send(&self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        send(self.socket.as_fd(), message, fds)
    }

    /// Makes the keeper end everything and waits until it has.
    pub(crate) fn wait(mut self) {
        let _ = shutdown(&*self.socket, Shutdown::Write);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Our end and the keeper's.
pub(crate) fn pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = shutdown(&*self.socket, Shutdown::Write);
    }
}
