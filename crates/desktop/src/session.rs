//! The directory that holds everything of one desktop that is throwaway.
//!
//! When we are root, the directory itself and what our process opens by name in it belong to root, so that no program
//! can put a link in the way; the desktop's user owns the folders that its programs write to.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use glasshouse_sandbox::{Bind, HOME, RUNTIME_DIR};

use crate::{Error, user::User};

/// Where the programs find what is ours, within walls.
const OURS: &str = "/run/glasshouse";

/// Where the display sockets are.
const X11: &str = "/tmp/.X11-unix";

/// Where the profile is, within walls.
const PROFILE: &str = "/profile";

/// Paths of one desktop, as we see them.
#[derive(Debug, Clone)]
pub(crate) struct SessionDir {
    root: PathBuf,
    name: String,
    user: Option<User>,
    /// Paths that the programs see at another place, because they are within walls.
    mounts: Vec<Mount>,
    /// A kept profile within walls. The folders that it is in may be closed to the desktop's user.
    kept: Option<Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    profile: PathBuf,
    folder: Arc<OwnedFd>,
}

#[derive(Debug, Clone)]
struct Mount {
    outside: PathBuf,
    inside: PathBuf,
    writable: bool,
}

impl SessionDir {
    /// Names the directory, which is not there yet: first, the keeper is to know what it has to remove.
    pub(crate) fn new(user: Option<User>) -> Result<Self, Error> {
        let mut random = [0_u8; 6];
        getrandom::fill(&mut random).map_err(|e| std::io::Error::other(e.to_string()))?;
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        // Not $XDG_RUNTIME_DIR: it is small memory for a browser profile, and closed to the desktop's user if root's.
        let root = std::env::temp_dir().join(format!("glasshouse-{name}"));
        Ok(Self { root, name, user, mounts: Vec::new(), kept: None })
    }

    /// Makes the directory.
    pub(crate) fn create(&self) -> Result<(), Error> {
        fs::DirBuilder::new().mode(0o700).create(&self.root).map_err(|e| {
            std::io::Error::new(
                e.kind(),
                format!("cannot make {}: {e}: set TMPDIR to a writable folder", self.root.display()),
            )
        })?;
        Ok(self.fill()?)
    }

    fn fill(&self) -> std::io::Result<()> {
        for folder in [self.home(), self.runtime(), self.temporary(), self.rfb_folder(), self.throwaway_profile()] {
            fs::DirBuilder::new().mode(0o700).create(&folder)?;
            self.give(&folder)?;
        }
        for folder in [self.downloads(), self.runtime().join("pulse"), self.home().join(".config")] {
            fs::DirBuilder::new().mode(0o700).create(&folder)?;
            self.give(&folder)?;
        }
        for folder in [self.root.join("log"), self.root.join("etc")] {
            fs::DirBuilder::new().mode(0o700).create(folder)?;
        }
        if let Some(user) = self.user {
            // The group may pass through, and read what is meant for the programs.
            for folder in [self.root.clone(), self.root.join("etc")] {
                chown(&folder, None, Some(user.id()))?;
                fs::set_permissions(&folder, Permissions::from_mode(0o710))?;
            }
        }
        Ok(())
    }

    /// Prepares the directory for programs within walls, which see parts of it only, at places of their own.
    pub(crate) fn enclose(&mut self) -> std::io::Result<()> {
        let sockets = self.display_sockets();
        fs::DirBuilder::new().mode(0o700).create(&sockets)?;
        self.give(&sockets)?;
        let ours = Path::new(OURS);
        let mount = |outside: PathBuf, inside: PathBuf, writable| Mount { outside, inside, writable };
        self.mounts = vec![
            mount(sockets, X11.into(), true),
            mount(self.runtime(), RUNTIME_DIR.into(), true),
            mount(self.root.join("etc"), ours.join("etc"), false),
            mount(self.rfb_folder(), ours.join("rfb"), true),
            mount(self.sound_fifo(), ours.join("sound"), true),
            mount(self.throwaway_profile(), PROFILE.into(), true),
        ];
        Ok(())
    }

    /// Shows a kept profile, which is open as `folder`, within walls, in place of the throwaway one.
    pub(crate) fn enclose_profile(&mut self, profile: &Path, folder: OwnedFd) {
        if self.is_enclosed() {
            self.kept = Some(Kept { profile: profile.to_path_buf(), folder: Arc::new(folder) });
        }
        for mount in &mut self.mounts {
            if mount.inside == Path::new(PROFILE) {
                profile.clone_into(&mut mount.outside);
            }
        }
    }

    /// Where the desktop's user finds a profile outside of the walls, in our process.
    pub(crate) fn reach(&self, profile: &Path) -> PathBuf {
        match &self.kept {
            // Links of this kind lead to what is open, whatever folders it is in (proc_pid_fd(5)).
            Some(kept) if kept.profile == profile => format!("/proc/self/fd/{}", kept.folder.as_raw_fd()).into(),
            _ => profile.to_path_buf(),
        }
    }

    /// What the walls show of the host for this desktop, HOME excepted.
    pub(crate) fn binds(&self) -> Vec<Bind> {
        let bind = |mount: &Mount| Bind {
            source: mount.outside.clone(),
            target: mount.inside.clone(),
            writable: mount.writable,
            // Browsers load modules of their own from their profile.
            executable: mount.inside == Path::new(PROFILE),
            // There is no FIFO without sound.
            optional: mount.outside == self.sound_fifo(),
        };
        self.mounts.iter().map(bind).collect()
    }

    /// A path of ours as the programs see it.
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        if self.mounts.is_empty() {
            return path.to_path_buf();
        }
        if path == self.temporary() {
            return "/tmp".into();
        }
        let (home, seen) = (self.home(), Path::new(HOME));
        let places = self.mounts.iter().map(|mount| (mount.outside.as_path(), mount.inside.as_path()));
        for (outside, inside) in places.chain([(home.as_path(), seen)]) {
            match path.strip_prefix(outside) {
                Ok(rest) if rest.as_os_str().is_empty() => return inside.to_path_buf(),
                Ok(rest) => return inside.join(rest),
                Err(_) => {}
            }
        }
        path.to_path_buf()
    }

    /// Name of this desktop among all of this host.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the programs are within walls.
    pub(crate) fn is_enclosed(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// The folder that is `/tmp/.X11-unix` within walls. In the host's one, so that a link can lead into it.
    pub(crate) fn display_sockets(&self) -> PathBuf {
        Path::new(X11).join(format!(".glasshouse-{}", self.name))
    }

    /// Makes a path the desktop's user's.
    fn give(&self, path: &Path) -> std::io::Result<()> {
        match self.user {
            Some(user) => lchown(path, Some(user.id()), Some(user.id())),
            None => Ok(()),
        }
    }

    /// Writes a file that the programs can read but not change.
    pub(crate) fn publish(&self, name: &str, content: &[u8]) -> std::io::Result<PathBuf> {
        let path = self.root.join("etc").join(name);
        if let Some(folder) = Path::new(name).parent() {
            self.make_published(folder)?;
        }
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        if let Some(user) = self.user {
            chown(&path, None, Some(user.id()))?;
            fs::set_permissions(&path, Permissions::from_mode(0o640))?;
        }
        file.write_all(content)?;
        Ok(path)
    }

    /// Makes folders for what is published.
    fn make_published(&self, folder: &Path) -> std::io::Result<()> {
        let mut path = self.root.join("etc");
        for part in folder {
            path.push(part);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            if let Some(user) = self.user {
                chown(&path, None, Some(user.id()))?;
                fs::set_permissions(&path, Permissions::from_mode(0o750))?;
            }
        }
        Ok(())
    }

    /// Makes the FIFO for sound, readable for us and writable for the sound server.
    pub(crate) fn make_sound_fifo(&self) -> std::io::Result<()> {
        let path = self.sound_fifo();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )?;
        if let Some(user) = self.user {
            chown(&path, None, Some(user.id()))?;
            fs::set_permissions(&path, Permissions::from_mode(0o660))?;
        }
        Ok(())
    }

    /// Lets the X server make its socket, or (`false`) keeps everybody from replacing it.
    pub(crate) fn open_rfb_folder(&self, open: bool) -> std::io::Result<()> {
        let Some(user) = self.user else { return Ok(()) };
        let owner = if open { user.id() } else { 0 };
        chown(self.rfb_folder(), Some(owner), Some(owner))
    }

    /// Makes a kept profile directory the desktop's user's, whoever the last desktop ran as.
    pub(crate) fn adopt_profile(&self, profile: &Path) -> std::io::Result<()> {
        if !profile.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(profile)?;
        }
        let Some(user) = self.user else { return Ok(()) };
        let mut left = vec![profile.to_path_buf()];
        while let Some(path) = left.pop() {
            let meta = fs::symlink_metadata(&path)?;
            // A file with a second name may be somebody else's.
            if meta.uid() != user.id() && (meta.is_dir() || meta.nlink() == 1) {
                lchown(&path, Some(user.id()), Some(user.id()))?;
            }
            if meta.is_dir() {
                left.extend(fs::read_dir(&path)?.flatten().map(|entry| entry.path()));
            }
        }
        Ok(())
    }

    pub(crate) fn user(&self) -> Option<User> {
        self.user
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub(crate) fn throwaway_profile(&self) -> PathBuf {
        self.root.join("profile")
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.home().join("Downloads")
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn rfb_folder(&self) -> PathBuf {
        self.root.join("rfb")
    }

    pub(crate) fn rfb_socket(&self) -> PathBuf {
        self.rfb_folder().join("socket")
    }

    pub(crate) fn sound_fifo(&self) -> PathBuf {
        self.root.join("sound")
    }

    pub(crate) fn sound_socket(&self) -> PathBuf {
        self.runtime().join("pulse/native")
    }

    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.logs().join(program)
    }

    /// Ours alone.
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("log")
    }
}
