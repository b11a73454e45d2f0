//! Folders as archives, made as they are sent: ordinary files and folders, links and all else left out.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat},
    io::Errno,
};
use tokio::sync::mpsc;

use super::{
    place::Place,
    tree::{DRAFT, MAX_DEPTH, Tree, beneath},
    zip,
};
use crate::{Shared, problem::Problem};

/// Bytes of a piece, and pieces on their way to the client; when it does not read, nothing more is packed.
const PIECE: usize = 64 * 1024;
const ON_THE_WAY: usize = 4;
/// Most files and folders of an archive.
const MAX_ENTRIES: usize = 200_000;

/// What kind of archive.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Tar,
    /// With this level of compression.
    Zstd(i32),
    Zip,
}

/// The archive of a folder, with names relative to it. An archive that cannot be ended well is cut off.
pub(crate) async fn pack(shared: &Arc<Shared>, tree: &Tree, place: Place, kind: Kind) -> Result<Body, Problem> {
    let permit = shared.archives.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::busy("too many archives are made or unpacked: wait for some"))?;
    let at = place.clone();
    let folder = tree.with(&at, move |home| beneath(home, &place.below, OFlags::RDONLY | OFlags::DIRECTORY)).await?;
    let (send, pieces) = mpsc::channel(ON_THE_WAY);
    let tree = tree.clone();
    tokio::spawn(async move {
        let failed = send.clone();
        let packed = tree.with(&at, move |_| {
            let out = Outlet { to: send, piece: Vec::with_capacity(PIECE) };
            write(folder, kind, out)
        });
        if let Err(problem) = packed.await {
            tracing::debug!(%problem, "an archive is cut off");
            // The client may be gone.
            let _ = failed.send(Err(io::Error::other(problem.to_string()))).await;
        }
        drop(permit);
    });
    let closed = shared.closed_flag();
    Ok(Body::from_stream(stream::unfold((pieces, closed), |(mut pieces, mut closed)| async move {
        let piece = tokio::select! {
            piece = pieces.recv() => piece?,
            _ = closed.wait_for(|is_closing| *is_closing) => Err(io::Error::other("the session ends")),
        };
        Some((piece, (pieces, closed)))
    })))
}

fn write(folder: OwnedFd, kind: Kind, out: Outlet) -> io::Result<()> {
    let mut left = MAX_ENTRIES;
    match kind {
        Kind::Tar => {
            let mut tar = tar::Builder::new(out);
            walk(&folder, "", 0, &mut left, &mut tar)?;
            tar.into_inner()?.flush()
        }
        Kind::Zstd(level) => {
            let mut tar = tar::Builder::new(zstd::Encoder::new(out, level)?);
            walk(&folder, "", 0, &mut left, &mut tar)?;
            tar.into_inner()?.finish()?.flush()
        }
        Kind::Zip => {
            let mut archive = zip::Writer::new(out);
            walk(&folder, "", 0, &mut left, &mut archive)?;
            archive.finish()?.flush()
        }
    }
}

/// Takes what is found.
trait Sink {
    fn folder(&mut self, name: &str, stat: &Stat) -> io::Result<()>;
    fn file(&mut self, name: &str, stat: &Stat, file: File) -> io::Result<()>;
}

/// As many bytes as the file had when it was found: what is written to it meanwhile is not waited for, and what is gone is zeros.
fn content(file: File, stat: &Stat) -> impl Read {
    file.take(u64::MAX).chain(io::repeat(0)).take(size(stat))
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn header(kind: tar::EntryType, stat: &Stat) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o777);
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(if kind.is_file() { size(stat) } else { 0 });
    header
}

impl<W: Write> Sink for tar::Builder<W> {
    fn folder(&mut self, name: &str, stat: &Stat) -> io::Result<()> {
        self.append_data(&mut header(tar::EntryType::Directory, stat), format!("{name}/"), io::empty())
    }

    fn file(&mut self, name: &str, stat: &Stat, file: File) -> io::Result<()> {
        self.append_data(&mut header(tar::EntryType::Regular, stat), name, content(file, stat))
    }
}

impl<W: Write> Sink for zip::Writer<W> {
    fn folder(&mut self, name: &str, stat: &Stat) -> io::Result<()> {
        zip::Writer::folder(self, name, stat.st_mode)
    }

    fn file(&mut self, name: &str, stat: &Stat, file: File) -> io::Result<()> {
        zip::Writer::file(self, name, stat.st_mode, &mut content(file, stat))
    }
}

fn walk(folder: &OwnedFd, path: &str, depth: usize, left: &mut usize, sink: &mut dyn Sink) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("folders are more than {MAX_DEPTH} deep")));
    }
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        // Names that are no UTF-8 could not be unpacked again by what we read archives with.
        let Ok(text) = name.to_str() else { continue };
        if [".", ".."].contains(&text) || text.starts_with(DRAFT) {
            continue;
        }
        // What is gone meanwhile is not there.
        let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let below = if path.is_empty() { text.to_owned() } else { format!("{path}/{text}") };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if ![FileType::Directory, FileType::RegularFile].contains(&kind) {
            continue;
        }
        *left =
            left.checked_sub(1).ok_or_else(|| io::Error::other(format!("there are more than {MAX_ENTRIES} files")))?;
        let mut flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        flags.set(OFlags::DIRECTORY, kind == FileType::Directory);
        let opened = match openat(folder.as_fd(), name, flags, Mode::empty()) {
            Ok(opened) => opened,
            // Exchanged meanwhile, or closed to the programs.
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::ACCESS | Errno::NXIO) => continue,
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&opened)?;
        if FileType::from_raw_mode(stat.st_mode) != kind {
            continue;
        }
        if kind == FileType::Directory {
            sink.folder(&below, &stat)?;
            walk(&opened, &below, depth + 1, left, sink)?;
        } else {
            sink.file(&below, &stat, opened.into())?;
        }
    }
    Ok(())
}

/// Sends what is written to it, from a thread.
struct Outlet {
    to: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.to.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
