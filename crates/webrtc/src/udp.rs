//! The UDP socket of a port, which many peers send to.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsRawFd, RawFd},
        linux::net::SocketAddrExt,
        unix::net::UnixDatagram,
    },
};

use socket2::{Domain, Socket, Type};

use crate::batch::{Batch, Kind, Outgoing};

/// Receive and send buffer asked of the kernel, in bytes.
const SOCKET_BUFFER: usize = 4 << 20;

/// The socket.
pub(crate) struct Udp {
    socket: mio::net::UdpSocket,
    address: SocketAddr,
    kind: Kind,
    /// The socket takes datagrams at all addresses of the machine; nevertheless it is for this machine only.
    is_private: bool,
    /// Of a port that is shared: held against a second one of ours, which the kernel would let share it too.
    _claims: Vec<UnixDatagram>,
}

impl Udp {
    /// Opens a socket.
    ///
    /// At a loopback address it serves this machine only, but at all of its addresses if it can: Firefox never sends from
    /// an interface's address to a loopback one, and by default uses no other.
    ///
    /// With `is_shared`, sockets of [`connected`] can have its address too.
    pub(crate) fn bind(address: SocketAddr, is_shared: bool) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Self::open(address, address, is_shared);
        }
        let all: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        match Self::open(SocketAddr::new(all, address.port()), address, is_shared) {
            // Somebody has this port at another address.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Self::open(address, address, is_shared),
            opened => opened,
        }
    }

    /// Opens a socket at `bound` to serve `address`.
    fn open(bound: SocketAddr, address: SocketAddr, is_shared: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(bound), Type::DGRAM, None)?;
        if bound.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        enlarge(&socket, SOCKET_BUFFER);
        let wildcard = bound.ip().is_unspecified();
        if wildcard {
            let (level, name) = if bound.is_ipv6() {
                (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
            } else {
                (libc::IPPROTO_IP, libc::IP_PKTINFO)
            };
            set_option(socket.as_raw_fd(), level, name, 1)?;
        }
        socket.set_nonblocking(true)?;
        // Only processes of the same user can join then, which SO_REUSEADDR would let everybody.
        socket.set_reuse_port(is_shared)?;
        socket.bind(&bound.into())?;
        let socket = mio::net::UdpSocket::from_std(socket.into());
        let port = socket.local_addr()?.port();
        let mut claims = Vec::new();
        if is_shared {
            claims.push(claim(SocketAddr::new(bound.ip(), port))?);
            if bound.ip() != address.ip() {
                claims.push(claim(SocketAddr::new(address.ip(), port))?);
            }
        }
        Ok(Self {
            socket,
            address: SocketAddr::new(address.ip(), port),
            kind: if wildcard { Kind::Wildcard { v6: bound.is_ipv6() } } else { Kind::Bound(bound.ip()) },
            is_private: bound.ip() != address.ip(),
            _claims: claims,
        })
    }

    /// The address that it was opened for, with the port that it has.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether programs of this machine, and no others, reach it at all of the machine's addresses.
    pub(crate) fn is_private(&self) -> bool {
        self.is_private
    }

    pub(crate) fn source(&mut self) -> &mut mio::net::UdpSocket {
        &mut self.socket
    }

    /// Takes one batch; calls `each` with sender, own address and data. `Ok(false)` when nothing more is waiting.
    pub(crate) fn receive(
        &self,
        batch: &mut Batch,
        mut each: impl FnMut(SocketAddr, IpAddr, &[u8]),
    ) -> io::Result<bool> {
        let received = batch.receive(&self.socket, self.kind, |from, to, data| {
            if self.takes(from.ip(), to) {
                each(from, to, data);
            }
        });
        match received {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a datagram from there to here is for us.
    pub(crate) fn takes(&self, from: IpAddr, to: IpAddr) -> bool {
        !self.is_private || is_within_machine(from, to)
    }

    /// Sends from the front of `queue`, calling `sent` for each datagram gone or given up. False when the kernel takes no more
    /// now.
    pub(crate) fn send(&self, batch: &mut Batch, queue: &mut VecDeque<Outgoing>, sent: impl FnMut(&Outgoing)) -> bool {
        batch.send(&self.socket, self.kind, queue, sent)
    }
}

/// A socket at an address of a shared port that takes the datagrams of one peer. Those of others that came between its two
/// steps wait in it.
pub(crate) fn connected(own: SocketAddr, peer: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(own), Type::DGRAM, None)?;
    if own.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&own.into())?;
    socket.connect(&peer.into())?;
    Ok(socket)
}

/// Takes a port that is shared, within this network name space, until it is dropped.
fn claim(bound: SocketAddr) -> io::Result<UnixDatagram> {
    let name = std::os::unix::net::SocketAddr::from_abstract_name(format!("glasshouse-udp-{bound}"))?;
    UnixDatagram::bind_addr(&name)
}

/// Asks for large buffers, or for as large ones as there may be.
pub(crate) fn enlarge(socket: &Socket, size: usize) {
    // As root the limit of net.core.*mem_max can be passed; otherwise the kernel clamps, which is fine.
    let value = i32::try_from(size).unwrap_or(i32::MAX);
    if set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value).is_err() {
        let _ = socket.set_recv_buffer_size(size);
    }
    if set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, value).is_err() {
        let _ = socket.set_send_buffer_size(size);
    }
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value outlives the call and its size is given.
    let result = unsafe {
        libc::setsockopt(fd, level, name, std::ptr::from_ref(&value).cast(), size_of::<i32>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a datagram was sent by this machine: from the very address that it came to, or between loopback addresses.
///
/// The kernel takes no IPv4 datagram with such a source from a network. IPv6's with a forged source may come in; its sender
/// gets no answer, and would have to know a viewer's ICE password for anything to be done with it.
fn is_within_machine(from: IpAddr, to: IpAddr) -> bool {
    from == to || from.is_loopback() && to.is_loopback()
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, net::UdpSocket, time::Duration};

    use super::*;

    #[test]
    fn runs_leave_in_order_with_and_without_offload() {
        for (bind, offload) in [("127.0.0.1:0", true), ("127.0.0.1:0", false), ("0.0.0.0:0", true), ("[::]:0", true)] {
            let udp = Udp::bind(bind.parse().unwrap(), false).unwrap();
            let mut batch = Batch::new();
            batch.set_offload(offload);
            let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket2::SockRef::from(&receiver).set_recv_buffer_size(SOCKET_BUFFER).unwrap();
            receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let to = receiver.local_addr().unwrap();
            let sizes: Vec<usize> = std::iter::repeat_n(1100, 130).chain([700, 1200, 1200, 30, 40]).collect();
            let mut queue: VecDeque<Outgoing> = sizes
                .iter()
                .enumerate()
                .map(|(index, size)| Outgoing {
                    data: vec![index as u8; *size].into(),
                    to,
                    from: Some("127.0.0.1".parse().unwrap()),
                    slot: 0,
                })
                .collect();
            let mut gone = 0;
            while !udp.send(&mut batch, &mut queue, |_| gone += 1) {}
            assert_eq!(gone, sizes.len());
            let mut buffer = [0; 2048];
            for (index, size) in sizes.iter().enumerate() {
                let (length, from) = receiver.recv_from(&mut buffer).unwrap();
                assert_eq!((length, buffer[0]), (*size, index as u8), "{bind}");
                assert_eq!(from.to_string(), format!("127.0.0.1:{}", udp.address().port()));
            }
        }
    }

    #[test]
    fn receiving_tells_the_own_address() {
        for bind in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let udp = Udp::bind(bind.parse().unwrap(), false).unwrap();
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.send_to(b"hello", ("127.0.0.1", udp.address().port())).unwrap();
            let mut got = None;
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while got.is_none() && std::time::Instant::now() < deadline {
                udp.receive(&mut Batch::new(), |from, to, data| got = Some((from, to, data.to_vec()))).unwrap();
            }
            let expected = (sender.local_addr().unwrap(), "127.0.0.1".parse().unwrap(), b"hello".to_vec());
            assert_eq!(got, Some(expected), "{bind}");
        }
    }

    #[test]
    fn a_loopback_socket_serves_this_machine_only_at_all_its_addresses() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (from, to, is_own) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.2", "127.0.0.1", true),
            ("192.0.2.2", "192.0.2.2", true),
            ("192.0.2.3", "192.0.2.2", false),
            ("192.0.2.2", "127.0.0.1", false),
            ("2001:db8::1", "2001:db8::2", false),
        ] {
            assert_eq!(is_within_machine(ip(from), ip(to)), is_own, "{from} to {to}");
        }
        let udp = Udp::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let interfaces = crate::addresses::interfaces().unwrap();
        for own in interfaces.into_iter().filter(IpAddr::is_ipv4) {
            let sender = UdpSocket::bind((own, 0)).unwrap();
            // To another address of the machine's first, which stands for a stranger's.
            sender.send_to(b"strange", ("127.0.0.9", udp.address().port())).unwrap();
            sender.send_to(b"own", (own, udp.address().port())).unwrap();
            let mut got = Vec::new();
            let deadline = std::time::Instant::now() + Duration::from_secs(30);
            while !got.iter().any(|data| data == b"own") && std::time::Instant::now() < deadline {
                udp.receive(&mut Batch::new(), |_, _, data| got.push(data.to_vec())).unwrap();
            }
            let expected: &[&[u8]] = if own.is_loopback() { &[b"strange", b"own"] } else { &[b"own"] };
            assert_eq!(got, expected, "{own}");
        }
    }
}
