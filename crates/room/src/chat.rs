//! Chat: who may write and who may read.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Actor, ChatContent, Event, Now, Profile, Room};

/// The sender may not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatRefused;

impl Room {
    /// Delivers a message to everybody who may receive it, the sender included. Its length is the caller's business.
    pub fn chat(&mut self, actor: Actor<'_>, text: String, now: Now) -> Result<(), ChatRefused> {
        if !self.chat_allows(actor.profile, "chat.can_send") {
            return Err(ChatRefused);
        }
        let to = self.connections(|_, session| self.chat_allows(&session.profile, "chat.can_receive"));
        self.send(to, Event::Chat { id: actor.id.to_owned(), created: now.wall, content: ChatContent { text } });
        Ok(())
    }

    fn chat_allows(&self, profile: &Profile, key: &str) -> bool {
        (profile.is_admin || is_on(&self.settings.plugins, key)) && is_on(&profile.plugins, key)
    }
}

/// Plugin settings are on unless set; anything but a boolean counts as off.
fn is_on(plugins: &Option<BTreeMap<String, Value>>, key: &str) -> bool {
    plugins.as_ref().and_then(|plugins| plugins.get(key)).is_none_or(|value| value.as_bool() == Some(true))
}
