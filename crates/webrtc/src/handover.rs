//! How a process that reads the first packets of a shared port hands sockets to the engines behind it: one datagram of a Unix
//! socket each, with the descriptor (SCM_RIGHTS) and what has been read from it.

use std::{
    fs, io, mem,
    net::{SocketAddr, TcpStream},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixDatagram},
    },
    path::Path,
    ptr,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr};
use socket2::{Domain, Socket, Type};

/// Largest message in bytes: its kind and the first packets of a peer.
pub(crate) const MAX_MESSAGE: usize = 8 << 10;

const UDP: u8 = b'U';
const TCP: u8 = b'T';

/// A socket that was handed over.
#[derive(Debug)]
pub(crate) enum Handed {
    /// For the datagrams of one peer, of which some are here.
    Udp {
        socket: std::net::UdpSocket,
        peer: SocketAddr,
        own: SocketAddr,
        /// Framed as ICE over TCP frames them.
        first: Vec<u8>,
    },
    /// A connection, and what it began with.
    Tcp { stream: TcpStream, first: Vec<u8> },
}

/// Hands over a UDP socket with its first datagrams, each with its length before it.
///
/// Never waits: an engine that does not keep up gets none.
pub(crate) fn hand_udp(to: &Path, socket: BorrowedFd<'_>, first: &[u8]) -> io::Result<()> {
    hand(to, UDP, socket, first)
}

/// Hands over a TCP connection with what was read from it, likewise.
pub(crate) fn hand_tcp(to: &Path, socket: BorrowedFd<'_>, first: &[u8]) -> io::Result<()> {
    hand(to, TCP, socket, first)
}

fn hand(to: &Path, kind: u8, socket: BorrowedFd<'_>, first: &[u8]) -> io::Result<()> {
    // What an engine does not take counts against its sender's buffer, and must not hold up what is for others.
    let sender = UnixDatagram::unbound()?;
    let sockets = [socket];
    let mut space = [mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let kind = [kind];
    let parts = [io::IoSlice::new(&kind), io::IoSlice::new(first)];
    let address = SocketAddrUnix::new(to)?;
    sendmsg_addr(&sender, &address, &parts, &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes what is handed over.
#[derive(Debug)]
pub(crate) struct Receiver {
    socket: mio::net::UnixDatagram,
    buffer: Box<[u8; MAX_MESSAGE]>,
    user: u32,
}

impl Receiver {
    /// Listens at a path, which must be in a directory of ours alone.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.set_nonblocking(true)?;
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        let user = rustix::process::geteuid().as_raw();
        Ok(Self { socket: mio::net::UnixDatagram::from_std(socket), buffer: Box::new([0; MAX_MESSAGE]), user })
    }

    pub(crate) fn source(&mut self) -> &mut mio::net::UnixDatagram {
        &mut self.socket
    }

    /// Takes the next one; `None` in it when that is of no use.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is waiting.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Handed>> {
        let (length, message) = receive(self.socket.as_fd(), &mut self.buffer[..])?;
        let is_ours = message.user.is_some_and(|user| user == self.user || user == 0);
        let (Some(descriptor), true) = (message.descriptor, is_ours && !message.is_cut) else { return Ok(None) };
        let Some((kind, first)) = self.buffer[..length].split_first() else { return Ok(None) };
        Ok(checked(*kind, descriptor, first.to_vec()))
    }
}

/// Whether a descriptor is what it is said to be: a connected socket of the network, of this kind.
fn checked(kind: u8, descriptor: OwnedFd, first: Vec<u8>) -> Option<Handed> {
    let socket = Socket::from(descriptor);
    let wanted = match kind {
        UDP => Type::DGRAM,
        TCP => Type::STREAM,
        _ => return None,
    };
    let is_network = matches!(socket.domain(), Ok(Domain::IPV4 | Domain::IPV6));
    if !is_network || socket.r#type().ok()? != wanted {
        return None;
    }
    let peer = socket.peer_addr().ok()?.as_socket()?;
    let own = socket.local_addr().ok()?.as_socket()?;
    socket.set_nonblocking(true).ok()?;
    Some(if kind == UDP {
        let (peer, own) = (crate::batch::canonical(peer), crate::batch::canonical(own));
        Handed::Udp { socket: socket.into(), peer, own, first }
    } else {
        Handed::Tcp { stream: socket.into(), first }
    })
}

#[derive(Default)]
struct Ancillary {
    descriptor: Option<OwnedFd>,
    user: Option<u32>,
    is_cut: bool,
}

#[repr(C, align(8))]
struct Control([u8; 128]);

/// Receives a message with the descriptor and the credentials of its sender.
///
/// rustix would read the number of the sender's process as one that is never 0, which it is when it is of no name space of
/// ours.
fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Ancillary)> {
    let mut control = Control([0; 128]);
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero is a valid msghdr: null pointers and zero lengths.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: the header points at a vector and a control buffer that outlive the call.
    let length =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let mut found =
        Ancillary { is_cut: header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0, ..Ancillary::default() };
    // SAFETY: the kernel filled the control buffer of `header`; the CMSG functions stay within its length, and the data of
    // each message is read unaligned with the type that its level and kind name. Each descriptor in it is new, open, and
    // owned by nobody else.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            let bytes = ((*message).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for index in 0..bytes / size_of::<i32>() {
                        let descriptor = ptr::read_unaligned(data.cast::<i32>().add(index));
                        let descriptor = OwnedFd::from_raw_fd(descriptor);
                        // Of several all but the last are closed.
                        found.descriptor = Some(descriptor);
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if bytes >= size_of::<libc::ucred>() => {
                    let sender: libc::ucred = ptr::read_unaligned(data.cast());
                    found.user = Some(sender.uid);
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    Ok((length, found))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, UdpSocket},
        time::{Duration, Instant},
    };

    use super::*;

    struct Path(std::path::PathBuf);

    impl Path {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("glasshouse-{name}-{}", std::process::id()));
            let _ = fs::remove_file(&path);
            Self(path)
        }
    }

    impl Drop for Path {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn sockets_pass_and_anything_else_does_not() {
        let path = Path::new("handover");
        let mut receiver = Receiver::bind(&path.0).unwrap();
        assert_eq!(fs::metadata(&path.0).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(receiver.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);

        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // It is connected to nobody.
        hand_udp(&path.0, socket.as_fd(), b"x").unwrap();
        assert!(receiver.receive().unwrap().is_none());
        socket.connect(peer.local_addr().unwrap()).unwrap();
        hand_udp(&path.0, socket.as_fd(), b"\0\x05hello").unwrap();
        let Some(Handed::Udp { socket: handed, peer: from, own, first }) = receiver.receive().unwrap() else {
            panic!()
        };
        assert_eq!((from, own), (peer.local_addr().unwrap(), socket.local_addr().unwrap()));
        assert_eq!(first, b"\0\x05hello");
        handed.send(b"answer").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(peer.recv(&mut [0; 10]).unwrap(), 6);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        hand_tcp(&path.0, client.as_fd(), b"abc").unwrap();
        assert!(matches!(receiver.receive().unwrap(), Some(Handed::Tcp { first, .. }) if first == b"abc"));
        // It is not of the kind that it is said to be.
        hand_udp(&path.0, client.as_fd(), b"abc").unwrap();
        assert!(receiver.receive().unwrap().is_none());
        let file = fs::File::open("/dev/null").unwrap();
        hand_udp(&path.0, file.as_fd(), b"abc").unwrap();
        assert!(receiver.receive().unwrap().is_none());
        UnixDatagram::unbound().unwrap().send_to(b"Uabc", &path.0).unwrap();
        assert!(receiver.receive().unwrap().is_none());
        hand_udp(&path.0, socket.as_fd(), &[0; MAX_MESSAGE]).unwrap();
        assert!(receiver.receive().unwrap().is_none());
    }

    #[test]
    fn a_receiver_that_does_not_read_holds_nobody_up() {
        let path = Path::new("handover-full");
        let mut receiver = Receiver::bind(&path.0).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect("127.0.0.1:9").unwrap();
        let begun = Instant::now();
        let mut sent = 0;
        while hand_udp(&path.0, socket.as_fd(), b"x").is_ok() {
            sent += 1;
            assert!(begun.elapsed() < Duration::from_secs(30), "its queue is never full");
        }
        for _ in 0..sent {
            assert!(receiver.receive().unwrap().is_some());
        }
        drop(receiver);
        assert!(hand_udp(&path.0, socket.as_fd(), b"x").is_err(), "nobody is there");
    }
}
