//! Who is left out until when: a model-endpoint pair that failed, so that requests pass it by.
//!
//! A suspension is about a [`Pair`] (environment, endpoint, model): all policies of an environment
//! share it, the other environment never sees it. The table outlives every snapshot, so a reload
//! forgets nothing. It is locked when a snapshot is installed and by the admin side; a request
//! touches only the [`PairState`] handles that its snapshot already holds.
//!
//! ```text
//!                    fail, suspend
//!  ┌─────────┐ ─────────────────────────► ┌───────────┐ ◄─┐ fail, suspend:
//!  │ Healthy │ ◄───────────────────────── │ Suspended │ ──┘ the later end stays
//!  └─────────┘   forced success, resume   └───────────┘ ◄────────────┐
//!    ▲     ▲                                    │ its end comes      │
//!    │     │                                    ▼                    │
//!    │     │     forced success, resume     ┌───────┐  fail, suspend │
//!    │     └─────────────────────────────── │ Ended │ ───────────────┤
//!    │                                      └───────┘                │
//!    │                       one claims it: │       ▲ probe dropped  │
//!    │                            the probe ▼       │ undecided      │
//!    │    success of the probe, or      ┌─────────────┐              │
//!    └───────────────────────────────── │   Probing   │ ─────────────┘
//!         forced success, resume        └─────────────┘  fail, suspend
//! ```
//!
//! **What trips it.** Every failure that is the target's fault, whoever sees it, a single one; and
//! [`PairState::suspend`] for a quota that a success used up or an operator.
//! An end that is not after `now` (a `suspend_duration` of zero) remembers nothing.
//!
//! **How it recovers.** Nothing happens when the end comes; no timer runs. The first request that
//! asks claims the probe, and until its verdict the others pass the pair by. A probe whose
//! [`Permit`] is dropped undecided (the client left, the request did not fit, a panic) hands the
//! claim back, so the next request probes: a claim can't be lost.
//!
//! **What a success may end.** Suspensions are numbered: every failure starts a new one, also where
//! it only confirms the end that stands. A permit remembers the number it was given under, and its
//! success ends that one or none. So a success that began before a later failure never clears it,
//! and a success of an attempt that was healthy when it began has nothing to end and writes nothing.
//!
//! **Keys.** Those of an endpoint with several are set aside in the same way, each with a [`PairState`]
//! of its own ([`Suspensions::resolve_key`]), of which other instances are not told.
//!
//! **Other instances.** What changes here is noted ([`Suspensions::changes`]) for whoever shares it,
//! and what they know comes back by [`PairState::adopt`]; both stay away from requests that go well.
//!
//! # Races, and why they do no harm
//!
//! - *Suspended just after being admitted.* The attempt goes on. Its success ends nothing, its
//!   failure can only move the end further away.
//! - *An older attempt fails while a probe is under way.* That suspends the pair and takes the claim
//!   from the probe, whose success then comes too late. A pair that is well again waits once more.
//! - *A forced success while a probe is under way.* It ends the suspension. The probe's own
//!   success then finds nothing to do; its failure suspends, as any failure of a healthy pair does.
//! - *A failure beside `resume`.* The one that comes last stays, as it would without a race.
//! - *A success that used up its quota* is two steps, `success` and `suspend`. Requests admitted
//!   between them meet the empty quota, and their failure suspends.
//! - *`now` differs from thread to thread.* Around the end one may still see `Suspended` where
//!   another has claimed the probe. Ends are kept in milliseconds, rounded up: a pair comes back up
//!   to one millisecond late and never early.
//! - *The number wraps* after 8,388,608 failures of one pair. A success would have to be under way
//!   over exactly that many, to the same millisecond as end, to be taken for a newer one.
//! - *A failure of a pair that no snapshot names any more.* Requests that still hold the old
//!   snapshot hold the pair too, so [`Suspensions::sweep`] leaves it.

mod cell;
mod endpoint_key;
mod epoch;
mod outbox;
mod pair;

/// What `cell` is built on. `tests/loom_suspension.rs` puts loom's types in this place.
mod sync {
    pub use std::sync::atomic::{AtomicU64, Ordering};
}

pub use cell::{Millis, Standing};
pub use endpoint_key::EndpointKey;
pub use epoch::Epoch;
pub use pair::{PairState, Permit, Suspension};

use self::outbox::Outbox;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::policy::Pair;

type States<K> = HashMap<K, Arc<PairState>>;

/// All pairs that a snapshot names or that are still suspended, and the keys of endpoints with several.
#[derive(Debug)]
pub struct Suspensions {
    epoch: Epoch,
    pairs: Mutex<States<Pair>>,
    keys: Mutex<States<EndpointKey>>,
    outbox: Arc<Outbox>,
}

impl Suspensions {
    /// An empty table. `epoch` is any instant at or before the first `now` that it will be given:
    /// the start of the process.
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch: Epoch(epoch),
            pairs: Mutex::default(),
            keys: Mutex::default(),
            outbox: Arc::default(),
        }
    }

    /// What the time of all pairs is measured from.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The state of `pair`, the same for all who ask; healthy where it is new. For the
    /// installation of a snapshot and the admin side, not for the request path: it locks.
    pub fn resolve(&self, pair: &Pair) -> Arc<PairState> {
        let new = || PairState::new(self.epoch, pair.clone(), Arc::clone(&self.outbox));
        resolve(&mut self.lock(), pair, new)
    }

    /// The state of a key, as [`resolve`](Self::resolve).
    pub fn resolve_key(&self, key: &EndpointKey) -> Arc<PairState> {
        resolve(&mut lock(&self.keys), key, || PairState::alone(self.epoch))
    }

    /// The state of `pair` where it is known.
    pub fn get(&self, pair: &Pair) -> Option<Arc<PairState>> {
        self.lock().get(pair).cloned()
    }

    /// The state of a key where it is known.
    pub fn get_key(&self, key: &EndpointKey) -> Option<Arc<PairState>> {
        lock(&self.keys).get(key).cloned()
    }

    /// Forgets the pairs that nobody holds and that are not suspended at `now`. Called after a
    /// snapshot was replaced, so that reloads don't pile up the pairs of past configurations. One
    /// that is suspended stays, and a configuration that brings it back finds it so.
    pub fn sweep(&self, now: Instant) {
        let is_needed = |state: &Arc<PairState>| {
            Arc::strong_count(state) > 1 || state.standing(now).is_suspended()
        };
        self.lock().retain(|_, state| is_needed(state));
        lock(&self.keys).retain(|_, state| is_needed(state));
    }

    /// Every pair that is not healthy, by environment, endpoint and model.
    pub fn list(&self, now: Instant) -> Vec<(Pair, Suspension)> {
        let mut list: Vec<_> = self
            .lock()
            .iter()
            .filter_map(|(pair, state)| Some((pair.clone(), state.suspension(now)?)))
            .collect();
        list.sort_unstable_by(|(a, _), (b, _)| {
            (a.environment, &a.endpoint, &a.model).cmp(&(b.environment, &b.endpoint, &b.model))
        });
        list
    }

    /// From now on changes are noted, for [`changes`](Self::changes).
    pub fn note_changes(&self) {
        self.outbox.open();
    }

    /// Waits until pairs have changed here, and gives them with when they last did. What was
    /// [adopted](PairState::adopt) is no change.
    pub async fn changes(&self) -> HashMap<Pair, Instant> {
        self.outbox.take().await
    }

    fn lock(&self) -> MutexGuard<'_, States<Pair>> {
        lock(&self.pairs)
    }
}

fn resolve<K: Clone + Eq + Hash>(
    states: &mut States<K>,
    key: &K,
    new: impl FnOnce() -> PairState,
) -> Arc<PairState> {
    let entry = states.entry(key.clone());
    Arc::clone(entry.or_insert_with(|| Arc::new(new())))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::Environment::{self, Production, Sandbox};

    const MINUTE: Duration = Duration::from_secs(60);

    fn pair(environment: Environment, endpoint: &str, model: &str) -> Pair {
        Pair {
            environment,
            endpoint: endpoint.into(),
            model: model.into(),
        }
    }

    #[test]
    fn a_pair_is_shared_within_its_environment_and_unseen_in_the_other() {
        let now = Instant::now();
        let table = Suspensions::new(now);
        let one = table.resolve(&pair(Production, "openai", "gpt-4o"));
        let same = table.resolve(&pair(Production, "openai", "gpt-4o"));
        one.suspend(now, now + MINUTE, "429");

        assert!(same.standing(now).is_suspended());
        for other in [
            pair(Sandbox, "openai", "gpt-4o"),
            pair(Production, "azure", "gpt-4o"),
            pair(Production, "openai", "gpt-4o-mini"),
        ] {
            assert_eq!(table.resolve(&other).standing(now), Standing::Healthy);
        }
    }

    #[test]
    fn sweep_keeps_what_is_held_or_suspended() {
        let now = Instant::now();
        let table = Suspensions::new(now);
        let (held, left, suspended) = (
            pair(Production, "held", "m"),
            pair(Production, "left", "m"),
            pair(Production, "suspended", "m"),
        );
        let handle = table.resolve(&held);
        table.resolve(&left);
        table.resolve(&suspended).suspend(now, now + MINUTE, "500");

        table.sweep(now);
        assert!(table.get(&held).is_some());
        assert!(table.get(&left).is_none());
        let back = table.resolve(&suspended);
        assert!(back.standing(now).is_suspended(), "a reload forgets it");

        drop((handle, back));
        table.sweep(now + MINUTE);
        assert!(table.get(&held).is_none());
        assert!(table.get(&suspended).is_none());
    }

    #[test]
    fn the_list_is_of_the_unhealthy_in_order() {
        let now = Instant::now();
        let table = Suspensions::new(now);
        table.resolve(&pair(Production, "openai", "gpt-4o"));
        for (environment, endpoint, reason) in [
            (Sandbox, "azure", "timeout"),
            (Production, "openai", "429"),
            (Production, "mistral", "refused"),
        ] {
            table
                .resolve(&pair(environment, endpoint, "m"))
                .suspend(now, now + MINUTE, reason);
        }

        let seen: Vec<_> = table
            .list(now + MINUTE / 2)
            .into_iter()
            .map(|(pair, suspension)| {
                assert_eq!(suspension.until, now + MINUTE);
                assert!(suspension.standing.is_suspended());
                (pair.environment, pair.endpoint, suspension.reason)
            })
            .collect();
        let expected = [
            (Production, "mistral".into(), "refused".into()),
            (Production, "openai".into(), "429".into()),
            (Sandbox, "azure".into(), "timeout".into()),
        ];
        assert_eq!(seen, expected);

        let ended = table.list(now + MINUTE);
        assert_eq!(ended.len(), 3, "still to be probed");
        assert!(ended.iter().all(|(_, s)| s.standing == Standing::Ended));
    }
}
