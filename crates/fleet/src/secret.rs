//! Names that cannot be guessed, secrets, and their hashes.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 of a secret: what is kept instead of it.
pub(crate) type Hash = [u8; 32];

/// Lower-case base32 (RFC 4648), which is good in paths, host names and file names.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Characters of a session's id: 130 bits.
const ID_LENGTH: usize = 26;

/// Characters of what tells a session's packets: 80 bits.
const TAG_LENGTH: usize = 16;

/// Characters of a secret: 260 bits.
const SECRET_LENGTH: usize = 52;

/// Name of a session, which nobody can guess: 26 characters of `a-z2-7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SessionId(String);

impl SessionId {
    pub(crate) fn random() -> Self {
        Self(random(ID_LENGTH))
    }

    /// Reads an id; `None` when it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == ID_LENGTH && text.bytes().all(|byte| LETTERS.contains(&byte));
        fits.then(|| Self(text.to_owned()))
    }

    /// What the packets of its viewers begin with, so that whoever reads the port of all sessions knows whose they are: 16
    /// characters of `a-z2-7`. Viewers see it, and it does not tell the id.
    pub fn media_tag(&self) -> String {
        let digest = Sha256::digest(format!("glasshouse media {}", self.0));
        digest.iter().take(TAG_LENGTH).map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SessionId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "not the id of a session".to_owned())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A random string of `a-z2-7`, 5 bits each.
///
/// # Panics
/// The system has no randomness, without which nothing here is safe.
pub(crate) fn random(length: usize) -> String {
    let mut bytes = vec![0u8; length];
    #[allow(clippy::expect_used)] // getrandom(2) does not fail on any Linux that this runs on.
    getrandom::fill(&mut bytes).expect("the system's random generator works");
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 31)])).collect()
}

/// A secret that cannot be guessed.
pub(crate) fn secret() -> String {
    random(SECRET_LENGTH)
}

pub(crate) fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let id = SessionId::random();
        assert_eq!(SessionId::parse(id.as_str()), Some(id.clone()));
        assert_ne!(id, SessionId::random());
        let read = SessionId::parse(id.as_str()).map(|same| same.media_tag());
        assert_eq!((id.media_tag().len(), read), (TAG_LENGTH, Some(id.media_tag())));
        assert!(!id.as_str().contains(&id.media_tag()[..6]));
        for wrong in
            ["", "..", "abc", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxy/", "abcdefghijklmnopqrstuvwxyzz"]
        {
            assert_eq!(SessionId::parse(wrong), None, "{wrong}");
        }
    }
}
