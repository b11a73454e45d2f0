//! Fine scrolling of pages: distances of less than a wheel's click, for whoever sits at the desktop.
//!
//! The window below the pointer is known from the screen, the page in it from the browser. Where pages are is kept and looked at
//! again while they scroll, so that nothing waits for it but the beginning. One event is on its way to the browser at a time, so
//! that each is drawn before the next; what comes meanwhile is added up. What cannot be done is handed back.

mod link;
mod look;
mod view;

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::timeout,
};

pub use self::view::Beneath;
use self::{
    link::Link,
    look::{Attached, Found, Looker, is_title_of},
    view::View,
};
use crate::{Gate, pages};

/// How long distances wait to be known where they go.
const HOLD: Duration = Duration::from_millis(300);
/// How long the browser may take to be spoken to.
const CONNECT: Duration = Duration::from_secs(1);
/// Where a page is, is looked at again when it was seen longer ago.
const FRESH: Duration = Duration::from_secs(1);
/// How long a page may take with one event before other windows wait for it no more, and until it is held to hang.
const SLOW: Duration = Duration::from_millis(300);
const HANGS: Duration = Duration::from_secs(3);
/// How long one that hangs is waited for.
const GIVE_UP: Duration = Duration::from_secs(30);
/// After so long without an event the connection ends.
const IDLE: Duration = Duration::from_secs(60);
/// Before a browser that cannot be spoken to is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Distances of other kinds or over other windows that wait at most.
const MAX_WAITING: usize = 4;
/// Furthest that one event goes on each axis, in pixels.
const MAX_DISTANCE: f64 = 16_384.0;
/// Pixels of a pinch that make one event: Chromium undoes what is less from the smallest scale (`cc::InputHandler`'s `kMaxZoomFactor`).
const PINCH_STEP: f64 = 6.0;
/// What is left of a pinch is done when nothing follows for so long.
const PINCH_REST: Duration = Duration::from_millis(150);
/// Largest pinch of one event in pixels.
const MAX_PINCH: f64 = 150.0;

/// What a distance means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Scrolls, by device-independent pixels.
    Scroll,
    /// Scrolls, by pixels of the screen.
    Drag,
    /// Pinches: vertical only, 100 pixels up make the page larger by e.
    Pinch,
}

/// How far to scroll, in pixels; positive is right and down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// Horizontal.
    pub x: f64,
    /// Vertical.
    pub y: f64,
    /// What it means.
    pub way: Way,
}

/// Scrolls the pages of one browser. Dropping it ends what is under way.
pub struct Scroller {
    shared: Arc<Shared>,
}

struct Shared {
    gate: Gate,
    back: Box<dyn Fn(Distance) + Send + Sync>,
    runtime: Handle,
    state: Mutex<State>,
    /// Something waits.
    came: Notify,
    closing: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    seen: Option<Seen>,
    /// The window of the event that is on its way, and since when.
    under_way: Option<(Beneath, Instant)>,
    /// A page has not answered for too long.
    hangs: bool,
    /// The browser could not be spoken to then.
    failed: Option<Instant>,
    is_running: bool,
}

struct Waiting {
    beneath: Beneath,
    distance: Distance,
    /// Of the last part.
    at: Instant,
}

/// What is known about a window.
#[derive(Clone)]
struct Seen {
    beneath: Beneath,
    page: Option<(Attached, View)>,
    at: Instant,
}

impl Gate {
    /// Makes a scroller of the browser's pages, which hands `back` what it has taken and cannot do. To be called within a tokio
    /// runtime.
    #[must_use]
    pub fn scroller(&self, back: impl Fn(Distance) + Send + Sync + 'static) -> Scroller {
        Scroller {
            shared: Arc::new(Shared {
                gate: self.clone(),
                back: Box::new(back),
                runtime: Handle::current(),
                state: Mutex::default(),
                came: Notify::new(),
                closing: watch::Sender::new(false),
            }),
        }
    }
}

impl Scroller {
    /// Takes a distance to scroll what is below the pointer; false when it is no page, or none that can be scrolled now. What was
    /// taken is done soon, or handed back. Does not block; on any thread.
    #[must_use]
    pub fn scroll(&self, beneath: Beneath, distance: Distance) -> bool {
        let shared = &self.shared;
        if *shared.gate.inner.closing.borrow() {
            return false;
        }
        let now = Instant::now();
        let mut state = shared.state.lock();
        if !state.take(beneath, distance, now) {
            return false;
        }
        if !std::mem::replace(&mut state.is_running, true) {
            shared.runtime.spawn(run(shared.clone()));
        }
        shared.came.notify_one();
        true
    }
}

impl Drop for Scroller {
    fn drop(&mut self) {
        self.shared.closing.send_replace(true);
    }
}

impl std::fmt::Debug for Scroller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scroller")
    }
}

impl State {
    fn take(&mut self, beneath: Beneath, distance: Distance, now: Instant) -> bool {
        let is_usable = distance.x.is_finite() && distance.y.is_finite();
        let has_failed = self.failed.is_some_and(|at| now.saturating_duration_since(at) < AGAIN);
        if !is_usable || self.hangs || has_failed {
            return false;
        }
        let is_slow =
            |(one, since): &(Beneath, Instant)| !one.is_same(&beneath) && now.saturating_duration_since(*since) > SLOW;
        if self.under_way.as_ref().is_some_and(is_slow) {
            return false;
        }
        if let Some(seen) = self.seen.as_ref().filter(|seen| seen.beneath.is_same(&beneath)) {
            match &seen.page {
                None if now.saturating_duration_since(seen.at) < FRESH => return false,
                Some((_, view)) if view.place(beneath.pointer).is_none() => return false,
                _ => {}
            }
        }
        let bound = |distance: f64| distance.clamp(-MAX_DISTANCE, MAX_DISTANCE);
        if let Some(last) = self.waiting.back_mut()
            && last.beneath.window == beneath.window
            && last.distance.way == distance.way
        {
            last.distance.x = bound(last.distance.x + distance.x);
            last.distance.y = bound(last.distance.y + distance.y);
            last.beneath = beneath;
            last.at = now;
            return true;
        }
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        let distance = Distance { x: bound(distance.x), y: bound(distance.y), ..distance };
        self.waiting.push_back(Waiting { beneath, distance, at: now });
        true
    }

    /// The next that can be done now; else when to look again, if ever without being told.
    fn next(&mut self, now: Instant) -> Result<Waiting, Option<Instant>> {
        let first = self.waiting.front().ok_or(None)?;
        let rest = first.at + PINCH_REST;
        let is_gathering = first.distance.way == Way::Pinch && first.distance.y.abs() < PINCH_STEP;
        if is_gathering && self.waiting.len() == 1 && now < rest {
            return Err(Some(rest));
        }
        self.waiting.pop_front().ok_or(None)
    }

    /// The page in a window as it was seen, if nothing says that it is another one.
    fn page(&mut self, link: &Link, beneath: &Beneath) -> Option<Seen> {
        let seen = self.seen.as_mut()?;
        if !seen.beneath.is_same(beneath) && seen.beneath.is_at(beneath) {
            // A page that changes its title is still the same one, if no other has it.
            let (attached, _) = seen.page.as_ref()?;
            let mut titled = link.pages().into_iter().filter(|(_, title)| is_title_of(title, &beneath.title));
            if titled.next().is_none_or(|(target, _)| target != attached.target) || titled.next().is_some() {
                return None;
            }
            seen.beneath = beneath.clone();
        }
        self.seen.clone().filter(|seen| seen.beneath.is_same(beneath))
    }
}

impl Shared {
    /// Hands back what waits.
    fn hand_back(&self) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        for waiting in waiting {
            (self.back)(waiting.distance);
        }
    }
}

/// Scrolls for as long as there is something to.
async fn run(shared: Arc<Shared>) {
    let (mut gate, mut ours) = (shared.gate.inner.closing.subscribe(), shared.closing.subscribe());
    let ended = tokio::select! {
        ended = converse(&shared) => ended,
        // The senders are in what we hold.
        _ = gate.wait_for(|is_closing| *is_closing) => Ok(()),
        _ = ours.wait_for(|is_closing| *is_closing) => Ok(()),
    };
    {
        let mut state = shared.state.lock();
        state.is_running = false;
        state.seen = None;
        state.under_way = None;
        state.hangs = false;
        if let Err(error) = ended {
            tracing::debug!(%error, "pages are not scrolled finely");
            state.failed = Some(Instant::now());
        } else if !state.waiting.is_empty() && !*shared.gate.inner.closing.borrow() && !*shared.closing.borrow() {
            // It came at the last moment.
            state.is_running = true;
            shared.runtime.spawn(run_again(shared.clone()));
            return;
        }
    }
    shared.hand_back();
}

/// Breaks the cycle of types of a task that starts itself again.
fn run_again(shared: Arc<Shared>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(run(shared))
}

/// Talks to the browser until it is gone, or nobody scrolls any more.
async fn converse(shared: &Shared) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let upstream = &shared.gate.inner.config.upstream;
    let mut socket = timeout(CONNECT, pages::connect(upstream)).await.map_err(late)??;
    let (link, messages) = Link::new();
    let work = async {
        let discover = json!({ "discover": true, "filter": [{ "type": "page" }] });
        timeout(CONNECT, link.call("Target.setDiscoverTargets", discover, None)).await.map_err(late)??;
        let (wanted, seen) = (watch::Sender::new(None), Notify::new());
        tokio::select! {
            ended = scrolls(shared, &link, &wanted, &seen) => ended,
            ended = looks(shared, &link, wanted.subscribe(), &seen) => ended,
        }
    };
    tokio::select! {
        ended = work => ended,
        error = link::pump(&link, &mut socket, messages) => Err(error),
    }
}

/// Looks at the windows that are wanted, the last one only.
async fn looks(
    shared: &Shared,
    link: &Link,
    mut wanted: watch::Receiver<Option<Beneath>>,
    looked: &Notify,
) -> io::Result<()> {
    let mut looker = Looker::default();
    loop {
        let beneath = wanted.borrow_and_update().clone();
        if let Some(beneath) = beneath {
            let found = looker.look(link, &beneath).await?;
            let mut state = shared.state.lock();
            let former = state.seen.take().filter(|former| former.beneath.is_same(&beneath));
            let page = match found {
                Found::Page(attached, view) => Some((attached, view)),
                Found::Nothing => None,
                Found::Late => former.and_then(|former| former.page),
            };
            state.seen = Some(Seen { beneath, page, at: Instant::now() });
            drop(state);
            looked.notify_one();
        }
        // The sender lives as long as we do.
        let _ = wanted.changed().await;
    }
}

/// Does what waits, one after the other.
async fn scrolls(
    shared: &Shared,
    link: &Link,
    wanted: &watch::Sender<Option<Beneath>>,
    looked: &Notify,
) -> io::Result<()> {
    loop {
        let next = shared.state.lock().next(Instant::now());
        let waiting = match next {
            Ok(waiting) => waiting,
            Err(Some(at)) => {
                let _ = tokio::time::timeout_at(at.into(), shared.came.notified()).await;
                continue;
            }
            Err(None) => match timeout(IDLE, shared.came.notified()).await {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
        };
        let Waiting { beneath, distance, .. } = waiting;
        let seen = find(shared, link, &beneath, (wanted, looked)).await;
        let target = seen.as_ref().and_then(|seen| {
            let (attached, view) = seen.page.as_ref()?;
            Some((attached, view, view.place(beneath.pointer)?))
        });
        let Some((attached, view, at)) = target else {
            (shared.back)(distance);
            continue;
        };
        shared.state.lock().under_way = Some((beneath.clone(), Instant::now()));
        let (method, params) = event(distance, view.density, at, beneath.modifiers);
        let answer = link.call(method, params, Some(&attached.session));
        tokio::pin!(answer);
        let answered = match timeout(HANGS, &mut answer).await {
            Ok(answered) => answered,
            Err(_) => {
                shared.state.lock().hangs = true;
                shared.hand_back();
                let answered = timeout(GIVE_UP, &mut answer).await;
                shared.state.lock().hangs = false;
                answered.map_err(|_| io::Error::other("a page does not answer"))?
            }
        };
        shared.state.lock().under_way = None;
        match answered {
            Ok(_) => {}
            // The page is gone, or another one.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::debug!(%error, "a page was not scrolled");
                shared.state.lock().seen = None;
                (shared.back)(distance);
            }
            Err(error) => return Err(error),
        }
        if seen.as_ref().is_none_or(|seen| seen.at.elapsed() > FRESH) {
            wanted.send_replace(Some(beneath));
        }
    }
}

/// Finds what a window shows: as it was seen, or as it is seen now, or as it was seen once when that takes too long.
async fn find(
    shared: &Shared,
    link: &Link,
    beneath: &Beneath,
    (wanted, looked): (&watch::Sender<Option<Beneath>>, &Notify),
) -> Option<Seen> {
    let known = shared.state.lock().page(link, beneath);
    if let Some(known) = known
        && (known.page.is_some() || known.at.elapsed() < FRESH)
    {
        return Some(known);
    }
    let asked = Instant::now();
    let former = shared.state.lock().seen.clone();
    wanted.send_replace(Some(beneath.clone()));
    let seen = async {
        loop {
            looked.notified().await;
            let seen = shared.state.lock().seen.clone();
            if let Some(seen) = seen.filter(|seen| seen.at >= asked && seen.beneath.is_same(beneath)) {
                return seen;
            }
        }
    };
    match timeout(HOLD, seen).await {
        Ok(seen) => Some(seen),
        // A page that is busy with loading can be scrolled all the same.
        Err(_) => former.filter(|former| former.beneath.is_at(beneath)),
    }
}

/// The call that does it.
fn event(distance: Distance, density: f64, (x, y): (f64, f64), modifiers: u8) -> (&'static str, Value) {
    if distance.way == Way::Pinch {
        let larger = (-distance.y.clamp(-MAX_PINCH, MAX_PINCH) / 100.0).exp();
        // The gesture is made of steps; at this speed it is one.
        let params = json!({
            "x": x, "y": y, "scaleFactor": larger, "relativeSpeed": 100_000, "gestureSourceType": "mouse",
        });
        return ("Input.synthesizePinchGesture", params);
    }
    let pixels = if distance.way == Way::Drag { density } else { 1.0 };
    let params = json!({
        "type": "mouseWheel", "pointerType": "mouse", "x": x, "y": y, "modifiers": modifiers,
        "deltaX": distance.x / pixels, "deltaY": distance.y / pixels,
    });
    ("Input.dispatchMouseEvent", params)
}

#[cfg(test)]
mod tests;
