//! How often something took how long.
//!
//! The crate's own histogram finds its numbers in six places of memory and changes five of them for
//! each observation, so that a scrape sees all five or none. Here they lie side by side and two
//! change; a scrape that comes in between may lack the span of an observation that it counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::totals::Spans;

/// Counts of spans up to each of `N` bounds.
pub(super) struct Histogram<const N: usize> {
    bounds: &'static [Duration; N],
    /// Those up to a bound, and over the one before it.
    counts: [AtomicU64; N],
    /// Those over the last bound.
    over: AtomicU64,
    nanoseconds: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// Of nothing, with bounds that ascend.
    pub(super) const fn new(bounds: &'static [Duration; N]) -> Self {
        Self {
            bounds,
            counts: [const { AtomicU64::new(0) }; N],
            over: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        }
    }

    pub(super) fn observe(&self, span: Duration) {
        let place = self.bounds.partition_point(|bound| *bound < span);
        let count = self.counts.get(place).unwrap_or(&self.over);
        count.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// For each bound, in seconds, how many were up to it.
    pub(super) fn up_to(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut sum = 0;
        self.bounds
            .iter()
            .zip(&self.counts)
            .map(move |(bound, count)| {
                sum += count.load(Ordering::Relaxed);
                (bound.as_secs_f64(), sum)
            })
    }

    /// All of them.
    pub(super) fn spans(&self) -> Spans {
        let over = self.over.load(Ordering::Relaxed);
        let within = self.up_to().last().map_or(0, |(_, count)| count);
        let nanoseconds = self.nanoseconds.load(Ordering::Relaxed);
        Spans {
            count: within + over,
            seconds: Duration::from_nanos(nanoseconds).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [Duration; 3] = [
        Duration::from_millis(1),
        Duration::from_millis(10),
        Duration::from_secs(1),
    ];

    #[test]
    fn each_span_counts_at_every_bound_that_it_keeps_to() {
        let histogram = Histogram::new(&BOUNDS);
        assert_eq!(histogram.spans(), Spans::default());
        for micros in [0, 1_000, 1_001, 10_000, 999_999, 1_000_001, 60_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let up_to: Vec<_> = histogram.up_to().collect();
        assert_eq!(up_to, [(0.001, 2), (0.01, 4), (1.0, 5)]);
        let spans = histogram.spans();
        assert_eq!(spans.count, 7);
        assert!(
            (spans.seconds - 62.012_001).abs() < 1e-9,
            "{}",
            spans.seconds
        );
    }
}
