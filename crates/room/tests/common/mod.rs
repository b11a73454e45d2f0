//! A room on virtual time.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::time::{Duration, Instant, SystemTime};

use glasshouse_room::{Actor, ConnectionId, Effect, Event, Now, Profile, Room, Settings};

pub struct World {
    pub room: Room,
    pub now: Now,
    pub effects: Vec<Effect>,
}

impl World {
    pub fn new(settings: Settings) -> Self {
        let now = Now { instant: Instant::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045) };
        Self { room: Room::new(settings, now), now, effects: Vec::new() }
    }

    /// A room with an admin `a` and users `u` and `v`, connected as 1, 2 and 3.
    pub fn full(settings: Settings) -> Self {
        let mut world = Self::new(settings);
        for (id, profile, connection) in
            [("a", Profile::admin("a"), 1), ("u", Profile::user("u"), 2), ("v", Profile::user("v"), 3)]
        {
            world.room.login(id, profile, world.now).unwrap();
            world.connect(id, connection);
        }
        world.room.take_effects();
        world
    }

    pub fn connect(&mut self, id: &str, connection: u64) {
        self.room.connect(id, ConnectionId(connection), false, self.now).unwrap();
    }

    /// Lets time pass, doing what becomes due on the way.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(due) = self.room.poll_timeout().filter(|due| *due <= end) {
            let step = due.saturating_duration_since(self.now.instant);
            self.now = Now { instant: self.now.instant + step, wall: self.now.wall + step };
            self.room.handle_timeout(self.now);
        }
        let step = end - self.now.instant;
        self.now = Now { instant: end, wall: self.now.wall + step };
        self.room.handle_timeout(self.now);
    }

    pub fn settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.room.settings().clone();
        change(&mut settings);
        self.room.update_settings(settings, "a", self.now);
    }

    /// What happened since the last call, one word or JSON text each.
    pub fn log(&mut self) -> Vec<String> {
        self.room.take_effects().iter().filter(|effect| !matches!(effect, Effect::Note(_))).map(line).collect()
    }

    pub fn actor<T>(&mut self, id: &str, call: impl FnOnce(&mut Room, Actor<'_>, Now) -> T) -> T {
        let profile = self.room.profile(id).unwrap().clone();
        call(&mut self.room, Actor { id, profile: &profile }, self.now)
    }
}

fn line(effect: &Effect) -> String {
    let numbers = |to: &[ConnectionId]| to.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",");
    match effect {
        Effect::Send { to, event: Event::SessionState { id, state } } => {
            format!("state[{}] {id} {}", numbers(to), if state.is_connected { "connected" } else { "gone" })
        }
        Effect::Send { to, event: Event::Settings { id, settings } } => {
            format!("settings[{}] {id} locked={}", numbers(to), settings.locked_controls)
        }
        Effect::Send { to, event: Event::ControlHost { id, host } } => {
            format!("host[{}] {id} {}", numbers(to), host.host_id.as_deref().unwrap_or("-"))
        }
        Effect::Send { to, event } => {
            format!("{}[{}] {}", event.name(), numbers(to), serde_json::to_string(event).unwrap())
        }
        Effect::Welcome { to, .. } => format!("init[{}]", to.0),
        Effect::WelcomeAdmin { to } => format!("admin[{}]", to.0),
        Effect::WelcomePlugins { to } => format!("plugins[{}]", to.0),
        Effect::Disconnect { connection, reason } => format!("disconnect[{}] {reason}", connection.0),
        Effect::ReleaseInput => "release".to_owned(),
        Effect::PauseViewer { session, paused } => format!("pause {session} {paused}"),
        Effect::EndViewer { session } => format!("end {session}"),
        Effect::SessionGone { session } => format!("gone {session}"),
        Effect::KeepPicture => "keep".to_owned(),
        Effect::Note(note) => format!("{note:?}"),
    }
}
