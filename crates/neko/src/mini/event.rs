//! Input events as Mini-Browser-Isolation's page sends them: JSON, by data channel or WebSocket.

use std::borrow::Cow;

use serde::Deserialize;

use super::keys::{self, Key};

/// Longest message in bytes.
pub(super) const MAX_EVENT: usize = 16 * 1024;
/// Wheel clicks that one event can make, so that a wrong number does not scroll for ever.
const MAX_DELTA: f64 = 10_000.0;

/// What a viewer does. Places are pixels of the screen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// The pointer goes somewhere.
    Move {
        /// From the left and from the top.
        at: (i32, i32),
    },
    /// A button is pressed (`is_down`) or let go.
    Button {
        /// Where.
        at: (i32, i32),
        /// X button.
        button: u32,
        /// Pressed.
        is_down: bool,
    },
    /// The wheel turns, in the DOM's pixels and directions.
    Scroll {
        /// Where.
        at: (i32, i32),
        /// To the right and down.
        by: (f64, f64),
    },
    /// A key is pressed or let go.
    Key {
        /// Which.
        key: Key,
        /// Pressed.
        is_down: bool,
    },
    /// Nothing that we know, which is no mistake.
    Unknown,
}

/// The message is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    x: Option<f64>,
    y: Option<f64>,
    #[serde(rename = "deltaX")]
    delta_x: Option<f64>,
    #[serde(rename = "deltaY")]
    delta_y: Option<f64>,
    #[serde(borrow)]
    button: Option<Button<'a>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
}

/// The page sends a number; the original's documentation has a word.
#[derive(Deserialize)]
#[serde(untagged)]
enum Button<'a> {
    Number(i64),
    Name(Cow<'a, str>),
}

/// Reads a message. Unknown fields are ignored; those that are missing are 0 or empty.
///
/// # Errors
/// It is not JSON, not an object with a type, a field has another type, or it is longer than 16 KiB.
pub fn parse(message: &[u8]) -> Result<Event, Malformed> {
    if message.len() > MAX_EVENT {
        return Err(Malformed);
    }
    let raw: Raw<'_> = serde_json::from_slice(message).map_err(|_| Malformed)?;
    // Within the pixel that the place is in; what is beyond the screen is moved to its edge later.
    let place = |value: Option<f64>| value.unwrap_or(0.0).floor().clamp(-65_536.0, 65_536.0) as i32;
    let at = (place(raw.x), place(raw.y));
    let delta = |value: Option<f64>| value.unwrap_or(0.0).clamp(-MAX_DELTA, MAX_DELTA);
    let key = || keys::key(raw.key.as_deref().unwrap_or_default(), raw.code.as_deref().unwrap_or_default());
    Ok(match &*raw.kind {
        "mousemove" => Event::Move { at },
        kind @ ("mousedown" | "mouseup") => match button(raw.button.as_ref()) {
            Some(button) => Event::Button { at, button, is_down: kind == "mousedown" },
            None => Event::Unknown,
        },
        "scroll" => Event::Scroll { at, by: (delta(raw.delta_x), delta(raw.delta_y)) },
        kind @ ("keydown" | "keyup") => {
            key().map_or(Event::Unknown, |key| Event::Key { key, is_down: kind == "keydown" })
        }
        _ => Event::Unknown,
    })
}

/// The X button of a DOM button; left when none is named.
fn button(button: Option<&Button<'_>>) -> Option<u32> {
    Some(match button {
        None | Some(Button::Number(0)) => 1,
        Some(Button::Number(1)) => 2,
        Some(Button::Number(2)) => 3,
        Some(Button::Number(3)) => 8,
        Some(Button::Number(4)) => 9,
        Some(Button::Number(_)) => return None,
        Some(Button::Name(name)) => match &**name {
            "left" => 1,
            "middle" => 2,
            "right" => 3,
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_page_sends() {
        for (text, expected) in [
            (r#"{"type":"mousemove","x":10.7,"y":20}"#, Event::Move { at: (10, 20) }),
            (r#"{"type":"mousedown","x":1,"y":2,"button":0}"#, Event::Button { at: (1, 2), button: 1, is_down: true }),
            (r#"{"type":"mouseup","x":1,"y":2,"button":2}"#, Event::Button { at: (1, 2), button: 3, is_down: false }),
            (r#"{"type":"mousedown","button":"middle"}"#, Event::Button { at: (0, 0), button: 2, is_down: true }),
            (
                r#"{"type":"scroll","x":5,"y":6,"deltaX":0,"deltaY":-120}"#,
                Event::Scroll { at: (5, 6), by: (0.0, -120.0) },
            ),
            (r#"{"type":"keydown","key":"a","code":"KeyA"}"#, Event::Key { key: Key::Tap(0x61), is_down: true }),
            (
                r#"{"type":"keyup","key":"Shift","code":"ShiftRight"}"#,
                Event::Key { key: Key::Modifier(0xffe2), is_down: false },
            ),
            (r#"{"type":"mousemove","x":1e300,"y":-1e300}"#, Event::Move { at: (65_536, -65_536) }),
            (r#"{"type":"mousemove","x":null,"modifiers":["ctrl"],"more":{}}"#, Event::Move { at: (0, 0) }),
            (r#"{"type":"keydown","key":"\u0061","code":""}"#, Event::Key { key: Key::Tap(0x61), is_down: true }),
            (r#"{"type":"mousedown","button":7}"#, Event::Unknown),
            (r#"{"type":"keydown","key":"Unidentified"}"#, Event::Unknown),
            (r#"{"type":"resize","width":5}"#, Event::Unknown),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_event() {
        let long = format!(r#"{{"type":"mousemove","more":"{}"}}"#, "x".repeat(MAX_EVENT));
        let deep = format!(r#"{{"type":"mousemove","more":{}}}"#, "[".repeat(5_000));
        for wrong in [
            "",
            "{}",
            "[]",
            "null",
            "{",
            r#"{"type":5}"#,
            r#"{"type":"mousemove","x":"5"}"#,
            r#"{"type":"mousedown","button":1.5}"#,
            r#"{"type":"mousemove","x":1e999}"#,
            &long,
            &deep,
        ] {
            assert_eq!(parse(wrong.as_bytes()), Err(Malformed), "{}", &wrong[..wrong.len().min(60)]);
        }
        assert_eq!(parse(b"\xff\xfe"), Err(Malformed));
    }
}
