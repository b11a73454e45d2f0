//! The engine's thread: one loop over sockets, requests, media and timers.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use glasshouse_media::Rendition;
use mio::{Events, Poll, Token};
use str0m::{Candidate, IceCreds, RtcError, config::DtlsCert};

use crate::{
    Config, ConnectOptions, Error, Event, Offer, ViewerId, adapt,
    addresses::{self, Plan},
    delay::Delays,
    inbox::{Batch, Command, Inbox, Media, Reply},
    packetize::Packets,
    ports::{self, Ports},
    sdp,
    sources::Sources,
    stun,
    udp::Udp,
    viewer::{Viewer, World},
};

/// Event token of the inbox.
pub(crate) const INBOX: Token = Token(0);
/// Viewers at once.
const MAX_VIEWERS: usize = 2000;
/// Datagrams waiting for the socket before they are sent without waiting for the end of the turn.
const FLUSH_AT: usize = 256;
/// Receive batches per turn, so that a flood does not keep media waiting.
const RECEIVE_TURNS: usize = 16;
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
    udp_address: SocketAddr,
    is_udp_private: bool,
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
    stopping: bool,
}

impl Engine {
    pub(crate) fn new(
        config: Config,
        events: Box<dyn FnMut(Event) + Send>,
        poll: Poll,
        inbox: Arc<Inbox>,
        udp: Udp,
        delays: Arc<Delays>,
    ) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            udp_address: udp.address(),
            is_udp_private: udp.is_private(),
            interfaces: addresses::interfaces()?,
            interfaces_at: now,
            certificate: certificate()?,
            epoch: now,
            ports: Ports::new(udp, poll.registry().try_clone()?)?,
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
            stopping: false,
        })
    }

    /// Runs until [`Command::Stop`].
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        let mut batch = Batch::default();
        let mut again = false;
        while !self.stopping {
            let timeout = if again || !self.ports.unread.is_empty() { Some(Duration::ZERO) } else { self.timeout() };
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the WebRTC engine cannot wait for its sockets and stops");
                break;
            }
            let mut receive = again;
            for event in &events {
                match event.token() {
                    INBOX => {}
                    ports::UDP => {
                        receive |= event.is_readable() || event.is_error();
                        if event.is_writable() {
                            self.ports.udp_writable();
                        }
                    }
                    token => {
                        let Some(index) = Ports::connection_index(token) else { continue };
                        if event.is_writable() {
                            self.ports.connection_writable(index);
                        }
                        if event.is_readable() || event.is_read_closed() || event.is_error() {
                            self.ports.unread.push(index);
                        }
                    }
                }
            }
            again = receive && self.receive_udp();
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
            self.media(&media);
        }
        for rendition in batch.missed.drain(..) {
            for slot in 0..self.slots.len() {
                self.with(slot, |viewer, _| {
                    viewer.missed(rendition);
                    Ok(())
                });
            }
        }
        for slot in std::mem::take(&mut self.ports.relieved) {
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

    // Network

    /// Returns whether more is waiting.
    fn receive_udp(&mut self) -> bool {
        let mut datagrams = std::mem::take(&mut self.ports.scratch);
        let mut more = true;
        for _ in 0..RECEIVE_TURNS {
            datagrams.clear();
            match self.ports.udp.receive(|from, own, data| datagrams.push(from, own, data)) {
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
                let own = SocketAddr::new(own, self.udp_address.port());
                self.datagram(from, own, None, datagram);
            }
        }
        self.ports.scratch = datagrams;
        more
    }

    fn receive_tcp(&mut self, index: usize) {
        let mut datagrams = std::mem::take(&mut self.ports.scratch);
        datagrams.clear();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let read = self.ports.read_connection(index, |data| datagrams.push(nowhere, nowhere.ip(), data));
        if let Some((peer, own)) = read {
            for (_, _, datagram) in datagrams.iter() {
                self.datagram(peer, own, Some(index), datagram);
            }
        }
        self.ports.scratch = datagrams;
    }

    fn datagram(&mut self, from: SocketAddr, own: SocketAddr, connection: Option<usize>, datagram: &[u8]) {
        let is_stun = stun::is_stun(datagram);
        let slot = if is_stun {
            stun::local_ufrag(datagram).and_then(|ufrag| self.by_ufrag.get(ufrag)).copied()
        } else {
            match connection {
                Some(index) => self.ports.slot_of(index),
                None => self.by_remote.get(&from).copied(),
            }
        };
        let Some(slot) = slot else { return };
        let tcp = connection.is_some();
        let mut forgotten = None;
        let proven = self.with(slot, |viewer, world| {
            let proven = viewer.receive(from, own, tcp, datagram, world.now)?;
            if proven {
                forgotten = viewer.remember(from, own.ip());
            }
            Ok(proven)
        });
        if proven != Some(true) {
            return;
        }
        match connection {
            Some(index) => self.ports.name_connection(index, slot),
            None => {
                if let Some(forgotten) = forgotten {
                    self.by_remote.remove(&forgotten);
                }
                self.by_remote.insert(from, slot);
            }
        }
    }

    // Media

    fn media(&mut self, media: &Media) {
        match media {
            Media::Video(frame) => {
                let Some(packets) = Packets::new(frame) else { return };
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
                if wanted {
                    self.sent.push(frame.damaged_at);
                }
            }
            Media::Audio(packet) => {
                let data: Arc<[u8]> = Arc::from(&packet.data[..]);
                for slot in 0..self.slots.len() {
                    if self.slots[slot].as_ref().is_some_and(|viewer| viewer.listens()) {
                        self.with(slot, |viewer, world| {
                            if viewer.audio(packet, &data, world) { viewer.tick(world.now) } else { Ok(()) }
                        });
                    }
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

    // Requests

    fn command(&mut self, command: Command) {
        match command {
            Command::Attach(sources) => {
                self.sources = Some(sources);
                for slot in 0..self.slots.len() {
                    self.with(slot, |viewer, world| {
                        viewer.retarget(world);
                        Ok(())
                    });
                }
            }
            Command::AcceptTcp(stream) => self.ports.accept(stream, Instant::now()),
            Command::Connect(id, options, reply) => {
                let _ = reply.send(self.connect(id, &options));
            }
            Command::Answer(id, sdp, reply) => {
                self.signal(id, "answer", &sdp, reply, |viewer, sdp, world| viewer.answer(sdp, world))
            }
            Command::Offer(id, sdp, reply) => {
                self.signal(id, "offer", &sdp, reply, |viewer, sdp, world| viewer.offer(sdp, world));
                self.index_ufrags(id);
            }
            Command::RestartIce(id, reply) => {
                let result = self.slot(id).and_then(|slot| {
                    let offer =
                        self.with(slot, |viewer, _| Ok(viewer.restart().map(|sdp| (sdp, texts(&viewer.local)))));
                    let (sdp, candidates) = offer.flatten().ok_or(Error::UnknownViewer)?;
                    Ok(Offer { sdp, candidates })
                });
                self.index_ufrags(id);
                let _ = reply.send(result);
            }
            Command::RemoteCandidate(id, candidate, reply) => {
                let _ = reply.send(self.slot(id).and_then(|_| check_candidate(&candidate)));
            }
            Command::SetVideo(id, choice) => self.change(id, |viewer, world| viewer.set_video(choice, world)),
            Command::SetAudio(id, disabled) => self.change(id, |viewer, world| viewer.set_audio(disabled, world)),
            Command::SetPaused(id, paused) => self.change(id, |viewer, world| viewer.set_paused(paused, world)),
            Command::SendData(id, message) => self.change(id, |viewer, _| {
                viewer.send_data(&message);
            }),
            Command::BroadcastData(except, message) => {
                for slot in 0..self.slots.len() {
                    let id = self.slots[slot].as_ref().map(|viewer| viewer.id);
                    if id.is_some() && id != except {
                        self.with(slot, |viewer, _| Ok(viewer.send_data(&message)));
                    }
                }
            }
            Command::Close(id) => {
                if let Ok(slot) = self.slot(id) {
                    self.remove(slot);
                }
            }
            Command::Stats(id, reply) => {
                let stats = self.slot(id).map(|slot| self.slots[slot].as_ref().map(|viewer| viewer.statistics()));
                let _ = reply.send(stats.and_then(|stats| stats.ok_or(Error::UnknownViewer)));
            }
            Command::Stop => self.stopping = true,
        }
    }

    fn slot(&self, id: ViewerId) -> Result<usize, Error> {
        self.by_id.get(&id).copied().ok_or(Error::UnknownViewer)
    }

    fn change(&mut self, id: ViewerId, act: impl FnOnce(&mut Viewer, &mut World<'_>)) {
        if let Ok(slot) = self.slot(id) {
            self.with(slot, |viewer, world| {
                act(viewer, world);
                Ok(())
            });
        }
    }

    fn signal<T>(
        &mut self,
        id: ViewerId,
        what: &'static str,
        sdp: &str,
        reply: Reply<T>,
        act: impl FnOnce(&mut Viewer, &str, &mut World<'_>) -> Result<T, String>,
    ) {
        let result = self.slot(id).and_then(|slot| {
            if sdp.len() > sdp::MAX_SIGNAL {
                return Err(Error::Signal { what, reason: format!("longer than {} bytes", sdp::MAX_SIGNAL) });
            }
            let result = self.with(slot, |viewer, world| Ok(act(viewer, sdp, world)));
            let result = result.unwrap_or_else(|| Err("the connection failed on it and is closed".into()));
            result.map_err(|reason| Error::Signal { what, reason })
        });
        let _ = reply.send(result);
    }

    fn connect(&mut self, id: ViewerId, options: &ConnectOptions) -> Result<Offer, Error> {
        if self.by_id.contains_key(&id) {
            return Err(Error::Signal { what: "viewer", reason: format!("number {} is in use", id.0) });
        }
        if self.by_id.len() >= MAX_VIEWERS {
            return Err(Error::Signal { what: "viewer", reason: format!("there are {MAX_VIEWERS} already") });
        }
        let now = Instant::now();
        if now - self.interfaces_at > Duration::from_secs(10)
            && let Ok(interfaces) = addresses::interfaces()
        {
            self.interfaces = interfaces;
            self.interfaces_at = now;
        }
        let plan = Plan {
            udp: self.udp_address,
            is_private: self.is_udp_private,
            tcp_port: self.config.tcp_port,
            nat1to1: &self.config.nat1to1,
            interfaces: &self.interfaces,
            request: options.request_addr,
        };
        let local = sdp::candidates(&plan.announced());
        let mut credentials = IceCreds::new();
        while self.by_ufrag.contains_key(&credentials.ufrag) {
            credentials = IceCreds::new();
        }
        let ufrag = credentials.ufrag.clone();
        let offered = sdp::offer(&self.certificate, credentials, &local, now)
            .ok_or(Error::Signal { what: "offer", reason: "could not be made".into() })?;
        let offer = Offer { sdp: offered.sdp.clone(), candidates: texts(&local) };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.deadlines.push(None);
            self.slots.len() - 1
        });
        self.by_id.insert(id, slot);
        self.by_ufrag.insert(ufrag.clone(), slot);
        self.slots[slot] = Some(Box::new(Viewer::new(id, slot, offered, local, ufrag, options, now)));
        self.with(slot, |viewer, world| viewer.tick(world.now));
        Ok(offer)
    }

    /// Makes new ICE user names of a viewer known to the look-up.
    fn index_ufrags(&mut self, id: ViewerId) {
        /// The present name, the one before it and a pending one.
        const KEPT: usize = 3;
        let Ok(slot) = self.slot(id) else { return };
        let Some(viewer) = self.slots[slot].as_mut() else { return };
        while viewer.ufrags.len() > KEPT {
            self.by_ufrag.remove(&viewer.ufrags.remove(0));
        }
        for ufrag in &viewer.ufrags {
            self.by_ufrag.insert(ufrag.clone(), slot);
        }
    }
}

fn texts(candidates: &[Candidate]) -> Vec<String> {
    candidates.iter().map(Candidate::to_sdp_string).collect()
}

/// An ICE-lite agent learns the peer's addresses from its checks; what the peer tells is only checked for sense.
fn check_candidate(candidate: &str) -> Result<(), Error> {
    let signal = |reason: String| Error::Signal { what: "candidate", reason };
    let candidate = candidate.strip_prefix("a=").unwrap_or(candidate).trim();
    if candidate.is_empty() {
        return Ok(());
    }
    if candidate.len() > sdp::MAX_SIGNAL {
        return Err(signal(format!("longer than {} bytes", sdp::MAX_SIGNAL)));
    }
    // Browsers hide their address behind a name of multicast DNS, which str0m does not parse.
    let named = candidate.split(' ').nth(4).is_some_and(|address| address.ends_with(".local"));
    if candidate.starts_with("candidate:") && named {
        return Ok(());
    }
    Candidate::from_sdp_string(candidate).map(|_| ()).map_err(|error| signal(error.to_string()))
}
