//! One of an endpoint's keys, told from the others without being kept.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::policy::{Endpoint, KeyDigest, Secret};

/// An endpoint's key. It goes by its digest, so that what is remembered of it goes on through a reload
/// for a key that stays, wherever in the list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    endpoint: Arc<str>,
    digest: KeyDigest,
}

impl EndpointKey {
    /// A key of `endpoint`.
    pub fn new(endpoint: &Endpoint, key: &Secret) -> Self {
        Self {
            endpoint: endpoint.name.clone(),
            digest: KeyDigest(Sha256::digest(key.expose()).into()),
        }
    }
}
