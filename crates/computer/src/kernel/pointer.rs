//! `/computer`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use glasshouse_desktop::Input;
use serde::Deserialize;
use serde_json::json;

use super::{
    answer::{Body, Fail, Reply},
    hands::{Step, act, keys_of},
};
use crate::{
    Shared,
    desktop::{keys, screenshot},
    display::Rect,
};

/// Most clicks, and most wheel clicks on an axis, of one call.
const MAX_CLICKS: i64 = 1_000;
/// Most characters of one call.
const MAX_CHARACTERS: usize = 20_000;
/// Most points of a drag, and most steps of it.
const MAX_POINTS: usize = 10_000;
/// Between two characters, if nothing else is asked for, in milliseconds: xdotool's, and for texts that would take long so.
const TYPING_MS: i64 = 12;
const FAST_TYPING_MS: i64 = 1;
const LONG_TEXT: usize = 3_000;

type Keys = Option<Vec<String>>;

fn ok() -> Reply {
    Ok(StatusCode::OK.into_response())
}

fn place(shared: &Shared, x: i64, y: i64) -> Result<Input, Fail> {
    if x < 0 || y < 0 {
        return Err(Fail::bad("coordinates must be non-negative"));
    }
    let size = shared.desktop().size();
    let fits = |value: i64, size: u16| i32::try_from(value).ok().filter(|value| *value < i32::from(size));
    match (fits(x, size.width), fits(y, size.height)) {
        (Some(x), Some(y)) => Ok(Input::Move { x, y }),
        _ => {
            let text = format!("coordinates exceed screen bounds (max: {}x{})", size.width - 1, size.height - 1);
            Err(Fail::bad(text))
        }
    }
}

fn button(name: Option<&str>, known: &[(&str, u32)]) -> Result<u32, Fail> {
    let name = name.unwrap_or("left");
    let found = known.iter().find(|(one, _)| *one == name).map(|(_, number)| *number);
    found.ok_or_else(|| Fail::bad(format!("unsupported button: {name}")))
}

fn flat(keys: Keys) -> Result<Vec<u32>, Fail> {
    Ok(keys_of(&keys.unwrap_or_default())?.concat())
}

#[derive(Deserialize)]
pub(super) struct Move {
    x: i64,
    y: i64,
    hold_keys: Keys,
}

pub(super) async fn go(State(shared): State<Arc<Shared>>, Body(asked): Body<Move>) -> Reply {
    let to = Step::To(place(&shared, asked.x, asked.y)?);
    act(&shared, &flat(asked.hold_keys)?, &[to], false).await?;
    ok()
}

#[derive(Deserialize)]
pub(super) struct Click {
    x: i64,
    y: i64,
    button: Option<String>,
    click_type: Option<String>,
    num_clicks: Option<i64>,
    hold_keys: Keys,
}

pub(super) async fn click(State(shared): State<Arc<Shared>>, Body(asked): Body<Click>) -> Reply {
    let mut steps = vec![Step::To(place(&shared, asked.x, asked.y)?)];
    let known = [("left", 1), ("right", 3), ("middle", 2), ("back", 8), ("forward", 9)];
    let button = button(asked.button.as_deref(), &known)?;
    let (down, up) = (Step::To(Input::ButtonDown(button)), Step::To(Input::ButtonUp(button)));
    let count = asked.num_clicks.unwrap_or(1).clamp(1, MAX_CLICKS);
    match asked.click_type.as_deref().unwrap_or("click") {
        "click" => steps.extend((0..count).flat_map(|_| [down, up])),
        "down" => steps.push(down),
        "up" => steps.push(up),
        other => return Err(Fail::bad(format!("unsupported click type: {other}"))),
    }
    let keeps = asked.click_type.as_deref() == Some("down");
    act(&shared, &flat(asked.hold_keys)?, &steps, keeps).await?;
    ok()
}

#[derive(Deserialize)]
pub(super) struct Scroll {
    x: i64,
    y: i64,
    delta_x: Option<i64>,
    delta_y: Option<i64>,
    hold_keys: Keys,
}

pub(super) async fn scroll(State(shared): State<Arc<Shared>>, Body(asked): Body<Scroll>) -> Reply {
    let (right, down) = (asked.delta_x.unwrap_or(0), asked.delta_y.unwrap_or(0));
    if right == 0 && down == 0 {
        return Err(Fail::bad("at least one of delta_x or delta_y must be non-zero"));
    }
    let mut steps = vec![Step::To(place(&shared, asked.x, asked.y)?)];
    // The desktop counts up and left.
    let clicks =
        |count: i64| (0..count.unsigned_abs().min(MAX_CLICKS.unsigned_abs())).map(move |_| -(count.signum() as i32));
    steps.extend(clicks(down).map(|y| Step::To(Input::Scroll { x: 0, y, control: false })));
    steps.extend(clicks(right).map(|x| Step::To(Input::Scroll { x, y: 0, control: false })));
    act(&shared, &flat(asked.hold_keys)?, &steps, false).await?;
    ok()
}

#[derive(Deserialize)]
pub(super) struct Text {
    text: String,
    delay: Option<i64>,
}

pub(super) async fn write(State(shared): State<Arc<Shared>>, Body(asked): Body<Text>) -> Reply {
    let is_long = asked.text.len() > LONG_TEXT;
    let delay = asked.delay.unwrap_or(if is_long { FAST_TYPING_MS } else { TYPING_MS });
    let delay = u64::try_from(delay).map_err(|_| Fail::bad("delay must be >= 0 milliseconds"))?;
    if asked.text.chars().count() > MAX_CHARACTERS {
        return Err(Fail::bad(format!("failed to type text: a call has at most {MAX_CHARACTERS} characters")));
    }
    let mut steps = Vec::new();
    for character in asked.text.replace("\r\n", "\n").chars() {
        let key = keys::of_character(character)
            .ok_or_else(|| Fail::bad(format!("the character U+{:04X} has no key", u32::from(character))))?;
        if !steps.is_empty() && delay > 0 {
            steps.push(Step::Pause(Duration::from_millis(delay)));
        }
        steps.extend([Step::To(Input::KeyDown(key)), Step::To(Input::KeyUp(key))]);
    }
    act(&shared, &[], &steps, false).await?;
    ok()
}

#[derive(Deserialize)]
pub(super) struct Press {
    keys: Option<Vec<String>>,
    duration: Option<i64>,
    hold_keys: Keys,
}

pub(super) async fn press(State(shared): State<Arc<Shared>>, Body(asked): Body<Press>) -> Reply {
    let names = asked.keys.unwrap_or_default();
    if names.is_empty() {
        return Err(Fail::bad("keys must contain at least one key symbol"));
    }
    let duration = asked.duration.unwrap_or(0);
    let duration = u64::try_from(duration).map_err(|_| Fail::bad("duration must be >= 0 milliseconds"))?;
    let keys = keys_of(&names)?;
    let down = |keys: &[u32]| keys.iter().map(|key| Step::To(Input::KeyDown(*key))).collect::<Vec<_>>();
    let up = |keys: &[u32]| keys.iter().rev().map(|key| Step::To(Input::KeyUp(*key))).collect::<Vec<_>>();
    let mut steps = Vec::new();
    if duration == 0 {
        for combination in &keys {
            steps.extend(down(combination));
            steps.extend(up(combination));
        }
    } else {
        let all = keys.concat();
        steps.extend(down(&all));
        steps.push(Step::Pause(Duration::from_millis(duration)));
        steps.extend(up(&all));
    }
    act(&shared, &flat(asked.hold_keys)?, &steps, false).await?;
    ok()
}

#[derive(Deserialize)]
pub(super) struct Drag {
    path: Option<Vec<Vec<i64>>>,
    button: Option<String>,
    delay: Option<i64>,
    steps_per_segment: Option<i64>,
    step_delay_ms: Option<i64>,
    hold_keys: Keys,
}

pub(super) async fn drag(State(shared): State<Arc<Shared>>, Body(asked): Body<Drag>) -> Reply {
    let path = asked.path.unwrap_or_default();
    if path.len() < 2 {
        return Err(Fail::bad("path must contain at least two points"));
    }
    let per_segment =
        usize::try_from(asked.steps_per_segment.unwrap_or(10)).ok().filter(|steps| *steps > 0).unwrap_or(10);
    if path.len().saturating_mul(per_segment) > MAX_POINTS {
        return Err(Fail::bad(format!("a drag has at most {MAX_POINTS} steps")));
    }
    let mut points = Vec::with_capacity(path.len());
    for (index, point) in path.iter().enumerate() {
        let [x, y] = point[..] else { return Err(Fail::bad(format!("path[{index}] must be [x,y]"))) };
        place(&shared, x, y)?;
        points.push((x as i32, y as i32));
    }
    let button = button(asked.button.as_deref(), &[("left", 1), ("middle", 2), ("right", 3)])?;
    let pause = |ms: i64, usual: u64| Duration::from_millis(u64::try_from(ms).unwrap_or(usual));
    let between = pause(asked.step_delay_ms.unwrap_or(50), 50);
    let to = |(x, y): (i32, i32)| Step::To(Input::Move { x, y });
    let mut steps = vec![to(points[0]), Step::To(Input::ButtonDown(button))];
    if let Some(delay) = asked.delay.filter(|delay| *delay > 0) {
        steps.push(Step::Pause(pause(delay, 0)));
    }
    let mut is_first = true;
    for segment in points.windows(2) {
        let (from, end) = (segment[0], segment[1]);
        if from == end {
            continue;
        }
        let count = per_segment as i32;
        for step in 1..=count {
            if !is_first && !between.is_zero() {
                steps.push(Step::Pause(between));
            }
            is_first = false;
            // The screen is at most a few thousand pixels, and there are at most ten thousand steps.
            let at = |from: i32, to: i32| from + (to - from) * step / count;
            steps.push(to((at(from.0, end.0), at(from.1, end.1))));
        }
    }
    steps.push(Step::To(Input::ButtonUp(button)));
    act(&shared, &flat(asked.hold_keys)?, &steps, false).await?;
    ok()
}

#[derive(Deserialize)]
pub(super) struct Cursor {
    hidden: bool,
}

pub(super) async fn cursor(State(shared): State<Arc<Shared>>, Body(asked): Body<Cursor>) -> Reply {
    shared.kernel.is_cursor_hidden.store(asked.hidden, Ordering::Release);
    Ok(Json(json!({ "ok": true })).into_response())
}

#[derive(Deserialize)]
struct Region {
    x: i64,
    y: i64,
    width: i64,
    height: i64,
}

#[derive(Deserialize)]
pub(super) struct Shot {
    region: Option<Region>,
}

pub(super) async fn screenshot(State(shared): State<Arc<Shared>>, Body(asked): Body<Shot>) -> Reply {
    let part = match asked.region {
        None => None,
        Some(Region { x, y, width, height }) => {
            if x < 0 || y < 0 || width <= 0 || height <= 0 {
                return Err(Fail::bad("invalid region dimensions"));
            }
            let size = shared.desktop().size();
            let fits = |at: i64, length: i64, size: u16| at.saturating_add(length) <= i64::from(size);
            if !fits(x, width, size.width) || !fits(y, height, size.height) {
                return Err(Fail::bad("region exceeds screen bounds"));
            }
            // On the screen.
            Some(Rect { x: x as i32, y: y as i32, width: width as u32, height: height as u32 })
        }
    };
    let with_pointer = !shared.kernel.is_cursor_hidden.load(Ordering::Acquire);
    let shot = screenshot::png(&shared, part, with_pointer).await;
    let mut response = shot.map_err(|problem| Fail::failed(problem.to_string()))?;
    response.headers_mut().remove(header::ETAG);
    Ok(response)
}
