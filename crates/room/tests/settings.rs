//! What changes of settings bring about, in order.
mod common;

use common::World;
use glasshouse_room::{ConnectionId, Profile, Settings};
use serde_json::json;

#[test]
fn private_mode_pauses_users_and_takes_their_control() {
    let mut world = World::full(Settings::default());
    world.room.request_control("u", world.now).unwrap();
    world.log();
    world.settings(|settings| settings.private_mode = true);
    assert_eq!(
        world.log(),
        ["keep", "release", "host[1,2,3] a -", "pause u true", "pause v true", "settings[1,2,3] a locked=false"]
    );
    // Promotion ends it for one.
    world.room.update_profile("u", Profile::admin("u"), world.now).unwrap();
    assert_eq!(world.log().last().unwrap(), "pause u false");
    world.settings(|settings| settings.private_mode = false);
    assert_eq!(world.log(), ["pause v false", "settings[1,2,3] a locked=false"]);
}

#[test]
fn private_mode_leaves_an_admins_control() {
    let mut world = World::full(Settings::default());
    world.room.request_control("a", world.now).unwrap();
    world.settings(|settings| settings.private_mode = true);
    assert!(world.room.is_host("a"));
}

#[test]
fn protection_without_an_admin_locks_and_takes_control() {
    let mut world = World::full(Settings::default());
    world.room.request_control("u", world.now).unwrap();
    world.room.connection_closed("a", ConnectionId(1), true, world.now);
    world.log();
    world.settings(|settings| settings.control_protection = true);
    assert_eq!(world.log(), ["release", "host[2,3] a -", "settings[2,3] a locked=true"]);
}

#[test]
fn locking_takes_control_from_users_only() {
    let mut world = World::full(Settings::default());
    world.room.request_control("u", world.now).unwrap();
    world.log();
    world.settings(|settings| settings.locked_controls = true);
    assert_eq!(world.log(), ["release", "host[1,2,3] a -", "settings[1,2,3] a locked=true"]);
    world.room.request_control("a", world.now).unwrap();
    world.settings(|settings| settings.locked_controls = false);
    world.settings(|settings| settings.locked_controls = true);
    assert!(world.room.is_host("a"));
}

#[test]
fn merging_follows_go() {
    let mut settings = Settings::default();
    settings.merge(&json!({ "Private_Mode": true, "unknown": 1, "locked_logins": null, "plugins": {"a": 1} })).unwrap();
    settings.merge(&json!({ "plugins": {"b": 2}, "heartbeat_interval": 7 })).unwrap();
    assert_eq!(
        serde_json::to_string(&settings).unwrap(),
        concat!(
            r#"{"private_mode":true,"locked_logins":false,"locked_controls":false,"control_protection":false,"#,
            r#""implicit_hosting":false,"inactive_cursors":true,"merciful_reconnect":true,"heartbeat_interval":7,"#,
            r#""plugins":{"a":1,"b":2}}"#
        )
    );
    settings.merge(&json!({ "plugins": null })).unwrap();
    assert_eq!(settings.plugins, None);
    for wrong in [json!({"private_mode": 1}), json!({"heartbeat_interval": "x"}), json!([]), json!({"plugins": 1})] {
        assert!(settings.merge(&wrong).is_err(), "{wrong}");
    }
}
