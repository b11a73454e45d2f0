//! Settings of a room.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::merge::{self, MergeError};

/// Settings of a room; names and meaning are neko's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Members that are no admins get no picture and cannot control.
    pub private_mode: bool,
    /// Only admins can log in.
    pub locked_logins: bool,
    /// Only admins can take control.
    pub locked_controls: bool,
    /// Controls lock when the last admin leaves and unlock when the first one comes.
    pub control_protection: bool,
    /// Whoever asks for control gets it, without asking the host.
    pub implicit_hosting: bool,
    /// Pointers of members that are not host are shown to the others.
    pub inactive_cursors: bool,
    /// A second connection of a session replaces the first instead of being refused.
    pub merciful_reconnect: bool,
    /// Seconds between heartbeats of a client; advisory.
    pub heartbeat_interval: i64,
    /// Settings of plugins, keys such as `chat.can_send`; `null` until something sets one.
    pub plugins: Option<BTreeMap<String, Value>>,
}

impl Default for Settings {
    /// neko's defaults, except that the pointers of all members are shown.
    fn default() -> Self {
        Self {
            private_mode: false,
            locked_logins: false,
            locked_controls: false,
            control_protection: false,
            implicit_hosting: false,
            inactive_cursors: true,
            merciful_reconnect: true,
            heartbeat_interval: 10,
            plugins: None,
        }
    }
}

impl Settings {
    /// Stores the keys that a JSON object has; the others stay. Plugin keys are added to the existing ones.
    ///
    /// # Errors
    /// A value has the wrong type; the settings may then be changed in part.
    pub fn merge(&mut self, value: &Value) -> Result<(), MergeError> {
        merge::object(value, |key, field| match key {
            "private_mode" => field.bool(&mut self.private_mode),
            "locked_logins" => field.bool(&mut self.locked_logins),
            "locked_controls" => field.bool(&mut self.locked_controls),
            "control_protection" => field.bool(&mut self.control_protection),
            "implicit_hosting" => field.bool(&mut self.implicit_hosting),
            "inactive_cursors" => field.bool(&mut self.inactive_cursors),
            "merciful_reconnect" => field.bool(&mut self.merciful_reconnect),
            "heartbeat_interval" => field.int(&mut self.heartbeat_interval),
            "plugins" => field.map(&mut self.plugins),
            _ => Ok(()),
        })
    }
}
