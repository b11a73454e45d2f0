//! Tokens of a fleet: made, looked up, revoked.

use std::{fs, os::unix::fs::OpenOptionsExt};

use crate::{
    Error, Fleet, Grant, Login, NewToken, Power, Powers, SessionId, TokenInfo, fleet::after, inner::Inner, secret,
    store, time, tokens,
};

/// Browsers that one account is signed in with at a time; the oldest has to sign in again.
const MAX_LOGINS: u16 = 20;

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

    /// Whom the secret of a browser's cookie stands for.
    pub fn login(&self, secret: &str) -> Option<Grant> {
        if tokens::is_login(secret) { self.inner.tokens.grant(secret, time::now()) } else { None }
    }

    /// Signs somebody in for a number of seconds; returns the secret for their browser's cookie, which is not kept.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn sign_in(&self, login: Login, powers: Powers, seconds: u64) -> Result<(String, Grant), Error> {
        let (secret, id) = tokens::make_login();
        let (account, now) = (login.account.clone(), time::now());
        let grant =
            Grant { token: id, session: None, powers, expires_at: Some(after(now, seconds)), login: Some(login) };
        self.inner.keep_token(&secret, grant.clone(), "").await?;
        let surplus = self.inner.store.with(move |db| store::tokens::remove_surplus(db, &account, MAX_LOGINS)).await?;
        for id in surplus {
            self.inner.tokens.remove(&id);
        }
        Ok((secret, grant))
    }

    /// Whether a session, which may have ended, is one of the account's that a grant is for.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn owns(&self, grant: &Grant, session: &SessionId) -> Result<bool, Error> {
        let Some(login) = &grant.login else { return Ok(false) };
        if let Ok(live) = self.live(session) {
            return Ok(live.row.lock().owner == login.account);
        }
        let wanted = session.clone();
        let row = self.inner.store.with(move |db| store::sessions::get(db, &wanted)).await?;
        Ok(row.is_some_and(|row| row.owner == login.account))
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
        let grant = Grant {
            token: tokens::make().1,
            session: token.session.clone(),
            powers: token.powers,
            expires_at: token.expires_at,
            login: None,
        };
        self.keep_token(secret, grant, &token.name).await
    }

    async fn keep_token(&self, secret: &str, grant: Grant, name: &str) -> Result<TokenInfo, Error> {
        let hash = secret::hash(secret);
        let name = grant.login.as_ref().map_or(name, |login| &login.name).to_owned();
        let info = TokenInfo { name, grant: grant.clone(), created_at: time::now() };
        let kept = info.clone();
        self.store.with(move |db| store::tokens::insert(db, &hash, &kept)).await?;
        self.tokens.add(hash, grant);
        Ok(info)
    }
}
