//! The CLIPBOARD and PRIMARY selections: owned by us or read from their owners, in pieces (INCR) when they are large.
//!
//! Rules: the Inter-Client Communication Conventions Manual, section 2.

mod read;
mod serve;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use x11rb::{
    connection::Connection,
    protocol::{
        Event as XEvent,
        xfixes::{ConnectionExt as _, SelectionEventMask},
        xproto::{
            Atom, AtomEnum, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, Property, Timestamp, Window,
            WindowClass,
        },
    },
    wrapper::ConnectionExt as _,
};

use super::{Link, Waker, X, XError, worker::Work};
use crate::{Event, supervisor::Sink};
use read::{Job, Reads};
use serve::{Owned, Serving};

/// An owner, or a reader of ours, that does not go on for this long is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// Commands that may wait.
const MAX_COMMANDS: usize = 64;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selection {
    Clipboard,
    /// What is marked. Nobody hears of its changes: it changes with every word that is.
    Primary,
}

/// What can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Text,
    Html,
    Png,
}

/// Something read, or why not.
pub(crate) type Reading = Result<Option<Vec<u8>>, String>;

/// What the clipboard's thread is asked to do.
pub(crate) enum Command {
    Set { selection: Selection, text: Option<String>, html: Option<String>, done: oneshot::Sender<()> },
    Read(Selection, What, oneshot::Sender<Reading>),
}

/// Commands on their way.
#[derive(Default)]
pub(crate) struct Commands(Mutex<VecDeque<Command>>);

impl Commands {
    /// Drops the command, and so its answer, when too many wait.
    pub(crate) fn push(&self, command: Command) {
        let mut queue = self.0.lock();
        if queue.len() < MAX_COMMANDS {
            queue.push_back(command);
        }
    }
}

x11rb::atom_manager! {
    /// Names used here.
    pub(super) Atoms: AtomsCookie {
        CLIPBOARD,
        TARGETS,
        TIMESTAMP,
        INCR,
        UTF8_STRING,
        TEXT,
        TEXT_PLAIN_UTF8: b"text/plain;charset=utf-8",
        TEXT_PLAIN: b"text/plain",
        TEXT_HTML: b"text/html",
        IMAGE_PNG: b"image/png",
        GLASSHOUSE_TIME,
        GLASSHOUSE_0,
        GLASSHOUSE_1,
        GLASSHOUSE_2,
        GLASSHOUSE_3,
    }
}

/// See the module.
pub(crate) struct Clipboard {
    pub(crate) commands: Arc<Commands>,
    pub(crate) events: Sink,
}

/// What is to be owned.
struct Set {
    selection: Selection,
    text: Option<String>,
    html: Option<String>,
    done: oneshot::Sender<()>,
}

/// Everything that belongs to one connection.
struct Session<'a> {
    x: &'a X,
    atoms: Atoms,
    window: Window,
    events: &'a Sink,
    owned: Option<Owned>,
    owned_primary: Option<Owned>,
    /// Waiting for the time stamp that owning needs.
    sets: VecDeque<Set>,
    reads: Reads,
    serving: Serving,
}

impl Work for Clipboard {
    fn run(&mut self, x: &X, link: &Link, waker: &Waker) -> Result<(), XError> {
        let mut session = Session::open(x, &self.events)?;
        while !link.is_closed() {
            while let Some(event) = x.poll_event()? {
                session.handle(event)?;
            }
            let commands = std::mem::take(&mut *self.commands.0.lock());
            for command in commands {
                session.obey(command)?;
            }
            session.next_read()?;
            session.give_up_late(Instant::now())?;
            x.wait(waker, session.deadline())?;
        }
        Ok(())
    }

    fn lost(&mut self) {
        // Dropped commands answer their callers.
        self.commands.0.lock().clear();
    }
}

impl<'a> Session<'a> {
    fn open(x: &'a X, events: &'a Sink) -> Result<Self, XError> {
        let atoms = Atoms::new(&x.conn)?.reply()?;
        x.conn.xfixes_query_version(5, 0)?.reply()?;
        let window = x.conn.generate_id()?;
        let aux = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        let copy = x11rb::COPY_FROM_PARENT;
        x.conn.create_window(0, window, x.root, -1, -1, 1, 1, 0, WindowClass::INPUT_ONLY, copy, &aux)?;
        let mask = SelectionEventMask::SET_SELECTION_OWNER
            | SelectionEventMask::SELECTION_WINDOW_DESTROY
            | SelectionEventMask::SELECTION_CLIENT_CLOSE;
        x.conn.xfixes_select_selection_input(window, atoms.CLIPBOARD, mask)?;
        Ok(Self {
            x,
            atoms,
            window,
            events,
            owned: None,
            owned_primary: None,
            sets: VecDeque::new(),
            reads: Reads::default(),
            serving: Serving::default(),
        })
    }

    fn obey(&mut self, command: Command) -> Result<(), XError> {
        match command {
            Command::Set { selection, text, html, done } => {
                self.sets.push_back(Set { selection, text, html, done });
                // Changes nothing, but the server tells the time of it.
                self.x.conn.change_property8(
                    PropMode::APPEND,
                    self.window,
                    self.atoms.GLASSHOUSE_TIME,
                    AtomEnum::STRING,
                    &[],
                )?;
            }
            Command::Read(selection, what, answer) => self.reads.push(Job::read(selection, what, answer)),
        }
        Ok(())
    }

    fn handle(&mut self, event: XEvent) -> Result<(), XError> {
        match event {
            XEvent::SelectionRequest(request) => self.serve(&request)?,
            XEvent::SelectionClear(event) => {
                if let Some(selection) = self.selection(event.selection) {
                    *self.owned_mut(selection) = None;
                }
            }
            XEvent::SelectionNotify(event) => self.answered(&event)?,
            XEvent::PropertyNotify(event) if event.window == self.window => {
                if event.atom == self.atoms.GLASSHOUSE_TIME {
                    self.own(event.time)?;
                } else if event.state == Property::NEW_VALUE {
                    self.piece_arrived(event.atom)?;
                }
            }
            XEvent::PropertyNotify(event) if event.state == Property::DELETE => {
                self.piece_taken(event.window, event.atom)?;
            }
            XEvent::XfixesSelectionNotify(event) if event.selection == self.atoms.CLIPBOARD => {
                self.owner_changed(event.owner);
            }
            _ => {}
        }
        Ok(())
    }

    fn own(&mut self, time: Timestamp) -> Result<(), XError> {
        let Some(Set { selection, text, html, done }) = self.sets.pop_front() else { return Ok(()) };
        let owner = if text.is_none() && html.is_none() { x11rb::NONE } else { self.window };
        let name = self.atom(selection);
        self.x.conn.set_selection_owner(owner, name, time)?;
        *self.owned_mut(selection) = (owner == self.window).then(|| Owned::new(text, html, time));
        // Answered when the change is in effect.
        self.x.conn.get_selection_owner(name)?.reply()?;
        let _ = done.send(());
        Ok(())
    }

    fn atom(&self, selection: Selection) -> Atom {
        match selection {
            Selection::Clipboard => self.atoms.CLIPBOARD,
            Selection::Primary => AtomEnum::PRIMARY.into(),
        }
    }

    fn selection(&self, atom: Atom) -> Option<Selection> {
        [Selection::Clipboard, Selection::Primary].into_iter().find(|one| self.atom(*one) == atom)
    }

    fn owned(&self, selection: Selection) -> Option<&Owned> {
        match selection {
            Selection::Clipboard => self.owned.as_ref(),
            Selection::Primary => self.owned_primary.as_ref(),
        }
    }

    fn owned_mut(&mut self, selection: Selection) -> &mut Option<Owned> {
        match selection {
            Selection::Clipboard => &mut self.owned,
            Selection::Primary => &mut self.owned_primary,
        }
    }

    fn owner_changed(&mut self, owner: Window) {
        if owner == x11rb::NONE {
            (self.events)(Event::Clipboard { text: false, html: false, image: false });
        } else if owner == self.window {
            if let Some(owned) = &self.owned {
                (self.events)(Event::Clipboard { text: owned.has_text(), html: owned.has_html(), image: false });
            }
        } else {
            self.reads.push_targets();
        }
    }

    fn give_up_late(&mut self, now: Instant) -> Result<(), XError> {
        self.serving.give_up_late(now);
        if self.reads.is_late(now) {
            self.refused("the program that owns the clipboard does not answer")?;
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        [self.reads.deadline(), self.serving.deadline()].into_iter().flatten().min()
    }

    /// Targets that hold what is wanted, best first.
    fn targets(&self, what: What) -> Vec<Atom> {
        match what {
            What::Text => vec![self.atoms.UTF8_STRING, self.atoms.TEXT_PLAIN_UTF8, AtomEnum::STRING.into()],
            What::Html => vec![self.atoms.TEXT_HTML],
            What::Png => vec![self.atoms.IMAGE_PNG],
        }
    }
}
