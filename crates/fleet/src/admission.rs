//! Whether one more session may be created: how many run, how fast they come, how much memory is left.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::Error;

/// Tokens whose rate is remembered at most.
const MAX_TOKENS: usize = 10_000;

const MIB: u64 = 1024 * 1024;

/// Limits on creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at a time.
    pub sessions: usize,
    /// Sessions at a time that one token or account has created.
    pub sessions_per_token: usize,
    /// Creations a minute, by everybody.
    pub per_minute: u32,
    /// Creations a minute with one token.
    pub per_minute_and_token: u32,
    /// Memory that a session is taken to need until it shows, in MiB.
    pub session_mib: u64,
    /// Memory that creations leave free, in MiB.
    pub reserve_mib: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 100,
            sessions_per_token: usize::MAX,
            per_minute: 120,
            per_minute_and_token: 60,
            session_mib: 400,
            reserve_mib: 256,
        }
    }
}

/// Lets through a number of creations at once, and as many again within a minute.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_minute: u32, now: Instant) -> Self {
        Self { left: per_minute.into(), at: now }
    }

    fn refill(&mut self, per_minute: u32, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(per_minute) / 60.0;
        (self.left, self.at) = ((self.left + gained).min(per_minute.into()), now);
    }

    /// How long until one more is let through.
    fn wait(&self, per_minute: u32) -> Option<Duration> {
        (self.left < 1.0).then(|| Duration::from_secs_f64((1.0 - self.left) * 60.0 / f64::from(per_minute.max(1))))
    }
}

/// Counts creations.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    all: Bucket,
    tokens: HashMap<String, Bucket>,
}

/// What is there now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    /// Sessions that run.
    pub(crate) running: usize,
    /// Those of them that the same token or account has created.
    pub(crate) own: usize,
    /// Those of them whose memory does not show yet.
    pub(crate) starting: usize,
    /// Bytes of memory, when the machine tells.
    pub(crate) available: Option<u64>,
}

impl Admission {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self { limits, all: Bucket::new(limits.per_minute, now), tokens: HashMap::new() }
    }

    /// Counts one creation with a token, or says why it may not be. A refused one costs nothing.
    pub(crate) fn admit(&mut self, token: &str, now: Now) -> Result<(), Error> {
        let limits = self.limits;
        if now.own >= limits.sessions_per_token {
            return Err(Error::TooMany(now.own));
        }
        if now.running >= limits.sessions {
            return Err(Error::Full(now.running));
        }
        if let Some(available) = now.available {
            let starting = limits.session_mib.saturating_mul(now.starting as u64);
            let available_mib = (available / MIB).saturating_sub(starting);
            let needed_mib = limits.session_mib.saturating_add(limits.reserve_mib);
            if available_mib < needed_mib {
                return Err(Error::NoMemory { available_mib, needed_mib });
            }
        }
        if self.tokens.len() >= MAX_TOKENS {
            self.tokens.retain(|_, bucket| {
                bucket.refill(limits.per_minute_and_token, now.at);
                bucket.left < limits.per_minute_and_token.into()
            });
        }
        self.all.refill(limits.per_minute, now.at);
        let per_token = limits.per_minute_and_token;
        let own = self.tokens.entry(token.to_owned()).or_insert_with(|| Bucket::new(per_token, now.at));
        own.refill(per_token, now.at);
        if let Some(wait) = self.all.wait(limits.per_minute).max(own.wait(per_token)) {
            return Err(Error::TooFast(wait));
        }
        own.left -= 1.0;
        self.all.left -= 1.0;
        Ok(())
    }

    /// How long a token's own rate keeps it back.
    pub(crate) fn own_wait(&mut self, token: &str, now: Instant) -> Option<Duration> {
        let per_token = self.limits.per_minute_and_token;
        let own = self.tokens.get_mut(token)?;
        own.refill(per_token, now);
        own.wait(per_token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        sessions: 10,
        sessions_per_token: 3,
        per_minute: 6,
        per_minute_and_token: 4,
        session_mib: 100,
        reserve_mib: 50,
    };

    fn now(at: Instant) -> Now {
        Now { at, running: 0, own: 0, starting: 0, available: None }
    }

    #[test]
    fn rates_by_token_and_of_all() {
        let start = Instant::now();
        let mut admission = Admission::new(LIMITS, start);
        for _ in 0..4 {
            admission.admit("a", now(start)).unwrap();
        }
        let Err(Error::TooFast(wait)) = admission.admit("a", now(start)) else { panic!("let in") };
        assert_eq!(wait.as_secs_f64().round(), 15.0);
        assert_eq!(admission.own_wait("a", start), Some(wait));
        assert_eq!(admission.own_wait("b", start), None);
        admission.admit("b", now(start)).unwrap();
        admission.admit("b", now(start)).unwrap();
        let Err(Error::TooFast(wait)) = admission.admit("b", now(start)) else { panic!("let in") };
        assert_eq!(wait.as_secs_f64().round(), 10.0);
        admission.admit("b", now(start + Duration::from_secs(11))).unwrap();
        for _ in 0..4 {
            admission.admit("a", now(start + Duration::from_secs(120))).unwrap();
        }
        assert!(admission.admit("a", now(start + Duration::from_secs(120))).is_err());
    }

    #[test]
    fn numbers_and_memory() {
        let start = Instant::now();
        let mut admission = Admission::new(LIMITS, start);
        assert!(matches!(admission.admit("a", Now { own: 3, ..now(start) }), Err(Error::TooMany(3))));
        assert!(matches!(admission.admit("a", Now { running: 10, ..now(start) }), Err(Error::Full(10))));
        let tight = Now { available: Some(149 * MIB), ..now(start) };
        assert!(matches!(admission.admit("a", tight), Err(Error::NoMemory { available_mib: 149, needed_mib: 150 })));
        admission.admit("a", Now { available: Some(150 * MIB), ..now(start) }).unwrap();
        let starting = Now { available: Some(249 * MIB), starting: 1, ..now(start) };
        assert!(matches!(admission.admit("a", starting), Err(Error::NoMemory { available_mib: 149, .. })));
    }
}
