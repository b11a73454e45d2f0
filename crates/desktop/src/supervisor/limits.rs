//! Watching over the limits of a desktop within walls, and saying which were reached.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use glasshouse_sandbox::{Usage, disk_usage};

use super::{Msg, Sink};
use crate::{Event, walls::Standing};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);

/// How often files are counted while the disk does not fill.
const COUNT_EVERY: Duration = Duration::from_secs(30);

/// Files are counted when the disk has this much less room, in bytes. Asking for its room costs nothing.
const COUNT_AFTER: u64 = 16 << 20;

/// See the module.
pub(super) struct Watch {
    walls: Arc<Standing>,
    places: Vec<PathBuf>,
    disk: u64,
    tx: mpsc::Sender<Msg>,
    events: Sink,
    last: Usage,
    counted: Option<(Instant, u64)>,
    warned: bool,
}

impl Watch {
    /// Over what is used within the walls, and on disk in all `places` together, in bytes.
    pub(super) fn new(
        walls: Arc<Standing>,
        places: Vec<PathBuf>,
        disk: u64,
        tx: mpsc::Sender<Msg>,
        events: Sink,
    ) -> Self {
        Self { walls, places, disk, tx, events, last: Usage::default(), counted: None, warned: false }
    }

    /// Looks again and again until the other end of `stopped` is dropped.
    pub(super) fn run(mut self, stopped: &mpsc::Receiver<()>) {
        while stopped.recv_timeout(EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            if self.walls.is_asleep() {
                continue;
            }
            self.look_at_counters();
            self.look_at_disk();
        }
    }

    fn look_at_counters(&mut self) {
        let Some(now) = self.walls.usage() else { return };
        let more = |now: Option<u64>, last: Option<u64>| now.unwrap_or(0).saturating_sub(last.unwrap_or(0));
        let killed = more(now.memory_kills, self.last.memory_kills);
        let refused = more(now.pids_refused, self.last.pids_refused);
        self.last = now;
        if killed > 0 {
            self.tell("memory", format!("the session has used up its memory: {killed} of its processes were ended"));
        }
        if refused > 0 {
            self.tell("processes", format!("the session has as many processes as it may: {refused} more were refused"));
        }
    }

    fn look_at_disk(&mut self) {
        let room = self.places.iter().filter_map(|place| rustix::fs::statvfs(place).ok());
        let room: u64 = room.map(|stat| stat.f_bfree.saturating_mul(stat.f_frsize)).sum();
        if let Some((at, then)) = self.counted
            && at.elapsed() < COUNT_EVERY
            && room + COUNT_AFTER > then
        {
            return;
        }
        self.counted = Some((Instant::now(), room));
        let mut used = 0;
        for place in &self.places {
            match disk_usage(place) {
                Ok(bytes) => used += bytes,
                Err(_) if self.walls.has_ended() => return,
                Err(error) => {
                    tracing::warn!(%error, place = %place.display(), "cannot count the session's files");
                    return self.exhausted(format!("the session's files cannot be counted: {error}"));
                }
            }
        }
        let (used_mib, limit_mib) = (used >> 20, self.disk >> 20);
        if used >= self.disk {
            self.exhausted(format!("the session has filled its disk: {used_mib} of {limit_mib} MiB; see --disk"));
        } else if used >= self.disk / 10 * 9 && !self.warned {
            self.warned = true;
            self.tell(
                "disk",
                format!("the session's disk is nearly full: {used_mib} of {limit_mib} MiB; it ends then"),
            );
        }
    }

    fn tell(&self, name: &'static str, detail: String) {
        tracing::warn!(name, detail, "limit");
        (self.events)(Event::Limit { name, detail });
    }

    fn exhausted(&self, why: String) {
        self.tell("disk", why.clone());
        // The supervisor has ended otherwise.
        let _ = self.tx.send(Msg::Exhausted(why));
    }
}
