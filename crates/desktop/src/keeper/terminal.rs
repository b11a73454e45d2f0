//! Terminals that the keeper opens for us, so that they have names within walls.
//!
//! Asked for and answered as connections are, see [`super::connect`].

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    net::sockopt::{Timeout, set_socket_timeout},
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
};

use super::wire::{receive, send};

/// How long the keeper may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// In the keeper: opens a terminal, and answers through the given descriptor.
pub(super) fn serve(fds: &[OwnedFd]) {
    let Some(answer) = fds.first() else { return };
    let opened = pair();
    let (result, fds) = match &opened {
        Ok((ours, theirs)) => (Ok(()), vec![ours.as_fd(), theirs.as_fd()]),
        Err(error) => (Err(error.to_string()), Vec::new()),
    };
    // Fails only when nobody waits any more.
    let _ = send(answer, &result, &fds);
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    Ok((ours, theirs))
}

/// Waits for the answer on our end of the pair; blocks, at most for some seconds. Our end of the terminal, and the
/// program's.
pub(crate) fn wait(answer: &OwnedFd) -> io::Result<(OwnedFd, OwnedFd)> {
    set_socket_timeout(answer, Timeout::Recv, Some(PATIENCE))?;
    let gone = || io::Error::other("the keeper is gone");
    let (result, fds) = receive::<Result<(), String>>(answer)?.ok_or_else(gone)?;
    result.map_err(io::Error::other)?;
    let mut fds = fds.into_iter();
    fds.next().zip(fds.next()).ok_or_else(gone)
}
