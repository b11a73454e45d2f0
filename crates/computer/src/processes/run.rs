//! A process that runs to its end, and whose output is the answer: at the end, or as it comes.

use std::{
    convert::Infallible,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Sse, sse::Event},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::stream;
use glasshouse_desktop::{Desktop, Ended};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{io::AsyncWriteExt, sync::mpsc};
use utoipa::ToSchema;

use super::process::{Output, Start};
use crate::{
    Shared, answer,
    problem::{Answer, Problem},
};

/// How long the output is read on after the end, when others hold the pipes open.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// Pieces of output on their way to the client; when it does not read, the process waits.
const ON_THE_WAY: usize = 16;

/// What is to run.
#[derive(Deserialize, ToSchema)]
#[schema(as = RunProcess)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    #[serde(flatten)]
    start: Start,
    timeout_ms: Option<u64>,
    max_output_bytes: Option<usize>,
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RunOutcome)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    exit_code: Option<i32>,
    timed_out: bool,
    stdout: String,
    stderr: String,
    stdout_truncated: bool,
    stderr_truncated: bool,
    duration_ms: u64,
}

/// Ends the process when nobody waits for it any more.
pub(crate) struct Leash {
    pub(crate) desktop: Arc<Desktop>,
    pub(crate) number: u32,
    /// Nor when it has ended, or is somebody else's now.
    pub(crate) is_loose: bool,
}

impl Drop for Leash {
    fn drop(&mut self) {
        if !self.is_loose {
            self.desktop.signal(self.number, libc::SIGKILL);
        }
    }
}

/// A piece of output; whether it is of the errors.
type Piece = (bool, Bytes);

/// One stream, as far as it is wanted.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) bytes: Vec<u8>,
    pub(crate) truncated: bool,
}

impl Collected {
    fn add(&mut self, data: &[u8], limit: usize) {
        let fits = data.len().min(limit - self.bytes.len().min(limit));
        self.bytes.extend_from_slice(&data[..fits]);
        self.truncated |= fits < data.len();
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A process that runs: its output, and then how it ended; none when its time was over.
struct Running {
    pieces: mpsc::Receiver<Piece>,
    ended: Option<tokio::sync::oneshot::Receiver<Ended>>,
    leash: Leash,
    began: Instant,
    deadline: Instant,
    timed_out: bool,
    exit: Option<Ended>,
    closed: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Read the two streams, and write its input.
    helpers: Vec<tokio::task::JoinHandle<()>>,
    _place: super::table::Run,
}

impl Drop for Running {
    fn drop(&mut self) {
        for helper in &self.helpers {
            helper.abort();
        }
    }
}

impl Running {
    /// The next piece of output; none at the end.
    async fn next(&mut self) -> Option<Piece> {
        loop {
            let Some(ended) = &mut self.ended else {
                // Others may hold the pipes.
                return tokio::time::timeout_at(self.deadline.into(), self.pieces.recv()).await.ok().flatten();
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.deadline.into()) => {
                    self.timed_out = true;
                    self.kill();
                }
                () = &mut self.closed => self.kill(),
                Some(piece) = self.pieces.recv() => return Some(piece),
                exit = ended => {
                    self.exit = exit.ok();
                    self.leash.is_loose = true;
                    self.ended = None;
                    self.deadline = Instant::now() + AFTERWARDS;
                }
            }
        }
    }

    /// Ends it; what it has said until now is still to be had.
    fn kill(&mut self) {
        self.leash.desktop.signal(self.leash.number, libc::SIGKILL);
        self.leash.is_loose = true;
        self.ended = None;
        self.deadline = Instant::now();
    }

    fn duration_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

async fn begin(
    shared: &Shared,
    start: &Start,
    timeout_ms: Option<u64>,
    input: Option<Vec<u8>>,
) -> Result<Running, Problem> {
    let limits = shared.table.limits();
    let timeout = timeout_ms.unwrap_or(limits.default_run_timeout_ms);
    if timeout == 0 {
        return Err(Problem::invalid("timeoutMs must be greater than 0"));
    }
    let timeout = Duration::from_millis(timeout.min(limits.max_run_timeout_ms));
    let desktop = shared.desktop();
    if start.tty {
        return Err(Problem::invalid("a process with a terminal is started by POST /v1/processes"));
    }
    let folder = start.check(desktop)?;
    let place = shared.table.run()?;
    let broken = |error: io::Error| Problem::failed(format!("cannot start {}: {error}", start.command));
    let (output, their_output) = io::pipe().map_err(broken)?;
    let (errors, their_errors) = io::pipe().map_err(broken)?;
    let (send, pieces) = mpsc::channel(ON_THE_WAY);
    let began = Instant::now();
    let mut descriptors = vec![(their_output.into(), 1), (their_errors.into(), 2)];
    let mut feed = None;
    if let Some(input) = input {
        let (their_input, ours) = io::pipe().map_err(broken)?;
        descriptors.push((their_input.into(), 0));
        feed = Some((tokio::net::unix::pipe::Sender::from_owned_fd(ours.into()).map_err(broken)?, input));
    }
    let launched = start.launch(desktop, folder, descriptors).await?;
    let leash = Leash { desktop: desktop.clone(), number: launched.id, is_loose: false };
    let read = |fd: io::PipeReader, is_error| -> Result<_, Problem> {
        let (output, send) = (Output::pipe(fd.into()).map_err(broken)?, send.clone());
        Ok(tokio::spawn(output.pass(move |data| (is_error, data), send)))
    };
    let mut helpers = vec![read(output, false)?, read(errors, true)?];
    if let Some((mut pipe, input)) = feed {
        helpers.push(tokio::spawn(async move {
            // A process need not read what it is given.
            let _ = pipe.write_all(&input).await;
        }));
    }
    Ok(Running {
        pieces,
        ended: Some(launched.ended),
        leash,
        began,
        deadline: began + timeout,
        timed_out: false,
        exit: None,
        closed: Box::pin(shared.closed()),
        helpers,
        _place: place,
    })
}

/// A process that has run to its end, or until its time was over.
#[derive(Debug)]
pub(crate) struct Done {
    /// How it ended; none if its time was over.
    pub(crate) exit: Option<Ended>,
    pub(crate) timed_out: bool,
    pub(crate) stdout: Collected,
    pub(crate) stderr: Collected,
    pub(crate) duration_ms: u64,
}

/// Runs a process to its end with this on its standard input, and keeps as many bytes of each stream. Dropped, it is ended.
pub(crate) async fn to_end(
    shared: &Shared,
    start: &Start,
    timeout_ms: Option<u64>,
    input: Option<Vec<u8>>,
    limit: usize,
) -> Result<Done, Problem> {
    Ok(collect(begin(shared, start, timeout_ms, input).await?, limit).await)
}

/// Runs a process to its end.
///
/// With `Accept: text/event-stream` the output comes as it is written: events `stdout` and `stderr` with base64, and `exit`.
#[utoipa::path(post, path = "/v1/processes/run", tag = "processes", request_body = Asked, responses((status = 200, description = "What became of it.", body = Outcome)))]
pub(crate) async fn run(State(shared): State<Arc<Shared>>, headers: HeaderMap, Json(asked): Json<Asked>) -> Answer {
    let limit = shared.table.limits().max_output_bytes;
    let limit = asked.max_output_bytes.map_or(limit, |asked| asked.min(limit));
    let running = begin(&shared, &asked.start, asked.timeout_ms, None).await?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("text/event-stream") {
        return Ok(Sse::new(events(running)).into_response());
    }
    Ok(answer::later(async move { Outcome::from(collect(running, limit).await) }))
}

async fn collect(mut running: Running, limit: usize) -> Done {
    let (mut stdout, mut stderr) = (Collected::default(), Collected::default());
    while let Some((is_error, data)) = running.next().await {
        if is_error { &mut stderr } else { &mut stdout }.add(&data, limit);
    }
    Done { exit: running.exit, timed_out: running.timed_out, stdout, stderr, duration_ms: running.duration_ms() }
}

impl From<Done> for Outcome {
    fn from(done: Done) -> Self {
        Self {
            exit_code: done.exit.and_then(|exit| exit.code),
            timed_out: done.timed_out,
            stdout: done.stdout.text(),
            stderr: done.stderr.text(),
            stdout_truncated: done.stdout.truncated,
            stderr_truncated: done.stderr.truncated,
            duration_ms: done.duration_ms,
        }
    }
}

/// Events `stdout` and `stderr` with base64, and `exit` at the end.
fn events(running: Running) -> impl stream::Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Some(running), |running| async move {
        let mut running = running?;
        if let Some((is_error, data)) = running.next().await {
            let name = if is_error { "stderr" } else { "stdout" };
            return Some((Ok(Event::default().event(name).data(STANDARD.encode(&data))), Some(running)));
        }
        let exit = json!({
            "exitCode": running.exit.and_then(|exit| exit.code),
            "timedOut": running.timed_out,
            "durationMs": running.duration_ms(),
        });
        Some((Ok(Event::default().event("exit").data(exit.to_string())), None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_to_the_byte() {
        let mut collected = Collected::default();
        collected.add(b"abc", 5);
        assert!(!collected.truncated);
        collected.add(b"def", 5);
        collected.add(b"g", 5);
        assert_eq!((collected.text().as_str(), collected.truncated), ("abcde", true));
    }
}
