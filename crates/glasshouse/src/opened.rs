//! The session that a server opens at its start for whoever started it, and the one link to it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use glasshouse_fleet::{Fleet, NewToken, Power, SessionId, Spec, State};

/// How long the session may take to start.
const START: Duration = Duration::from_secs(60);
/// How long the link works. The page that opens it takes it out of use.
const LINK: Duration = Duration::from_secs(600);

/// A session that ends with the server that opened it.
pub(crate) struct Opened {
    fleet: Fleet,
    id: SessionId,
}

impl Opened {
    /// Opens a session and returns it with what follows the `#` of the link. `token` is the admin's.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(fleet: &Fleet, token: &str, url: Option<String>) -> anyhow::Result<(Self, String)> {
        let grant = fleet.grant(token).context("the admin's token is not good")?;
        let spec = Spec { url, ..Spec::default() };
        let created = fleet.create(&grant, spec, None).await.context("cannot open a session")?;
        let opened = Self { fleet: fleet.clone(), id: created.view.id };
        let view = fleet.wait(&opened.id, START).await?;
        if view.state != State::Ready {
            let reason = view.reason.unwrap_or_else(|| "it takes longer than a minute to start".into());
            opened.end().await;
            bail!("cannot open a session: {reason} ('glasshouse doctor' checks this machine)");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ticket = NewToken {
            name: "link at the start".into(),
            session: None,
            powers: [Power::Admin].into_iter().collect(),
            expires_at: i64::try_from((now + LINK).as_millis()).ok(),
        };
        let (secret, info) = fleet.create_token(&ticket).await?;
        let fragment = format!("token={secret}&ticket={}&open={}", info.grant.token, opened.id);
        Ok((opened, fragment))
    }

    /// Ends the session.
    pub(crate) async fn end(self) {
        // Somebody else may have ended it.
        let _ = self.fleet.end(&self.id, "the server that opened it was stopped").await;
    }
}
