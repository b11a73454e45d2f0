//! Who the programs of a desktop run as: a user of the desktop's own when we are root, else ourselves.

use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Gid, Uid, geteuid},
};
use serde::{Deserialize, Serialize};

use crate::Error;

/// First of the user ids that desktops take when we are root; above what distributions give to people and services.
const FIRST_UID: u32 = 100_000;

/// How many there are.
const UIDS: u32 = 50_000;

/// Where the locks on user ids are.
const LOCKS: &str = "/run/glasshouse/uids";

/// An unprivileged user; the group has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User(u32);

impl User {
    pub(crate) fn uid(self) -> Uid {
        Uid::from_raw(self.0)
    }

    pub(crate) fn gid(self) -> Gid {
        Gid::from_raw(self.0)
    }

    pub(crate) fn id(self) -> u32 {
        self.0
    }

    /// A user for one desktop, with the lock that keeps others off it while it is open; `None` when we are not root.
    pub(crate) fn claim() -> Result<Option<(Self, OwnedFd)>, Error> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(LOCKS)?;
        for id in FIRST_UID..FIRST_UID + UIDS {
            let file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(Path::new(LOCKS).join(id.to_string()))?;
            let lock = OwnedFd::from(file);
            // Processes can outlive a keeper that was killed: their user is not free either.
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() && processes(Self(id)).is_empty() {
                return Ok(Some((Self(id), lock)));
            }
        }
        Err(Error::Invalid(format!("all {UIDS} user ids for desktops are in use")))
    }

    /// Runs `work` with this user's rights on files. For paths in directories where the programs can place links.
    pub(crate) fn run<T: Send>(self, work: impl FnOnce() -> std::io::Result<T> + Send) -> std::io::Result<T> {
        std::thread::scope(|scope| {
            // Linux keeps credentials per thread; this thread ends with the work, so nothing has to be undone.
            let thread = scope.spawn(move || {
                rustix::thread::set_thread_groups(&[])?;
                rustix::thread::set_thread_res_gid(self.gid(), self.gid(), self.gid())?;
                rustix::thread::set_thread_res_uid(self.uid(), self.uid(), self.uid())?;
                work()
            });
            thread.join().unwrap_or_else(|_| Err(std::io::Error::other("a helper thread panicked")))
        })
    }
}

/// Runs `work` with the rights of the desktop's programs.
pub(crate) fn run_as<T: Send>(
    user: Option<User>,
    work: impl FnOnce() -> std::io::Result<T> + Send,
) -> std::io::Result<T> {
    match user {
        Some(user) => user.run(work),
        None => work(),
    }
}

/// Processes of a user.
pub(crate) fn processes(user: User) -> Vec<i32> {
    use std::os::unix::fs::MetadataExt;
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == user.0))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
