//! Profiles that outlive their sessions: directories below `profiles` in the state directory, each used by one at a time.

use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Error, FieldError, Fleet, SessionId, actor::Live, archive, secret, spec::is_name};

/// How long what a session has left may take to be gone.
const LEFT_WITHIN: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_millis(20);
/// What names of directories begin with that are no profiles, yet or any more.
const HIDDEN: char = '.';

/// What the name of a profile's trail ends with, which is kept beside it. No profile can be called so.
pub const TRAIL_OF_PROFILE: &str = "~trail.jsonl";

/// A profile that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// The session that uses it.
    #[schema(value_type = Option<String>)]
    pub session: Option<SessionId>,
    /// When its directory was last changed (RFC 3339).
    #[schema(format = DateTime)]
    pub changed_at: String,
}

/// Profiles that something is being done with, and what.
#[derive(Debug, Default, Clone)]
pub(crate) struct Profiles(Arc<Mutex<HashMap<String, &'static str>>>);

/// Keeps a profile from being used by anybody else.
struct Held {
    profiles: Profiles,
    name: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.profiles.0.lock().remove(&self.name);
    }
}

impl Profiles {
    /// Removes what an earlier server has not finished.
    pub(crate) fn sweep(root: &Path) {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(HIDDEN)
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                tracing::error!(directory = %entry.path().display(), %error, "a directory cannot be removed");
            }
        }
    }

    /// Whether a session may use a profile, given all that run.
    pub(crate) fn check_free(&self, name: &str, live: &HashMap<SessionId, Arc<Live>>) -> Result<(), Error> {
        if let Some(id) = user(name, live) {
            return Err(Error::Conflict(format!("the profile {name} is used by session {id}: end that one first")));
        }
        match self.0.lock().get(name) {
            Some(what) => Err(Error::Conflict(format!("the profile {name} is being {what}: try again later"))),
            None => Ok(()),
        }
    }
}

/// The session that uses a profile.
fn user(name: &str, live: &HashMap<SessionId, Arc<Live>>) -> Option<SessionId> {
    let uses = |live: &&Arc<Live>| live.row.lock().spec.profile.as_deref() == Some(name);
    live.values().find(uses).map(|live| live.id.clone())
}

/// Waits until no process holds a profile, which the programs of a session do to their very end; not forever.
pub(crate) async fn until_free(path: &Path) {
    let free = async {
        while !is_free(path) {
            tokio::time::sleep(STEP).await;
        }
    };
    // The session says it if it cannot have it.
    let _ = tokio::time::timeout(LEFT_WITHIN, free).await;
}

fn is_free(path: &Path) -> bool {
    fs::File::open(path).is_ok_and(|folder| flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok())
        || !path.exists()
}

impl Fleet {
    fn profile_path(&self, name: &str) -> PathBuf {
        self.inner.launcher.profiles.join(name)
    }

    /// Takes a profile for something that is being done with it.
    fn hold_profile(&self, name: &str, what: &'static str) -> Result<Held, Error> {
        let live = self.inner.live.lock();
        self.inner.profiles.check_free(name, &live)?;
        self.inner.profiles.0.lock().insert(name.to_owned(), what);
        Ok(Held { profiles: self.inner.profiles.clone(), name: name.to_owned() })
    }

    async fn hold_existing(&self, name: &str, what: &'static str) -> Result<(Held, PathBuf), Error> {
        let path = self.profile_path(name);
        if !is_name(name) || !path.is_dir() {
            return Err(Error::NoProfile(name.chars().filter(|c| !c.is_control()).take(63).collect()));
        }
        let held = self.hold_profile(name, what)?;
        until_free(&path).await;
        Ok((held, path))
    }

    /// All profiles that are kept, by name.
    ///
    /// # Errors
    /// Their directory cannot be read.
    pub async fn profiles(&self) -> Result<Vec<Profile>, Error> {
        let root = self.inner.launcher.profiles.clone();
        let failed = Error::io(format!("cannot read {}", root.display()));
        let read = move || -> std::io::Result<Vec<Profile>> {
            let mut all = Vec::new();
            for entry in fs::read_dir(&root)?.flatten() {
                let Ok(name) = entry.file_name().into_string() else { continue };
                // It may vanish meanwhile.
                let (true, Ok(meta)) = (is_name(&name), entry.metadata()) else { continue };
                if !meta.is_dir() {
                    continue;
                }
                let changed = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let millis = i64::try_from(changed.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
                let bytes = glasshouse_sandbox::disk_usage(&entry.path()).unwrap_or(0);
                all.push(Profile { name, bytes, session: None, changed_at: crate::rfc3339(millis) });
            }
            Ok(all)
        };
        let mut all = blocking(read).await.map_err(failed)?;
        let live = self.inner.live.lock();
        for profile in &mut all {
            profile.session = user(&profile.name, &live);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Deletes a profile.
    ///
    /// # Errors
    /// There is none, it is used, or it cannot be removed.
    pub async fn delete_profile(&self, name: &str) -> Result<(), Error> {
        let (held, path) = self.hold_existing(name, "deleted").await?;
        let failed = Error::io(format!("cannot remove {}", path.display()));
        let aside = self.profile_path(&format!("{HIDDEN}deleted-{}", secret::random(8)));
        let remove = move || {
            let _held = held;
            let mut trail = path.clone().into_os_string();
            trail.push(TRAIL_OF_PROFILE);
            let trail = PathBuf::from(trail);
            // Gone at once, whatever becomes of the rest.
            fs::rename(&path, &aside)?;
            for trail in [trail.with_extension("1.jsonl"), trail] {
                // Most have none.
                let _ = fs::remove_file(trail);
            }
            fs::remove_dir_all(&aside)
        };
        blocking(remove).await.map_err(failed)
    }

    /// Writes a profile as tar.zst; caches are left out.
    ///
    /// # Errors
    /// There is none, it is used, or it cannot be read or written.
    pub async fn export_profile(
        &self,
        name: &str,
    ) -> Result<impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send + use<>, Error> {
        let (held, path) = self.hold_existing(name, "exported").await?;
        Ok(move |out: &mut dyn Write| {
            let _held = held;
            archive::write(&path, out)
        })
    }

    /// Makes a profile of a tar.zst, which may have been made by anybody: it blocks while it reads, and so is to be called
    /// where that may be.
    ///
    /// # Errors
    /// There is a profile of that name already, or the archive is broken, leads out of itself, or unpacks to more than
    /// [`Fleet::PROFILE_BYTES`].
    pub fn import_profile(&self, name: &str, from: impl Read) -> Result<(), Error> {
        let invalid = |field: &str, message: String| Error::Invalid(vec![FieldError { field: field.into(), message }]);
        if !is_name(name) {
            return Err(invalid("name", "a name is 1 to 63 letters, digits, '.', '_' and '-'".into()));
        }
        let _held = self.hold_profile(name, "imported")?;
        let path = self.profile_path(name);
        let exists =
            || Error::Conflict(format!("there is a profile {name} already: delete it, or choose another name"));
        if path.exists() {
            return Err(exists());
        }
        let new = self.profile_path(&format!("{HIDDEN}import-{}", secret::random(8)));
        let made = archive::read(from, &new);
        let done = made.map_err(|error| invalid("body", error.to_string())).and_then(|()| {
            let moved = rustix::fs::renameat_with(
                rustix::fs::CWD,
                &new,
                rustix::fs::CWD,
                &path,
                rustix::fs::RenameFlags::NOREPLACE,
            );
            moved.map_err(|_| exists())
        });
        if done.is_err() {
            let _ = fs::remove_dir_all(&new);
        }
        done
    }

    /// Bytes that a profile may have when it is unpacked.
    pub const PROFILE_BYTES: u64 = archive::MAX_BYTES;
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
