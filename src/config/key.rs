//! Keys and tokens: made here, and known to the configuration by their SHA-256 alone.

use std::fmt::Write as _;

use rustls::crypto::{GetRandomFailed, ring};
use sha2::{Digest as _, Sha256};

/// A key that nobody can guess: 256 random bits.
///
/// # Errors
/// The system gives no random numbers.
pub fn new_key() -> Result<String, GetRandomFailed> {
    let mut random = [0; 32];
    ring::default_provider().secure_random.fill(&mut random)?;
    Ok(format!("sk-standin-{}", hex(&random)))
}

/// The SHA-256 of a key, as the configuration has it.
pub fn digest(key: &str) -> String {
    hex(&Sha256::digest(key))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
