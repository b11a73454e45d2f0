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
        mpsc::{Sender, SyncSender, channel, sync_channel},
    },
};

use crate::Error;

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

/// Starts a stage with `control` as its standard input.
pub(super) fn start(stage: &[OsString], control: OwnedFd) -> Result<Child, Error> {
    let Some((program, args)) = stage.split_first() else {
        return Err(Error::Invalid("no stage command given".into()));
    };
    let mut command = Command::new(program);
    command.args(args).env_clear().stdin(control).stdout(Stdio::null());
    let gone = || Error::Invalid("the thread that starts sessions is gone: restart the server".into());
    let (answer, child) = sync_channel(1);
    spawner().ok_or_else(gone)?.send(Job { command, answer }).map_err(|_| gone())?;
    let child = child.recv().map_err(|_| gone())?;
    child.map_err(Error::io(format!("cannot start {}", program.to_string_lossy())))
}
