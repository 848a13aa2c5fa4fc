//! Which pairs have changed here, for whoever tells others of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::policy::Pair;

/// The pairs that have changed and when they last did, each once: it holds no more than there are
/// pairs, whether or not somebody takes them out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Set once somebody wants to know; until then nothing is kept.
    wanted: AtomicBool,
    changed: Mutex<HashMap<Pair, Instant>>,
    news: Notify,
}

impl Outbox {
    /// From now on somebody wants to know.
    pub(super) fn open(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// `pair` has changed. Whoever calls holds the pair's lock.
    pub(super) fn note(&self, pair: &Pair) {
        if self.wanted.load(Ordering::Relaxed) {
            self.lock().insert(pair.clone(), Instant::now());
            self.news.notify_one();
        }
    }

    /// Whether `pair` has changed and nobody knows.
    pub(super) fn holds(&self, pair: &Pair) -> bool {
        self.lock().contains_key(pair)
    }

    /// Waits until something has changed, and takes it out.
    pub(super) async fn take(&self) -> HashMap<Pair, Instant> {
        loop {
            let news = self.news.notified();
            let changed = std::mem::take(&mut *self.lock());
            if !changed.is_empty() {
                return changed;
            }
            news.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Pair, Instant>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
