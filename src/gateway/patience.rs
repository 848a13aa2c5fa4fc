//! Whether a target is tried again before its fallback, and after which wait. Pure but for chance.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::judge::{Outcome, Verdict};
use crate::policy::{FailoverPolicy, RetryBackoff};

/// What is left of a policy's patience with one target.
pub(super) struct Patience {
    retries_left: u32,
    /// Further tries that have been made.
    retried: u32,
    backoff: RetryBackoff,
    /// The longest `Retry-After` that is still waited out; none once one was.
    max_retry_after: Option<Duration>,
}

impl Patience {
    pub(super) const fn new(policy: &FailoverPolicy) -> Self {
        Self {
            retries_left: policy.retries,
            retried: 0,
            backoff: policy.retry_backoff,
            max_retry_after: Some(policy.max_retry_after),
        }
    }

    /// The wait before another try at the same target; `None`: on to the next.
    pub(super) fn wait_after(&mut self, verdict: &Verdict) -> Option<Duration> {
        let Outcome::TargetFault(fault) = &verdict.outcome else {
            return None;
        };
        if let (Some(asked), Some(longest)) = (fault.retry_after, self.max_retry_after) {
            if !longest.is_zero() && asked <= longest {
                self.max_retry_after = None;
                return Some(asked);
            }
            if asked > longest {
                return None;
            }
        }
        if !fault.transient || self.retries_left == 0 {
            return None;
        }
        self.retries_left -= 1;
        let wait = jittered(self.backoff, self.retried);
        self.retried += 1;
        Some(wait)
    }
}

/// Half to all of `base * 2^retried`, at most `max`: so that callers that failed together don't
/// come back together.
fn jittered(backoff: RetryBackoff, retried: u32) -> Duration {
    let doubled = backoff.base.saturating_mul(2u32.saturating_pow(retried));
    let full = doubled.min(backoff.max);
    // A hash under keys that are new each time: chance enough to spread callers.
    let chance = RandomState::new().hash_one(retried) % 1024;
    let chance = u32::try_from(chance).unwrap_or_default();
    full / 2 + (full / 2) * chance / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_cap_and_is_jittered() {
        let backoff = RetryBackoff {
            base: Duration::from_millis(200),
            max: Duration::from_secs(2),
        };
        for (retried, full) in [(0, 200), (1, 400), (3, 1600), (4, 2000), (40, 2000)] {
            let full = Duration::from_millis(full);
            let mut seen = std::collections::HashSet::new();
            for _ in 0..50 {
                let wait = jittered(backoff, retried);
                assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
                seen.insert(wait);
            }
            assert!(seen.len() > 1, "always the same wait");
        }
    }
}
