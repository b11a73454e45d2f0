//! What this host allows: the facts behind `glasshouse doctor`, and the remedies in error messages.

use std::fs;

use rustix::process::geteuid;

use crate::cgroup;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What was looked at, in a few words.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it; empty if nothing has to be done.
    pub remedy: &'static str,
}

/// How good or bad a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Good,
    /// Sessions run, with less.
    Weaker,
    /// Sessions with walls cannot run.
    Missing,
}

const USERNS: &str = "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
     user.max_user_namespaces=10000; on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor \
     profile with 'userns'), or run glasshouse as root; in Docker use the seccomp profile that is shipped with it";
const MAPS: &str = "run glasshouse as an ordinary user, or as a root that has user ids from 100000";
const PROC: &str = "this container hides parts of /proc, so that no new one can be mounted: start it with \
     --security-opt systempaths=unconfined (Docker), or procMount: Unmasked (Kubernetes)";
const CGROUPS: &str = "run glasshouse as root, or in a service or scope with Delegate=yes \
     (systemd-run --user --scope -p Delegate=yes glasshouse ...)";

/// Looks at everything that walls need.
#[must_use]
pub fn probe() -> Vec<Fact> {
    vec![namespaces(), restrictions(), seccomp(), landlock(), cgroups(), swap(), proc_visible(), user_ids()]
}

fn fact(name: &'static str, state: State, found: impl Into<String>, remedy: &'static str) -> Fact {
    let remedy = if state == State::Good { "" } else { remedy };
    Fact { name, state, found: found.into(), remedy }
}

/// Runs a child that tries something and reports it by its exit code; the child may do async-signal-safe things only.
fn try_in_child(try_it: fn() -> libc::c_int) -> Option<i32> {
    // SAFETY: the child calls `try_it`, which makes system calls only, and ends.
    let pid = unsafe { libc::fork() };
    match pid {
        0 => {
            let code = try_it();
            // SAFETY: ends the child without running anything of ours.
            unsafe { libc::_exit(code) }
        }
        pid if pid > 0 => {
            let mut status = 0;
            let done = loop {
                // SAFETY: waits for the child that was just made.
                let done = unsafe { libc::waitpid(pid, &raw mut status, 0) };
                if done >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                    break done;
                }
            };
            (done == pid && libc::WIFEXITED(status)).then(|| libc::WEXITSTATUS(status))
        }
        _ => None,
    }
}

fn errno() -> libc::c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(255)
}

fn namespaces() -> Fact {
    let tried = try_in_child(|| {
        let all = libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWCGROUP;
        // SAFETY: changes namespaces of this child, which ends next.
        if unsafe { libc::unshare(all) } == 0 { 0 } else { errno() }
    });
    let name = "namespaces";
    match tried {
        Some(0) => fact(name, State::Good, "user, pid, mount, net, ipc, uts and cgroup namespaces can be made", ""),
        Some(code) => fact(name, State::Missing, std::io::Error::from_raw_os_error(code).to_string(), USERNS),
        None => fact(name, State::Missing, "no process could be started to try it", "raise the limit of processes"),
    }
}

fn restrictions() -> Fact {
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let mut found = Vec::new();
    let mut bad = false;
    for (path, forbids) in [
        ("/proc/sys/kernel/unprivileged_userns_clone", 0),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1),
        ("/proc/sys/user/max_user_namespaces", 0),
    ] {
        if let Some(value) = number(path) {
            bad |= value == forbids;
            found.push(format!("{}={value}", path.trim_start_matches("/proc/sys/").replace('/', ".")));
        }
    }
    if found.is_empty() {
        found.push("no sysctl restricts user namespaces".into());
    }
    // Root may make them all the same, but Chromium's own sandbox inside may not.
    fact("restrictions", if bad { State::Missing } else { State::Good }, found.join(", "), USERNS)
}

fn seccomp() -> Fact {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let remedy = "use a kernel with CONFIG_SECCOMP_FILTER";
    if actions.contains("errno") {
        fact("seccomp", State::Good, "filters can be installed", "")
    } else {
        fact("seccomp", State::Missing, "the kernel has no seccomp filters", remedy)
    }
}

fn landlock() -> Fact {
    const CREATE_RULESET_VERSION: usize = 1;
    // SAFETY: with this flag the call takes no pointer and answers with a number.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, CREATE_RULESET_VERSION)
    };
    if abi > 0 {
        fact("landlock", State::Good, format!("version {abi}"), "")
    } else {
        let remedy =
            "optional: use a kernel from 5.13 with landlock in its list of security modules (lsm=landlock,...)";
        fact("landlock", State::Weaker, "the kernel has it not, or it is switched off", remedy)
    }
}

fn cgroups() -> Fact {
    let (kind, missing) = cgroup::describe();
    if missing.is_empty() {
        fact("cgroups", State::Good, kind, "")
    } else {
        fact("cgroups", State::Weaker, format!("{kind}; not limited: {}", missing.join(", ")), CGROUPS)
    }
}

fn swap() -> Fact {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let kib: u64 =
        swaps.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok()).sum();
    if kib > 0 {
        fact("swap", State::Good, format!("{} MiB", kib / 1024), "")
    } else {
        let remedy = "optional: add zram or a swap file, so that frozen sessions give their memory back";
        fact("swap", State::Weaker, "none", remedy)
    }
}

/// As root, sessions get ids of their own, which a container's root may not have.
fn user_ids() -> Fact {
    const NAME: &str = "user ids";
    if !geteuid().is_root() {
        return fact(NAME, State::Good, "sessions run as this user, apart from each other by their namespaces", "");
    }
    if has_user_ids() {
        fact(NAME, State::Good, "each session gets one of its own", "")
    } else {
        fact(NAME, State::Missing, "this root has no ids for sessions", MAPS)
    }
}

/// What to do where [`has_user_ids`] is not so, as part of an error.
pub(crate) const NO_USER_IDS: &str =
    "; run glasshouse as an ordinary user, or as a root that has user ids from 100000: see 'glasshouse doctor'";

/// Whether the ids that sessions take as root exist in our user namespace.
pub(crate) fn has_user_ids() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let numbers =
        |line: &str| -> Vec<u64> { line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect() };
    map.lines().any(|line| {
        matches!(numbers(line)[..], [first, _, count] if first <= crate::lease::IDS.0.into()
            && first + count >= u64::from(crate::lease::IDS.0) + u64::from(crate::lease::IDS.1))
    })
}

/// A new /proc can be mounted only where the one outside is whole.
fn proc_visible() -> Fact {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let over: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| point.starts_with("/proc/") && !point.starts_with("/proc/sys/fs/binfmt_misc"))
        .collect();
    if over.is_empty() || geteuid().is_root() && try_mount_proc() == Some(0) {
        fact("/proc", State::Good, "a new one can be mounted", "")
    } else {
        fact("/proc", State::Missing, format!("hidden: {}", over.join(", ")), PROC)
    }
}

fn try_mount_proc() -> Option<i32> {
    try_in_child(|| {
        // SAFETY: opens a file system without attaching it; the child ends next.
        let context = unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), 0) };
        if context < 0 { errno() } else { 0 }
    })
}

/// What to do about a step of the stage that failed, starting with "; ", or nothing.
pub(crate) fn remedy(step: &str, errno: i32) -> &'static str {
    const NAMESPACES: &str = "; allow unprivileged user namespaces, or run glasshouse as root: see 'glasshouse doctor'";
    const IDS: &str = "; run glasshouse as an ordinary user, or as the root of the host: see 'glasshouse doctor'";
    const HIDDEN: &str = "; this container hides parts of /proc: see 'glasshouse doctor'";
    const PIVOT: &str =
        "; the root of this host or container is not a mount of its own (initramfs or chroot): start it otherwise";
    match (step, errno) {
        ("clone into new namespaces", libc::EPERM | libc::ENOSPC | libc::EUSERS | libc::EACCES) => NAMESPACES,
        (step, libc::EPERM | libc::EINVAL) if step.starts_with("map ") => IDS,
        // AppArmor on Ubuntu lets the namespace be made but gives no rights in it.
        ("make mounts private" | "set secure bits" | "bring loopback up", libc::EPERM | libc::EACCES) => NAMESPACES,
        ("mount /proc", libc::EPERM) => HIDDEN,
        ("pivot_root", libc::EINVAL) => PIVOT,
        _ => "",
    }
}
