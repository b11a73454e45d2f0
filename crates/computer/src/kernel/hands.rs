//! Mouse and keyboard, step by step, with pauses: for one caller at a time, and nothing stays down at the end.

use std::{sync::atomic::Ordering, time::Duration};

use glasshouse_desktop::{Desktop, Input};

use super::answer::Fail;
use crate::{
    Shared,
    access::{Act, acted},
    desktop::keys,
};

/// Longest time that the pauses of one call may take together.
const LONGEST: Duration = Duration::from_secs(50);
/// Most keys of a call that are held or pressed.
const MAX_KEYS: usize = 64;
/// Inputs that are sent before it is seen to that the display has them.
const BATCH: usize = 64;

/// A part of what is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    To(Input),
    Pause(Duration),
}

/// Keys by their names, each a key or a combination, in the order they go down.
pub(super) fn keys_of(names: &[String]) -> Result<Vec<Vec<u32>>, Fail> {
    if names.len() > MAX_KEYS {
        return Err(Fail::bad(format!("a call has at most {MAX_KEYS} keys")));
    }
    names.iter().map(|name| keys::of_combination(name).map_err(Fail::bad)).collect()
}

/// Lets go of what is down when a call ends, however it ends.
struct Down<'a> {
    desktop: &'a Desktop,
    keys: Vec<u32>,
    buttons: Vec<u32>,
}

impl Drop for Down<'_> {
    fn drop(&mut self) {
        for button in self.buttons.drain(..) {
            self.desktop.input(Input::ButtonUp(button));
        }
        for key in self.keys.drain(..).rev() {
            self.desktop.input(Input::KeyUp(key));
        }
    }
}

/// Does it all, with these keys held; `keeps` says that a button stays down on purpose.
pub(super) async fn act(shared: &Shared, hold: &[u32], steps: &[Step], keeps: bool) -> Result<(), Fail> {
    let pauses = steps.iter().map(|step| if let Step::Pause(pause) = step { *pause } else { Duration::ZERO });
    if pauses.fold(Duration::ZERO, Duration::saturating_add) > LONGEST {
        return Err(Fail::bad("that would take too long: the pauses of a call may be 50 s together"));
    }
    let failed = |error: glasshouse_desktop::Error| Fail::failed(format!("failed to execute mouse action: {error}"));
    let desktop = shared.desktop();
    let _hands = shared.hands.lock().await;
    {
        let mut down = Down { desktop, keys: Vec::new(), buttons: Vec::new() };
        let mut has_shift = shared.shift.load(Ordering::Acquire);
        let held = hold.iter().map(|key| Step::To(Input::KeyDown(*key)));
        let mut at = None;
        for (index, step) in held.chain(steps.iter().copied()).enumerate() {
            let mut input = match step {
                Step::Pause(pause) => {
                    // What came before has to be there first.
                    desktop.input_done().await.map_err(failed)?;
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Step::To(input) => input,
            };
            match &mut input {
                Input::KeyDown(key) => {
                    has_shift |= keys::is_shift(*key);
                    *key = if has_shift { keys::shifted(*key) } else { *key };
                    down.keys.push(*key);
                    acted(Act::Type);
                }
                Input::KeyUp(key) => {
                    let shifted = keys::shifted(*key);
                    // The last of them: it may be held as well.
                    if let Some(found) = down.keys.iter().rposition(|held| *held == *key || *held == shifted) {
                        *key = down.keys.remove(found);
                    }
                    has_shift =
                        shared.shift.load(Ordering::Acquire) || down.keys.iter().any(|key| keys::is_shift(*key));
                }
                Input::ButtonDown(button) => {
                    down.buttons.push(*button);
                    if let Some((x, y)) = at {
                        acted(Act::Click(x, y));
                    }
                }
                Input::ButtonUp(button) => down.buttons.retain(|held| held != button),
                Input::Move { x, y } => {
                    at = Some((*x, *y));
                    acted(Act::Move(*x, *y));
                }
                _ => {}
            }
            desktop.input(input);
            if index % BATCH == BATCH - 1 {
                desktop.input_done().await.map_err(failed)?;
            }
        }
        if keeps {
            down.buttons.clear();
        }
    }
    desktop.input_done().await.map_err(failed)
}
