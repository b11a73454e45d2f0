//! The engine's thread: one loop over sockets, requests, media and timers.

mod network;
mod requests;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use glasshouse_media::{PATCH_TIME, Rendition};
use mio::{Events, Poll, Token};
use str0m::{RtcError, config::DtlsCert};

use crate::{
    Config, Event, Port, SharedPort, ViewerId, adapt, addresses,
    delay::Delays,
    inbox::{Batch, Inbox, Media},
    packetize::Packets,
    ports::{Ports, Source, Whose},
    sources::Sources,
    viewer::{self, Viewer, World},
};

/// Event token of the inbox.
pub(crate) const INBOX: Token = Token(0);
/// Datagrams waiting for the socket before they are sent without waiting for the end of the turn.
const FLUSH_AT: usize = 256;
/// Shortest time between two settings of an encoder's bit rate, and the change that is worth one.
const RATE_INTERVAL: Duration = Duration::from_millis(500);
const RATE_CHANGE: f64 = 0.1;

/// A certificate for DTLS; all viewers of an engine see the same one.
pub(crate) fn certificate() -> io::Result<DtlsCert> {
    let provider = str0m::crypto::from_feature_flags();
    let certificate = provider.dtls_provider.generate_certificate();
    certificate.ok_or_else(|| io::Error::other("could not make a DTLS certificate"))
}

pub(crate) struct Engine {
    config: Config,
    /// The UDP port, if it is our own.
    own_port: Option<u16>,
    /// What all our user names begin with, if the port is shared.
    tag: Option<Arc<str>>,
    /// Where viewers reach the port; not known before its owner says so, if that is another.
    address: Option<SharedPort>,
    interfaces: Vec<IpAddr>,
    interfaces_at: Instant,
    certificate: DtlsCert,
    epoch: Instant,
    poll: Poll,
    inbox: Arc<Inbox>,
    ports: Ports,
    sources: Option<Box<dyn Sources>>,
    events: Box<dyn FnMut(Event) + Send>,
    slots: Vec<Option<Box<Viewer>>>,
    /// When each slot wants to be called; kept apart so that looking for the earliest touches little memory.
    deadlines: Vec<Option<Instant>>,
    free: Vec<usize>,
    by_id: HashMap<ViewerId, usize>,
    by_ufrag: HashMap<String, usize>,
    by_remote: HashMap<SocketAddr, usize>,
    rates: HashMap<Rendition, u64>,
    rated: Instant,
    delays: Arc<Delays>,
    /// When the changes were noticed that this turn's packets show.
    sent: Vec<Instant>,
    /// The change that the last patch showed to all who watch.
    patched: Option<Instant>,
    stopping: bool,
}

impl Engine {
    pub(crate) fn new(
        config: Config,
        events: Box<dyn FnMut(Event) + Send>,
        poll: Poll,
        inbox: Arc<Inbox>,
        source: Source,
        delays: Arc<Delays>,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let address = match &source {
            Source::Own(udp) => Some(SharedPort { address: udp.address(), is_private: udp.is_private() }),
            Source::Shared(_) => None,
        };
        Ok(Self {
            own_port: address.map(|address| address.address.port()),
            tag: match &config.port {
                Port::Own { .. } => None,
                Port::Shared { tag, .. } => Some(Arc::from(&**tag)),
            },
            address,
            interfaces: addresses::interfaces()?,
            interfaces_at: now,
            certificate: certificate()?,
            epoch: now,
            ports: Ports::new(source, poll.registry().try_clone()?)?,
            config,
            poll,
            inbox,
            sources: None,
            events,
            slots: Vec::new(),
            deadlines: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_remote: HashMap::new(),
            rates: HashMap::new(),
            rated: now,
            delays,
            sent: Vec::new(),
            patched: None,
            stopping: false,
        })
    }

    /// Runs until `Command::Stop`.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        let mut batch = Batch::default();
        let mut again = false;
        while !self.stopping {
            let is_behind = again || !self.ports.unread.is_empty() || !self.ports.unread_links().is_empty();
            let timeout = if is_behind { Some(Duration::ZERO) } else { self.timeout() };
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the WebRTC engine cannot wait for its sockets and stops");
                break;
            }
            let mut receive = again;
            for event in &events {
                let is_readable = event.is_readable() || event.is_read_closed() || event.is_error();
                match Ports::whose(event.token()) {
                    // The inbox.
                    None => {}
                    Some(Whose::Port) => {
                        receive |= is_readable;
                        if event.is_writable() {
                            self.ports.port_writable();
                        }
                    }
                    Some(Whose::Connection(index)) => {
                        if event.is_writable() {
                            self.ports.connection_writable(index);
                        }
                        if is_readable {
                            self.ports.unread.push(index);
                        }
                    }
                    Some(Whose::Link(index)) => {
                        if event.is_writable() {
                            self.ports.link_writable(index);
                        }
                        if is_readable {
                            self.ports.unread_links().push(index);
                        }
                    }
                }
            }
            again = receive && self.receive_port();
            for index in std::mem::take(self.ports.unread_links()) {
                self.receive_link(index);
            }
            for index in std::mem::take(&mut self.ports.unread) {
                self.receive_tcp(index);
            }
            self.inbox.take(&mut batch);
            self.turn(&mut batch);
        }
        self.shut_down();
    }

    fn turn(&mut self, batch: &mut Batch) {
        for command in batch.commands.drain(..) {
            self.command(command);
        }
        for media in batch.media.drain(..) {
            self.media(media);
        }
        for rendition in batch.missed.drain(..) {
            for slot in 0..self.slots.len() {
                self.with(slot, |viewer, _| {
                    viewer.missed(rendition);
                    Ok(())
                });
            }
        }
        for slot in self.ports.relieved() {
            self.with(slot, |_, _| Ok(()));
        }
        let now = Instant::now();
        for slot in 0..self.deadlines.len() {
            if self.deadlines[slot].is_some_and(|deadline| deadline <= now) {
                self.due(slot, now);
            }
        }
        self.rate_encoders(now);
        self.ports.flush();
        let now = Instant::now();
        for damaged_at in self.sent.drain(..) {
            self.delays.record(now.saturating_duration_since(damaged_at));
        }
    }

    fn due(&mut self, slot: usize, now: Instant) {
        let gone = self.slots[slot].as_ref().is_some_and(|viewer| viewer.is_gone(now));
        if gone {
            self.remove(slot);
        } else {
            self.with(slot, |viewer, world| viewer.tick(world.now));
        }
    }

    /// Time until the next timer, rounded up so that it has passed when the thread wakes.
    fn timeout(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let viewers = self.deadlines.iter().flatten().min().copied();
        let earliest = [viewers, self.ports.expire(now)].into_iter().flatten().min()?;
        Some(earliest.saturating_duration_since(now))
    }

    /// Lets `act` change a viewer, then sends and reports what follows from it. A viewer that fails is closed; one that
    /// panics too, because nobody else may suffer from it.
    fn with<T>(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Viewer, &mut World<'_>) -> Result<T, RtcError>,
    ) -> Option<T> {
        let viewer = self.slots.get_mut(slot)?.as_mut()?;
        let mut world = World {
            now: Instant::now(),
            epoch: self.epoch,
            codec: self.config.codec,
            ports: &mut self.ports,
            sources: self.sources.as_deref(),
            events: &mut *self.events,
        };
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let value = act(viewer, &mut world)?;
            let deadline = viewer.drive(&mut world)?;
            Ok::<_, RtcError>((value, deadline))
        }));
        let id = viewer.id;
        let value = match result {
            Ok(Ok((value, deadline))) => {
                self.deadlines[slot] = Some(deadline);
                if viewer.is_closing() {
                    self.remove(slot);
                }
                Some(value)
            }
            Ok(Err(error)) => {
                tracing::info!(viewer = id.0, %error, "closing a viewer");
                self.remove(slot);
                None
            }
            Err(_) => {
                tracing::error!(viewer = id.0, "a viewer's connection panicked; closing it");
                self.discard(slot);
                None
            }
        };
        if self.ports.waiting() >= FLUSH_AT {
            self.ports.flush_udp();
        }
        value
    }

    fn remove(&mut self, slot: usize) {
        let Some(viewer) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        let mut world = World {
            now: Instant::now(),
            epoch: self.epoch,
            codec: self.config.codec,
            ports: &mut self.ports,
            sources: self.sources.as_deref(),
            events: &mut *self.events,
        };
        let closed = std::panic::catch_unwind(AssertUnwindSafe(|| viewer.close(&mut world)));
        if closed.is_err() {
            tracing::error!(viewer = viewer.id.0, "a viewer's connection panicked while closing");
        }
        self.discard(slot);
    }

    fn discard(&mut self, slot: usize) {
        let Some(mut viewer) = self.slots.get_mut(slot).and_then(Option::take) else { return };
        viewer.give_back(self.sources.as_deref());
        self.ports.forget(slot);
        for ufrag in &viewer.ufrags {
            self.by_ufrag.remove(ufrag);
        }
        for (remote, _) in &viewer.remotes {
            if self.by_remote.get(remote) == Some(&slot) {
                self.by_remote.remove(remote);
                // A port of the peer that is used for another session goes there, then.
                self.ports.close_links_of(*remote);
            }
        }
        self.by_id.remove(&viewer.id);
        self.deadlines[slot] = None;
        self.free.push(slot);
        (self.events)(Event::Closed(viewer.id));
    }

    fn shut_down(&mut self) {
        for slot in 0..self.slots.len() {
            self.remove(slot);
        }
        self.ports.flush();
        self.inbox.close();
    }

    fn media(&mut self, media: Media) {
        match media {
            Media::Video(frame) => {
                let Some(packets) = Packets::new(&frame) else { return };
                let packets = Arc::new(packets);
                let mut wanted = false;
                for slot in 0..self.slots.len() {
                    if self.slots[slot].as_ref().is_some_and(|viewer| viewer.wants(packets.rendition)) {
                        wanted = true;
                        self.with(slot, |viewer, world| {
                            viewer.video(&packets, world);
                            Ok(())
                        });
                    }
                }
                if wanted && self.patched != Some(frame.damaged_at) {
                    self.sent.push(frame.damaged_at);
                }
            }
            Media::Audio(packet) => {
                let data: Arc<[u8]> = Arc::from(&packet.data[..]);
                for slot in 0..self.slots.len() {
                    if self.slots[slot].as_ref().is_some_and(|viewer| viewer.listens()) {
                        self.with(slot, |viewer, world| {
                            if viewer.audio(&packet, &data, world) { viewer.tick(world.now) } else { Ok(()) }
                        });
                    }
                }
            }
            Media::Patch(mut patch) => {
                let time = viewer::rtp_time(patch.captured_at, self.epoch);
                patch.bytes[PATCH_TIME].copy_from_slice(&time.to_be_bytes());
                let (mut sent, mut all) = (false, true);
                for slot in 0..self.slots.len() {
                    let viewer = self.slots[slot].as_ref();
                    let got = viewer.is_some_and(|viewer| viewer.takes_patches())
                        && self.with(slot, |viewer, _| Ok(viewer.patch(&patch.bytes))) == Some(true);
                    sent |= got;
                    all &= got || self.slots[slot].as_ref().is_none_or(|viewer| viewer.shown().is_none());
                }
                if sent {
                    self.sent.push(patch.damaged_at);
                    self.patched = all.then_some(patch.damaged_at);
                }
            }
        }
    }

    fn rate_encoders(&mut self, now: Instant) {
        if now - self.rated < RATE_INTERVAL {
            return;
        }
        self.rated = now;
        let Some(sources) = &self.sources else { return };
        let mut capacities: HashMap<Rendition, Vec<u64>> = HashMap::new();
        for viewer in self.slots.iter().flatten() {
            if let Some(rendition) = viewer.shown() {
                capacities.entry(rendition).or_default().push(viewer.adapter.capacity());
            }
        }
        self.rates.retain(|rendition, _| capacities.contains_key(rendition));
        for (rendition, mut capacities) in capacities {
            let Some(rate) = adapt::encoder_rate(rendition.quality, &mut capacities) else { continue };
            let last = self.rates.get(&rendition).copied().unwrap_or(0) as f64;
            if (rate as f64 - last).abs() > last * RATE_CHANGE {
                self.rates.insert(rendition, rate);
                sources.set_bit_rate(rendition, u32::try_from(rate).unwrap_or(u32::MAX));
            }
        }
    }
}
