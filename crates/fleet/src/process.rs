//! The process of a session: started, taken over, ended.

use std::{ffi::OsString, fs, io, os::fd::OwnedFd, path::PathBuf, process::Stdio, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    io::unix::AsyncFd,
    process::{Child, Command},
};

use crate::{
    App, Spec,
    managed::{Directory, Holder, start_time},
};

/// How long a session may take to end before it is killed. It ends its programs first.
const GRACE: Duration = Duration::from_secs(10);
/// How long a killed process may take to be gone.
const KILLED: Duration = Duration::from_secs(10);
/// How long a process that holds its lock may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(10);

/// Settings of a session that are ours to choose, whatever our own environment says. Others, such as those of its walls, it
/// takes from there.
const OURS: [&str; 11] = [
    "LISTEN",
    "WEBRTC_PORT",
    "ALLOWED_HOSTS",
    "CORS",
    "PATH_PREFIX",
    "SCREEN",
    "PROVIDER",
    "USER_PASSWORD",
    "ADMIN_PASSWORD",
    "API_TOKEN",
    "CDP_TOKEN",
];

/// How all sessions are started.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    /// Program and first arguments that become a session.
    pub(crate) program: Vec<OsString>,
    /// Further options, after ours.
    pub(crate) options: Vec<OsString>,
    /// Where kept profiles are.
    pub(crate) profiles: PathBuf,
}

/// A session's process, ours or taken over.
#[derive(Debug)]
pub(crate) struct Process {
    pidfd: AsyncFd<OwnedFd>,
    /// To be waited for when it was started by us.
    child: Option<Child>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    /// It was not ours to be told.
    Unknown,
}

impl Launcher {
    /// Starts the process of a session in its directory.
    pub(crate) fn start(&self, directory: &Directory, spec: &Spec, path: &str) -> io::Result<Process> {
        let (program, first) = self.program.split_first().ok_or_else(|| io::Error::other("no program"))?;
        let mut command = Command::new(program);
        command.args(first).arg("--managed").arg(directory.path());
        command.args(arguments(spec, path));
        if let Some(profile) = &spec.profile {
            command.arg("--profile").arg(self.profiles.join(profile));
        }
        command.args(&self.options);
        for name in OURS {
            command.env_remove(format!("GLASSHOUSE_{name}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(directory.log()?).kill_on_drop(false);
        let child = command.current_dir("/").spawn()?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        // Not waited for yet, so the number cannot be another's.
        let pid = pid.ok_or_else(|| io::Error::other("the process has no number"))?;
        Ok(Process { pidfd: watched(pidfd_open(pid, PidfdFlags::NONBLOCK)?)?, child: Some(child) })
    }
}

#[allow(unsafe_code)]
fn watched(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` that is moved in is open, always the same, and closed by the drop of the `AsyncFd` only.
    Ok(unsafe { AsyncFd::register(pidfd) }?)
}

fn arguments(spec: &Spec, path: &str) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec![
        format!("--path-prefix={path}").into(),
        "--allowed-host=*".into(),
        format!("--app={}", spec.app.name()).into(),
        format!("--screen={}x{}", spec.screen.width, spec.screen.height).into(),
    ];
    if let Some(url) = &spec.url {
        all.push(format!("--url={url}").into());
    }
    if let Some(fps) = spec.max_fps {
        all.push(format!("--max-fps={fps}").into());
    }
    if let (Some(locale), App::Chromium) = (&spec.locale, spec.app) {
        // What pages see; the variables change the browser's own words.
        all.push(format!("--app-flag=--accept-lang={locale}").into());
    }
    if spec.kiosk == Some(true) {
        all.push("--app-flag=--kiosk".into());
    }
    if let Some(mode) = spec.programs {
        all.push(format!("--programs={}", mode.name()).into());
    }
    if spec.sound == Some(false) {
        all.push("--no-sound".into());
    }
    all
}

impl Process {
    /// Takes over the process that lives in a directory; `None` when nobody does.
    pub(crate) async fn adopt(directory: &Directory) -> io::Result<Option<Self>> {
        let introduced = async {
            loop {
                match directory.process() {
                    Holder::Nobody => return None,
                    Holder::Process { pid, start } => return Some((pid, start)),
                    Holder::Unknown => tokio::time::sleep(STEP).await,
                }
            }
        };
        let found = tokio::time::timeout(INTRODUCTION, introduced).await;
        let found = found.map_err(|_| io::Error::other("its process does not say who it is"))?;
        let Some((pid, start)) = found.and_then(|(pid, start)| Some((Pid::from_raw(pid)?, start))) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Checked after the descriptor is open, which stays with this one process.
        if start_time(pid.as_raw_nonzero().get()) != Some(start) {
            return Ok(None);
        }
        Ok(Some(Self { pidfd: watched(pidfd)?, child: None }))
    }

    /// Waits for its end. May be cancelled and called again.
    pub(crate) async fn exited(&mut self) -> Exit {
        // Readable when the process has ended (pidfd_open(2)).
        let _ = self.pidfd.readable().await;
        let Some(child) = &mut self.child else { return Exit::Unknown };
        use std::os::unix::process::ExitStatusExt;
        match child.wait().await {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unknown,
            },
            Err(_) => Exit::Unknown,
        }
    }

    /// Whether it has ended, without waiting.
    pub(crate) fn has_ended(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut watched = [PollFd::new(self.pidfd.get_ref(), PollFlags::IN)];
        poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    fn signal(&self, signal: Signal) {
        // It may have ended meanwhile.
        let _ = pidfd_send_signal(self.pidfd.get_ref(), signal);
    }

    /// Ends it, gently first. Whether it is gone.
    pub(crate) async fn end(&mut self) -> bool {
        self.signal(Signal::TERM);
        if tokio::time::timeout(GRACE, self.exited()).await.is_ok() {
            return true;
        }
        self.signal(Signal::KILL);
        tokio::time::timeout(KILLED, self.exited()).await.is_ok()
    }
}

/// What is in the directory of all sessions, in order of names.
pub(crate) fn directories(root: &std::path::Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut all: Vec<_> = fs::read_dir(root)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProgramsMode, Screen, secret};

    #[test]
    fn options() {
        let spec = Spec {
            url: Some("https://example.com/".into()),
            app: App::Firefox,
            screen: Screen { width: 800, height: 600 },
            max_fps: Some(5),
            sound: Some(false),
            kiosk: Some(true),
            programs: Some(ProgramsMode::PersonFirst),
            ..Spec::default()
        };
        let expected = "--path-prefix=/s/x/ --allowed-host=* --app=firefox --screen=800x600 \
                        --url=https://example.com/ --max-fps=5 --app-flag=--kiosk --programs=person-first --no-sound";
        let all = arguments(&spec, "/s/x/");
        assert_eq!(all.join(" ".as_ref()).to_str(), Some(expected));
    }

    #[tokio::test]
    async fn started_and_ended() {
        let directory = Directory::new(std::env::temp_dir().join(format!("glasshouse-process-{}", secret::random(8))));
        fs::create_dir(directory.path()).unwrap();
        let shell = |script: &str| Launcher {
            program: ["sh", "-c", script].map(OsString::from).into(),
            options: Vec::new(),
            profiles: PathBuf::new(),
        };
        let mut process = shell("echo to the log >&2; exit 3").start(&directory, &Spec::default(), "/").unwrap();
        assert_eq!(process.exited().await, Exit::Code(3));
        assert_eq!(directory.log_end(100), "to the log\n");
        let mut process = shell("exec sleep 1000").start(&directory, &Spec::default(), "/").unwrap();
        assert!(tokio::time::timeout(Duration::ZERO, process.exited()).await.is_err());
        assert!(!process.has_ended());
        assert!(process.end().await);
        assert!(process.has_ended());
        assert_eq!(process.exited().await, Exit::Signal(15));
        assert!(Process::adopt(&directory).await.unwrap().is_none());
        directory.remove().unwrap();
    }
}
