//! Making directories and files below the new root without following a link that a session may have left there.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path},
};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};

const SAFE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Opens what exists below `root`; symbolic links are an error.
pub(super) fn open_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    Ok(openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), SAFE)?)
}

/// Makes a directory and its parents; opens it.
pub(super) fn make_dir(root: impl AsFd, path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let mut at = rustix::io::fcntl_dupfd_cloexec(root, 3)?;
    let parts: Vec<_> = path
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
        .collect();
    for (index, name) in parts.iter().enumerate() {
        let mode = if index + 1 == parts.len() { mode } else { 0o755 };
        match mkdirat(&at, *name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            // A directory of the host that is bound read-only may have it already.
            Err(rustix::io::Errno::ROFS) => {}
            Err(error) => return Err(error.into()),
        }
        at = open_beneath(&at, Path::new(name), OFlags::PATH | OFlags::DIRECTORY)?;
    }
    Ok(at)
}

/// Makes an empty file and its parents, if it is not there; opens it as a place to mount on.
pub(super) fn make_file(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = make_dir(root, parent, 0o755)?;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::openat(&parent, name, create, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => {}
        Err(error) => return Err(error.into()),
    }
    open_beneath(&parent, Path::new(name), OFlags::PATH)
}

/// Writes a new file.
pub(super) fn write_file(root: impl AsFd, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    use std::io::Write;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = make_dir(root, parent, 0o755)?;
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(&parent, name, create, Mode::from_raw_mode(mode))?;
    std::fs::File::from(file).write_all(content)
}
