//! Connections that the keeper opens for us, because a port within walls can be reached from there only.
//!
//! Each is asked for with one end of a socket pair of its own, and comes back through it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, connect, socket_with,
        sockopt::{Timeout, set_socket_timeout, socket_error},
    },
};

use super::wire::{receive, send};

/// How long the keeper may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// In the keeper: connects, and answers through the given descriptor.
pub(super) fn serve(port: u16, fds: &[OwnedFd]) {
    let Some(answer) = fds.first() else { return };
    let opened = open(port);
    let (result, fds) = match &opened {
        Ok(socket) => (Ok(()), vec![socket.as_fd()]),
        Err(error) => (Err(error.to_string()), Vec::new()),
    };
    // Fails only when nobody waits any more.
    let _ = send(answer, &result, &fds);
}

/// The keeper must not wait: who asked does.
fn open(port: u16) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Waits for the answer on our end of the pair; blocks, at most for some seconds. The connection does not block.
pub(crate) fn wait(answer: &OwnedFd) -> io::Result<TcpStream> {
    set_socket_timeout(answer, Timeout::Recv, Some(PATIENCE))?;
    let gone = || io::Error::other("the keeper is gone");
    let (result, fds) = receive::<Result<(), String>>(answer)?.ok_or_else(gone)?;
    result.map_err(io::Error::other)?;
    let socket = fds.into_iter().next().ok_or_else(gone)?;
    let mut connected = [PollFd::new(&socket, PollFlags::OUT)];
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    if rustix::io::retry_on_intr(|| poll(&mut connected, Some(&patience)))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket_error(&socket)??;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;
    use crate::keeper::pair;

    #[test]
    fn a_connection_comes_through_the_pair() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ours, theirs) = pair().unwrap();
        serve(port, &[theirs]);
        let mut stream = wait(&ours).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        stream.write_all(b"x").unwrap();
        let mut got = [0];
        other.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"x");
    }

    #[test]
    fn a_closed_port_and_a_keeper_that_is_gone_are_errors() {
        // Bound and not listened on: nobody answers there, and nobody else gets it meanwhile.
        use rustix::net::{bind, getsockname, socket};
        let closed = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&closed, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = SocketAddrV4::try_from(getsockname(&closed).unwrap()).unwrap().port();
        let (ours, theirs) = pair().unwrap();
        serve(port, &[theirs]);
        assert!(wait(&ours).unwrap_err().to_string().contains("refused"));
        let (ours, theirs) = pair().unwrap();
        drop(theirs);
        assert!(wait(&ours).is_err());
    }
}
