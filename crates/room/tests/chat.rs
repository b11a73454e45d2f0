//! Who may write and who may read.
mod common;

use common::World;
use glasshouse_room::{ChatRefused, Profile, Settings};
use serde_json::json;

fn say(world: &mut World, id: &str) -> Result<(), ChatRefused> {
    world.actor(id, |room, actor, now| room.chat(actor, "hello".into(), now))
}

#[test]
fn to_everybody_the_sender_included() {
    let mut world = World::full(Settings::default());
    say(&mut world, "u").unwrap();
    assert_eq!(
        world.log(),
        [r#"chat/message[1,2,3] {"id":"u","created":"2026-01-02T03:04:05Z","content":{"text":"hello"}}"#]
    );
}

#[test]
fn rights_of_room_and_profile() {
    let mut world = World::full(Settings::default());
    world.settings(|settings| settings.merge(&json!({"plugins": {"chat.can_send": false}})).unwrap());
    assert_eq!(say(&mut world, "u"), Err(ChatRefused));
    assert_eq!(say(&mut world, "a"), Ok(()));
    let mut profile = Profile::user("v");
    profile.merge(&json!({"plugins": {"chat.can_receive": "yes"}})).unwrap();
    world.room.update_profile("v", profile, world.now).unwrap();
    world.log();
    say(&mut world, "a").unwrap();
    assert!(world.log()[0].starts_with("chat/message[1,2] "), "what is no boolean counts as no");
}
