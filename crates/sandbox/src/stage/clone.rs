//! Cloning process 1 into its namespaces.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use rustix::{
    fs::{Mode, OFlags, openat},
    process::geteuid,
};

use super::{Failed, Step, confine, mounts, net, report_failure};
use crate::{
    config::{INNER_ID, Network},
    plan::{Build, Report},
    wire,
};

/// `struct clone_args` of Linux 5.7 (CLONE_ARGS_SIZE_VER2).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The part of it that every kernel with `clone3` knows (CLONE_ARGS_SIZE_VER0).
const FIRST_SIZE: usize = 64;

/// Clones into the cgroup of the descriptor (linux/sched.h).
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Which side of a fork we are on.
pub(super) enum Side {
    Parent { pid: i32, pidfd: OwnedFd },
    Child,
}

/// Forks with namespaces and into a cgroup of version 2; the new process is a child of our parent. `what` names it in errors.
pub(super) fn fork_beside(namespaces: i32, cgroup: Option<&OwnedFd>, what: &str) -> Result<Side, Failed> {
    if let Some(cgroup) = cgroup {
        if let Ok(side) = clone(namespaces, Some(cgroup.as_fd())) {
            return Ok(side);
        }
        // Before Linux 5.7. Whatever else it was is told by the next try.
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let procs = openat(cgroup, "cgroup.procs", flags, Mode::empty()).step("open the session's cgroup")?;
        rustix::io::write(&procs, b"0").step("enter the session's cgroup")?;
    }
    clone(namespaces, None).step(what)
}

fn clone(namespaces: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: u64::from((libc::CLONE_PIDFD | libc::CLONE_PARENT | namespaces).cast_unsigned()),
        pidfd: (&raw mut pidfd) as u64,
        ..CloneArgs::default()
    };
    let mut size = FIRST_SIZE;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
        size = size_of::<CloneArgs>();
    }
    // SAFETY: as `fork`: memory is not shared, the stack stays; this process has one thread, so that no lock can be
    // held by another. `args` has at least the size that is passed, `pidfd` outlives the call and the cgroup is open.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) };
    match pid {
        0 => Ok(Side::Child),
        pid if pid > 0 => {
            // SAFETY: the kernel made this descriptor for us just now.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Parent { pid: i32::try_from(pid).unwrap_or(i32::MAX), pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Builds new walls and starts process 1; returns in the stage only.
pub(super) fn build(control: &OwnedFd, plan: Build, fds: Vec<OwnedFd>) -> Result<(), Failed> {
    let cgroup = confine::enter_cgroups(&plan.start.cgroups)?;
    // When the host runs short of memory, a session goes before the server. Raising needs no privilege.
    let _ = fs::write("/proc/self/oom_score_adj", "200");
    let root = geteuid().is_root();
    // As root, files that only the host's root can reach may be bound: the clone's rights end at its own user.
    let opened = if root { Some(mounts::open_sources(&plan)?) } else { None };
    let (go, wait) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .step("socketpair")?;
    let mut namespaces =
        libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if plan.network == Network::Loopback {
        namespaces |= libc::CLONE_NEWNET;
    }
    match fork_beside(namespaces, cgroup.as_ref(), "clone into new namespaces")? {
        Side::Parent { pid, pidfd } => {
            drop(wait);
            // First, so that the server can end the clone whatever happens next.
            wire::send(control, &Report::Cloned { pid }, &[pidfd.as_fd()]).step("report")?;
            write_maps(pid, plan.outer_id, root)?;
            rustix::io::write(&go, b"g").step("wake the clone")?;
            Ok(())
        }
        Side::Child => {
            drop(go);
            let failed = match clone_main(control, plan, opened, &wait, fds) {
                Ok(never) => match never {},
                Err(failed) => failed,
            };
            report_failure(control, failed);
            // SAFETY: ends this process at once; there is nothing to clean up.
            unsafe { libc::_exit(1) }
        }
    }
}

fn write_maps(pid: i32, outer_id: u32, root: bool) -> Result<(), Failed> {
    let map = format!("{INNER_ID} {outer_id} 1\n");
    if !root {
        // Without privilege the kernel wants it so: dropping a group could otherwise give access to files.
        fs::write(format!("/proc/{pid}/setgroups"), "deny").step("write setgroups")?;
    }
    let group = if root { map.clone() } else { format!("{INNER_ID} {} 1\n", rustix::process::getegid().as_raw()) };
    fs::write(format!("/proc/{pid}/uid_map"), &map).step(format!("map user {outer_id} into the session"))?;
    fs::write(format!("/proc/{pid}/gid_map"), &group).step(format!("map group {outer_id} into the session"))?;
    Ok(())
}

enum Never {}

fn clone_main(
    control: &OwnedFd,
    plan: Build,
    opened: Option<mounts::Sources>,
    wait: &OwnedFd,
    fds: Vec<OwnedFd>,
) -> Result<Never, Failed> {
    let mut byte = [0];
    if rustix::io::retry_on_intr(|| rustix::io::read(wait, &mut byte)).step("wait for the id maps")? == 0 {
        // The stage has reported why.
        // SAFETY: ends this process at once; there is nothing to clean up.
        unsafe { libc::_exit(1) }
    }
    rustix::process::setsid().step("setsid")?;
    // Not by the clone: its root would be where our parent is.
    // SAFETY: changes a namespace of this process, which has one thread; no memory is involved.
    if unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } != 0 {
        return Err(io::Error::last_os_error()).step("a cgroup namespace");
    }
    confine::become_inner_user(geteuid_is_foreign())?;
    rustix::system::sethostname(plan.hostname.as_bytes()).step("sethostname")?;
    let listeners = match plan.network {
        Network::Loopback => {
            net::loopback_up().step("bring loopback up")?;
            net::bind_inside(&plan.listeners)?
        }
        Network::Host => net::bind_inside(&plan.listeners)?,
    };
    let opened = match opened {
        Some(opened) => opened,
        None => mounts::open_sources(&plan)?,
    };
    let executable = mounts::build(&plan, opened)?;
    let landlock = confine::confine(&plan.start)?;
    let listeners: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
    wire::send(control, &Report::Built { landlock }, &listeners).step("report")?;
    drop(listeners);
    let error = confine::execute(control, &plan.start, &executable, fds)?;
    Err(error).step(format!("execute {}", executable.display()))
}

/// Whether our user is one that this user namespace does not know, which is so when a privileged stage cloned us.
fn geteuid_is_foreign() -> bool {
    geteuid().as_raw() != INNER_ID
}

/// Raw value of a descriptor, for lists that outlive their borrow.
pub(super) fn raw(fd: &OwnedFd) -> RawFd {
    fd.as_raw_fd()
}
