//! Messages between us and the keeper.

use std::{
    ffi::OsString,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::user::User;

/// Largest message, in bytes; below the default socket buffer, so that it fits into one packet.
const MAX_MESSAGE: usize = 128 * 1024;

/// Most descriptors in a message.
const MAX_FDS: usize = 8;

/// A program to start. Standard input is `/dev/null`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spawn {
    /// Our name for the process; never reused.
    pub(crate) id: u32,
    /// Absolute path.
    pub(crate) program: PathBuf,
    /// Without the program's name.
    pub(crate) args: Vec<OsString>,
    /// The whole environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Working directory.
    pub(crate) cwd: PathBuf,
    /// Who it runs as; as the keeper does if none.
    pub(crate) user: Option<User>,
    /// Numbers that the attached descriptors get in the program, in their order.
    pub(crate) fds: Vec<i32>,
    /// Whether its standard input becomes its controlling terminal.
    pub(crate) terminal: bool,
    /// Whether what it leaves in its process group when it ends goes on.
    pub(crate) leaves_others: bool,
}

/// From us to the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToKeeper {
    /// Start a program in a process group of its own.
    Spawn(Spawn),
    /// Ask a program to end, and not what it has started: a browser whose helpers are gone cannot write down what it knows.
    Close {
        /// The program.
        id: u32,
    },
    /// Signal a process that was started, and its group.
    Signal {
        /// From [`Spawn`].
        id: u32,
        /// Number of the signal.
        signal: i32,
    },
    /// Keep the attached descriptors open until the end: they are locks.
    Hold,
    /// Connect to this TCP port of loopback, as the programs see it, and send the connection through the attached
    /// descriptor: see [`super::connect`].
    Connect(u16),
    /// Open a terminal, as the programs see it, and send its two ends through the attached descriptor: see
    /// [`super::terminal`].
    Terminal,
    /// Remove this file or directory at the end.
    Remove(PathBuf),
    /// Clear away what walls leave when our process is gone, before anything is removed: state directory, name.
    Clear(PathBuf, String),
    /// Remove the lock file and the socket of this X display at the end, if its server is gone.
    RemoveDisplay(u16),
}

/// From the keeper to us.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromKeeper {
    /// The program runs.
    Started {
        /// From [`Spawn`].
        id: u32,
        /// Number of the process, as the keeper sees it.
        pid: i32,
    },
    /// The program could not be started.
    Failed {
        /// From [`Spawn`].
        id: u32,
        /// Why.
        reason: String,
        /// Whether there is no such program, or no such working directory.
        missing: bool,
    },
    /// A program ended.
    Exited {
        /// From [`Spawn`].
        id: u32,
        /// Exit code, if it exited.
        code: Option<i32>,
        /// Signal, if it was killed.
        signal: Option<i32>,
    },
}

/// Sends one message.
pub(crate) fn send<T: Serialize>(socket: impl AsFd, message: &T, fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE || fds.len() > MAX_FDS {
        return Err(std::io::Error::other(format!(
            "command line and environment are too long: {} bytes, the limit is {MAX_MESSAGE}",
            bytes.len()
        )));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(std::io::Error::other("too many descriptors for one message"));
    }
    rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives one message and its descriptors; `None` at the end.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> std::io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, fds)))
}
