//! Mouse, keyboard, windows, clipboard and programs.

use glasshouse_cdp::{Gate, Target};
use rmcp::model::ContentBlock;
use serde_json::{Value, json};

use crate::{
    client::{Client, Failure},
    look,
    screen::Screen,
    tools::{Click, Clipboard, Direction, Drag, Key, Move, Run, Screenshot, Scroll, Type, WindowAction, Windows},
};

/// How long the screen holds still before an action counts as done, and how long that is waited for, in milliseconds. Carets
/// blink every 500 ms.
const QUIET_MS: u64 = 300;
const SETTLE_MS: u64 = 3_000;
/// Most characters that are typed at once: 10 ms each.
const MAX_TEXT: usize = 5_000;
/// Most repetitions of a key, clicks, and clicks of the wheel.
const MAX_TIMES: u8 = 50;
const MAX_CLICKS: u8 = 3;
const MAX_WHEEL: u8 = 100;
/// Most bytes of each output of a program.
const MAX_OUTPUT: usize = 30_000;

/// What is done, and for whom.
pub(crate) struct Hands<'a> {
    pub(crate) client: &'a Client,
    pub(crate) gate: Option<&'a Gate>,
}

type Content = Result<Vec<ContentBlock>, Failure>;

/// What was there before an action.
pub(crate) struct Before {
    front: Option<Target>,
    tag: Option<String>,
}

impl Hands<'_> {
    async fn front(&self) -> Option<Target> {
        self.gate?.front_page().await
    }

    pub(crate) async fn before(&self) -> Before {
        let (front, tag) = tokio::join!(self.front(), look::tag(self.client));
        Before { front, tag }
    }

    /// Waits, or is refused, as for a click: the browser itself knows nothing of whose turn it is.
    pub(crate) async fn take_turn(&self) -> Result<(), Failure> {
        self.client.post("/v1/desktop/wait/turn", json!({})).await.map(|_| ())
    }

    /// Waits until the screen holds still, and tells what is different.
    pub(crate) async fn after(&self, before: Before, done: String, with_picture: Option<bool>) -> Content {
        let body = json!({ "quietMs": QUIET_MS, "timeoutMs": SETTLE_MS });
        let still = self.client.post("/v1/desktop/wait/stable", body).await;
        let is_still = still.is_ok_and(|answer| answer["stable"] == true);
        let now = self.before().await;
        let mut text = done;
        match (&before.front, &now.front) {
            (Some(was), Some(is)) if was.url != is.url => {
                text.push_str(&format!(" The page is now {} “{}”; it was {}.", is.url, is.title, was.url));
            }
            (Some(was), Some(is)) if was.title != is.title => {
                text.push_str(&format!(" The page's title is now “{}”; its address is still {}.", is.title, is.url));
            }
            (None, Some(is)) => text.push_str(&format!(" The page is now {} “{}”.", is.url, is.title)),
            (Some(was), None) => text.push_str(&format!(" The page {} is closed; no other is open.", was.url)),
            (Some(_), Some(is)) => text.push_str(&format!(" The page is still {} “{}”.", is.url, is.title)),
            (None, None) => {}
        }
        let is_other = before.tag.zip(now.tag).is_none_or(|(was, is)| was != is);
        text.push_str(match (is_other, is_still) {
            (_, false) => " The screen is still changing.",
            (true, true) => " The screen has changed.",
            (false, true) => " Nothing on the screen has changed.",
        });
        let mut content = vec![ContentBlock::text(text)];
        if with_picture == Some(true) {
            content.extend(look::screenshot(self.client, Screenshot { region: None, pointer: None }).await?);
        }
        Ok(content)
    }

    async fn act(&self, path: &str, body: Value, done: String, with_picture: Option<bool>) -> Content {
        let before = self.before().await;
        self.client.post(path, body).await?;
        self.after(before, done, with_picture).await
    }

    pub(crate) async fn click(&self, asked: Click) -> Content {
        let (x, y) = Screen::of(self.client).await?.place(asked.x, asked.y)?;
        let count = asked.count.unwrap_or(1);
        if !(1..=MAX_CLICKS).contains(&count) {
            return Err(Failure::new(format!("count must be from 1 to {MAX_CLICKS}")));
        }
        let button = asked.button.unwrap_or_default().name();
        let body = json!({ "x": x, "y": y, "button": button, "clickCount": count });
        let times = ["", ", twice", ", three times"][usize::from(count) - 1];
        let done = format!("Clicked {button} at ({}, {}){times}.", asked.x, asked.y);
        self.act("/v1/desktop/mouse/click", body, done, asked.screenshot).await
    }

    pub(crate) async fn go(&self, asked: Move) -> Content {
        let (x, y) = Screen::of(self.client).await?.place(asked.x, asked.y)?;
        let done = format!("The pointer is at ({}, {}).", asked.x, asked.y);
        self.act("/v1/desktop/mouse/move", json!({ "x": x, "y": y }), done, asked.screenshot).await
    }

    pub(crate) async fn drag(&self, asked: Drag) -> Content {
        let screen = Screen::of(self.client).await?;
        let (from, to) = (screen.place(asked.from_x, asked.from_y)?, screen.place(asked.to_x, asked.to_y)?);
        let button = asked.button.unwrap_or_default().name();
        let body = json!({ "startX": from.0, "startY": from.1, "endX": to.0, "endY": to.1, "button": button });
        let Drag { from_x, from_y, to_x, to_y, .. } = asked;
        let done = format!("Dragged from ({from_x}, {from_y}) to ({to_x}, {to_y}).");
        self.act("/v1/desktop/mouse/drag", body, done, asked.screenshot).await
    }

    pub(crate) async fn write(&self, asked: Type) -> Content {
        let count = asked.text.chars().count();
        if count > MAX_TEXT {
            return Err(Failure::new(format!("text has {count} characters: type at most {MAX_TEXT} at once")));
        }
        let enter = asked.enter == Some(true);
        let text = if enter { format!("{}\n", asked.text) } else { asked.text };
        let done = format!("Typed {count} characters{}.", if enter { " and Enter" } else { "" });
        self.act("/v1/desktop/keyboard/type", json!({ "text": text }), done, asked.screenshot).await
    }

    pub(crate) async fn key(&self, asked: Key) -> Content {
        let times = asked.times.unwrap_or(1);
        if !(1..=MAX_TIMES).contains(&times) {
            return Err(Failure::new(format!("times must be from 1 to {MAX_TIMES}")));
        }
        let before = self.before().await;
        for _ in 0..times {
            self.client.post("/v1/desktop/keyboard/press", json!({ "key": asked.key })).await?;
        }
        let often = if times > 1 { format!(" {times} times") } else { String::new() };
        self.after(before, format!("Pressed {}{often}.", asked.key), asked.screenshot).await
    }

    pub(crate) async fn scroll(&self, asked: Scroll) -> Content {
        let screen = Screen::of(self.client).await?;
        let (width, height) = screen.picture();
        let (x, y) = (asked.x.unwrap_or(width / 2), asked.y.unwrap_or(height / 2));
        let place = screen.place(x, y)?;
        let clicks = asked.clicks.unwrap_or(5);
        if !(1..=MAX_WHEEL).contains(&clicks) {
            return Err(Failure::new(format!("clicks must be from 1 to {MAX_WHEEL}")));
        }
        let way = i64::from(clicks);
        let (right, down, name) = match asked.direction {
            Direction::Up => (0, -way, "up"),
            Direction::Down => (0, way, "down"),
            Direction::Left => (-way, 0, "left"),
            Direction::Right => (way, 0, "right"),
        };
        let body = json!({ "x": place.0, "y": place.1, "deltaX": right, "deltaY": down });
        let done = format!("Scrolled {name} by {clicks} clicks at ({x}, {y}).");
        self.act("/v1/desktop/mouse/scroll", body, done, asked.screenshot).await
    }

    pub(crate) async fn windows(&self, asked: Windows) -> Content {
        let screen = Screen::of(self.client).await?;
        let id = match (asked.action, &asked.id) {
            (WindowAction::List, _) => "",
            (_, Some(id)) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => id,
            _ => return Err(Failure::new("id must be that of a window: list them first")),
        };
        let both = |one: Option<i64>, other: Option<i64>, names| {
            one.zip(other).ok_or_else(|| Failure::new(format!("{names} are needed for this")))
        };
        let on = |length: i64| (length as f64 / screen.scale()).round() as i64;
        let (verb, body) = match asked.action {
            WindowAction::List => {
                let answer = self.client.get("/v1/desktop/windows").await?;
                let mut windows = answer["windows"].as_array().cloned().unwrap_or_default();
                for window in &mut windows {
                    for key in ["x", "y", "width", "height"] {
                        window[key] = screen.shown(&window[key]);
                    }
                }
                return Ok(vec![ContentBlock::text(json!({ "windows": windows }).to_string())]);
            }
            WindowAction::Focus => ("focus", json!({})),
            WindowAction::Close => ("close", json!({})),
            WindowAction::Move => {
                let (x, y) = both(asked.x, asked.y, "x and y")?;
                ("move", json!({ "x": on(x), "y": on(y) }))
            }
            WindowAction::Resize => {
                let (width, height) = both(asked.width, asked.height, "width and height")?;
                ("resize", json!({ "width": on(width), "height": on(height) }))
            }
        };
        self.act(&format!("/v1/desktop/windows/{id}/{verb}"), body, format!("Window {id}: {verb}."), None).await
    }

    pub(crate) async fn clipboard(&self, asked: Clipboard) -> Content {
        let text = match asked.text {
            Some(text) => {
                let count = text.chars().count();
                self.client.post("/v1/desktop/clipboard", json!({ "text": text })).await?;
                format!("{count} characters are in the clipboard.")
            }
            None => {
                let answer = self.client.get("/v1/desktop/clipboard").await?;
                cut(answer["text"].as_str().unwrap_or_default(), MAX_OUTPUT)
            }
        };
        Ok(vec![ContentBlock::text(text)])
    }

    pub(crate) async fn run(&self, asked: Run) -> Content {
        let (program, arguments) = match asked.command.as_slice() {
            [] => return Err(Failure::new("command must not be empty")),
            [line] => ("sh", vec!["-c".to_owned(), line.clone()]),
            [program, arguments @ ..] => (program.as_str(), arguments.to_vec()),
        };
        let seconds = asked.timeout_seconds.unwrap_or(30);
        if !(1..=300).contains(&seconds) {
            return Err(Failure::new("timeout_seconds must be from 1 to 300"));
        }
        let body = json!({
            "command": program, "args": arguments, "timeoutMs": seconds * 1_000, "maxOutputBytes": MAX_OUTPUT,
        });
        let done = self.client.post("/v1/processes/run", body).await?;
        let mut text = match done["exitCode"].as_i64() {
            _ if done["timedOut"] == true => format!("It was ended after {seconds} s."),
            Some(code) => format!("Exit code {code}."),
            None => "It was ended by a signal.".to_owned(),
        };
        for (name, key) in [("stdout", "stdoutTruncated"), ("stderr", "stderrTruncated")] {
            let output = done[name].as_str().unwrap_or_default();
            if !output.is_empty() {
                let more = if done[key] == true { "\n… (there was more)" } else { "" };
                text.push_str(&format!("\n\n{name}:\n{}{more}", output.trim_end()));
            }
        }
        Ok(vec![ContentBlock::text(text)])
    }
}

/// The beginning of a text, at a boundary of its characters.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    format!("{}\n… (there is more: {} bytes in all)", &text[..text.floor_char_boundary(limit)], text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert!(cut("aäb", 2).starts_with("a\n…"));
    }
}
