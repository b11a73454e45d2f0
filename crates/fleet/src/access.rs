//! Tokens of a fleet: made, looked up, revoked.

use std::{fs, os::unix::fs::OpenOptionsExt};

use crate::{Error, Fleet, Grant, NewToken, Power, TokenInfo, inner::Inner, secret, store, time, tokens};

impl Fleet {
    /// The admin's token, kept in the file `admin-token` of the state directory for the command line; made when there is none
    /// that works. The second value says whether it is new.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub async fn admin_token(&self) -> Result<(String, bool), Error> {
        let path = self.inner.config.state.join("admin-token");
        let failed = |error| Error::io(format!("cannot use {}", path.display()))(error);
        let kept = match fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().to_owned()).filter(|token| tokens::is_token(token)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if let Some(token) = &kept
            && self.grant(token).is_some_and(|grant| grant.allows_fleet(Power::Admin))
        {
            return Ok((token.clone(), false));
        }
        let is_new = kept.is_none();
        let admin = NewToken {
            name: "admin".into(),
            session: None,
            powers: [Power::Admin].into_iter().collect(),
            expires_at: None,
        };
        // After the database was lost, the old one is good again: who has the file has the rights.
        let secret = kept.unwrap_or_else(|| tokens::make().0);
        self.inner.add_token(&secret, &admin).await?;
        if is_new {
            let new = path.with_extension("new");
            let write = || {
                let _ = fs::remove_file(&new);
                let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
                std::io::Write::write_all(&mut file, format!("{secret}\n").as_bytes())?;
                fs::rename(&new, &path)
            };
            write().map_err(failed)?;
        }
        Ok((secret, is_new))
    }

    /// Whom a secret stands for.
    pub fn grant(&self, secret: &str) -> Option<Grant> {
        if tokens::is_token(secret) { self.inner.tokens.grant(secret, time::now()) } else { None }
    }

    /// Makes a token; returns its secret, which is not kept.
    ///
    /// # Errors
    /// There is no such session, or the database refuses.
    pub async fn create_token(&self, token: &NewToken) -> Result<(String, TokenInfo), Error> {
        if let Some(session) = &token.session {
            self.live(session)?;
        }
        let secret = tokens::make().0;
        let info = self.inner.add_token(&secret, token).await?;
        Ok((secret, info))
    }

    /// All tokens.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>, Error> {
        let all = self.inner.store.with(|db| store::tokens::all(db)).await?;
        Ok(all.into_iter().map(|(_, info)| info).collect())
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// There is none, or the database refuses; it is good no more even then.
    pub async fn revoke_token(&self, id: &str) -> Result<(), Error> {
        self.inner.tokens.remove(id);
        let id = id.to_owned();
        let existed = self.inner.store.with(move |db| store::tokens::remove(db, &id)).await?;
        if existed { Ok(()) } else { Err(Error::NotFound) }
    }
}

impl Inner {
    /// Makes a token of a secret, of which the hash is kept.
    async fn add_token(&self, secret: &str, token: &NewToken) -> Result<TokenInfo, Error> {
        let hash = secret::hash(secret);
        let grant = Grant {
            token: tokens::make().1,
            session: token.session.clone(),
            powers: token.powers,
            expires_at: token.expires_at,
        };
        let info = TokenInfo { name: token.name.clone(), grant: grant.clone(), created_at: time::now() };
        let kept = info.clone();
        self.store.with(move |db| store::tokens::insert(db, &hash, &kept)).await?;
        self.tokens.add(hash, grant);
        Ok(info)
    }
}
