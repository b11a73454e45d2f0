//! The directory of a session: what its server and it tell each other, and what a later server finds.
//!
//! `session.json` is what it is to be, `lock` is held by its process for as long as that lives and names it, `http` is its
//! socket, `media` is where it is handed the sockets of its viewers, `ready` is there once it can be used, `end` once it is to be ended, and `log` is what it writes to standard error.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{Egress, Resources, Screen, SessionId, Spec, secret};

/// A log that is longer is cut to [`LOG_KEPT`], in bytes.
const LOG_LIMIT: u64 = 4 * 1024 * 1024;
const LOG_KEPT: u64 = 1024 * 1024;

/// `session.json`: what a session is, for itself and for a server that has lost its database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: SessionId,
    pub(crate) spec: Spec,
    /// Path of everything of it, with a slash at the end.
    pub(crate) path: String,
    pub(crate) owner: String,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    /// With which the server acts as admin of the room.
    pub(crate) api_token: String,
    /// With which programs drive its browser.
    pub(crate) cdp_token: String,
    /// For the programs on the desktop.
    pub(crate) environment: BTreeMap<String, String>,
    /// What it may reach, with the credentials that its spec does not have.
    #[serde(default)]
    pub(crate) reach: Reach,
    /// Whether it was started ahead and is nobody's yet.
    #[serde(default)]
    pub(crate) is_ahead: bool,
}

/// What a session that was started ahead becomes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claim {
    /// Page to open.
    pub url: Option<String>,
    /// Size of the screen.
    pub screen: Screen,
    /// What it may reach.
    pub reach: Reach,
}

/// What a session may reach, as its own process has to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// What was asked for, credentials included.
    pub egress: Egress,
    /// Whether an admin asked for it, who may name a proxy on a private address.
    pub is_trusted: bool,
}

/// A directory of a session, seen by its server.
#[derive(Debug, Clone)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn create(&self, record: &Record) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(&self.0)?;
        self.write(record)
    }

    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        replace(&self.0, "session.json", &serde_json::to_vec(record)?)
    }

    pub(crate) fn read(&self) -> io::Result<Record> {
        Ok(serde_json::from_slice(&fs::read(self.0.join("session.json"))?)?)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("http")
    }

    pub(crate) fn media(&self) -> PathBuf {
        self.0.join("media")
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.join("ready").exists()
    }

    /// Notes that the session is to be ended, so that a later server does it if this one cannot.
    pub(crate) fn mark_end(&self, reason: &str) -> io::Result<()> {
        replace(&self.0, "end", reason.as_bytes())
    }

    pub(crate) fn end_mark(&self) -> Option<String> {
        fs::read_to_string(self.0.join("end")).ok()
    }

    /// The process that lives here: its number and when it started (proc_pid_stat(5), field 22).
    pub(crate) fn process(&self) -> Holder {
        let Ok(mut file) = fs::File::open(self.0.join("lock")) else { return Holder::Nobody };
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            return Holder::Nobody;
        }
        let mut text = String::new();
        let read = file.read_to_string(&mut text);
        let numbers = text.strip_suffix('\n').and_then(|text| text.split_once(' '));
        let numbers = numbers.and_then(|(pid, start)| Some((pid.parse().ok()?, start.parse().ok()?)));
        match numbers {
            Some((pid, start)) if read.is_ok() => Holder::Process { pid, start },
            _ => Holder::Unknown,
        }
    }

    /// Opens the log for a new process to write to.
    pub(crate) fn log(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().append(true).create(true).mode(0o600).open(self.0.join("log"))
    }

    /// The end of the log, `bytes` at most, beginning with a whole line.
    pub(crate) fn log_end(&self, bytes: u64) -> String {
        let read = || -> io::Result<String> {
            let mut file = fs::File::open(self.0.join("log"))?;
            let start = file.metadata()?.len().saturating_sub(bytes);
            file.seek(SeekFrom::Start(start))?;
            let mut text = Vec::new();
            file.take(bytes).read_to_end(&mut text)?;
            let text = String::from_utf8_lossy(&text).into_owned();
            Ok(match text.split_once('\n') {
                Some((_, whole)) if start > 0 => whole.to_owned(),
                _ => text,
            })
        };
        read().unwrap_or_default()
    }

    /// Cuts a log that has become too long. What is written at that moment may be lost.
    pub(crate) fn cut_log(&self) -> io::Result<()> {
        let path = self.0.join("log");
        if fs::metadata(&path)?.len() <= LOG_LIMIT {
            return Ok(());
        }
        let kept = self.log_end(LOG_KEPT);
        // The process appends, so it goes on at the new end.
        let mut file = fs::OpenOptions::new().append(true).open(&path)?;
        file.set_len(0)?;
        file.write_all(kept.as_bytes())
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.0)
    }
}

/// Who holds the lock of a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Nobody,
    /// Somebody who has not said yet.
    Unknown,
    Process {
        pid: i32,
        start: u64,
    },
}

/// When a process started, in clock ticks since boot; `None` when it is gone.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses can contain anything.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Writes a file so that it is there whole or not at all.
fn replace(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let new = directory.join(format!(".{name}.{}", secret::random(8)));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    fs::rename(new, directory.join(name))
}

/// What a session knows of its being managed; its process holds it until it ends.
#[derive(Debug)]
pub struct Managed {
    directory: PathBuf,
    id: SessionId,
    api_token: String,
    cdp_token: String,
    environment: BTreeMap<String, String>,
    limits: Resources,
    reach: Reach,
    // Locked for as long as we live.
    _lock: fs::File,
}

impl Managed {
    /// Takes over the directory that a server has prepared, and leaves the server's terminal and process group, so that
    /// nothing that ends the server ends this process. To be called first in a process.
    ///
    /// # Errors
    /// The directory is not there, or another process lives in it.
    pub fn open(directory: &Path) -> io::Result<Self> {
        // The leader of a process group has its own session already, or was started by hand.
        let _ = rustix::process::setsid();
        let mut lock = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another process runs this session"))?;
        let pid = std::process::id().cast_signed();
        let start = start_time(pid).ok_or_else(|| io::Error::other("/proc is not mounted"))?;
        lock.set_len(0)?;
        lock.write_all(format!("{pid} {start}\n").as_bytes())?;
        let record = Directory::new(directory.to_owned()).read()?;
        Ok(Self {
            directory: directory.to_owned(),
            id: record.id,
            api_token: record.api_token,
            cdp_token: record.cdp_token,
            environment: record.environment,
            limits: record.spec.limits.unwrap_or_default(),
            reach: record.reach,
            _lock: lock,
        })
    }

    /// Where to listen for HTTP.
    pub fn socket(&self) -> PathBuf {
        Directory::new(self.directory.clone()).socket()
    }

    /// Where to be handed the sockets of viewers.
    pub fn media_socket(&self) -> PathBuf {
        Directory::new(self.directory.clone()).media()
    }

    /// Which session it is.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// What the packets of its viewers have to begin with.
    pub fn media_tag(&self) -> String {
        self.id.media_tag()
    }

    /// Token with which the server acts as admin.
    pub fn api_token(&self) -> &str {
        &self.api_token
    }

    /// Token with which programs drive the browser.
    pub fn cdp_token(&self) -> &str {
        &self.cdp_token
    }

    /// Variables for the programs on the desktop.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Limits that were asked for.
    pub fn limits(&self) -> Resources {
        self.limits
    }

    /// What the session may reach.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Says that the session can be used.
    ///
    /// # Errors
    /// The directory is gone.
    pub fn ready(&self) -> io::Result<()> {
        replace(&self.directory, "ready", b"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_tells_who_lives_in_it() {
        let directory = Directory::new(std::env::temp_dir().join(format!("glasshouse-managed-{}", secret::random(8))));
        let record = Record {
            id: SessionId::random(),
            spec: Spec::default(),
            path: "/".into(),
            owner: String::new(),
            created_at: 1,
            expires_at: None,
            api_token: "secret".into(),
            cdp_token: "other".into(),
            environment: [("A".to_owned(), "b".to_owned())].into(),
            reach: Reach::default(),
            is_ahead: false,
        };
        directory.create(&record).unwrap();
        assert_eq!(directory.process(), Holder::Nobody);
        let managed = Managed::open(directory.path()).unwrap();
        let pid = std::process::id().cast_signed();
        assert_eq!(directory.process(), Holder::Process { pid, start: start_time(pid).unwrap() });
        assert!(Managed::open(directory.path()).is_err());
        assert!(!directory.is_ready());
        managed.ready().unwrap();
        assert!(directory.is_ready());
        assert_eq!((managed.api_token(), managed.environment()["A"].as_str()), ("secret", "b"));
        drop(managed);
        assert_eq!(directory.process(), Holder::Nobody);
        assert_eq!(directory.end_mark(), None);
        directory.mark_end("because").unwrap();
        assert_eq!(directory.end_mark().as_deref(), Some("because"));
        directory.remove().unwrap();
    }

    #[test]
    fn logs_are_cut() {
        let directory = Directory::new(std::env::temp_dir().join(format!("glasshouse-log-{}", secret::random(8))));
        fs::create_dir(directory.path()).unwrap();
        assert_eq!(directory.log_end(10), "");
        let mut log = directory.log().unwrap();
        log.write_all(b"first line\nlast line\n").unwrap();
        assert_eq!(directory.log_end(1_000), "first line\nlast line\n");
        assert_eq!(directory.log_end(15), "last line\n");
        let line = [b'x'; 1023].iter().chain(b"\n").copied().collect::<Vec<_>>();
        for _ in 0..LOG_LIMIT / 1024 + 1 {
            log.write_all(&line).unwrap();
        }
        directory.cut_log().unwrap();
        log.write_all(b"end\n").unwrap();
        assert!(log.metadata().unwrap().len() <= LOG_KEPT + 4);
        assert!(directory.log_end(8).ends_with("end\n"));
        directory.remove().unwrap();
    }
}
