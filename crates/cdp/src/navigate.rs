//! The browser's first page in our own hands: waiting for it, and leading it somewhere.

use std::io;

use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::{Gate, first_page};

impl Gate {
    /// Waits until the browser's first page is there; not longer than [`crate::Config::patience`] for its DevTools.
    ///
    /// # Errors
    ///
    /// The browser cannot be asked.
    pub async fn first_page(&self) -> io::Result<()> {
        // It may still be starting.
        drop(self.inner.config.upstream.open(self.inner.config.patience).await?);
        first_page::has_come(&self.inner).await
    }

    /// Leads the browser's first page to an address; returns when it is on its way there.
    ///
    /// # Errors
    ///
    /// The browser cannot be asked, or refuses.
    pub async fn navigate(&self, url: &str) -> io::Result<()> {
        let mut page = first_page::connect(&self.inner).await?;
        // The answer to the first comes when the server has answered, which may be never; the second is taken after the first.
        for (id, method, params) in [
            (1, "Page.navigate", json!({ "url": url, "transitionType": "auto_toplevel" })),
            (2, "Target.getTargetInfo", json!({})),
        ] {
            let text = json!({ "id": id, "method": method, "params": params }).to_string();
            page.send(Message::text(text)).await.map_err(io::Error::other)?;
        }
        loop {
            let answer = first_page::read(&mut page).await?;
            match answer["error"]["message"].as_str() {
                Some(error) => return Err(io::Error::other(error.to_owned())),
                None if answer["id"] == 2 => return Ok(()),
                None => {}
            }
        }
    }
}
