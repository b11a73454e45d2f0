//! Reading a selection from the program that owns it.

use std::{collections::VecDeque, time::Instant};

use tokio::sync::oneshot;
use x11rb::protocol::xproto::{Atom, AtomEnum, ConnectionExt as _, SelectionNotifyEvent};

use super::{PATIENCE, Reading, Selection, Session, What};
use crate::{Event, x::XError};

/// Most bytes of text or HTML, and of a picture, that are read.
const MAX_TEXT: usize = 16 * 1024 * 1024;
const MAX_PICTURE: usize = 64 * 1024 * 1024;

/// Most names of formats that an owner may list, in bytes.
const MAX_TARGETS: usize = 16 * 1024;

/// One thing to read.
pub(super) struct Job {
    selection: Selection,
    /// `None` asks for the list of formats, to tell what is there.
    want: Option<(What, oneshot::Sender<Reading>)>,
    /// Formats still to try.
    targets: VecDeque<Atom>,
    target: Atom,
    property: Atom,
    incremental: bool,
    data: Vec<u8>,
    deadline: Option<Instant>,
}

impl Job {
    pub(super) fn read(selection: Selection, what: What, answer: oneshot::Sender<Reading>) -> Self {
        Self::new(selection, Some((what, answer)))
    }

    fn new(selection: Selection, want: Option<(What, oneshot::Sender<Reading>)>) -> Self {
        Self {
            selection,
            want,
            targets: VecDeque::new(),
            target: x11rb::NONE,
            property: x11rb::NONE,
            incremental: false,
            data: Vec::new(),
            deadline: None,
        }
    }

    fn limit(&self) -> usize {
        match &self.want {
            None => MAX_TARGETS,
            Some((What::Png, _)) => MAX_PICTURE,
            Some(_) => MAX_TEXT,
        }
    }
}

/// Jobs, one at a time: the selection protocol has no names for requests.
#[derive(Default)]
pub(super) struct Reads {
    queue: VecDeque<Job>,
    current: Option<Job>,
    /// Properties take turns, so that a late answer is not taken for the next one.
    turn: usize,
}

impl Reads {
    pub(super) fn push(&mut self, job: Job) {
        self.queue.push_back(job);
    }

    /// Asks for the list of formats, once however often the owner changed.
    pub(super) fn push_targets(&mut self) {
        if !self.queue.iter().any(|job| job.want.is_none()) {
            self.queue.push_back(Job::new(Selection::Clipboard, None));
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.current.as_ref().and_then(|job| job.deadline)
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }
}

impl Session<'_> {
    /// Begins the next job, when none is running.
    pub(super) fn next_read(&mut self) -> Result<(), XError> {
        while self.reads.current.is_none() {
            let Some(mut job) = self.reads.queue.pop_front() else { return Ok(()) };
            let owner = self.x.conn.get_selection_owner(self.atom(job.selection))?.reply()?.owner;
            if owner == x11rb::NONE {
                self.finish(job, Ok(None));
            } else if owner == self.window {
                let data = match (&job.want, self.owned(job.selection)) {
                    (Some((what, _)), Some(owned)) => owned.get(*what),
                    _ => None,
                };
                job.target = self.atoms.UTF8_STRING;
                self.finish(job, Ok(data));
            } else {
                // Some owners answer any format with text, so what they list is asked for first.
                job.targets = VecDeque::from([self.atoms.TARGETS]);
                self.reads.current = Some(job);
                self.try_next_target()?;
            }
        }
        Ok(())
    }

    fn try_next_target(&mut self) -> Result<(), XError> {
        let Some(job) = &mut self.reads.current else { return Ok(()) };
        if job.target == self.atoms.TARGETS && job.want.is_some() && job.targets.is_empty() {
            // An old owner that lists nothing may still have text.
            job.target = x11rb::NONE;
            if matches!(job.want, Some((What::Text, _))) {
                job.targets = VecDeque::from([self.atoms.UTF8_STRING, AtomEnum::STRING.into()]);
            }
        }
        let which = job.selection;
        let Some(target) = job.targets.pop_front() else {
            if let Some(job) = self.reads.current.take() {
                self.finish(job, Ok(None));
            }
            return Ok(());
        };
        let properties =
            [self.atoms.GLASSHOUSE_0, self.atoms.GLASSHOUSE_1, self.atoms.GLASSHOUSE_2, self.atoms.GLASSHOUSE_3];
        self.reads.turn = (self.reads.turn + 1) % properties.len();
        job.target = target;
        job.property = properties[self.reads.turn];
        job.incremental = false;
        job.data.clear();
        job.deadline = Some(Instant::now() + PATIENCE);
        self.x.conn.delete_property(self.window, job.property)?;
        let (property, time) = (job.property, x11rb::CURRENT_TIME);
        self.x.conn.convert_selection(self.window, self.atom(which), target, property, time)?;
        Ok(())
    }

    /// The owner has answered a request.
    pub(super) fn answered(&mut self, event: &SelectionNotifyEvent) -> Result<(), XError> {
        let Some(job) = &self.reads.current else { return Ok(()) };
        if self.selection(event.selection) != Some(job.selection) || event.target != job.target {
            return Ok(());
        }
        if event.property == x11rb::NONE {
            return self.try_next_target();
        }
        if event.property == job.property { self.take_piece() } else { Ok(()) }
    }

    pub(super) fn piece_arrived(&mut self, property: Atom) -> Result<(), XError> {
        // Without INCR, the value is read when the owner says that it is complete.
        let expected = self.reads.current.as_ref().is_some_and(|job| job.incremental && job.property == property);
        if expected { self.take_piece() } else { Ok(()) }
    }

    fn take_piece(&mut self) -> Result<(), XError> {
        let Some(job) = &mut self.reads.current else { return Ok(()) };
        let limit = job.limit();
        let words = u32::try_from(limit / 4 + 1).unwrap_or(u32::MAX);
        let reply = self.x.conn.get_property(true, self.window, job.property, AtomEnum::ANY, 0, words)?.reply()?;
        job.deadline = Some(Instant::now() + PATIENCE);
        if reply.type_ == self.atoms.INCR {
            job.incremental = true;
            return Ok(());
        }
        let last = !job.incremental || reply.value.is_empty();
        if reply.bytes_after > 0 || job.data.len() + reply.value.len() > limit {
            self.x.conn.delete_property(self.window, job.property)?;
            return self.refused(&format!("the clipboard holds more than {} MiB", limit / 1024 / 1024));
        }
        job.data.extend_from_slice(&reply.value);
        if !last {
            return Ok(());
        }
        if let Some((what, _)) = &job.want
            && job.target == self.atoms.TARGETS
        {
            let listed = atoms_in(&job.data);
            let wanted = *what;
            let targets = self.targets(wanted).into_iter().filter(|target| listed.contains(target)).collect();
            if let Some(job) = &mut self.reads.current {
                job.target = x11rb::NONE;
                job.targets = targets;
            }
            return self.try_next_target();
        }
        if let Some(mut job) = self.reads.current.take() {
            let data = std::mem::take(&mut job.data);
            self.finish(job, Ok(Some(data)));
        }
        Ok(())
    }

    /// Ends the current job with an error.
    pub(super) fn refused(&mut self, reason: &str) -> Result<(), XError> {
        if let Some(job) = self.reads.current.take() {
            self.finish(job, Err(reason.to_owned()));
        }
        self.next_read()
    }

    fn finish(&self, job: Job, result: Reading) {
        let Some((what, answer)) = job.want else {
            let listed: Vec<Atom> = match &result {
                Ok(Some(data)) => atoms_in(data),
                _ => Vec::new(),
            };
            let has = |what| self.targets(what).iter().any(|target| listed.contains(target));
            (self.events)(Event::Clipboard { text: has(What::Text), html: has(What::Html), image: has(What::Png) });
            return;
        };
        let text = job.target == u32::from(AtomEnum::STRING);
        let result = result.map(|data| {
            data.map(|data| match what {
                What::Png => data,
                What::Text if text => latin1(&data).into_bytes(),
                What::Text | What::Html => unicode(data),
            })
        });
        // Nobody waits any more if this fails.
        let _ = answer.send(result);
    }
}

fn atoms_in(data: &[u8]) -> Vec<Atom> {
    data.chunks_exact(4).map(|b| Atom::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn latin1(data: &[u8]) -> String {
    data.iter().map(|byte| char::from(*byte)).collect()
}

/// UTF-8 from UTF-8, or from UTF-16 with a byte order mark as some browsers give HTML.
fn unicode(mut data: Vec<u8>) -> Vec<u8> {
    let wide = |swap: fn([u8; 2]) -> u16, data: &[u8]| {
        let units: Vec<u16> = data.chunks_exact(2).map(|pair| swap([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units).into_bytes()
    };
    match data.as_slice() {
        [0xff, 0xfe, rest @ ..] => data = wide(u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => data = wide(u16::from_be_bytes, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] => data = rest.to_vec(),
        _ => {}
    }
    while data.last() == Some(&0) {
        data.pop();
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_become_utf8() {
        assert_eq!(unicode(b"plain\0".to_vec()), b"plain");
        assert_eq!(unicode(vec![0xff, 0xfe, 0xe4, 0, b'x', 0]), "äx".as_bytes());
        assert_eq!(unicode(vec![0xfe, 0xff, 0, 0xe4]), "ä".as_bytes());
        assert_eq!(latin1(&[0xe4]), "ä");
    }
}
