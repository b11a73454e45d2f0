//! Programs among the members, and how they share the desktop with people.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{ConnectionId, Effect, Event, LoginError, MAX_SESSIONS, Now, Point, Profile, Room, session::Session};

/// Clicks of one program are shown this often at most, and that it types or goes somewhere.
const CLICKS: Duration = Duration::from_millis(50);
const OTHERS: Duration = Duration::from_millis(500);

/// Who may act on the desktop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// People by the rules of control, and programs whenever they want to.
    #[default]
    Together,
    /// Programs only while no person has control.
    PersonFirst,
    /// People only.
    WatchOnly,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Together, Self::PersonFirst, Self::WatchOnly];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::PersonFirst => "person-first",
            Self::WatchOnly => "watch-only",
        }
    }

    /// The mode that is written so.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What is known of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// How it came: `cdp`, `computer` or `mcp`.
    pub way: &'static str,
    /// Public name of its token.
    pub token: String,
    /// The member whose token it uses: who has control itself does not keep its own programs from acting.
    pub own: Option<String>,
}

/// A program as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProgramData {
    /// Session id.
    pub id: String,
    /// How it came.
    pub way: &'static str,
    /// Public name of its token.
    pub token: String,
}

/// Everything about programs: the payload of `glasshouse/programs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Programs {
    /// Who may act.
    pub mode: Mode,
    /// Those who are here.
    pub programs: Vec<ProgramData>,
}

/// Something that a program does, to be shown at its pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It presses a button.
    Click(Point),
    /// It presses keys.
    Type,
    /// It leads the browser somewhere.
    Navigate,
}

/// Why a program may not act now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// This person has control.
    Person(String),
    /// Programs only watch.
    WatchOnly,
    /// It is no member any more.
    Gone,
}

/// Somebody, by id and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Somebody {
    /// Session id.
    pub id: String,
    /// What it is called; empty if it is not among the sessions.
    pub name: String,
}

/// Something that is worth keeping, whoever is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Control changed hands.
    Control {
        /// Who caused it.
        by: Somebody,
        /// Who had it.
        from: Option<Somebody>,
        /// Who has it.
        to: Option<Somebody>,
    },
    /// Who may act changed.
    Mode {
        /// Who caused it.
        by: Somebody,
        /// To this.
        mode: Mode,
    },
}

/// A program in its session.
#[derive(Debug)]
pub(crate) struct Present {
    program: Program,
    clicked_at: Option<Instant>,
    typed_at: Option<Instant>,
    went_at: Option<Instant>,
}

impl Room {
    /// Who may act.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Sets who may act; `by` is who did it.
    pub fn set_mode(&mut self, mode: Mode, by: &str) {
        if self.mode != mode {
            self.mode = mode;
            self.effects.push(Effect::Note(Note::Mode { by: self.somebody(by), mode }));
            self.tell_programs();
        }
    }

    /// Everything about programs.
    pub fn programs(&self) -> Programs {
        let data = |(id, session): (&String, &Session)| {
            let Program { way, token, .. } = &session.program.as_ref()?.program;
            Some(ProgramData { id: id.clone(), way, token: token.clone() })
        };
        Programs { mode: self.mode, programs: self.sessions.iter().filter_map(data).collect() }
    }

    /// Adds a program, connected, under an id that the caller made. It never has control, and leaves by [`Room::delete`].
    ///
    /// # Errors
    /// The room has as many members as it may.
    pub fn join_program(
        &mut self,
        id: &str,
        name: &str,
        program: Program,
        connection: ConnectionId,
        now: Now,
    ) -> Result<(), LoginError> {
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(LoginError::Full);
        }
        let profile = Profile {
            can_see_inactive_cursors: false,
            can_watch: false,
            sends_inactive_cursor: true,
            ..Profile::watcher(self.free_name(name))
        };
        let mut session = Session::new(profile, now.instant);
        session.program = Some(Present { program, clicked_at: None, typed_at: None, went_at: None });
        session.connection = Some(crate::session::Connection { id: connection, live_pointers: false });
        session.state.is_connected = true;
        session.state.connected_since = Some(now.wall);
        let data = session.data(id);
        self.sessions.insert(id.to_owned(), session);
        self.broadcast(Event::SessionCreated(data));
        self.tell_programs();
        self.reschedule();
        Ok(())
    }

    /// Whether a program may act on the desktop now.
    ///
    /// # Errors
    /// It may not; why.
    pub fn may_act(&self, id: &str) -> Result<(), Held> {
        let Some(present) = self.sessions.get(id).and_then(|session| session.program.as_ref()) else {
            return Err(Held::Gone);
        };
        match self.mode {
            Mode::Together => Ok(()),
            Mode::WatchOnly => Err(Held::WatchOnly),
            Mode::PersonFirst => match self.host().filter(|host| present.program.own.as_deref() != Some(*host)) {
                Some(host) if !self.is_program(host) => Err(Held::Person(self.somebody(host).name)),
                _ => Ok(()),
            },
        }
    }

    /// Shows the others what a program does, not too often.
    pub fn acted(&mut self, id: &str, act: Act, now: Now) {
        let Some(present) = self.sessions.get_mut(id).and_then(|session| session.program.as_mut()) else { return };
        let (shown_at, pause) = match act {
            Act::Click(_) => (&mut present.clicked_at, CLICKS),
            Act::Type => (&mut present.typed_at, OTHERS),
            Act::Navigate => (&mut present.went_at, OTHERS),
        };
        if shown_at.is_some_and(|at| now.instant < at + pause) {
            return;
        }
        *shown_at = Some(now.instant);
        let (act, at) = match act {
            Act::Click(at) => ("click", Some(at)),
            Act::Type => ("type", None),
            Act::Navigate => ("navigate", None),
        };
        let to = self.opted_in();
        self.send(to, Event::Acted { id: id.to_owned(), act, at });
    }

    /// Whether a session is a program's.
    pub fn is_program(&self, id: &str) -> bool {
        self.sessions.get(id).is_some_and(|session| session.program.is_some())
    }

    pub(crate) fn somebody(&self, id: &str) -> Somebody {
        let name = self.profile(id).map(|profile| profile.name.clone()).unwrap_or_default();
        Somebody { id: id.to_owned(), name }
    }

    /// Tells those who know of it who may act, and which programs are here.
    pub(crate) fn tell_programs(&mut self) {
        let to = self.opted_in();
        if !to.is_empty() {
            let programs = self.programs();
            self.send(to, Event::Programs(programs));
        }
    }

    fn opted_in(&self) -> Vec<ConnectionId> {
        self.connections(|_, session| session.connection.is_some_and(|connection| connection.live_pointers))
    }

    /// A name that no other program has, so that people can tell them apart.
    fn free_name(&self, name: &str) -> String {
        let is_taken = |name: &str| self.sessions.values().any(|s| s.program.is_some() && s.profile.name == name);
        let numbered = (2..).map(|number| format!("{name} {number}"));
        // Never without: there are fewer programs than numbers.
        std::iter::once(name.to_owned()).chain(numbered).find(|name| !is_taken(name)).unwrap_or_default()
    }
}
