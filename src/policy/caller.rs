//! Who may call, and in which environment.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::Environment;

/// A named holder of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of the key in the configuration: for logs, never sent upstream.
    pub name: Arc<str>,
    /// Where this caller's requests go.
    pub environment: Environment,
}

/// The SHA-256 of a caller's key. The key itself is never kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest(pub [u8; 32]);

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

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody may call.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
