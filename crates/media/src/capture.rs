//! The capture thread: sleeps until something changes, copies what changed, converts it once.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    master::Shared,
    pace::Pace,
    patch::{Patch, Patcher, Writer},
    picture::Picture,
    screen::{Screen, Trouble},
    tiles::TileMap,
};

/// Waiting time before the first attempt to reach an X server that went away, and the longest.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// A screen that held still for this long needs no memory to read it into.
const RESTING: Duration = Duration::from_secs(2);

/// How long the frame of a change waits whose patch all viewers get: it takes the processor from those that paint the patch, where
/// the desktop's machine and the viewer's are short of it or the same.
const FRAME_AFTER: Duration = Duration::from_millis(12);

/// Where to connect to again.
pub(crate) struct Target {
    pub(crate) display: String,
    pub(crate) xauthority: Option<PathBuf>,
}

/// The thread's own things.
pub(crate) struct Capture {
    shared: Arc<Shared>,
    target: Target,
    /// Freshly converted tiles, before they are compared with the shared picture.
    scratch: Picture,
    /// Damage that is known and not yet read.
    damaged: TileMap,
    changed: TileMap,
    /// When the oldest damage not yet read was noticed.
    damaged_at: Option<Instant>,
    pace: Pace,
    patcher: Patcher,
    /// When the memory that the last grab used is given back, if nothing comes before.
    rest_at: Option<Instant>,
    measured: bool,
}

enum Next {
    Stop,
    /// Nothing to do until there is news.
    Watch,
    /// Further events would only wake us for nothing until then.
    Wait(Instant),
    Grab(Duration),
}

impl Capture {
    pub(crate) fn new(shared: Arc<Shared>, target: Target) -> Self {
        Self {
            shared,
            target,
            scratch: Picture::default(),
            damaged: TileMap::default(),
            changed: TileMap::default(),
            damaged_at: None,
            pace: Pace::new(Instant::now()),
            patcher: Patcher::default(),
            rest_at: None,
            measured: false,
        }
    }

    /// Runs until the state says stop. `screen` is the connection made by `Video::start`.
    pub(crate) fn run(mut self, screen: Screen) {
        let mut screen = Some(screen);
        let mut retry = FIRST_RETRY;
        loop {
            if let Some(mut open) = screen.take() {
                self.shared.state.lock().socket = open.duplicate_socket().ok();
                self.measured = false;
                match self.watch(&mut open) {
                    Ok(()) => return,
                    // The socket is shut when capture is to end.
                    Err(_) if self.shared.state.lock().stop => return,
                    Err(reason) => tracing::warn!(display = self.target.display, reason, "lost the X server"),
                }
                self.shared.state.lock().socket = None;
            }
            if self.pause(retry) {
                return;
            }
            match Screen::open(&self.target.display, self.target.xauthority.as_deref()) {
                Ok(open) => {
                    tracing::info!(display = self.target.display, "reached the X server again");
                    self.shared.state.lock().capture.reconnects += 1;
                    retry = FIRST_RETRY;
                    screen = Some(open);
                }
                Err(error) => {
                    tracing::debug!(%error, "the X server is still away");
                    retry = (retry * 2).min(LONGEST_RETRY);
                }
            }
        }
    }

    /// Waits without a connection; true: stop.
    fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            if self.shared.state.lock().stop {
                return true;
            }
            let now = Instant::now();
            if now >= until {
                return false;
            }
            self.sleep(&mut [PollFd::new(self.shared.wake_fd(), PollFlags::IN)], Some(until - now));
        }
    }

    fn sleep(&self, descriptors: &mut [PollFd<'_>], time: Option<Duration>) {
        let time = time.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        // An interrupted or failed wait only makes the caller look once more.
        let _ = poll(descriptors, time.as_ref());
        let mut counter = [0; 8];
        let _ = rustix::io::read(self.shared.wake_fd(), &mut counter);
    }

    fn wait(&self, descriptors: &mut [PollFd<'_>], until: Option<Instant>) {
        self.sleep(descriptors, until.map(|until| until.saturating_duration_since(Instant::now())));
        self.shared.state.lock().capture.wakeups += 1;
    }

    /// Follows one connection until it is lost (`Err`) or we are told to stop (`Ok`).
    fn watch(&mut self, screen: &mut Screen) -> Result<(), String> {
        loop {
            match screen.news() {
                Ok(news) => {
                    if news.resized {
                        self.measured = false;
                    }
                    if news.damaged || news.resized {
                        self.damaged_at.get_or_insert_with(Instant::now);
                    }
                }
                Err(Trouble::Resized) => self.measured = false,
                Err(Trouble::Lost(reason)) => return Err(reason),
            }
            match self.next() {
                Next::Stop => return Ok(()),
                Next::Watch => {
                    if self.rest_at.is_some_and(|at| at <= Instant::now()) {
                        self.rest_at = None;
                        self.scratch = Picture::new(self.scratch.width, self.scratch.height);
                        screen.release_memory();
                    }
                    let mut descriptors = [
                        PollFd::new(screen.stream(), PollFlags::IN),
                        PollFd::new(self.shared.wake_fd(), PollFlags::IN),
                    ];
                    self.wait(&mut descriptors, self.rest_at);
                }
                Next::Wait(until) => {
                    self.wait(&mut [PollFd::new(self.shared.wake_fd(), PollFlags::IN)], Some(until));
                }
                Next::Grab(period) => match self.grab(screen, period) {
                    Ok(()) => {}
                    Err(Trouble::Resized) => self.measured = false,
                    Err(Trouble::Lost(reason)) => return Err(reason),
                },
            }
        }
    }

    fn next(&mut self) -> Next {
        let state = self.shared.state.lock();
        if state.stop {
            return Next::Stop;
        }
        // Damage is left where it is while nobody watches: the server reports the first and then keeps silent.
        let Some(period) = state.period() else { return Next::Watch };
        if self.measured && state.valid && self.damaged_at.is_none() {
            return Next::Watch;
        }
        let next = self.pace.next();
        if Instant::now() < next { Next::Wait(next) } else { Next::Grab(period) }
    }

    fn grab(&mut self, screen: &mut Screen, period: Duration) -> Result<(), Trouble> {
        let now = Instant::now();
        let damaged_at = self.damaged_at.unwrap_or(now);
        self.pace.take(period, now);
        if !self.measured {
            self.measure(screen)?;
        }
        screen.fetch_damage(&mut self.damaged)?;
        self.damaged_at = None;
        let pixels = match screen.grab(&self.damaged, &mut self.scratch) {
            Ok(pixels) => pixels,
            Err(trouble) => {
                self.damaged_at = Some(damaged_at);
                return Err(trouble);
            }
        };
        self.changed.clear();
        let mut guard = self.shared.state.lock();
        // Not before the lock: a frame that an encoder begins meanwhile without this change must seem older than it.
        let captured_at = Instant::now();
        self.rest_at = Some(captured_at + RESTING);
        let state = &mut *guard;
        for rect in screen.rects() {
            state.picture.absorb(&self.scratch, rect, &mut self.changed);
        }
        state.capture.grabs += 1;
        state.capture.pixels += pixels;
        self.damaged.clear();
        if !state.valid {
            state.valid = true;
            self.changed.fill();
        }
        let changed = self.changed.count();
        state.capture.changed_tiles += changed as u64;
        if changed == 0 {
            return Ok(());
        }
        let sink = state.patches.as_ref().map(|slot| slot.sink.clone());
        let most = self.patcher.allowance(sink.as_ref().and(state.sharpest_bit_rate()), captured_at);
        let is_held = most.is_some() && state.all_take_patches();
        state.hold(is_held.then(|| captured_at + FRAME_AFTER));
        state.publish(&self.changed, damaged_at, captured_at);
        drop(guard);
        let Some((sink, most)) = sink.zip(most) else { return Ok(()) };
        match self.patch(screen, most) {
            Some(bytes) => sink(Patch { damaged_at, captured_at, bytes }),
            None if is_held => self.shared.state.lock().hold(None),
            None => {}
        }
        Ok(())
    }

    /// The change that was just read as its pixels, if so many bytes can hold it.
    fn patch(&self, screen: &Screen, most: usize) -> Option<Vec<u8>> {
        let mut writer = Writer::new(self.scratch.width, self.scratch.height, &self.changed, most);
        screen.each(|rect, width, height, bgrx| writer.rectangle(rect, width, height, bgrx));
        writer.finish()
    }

    /// Takes over the present size and marks everything as damaged.
    fn measure(&mut self, screen: &mut Screen) -> Result<(), Trouble> {
        let (width, height) = screen.measure()?;
        if (width, height) != (self.scratch.width, self.scratch.height) {
            self.scratch = Picture::new(width, height);
            self.damaged = TileMap::new(width, height);
            self.changed = TileMap::new(width, height);
            self.shared.state.lock().resize(width, height);
        }
        self.damaged.fill();
        self.measured = true;
        Ok(())
    }
}
