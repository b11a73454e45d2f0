//! What a member may do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::merge::{self, MergeError};

/// Name and capabilities of a member (neko's `MemberProfile`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Display name; not unique.
    pub name: String,
    /// Administrative calls.
    pub is_admin: bool,
    /// May use the HTTP API at all.
    pub can_login: bool,
    /// May open the WebSocket.
    pub can_connect: bool,
    /// May watch.
    pub can_watch: bool,
    /// May control.
    pub can_host: bool,
    /// May send sound and video of its own.
    pub can_share_media: bool,
    /// May use the clipboard, while host.
    pub can_access_clipboard: bool,
    /// Its pointer is shown to others while it is not host.
    pub sends_inactive_cursor: bool,
    /// Sees the pointers of others.
    pub can_see_inactive_cursors: bool,
    /// Settings of plugins, keys such as `chat.can_send`; `null` until something sets one.
    pub plugins: Option<BTreeMap<String, Value>>,
}

impl Profile {
    /// Everything allowed: administrators, and everybody without authentication.
    pub fn admin(name: impl Into<String>) -> Self {
        Self { is_admin: true, ..Self::user(name) }
    }

    /// An ordinary member: everything but administration.
    ///
    /// Unlike neko's default it sees the pointers of the others, because the room shows them by default here.
    pub fn user(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            is_admin: false,
            can_login: true,
            can_connect: true,
            can_watch: true,
            can_host: true,
            can_share_media: true,
            can_access_clipboard: true,
            sends_inactive_cursor: true,
            can_see_inactive_cursors: true,
            plugins: None,
        }
    }

    /// One who watches, talks and does nothing else.
    pub fn watcher(name: impl Into<String>) -> Self {
        Self {
            can_host: false,
            can_share_media: false,
            can_access_clipboard: false,
            sends_inactive_cursor: false,
            ..Self::user(name)
        }
    }

    /// The virtual session of the API token.
    pub fn api() -> Self {
        Self {
            can_connect: false,
            can_share_media: false,
            sends_inactive_cursor: false,
            can_see_inactive_cursors: false,
            ..Self::admin("API Session")
        }
    }

    /// Stores the keys that a JSON object has; the others stay. Plugin keys are added to the existing ones.
    ///
    /// # Errors
    /// A value has the wrong type; the profile may then be changed in part.
    pub fn merge(&mut self, value: &Value) -> Result<(), MergeError> {
        merge::object(value, |key, field| match key {
            "name" => field.string(&mut self.name),
            "is_admin" => field.bool(&mut self.is_admin),
            "can_login" => field.bool(&mut self.can_login),
            "can_connect" => field.bool(&mut self.can_connect),
            "can_watch" => field.bool(&mut self.can_watch),
            "can_host" => field.bool(&mut self.can_host),
            "can_share_media" => field.bool(&mut self.can_share_media),
            "can_access_clipboard" => field.bool(&mut self.can_access_clipboard),
            "sends_inactive_cursor" => field.bool(&mut self.sends_inactive_cursor),
            "can_see_inactive_cursors" => field.bool(&mut self.can_see_inactive_cursors),
            "plugins" => field.map(&mut self.plugins),
            _ => Ok(()),
        })
    }
}
