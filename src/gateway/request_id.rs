//! Names for requests: unique, and nothing can be read from them.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives out request ids: 32 hexadecimal digits.
pub(super) struct RequestIds {
    process: RandomState,
    count: AtomicU64,
}

impl RequestIds {
    /// Ids that no other process gives out, but for an unlikely chance.
    pub(super) fn new() -> Self {
        Self {
            process: RandomState::new(),
            count: AtomicU64::new(0),
        }
    }

    /// The next one: two keyed hashes of a count.
    pub(super) fn next(&self) -> Box<str> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let high = self.process.hash_one(count);
        let low = self.process.hash_one(!count);
        let number = u128::from(high) << 64 | u128::from(low);
        let digit = |place: usize| DIGITS[(number >> (4 * (31 - place))) as usize & 0xf];
        let text: [u8; 32] = std::array::from_fn(digit);
        // Digits are text.
        std::str::from_utf8(&text).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_have_a_length() {
        let ids = RequestIds::new();
        let some: std::collections::HashSet<_> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(some.len(), 1000);
        assert!(some.iter().all(|id| id.len() == 32));
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        assert!(some.iter().all(|id| id.bytes().all(digit)));
    }
}
