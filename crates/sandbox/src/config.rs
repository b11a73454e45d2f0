//! How the walls of a session are set up.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The user id, and group id, of a session's programs as they see it themselves.
pub const INNER_ID: u32 = 1000;

/// HOME of a session's programs.
pub const HOME: &str = "/home/user";

/// XDG_RUNTIME_DIR of a session's programs.
pub const RUNTIME_DIR: &str = "/run/user/1000";

/// One mebibyte, in bytes.
const MIB: u64 = 1024 * 1024;

/// What a session is kept within.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the session among all of this host: 1 to 40 of `a-z`, `0-9` and `-`. Names its cgroups and locks.
    pub name: String,
    /// Command that becomes the stage; `glasshouse` passes itself: `[current_exe, "sandbox-stage"]`. See
    /// [`crate::stage::main`].
    pub stage: Vec<OsString>,
    /// The program that becomes process 1 inside.
    pub init: Program,
    /// Host name that the programs see.
    pub hostname: String,
    /// Where HOME lives.
    pub home: Home,
    /// Host directory that is `Downloads` in HOME: nothing in it can be executed.
    pub downloads: Option<PathBuf>,
    /// Further files and directories of the host, mounted in this order.
    pub binds: Vec<Bind>,
    /// Sizes of the file systems in memory.
    pub sizes: Sizes,
    /// What the session can reach.
    pub network: Network,
    /// Sockets that are bound inside and handed to us, see [`crate::Sandbox::take_listeners`].
    pub listeners: Vec<SocketAddr>,
    /// Limits of memory, processes and processor time.
    pub limits: Limits,
    /// Directory for locks and leftovers' records; see [`default_state_dir`] for the one if none is given.
    pub state: Option<PathBuf>,
}

/// A program and how it is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// What to execute.
    pub executable: Executable,
    /// Arguments, with the program's own name first.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory, inside.
    pub cwd: PathBuf,
}

/// Where a program is found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Executable {
    /// The executable of the stage, that is, usually, this very program. It need not be visible inside.
    Stage,
    /// A path inside.
    Inside(PathBuf),
}

/// Where HOME lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Home {
    /// In memory, gone with the session.
    Memory {
        /// Largest size in bytes.
        size: u64,
    },
    /// In this directory of the host, which the session's user must own, see [`crate::Lease::give`].
    Directory(PathBuf),
}

/// A file or directory of the host that is visible inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bind {
    /// Path on the host. The last part must not be a symbolic link.
    pub source: PathBuf,
    /// Absolute path inside; parents are made.
    pub target: PathBuf,
    /// Whether it can be written.
    pub writable: bool,
    /// Whether programs in it can be executed.
    pub executable: bool,
    /// Whether a missing source is fine.
    pub optional: bool,
}

/// Sizes of the file systems in memory, in bytes. What is used counts as memory of the session.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sizes {
    /// `/dev/shm`.
    pub shm: u64,
    /// `/tmp`.
    pub tmp: u64,
    /// `/run`.
    pub run: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { shm: 1024 * MIB, tmp: 1024 * MIB, run: 64 * MIB }
    }
}

/// What a session can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A network of its own with loopback only.
    Loopback,
    /// The host's network: no protection at all.
    Host,
}

/// Limits of a session.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes, what is in `/tmp` and `/dev/shm` included.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Weight against other sessions when processors are short, 1 to 10,000; 100 is usual.
    pub cpu_weight: u16,
    /// Most processor time, in hundredths of one processor; none is no limit.
    pub cpu_percent: Option<u32>,
    /// Largest file in bytes that a program can write; none is no limit.
    pub file_size: Option<u64>,
    /// Open descriptors of one process.
    pub open_files: u64,
    /// Where limits of the whole session come from.
    pub cgroups: UseCgroups,
}

/// Whether limits come from cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UseCgroups {
    /// From cgroups where we may make them, else from resource limits of the processes alone.
    IfPossible,
    /// From resource limits of the processes alone.
    Never,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 2048 * MIB,
            pids: 1024,
            cpu_weight: 100,
            cpu_percent: None,
            file_size: None,
            open_files: 8192,
            cgroups: UseCgroups::IfPossible,
        }
    }
}

impl Config {
    /// The usual walls around `init`.
    #[must_use]
    pub fn new(name: impl Into<String>, stage: Vec<OsString>, init: Program) -> Self {
        Self {
            name: name.into(),
            stage,
            init,
            hostname: "session".into(),
            home: Home::Memory { size: 1024 * MIB },
            downloads: None,
            binds: Vec::new(),
            sizes: Sizes::default(),
            network: Network::Loopback,
            listeners: Vec::new(),
            limits: Limits::default(),
            state: None,
        }
    }

    /// Finds what cannot work before anything is started.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_name(&self.name)?;
        let invalid = |what: String| Err(Error::Invalid(what));
        if self.hostname.is_empty() || self.hostname.len() > 64 || !self.hostname.bytes().all(is_host_byte) {
            return invalid(format!("host name {:?}: use 1 to 64 letters, digits, '-' or '.'", self.hostname));
        }
        if !(1..=10_000).contains(&self.limits.cpu_weight) {
            return invalid(format!("CPU weight {}: use 1 to 10000", self.limits.cpu_weight));
        }
        if self.limits.memory < 16 * MIB || self.limits.pids < 4 {
            return invalid("a session needs at least 16 MiB of memory and 4 processes".into());
        }
        for bind in &self.binds {
            if !bind.source.is_absolute() || !is_plain(&bind.target) {
                return invalid(format!(
                    "bind of {} to {}: both must be absolute, without '..'",
                    bind.source.display(),
                    bind.target.display()
                ));
            }
        }
        Ok(())
    }
}

/// Whether a name is fit for the name of a file.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 40 || !name.bytes().all(fine) {
        return Err(Error::Invalid(format!("session name {name:?}: use 1 to 40 of a-z, 0-9 and '-'")));
    }
    Ok(())
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'
}

fn is_plain(path: &Path) -> bool {
    use std::path::Component;
    path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

/// Where locks and records are by default: `/run/glasshouse` for root, else a directory of the user's own.
#[must_use]
pub fn default_state_dir() -> PathBuf {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return PathBuf::from("/run/glasshouse");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if Path::new(&dir).is_absolute() => Path::new(&dir).join("glasshouse"),
        _ => PathBuf::from(format!("/tmp/glasshouse-{}", uid.as_raw())),
    }
}
