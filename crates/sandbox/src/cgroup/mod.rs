//! Limits of a whole session, by cgroups: version 2 where it has the controllers, else version 1, else none.

mod layout;
mod usage;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use layout::{HOST_LEAF, Layout, V1};
use rustix::process::{Pid, Signal, kill_process};

pub use usage::Usage;

use crate::{
    config::{Limits, UseCgroups},
    plan::Entry,
};

/// What the names of our cgroups start with.
const PREFIX: &str = "glasshouse-";

/// How long a cgroup may take to become empty after its processes were killed.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// Length of the period of CPU quotas, in microseconds.
const PERIOD: u64 = 100_000;

/// Sets a limit in the version 2 directory, or else in the version 1 one.
type Setter<'a> = dyn Fn(Option<&Path>, Option<&Path>) -> io::Result<()> + 'a;

/// The cgroups of one session. Dropping it kills what is in them and removes them.
#[derive(Debug, Default)]
pub(crate) struct Cgroup {
    v2: Option<PathBuf>,
    /// Version 1 directories, by controller; controllers that share a hierarchy have the same.
    v1: Vec<(&'static str, PathBuf)>,
    /// What is not limited, for a warning.
    missing: Vec<&'static str>,
}

impl Cgroup {
    /// Makes the cgroups of a session, as far as this host lets us.
    pub(crate) fn create(name: &str, limits: &Limits) -> Self {
        match limits.cgroups {
            UseCgroups::IfPossible => Self::create_in(&Layout::detect(), name, limits),
            UseCgroups::Never => Self { v2: None, v1: Vec::new(), missing: vec!["memory", "pids", "cpu"] },
        }
    }

    fn create_in(layout: &Layout, name: &str, limits: &Limits) -> Self {
        let mut cgroup = Self::default();
        let leaf = format!("{PREFIX}{name}");
        let mut handed_down = Vec::new();
        if let Some(own) = &layout.v2 {
            handed_down = hand_down(own);
            let dir = own.join(&leaf);
            if make(&dir) {
                cgroup.v2 = Some(dir);
            }
        }
        for controller in V1 {
            if let Some(own) = layout.v1.get(controller) {
                let dir = own.join(&leaf);
                if make(&dir) {
                    cgroup.v1.push((controller, dir));
                }
            }
        }
        let by_v2 = |controller: &str| cgroup.v2.as_deref().filter(|_| handed_down.iter().any(|one| one == controller));
        let mut missing = Vec::new();
        let limit = |controller: &'static str, set: &Setter<'_>| {
            let (v2, v1) = (by_v2(controller), cgroup.v1(controller));
            (v2.is_none() && v1.is_none() || set(v2, v1).is_err()).then_some(controller)
        };
        missing.extend(limit("memory", &|v2, v1| set_memory(v2, v1, limits.memory)));
        missing.extend(limit("pids", &|v2, v1| match v2.or(v1) {
            Some(dir) => write(dir, "pids.max", limits.pids),
            None => Ok(()),
        }));
        missing.extend(limit("cpu", &|v2, v1| set_cpu(v2, v1, limits)));
        cgroup.missing = missing;
        cgroup
    }

    /// What is not limited.
    pub(crate) fn missing(&self) -> &[&'static str] {
        &self.missing
    }

    /// How a process that has one thread, or its clone, enters.
    pub(crate) fn entry(&self) -> Entry {
        let v1 = self.directories().into_iter().filter(|dir| self.v2() != Some(*dir));
        Entry { tasks: v1.map(|dir| dir.join("tasks")).collect(), unified: self.v2.clone() }
    }

    pub(crate) fn v2(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    pub(crate) fn v1(&self, controller: &str) -> Option<&Path> {
        self.v1.iter().find(|(name, _)| *name == controller).map(|(_, dir)| dir.as_path())
    }

    fn directories(&self) -> Vec<&Path> {
        let mut all: Vec<&Path> =
            self.v2.iter().chain(self.v1.iter().map(|(_, dir)| dir)).map(PathBuf::as_path).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Kills every process, frozen ones too.
    pub(crate) fn kill(&self) {
        if let Some(dir) = &self.v2 {
            let _ = fs::write(dir.join("cgroup.kill"), "1");
        }
        for dir in self.directories() {
            for pid in processes(dir) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        // A process that is frozen by version 1 dies when it thaws.
        if let Some(dir) = self.v1("freezer") {
            let _ = fs::write(dir.join("freezer.state"), "THAWED");
        }
    }

    fn remove(&self) {
        let end = Instant::now() + EMPTY_WITHIN;
        for dir in self.directories() {
            loop {
                match fs::remove_dir(dir) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => {
                        self.kill();
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Ok(()) => break,
                    Err(error) => {
                        if error.kind() != io::ErrorKind::NotFound {
                            tracing::warn!("cannot remove the cgroup {}: {error}", dir.display());
                        }
                        break;
                    }
                }
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Makes a directory that may be there already, left by a session of the same name.
fn make(dir: &Path) -> bool {
    match fs::create_dir(dir) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::AlreadyExists,
    }
}

fn write(dir: &Path, file: &str, value: impl std::fmt::Display) -> io::Result<()> {
    fs::write(dir.join(file), value.to_string())
}

/// Hands the controllers that we need down to the children of our cgroup; returns those that are.
fn hand_down(own: &Path) -> Vec<String> {
    let list = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(own.join(file)).unwrap_or_default();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    };
    let wanted = ["memory", "pids", "cpu"];
    let (available, mut enabled) = (list("cgroup.controllers"), list("cgroup.subtree_control"));
    for controller in wanted {
        if !available.iter().any(|one| one == controller) || enabled.iter().any(|one| one == controller) {
            continue;
        }
        let enable = || fs::write(own.join("cgroup.subtree_control"), format!("+{controller}"));
        let done = match enable() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => move_aside(own).and_then(|()| enable()),
            other => other,
        };
        if done.is_ok() {
            enabled.push(controller.to_owned());
        }
    }
    enabled
}

/// Moves the processes of our own cgroup into a leaf of it.
fn move_aside(own: &Path) -> io::Result<()> {
    let leaf = own.join(HOST_LEAF);
    make(&leaf);
    for pid in processes(own) {
        fs::write(leaf.join("cgroup.procs"), pid.as_raw_nonzero().to_string())?;
    }
    Ok(())
}

fn set_memory(v2: Option<&Path>, v1: Option<&Path>, bytes: u64) -> io::Result<()> {
    if let Some(dir) = v2 {
        // Swap is where frozen sessions go, so it is limited but not forbidden; not every host has it.
        let _ = write(dir, "memory.swap.max", bytes);
        return write(dir, "memory.max", bytes);
    }
    let Some(dir) = v1 else { return Ok(()) };
    write(dir, "memory.limit_in_bytes", bytes)?;
    let _ = write(dir, "memory.memsw.limit_in_bytes", bytes);
    Ok(())
}

fn set_cpu(v2: Option<&Path>, v1: Option<&Path>, limits: &Limits) -> io::Result<()> {
    let quota = limits.cpu_percent.map(|percent| u64::from(percent) * PERIOD / 100);
    if let Some(dir) = v2 {
        let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        write(dir, "cpu.max", format!("{quota} {PERIOD}"))?;
        return write(dir, "cpu.weight", limits.cpu_weight);
    }
    let Some(dir) = v1 else { return Ok(()) };
    if let Some(quota) = quota {
        write(dir, "cpu.cfs_period_us", PERIOD)?;
        write(dir, "cpu.cfs_quota_us", quota)?;
    }
    // Version 1 counts from 1024 where version 2 counts from 100.
    write(dir, "cpu.shares", (u64::from(limits.cpu_weight) * 1024 / 100).max(2))
}

/// Processes in a cgroup.
pub(crate) fn processes(dir: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

/// Kills and removes the cgroups of a session whose server is gone.
pub(crate) fn remove_leftover(name: &str) {
    let layout = Layout::detect();
    let leaf = format!("{PREFIX}{name}");
    let there = |own: &PathBuf| Some(own.join(&leaf)).filter(|dir| dir.is_dir());
    let cgroup = Cgroup {
        v2: layout.v2.as_ref().and_then(there),
        v1: layout.v1.iter().filter_map(|(controller, own)| Some((*controller, there(own)?))).collect(),
        missing: Vec::new(),
    };
    cgroup.kill();
}

/// Removes empty cgroups of ours that nobody has a record of.
pub(crate) fn sweep_empty() {
    let layout = Layout::detect();
    for own in layout.v2.iter().chain(layout.v1.values()) {
        for entry in fs::read_dir(own).into_iter().flatten().flatten() {
            let old = entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|time| {
                SystemTime::now().duration_since(time).is_ok_and(|age| age > Duration::from_secs(60))
            });
            // One that was just made is about to be entered; one that is in use cannot be removed.
            if old && entry.file_name().to_string_lossy().starts_with(PREFIX) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Which controllers can limit sessions here, and how, in words.
pub(crate) fn describe() -> (String, Vec<&'static str>) {
    let name = format!("probe-{}", std::process::id());
    let layout = Layout::detect();
    let cgroup = Cgroup::create_in(&layout, &name, &Limits::default());
    let kind = match (&cgroup.v2, cgroup.v1.is_empty()) {
        (None, true) => "none that we may use".to_owned(),
        (Some(_), true) => "version 2".to_owned(),
        (None, false) => "version 1".to_owned(),
        (Some(_), false) => "version 1, with version 2 for freezing".to_owned(),
    };
    (kind, cgroup.missing.clone())
}

#[cfg(test)]
mod tests;
