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

use super::places::Places;
use super::suspension::Standing;
use crate::policy::WhenAllSuspended;

/// What a request does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<Time> {
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
        until: Time,
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
pub fn choose<Time: Ord + Copy>(
    order: impl IntoIterator<Item = usize>,
    tried: &Places,
    standing: impl Fn(usize) -> Standing<Time>,
    when_all_suspended: WhenAllSuspended,
) -> Next<Time> {
    let mut probing = None;
    let mut soonest: Option<(Time, usize)> = None;
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

/// The places of a chain in the order in which this request tries them now: the one of its target
/// set on which the choice fell, then the rest as written.
pub fn order(drawn: usize, targets: usize) -> impl Iterator<Item = usize> + Clone {
    std::iter::once(drawn).chain((0..targets).filter(move |&index| index != drawn))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    /// The rules of the module's doc, one after the other, with no thought for speed.
    fn specified(
        order: &[usize],
        tried: &[usize],
        standings: &[Standing],
        when_all_suspended: WhenAllSuspended,
    ) -> Next<Instant> {
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

    fn target(index: usize, how: How) -> Next<Instant> {
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
            let mut set = Places::default();
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
            &Places::default(),
            standing,
            WhenAllSuspended::Reject,
        );
        assert_eq!(next, Next::AllSuspended { until });
        assert_eq!(looks.get(), 1000);
    }
}
