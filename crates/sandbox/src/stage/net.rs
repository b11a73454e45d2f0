//! The session's network: loopback, and the listeners that are handed out of it.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::{Failed, Step};

/// Brings the loopback interface of this network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: `ifreq` is plain data for which zero is valid; the ioctls read and write that struct only, and the
    // union field that is used is the one they use.
    unsafe {
        let mut request = std::mem::zeroed::<libc::ifreq>();
        for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
            *place = byte.cast_signed();
        }
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Listens on addresses of this network namespace. A socket belongs to the namespace it was made in, wherever it is
/// used from, so whoever gets these accepts the session's connections without being in it.
pub(super) fn bind_inside(addresses: &[SocketAddr]) -> Result<Vec<OwnedFd>, Failed> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listen_on = || -> io::Result<OwnedFd> {
            let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            bind(&socket, address)?;
            listen(&socket, 1024)?;
            Ok(socket)
        };
        listeners.push(listen_on().step(format!("listen on {address} inside"))?);
    }
    Ok(listeners)
}
