//! One timer for all that a connection waits for, one after the other.
//!
//! A timer that is made for each wait is put into the runtime's wheel and taken out again each time. Most waits
//! end before their time, and have a later one than the wait before: so this one rings when the first of them would
//! have been over, and is set anew then.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is used again.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Waits until `deadline`.
    pub(super) async fn until(&mut self, deadline: Instant) {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.is_elapsed() || sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().await;
        if sleep.deadline() < deadline {
            sleep.as_mut().reset(deadline);
            sleep.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_wait_has_its_own_end() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut timer = Timer::default();
        // Given up, then later, then sooner, then one that has passed.
        assert!(poll!(Box::pin(timer.until(after(5)))).is_pending());
        for end in [10, 12, 11] {
            timer.until(after(end)).await;
            assert_eq!(Instant::now(), after(end.max(12 * u64::from(end == 11))));
        }
        assert!(poll!(Box::pin(timer.until(after(60)))).is_pending());
        timer.until(after(20)).await;
        assert_eq!(Instant::now(), after(20));
    }
}
