//! Records of running sessions, so that the next server finds what a killed one left behind.
//!
//! A session has a file in `STATE/sessions`, locked by its server for as long as that lives. A file that can be locked
//! is a leftover.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

use crate::{Error, cgroup, config::check_name};

/// What a session leaves behind if nobody clears it away.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// Process 1 of the session, as the host sees it, and when it started, in clock ticks since boot.
    init: Option<(i32, u64)>,
    /// Files and directories to remove.
    remove: Vec<PathBuf>,
}

/// The record of a running session of ours. Dropping it removes the files it names, and itself.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    file: fs::File,
    content: Content,
}

impl Record {
    /// Makes the record of a new session.
    ///
    /// # Errors
    ///
    /// When a session of that name is running, or the file cannot be made.
    pub fn create(state: &Path, name: &str) -> Result<Self, Error> {
        check_name(name)?;
        let directory = state.join("sessions");
        let failed =
            |error| Error::Io { what: format!("cannot record a session in {}", directory.display()), source: error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        let path = directory.join(name);
        loop {
            let file =
                fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = file.map_err(failed)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(Error::Invalid(format!("a session named {name} is running: choose another name")));
            }
            if is_at(&file, &path) {
                clear(name, &file);
                let record = Self { path, file, content: Content::default() };
                record.write().map_err(failed)?;
                return Ok(record);
            }
        }
    }

    /// Adds a file or directory to be removed when the session is over, by whomever.
    ///
    /// # Errors
    ///
    /// When the record cannot be written.
    pub fn remove_at_end(&mut self, path: PathBuf) -> Result<(), Error> {
        self.content.remove.push(path);
        self.write().map_err(Error::io("cannot record what a session leaves"))
    }

    pub(crate) fn set_init(&mut self, pid: i32) -> Result<(), Error> {
        self.content.init = start_time(pid).map(|time| (pid, time));
        self.write().map_err(Error::io("cannot record the process of a session"))
    }

    fn write(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.content)?;
        self.file.write_all_at(&bytes, 0)?;
        self.file.set_len(bytes.len() as u64)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        remove_all(&self.content.remove);
        // While the lock is held, so that nobody else's new file is removed.
        let _ = fs::remove_file(&self.path);
    }
}

fn remove_all(paths: &[PathBuf]) {
    for path in paths {
        let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
    }
}

fn is_at(file: &fs::File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Field 22 of /proc/PID/stat.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so the fields count from its end.
    stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Clears away what sessions of servers that are gone have left: processes, cgroups, files. Returns their names.
/// Call it once at the start of a server.
///
/// # Errors
///
/// When the state directory cannot be read.
pub fn sweep(state: &Path) -> Result<Vec<String>, Error> {
    let mut swept = Vec::new();
    let entries = match fs::read_dir(state.join("sessions")) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io("cannot look for leftovers")(error)),
    };
    for entry in entries.into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(entry.path()) else { continue };
        if check_name(&name).is_err()
            || flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
            || !is_at(&file, &entry.path())
        {
            continue;
        }
        clear(&name, &file);
        let _ = fs::remove_file(entry.path());
        swept.push(name);
    }
    cgroup::sweep_empty();
    Ok(swept)
}

fn clear(name: &str, file: &fs::File) {
    let content: Content =
        io::read_to_string(file).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    if let Some((pid, started)) = content.init {
        end(pid, started);
    }
    cgroup::remove_leftover(name);
    remove_all(&content.remove);
}

/// Kills a process if it is still the one that was recorded. With process 1 of a session all the others end.
fn end(pid: i32, started: u64) {
    let Some(raw) = Pid::from_raw(pid) else { return };
    let Ok(pidfd): Result<OwnedFd, _> = pidfd_open(raw, PidfdFlags::empty()) else { return };
    // Asked after the descriptor was opened, so that it is of the process that has this start time.
    if start_time(pid) == Some(started) {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        let _ = pidfd_send_signal(&pidfd, Signal::CONT);
    }
}
