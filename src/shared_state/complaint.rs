//! Says that something does not work, at a rate that a log can bear.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// A trouble that goes on is said again after so long.
const AGAIN: Duration = Duration::from_secs(60);

/// One thing that may or may not work.
#[derive(Default)]
pub(super) struct Complaint {
    /// When it was last said that it doesn't.
    said: Option<Instant>,
}

impl Complaint {
    /// It doesn't work; says `message` if that was not said lately.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self
            .said
            .is_none_or(|said| now.saturating_duration_since(said) >= AGAIN);
        if due {
            self.said = Some(now);
        }
        due
    }

    /// It works; whether it was said that it doesn't.
    pub(super) fn is_over(&mut self) -> bool {
        self.said.take().is_some()
    }
}

/// [`Complaint::is_due`], and the warning.
pub(super) fn warn(complaint: &mut Complaint, message: impl Display) {
    if complaint.is_due(Instant::now()) {
        log::warn!("{message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_said_once_a_minute() {
        let start = Instant::now();
        let mut complaint = Complaint::default();
        assert!(!complaint.is_over());
        let seconds = [0, 1, 59, 60, 61, 119, 120];
        let said = seconds.map(|second| complaint.is_due(start + Duration::from_secs(second)));
        assert_eq!(said, [true, false, false, true, false, false, true]);
        assert!(complaint.is_over());
        assert!(complaint.is_due(start), "a new trouble");
    }
}
