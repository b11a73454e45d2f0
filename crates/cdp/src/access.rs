//! Who may come in: tokens, each with its policy and its end.

use std::{collections::HashMap, sync::Arc, time::Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::Policy;

/// Most tokens at a time.
const MAX_TOKENS: usize = 1_000;

/// What a token gives.
#[derive(Debug)]
pub struct Grant {
    /// What it may do.
    pub policy: Arc<Policy>,
    /// Public name of its token, which tells nothing about it; empty if it has none.
    pub id: String,
    /// Until when; its connections are closed then.
    pub expires: Option<Instant>,
    revoked: watch::Sender<bool>,
}

impl Grant {
    /// A grant of this policy.
    #[must_use]
    pub fn new(policy: Policy, expires: Option<Instant>) -> Self {
        Self { policy: Arc::new(policy), id: String::new(), expires, revoked: watch::Sender::new(false) }
    }

    /// The same, with the public name of a token.
    fn of(self, hash: &[u8; 32]) -> Self {
        let id = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { id, ..self }
    }

    /// Takes it back: its connections are closed.
    pub fn revoke(&self) {
        self.revoked.send_replace(true);
    }

    /// Waits until it is no longer good; why.
    pub(crate) async fn ended(&self) -> &'static str {
        let mut revoked = self.revoked.subscribe();
        let expiry = async {
            match self.expires {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = expiry => "the token expired: ask for a new one",
            _ = revoked.wait_for(|is_revoked| *is_revoked) => "the token was revoked: ask for a new one",
        }
    }
}

/// Why a token is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody made it, or it was revoked.
    Unknown,
    /// Its time is over.
    Expired,
}

/// Judges tokens.
pub trait Access: Send + Sync + 'static {
    /// What a token gives.
    ///
    /// # Errors
    ///
    /// When it gives nothing.
    fn judge(&self, token: &str) -> Result<Arc<Grant>, Refusal>;

    /// Makes a token; `None` when there are too many.
    fn issue(&self, policy: Policy, expires: Option<Instant>) -> Option<String>;

    /// Takes a token back; whether there was one.
    fn revoke(&self, token: &str) -> bool;
}

/// Tokens in memory, as hashes only.
#[derive(Debug, Default)]
pub struct Tokens {
    grants: Mutex<HashMap<[u8; 32], Arc<Grant>>>,
}

impl Tokens {
    /// Adds a token that was made elsewhere.
    pub fn add(&self, token: &str, grant: Grant) {
        let hash = hash(token);
        if let Some(before) = self.grants.lock().insert(hash, Arc::new(grant.of(&hash))) {
            before.revoke();
        }
    }
}

impl Access for Tokens {
    fn judge(&self, token: &str) -> Result<Arc<Grant>, Refusal> {
        // Looking up a hash tells nothing about the token by the time it takes.
        let grant = self.grants.lock().get(&hash(token)).cloned().ok_or(Refusal::Unknown)?;
        match grant.expires {
            Some(at) if at <= Instant::now() => Err(Refusal::Expired),
            _ => Ok(grant),
        }
    }

    fn issue(&self, policy: Policy, expires: Option<Instant>) -> Option<String> {
        let token = random_token().ok()?;
        let mut grants = self.grants.lock();
        if grants.len() >= MAX_TOKENS {
            let now = Instant::now();
            grants.retain(|_, grant| grant.expires.is_none_or(|at| at > now));
        }
        if grants.len() >= MAX_TOKENS {
            return None;
        }
        let hash = hash(&token);
        grants.insert(hash, Arc::new(Grant::new(policy, expires).of(&hash)));
        Some(token)
    }

    fn revoke(&self, token: &str) -> bool {
        self.grants.lock().remove(&hash(token)).inspect(|grant| grant.revoke()).is_some()
    }
}

/// Makes a token of 43 letters that need no escape in an address (256 bits).
///
/// # Errors
///
/// The system has no randomness.
pub fn random_token() -> std::io::Result<String> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; 43];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 63)])).collect())
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_end() {
        let tokens = Tokens::default();
        tokens.add("given", Grant::new(Policy::full(), None));
        assert!(tokens.judge("given").is_ok());
        assert_eq!(tokens.judge("other").err(), Some(Refusal::Unknown));
        assert_eq!(tokens.judge("").err(), Some(Refusal::Unknown));

        let grant = tokens.judge("given").unwrap();
        assert!(tokens.revoke("given"));
        assert!(!tokens.revoke("given"));
        assert!(grant.ended().await.contains("revoked"));
        assert_eq!(tokens.judge("given").err(), Some(Refusal::Unknown));

        let old = tokens.issue(Policy::full(), Some(Instant::now())).unwrap();
        assert_eq!(tokens.judge(&old).err(), Some(Refusal::Expired));
        let soon = Grant::new(Policy::full(), Some(Instant::now() + std::time::Duration::from_secs(60)));
        assert!(soon.ended().await.contains("expired"));
    }

    #[test]
    fn their_number_is_bounded_and_expired_ones_make_room() {
        let tokens = Tokens::default();
        let old = Some(Instant::now());
        for _ in 0..MAX_TOKENS {
            assert!(tokens.issue(Policy::full(), old).is_some());
        }
        for _ in 0..MAX_TOKENS {
            assert!(tokens.issue(Policy::full(), None).is_some());
        }
        assert!(tokens.issue(Policy::full(), None).is_none());
    }
}
