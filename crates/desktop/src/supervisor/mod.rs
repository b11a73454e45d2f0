//! Starts the programs of a desktop, watches over them and ends them.
//!
//! The X server comes first; the window manager and sound need it or nothing; the app comes when these have settled.
//! A program that ends is started again after a wait. When the X server ends, what was on it starts anew as well.

mod backoff;
mod launched;
mod limits;
mod program;
mod restart;
mod start;

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use glasshouse_sandbox::Lease;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    App, Error, Event, Launch, OnExit, ProgramState,
    keeper::{FromKeeper, Keeper, Spawn, ToKeeper},
    log::Log,
    programs::{self, CommandLine, keymap::Keymap},
    session::SessionDir,
    walls::Standing,
    x::Link,
};
use program::{Exit, Program};

/// A program that is not ready after this long has failed; generous, for slow and busy machines.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How long a browser whose profile is kept may take to write it at the end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// The supervised programs, in the order they start in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    XServer,
    WindowManager,
    Sound,
    App,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::XServer => "x-server",
            Self::WindowManager => "window-manager",
            Self::Sound => "sound",
            Self::App => "app",
        }
    }
}

/// What the supervisor is told.
pub(crate) enum Msg {
    /// From a keeper; `None` when it is gone.
    Keeper(Option<FromKeeper>),
    /// Stop every program, or let all go on.
    Sleep(bool, Option<oneshot::Sender<Result<(), Error>>>),
    /// A limit was reached that ends the desktop.
    Exhausted(String),
    /// The process with this id is ready.
    Ready(u32),
    /// A window manager has announced itself on the display.
    WindowManager,
    /// Somebody else's display does not answer any more.
    DisplayLost,
    /// Connect to the browser's DevTools and send the connection through this, see [`crate::keeper`].
    DevTools(OwnedFd),
    /// Run a command on the desktop and say how it ended.
    Run(CommandLine, oneshot::Sender<Result<(), String>>),
    /// Start a program for somebody, who sees to it.
    Launch(Launch, launched::Answer),
    /// Signal a program that was started so, and its group.
    Signal(u32, i32),
    /// Open a terminal and send its two ends through this, see [`crate::keeper`].
    Terminal(OwnedFd),
    /// End the app and start it again, a browser with these further flags; answered when it has been started.
    Restart(Vec<OsString>, oneshot::Sender<Result<(), Error>>),
    /// End everything; answered when all is gone.
    Stop(Option<oneshot::Sender<()>>),
}

/// State of every program, for everybody to look at.
pub(crate) type Board = Arc<Mutex<Vec<(&'static str, ProgramState, String)>>>;

/// Gets the desktop's events.
pub(crate) type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// See the module.
pub(crate) struct Supervisor {
    app: App,
    on_exit: OnExit,
    profile: Option<PathBuf>,
    given_environment: BTreeMap<OsString, OsString>,
    sound: bool,
    glx: bool,
    pub(crate) dir: SessionDir,
    /// Outside of the walls, if there are any.
    keeper: Option<Keeper>,
    /// Within the walls: starts the programs.
    inside: Option<Keeper>,
    walls: Option<Arc<Standing>>,
    /// Until the X server is started.
    keymap: Option<Keymap>,
    /// Ends the thread that watches over limits when dropped.
    limits: Option<mpsc::Sender<()>>,
    /// Since when the programs are frozen.
    asleep: Option<Instant>,
    /// Port of the browser's DevTools, as the programs see it, 0 until it is chosen; none if there are to be none.
    devtools: Option<Arc<AtomicU16>>,
    /// Port of the way out, inside.
    proxy: Option<u16>,
    /// Keeps the desktop's user ours even if the keeper is killed.
    _lease: Option<Lease>,
    pub(crate) link: Option<Arc<Link>>,
    display: Option<start::OwnDisplay>,
    xauthority: Option<PathBuf>,
    tx: mpsc::Sender<Msg>,
    rx: mpsc::Receiver<Msg>,
    programs: Vec<Program>,
    commands: HashMap<u32, (Log, oneshot::Sender<Result<(), String>>)>,
    /// Programs that somebody else sees to.
    launched: HashMap<u32, launched::Launching>,
    next_id: u32,
    /// Why the start failed; while starting, a program that ends is not started again.
    starting: Option<Result<(), Error>>,
    ended: Option<String>,
    board: Board,
    events: Sink,
    /// Who waits for the app to be started again.
    restarting: Vec<oneshot::Sender<Result<(), Error>>>,
    /// Called when an X server has replaced the first one.
    restore: Option<Box<dyn Fn() + Send>>,
}

impl Supervisor {
    pub(crate) fn sender(&self) -> mpsc::Sender<Msg> {
        self.tx.clone()
    }

    pub(crate) fn walls(&self) -> Option<Arc<Standing>> {
        self.walls.clone()
    }

    pub(crate) fn devtools(&self) -> Option<Arc<AtomicU16>> {
        self.devtools.clone()
    }

    pub(crate) fn board(&self) -> Board {
        Arc::clone(&self.board)
    }

    /// Sets what to do when an X server has replaced the first one, before programs start on it.
    pub(crate) fn when_display_is_back(&mut self, restore: impl Fn() + Send + 'static) {
        self.restore = Some(Box::new(restore));
    }

    pub(crate) fn xauthority(&self) -> Option<&std::path::Path> {
        self.xauthority.as_deref()
    }

    /// Watches over the programs until told to stop, or the session is over.
    pub(crate) fn run(mut self) {
        self.starting = None;
        let answer = loop {
            if let Some(why) = self.ended.take() {
                tracing::info!(%why, "desktop ended");
                self.end();
                (self.events)(Event::Ended(why));
                return;
            }
            match self.next(self.next_timer()) {
                Some(Msg::Stop(answer)) => break answer,
                Some(message) => self.handle(message),
                None => {}
            }
            self.tick();
        };
        self.close_app();
        self.end();
        if let Some(answer) = answer {
            let _ = answer.send(());
        }
    }

    fn next(&self, deadline: Option<Instant>) -> Option<Msg> {
        match deadline {
            // We hold a sender ourselves, so the channel cannot be closed.
            None => self.rx.recv().ok(),
            Some(at) => self.rx.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
        }
    }

    fn next_timer(&self) -> Option<Instant> {
        // Who is frozen cannot get ready.
        if self.asleep.is_some() {
            return None;
        }
        self.programs.iter().filter_map(|program| program.due).min()
    }

    fn program(&mut self, kind: Kind) -> Option<&mut Program> {
        self.programs.iter_mut().find(|program| program.kind == kind)
    }

    fn state(&self, kind: Kind) -> Option<&ProgramState> {
        self.programs.iter().find(|program| program.kind == kind).map(|program| &program.state)
    }

    fn handle(&mut self, message: Msg) {
        match message {
            Msg::Keeper(Some(FromKeeper::Started { id, pid })) => {
                self.launched_runs(id, pid);
                if self.program(Kind::App).is_some_and(|app| app.id == Some(id)) {
                    self.ready(Kind::App);
                    self.app_restarted(id);
                }
            }
            Msg::Keeper(Some(FromKeeper::Failed { id, reason, missing })) => {
                self.launch_failed(id, &reason, missing);
                self.exited(id, &Exit::NotStarted(reason));
            }
            Msg::Keeper(Some(FromKeeper::Exited { id, code, signal })) => {
                self.launched_ended(id, code, signal);
                self.exited(id, &Exit::Ended { code, signal });
            }
            Msg::Keeper(None) => self.keeper_gone(),
            Msg::Ready(id) => {
                let kind = self.programs.iter().find(|program| program.id == Some(id)).map(|program| program.kind);
                if let Some(kind) = kind {
                    self.ready(kind);
                }
            }
            Msg::WindowManager => {
                if self.program(Kind::WindowManager).is_some_and(|program| program.id.is_some()) {
                    self.ready(Kind::WindowManager);
                }
            }
            Msg::DisplayLost => {
                if let Some(link) = &self.link
                    && self.display.is_none()
                    && let Err(error) = link.connect()
                {
                    self.ended = Some(format!("display {} is gone: {error}", link.display()));
                }
            }
            Msg::DevTools(answer) => {
                if let (Some(port), Some(keeper)) = (&self.devtools, self.starter()) {
                    let port = port.load(Ordering::Acquire);
                    // A keeper that does not listen is gone, which the one who waits notices, too.
                    let _ = keeper.send(&ToKeeper::Connect(port), &[answer.as_fd()]);
                }
            }
            Msg::Run(line, answer) => self.run_command(line, answer),
            Msg::Launch(launch, answer) => self.launch_for(launch, answer),
            Msg::Signal(id, signal) => self.signal_launched(id, signal),
            Msg::Terminal(answer) => {
                if let Some(keeper) = self.starter() {
                    // As with DevTools.
                    let _ = keeper.send(&ToKeeper::Terminal, &[answer.as_fd()]);
                }
            }
            Msg::Restart(flags, answer) => self.restart_app(flags, answer),
            Msg::Sleep(asleep, answer) => {
                let done = self.sleep(asleep);
                match (answer, done) {
                    (Some(answer), done) => {
                        // Nobody may be waiting any more.
                        let _ = answer.send(done);
                    }
                    (None, Err(error)) => tracing::warn!(%error, asleep, "cannot change whether the desktop sleeps"),
                    (None, Ok(())) => {}
                }
            }
            Msg::Exhausted(why) => self.ended = Some(why),
            // Handled by the loops.
            Msg::Stop(_) => self.ended = Some("stopped while starting".into()),
        }
    }

    /// Freezes the programs, or lets them go on.
    fn sleep(&mut self, asleep: bool) -> Result<(), Error> {
        let Some(walls) = &self.walls else {
            return Err(Error::Invalid(
                "only a desktop within walls can be frozen: start it with --isolation=walls".into(),
            ));
        };
        if asleep == self.asleep.is_some() {
            return Ok(());
        }
        if asleep {
            walls.freeze()?;
            self.asleep = Some(Instant::now());
        } else {
            walls.thaw()?;
            let slept = self.asleep.take().map_or(Duration::ZERO, |since| since.elapsed());
            for due in self.programs.iter_mut().filter_map(|program| program.due.as_mut()) {
                *due += slept;
            }
        }
        tracing::info!(asleep, "desktop");
        (self.events)(Event::Asleep(asleep));
        Ok(())
    }

    /// Restarts what is due, and ends what did not get ready in time.
    fn tick(&mut self) {
        if self.asleep.is_some() {
            return;
        }
        let now = Instant::now();
        let due: Vec<Kind> =
            self.programs.iter().filter(|p| p.due.is_some_and(|at| at <= now)).map(|p| p.kind).collect();
        for kind in due {
            let Some(program) = self.program(kind) else { continue };
            program.due = None;
            if let Some(id) = program.id {
                program.overdue = true;
                self.kill(id);
            } else if self.may_start(kind) {
                if let Err(error) = self.spawn(kind) {
                    self.spawn_failed(kind, &error);
                }
            } else if let Some(program) = self.program(kind) {
                program.waiting = true;
            }
        }
    }

    /// Whether everything that a program needs is there.
    fn may_start(&self, kind: Kind) -> bool {
        let x = self.display.is_none() || self.state(Kind::XServer) == Some(&ProgramState::Running);
        let settled = |kind| self.state(kind) != Some(&ProgramState::Starting);
        match kind {
            Kind::XServer | Kind::Sound => true,
            Kind::WindowManager => x,
            Kind::App => x && settled(Kind::WindowManager) && settled(Kind::Sound),
        }
    }

    /// Starts what waited for another program.
    fn start_waiting(&mut self) {
        for kind in [Kind::WindowManager, Kind::App] {
            let waiting = self.program(kind).is_some_and(|program| program.waiting);
            if waiting
                && self.may_start(kind)
                && let Err(error) = self.spawn(kind)
            {
                self.spawn_failed(kind, &error);
            }
        }
    }

    fn ready(&mut self, kind: Kind) {
        let Some(program) = self.program(kind) else { return };
        if program.state == ProgramState::Running {
            return;
        }
        program.due = None;
        let name = program.label.clone();
        if kind == Kind::XServer
            && let Err(error) = self.publish_display()
        {
            self.ended = Some(format!("cannot show the display outside of the walls: {error}"));
            return;
        }
        self.set_state(kind, ProgramState::Running, format!("{name} is ready"));
        if kind == Kind::XServer {
            if let Err(error) = self.dir.open_rfb_folder(false) {
                tracing::warn!(%error, "cannot protect the RFB socket");
            }
            if let Some(link) = &self.link {
                link.set_up(true);
            }
            if let Some(restore) = &self.restore {
                restore();
            }
        }
        self.start_waiting();
    }

    fn exited(&mut self, id: u32, exit: &Exit) {
        if let Some((log, answer)) = self.commands.remove(&id) {
            let _ = answer.send(if exit.is_clean() { Ok(()) } else { Err(format!("{exit}: {}", log.tail(5))) });
            return;
        }
        let Some(program) = self.programs.iter_mut().find(|program| program.id == Some(id)) else { return };
        let kind = program.kind;
        let lived = program.started.elapsed();
        let overdue = std::mem::take(&mut program.overdue);
        let name = program.label.clone();
        program.id = None;
        program.due = None;
        let what = if overdue { format!("{name} was not ready in time") } else { format!("{name} {exit}") };
        if kind == Kind::XServer
            && let Some(link) = &self.link
        {
            link.set_up(false);
        }
        if let Some(result) = &mut self.starting {
            let log = self.programs.iter().find(|p| p.kind == kind).map(|p| p.log.settled_tail(5)).unwrap_or_default();
            let reason = if log.is_empty() { exit.to_string() } else { format!("{exit}: {log}") };
            if result.is_ok() {
                *result = Err(Error::Start { program: name, reason });
            }
            self.set_state(kind, ProgramState::Failed, what);
            return;
        }
        self.after_exit(kind, exit, lived, &what);
    }

    /// Decides what becomes of a program that ended.
    fn after_exit(&mut self, kind: Kind, exit: &Exit, lived: Duration, what: &str) {
        if kind == Kind::App && self.app_restarts(exit, what) {
            return;
        }
        let x_down = kind != Kind::XServer
            && self.display.is_some()
            && self.state(Kind::XServer) != Some(&ProgramState::Running);
        if kind == Kind::App && self.on_exit == OnExit::Stop && !x_down && !exit.is_crash() {
            self.set_state(kind, ProgramState::Stopped, what.to_owned());
            self.ended = Some(what.to_owned());
            return;
        }
        let Some(program) = self.program(kind) else { return };
        if x_down {
            // It went with the X server, which is not its fault.
            program.waiting = true;
            self.set_state(kind, ProgramState::Restarting, format!("{what}, starting again with the X server"));
            return;
        }
        match program.backoff.ended(lived, exit.is_clean()) {
            Some(wait) => {
                program.due = Some(Instant::now() + wait);
                let when = if wait.is_zero() { "now".into() } else { format!("in {} s", wait.as_secs_f32()) };
                self.set_state(kind, ProgramState::Restarting, format!("{what}, starting again {when}"));
            }
            None => {
                self.set_state(kind, ProgramState::Failed, format!("{what} again and again, given up"));
                if kind == Kind::XServer || (kind == Kind::App && self.on_exit == OnExit::Stop) {
                    self.ended = Some(format!("{what} again and again"));
                }
            }
        }
        if kind == Kind::XServer {
            self.clear_display();
        }
    }

    /// Ends what was on an X server that is gone, so that it starts anew on the next one.
    fn clear_display(&mut self) {
        for kind in [Kind::WindowManager, Kind::App] {
            let Some(program) = self.program(kind) else { continue };
            match program.id {
                Some(id) => self.kill(id),
                None if program.due.take().is_some() => program.waiting = true,
                None => {}
            }
        }
    }

    fn spawn_failed(&mut self, kind: Kind, error: &Error) {
        let Some(program) = self.program(kind) else { return };
        let exit = Exit::NotStarted(error.to_string());
        let what = format!("{} {exit}", program.label);
        self.after_exit(kind, &exit, Duration::ZERO, &what);
    }

    fn set_state(&mut self, kind: Kind, state: ProgramState, detail: String) {
        let Some(program) = self.program(kind) else { return };
        program.state = state.clone();
        tracing::debug!(name = kind.name(), ?state, detail, "program");
        let mut board = self.board.lock();
        match board.iter_mut().find(|(name, ..)| *name == kind.name()) {
            Some(entry) => *entry = (kind.name(), state.clone(), detail.clone()),
            None => board.push((kind.name(), state.clone(), detail.clone())),
        }
        drop(board);
        (self.events)(Event::Program { name: kind.name(), state, detail });
    }

    fn kill(&self, id: u32) {
        self.signal(id, libc::SIGKILL);
    }

    fn signal(&self, id: u32, signal: i32) {
        if let Some(keeper) = self.starter() {
            // A keeper that does not listen is gone, which is noticed elsewhere.
            let _ = keeper.send(&ToKeeper::Signal { id, signal }, &[]);
        }
    }

    fn run_command(&mut self, line: CommandLine, answer: oneshot::Sender<Result<(), String>>) {
        let log = Log::default();
        let id = self.id();
        match self.launch(id, line, &log, "command", None) {
            Ok(()) => {
                self.commands.insert(id, (log, answer));
            }
            Err(error) => {
                let _ = answer.send(Err(error.to_string()));
            }
        }
    }

    /// The keeper that starts programs.
    fn starter(&self) -> Option<&Keeper> {
        self.inside.as_ref().or(self.keeper.as_ref())
    }

    fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// What programs of the desktop find in their environment.
    fn environment(&self, given: &BTreeMap<OsString, OsString>) -> Vec<(OsString, OsString)> {
        let display = self.link.as_ref().map_or("", |link| link.display());
        programs::environment(&self.dir, display, self.xauthority.as_deref(), self.sound, self.proxy, given)
    }

    /// Has the keeper start a program with its output in the log.
    fn launch(
        &self,
        id: u32,
        line: CommandLine,
        log: &Log,
        name: &str,
        extra: Option<(OwnedFd, i32)>,
    ) -> std::io::Result<()> {
        let output = log.open(&self.dir.log(name))?;
        let env = self.environment(&self.given_environment);
        let mut fds = vec![output.as_fd(), output.as_fd()];
        let mut numbers = vec![1, 2];
        if let Some((fd, number)) = &extra {
            fds.push(fd.as_fd());
            numbers.push(*number);
        }
        let spawn = Spawn {
            id,
            program: line.program,
            args: line.args,
            env,
            cwd: self.dir.inside(&self.dir.home()),
            // Within walls, the keeper is that user already.
            user: if self.dir.is_enclosed() { None } else { self.dir.user() },
            fds: numbers,
            terminal: false,
            leaves_others: false,
        };
        let Some(keeper) = self.starter() else { return Err(std::io::Error::other("the keeper is gone")) };
        keeper.send(&ToKeeper::Spawn(spawn), &fds)
    }

    /// Lets a browser write a profile that is kept.
    fn close_app(&mut self) {
        let Some(id) = self.program(Kind::App).and_then(|app| app.id) else { return };
        if self.profile.is_none() || self.sleep_is_over().is_err() {
            return;
        }
        if let Some(keeper) = self.starter() {
            // A keeper that does not listen is gone, which is noticed below.
            let _ = keeper.send(&ToKeeper::Close { id }, &[]);
        }
        let deadline = Instant::now() + CLOSE_WITHIN;
        while Instant::now() < deadline {
            match self.next(Some(deadline)) {
                Some(Msg::Keeper(Some(FromKeeper::Exited { id: ended, .. }))) if ended == id => return,
                Some(Msg::Keeper(None)) => return,
                _ => {}
            }
        }
    }

    /// Wakes programs that are to end by themselves.
    fn sleep_is_over(&mut self) -> Result<(), Error> {
        if self.asleep.is_some() { self.sleep(false) } else { Ok(()) }
    }

    fn keeper_gone(&mut self) {
        let reached = self.walls.as_ref().and_then(|walls| walls.usage()?.reached());
        self.end_walls();
        if let (Some(user), false) = (self.dir.user(), self.dir.is_enclosed()) {
            // Their parent's death killed its children, but not theirs.
            for pid in crate::user::processes(user) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        if let Some(display) = &self.display {
            crate::keeper::remove_display(display.number);
        }
        let _ = std::fs::remove_dir_all(self.dir.root());
        let why = reached.unwrap_or_else(|| "the keeper process ended".into());
        self.ended = Some(format!("{why}: all programs are gone"));
    }

    /// Ends what is within walls, frozen or not, and clears away what it leaves.
    fn end_walls(&mut self) {
        self.limits = None;
        if let Some(walls) = &self.walls {
            walls.end();
        }
        if let Some(keeper) = self.inside.take() {
            keeper.wait();
        }
    }

    /// Ends everything and waits for it.
    pub(crate) fn end(&mut self) {
        if let Some(link) = &self.link {
            link.close();
        }
        self.end_walls();
        if let Some(keeper) = self.keeper.take() {
            keeper.wait();
        }
        for program in &mut self.programs {
            if !matches!(program.state, ProgramState::Failed) {
                program.state = ProgramState::Stopped;
            }
        }
        for (_, state, detail) in self.board.lock().iter_mut() {
            if !matches!(state, ProgramState::Failed | ProgramState::Stopped) {
                *state = ProgramState::Stopped;
                "the desktop has ended".clone_into(detail);
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}
