//! The pointer and its buttons. Each call answers with where the pointer is, read back from the display.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use glasshouse_desktop::Input;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    Shared,
    access::{Act, acted},
    problem::{Answer, Problem},
};

/// Most clicks, and most wheel clicks on an axis, of one call.
const MAX_CLICKS: i64 = 1_000;
/// Wheel clicks of one input.
const CLICKS: i64 = 64;
/// Places between start and end of a drag: programs take one jump for no drag at all.
const STEPS: i32 = 8;
/// How long the pointer may take to get where it is sent; somebody else may send it elsewhere.
const THAW: Duration = Duration::from_millis(500);
/// Between looks at where it is.
const STEP: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[schema(as = MouseButton)]
#[serde(rename_all = "lowercase")]
enum Button {
    #[default]
    Left,
    Middle,
    Right,
}

impl Button {
    fn number(self) -> u32 {
        match self {
            Self::Left => 1,
            Self::Middle => 2,
            Self::Right => 3,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = MouseMove)]
pub(super) struct Move {
    x: i64,
    y: i64,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = MouseClick)]
#[serde(rename_all = "camelCase")]
pub(super) struct Click {
    x: i64,
    y: i64,
    button: Option<Button>,
    click_count: Option<i64>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = MousePress)]
pub(super) struct Press {
    x: Option<i64>,
    y: Option<i64>,
    button: Option<Button>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = MouseDrag)]
#[serde(rename_all = "camelCase")]
pub(super) struct Drag {
    start_x: i64,
    start_y: i64,
    end_x: i64,
    end_y: i64,
    button: Option<Button>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = MouseScroll)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scroll {
    x: i64,
    y: i64,
    delta_x: Option<i64>,
    delta_y: Option<i64>,
}

/// A place on the screen; the desktop cuts it to its size.
fn place(x: i64, y: i64) -> Result<(i32, i32), Problem> {
    if x < 0 || y < 0 {
        return Err(Problem::action("coordinates must not be negative"));
    }
    Ok((x.try_into().unwrap_or(i32::MAX), y.try_into().unwrap_or(i32::MAX)))
}

fn to((x, y): (i32, i32)) -> Input {
    Input::Move { x, y }
}

/// Does it, and answers when the display has it.
async fn act(shared: &Arc<Shared>, inputs: impl IntoIterator<Item = Input>) -> Answer {
    let _hands = shared.hands.lock().await;
    let mut target = None;
    for input in inputs {
        if let Input::Move { x, y } = input {
            let size = shared.desktop().size();
            let cut = |value: i32, size: u16| value.min(i32::from(size) - 1);
            let place = (cut(x, size.width), cut(y, size.height));
            target = Some(place);
            acted(Act::Move(place.0, place.1));
        } else if let (Input::ButtonDown(_), Some((x, y))) = (&input, target) {
            acted(Act::Click(x, y));
        }
        shared.desktop().input(input);
    }
    shared.desktop().input_done().await.map_err(|error| Problem::input(&error))?;
    // A press freezes the pointer until the window manager has let the program have it.
    let deadline = Instant::now() + THAW;
    loop {
        let (x, y, window) = pointer(shared).await?;
        if target.is_none_or(|target| target == (x, y)) || Instant::now() > deadline {
            return Ok(position_of(x, y, window));
        }
        tokio::time::sleep(STEP).await;
    }
}

async fn pointer(shared: &Arc<Shared>) -> Result<(i32, i32, u32), Problem> {
    let (x, y, window) = shared.display.with(|eye| eye.pointer()).await.map_err(|trouble| Problem::input(&trouble))?;
    Ok((x.into(), y.into(), window))
}

fn position_of(x: i32, y: i32, window: u32) -> Response {
    let mut position = json!({ "x": x, "y": y, "screen": 0 });
    if window != 0 {
        position["window"] = window.to_string().into();
    }
    Json(position).into_response()
}

/// Where the pointer is.
#[utoipa::path(get, path = "/v1/desktop/mouse/position", tag = "mouse", responses((status = 200, description = "Where the pointer is then.", body = super::openapi::Position)))]
pub(super) async fn position(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    shared.desktop().wake();
    let (x, y, window) = pointer(&shared).await?;
    Ok(position_of(x, y, window))
}

/// Moves the pointer.
#[utoipa::path(post, path = "/v1/desktop/mouse/move", tag = "mouse", request_body = Move, responses((status = 200, description = "Where the pointer is then.", body = super::openapi::Position)))]
pub(super) async fn go(State(shared): State<Arc<Shared>>, Json(asked): Json<Move>) -> Answer {
    act(&shared, [to(place(asked.x, asked.y)?)]).await
}

/// Moves the pointer, and clicks.
#[utoipa::path(post, path = "/v1/desktop/mouse/click", tag = "mouse", request_body = Click, responses((status = 200, description = "Where the pointer is then.", body = super::openapi::Position)))]
pub(super) async fn click(State(shared): State<Arc<Shared>>, Json(asked): Json<Click>) -> Answer {
    let place = place(asked.x, asked.y)?;
    let count = asked.click_count.unwrap_or(1);
    if !(1..=MAX_CLICKS).contains(&count) {
        return Err(Problem::action(format!("clickCount must be from 1 to {MAX_CLICKS}")));
    }
    let button = asked.button.unwrap_or_default().number();
    let clicks = (0..count).flat_map(|_| [Input::ButtonDown(button), Input::ButtonUp(button)]);
    act(&shared, std::iter::once(to(place)).chain(clicks)).await
}

async fn press(shared: &Arc<Shared>, asked: Press, input: impl FnOnce(u32) -> Input) -> Answer {
    let place = match (asked.x, asked.y) {
        (Some(x), Some(y)) => Some(place(x, y)?),
        (None, None) => None,
        _ => return Err(Problem::action("x and y must both be given, or neither")),
    };
    let button = input(asked.button.unwrap_or_default().number());
    act(shared, place.map(to).into_iter().chain([button])).await
}

/// Presses a button, and holds it.
#[utoipa::path(post, path = "/v1/desktop/mouse/down", tag = "mouse", request_body = Press, responses((status = 200, description = "Where the pointer is then.", body = super::openapi::Position)))]
pub(super) async fn down(State(shared): State<Arc<Shared>>, Json(asked): Json<Press>) -> Answer {
    press(&shared, asked, Input::ButtonDown).await
}

/// Lets go of a button.
#[utoipa::path(post, path = "/v1/desktop/mouse/up", tag = "mouse", request_body = Press, responses((status = 200, description = "Where the pointer is then.", body = super::openapi::Position)))]
pub(super) async fn up(State(shared): State<Arc<Shared>>, Json(asked): Json<Press>) -> Answer {
    press(&shared, asked, Input::ButtonUp).await
}

/// Drags with a button held.
#[utoipa::path(post, path = "/v1/desktop/mouse/drag", tag = "mouse", request_body = Drag, responses((status = 200, description = "Where the pointer is then.", body = super::openapi::Position)))]
pub(super) async fn drag(State(shared): State<Arc<Shared>>, Json(asked): Json<Drag>) -> Answer {
    let (start, end) = (place(asked.start_x, asked.start_y)?, place(asked.end_x, asked.end_y)?);
    let size = shared.desktop().size();
    // On the screen, so that what lies between is, too.
    let cut = |(x, y): (i32, i32)| (x.min(size.width.into()), y.min(size.height.into()));
    let (start, end) = (cut(start), cut(end));
    let button = asked.button.unwrap_or_default().number();
    let between = |step: i32| {
        let at = |from: i32, to: i32| from + (to - from) * step / STEPS;
        to((at(start.0, end.0), at(start.1, end.1)))
    };
    let way = [to(start), Input::ButtonDown(button)].into_iter();
    act(&shared, way.chain((1..=STEPS).map(between)).chain([Input::ButtonUp(button)])).await
}

/// Turns the wheel; positive is right and down, in clicks of it.
#[utoipa::path(post, path = "/v1/desktop/mouse/scroll", tag = "mouse", request_body = Scroll, responses((status = 200, description = "Where the pointer is then.", body = super::openapi::Position)))]
pub(super) async fn scroll(State(shared): State<Arc<Shared>>, Json(asked): Json<Scroll>) -> Answer {
    let place = place(asked.x, asked.y)?;
    let (right, down) = (asked.delta_x.unwrap_or(0), asked.delta_y.unwrap_or(0));
    if right == 0 && down == 0 {
        return Err(Problem::action("deltaX or deltaY must not be 0"));
    }
    if [right, down].iter().any(|clicks| clicks.unsigned_abs() > MAX_CLICKS.unsigned_abs()) {
        return Err(Problem::action(format!("deltaX and deltaY are wheel clicks: at most {MAX_CLICKS}")));
    }
    let mut inputs = vec![to(place)];
    let (mut right, mut down) = (right, down);
    while right != 0 || down != 0 {
        let (x, y) = (right.clamp(-CLICKS, CLICKS), down.clamp(-CLICKS, CLICKS));
        (right, down) = (right - x, down - y);
        // The desktop counts up and left.
        inputs.push(Input::Scroll { x: -x as i32, y: -y as i32, control: false });
    }
    act(&shared, inputs).await
}
