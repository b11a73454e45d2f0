//! One more program within walls that stand.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{
    Failed, Step,
    clone::{Side, fork_beside},
    confine, report_failure,
};
use crate::{
    config::{Executable, Network},
    plan::{Join, Report},
    wire,
};

/// Enters the namespaces of process 1, whose pidfd is the first of `fds`, and starts the program there as a child of
/// our parent; returns in the stage only.
pub(super) fn join(control: &OwnedFd, plan: Join, mut fds: Vec<OwnedFd>) -> Result<(), Failed> {
    let cgroup = confine::enter_cgroups(&plan.start.cgroups)?;
    if fds.is_empty() {
        return Err(std::io::Error::other("no process to join")).step("enter the session");
    }
    let target = fds.remove(0);
    let mut namespaces =
        libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if plan.network == Network::Loopback {
        namespaces |= libc::CLONE_NEWNET;
    }
    let foreign = rustix::process::geteuid().is_root();
    enter(&target, namespaces)?;
    // No namespaces: those for children are the session's now.
    match fork_beside(0, cgroup.as_ref(), "fork into the session")? {
        Side::Parent { pid, pidfd } => wire::send(control, &Report::Cloned { pid }, &[pidfd.as_fd()]).step("report"),
        Side::Child => {
            let failed = match run(control, &plan, target, fds, foreign) {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            report_failure(control, failed);
            // SAFETY: ends this process at once; there is nothing to clean up.
            unsafe { libc::_exit(1) }
        }
    }
}

fn enter(target: &OwnedFd, namespaces: i32) -> Result<(), Failed> {
    // SAFETY: changes namespaces of this process, which has one thread; no memory is involved.
    let done = unsafe { libc::setns(target.as_raw_fd(), namespaces) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).step("enter the session") }
}

fn run(control: &OwnedFd, plan: &Join, target: OwnedFd, fds: Vec<OwnedFd>, foreign: bool) -> Result<(), Failed> {
    let Executable::Inside(executable) = &plan.start.program.executable else {
        return Err(std::io::Error::other("only a program inside can be started")).step("start a program");
    };
    rustix::process::setsid().step("setsid")?;
    // From within the session's cgroup: from outside of the namespace none in it could be entered (nsdelegate).
    enter(&target, libc::CLONE_NEWCGROUP)?;
    drop(target);
    confine::become_inner_user(foreign)?;
    let landlock = confine::confine(&plan.start)?;
    wire::send(control, &Report::Built { landlock }, &[]).step("report")?;
    let error = confine::execute(control, &plan.start, executable, fds)?;
    Err(error).step(format!("execute {}", executable.display()))
}
