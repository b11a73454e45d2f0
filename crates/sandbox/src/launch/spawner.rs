//! The thread that starts stages.
//!
//! A session must end when our process does, however that happens. The kernel's means for that, the parent death
//! signal, is sent when the *thread* ends that a process was started from. So one thread that never ends starts all.

use std::{
    ffi::OsString,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::Error;

/// A stage that waits to be told what it is to do. Started while that is being made out, it costs no time later; it ends when this
/// is dropped.
#[derive(Debug)]
pub struct Stage {
    program: OsString,
    /// The socket that it is told its work on, and the process to come; until it is used.
    waiting: Option<(OwnedFd, Receiver<std::io::Result<Child>>)>,
}

struct Job {
    command: Command,
    answer: SyncSender<std::io::Result<Child>>,
}

fn spawner() -> Option<&'static Sender<Job>> {
    static SPAWNER: OnceLock<Option<Sender<Job>>> = OnceLock::new();
    SPAWNER
        .get_or_init(|| {
            let (sender, jobs) = channel::<Job>();
            let work = move || {
                for mut job in jobs {
                    let child = job.command.spawn();
                    // Our copy of the stage's end of the socket must be closed before anybody waits for its end.
                    drop(job.command);
                    // Whoever asked waits for the answer.
                    let _ = job.answer.send(child);
                }
            };
            std::thread::Builder::new().name("sandbox-spawner".into()).spawn(work).ok()?;
            Some(sender)
        })
        .as_ref()
}

fn gone() -> Error {
    Error::Invalid("the thread that starts sessions is gone: restart the server".into())
}

impl Stage {
    /// Starts one by its command, as [`Config::stage`](crate::Config::stage) has it.
    ///
    /// # Errors
    ///
    /// When there is no command or no socket. That the command cannot be executed is told by what uses the stage.
    pub fn start(command: &[OsString]) -> Result<Self, Error> {
        let Some((program, args)) = command.split_first() else {
            return Err(Error::Invalid("no stage command given".into()));
        };
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(Error::io("cannot make a socket"))?;
        let mut command = Command::new(program);
        command.args(args).env_clear().stdin(theirs).stdout(Stdio::null());
        let (answer, child) = sync_channel(1);
        spawner().ok_or_else(gone)?.send(Job { command, answer }).map_err(|_| gone())?;
        Ok(Self { program: program.clone(), waiting: Some((ours, child)) })
    }

    /// The socket and the process.
    pub(super) fn take(mut self) -> Result<(OwnedFd, Child), Error> {
        let (control, child) = self.waiting.take().ok_or_else(gone)?;
        let started = child.recv().map_err(|_| gone())?;
        let child = started.map_err(Error::io(format!("cannot start {}", self.program.to_string_lossy())))?;
        Ok((control, child))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Some((control, child)) = self.waiting.take() else { return };
        drop(control);
        if let Ok(Ok(mut child)) = child.recv() {
            let _ = child.wait();
        }
    }
}
