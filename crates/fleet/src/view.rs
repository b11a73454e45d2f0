//! A session as others see it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{App, Egress, Resources, Screen, SessionId, Spec};

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is being started.
    Creating,
    /// It can be used.
    Ready,
    /// Its programs are stopped, and go on when it is used.
    Frozen,
    /// It was ended.
    Terminated,
    /// It ended by itself, or could not be started.
    Failed,
}

impl State {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Creating, Self::Ready, Self::Frozen, Self::Terminated, Self::Failed];

    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Frozen => "frozen",
            Self::Terminated => "terminated",
            Self::Failed => "failed",
        }
    }

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the session is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Terminated | Self::Failed)
    }
}

/// A session.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct View {
    /// Unguessable name, 26 characters.
    #[schema(value_type = String, example = "q3v7d5k2m6x4c3b7n5a2s4f6g7")]
    pub id: SessionId,
    /// Name of one's own.
    pub name: Option<String>,
    /// Where it is in its life.
    pub state: State,
    /// Why it ended, or failed.
    pub reason: Option<String>,
    /// Page that was opened first.
    pub url: Option<String>,
    /// Program on the desktop.
    pub app: App,
    /// Size of the screen at the start.
    pub screen: Screen,
    /// Language of the browser.
    pub locale: Option<String>,
    /// Time zone.
    pub timezone: Option<String>,
    /// Name of the profile that is kept.
    pub profile: Option<String>,
    /// Limits that were asked for.
    pub limits: Option<Resources>,
    /// What it may reach, as it was asked for, without credentials.
    pub egress: Option<Egress>,
    /// Words to find it by.
    pub labels: BTreeMap<String, String>,
    /// Path of everything of the session, with a slash at the end, below the address of the server.
    #[schema(example = "/s/q3v7d5k2m6x4c3b7n5a2s4f6g7/")]
    pub path: String,
    /// Open WebSockets: viewers and programs.
    pub connections: usize,
    /// When it was created (RFC 3339).
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it became ready first.
    #[schema(format = DateTime)]
    pub ready_at: Option<String>,
    /// When it was used last.
    #[schema(format = DateTime)]
    pub used_at: Option<String>,
    /// When it ends, whatever happens.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    /// Freezes after so many seconds without use; 0 never.
    pub idle_freeze_seconds: u64,
    /// Ends after so many seconds without use; 0 never.
    pub idle_timeout_seconds: u64,
}

/// What is written down of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: SessionId,
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
    pub(crate) spec: Spec,
    pub(crate) path: String,
    pub(crate) owner: String,
    pub(crate) created_at: i64,
    pub(crate) ready_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) ended_at: Option<i64>,
}

impl Row {
    pub(crate) fn view(&self, connections: usize, used_at: Option<i64>) -> View {
        let text = |time: Option<i64>| time.map(crate::rfc3339);
        let spec = self.spec.clone();
        View {
            id: self.id.clone(),
            name: spec.name,
            state: self.state,
            reason: self.reason.clone(),
            url: spec.url,
            app: spec.app,
            screen: spec.screen,
            locale: spec.locale,
            timezone: spec.timezone,
            profile: spec.profile,
            limits: spec.limits,
            egress: spec.egress.as_ref().map(Egress::public),
            labels: spec.labels,
            path: self.path.clone(),
            connections,
            created_at: crate::rfc3339(self.created_at),
            ready_at: text(self.ready_at),
            used_at: text(used_at),
            expires_at: text(self.expires_at),
            ended_at: text(self.ended_at),
            idle_freeze_seconds: spec.idle_freeze_seconds.unwrap_or(0),
            idle_timeout_seconds: spec.idle_timeout_seconds.unwrap_or(0),
        }
    }
}
