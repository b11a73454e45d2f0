//! What comes in: from the port, from sockets that were handed over, from connections, and whose it is.

use std::{net::SocketAddr, time::Instant};

use super::Engine;
use crate::{stun, tcp};

/// Receive batches per turn, so that a flood does not keep media waiting.
const RECEIVE_TURNS: usize = 16;

/// What a packet came through.
#[derive(Debug, Clone, Copy)]
pub(super) enum Via {
    /// The UDP port.
    Port,
    /// A UDP socket that was handed over, by its number.
    Link(usize),
    /// A TCP connection, by its number.
    Connection(usize),
}

impl Engine {
    /// Takes what waits at the port. Returns whether more is waiting.
    pub(super) fn receive_port(&mut self) -> bool {
        if let Some(port) = self.own_port { self.receive_udp(port) } else { self.take_handed() }
    }

    fn receive_udp(&mut self, port: u16) -> bool {
        let mut datagrams = std::mem::take(&mut self.ports.scratch);
        let mut more = true;
        for _ in 0..RECEIVE_TURNS {
            datagrams.clear();
            match self.ports.receive(&mut datagrams) {
                Ok(true) => {}
                Ok(false) => {
                    more = false;
                    break;
                }
                Err(error) => {
                    // A refused port of a peer is reported on our socket; the next read goes on.
                    tracing::debug!(%error, "UDP receive");
                    continue;
                }
            }
            for (from, own, datagram) in datagrams.iter() {
                self.datagram(from, SocketAddr::new(own, port), Via::Port, datagram);
            }
        }
        self.ports.scratch = datagrams;
        more
    }

    fn take_handed(&mut self) -> bool {
        let (all, more) = self.ports.take_handed(Instant::now());
        for first in all {
            let mut take = |packet: &[u8]| self.datagram(first.peer, first.own, Via::Link(first.link), packet);
            // What is not framed well comes from nobody of ours.
            let _ = tcp::deframe(&first.packets, &mut take);
            if !self.by_remote.contains_key(&first.peer) {
                // Nothing of it proved that a viewer sent it.
                self.ports.close_link(first.link);
            }
        }
        more
    }

    pub(super) fn receive_link(&mut self, index: usize) {
        let mut datagrams = std::mem::take(&mut self.ports.scratch);
        datagrams.clear();
        if let Some(own) = self.ports.read_link(index, &mut datagrams) {
            for (from, _, datagram) in datagrams.iter() {
                self.datagram(from, own, Via::Link(index), datagram);
            }
        }
        self.ports.scratch = datagrams;
    }

    pub(super) fn receive_tcp(&mut self, index: usize) {
        let mut datagrams = std::mem::take(&mut self.ports.scratch);
        datagrams.clear();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let read = self.ports.read_connection(index, |data| datagrams.push(nowhere, nowhere.ip(), data));
        if let Some((peer, own)) = read {
            for (_, _, datagram) in datagrams.iter() {
                self.datagram(peer, own, Via::Connection(index), datagram);
            }
        }
        self.ports.scratch = datagrams;
    }

    fn datagram(&mut self, from: SocketAddr, own: SocketAddr, via: Via, datagram: &[u8]) {
        let is_stun = stun::is_stun(datagram);
        let slot = if is_stun {
            stun::local_ufrag(datagram).and_then(|ufrag| self.by_ufrag.get(ufrag)).copied()
        } else {
            match via {
                Via::Connection(index) => self.ports.slot_of(index),
                Via::Port | Via::Link(_) => self.by_remote.get(&from).copied(),
            }
        };
        let Some(slot) = slot else {
            if let Via::Link(link) = via
                && is_stun
            {
                // Somebody uses the port of a former viewer for another session, whose packets come here until we let go.
                self.ports.give_up(link, Instant::now());
            }
            return;
        };
        let tcp = matches!(via, Via::Connection(_));
        let mut forgotten = None;
        let proven = self.with(slot, |viewer, world| {
            let proven = viewer.receive(from, own, tcp, datagram, world.now)?;
            if proven {
                forgotten = viewer.remember(from, own.ip());
            }
            if let (true, Via::Link(link)) = (proven || !is_stun, via) {
                world.ports.heard(link, world.now);
            }
            Ok(proven)
        });
        if proven != Some(true) {
            return;
        }
        if let Via::Connection(index) = via {
            self.ports.name_connection(index, slot);
            return;
        }
        if let Some(forgotten) = forgotten {
            self.by_remote.remove(&forgotten);
            self.ports.close_links_of(forgotten);
        }
        // It may have been closed by what it sent.
        if self.slots[slot].is_some() {
            self.by_remote.insert(from, slot);
        }
    }
}
