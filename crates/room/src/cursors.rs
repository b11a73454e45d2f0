//! Pointers of members that are not host.
//!
//! neko's clients get everything that happened in batches every 750 ms; clients that know better get the latest places
//! at most 20 times a second.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{Event, Now, Room};

/// Time between neko's batches.
const BATCH_INTERVAL: Duration = Duration::from_millis(750);
/// Time between updates of clients that follow live.
const LIVE_INTERVAL: Duration = Duration::from_millis(50);
/// Places of one member in a batch at most; more are thinned out evenly.
const BATCH_POINTS: usize = 64;
/// Pointers in one live update at most; the others come with the next.
const LIVE_POINTERS: usize = 64;

/// A place on the screen in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Point {
    /// From the left.
    pub x: u16,
    /// From the top.
    pub y: u16,
}

/// Where one member's pointer went since the last batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberCursors {
    /// Whose.
    pub id: String,
    /// Places in order.
    pub cursors: Vec<Point>,
}

/// Where one member's pointer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pointer {
    /// Whose.
    pub id: String,
    /// From the left in pixels; −1: the pointer left.
    pub x: i32,
    /// From the top in pixels.
    pub y: i32,
}

#[derive(Debug, Default)]
pub(crate) struct Cursors {
    batch: BTreeMap<String, Vec<Point>>,
    batch_due: Option<Instant>,
    /// The last batch had something in it, so that an empty one has to follow.
    batch_open: bool,
    /// Pointers that moved (or left: `None`) since the last live update.
    moved: BTreeMap<String, Option<Point>>,
    live_due: Option<Instant>,
    live_sent: Option<Instant>,
    /// Members whose pointer the others see now.
    shown: BTreeSet<String>,
}

impl Cursors {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.batch_due, self.live_due].into_iter().flatten().min()
    }
}

impl Room {
    /// A member moved its pointer to a place on the screen. Shown to the others if it is not host and may show it;
    /// returns whether it is.
    pub fn pointer_moved(&mut self, id: &str, point: Point, now: Now) -> bool {
        let sends = self.profile(id).is_some_and(|profile| profile.sends_inactive_cursor);
        if !self.settings.inactive_cursors || !sends || self.is_host(id) {
            return false;
        }
        let cursors = &mut self.cursors;
        if !cursors.batch.contains_key(id) {
            cursors.batch.insert(id.to_owned(), Vec::new());
        }
        if let Some(points) = cursors.batch.get_mut(id) {
            if points.len() >= BATCH_POINTS {
                let mut odd = false;
                points.retain(|_| {
                    odd = !odd;
                    !odd
                });
            }
            points.push(point);
        }
        cursors.batch_due.get_or_insert(now.instant + BATCH_INTERVAL);
        self.pointer_changed(id, Some(point), now);
        true
    }

    /// A member's pointer left the picture.
    pub fn pointer_left(&mut self, id: &str, now: Now) {
        self.forget_pointer(id, now);
    }

    /// Takes a member's pointer away from the others' screens.
    pub(crate) fn forget_pointer(&mut self, id: &str, now: Now) {
        let pending = self.cursors.moved.get(id).is_some_and(Option::is_some);
        if self.cursors.shown.contains(id) {
            self.pointer_changed(id, None, now);
        } else if pending {
            self.cursors.moved.remove(id);
        }
    }

    fn pointer_changed(&mut self, id: &str, point: Option<Point>, now: Now) {
        let cursors = &mut self.cursors;
        match cursors.moved.get_mut(id) {
            Some(place) => *place = point,
            None => {
                cursors.moved.insert(id.to_owned(), point);
            }
        }
        let due = cursors.live_sent.map_or(now.instant, |sent| (sent + LIVE_INTERVAL).max(now.instant));
        cursors.live_due = Some(due);
        if due <= now.instant {
            self.flush_live(now);
        }
    }

    pub(crate) fn flush_cursors(&mut self, now: Now) {
        if self.cursors.live_due.is_some_and(|due| due <= now.instant) {
            self.flush_live(now);
        }
        if self.cursors.batch_due.is_some_and(|due| due <= now.instant) {
            self.flush_batch(now);
        }
    }

    fn flush_live(&mut self, now: Now) {
        let cursors = &mut self.cursors;
        let mut pointers = Vec::new();
        while pointers.len() < LIVE_POINTERS {
            let Some((id, place)) = cursors.moved.pop_first() else { break };
            if place.is_some() {
                cursors.shown.insert(id.clone());
            } else {
                cursors.shown.remove(&id);
            }
            let (x, y) = place.map_or((-1, -1), |point| (i32::from(point.x), i32::from(point.y)));
            pointers.push(Pointer { id, x, y });
        }
        cursors.live_due = (!cursors.moved.is_empty()).then(|| now.instant + LIVE_INTERVAL);
        if pointers.is_empty() {
            return;
        }
        cursors.live_sent = Some(now.instant);
        // Nobody gets its own pointer back, so those who moved get lists of their own.
        let moved: BTreeSet<_> = pointers.iter().map(|pointer| pointer.id.clone()).collect();
        let own: Vec<_> = moved
            .iter()
            .map(|id| {
                let others: Vec<_> = pointers.iter().filter(|pointer| pointer.id != *id).cloned().collect();
                (self.cursor_viewers(true, |viewer| viewer == id), others)
            })
            .filter(|(_, others)| !others.is_empty())
            .collect();
        let to = self.cursor_viewers(true, |viewer| !moved.contains(viewer));
        self.send(to, Event::Pointers(pointers));
        for (to, others) in own {
            self.send(to, Event::Pointers(others));
        }
    }

    fn flush_batch(&mut self, now: Now) {
        let batch = std::mem::take(&mut self.cursors.batch);
        let is_last = batch.is_empty();
        self.cursors.batch_due = (!is_last).then(|| now.instant + BATCH_INTERVAL);
        if is_last && !self.cursors.batch_open {
            return;
        }
        self.cursors.batch_open = !is_last;
        let members = batch.into_iter().map(|(id, cursors)| MemberCursors { id, cursors }).collect();
        let to = self.cursor_viewers(false, |_| true);
        self.send(to, Event::Cursors(members));
    }

    /// The setting was switched off: everything disappears.
    pub(crate) fn stop_cursors(&mut self) {
        let shown = std::mem::take(&mut self.cursors).shown;
        let to = self.cursor_viewers(false, |_| true);
        self.send(to, Event::Cursors(Vec::new()));
        if !shown.is_empty() {
            let to = self.cursor_viewers(true, |_| true);
            let gone = shown.into_iter().map(|id| Pointer { id, x: -1, y: -1 }).collect();
            self.send(to, Event::Pointers(gone));
        }
    }

    fn cursor_viewers(&self, live: bool, pass: impl Fn(&str) -> bool) -> Vec<crate::ConnectionId> {
        self.connections(|id, session| {
            session.profile.can_see_inactive_cursors
                && session.connection.is_some_and(|connection| connection.live_pointers == live)
                && pass(id)
        })
    }
}
