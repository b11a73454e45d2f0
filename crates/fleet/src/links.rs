//! Links into a session's room, made in the server's name.

use hyper::{Method, StatusCode};

use crate::{Error, Fleet, SessionId, TokenInfo, time};

/// What one may do in a room who comes by a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRole {
    /// Everything, removing others included.
    Admin,
    /// Watch, talk and control.
    Member,
    /// Watch and talk.
    Watcher,
}

/// A link to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLink {
    /// For whom.
    pub role: LinkRole,
    /// For how long it works, in seconds from 60 to 2592000.
    pub expires_in: u64,
    /// How often it works, from 1 to 1000.
    pub uses: u64,
    /// By which it can be taken back, with those who came by it: at most 64 bytes.
    pub label: Option<String>,
}

impl Fleet {
    /// Makes a token that logs in to a session's room.
    ///
    /// # Errors
    /// There is no such session, or it refuses.
    pub async fn link(&self, id: &SessionId, link: &NewLink) -> Result<String, Error> {
        let entered = self.enter(id, false).await?;
        let path = format!("{}api/glasshouse/links", entered.path());
        let view_only = link.role == LinkRole::Watcher;
        let body = serde_json::json!({
            "admin": link.role == LinkRole::Admin,
            "view_only": view_only,
            "expires_in": link.expires_in,
            "uses": link.uses,
            "label": link.label.as_deref().unwrap_or_default(),
        });
        let (status, answer) = entered.live.ask(Method::POST, &path, body.to_string().into()).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        // A session that an older version has started would let a watcher control.
        if view_only && status == StatusCode::OK && answer["view_only"] != true {
            return Err(Error::Conflict(
                "this session was started by an older version, which knows no watchers".into(),
            ));
        }
        match answer["token"].as_str() {
            Some(token) if status.is_success() => Ok(token.to_owned()),
            _ => Err(Error::Session(format!("no link: {status}"))),
        }
    }

    /// Takes back the links with a label, and removes from the room who came by them.
    ///
    /// # Errors
    /// There is no such session, or it refuses.
    pub async fn unlink(&self, id: &SessionId, label: &str) -> Result<(), Error> {
        let entered = self.enter(id, false).await?;
        let path = format!("{}api/glasshouse/links/{label}", entered.path());
        match entered.live.ask(Method::DELETE, &path, "".into()).await? {
            (status, _) if status.is_success() => Ok(()),
            (status, _) => Err(Error::Session(format!("links are not taken back: {status}"))),
        }
    }

    /// Tokens that are good for one session only, and are not over.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn session_tokens(&self, id: &SessionId) -> Result<Vec<TokenInfo>, Error> {
        let now = time::now();
        let is_of = |info: &TokenInfo| {
            info.grant.session.as_ref() == Some(id) && info.grant.expires_at.is_none_or(|end| now < end)
        };
        Ok(self.tokens().await?.into_iter().filter(is_of).collect())
    }
}
