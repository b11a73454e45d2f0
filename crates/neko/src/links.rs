//! One-time tokens and links to log in with; only hashes of them are kept.

use std::time::{Duration, Instant};

use crate::secret::{self, Hash};

/// Links that exist at a time, at most.
const MAX_LINKS: usize = 1000;

#[derive(Debug)]
struct Link {
    hash: Hash,
    admin: bool,
    expires: Instant,
    uses: u32,
}

/// Links that can still be used.
#[derive(Debug, Default)]
pub(crate) struct Links(Vec<Link>);

impl Links {
    /// Makes a link's token; `None` when there are too many already.
    pub(crate) fn create(&mut self, admin: bool, lifetime: Duration, uses: u32, now: Instant) -> Option<String> {
        self.0.retain(|link| link.expires > now);
        if self.0.len() >= MAX_LINKS {
            return None;
        }
        let token = secret::random(43);
        self.0.push(Link { hash: secret::hash(&token), admin, expires: now + lifetime, uses });
        Some(token)
    }

    /// Whether the token is good, and then whether it makes an admin. Does not use it up.
    pub(crate) fn check(&self, token: &str, now: Instant) -> Option<bool> {
        self.0.get(self.find(token, now)?).map(|link| link.admin)
    }

    /// Uses a token once.
    pub(crate) fn consume(&mut self, token: &str, now: Instant) {
        let Some(index) = self.find(token, now) else { return };
        self.0[index].uses -= 1;
        if self.0[index].uses == 0 {
            self.0.swap_remove(index);
        }
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

    #[test]
    fn works_as_often_as_it_may_and_not_longer() {
        let (mut links, now) = (Links::default(), Instant::now());
        let token = links.create(true, Duration::from_secs(60), 2, now).unwrap();
        assert_eq!(links.check("something else", now), None);
        assert_eq!(links.check(&token, now), Some(true));
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
            assert!(links.create(false, Duration::from_secs(60), 1, now).is_some());
        }
        assert!(links.create(false, Duration::from_secs(60), 1, now).is_none());
        assert!(links.create(false, Duration::from_secs(60), 1, now + Duration::from_secs(61)).is_some());
    }
}
