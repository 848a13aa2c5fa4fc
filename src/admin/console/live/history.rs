//! What was counted in the last minutes, a sample every two seconds.
//!
//! A sample holds only what is new in it, and only of targets that were asked: an idle gateway with
//! ten thousand policies keeps next to nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::telemetry::metrics::{Spans, TargetTotals, Totals};

/// From one sample to the next.
pub(in crate::admin) const INTERVAL: Duration = Duration::from_secs(2);

/// Samples that are kept: five minutes.
const KEPT: usize = 150;

/// The last minutes.
#[derive(Default)]
pub(in crate::admin) struct History(Mutex<Samples>);

#[derive(Default)]
struct Samples {
    before: Option<Totals>,
    samples: VecDeque<Sample>,
}

/// What came in one interval.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Its end, in milliseconds since 1970.
    pub(super) at: u64,
    pub(super) new: Totals,
}

impl History {
    /// Takes a sample of what is counted `at` this moment, in milliseconds since 1970.
    pub(in crate::admin) fn take(&self, at: u64, totals: Totals) {
        let mut samples = self.lock();
        if let Some(before) = &samples.before {
            let new = totals.since(before);
            samples.samples.push_back(Sample { at, new });
            if samples.samples.len() > KEPT {
                samples.samples.pop_front();
            }
        }
        samples.before = Some(totals);
    }

    /// The samples that ended after a moment, the oldest first.
    pub(super) fn after(&self, at: u64) -> Vec<Sample> {
        let samples = self.lock();
        let newer = samples.samples.iter().filter(|sample| sample.at > at);
        newer.cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Samples> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Samples added up.
pub(super) fn sum<'s>(samples: impl IntoIterator<Item = &'s Sample>) -> Totals {
    let mut sum = Totals::default();
    for Sample { new, .. } in samples {
        let Totals {
            requests,
            failed,
            rescues,
            own,
            targets,
        } = new;
        sum.requests += requests;
        sum.failed += failed;
        sum.rescues += rescues;
        sum.own.add(*own);
        for (key, target) in targets {
            let entry: &mut TargetTotals = sum.targets.entry(key.clone()).or_default();
            entry.add(target);
        }
    }
    sum
}

/// A mean in milliseconds, for people.
pub(super) fn mean(spans: Spans) -> Option<String> {
    let mean = Duration::try_from_secs_f64(spans.mean()?).ok()?;
    Some(super::super::trail::span(mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(requests: u64) -> Totals {
        Totals {
            requests,
            ..Totals::default()
        }
    }

    #[test]
    fn a_sample_has_what_is_new_and_the_oldest_go() {
        let history = History::default();
        for (at, total) in [(1, 5), (2, 7), (3, 7), (4, 17)] {
            history.take(at, requests(total));
        }
        let samples = history.after(0);
        let told: Vec<_> = samples
            .iter()
            .map(|one| (one.at, one.new.requests))
            .collect();
        assert_eq!(told, [(2, 2), (3, 0), (4, 10)]);
        assert_eq!(history.after(3).len(), 1);
        assert_eq!(sum(&samples), requests(12));
        for at in 5..1000 {
            history.take(at, requests(17));
        }
        assert_eq!(history.after(0).len(), KEPT);
    }
}
