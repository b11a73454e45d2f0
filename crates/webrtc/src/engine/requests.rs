//! What is asked of the engine: viewers that come and go, their signalling, and what they want to see.

use std::time::{Duration, Instant};

use str0m::{Candidate, IceCreds};

use super::Engine;
use crate::{
    ConnectOptions, Error, Offer, Port, ViewerId, accept,
    addresses::{self, Plan},
    inbox::{Command, Reply},
    sdp, stun,
    viewer::{Names, Viewer, World},
};

/// Viewers at once.
const MAX_VIEWERS: usize = 2000;

impl Engine {
    pub(super) fn command(&mut self, command: Command) {
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
            Command::AcceptTcp(stream) => self.ports.accept(stream, Vec::new(), Instant::now()),
            Command::Announce(address) => self.address = Some(address),
            Command::Connect(id, options, reply) => {
                let _ = reply.send(self.connect(id, &options));
            }
            Command::Accept(id, options, sdp, channel, reply) => {
                let _ = reply.send(self.accept(id, &options, &sdp, channel));
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
        let (local, credentials) = self.prepare(id, options)?;
        let (ufrag, now) = (credentials.ufrag.clone(), Instant::now());
        let offered = sdp::offer(&self.certificate, credentials, &local, now)
            .ok_or(Error::Signal { what: "offer", reason: "could not be made".into() })?;
        let offer = Offer { sdp: offered.sdp.clone(), candidates: texts(&local) };
        let slot = self.insert(id, ufrag, |slot, names| Viewer::new(id, slot, offered, local, names, options, now));
        self.with(slot, |viewer, world| viewer.tick(world.now));
        Ok(offer)
    }

    fn accept(
        &mut self,
        id: ViewerId,
        options: &ConnectOptions,
        sdp: &str,
        channel: &'static str,
    ) -> Result<String, Error> {
        let failed = |reason: String| Error::Signal { what: "offer", reason };
        let (local, credentials) = self.prepare(id, options)?;
        let (ufrag, now) = (credentials.ufrag.clone(), Instant::now());
        let made = accept::accept(&self.certificate, credentials, &local, sdp, channel, now).map_err(failed)?;
        let answer = made.sdp.clone();
        let slot = self.insert(id, ufrag, |slot, names| Viewer::new(id, slot, made, local, names, options, now));
        let begun = self.with(slot, |viewer, world| {
            viewer.negotiated(world);
            viewer.tick(world.now)
        });
        begun.map(|()| answer).ok_or_else(|| failed("the connection failed on it and is closed".into()))
    }

    /// Our candidates and names for one more viewer, if there may be one.
    fn prepare(&mut self, id: ViewerId, options: &ConnectOptions) -> Result<(Vec<Candidate>, IceCreds), Error> {
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
        let unknown = || Error::Signal { what: "offer", reason: "nobody has said yet where viewers reach us".into() };
        let address = self.address.ok_or_else(unknown)?;
        let plan = Plan {
            udp: address.address,
            is_private: address.is_private,
            tcp_port: match self.config.port {
                Port::Own { tcp, .. } => tcp,
                Port::Shared { .. } => Some(address.address.port()),
            },
            nat1to1: &self.config.nat1to1,
            interfaces: &self.interfaces,
            request: options.request_addr,
        };
        let local = sdp::candidates(&plan.announced());
        Ok((local, self.credentials()))
    }

    /// Gives a viewer its place.
    fn insert(&mut self, id: ViewerId, ufrag: String, make: impl FnOnce(usize, Names) -> Viewer) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.deadlines.push(None);
            self.slots.len() - 1
        });
        self.by_id.insert(id, slot);
        self.by_ufrag.insert(ufrag.clone(), slot);
        self.slots[slot] = Some(Box::new(make(slot, Names { ufrag, tag: self.tag.clone() })));
        slot
    }

    /// New credentials for ICE. Every user name of ours is made here: with a shared port, its beginning tells whose it is.
    fn credentials(&self) -> IceCreds {
        loop {
            let mut credentials = IceCreds::new();
            if let Some(tag) = &self.tag {
                credentials.ufrag = stun::tagged(tag, &credentials.ufrag);
            }
            if !self.by_ufrag.contains_key(&credentials.ufrag) {
                return credentials;
            }
        }
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
