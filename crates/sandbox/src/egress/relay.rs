//! Moving bytes both ways between a session and a host.
//!
//! The first part of a connection is copied through a small buffer, since most connections are short; a long one is
//! spliced: the kernel moves pages from socket to socket through a pipe, and the bytes never come to us.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest},
    net::TcpStream,
};

use super::upstream::Stream;

/// Size of the copy buffer.
const BUFFER: usize = 32 * 1024;

/// After this many bytes one way, that way is spliced.
const SPLICE_AFTER: u64 = 256 * 1024;

/// Wanted size of the pipe: what a user may have without privilege.
const PIPE: usize = 1024 * 1024;

/// Counts of one connection, shared by its two ways.
pub(super) struct Meter<'a> {
    sent: AtomicU64,
    received: AtomicU64,
    all_sent: &'a AtomicU64,
    all_received: &'a AtomicU64,
    start: Instant,
    /// When something moved last, in milliseconds after `start`.
    moved: AtomicU64,
    idle: Duration,
}

/// One way.
#[derive(Clone, Copy)]
enum Way {
    Out,
    In,
}

impl<'a> Meter<'a> {
    pub(super) fn new(all_sent: &'a AtomicU64, all_received: &'a AtomicU64, idle: Duration) -> Self {
        let (sent, received, moved) = Default::default();
        Self { sent, received, all_sent, all_received, start: Instant::now(), moved, idle }
    }

    /// Bytes to the host, and from it.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Counts bytes; returns how many went that way so far.
    fn count(&self, way: Way, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        let (own, all) = match way {
            Way::Out => (&self.sent, self.all_sent),
            Way::In => (&self.received, self.all_received),
        };
        all.fetch_add(bytes, Ordering::Relaxed);
        self.moved.store(self.now(), Ordering::Relaxed);
        own.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Counts bytes that were sent to the host before the relay began.
    pub(super) fn count_sent(&self, bytes: usize) {
        self.count(Way::Out, bytes);
    }

    /// Counts bytes that were given to the session before the relay began.
    pub(super) fn count_received(&self, bytes: usize) {
        self.count(Way::In, bytes);
    }

    /// Ends when nothing has moved either way for too long.
    async fn idle(&self) -> io::Error {
        loop {
            let quiet = self.now().saturating_sub(self.moved.load(Ordering::Relaxed));
            let left = self.idle.saturating_sub(Duration::from_millis(quiet));
            if left.is_zero() {
                return io::Error::new(io::ErrorKind::TimedOut, "nothing has moved for too long");
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// Relays until both ways are at their end, or one fails.
pub(super) async fn relay(inside: &mut TcpStream, outside: &mut Stream, meter: &Meter<'_>) -> io::Result<()> {
    let both = async {
        match outside {
            Stream::Tcp(outside) => {
                tokio::try_join!(
                    pump_tcp(inside, outside, meter, Way::Out),
                    pump_tcp(outside, inside, meter, Way::In)
                )?;
            }
            Stream::Tls(outside) => {
                let (inside_in, inside_out) = inside.split();
                let (outside_in, outside_out) = tokio::io::split(outside);
                tokio::try_join!(
                    pump(inside_in, outside_out, meter, Way::Out),
                    pump(outside_in, inside_out, meter, Way::In)
                )?;
            }
        }
        Ok(())
    };
    tokio::select! {
        done = both => done,
        error = meter.idle() => Err(error),
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    meter: &Meter<'_>,
    way: Way,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
        meter.count(way, count);
    }
}

async fn pump_tcp(from: &TcpStream, to: &TcpStream, meter: &Meter<'_>, way: Way) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = read(from, &mut buffer).await?;
        if count == 0 {
            break;
        }
        write_all(to, &buffer[..count]).await?;
        if meter.count(way, count) >= SPLICE_AFTER {
            drop(buffer);
            // Without descriptors for a pipe it goes on as before.
            match pipe() {
                Ok(pipe) => splice_rest(from, to, &pipe, meter, way).await?,
                Err(_) => copy_rest(from, to, meter, way).await?,
            }
            break;
        }
    }
    finish(to)
}

/// Tells the receiver that no more comes; it may be gone already.
fn finish(to: &TcpStream) -> io::Result<()> {
    match rustix::net::shutdown(to.as_fd(), rustix::net::Shutdown::Write) {
        Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn copy_rest(from: &TcpStream, to: &TcpStream, meter: &Meter<'_>, way: Way) -> io::Result<()> {
    let mut buffer = vec![0; 8 * BUFFER];
    loop {
        let count = read(from, &mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        write_all(to, &buffer[..count]).await?;
        meter.count(way, count);
    }
}

/// Reads once; 0 is the end.
pub(super) async fn read(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

/// Writes everything.
pub(super) async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

fn pipe() -> io::Result<Pipe> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // A user's pipes have a limit together; the usual size will do then.
    let size = fcntl_setpipe_size(&write, PIPE).unwrap_or(64 * 1024);
    Ok(Pipe { read, write, size })
}

async fn splice_rest(from: &TcpStream, to: &TcpStream, pipe: &Pipe, meter: &Meter<'_>, way: Way) -> io::Result<()> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    debug_assert!(from.as_raw_fd() != to.as_raw_fd());
    loop {
        from.readable().await?;
        let filled = from.try_io(Interest::READABLE, || {
            splice(from.as_fd(), None, &pipe.write, None, pipe.size, flags).map_err(io::Error::from)
        });
        let mut left = match filled {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        while left > 0 {
            to.writable().await?;
            let emptied = to.try_io(Interest::WRITABLE, || {
                splice(&pipe.read, None, to.as_fd(), None, left, flags).map_err(io::Error::from)
            });
            match emptied {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    left = left.saturating_sub(count);
                    meter.count(way, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Relays what comes from the host, to its end; what else the session sends is not read.
pub(super) async fn answer(inside: &TcpStream, outside: &mut Stream, meter: &Meter<'_>) -> io::Result<()> {
    let one_way = async {
        match outside {
            Stream::Tcp(outside) => pump_tcp(outside, inside, meter, Way::In).await,
            Stream::Tls(outside) => tls_answer(inside, outside, meter).await,
        }
    };
    tokio::select! {
        done = one_way => done,
        error = meter.idle() => Err(error),
        // A person who leaves the page ends the download.
        () = left(inside) => Ok(()),
    }
}

/// Ends when the session closes its side. What it sends meanwhile would be another request, which nobody has judged.
async fn left(inside: &TcpStream) {
    let mut ignored = [0; 1024];
    while let Ok(1..) = read(inside, &mut ignored).await {}
}

async fn tls_answer(inside: &TcpStream, outside: &mut (impl AsyncRead + Unpin), meter: &Meter<'_>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = outside.read(&mut buffer).await?;
        if count == 0 {
            return finish(inside);
        }
        write_all(inside, &buffer[..count]).await?;
        meter.count(Way::In, count);
    }
}
