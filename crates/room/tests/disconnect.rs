//! Every way to lose a connection.
mod common;

use std::time::Duration;

use common::World;
use glasshouse_room::{ConnectionId, Profile, Settings};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn on_purpose_counts_at_once() {
    let mut world = World::full(Settings::default());
    world.room.connection_closed("u", ConnectionId(2), true, world.now);
    assert_eq!(world.log(), ["state[1,3] u gone"]);
}

#[test]
fn a_lost_connection_has_five_seconds() {
    let mut world = World::full(Settings::default());
    world.room.request_control("u", world.now).unwrap();
    world.log();
    world.room.connection_closed("u", ConnectionId(2), false, world.now);
    world.pass(SECOND * 5 - Duration::from_millis(1));
    assert_eq!(world.log(), [""; 0]);
    assert!(world.room.is_host("u"));
    world.pass(Duration::from_millis(1));
    assert_eq!(world.log(), ["release", "host[1,3] u -", "state[1,3] u gone"]);
}

#[test]
fn a_new_connection_within_the_grace_takes_over_silently() {
    let mut world = World::full(Settings::default());
    world.room.request_control("u", world.now).unwrap();
    world.room.connection_closed("u", ConnectionId(2), false, world.now);
    world.pass(SECOND * 4);
    world.log();
    world.connect("u", 4);
    assert_eq!(world.log(), ["init[4]", "state[1,4,3] u connected", "plugins[4]"]);
    world.pass(SECOND * 60);
    assert!(world.room.is_host("u"));
    assert_eq!(world.log(), [""; 0]);
}

#[test]
fn a_second_connection_replaces_the_first() {
    let mut world = World::full(Settings::default());
    world.connect("u", 4);
    assert_eq!(world.log(), ["init[4]", "state[1,4,3] u connected", "plugins[4]", "disconnect[2] connection replaced"]);
    // The old one's end is no news any more, and counts do not drift.
    world.room.connection_closed("u", ConnectionId(2), true, world.now);
    assert_eq!(world.log(), [""; 0]);
    assert_eq!(world.room.stats().total_users, 2);
}

#[test]
fn deleted_and_disconnected_and_profile_changed() {
    let mut world = World::full(Settings::default());
    world.room.request_control("u", world.now).unwrap();
    world.log();
    world.room.delete("u", world.now).unwrap();
    assert_eq!(
        world.log(),
        [
            "disconnect[2] session deleted",
            "release",
            "host[1,3] u -",
            "state[1,3] u gone",
            "gone u",
            r#"session/deleted[1,3] {"id":"u"}"#
        ]
    );
    world.room.disconnect("v", world.now).unwrap();
    assert_eq!(world.log(), ["disconnect[3] session disconnected", "state[1] v gone", "end v"]);
    world.connect("v", 5);
    world.log();
    let profile = Profile { can_connect: false, ..Profile::user("v") };
    world.room.update_profile("v", profile, world.now).unwrap();
    assert_eq!(world.log()[1..], ["disconnect[5] profile changed", "state[1] v gone"]);
    world.pass(SECOND);
    assert_eq!(world.log(), ["end v"]);
    assert!(world.room.delete("nobody", world.now).is_err());
}

#[test]
fn the_last_admin_locks_the_controls() {
    let mut world = World::full(Settings { control_protection: true, ..Settings::default() });
    assert!(!world.room.settings().locked_controls);
    world.room.request_control("u", world.now).unwrap();
    world.log();
    world.room.connection_closed("a", ConnectionId(1), true, world.now);
    assert_eq!(world.log(), ["release", "host[2,3] a -", "settings[2,3] a locked=true", "state[2,3] a gone"]);
}

#[test]
fn sessions_expire_a_day_after_their_last_use() {
    let mut world = World::full(Settings::default());
    world.room.connection_closed("u", ConnectionId(2), true, world.now);
    world.log();
    world.pass(SECOND * 3600 * 23);
    world.room.touch("u", world.now);
    world.pass(SECOND * 3600 * 23);
    assert!(world.room.session("u").is_some());
    world.pass(SECOND * 3601);
    assert!(world.room.session("u").is_none());
    assert_eq!(world.log(), ["gone u", r#"session/deleted[1,3] {"id":"u"}"#]);
    assert!(world.room.session("a").is_some(), "the connected stay");
}

#[test]
fn stats_follow() {
    let mut world = World::full(Settings::default());
    world.room.connection_closed("u", ConnectionId(2), true, world.now);
    world.room.connection_closed("v", ConnectionId(3), true, world.now);
    world.room.take_control(glasshouse_room::Actor { id: "a", profile: &Profile::admin("a") }, world.now);
    assert_eq!(
        serde_json::to_string(&world.room.stats()).unwrap(),
        concat!(
            r#"{"has_host":true,"host_id":"a","server_started_at":"2026-01-02T03:04:05Z","total_users":0,"#,
            r#""last_user_left_at":"2026-01-02T03:04:05Z","total_admins":1}"#
        )
    );
}
