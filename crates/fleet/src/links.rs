//! Links into a session's room, made in the server's name.

use std::{sync::Arc, time::Duration};

use hyper::{Method, StatusCode};
use tokio::task::JoinSet;

use crate::{Audit, Error, Fleet, SessionId, TokenInfo, inner::Inner, time};

/// Between looks at whether a link has expired.
const LOOK: Duration = Duration::from_secs(1);
/// How long sessions may take to put people out.
const ROUND: Duration = Duration::from_secs(10);

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
        self.put_out(id, label, "").await
    }

    /// The same in all sessions; those that do not answer are left after `ROUND`, and named in the log.
    pub async fn unlink_everywhere(&self, label: &str) {
        let ids: Vec<_> = self.inner.live.lock().keys().cloned().collect();
        let mut rounds = JoinSet::new();
        for id in ids {
            let (fleet, label) = (self.clone(), label.to_owned());
            rounds.spawn(async move {
                match fleet.unlink(&id, &label).await {
                    // It has ended, or nobody is in before it is ready.
                    Ok(()) | Err(Error::NotFound | Error::Conflict(_)) => {}
                    Err(error) => tracing::warn!(session = %id, %error, "who came by a token that is good no more may still be in"),
                }
            });
        }
        if tokio::time::timeout(ROUND, async { while rounds.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(sessions = rounds.len(), "sessions do not put out who came by a token that is good no more");
        }
    }

    async fn put_out(&self, id: &SessionId, label: &str, query: &str) -> Result<(), Error> {
        let entered = self.enter(id, false).await?;
        let path = format!("{}api/glasshouse/links/{label}{query}", entered.path());
        match entered.live.ask(Method::DELETE, &path, "".into()).await? {
            (status, _) if status.is_success() => Ok(()),
            (status, _) => Err(Error::Session(format!("links are not taken back: {status}"))),
        }
    }

    /// Puts out of their rooms those who came by a link that has expired, and forgets it, for as long as the fleet lives.
    pub(crate) fn watch_links(inner: &Arc<Inner>) {
        let weak = Arc::downgrade(inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(inner) = weak.upgrade() else { return };
                let fleet = Self { inner };
                let mut rounds = JoinSet::new();
                for (token, session) in fleet.inner.tokens.expire(time::now()) {
                    let fleet = fleet.clone();
                    rounds.spawn(async move { fleet.link_expired(token, session).await });
                }
                // A session that does not answer is asked again in the next round.
                let _ = tokio::time::timeout(ROUND, async { while rounds.join_next().await.is_some() {} }).await;
            }
        });
    }

    async fn link_expired(&self, token: String, session: SessionId) {
        match self.put_out(&session, &token, "?expired").await {
            // It has ended, or nobody is in before it is ready.
            Ok(()) | Err(Error::NotFound | Error::Conflict(_)) => {}
            Err(error) => {
                tracing::info!(%session, %error, "those who came by an expired link are not out yet");
                return;
            }
        }
        // The database may have forgotten it by itself.
        let _ = self.revoke_token(&token).await;
        let (who, action, detail) = ("fleet".into(), "session.link-expired", token);
        self.audit(Audit { who, origin: String::new(), action, target: session.to_string(), detail }).await;
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
