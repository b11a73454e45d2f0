//! Opening the database: migrations, and what to do with a damaged one.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};

use super::Store;
use crate::{Error, time};

/// How long another program that looks at the database may hold us up.
const BUSY: Duration = Duration::from_secs(5);

/// Every version of the schema, as what makes it of the one before. Never changed, only added to.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        reason TEXT,
        spec TEXT NOT NULL,
        path TEXT NOT NULL,
        owner TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        ready_at INTEGER,
        expires_at INTEGER,
        ended_at INTEGER,
        log TEXT
    ) STRICT;
    CREATE INDEX sessions_created ON sessions (created_at DESC, id DESC);
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL,
        session TEXT,
        powers TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER
    ) STRICT;
    CREATE TABLE keys (
        token TEXT NOT NULL,
        key TEXT NOT NULL,
        request BLOB NOT NULL,
        session TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (token, key)
    ) STRICT;
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        who TEXT NOT NULL,
        origin TEXT NOT NULL,
        action TEXT NOT NULL,
        target TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT;
",
    // Who signed in, for the cookies of browsers.
    "
    ALTER TABLE tokens ADD COLUMN account TEXT;
    ALTER TABLE tokens ADD COLUMN mark TEXT;
",
];

/// The present version.
const LATEST: u32 = MIGRATIONS.len() as u32;

/// Why a database cannot be used as it is.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Its content is broken.
    Damaged(String),
    /// A newer program made it.
    Newer(u32),
    /// Anything else, which a new database would not mend.
    Other(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            // A table or column that should be there is not.
            Some(ErrorCode::Unknown) => Self::Damaged(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

impl Store {
    /// Opens the database at a path, or makes it. A damaged one is moved aside, with an error in the log, and a new one made;
    /// the second value says so.
    ///
    /// # Errors
    /// A newer program made it, or the place cannot be written to.
    pub(crate) fn open(path: &Path) -> Result<(Self, bool), Error> {
        let failed = |reason: String| Error::Database { path: path.to_owned(), reason };
        let (connection, is_damaged) = match try_open(path) {
            Ok(connection) => (connection, false),
            Err(Trouble::Newer(version)) => {
                return Err(failed(format!(
                    "it has version {version} and this program knows {LATEST}: use the newer program that made it"
                )));
            }
            Err(Trouble::Other(reason)) => return Err(failed(reason)),
            Err(Trouble::Damaged(reason)) => {
                let aside =
                    set_aside(path).map_err(|error| failed(format!("{reason}; cannot move it aside: {error}")))?;
                tracing::error!(database = %path.display(), aside = %aside.display(), reason, "the database is damaged: moved aside, a new one is begun");
                match try_open(path) {
                    Ok(connection) => (connection, true),
                    Err(Trouble::Damaged(reason) | Trouble::Other(reason)) => return Err(failed(reason)),
                    Err(Trouble::Newer(_)) => return Err(failed("it was replaced meanwhile".into())),
                }
            }
        };
        Ok((Self { connection: Arc::new(Mutex::new(connection)), path: path.to_owned() }, is_damaged))
    }
}

fn try_open(path: &Path) -> Result<Connection, Trouble> {
    let other = |error: io::Error| Trouble::Other(error.to_string());
    // Made here, so that nobody else can ever read it; SQLite gives its other files the same mode.
    fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(other)?;
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A power cut can lose the last changes, never the database (https://sqlite.org/pragma.html#pragma_synchronous).
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", 4 * 1024 * 1024)?;
    let health: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if health != "ok" {
        return Err(Trouble::Damaged(health));
    }
    migrate(&mut connection)?;
    // A schema that only claims its version shows here.
    for table in ["sessions", "tokens", "keys", "audit"] {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))?;
    }
    Ok(connection)
}

/// Brings the schema to the present version, one step after the other, each whole or not at all.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Trouble> {
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > LATEST {
        return Err(Trouble::Newer(version));
    }
    for (made, step) in (1..=LATEST).zip(MIGRATIONS).skip(version as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", made)?;
        transaction.commit()?;
    }
    Ok(())
}

fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let with = |base: &Path, end: &str| {
        let mut name = base.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let aside = with(path, &format!(".damaged-{}", time::now()));
    for end in ["", "-wal", "-shm"] {
        match fs::rename(with(path, end), with(&aside, end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("glasshouse-store-{}", secret::random(8)));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn database(&self) -> PathBuf {
            self.0.join("fleet.db")
        }

        fn aside(&self) -> usize {
            let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.starts_with("fleet.db.damaged-")).count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_good_one_is_kept() {
        let folder = Folder::new();
        for _ in 0..2 {
            assert!(!Store::open(&folder.database()).unwrap().1);
        }
        assert_eq!(folder.aside(), 0);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(folder.database()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn damaged_ones_are_set_aside() {
        let folder = Folder::new();
        fs::write(folder.database(), "this is no database, and it is long enough to be read as one").unwrap();
        assert!(Store::open(&folder.database()).unwrap().1);
        assert_eq!(folder.aside(), 1);
        // The right version with a table missing.
        let broken = Folder::new();
        let connection = Connection::open(broken.database()).unwrap();
        connection.pragma_update(None, "user_version", LATEST).unwrap();
        drop(connection);
        assert!(Store::open(&broken.database()).unwrap().1);
        assert_eq!(broken.aside(), 1);
    }

    #[test]
    fn a_newer_one_is_not_touched() {
        let folder = Folder::new();
        let connection = Connection::open(folder.database()).unwrap();
        connection.pragma_update(None, "user_version", LATEST + 1).unwrap();
        drop(connection);
        let error = Store::open(&folder.database()).unwrap_err().to_string();
        assert!(error.contains("newer program"), "{error}");
        assert_eq!(folder.aside(), 0);
    }
}
