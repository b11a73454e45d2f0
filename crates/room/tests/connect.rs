//! What a connecting member gets, and in which order.
mod common;

use common::World;
use glasshouse_room::{ConnectError, ConnectionId, Effect, LoginError, MAX_SESSIONS, Profile, Settings};

#[test]
fn order_of_a_user_and_of_an_admin_that_unlocks() {
    let mut world = World::new(Settings { control_protection: true, ..Settings::default() });
    assert!(world.room.settings().locked_controls);
    world.room.login("u", Profile::user("u"), world.now).unwrap();
    world.connect("u", 1);
    assert_eq!(world.log(), ["init[1]", "state[1] u connected", "plugins[1]"]);
    world.room.login("a", Profile::admin("a"), world.now).unwrap();
    assert_eq!(
        world.log(),
        [concat!(
            r#"session/created[1] {"id":"a","profile":{"name":"a","is_admin":true,"can_login":true,"can_connect":true,"#,
            r#""can_watch":true,"can_host":true,"can_share_media":true,"can_access_clipboard":true,"#,
            r#""sends_inactive_cursor":true,"can_see_inactive_cursors":true,"plugins":null},"#,
            r#""state":{"is_connected":false,"is_watching":false}}"#
        )]
    );
    world.connect("a", 2);
    assert_eq!(
        world.log(),
        ["init[2]", "admin[2]", "settings[2,1] a locked=false", "state[2,1] a connected", "plugins[2]"]
    );
}

#[test]
fn init_shows_the_room_as_it_was() {
    let mut world = World::new(Settings::default());
    world.room.login("u", Profile::user("u"), world.now).unwrap();
    world.connect("u", 1);
    let effects = world.room.take_effects();
    let Some(Effect::Welcome { welcome, .. }) = effects.iter().find(|e| matches!(e, Effect::Welcome { .. })) else {
        panic!("no welcome")
    };
    assert!(welcome.sessions["u"].state.is_connected);
    assert!(!welcome.control_host.has_host);
    assert_eq!(
        serde_json::to_string(&welcome.sessions["u"].state).unwrap(),
        r#"{"is_connected":true,"connected_since":"2026-01-02T03:04:05Z","is_watching":false}"#
    );
}

#[test]
fn refusals() {
    let mut world = World::full(Settings { merciful_reconnect: false, ..Settings::default() });
    let mut connect = |id: &str| world.room.connect(id, ConnectionId(9), false, world.now).map_err(|e| e.reason());
    assert_eq!(connect("nobody"), Err("session not found"));
    assert_eq!(connect("u"), Err("already connected"));
    let mut profile = Profile::user("u");
    profile.can_connect = false;
    world.room.update_profile("u", profile.clone(), world.now).unwrap();
    assert_eq!(world.room.connect("u", ConnectionId(9), false, world.now), Err(ConnectError::ConnectDisabled));
    profile.can_login = false;
    world.room.update_profile("u", profile, world.now).unwrap();
    assert_eq!(world.room.connect("u", ConnectionId(9), false, world.now), Err(ConnectError::LoginDisabled));
}

#[test]
fn locked_logins_let_admins_in() {
    let mut world = World::new(Settings { locked_logins: true, ..Settings::default() });
    assert_eq!(world.room.login("u", Profile::user("u"), world.now), Err(LoginError::Locked));
    assert!(world.room.login("a", Profile::admin("a"), world.now).is_ok());
}

#[test]
fn a_full_room_drops_who_was_never_seen_again_but_nobody_recent() {
    let mut world = World::new(Settings::default());
    for number in 0..MAX_SESSIONS {
        world.room.login(&format!("s{number}"), Profile::user("s"), world.now).unwrap();
    }
    assert_eq!(world.room.login("more", Profile::user("m"), world.now), Err(LoginError::Full));
    world.pass(std::time::Duration::from_secs(61));
    world.room.touch("s0", world.now);
    assert!(world.room.login("more", Profile::user("m"), world.now).is_ok());
    assert!(world.room.session("s0").is_some());
    assert!(world.room.session("s1").is_none());
    assert_eq!(world.room.sessions().len(), MAX_SESSIONS);
}
