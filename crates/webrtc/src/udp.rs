//! The UDP socket of all viewers: batched receiving, batched sending with segmentation offload.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, RawFd},
    ptr,
};

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use str0m::net::DatagramSend;

/// Receive and send buffer asked of the kernel, in bytes.
const SOCKET_BUFFER: usize = 4 << 20;
/// Datagrams taken by one system call.
const RECEIVE_BATCH: usize = 32;
/// Larger datagrams are cut off and then refused by their checks; nothing of ours is larger.
const RECEIVE_SIZE: usize = 2048;
/// Messages given to one system call; each may hold a run of segments.
const SEND_BATCH: usize = 64;
/// Segments of one message: below the kernel's UDP_MAX_SEGMENTS.
const MAX_SEGMENTS: usize = 60;
/// Bytes of one message with segments: below the largest IP packet.
const MAX_SEGMENTED: usize = 60_000;
/// Room for IPV6_PKTINFO and UDP_SEGMENT, or for what the kernel tells about a received datagram.
const CONTROL: usize = 128;

/// A datagram on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) data: DatagramSend,
    pub(crate) to: SocketAddr,
    /// Address to send from, on a socket that is bound to all.
    pub(crate) from: Option<IpAddr>,
    /// Index of the viewer.
    pub(crate) slot: usize,
}

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// The socket and its reused buffers.
pub(crate) struct Udp {
    socket: mio::net::UdpSocket,
    address: SocketAddr,
    /// The socket takes datagrams at all addresses of the machine.
    wildcard: bool,
    /// Nevertheless it is for this machine only.
    is_private: bool,
    offload: bool,
    receive: Vec<[u8; RECEIVE_SIZE]>,
    names: Vec<SockAddrStorage>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `vectors` and `messages` are only written and read within one call of `receive` or `send`;
// between calls they are stale and unused.
unsafe impl Send for Udp {}

impl Udp {
    /// Opens a socket.
    ///
    /// At a loopback address it serves this machine only, but at all of its addresses if it can: Firefox never sends from
    /// an interface's address to a loopback one, and by default uses no other.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Self::open(address, address);
        }
        let all: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        match Self::open(SocketAddr::new(all, address.port()), address) {
            // Somebody has this port at another address.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Self::open(address, address),
            opened => opened,
        }
    }

    /// Opens a socket at `bound` to serve `address`.
    fn open(bound: SocketAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(bound), Type::DGRAM, None)?;
        if bound.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        enlarge(&socket);
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
        socket.bind(&bound.into())?;
        let socket = mio::net::UdpSocket::from_std(socket.into());
        let address = SocketAddr::new(address.ip(), socket.local_addr()?.port());
        Ok(Self {
            socket,
            address,
            wildcard,
            is_private: bound.ip() != address.ip(),
            offload: true,
            receive: vec![[0; RECEIVE_SIZE]; RECEIVE_BATCH],
            names: (0..RECEIVE_BATCH.max(SEND_BATCH)).map(|_| SockAddrStorage::zeroed()).collect(),
            controls: (0..RECEIVE_BATCH.max(SEND_BATCH)).map(|_| Control([0; CONTROL])).collect(),
            vectors: Vec::with_capacity(SEND_BATCH * MAX_SEGMENTS),
            messages: Vec::with_capacity(SEND_BATCH),
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
    pub(crate) fn receive(&mut self, mut each: impl FnMut(SocketAddr, IpAddr, &[u8])) -> io::Result<bool> {
        self.vectors.clear();
        self.messages.clear();
        for index in 0..RECEIVE_BATCH {
            self.vectors.push(libc::iovec { iov_base: self.receive[index].as_mut_ptr().cast(), iov_len: RECEIVE_SIZE });
        }
        for index in 0..RECEIVE_BATCH {
            // SAFETY: all-zero is a valid mmsghdr: null pointers and zero lengths.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_name = ptr::from_mut(&mut self.names[index]).cast();
            message.msg_hdr.msg_namelen = size_of::<SockAddrStorage>() as libc::socklen_t;
            message.msg_hdr.msg_iov = &raw mut self.vectors[index];
            message.msg_hdr.msg_iovlen = 1;
            if self.wildcard {
                message.msg_hdr.msg_control = self.controls[index].0.as_mut_ptr().cast();
                message.msg_hdr.msg_controllen = CONTROL as _;
            }
            self.messages.push(message);
        }
        let fd = self.socket.as_raw_fd();
        let messages = &mut self.messages;
        let count = self.socket.try_io(|| {
            // SAFETY: every message points at a name, a vector and a control buffer of self, which outlive the call.
            let count = unsafe {
                libc::recvmmsg(fd, messages.as_mut_ptr(), messages.len() as u32, libc::MSG_DONTWAIT, ptr::null_mut())
            };
            usize::try_from(count).map_err(|_| io::Error::last_os_error())
        });
        let count = match count {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        for index in 0..count {
            let message = &self.messages[index];
            let length = (message.msg_len as usize).min(RECEIVE_SIZE);
            let name = mem::replace(&mut self.names[index], SockAddrStorage::zeroed());
            // SAFETY: the kernel wrote a socket address of this length.
            let name = unsafe { SockAddr::new(name, message.msg_hdr.msg_namelen) };
            let Some(from) = name.as_socket() else { continue };
            let to = if self.wildcard { own_address(&message.msg_hdr) } else { Some(self.address.ip()) };
            let (from, Some(to)) = (canonical(from), to.map(|to| to.to_canonical())) else { continue };
            if self.is_private && !is_within_machine(from.ip(), to) {
                continue;
            }
            each(from, to, &self.receive[index][..length]);
        }
        Ok(true)
    }

    /// Sends from the front of `queue`, calling `sent` for each datagram gone or given up. `Ok(false)` when the kernel takes no more now.
    pub(crate) fn send(
        &mut self,
        queue: &mut std::collections::VecDeque<Outgoing>,
        mut sent: impl FnMut(&Outgoing),
    ) -> io::Result<bool> {
        while !queue.is_empty() {
            let counts = self.prepare(queue.make_contiguous());
            let fd = self.socket.as_raw_fd();
            let messages = &mut self.messages;
            let result = self.socket.try_io(|| {
                // SAFETY: every message points at names, vectors and controls of self and at datagrams of `queue`, all
                // of which outlive the call.
                let count =
                    unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), messages.len() as u32, libc::MSG_DONTWAIT) };
                usize::try_from(count).map_err(|_| io::Error::last_os_error())
            });
            let gone = match result {
                Ok(count) => counts[..count].iter().sum(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) if self.offload && counts[0] > 1 && no_offload(&error) => {
                    tracing::info!(%error, "no UDP segmentation offload here; sending one by one");
                    self.offload = false;
                    0
                }
                // The first message cannot be sent (no route, refused): it is lost, as on the wire.
                Err(_) => counts[0],
            };
            for outgoing in queue.drain(..gone) {
                sent(&outgoing);
            }
        }
        Ok(true)
    }

    /// Builds the messages of one call and returns how many datagrams each holds.
    fn prepare(&mut self, queue: &[Outgoing]) -> [usize; SEND_BATCH] {
        let mut counts = [0; SEND_BATCH];
        self.vectors.clear();
        self.messages.clear();
        let mut rest = queue;
        while let (Some(first), true) = (rest.first(), self.messages.len() < SEND_BATCH) {
            let index = self.messages.len();
            let run = if self.offload { run_length(rest) } else { 1 };
            let start = self.vectors.len();
            for outgoing in &rest[..run] {
                // `vectors` never grows beyond its first capacity, so pointers into it stay valid.
                self.vectors.push(libc::iovec {
                    iov_base: outgoing.data.as_ptr().cast_mut().cast(),
                    iov_len: outgoing.data.len(),
                });
            }
            let to = if self.address.is_ipv6() { mapped(first.to) } else { first.to };
            let name = SockAddr::from(to);
            let length = name.len();
            self.names[index] = name.as_storage();
            // SAFETY: all-zero is a valid mmsghdr: null pointers and zero lengths.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_name = ptr::from_mut(&mut self.names[index]).cast();
            message.msg_hdr.msg_namelen = length;
            message.msg_hdr.msg_iov = &raw mut self.vectors[start];
            message.msg_hdr.msg_iovlen = run as _;
            let from = if self.wildcard { first.from } else { None };
            let segment = (run > 1).then_some(first.data.len() as u16);
            write_control(&mut self.controls[index], &mut message.msg_hdr, self.address.is_ipv6(), from, segment);
            self.messages.push(message);
            counts[index] = run;
            rest = &rest[run..];
        }
        counts
    }
}

/// How many datagrams from the front can go as one segmented message: same path, same size but for a shorter last one.
fn run_length(queue: &[Outgoing]) -> usize {
    let first = &queue[0];
    let size = first.data.len();
    let mut total = size;
    let mut run = 1;
    for outgoing in queue[1..].iter().take(MAX_SEGMENTS - 1) {
        let length = outgoing.data.len();
        if outgoing.to != first.to || outgoing.from != first.from || length > size || total + length > MAX_SEGMENTED {
            break;
        }
        total += length;
        run += 1;
        if length < size {
            break;
        }
    }
    run
}

fn no_offload(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOPROTOOPT))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn enlarge(socket: &Socket) {
    // As root the limit of net.core.*mem_max can be passed; otherwise the kernel clamps, which is fine.
    let size = SOCKET_BUFFER as i32;
    if set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, size).is_err() {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    }
    if set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, size).is_err() {
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    }
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value outlives the call and its size is given.
    let result =
        unsafe { libc::setsockopt(fd, level, name, ptr::from_ref(&value).cast(), size_of::<i32>() as libc::socklen_t) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The address that a received datagram was sent to, from IP_PKTINFO or IPV6_PKTINFO.
fn own_address(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel filled the control buffer of `header`; the CMSG functions stay within its length, and the data
    // of each message is read unaligned with the type that its level and kind name.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    return Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => message = libc::CMSG_NXTHDR(header, message),
            }
        }
    }
    None
}

/// Adds the address to send from and the segment size.
fn write_control(
    control: &mut Control,
    header: &mut libc::msghdr,
    v6: bool,
    from: Option<IpAddr>,
    segment: Option<u16>,
) {
    if from.is_none() && segment.is_none() {
        return;
    }
    control.0.fill(0);
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL as _;
    let mut used = 0;
    let mut add = |level: i32, kind: i32, value: &[u8]| {
        // SAFETY: both entries together need at most CMSG_SPACE(20) + CMSG_SPACE(2) < CONTROL bytes, the buffer is
        // zeroed and aligned for cmsghdr, and `used` counts what is written.
        unsafe {
            let message = header.msg_control.cast::<u8>().add(used).cast::<libc::cmsghdr>();
            (*message).cmsg_level = level;
            (*message).cmsg_type = kind;
            (*message).cmsg_len = libc::CMSG_LEN(value.len() as u32) as _;
            ptr::copy_nonoverlapping(value.as_ptr(), libc::CMSG_DATA(message), value.len());
            used += libc::CMSG_SPACE(value.len() as u32) as usize;
        }
    };
    match from {
        Some(from) if v6 => {
            let address = match from {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            // struct in6_pktinfo: address, interface index 0 (any).
            let mut info = [0; 20];
            info[..16].copy_from_slice(&address.octets());
            add(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        Some(IpAddr::V4(v4)) => {
            // struct in_pktinfo: interface index 0 (any), source address, unused destination.
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&v4.octets());
            add(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        _ => {}
    }
    if let Some(segment) = segment {
        add(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
    }
    header.msg_controllen = used as _;
    if used == 0 {
        header.msg_control = ptr::null_mut();
    }
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
            let mut udp = Udp::bind(bind.parse().unwrap()).unwrap();
            udp.offload = offload;
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
            while !udp.send(&mut queue, |_| gone += 1).unwrap() {}
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
            let mut udp = Udp::bind(bind.parse().unwrap()).unwrap();
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.send_to(b"hello", ("127.0.0.1", udp.address().port())).unwrap();
            let mut got = None;
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while got.is_none() && std::time::Instant::now() < deadline {
                udp.receive(|from, to, data| got = Some((from, to, data.to_vec()))).unwrap();
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
        let mut udp = Udp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let interfaces = crate::addresses::interfaces().unwrap();
        for own in interfaces.into_iter().filter(IpAddr::is_ipv4) {
            let sender = UdpSocket::bind((own, 0)).unwrap();
            // To another address of the machine's first, which stands for a stranger's.
            sender.send_to(b"strange", ("127.0.0.9", udp.address().port())).unwrap();
            sender.send_to(b"own", (own, udp.address().port())).unwrap();
            let mut got = Vec::new();
            let deadline = std::time::Instant::now() + Duration::from_secs(30);
            while !got.iter().any(|data| data == b"own") && std::time::Instant::now() < deadline {
                udp.receive(|_, _, data| got.push(data.to_vec())).unwrap();
            }
            let expected: &[&[u8]] = if own.is_loopback() { &[b"strange", b"own"] } else { &[b"own"] };
            assert_eq!(got, expected, "{own}");
        }
    }

    #[test]
    fn a_run_ends_at_another_size_or_path() {
        let datagram = |size: usize, port: u16| Outgoing {
            data: vec![0; size].into(),
            to: SocketAddr::from(([127, 0, 0, 1], port)),
            from: None,
            slot: 0,
        };
        assert_eq!(run_length(&[datagram(9, 1), datagram(9, 1), datagram(5, 1), datagram(5, 1)]), 3);
        assert_eq!(run_length(&[datagram(9, 1), datagram(10, 1)]), 1);
        assert_eq!(run_length(&[datagram(9, 1), datagram(9, 2)]), 1);
        let many: Vec<_> = (0..200).map(|_| datagram(1200, 1)).collect();
        assert_eq!(run_length(&many), 50);
    }
}
