//! The browser's front page: leading it somewhere, reading it, waiting for a text.

use std::time::{Duration, Instant};

use glasshouse_cdp::{Gate, Page};
use rmcp::model::ContentBlock;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    act::Hands,
    client::Failure,
    look,
    screen::Screen,
    tools::{Awaited, Navigate, ReadPage, Screenshot, Wait},
};

/// Reads a page; see there.
const READ: &str = include_str!("read_page.js");
/// How long a page may take to answer a question.
const ANSWER: Duration = Duration::from_secs(10);
/// How long one is waited for that loads.
const LOAD: Duration = Duration::from_secs(15);
/// Between two looks at a page.
const STEP: Duration = Duration::from_millis(150);
/// Longest address in bytes.
const MAX_URL: usize = 64 * 1024;

type Content = Result<Vec<ContentBlock>, Failure>;

fn no_browser() -> Failure {
    Failure::new("the browser of this session cannot be asked: use screenshot, click, type and key")
}

fn silent() -> Failure {
    Failure::new("the page does not answer: it is busy, or shows a dialog; take a screenshot")
}

/// Talks to the front page, within bounds.
async fn front(gate: Option<&Gate>) -> Result<Page, Failure> {
    let gate = gate.ok_or_else(no_browser)?;
    match timeout(ANSWER, gate.page()).await {
        Ok(Ok(page)) => Ok(page),
        Ok(Err(error)) => Err(Failure::new(format!("the browser cannot be asked: {error}"))),
        Err(_) => Err(silent()),
    }
}

async fn evaluate(page: &mut Page, expression: &str) -> Result<Value, Failure> {
    match timeout(ANSWER, page.evaluate(expression)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::new(format!("the page cannot be read: {error}"))),
        Err(_) => Err(silent()),
    }
}

async fn call(page: &mut Page, method: &str, params: Value, within: Duration) -> Result<Option<Value>, Failure> {
    match timeout(within, page.call(method, params)).await {
        Ok(Ok(value)) => Ok(Some(value)),
        Ok(Err(error)) => Err(Failure::new(format!("the browser refuses: {error}"))),
        Err(_) => Ok(None),
    }
}

/// An address that may be gone to; one without a scheme is of the web.
pub(crate) fn address(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    let scheme = text.split_once(':').map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    let url = match scheme {
        Some((scheme, _)) if ["http", "https", "data", "about"].contains(&scheme.as_str()) => text.to_owned(),
        // host:8080, host:8080/path
        Some((host, rest)) if is_host(&host) && rest.starts_with(|first: char| first.is_ascii_digit()) => {
            format!("http://{text}")
        }
        None if !text.is_empty() && !text.contains(char::is_whitespace) => format!("https://{text}"),
        _ => return Err(Failure::new("url must be an http, https, data or about address, or back, forward or reload")),
    };
    if url.len() > MAX_URL {
        return Err(Failure::new("url is too long"));
    }
    Ok(url)
}

fn is_host(text: &str) -> bool {
    text == "localhost" || text.contains('.')
}

/// Leads the front page somewhere, and waits until it has loaded.
pub(crate) async fn navigate(hands: &Hands<'_>, asked: Navigate) -> Content {
    let mut page = front(hands.gate).await?;
    hands.take_turn().await?;
    let start = Instant::now();
    let before = hands.before().await;
    let went = match asked.url.trim() {
        "reload" => call(&mut page, "Page.reload", json!({}), LOAD).await?,
        way @ ("back" | "forward") => {
            let history = call(&mut page, "Page.getNavigationHistory", json!({}), ANSWER).await?.ok_or_else(silent)?;
            let at = history["currentIndex"].as_i64().unwrap_or(0) + if way == "back" { -1 } else { 1 };
            let entry = usize::try_from(at).ok().and_then(|at| history["entries"].get(at));
            let id = entry
                .map(|entry| &entry["id"])
                .ok_or_else(|| Failure::new(format!("there is no page to go {way} to")))?;
            call(&mut page, "Page.navigateToHistoryEntry", json!({ "entryId": id }), LOAD).await?
        }
        url => {
            let params = json!({ "url": address(url)?, "transitionType": "typed" });
            call(&mut page, "Page.navigate", params, LOAD).await?
        }
    };
    if let Some(error) = went.as_ref().and_then(|answer| answer["errorText"].as_str()).filter(|text| !text.is_empty()) {
        return Err(Failure::new(format!("the page cannot be opened: {error}")));
    }
    let mut has_loaded = false;
    while went.is_some() && !has_loaded && start.elapsed() < LOAD {
        let state =
            timeout(ANSWER, page.call("Runtime.evaluate", json!({ "expression": "document.readyState" }))).await;
        has_loaded = matches!(state, Ok(Ok(answer)) if answer["result"]["value"] == "complete");
        if !has_loaded {
            tokio::time::sleep(STEP).await;
        }
    }
    let done = if has_loaded { "The page has loaded." } else { "The page is still loading." };
    hands.after(before, done.to_owned(), asked.screenshot).await
}

/// The front page as text.
pub(crate) async fn read(hands: &Hands<'_>, asked: ReadPage) -> Content {
    let max = asked.max_chars.unwrap_or(20_000);
    if !(100..=100_000).contains(&max) {
        return Err(Failure::new("max_chars must be from 100 to 100000"));
    }
    let offset = asked.offset.unwrap_or(0);
    let screen = Screen::of(hands.client).await?;
    let mut page = front(hands.gate).await?;
    let how = json!({ "screenWidth": screen.width, "scale": screen.scale(), "max": max, "offset": offset });
    let read = evaluate(&mut page, &format!("({READ})({how})")).await?;
    let text = |key: &str| read[key].as_str().unwrap_or_default();
    let count = |key: &str| read[key].as_u64().unwrap_or(0);
    let mut all = format!("Address: {}\nTitle: {}\n", text("url"), text("title"));
    all.push_str(&format!(
        "Scrolled: {} of {} pixels are above the window, which shows {}.\n",
        count("above"),
        count("height"),
        count("shown")
    ));
    if text("state") != "complete" {
        all.push_str("It is still loading.\n");
    }
    all.push_str("What follows is the content of the page.\n\n");
    all.push_str(text("text"));
    let (end, total) = ((offset as u64).saturating_add(count("length")), count("total"));
    if end < total {
        all.push_str(&format!("\n\n… {} more characters: read on with offset {end}.", total - end));
    }
    Ok(vec![ContentBlock::text(all)])
}

/// Waits for the screen or the page.
pub(crate) async fn wait(hands: &Hands<'_>, asked: Wait) -> Content {
    let seconds = asked.timeout_seconds.unwrap_or(10.0);
    if !(0.1..=120.0).contains(&seconds) {
        return Err(Failure::new("timeout_seconds must be from 0.1 to 120"));
    }
    let limit = Duration::from_secs_f64(seconds);
    let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let start = Instant::now();
    let wanted = asked.text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let (has_happened, what) = match asked.r#for {
        Awaited::Stable => {
            let body = json!({ "quietMs": milliseconds.min(500), "timeoutMs": milliseconds });
            (hands.client.post("/v1/desktop/wait/stable", body).await?["stable"] == true, "The screen holds still")
        }
        Awaited::Change => {
            let body = json!({ "timeoutMs": milliseconds });
            (hands.client.post("/v1/desktop/wait/change", body).await?["changed"] == true, "The screen has changed")
        }
        Awaited::Text | Awaited::TextGone => {
            let text = wanted.ok_or_else(|| Failure::new("text says what to wait for: give it"))?;
            let shown = matches!(asked.r#for, Awaited::Text);
            let has = has_text(hands.gate, text, shown, start + limit).await?;
            (has, if shown { "The page shows the text" } else { "The page does not show the text" })
        }
    };
    let waited = start.elapsed().as_secs_f64();
    let told = if has_happened {
        format!("{what}, after {waited:.1} s.")
    } else {
        format!("It did not happen within {waited:.1} s.")
    };
    let mut content = vec![ContentBlock::text(told)];
    if asked.screenshot == Some(true) {
        content.extend(look::screenshot(hands.client, Screenshot { region: None, pointer: None }).await?);
    }
    Ok(content)
}

async fn has_text(gate: Option<&Gate>, text: &str, shown: bool, deadline: Instant) -> Result<bool, Failure> {
    let expression = format!(
        "(text => ((document.body?.innerText ?? '') + '\\n' + document.title).toLowerCase().includes(text.toLowerCase()))({})",
        Value::from(text)
    );
    if gate.is_none() {
        return Err(no_browser());
    }
    loop {
        // The page in front may be another one by now, and one that is being replaced cannot be asked.
        let looked = async { evaluate(&mut front(gate).await?, &expression).await };
        let has = looked.await.ok().and_then(|value| value.as_bool());
        if has == Some(shown) {
            return Ok(true);
        }
        if Instant::now() + STEP >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(STEP).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, url) in [
            ("example.com/a", "https://example.com/a"),
            (" http://localhost:8080/ ", "http://localhost:8080/"),
            ("localhost:8080/x", "http://localhost:8080/x"),
            ("HTTPS://A", "HTTPS://A"),
            ("about:blank", "about:blank"),
            ("data:text/html,<p>x y", "data:text/html,<p>x y"),
        ] {
            assert_eq!(address(text).ok().as_deref(), Some(url));
        }
        for wrong in
            ["", "javascript:alert(1)", "file:///etc/passwd", "chrome://settings", "two words", "view-source:http://a"]
        {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
