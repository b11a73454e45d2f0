//! A process of a session: process 1, or one that was started later.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid},
};

use super::Stage;
use crate::{
    Error,
    plan::{Plan, Report},
    probe, wire,
};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was ended by this signal.
    Signal(i32),
}

/// A process of a session. Dropping it kills the process and waits for its end.
#[derive(Debug)]
pub struct Process {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pid: Pid,
    pidfd: OwnedFd,
    exit: Mutex<Option<Exit>>,
}

/// What a stage has started.
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) listeners: Vec<OwnedFd>,
    pub(super) landlock: bool,
}

/// Lets a stage carry out a plan. `cloned` is called as soon as the process exists.
pub(super) fn start(
    stage: Stage,
    plan: &Plan,
    fds: &[BorrowedFd<'_>],
    mut cloned: impl FnMut(i32) -> Result<(), Error>,
) -> Result<Started, Error> {
    let (ours, mut child) = stage.take()?;
    let told = wire::send(&ours, plan, fds).map_err(Error::io("cannot tell the stage what to do"));
    let mut process = None;
    let mut built = None;
    let mut result = told;
    while result.is_ok() {
        match wire::receive::<Report>(&ours) {
            Ok(None) => break,
            Err(error) => result = Err(Error::io("cannot read what the stage reports")(error)),
            Ok(Some((Report::Cloned { pid }, mut fds))) => {
                if let (Some(pid), Some(pidfd)) = (Pid::from_raw(pid), fds.pop()) {
                    process = Some(Process { inner: Arc::new(Inner { pid, pidfd, exit: Mutex::new(None) }) });
                }
                result = cloned(pid);
            }
            Ok(Some((Report::Built { landlock }, listeners))) => built = Some((landlock, listeners)),
            Ok(Some((Report::Failed { step, reason, errno }, _))) => {
                result = Err(Error::Walls { remedy: probe::remedy(&step, errno), step, reason });
            }
        }
    }
    // The stage ends by itself; a process that does not become the program is killed when `process` is dropped.
    if result.is_err() {
        let _ = child.kill();
    }
    let _ = child.wait();
    result?;
    match (process, built) {
        (Some(process), Some((landlock, listeners))) => Ok(Started { process, listeners, landlock }),
        _ => Err(Error::Walls {
            step: "stage".into(),
            reason: "it ended without a word".into(),
            remedy: "; see what it wrote to standard error",
        }),
    }
}

impl Process {
    /// Its number on the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.inner.pid.as_raw_nonzero().get()
    }

    pub(super) fn raw_pid(&self) -> Pid {
        self.inner.pid
    }

    /// Readable when the process has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.inner.pidfd.as_fd()
    }

    /// Sends a signal; nothing happens if it has ended.
    ///
    /// # Errors
    ///
    /// When there is no such signal.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        let Some(signal) = Signal::from_named_raw(signal) else {
            return Err(Error::Invalid(format!("there is no signal {signal}")));
        };
        // Fails when it has ended.
        let _ = pidfd_send_signal(&self.inner.pidfd, signal);
        Ok(())
    }

    /// Ends it at once.
    pub fn kill(&self) {
        // Fails when it has ended.
        let _ = pidfd_send_signal(&self.inner.pidfd, Signal::KILL);
    }

    /// How it ended, if it has.
    pub fn try_wait(&self) -> Option<Exit> {
        self.inner.wait_with(WaitIdOptions::NOHANG)
    }

    /// Waits for its end. Blocks the thread; in async code, wait for [`Process::pidfd`] first.
    pub fn wait(&self) -> Exit {
        self.inner.wait()
    }

    /// Reaps it as soon as it ends, whether or not its owner waits for it.
    ///
    /// The kernel ends process 1 of a session only when every process in its pid namespace is reaped. Those that
    /// were started later are our children, not its own, so one that nobody waits for would keep the session.
    pub(super) fn reap_by_itself(&self) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let reaper = std::thread::Builder::new().name("sandbox-reaper".into()).stack_size(64 * 1024);
        reaper.spawn(move || inner.wait()).map(|_| ()).map_err(Error::io("cannot start a thread"))
    }
}

impl Inner {
    fn wait(&self) -> Exit {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        // Outside the lock, so that others can ask meanwhile.
        let _ = rustix::io::retry_on_intr(|| poll(&mut fds, None));
        self.wait_with(WaitIdOptions::empty()).unwrap_or(Exit::Signal(libc::SIGKILL))
    }

    fn wait_with(&self, options: WaitIdOptions) -> Option<Exit> {
        let mut exit = self.exit.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if exit.is_none() {
            let waited = rustix::io::retry_on_intr(|| {
                waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | options)
            });
            *exit = match waited {
                Ok(None) => None,
                Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Some(Exit::Code(code)),
                    (None, Some(signal)) => Some(Exit::Signal(signal)),
                    (None, None) => None,
                },
                // Somebody else has reaped it.
                Err(_) => Some(Exit::Signal(libc::SIGKILL)),
            };
        }
        *exit
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        self.wait();
    }
}
