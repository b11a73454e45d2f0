//! Bodies of requests, as they come, and what is made of them: a file, or the files of an archive.

use std::{fs::File, time::Duration};

use axum::body::{Body, BodyDataStream};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::{
    place::Place,
    tar::{BLOCK, Entry, Reader},
    tree::{Tree, problem},
};
use crate::problem::Problem;

/// How long a client may pause.
const PAUSE: Duration = Duration::from_secs(30);
/// Most files and folders of an archive.
const MAX_ENTRIES: usize = 10_000;
/// Most paths that are listed in the answer.
const MAX_LISTED: usize = 1_024;

/// A body of bounded length.
pub(super) struct Incoming {
    stream: BodyDataStream,
    rest: Bytes,
    left: u64,
    limit: u64,
}

impl Incoming {
    pub(super) fn new(body: Body, limit: u64) -> Self {
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

    /// Exactly as many bytes as fit.
    async fn fill(&mut self, mut to: &mut [u8]) -> Result<(), Problem> {
        while !to.is_empty() {
            let mut part = self.next(to.len() as u64).await?.ok_or_else(short)?;
            let (now, later) = to.split_at_mut(part.len());
            part.copy_to_slice(now);
            to = later;
        }
        Ok(())
    }

    async fn skip(&mut self, mut bytes: u64) -> Result<(), Problem> {
        while bytes > 0 {
            bytes -= self.next(bytes).await?.ok_or_else(short)?.len() as u64;
        }
        Ok(())
    }

    /// Writes as many bytes to a file, or all; how many those are.
    async fn write(&mut self, file: File, bytes: Option<u64>, shown: &str) -> Result<u64, Problem> {
        let mut file = tokio::fs::File::from_std(file);
        let mut written = 0;
        while bytes != Some(written) {
            let most = bytes.map_or(u64::MAX, |bytes| bytes - written);
            let Some(part) = self.next(most).await? else {
                if bytes.is_some() {
                    return Err(short());
                }
                break;
            };
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
pub(super) async fn write(tree: &Tree, place: Place, mut body: Incoming) -> Result<u64, Problem> {
    let (file, draft) = tree.begin(place.clone(), 0o644).await?;
    let written = body.write(file, None, &place.shown).await?;
    tree.finish(&place, draft).await?;
    Ok(written)
}

/// Writes the files of an archive below a folder; the first of their paths, and whether there are more. What was written
/// before something was wrong stays.
pub(super) async fn unpack(tree: &Tree, into: &Place, mut body: Incoming) -> Result<(Vec<String>, bool), Problem> {
    let mut reader = Reader::default();
    let (mut paths, mut count) = (Vec::new(), 0_usize);
    let mut block = [0; BLOCK];
    tree.make_folder(into.clone()).await?;
    loop {
        // Some archives lack their end.
        let Some(first) = body.next(1).await? else { break };
        block[0] = first[0];
        body.fill(&mut block[1..]).await?;
        let entry = reader.header(&block).map_err(Problem::invalid)?;
        let (place, size) = match &entry {
            Entry::End => break,
            Entry::Skip { size } => (None, *size),
            Entry::Extra { size } => {
                // Bounded by the reader.
                let mut data = vec![0; usize::try_from(*size).unwrap_or(0)];
                body.fill(&mut data).await?;
                reader.extra(&data).map_err(Problem::invalid)?;
                body.skip(padding(*size)).await?;
                continue;
            }
            Entry::File { name, size, .. } => (Some(into.join(name, tree.home())?), *size),
            Entry::Folder { name } => (Some(into.join(name, tree.home())?), 0),
        };
        if size > body.left.saturating_add(body.rest.len() as u64) {
            return Err(Problem::too_large(format!("the archive is too large: the limit is {} bytes", body.limit)));
        }
        let Some(place) = place else {
            body.skip(size + padding(size)).await?;
            continue;
        };
        count += 1;
        if count > MAX_ENTRIES {
            return Err(Problem::too_large(format!("the archive has more than {MAX_ENTRIES} entries")));
        }
        if let Entry::File { mode, .. } = entry {
            let (file, draft) = tree.begin(place.clone(), mode).await?;
            body.write(file, Some(size), &place.shown).await?;
            tree.finish(&place, draft).await?;
            body.skip(padding(size)).await?;
        } else {
            tree.make_folder(place.clone()).await?;
        }
        if paths.len() < MAX_LISTED {
            paths.push(place.shown);
        }
    }
    Ok((paths, count > MAX_LISTED))
}

/// Bytes up to the next whole block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
