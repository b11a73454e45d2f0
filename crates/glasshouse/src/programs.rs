//! Programs at the wheel: what the gate of DevTools and computer use ask the room, and what they tell it and the trail.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use glasshouse_cdp::{Gate, PATIENCE, Turn, Watching};
use glasshouse_computer as computer;
use glasshouse_neko::{Program, Server};
use glasshouse_room::{Held, Note, Program as Kind};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::trail::{Recorder, What, Who, cut};

/// A client of computer use leaves after so long without a call.
const IDLE: Duration = Duration::from_secs(60);
/// Between looks at who is idle.
const LOOK: Duration = Duration::from_secs(5);
/// How long a program that was removed is kept out.
const OUT: Duration = Duration::from_secs(60);
/// Programs that were removed and are remembered.
const MAX_OUT: usize = 1_000;
/// Clients of computer use at a time; another one takes the place of the one that was silent longest.
const MAX_CALLERS: usize = 64;
/// Calls that wait for their turn at a time.
const MAX_WAITS: usize = 64;

/// What is told to a program that was removed.
const REMOVED: &str = "an admin of the session removed this program";
/// And when it comes back.
const KEPT_OUT: &str = "an admin of the session removed this program: it is let in again after a minute";

/// Whose program it is, by its token and its name.
type Key = (String, String);

/// The programs of one session.
#[derive(Clone)]
pub(crate) struct Programs {
    shared: Arc<Shared>,
}

struct Shared {
    server: Server,
    recorder: Recorder,
    /// Those that were removed, and when.
    out: Mutex<HashMap<Key, Instant>>,
    callers: Mutex<HashMap<Key, Arc<Caller>>>,
    waits: Semaphore,
    gate: OnceLock<Gate>,
    is_over: AtomicBool,
    sweeper: Mutex<Option<JoinHandle<()>>>,
}

/// A program in the room and in the trail.
struct Present {
    shared: Arc<Shared>,
    key: Key,
    program: Program,
    who: Arc<Who>,
}

/// A client of computer use.
struct Caller {
    present: Present,
    used: Mutex<Instant>,
    /// Held by the call that acts, so that they act in the order in which they came.
    line: Arc<tokio::sync::Mutex<()>>,
    _pages: Option<Watching>,
}

impl Programs {
    /// Lets programs into a room, and keeps their trail. To be called within a tokio runtime.
    pub(crate) fn new(server: &Server, recorder: Recorder) -> Self {
        let notes = recorder.clone();
        server.attach_notes(Box::new(move |note| {
            let what = match note.clone() {
                Note::Control { by, from, to } => What::Control { by, from, to },
                Note::Mode { by, mode } => What::Mode { by, mode: mode.name() },
            };
            notes.note(None, what, 1);
        }));
        let shared = Arc::new(Shared {
            server: server.clone(),
            recorder,
            out: Mutex::default(),
            callers: Mutex::default(),
            waits: Semaphore::new(MAX_WAITS),
            gate: OnceLock::new(),
            is_over: AtomicBool::new(false),
            sweeper: Mutex::default(),
        });
        let swept = Arc::downgrade(&shared);
        let sweeper = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(shared) = swept.upgrade() else { return };
                shared.sweep();
            }
        });
        *shared.sweeper.lock() = Some(sweeper);
        Self { shared }
    }

    /// Names the gate of the browser, whose pages are then followed for clients of computer use, too.
    pub(crate) fn attach_gate(&self, gate: Gate) {
        // A second one would be a mistake of the caller that costs nothing.
        let _ = self.shared.gate.set(gate);
    }

    /// Ends the clients of computer use, and takes no more.
    pub(crate) fn shutdown(&self) {
        self.shared.is_over.store(true, Ordering::Release);
        let callers = std::mem::take(&mut *self.shared.callers.lock());
        drop(callers);
        if let Some(sweeper) = self.shared.sweeper.lock().take() {
            sweeper.abort();
        }
    }
}

impl Shared {
    /// Lets a program in.
    fn join(self: &Arc<Self>, name: String, kind: Kind) -> Result<Present, String> {
        let key = (kind.token.clone(), name);
        {
            let mut out = self.out.lock();
            out.retain(|_, at| at.elapsed() < OUT);
            if out.contains_key(&key) {
                return Err(KEPT_OUT.into());
            }
        }
        let (way, token) = (kind.way, kind.token.clone());
        let program =
            self.server.program(&key.1, kind).ok_or("the session has too many members: wait until some leave")?;
        let who = Who { id: program.id().to_owned(), name: program.name().to_owned(), way, token };
        let who = Arc::new(who);
        self.recorder.note(Some(&who), What::Joined, 1);
        Ok(Present { shared: self.clone(), key, program, who })
    }

    /// The client that makes a call; it comes in if it is new.
    fn caller(self: &Arc<Self>, call: &computer::Caller) -> Result<Arc<Caller>, String> {
        let holder = self.server.holder(&call.token).ok_or("its token is nobody's any more")?;
        let name = name_of(call.name.as_deref(), None, &holder.name);
        let key = (holder.id.clone(), name.clone());
        let mut callers = self.callers.lock();
        if let Some(caller) = callers.get(&key) {
            if !caller.present.program.is_removed() {
                *caller.used.lock() = Instant::now();
                return Ok(caller.clone());
            }
            let gone = callers.remove(&key);
            drop(callers);
            drop(gone);
            return Err(KEPT_OUT.into());
        }
        if self.is_over.load(Ordering::Acquire) {
            return Err("the session is ending".into());
        }
        let longest = (callers.len() >= MAX_CALLERS)
            .then(|| callers.iter().min_by_key(|(_, caller)| *caller.used.lock()).map(|(key, _)| key.clone()))
            .flatten();
        let gone = longest.and_then(|key| callers.remove(&key));
        let present = self.join(name, Kind { way: "computer", token: holder.id.clone(), own: Some(holder.id) })?;
        let pages = self.gate.get().and_then(Gate::watch_pages);
        let caller =
            Arc::new(Caller { present, used: Mutex::new(Instant::now()), line: Arc::default(), _pages: pages });
        callers.insert(key, caller.clone());
        drop(callers);
        drop(gone);
        Ok(caller)
    }

    /// Lets those go that make no calls any more.
    fn sweep(&self) {
        let mut gone = Vec::new();
        {
            let mut callers = self.callers.lock();
            callers.retain(|_, caller| {
                // One of whose calls is under way is not idle.
                let stays = !caller.present.program.is_removed()
                    && (Arc::strong_count(caller) > 1 || caller.used.lock().elapsed() < IDLE);
                if !stays {
                    gone.push(caller.clone());
                }
                stays
            });
        }
        drop(gone);
    }
}

impl Present {
    /// Remembers that it was removed.
    fn keep_out(&self) {
        let mut out = self.shared.out.lock();
        if out.len() < MAX_OUT {
            out.insert(self.key.clone(), Instant::now());
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let removed = self.program.is_removed();
        if removed {
            self.keep_out();
        }
        self.shared.recorder.note(Some(&self.who), What::Left { removed }, 1);
    }
}

/// One line about why a program may not act.
fn why(held: Held, patience: Duration) -> String {
    match held {
        Held::Person(name) if patience.is_zero() => {
            format!("{} has control: try again later, or let it wait with a patience of some seconds", named(&name))
        }
        Held::Person(name) => {
            format!("{} has control, and did not let go of it within {} s", named(&name), patience.as_secs())
        }
        Held::WatchOnly => "programs only watch here now: an admin of the session can change that".into(),
        Held::Gone => REMOVED.into(),
    }
}

fn named(name: &str) -> &str {
    if name.is_empty() { "somebody" } else { name }
}

/// What a program is called: what it says, or what its client is called, or something else.
fn name_of(said: Option<&str>, agent: Option<&str>, otherwise: &str) -> String {
    let said = said.map(str::trim).filter(|name| !name.is_empty());
    let product = agent.and_then(|agent| agent.split(['/', ' ']).next());
    let product = product.map(|product| match product.to_ascii_lowercase().as_str() {
        "" | "mozilla" | "curl" => otherwise,
        "node" | "undici" => "Node.js",
        name if name.starts_with("python") => "Python",
        name if name.starts_with("go-http") => "Go",
        _ => product,
    });
    let name = said.or(product).unwrap_or(otherwise);
    name.chars().filter(|letter| !letter.is_control()).take(60).collect()
}

impl glasshouse_cdp::Wheel for Programs {
    fn join(&self, client: glasshouse_cdp::Client) -> Result<Arc<dyn glasshouse_cdp::Seat>, String> {
        let name = name_of(client.name.as_deref(), client.agent.as_deref(), "Program");
        let present = self.shared.join(name, Kind { way: "cdp", token: client.token, own: None })?;
        Ok(Arc::new(Seat { present, patience: client.patience }))
    }

    fn visited(&self, target: &str, url: &str) {
        let recorder = &self.shared.recorder;
        recorder.note(None, What::Page { target: target.to_owned(), url: recorder.url(url) }, 1);
    }
}

/// A program that is connected by DevTools.
struct Seat {
    present: Present,
    patience: Duration,
}

impl glasshouse_cdp::Seat for Seat {
    fn may_act(&self) -> Turn {
        match self.present.program.may_act() {
            Ok(()) => Turn::Go,
            // Without patience, the wait is over at once.
            Err(Held::Person(_)) => Turn::Wait,
            Err(held) => Turn::Refused(why(held, self.patience)),
        }
    }

    fn turn(&self) -> glasshouse_cdp::Pending<'_, Result<(), String>> {
        Box::pin(async { self.present.program.turn(self.patience).await.map_err(|held| why(held, self.patience)) })
    }

    fn removed(&self) -> glasshouse_cdp::Pending<'_, &'static str> {
        Box::pin(async {
            self.present.program.removed().await;
            // Before it hears of it, and may come back.
            self.present.keep_out();
            REMOVED
        })
    }

    fn is_watched(&self) -> bool {
        self.present.program.is_watched()
    }

    fn acted(&self, act: glasshouse_cdp::Act) {
        use glasshouse_cdp::Act;
        match act {
            Act::Move(x, y) => self.present.program.points(x, y),
            Act::Click(x, y) => self.present.program.clicks(x, y),
            Act::Type => self.present.program.types(),
            Act::Navigate => self.present.program.navigates(),
        }
    }

    fn called(&self, call: &glasshouse_cdp::Call<'_>) {
        let what = What::Cdp {
            method: call.method.to_owned(),
            target: call.target.map(str::to_owned),
            refused: call.is_refused,
            message: call.message.map(cut),
        };
        self.present.shared.recorder.note(Some(&self.present.who), what, call.count);
    }

    fn wants_contents(&self) -> bool {
        self.present.shared.recorder.wants_contents()
    }
}

impl computer::Wheel for Programs {
    fn turn<'a>(&'a self, call: &'a computer::Caller) -> computer::Pending<'a, Result<Box<dyn Send>, computer::Held>> {
        Box::pin(async move {
            let caller = self.shared.caller(call).map_err(computer::Held::Refused)?;
            let patience = call.patience.unwrap_or(PATIENCE);
            let until = tokio::time::Instant::now() + patience;
            let refused = |held: Held| match held {
                Held::Person(_) => computer::Held::Person(why(held, patience)),
                held => computer::Held::Refused(why(held, patience)),
            };
            let program = &caller.present.program;
            match program.may_act() {
                Err(Held::Person(_)) if !patience.is_zero() => {}
                other => other.map_err(refused)?,
            }
            let (line, _waits) = match caller.line.clone().try_lock_owned() {
                Ok(line) if program.may_act().is_ok() => return Ok(Box::new((line, caller)) as Box<dyn Send>),
                line => {
                    let many = "too many calls wait for their turn: wait for some";
                    let waits = self.shared.waits.try_acquire();
                    let waits = waits.map_err(|_| computer::Held::Person(many.into()))?;
                    match line {
                        Ok(line) => (line, waits),
                        Err(_) => (caller.line.clone().lock_owned().await, waits),
                    }
                }
            };
            program.turn(until.saturating_duration_since(tokio::time::Instant::now())).await.map_err(refused)?;
            Ok(Box::new((line, caller)) as Box<dyn Send>)
        })
    }

    fn may_call(&self, call: &computer::Caller, starts: bool) -> Result<(), computer::Held> {
        let caller = self.shared.caller(call).map_err(computer::Held::Refused)?;
        match caller.present.program.may_act() {
            Err(held @ Held::WatchOnly) if starts => Err(computer::Held::Refused(why(held, Duration::ZERO))),
            _ => Ok(()),
        }
    }

    fn acted(&self, call: &computer::Caller, act: computer::Act) {
        let Ok(caller) = self.shared.caller(call) else { return };
        let program = &caller.present.program;
        if !program.is_watched() {
            return;
        }
        match act {
            computer::Act::Move(x, y) => program.points(x, y),
            computer::Act::Click(x, y) => program.clicks(x, y),
            computer::Act::Type => program.types(),
        }
    }

    fn called(&self, call: &computer::Caller, answered: &computer::Call<'_>) {
        // One that was removed has its end in the trail.
        let Ok(caller) = self.shared.caller(call) else { return };
        let what = What::Computer {
            call: format!("{} {}", answered.method, cut(answered.path)),
            status: answered.status,
            x: answered.at.map(|at| at.0),
            y: answered.at.map(|at| at.1),
            body: answered.body.map(|body| cut(&String::from_utf8_lossy(body))),
        };
        self.shared.recorder.note(Some(&caller.present.who), what, 1);
    }

    fn wants_contents(&self) -> bool {
        self.shared.recorder.wants_contents()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (said, agent, wanted) in [
            (Some("Shop bot"), Some("Playwright/1.5"), "Shop bot"),
            (Some("  "), Some("Playwright/1.5 (x64)"), "Playwright"),
            (None, Some("Mozilla/5.0 (X11)"), "Program"),
            (None, Some("node"), "Node.js"),
            (None, Some("python-requests/2"), "Python"),
            (None, None, "Program"),
            (Some("a\u{7}\nb"), None, "ab"),
        ] {
            assert_eq!(name_of(said, agent, "Program"), wanted);
        }
    }
}
