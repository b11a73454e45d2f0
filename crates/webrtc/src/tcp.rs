//! ICE over TCP: connections with RFC 4571 framing (two bytes of length before each datagram).

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Read, Write},
    net::SocketAddr,
    time::Instant,
};

use str0m::net::DatagramSend;

/// Largest datagram that a peer may frame, in bytes; DTLS, SRTP and STUN of browsers stay below 1,500.
pub(crate) const MAX_FRAME: usize = 4096;
/// Bytes that may wait for a slow receiver; beyond it datagrams are dropped, and media waits in the viewer's queue long before.
pub(crate) const MAX_QUEUED: usize = 1 << 20;
/// Media stops being handed over above this many waiting bytes, so that a frame can still be dropped as a whole.
pub(crate) const FULL: usize = 192 << 10;
/// Datagrams per write.
const WRITE_BATCH: usize = 32;
/// Bytes taken per read.
const READ_SIZE: usize = 16 << 10;

/// What reading brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Everything that was there has been taken.
    Drained,
    /// The budget is used up; read again soon.
    More,
}

/// One accepted connection.
pub(crate) struct Connection {
    pub(crate) stream: mio::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) own: SocketAddr,
    /// Index of the viewer, once a valid STUN request named it.
    pub(crate) slot: Option<usize>,
    pub(crate) accepted: Instant,
    incoming: Vec<u8>,
    outgoing: VecDeque<([u8; 2], DatagramSend)>,
    /// Bytes of the first datagram (with its length) already written.
    written: usize,
    queued: usize,
}

impl Connection {
    /// Takes a connection of which `first` has been read.
    pub(crate) fn new(stream: std::net::TcpStream, first: Vec<u8>, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let peer = canonical(stream.peer_addr()?);
        let own = canonical(stream.local_addr()?);
        Ok(Self {
            stream: mio::net::TcpStream::from_std(stream),
            peer,
            own,
            slot: None,
            accepted: now,
            incoming: first,
            outgoing: VecDeque::new(),
            written: 0,
            queued: 0,
        })
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Reads until nothing is left or about `budget` bytes are taken, and calls `each` for every whole datagram.
    ///
    /// # Errors
    /// The connection ended, failed, or framed something larger than [`MAX_FRAME`].
    pub(crate) fn read(&mut self, budget: usize, mut each: impl FnMut(&[u8])) -> io::Result<Progress> {
        let mut taken = 0;
        // What was read before it came to us.
        self.deframe(&mut each)?;
        loop {
            let start = self.incoming.len();
            self.incoming.resize(start + READ_SIZE, 0);
            let result = self.stream.read(&mut self.incoming[start..]);
            self.incoming.truncate(start + result.as_ref().copied().unwrap_or(0));
            match result {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::Drained),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.deframe(&mut each)?;
            if taken >= budget {
                return Ok(Progress::More);
            }
        }
    }

    fn deframe(&mut self, each: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let rest = deframe(&self.incoming, each)?;
        let used = self.incoming.len() - rest;
        self.incoming.drain(..used);
        Ok(())
    }

    /// Queues a datagram; `false` when it was dropped because too much is waiting.
    pub(crate) fn push(&mut self, datagram: DatagramSend) -> bool {
        let Ok(length) = u16::try_from(datagram.len()) else { return false };
        if self.queued + datagram.len() > MAX_QUEUED {
            return false;
        }
        self.queued += datagram.len() + 2;
        self.outgoing.push_back((length.to_be_bytes(), datagram));
        true
    }

    /// Writes what the kernel takes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2 * WRITE_BATCH];
            let mut count = 0;
            let mut skip = self.written;
            for (length, datagram) in self.outgoing.iter().take(WRITE_BATCH) {
                for part in [&length[..], &datagram[..]] {
                    let gone = skip.min(part.len());
                    skip -= gone;
                    slices[count] = IoSlice::new(&part[gone..]);
                    count += 1;
                }
            }
            match self.stream.write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        self.queued -= count;
        self.written += count;
        while let Some((_, datagram)) = self.outgoing.front() {
            let whole = datagram.len() + 2;
            if self.written < whole {
                break;
            }
            self.written -= whole;
            self.outgoing.pop_front();
        }
    }
}

/// Calls `each` for every whole datagram; returns how many bytes are left behind them.
///
/// # Errors
/// One is larger than [`MAX_FRAME`].
pub(crate) fn deframe(bytes: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<usize> {
    let mut rest = bytes;
    while let Some((length, body)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MAX_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "framed datagram too large"));
        }
        let Some((datagram, after)) = body.split_at_checked(length) else { break };
        if !datagram.is_empty() {
            each(datagram);
        }
        rest = after;
    }
    Ok(rest.len())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    use super::*;

    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (Connection::new(listener.accept().unwrap().0, Vec::new(), Instant::now()).unwrap(), client)
    }

    fn read_all(connection: &mut Connection, wanted: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut got = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while got.len() < wanted && Instant::now() < deadline {
            connection.read(1 << 20, |datagram| got.push(datagram.to_vec()))?;
        }
        Ok(got)
    }

    #[test]
    fn datagrams_split_anywhere_are_joined() {
        let (mut connection, mut client) = pair();
        client.set_nodelay(true).unwrap();
        let stream = [&[0, 3][..], b"abc", &[0, 0], &[0, 2], b"de"].concat();
        for byte in &stream {
            client.write_all(&[*byte]).unwrap();
        }
        assert_eq!(read_all(&mut connection, 2).unwrap(), [b"abc".to_vec(), b"de".to_vec()]);
    }

    #[test]
    fn an_oversized_frame_is_an_error() {
        let (mut connection, mut client) = pair();
        client.write_all(&[0xff, 0xff]).unwrap();
        assert_eq!(read_all(&mut connection, 1).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_receiver_that_does_not_read_bounds_the_queue_and_then_gets_all() {
        let (mut connection, mut client) = pair();
        let mut accepted = 0usize;
        let mut index = 0u32;
        while index < 100_000 {
            let mut datagram = vec![0; 1000];
            datagram[..4].copy_from_slice(&index.to_be_bytes());
            if !connection.push(datagram.into()) {
                break;
            }
            accepted += 1;
            index += 1;
            connection.flush().unwrap();
        }
        assert!(index < 100_000, "the queue never filled");
        assert!(connection.queued() <= MAX_QUEUED + 2);
        let reader = std::thread::spawn(move || {
            let mut order = Vec::new();
            for _ in 0..accepted {
                let mut frame = [0; 1002];
                client.read_exact(&mut frame).unwrap();
                assert_eq!(frame[..2], 1000u16.to_be_bytes());
                order.push(u32::from_be_bytes(frame[2..6].try_into().unwrap()));
            }
            order
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        while connection.queued() > 0 && Instant::now() < deadline {
            connection.flush().unwrap();
        }
        assert_eq!(reader.join().unwrap(), (0..u32::try_from(accepted).unwrap()).collect::<Vec<_>>());
    }
}
