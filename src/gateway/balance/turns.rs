//! Whose turn it is: smooth weighted round robin over what is not suspended.
//!
//! The turns of a whole cycle are worked out once, and a turn is one increment of a counter: exact
//! over every cycle, whoever draws at the same time. While some are suspended the others have a
//! cycle of their own, which is worked out when they first need it and is kept, so that it goes on
//! where it was when the same ones are left again (a request that draws once more after a failure
//! is the most frequent case). So each of these cycles is exact too, however they interleave.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::gateway::places::Places;

/// Cycles of parts of a set that are kept at most; past it they begin anew.
const PARTS: usize = 256;

/// The turns of a weighted set.
pub struct Turns {
    weights: Box<[u32]>,
    all: Draw,
    /// For those that were left while others were not: the draw among them, by their order.
    parts: Mutex<HashMap<Places, Draw>>,
}

impl Turns {
    /// Of a set with these weights.
    pub fn new(weights: &[u32]) -> Self {
        Self {
            weights: weights.into(),
            all: Draw::new(weights),
            parts: Mutex::default(),
        }
    }

    /// Whose turn it is among those that are `open`; `None`: nobody is.
    pub fn next(&self, open: &Places) -> Option<usize> {
        match open.len() {
            0 => None,
            1 => open.iter().next(),
            count if count == self.weights.len() => Some(self.all.next()),
            _ => open.iter().nth(self.next_of_part(open)),
        }
    }

    fn next_of_part(&self, open: &Places) -> usize {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(draw) = parts.get(open) {
            return draw.next();
        }
        if parts.len() >= PARTS {
            parts.clear();
        }
        let weights: Vec<u32> = open.iter().map(|index| self.weights[index]).collect();
        let draw = Draw::new(&weights);
        let first = draw.next();
        parts.insert(open.clone(), draw);
        first
    }
}

/// A cycle, and how far it is.
struct Draw {
    schedule: WeightedSchedule,
    ticket: AtomicU64,
}

impl Draw {
    /// At the beginning of a cycle.
    fn new(weights: &[u32]) -> Self {
        Self {
            schedule: WeightedSchedule::new(weights),
            ticket: AtomicU64::new(0),
        }
    }

    /// Whose turn it is.
    fn next(&self) -> usize {
        self.schedule
            .pick(self.ticket.fetch_add(1, Ordering::Relaxed))
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
    use proptest::prelude::*;

    use super::*;

    fn counts(drawn: impl IntoIterator<Item = usize>, of: usize) -> Vec<u32> {
        let mut counts = vec![0; of];
        drawn.into_iter().for_each(|index| counts[index] += 1);
        counts
    }

    proptest! {
        /// However the draws of different parts interleave, each is exact over each of its cycles.
        #[test]
        fn every_part_has_exact_cycles(
            weights in prop::collection::vec(1..9u32, 1..5),
            parts in prop::collection::vec(prop::collection::vec(any::<bool>(), 4), 1..4),
            order in prop::collection::vec(any::<prop::sample::Index>(), 1..400),
        ) {
            let turns = Turns::new(&weights);
            let parts: Vec<Places> = parts
                .iter()
                .map(|open| (0..weights.len()).filter(|&index| open[index]).collect())
                .collect();
            let mut drawn = HashMap::<&Places, Vec<usize>>::new();
            for index in &order {
                let part = &parts[index.index(parts.len())];
                match turns.next(part) {
                    Some(index) => drawn.entry(part).or_default().push(index),
                    None => prop_assert!(part.is_empty()),
                }
            }
            for (part, drawn) in drawn {
                let expected: Vec<_> = (0..weights.len())
                    .map(|index| if part.contains(index) { weights[index] } else { 0 })
                    .collect();
                let cycle: u32 = expected.iter().sum();
                for cycle in drawn.chunks_exact(cycle as usize) {
                    prop_assert_eq!(counts(cycle.iter().copied(), weights.len()), &*expected);
                }
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
    fn many_draw_at_once() {
        let turns = Turns::new(&[3, 1, 2]);
        let parts: [Places; 2] = [(0..3).collect(), (1..3).collect()];
        for (part, expected) in parts.iter().zip([[3000, 1000, 2000], [0, 1000, 2000]]) {
            let cycles: u32 = expected.iter().sum::<u32>() / 4;
            let drawn = std::thread::scope(|scope| {
                let draw = || {
                    (0..cycles)
                        .map(|_| turns.next(part).unwrap())
                        .collect::<Vec<_>>()
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
                let drawn = threads.into_iter().map(|thread| thread.join().unwrap());
                drawn.flatten().collect::<Vec<_>>()
            });
            assert_eq!(counts(drawn, 3), expected);
        }
    }

    #[test]
    fn the_parts_that_are_kept_have_an_end() {
        let turns = Turns::new(&[1; 300]);
        for first in 0..290 {
            let open: Places = (first..first + 3).collect();
            let drawn = (0..3).filter_map(|_| turns.next(&open));
            let expected = [1; 3];
            let mut counted = counts(drawn, 300);
            assert_eq!(
                counted.drain(first..first + 3).collect::<Vec<_>>(),
                expected
            );
        }
        assert!(turns.parts.lock().unwrap().len() <= PARTS);
    }
}
