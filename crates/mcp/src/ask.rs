//! Asking a person, with progress while waiting.

use axum::http::Method;
use rmcp::{
    Peer, RoleServer,
    model::{ContentBlock, ProgressNotificationParam, ProgressToken},
};
use serde_json::{Value, json};

use crate::{
    client::{Client, Failure},
    tools::AskHuman,
};

/// How often the client hears that somebody is still waited for, in seconds.
const PROGRESS: u64 = 10;

/// Withdraws a question that nobody waits for any more.
struct Open {
    client: Client,
    path: String,
    is_open: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.is_open
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (client, path) = (self.client.clone(), self.path.clone());
            runtime.spawn(async move {
                // Answered meanwhile is as good.
                let _ = client.ask(Method::DELETE, &path, None).await;
            });
        }
    }
}

/// Asks, and waits for the answer; dropped, the question is withdrawn.
pub(crate) async fn human(
    client: &Client,
    asked: AskHuman,
    progress: Option<(Peer<RoleServer>, ProgressToken)>,
) -> Result<Vec<ContentBlock>, Failure> {
    let seconds = asked.timeout_seconds.unwrap_or(300);
    let body = json!({ "reason": asked.reason, "timeoutSeconds": seconds, "waitSeconds": 0 });
    let mut answer = client.post("/v1/ask", body).await?;
    let id = answer["id"].as_str().unwrap_or_default().to_owned();
    let mut open = Open { client: client.clone(), path: format!("/v1/ask/{id}"), is_open: true };
    let mut waited = 0;
    while answer["outcome"] == "open" {
        if let Some((peer, token)) = &progress {
            let told = ProgressNotificationParam::new(token.clone(), waited as f64)
                .with_total(seconds as f64)
                .with_message("Waiting for a person");
            // A client that has gone does not hear it.
            let _ = peer.notify_progress(told).await;
        }
        answer = client.get(&format!("/v1/ask/{id}?waitSeconds={PROGRESS}")).await?;
        waited += PROGRESS;
    }
    open.is_open = false;
    Ok(vec![ContentBlock::text(tell(&answer))])
}

/// What happened, in words.
fn tell(answer: &Value) -> String {
    let who = answer["by"].as_str().unwrap_or("A person");
    let mut text = match answer["outcome"].as_str() {
        Some("done") => format!("{who} says that it is done."),
        Some("declined") => format!("{who} cannot do it, or will not."),
        Some("timeout") => "Nobody answered in time.".to_owned(),
        _ => "The question was withdrawn.".to_owned(),
    };
    if let Some(note) = answer["note"].as_str() {
        text.push_str(&format!(" Their note: “{note}”."));
    }
    let changed = &answer["changed"];
    let (before, after) = (&changed["url"]["before"], &changed["url"]["after"]);
    let title = changed["title"]["after"].as_str().unwrap_or_default();
    match (before.as_str(), after.as_str()) {
        (before, Some(after)) if before != Some(after) => {
            text.push_str(&format!(" The page is now {after} “{title}”."))
        }
        (_, Some(after)) => text.push_str(&format!(" The page is still {after} “{title}”.")),
        (_, None) => {}
    }
    match changed["screen"].as_bool() {
        Some(true) => text.push_str(" The screen has changed."),
        Some(false) => text.push_str(" Nothing on the screen has changed."),
        None => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_in_words() {
        let answer = json!({
            "outcome": "done", "by": "Ann", "note": "signed in", "waitedMs": 5,
            "changed": {
                "url": { "before": "https://a/login", "after": "https://a/" },
                "title": { "before": "Login", "after": "Home" }, "screen": true,
            },
        });
        assert_eq!(
            tell(&answer),
            "Ann says that it is done. Their note: “signed in”. The page is now https://a/ “Home”. The screen has changed."
        );
        assert_eq!(tell(&json!({ "outcome": "timeout", "changed": { "screen": null } })), "Nobody answered in time.");
    }
}
