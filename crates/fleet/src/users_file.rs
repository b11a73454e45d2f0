//! The users file: a line `name:role:$argon2id$…` for each who may sign in with a password.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use argon2::{Argon2, Params, PasswordHasher, password_hash::phc::PasswordHash};

use crate::{Error, Power, Powers, secret};

/// Largest file in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// Longest name in bytes.
const MAX_NAME: usize = 64;
/// Bytes of a password. Whoever can choose one may choose 8 characters (NIST SP 800-63B, 5.1.1.2).
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=1_024;
/// Costs of a hash that somebody else's program has made: KiB of memory, passes, lanes.
const MOST: (u32, u32, u32) = (256 * 1024, 16, 8);
/// Permission bits that the file must not have: hashes are not for everybody, nor are changes.
const TOO_OPEN: u32 = 0o026;

/// Somebody who may sign in with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Letters, digits, `.`, `_`, `-` and `@`; at most 64 bytes.
    pub name: String,
    /// As it is written: `admin`, `user`, or powers.
    pub role: String,
    /// What the role lets do.
    pub powers: Powers,
    /// A PHC string of Argon2id.
    pub(crate) hash: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl User {
    /// What changes whenever the line does; no secret can be told from it.
    pub(crate) fn mark(&self) -> String {
        let hash = secret::hash(&format!("{}:{}:{}", self.name, self.role, self.hash));
        hash[..12].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The powers of a role: `admin` has all over everything; `user` may do everything with sessions of their own; else powers
/// separated by commas, over sessions of their own.
///
/// # Errors
/// There is no such role or power.
pub fn powers_of_role(role: &str) -> Result<Powers, String> {
    match role {
        "admin" => Ok([Power::Admin].into_iter().collect()),
        "user" => Ok([Power::View, Power::Control, Power::Cdp].into_iter().collect()),
        list => {
            let powers = Powers::from_text(list);
            match powers.to_text().split(',').count() == list.split(',').count() && !powers.list().is_empty() {
                true => Ok(powers),
                false => Err(format!("{list:?} is no role: admin, user, or some of view,control,cdp,admin")),
            }
        }
    }
}

/// A line of the file.
#[derive(Debug, Clone)]
enum Line {
    User(User),
    /// A comment, or nothing.
    Other(String),
}

/// The file, to be looked at or changed.
#[derive(Debug, Clone, Default)]
pub struct UsersFile(Vec<Line>);

impl UsersFile {
    /// Reads a file; one that is not there is empty.
    ///
    /// # Errors
    /// It cannot be read, others can read or change it, or a line is wrong.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::io(format!("cannot use the users file {}", path.display()))(error);
        let mut text = String::new();
        match fs::File::open(path) {
            Ok(file) => {
                let about = file.metadata().map_err(failed)?;
                if about.mode() & TOO_OPEN != 0 {
                    return Err(failed(io::Error::other("others can read or change it: chmod 600")));
                }
                file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        }
        if text.len() as u64 > MAX_FILE {
            return Err(failed(io::Error::other("it is larger than 1 MiB")));
        }
        Self::parse(&text).map_err(|wrong| failed(io::Error::other(wrong)))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut file = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = match line.trim() {
                other if other.is_empty() || other.starts_with('#') => Line::Other(line.to_owned()),
                user => {
                    let user = parse_user(user).map_err(|wrong| format!("line {}: {wrong}", index + 1))?;
                    if file.find(&user.name).is_some() {
                        return Err(format!("line {}: {} is there twice", index + 1, user.name));
                    }
                    Line::User(user)
                }
            };
            file.0.push(line);
        }
        Ok(file)
    }

    /// Everybody, in order.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.0.iter().filter_map(|line| match line {
            Line::User(user) => Some(user),
            Line::Other(_) => None,
        })
    }

    /// Somebody by name.
    pub fn find(&self, name: &str) -> Option<&User> {
        self.users().find(|user| user.name == name)
    }

    /// Adds somebody, or gives a new role and password to who is there. Takes some 30 ms.
    ///
    /// # Errors
    /// The name, role or password cannot be.
    pub fn set(&mut self, name: &str, role: &str, password: &str) -> Result<(), String> {
        check_name(name)?;
        let powers = powers_of_role(role)?;
        let length = password.len();
        if password.chars().count() < *PASSWORD.start() || length > *PASSWORD.end() {
            return Err("a password has at least 8 characters, and at most 1024 bytes".into());
        }
        let hash = hasher().hash_password(password.as_bytes()).map_err(|error| error.to_string())?.to_string();
        let user = User { name: name.to_owned(), role: role.to_owned(), powers, hash };
        let there = self.0.iter_mut().find(|line| matches!(line, Line::User(other) if other.name == name));
        match there {
            Some(line) => *line = Line::User(user),
            None => self.0.push(Line::User(user)),
        }
        Ok(())
    }

    /// Removes somebody; whether they were there.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|line| !matches!(line, Line::User(user) if user.name == name));
        self.0.len() < before
    }

    /// Writes the file, for its owner only, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let mut text = String::new();
        for line in &self.0 {
            match line {
                Line::User(user) => text.push_str(&format!("{}:{}:{}\n", user.name, user.role, user.hash)),
                Line::Other(other) => text.push_str(&format!("{other}\n")),
            }
        }
        let new = path.with_added_extension("new");
        let write = || {
            let _ = fs::remove_file(&new);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            if let Ok(old) = fs::metadata(path) {
                // A server that runs as another user keeps its access.
                std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().map_err(Error::io(format!("cannot write the users file {}", path.display())))
    }
}

/// Argon2id with 19 MiB, two passes and one lane (OWASP Password Storage Cheat Sheet).
pub(crate) fn hasher() -> Argon2<'static> {
    Argon2::default()
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte));
    if fits { Ok(()) } else { Err("a name is 1 to 64 letters, digits, '.', '_', '-' and '@'".into()) }
}

fn parse_user(line: &str) -> Result<User, String> {
    let mut fields = line.splitn(3, ':');
    let (Some(name), Some(role), Some(hash)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("expected name:role:hash; `glasshouse user add` writes such a line".into());
    };
    check_name(name)?;
    let powers = powers_of_role(role)?;
    let parsed =
        PasswordHash::new(hash).ok().filter(|hash| hash.algorithm.as_str() == "argon2id" && hash.hash.is_some());
    let costs = parsed.as_ref().and_then(|hash| Params::try_from(hash).ok());
    match costs {
        Some(costs) if costs.m_cost() <= MOST.0 && costs.t_cost() <= MOST.1 && costs.p_cost() <= MOST.2 => {}
        Some(_) => return Err("its hash takes more than 256 MiB, 16 passes or 8 lanes".into()),
        None => return Err("its hash is none of Argon2id: use `glasshouse user passwd`".into()),
    }
    Ok(User { name: name.to_owned(), role: role.to_owned(), powers, hash: hash.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles() {
        assert!(powers_of_role("admin").unwrap().allow(Power::Admin));
        let user = powers_of_role("user").unwrap();
        assert!(user.allow(Power::Cdp) && !user.allow(Power::Admin));
        assert_eq!(powers_of_role("view,cdp").unwrap().to_text(), "view,cdp");
        for wrong in ["", "root", "view,", "view,root", "view,view", " view"] {
            assert!(powers_of_role(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_are_kept_and_mistakes_are_named() {
        let mut file = UsersFile::parse("# people\n\n").unwrap();
        file.set("ann@example.com", "admin", "correct horse").unwrap();
        file.set("bob", "view,control", "battery staple").unwrap();
        let mark = file.find("bob").unwrap().mark();
        file.set("bob", "user", "another staple").unwrap();
        assert_ne!(file.find("bob").unwrap().mark(), mark);
        assert!(file.set("bob", "user", "short").is_err());
        assert!(file.set("a:b", "user", "long enough").is_err());
        let path = std::env::temp_dir().join(format!("gh-users-{}", secret::random(8)));
        file.write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# people\n\nann@example.com:admin:$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let mut read = UsersFile::read(&path).unwrap();
        assert_eq!(read.users().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["ann@example.com", "bob"]);
        assert!(read.remove("bob") && !read.remove("bob"));
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(UsersFile::read(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::remove_file(&path).unwrap();
        assert_eq!(UsersFile::read(&path).unwrap().users().count(), 0);
        let hash = text.lines().last().and_then(|line| line.splitn(3, ':').nth(2)).unwrap();
        for (wrong, told) in [
            ("ann", "expected name:role:hash"),
            ("ann:king:x", "is no role"),
            ("ann:user:plain", "none of Argon2id"),
            ("ann:user:$argon2id$v=19$m=9999999,t=2,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "more than 256 MiB"),
            (&format!("a:user:{hash}\na:user:{hash}"), "line 2: a is there twice"),
        ] {
            let error = UsersFile::parse(wrong).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }
}
