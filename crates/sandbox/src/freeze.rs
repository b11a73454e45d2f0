//! Stopping all processes of a session, giving their memory back, and going on.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::{Error, cgroup::Cgroup};

/// How long the kernel may take to stop every process.
const WITHIN: Duration = Duration::from_secs(2);

/// Most ranges in one `process_madvise` call (IOV_MAX).
const RANGES: usize = 1024;

/// How sessions are frozen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freezer {
    /// `cgroup.freeze` of version 2.
    V2,
    /// `freezer.state` of version 1.
    V1,
    /// SIGSTOP to every process: a program inside can see it, and wake others.
    Signals,
}

/// What paging out did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOut {
    /// This many bytes were offered to the kernel.
    Done {
        /// Size of the ranges, in bytes; what is in memory after it is for the kernel to decide.
        bytes: u64,
    },
    /// There is no swap, or we may not.
    Unavailable(&'static str),
}

/// Which way is used for a session.
pub(crate) fn freezer(cgroup: &Cgroup) -> Freezer {
    // Version 2 first: a process that it has frozen can still be killed.
    match (cgroup.v2(), cgroup.v1("freezer")) {
        (Some(dir), _) if dir.join("cgroup.freeze").exists() => Freezer::V2,
        (_, Some(_)) => Freezer::V1,
        _ => Freezer::Signals,
    }
}

/// Stops every process of the session whose process 1 is `init`. Returns when all are.
pub(crate) fn freeze(cgroup: &Cgroup, init: Pid) -> Result<(), Error> {
    set(cgroup, init, true)
}

/// Lets every process go on.
pub(crate) fn thaw(cgroup: &Cgroup, init: Pid) -> Result<(), Error> {
    set(cgroup, init, false)
}

fn set(cgroup: &Cgroup, init: Pid, frozen: bool) -> Result<(), Error> {
    let what = if frozen { "cannot freeze the session" } else { "cannot thaw the session" };
    match (freezer(cgroup), cgroup.v2(), cgroup.v1("freezer")) {
        (Freezer::V2, Some(dir), _) => {
            fs::write(dir.join("cgroup.freeze"), if frozen { "1" } else { "0" }).map_err(Error::io(what))?;
            let wanted = if frozen { "frozen 1" } else { "frozen 0" };
            wait(|| Ok(read(&dir.join("cgroup.events"))?.lines().any(|line| line == wanted))).map_err(Error::io(what))
        }
        (Freezer::V1, _, Some(dir)) => {
            let state = if frozen { "FROZEN" } else { "THAWED" };
            let file = dir.join("freezer.state");
            // Written again while it says FREEZING, which lets the kernel try processes that just forked.
            wait(|| {
                fs::write(&file, state)?;
                Ok(read(&file)?.trim() == state)
            })
            .map_err(Error::io(what))
        }
        _ => signal(init, frozen).map_err(Error::io(what)),
    }
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

fn wait(mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let end = Instant::now() + WITHIN;
    while !done()? {
        if Instant::now() > end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a process of it cannot be stopped now"));
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

fn signal(init: Pid, frozen: bool) -> io::Result<()> {
    let end = Instant::now() + WITHIN;
    if !frozen {
        for pid in tree(init) {
            let _ = kill_process(pid, Signal::CONT);
        }
        return Ok(());
    }
    // Until a look finds nobody running: a process may fork before its own turn comes.
    loop {
        let running: Vec<Pid> = tree(init).into_iter().filter(|pid| !stopped(*pid)).collect();
        if running.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a process of it cannot be stopped now"));
        }
        for pid in running {
            let _ = kill_process(pid, Signal::STOP);
        }
    }
}

/// Whether a process does not run: stopped, or dead.
fn stopped(pid: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) else { return true };
    let state = stat.rfind(')').and_then(|end| stat.get(end + 2..end + 3));
    matches!(state, Some("T" | "t" | "Z" | "X") | None)
}

/// A process and all below it, parents first.
pub(crate) fn tree(root: Pid) -> Vec<Pid> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let pid = found[next].as_raw_nonzero();
        next += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
        }
    }
    found
}

/// Gives the memory of a frozen session to swap.
pub(crate) fn page_out(cgroup: &Cgroup, init: Pid) -> PageOut {
    // The first line is a heading.
    if fs::read_to_string("/proc/swaps").map_or(0, |text| text.lines().count()) < 2 {
        return PageOut::Unavailable("this host has no swap: add zram or a swap file");
    }
    let mut bytes = 0;
    for pid in tree(init) {
        bytes += page_out_process(pid).unwrap_or(0);
    }
    if bytes > 0 {
        return PageOut::Done { bytes };
    }
    // Without the right to advise others, the cgroup's own reclaim does the same.
    let usage = cgroup.usage().memory.unwrap_or(0);
    match cgroup.v2().map(|dir| fs::write(dir.join("memory.reclaim"), usage.to_string())) {
        // It fails with EAGAIN when it could reclaim less than asked for, which is usual.
        Some(Ok(())) => PageOut::Done { bytes: usage },
        Some(Err(error)) if error.raw_os_error() == Some(libc::EAGAIN) => PageOut::Done { bytes: usage },
        _ => PageOut::Unavailable("paging out needs root, or a delegated cgroup of version 2 with memory.reclaim"),
    }
}

fn page_out_process(pid: Pid) -> io::Result<u64> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let maps = fs::read_to_string(format!("/proc/{}/maps", pid.as_raw_nonzero()))?;
    let mut total = 0;
    let ranges: Vec<libc::iovec> = maps.lines().filter_map(range).collect();
    for part in ranges.chunks(RANGES) {
        total += advise(&pidfd, part);
    }
    Ok(total)
}

/// The range of a line of /proc/PID/maps, unless it is one of the kernel's own.
fn range(line: &str) -> Option<libc::iovec> {
    if line.ends_with("[vsyscall]") || line.ends_with("[vvar]") || line.ends_with("[vdso]") {
        return None;
    }
    let (from, to) = line.split_once(' ')?.0.split_once('-')?;
    let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    Some(libc::iovec { iov_base: std::ptr::without_provenance_mut(from), iov_len: to.checked_sub(from)? })
}

/// Advises as many of the ranges as the kernel takes; locked and special ones it does not.
fn advise(pidfd: &OwnedFd, mut ranges: &[libc::iovec]) -> u64 {
    let mut total = 0_u64;
    while !ranges.is_empty() {
        // SAFETY: the ranges are addresses of the other process, which the kernel checks; ours are not touched.
        let done = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                pidfd.as_raw_fd(),
                ranges.as_ptr(),
                ranges.len(),
                libc::MADV_PAGEOUT,
                0,
            )
        };
        if done < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM) {
            return total;
        }
        let mut done = u64::try_from(done).unwrap_or(0);
        total += done;
        // It stops at the first range it cannot take: go on behind it.
        while let Some((first, rest)) = ranges.split_first() {
            let refused = done < first.iov_len as u64;
            done = done.saturating_sub(first.iov_len as u64);
            ranges = rest;
            if refused {
                break;
            }
        }
    }
    total
}
