//! Tokens: hashes only.

use rusqlite::{Connection, params};

use crate::{
    SessionId,
    secret::Hash,
    tokens::{Grant, Login, Powers},
};

/// A token as it is listed; never its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its name for people.
    pub name: String,
    /// Whom it stands for.
    pub grant: Grant,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
}

pub(crate) fn insert(connection: &Connection, hash: &Hash, token: &TokenInfo) -> rusqlite::Result<()> {
    let Grant { token: id, session, powers, expires_at, login } = &token.grant;
    connection.execute(
        "INSERT INTO tokens (id, hash, name, session, powers, created_at, expires_at, account, mark)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            id,
            hash,
            token.name,
            session.as_ref().map(SessionId::as_str),
            powers.to_text(),
            token.created_at,
            expires_at,
            login.as_ref().map(|login| &login.account),
            login.as_ref().map(|login| &login.mark),
        ],
    )?;
    Ok(())
}

/// All tokens with their hashes, oldest first. One for a session that is written wrongly is left out.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<(Hash, TokenInfo)>> {
    let mut statement = connection.prepare(
        "SELECT hash, id, name, session, powers, created_at, expires_at, account, mark FROM tokens ORDER BY created_at, id",
    )?;
    let rows = statement.query_map([], |row| {
        let session: Option<String> = row.get(3)?;
        let scope = session.as_deref().map(SessionId::parse);
        let powers: String = row.get(4)?;
        let name: String = row.get(2)?;
        let account: Option<String> = row.get(7)?;
        let mark: Option<String> = row.get(8)?;
        let login = account.map(|account| Login { account, name: name.clone(), mark: mark.unwrap_or_default() });
        let grant = Grant {
            token: row.get(1)?,
            session: scope.clone().flatten(),
            powers: Powers::from_text(&powers),
            expires_at: row.get(6)?,
            login,
        };
        let is_right = scope != Some(None);
        Ok(is_right.then_some((row.get(0)?, TokenInfo { name, grant, created_at: row.get(5)? })))
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// Removes a token; whether there was one.
pub(crate) fn remove(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    Ok(connection.execute("DELETE FROM tokens WHERE id = ?", [id])? > 0)
}

/// Removes all but the newest logins of an account; returns the ids of those that are gone.
pub(crate) fn remove_surplus(connection: &Connection, account: &str, most: u16) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM tokens WHERE account = ?1 AND id NOT IN
         (SELECT id FROM tokens WHERE account = ?1 ORDER BY created_at DESC, rowid DESC LIMIT ?2) RETURNING id",
    )?;
    statement.query_map(params![account, most], |row| row.get(0))?.collect()
}

pub(crate) fn remove_of_session(connection: &Connection, session: &SessionId) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM tokens WHERE session = ?", [session.as_str()]).map(drop)
}

/// Removes what is over.
pub(crate) fn prune(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM tokens WHERE expires_at < ?", [now]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{secret, store::in_memory};

    #[test]
    fn kept_as_hashes_and_removed() {
        let db = in_memory();
        let grant = |session| Grant {
            token: secret::random(10),
            session,
            powers: Powers::from_text("view"),
            expires_at: Some(5),
            login: None,
        };
        let whole = TokenInfo { name: "a".into(), grant: grant(None), created_at: 1 };
        let of_one = TokenInfo { name: "b".into(), grant: grant(Some(SessionId::random())), created_at: 2 };
        for token in [&whole, &of_one] {
            insert(&db, &secret::hash(&token.name), token).unwrap();
        }
        assert_eq!(all(&db).unwrap(), [(secret::hash("a"), whole.clone()), (secret::hash("b"), of_one.clone())]);
        remove_of_session(&db, of_one.grant.session.as_ref().unwrap()).unwrap();
        assert!(!remove(&db, &of_one.grant.token).unwrap());
        prune(&db, 5).unwrap();
        assert!(remove(&db, &whole.grant.token).unwrap());
        assert!(all(&db).unwrap().is_empty());
        // Were the scope ignored, this would be a token for everything.
        insert(&db, &secret::hash("b"), &of_one).unwrap();
        db.execute("UPDATE tokens SET session = 'x'", []).unwrap();
        assert!(all(&db).unwrap().is_empty());
    }

    #[test]
    fn logins_are_kept_and_the_oldest_make_room() {
        let db = in_memory();
        for (index, account) in ["user:a", "user:b", "user:a", "user:a"].iter().enumerate() {
            let login = Login { account: (*account).to_owned(), name: "n".into(), mark: "m".into() };
            let grant = Grant {
                token: index.to_string(),
                session: None,
                powers: Powers::from_text("view"),
                expires_at: Some(9),
                login: Some(login.clone()),
            };
            insert(&db, &secret::hash(&grant.token), &TokenInfo { name: "n".into(), grant, created_at: 1 }).unwrap();
            assert_eq!(all(&db).unwrap().pop().and_then(|(_, info)| info.grant.login), Some(login));
        }
        assert_eq!(remove_surplus(&db, "user:a", 2).unwrap(), ["0"]);
        assert!(remove_surplus(&db, "user:a", 2).unwrap().is_empty());
        assert_eq!(all(&db).unwrap().len(), 3);
    }
}
