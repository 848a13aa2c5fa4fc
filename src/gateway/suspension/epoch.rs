//! The time of the pairs: whole milliseconds since an epoch.

use std::time::{Duration, Instant};

use super::cell::Millis;

/// What the ends of suspensions are measured from.
#[derive(Clone, Copy, Debug)]
pub struct Epoch(pub(super) Instant);

impl Epoch {
    /// An instant in the time of the pairs, rounded down: a `now` at which no suspension ends early.
    pub fn floor(self, at: Instant) -> Millis {
        Millis(whole_millis(at.saturating_duration_since(self.0)))
    }

    /// The same rounded up: an end that doesn't come early.
    pub fn ceil(self, at: Instant) -> Millis {
        let since = at.saturating_duration_since(self.0);
        let rest = !since.subsec_nanos().is_multiple_of(1_000_000);
        Millis(whole_millis(since).saturating_add(u64::from(rest)))
    }

    /// The instant.
    pub fn instant(self, at: Millis) -> Instant {
        self.0 + Duration::from_millis(at.0)
    }
}

/// As `Duration::as_millis`, without its 128 bits.
fn whole_millis(span: Duration) -> u64 {
    span.as_secs()
        .saturating_mul(1000)
        .saturating_add(u64::from(span.subsec_millis()))
}
