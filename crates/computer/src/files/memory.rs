//! Writing files of `/tmp`, which is in memory: by a program within the walls, because the kernel counts what is written there as
//! memory of the one who writes it.

use std::{fs::File, io, os::fd::OwnedFd, time::Duration};

use glasshouse_desktop::{Desktop, Ended, Launch, Launched};
use tokio::{io::AsyncWriteExt, net::unix::pipe};

use crate::problem::Problem;

/// Copies its input to its output.
const PROGRAM: &str = "cat";
/// How long it may take for what it has got, the session's other load included.
const WITHIN: Duration = Duration::from_secs(30);

/// A file that is being written. Dropped, it stays as it is, and the program ends.
pub(crate) struct Writer<'a> {
    program: Program<'a>,
    input: pipe::Sender,
    written: u64,
}

impl<'a> Writer<'a> {
    pub(crate) async fn start(desktop: &'a Desktop, file: File, shown: &'a str) -> Result<Self, Problem> {
        let (theirs, input) = io::pipe().map_err(|error| failed(&error, shown))?;
        let input = pipe::Sender::from_owned_fd(input.into()).map_err(|error| failed(&error, shown))?;
        Ok(Self { program: Program::start(desktop, theirs.into(), file, shown).await?, input, written: 0 })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.program.desktop.wake();
        match tokio::time::timeout(WITHIN, self.input.write_all(bytes)).await {
            Ok(Ok(())) => self.written += bytes.len() as u64,
            // It has ended, and says why.
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Err(self.program.is_full()),
            Ok(Err(error)) => return Err(failed(&error, self.program.shown)),
            Err(_) => return Err(self.program.is_late()),
        }
        Ok(())
    }

    /// Waits until all is written; how many bytes that are.
    pub(crate) async fn finish(self) -> Result<u64, Problem> {
        drop(self.input);
        self.program.end().await?;
        Ok(self.written)
    }
}

/// Copies what is left of a file to another.
pub(crate) async fn copy(desktop: &Desktop, from: File, to: File, shown: &str) -> Result<(), Problem> {
    Program::start(desktop, from.into(), to, shown).await?.end().await
}

struct Program<'a> {
    desktop: &'a Desktop,
    launched: Launched,
    shown: &'a str,
}

impl<'a> Program<'a> {
    async fn start(desktop: &'a Desktop, from: OwnedFd, to: File, shown: &'a str) -> Result<Self, Problem> {
        let descriptors = vec![(from, 0), (to.into(), 1)];
        let launch = Launch { program: PROGRAM.into(), descriptors, ..Launch::default() };
        let launched = desktop.launch(launch).await;
        let launched = launched.map_err(|error| Problem::failed(format!("{shown}: {error}")))?;
        Ok(Self { desktop, launched, shown })
    }

    async fn end(mut self) -> Result<(), Problem> {
        match tokio::time::timeout(WITHIN, &mut self.launched.ended).await {
            Ok(Ok(Ended { code: Some(0), .. })) => Ok(()),
            Ok(Ok(_)) => Err(self.is_full()),
            Ok(Err(_)) => Err(Problem::failed("the desktop has ended")),
            Err(_) => {
                self.desktop.signal(self.launched.id, libc::SIGKILL);
                Err(self.is_late())
            }
        }
    }

    fn is_full(&self) -> Problem {
        Problem::too_large(format!("{}: it does not fit: /tmp, or the session's memory, is full", self.shown))
    }

    fn is_late(&self) -> Problem {
        Problem::late(format!("{}: it was not written within {} s", self.shown, WITHIN.as_secs()))
    }
}

fn failed(error: &io::Error, shown: &str) -> Problem {
    Problem::failed(format!("{shown}: {error}"))
}
