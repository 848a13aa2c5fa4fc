//! How often something succeeded and failed, and how long that took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::request::AttemptRecord;

/// Counts of attempts: three additions each, that nothing else is ordered by.
#[derive(Debug, Default)]
pub struct Tally {
    succeeded: AtomicU64,
    failed: AtomicU64,
    succeeded_micros: AtomicU64,
}

/// What a [`Tally`] says at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts whose answer the client got.
    pub succeeded: u64,
    /// Attempts that failed; those whose client left are in neither.
    pub failed: u64,
    /// What those that succeeded took together.
    pub succeeded_duration: Duration,
}

impl Counts {
    /// What an attempt that succeeded took on average.
    pub fn mean(&self) -> Option<Duration> {
        let micros = self
            .succeeded_duration
            .as_micros()
            .checked_div(self.succeeded.into())?;
        Some(Duration::from_micros(
            u64::try_from(micros).unwrap_or(u64::MAX),
        ))
    }
}

impl Tally {
    /// Counts an attempt that is over.
    pub fn count(&self, attempt: &AttemptRecord) {
        if attempt.outcome == AttemptRecord::SUCCESS {
            let micros = u64::try_from(attempt.duration.as_micros()).unwrap_or(u64::MAX);
            self.succeeded.fetch_add(1, Relaxed);
            self.succeeded_micros.fetch_add(micros, Relaxed);
        } else if ![
            AttemptRecord::CLIENT_GONE,
            AttemptRecord::SHUTDOWN,
            AttemptRecord::INTERNAL_ERROR,
        ]
        .contains(&attempt.outcome)
        {
            self.failed.fetch_add(1, Relaxed);
        }
    }

    /// What it says now.
    pub fn counts(&self) -> Counts {
        Counts {
            succeeded: self.succeeded.load(Relaxed),
            failed: self.failed.load(Relaxed),
            succeeded_duration: Duration::from_micros(self.succeeded_micros.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::AttemptClass;
    use super::*;

    #[test]
    fn what_was_given_up_counts_for_nothing() {
        let tally = Tally::default();
        assert_eq!(tally.counts().mean(), None);
        for (outcome, millis) in [
            ("success", 10),
            ("429", 1),
            ("success", 30),
            ("client_gone", 9),
            ("shutdown", 9),
            ("internal_error", 9),
        ] {
            tally.count(&AttemptRecord {
                endpoint: "e".into(),
                model: None,
                backend: None,
                key: None,
                outcome: outcome.into(),
                class: AttemptClass::SUCCESS,
                pair: None,
                span: None,
                status: None,
                duration: Duration::from_millis(millis),
            });
        }
        let counts = tally.counts();
        assert_eq!((counts.succeeded, counts.failed), (2, 1));
        assert_eq!(counts.mean(), Some(Duration::from_millis(20)));
    }
}
