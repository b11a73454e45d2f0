//! A host that lost its connection gets control back within a minute, unless something came between.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::World;
use glasshouse_room::{ConnectionId, Room, Settings};

const SECOND: Duration = Duration::from_secs(1);

fn lost() -> World {
    let mut world = World::full(Settings::default());
    world.room.request_control("u", world.now).unwrap();
    world.room.connection_closed("u", ConnectionId(2), false, world.now);
    world.pass(SECOND * 20);
    assert!(!world.room.is_host("u"));
    world.log();
    world
}

#[test]
fn comes_back() {
    let mut world = lost();
    world.pass(SECOND * 40);
    world.connect("u", 4);
    assert_eq!(world.log(), ["init[4]", "state[1,4,3] u connected", "plugins[4]", "host[1,4,3] u u"]);
}

#[test]
fn comes_back_too_late() {
    let mut world = lost();
    world.pass(SECOND * 41);
    world.connect("u", 4);
    assert!(!world.room.is_host("u"));
}

#[test]
fn somebody_else_took_control_even_for_a_moment() {
    let mut world = lost();
    world.room.request_control("v", world.now).unwrap();
    world.actor("v", Room::release_control).unwrap();
    world.connect("u", 4);
    assert!(!world.room.is_host("u"));
}

#[test]
fn controls_were_locked_or_reset() {
    let mut world = lost();
    world.settings(|settings| settings.locked_controls = true);
    world.connect("u", 4);
    assert!(!world.room.is_host("u"));

    let mut world = lost();
    world.actor("a", Room::reset_control);
    world.connect("u", 4);
    assert!(!world.room.is_host("u"));
}

#[test]
fn leaving_on_purpose_gives_control_up() {
    let mut world = World::full(Settings::default());
    world.room.request_control("u", world.now).unwrap();
    world.room.connection_closed("u", ConnectionId(2), true, world.now);
    world.connect("u", 4);
    assert!(!world.room.is_host("u"));
}
