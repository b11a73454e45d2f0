//! Programs that somebody else sees to: started, signalled, and their end told.

use std::os::fd::AsFd;

use tokio::sync::oneshot;

use super::Supervisor;
use crate::{
    Ended, Error, Launch, Launched,
    keeper::{Spawn, ToKeeper},
};

/// Most programs at a time, so that a caller's mistake stays its own.
const MAX_LAUNCHED: usize = 1_024;

/// Who waits for a start.
pub(super) type Answer = oneshot::Sender<Result<Launched, Error>>;

/// A program that was asked for.
pub(crate) struct Launching {
    program: String,
    /// Until it runs.
    start: Option<(Answer, oneshot::Receiver<Ended>)>,
    end: oneshot::Sender<Ended>,
}

impl Supervisor {
    pub(super) fn launch_for(&mut self, launch: Launch, answer: Answer) {
        let id = self.id();
        let program = launch.program.to_string_lossy().into_owned();
        if let Err(error) = self.start_launched(id, launch) {
            let _ = answer.send(Err(Error::Start { program, reason: error.to_string() }));
            return;
        }
        let (end, ended) = oneshot::channel();
        self.launched.insert(id, Launching { program, start: Some((answer, ended)), end });
    }

    fn start_launched(&self, id: u32, launch: Launch) -> std::io::Result<()> {
        if self.launched.len() >= MAX_LAUNCHED {
            return Err(std::io::Error::other("too many programs run: end some"));
        }
        let Some(keeper) = self.starter() else { return Err(std::io::Error::other("the desktop has ended")) };
        let mut given = self.given_environment.clone();
        given.extend(launch.environment);
        let (fds, numbers): (Vec<_>, Vec<_>) =
            launch.descriptors.iter().map(|(fd, number)| (fd.as_fd(), *number)).unzip();
        let spawn = Spawn {
            id,
            program: launch.program.into(),
            args: launch.args,
            env: self.environment(&given),
            cwd: launch.folder.unwrap_or_else(|| self.dir.inside(&self.dir.home())),
            user: if self.dir.is_enclosed() { None } else { self.dir.user() },
            fds: numbers,
            terminal: launch.has_terminal,
            leaves_others: true,
        };
        keeper.send(&ToKeeper::Spawn(spawn), &fds)
    }

    pub(super) fn launched_runs(&mut self, id: u32, pid: i32) {
        let Some((answer, ended)) = self.launched.get_mut(&id).and_then(|launching| launching.start.take()) else {
            return;
        };
        if answer.send(Ok(Launched { id, pid, ended })).is_err() {
            // Nobody knows of it, so nobody would end it.
            self.kill(id);
        }
    }

    pub(super) fn launch_failed(&mut self, id: u32, reason: &str, missing: bool) {
        let Some(Launching { program, start: Some((answer, _)), .. }) = self.launched.remove(&id) else { return };
        let error =
            if missing { Error::NoSuchProgram(program) } else { Error::Start { program, reason: reason.to_owned() } };
        let _ = answer.send(Err(error));
    }

    pub(super) fn launched_ended(&mut self, id: u32, code: Option<i32>, signal: Option<i32>) {
        if let Some(launching) = self.launched.remove(&id) {
            let _ = launching.end.send(Ended { code, signal });
        }
    }

    pub(super) fn signal_launched(&self, id: u32, signal: i32) {
        if self.launched.contains_key(&id) {
            self.signal(id, signal);
        }
    }
}
