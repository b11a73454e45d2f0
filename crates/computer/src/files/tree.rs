//! What is done to files: by descriptors below HOME or `/tmp`, without following links, with the rights of the programs.
//!
//! The programs change the tree as we look at it. So every step starts at a descriptor, and the kernel refuses to
//! leave that folder (`openat2(2)`, `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`).

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use glasshouse_desktop::Desktop;
use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fchmod, fstat, mkdirat, open, openat2,
        renameat, renameat_with, statat, unlinkat,
    },
    io::Errno,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::place::{Base, Place};
use crate::{problem::Problem, time};

/// Most entries of a folder that are listed.
const MAX_ENTRIES: usize = 10_000;
/// Deepest folder in a folder that is removed: each needs a descriptor.
pub(crate) const MAX_DEPTH: usize = 100;

/// How the names of files begin that are being written.
pub(crate) const DRAFT: &str = ".glasshouse-";

const FOLDER: Mode = Mode::from_raw_mode(0o755);

/// Something in a folder.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FileEntry)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) path: String,
    entry_type: &'static str,
    /// What it is, when it is neither: `symlink`, `pipe`, `socket`, `device`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    /// As `stat(2)` has it, with what it is.
    #[serde(skip)]
    pub(crate) mode: u32,
    /// Seconds since 1970, and nanoseconds.
    #[serde(skip)]
    pub(crate) modified_at: (i64, u64),
}

impl Entry {
    fn new(name: Option<String>, path: String, stat: &Stat) -> Self {
        let (entry_type, kind) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => ("directory", None),
            FileType::RegularFile => ("file", None),
            FileType::Symlink => ("file", Some("symlink")),
            FileType::Fifo => ("file", Some("pipe")),
            FileType::Socket => ("file", Some("socket")),
            _ => ("file", Some("device")),
        };
        let at = u64::try_from(stat.st_mtime).ok().and_then(|at| UNIX_EPOCH.checked_add(Duration::from_secs(at)));
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let modified_at = (stat.st_mtime, stat.st_mtime_nsec);
        Self { name, path, entry_type, kind, size, modified: at.map(time::rfc3339), mode: stat.st_mode, modified_at }
    }
}

/// What may have to go when something gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replace {
    Nothing,
    /// What `rename(2)` replaces: a file, or an empty folder by a folder.
    Plain,
    Everything,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Tree {
    desktop: Arc<Desktop>,
}

/// A file that is being written under a name of its own, which it leaves when it is done.
pub(crate) struct Draft {
    folder: OwnedFd,
    /// None when there is nothing to clear away.
    temporary: Option<String>,
    name: String,
}

impl Draft {
    /// Gives the file its name, in place of what has it.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if let Some(temporary) = &self.temporary {
            renameat(&self.folder, temporary, &self.folder, &self.name)?;
        }
        self.temporary.take();
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = unlinkat(&self.folder, temporary, AtFlags::empty());
        }
    }
}

impl Tree {
    pub(crate) fn new(desktop: Arc<Desktop>) -> Self {
        Self { desktop }
    }

    pub(crate) fn home(&self) -> &Path {
        self.desktop.home_inside()
    }

    pub(crate) fn place(&self, text: &str) -> Result<Place, Problem> {
        Place::parse(text, self.home())
    }

    /// The desktop that has it.
    pub(crate) fn desktop(&self) -> &Desktop {
        &self.desktop
    }

    /// Does something below the base of a place with the rights of the programs, off the caller's thread.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        place: &Place,
        work: impl FnOnce(&OwnedFd) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let (desktop, base) = (self.desktop.clone(), place.base);
        let done = tokio::task::spawn_blocking(move || match base {
            Base::Home => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                desktop.as_programs(|| work(&open(desktop.home(), flags, Mode::empty())?))
            }
            // Found with our rights: it is the programs' own only where they are.
            Base::Temporary => {
                let temporary = desktop.temporary()?;
                desktop.as_programs(|| work(&temporary))
            }
        });
        let done = done.await.map_err(|error| Problem::failed(error.to_string()))?;
        done.map_err(|error| match error.kind() {
            io::ErrorKind::Unsupported if base == Base::Temporary => {
                Problem::denied("this session has no walls, and so no /tmp of its own: use a path below HOME")
            }
            _ => problem(&error, &place.shown),
        })
    }

    pub(crate) async fn list(&self, place: Place) -> Result<Vec<Entry>, Problem> {
        let shown = PathBuf::from(&place.shown);
        let at = place.clone();
        let listing = self.with(&at, move |home| {
            let folder = beneath(home, &place.below, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let mut entries = Vec::new();
            for entry in Dir::read_from(&folder)? {
                let entry = entry?;
                let name = entry.file_name();
                if [c".", c".."].contains(&name) {
                    continue;
                }
                // What is gone meanwhile is not there.
                let Ok(stat) = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
                let name = name.to_string_lossy().into_owned();
                let path = shown.join(&name).to_string_lossy().into_owned();
                entries.push(Entry::new(Some(name), path, &stat));
                if entries.len() >= MAX_ENTRIES {
                    break;
                }
            }
            entries.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(entries)
        });
        listing.await
    }

    pub(crate) async fn stat(&self, place: Place) -> Result<Entry, Problem> {
        let at = place.clone();
        let stat = self.with(&at, move |home| {
            let found = beneath(home, &place.below, OFlags::PATH | OFlags::NOFOLLOW)?;
            Ok(Entry::new(None, place.shown, &fstat(&found)?))
        });
        stat.await
    }

    /// A file and its size now.
    pub(crate) async fn read(&self, place: Place) -> Result<(File, u64), Problem> {
        let at = place.clone();
        let file = self.with(&at, move |home| {
            // A pipe without a writer must not hold us up.
            let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
            let file = beneath(home, &place.below, flags)?;
            let stat = fstat(&file)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Ok((File::from(file), u64::try_from(stat.st_size).unwrap_or(0))),
                FileType::Directory => Err(Errno::ISDIR.into()),
                _ => Err(Errno::NXIO.into()),
            }
        });
        file.await
    }

    pub(crate) async fn make_folder(&self, place: Place) -> Result<(), Problem> {
        let at = place.clone();
        self.with(&at, move |home| make(home, &place.below).map(drop)).await
    }

    /// Begins to write a file, in folders that are made. `mode` is for one that is new.
    pub(crate) async fn begin(&self, place: Place, mode: u32) -> Result<(File, Draft), Problem> {
        let (folder, name) = place.split()?;
        let (folder, name) = (folder.to_path_buf(), name.to_owned());
        let begun = self.with(&place, move |home| begin_in(home, &folder, name, mode));
        begun.await
    }

    /// Begins to write a file whose place is not known yet, or that is gone when the draft is.
    pub(crate) async fn begin_nameless(&self) -> Result<(File, Draft), Problem> {
        self.with(&Place::home(self.home()), |home| {
            draft(beneath(home, Path::new(""), OFlags::PATH | OFlags::DIRECTORY)?, String::new())
        })
        .await
    }

    /// Gives a file that is written its name, in place of what has it.
    pub(crate) async fn finish(&self, place: &Place, draft: Draft) -> Result<(), Problem> {
        self.with(place, move |_| draft.finish()).await
    }

    /// The same for one that had no place.
    pub(crate) async fn finish_as(&self, place: &Place, mut draft: Draft, mode: u32) -> Result<(), Problem> {
        let (folder, name) = place.split()?;
        let (folder, name) = (folder.to_path_buf(), name.to_owned());
        let finished = self.with(place, move |home| {
            let folder = make(home, &folder)?;
            let mode = mode_of(&folder, &name, mode)?;
            if let Some(temporary) = &draft.temporary {
                let file = beneath(&draft.folder, Path::new(temporary), OFlags::WRONLY | OFlags::NONBLOCK)?;
                fchmod(&file, mode)?;
                renameat(&draft.folder, temporary, &folder, &name)?;
            }
            draft.temporary.take();
            Ok(())
        });
        finished.await
    }

    /// Sets the rights of a file or folder; not those that change who runs it.
    pub(crate) async fn set_mode(&self, place: Place, mode: u32) -> Result<(), Problem> {
        let at = place.clone();
        let set = self.with(&at, move |home| {
            let found = beneath(home, &place.below, OFlags::PATH | OFlags::NOFOLLOW)?;
            if FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Symlink {
                return Err(Errno::LOOP.into());
            }
            // The link of an open file leads to that file, whatever its name is now (proc_pid_fd(5)).
            let path = format!("/proc/self/fd/{}", found.as_raw_fd());
            Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode & 0o777))?)
        });
        set.await
    }

    pub(crate) async fn remove(&self, place: Place, recursive: bool) -> Result<(), Problem> {
        let (folder, name) = place.split()?;
        let (folder, name) = (folder.to_path_buf(), name.to_owned());
        let removed = self.with(&place, move |home| {
            let folder = beneath(home, &folder, OFlags::PATH | OFlags::DIRECTORY)?;
            remove(&folder, &name, recursive)
        });
        removed.await
    }

    pub(crate) async fn rename(&self, from: Place, to: Place, replace: Replace) -> Result<(), Problem> {
        let ((from_folder, from_name), (to_folder, to_name)) = (from.split()?, to.split()?);
        if from.base != to.base {
            let text = format!("{} and {} are on different file systems: copy it instead", from.shown, to.shown);
            return Err(Problem::invalid(text).because(Some(Errno::XDEV)));
        }
        if from.is_along(&to) {
            return Err(Problem::invalid("from and to must not be in each other"));
        }
        let (from_folder, from_name) = (from_folder.to_path_buf(), from_name.to_owned());
        let (to_folder, to_name) = (to_folder.to_path_buf(), to_name.to_owned());
        let renamed = self.with(&from, move |home| {
            let from_folder = beneath(home, &from_folder, OFlags::PATH | OFlags::DIRECTORY)?;
            statat(&from_folder, &from_name, AtFlags::SYMLINK_NOFOLLOW)?;
            let to_folder = make(home, &to_folder)?;
            if replace == Replace::Nothing {
                let flags = RenameFlags::NOREPLACE;
                return Ok(renameat_with(&from_folder, &from_name, &to_folder, &to_name, flags)?);
            }
            match renameat(&from_folder, &from_name, &to_folder, &to_name) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR | Errno::NOTDIR)
                    if replace == Replace::Everything =>
                {
                    remove(&to_folder, &to_name, true)?;
                    Ok(renameat(&from_folder, &from_name, &to_folder, &to_name)?)
                }
                other => Ok(other?),
            }
        });
        renamed.await
    }
}

/// The rights of a file that is to have this name: those of the one that has it, if there is one.
fn mode_of(folder: &OwnedFd, name: &str, mode: u32) -> io::Result<Mode> {
    let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return Ok(Mode::from_raw_mode(mode & 0o777));
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Mode::from_raw_mode(stat.st_mode & 0o777)),
        FileType::Directory => Err(Errno::ISDIR.into()),
        FileType::Symlink => Err(Errno::LOOP.into()),
        _ => Err(Errno::NXIO.into()),
    }
}

/// A new file in a folder, under a name of its own, for us alone.
fn draft(folder: OwnedFd, name: String) -> io::Result<(File, Draft)> {
    let mut random = [0_u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let temporary = format!("{DRAFT}{:016x}", u64::from_ne_bytes(random));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let file = openat2(&folder, &temporary, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR, RESOLVE)?;
    Ok((File::from(file), Draft { folder, temporary: Some(temporary), name }))
}

/// [`Tree::begin`], for who has the rights already.
pub(crate) fn begin_in(home: &OwnedFd, folder: &Path, name: String, mode: u32) -> io::Result<(File, Draft)> {
    let folder = make(home, folder)?;
    let mode = mode_of(&folder, &name, mode)?;
    let (file, draft) = draft(folder, name)?;
    fchmod(&file, mode)?;
    Ok((file, draft))
}

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens what is below a folder, without passing any link.
pub(crate) fn beneath(folder: &OwnedFd, below: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    loop {
        match openat2(folder, path, flags | OFlags::CLOEXEC, Mode::empty(), RESOLVE) {
            // Something was renamed on the way just now.
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
}

/// Makes folders that are not there, and opens the last one.
pub(crate) fn make(home: &OwnedFd, below: &Path) -> io::Result<OwnedFd> {
    let mut folder = beneath(home, Path::new(""), OFlags::PATH | OFlags::DIRECTORY)?;
    for name in below {
        match mkdirat(&folder, name, FOLDER) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        folder = beneath(&folder, Path::new(name), OFlags::PATH | OFlags::DIRECTORY)?;
    }
    Ok(folder)
}

fn remove(folder: &OwnedFd, name: &str, recursive: bool) -> io::Result<()> {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(unlinkat(folder, name, AtFlags::empty())?);
    }
    if recursive {
        clear(beneath(folder, Path::new(name), OFlags::RDONLY | OFlags::DIRECTORY)?, 0)?;
    }
    Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// Removes all that is in a folder.
fn clear(folder: OwnedFd, depth: usize) -> io::Result<()> {
    if depth >= MAX_DEPTH {
        return Err(io::Error::other(format!("folders are more than {MAX_DEPTH} deep: remove the deepest first")));
    }
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        match unlinkat(&folder, name, AtFlags::empty()) {
            // Somebody else may be removing as well.
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        clear(openat2(folder.as_fd(), name, flags, Mode::empty(), RESOLVE)?, depth + 1)?;
        unlinkat(&folder, name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// What went wrong, as clients are told.
pub(crate) fn problem(error: &io::Error, shown: &str) -> Problem {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let problem = match errno {
        Some(Errno::NOENT) => Problem::invalid(format!("path not found: {shown}")),
        Some(Errno::LOOP) => Problem::denied(format!("{shown}: links are not followed")),
        Some(Errno::XDEV) => Problem::denied(format!("{shown}: it leads to another file system")),
        Some(Errno::NXIO) => Problem::denied(format!("{shown}: it is no ordinary file")),
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Problem::denied(format!("{shown}: {error}")),
        Some(Errno::ISDIR) => Problem::invalid(format!("{shown} is a directory")),
        Some(Errno::NOTDIR) => Problem::invalid(format!("{shown}: a part of the path is no directory")),
        Some(Errno::EXIST) => Problem::invalid("destination already exists: set overwrite"),
        Some(Errno::NOTEMPTY) => Problem::invalid(format!("{shown} is not empty: set recursive")),
        Some(Errno::NAMETOOLONG) => Problem::invalid("path is too long"),
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Problem::too_large(format!("{shown}: {error}")),
        _ => Problem::failed(format!("{shown}: {error}")),
    };
    problem.because(errno)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("glasshouse-test-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("home")).unwrap();
            std::fs::write(path.join("secret"), "secret").unwrap();
            Self(path)
        }

        fn home(&self) -> OwnedFd {
            open(self.0.join("home"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn nothing_leads_out() {
        let scratch = Scratch::new("out");
        let inside = scratch.0.join("home");
        symlink("../secret", inside.join("file")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("/", inside.join("root")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        let home = scratch.home();
        for path in ["file", "up", "up/secret", "root/etc/passwd", "magic/etc/passwd", "../secret", "/etc/passwd"] {
            assert!(beneath(&home, Path::new(path), OFlags::RDONLY).is_err(), "{path}");
        }
        for path in ["up/new", "root/tmp/new", "up"] {
            assert!(make(&home, Path::new(path)).is_err(), "{path}");
        }
        assert!(!scratch.0.join("new").exists());
        assert!(make(&home, Path::new("a/b")).is_ok());
        assert!(inside.join("a/b").is_dir());
    }

    #[test]
    fn removing_does_not_follow_links() {
        let scratch = Scratch::new("remove");
        let inside = scratch.0.join("home");
        std::fs::create_dir_all(inside.join("a/b/c")).unwrap();
        std::fs::write(inside.join("a/b/file"), "x").unwrap();
        symlink("../../..", inside.join("a/b/up")).unwrap();
        let home = scratch.home();
        assert!(remove(&home, "a", false).is_err());
        remove(&home, "a", true).unwrap();
        assert!(!inside.join("a").exists());
        assert_eq!(std::fs::read_to_string(scratch.0.join("secret")).unwrap(), "secret");
        symlink("../secret", inside.join("link")).unwrap();
        remove(&home, "link", true).unwrap();
        assert!(scratch.0.join("secret").exists());
    }
}
