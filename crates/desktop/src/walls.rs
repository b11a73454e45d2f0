//! The walls around a desktop while they stand: freezing, limits, the way out.

use std::{
    ffi::OsString,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use glasshouse_sandbox::{self as sandbox, Bind, Executable, Home, Lease, Network, Program, Sandbox, Stage, Usage};
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

use crate::{App, Config, Error, PROXY_PORT, Walls, programs, session::SessionDir};

/// What is of the system and not below `/usr`.
const SYSTEM: &str = "/opt";

/// The walls of one desktop, shared by those who freeze, measure and end it.
#[derive(Default)]
pub(crate) struct Standing {
    sandbox: Mutex<Option<Arc<Sandbox>>>,
    listeners: Mutex<Vec<OwnedFd>>,
    asleep: AtomicBool,
}

impl Standing {
    /// Builds the walls by a stage; `keeper` becomes the standard input of the keeper, which is process 1 inside.
    pub(crate) fn build(
        config: &Config,
        walls: &Walls,
        dir: &SessionDir,
        (stage, lease): (Stage, Lease),
        keeper: OwnedFd,
    ) -> Result<Self, Error> {
        let init = Program {
            executable: Executable::Stage,
            args: ["glasshouse", "keeper"].map(OsString::from).into(),
            env: Vec::new(),
            cwd: "/".into(),
        };
        let mut inside = sandbox::Config::new(dir.name(), walls.stage.clone(), init);
        inside.home = Home::Directory(dir.home());
        inside.downloads = Some(dir.downloads());
        inside.binds = dir.binds();
        inside.binds.push(read_only(SYSTEM.into(), true));
        inside.binds.extend(own_program(&config.app)?);
        inside.binds.extend(policies(&config.app, dir, walls)?);
        inside.binds.extend(programs::keymap::binds(dir));
        inside.network = if walls.host_network { Network::Host } else { Network::Loopback };
        if !walls.host_network {
            inside.listeners = vec![SocketAddr::from(([127, 0, 0, 1], PROXY_PORT))];
        }
        inside.limits = walls.limits;
        // One file can not go past the limit of all, however fast it is written.
        inside.limits.file_size = Some(walls.disk);
        let mut sandbox = Sandbox::launch_by(stage, inside, lease, vec![(keeper, 0)])?;
        for path in [dir.root().to_path_buf(), dir.display_sockets()] {
            sandbox.remove_at_end(path)?;
        }
        let listeners = sandbox.take_listeners();
        Ok(Self {
            sandbox: Mutex::new(Some(Arc::new(sandbox))),
            listeners: Mutex::new(listeners),
            asleep: AtomicBool::new(false),
        })
    }

    pub(crate) fn take_listeners(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut *self.listeners.lock())
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Acquire)
    }

    /// Names something of the host that goes with the walls, even if our process is killed.
    pub(crate) fn remove_at_end(&self, path: PathBuf) -> Result<(), Error> {
        Ok(self.get().ok_or_else(ended)?.remove_at_end(path)?)
    }

    /// What is used, while the walls stand.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.get().map(|sandbox| sandbox.usage())
    }

    /// Stops every program.
    pub(crate) fn freeze(&self) -> Result<(), Error> {
        let sandbox = self.get().ok_or_else(ended)?;
        // Before it is so: whoever wants something from now on sees that it has to be woken.
        self.asleep.store(true, Ordering::Release);
        sandbox.freeze().inspect_err(|_| self.asleep.store(false, Ordering::Release))?;
        // It takes longer than anybody should wait who wants to wake it.
        let paging = std::thread::Builder::new().name("page-out".into()).spawn(move || match sandbox.page_out() {
            Ok(done) => tracing::debug!(?done, "page-out"),
            Err(error) => tracing::debug!(%error, "page-out"),
        });
        if let Err(error) = paging {
            tracing::warn!(%error, "no thread to page the session out: it keeps its memory");
        }
        Ok(())
    }

    /// Lets every program go on.
    pub(crate) fn thaw(&self) -> Result<(), Error> {
        self.get().ok_or_else(ended)?.thaw()?;
        self.asleep.store(false, Ordering::Release);
        Ok(())
    }

    /// Ends every program, frozen or not, and waits for that.
    pub(crate) fn end(&self) {
        if let Some(sandbox) = self.sandbox.lock().take() {
            sandbox.kill();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.sandbox.lock().is_none()
    }

    /// Opens something that is there for all programs, by a path that begins at their root, without passing any link.
    pub(crate) fn open_inside(&self, path: &str, flags: OFlags) -> std::io::Result<OwnedFd> {
        let gone = || std::io::Error::other("the desktop has ended");
        let sandbox = self.get().ok_or_else(gone)?;
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(format!("/proc/{}/root", sandbox.init().pid()), folder, Mode::empty())?;
        // Not reaped yet, so that its number was nobody else's.
        if sandbox.init().try_wait().is_some() {
            return Err(gone());
        }
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), within)?)
    }

    fn get(&self) -> Option<Arc<Sandbox>> {
        self.sandbox.lock().clone()
    }
}

fn ended() -> Error {
    Error::Invalid("the desktop has ended".into())
}

fn read_only(path: PathBuf, optional: bool) -> Bind {
    Bind { source: path.clone(), target: path, writable: false, executable: true, optional }
}

/// A command that is not part of the system is shown inside, as a file by itself.
fn own_program(app: &App) -> Result<Option<Bind>, Error> {
    let App::Command(line) = app else { return Ok(None) };
    let Some(name) = line.first() else { return Ok(None) };
    let path = programs::find(name, "the package that has it")?;
    let source = path.canonicalize()?;
    let of_the_system = |path: &Path| {
        ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", SYSTEM].iter().any(|folder| path.starts_with(folder))
    };
    if of_the_system(&path) && of_the_system(&source) {
        return Ok(None);
    }
    Ok(Some(Bind { source, target: path, writable: false, executable: true, optional: false }))
}

/// The browser's policies: ours, and those of the host.
fn policies(app: &App, dir: &SessionDir, walls: &Walls) -> Result<Vec<Bind>, Error> {
    if !matches!(app, App::Chromium { only_given_flags: false, .. }) {
        return Ok(Vec::new());
    }
    let source = programs::chromium::publish_policies(dir, walls.host_network)?;
    let bind = |target: &str| Bind {
        source: source.clone(),
        target: target.into(),
        writable: false,
        executable: false,
        optional: false,
    };
    Ok(["/etc/chromium", "/etc/opt/chrome"].map(bind).into())
}
