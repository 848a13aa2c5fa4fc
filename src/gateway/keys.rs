//! The keys of an endpoint: which one an attempt sends, and what a refusal of it means.
//!
//! ```text
//! turns ──> a key that is not set aside ──> exchange ──┬─ an answer, or a failure that is not about the key
//!               ▲                                      └─ the key is refused, or has no more to give
//!               └──────────── another is left ────────────┴──> set aside
//! ```
//!
//! - A key is refused by 401, 402, 403 and 429, unless a code in the answer says that it is about
//!   something else, and by a code about the account or its rate
//!   ([`TargetFault::about_key`](super::judge::TargetFault)).
//! - It is set aside for the policy's `suspend_duration` or for what the answer asks for, whichever is
//!   longer and as a pair would be; where neither says, for [`ASIDE`]. So it is remembered also
//!   where pairs are not: another key costs nothing. It comes back by a probe, as a pair does.
//! - Keys are set aside for the endpoint, whoever asks: it is the account behind the key that has no
//!   more to give. That excludes nobody. While all are set aside, the one that is back soonest is sent
//!   all the same, and its success brings it back: so a model whose rate limit is reached never takes
//!   another one away.
//! - What leaves requests out is the pair: it has failed when a key was refused and no other is left, and is
//!   suspended then until the first of them is back.
//! - Each key that was sent is an attempt of its own: in `x-standin-attempts`, in the failover header
//!   and in the log, where `key` says which one it was.
//!
//! An endpoint with one key has none of this: its refusal is the target's failure.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pingora_http::ResponseHeader;

use super::attempt::QUOTA_USED_UP;
use super::balance::Turns;
use super::claim::{claim, open};
use super::judge::{Outcome, Verdict, judge_answer};
use super::places::Places;
use super::suspension::{EndpointKey, PairState, Permit, Standing, Suspensions};
use crate::policy::{Credential, Endpoint, FailoverOn, FailoverPolicy, WhenAllSuspended};
use crate::provider::{ShownKey, UnsendableKey};

/// How long a key is set aside where neither the answer nor the policy says: over most rate
/// limits' window.
pub(super) const ASIDE: Duration = Duration::from_secs(60);

/// The longest that an answer can set a key aside where no policy caps it.
const LONGEST: Duration = Duration::from_secs(600);

/// The keys of an endpoint as requests show them.
pub(super) struct Keys {
    /// One for each key; where there is none, one that shows nothing.
    shown: Box<[ShownKey]>,
    several: Option<Several>,
}

struct Several {
    turns: Turns,
    states: Box<[Arc<PairState>]>,
}

impl Keys {
    /// Of an endpoint.
    ///
    /// # Errors
    /// Where a key can't be sent.
    pub(super) fn new(endpoint: &Endpoint, set_aside: &Suspensions) -> Result<Self, UnsendableKey> {
        let Credential::Keys { keys, place } = &endpoint.credential else {
            return Ok(Self {
                shown: Box::new([ShownKey::default()]),
                several: None,
            });
        };
        let shown = keys.iter().map(|key| ShownKey::new(key, place));
        let states = || {
            let ids = keys.iter().map(|key| EndpointKey::new(endpoint, key));
            ids.map(|id| set_aside.resolve_key(&id)).collect()
        };
        Ok(Self {
            shown: shown.collect::<Result<_, _>>()?,
            several: (keys.len() > 1).then(|| Several {
                turns: Turns::new(&vec![1; keys.len()]),
                states: states(),
            }),
        })
    }

    /// Whether each of several is set aside; nothing of an only one.
    pub(super) fn states(&self) -> &[Arc<PairState>] {
        self.several.as_ref().map_or(&[], |several| &several.states)
    }

    /// A key as requests show it.
    pub(super) fn shown(&self, key: usize) -> &ShownKey {
        &self.shown[key]
    }

    /// Which of several it is, for the log; none of an only one.
    pub(super) fn name(&self, key: usize) -> Option<usize> {
        self.several.as_ref().map(|_| key)
    }

    /// What an answer means for a key that was sent without a [`KeyRing`], and without a policy.
    pub(super) fn settle(&self, key: usize, verdict: &Verdict, now: Instant) {
        let Some(state) = self.states().get(key) else {
            return;
        };
        match &verdict.outcome {
            Outcome::TargetFault(fault) if fault.about_key => {
                let until = now + aside_for(None, fault.wish);
                state.suspend(now, until, verdict.reason.to_string());
            }
            _ => {
                if let Some(permit) = state.try_admit(now) {
                    permit.success();
                }
            }
        }
    }

    /// When the first of several is back where all are set aside.
    pub(super) fn first_back(&self, now: Instant) -> Option<Instant> {
        let mut first = None;
        for state in self.states() {
            let Standing::Suspended { until } = state.standing(now) else {
                return None;
            };
            first = Some(first.map_or(until, |first: Instant| first.min(until)));
        }
        first
    }
}

/// Whether an answer without a policy is about its key.
pub(super) fn judge_key(head: &ResponseHeader) -> Verdict {
    judge_answer(
        &FailoverOn::default(),
        head.status,
        &head.headers,
        None,
        SystemTime::now,
    )
}

/// For how long a key is set aside; `wish` is what the answer asks for.
pub(super) fn aside_for(policy: Option<&FailoverPolicy>, wish: Option<Duration>) -> Duration {
    let (least, most) = policy.map_or((Duration::ZERO, LONGEST), |policy| {
        (policy.suspend_duration, policy.max_suspend_duration)
    });
    let wish = wish.map(|wish| wish.min(most));
    match least.is_zero() {
        true => wish.unwrap_or(ASIDE),
        false => least.max(wish.unwrap_or_default()),
    }
}

/// The keys that one attempt has sent, the last of them being the current one.
pub(super) struct KeyRing<'a> {
    keys: &'a Keys,
    current: usize,
    permit: Option<Permit<'a>>,
    tried: Places,
}

impl<'a> KeyRing<'a> {
    /// With the key whose turn it is. `now` is asked for only where there are several.
    pub(super) fn new(keys: &'a Keys, now: impl FnOnce() -> Instant) -> Self {
        let mut ring = Self {
            keys,
            current: 0,
            permit: None,
            tried: Places::default(),
        };
        if let Some(several) = &keys.several {
            ring.advance(several, now());
        }
        ring
    }

    /// The place of the key that is sent.
    pub(super) const fn current(&self) -> usize {
        self.current
    }

    /// The key that is sent.
    pub(super) fn shown(&self) -> &'a ShownKey {
        self.keys.shown(self.current)
    }

    /// Which of several it is, for the log.
    pub(super) fn name(&self) -> Option<usize> {
        self.keys.name(self.current)
    }

    /// The endpoint has taken the key.
    pub(super) fn accept(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.success();
        }
    }

    /// Sets the current key aside where that is what the verdict is about. True: another one is left,
    /// and is the current one now.
    pub(super) fn refuse(
        &mut self,
        verdict: &Verdict,
        policy: Option<&FailoverPolicy>,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        let Outcome::TargetFault(fault) = &verdict.outcome else {
            return false;
        };
        let (Some(several), true) = (&self.keys.several, fault.about_key) else {
            return false;
        };
        let now = now();
        if let Some(permit) = self.permit.take() {
            let until = now + aside_for(policy, fault.wish);
            permit.fail(now, until, verdict.reason.to_string());
        }
        self.advance(several, now)
    }

    /// Sets the current key aside though it was taken: it has no more to give until `reset`.
    pub(super) fn use_up(&self, reset: Option<Duration>, policy: &FailoverPolicy, now: Instant) {
        if let Some(state) = self.keys.states().get(self.current) {
            let until = now + aside_for(Some(policy), reset);
            state.suspend(now, until, QUOTA_USED_UP);
        }
    }

    fn advance(&mut self, several: &'a Several, now: Instant) -> bool {
        let states = &several.states;
        let state = |index: usize| &*states[index];
        let standing = |index: usize| states[index].standing(now);
        let first = |tried: &Places| {
            let open = open(states.len(), standing, tried);
            several.turns.next(&open).unwrap_or(0)
        };
        let when = WhenAllSuspended::TrySoonest;
        let claimed = claim(
            states.len(),
            state,
            standing,
            first,
            &mut self.tried,
            when,
            now,
        );
        let Ok((index, permit)) = claimed else {
            return false;
        };
        self.current = index;
        self.permit = Some(permit);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::judge::{Reason, TargetFault};
    use crate::policy::{Environment, Pair};

    fn keys(now: Instant) -> Keys {
        let states = Suspensions::new(now);
        let state = |model: &str| {
            states.resolve(&Pair {
                environment: Environment::Production,
                endpoint: "many".into(),
                model: model.into(),
            })
        };
        Keys {
            shown: Box::new([ShownKey::default(), ShownKey::default()]),
            several: Some(Several {
                turns: Turns::new(&[1, 1]),
                states: Box::new([state("a"), state("b")]),
            }),
        }
    }

    fn refused(wish: Option<Duration>) -> Verdict {
        Verdict {
            outcome: Outcome::TargetFault(TargetFault {
                wish,
                about_key: true,
                ..TargetFault::default()
            }),
            reason: Reason::Status(http::StatusCode::TOO_MANY_REQUESTS),
            message: None,
        }
    }

    #[test]
    fn a_key_comes_back_by_one_request_that_tries_it() {
        let start = Instant::now();
        let keys = keys(start);
        let first = |now| KeyRing::new(&keys, || now);
        let second = Duration::from_secs(1);
        let mut ring = first(start);
        assert_eq!(ring.current(), 0);
        assert!(ring.refuse(&refused(Some(30 * second)), None, || start));
        assert_eq!(ring.current(), 1);
        ring.accept();
        for _ in 0..3 {
            assert_eq!(first(start + 29 * second).current(), 1);
        }

        let back = start + 31 * second;
        let rings: Vec<_> = (0..4).map(|_| first(back)).collect();
        let probes = rings.iter().filter(|ring| ring.current() == 0);
        assert_eq!(probes.count(), 1);
        drop(rings);
        // Nobody has decided: another one tries.
        let mut probe = (0..2).map(|_| first(back)).find(|ring| ring.current() == 0);
        probe.as_mut().unwrap().accept();
        let sent: Vec<_> = (0..4).map(|_| first(back).current()).collect();
        assert_eq!(sent.iter().sum::<usize>(), 2, "{sent:?}");
    }

    #[test]
    fn while_all_are_set_aside_the_soonest_is_sent() {
        let start = Instant::now();
        let keys = keys(start);
        let mut ring = KeyRing::new(&keys, || start);
        assert!(ring.refuse(&refused(Some(Duration::from_secs(9))), None, || start));
        assert!(!ring.refuse(&refused(Some(Duration::from_secs(5))), None, || start));
        assert_eq!(keys.first_back(start), Some(start + Duration::from_secs(5)));
        assert_eq!(KeyRing::new(&keys, || start).current(), 1);
    }

    #[test]
    fn without_a_word_it_is_a_minute() {
        let hours = Duration::from_secs(7200);
        assert_eq!(aside_for(None, None), ASIDE);
        assert_eq!(aside_for(None, Some(Duration::ZERO)), Duration::ZERO);
        assert_eq!(aside_for(None, Some(hours)), LONGEST);
    }
}
