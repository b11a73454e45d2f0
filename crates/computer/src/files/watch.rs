//! What changes in a folder (inotify(7)), until nobody wants to know any more.

use std::{collections::HashMap, io, mem::MaybeUninit, os::fd::AsRawFd, os::fd::OwnedFd, path::Path, sync::Arc};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, OFlags,
        inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init},
        statat,
    },
    io::Errno,
};
use serde::Serialize;
use tokio::{
    io::unix::AsyncFd,
    sync::{OwnedSemaphorePermit, mpsc},
};

use super::{
    place::Place,
    tree::{DRAFT, MAX_DEPTH, Tree, beneath},
};
use crate::{Shared, problem::Problem, processes::watched};

/// Most folders of one watch; those beyond are not looked at.
const MAX_FOLDERS: usize = 4_096;
/// Events that wait for a reader; those beyond are lost.
const MAX_WAITING: usize = 1_024;
/// Bytes of events that are read at once.
const BUFFER: usize = 16 * 1024;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    Create,
    Modify,
    Delete,
    /// It has another name now, or another folder.
    Rename,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    #[serde(rename = "type")]
    pub(crate) what: What,
    /// As the programs see it; after a rename the new one.
    pub(crate) path: String,
    /// What it was before a rename.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    pub(crate) is_directory: bool,
}

/// Changes as they come. Dropped, nothing is watched any more.
pub(crate) struct Changes {
    pub(crate) events: mpsc::Receiver<Change>,
    watching: tokio::task::AbortHandle,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// The folders of a watch.
struct Folders {
    inotify: OwnedFd,
    /// Their places.
    paths: HashMap<i32, Place>,
    recursive: bool,
}

impl Folders {
    /// Watches a folder, and those in it if told so.
    fn add(&mut self, home: &OwnedFd, seen: &Path, place: &Place, depth: usize) -> io::Result<()> {
        if self.paths.len() >= MAX_FOLDERS || depth > MAX_DEPTH {
            return Ok(());
        }
        let folder = beneath(home, &place.below, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::EXCL_UNLINK;
        // The link of an open file leads to that file, whatever its name is now (proc_pid_fd(5)).
        let wd = add_watch(&self.inotify, format!("/proc/self/fd/{}", folder.as_raw_fd()), flags)?;
        self.paths.insert(wd, place.clone());
        if !self.recursive || !is_folder(&folder) {
            return Ok(());
        }
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let Ok(stat) = statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if [".", ".."].contains(&name) || FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                continue;
            }
            let Ok(below) = place.join(name, seen) else { continue };
            match self.add(home, seen, &below, depth + 1) {
                Err(error) if is_out_of_watches(&error) => return Err(error),
                // Gone meanwhile, or closed to the programs.
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_folder(file: &OwnedFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn is_out_of_watches(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOSPC.raw_os_error())
}

/// Begins to watch a folder, or a file.
pub(crate) async fn watch(
    shared: &Arc<Shared>,
    tree: &Tree,
    place: Place,
    recursive: bool,
) -> Result<Changes, Problem> {
    let permit = shared.watches.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::busy("too many watches: end some"))?;
    let seen = tree.home().to_path_buf();
    let at = place.clone();
    let folders = tree.with(&at, move |home| {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mut folders = Folders { inotify, paths: HashMap::new(), recursive };
        folders.add(home, &seen, &place, 0)?;
        Ok(folders)
    });
    let folders = folders.await.map_err(|problem| match problem.errno() {
        Some(Errno::NOSPC | Errno::MFILE) => Problem::busy(
            "this machine watches too many files: raise fs.inotify.max_user_watches and max_user_instances",
        ),
        _ => problem,
    })?;
    let inotify = folders.inotify.try_clone().and_then(watched);
    let inotify = inotify.map_err(|error| Problem::failed(format!("cannot watch: {error}")))?;
    let (send, events) = mpsc::channel(MAX_WAITING);
    let watching = tokio::spawn(follow(tree.clone(), folders, inotify, send)).abort_handle();
    Ok(Changes { events, watching, _permit: permit })
}

/// An event as the kernel tells it.
struct Raw {
    wd: i32,
    flags: ReadFlags,
    cookie: u32,
    name: String,
}

async fn follow(tree: Tree, mut folders: Folders, inotify: AsyncFd<OwnedFd>, to: mpsc::Sender<Change>) {
    loop {
        let Ok(mut ready) = inotify.readable().await else { return };
        let Ok(read) = ready.try_io(|fd| read(fd.get_ref())) else { continue };
        let Ok(raw) = read else { return };
        let mut fresh = Vec::new();
        let changes = changes(raw, &mut folders, tree.home(), &mut fresh);
        if let Some(at) = fresh.first().cloned() {
            let seen = tree.home().to_path_buf();
            let added = tree.with(&at, move |home| {
                for place in fresh {
                    // Gone meanwhile, or there are too many.
                    let _ = folders.add(home, &seen, &place, 0);
                }
                Ok(folders)
            });
            match added.await {
                Ok(back) => folders = back,
                Err(_) => return,
            }
        }
        // Who hears of a new folder may count on hearing of what is in it from then on.
        for change in changes {
            match to.try_send(change) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }
}

fn read(fd: &OwnedFd) -> io::Result<Vec<Raw>> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = Reader::new(fd, &mut buffer);
    let mut all = Vec::new();
    loop {
        match reader.next() {
            Ok(event) => all.push(Raw {
                wd: event.wd(),
                flags: event.events(),
                cookie: event.cookie(),
                name: event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            }),
            Err(Errno::WOULDBLOCK) if all.is_empty() => return Err(io::ErrorKind::WouldBlock.into()),
            Err(_) => return Ok(all),
        }
        if reader.is_buffer_empty() {
            return Ok(all);
        }
    }
}

/// What the events say. Both halves of a rename within what is watched come one after the other.
fn changes(raw: Vec<Raw>, folders: &mut Folders, seen: &Path, fresh: &mut Vec<Place>) -> Vec<Change> {
    let mut all: Vec<Change> = Vec::with_capacity(raw.len());
    let mut left: Option<(u32, usize)> = None;
    for event in raw {
        if event.flags.contains(ReadFlags::IGNORED) {
            folders.paths.remove(&event.wd);
            continue;
        }
        let Some(folder) = folders.paths.get(&event.wd) else { continue };
        let place = if event.name.is_empty() { Ok(folder.clone()) } else { folder.join(&event.name, seen) };
        let Ok(place) = place else { continue };
        let is_directory = event.flags.contains(ReadFlags::ISDIR);
        // Ours are files of somebody's only when they have their name.
        let is_draft = event.name.starts_with(DRAFT);
        let change = |what| Change { what, path: place.shown.clone(), from: None, is_directory };
        if event.flags.contains(ReadFlags::MOVED_TO) {
            if is_directory && folders.recursive {
                fresh.push(place.clone());
            }
            match left.take() {
                Some((cookie, at)) if cookie == event.cookie => {
                    let from = std::mem::replace(&mut all[at].path, place.shown.clone());
                    all[at].what = What::Rename;
                    all[at].from = Some(from);
                }
                _ => all.push(change(What::Create)),
            }
        } else if is_draft {
            continue;
        } else if event.flags.contains(ReadFlags::MOVED_FROM) {
            left = Some((event.cookie, all.len()));
            all.push(change(What::Delete));
        } else if event.flags.contains(ReadFlags::CREATE) {
            if is_directory && folders.recursive {
                fresh.push(place.clone());
            }
            all.push(change(What::Create));
        } else if event.flags.intersects(ReadFlags::MODIFY | ReadFlags::CLOSE_WRITE) {
            let change = change(What::Modify);
            // Every write makes one, and the end another.
            if all.last() != Some(&change) {
                all.push(change);
            }
        } else if event.flags.contains(ReadFlags::DELETE) {
            all.push(change(What::Delete));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_are_paired() {
        let home = Path::new("/home/user");
        let place = Place::parse("a", home).unwrap();
        let mut folders = Folders {
            inotify: init(CreateFlags::CLOEXEC).unwrap(),
            paths: HashMap::from([(1, place)]),
            recursive: true,
        };
        let raw = |flags, cookie, name: &str| Raw { wd: 1, flags, cookie, name: name.into() };
        let mut fresh = Vec::new();
        let all = changes(
            vec![
                raw(ReadFlags::MOVED_FROM, 7, "old"),
                raw(ReadFlags::MOVED_TO, 7, "new"),
                raw(ReadFlags::MOVED_FROM, 8, "gone"),
                raw(ReadFlags::MOVED_TO, 9, "came"),
                raw(ReadFlags::MODIFY, 0, "x"),
                raw(ReadFlags::CLOSE_WRITE, 0, "x"),
                raw(ReadFlags::CREATE | ReadFlags::ISDIR, 0, "folder"),
                raw(ReadFlags::CREATE, 0, ".glasshouse-0"),
                raw(ReadFlags::DELETE, 0, "x"),
            ],
            &mut folders,
            home,
            &mut fresh,
        );
        let seen: Vec<_> = all.iter().map(|one| (one.what, &one.path[13..], one.from.as_deref())).collect();
        assert_eq!(
            seen,
            [
                (What::Rename, "new", Some("/home/user/a/old")),
                (What::Delete, "gone", None),
                (What::Create, "came", None),
                (What::Modify, "x", None),
                (What::Create, "folder", None),
                (What::Delete, "x", None),
            ]
        );
        assert_eq!(fresh.len(), 1);
    }
}
