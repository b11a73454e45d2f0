//! Who the programs of a desktop run as: a user of the desktop's own when we are root, else ourselves.

use std::fs;

use glasshouse_sandbox::Lease;
use rustix::process::{Gid, Uid};
use serde::{Deserialize, Serialize};

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

    /// The user of a lease; `None` when that is ourselves.
    pub(crate) fn of(lease: &Lease) -> Option<Self> {
        lease.is_own().then(|| Self(lease.id()))
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
