//! Sessions, and the keys of requests that made them.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, ToSql, params, types::Type};

use crate::{SessionId, Spec, State, view::Row};

/// Ended sessions that are remembered at most, and for how long.
const MAX_ENDED: i64 = 10_000;
const ENDED_FOR: i64 = 7 * 86_400_000;
/// How long an idempotency key is remembered.
const KEYS_FOR: i64 = 86_400_000;

const COLUMNS: &str = "id, state, reason, spec, path, owner, created_at, ready_at, expires_at, ended_at";

/// Which sessions to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In one of these states; empty: all that have not ended.
    pub states: Vec<State>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
    /// With this name.
    pub name: Option<String>,
    /// Only this one.
    pub id: Option<SessionId>,
    /// Only what this account or token has created.
    pub owner: Option<String>,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Sessions at most.
    pub limit: u16,
    /// Where the last page ended: what [`crate::Fleet::list`] returned with it.
    pub after: Option<(i64, SessionId)>,
}

/// An idempotency key as it is written down.
#[derive(Debug, Clone)]
pub(crate) struct KeyUse {
    pub(crate) token: String,
    pub(crate) key: String,
    /// Hash of the request.
    pub(crate) request: [u8; 32],
}

/// What became of a new session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    New,
    /// The same request made this one before.
    Before(SessionId),
    /// Another request had the same key.
    Reused,
}

fn read(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let wrong =
        |column, what: &str| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.to_owned().into());
    let id: String = row.get(0)?;
    let state: String = row.get(1)?;
    let spec: String = row.get(3)?;
    Ok(Row {
        id: SessionId::parse(&id).ok_or_else(|| wrong(0, "not an id"))?,
        state: State::parse(&state).ok_or_else(|| wrong(1, "not a state"))?,
        reason: row.get(2)?,
        spec: serde_json::from_str::<Spec>(&spec).map_err(|error| wrong(3, &error.to_string()))?,
        path: row.get(4)?,
        owner: row.get(5)?,
        created_at: row.get(6)?,
        ready_at: row.get(7)?,
        expires_at: row.get(8)?,
        ended_at: row.get(9)?,
    })
}

/// Writes a new session down, together with the key of its request.
pub(crate) fn begin(connection: &mut Connection, row: &Row, key: Option<&KeyUse>) -> rusqlite::Result<Begun> {
    let transaction = connection.transaction()?;
    if let Some(key) = key {
        if let Some(before) = key_use(&transaction, key)? {
            return Ok(before);
        }
        transaction.execute(
            "INSERT INTO keys (token, key, request, session, created_at) VALUES (?, ?, ?, ?, ?)",
            params![key.token, key.key, key.request, row.id.as_str(), row.created_at],
        )?;
    }
    put(&transaction, row)?;
    transaction.commit()?;
    Ok(Begun::New)
}

/// What a key stands for, if it was used.
pub(crate) fn key_use(connection: &Connection, key: &KeyUse) -> rusqlite::Result<Option<Begun>> {
    let found: Option<([u8; 32], String)> = connection
        .query_row(
            "SELECT request, session FROM keys WHERE token = ? AND key = ?",
            params![key.token, key.key],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    Ok(found.map(|(request, session)| match SessionId::parse(&session) {
        Some(session) if request == key.request => Begun::Before(session),
        _ => Begun::Reused,
    }))
}

/// Writes a session down as it is now.
pub(crate) fn put(connection: &Connection, row: &Row) -> rusqlite::Result<()> {
    let spec = serde_json::to_string(&row.spec.public()).unwrap_or_else(|_| "{}".to_owned());
    connection.execute(
        &format!(
            "INSERT INTO sessions ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (id) DO UPDATE SET state = ?2, reason = ?3, spec = ?4, ready_at = ?8, expires_at = ?9, ended_at = ?10"
        ),
        params![
            row.id.as_str(),
            row.state.name(),
            row.reason,
            spec,
            row.path,
            row.owner,
            row.created_at,
            row.ready_at,
            row.expires_at,
            row.ended_at
        ],
    )?;
    Ok(())
}

/// Keeps the end of an ended session's log.
pub(crate) fn put_log(connection: &Connection, id: &SessionId, log: &str) -> rusqlite::Result<()> {
    connection.execute("UPDATE sessions SET log = ? WHERE id = ?", params![log, id.as_str()]).map(drop)
}

pub(crate) fn log(connection: &Connection, id: &SessionId) -> rusqlite::Result<Option<String>> {
    let found =
        connection.query_row("SELECT log FROM sessions WHERE id = ?", [id.as_str()], |row| row.get(0)).optional()?;
    Ok(found.flatten())
}

pub(crate) fn get(connection: &Connection, id: &SessionId) -> rusqlite::Result<Option<Row>> {
    connection.query_row(&format!("SELECT {COLUMNS} FROM sessions WHERE id = ?"), [id.as_str()], read).optional()
}

/// A page of sessions, newest first.
pub(crate) fn list(connection: &Connection, filter: &Filter, page: &Page) -> rusqlite::Result<Vec<Row>> {
    let mut query = format!("SELECT {COLUMNS} FROM sessions WHERE ");
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    if filter.states.is_empty() {
        query.push_str("ended_at IS NULL");
    } else {
        let marks = vec!["?"; filter.states.len()].join(", ");
        query.push_str(&format!("state IN ({marks})"));
        values.extend(filter.states.iter().map(|state| Box::new(state.name()) as Box<dyn ToSql>));
    }
    for (key, value) in &filter.labels {
        query.push_str(" AND EXISTS (SELECT 1 FROM json_each(spec, '$.labels') WHERE key = ? AND value = ?)");
        values.push(Box::new(key.clone()));
        values.push(Box::new(value.clone()));
    }
    if let Some(name) = &filter.name {
        query.push_str(" AND json_extract(spec, '$.name') = ?");
        values.push(Box::new(name.clone()));
    }
    if let Some(id) = &filter.id {
        query.push_str(" AND id = ?");
        values.push(Box::new(id.as_str().to_owned()));
    }
    if let Some(owner) = &filter.owner {
        query.push_str(" AND owner = ?");
        values.push(Box::new(owner.clone()));
    }
    if let Some((created, id)) = &page.after {
        query.push_str(" AND (created_at, id) < (?, ?)");
        values.push(Box::new(*created));
        values.push(Box::new(id.as_str().to_owned()));
    }
    query.push_str(" ORDER BY created_at DESC, id DESC LIMIT ?");
    values.push(Box::new(page.limit));
    let mut statement = connection.prepare_cached(&query)?;
    let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
    statement.query_map(&values[..], read)?.collect()
}

/// Every session that has not ended as far as is written.
pub(crate) fn open_ones(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM sessions WHERE ended_at IS NULL"))?;
    statement.query_map([], read)?.collect()
}

/// Forgets what is old.
pub(crate) fn prune(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM sessions WHERE ended_at < ?", [now - ENDED_FOR])?;
    connection.execute(
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT -1 OFFSET ?)",
        [MAX_ENDED],
    )?;
    connection.execute("DELETE FROM keys WHERE created_at < ?", [now - KEYS_FOR]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::in_memory;

    fn row(created_at: i64, label: &str) -> Row {
        Row {
            id: SessionId::random(),
            state: State::Creating,
            reason: None,
            spec: Spec {
                labels: [("team".to_owned(), label.to_owned())].into(),
                environment: [("SECRET".to_owned(), "hidden".to_owned())].into(),
                ..Spec::default()
            },
            path: "/s/x/".into(),
            owner: "t".into(),
            created_at,
            ready_at: None,
            expires_at: None,
            ended_at: None,
        }
    }

    #[test]
    fn pages_and_filters() {
        let mut db = in_memory();
        let rows: Vec<_> = (0..5).map(|at| row(at / 2, if at % 2 == 0 { "even" } else { "odd" })).collect();
        for one in &rows {
            assert_eq!(begin(&mut db, one, None).unwrap(), Begun::New);
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = list(&db, &Filter::default(), &Page { limit: 2, after: after.clone() }).unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.created_at, last.id.clone()));
            seen.extend(page);
        }
        assert_eq!(seen.len(), 5);
        assert!(seen.is_sorted_by(|a, b| (a.created_at, &a.id) > (b.created_at, &b.id)));
        assert!(seen.iter().all(|row| row.spec.environment.is_empty()));
        let all = Page { limit: 100, after: None };
        let odd = Filter { labels: vec![("team".into(), "odd".into())], ..Filter::default() };
        assert_eq!(list(&db, &odd, &all).unwrap().len(), 2);
        let ended = Row { state: State::Failed, reason: Some("x".into()), ended_at: Some(9), ..rows[0].clone() };
        put(&db, &ended).unwrap();
        assert_eq!(list(&db, &Filter::default(), &all).unwrap().len(), 4);
        assert_eq!(open_ones(&db).unwrap().len(), 4);
        let failed = Filter { states: vec![State::Failed, State::Ready], ..Filter::default() };
        assert_eq!(list(&db, &failed, &all).unwrap()[0].reason.as_deref(), Some("x"));
        prune(&db, 9 + ENDED_FOR + 1).unwrap();
        assert_eq!(get(&db, &ended.id).unwrap(), None);
        assert_eq!(open_ones(&db).unwrap().len(), 4);
    }

    #[test]
    fn a_key_stands_for_one_request() {
        let mut db = in_memory();
        let key = |request: u8, token: &str| KeyUse { token: token.into(), key: "k".into(), request: [request; 32] };
        let first = row(1, "a");
        assert_eq!(begin(&mut db, &first, Some(&key(1, "t"))).unwrap(), Begun::New);
        assert_eq!(begin(&mut db, &row(2, "a"), Some(&key(1, "t"))).unwrap(), Begun::Before(first.id.clone()));
        assert_eq!(begin(&mut db, &row(2, "a"), Some(&key(2, "t"))).unwrap(), Begun::Reused);
        assert_eq!(begin(&mut db, &row(2, "a"), Some(&key(2, "other"))).unwrap(), Begun::New);
        assert_eq!(open_ones(&db).unwrap().len(), 2);
    }
}
