//! UDP sockets that were handed over, each connected to one peer.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token};

use crate::{
    backlog::Backlog,
    batch::{Batch, Kind, Outgoing, canonical},
};

/// Sockets at once: each is a descriptor.
const MAX_LINKS: usize = 4096;
/// A socket whose peer has been silent for this long is closed. The next packet of the peer brings a new one.
const SILENCE: Duration = Duration::from_secs(30);
/// Between looks at how long peers have been silent.
const LOOK: Duration = Duration::from_secs(5);
/// A peer that has been silent for this long may be using its port for another engine.
const ABANDONED: Duration = Duration::from_secs(5);
/// Datagrams that may wait for one socket; more are dropped.
const MAX_WAITING: usize = 2048;
/// Receive and send buffer asked of the kernel, in bytes.
const SOCKET_BUFFER: usize = 1 << 20;

/// A socket and what waits to leave through it.
struct Link {
    socket: mio::net::UdpSocket,
    peer: SocketAddr,
    own: SocketAddr,
    waiting: VecDeque<Outgoing>,
    writable: bool,
    /// When it was opened, or brought something of a viewer.
    heard: Instant,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Links {
    all: Vec<Option<Link>>,
    free: Vec<usize>,
    by_path: HashMap<(SocketAddr, IpAddr), usize>,
    /// Those with something unread.
    pub(crate) unread: Vec<usize>,
    /// Those with something to send.
    unflushed: Vec<usize>,
    waiting: usize,
    looked: Option<Instant>,
}

impl Links {
    /// Takes a socket. One for the same path is closed, since the kernel gives the path's datagrams to either.
    pub(crate) fn add(
        &mut self,
        registry: &Registry,
        first_token: usize,
        (socket, peer, own): (UdpSocket, SocketAddr, SocketAddr),
        backlog: &mut Backlog,
        now: Instant,
    ) -> io::Result<usize> {
        if let Some(&old) = self.by_path.get(&(peer, own.ip())) {
            self.remove(registry, old, backlog);
        }
        if self.all.len() - self.free.len() >= MAX_LINKS {
            return Err(io::Error::other("there are too many sockets"));
        }
        let socket = socket2::Socket::from(socket);
        crate::udp::enlarge(&socket, SOCKET_BUFFER);
        let mut socket = mio::net::UdpSocket::from_std(socket.into());
        let index = self.free.last().copied().unwrap_or(self.all.len());
        registry.register(&mut socket, Token(first_token + index), Interest::READABLE | Interest::WRITABLE)?;
        let link = Link { socket, peer, own, waiting: VecDeque::new(), writable: true, heard: now };
        if self.free.pop().is_some() {
            self.all[index] = Some(link);
        } else {
            self.all.push(Some(link));
        }
        self.by_path.insert((peer, own.ip()), index);
        Ok(index)
    }

    pub(crate) fn remove(&mut self, registry: &Registry, index: usize, backlog: &mut Backlog) {
        let Some(mut link) = self.all.get_mut(index).and_then(Option::take) else { return };
        // It is closed in any case.
        let _ = registry.deregister(&mut link.socket);
        self.waiting -= link.waiting.len();
        for outgoing in &link.waiting {
            backlog.gone(outgoing);
        }
        self.by_path.remove(&(link.peer, link.own.ip()));
        self.free.push(index);
    }

    /// Closes all sockets of a peer.
    pub(crate) fn remove_peer(&mut self, registry: &Registry, peer: SocketAddr, backlog: &mut Backlog) {
        for index in 0..self.all.len() {
            if self.all[index].as_ref().is_some_and(|link| link.peer == peer) {
                self.remove(registry, index, backlog);
            }
        }
    }

    /// The socket towards a peer, from this address if it can be told.
    pub(crate) fn towards(&self, peer: SocketAddr, from: Option<IpAddr>) -> Option<usize> {
        self.by_path.get(&(peer, from?)).copied()
    }

    /// Datagrams that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Queues a datagram; false when it was dropped, because too many wait.
    pub(crate) fn push(&mut self, index: usize, outgoing: Outgoing, backlog: &mut Backlog) -> bool {
        let Some(link) = self.all.get_mut(index).and_then(Option::as_mut) else { return false };
        if link.waiting.len() >= MAX_WAITING {
            return false;
        }
        if link.waiting.is_empty() {
            self.unflushed.push(index);
        }
        backlog.waits(&outgoing);
        link.waiting.push_back(outgoing);
        self.waiting += 1;
        true
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self, batch: &mut Batch, backlog: &mut Backlog) {
        while let Some(index) = self.unflushed.pop() {
            let Some(link) = self.all.get_mut(index).and_then(Option::as_mut) else { continue };
            if !link.writable || link.waiting.is_empty() {
                continue;
            }
            let before = link.waiting.len();
            let kind = Kind::Connected(link.own.ip());
            link.writable = batch.send(&link.socket, kind, &mut link.waiting, |outgoing| backlog.gone(outgoing));
            self.waiting -= before - link.waiting.len();
        }
    }

    pub(crate) fn writable(&mut self, index: usize) {
        if let Some(link) = self.all.get_mut(index).and_then(Option::as_mut) {
            link.writable = true;
            if !link.waiting.is_empty() {
                self.unflushed.push(index);
            }
        }
    }

    /// Forgets what waits for a viewer.
    pub(crate) fn forget(&mut self, slot: usize) {
        for link in self.all.iter_mut().flatten() {
            let before = link.waiting.len();
            link.waiting.retain(|outgoing| outgoing.slot != slot);
            self.waiting -= before - link.waiting.len();
        }
    }

    /// Reads a batch of a socket's datagrams; returns its own address, or `None` when it is gone.
    pub(crate) fn read(
        &mut self,
        index: usize,
        batch: &mut Batch,
        mut each: impl FnMut(SocketAddr, IpAddr, &[u8]),
    ) -> Option<SocketAddr> {
        let link = self.all.get(index)?.as_ref()?;
        let (peer, own) = (link.peer, link.own);
        let received = batch.receive(&link.socket, Kind::Connected(own.ip()), |from, to, data| {
            // Others' datagrams that were on their way to it while it was connected.
            if canonical(from) == peer {
                each(from, to, data);
            }
        });
        match received {
            Ok(count) if !Batch::is_full(count) => {}
            // What the network told of an earlier datagram; what came is behind it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => self.unread.push(index),
        }
        Some(own)
    }

    /// Notes that a viewer was heard there.
    pub(crate) fn heard(&mut self, index: usize, now: Instant) {
        if let Some(link) = self.all.get_mut(index).and_then(Option::as_mut) {
            link.heard = now;
        }
    }

    /// Whether its own viewer seems to have left a socket.
    pub(crate) fn is_abandoned(&self, index: usize, now: Instant) -> bool {
        let link = self.all.get(index).and_then(Option::as_ref);
        link.is_some_and(|link| now.saturating_duration_since(link.heard) >= ABANDONED)
    }

    /// Closes those whose peers are silent; returns when to look again.
    pub(crate) fn expire(&mut self, registry: &Registry, backlog: &mut Backlog, now: Instant) -> Option<Instant> {
        if self.by_path.is_empty() {
            return None;
        }
        if let Some(looked) = self.looked
            && now < looked + LOOK
        {
            return Some(looked + LOOK);
        }
        self.looked = Some(now);
        for index in 0..self.all.len() {
            let is_silent = |link: &Link| now.saturating_duration_since(link.heard) >= SILENCE;
            if self.all[index].as_ref().is_some_and(is_silent) {
                self.remove(registry, index, backlog);
            }
        }
        Some(now + LOOK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_ones_are_closed_and_a_new_one_takes_the_place() {
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry();
        let (mut links, mut backlog) = (Links::default(), Backlog::default());
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (to, begun) = (peer.local_addr().unwrap(), Instant::now());
        let add = |links: &mut Links, backlog: &mut Backlog, now| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(to).unwrap();
            let own = socket.local_addr().unwrap();
            links.add(registry, 10, (socket, to, own), backlog, now).unwrap()
        };
        let first = add(&mut links, &mut backlog, begun);
        assert_eq!(links.towards(to, Some("127.0.0.1".parse().unwrap())), Some(first));
        assert_eq!(links.towards(to, Some("127.0.0.2".parse().unwrap())), None);
        let outgoing = || Outgoing { data: vec![1; 1000].into(), to, from: None, slot: 3 };
        while !backlog.is_full(3) {
            assert!(links.push(first, outgoing(), &mut backlog));
        }
        let second = add(&mut links, &mut backlog, begun);
        assert_eq!((first, links.waiting()), (second, 0), "the path has one socket, and its number is used again");
        assert!(!backlog.is_full(3), "what was to leave through the old one does not count any more");
        assert_eq!(links.expire(registry, &mut backlog, begun), Some(begun + LOOK));
        assert!(!links.is_abandoned(second, begun));
        links.heard(second, begun + LOOK);
        let silent = begun + SILENCE + LOOK / 2;
        links.expire(registry, &mut backlog, silent);
        assert!(links.is_abandoned(second, silent) && links.towards(to, Some(to.ip())).is_some());
        assert_eq!(links.expire(registry, &mut backlog, silent + LOOK), Some(silent + LOOK * 2));
        assert_eq!(links.towards(to, Some(to.ip())), None);
        assert_eq!(links.expire(registry, &mut backlog, silent + LOOK), None);
        let third = add(&mut links, &mut backlog, silent);
        while links.push(third, outgoing(), &mut backlog) {}
        assert_eq!(links.waiting(), MAX_WAITING);
        links.forget(3);
        assert_eq!(links.waiting(), 0);
        links.remove_peer(registry, to, &mut backlog);
        assert!(!links.push(third, outgoing(), &mut backlog));
    }
}
