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
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FlockOperation, flock},
    process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

use crate::{Error, cgroup, config::check_name};

/// How long the processes of a killed session may take to end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How long [`clear_after`] waits for a server that is about to be gone.
const SERVER_WITHIN: Duration = Duration::from_secs(3);

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
        is_ours(&directory).map_err(failed)?;
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
    let directory = state.join("sessions");
    let entries = match is_ours(&directory).and_then(|()| fs::read_dir(&directory)) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io("cannot look for leftovers")(error)),
    };
    for entry in entries.into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if check_name(&name).is_ok() && clear_if_left(&directory, &name) == Left::Cleared {
            swept.push(name);
        }
    }
    cgroup::sweep_empty();
    Ok(swept)
}

/// Clears away what a session leaves when its server is gone, or about to be: for a process that outlives the server.
/// Returns at once when the server has done so itself, and after some seconds when it goes on living.
pub fn clear_after(state: &Path, name: &str) {
    let directory = state.join("sessions");
    if check_name(name).is_err() || is_ours(&directory).is_err() {
        return;
    }
    let end = Instant::now() + SERVER_WITHIN;
    while clear_if_left(&directory, name) == Left::Locked && Instant::now() < end {
        // Nothing tells when another process lets a lock go, but waiting for it without end.
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[derive(PartialEq, Eq)]
enum Left {
    Nothing,
    Locked,
    Cleared,
}

fn clear_if_left(directory: &Path, name: &str) -> Left {
    let path = directory.join(name);
    let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(&path) else { return Left::Nothing };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Left::Locked;
    }
    if !is_at(&file, &path) {
        return Left::Nothing;
    }
    clear(name, &file);
    let _ = fs::remove_file(path);
    Left::Cleared
}

/// Whether nobody else can have written what is in a directory: records name what is removed.
fn is_ours(directory: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(directory)?;
    if meta.is_dir() && meta.uid() == geteuid().as_raw() && meta.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!("{} belongs to somebody else: remove it", directory.display())))
    }
}

fn clear(name: &str, file: &fs::File) {
    let content: Content =
        io::read_to_string(file).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    // The cgroups first: a process that one has frozen does not end before it is thawed.
    cgroup::remove_leftover(name);
    if let Some((pid, started)) = content.init {
        end(pid, started);
    }
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
        // Process 1 ends after all others, and only then may what they could write to be removed.
        let within = Timespec { tv_sec: END_WITHIN.as_secs().cast_signed(), tv_nsec: 0 };
        let _ = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&within)));
    }
}
