//! Looking at what the programs of a desktop do and say, without asking one of them: also while they are frozen.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
};

use rustix::fs::OFlags;

use crate::Desktop;

/// Programs that keep a log: those that are watched over.
const LOGS: [&str; 4] = ["x-server", "window-manager", "sound", "app"];

/// Longest answer of the kernel that is read, in bytes.
const MAX_STATM: u64 = 512;

impl Desktop {
    /// What a program that is watched over (`x-server`, `window-manager`, `sound`, `app`) has written to its standard output and
    /// error, over all its starts. The file begins anew when it has a mebibyte.
    ///
    /// # Errors
    /// There is no such program on this desktop.
    pub fn program_log(&self, name: &str) -> io::Result<File> {
        if !LOGS.contains(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // In a folder of ours, which no program sees.
        File::open(self.logs.join(name))
    }

    /// `/tmp` as the programs have it, to begin paths at: in memory, and the session's alone. They can place links in it, as in
    /// HOME. What our process writes there does not count as the session's memory.
    ///
    /// # Errors
    /// There are no walls, or they are gone.
    pub fn temporary(&self) -> io::Result<OwnedFd> {
        self.open_inside("tmp", OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Resident memory in bytes of a process by its number inside, such as [`crate::Launched::pid`] while the program runs; that
    /// of its children is not counted. None when it has ended, or the kernel does not say.
    pub fn resident(&self, pid: i32) -> Option<u64> {
        let statm = self.open_inside(&format!("proc/{}/statm", u32::try_from(pid).ok()?), OFlags::RDONLY).ok()?;
        let mut text = String::new();
        File::from(statm).take(MAX_STATM).read_to_string(&mut text).ok()?;
        // proc_pid_statm(5): size, resident, …, in pages.
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64).filter(|bytes| *bytes > 0)
    }

    fn open_inside(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let walls = self.walls.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        walls.open_inside(path, flags)
    }
}
