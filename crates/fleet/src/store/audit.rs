//! Who did what, when and from where.

use rusqlite::{Connection, params};

use crate::time;

/// Entries that are kept.
const MAX_ENTRIES: i64 = 100_000;

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Id of the token, or `fleet` for what nobody asked for.
    pub who: String,
    /// Address that it came from, or empty.
    pub origin: String,
    /// What, such as `session.create`.
    pub action: &'static str,
    /// Id of the session or token that it was done to.
    pub target: String,
    /// Anything else; never a secret.
    pub detail: String,
}

/// Something that was done, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct AuditEntry {
    /// Counts up.
    pub seq: i64,
    /// When (RFC 3339).
    #[schema(format = DateTime)]
    pub at: String,
    /// Id of the token, or `fleet` for what nobody asked for.
    pub who: String,
    /// Address that it came from, or empty.
    pub origin: String,
    /// What, such as `session.create`.
    pub action: String,
    /// Id of the session or token that it was done to.
    pub target: String,
    /// Anything else.
    pub detail: String,
}

pub(crate) fn add(connection: &Connection, at: i64, entry: &Audit) -> rusqlite::Result<()> {
    let mut statement = connection
        .prepare_cached("INSERT INTO audit (at, who, origin, action, target, detail) VALUES (?, ?, ?, ?, ?, ?)")?;
    statement.execute(params![at, entry.who, entry.origin, entry.action, entry.target, entry.detail]).map(drop)
}

/// Entries before a number, newest first.
pub(crate) fn list(connection: &Connection, before: Option<i64>, limit: u16) -> rusqlite::Result<Vec<AuditEntry>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, at, who, origin, action, target, detail FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?",
    )?;
    let rows = statement.query_map(params![before.unwrap_or(i64::MAX), limit], |row| {
        Ok(AuditEntry {
            seq: row.get(0)?,
            at: time::rfc3339(row.get(1)?),
            who: row.get(2)?,
            origin: row.get(3)?,
            action: row.get(4)?,
            target: row.get(5)?,
            detail: row.get(6)?,
        })
    })?;
    rows.collect()
}

pub(crate) fn prune(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM audit WHERE seq <= (SELECT max(seq) FROM audit) - ?", [MAX_ENTRIES]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::in_memory;

    #[test]
    fn newest_first_by_pages() {
        let db = in_memory();
        for target in ["a", "b", "c"] {
            let entry = Audit {
                who: "t".into(),
                origin: "127.0.0.1".into(),
                action: "session.create",
                target: target.into(),
                detail: String::new(),
            };
            add(&db, 0, &entry).unwrap();
        }
        let targets = |before, limit| -> Vec<String> {
            list(&db, before, limit).unwrap().into_iter().map(|entry| entry.target).collect()
        };
        assert_eq!(targets(None, 2), ["c", "b"]);
        assert_eq!(targets(Some(2), 2), ["a"]);
        prune(&db).unwrap();
        assert_eq!(targets(None, 9).len(), 3);
    }
}
