//! Who may do what: tokens, their scope and their powers.

use std::collections::HashMap;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    SessionId,
    secret::{self, Hash},
};

/// What tokens begin with, so that people and scanners know one when they see it.
const PREFIX: &str = "gh_";
/// What the secret of a signed-in browser begins with: good in its cookie only, as tokens are good in a header only.
const LOGIN_PREFIX: &str = "ghl_";

/// One thing that a token lets do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// See sessions, their pictures and events.
    View,
    /// Create, change, freeze and end sessions; includes `view`.
    Control,
    /// Drive a session's browser by the DevTools protocol.
    Cdp,
    /// Everything, tokens, logs and the audit log included.
    Admin,
}

/// A set of powers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Powers(u8);

impl Powers {
    const ALL: [(Power, &'static str); 4] =
        [(Power::View, "view"), (Power::Control, "control"), (Power::Cdp, "cdp"), (Power::Admin, "admin")];

    fn bit(power: Power) -> u8 {
        match power {
            Power::View => 1,
            Power::Control => 2,
            Power::Cdp => 4,
            Power::Admin => 8,
        }
    }

    /// Whether a power is in the set, by itself or by another that includes it.
    pub fn allow(self, power: Power) -> bool {
        let has = |power| self.0 & Self::bit(power) != 0;
        has(Power::Admin) || has(power) || (power == Power::View && has(Power::Control))
    }

    /// The powers by name.
    pub fn list(self) -> Vec<Power> {
        Self::ALL.iter().map(|(power, _)| *power).filter(|power| self.0 & Self::bit(*power) != 0).collect()
    }

    pub(crate) fn to_text(self) -> String {
        let names = Self::ALL.iter().filter(|(power, _)| self.0 & Self::bit(*power) != 0).map(|(_, name)| *name);
        names.collect::<Vec<_>>().join(",")
    }

    /// Names it does not know give no power.
    pub(crate) fn from_text(text: &str) -> Self {
        let known = |word: &str| Self::ALL.iter().find(|(_, name)| *name == word).map(|(power, _)| *power);
        text.split(',').filter_map(known).collect()
    }
}

impl FromIterator<Power> for Powers {
    fn from_iter<T: IntoIterator<Item = Power>>(powers: T) -> Self {
        Self(powers.into_iter().fold(0, |bits, power| bits | Self::bit(power)))
    }
}

/// Somebody who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Whose the sessions are that they create: `user:NAME`, or `oidc:` and what their provider calls them.
    pub account: String,
    /// For people.
    pub name: String,
    /// What their account was like then. When it is another now, the login is good no more.
    pub mark: String,
}

/// Whom a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Id of the token, which is no secret.
    pub token: String,
    /// The only session that it is good for; `None`: all of the fleet.
    pub session: Option<SessionId>,
    /// What it lets do.
    pub powers: Powers,
    /// When it ends, in milliseconds since 1970.
    pub expires_at: Option<i64>,
    /// Who has signed in; `None` for a token of the API.
    pub login: Option<Login>,
}

impl Grant {
    /// Whom sessions, limits and the audit log go by: an account, or a token's id.
    pub fn who(&self) -> &str {
        self.login.as_ref().map_or(&self.token, |login| &login.account)
    }

    /// Whether it is good for sessions of its own account only: those of people who are no admins are.
    pub fn is_own_only(&self) -> bool {
        self.login.is_some() && !self.powers.allow(Power::Admin)
    }

    /// Whether it lets do something with sessions that it makes, if not with the fleet as a whole.
    pub fn allows_own(&self, power: Power) -> bool {
        self.session.is_none() && self.powers.allow(power)
    }

    /// Whether it lets do something with a session.
    pub fn allows(&self, power: Power, session: &SessionId) -> bool {
        self.covers(session) && self.powers.allow(power)
    }

    /// Whether it lets do something with the fleet as a whole.
    pub fn allows_fleet(&self, power: Power) -> bool {
        self.allows_own(power) && !self.is_own_only()
    }

    /// Whether a session exists as far as its holder is to know. Which sessions are an account's own is known to
    /// [`crate::Fleet::owns`] only.
    pub fn covers(&self, session: &SessionId) -> bool {
        !self.is_own_only() && self.session.as_ref().is_none_or(|own| own == session)
    }
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// For people.
    pub name: String,
    /// Session that it is good for, or all.
    pub session: Option<SessionId>,
    /// What it lets do.
    pub powers: Powers,
    /// When it ends, in milliseconds since 1970.
    pub expires_at: Option<i64>,
}

/// A fresh token and its public id.
pub(crate) fn make() -> (String, String) {
    (format!("{PREFIX}{}", secret::secret()), secret::random(10))
}

/// Like [`make`], for the cookie of somebody who signs in.
pub(crate) fn make_login() -> (String, String) {
    (format!("{LOGIN_PREFIX}{}", secret::secret()), secret::random(10))
}

/// Whether a text can be a token at all.
pub(crate) fn is_token(text: &str) -> bool {
    has_prefix(text, PREFIX)
}

/// Whether a text can be the secret of a login at all.
pub(crate) fn is_login(text: &str) -> bool {
    has_prefix(text, LOGIN_PREFIX)
}

fn has_prefix(text: &str, prefix: &str) -> bool {
    text.len() <= 128 && text.strip_prefix(prefix).is_some_and(|rest| rest.len() >= 52)
}

/// All tokens that are good, by hash. Written through to the store by the fleet.
#[derive(Debug, Default)]
pub(crate) struct Tokens(RwLock<HashMap<Hash, Grant>>);

impl Tokens {
    pub(crate) fn set(&self, all: Vec<(Hash, Grant)>) {
        *self.0.write() = all.into_iter().collect();
    }

    pub(crate) fn add(&self, hash: Hash, grant: Grant) {
        self.0.write().insert(hash, grant);
    }

    pub(crate) fn remove(&self, token: &str) {
        self.0.write().retain(|_, grant| grant.token != token);
    }

    pub(crate) fn remove_session(&self, session: &SessionId) {
        self.0.write().retain(|_, grant| grant.session.as_ref() != Some(session));
    }

    /// Forgets what has expired. Of what was for a session, tells token and session each time until it is removed.
    pub(crate) fn expire(&self, now: i64) -> Vec<(String, SessionId)> {
        let is_over = |grant: &Grant| grant.expires_at.is_some_and(|end| end <= now);
        if !self.0.read().values().any(is_over) {
            return Vec::new();
        }
        let mut of_sessions = Vec::new();
        self.0.write().retain(|_, grant| match &grant.session {
            _ if !is_over(grant) => true,
            None => false,
            Some(session) => {
                of_sessions.push((grant.token.clone(), session.clone()));
                true
            }
        });
        of_sessions
    }

    /// Whom a secret stands for at a time.
    pub(crate) fn grant(&self, secret: &str, now: i64) -> Option<Grant> {
        let grant = self.0.read().get(&secret::hash(secret)).cloned()?;
        grant.expires_at.is_none_or(|end| now < end).then_some(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers() {
        let control: Powers = [Power::Control].into_iter().collect();
        assert!(control.allow(Power::View) && control.allow(Power::Control));
        assert!(!control.allow(Power::Cdp) && !control.allow(Power::Admin));
        let admin = Powers::from_text("admin");
        assert!(Powers::ALL.iter().all(|(power, _)| admin.allow(*power)));
        assert!(!Powers::from_text("cdp,unknown").allow(Power::View));
        assert_eq!(Powers::from_text("view,cdp").to_text(), "view,cdp");
    }

    #[test]
    fn scope_and_expiry() {
        let tokens = Tokens::default();
        let (secret, id) = make();
        assert!(is_token(&secret) && !is_token("gh_short") && !is_token("x"));
        let session = SessionId::random();
        let grant = Grant {
            token: id.clone(),
            session: Some(session.clone()),
            powers: Powers::from_text("view"),
            expires_at: Some(10),
            login: None,
        };
        tokens.add(secret::hash(&secret), grant);
        let grant = tokens.grant(&secret, 9).unwrap();
        assert_eq!(tokens.grant(&secret, 10), None);
        assert!(tokens.expire(9).is_empty());
        assert_eq!(tokens.expire(10), [(id.clone(), session.clone())]);
        assert_eq!(tokens.grant("gh_other", 9), None);
        assert!(grant.allows(Power::View, &session) && !grant.allows(Power::Control, &session));
        assert!(!grant.covers(&SessionId::random()) && !grant.allows_fleet(Power::View));
        tokens.remove(&id);
        assert_eq!(tokens.grant(&secret, 9), None);
    }

    #[test]
    fn who_signs_in_has_sessions_of_their_own_unless_admin() {
        let grant = |powers: &str| Grant {
            token: "id".into(),
            session: None,
            powers: Powers::from_text(powers),
            expires_at: None,
            login: Some(Login { account: "user:ann".into(), name: "ann".into(), mark: String::new() }),
        };
        let (user, admin) = (grant("view,control"), grant("admin"));
        let session = SessionId::random();
        assert!(user.allows_own(Power::Control) && !user.allows_own(Power::Cdp));
        assert!(!user.allows_fleet(Power::View) && !user.covers(&session) && !user.allows(Power::View, &session));
        assert!(admin.allows_fleet(Power::Admin) && admin.allows(Power::Control, &session));
        assert_eq!(user.who(), "user:ann");
        let (secret, _) = make_login();
        assert!(is_login(&secret) && !is_token(&secret) && !is_login(&make().0));
    }
}
