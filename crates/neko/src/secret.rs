//! Random names and secrets, and how they are compared.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// SHA-256 of a secret: what is kept instead of it.
pub(crate) type Hash = [u8; 32];

const LETTERS: &[u8; 64] = b"_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// A random string over neko's 64 letters (6 bits each).
///
/// # Panics
/// The system has no randomness, without which nothing here is safe.
pub(crate) fn random(length: usize) -> String {
    let mut bytes = vec![0u8; length];
    #[allow(clippy::expect_used)] // getrandom(2) does not fail on any Linux that this runs on.
    getrandom::fill(&mut bytes).expect("the system's random generator works");
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 63)])).collect()
}

pub(crate) fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// Compares without telling by its duration where they differ, or how long the right one is.
pub(crate) fn equal(a: &Hash, b: &Hash) -> bool {
    a.ct_eq(b).into()
}
