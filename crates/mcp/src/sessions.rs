//! Whose each MCP session is, and when it was used last.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

#[derive(Debug)]
struct Session {
    /// Hash of the token that began it.
    owner: [u8; 32],
    used: Instant,
    /// Requests that are being answered, streams of events included.
    requests: usize,
}

/// The sessions that are known. A session that is not in here does not exist for anybody.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    known: HashMap<String, Session>,
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// A session was made, and its first request is being answered.
    pub(crate) fn begun(&mut self, id: &str, owner: [u8; 32], now: Instant) {
        self.known.insert(id.to_owned(), Session { owner, used: now, requests: 1 });
    }

    /// A request for a session begins; whether it is this owner's.
    pub(crate) fn entered(&mut self, id: &str, owner: &[u8; 32], now: Instant) -> bool {
        // Ids are of 122 random bits, and what is compared are hashes: time tells nothing.
        let Some(session) = self.known.get_mut(id).filter(|session| session.owner == *owner) else { return false };
        session.used = now;
        session.requests += 1;
        true
    }

    /// A request is answered.
    pub(crate) fn left(&mut self, id: &str, now: Instant) {
        if let Some(session) = self.known.get_mut(id) {
            session.used = now;
            session.requests = session.requests.saturating_sub(1);
        }
    }

    pub(crate) fn ended(&mut self, id: &str) {
        self.known.remove(id);
    }

    /// Forgets and returns the sessions that were not used for so long.
    pub(crate) fn take_expired(&mut self, now: Instant, unused: Duration) -> Vec<String> {
        let is_expired = |session: &Session| session.requests == 0 && now.duration_since(session.used) >= unused;
        let expired = self.known.extract_if(|_, session| is_expired(session));
        expired.map(|(id, _)| id).collect()
    }

    /// Forgets and returns the session that was not used for longest, if one is not in use.
    pub(crate) fn take_unused(&mut self) -> Option<String> {
        let idle = self.known.iter().filter(|(_, session)| session.requests == 0);
        let (id, _) = idle.min_by_key(|(_, session)| session.used)?;
        let id = id.clone();
        self.known.remove(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_its_owners_and_ends_unused() {
        let (mut sessions, start) = (Sessions::default(), Instant::now());
        let (mine, other) = ([1; 32], [2; 32]);
        let later = |seconds| start + Duration::from_secs(seconds);
        sessions.begun("a", mine, start);
        sessions.begun("b", mine, start);
        assert!(!sessions.entered("a", &other, start) && !sessions.entered("c", &mine, start));
        // Both are still being answered.
        assert!(sessions.take_expired(later(100), Duration::from_secs(10)).is_empty());
        assert_eq!(sessions.take_unused(), None);
        sessions.left("a", later(1));
        sessions.left("b", later(2));
        assert!(sessions.entered("a", &mine, later(3)));
        sessions.left("a", later(4));
        assert_eq!(sessions.take_expired(later(12), Duration::from_secs(10)), ["b"]);
        assert!(!sessions.entered("b", &mine, later(12)));
        assert_eq!(sessions.take_unused().as_deref(), Some("a"));
        sessions.left("a", later(20));
        assert_eq!(sessions.len(), 0);
    }
}
