//! Who gets control.
mod common;

use std::time::Duration;

use common::World;
use glasshouse_room::{Actor, Asked, ControlError, GiveError, Profile, Room, Settings};

#[test]
fn over_the_websocket() {
    let mut world = World::full(Settings::default());
    assert_eq!(world.room.request_control("u", world.now), Ok(()));
    assert_eq!(world.log(), ["host[1,2,3] u u"]);
    assert_eq!(world.room.request_control("u", world.now), Ok(()));
    assert_eq!(world.log(), [""; 0]);
    assert_eq!(world.room.request_control("v", world.now), Err(ControlError::Asked));
    assert_eq!(world.log(), [r#"control/request[2] {"id":"v"}"#]);
    // Input while somebody else hosts asks again, but not with every event.
    assert_eq!(world.room.request_control("v", world.now), Err(ControlError::Asked));
    assert_eq!(world.log(), [""; 0]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.room.request_control("v", world.now), Err(ControlError::Asked));
    assert_eq!(world.log().len(), 1);
}

#[test]
fn implicit_hosting_steals() {
    let mut world = World::full(Settings { implicit_hosting: true, ..Settings::default() });
    world.room.request_control("u", world.now).unwrap();
    world.log();
    assert_eq!(world.room.request_control("v", world.now), Ok(()));
    assert_eq!(world.log(), ["release", "host[1,2,3] v v"]);
    // REST does not.
    assert_eq!(world.actor("u", Room::ask_control), Ok(Asked::Sent));
    assert!(world.room.is_host("v"));
}

#[test]
fn locked_and_private_and_incapable() {
    let mut world = World::full(Settings { locked_controls: true, ..Settings::default() });
    assert_eq!(world.room.request_control("u", world.now), Err(ControlError::Locked));
    assert_eq!(world.actor("u", Room::ask_control), Err(ControlError::Locked));
    assert_eq!(world.room.request_control("a", world.now), Ok(()));
    world.settings(|settings| settings.private_mode = true);
    assert_eq!(world.room.request_control("u", world.now), Err(ControlError::Private));
    assert_eq!(world.room.request_control("a", world.now), Ok(()));
    world.room.update_profile("u", Profile { can_host: false, ..Profile::user("u") }, world.now).unwrap();
    assert_eq!(world.room.request_control("u", world.now), Err(ControlError::CannotHost));
}

#[test]
fn release_take_give_reset() {
    let mut world = World::full(Settings::default());
    assert_eq!(world.actor("u", Room::release_control), Err(ControlError::NotHost));
    assert_eq!(world.actor("u", Room::ask_control), Ok(Asked::Granted));
    assert_eq!(world.actor("u", Room::ask_control), Ok(Asked::Sent), "even of oneself");
    world.log();
    world.actor("u", Room::release_control).unwrap();
    assert_eq!(world.log(), ["release", "host[1,2,3] u -"]);
    world.actor("a", Room::take_control);
    assert_eq!(world.log(), ["host[1,2,3] a a"]);
    world.actor("a", |room, actor, now| room.give_control(actor, "v", now)).unwrap();
    assert_eq!(world.log(), ["release", "host[1,2,3] a v"]);
    world.actor("a", Room::reset_control);
    assert_eq!(world.log(), ["release", "host[1,2,3] a -"]);
    world.actor("a", Room::reset_control);
    assert_eq!(world.log(), [""; 0]);
    let mut give = |id: &str| world.actor("a", |room, actor, now| room.give_control(actor, id, now));
    assert_eq!(give("nobody"), Err(GiveError::NotFound));
    world.room.update_profile("u", Profile { can_host: false, ..Profile::user("u") }, world.now).unwrap();
    let mut give = |id: &str| world.actor("a", |room, actor, now| room.give_control(actor, id, now));
    assert_eq!(give("u"), Err(GiveError::CannotHost));
}

#[test]
fn losing_the_right_loses_control() {
    let mut world = World::full(Settings::default());
    world.room.request_control("u", world.now).unwrap();
    world.log();
    world.room.update_profile("u", Profile { can_host: false, ..Profile::user("u") }, world.now).unwrap();
    assert_eq!(world.log()[1..], ["release", "host[1,2,3] u -"]);
}

#[test]
fn the_api_token_takes_control_but_keeps_nobody_from_it() {
    let mut world = World::full(Settings::default());
    let profile = Profile::api();
    world.room.take_control(Actor { id: "API", profile: &profile }, world.now);
    assert_eq!(world.log(), ["host[1,2,3] API API"]);
    assert!(world.room.is_host("API"));
    assert_eq!(world.room.host(), None);
    assert_eq!(world.room.request_control("u", world.now), Ok(()));
    assert!(world.room.is_host("u"));
}
