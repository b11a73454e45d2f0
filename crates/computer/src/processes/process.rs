//! One process: its ends of the pipes or the terminal, and what became of it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use glasshouse_desktop::{Desktop, Ended, Error, Launch, Launched};
use parking_lot::Mutex;
use rustix::termios::{Winsize, tcsetwinsize};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, unix::AsyncFd},
    net::unix::pipe,
    sync::{mpsc, watch},
};
use utoipa::ToSchema;

use super::log::{Log, Stream, Used};
use crate::{problem::Problem, time};

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;
/// How long the output of a process that ended is read on, when others hold its pipes open.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// How long a process may take to read what it is given.
const READS_WITHIN: Duration = Duration::from_secs(10);
/// Longest name of a program, and most arguments and variables. How long all are together is bounded by the desktop.
const MAX_WORD: usize = 64 * 1024;
const MAX_WORDS: usize = 1_024;

/// Who has started a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Owner {
    User,
    Desktop,
    System,
}

/// A program to start.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[schema(as = StartProcess)]
pub(crate) struct Start {
    pub(crate) command: String,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    pub(crate) cwd: Option<String>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) tty: bool,
    #[serde(default)]
    pub(crate) interactive: bool,
}

impl Start {
    /// Checks it, and says where it runs.
    pub(crate) fn check(&self, desktop: &Desktop) -> Result<PathBuf, Problem> {
        if !desktop.is_enclosed() {
            let text =
                "this session has no walls, so it starts no programs for others: start it with --isolation=walls";
            return Err(Problem::denied(text));
        }
        if self.command.is_empty() {
            return Err(Problem::invalid("command must not be empty"));
        }
        let words = || std::iter::once(&self.command).chain(&self.args).chain(self.env.keys()).chain(self.env.values());
        if words().any(|word| word.len() > MAX_WORD || word.contains('\0')) || words().count() > MAX_WORDS {
            return Err(Problem::invalid("command, args or env are too long, or have a zero byte"));
        }
        if self.env.keys().any(|name| name.is_empty() || name.contains('=')) {
            return Err(Problem::invalid("env: a name must not be empty or have an equals sign"));
        }
        let folder = Path::new(self.cwd.as_deref().unwrap_or("."));
        if folder.as_os_str().len() > 4_096 || folder.components().any(|part| part == Component::ParentDir) {
            return Err(Problem::invalid("cwd must be a path without .."));
        }
        // Absolute paths stay as they are.
        Ok(desktop.home_inside().join(folder.strip_prefix(".").unwrap_or(folder)))
    }

    /// Starts it with these descriptors.
    pub(crate) async fn launch(
        &self,
        desktop: &Desktop,
        folder: PathBuf,
        descriptors: Vec<(OwnedFd, i32)>,
    ) -> Result<Launched, Problem> {
        let launch = Launch {
            program: self.command.clone().into(),
            args: self.args.iter().map(OsString::from).collect(),
            environment: self.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            folder: Some(folder),
            descriptors,
            has_terminal: self.tty,
        };
        desktop.launch(launch).await.map_err(|error| match error {
            Error::NoSuchProgram(_) => Problem::no_program(error.to_string()),
            error => Problem::failed(format!("cannot start {}: {error}", self.command)),
        })
    }
}

/// What clients see of a process.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Process)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Info {
    id: String,
    command: String,
    args: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
    tty: bool,
    interactive: bool,
    owner: Owner,
    status: &'static str,
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    created_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exited_at_ms: Option<u64>,
}

/// Our side of its standard input.
enum Input {
    Pipe(pipe::Sender),
    Terminal(Arc<AsyncFd<OwnedFd>>),
    /// It is over.
    None,
}

/// See the module.
pub(crate) struct Process {
    id: String,
    /// For the desktop.
    number: u32,
    pid: i32,
    start: Start,
    pub(crate) owner: Owner,
    created: SystemTime,
    exit: watch::Sender<Option<(Ended, SystemTime)>>,
    pub(crate) log: Log,
    input: tokio::sync::Mutex<Input>,
    terminal: Option<Arc<AsyncFd<OwnedFd>>>,
    desktop: Arc<Desktop>,
    /// Read its output and wait for its end.
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl Process {
    /// Starts a process whose output is kept.
    pub(crate) async fn start(
        id: String,
        start: Start,
        owner: Owner,
        desktop: Arc<Desktop>,
        used: Used,
        limit: usize,
    ) -> Result<Arc<Self>, Problem> {
        let folder = start.check(&desktop)?;
        let broken = |error: io::Error| Problem::failed(format!("cannot start {}: {error}", start.command));
        let (launched, input, outputs) = if start.tty {
            let (ours, theirs) = desktop.terminal().await.map_err(broken)?;
            let _ = tcsetwinsize(&ours, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 });
            let again = || theirs.try_clone().map_err(broken);
            let descriptors = vec![(again()?, 0), (again()?, 1), (again()?, 2)];
            drop(theirs);
            let ours = Arc::new(watched(ours).map_err(broken)?);
            let launched = start.launch(&desktop, folder, descriptors).await?;
            (launched, Input::Terminal(ours.clone()), vec![(Output::Terminal(ours), Stream::Pty)])
        } else {
            let (their_input, input) = io::pipe().map_err(broken)?;
            let (output, their_output) = io::pipe().map_err(broken)?;
            let (errors, their_errors) = io::pipe().map_err(broken)?;
            let descriptors = vec![(their_input.into(), 0), (their_output.into(), 1), (their_errors.into(), 2)];
            let input = pipe::Sender::from_owned_fd(input.into()).map_err(broken)?;
            let output = Output::pipe(output.into()).map_err(broken)?;
            let errors = Output::pipe(errors.into()).map_err(broken)?;
            let launched = start.launch(&desktop, folder, descriptors).await?;
            (launched, Input::Pipe(input), vec![(output, Stream::Stdout), (errors, Stream::Stderr)])
        };
        let terminal = match &input {
            Input::Terminal(terminal) => Some(terminal.clone()),
            Input::Pipe(_) | Input::None => None,
        };
        let Launched { id: number, pid, ended } = launched;
        let process = Arc::new(Self {
            id,
            number,
            pid,
            start,
            owner,
            created: SystemTime::now(),
            exit: watch::Sender::new(None),
            log: Log::new(used),
            input: tokio::sync::Mutex::new(input),
            terminal,
            desktop,
            tasks: Mutex::default(),
        });
        let readers: Vec<_> = outputs
            .into_iter()
            .map(|(output, stream)| {
                let process = Arc::downgrade(&process);
                tokio::spawn(output.read(move |data| {
                    let Some(process) = process.upgrade() else { return false };
                    process.log.add(stream, data, limit);
                    true
                }))
            })
            .collect();
        let mut tasks: Vec<_> = readers.iter().map(tokio::task::JoinHandle::abort_handle).collect();
        let waiting = Arc::downgrade(&process);
        tasks.push(
            tokio::spawn(async move {
                // An error: it went with the desktop.
                let ended = ended.await.unwrap_or(Ended { code: None, signal: None });
                let at = SystemTime::now();
                let all = async {
                    for reader in readers {
                        let _ = reader.await;
                    }
                };
                let _ = tokio::time::timeout(AFTERWARDS, all).await;
                let Some(process) = waiting.upgrade() else { return };
                process.exit.send_replace(Some((ended, at)));
                *process.input.lock().await = Input::None;
            })
            .abort_handle(),
        );
        *process.tasks.lock() = tasks;
        Ok(process)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Its resident memory in bytes, while it runs.
    pub(crate) fn resident(&self) -> Option<u64> {
        if self.is_running() { self.desktop.resident(self.pid) } else { None }
    }

    pub(crate) fn created(&self) -> SystemTime {
        self.created
    }

    pub(crate) fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    pub(crate) fn info(&self) -> Info {
        let exit = *self.exit.borrow();
        Info {
            id: self.id.clone(),
            command: self.start.command.clone(),
            args: self.start.args.clone(),
            cwd: self.start.cwd.clone(),
            tty: self.start.tty,
            interactive: self.start.interactive,
            owner: self.owner,
            status: if exit.is_some() { "exited" } else { "running" },
            pid: self.pid,
            exit_code: exit.and_then(|(ended, _)| ended.code),
            created_at_ms: time::millis(self.created),
            exited_at_ms: exit.map(|(_, at)| time::millis(at)),
        }
    }

    /// How it ended, and word of that.
    pub(crate) fn exit(&self) -> watch::Receiver<Option<(Ended, SystemTime)>> {
        self.exit.subscribe()
    }

    /// Sends it a signal, if it still runs.
    pub(crate) fn signal(&self, signal: i32) {
        if self.is_running() {
            self.desktop.signal(self.number, signal);
        }
    }

    /// Waits for its end, but not for long; whether it has ended.
    pub(crate) async fn ended_within(&self, patience: Duration) {
        let mut exit = self.exit();
        let _ = tokio::time::timeout(patience, exit.wait_for(Option::is_some)).await;
    }

    /// Gives it input, and then the end of it, if `is_last`.
    pub(crate) async fn write(&self, data: &[u8], is_last: bool) -> Result<(), Problem> {
        if !self.is_running() {
            return Err(Problem::conflict("process is not running"));
        }
        self.desktop.wake();
        let writing = async {
            let mut input = self.input.lock().await;
            match &mut *input {
                Input::Pipe(pipe) => pipe.write_all(data).await?,
                Input::Terminal(terminal) => write_terminal(terminal, data).await?,
                Input::None => return Err(io::ErrorKind::BrokenPipe.into()),
            }
            if is_last && matches!(*input, Input::Pipe(_)) {
                *input = Input::None;
            }
            Ok::<_, io::Error>(())
        };
        match tokio::time::timeout(READS_WITHIN, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(Problem::conflict("process does not accept stdin"))
            }
            Ok(Err(error)) => Err(Problem::failed(format!("cannot write to the process: {error}"))),
            Err(_) => Err(Problem::late("the process did not read its input within 10 s")),
        }
    }

    /// Changes the size of its terminal.
    pub(crate) fn resize(&self, cols: u16, rows: u16) -> Result<(), Problem> {
        let terminal = self.terminal.as_ref().ok_or_else(|| Problem::conflict("process has no terminal"))?;
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal.get_ref(), size).map_err(|error| Problem::failed(error.to_string()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for task in self.tasks.get_mut() {
            task.abort();
        }
    }
}

#[allow(
    deprecated,
    reason = "what replaces it is unsafe, for types that name another descriptor each time: this one does not"
)]
pub(crate) fn watched(terminal: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(terminal)
}

async fn write_terminal(terminal: &AsyncFd<OwnedFd>, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let mut ready = terminal.writable().await?;
        match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), data)?)) {
            Ok(Ok(written)) => data = &data[written..],
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(error)) => return Err(error),
            Err(_not_ready) => {}
        }
    }
    Ok(())
}

/// Our side of its output.
pub(crate) enum Output {
    Pipe(pipe::Receiver),
    Terminal(Arc<AsyncFd<OwnedFd>>),
}

impl Output {
    pub(crate) fn pipe(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self::Pipe(pipe::Receiver::from_owned_fd(fd)?))
    }

    /// Reads until the end, or until nobody wants more.
    pub(crate) async fn read(mut self, mut take: impl FnMut(Bytes) -> bool) {
        let mut buffer = vec![0; CHUNK];
        while let Some(data) = self.next(&mut buffer).await {
            if !take(data) {
                return;
            }
        }
    }

    /// Reads until the end, as fast as somebody takes it.
    pub(crate) async fn pass<T>(mut self, make: impl Fn(Bytes) -> T, to: mpsc::Sender<T>) {
        let mut buffer = vec![0; CHUNK];
        while let Some(data) = self.next(&mut buffer).await {
            if to.send(make(data)).await.is_err() {
                return;
            }
        }
    }

    async fn next(&mut self, buffer: &mut [u8]) -> Option<Bytes> {
        loop {
            let read = match self {
                Self::Pipe(pipe) => pipe.read(buffer).await,
                Self::Terminal(terminal) => read_terminal(terminal, buffer).await,
            };
            match read {
                Ok(0) => return None,
                Ok(length) => return Some(Bytes::copy_from_slice(&buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal whose programs are all gone says so.
                Err(_) => return None,
            }
        }
    }
}

async fn read_terminal(terminal: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = terminal.readable().await?;
        if let Ok(read) = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *buffer)?)) {
            return read;
        }
    }
}
