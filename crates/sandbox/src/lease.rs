//! Who the programs of a session are on the host: a user of their own when we are root, else ourselves.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Uid, chownat, flock, openat},
    process::geteuid,
};

use crate::Error;

/// First of the user ids that sessions take when we are root, above what distributions give to people and services,
/// and how many there are.
pub(crate) const IDS: (u32, u32) = (100_000, 50_000);

/// Most directories within each other that are given to a session.
const MAX_DEPTH: u32 = 64;

/// The user, and group, of one session on the host. Free for others again when dropped.
#[derive(Debug)]
pub struct Lease {
    id: u32,
    // The lock is free when all copies of this are closed, however our process ends. None when the user is ourselves.
    lock: Option<OwnedFd>,
}

impl Lease {
    /// Takes an id that no other session has. `state` is where the locks are, see [`crate::default_state_dir`].
    ///
    /// # Errors
    ///
    /// When the locks cannot be made, or all ids are taken.
    pub fn claim(state: &Path) -> Result<Self, Error> {
        if !geteuid().is_root() {
            return Ok(Self { id: geteuid().as_raw(), lock: None });
        }
        if !crate::probe::has_user_ids() {
            return Err(Error::Walls {
                step: "take a user id for the session".into(),
                reason: "this root has none".into(),
                remedy: crate::probe::NO_USER_IDS,
            });
        }
        let locks = state.join("uids");
        let make = || -> io::Result<()> { fs::DirBuilder::new().recursive(true).mode(0o700).create(&locks) };
        make().map_err(Error::io(format!("cannot make {}", locks.display())))?;
        let (first, count) = IDS;
        for id in first..first + count {
            let path = locks.join(id.to_string());
            let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
            let lock = OwnedFd::from(file.map_err(Error::io(format!("cannot open {}", path.display())))?);
            // The file stays when the lock goes: removing it would let two take one id.
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() && !has_processes(id) {
                return Ok(Self { id, lock: Some(lock) });
            }
        }
        Err(Error::Invalid(format!("all {count} user ids for sessions are in use")))
    }

    /// The user and group id on the host.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether the user is of the session's own, and not the one who runs us.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.lock.is_some()
    }

    /// What keeps others off the id, for a process that is to do so after us.
    #[must_use]
    pub fn lock(&self) -> Option<BorrowedFd<'_>> {
        self.lock.as_ref().map(AsFd::as_fd)
    }

    /// Makes a file, or a directory with all that is in it, belong to the session. Links are not followed.
    ///
    /// # Errors
    ///
    /// When something in it cannot be changed.
    pub fn give(&self, path: &Path) -> Result<(), Error> {
        self.give_at(path).map_err(Error::io(format!("cannot give {} to the session", path.display())))
    }

    fn give_at(&self, path: &Path) -> io::Result<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(rustix::fs::CWD, path, flags, Mode::empty())?;
        self.give_tree(file, MAX_DEPTH)
    }

    fn give_tree(&self, file: OwnedFd, depth: u32) -> io::Result<()> {
        let (user, group) = (Uid::from_raw(self.id), Gid::from_raw(self.id));
        let stat = rustix::fs::fstat(&file)?;
        if stat.st_uid != self.id || stat.st_gid != self.id {
            // A hard link could be to a file of somebody else.
            if stat.st_nlink > 1 && rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory
            {
                return Ok(());
            }
            chownat(&file, "", Some(user), Some(group), AtFlags::EMPTY_PATH)?;
        }
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Directory {
            return Ok(());
        }
        // Each level takes descriptors and stack, and a session may have made as many as it liked.
        let depth = depth.checked_sub(1).ok_or_else(|| io::Error::other("its directories are too deep"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(&file, ".", flags, Mode::empty())?;
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_bytes() != b"." && name.to_bytes() != b".." {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                self.give_tree(openat(&directory, name, flags, Mode::empty())?, depth)?;
            }
        }
        Ok(())
    }
}

/// Processes can outlive a server that was killed: their user is not free either.
fn has_processes(id: u32) -> bool {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == id))
}
