//! Starting a session within walls, and its life from then on.

mod process;
mod spawner;

use std::{
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

pub use process::{Exit, Process};
pub use spawner::Stage;

use crate::{
    Error,
    cgroup::{Cgroup, Usage},
    config::{Bind, Config, Executable, HOME, Home, Limits, Network, Program, RUNTIME_DIR, default_state_dir},
    freeze::{self, Freezer, PageOut},
    lease::Lease,
    plan::{Build, Join, Plan, Rlimits, Start},
    registry::Record,
    wire::MAX_FDS,
};

/// A descriptor for a program, and the number it gets there: 0 to 255.
pub type GivenFd = (OwnedFd, i32);

/// A running session. Dropping it kills all its processes, waits for their end, and removes what it leaves.
#[derive(Debug)]
pub struct Sandbox {
    // In the order in which they are dropped: what comes later is used by what comes earlier.
    init: Process,
    cgroup: Cgroup,
    record: Mutex<Record>,
    lease: Lease,
    listeners: Vec<OwnedFd>,
    frozen: AtomicBool,
    landlock: bool,
    stage: Vec<OsString>,
    network: Network,
    limits: Limits,
    writable: Vec<PathBuf>,
}

impl Sandbox {
    /// Builds the walls of a session and starts its process 1 with `fds`. Blocks until it runs, some milliseconds.
    ///
    /// # Errors
    ///
    /// When the configuration cannot work, or the host does not let us; nothing is left behind then.
    pub fn launch(config: Config, lease: Lease, fds: Vec<GivenFd>) -> Result<Self, Error> {
        Self::launch_by(Stage::start(&config.stage)?, config, lease, fds)
    }

    /// As [`Sandbox::launch`], by a stage that was started before.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::launch`].
    pub fn launch_by(by: Stage, config: Config, lease: Lease, fds: Vec<GivenFd>) -> Result<Self, Error> {
        config.check()?;
        let state = config.state.clone().unwrap_or_else(default_state_dir);
        let mut record = Record::create(&state, &config.name)?;
        let cgroup = Cgroup::create(&config.name, &config.limits);
        if !cgroup.missing().is_empty() {
            tracing::warn!(
                "session {}: no cgroup limits its {}: see 'glasshouse doctor'",
                config.name,
                cgroup.missing().join(", ")
            );
        }
        let Config { stage, init, hostname, home, downloads, mut binds, sizes, network, listeners, limits, .. } =
            config;
        if let Some(source) = downloads {
            let target = Path::new(HOME).join("Downloads");
            binds.insert(0, Bind { source, target, writable: true, executable: false, optional: false });
        }
        let writable = writable(&binds);
        let start = start(init, &fds, &cgroup, &limits, &writable)?;
        if let Home::Directory(dir) = &home {
            lease.give(dir)?;
        }
        let build = Build { outer_id: lease.id(), hostname, home, binds, sizes, network, listeners, start };
        let plan = Plan::Build(Box::new(build));
        let given: Vec<BorrowedFd<'_>> = fds.iter().map(|(fd, _)| fd.as_fd()).collect();
        let started = process::start(by, &plan, &given, |pid| record.set_init(pid))?;
        Ok(Self {
            init: started.process,
            cgroup,
            record: Mutex::new(record),
            lease,
            listeners: started.listeners,
            frozen: AtomicBool::new(false),
            landlock: started.landlock,
            stage,
            network,
            limits,
            writable,
        })
    }

    /// Process 1 of the session; all others end with it.
    #[must_use]
    pub fn init(&self) -> &Process {
        &self.init
    }

    /// Who it is on the host.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The listeners that were bound inside, in the order of [`Config::listeners`]; once.
    #[must_use]
    pub fn take_listeners(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.listeners)
    }

    /// Names a file or directory that is removed when the session is over, even if our process is killed.
    ///
    /// # Errors
    ///
    /// When the record of the session cannot be written.
    pub fn remove_at_end(&self, path: PathBuf) -> Result<(), Error> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).remove_at_end(path)
    }

    /// Starts one more program: same walls, same limits. It ends with the session, and when the result is dropped.
    ///
    /// # Errors
    ///
    /// When it cannot be started. A frozen session must be thawed first.
    pub fn exec(&self, program: Program, fds: &[GivenFd]) -> Result<Process, Error> {
        if self.is_frozen() {
            return Err(Error::Invalid("the session is frozen: thaw it first".into()));
        }
        if !matches!(program.executable, Executable::Inside(_)) {
            return Err(Error::Invalid("only a program inside can be started in a running session".into()));
        }
        let start = start(program, fds, &self.cgroup, &self.limits, &self.writable)?;
        let plan = Plan::Join(Box::new(Join { start, network: self.network }));
        let given: Vec<BorrowedFd<'_>> =
            std::iter::once(self.init.pidfd()).chain(fds.iter().map(|(fd, _)| fd.as_fd())).collect();
        let process = process::start(Stage::start(&self.stage)?, &plan, &given, |_| Ok(()))?.process;
        process.reap_by_itself()?;
        Ok(process)
    }

    /// Stops every process. Returns when all are stopped.
    ///
    /// # Errors
    ///
    /// When one cannot be stopped; those that were are running again then.
    pub fn freeze(&self) -> Result<(), Error> {
        let done = freeze::freeze(&self.cgroup, self.init.raw_pid());
        match &done {
            Ok(()) => self.frozen.store(true, Ordering::Release),
            Err(_) => {
                let _ = freeze::thaw(&self.cgroup, self.init.raw_pid());
            }
        }
        done
    }

    /// Lets every process go on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn thaw(&self) -> Result<(), Error> {
        freeze::thaw(&self.cgroup, self.init.raw_pid())?;
        self.frozen.store(false, Ordering::Release);
        Ok(())
    }

    /// Whether it is frozen.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// How this session is frozen.
    #[must_use]
    pub fn freezer(&self) -> Freezer {
        freeze::freezer(&self.cgroup)
    }

    /// Offers the memory of a frozen session to swap. Takes some 100 ms.
    ///
    /// # Errors
    ///
    /// When it is not frozen: it would take the memory back at once.
    pub fn page_out(&self) -> Result<PageOut, Error> {
        if !self.is_frozen() {
            return Err(Error::Invalid("freeze the session before paging it out".into()));
        }
        Ok(freeze::page_out(&self.cgroup, self.init.raw_pid()))
    }

    /// What it uses, and which limits it has reached.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.cgroup.usage()
    }

    /// Which limits are not in force for want of cgroups: of `memory`, `pids`, `cpu`.
    #[must_use]
    pub fn unlimited(&self) -> &[&'static str] {
        self.cgroup.missing()
    }

    /// Whether Landlock is in force.
    #[must_use]
    pub fn landlock(&self) -> bool {
        self.landlock
    }

    /// Ends every process of the session at once, and waits for that.
    pub fn kill(&self) -> Exit {
        self.init.kill();
        self.cgroup.kill();
        self.init.wait()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
    }
}

fn writable(binds: &[Bind]) -> Vec<PathBuf> {
    let always = ["/proc", "/dev", "/tmp", "/run", HOME, RUNTIME_DIR].map(PathBuf::from);
    always.into_iter().chain(binds.iter().filter(|bind| bind.writable).map(|bind| bind.target.clone())).collect()
}

fn start(
    program: Program,
    fds: &[GivenFd],
    cgroup: &Cgroup,
    limits: &Limits,
    writable: &[PathBuf],
) -> Result<Start, Error> {
    // One place is taken by the pidfd of process 1 when a program is added.
    if fds.len() >= MAX_FDS || fds.iter().any(|(_, number)| !(0..256).contains(number)) {
        return Err(Error::Invalid(format!("at most {} descriptors, numbered 0 to 255", MAX_FDS - 1)));
    }
    if program.args.is_empty() || !program.cwd.is_absolute() {
        return Err(Error::Invalid("a program needs its name as first argument, and an absolute directory".into()));
    }
    // Without a cgroup each process is limited for itself; that is weaker, but stops a single one.
    let data = cgroup.missing().contains(&"memory").then_some(limits.memory);
    // With one, that is to refuse first, because it counts what it refuses.
    let processes = u64::from(limits.pids) * if cgroup.missing().contains(&"pids") { 1 } else { 2 };
    let rlimits = Rlimits { processes, open_files: limits.open_files, file_size: limits.file_size, data };
    Ok(Start {
        program,
        fds: fds.iter().map(|(_, number)| *number).collect(),
        cgroups: cgroup.entry(),
        rlimits,
        writable: writable.to_vec(),
    })
}
