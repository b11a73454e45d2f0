//! Bodies of requests, as they come, and what is made of them: a file, or the files of an archive.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::OwnedFd,
    path::Path,
    time::Duration,
};

use axum::body::{Body, BodyDataStream};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::{io::AsyncWriteExt, sync::mpsc};

use super::{
    memory,
    place::{Base, Place},
    tar::{BLOCK, Entry, Reader},
    tree::{Tree, begin_in, make, problem},
    zip,
};
use crate::problem::Problem;

/// How long a client may pause.
const PAUSE: Duration = Duration::from_secs(30);
/// Bytes that are copied at once, and pieces of a body on their way to a thread.
const CHUNK: usize = 64 * 1024;
const ON_THE_WAY: usize = 4;
/// Most files and folders of an archive.
const MAX_ENTRIES: usize = 10_000;
/// Most paths that are listed in the answer.
const MAX_LISTED: usize = 1_024;

/// A body of bounded length.
pub(crate) struct Incoming {
    stream: BodyDataStream,
    rest: Bytes,
    left: u64,
    limit: u64,
}

impl Incoming {
    pub(crate) fn new(body: Body, limit: u64) -> Self {
        Self { stream: body.into_data_stream(), rest: Bytes::new(), left: limit, limit }
    }

    /// Some bytes, at most `most`; none at the end.
    async fn next(&mut self, most: u64) -> Result<Option<Bytes>, Problem> {
        while self.rest.is_empty() {
            let part = tokio::time::timeout(PAUSE, self.stream.next()).await;
            match part.map_err(|_| Problem::late("the body did not go on within 30 s"))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(Problem::invalid(format!("the body ended early: {error}"))),
                Some(Ok(part)) => self.rest = part,
            }
            let too_large = || Problem::too_large(format!("the body is too large: the limit is {} bytes", self.limit));
            self.left = self.left.checked_sub(self.rest.len() as u64).ok_or_else(too_large)?;
        }
        let length = self.rest.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(Some(self.rest.split_to(length)))
    }

    /// Writes all of it to a file; how many bytes that are.
    async fn write(&mut self, file: File, shown: &str) -> Result<u64, Problem> {
        let mut file = tokio::fs::File::from_std(file);
        let mut written = 0;
        while let Some(part) = self.next(u64::MAX).await? {
            file.write_all(&part).await.map_err(|error| problem(&error, shown))?;
            written += part.len() as u64;
        }
        file.flush().await.map_err(|error| problem(&error, shown))?;
        Ok(written)
    }
}

fn short() -> Problem {
    Problem::invalid("the archive ends early")
}

/// Writes a file. It has its name when all of it is there.
pub(crate) async fn write(tree: &Tree, place: Place, mode: u32, mut body: Incoming) -> Result<u64, Problem> {
    let (file, draft) = tree.begin(place.clone(), mode).await?;
    let written = match place.base {
        Base::Home => body.write(file, &place.shown).await?,
        Base::Temporary => {
            let mut to = memory::Writer::start(tree.desktop(), file, &place.shown).await?;
            while let Some(part) = body.next(u64::MAX).await? {
                to.write(&part).await?;
            }
            to.finish().await?
        }
    };
    tree.finish(&place, draft).await?;
    Ok(written)
}

/// Copies a file that has come to a place in memory.
pub(crate) async fn copy(tree: &Tree, mut file: File, place: Place, mode: u32) -> Result<(), Problem> {
    let (to, draft) = tree.begin(place.clone(), mode).await?;
    file.seek(SeekFrom::Start(0)).map_err(|error| problem(&error, &place.shown))?;
    memory::copy(tree.desktop(), file, to, &place.shown).await?;
    tree.finish(&place, draft).await
}

/// Passes a body on to who reads it on a thread.
async fn pass(mut body: Incoming, to: mpsc::Sender<Result<Bytes, Problem>>) {
    loop {
        let part = match body.next(u64::MAX).await {
            Ok(Some(part)) => Ok(part),
            Ok(None) => return,
            Err(problem) => Err(problem),
        };
        let is_last = part.is_err();
        if to.send(part).await.is_err() || is_last {
            return;
        }
    }
}

/// A body, to be read on a thread.
struct Inlet {
    parts: mpsc::Receiver<Result<Bytes, Problem>>,
    rest: Bytes,
    /// Why there is no more.
    problem: Option<Problem>,
}

impl Read for Inlet {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.parts.blocking_recv() {
                None => return Ok(0),
                Some(Ok(part)) => self.rest = part,
                Some(Err(problem)) => {
                    self.problem = Some(problem);
                    return Err(io::ErrorKind::Other.into());
                }
            }
        }
        let length = self.rest.len().min(to.len());
        self.rest.split_to(length).copy_to_slice(&mut to[..length]);
        Ok(length)
    }
}

/// Writes the files of an archive below a folder; the first of their paths, and whether there are more. What was written
/// before something was wrong stays.
pub(crate) async fn unpack(tree: &Tree, into: &Place, body: Incoming) -> Result<(Vec<String>, bool), Problem> {
    can_hold_files(into)?;
    let (send, parts) = mpsc::channel(ON_THE_WAY);
    let limits = Limits { bytes: body.limit, strip: 0 };
    let mut inlet = Inlet { parts, rest: Bytes::new(), problem: None };
    let (place, seen) = (into.clone(), tree.home().to_path_buf());
    let work = tree.with(into, move |home| {
        let unpacked = untar(&mut inlet, home, &seen, &place, limits);
        Ok(unpacked.map_err(|problem| inlet.problem.take().unwrap_or(problem)))
    });
    tokio::join!(pass(body, send), work).1?
}

/// Whether an archive may be unpacked there: we write its files ourselves, and what we write to memory is not counted as the
/// session's.
pub(crate) fn can_hold_files(into: &Place) -> Result<(), Problem> {
    match into.base {
        Base::Home => Ok(()),
        Base::Temporary => Err(Problem::denied("archives are unpacked below HOME only: move single files to /tmp")),
    }
}

/// What an archive may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most bytes of its files together.
    pub(crate) bytes: u64,
    /// Folders that are taken off the beginning of each name.
    pub(crate) strip: usize,
}

impl Limits {
    fn take(&mut self, size: u64, limit: u64) -> Result<(), Problem> {
        let too_large = || Problem::too_large(format!("the archive is too large: the limit is {limit} bytes"));
        self.bytes = self.bytes.checked_sub(size).ok_or_else(too_large)?;
        Ok(())
    }
}

/// The same for an archive that is read on this thread, which has the rights of the programs. `seen` is HOME as they see it.
pub(crate) fn untar(
    source: &mut dyn Read,
    home: &OwnedFd,
    seen: &Path,
    into: &Place,
    limits: Limits,
) -> Result<(Vec<String>, bool), Problem> {
    let mut left = limits;
    let mut reader = Reader::default();
    let (mut paths, mut count) = (Vec::new(), 0_usize);
    let mut block = [0; BLOCK];
    make(home, &into.below).map_err(|error| problem(&error, &into.shown))?;
    // Some archives lack their end.
    while fill(source, &mut block)? {
        let entry = reader.header(&block).map_err(Problem::invalid)?;
        let (name, size, mode) = match entry {
            Entry::End => break,
            Entry::Skip { size } => {
                skip(source, size.saturating_add(padding(size)))?;
                continue;
            }
            Entry::Extra { size } => {
                // Bounded by the reader.
                let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
                source.read_exact(&mut data).map_err(|_| short())?;
                reader.extra(&data).map_err(Problem::invalid)?;
                skip(source, padding(size))?;
                continue;
            }
            Entry::File { name, size, mode } => (name, size, Some(mode)),
            Entry::Folder { name } => (name, 0, None),
        };
        left.take(size, limits.bytes)?;
        count += 1;
        if count > MAX_ENTRIES {
            return Err(Problem::too_large(format!("the archive has more than {MAX_ENTRIES} entries")));
        }
        // Before anything is stripped: a name that leads out is one, whatever is left of it.
        let place = into.join(&name, seen)?;
        let place = match stripped(&name, limits.strip) {
            _ if limits.strip == 0 => place,
            "" => {
                skip(source, size.saturating_add(padding(size)))?;
                continue;
            }
            name => into.join(name, seen)?,
        };
        let failed = |error: io::Error| problem(&error, &place.shown);
        if let Some(mode) = mode {
            put(source, home, &place, size, mode)?;
            skip(source, padding(size))?;
        } else {
            make(home, &place.below).map_err(failed)?;
        }
        if paths.len() < MAX_LISTED {
            paths.push(place.shown);
        }
    }
    Ok((paths, count > MAX_LISTED))
}

/// Writes the next bytes to a file of this name. It has its name when all of it is there.
fn put(source: &mut dyn Read, home: &OwnedFd, place: &Place, size: u64, mode: u32) -> Result<(), Problem> {
    let (folder, name) = place.split()?;
    let failed = |error: io::Error| problem(&error, &place.shown);
    let (mut file, draft) = begin_in(home, folder, name.to_owned(), mode).map_err(failed)?;
    let mut buffer = vec![0; CHUNK];
    let mut left = size;
    while left > 0 {
        let most = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
        let read = source.read(&mut buffer[..most]).map_err(|error| lost(&error))?;
        if read == 0 {
            return Err(short());
        }
        file.write_all(&buffer[..read]).map_err(failed)?;
        left -= read as u64;
    }
    draft.finish().map_err(failed)
}

fn stripped(mut name: &str, folders: usize) -> &str {
    name = name.trim_start_matches("./");
    for _ in 0..folders {
        name = name.split_once('/').map_or("", |(_, rest)| rest.trim_start_matches('/'));
    }
    name
}

fn lost(error: &io::Error) -> Problem {
    Problem::invalid(format!("the archive cannot be read: {error}"))
}

/// Fills a block; false at the end.
fn fill(source: &mut dyn Read, block: &mut [u8]) -> Result<bool, Problem> {
    let mut filled = 0;
    while filled < block.len() {
        match source.read(&mut block[filled..]).map_err(|error| lost(&error))? {
            0 if filled == 0 => return Ok(false),
            0 => return Err(short()),
            read => filled += read,
        }
    }
    Ok(true)
}

fn skip(source: &mut dyn Read, bytes: u64) -> Result<(), Problem> {
    let skipped = io::copy(&mut source.take(bytes), &mut io::sink()).map_err(|error| lost(&error))?;
    if skipped == bytes { Ok(()) } else { Err(short()) }
}

/// Writes the files of a zip archive below a folder, on a thread that has the rights of the programs.
pub(crate) fn unzip(source: &File, home: &OwnedFd, seen: &Path, into: &Place, limits: Limits) -> Result<(), Problem> {
    let mut left = limits;
    let entries = zip::read(source).map_err(Problem::invalid)?;
    // All names are looked at before anything is written.
    let mut places = Vec::with_capacity(entries.len());
    for entry in &entries {
        left.take(entry.size, limits.bytes)?;
        places.push(into.join(&entry.name, seen).map_err(|_| Problem::invalid("a name leads out of the folder"))?);
    }
    make(home, &into.below).map_err(|error| problem(&error, &into.shown))?;
    for (entry, place) in entries.iter().zip(&places) {
        if entry.is_folder {
            make(home, &place.below).map_err(|error| problem(&error, &place.shown))?;
            continue;
        }
        let mut content = zip::Content::of(source, entry).map_err(Problem::invalid)?;
        put(&mut content, home, place, entry.size, entry.mode)?;
    }
    Ok(())
}

/// Bytes up to the next whole block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
