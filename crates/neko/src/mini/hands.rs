//! What a viewer's events do on the desktop, by the room's rules.
//!
//! The page's data channel neither keeps order nor repeats what is lost, and the page hears of no key that is let go while
//! another window has the keyboard. So nothing waits for an event that may never come: keys are pressed and let go at once, and
//! modifiers do not stay down for long by themselves.

use std::time::{Duration, Instant};

use glasshouse_desktop::Input;
use glasshouse_room::{Actor, Now, Point};
use glasshouse_webrtc::ViewerId;

use super::{
    event::{self, Event},
    keys::Key,
};
use crate::{
    Server,
    core::{Inner, State},
    input::clamp,
};

/// A modifier that no key was pressed with for so long is let go.
const MODIFIER_LIMIT: Duration = Duration::from_secs(5);
/// Pixels of a DOM wheel event that make one X wheel click: what browsers report for a notch is this, or 120.
const NOTCH: f64 = 100.0;
const OTHER_NOTCH: f64 = 120.0;
/// After such a pause what is left of a gesture does not count for the next one.
const FORGET: Duration = Duration::from_millis(400);

/// What a viewer holds down, and how far its wheel has turned.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    /// X buttons, a bit each.
    buttons: u32,
    modifiers: Vec<u32>,
    /// When a key was pressed or let go last.
    keyed: Option<Instant>,
    wheel: Wheel,
}

/// Adds up fine deltas of touchpads until they make clicks.
#[derive(Debug, Default)]
struct Wheel {
    left: (f64, f64),
    turned: Option<Instant>,
}

impl Wheel {
    /// Whole clicks in X's direction, positive being left and up.
    fn turn(&mut self, by: (f64, f64), now: Instant) -> (i32, i32) {
        if self.turned.is_none_or(|turned| now > turned + FORGET) {
            self.left = (0.0, 0.0);
        }
        self.turned = Some(now);
        let clicks = |left: &mut f64, delta: f64| {
            let is_other = delta != 0.0 && delta % OTHER_NOTCH == 0.0;
            let clicks = delta / if is_other { OTHER_NOTCH } else { NOTCH };
            // A turn back acts at once.
            *left = if *left * clicks < 0.0 { clicks } else { *left + clicks };
            let whole = left.trunc();
            *left -= whole;
            -(whole as i32)
        };
        (clicks(&mut self.left.0, by.0), clicks(&mut self.left.1, by.1))
    }
}

impl Server {
    /// A message of a viewer's data channel that is none of neko's; whether it was one of a viewer of this kind.
    pub(crate) fn mini_data(&self, id: ViewerId, bytes: &[u8]) -> bool {
        let event = event::parse(bytes);
        self.inner.with(|state, now| {
            let Some(session) = state.viewers.get(&id).map(|viewer| viewer.session.clone()) else { return true };
            if !state.hands.contains_key(&*session) {
                return false;
            }
            self.inner.mini_event(state, &session, event, now);
            true
        })
    }

    /// A message of a viewer's WebSocket.
    pub(super) fn mini_message(&self, session: &str, text: &[u8]) {
        let event = event::parse(text);
        self.inner.with(|state, now| self.inner.mini_event(state, session, event, now));
    }
}

impl Inner {
    fn mini_event(&self, state: &mut State, session: &str, event: Result<Event, event::Malformed>, now: Now) {
        if !state.spend(session, now.instant) {
            return self.metrics.reject("rate");
        }
        let Ok(event) = event else { return self.metrics.reject("mini_event") };
        // Others that are in the room may look on, and come to what they hold by the way.
        let Some(mut hands) = state.hands.remove(session) else { return };
        self.mini_act(state, session, &mut hands, event, now);
        // It may have lost its place by that.
        if state.room.profile(session).is_some() {
            state.hands.insert(session.to_owned(), hands);
        }
    }

    fn mini_act(&self, state: &mut State, session: &str, hands: &mut Hands, event: Event, now: Now) {
        self.forget_modifiers(state, session, hands, now.instant);
        match event {
            Event::Unknown => {}
            Event::Move { at } => {
                let is_free = state.room.host().is_none();
                if state.room.is_host(session) || is_free && self.mini_claim(state, session, now) {
                    self.move_pointer(state, session, at.0, at.1);
                } else {
                    let (x, y) = clamp(state, at.0, at.1);
                    state.room.pointer_moved(session, Point { x, y }, now);
                }
            }
            Event::Button { at, button, is_down: true } => {
                if !self.mini_claim(state, session, now) {
                    return self.metrics.reject("not_host");
                }
                self.move_pointer(state, session, at.0, at.1);
                if hands.buttons & 1 << button != 0 {
                    // That it was let go was lost.
                    self.desk.input(Input::ButtonUp(button));
                }
                hands.buttons |= 1 << button;
                self.desk.input(Input::ButtonDown(button));
            }
            Event::Button { at, button, is_down: false } => {
                hands.buttons &= !(1 << button);
                if state.room.is_host(session) {
                    self.move_pointer(state, session, at.0, at.1);
                    self.desk.input(Input::ButtonUp(button));
                }
            }
            Event::Scroll { at, by } => {
                if !self.mini_claim(state, session, now) {
                    return self.metrics.reject("not_host");
                }
                self.move_pointer(state, session, at.0, at.1);
                let (x, y) = hands.wheel.turn(by, now.instant);
                self.scroll(x, y, false);
            }
            Event::Key { key, is_down: true } => {
                if !self.mini_claim(state, session, now) {
                    return self.metrics.reject("not_host");
                }
                hands.keyed = Some(now.instant);
                match key {
                    Key::Modifier(keysym) => {
                        if !hands.modifiers.contains(&keysym) {
                            hands.modifiers.push(keysym);
                        }
                        self.desk.input(Input::KeyDown(keysym));
                    }
                    Key::Tap(keysym) => {
                        self.desk.input(Input::KeyDown(keysym));
                        self.desk.input(Input::KeyUp(keysym));
                    }
                }
            }
            Event::Key { key: Key::Modifier(keysym), is_down: false } => {
                hands.modifiers.retain(|held| *held != keysym);
                if state.room.is_host(session) {
                    self.desk.input(Input::KeyUp(keysym));
                }
            }
            Event::Key { key: Key::Tap(_), is_down: false } => {}
        }
    }

    /// Lets go of modifiers that seem to be held for ever.
    fn forget_modifiers(&self, state: &State, session: &str, hands: &mut Hands, now: Instant) {
        if hands.modifiers.is_empty() || hands.keyed.is_some_and(|keyed| now <= keyed + MODIFIER_LIMIT) {
            return;
        }
        for keysym in hands.modifiers.drain(..) {
            if state.room.is_host(session) {
                self.desk.input(Input::KeyUp(keysym));
            }
        }
    }

    /// Makes a viewer host if it may be: among viewers of this kind whoever acts controls, as in the original; with others of the
    /// room it is as the room says.
    fn mini_claim(&self, state: &mut State, session: &str, now: Now) -> bool {
        if state.room.is_host(session) {
            return true;
        }
        let Some(profile) = state.room.profile(session).cloned() else { return false };
        let actor = Actor { id: session, profile: &profile };
        let is_one_of_us = state.room.host().is_some_and(|host| state.hands.contains_key(host));
        let may_take = is_one_of_us && !state.room.settings().locked_controls && state.room.may_host(actor).is_ok();
        if may_take {
            state.room.take_control(actor, now);
        } else if state.room.request_control(session, now).is_err() {
            return false;
        }
        // What the host before held is let go before anything is pressed.
        self.settle(state, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wheels_add_up() {
        let (mut wheel, start) = (Wheel::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(wheel.turn((0.0, 100.0), at(0)), (0, -1));
        assert_eq!(wheel.turn((0.0, 120.0), at(10)), (0, -1));
        assert_eq!(wheel.turn((0.0, -120.0), at(20)), (0, 1));
        assert_eq!(wheel.turn((240.0, 0.0), at(30)), (-2, 0));
        let fine: Vec<_> = (0..12).map(|n| wheel.turn((0.0, 25.0), at(40 + n)).1).collect();
        assert_eq!(fine.iter().sum::<i32>(), -3, "{fine:?}");
        wheel.turn((0.0, 90.0), at(60));
        assert_eq!(wheel.turn((0.0, 20.0), at(60 + 500)), (0, 0), "what is left of a gesture is forgotten");
    }
}
