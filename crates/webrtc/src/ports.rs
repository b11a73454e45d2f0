//! All sockets of the engine: the UDP port, the TCP connections, and what waits to leave through them.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token};
use str0m::net::{DatagramSend, Protocol, Transmit};

use crate::{
    tcp::{self, Connection, Progress},
    udp::{Outgoing, Udp},
};

/// Event token of the UDP socket; connections follow from [`TCP`].
pub(crate) const UDP: Token = Token(1);
const TCP: usize = 2;
/// Datagrams that may wait for the UDP socket; more are dropped, as a full queue of a router would.
const MAX_WAITING: usize = 8192;
/// Bytes of one viewer that may wait for the UDP socket before its media stays in its own queue.
const MAX_WAITING_OF_ONE: usize = 256 << 10;
/// Connections at once, and how many of them may not have named their viewer yet.
const MAX_CONNECTIONS: usize = 4096;
const MAX_ANONYMOUS: usize = 256;
/// A connection must name its viewer within this time.
const ANONYMOUS_TIME: Duration = Duration::from_secs(5);
/// Bytes read from one connection before others get their turn.
const READ_BUDGET: usize = 128 << 10;

/// The sockets.
pub(crate) struct Ports {
    pub(crate) udp: Udp,
    registry: Registry,
    waiting: VecDeque<Outgoing>,
    /// Waiting UDP bytes by slot of the viewer.
    waiting_of: Vec<usize>,
    writable: bool,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    by_peer: HashMap<SocketAddr, usize>,
    anonymous: usize,
    /// Connections with unread bytes left, because their budget was used up.
    pub(crate) unread: Vec<usize>,
    /// Connections with something to write.
    unflushed: Vec<usize>,
    /// Viewers whose socket takes data again.
    pub(crate) relieved: Vec<usize>,
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

impl Ports {
    pub(crate) fn new(mut udp: Udp, registry: Registry) -> io::Result<Self> {
        registry.register(udp.source(), UDP, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            udp,
            registry,
            waiting: VecDeque::new(),
            waiting_of: Vec::new(),
            writable: true,
            connections: Vec::new(),
            free: Vec::new(),
            by_peer: HashMap::new(),
            anonymous: 0,
            unread: Vec::new(),
            unflushed: Vec::new(),
            relieved: Vec::new(),
            dropped: 0,
            scratch: Datagrams::default(),
        })
    }

    /// Queues what a viewer wants to send.
    pub(crate) fn transmit(&mut self, slot: usize, transmit: Transmit, from: Option<IpAddr>) {
        match transmit.proto {
            Protocol::Udp => {
                if self.waiting.len() >= MAX_WAITING {
                    self.flush_udp();
                }
                if self.waiting.len() >= MAX_WAITING {
                    self.dropped += 1;
                    return;
                }
                if self.waiting_of.len() <= slot {
                    self.waiting_of.resize(slot + 1, 0);
                }
                self.waiting_of[slot] += transmit.contents.len();
                let outgoing = Outgoing { data: transmit.contents, to: transmit.destination, from, slot };
                self.waiting.push_back(outgoing);
            }
            _ => self.transmit_tcp(transmit.destination, transmit.contents),
        }
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
            return self.waiting_of.get(slot).is_some_and(|bytes| *bytes > MAX_WAITING_OF_ONE);
        }
        let connection = self.by_peer.get(&to).and_then(|index| self.connections[*index].as_ref());
        connection.is_none_or(|connection| connection.queued() > tcp::FULL)
    }

    /// Datagrams waiting for the UDP socket.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn flush(&mut self) {
        self.flush_udp();
        for index in std::mem::take(&mut self.unflushed) {
            self.flush_connection(index);
        }
    }

    pub(crate) fn flush_udp(&mut self) {
        if !self.writable || self.waiting.is_empty() {
            return;
        }
        let waiting_of = &mut self.waiting_of;
        let relieved = &mut self.relieved;
        let result = self.udp.send(&mut self.waiting, |outgoing| {
            let bytes = &mut waiting_of[outgoing.slot];
            let was_full = *bytes > MAX_WAITING_OF_ONE;
            *bytes = bytes.saturating_sub(outgoing.data.len());
            if was_full && *bytes <= MAX_WAITING_OF_ONE {
                relieved.push(outgoing.slot);
            }
        });
        match result {
            Ok(all) => self.writable = all,
            Err(error) => tracing::warn!(%error, "UDP send"),
        }
    }

    pub(crate) fn udp_writable(&mut self) {
        self.writable = true;
        self.flush_udp();
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
            self.relieved.extend(connection.slot);
        }
    }

    /// Handles a readiness event of a connection; `each` gets index, own address, sender and data of every datagram.
    pub(crate) fn connection_index(token: Token) -> Option<usize> {
        token.0.checked_sub(TCP)
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

    pub(crate) fn accept(&mut self, stream: std::net::TcpStream, now: Instant) {
        if self.anonymous >= MAX_ANONYMOUS || self.connections.len() - self.free.len() >= MAX_CONNECTIONS {
            tracing::debug!("too many connections; refusing one");
            return;
        }
        let mut connection = match Connection::new(stream, now) {
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
        if let Some(bytes) = self.waiting_of.get_mut(slot) {
            *bytes = 0;
        }
    }

    /// Closes connections that never named a viewer; returns when to look again.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Instant> {
        if self.anonymous == 0 {
            return None;
        }
        let mut next: Option<Instant> = None;
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
