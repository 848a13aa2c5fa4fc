//! Chooses and claims: which of several is tried next, and the leave to try it.

use std::time::Instant;

use super::choose::{How, Next, choose, order};
use super::places::Places;
use super::suspension::{PairState, Permit, Standing};
use crate::policy::WhenAllSuspended;

/// The next of `count`, noted in `tried`: `state` is what is claimed, `standing` how it counts, and
/// `first` the place where the choice falls among those that were not tried; the others follow in
/// order.
///
/// # Errors
/// Why there is none.
pub(super) fn claim<'s, Time: Ord + Copy>(
    count: usize,
    state: impl Fn(usize) -> &'s PairState,
    standing: impl Fn(usize) -> Standing<Time>,
    first: impl Fn(&Places) -> usize,
    tried: &mut Places,
    when_all_suspended: WhenAllSuspended,
    now: Instant,
) -> Result<(usize, Permit<'s>), Next<Time>> {
    loop {
        let next = choose(
            order(first(tried), count),
            tried,
            &standing,
            when_all_suspended,
        );
        let Next::Target { index, how } = next else {
            return Err(next);
        };
        let permit = match how {
            How::Healthy | How::Probe => state(index).try_admit(now),
            How::BesideProbe | How::Soonest => Some(state(index).force(now)),
        };
        // Another request may have been quicker with the probe: then choose again.
        if let Some(permit) = permit {
            tried.insert(index);
            return Ok((index, permit));
        }
    }
}

/// Those of the first `count` that were not tried and could be as if nothing had happened.
pub(super) fn open<Time>(
    count: usize,
    standing: impl Fn(usize) -> Standing<Time>,
    tried: &Places,
) -> Places {
    (0..count)
        .filter(|&index| !tried.contains(index) && standing(index).is_open())
        .collect()
}
