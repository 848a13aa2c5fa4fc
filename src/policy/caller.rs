//! Who may call, and in which environment.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Environment;

/// The place of a caller among those of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerId(pub u32);

/// A named holder of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its place.
    pub id: CallerId,
    /// The name of the key in the configuration: for logs, never sent upstream.
    pub name: Arc<str>,
    /// Where this caller's requests go.
    pub environment: Environment,
    /// How much it may ask for; `None`: as much as it likes.
    pub rate_limit: Option<RateLimit>,
}

/// How much a caller may ask for in a minute; at least one of the two is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests, at least 1.
    pub requests_per_minute: Option<u32>,
    /// Tokens of questions and answers together, at least 1.
    pub tokens_per_minute: Option<u32>,
}

/// The SHA-256 of a caller's key. The key itself is never kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest(pub [u8; 32]);

impl Hash for KeyDigest {
    /// By its beginning, which is as good as all of it: nobody can choose what a digest begins with.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyDigest(…)")
    }
}

/// How callers prove who they are.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// By a key whose digest is in the configuration.
    Keys(Callers),
    /// Not at all: everybody calls in one environment.
    None(Caller),
}

/// The callers by the digest of their key.
///
/// The look-up is a hash map's: what its timing could tell is something about the digest of a
/// guess, which the guesser knows, and nothing about the digest of a key, which would have to be
/// inverted to be of use.
#[derive(Clone, Debug, Default)]
pub struct Callers(HashMap<KeyDigest, Caller>);

impl Callers {
    /// The callers of a configuration; later entries of one digest replace earlier ones.
    pub fn new(callers: impl IntoIterator<Item = (KeyDigest, Caller)>) -> Self {
        Self(callers.into_iter().collect())
    }

    /// Whose key has this digest.
    pub fn find(&self, digest: &KeyDigest) -> Option<&Caller> {
        self.0.get(digest)
    }

    /// All callers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Caller> {
        self.0.values()
    }

    /// All of them, in the order of the configuration.
    pub fn in_order(&self) -> Vec<&Caller> {
        let mut callers: Vec<_> = self.iter().collect();
        callers.sort_unstable_by_key(|caller| caller.id);
        callers
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody may call.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_that_begin_alike_are_two() {
        let caller = |id: u32| Caller {
            id: CallerId(id),
            name: "a".into(),
            environment: Environment::Production,
            rate_limit: None,
        };
        let digest = |last: u8| {
            let mut digest = [7; 32];
            digest[31] = last;
            KeyDigest(digest)
        };
        let callers = Callers::new([(digest(0), caller(0)), (digest(1), caller(1))]);
        let found = |last| callers.find(&digest(last)).map(|caller| caller.id);
        assert_eq!(
            [0, 1, 2].map(found),
            [Some(CallerId(0)), Some(CallerId(1)), None]
        );
    }
}
