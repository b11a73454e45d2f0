//! What must be known after a restart and cannot be seen on the machine: SQLite.

pub(crate) mod audit;
mod open;
pub(crate) mod sessions;
pub(crate) mod tokens;

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use rusqlite::Connection;

pub use audit::{Audit, AuditEntry};
pub use sessions::{Filter, Page};
pub use tokens::TokenInfo;

pub(crate) use sessions::{Begun, KeyUse};

use crate::Error;

/// The database of a fleet.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
    path: PathBuf,
}

impl Store {
    /// Does something with the database, off the caller's thread.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (connection, path) = (self.connection.clone(), self.path.clone());
        let done = tokio::task::spawn_blocking(move || work(&mut connection.lock())).await;
        let failed = |reason: String| Error::Database { path, reason };
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

#[cfg(test)]
fn in_memory() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    open::migrate(&mut connection).unwrap();
    connection
}
