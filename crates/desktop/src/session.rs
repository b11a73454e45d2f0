//! The directory that holds everything of one desktop that is throwaway.
//!
//! When we are root, the directory itself and what our process opens by name in it belong to root, so that no program
//! can put a link in the way; the desktop's user owns the folders that its programs write to.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown},
    path::{Path, PathBuf},
};

use crate::{Error, user::User};

/// Paths of one desktop.
#[derive(Debug, Clone)]
pub(crate) struct SessionDir {
    root: PathBuf,
    user: Option<User>,
}

impl SessionDir {
    /// Makes the directory. The caller has the keeper remove it.
    pub(crate) fn create(user: Option<User>) -> Result<Self, Error> {
        let mut random = [0_u8; 6];
        getrandom::fill(&mut random).map_err(|e| std::io::Error::other(e.to_string()))?;
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        // Not $XDG_RUNTIME_DIR: it is small memory for a browser profile, and closed to the desktop's user if root's.
        let root = std::env::temp_dir().join(format!("glasshouse-{name}"));
        fs::DirBuilder::new().mode(0o700).create(&root).map_err(|e| {
            std::io::Error::new(
                e.kind(),
                format!("cannot make {}: {e}: set TMPDIR to a writable folder", root.display()),
            )
        })?;
        let dir = Self { root, user };
        if let Err(error) = dir.fill() {
            let _ = fs::remove_dir_all(&dir.root);
            return Err(error.into());
        }
        Ok(dir)
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
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        if let Some(user) = self.user {
            chown(&path, None, Some(user.id()))?;
            fs::set_permissions(&path, Permissions::from_mode(0o640))?;
        }
        file.write_all(content)?;
        Ok(path)
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
        self.root.join("log").join(program)
    }
}
