//! All sockets of the engine: its UDP port or those that are handed to it, its TCP connections, and what waits to leave
//! through them.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token};
use str0m::net::{DatagramSend, Protocol, Transmit};

use crate::{
    backlog::Backlog,
    batch::{Batch, Outgoing},
    handover::{Handed, Receiver},
    links::Links,
    tcp::{self, Connection, Progress},
    udp::Udp,
};

/// Event tokens: the UDP port, or the socket that others are handed over by; connections, and sockets of one peer each.
const PORT: Token = Token(1);
const TCP: usize = 2;
const LINKS: usize = 1 << 20;
/// Datagrams that may wait for the UDP socket; more are dropped, as a full queue of a router would.
const MAX_WAITING: usize = 8192;
/// Connections at once, and how many of them may not have named their viewer yet.
const MAX_CONNECTIONS: usize = 4096;
const MAX_ANONYMOUS: usize = 256;
/// A connection must name its viewer within this time.
const ANONYMOUS_TIME: Duration = Duration::from_secs(5);
/// Bytes read from one connection before others get their turn.
const READ_BUDGET: usize = 128 << 10;

/// Sockets handed over that are taken in one turn.
const TAKE: usize = 32;

/// Where packets of new peers come from.
pub(crate) enum Source {
    /// A port of our own.
    Own(Udp),
    /// Whoever reads the port that many engines share.
    Shared(Receiver),
}

/// Whose an event is.
pub(crate) enum Whose {
    Port,
    Connection(usize),
    Link(usize),
}

/// The sockets.
pub(crate) struct Ports {
    source: Source,
    registry: Registry,
    batch: Batch,
    /// For the port of our own.
    waiting: VecDeque<Outgoing>,
    writable: bool,
    backlog: Backlog,
    links: Links,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    by_peer: HashMap<SocketAddr, usize>,
    anonymous: usize,
    /// Connections with unread bytes left, because their budget was used up.
    pub(crate) unread: Vec<usize>,
    /// Connections with something to write.
    unflushed: Vec<usize>,
    pub(crate) dropped: u64,
    /// Received datagrams before they go to their viewers; kept for its memory.
    pub(crate) scratch: Datagrams,
}

/// Received datagrams, back to back.
#[derive(Default)]
pub(crate) struct Datagrams {
    bytes: Vec<u8>,
    entries: Vec<(SocketAddr, IpAddr, usize)>,
}

impl Datagrams {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    pub(crate) fn push(&mut self, from: SocketAddr, own: IpAddr, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.entries.push((from, own, self.bytes.len()));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketAddr, IpAddr, &[u8])> {
        let mut start = 0;
        self.entries.iter().map(move |(from, own, end)| {
            let datagram = &self.bytes[start..*end];
            start = *end;
            (*from, *own, datagram)
        })
    }
}

/// What came with a socket that was handed over.
pub(crate) struct First {
    pub(crate) link: usize,
    pub(crate) peer: SocketAddr,
    pub(crate) own: SocketAddr,
    /// Datagrams, each with its length before it.
    pub(crate) packets: Vec<u8>,
}

impl Ports {
    pub(crate) fn new(mut source: Source, registry: Registry) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match &mut source {
            Source::Own(udp) => registry.register(udp.source(), PORT, interest)?,
            Source::Shared(receiver) => registry.register(receiver.source(), PORT, Interest::READABLE)?,
        }
        Ok(Self {
            source,
            registry,
            batch: Batch::new(),
            waiting: VecDeque::new(),
            writable: true,
            backlog: Backlog::default(),
            links: Links::default(),
            connections: Vec::new(),
            free: Vec::new(),
            by_peer: HashMap::new(),
            anonymous: 0,
            unread: Vec::new(),
            unflushed: Vec::new(),
            dropped: 0,
            scratch: Datagrams::default(),
        })
    }

    pub(crate) fn whose(token: Token) -> Option<Whose> {
        match token.0 {
            number if number >= LINKS => Some(Whose::Link(number - LINKS)),
            number if number >= TCP => Some(Whose::Connection(number - TCP)),
            _ if token == PORT => Some(Whose::Port),
            _ => None,
        }
    }

    /// Queues what a viewer wants to send; `from` is the own address that the peer was heard at.
    pub(crate) fn transmit(&mut self, slot: usize, transmit: Transmit, from: Option<IpAddr>) {
        if transmit.proto != Protocol::Udp {
            self.transmit_tcp(transmit.destination, transmit.contents);
            return;
        }
        let outgoing = Outgoing { data: transmit.contents, to: transmit.destination, from, slot };
        if self.waiting() >= MAX_WAITING {
            self.flush_udp();
        }
        let is_queued = match &self.source {
            _ if self.waiting() >= MAX_WAITING => false,
            Source::Own(_) => {
                self.backlog.waits(&outgoing);
                self.waiting.push_back(outgoing);
                true
            }
            Source::Shared(_) => match self.links.towards(outgoing.to, from) {
                Some(index) => self.links.push(index, outgoing, &mut self.backlog),
                None => false,
            },
        };
        self.dropped += u64::from(!is_queued);
    }

    fn transmit_tcp(&mut self, to: SocketAddr, datagram: DatagramSend) {
        let Some(&index) = self.by_peer.get(&to) else { return };
        let Some(connection) = self.connections[index].as_mut() else { return };
        if connection.queued() == 0 {
            self.unflushed.push(index);
        }
        if !connection.push(datagram) {
            self.dropped += 1;
        }
    }

    /// Whether the socket towards `to` has enough of this viewer already.
    pub(crate) fn full(&self, slot: usize, to: SocketAddr, tcp: bool) -> bool {
        if !tcp {
            return self.backlog.is_full(slot);
        }
        let connection = self.by_peer.get(&to).and_then(|index| self.connections[*index].as_ref());
        connection.is_none_or(|connection| connection.queued() > tcp::FULL)
    }

    /// Datagrams waiting for UDP sockets.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len() + self.links.waiting()
    }

    pub(crate) fn flush(&mut self) {
        self.flush_udp();
        for index in std::mem::take(&mut self.unflushed) {
            self.flush_connection(index);
        }
    }

    pub(crate) fn flush_udp(&mut self) {
        match &self.source {
            Source::Own(udp) if self.writable && !self.waiting.is_empty() => {
                let backlog = &mut self.backlog;
                self.writable = udp.send(&mut self.batch, &mut self.waiting, |outgoing| backlog.gone(outgoing));
            }
            Source::Own(_) => {}
            Source::Shared(_) => self.links.flush(&mut self.batch, &mut self.backlog),
        }
    }

    pub(crate) fn port_writable(&mut self) {
        self.writable = true;
        self.flush_udp();
    }

    pub(crate) fn link_writable(&mut self, index: usize) {
        self.links.writable(index);
        self.flush_udp();
    }

    /// Viewers whose sockets take data again.
    pub(crate) fn relieved(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.backlog.relieved)
    }

    /// Takes a batch from the port of our own, if it is one; false when nothing more is waiting.
    pub(crate) fn receive(&mut self, datagrams: &mut Datagrams) -> io::Result<bool> {
        let Source::Own(udp) = &self.source else { return Ok(false) };
        udp.receive(&mut self.batch, |from, own, data| datagrams.push(from, own, data))
    }

    /// Takes sockets that were handed over; returns what came with those for datagrams, and whether more may be waiting.
    pub(crate) fn take_handed(&mut self, now: Instant) -> (Vec<First>, bool) {
        let mut all = Vec::new();
        let Source::Shared(receiver) = &mut self.source else { return (all, false) };
        let mut tcp = Vec::new();
        let mut more = true;
        for _ in 0..TAKE {
            match receiver.receive() {
                Ok(Some(Handed::Udp { socket, peer, own, first })) => {
                    match self.links.add(&self.registry, LINKS, (socket, peer, own), &mut self.backlog, now) {
                        Ok(link) => all.push(First { link, peer, own, packets: first }),
                        Err(error) => tracing::debug!(%error, "a socket that was handed over is not taken"),
                    }
                }
                Ok(Some(Handed::Tcp { stream, first })) => tcp.push((stream, first)),
                Ok(None) => tracing::debug!("something that is no use was handed over"),
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        tracing::warn!(%error, "a socket that was handed over cannot be taken");
                    }
                    more = false;
                    break;
                }
            }
        }
        for (stream, first) in tcp {
            self.accept(stream, first, now);
        }
        (all, more)
    }

    /// Reads a batch of a handed socket's datagrams into `datagrams`; returns its own address.
    pub(crate) fn read_link(&mut self, index: usize, datagrams: &mut Datagrams) -> Option<SocketAddr> {
        self.links.read(index, &mut self.batch, |from, own, data| datagrams.push(from, own, data))
    }

    /// Handed sockets with something unread.
    pub(crate) fn unread_links(&mut self) -> &mut Vec<usize> {
        &mut self.links.unread
    }

    /// Notes that a handed socket's viewer was heard.
    pub(crate) fn heard(&mut self, link: usize, now: Instant) {
        self.links.heard(link, now);
    }

    /// Closes a handed socket that is somebody else's, unless a viewer of ours still uses it.
    pub(crate) fn give_up(&mut self, link: usize, now: Instant) {
        if self.links.is_abandoned(link, now) {
            self.close_link(link);
        }
    }

    pub(crate) fn close_link(&mut self, link: usize) {
        self.links.remove(&self.registry, link, &mut self.backlog);
    }

    /// Closes the handed sockets of an address that no viewer is at any more.
    pub(crate) fn close_links_of(&mut self, peer: SocketAddr) {
        self.links.remove_peer(&self.registry, peer, &mut self.backlog);
    }

    fn flush_connection(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
        let was_full = connection.queued() > tcp::FULL;
        if let Err(error) = connection.flush() {
            tracing::debug!(%error, peer = %connection.peer, "connection lost");
            self.remove_connection(index);
            return;
        }
        if was_full && connection.queued() <= tcp::FULL {
            self.backlog.relieved.extend(connection.slot);
        }
    }

    pub(crate) fn connection_writable(&mut self, index: usize) {
        self.flush_connection(index);
    }

    /// Reads a connection's datagrams into `datagrams`; `None` when the connection is gone.
    pub(crate) fn read_connection(
        &mut self,
        index: usize,
        mut each: impl FnMut(&[u8]),
    ) -> Option<(SocketAddr, SocketAddr)> {
        let connection = self.connections.get_mut(index)?.as_mut()?;
        let addresses = (connection.peer, connection.own);
        match connection.read(READ_BUDGET, &mut each) {
            Ok(Progress::Drained) => {}
            Ok(Progress::More) => self.unread.push(index),
            Err(error) => {
                tracing::debug!(%error, peer = %connection.peer, "connection ended");
                self.remove_connection(index);
            }
        }
        Some(addresses)
    }

    pub(crate) fn slot_of(&self, index: usize) -> Option<usize> {
        self.connections.get(index)?.as_ref()?.slot
    }

    /// Binds a connection to the viewer that its first valid STUN request named.
    pub(crate) fn name_connection(&mut self, index: usize, slot: usize) {
        if let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) {
            if connection.slot.is_none() {
                self.anonymous -= 1;
            }
            connection.slot = Some(slot);
        }
    }

    /// Takes a connection of which `first` has been read.
    pub(crate) fn accept(&mut self, stream: std::net::TcpStream, first: Vec<u8>, now: Instant) {
        if self.anonymous >= MAX_ANONYMOUS || self.connections.len() - self.free.len() >= MAX_CONNECTIONS {
            tracing::debug!("too many connections; refusing one");
            return;
        }
        let mut connection = match Connection::new(stream, first, now) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%error, "accepted connection is unusable");
                return;
            }
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.registry.register(&mut connection.stream, Token(TCP + index), interest) {
            tracing::warn!(%error, "cannot watch a connection");
            self.free.push(index);
            return;
        }
        self.anonymous += 1;
        self.by_peer.insert(connection.peer, index);
        self.connections[index] = Some(connection);
        self.unread.push(index);
    }

    fn remove_connection(&mut self, index: usize) {
        let Some(mut connection) = self.connections.get_mut(index).and_then(Option::take) else { return };
        let _ = self.registry.deregister(&mut connection.stream);
        if connection.slot.is_none() {
            self.anonymous -= 1;
        }
        if self.by_peer.get(&connection.peer) == Some(&index) {
            self.by_peer.remove(&connection.peer);
        }
        self.free.push(index);
    }

    /// Closes what belongs to a viewer that is gone, after its last datagrams left.
    pub(crate) fn forget(&mut self, slot: usize) {
        self.flush();
        for index in 0..self.connections.len() {
            if self.connections[index].as_ref().is_some_and(|connection| connection.slot == Some(slot)) {
                self.remove_connection(index);
            }
        }
        self.waiting.retain(|outgoing| outgoing.slot != slot);
        self.links.forget(slot);
        self.backlog.forget(slot);
    }

    /// Closes connections that never named a viewer, and sockets of silent peers; returns when to look again.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let mut next = self.links.expire(&self.registry, &mut self.backlog, now);
        if self.anonymous == 0 {
            return next;
        }
        for index in 0..self.connections.len() {
            let Some(connection) = &self.connections[index] else { continue };
            if connection.slot.is_some() {
                continue;
            }
            let deadline = connection.accepted + ANONYMOUS_TIME;
            if deadline <= now {
                self.remove_connection(index);
            } else {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
        next
    }
}
