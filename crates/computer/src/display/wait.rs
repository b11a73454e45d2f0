//! Waits for the screen to change, or to hold still.

use std::{
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use x11rb::{
    connection::Connection,
    protocol::{
        damage::{self, ConnectionExt as _, ReportLevel},
        xfixes::{self, ConnectionExt as _},
    },
};

use super::{Eye, Rect, Trouble};
use crate::picture;

/// Between two looks at what changed, so that a flood of drawing costs little.
const PACE: Duration = Duration::from_millis(15);
/// Between two looks at whether anybody still waits.
const ATTENTION: Duration = Duration::from_millis(100);

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// Nothing is drawn for this long.
    Stable(Duration),
    /// Pixels differ from those with this tag, or from those at the beginning.
    Change(Option<u64>),
}

/// Waits on a connection of the caller's, at most until the deadline; blocks. Whether what was wanted is so, and the tag of
/// the pixels where that is known.
pub(crate) fn wait(
    mut eye: Eye,
    wanted: Wanted,
    part: Option<Rect>,
    deadline: Instant,
    given_up: &AtomicBool,
) -> Result<(bool, Option<u64>), Trouble> {
    let watch = Damage::new(&eye)?;
    let mut tag = None;
    let mut before = None;
    if let Wanted::Change(since) = wanted {
        let now = eye.look(part, |_, pixels| picture::tag(pixels))?;
        if since.is_some_and(|since| since != now) {
            return Ok((true, Some(now)));
        }
        (tag, before) = (Some(now), Some(now));
    }
    let mut quiet_since = Instant::now();
    loop {
        let now = Instant::now();
        if let Wanted::Stable(quiet) = wanted
            && now.saturating_duration_since(quiet_since) >= quiet
        {
            return Ok((true, None));
        }
        if now >= deadline || given_up.load(Ordering::Acquire) {
            return Ok((false, tag));
        }
        let mut until = deadline.min(now + ATTENTION);
        if let Wanted::Stable(quiet) = wanted {
            until = until.min(quiet_since + quiet);
        }
        if !watch.wait(&eye, until)? {
            continue;
        }
        let seen = Instant::now();
        if watch.touched(&eye, part)? {
            match wanted {
                Wanted::Stable(_) => quiet_since = seen,
                Wanted::Change(_) => {
                    tag = Some(eye.look(part, |_, pixels| picture::tag(pixels))?);
                    if tag != before {
                        return Ok((true, tag));
                    }
                }
            }
        }
        // The server keeps what is drawn meanwhile.
        std::thread::sleep(PACE);
    }
}

/// What was drawn since the last look.
struct Damage {
    damage: damage::Damage,
    region: xfixes::Region,
}

impl Damage {
    fn new(eye: &Eye) -> Result<Self, Trouble> {
        if !eye.has(damage::X11_EXTENSION_NAME)? {
            return Err(Trouble::Refused("the X server lacks the DAMAGE extension".into()));
        }
        let connection = &eye.connection;
        connection.damage_query_version(1, 1)?.reply()?;
        let (region, damage) = (connection.generate_id()?, connection.generate_id()?);
        connection.xfixes_create_region(region, &[])?.check()?;
        connection.damage_create(damage, eye.root, ReportLevel::NON_EMPTY)?.check()?;
        // What is on the screen already is no change.
        let this = Self { damage, region };
        this.touched(eye, None)?;
        Ok(this)
    }

    /// Waits for something to be drawn; whether it was.
    fn wait(&self, eye: &Eye, until: Instant) -> Result<bool, Trouble> {
        let connection = &eye.connection;
        connection.flush()?;
        let mut drawn = false;
        while connection.poll_for_event()?.is_some() {
            drawn = true;
        }
        if drawn {
            return Ok(true);
        }
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::from_borrowed_fd(connection.stream().as_fd(), PollFlags::IN)];
        // Interrupted, it only looks once more.
        let _ = poll(&mut fds, Some(&left));
        while connection.poll_for_event()?.is_some() {
            drawn = true;
        }
        Ok(drawn)
    }

    /// Whether the part was drawn to since the last call.
    fn touched(&self, eye: &Eye, part: Option<Rect>) -> Result<bool, Trouble> {
        eye.connection.damage_subtract(self.damage, x11rb::NONE, self.region)?;
        let region = eye.connection.xfixes_fetch_region(self.region)?.reply()?;
        let Some(part) = part else { return Ok(!region.rectangles.is_empty()) };
        Ok(region.rectangles.iter().any(|rect| {
            let (left, top) = (i64::from(rect.x), i64::from(rect.y));
            let (x, y) = (i64::from(part.x), i64::from(part.y));
            left < x + i64::from(part.width)
                && x < left + i64::from(rect.width)
                && top < y + i64::from(part.height)
                && y < top + i64::from(rect.height)
        }))
    }
}
