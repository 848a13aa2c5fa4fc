//! Which target comes next. Pure: it reads how the targets stand and claims nothing.
//!
//! ```text
//! the untried targets, in order
//!   │
//!   ├─ one is healthy, or its suspension has ended ──► that one        Healthy, Probe
//!   ├─ else one has a probe under way ───────────────► beside it       BesideProbe
//!   │                                                  (nowhere else to go)
//!   └─ else all are suspended, or none is left
//!        ├─ this request has tried one ──────────────► Exhausted
//!        ├─ `try_soonest` ───────────────────────────► soonest to end  Soonest
//!        └─ `reject` ────────────────────────────────► AllSuspended
//! ```
//!
//! The caller acts on it: `try_admit` for [`How::Healthy`] and [`How::Probe`], `force` for the
//! others. Between the look and the claim another request may take the probe or suspend the pair;
//! `try_admit` then says no, and the caller chooses again with the pair as it stands now.
//!
//! The look is one load a target, so a chain of a thousand suspended ones costs next to nothing.

use std::time::Instant;

use super::suspension::Standing;
use crate::policy::WhenAllSuspended;

/// What a request does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An attempt.
    Target {
        /// At this place in the chain.
        index: usize,
        /// In this way.
        how: How,
    },
    /// No attempt: every target is suspended.
    AllSuspended {
        /// The soonest end.
        until: Instant,
    },
    /// No attempt: every target was tried by this request or is suspended.
    Exhausted,
}

/// Why a target may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is not suspended.
    Healthy,
    /// Its suspension has ended: this is the probe, if the claim on it succeeds.
    Probe,
    /// Another request's probe is under way, and there is nowhere else to go.
    BesideProbe,
    /// All are suspended, and its suspension ends soonest.
    Soonest,
}

/// The next step of a request. `order` is every place of the chain once, as [`order`] gives it;
/// `standing` says how the target of a place stands now.
pub fn choose(
    order: impl IntoIterator<Item = usize>,
    tried: &Tried,
    standing: impl Fn(usize) -> Standing,
    when_all_suspended: WhenAllSuspended,
) -> Next {
    let mut probing = None;
    let mut soonest: Option<(Instant, usize)> = None;
    for index in order.into_iter().filter(|&index| !tried.contains(index)) {
        let how = match standing(index) {
            Standing::Healthy => How::Healthy,
            Standing::Ended => How::Probe,
            Standing::Probing => {
                probing = probing.or(Some(index));
                continue;
            }
            Standing::Suspended { until } => {
                if soonest.is_none_or(|(earliest, _)| until < earliest) {
                    soonest = Some((until, index));
                }
                continue;
            }
        };
        return Next::Target { index, how };
    }
    if let Some(index) = probing {
        let how = How::BesideProbe;
        return Next::Target { index, how };
    }
    match (soonest, when_all_suspended) {
        (Some((until, _)), WhenAllSuspended::Reject) if tried.is_empty() => {
            Next::AllSuspended { until }
        }
        (Some((_, index)), WhenAllSuspended::TrySoonest) if tried.is_empty() => {
            let how = How::Soonest;
            Next::Target { index, how }
        }
        _ => Next::Exhausted,
    }
}

/// The places of a chain in the order in which this request tries them: the one that the draw
/// fell on, then the rest as written, so the rest of a weighted set are its first fallbacks.
pub fn order(drawn: usize, targets: usize) -> impl Iterator<Item = usize> + Clone {
    std::iter::once(drawn).chain((0..targets).filter(move |&index| index != drawn))
}

/// The places of a chain that one request has tried. The first 64 need no allocation.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    first: u64,
    rest: Vec<u64>,
}

impl Tried {
    /// Notes that an attempt at `index` has begun.
    pub fn insert(&mut self, index: usize) {
        let bit = 1 << (index % 64);
        match (index / 64).checked_sub(1) {
            None => self.first |= bit,
            Some(word) => {
                if self.rest.len() <= word {
                    self.rest.resize(word + 1, 0);
                }
                self.rest[word] |= bit;
            }
        }
    }

    /// Whether `index` was tried.
    pub fn contains(&self, index: usize) -> bool {
        let word = match (index / 64).checked_sub(1) {
            None => self.first,
            Some(word) => self.rest.get(word).copied().unwrap_or(0),
        };
        word & (1 << (index % 64)) != 0
    }

    /// Whether no attempt was made.
    pub fn is_empty(&self) -> bool {
        self.first == 0 && self.rest.is_empty()
    }
}

/// In which turn the targets of a weighted set come first: smooth weighted round robin (as in
/// nginx), worked out once for a whole cycle.
///
/// Over any cycle of consecutive tickets each target is drawn exactly as often as its weight says
/// (3 and 1: three of four), and its turns are spread over the cycle.
#[derive(Clone, Debug)]
pub struct WeightedSchedule {
    /// One cycle; empty where there is nothing to draw.
    turns: Box<[usize]>,
}

impl WeightedSchedule {
    /// The longest cycle that is kept exactly. Weights whose sum is larger even after division by
    /// their common divisor are scaled down to about it, off by less than one turn a target.
    pub const MAX_CYCLE: i64 = 4096;

    /// Works out the cycle of `weights`; a weight of 0 counts as 1.
    pub fn new(weights: &[u32]) -> Self {
        let turns = match weights {
            [] | [_] => Vec::new(),
            _ => smooth_cycle(&reduced(weights)),
        };
        Self {
            turns: turns.into(),
        }
    }

    /// The place in the set of the target that comes first for the request with this number;
    /// numbers that follow one another make a cycle.
    pub fn pick(&self, ticket: u64) -> usize {
        let turn = ticket.checked_rem(self.turns.len() as u64).unwrap_or(0);
        let turn = usize::try_from(turn).ok();
        turn.and_then(|turn| self.turns.get(turn))
            .copied()
            .unwrap_or(0)
    }
}

/// The smallest weights of the same proportions, or about the same where those are too large.
fn reduced(weights: &[u32]) -> Vec<i64> {
    let weights = || weights.iter().map(|&weight| i64::from(weight.max(1)));
    let divisor = weights().fold(0, greatest_common_divisor);
    let sum = weights().sum::<i64>() / divisor;
    if sum <= WeightedSchedule::MAX_CYCLE {
        return weights().map(|weight| weight / divisor).collect();
    }
    let scaled = |weight| (weight / divisor * WeightedSchedule::MAX_CYCLE + sum / 2) / sum;
    weights().map(|weight| scaled(weight).max(1)).collect()
}

fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// In each turn every target earns its weight, the richest (of equals the first) has the turn and
/// pays the sum of all for it. After as many turns as that sum all are back at nothing.
fn smooth_cycle(weights: &[i64]) -> Vec<usize> {
    let sum: i64 = weights.iter().sum();
    let mut earned = vec![0; weights.len()];
    (0..sum)
        .map(|_| {
            let mut richest = 0;
            for (index, weight) in weights.iter().enumerate() {
                earned[index] += weight;
                if earned[index] > earned[richest] {
                    richest = index;
                }
            }
            earned[richest] -= sum;
            richest
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// The rules of the module's doc, one after the other, with no thought for speed.
    fn specified(
        order: &[usize],
        tried: &[usize],
        standings: &[Standing],
        when_all_suspended: WhenAllSuspended,
    ) -> Next {
        let left: Vec<_> = order
            .iter()
            .filter(|index| !tried.contains(index))
            .collect();
        for &&index in &left {
            match standings[index] {
                Standing::Healthy => return target(index, How::Healthy),
                Standing::Ended => return target(index, How::Probe),
                _ => {}
            }
        }
        for &&index in &left {
            if standings[index] == Standing::Probing {
                return target(index, How::BesideProbe);
            }
        }
        if !tried.is_empty() || left.is_empty() {
            return Next::Exhausted;
        }
        let end_of = |index: usize| match standings[index] {
            Standing::Suspended { until } => until,
            other => panic!("{other:?} was not chosen"),
        };
        let soonest = left.iter().map(|&&index| end_of(index)).min().unwrap();
        match when_all_suspended {
            WhenAllSuspended::Reject => Next::AllSuspended { until: soonest },
            WhenAllSuspended::TrySoonest => {
                let first = left.iter().find(|&&&index| end_of(index) == soonest);
                target(**first.unwrap(), How::Soonest)
            }
        }
    }

    fn target(index: usize, how: How) -> Next {
        Next::Target { index, how }
    }

    /// Suspended ones most of the time, with few different ends, so that every rule is reached.
    fn standing(epoch: Instant) -> impl Strategy<Value = Standing> {
        prop_oneof![
            1 => Just(Standing::Healthy),
            1 => Just(Standing::Ended),
            2 => Just(Standing::Probing),
            8 => (0..4u64).prop_map(move |seconds| Standing::Suspended {
                until: epoch + Duration::from_secs(seconds),
            }),
        ]
    }

    proptest! {
        #[test]
        fn the_choice_is_the_specified_one(
            standings in prop::collection::vec(standing(Instant::now()), 1..6),
            drawn in any::<prop::sample::Index>(),
            tried in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            reject in any::<bool>(),
        ) {
            let order: Vec<_> = order(drawn.index(standings.len()), standings.len()).collect();
            let tried: Vec<_> = tried.iter().map(|index| index.index(standings.len())).collect();
            let when = if reject { WhenAllSuspended::Reject } else { WhenAllSuspended::TrySoonest };
            let mut set = Tried::default();
            tried.iter().for_each(|&index| set.insert(index));

            let chosen = choose(order.iter().copied(), &set, |index| standings[index], when);
            prop_assert_eq!(chosen, specified(&order, &tried, &standings, when));
        }

        #[test]
        fn the_order_is_the_drawn_one_and_the_rest_as_written(targets in 1..9usize, drawn in any::<prop::sample::Index>()) {
            let drawn = drawn.index(targets);
            let order: Vec<_> = order(drawn, targets).collect();
            prop_assert_eq!(order[0], drawn);
            prop_assert!(order[1..].is_sorted());
            let mut sorted = order;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..targets).collect::<Vec<_>>());
        }

        #[test]
        fn tried_is_a_set(indices in prop::collection::vec(0..300usize, 0..20)) {
            let mut tried = Tried::default();
            prop_assert!(tried.is_empty());
            indices.iter().for_each(|&index| tried.insert(index));
            prop_assert_eq!(tried.is_empty(), indices.is_empty());
            for index in 0..400 {
                prop_assert_eq!(tried.contains(index), indices.contains(&index), "{}", index);
            }
        }

        /// Exact over a cycle from any start, and within it never a whole turn ahead of one's share.
        #[test]
        fn turns_fall_by_weight(
            weights in prop::collection::vec(1..40u32, 2..6),
            start in 0..u64::MAX / 2,
        ) {
            let schedule = WeightedSchedule::new(&weights);
            let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            let mut drawn = vec![0_u64; weights.len()];
            for turn in 0..sum {
                drawn[schedule.pick(turn)] += 1;
                for (&count, &weight) in drawn.iter().zip(&weights) {
                    prop_assert!(count * sum < (turn + 1) * u64::from(weight) + sum);
                }
            }
            let mut later = vec![0; weights.len()];
            (start..start + sum).for_each(|ticket| later[schedule.pick(ticket)] += 1);
            let expected: Vec<_> = weights.iter().map(|&weight| u64::from(weight)).collect();
            prop_assert_eq!(&later, &expected);
            prop_assert_eq!(&drawn, &expected);
        }

        #[test]
        fn large_weights_stay_near_their_proportions(
            weights in prop::collection::vec(prop_oneof![0..4u32, any::<u32>()], 1..6),
        ) {
            let weights: Vec<_> = [u32::MAX, 65_537].into_iter().chain(weights).collect();
            let schedule = WeightedSchedule::new(&weights);
            let sum: f64 = weights.iter().map(|&weight| f64::from(weight.max(1))).sum();
            for (index, &weight) in weights.iter().enumerate() {
                let turns = schedule.turns.iter().filter(|&&turn| turn == index).count();
                let fair = f64::from(weight.max(1)) / sum * WeightedSchedule::MAX_CYCLE as f64;
                let off = (turns as f64 - fair).abs();
                prop_assert!(turns > 0, "{} is never drawn", weight);
                prop_assert!(off < 0.501 || turns == 1, "{} turns for {}", turns, fair);
            }
        }
    }

    #[test]
    fn the_turns_are_spread() {
        let cycle = |weights| WeightedSchedule::new(weights).turns.into_vec();
        assert_eq!(cycle(&[3, 1]), [0, 0, 1, 0]);
        assert_eq!(cycle(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(cycle(&[50, 50]), [0, 1]);
        assert_eq!(WeightedSchedule::new(&[7]).pick(3), 0);
    }

    #[test]
    fn a_thousand_suspended_targets_are_looked_at_once() {
        let until = Instant::now();
        let looks = std::cell::Cell::new(0);
        let standing = |_| {
            looks.set(looks.get() + 1);
            Standing::Suspended { until }
        };
        let next = choose(
            order(0, 1000),
            &Tried::default(),
            standing,
            WhenAllSuspended::Reject,
        );
        assert_eq!(next, Next::AllSuspended { until });
        assert_eq!(looks.get(), 1000);
    }
}
