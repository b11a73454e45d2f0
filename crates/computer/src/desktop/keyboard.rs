//! The keyboard.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{Json, extract::State, response::IntoResponse};
use glasshouse_desktop::{Desktop, Input};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{DONE, keys};
use crate::{
    Shared,
    access::{Act, acted},
    problem::{Answer, Problem},
};

/// Between two characters, if nothing else is asked for, in milliseconds.
const DELAY_MS: u64 = 10;
/// Longest time that one call may take by its pauses.
const LONGEST: Duration = Duration::from_secs(50);
/// Most characters of one call.
const MAX_CHARACTERS: usize = 20_000;
/// Characters that are sent before it is seen to that the display has them.
const BATCH: usize = 64;
/// Most keys of one combination.
const MAX_KEYS: usize = 8;

#[derive(Deserialize, ToSchema)]
#[schema(as = TypedText)]
#[serde(rename_all = "camelCase")]
pub(super) struct Text {
    text: String,
    delay_ms: Option<u64>,
}

#[derive(Default, Deserialize, ToSchema)]
pub(super) struct Modifiers {
    ctrl: Option<bool>,
    shift: Option<bool>,
    alt: Option<bool>,
    cmd: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = KeyPress)]
pub(super) struct Press {
    key: String,
    modifiers: Option<Modifiers>,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct Key {
    key: String,
}

fn combination(text: &str) -> Result<Vec<u32>, Problem> {
    if text.is_empty() {
        return Err(Problem::action("key must not be empty"));
    }
    let keys = keys::of_combination(text).map_err(Problem::action)?;
    if keys.len() > MAX_KEYS {
        return Err(Problem::action(format!("a combination has at most {MAX_KEYS} keys")));
    }
    Ok(keys)
}

/// Releases keys when a call ends, however it ends.
struct Held<'a> {
    desktop: &'a Desktop,
    keys: Vec<u32>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        for key in self.keys.drain(..).rev() {
            self.desktop.input(Input::KeyUp(key));
        }
    }
}

async fn done(shared: &Shared) -> Answer {
    shared.desktop().input_done().await.map_err(|error| Problem::input(&error))?;
    Ok(Json(DONE).into_response())
}

/// Types text, of any characters.
#[utoipa::path(post, path = "/v1/desktop/keyboard/type", tag = "keyboard", request_body = Text, responses((status = 200, description = "It is done.", body = super::Done)))]
pub(super) async fn write(State(shared): State<Arc<Shared>>, Json(asked): Json<Text>) -> Answer {
    if asked.text.is_empty() {
        return Err(Problem::action("text must not be empty"));
    }
    let text = asked.text.replace("\r\n", "\n");
    let keysym = |character| {
        keys::of_character(character)
            .ok_or_else(|| Problem::action(format!("the character U+{:04X} has no key", u32::from(character))))
    };
    let keysyms = text.chars().map(keysym).collect::<Result<Vec<_>, _>>()?;
    let delay = Duration::from_millis(asked.delay_ms.unwrap_or(DELAY_MS));
    let pauses = u32::try_from(keysyms.len()).unwrap_or(u32::MAX);
    if keysyms.len() > MAX_CHARACTERS || delay.saturating_mul(pauses) > LONGEST {
        let text = format!("that is too much at once: {MAX_CHARACTERS} characters, and delayMs × characters ≤ 50000");
        return Err(Problem::action(text));
    }
    let _hands = shared.hands.lock().await;
    for (index, keysym) in keysyms.iter().enumerate() {
        if index > 0 && !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        acted(Act::Type);
        shared.desktop().input(Input::KeyDown(*keysym));
        shared.desktop().input(Input::KeyUp(*keysym));
        if index % BATCH == BATCH - 1 {
            shared.desktop().input_done().await.map_err(|error| Problem::input(&error))?;
        }
    }
    done(&shared).await
}

/// Presses a key or a combination, such as `ctrl+shift+t`.
#[utoipa::path(post, path = "/v1/desktop/keyboard/press", tag = "keyboard", request_body = Press, responses((status = 200, description = "It is done.", body = super::Done)))]
pub(super) async fn press(State(shared): State<Arc<Shared>>, Json(asked): Json<Press>) -> Answer {
    let wanted = asked.modifiers.unwrap_or_default();
    let mut keys = Vec::new();
    for (is_held, name) in [(wanted.ctrl, "ctrl"), (wanted.alt, "alt"), (wanted.shift, "shift"), (wanted.cmd, "super")]
    {
        if is_held == Some(true) {
            keys.extend(keys::of_name(name));
        }
    }
    keys.extend(combination(&asked.key)?);
    let _hands = shared.hands.lock().await;
    acted(Act::Type);
    {
        let mut held = Held { desktop: shared.desktop(), keys: Vec::new() };
        let mut has_shift = shared.shift.load(Ordering::Acquire);
        for key in keys {
            has_shift |= keys::is_shift(key);
            let key = if has_shift { keys::shifted(key) } else { key };
            held.desktop.input(Input::KeyDown(key));
            held.keys.push(key);
        }
    }
    done(&shared).await
}

async fn each(shared: &Shared, asked: Key, is_down: bool) -> Answer {
    let mut keys = combination(&asked.key)?;
    let _hands = shared.hands.lock().await;
    acted(Act::Type);
    if !is_down {
        keys.reverse();
    }
    for key in keys {
        if keys::is_shift(key) {
            shared.shift.store(is_down, Ordering::Release);
        }
        let key = if shared.shift.load(Ordering::Acquire) { keys::shifted(key) } else { key };
        shared.desktop().input(if is_down { Input::KeyDown(key) } else { Input::KeyUp(key) });
    }
    done(shared).await
}

/// Presses a key, and holds it.
#[utoipa::path(post, path = "/v1/desktop/keyboard/down", tag = "keyboard", request_body = Key, responses((status = 200, description = "It is done.", body = super::Done)))]
pub(super) async fn down(State(shared): State<Arc<Shared>>, Json(asked): Json<Key>) -> Answer {
    each(&shared, asked, true).await
}

/// Lets go of a key.
#[utoipa::path(post, path = "/v1/desktop/keyboard/up", tag = "keyboard", request_body = Key, responses((status = 200, description = "It is done.", body = super::Done)))]
pub(super) async fn up(State(shared): State<Arc<Shared>>, Json(asked): Json<Key>) -> Answer {
    each(&shared, asked, false).await
}
