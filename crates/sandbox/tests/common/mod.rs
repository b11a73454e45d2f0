//! Running the test program inside and outside the walls, as root and as an ordinary user.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// An id of no user of this machine, for launching without root.
pub(crate) const ORDINARY: u32 = 64_321;

/// Who launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Root,
    Ordinary,
}

/// The modes that can be tested: both as root, else the ordinary one.
pub(crate) fn modes() -> &'static [Mode] {
    if is_root() { &[Mode::Root, Mode::Ordinary] } else { &[Mode::Ordinary] }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory of one test that everybody can enter, with the test program in it.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) program: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("glasshouse-walls-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let program = dir.join("walls-test");
        // A test that runs itself again as another user cannot reach the build directory.
        let built = std::env::var_os("WALLS_TEST").unwrap_or_else(|| env!("CARGO_BIN_EXE_walls-test").into());
        copy(built, &program);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        for mode in modes() {
            let state = dir.join(state_name(*mode));
            fs::create_dir(&state).unwrap();
            if is_root() && *mode == Mode::Ordinary {
                std::os::unix::fs::chown(&state, Some(ORDINARY), Some(ORDINARY)).unwrap();
            }
        }
        Self { dir, program }
    }

    pub(crate) fn state(&self, mode: Mode) -> PathBuf {
        self.dir.join(state_name(mode))
    }

    /// The test program as a plain process.
    pub(crate) fn outside(&self, args: &[&str]) -> Output {
        Command::new(&self.program).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// The command that launches `args` (program first) inside; the test program is `/opt/walls`.
    pub(crate) fn launch(&self, mode: Mode, options: &[&str], args: &[&str]) -> Command {
        let mut command = self.as_mode(mode);
        command.arg("launch").arg("--state").arg(self.state(mode));
        command.arg("--bind").arg(format!("{}:/opt/walls", self.program.display()));
        command.args(options).arg("--").args(args).stdin(Stdio::null());
        command
    }

    /// The test program as a plain process of that mode's user.
    pub(crate) fn as_mode(&self, mode: Mode) -> Command {
        if mode == Mode::Ordinary && is_root() {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={ORDINARY}"), format!("--regid={ORDINARY}")]);
            command.args(["--clear-groups", "--inh-caps=-all", "--"]).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        }
    }

    pub(crate) fn inside(&self, mode: Mode, options: &[&str], args: &[&str]) -> Output {
        self.launch(mode, options, args).output().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Of launchers that were killed.
        for mode in modes() {
            let _ = glasshouse_sandbox::sweep(&self.state(*mode));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn state_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Root => "state-root",
        Mode::Ordinary => "state-user",
    }
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

/// Copies a program by another process: a descriptor for writing that a fork of another test's thread holds for a moment
/// would make it busy.
pub(crate) fn copy(from: impl AsRef<std::ffi::OsStr>, to: &Path) {
    assert!(Command::new("cp").arg("--").arg(from).arg(to).status().unwrap().success());
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that is killed at the end.
pub(crate) struct Killed(pub(crate) std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a process exists and is not dead.
pub(crate) fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rfind(')').and_then(|end| stat.get(end + 2..end + 3)).is_some_and(|state| !matches!(state, "Z" | "X"))
}

pub(crate) fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().symlink_metadata().is_ok()
}
