//! One-time tokens and links to log in with; only hashes of them are kept.

use std::time::{Duration, Instant};

use glasshouse_room::Profile;

use crate::secret::{self, Hash};

/// Links that exist at a time, at most.
const MAX_LINKS: usize = 1000;

/// What one may do who logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Admin,
    Member,
    /// Never in control.
    Watcher,
}

impl Role {
    pub(crate) fn profile(self, name: String) -> Profile {
        match self {
            Self::Admin => Profile::admin(name),
            Self::Member => Profile::user(name),
            Self::Watcher => Profile::watcher(name),
        }
    }
}

/// What a link is to be.
#[derive(Debug, Clone)]
pub(crate) struct NewLink {
    pub(crate) role: Role,
    pub(crate) lifetime: Duration,
    pub(crate) uses: u32,
    /// By which it, and whoever came by it, can be removed.
    pub(crate) label: Option<String>,
}

#[derive(Debug)]
struct Link {
    hash: Hash,
    role: Role,
    expires: Instant,
    uses: u32,
    label: Option<String>,
}

/// Links that can still be used.
#[derive(Debug, Default)]
pub(crate) struct Links(Vec<Link>);

impl Links {
    /// Makes a link's token; `None` when there are too many already.
    pub(crate) fn create(&mut self, new: NewLink, now: Instant) -> Option<String> {
        self.0.retain(|link| link.expires > now);
        if self.0.len() >= MAX_LINKS {
            return None;
        }
        let token = secret::random(43);
        let NewLink { role, lifetime, uses, label } = new;
        self.0.push(Link { hash: secret::hash(&token), role, expires: now + lifetime, uses, label });
        Some(token)
    }

    /// Whether the token is good, and then whom it makes. Does not use it up.
    pub(crate) fn check(&self, token: &str, now: Instant) -> Option<Role> {
        self.0.get(self.find(token, now)?).map(|link| link.role)
    }

    /// Uses a token once; tells its label.
    pub(crate) fn consume(&mut self, token: &str, now: Instant) -> Option<String> {
        let index = self.find(token, now)?;
        let label = self.0[index].label.clone();
        self.0[index].uses -= 1;
        if self.0[index].uses == 0 {
            self.0.swap_remove(index);
        }
        label
    }

    /// Removes all links with a label.
    pub(crate) fn remove(&mut self, label: &str) {
        self.0.retain(|link| link.label.as_deref() != Some(label));
    }

    fn find(&self, token: &str, now: Instant) -> Option<usize> {
        let hash = secret::hash(token);
        let mut found = None;
        for (index, link) in self.0.iter().enumerate() {
            if secret::equal(&link.hash, &hash) && link.expires > now && link.uses > 0 {
                found = Some(index);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(role: Role, uses: u32, label: Option<&str>) -> NewLink {
        NewLink { role, lifetime: Duration::from_secs(60), uses, label: label.map(str::to_owned) }
    }

    #[test]
    fn works_as_often_as_it_may_and_not_longer() {
        let (mut links, now) = (Links::default(), Instant::now());
        let token = links.create(new(Role::Admin, 2, None), now).unwrap();
        assert_eq!(links.check("something else", now), None);
        assert_eq!(links.check(&token, now), Some(Role::Admin));
        assert_eq!(links.check(&token, now + Duration::from_secs(60)), None);
        links.consume(&token, now);
        links.consume(&token, now);
        assert_eq!(links.check(&token, now), None);
        assert!(!format!("{links:?}").contains(&token));
    }

    #[test]
    fn there_is_a_limit_and_expired_ones_make_room() {
        let (mut links, now) = (Links::default(), Instant::now());
        for _ in 0..MAX_LINKS {
            assert!(links.create(new(Role::Member, 1, None), now).is_some());
        }
        assert!(links.create(new(Role::Member, 1, None), now).is_none());
        assert!(links.create(new(Role::Member, 1, None), now + Duration::from_secs(61)).is_some());
    }

    #[test]
    fn removed_by_label() {
        let (mut links, now) = (Links::default(), Instant::now());
        let [one, other] = ["a", "b"].map(|label| links.create(new(Role::Watcher, 2, Some(label)), now).unwrap());
        assert_eq!(links.consume(&one, now).as_deref(), Some("a"));
        links.remove("a");
        assert_eq!(links.check(&one, now), None);
        assert_eq!(links.check(&other, now), Some(Role::Watcher));
    }
}
