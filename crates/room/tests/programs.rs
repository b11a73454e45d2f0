//! Programs among the members.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::World;
use glasshouse_room::{
    Act, ConnectionId, Effect, Held, LoginError, MAX_SESSIONS, Mode, Note, Point, Profile, Program, Settings,
};

fn world() -> World {
    let mut world = World::full(Settings::default());
    // An admin who opted in.
    world.room.connect("a", ConnectionId(9), true, world.now).unwrap();
    world.log();
    world
}

fn join(world: &mut World, id: &str, own: Option<&str>) {
    let program = Program { way: "cdp", token: "1a2b".into(), own: own.map(str::to_owned) };
    world.room.join_program(id, "Playwright", program, ConnectionId(100), world.now).unwrap();
}

#[test]
fn a_program_comes_and_goes_as_a_member_and_only_those_who_opted_in_hear_what_it_is() {
    let mut world = world();
    join(&mut world, "p", None);
    let log = world.log();
    assert!(log[0].starts_with(r#"session/created[9,100,2,3] {"id":"p","profile":{"name":"Playwright","#), "{log:?}");
    let told = r#"glasshouse/programs[9] {"mode":"together","programs":[{"id":"p","way":"cdp","token":"1a2b"}]}"#;
    assert_eq!(log[1..], [told]);
    let stats = world.room.stats();
    assert_eq!((stats.total_users, stats.total_admins), (2, 1), "programs are no people");

    // Who comes later hears of it, too.
    world.room.login("w", Profile::user("w"), world.now).unwrap();
    world.room.connect("w", ConnectionId(20), true, world.now).unwrap();
    assert!(world.log().iter().any(|line| *line == told.replace("[9]", "[20]")));

    join(&mut world, "q", None);
    assert_eq!(world.room.profile("q").unwrap().name, "Playwright 2");
    world.log();
    world.room.disconnect("q", world.now).unwrap();
    assert!(world.room.session("q").is_none(), "it has nothing to come back with");
    world.room.delete("p", world.now).unwrap();
    let log = world.log();
    assert!(log.contains(&r#"glasshouse/programs[9,20] {"mode":"together","programs":[]}"#.to_owned()), "{log:?}");
    assert_eq!(world.room.may_act("p"), Err(Held::Gone));
}

#[test]
fn a_room_has_no_more_programs_than_members() {
    let mut world = World::new(Settings::default());
    let program = Program { way: "cdp", token: String::new(), own: None };
    for index in 0..MAX_SESSIONS {
        let connection = ConnectionId(index as u64);
        world.room.join_program(&format!("p{index}"), "P", program.clone(), connection, world.now).unwrap();
    }
    let refused = world.room.join_program("more", "P", program, ConnectionId(0), world.now);
    assert_eq!(refused, Err(LoginError::Full));
}

#[test]
fn modes_say_when_programs_may_act() {
    let mut world = world();
    join(&mut world, "p", None);
    join(&mut world, "own", Some("u"));
    let may = |world: &World, id: &str| world.room.may_act(id);
    world.room.request_control("u", world.now).unwrap();
    assert_eq!(may(&world, "p"), Ok(()), "together");

    world.room.set_mode(Mode::PersonFirst, "a");
    assert_eq!(may(&world, "p"), Err(Held::Person("u".into())));
    assert_eq!(may(&world, "own"), Ok(()), "whose own control it is");
    world.actor("u", |room, actor, now| room.release_control(actor, now)).unwrap();
    assert_eq!(may(&world, "p"), Ok(()));
    world.room.request_control("v", world.now).unwrap();
    assert_eq!(may(&world, "own"), Err(Held::Person("v".into())));
    // A lost connection keeps control for its grace, and then no more.
    world.room.connection_closed("v", ConnectionId(3), false, world.now);
    world.pass(Duration::from_secs(4));
    assert_eq!(may(&world, "p"), Err(Held::Person("v".into())));
    world.pass(Duration::from_secs(1));
    assert_eq!(may(&world, "p"), Ok(()));

    world.room.set_mode(Mode::WatchOnly, "a");
    assert_eq!(may(&world, "p"), Err(Held::WatchOnly));
    assert_eq!(may(&world, "own"), Err(Held::WatchOnly));
    let log = world.log();
    assert!(log.iter().any(|line| line.starts_with(r#"glasshouse/programs[9] {"mode":"watch-only","#)), "{log:?}");
    world.room.set_mode(Mode::WatchOnly, "a");
    assert_eq!(world.log(), [""; 0], "nothing changed");
}

#[test]
fn a_program_never_gets_control() {
    let mut world = world();
    join(&mut world, "p", None);
    assert!(world.room.request_control("p", world.now).is_err());
    assert!(world.actor("a", |room, actor, now| room.give_control(actor, "p", now)).is_err());
}

#[test]
fn what_it_does_is_shown_not_too_often() {
    let mut world = world();
    join(&mut world, "p", None);
    world.log();
    let at = Point { x: 3, y: 4 };
    assert!(world.room.pointer_moved("p", at, world.now));
    assert_eq!(world.log(), [r#"glasshouse/cursors[9] [{"id":"p","x":3,"y":4}]"#]);
    for _ in 0..10 {
        for act in [Act::Click(at), Act::Type, Act::Navigate] {
            world.room.acted("p", act, world.now);
        }
    }
    assert_eq!(
        world.log(),
        [
            r#"glasshouse/acted[9] {"id":"p","act":"click","x":3,"y":4}"#,
            r#"glasshouse/acted[9] {"id":"p","act":"type"}"#,
            r#"glasshouse/acted[9] {"id":"p","act":"navigate"}"#,
        ]
    );
    world.pass(Duration::from_millis(50));
    world.log();
    world.room.acted("p", Act::Click(at), world.now);
    world.room.acted("p", Act::Type, world.now);
    assert_eq!(world.log(), [r#"glasshouse/acted[9] {"id":"p","act":"click","x":3,"y":4}"#]);
    world.room.acted("u", Act::Type, world.now);
    assert_eq!(world.log(), [""; 0], "people are seen by what they do");
}

#[test]
fn hand_overs_are_noted_whoever_is_connected() {
    let mut world = World::new(Settings::default());
    world.room.login("u", Profile::user("Ann"), world.now).unwrap();
    world.room.request_control("u", world.now).unwrap();
    world.room.request_control("u", world.now).unwrap();
    world.actor("u", |room, actor, now| room.release_control(actor, now)).unwrap();
    world.room.set_mode(Mode::PersonFirst, "API");
    let notes: Vec<_> = world
        .room
        .take_effects()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Note(Note::Control { by, from, to }) => {
                let name = |somebody: Option<glasshouse_room::Somebody>| somebody.map(|somebody| somebody.name);
                Some(format!("{} {:?} {:?}", by.id, name(from), name(to)))
            }
            Effect::Note(Note::Mode { by, mode }) => Some(format!("{} {}", by.id, mode.name())),
            _ => None,
        })
        .collect();
    assert_eq!(notes, [r#"u None Some("Ann")"#, r#"u Some("Ann") None"#, "API person-first"]);
}
