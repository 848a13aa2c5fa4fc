//! How a backend stands: healthy or not, since when, how busy, and how far back it is.
//!
//! All of it is atomic and nothing is published through it, so every access is relaxed.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use tokio::time::Instant;

/// A whole share: so that what is left of a turn fits into a counter's low half.
pub(super) const WHOLE: u32 = 1 << 16;

/// What a backend begins with when it is back: a tenth of its share.
const LEAST: u32 = WHOLE / 10;

/// The live state of one backend.
#[derive(Debug)]
pub struct BackendState {
    epoch: Instant,
    down: AtomicBool,
    /// When `down` last changed, in milliseconds since the epoch, plus 1; 0: never.
    changed: AtomicU64,
    /// Whether it is back so lately that it hasn't its whole share yet.
    returning: AtomicBool,
    /// The share of turns that it was offered: its high half counts those that it had.
    credit: AtomicU32,
    in_flight: AtomicU32,
    /// Checks that succeeded in a row.
    successes: AtomicU32,
    /// When the last check ended, in milliseconds since the epoch, plus 1, twice; plus 1 if it passed.
    checked: AtomicU64,
}

impl BackendState {
    /// Of a backend about which nothing is known: healthy.
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            down: AtomicBool::new(false),
            changed: AtomicU64::new(0),
            returning: AtomicBool::new(false),
            credit: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            successes: AtomicU32::new(0),
            checked: AtomicU64::new(0),
        }
    }

    /// Whether checks leave it in service.
    pub(super) fn is_up(&self) -> bool {
        !self.down.load(Relaxed)
    }

    /// Takes note of what checks have found.
    pub(super) fn set_up(&self, up: bool, now: Instant) {
        if self.is_up() == up {
            return;
        }
        self.changed.store(self.millis(now) + 1, Relaxed);
        self.returning.store(up, Relaxed);
        self.down.store(!up, Relaxed);
    }

    /// Takes note of a check. Whoever counts the checks tells what they amount to ([`Self::set_up`]), but
    /// begins anew where an endpoint was away for a while; this state, kept by a request that took
    /// longer, may be of the time before, and is mended here.
    pub(super) fn observe(&self, succeeded: bool, healthy_after: u32, now: Instant) {
        let checked = (self.millis(now) + 1) << 1 | u64::from(succeeded);
        self.checked.store(checked, Relaxed);
        if !succeeded {
            self.successes.store(0, Relaxed);
        } else if self.successes.fetch_add(1, Relaxed).saturating_add(1) >= healthy_after {
            self.set_up(true, now);
        }
    }

    /// When that last changed; `None`: never.
    pub(super) fn since(&self) -> Option<Instant> {
        self.instant(self.changed.load(Relaxed))
    }

    /// When the last check ended, and whether it passed; `None`: there was none.
    pub(super) fn last_check(&self) -> Option<(Instant, bool)> {
        let checked = self.checked.load(Relaxed);
        Some((self.instant(checked >> 1)?, checked & 1 == 1))
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX >> 2)
    }

    /// Of milliseconds since the epoch, plus 1.
    fn instant(&self, after: u64) -> Option<Instant> {
        let millis = after.checked_sub(1)?;
        Some(self.epoch + Duration::from_millis(millis))
    }

    /// Whether it may not have its whole share yet: only then a turn needs the time.
    pub(super) fn is_returning(&self) -> bool {
        self.returning.load(Relaxed)
    }

    /// Its share of its turns at `now`, of [`WHOLE`].
    pub(super) fn share(&self, now: Instant, slow_start: Duration) -> u32 {
        if !self.is_returning() {
            return WHOLE;
        }
        let back_for = self
            .since()
            .map(|since| now.saturating_duration_since(since));
        let share = share_after(back_for.unwrap_or(slow_start), slow_start);
        if share == WHOLE {
            self.returning.store(false, Relaxed);
        }
        share
    }

    /// Whether it takes a turn that fell on it while it has but a share of them: with a third every
    /// third one.
    pub(super) fn takes_turn(&self, share: u32) -> bool {
        let before = self.credit.fetch_add(share, Relaxed);
        before / WHOLE != before.wrapping_add(share) / WHOLE
    }

    /// The requests under way.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The share of one that is back for a while: it grows evenly to the whole over `slow_start`.
fn share_after(back_for: Duration, slow_start: Duration) -> u32 {
    if back_for >= slow_start {
        return WHOLE;
    }
    let grown = back_for.as_nanos() * u128::from(WHOLE - LEAST) / slow_start.as_nanos().max(1);
    LEAST + u32::try_from(grown).unwrap_or(WHOLE - LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_secs(30);

    #[test]
    fn the_share_grows_evenly_from_a_tenth_to_the_whole() {
        assert_eq!(share_after(Duration::ZERO, SLOW), LEAST);
        assert_eq!(share_after(SLOW / 2, SLOW), LEAST + (WHOLE - LEAST) / 2);
        assert_eq!(share_after(SLOW, SLOW), WHOLE);
        assert_eq!(share_after(SLOW * 9, SLOW), WHOLE);
        assert_eq!(share_after(Duration::ZERO, Duration::ZERO), WHOLE);
        let shares: Vec<_> = (0..=30)
            .map(|second| share_after(Duration::from_secs(second), SLOW))
            .collect();
        assert!(shares.is_sorted(), "{shares:?}");
    }

    #[test]
    fn turns_are_taken_by_share() {
        let state = BackendState::new(Instant::now());
        let taken =
            |share, offered: usize| (0..offered).filter(|_| state.takes_turn(share)).count();
        assert_eq!(taken(WHOLE / 4, 1000), 250);
        assert_eq!(taken(WHOLE, 7), 7);
        // As often as the counter wraps.
        assert_eq!(taken(WHOLE / 2, 200_000), 100_000);
    }

    #[tokio::test(start_paused = true)]
    async fn back_it_has_its_whole_share_after_the_slow_start() {
        let state = BackendState::new(Instant::now());
        assert_eq!(
            (state.since(), state.share(Instant::now(), SLOW)),
            (None, WHOLE)
        );
        tokio::time::advance(SLOW).await;
        let failed = Instant::now();
        state.set_up(false, failed);
        assert!(!state.is_up() && !state.is_returning());
        assert_eq!(state.since(), Some(failed));

        tokio::time::advance(SLOW).await;
        let back = Instant::now();
        state.set_up(true, back);
        assert!(state.is_up() && state.is_returning());
        assert_eq!(state.share(back, SLOW), LEAST);
        tokio::time::advance(SLOW / 2).await;
        state.set_up(true, Instant::now());
        assert_eq!(state.since(), Some(back), "still the same return");
        assert_eq!(
            state.share(Instant::now(), SLOW),
            LEAST + (WHOLE - LEAST) / 2
        );
        tokio::time::advance(SLOW / 2).await;
        assert_eq!(state.share(Instant::now(), SLOW), WHOLE);
        assert!(!state.is_returning(), "the time is no longer asked for");
    }
}
