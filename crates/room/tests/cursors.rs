//! Pointers of members that are not host.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::World;
use glasshouse_room::{ConnectionId, Point, Profile, Settings};

const TICK: Duration = Duration::from_millis(750);

fn at(x: u16) -> Point {
    Point { x, y: 7 }
}

#[test]
fn batches_and_one_empty_one_and_then_silence() {
    let mut world = World::full(Settings::default());
    assert!(world.room.pointer_moved("u", at(1), world.now));
    world.room.pointer_moved("u", at(2), world.now);
    assert_eq!(world.log(), [""; 0]);
    world.pass(TICK);
    assert_eq!(world.log(), [r#"session/cursors[1,2,3] [{"id":"u","cursors":[{"x":1,"y":7},{"x":2,"y":7}]}]"#]);
    world.pass(TICK);
    assert_eq!(world.log(), ["session/cursors[1,2,3] []"]);
    assert!(world.room.poll_timeout().is_none());
    world.pass(TICK * 10);
    assert_eq!(world.log(), [""; 0]);
}

#[test]
fn only_who_may_show_and_who_may_see() {
    let mut world = World::full(Settings::default());
    world.room.request_control("a", world.now).unwrap();
    assert!(!world.room.pointer_moved("a", at(1), world.now), "the host's goes by data channel");
    let profile = Profile { sends_inactive_cursor: false, ..Profile::user("u") };
    world.room.update_profile("u", profile, world.now).unwrap();
    assert!(!world.room.pointer_moved("u", at(1), world.now));
    let profile = Profile { can_see_inactive_cursors: false, ..Profile::user("v") };
    world.room.update_profile("v", profile, world.now).unwrap();
    world.log();
    assert!(world.room.pointer_moved("v", at(1), world.now));
    world.pass(TICK);
    assert!(world.log()[0].starts_with("session/cursors[1,2] "));
    world.settings(|settings| settings.inactive_cursors = false);
    assert_eq!(world.log()[0], "session/cursors[1,2] []");
    assert!(!world.room.pointer_moved("v", at(1), world.now));
}

#[test]
fn a_batch_is_bounded() {
    let mut world = World::full(Settings::default());
    for x in 0..10_000 {
        world.room.pointer_moved("u", at(x), world.now);
    }
    world.pass(TICK);
    let log = world.log().remove(0);
    assert!(log.matches("\"x\"").count() <= 64);
    assert!(log.contains("\"x\":9999"), "the newest is kept");
}

fn live() -> World {
    let mut world = World::full(Settings::default());
    for (id, connection) in [("u", 12), ("v", 13)] {
        world.room.connect(id, ConnectionId(connection), true, world.now).unwrap();
    }
    world.log();
    world
}

#[test]
fn live_ones_come_at_once_then_at_most_20_per_second() {
    let mut world = live();
    let moves = |world: &mut World| {
        let log = world.log();
        log.into_iter().filter(|line| line.starts_with("glasshouse/cursors")).collect::<Vec<_>>()
    };
    world.room.pointer_moved("u", at(0), world.now);
    assert_eq!(moves(&mut world), [r#"glasshouse/cursors[13] [{"id":"u","x":0,"y":7}]"#], "not to oneself");
    for x in 1..=100 {
        world.pass(Duration::from_millis(10));
        world.room.pointer_moved("u", at(x), world.now);
    }
    assert_eq!(moves(&mut world).len(), 20);
    world.pass(Duration::from_secs(1));
    let last = moves(&mut world);
    assert!(last.is_empty() || last[0].contains("\"x\":100"));
    world.room.pointer_left("u", world.now);
    world.pass(Duration::from_secs(1));
    assert_eq!(moves(&mut world), [r#"glasshouse/cursors[13] [{"id":"u","x":-1,"y":-1}]"#]);
    world.room.pointer_left("u", world.now);
    world.pass(Duration::from_secs(1));
    assert!(moves(&mut world).is_empty());
}

#[test]
fn two_that_move_see_each_other_but_not_themselves() {
    let mut world = live();
    world.room.pointer_moved("u", at(0), world.now);
    world.log();
    world.room.pointer_moved("u", at(1), world.now);
    world.room.pointer_moved("v", at(2), world.now);
    world.pass(Duration::from_millis(50));
    assert_eq!(
        world.log(),
        [r#"glasshouse/cursors[12] [{"id":"v","x":2,"y":7}]"#, r#"glasshouse/cursors[13] [{"id":"u","x":1,"y":7}]"#]
    );
}

#[test]
fn pointers_of_those_who_go_or_take_control_leave() {
    let mut world = live();
    world.room.pointer_moved("u", at(0), world.now);
    world.pass(Duration::from_secs(2));
    world.log();
    world.room.request_control("u", world.now).unwrap();
    world.pass(Duration::from_secs(1));
    assert!(world.log().contains(&r#"glasshouse/cursors[13] [{"id":"u","x":-1,"y":-1}]"#.to_owned()));
}
