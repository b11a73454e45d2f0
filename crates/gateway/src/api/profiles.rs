//! Profiles that outlive their sessions.

use std::{
    io::{self, BufWriter, Read, Write},
    sync::Arc,
};

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use glasshouse_fleet::{Fleet, Power, Profile};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use utoipa::ToSchema;

use crate::{
    Shared,
    caller::{Caller, Words},
    problem::{Answer, Problem},
    proxy::patient,
};

/// Archives that are packed or unpacked at a time; others wait.
static ARCHIVES: Semaphore = Semaphore::const_new(4);
/// Pieces of an archive on their way, and the size of each in bytes.
const PIECES: usize = 8;
const PIECE: usize = 64 * 1024;
/// Bytes of an archive that is refused that are read on.
const MAX_UNWANTED: usize = 256 * 1024 * 1024;

/// All profiles.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Profiles {
    /// By name.
    profiles: Vec<Profile>,
}

/// Profiles that are kept, each with the session that uses it.
#[utoipa::path(get, path = "/api/v1/profiles", tag = "profiles", responses(
    (status = 200, description = "The profiles.", body = Profiles),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `view` over the fleet.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> Answer<Json<Profiles>> {
    caller.fleet(Power::View)?;
    Ok(Json(Profiles { profiles: shared.fleet.profiles().await? }))
}

/// Deletes a profile.
#[utoipa::path(delete, path = "/api/v1/profiles/{name}", tag = "profiles", params(
    ("name" = String, Path, description = "Name of the profile."),
), responses(
    (status = 204, description = "It is gone."),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control` over the fleet.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is used.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn delete(State(shared): State<Arc<Shared>>, caller: Caller, words: Words) -> Answer<StatusCode> {
    caller.fleet(Power::Control)?;
    let name = words.get("name");
    shared.fleet.delete_profile(&name).await?;
    shared.fleet.audit(caller.did("profile.delete", &name, "")).await;
    Ok(StatusCode::NO_CONTENT)
}

/// A profile as tar.zst, log-ins included, caches not.
#[utoipa::path(get, path = "/api/v1/profiles/{name}/archive", tag = "profiles", params(
    ("name" = String, Path, description = "Name of the profile."),
), responses(
    (status = 200, description = "The archive.", content_type = "application/zstd", body = Vec<u8>),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `admin` over the fleet.", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is none.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is used.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn export(State(shared): State<Arc<Shared>>, caller: Caller, words: Words) -> Answer<Response> {
    caller.fleet(Power::Admin)?;
    let name = words.get("name");
    // Never closed.
    let place = ARCHIVES.acquire().await;
    let write = shared.fleet.export_profile(&name).await?;
    shared.fleet.audit(caller.did("profile.export", &name, "")).await;
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut out = BufWriter::with_capacity(PIECE, Sending(sender.clone()));
        if let Err(error) = write(&mut out).and_then(|()| out.flush()) {
            // Without this the client would take half an archive for a whole one.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    let headers = [
        (header::CONTENT_TYPE, "application/zstd".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.tar.zst\"")),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Makes a profile of a tar.zst, which may unpack to 2 GiB at most.
///
/// Paths that begin with / or have `..`, links that lead out of it, hard links and devices are refused.
#[utoipa::path(put, path = "/api/v1/profiles/{name}/archive", tag = "profiles", params(
    ("name" = String, Path, description = "Name of the profile: 1 to 63 letters, digits, '.', '_' and '-'.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"),
), request_body(content = Vec<u8>, content_type = "application/zstd"), responses(
    (status = 201, description = "It is there."),
    (status = 401, description = "No token.", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "The token lacks the power `control` over the fleet.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "There is one already.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The name is wrong, or the archive cannot be taken.", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn import(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    words: Words,
    request: Request,
) -> Answer<StatusCode> {
    caller.fleet(Power::Control)?;
    let name = words.get("name");
    let _place = ARCHIVES.acquire().await;
    let (sender, receiver) = mpsc::channel(PIECES);
    let fleet = shared.fleet.clone();
    let wanted = name.clone();
    let unpacking = tokio::task::spawn_blocking(move || fleet.import_profile(&wanted, Receiving::new(receiver)));
    let mut body = std::pin::pin!(patient(request.into_body()));
    let mut unwanted = 0;
    while let Some(piece) = body.next().await {
        let (length, is_broken) = (piece.as_ref().map_or(0, Bytes::len), piece.is_err());
        // When no more is wanted, the rest is read all the same, or the client would not come to read why; not without end.
        if sender.send(piece.map_err(io::Error::other)).await.is_err() {
            unwanted += length;
        }
        if is_broken || unwanted > MAX_UNWANTED {
            break;
        }
    }
    drop(sender);
    let done = unpacking.await.map_err(|error| glasshouse_fleet::Error::Session(error.to_string()))?;
    done?;
    shared.fleet.audit(caller.did("profile.import", &name, "")).await;
    Ok(StatusCode::CREATED)
}

/// The writing end of a body.
struct Sending(mpsc::Sender<io::Result<Bytes>>);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reading end of a body, with an end to how much is read.
struct Receiving {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    left: u64,
}

impl Receiving {
    fn new(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { receiver, piece: Bytes::new(), left: Fleet::PROFILE_BYTES }
    }
}

impl Read for Receiving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other("it is too large"))?;
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
