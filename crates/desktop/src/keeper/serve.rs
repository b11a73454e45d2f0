//! The keeper process itself.

use std::{
    collections::HashMap,
    fs,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Signal, WaitOptions, getpid, getppid, kill_process, kill_process_group, wait},
    thread::{CapabilitySet, CapabilitySets},
};

use super::{
    connect, terminal,
    wire::{FromKeeper, Spawn, ToKeeper, receive, send},
};

/// A program that runs.
struct Child {
    id: u32,
    leaves_others: bool,
}

/// What the keeper knows.
struct Keeper {
    socket: OwnedFd,
    children: HashMap<i32, Child>,
    held: Vec<OwnedFd>,
    remove: Vec<PathBuf>,
    walls: Vec<(PathBuf, String)>,
    displays: Vec<u16>,
}

/// Serves until the other end is gone, then ends everything.
pub(super) fn main() -> ExitCode {
    match prepare() {
        Ok((mut keeper, signals)) => {
            keeper.serve(&signals);
            keeper.end();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("keeper: {error}: it is started by glasshouse, not by hand");
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> std::io::Result<(Keeper, OwnedFd)> {
    // A session of its own: Control-C in our terminal must not end it before it has done its work.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(getpid()))?;
    close_on_exec_above_stderr()?;
    let signals = child_signals()?;
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    rustix::net::sockopt::socket_type(&socket)?;
    let keeper = Keeper {
        socket,
        children: HashMap::new(),
        held: Vec::new(),
        remove: Vec::new(),
        walls: Vec::new(),
        displays: Vec::new(),
    };
    Ok((keeper, signals))
}

/// Descriptors that we inherited by accident must not reach the programs.
fn close_on_exec_above_stderr() -> std::io::Result<()> {
    // SAFETY: changes flags of descriptors only; no descriptor is closed.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// A descriptor that is readable when a child ended. `Command` gives children an empty signal mask again.
fn child_signals() -> std::io::Result<OwnedFd> {
    // SAFETY: plain calls on a set that lives here; the new descriptor is owned by nobody else.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(std::io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

impl Keeper {
    fn serve(&mut self, signals: &OwnedFd) {
        loop {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            if rustix::io::retry_on_intr(|| poll(&mut fds, None)).is_err() {
                return;
            }
            let [asked, ended] = fds.map(|fd| !fd.revents().is_empty());
            if ended {
                let mut sink = [0_u8; 1024];
                while rustix::io::read(signals, &mut sink).is_ok_and(|n| n > 0) {}
                self.reap();
            }
            if asked {
                match receive(&self.socket) {
                    Ok(Some((message, fds))) => self.handle(message, fds),
                    _ => return,
                }
            }
        }
    }

    fn handle(&mut self, message: ToKeeper, fds: Vec<OwnedFd>) {
        match message {
            ToKeeper::Spawn(spawn) => match start(&spawn, fds) {
                Ok(pid) => {
                    self.children.insert(pid, Child { id: spawn.id, leaves_others: spawn.leaves_others });
                    self.tell(&FromKeeper::Started { id: spawn.id, pid });
                }
                Err(error) => {
                    let missing = error.kind() == std::io::ErrorKind::NotFound;
                    self.tell(&FromKeeper::Failed { id: spawn.id, reason: error.to_string(), missing });
                }
            },
            ToKeeper::Close { id } => {
                if let Some(pid) = self.pid(id) {
                    // Once: at the second, Chromium drops everything.
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
            ToKeeper::Signal { id, signal } => {
                if let (Some(pid), Some(signal)) = (self.pid(id), Signal::from_named_raw(signal)) {
                    let _ = kill_process_group(pid, signal);
                    let _ = kill_process(pid, signal);
                }
            }
            ToKeeper::Connect(port) => connect::serve(port, &fds),
            ToKeeper::Terminal => terminal::serve(&fds),
            ToKeeper::Hold => self.held.extend(fds),
            ToKeeper::Remove(path) => self.remove.push(path),
            ToKeeper::Clear(state, name) => self.walls.push((state, name)),
            ToKeeper::RemoveDisplay(number) => self.displays.push(number),
        }
    }

    fn pid(&self, id: u32) -> Option<Pid> {
        self.children.iter().find(|(_, child)| child.id == id).and_then(|(pid, _)| Pid::from_raw(*pid))
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(Child { id, leaves_others }) = self.children.remove(&pid.as_raw_nonzero().get()) {
                // What a program leaves behind in its group would be in the way of the next one.
                if !leaves_others {
                    let _ = kill_process_group(pid, Signal::KILL);
                }
                self.tell(&FromKeeper::Exited { id, code: status.exit_status(), signal: status.terminating_signal() });
            }
        }
    }

    fn tell(&self, message: &FromKeeper) {
        // Fails only when the other end is gone, which ends the keeper anyway.
        let _ = send(&self.socket, message, &[]);
    }

    /// Kills every descendant, removes what is to be removed and lets the locks go.
    fn end(mut self) {
        loop {
            let descendants = descendants(getpid());
            for pid in &descendants {
                let _ = kill_process(*pid, Signal::KILL);
            }
            // Orphans are ours, so waiting for any child makes progress; there is none only when all are gone.
            match wait(WaitOptions::empty()) {
                Err(rustix::io::Errno::CHILD) => break,
                Err(_) | Ok(_) => while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {},
            }
        }
        for (state, name) in &self.walls {
            glasshouse_sandbox::clear_after(state, name);
        }
        for number in &self.displays {
            remove_display(*number);
        }
        for path in &self.remove {
            let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
        }
        self.held.clear();
    }
}

fn start(spawn: &Spawn, fds: Vec<OwnedFd>) -> std::io::Result<i32> {
    if fds.len() != spawn.fds.len() {
        return Err(std::io::Error::other("descriptors and their numbers differ in count"));
    }
    // High numbers, so that no number that is wanted is in use by one still to be placed.
    let fds = fds.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 64)).collect::<Result<Vec<_>, _>>()?;
    let places: Vec<(RawFd, RawFd)> = fds.iter().map(AsRawFd::as_raw_fd).zip(spawn.fds.iter().copied()).collect();
    let user = spawn.user;
    let keeper = getpid();
    let mut command = Command::new(&spawn.program);
    command
        .args(&spawn.args)
        .env_clear()
        .envs(spawn.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (cwd, has_terminal) = (spawn.cwd.clone(), spawn.terminal);
    // SAFETY: between fork and exec only system calls are made and nothing is allocated but the path for chdir, which
    // is safe because the keeper has one thread.
    unsafe {
        command.pre_exec(move || {
            for (from, to) in &places {
                if libc::dup2(*from, *to) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            rustix::process::setsid()?;
            if has_terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            drop_privileges(user)?;
            rustix::process::chdir(&cwd)?;
            // Last of all, because a change of user clears it.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() != Some(keeper) {
                return Err(std::io::Error::other("the keeper is gone"));
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

fn drop_privileges(user: Option<crate::user::User>) -> std::io::Result<()> {
    use rustix::thread as this;
    if let Some(user) = user {
        for capability in 0..64_u64 {
            // Fails beyond the last capability that this kernel knows.
            let _ = this::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << capability));
        }
        this::set_thread_groups(&[])?;
        this::set_thread_res_gid(user.gid(), user.gid(), user.gid())?;
        this::set_thread_res_uid(user.uid(), user.uid(), user.uid())?;
    }
    this::set_no_new_privs(true)?;
    let _ = this::clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    this::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

/// Every process below `root`, from one look at /proc.
fn descendants(root: Pid) -> Vec<Pid> {
    let mut parents: Vec<(i32, i32)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        // The name in parentheses may hold anything, so the fields count from its end.
        let Some(end) = stat.iter().rposition(|byte| *byte == b')') else { continue };
        let fields = String::from_utf8_lossy(&stat[end + 1..]).into_owned();
        if let Some(parent) = fields.split_ascii_whitespace().nth(1).and_then(|field| field.parse().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![root.as_raw_nonzero().get()];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

/// Removes the socket that a killed X server leaves in /tmp, unless another server listens on it. With `-displayfd`,
/// servers make no lock file.
pub(crate) fn remove_display(number: u16) {
    let socket = PathBuf::from(format!("/tmp/.X11-unix/X{number}"));
    let refused = UnixStream::connect(&socket).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
    if refused {
        let _ = fs::remove_file(socket);
    }
}
