//! The first start, step by step, and the start of each program.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io::{BufRead as _, Read as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::FileTypeExt as _, net::UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use glasshouse_sandbox::{Lease, Stage};

use super::{Board, Kind, Msg, READY_WITHIN, Sink, Supervisor, limits::Watch, program::Program};
use crate::{
    App, Config, DEVTOOLS_PORT, Display, Error, PROXY_PORT, ProgramState, Size, Walls,
    keeper::{Keeper, ToKeeper, pair},
    programs::{
        self, CommandLine,
        keymap::{self, Keymap},
        sound, window_manager, x_server,
    },
    session::SessionDir,
    user::User,
    walls::Standing,
    x::Link,
};

/// An X server of our own, as it is started each time.
pub(super) struct OwnDisplay {
    pub(super) number: u16,
    size: Size,
}

/// How long to wait between two looks at what tells nobody that it is ready.
const GLANCE: Duration = Duration::from_millis(2);

/// How many display numbers to try when others are faster.
const MAX_NUMBERS: usize = 50;

impl Supervisor {
    /// Makes the session's directory and starts its keeper; nothing runs on the desktop yet.
    pub(crate) fn new(config: &Config, events: Sink) -> Result<Self, Error> {
        let walls = config.walls.as_ref().filter(|_| matches!(config.display, Display::Own(_)));
        // What builds the walls starts while we make ready what it needs, and the keymap is compiled meanwhile.
        let stage = walls.map(|walls| Stage::start(&walls.stage)).transpose()?;
        let keymap = walls.map(|_| Keymap::begin());
        let state = glasshouse_sandbox::default_state_dir();
        if walls.is_some() {
            for name in glasshouse_sandbox::sweep(&state)? {
                tracing::info!(name, "cleared away what a session has left");
            }
        }
        let lease = Lease::claim(&state)?;
        let mut dir = SessionDir::new(User::of(&lease))?;
        let (tx, rx) = mpsc::channel();
        let to_us = tx.clone();
        let keeper = Keeper::start(&config.keeper, move |message| {
            let _ = to_us.send(Msg::Keeper(message));
        })?;
        let locks: Vec<_> = lease.lock().into_iter().collect();
        keeper.send(&ToKeeper::Remove(dir.root().to_path_buf()), &[])?;
        keeper.send(&ToKeeper::Hold, &locks)?;
        dir.create()?;
        if walls.is_some() {
            x_server::make_socket_folder()?;
            keeper.send(&ToKeeper::Remove(dir.display_sockets()), &[])?;
            keeper.send(&ToKeeper::Clear(state, dir.name().to_owned()), &[])?;
            dir.enclose()?;
        }
        if config.sound {
            dir.make_sound_fifo()?;
        }
        let mut supervisor = Self {
            app: config.app.clone(),
            on_exit: config.on_exit,
            profile: config.profile.clone(),
            given_environment: config.environment.clone(),
            sound: config.sound,
            glx: config.glx,
            dir,
            keeper: Some(keeper),
            inside: None,
            walls: None,
            keymap,
            limits: None,
            asleep: None,
            devtools: config.devtools.then(Arc::default),
            proxy: walls.filter(|walls| !walls.host_network).map(|_| PROXY_PORT),
            _lease: None,
            link: None,
            display: None,
            xauthority: None,
            tx,
            rx,
            programs: Vec::new(),
            commands: HashMap::new(),
            launched: HashMap::new(),
            next_id: 0,
            starting: Some(Ok(())),
            ended: None,
            board: Board::default(),
            events,
            restarting: Vec::new(),
            restore: None,
        };
        if let Some(profile) = config.profile.clone() {
            supervisor.take_profile(&profile)?;
        }
        // What is missing is said before anything is started.
        programs::app(&config.app, None, &supervisor.dir, supervisor.proxy, None)?;
        match walls.zip(stage) {
            Some((walls, stage)) => supervisor.build_walls(config, walls, (stage, lease))?,
            None => supervisor._lease = Some(lease),
        }
        Ok(supervisor)
    }

    /// Puts everything that is started from now on within walls.
    fn build_walls(&mut self, config: &Config, walls: &Walls, by: (Stage, Lease)) -> Result<(), Error> {
        let (ours, theirs) = pair()?;
        keymap::stand_in(&self.dir);
        let standing = Arc::new(Standing::build(config, walls, &self.dir, by, theirs)?);
        self.walls = Some(Arc::clone(&standing));
        let to_us = self.tx.clone();
        let sink = move |message| {
            let _ = to_us.send(Msg::Keeper(message));
        };
        self.inside = Some(Keeper::attach(ours, sink, || {})?);
        let (stop, stopped) = mpsc::channel();
        self.limits = Some(stop);
        let mut places = vec![self.dir.root().to_path_buf()];
        places.extend(self.profile.clone());
        let watch = Watch::new(standing, places, walls.disk, self.tx.clone(), Arc::clone(&self.events));
        std::thread::Builder::new().name("limits".into()).spawn(move || watch.run(&stopped))?;
        Ok(())
    }

    /// Shows the display's socket, which is within walls, to the host as well: a second name of the same socket, which no
    /// program inside can exchange for something else.
    pub(super) fn publish_display(&self) -> Result<(), Error> {
        let (Some(display), true) = (&self.display, self.dir.is_enclosed()) else { return Ok(()) };
        let name = format!("X{}", display.number);
        let sockets = self.dir.display_sockets();
        let public = sockets.with_file_name(&name);
        if let Some(walls) = &self.walls {
            walls.remove_at_end(public.clone())?;
        }
        // From before the server was started again.
        let _ = std::fs::remove_file(&public);
        // Without following links.
        std::fs::hard_link(sockets.join(&name), &public)?;
        if std::fs::symlink_metadata(&public)?.file_type().is_socket() {
            return Ok(());
        }
        let _ = std::fs::remove_file(&public);
        Err(std::io::Error::other("it is no socket").into())
    }

    fn take_profile(&mut self, profile: &Path) -> Result<(), Error> {
        let profile = std::path::absolute(profile)?;
        let in_profile = |e: std::io::Error| {
            Error::Invalid(format!("profile {}: {e}: name a folder that the desktop may use", profile.display()))
        };
        self.dir.adopt_profile(&profile).map_err(in_profile)?;
        let folder = OwnedFd::from(std::fs::File::open(&profile).map_err(in_profile)?);
        if rustix::fs::flock(&folder, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::Invalid(format!("profile {} is in use by another session", profile.display())));
        }
        if let Some(keeper) = &self.keeper {
            keeper.send(&ToKeeper::Hold, &[folder.as_fd()])?;
        }
        self.dir.enclose_profile(&profile, folder);
        let seen = self.dir.reach(&profile);
        crate::user::run_as(self.dir.user(), || std::fs::read_dir(&seen).map(drop)).map_err(in_profile)?;
        self.profile = Some(profile);
        Ok(())
    }

    /// Brings the display up, or takes the one that is there.
    pub(crate) fn start_display(&mut self, config: &Config) -> Result<Arc<Link>, Error> {
        let link = match &config.display {
            Display::Own(size) => self.start_own_display(*size, config)?,
            Display::Existing(name) => {
                let link = Arc::new(Link::existing(name));
                link.connect().map_err(|e| Error::Display { display: name.clone(), reason: e.to_string() })?;
                self.xauthority = self.copy_cookie(name)?;
                link
            }
        };
        self.link = Some(Arc::clone(&link));
        Ok(link)
    }

    fn start_own_display(&mut self, size: Size, config: &Config) -> Result<Arc<Link>, Error> {
        x_server::make_socket_folder()?;
        let mut cookie = [0_u8; 16];
        getrandom::fill(&mut cookie).map_err(|e| std::io::Error::other(e.to_string()))?;
        let content = x_server::xauthority(b"MIT-MAGIC-COOKIE-1", &cookie);
        self.xauthority = Some(self.dir.publish("Xauthority", &content)?);
        self.programs.push(Program::new(Kind::XServer, "X server".into()));
        if let Some(keymap) = self.keymap.take() {
            keymap.hand_out(&self.dir);
        }
        let mut taken = None;
        for number in x_server::free_numbers().take(MAX_NUMBERS) {
            let Some(lock) = x_server::lock_number(number) else { continue };
            self.display = Some(OwnDisplay { number, size });
            self.link = Some(Arc::new(Link::own(number, cookie)));
            self.starting = Some(Ok(()));
            if let Some(keeper) = &self.keeper {
                keeper.send(&ToKeeper::Hold, &[lock.as_fd()])?;
                keeper.send(&ToKeeper::RemoveDisplay(number), &[])?;
            }
            self.spawn(Kind::XServer)?;
            match self.until_running(Kind::XServer, |supervisor| supervisor.start_early(number, config)) {
                Ok(()) => {
                    let link = self.link.clone();
                    return link.ok_or_else(|| Error::Invalid("the display is gone".into()));
                }
                Err(Error::Start { program, reason }) if x_server::number_was_taken(&reason) => {
                    taken = Some(Error::Start { program, reason });
                }
                Err(error) => return Err(error),
            }
        }
        Err(taken.unwrap_or_else(|| Error::Invalid("no free display number: remove old /tmp/.X*-lock files".into())))
    }

    /// Starts the window manager and a Chromium as soon as the X server listens, which is long before it answers; says whether
    /// that is done. They wait for its answer with half of their own start behind them.
    ///
    /// Within walls only: on the host, another server may be faster with the number.
    fn start_early(&mut self, number: u16, config: &Config) -> Result<bool, Error> {
        if !self.dir.is_enclosed() {
            return Ok(true);
        }
        let socket = self.dir.display_sockets().join(format!("X{number}"));
        if UnixStream::connect(socket).is_err() {
            return Ok(false);
        }
        self.start_window_manager(config)?;
        if matches!(config.app, App::Chromium { .. }) {
            self.add_app(config)?;
        }
        Ok(true)
    }

    /// Makes the cookie of somebody else's display readable for the desktop's programs.
    fn copy_cookie(&self, display: &str) -> Result<Option<PathBuf>, Error> {
        use x11rb::reexports::x11rb_protocol::{parse_display::parse_display, xauth};
        let Ok(parsed) = parse_display(Some(display)) else { return Ok(None) };
        let host = rustix::system::uname().nodename().to_bytes().to_vec();
        let Ok(Some((name, data))) = xauth::get_auth(xauth::Family::LOCAL, &host, parsed.display) else {
            return Ok(None);
        };
        Ok(Some(self.dir.publish("Xauthority", &x_server::xauthority(&name, &data))?))
    }

    /// Starts the sound server, which needs no display.
    pub(crate) fn start_sound(&mut self, config: &Config) -> Result<(), Error> {
        if config.sound {
            self.programs.push(Program::new(Kind::Sound, "sound server".into()));
            self.spawn(Kind::Sound)?;
        }
        Ok(())
    }

    /// Starts the window manager on a display that is up.
    pub(crate) fn start_window_manager(&mut self, config: &Config) -> Result<(), Error> {
        if config.window_manager
            && matches!(config.display, Display::Own(_))
            && self.program(Kind::WindowManager).is_none()
        {
            self.programs.push(Program::new(Kind::WindowManager, "window manager".into()));
            self.spawn(Kind::WindowManager)?;
        }
        Ok(())
    }

    /// Waits for the window manager and sound, starts the app, and waits until all are ready.
    pub(crate) fn start_app(&mut self, config: &Config) -> Result<(), Error> {
        for kind in [Kind::WindowManager, Kind::Sound] {
            self.until_running(kind, |_| Ok(true))?;
        }
        if !matches!(config.app, App::None) {
            self.add_app(config)?;
            self.until_running(Kind::App, |_| Ok(true))?;
        }
        Ok(())
    }

    /// Starts the app, unless it was started.
    fn add_app(&mut self, config: &Config) -> Result<(), Error> {
        if self.program(Kind::App).is_none() {
            self.programs.push(Program::new(Kind::App, label(&config.app)));
            self.spawn(Kind::App)?;
        }
        Ok(())
    }

    /// Waits until a program is ready; meanwhile calls `also` again and again until it says that it is done.
    fn until_running(
        &mut self,
        kind: Kind,
        mut also: impl FnMut(&mut Self) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut is_done = false;
        loop {
            if let Some(Err(_)) = &self.starting
                && let Some(failed) = self.starting.replace(Ok(()))
            {
                return failed;
            }
            if let Some(why) = self.ended.take() {
                return Err(Error::Start { program: kind.name().into(), reason: why });
            }
            match self.state(kind) {
                None | Some(ProgramState::Running) => return Ok(()),
                Some(_) => {}
            }
            is_done = is_done || also(self)?;
            let soon = (!is_done).then(|| Instant::now() + GLANCE);
            if let Some(message) = self.next(soon.or(self.next_timer())) {
                self.handle(message);
            }
            self.tick();
        }
    }

    /// Starts a program and what observes that it is ready.
    pub(super) fn spawn(&mut self, kind: Kind) -> Result<(), Error> {
        let id = self.id();
        let Some(program) = self.program(kind) else { return Ok(()) };
        program.waiting = false;
        program.due = None;
        let log = program.log.clone();
        let Some((line, extra)) = self.prepare(kind, id)? else { return Ok(()) };
        self.launch(id, line, &log, kind.name(), extra)?;
        let now = Instant::now();
        if let Some(program) = self.program(kind) {
            program.id = Some(id);
            program.started = now;
            program.due = Some(now + READY_WITHIN);
            let detail = format!("{} is starting", program.label);
            self.set_state(kind, ProgramState::Starting, detail);
        }
        if kind == Kind::Sound {
            let (socket, tx) = (self.dir.sound_socket(), self.tx.clone());
            std::thread::Builder::new().name("sound-ready".into()).spawn(move || {
                if sound::wait_ready(&socket, now + READY_WITHIN) {
                    let _ = tx.send(Msg::Ready(id));
                }
            })?;
        }
        Ok(())
    }

    /// The command line of a program, and a descriptor that it is to get.
    #[allow(clippy::type_complexity)]
    fn prepare(&self, kind: Kind, id: u32) -> Result<Option<(CommandLine, Option<(OwnedFd, i32)>)>, Error> {
        Ok(match kind {
            Kind::XServer => {
                let (Some(display), Some(xauthority)) = (&self.display, &self.xauthority) else { return Ok(None) };
                self.dir.open_rfb_folder(true)?;
                let _ = std::fs::remove_file(self.dir.rfb_socket());
                let line = x_server::command(display.number, display.size, self.glx, &self.dir, xauthority)?;
                let report = self.x_ready(id)?;
                Some((line, Some((report, x_server::READY_FD))))
            }
            Kind::WindowManager => Some((window_manager::command(&self.dir)?, None)),
            Kind::Sound => Some((sound::command(&self.dir)?, None)),
            Kind::App => {
                let devtools = self.choose_devtools_port()?;
                programs::app(&self.app, self.profile.as_deref(), &self.dir, self.proxy, devtools)?
                    .map(|line| (line, None))
            }
        })
    }

    /// The port for the DevTools of a browser that is about to start, if it is to have any.
    fn choose_devtools_port(&self) -> Result<Option<u16>, Error> {
        let (Some(chosen), App::Chromium { only_given_flags: false, .. }) = (&self.devtools, &self.app) else {
            return Ok(None);
        };
        let port = if self.proxy.is_some() {
            DEVTOOLS_PORT
        } else {
            // Free now; on a shared network, somebody may still be faster.
            std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()
        };
        chosen.store(port, Ordering::Release);
        Ok(Some(port))
    }

    /// A descriptor on which the X server writes its number when it is ready.
    fn x_ready(&self, id: u32) -> Result<OwnedFd, Error> {
        let (read, write) = std::io::pipe()?;
        let tx = self.tx.clone();
        std::thread::Builder::new().name("x-ready".into()).spawn(move || {
            // Ends when the server has written its number and a line end, by two writes, or with the server.
            let mut number = Vec::new();
            let done = std::io::BufReader::new(read.take(64)).read_until(b'\n', &mut number);
            if done.is_ok() && number.ends_with(b"\n") {
                let _ = tx.send(Msg::Ready(id));
            }
        })?;
        Ok(write.into())
    }
}

fn label(app: &App) -> String {
    match app {
        App::None => "nothing".into(),
        App::Chromium { .. } => "chromium".into(),
        App::Firefox { .. } => "firefox".into(),
        App::Command(line) => {
            let program = line.first().map_or(OsStr::new(""), |program| program);
            Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned()
        }
    }
}
