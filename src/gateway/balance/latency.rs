//! The quicker of two: an exponentially weighted time to the first token for each pair, and of two
//! members of the set, taken by chance, the one whose time is shorter.
//!
//! Of two and not of all, so that requests don't all run to the one that was quickest a moment ago
//! (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
//!
//! - **The time** is that from an attempt's start to where its answer could be shown: a stream's first
//!   content; of an answer that is no stream its end, which is where servers send its head. Both are
//!   kept apart, being different things: one request streams and the next does not.
//! - **A failure** that is the target's counts as the policy's `request_timeout`, or what it took where
//!   that was longer: a pair that fails at once must not be the quickest.
//! - **What was never measured**, or not for [`FRESH`], is due: the next request that comes upon it
//!   measures it, one at a time; meanwhile the others take it for slower than any that is known. So a
//!   pair that was slow once gets a request every [`FRESH`], and its way back.
//!
//! Several threads may measure at once, and of two measurements in the same moment one may be lost:
//! an average of many doesn't mind.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::gateway::places::Places;
use crate::policy::Pair;

/// How long a measurement says something about the next request.
pub const FRESH: Duration = Duration::from_secs(30);

/// The weight of a new measurement: about the last ten count.
const GAIN: f64 = 0.2;

/// A set whose quicker members are chosen.
pub struct Quickest {
    members: Box<[Arc<Quickness>]>,
}

impl Quickest {
    /// Of these pairs, in the order of the set.
    pub fn new(members: impl IntoIterator<Item = Arc<Quickness>>) -> Self {
        Self {
            members: members.into_iter().collect(),
        }
    }

    /// The quicker of two of those that are `open`; `None`: none is. `chance` gives a number below
    /// the one it is given.
    pub fn pick(
        &self,
        open: &Places,
        kind: Kind,
        now: Instant,
        mut chance: impl FnMut(usize) -> usize,
    ) -> Option<usize> {
        let count = open.len();
        if count < 2 {
            return open.iter().next();
        }
        let first = chance(count);
        let second = (first + 1 + chance(count - 1)) % count;
        let (first, second) = (open.iter().nth(first)?, open.iter().nth(second)?);
        let of = |index: usize| self.members[index].of(kind);
        let now = self.members[first].at(now);
        let due = [first, second].into_iter().find(|&one| of(one).claim(now));
        due.or_else(|| {
            let quicker = of(second).time() < of(first).time();
            Some(if quicker { second } else { first })
        })
    }

    /// Takes account of how long a member took.
    pub fn observe(&self, index: usize, kind: Kind, took: Duration, now: Instant) {
        if let Some(member) = self.members.get(index) {
            member.of(kind).observe(took, member.at(now));
        }
    }
}

/// What kind of answer was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stream.
    Stream,
    /// An answer in one piece.
    Whole,
}

impl Kind {
    /// The kind that a request with this `stream` asks for.
    pub const fn of(stream: bool) -> Self {
        if stream { Self::Stream } else { Self::Whole }
    }
}

/// How quickly one pair answers.
#[derive(Debug)]
pub struct Quickness {
    epoch: Instant,
    stream: Estimate,
    whole: Estimate,
}

impl Quickness {
    fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            stream: Estimate::default(),
            whole: Estimate::default(),
        }
    }

    const fn of(&self, kind: Kind) -> &Estimate {
        match kind {
            Kind::Stream => &self.stream,
            Kind::Whole => &self.whole,
        }
    }

    fn at(&self, now: Instant) -> u64 {
        micros(now.saturating_duration_since(self.epoch))
    }
}

/// An average, and when it was last added to. Times are in microseconds, since the epoch; 0: never.
#[derive(Debug, Default)]
struct Estimate {
    average: AtomicU64,
    measured: AtomicU64,
    /// When a request last set out to measure it.
    claimed: AtomicU64,
}

impl Estimate {
    /// The average; of what was never measured one that is longer than any.
    fn time(&self) -> u64 {
        match self.average.load(Relaxed) {
            0 => u64::MAX,
            average => average,
        }
    }

    /// Whether it is due, and the caller the one who measures it.
    fn claim(&self, now: u64) -> bool {
        let claimed = self.claimed.load(Relaxed);
        let due = is_old(self.measured.load(Relaxed), now) && is_old(claimed, now);
        due && self
            .claimed
            .compare_exchange(claimed, now.max(1), Relaxed, Relaxed)
            .is_ok()
    }

    fn observe(&self, took: Duration, now: u64) {
        let took = micros(took).max(1);
        let old = self.average.load(Relaxed);
        let average = if old == 0 || is_old(self.measured.load(Relaxed), now) {
            took
        } else {
            weighted(old, took)
        };
        self.average.store(average, Relaxed);
        self.measured.store(now.max(1), Relaxed);
    }
}

fn is_old(at: u64, now: u64) -> bool {
    at == 0 || now.saturating_sub(at) >= micros(FRESH)
}

/// The average with one more measurement. A float holds every time up to 285 years exactly.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between two numbers that both fit"
)]
fn weighted(average: u64, took: u64) -> u64 {
    let (average, took) = (average as f64, took as f64);
    (average + GAIN * (took - average)).max(1.0) as u64
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// How quickly every pair answers that a set chooses by it. It outlives a configuration: what a pair
/// was measured to be it is in the next one too.
#[derive(Debug)]
pub struct Latencies {
    epoch: Instant,
    pairs: Mutex<HashMap<Pair, Weak<Quickness>>>,
}

impl Latencies {
    /// Nothing is known. `epoch` is any instant at or before the first `now` that it will be given.
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            pairs: Mutex::default(),
        }
    }

    /// That of a pair, the same for all who ask. For the installation of a snapshot: it locks.
    pub fn resolve(&self, pair: &Pair) -> Arc<Quickness> {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = pairs.get(pair).and_then(Weak::upgrade) {
            return known;
        }
        let quickness = Arc::new(Quickness::new(self.epoch));
        pairs.retain(|_, known| known.strong_count() > 0);
        pairs.insert(pair.clone(), Arc::downgrade(&quickness));
        quickness
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Environment;

    const MS: Duration = Duration::from_millis(1);

    fn set(epoch: Instant, members: usize) -> Quickest {
        Quickest::new((0..members).map(|_| Arc::new(Quickness::new(epoch))))
    }

    /// Chance that goes through all pairs of `count` in turn.
    fn all_pairs(count: usize) -> impl Iterator<Item = [usize; 2]> {
        (0..count).flat_map(move |first| (0..count - 1).map(move |second| [first, second]))
    }

    fn pick(set: &Quickest, open: &Places, now: Instant, chances: [usize; 2]) -> usize {
        let mut chances = chances.into_iter();
        let chance = |below| chances.next().filter(|&number| number < below).unwrap();
        set.pick(open, Kind::Stream, now, chance).unwrap()
    }

    #[test]
    fn of_each_two_the_quicker_one() {
        let now = Instant::now();
        let set = set(now, 4);
        let open: Places = (0..4).collect();
        for (index, millis) in [(0, 40), (1, 10), (2, 30), (3, 20)] {
            set.observe(index, Kind::Stream, millis * MS, now);
        }
        let mut wins = [0; 4];
        for chances in all_pairs(4) {
            wins[pick(&set, &open, now, chances)] += 1;
        }
        // Of the 12 ordered pairs.
        assert_eq!(wins, [0, 6, 2, 4]);
        let without: Places = [0, 2].into_iter().collect();
        assert_eq!(pick(&set, &without, now, [0, 0]), 2);
        assert_eq!(set.pick(&Places::default(), Kind::Stream, now, |_| 0), None);
        let one: Places = [3].into_iter().collect();
        assert_eq!(
            set.pick(&one, Kind::Stream, now, |_| panic!("by chance")),
            Some(3)
        );
    }

    #[test]
    fn what_is_not_known_is_measured_by_one_request() {
        let now = Instant::now();
        let set = set(now, 2);
        let open: Places = (0..2).collect();
        set.observe(0, Kind::Stream, MS, now);
        assert_eq!(pick(&set, &open, now, [0, 0]), 1, "it is due");
        for _ in 0..5 {
            assert_eq!(
                pick(&set, &open, now, [0, 0]),
                0,
                "its measurement is under way"
            );
        }
        set.observe(1, Kind::Stream, MS / 2, now);
        assert_eq!(pick(&set, &open, now, [0, 0]), 1, "it is the quicker one");
        // Of answers in one piece nothing is known yet.
        assert_eq!(set.pick(&open, Kind::Whole, now, |_| 0), Some(0));
        assert_eq!(set.pick(&open, Kind::Whole, now, |_| 0), Some(1));
    }

    #[test]
    fn what_was_slow_once_has_its_way_back() {
        let start = Instant::now();
        let set = set(start, 2);
        let open: Places = (0..2).collect();
        set.observe(0, Kind::Stream, 20 * MS, start);
        set.observe(1, Kind::Stream, 9_000 * MS, start);
        let before = start + FRESH - MS;
        set.observe(0, Kind::Stream, 20 * MS, before);
        assert_eq!(pick(&set, &open, before, [0, 0]), 0);
        let later = start + FRESH + MS;
        assert_eq!(pick(&set, &open, later, [0, 0]), 1, "it is due");
        assert_eq!(pick(&set, &open, later, [0, 0]), 0);
        set.observe(1, Kind::Stream, 10 * MS, later);
        assert_eq!(
            pick(&set, &open, later, [0, 0]),
            1,
            "an old measurement counts no more"
        );
    }

    #[test]
    fn a_measurement_that_is_lost_is_made_again() {
        let start = Instant::now();
        let set = set(start, 2);
        let open: Places = (0..2).collect();
        assert_eq!(pick(&set, &open, start, [0, 0]), 0);
        set.observe(0, Kind::Stream, MS, start);
        assert_eq!(pick(&set, &open, start, [0, 0]), 1, "whose client leaves");
        let later = start + FRESH + MS;
        set.observe(0, Kind::Stream, MS, later);
        assert_eq!(pick(&set, &open, later, [0, 0]), 1);
    }

    #[test]
    fn a_pair_is_known_as_long_as_somebody_holds_it() {
        let pair = |model: &str| Pair {
            environment: Environment::Production,
            endpoint: "openai".into(),
            model: model.into(),
        };
        let latencies = Latencies::new(Instant::now());
        let (one, other) = (latencies.resolve(&pair("a")), latencies.resolve(&pair("b")));
        assert!(Arc::ptr_eq(&one, &latencies.resolve(&pair("a"))));
        assert!(!Arc::ptr_eq(&one, &other));
        drop(one);
        latencies.resolve(&pair("c"));
        assert!(!latencies.pairs.lock().unwrap().contains_key(&pair("a")));
    }

    proptest! {
        /// The average is between what was measured, and comes to what is measured again and again.
        #[test]
        fn the_average_follows(samples in prop::collection::vec(1..60_000_000u64, 1..20), last in 1_000..60_000_000u64) {
            let now = Instant::now();
            let estimate = Estimate::default();
            for &sample in &samples {
                estimate.observe(Duration::from_micros(sample), 1);
            }
            let (least, most) = (samples.iter().min().unwrap(), samples.iter().max().unwrap());
            prop_assert!((least - 1..=*most).contains(&estimate.time()));
            for _ in 0..60 {
                estimate.observe(Duration::from_micros(last), micros(now.elapsed()).max(1));
            }
            prop_assert!(estimate.time().abs_diff(last) <= last / 20 + 200, "{} for {}", estimate.time(), last);
        }
    }
}
