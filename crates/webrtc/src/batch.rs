//! Batched receiving and sending on UDP sockets, with segmentation offload, through buffers that all sockets of a thread share.

use std::{
    collections::VecDeque,
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    ptr,
};

use socket2::{SockAddr, SockAddrStorage};
use str0m::net::DatagramSend;

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

/// What has to be said with each datagram of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bound to this address: where to.
    Bound(IpAddr),
    /// Bound to all addresses of a family, of which IPv6 has IPv4's too: where to, and from which address.
    Wildcard {
        /// IPv6.
        v6: bool,
    },
    /// Connected, at this address: nothing.
    Connected(IpAddr),
}

impl Kind {
    fn is_v6(self) -> bool {
        match self {
            Self::Bound(own) | Self::Connected(own) => own.is_ipv6(),
            Self::Wildcard { v6 } => v6,
        }
    }
}

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// The reused buffers.
pub(crate) struct Batch {
    offload: bool,
    receive: Vec<[u8; RECEIVE_SIZE]>,
    names: Vec<SockAddrStorage>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `vectors` and `messages` are only written and read within one call of `receive` or `send`;
// between calls they are stale and unused.
unsafe impl Send for Batch {}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            offload: true,
            receive: vec![[0; RECEIVE_SIZE]; RECEIVE_BATCH],
            names: (0..RECEIVE_BATCH.max(SEND_BATCH)).map(|_| SockAddrStorage::zeroed()).collect(),
            controls: (0..RECEIVE_BATCH.max(SEND_BATCH)).map(|_| Control([0; CONTROL])).collect(),
            vectors: Vec::with_capacity(SEND_BATCH * MAX_SEGMENTS),
            messages: Vec::with_capacity(SEND_BATCH),
        }
    }

    /// Takes one batch; calls `each` with sender, own address and data. Returns how many datagrams there were; fewer than
    /// [`Batch::is_full`] says, and nothing more was waiting.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is waiting, and what the kernel has to tell of the socket.
    pub(crate) fn receive(
        &mut self,
        socket: &impl AsFd,
        kind: Kind,
        mut each: impl FnMut(SocketAddr, IpAddr, &[u8]),
    ) -> io::Result<usize> {
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
            if let Kind::Wildcard { .. } = kind {
                message.msg_hdr.msg_control = self.controls[index].0.as_mut_ptr().cast();
                message.msg_hdr.msg_controllen = CONTROL as _;
            }
            self.messages.push(message);
        }
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: every message points at a name, a vector and a control buffer of self, which outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                self.messages.as_mut_ptr(),
                self.messages.len() as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for index in 0..count {
            let message = &self.messages[index];
            let length = (message.msg_len as usize).min(RECEIVE_SIZE);
            let name = mem::replace(&mut self.names[index], SockAddrStorage::zeroed());
            // SAFETY: the kernel wrote a socket address of this length.
            let name = unsafe { SockAddr::new(name, message.msg_hdr.msg_namelen) };
            let Some(from) = name.as_socket() else { continue };
            let to = match kind {
                Kind::Wildcard { .. } => own_address(&message.msg_hdr),
                Kind::Bound(own) | Kind::Connected(own) => Some(own),
            };
            let Some(to) = to else { continue };
            each(canonical(from), to.to_canonical(), &self.receive[index][..length]);
        }
        Ok(count)
    }

    /// Whether so many datagrams were a whole batch, behind which more may be waiting.
    pub(crate) fn is_full(count: usize) -> bool {
        count == RECEIVE_BATCH
    }

    /// Sends from the front of `queue`, calling `sent` for each datagram gone or given up. Returns false when the kernel takes
    /// no more now.
    pub(crate) fn send(
        &mut self,
        socket: &impl AsFd,
        kind: Kind,
        queue: &mut VecDeque<Outgoing>,
        mut sent: impl FnMut(&Outgoing),
    ) -> bool {
        // What the network has told of a connected socket is reported once, in place of sending.
        let mut is_again = false;
        while !queue.is_empty() {
            let counts = self.prepare(kind, queue.make_contiguous());
            let fd = socket.as_fd().as_raw_fd();
            // SAFETY: every message points at names, vectors and controls of self and at datagrams of `queue`, all of which
            // outlive the call.
            let count = unsafe {
                libc::sendmmsg(fd, self.messages.as_mut_ptr(), self.messages.len() as u32, libc::MSG_DONTWAIT)
            };
            let gone = match usize::try_from(count).map_err(|_| io::Error::last_os_error()) {
                Ok(count) => counts[..count].iter().sum(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) if self.offload && counts[0] > 1 && no_offload(&error) => {
                    tracing::info!(%error, "no UDP segmentation offload here; sending one by one");
                    self.offload = false;
                    0
                }
                Err(_) if matches!(kind, Kind::Connected(_)) && !is_again => {
                    is_again = true;
                    continue;
                }
                // The first message cannot be sent (no route, refused): it is lost, as on the wire.
                Err(_) => counts[0],
            };
            is_again = false;
            for outgoing in queue.drain(..gone) {
                sent(&outgoing);
            }
        }
        true
    }

    /// Builds the messages of one call and returns how many datagrams each holds.
    fn prepare(&mut self, kind: Kind, queue: &[Outgoing]) -> [usize; SEND_BATCH] {
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
            // SAFETY: all-zero is a valid mmsghdr: null pointers and zero lengths.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            if !matches!(kind, Kind::Connected(_)) {
                let name = SockAddr::from(if kind.is_v6() { mapped(first.to) } else { first.to });
                message.msg_hdr.msg_namelen = name.len();
                self.names[index] = name.as_storage();
                message.msg_hdr.msg_name = ptr::from_mut(&mut self.names[index]).cast();
            }
            message.msg_hdr.msg_iov = &raw mut self.vectors[start];
            message.msg_hdr.msg_iovlen = run as _;
            let from = if let Kind::Wildcard { .. } = kind { first.from } else { None };
            let segment = (run > 1).then_some(first.data.len() as u16);
            write_control(&mut self.controls[index], &mut message.msg_hdr, kind.is_v6(), from, segment);
            self.messages.push(message);
            counts[index] = run;
            rest = &rest[run..];
        }
        counts
    }

    #[cfg(test)]
    pub(crate) fn set_offload(&mut self, offload: bool) {
        self.offload = offload;
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

pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
