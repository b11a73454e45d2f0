//! Who may sign in with a password, as the users file says at the time.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use argon2::PasswordVerifier;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{
    Error,
    users_file::{User, UsersFile},
};

/// Passwords that are hashed at a time. Each takes 19 MiB, and some 30 ms of a processor.
const AT_A_TIME: usize = 1;
/// Passwords that wait for that; more are refused.
const MAX_WAITING: usize = 32;
/// Longest password that is looked at, in bytes.
const MAX_PASSWORD: usize = 1_024;

/// A hash of no password that anybody knows, with the costs of our own: what the password for an unknown name is checked
/// against, so that the answer takes as long.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$Z2xhc3Nob3VzZS1kZWNveQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// More people sign in at once than can be checked.
#[derive(Debug)]
pub struct Busy;

/// Which state of the file was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let about = fs::metadata(path)?;
    Ok(Stamp {
        inode: about.ino(),
        size: about.size(),
        changed: (about.ctime(), about.ctime_nsec()),
        modified: (about.mtime(), about.mtime_nsec()),
    })
}

#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    users: HashMap<String, User>,
    decoy: String,
}

impl Known {
    fn set(&mut self, file: &UsersFile) {
        self.users = file.users().map(|user| (user.name.clone(), user.clone())).collect();
        // Hashes that another program has made may cost more or less than ours: what most have counts.
        self.decoy = file.users().next().map_or_else(|| DECOY.to_owned(), |user| decoy_like(&user.hash));
    }
}

/// A hash that no password fits, as costly as another.
fn decoy_like(hash: &str) -> String {
    let costs = hash.split('$').nth(3);
    let decoy: Vec<_> =
        DECOY.split('$').enumerate().map(|(at, part)| costs.filter(|_| at == 3).unwrap_or(part)).collect();
    decoy.join("$")
}

/// The users file, read again whenever it has changed.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    known: Mutex<Known>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Passwords that were hashed.
    hashed: AtomicU64,
}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// It is not there or wrong.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let users = Self {
            path: path.to_owned(),
            known: Mutex::default(),
            permits: Arc::new(Semaphore::new(AT_A_TIME)),
            waiting: AtomicUsize::new(0),
            hashed: AtomicU64::new(0),
        };
        let now = stamp(path).map_err(Error::io(format!("cannot use the users file {}", path.display())))?;
        let file = UsersFile::read(path)?;
        {
            let mut known = users.known.lock();
            known.stamp = Some(now);
            known.set(&file);
        }
        Ok(users)
    }

    /// Looks whether the file has changed. One that is gone lets nobody in; one that is wrong changes nothing, and is logged.
    fn renew(&self) {
        let now = stamp(&self.path).ok();
        let mut known = self.known.lock();
        if now == known.stamp {
            return;
        }
        known.stamp = now;
        if now.is_none() {
            tracing::error!(file = %self.path.display(), "the users file is gone: nobody can sign in with a password");
            known.users.clear();
            return;
        }
        match UsersFile::read(&self.path) {
            Ok(file) => known.set(&file),
            Err(error) => {
                tracing::error!(%error, "the users file is not used as it is now: who was in it before still counts")
            }
        }
    }

    /// Whether an account is still as it was when somebody signed in to it.
    pub fn is_current(&self, name: &str, mark: &str) -> bool {
        self.renew();
        self.known.lock().users.get(name).is_some_and(|user| user.mark() == mark)
    }

    /// Whether somebody has a name.
    pub fn has(&self, name: &str) -> bool {
        self.known.lock().users.contains_key(name)
    }

    /// Who has a name and a password; takes as long for a name that nobody has.
    ///
    /// # Errors
    /// Too many sign in at once.
    pub async fn check(self: &Arc<Self>, name: &str, password: &str) -> Result<Option<(User, String)>, Busy> {
        let place = Place::take(self)?;
        self.renew();
        let (user, hash) = {
            let known = self.known.lock();
            let user = known.users.get(name).cloned();
            let hash = user.as_ref().map_or(&known.decoy, |user| &user.hash).clone();
            (user, hash)
        };
        // Never closed.
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Busy)?;
        drop(place);
        // As long for one that is too long.
        let fits = password.len() <= MAX_PASSWORD;
        let password = if fits { password.to_owned() } else { String::new() };
        let users = self.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            users.hashed.fetch_add(1, Ordering::Relaxed);
            crate::users_file::hasher().verify_password(password.as_bytes(), hash.as_str()).is_ok()
        });
        let is_right = checked.await.unwrap_or(false);
        Ok(user.filter(|_| is_right && fits).map(|user| {
            let mark = user.mark();
            (user, mark)
        }))
    }
}

/// A place among those who wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(users: &'a Users) -> Result<Self, Busy> {
        let place = Self(&users.waiting);
        if users.waiting.fetch_add(1, Ordering::AcqRel) < MAX_WAITING { Ok(place) } else { Err(Busy) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Power, secret};

    struct File(PathBuf);

    impl File {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("gh-users-{}", secret::random(8))))
        }

        fn change(&self, change: impl FnOnce(&mut UsersFile)) {
            let mut file = UsersFile::read(&self.0).unwrap();
            change(&mut file);
            file.write(&self.0).unwrap();
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[tokio::test]
    async fn right_and_wrong_passwords_and_unknown_names_cost_the_same() {
        let file = File::new();
        assert!(Users::open(&file.0).is_err());
        file.change(|users| users.set("ann", "user", "correct horse").unwrap());
        let users = Arc::new(Users::open(&file.0).unwrap());
        let (ann, mark) = users.check("ann", "correct horse").await.unwrap().unwrap();
        assert!(ann.powers.allow(Power::Control) && users.is_current("ann", &mark));
        let long = "x".repeat(2_000);
        for (name, password) in [("ann", "wrong"), ("ann", ""), ("bob", "correct horse"), ("bob", ""), ("ann", &long)] {
            assert!(users.check(name, password).await.unwrap().is_none(), "{name} {password}");
        }
        // Every answer has cost one hash, which the time that it takes goes by.
        assert_eq!(users.hashed.load(Ordering::Relaxed), 6);
        let costs = |hash: &str| hash.split('$').nth(3).map(str::to_owned);
        let known = users.known.lock();
        assert_eq!(costs(&known.decoy), costs(&known.users["ann"].hash));
        assert_eq!(costs(&decoy_like("$argon2id$v=19$m=65536,t=3,p=4$x$y")).as_deref(), Some("m=65536,t=3,p=4"));
    }

    #[tokio::test]
    async fn changes_of_the_file_count_at_once() {
        let file = File::new();
        file.change(|users| {
            users.set("ann", "user", "correct horse").unwrap();
            users.set("bob", "admin", "battery staple").unwrap();
        });
        let users = Arc::new(Users::open(&file.0).unwrap());
        let mark = |name: &str| users.known.lock().users[name].mark();
        let (ann, bob) = (mark("ann"), mark("bob"));
        file.change(|users| users.set("ann", "user", "another horse").unwrap());
        assert!(!users.is_current("ann", &ann) && users.is_current("bob", &bob));
        assert!(users.check("ann", "correct horse").await.unwrap().is_none());
        assert!(users.check("ann", "another horse").await.unwrap().is_some());
        file.change(|users| assert!(users.remove("ann")));
        assert!(users.check("ann", "another horse").await.unwrap().is_none());
        fs::write(&file.0, "nonsense").unwrap();
        assert!(users.is_current("bob", &bob), "a file that is wrong changes nothing");
        fs::remove_file(&file.0).unwrap();
        assert!(!users.is_current("bob", &bob), "one that is gone lets nobody in");
    }

    #[tokio::test]
    async fn more_than_can_wait_are_refused() {
        let file = File::new();
        file.change(|users| users.set("ann", "user", "correct horse").unwrap());
        let users = Arc::new(Users::open(&file.0).unwrap());
        let all = users.permits.clone().acquire_many_owned(1).await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..MAX_WAITING {
            let users = users.clone();
            waiting.spawn(async move { users.check("ann", "wrong").await.is_ok() });
        }
        while users.waiting.load(Ordering::Acquire) < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        assert!(users.check("ann", "correct horse").await.is_err());
        waiting.shutdown().await;
        drop(all);
        assert!(users.check("ann", "correct horse").await.unwrap().is_some(), "who left gave their place back");
    }
}
