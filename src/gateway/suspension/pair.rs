//! One pair: its state, and the permit that an attempt at it holds until its verdict.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cell::{Cell, Millis, Standing, Ticket};
use super::epoch::Epoch;
use super::outbox::Outbox;
use crate::policy::Pair;
use crate::telemetry::Tally;

/// Whether and until when one pair is left out. Shared by every snapshot that names the pair.
#[derive(Debug)]
pub struct PairState {
    cell: Cell,
    epoch: Epoch,
    /// Of the suspension in `cell`, if there is one. Whoever suspends holds the lock over both, so
    /// a listing never shows one with another's reason. Requests that succeed never touch it.
    reason: Mutex<Arc<str>>,
    /// Suspensions that have begun; changed under the same lock.
    begun: AtomicU64,
    /// Where a change is noted, and as whose.
    changes: Option<(Pair, Arc<Outbox>)>,
    tally: Tally,
}

/// An end that another instance knows of is another one than that which stands only past this: what
/// remains of a suspension has taken its time to get here.
const SAME_END: Duration = Duration::from_millis(200);

/// Why and until when a pair is left out, for those who operate the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// Its end; past while the pair waits for its probe.
    pub until: Instant,
    /// Of the failure that set this end.
    pub reason: Arc<str>,
    /// Suspended, ended or probing.
    pub standing: Standing,
}

impl PairState {
    /// A healthy pair whose changes are noted; `epoch` is what ends are measured from.
    pub(super) fn new(epoch: Epoch, pair: Pair, outbox: Arc<Outbox>) -> Self {
        Self {
            changes: Some((pair, outbox)),
            ..Self::alone(epoch)
        }
    }

    /// A healthy pair of which nobody is told.
    pub(super) fn alone(epoch: Epoch) -> Self {
        Self {
            cell: Cell::new(),
            epoch,
            reason: Mutex::default(),
            begun: AtomicU64::new(0),
            changes: None,
            tally: Tally::default(),
        }
    }

    /// How the pair stands at `now`.
    pub fn standing(&self, now: Instant) -> Standing {
        let standing = self.standing_at(self.epoch.floor(now));
        standing.map(|until| self.epoch.instant(until))
    }

    /// The same in the pairs' own time, into which an instant is turned once for all that are looked
    /// at: one load.
    pub fn standing_at(&self, now: Millis) -> Standing<Millis> {
        self.cell.standing(now)
    }

    /// Leave for an attempt, where the pair is healthy (one load, nothing is written) or its
    /// suspension has ended and this attempt is the first to claim the probe. `None`: pass it by.
    pub fn try_admit(&self, now: Instant) -> Option<Permit<'_>> {
        let ticket = self.cell.try_admit(self.epoch.floor(now))?;
        Some(Permit { pair: self, ticket })
    }

    /// Leave for an attempt however the pair stands: where there is nowhere else to go. It is the
    /// probe where one is due; otherwise its success ends the suspension all the same.
    pub fn force(&self, now: Instant) -> Permit<'_> {
        let ticket = self.cell.force(self.epoch.floor(now));
        Permit { pair: self, ticket }
    }

    /// Leaves the pair out until `until`, or until the end that stands where that is later. An
    /// `until` that is not after `now` changes nothing.
    pub fn suspend(&self, now: Instant, until: Instant, reason: impl Into<Arc<str>>) {
        if until > now {
            let mut standing_reason = self.lock_reason();
            if !self.standing(now).is_suspended() {
                self.begun.fetch_add(1, Ordering::Relaxed);
            }
            if self.cell.suspend(self.epoch.ceil(until)) {
                *standing_reason = reason.into();
            }
            self.note();
        }
    }

    /// How many suspensions have begun: failures that only renewed one that stood not counted.
    pub fn suspensions(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Makes the pair healthy at once, whatever is under way.
    pub fn resume(&self) {
        let _reason = self.lock_reason();
        self.cell.resume();
        self.note();
    }

    /// Takes over how the pair stands elsewhere: suspended until `until`, or healthy. The later end
    /// stays, as with any failure. Returns false, and does nothing, where something has happened
    /// here that nobody has been told yet.
    pub fn adopt(&self, now: Instant, until: Option<Instant>, reason: &str) -> bool {
        let mut standing_reason = self.lock_reason();
        if self
            .changes
            .as_ref()
            .is_some_and(|(pair, outbox)| outbox.holds(pair))
        {
            return false;
        }
        match until {
            None => self.cell.resume(),
            Some(until) => {
                let stands = self.cell.suspension(self.epoch.floor(now));
                let is_known =
                    stands.is_some_and(|(end, _)| until <= self.epoch.instant(end) + SAME_END);
                if !is_known && until > now && self.cell.suspend(self.epoch.ceil(until)) {
                    *standing_reason = reason.into();
                }
            }
        }
        true
    }

    /// Notes that something has changed. Whoever calls holds the lock, so that `adopt` undoes nothing.
    fn note(&self) {
        if let Some((pair, outbox)) = &self.changes {
            outbox.note(pair);
        }
    }

    /// Why and until when the pair is left out; `None`: it is healthy.
    pub fn suspension(&self, now: Instant) -> Option<Suspension> {
        let reason = self.lock_reason();
        let (until, standing) = self.cell.suspension(self.epoch.floor(now))?;
        Some(Suspension {
            until: self.epoch.instant(until),
            reason: Arc::clone(&reason),
            standing: standing.map(|until| self.epoch.instant(until)),
        })
    }

    /// How attempts at the pair went.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    fn lock_reason(&self) -> MutexGuard<'_, Arc<str>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave for one attempt at a pair, held until the attempt's verdict. Dropped without one it is
/// [`neutral`](Self::neutral).
///
/// A stream has its verdict at its first content: `success` then, so that a long answer is no
/// long probe, and [`PairState::suspend`] if it breaks after that.
#[derive(Debug)]
#[must_use = "dropped at once, the attempt has no verdict"]
pub struct Permit<'pair> {
    pair: &'pair PairState,
    ticket: Ticket,
}

impl Permit<'_> {
    /// The target answered: ends the suspension that this attempt was admitted under, if it was
    /// admitted under one and no failure has begun another since.
    pub fn success(self) {
        if self.pair.cell.succeed(self.ticket) {
            let _reason = self.pair.lock_reason();
            self.pair.note();
        }
    }

    /// The target failed: suspends the pair as [`PairState::suspend`] does. With an `until` that
    /// is not after `now` nothing is remembered, and where this was the probe the next request is.
    pub fn fail(self, now: Instant, until: Instant, reason: impl Into<Arc<str>>) {
        self.pair.suspend(now, until, reason);
    }

    /// The attempt says nothing about the pair: the client went away, or the request did not fit
    /// the model. Where this was the probe, the next request is.
    pub fn neutral(self) {}
}

impl Drop for Permit<'_> {
    /// Hands back the probe's claim. After a verdict there is none any more: both `success` and
    /// `fail` leave a word that this ticket does not fit.
    fn drop(&mut self) {
        self.pair.cell.release(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn suspended(now: Instant, until: Instant) -> PairState {
        let pair = PairState::alone(Epoch(now));
        pair.suspend(now, until, "500");
        pair
    }

    #[test]
    fn left_out_until_the_end_and_then_probed_once() {
        let start = Instant::now();
        let end = start + 30 * SECOND;
        let pair = suspended(start, end);
        assert!(pair.try_admit(end - SECOND).is_none());

        let probe = pair.try_admit(end).unwrap();
        assert_eq!(pair.standing(end), Standing::Probing);
        assert!(pair.try_admit(end).is_none(), "a second probe");
        probe.success();
        assert_eq!(pair.standing(end), Standing::Healthy);
        assert_eq!(pair.suspension(end), None);
    }

    #[test]
    fn a_failed_probe_renews_the_suspension() {
        let start = Instant::now();
        let pair = suspended(start, start + SECOND);
        let now = start + 2 * SECOND;
        let until = now + 30 * SECOND;
        pair.try_admit(now).unwrap().fail(now, until, "timeout");
        let suspension = pair.suspension(now).unwrap();
        assert_eq!(suspension.standing, Standing::Suspended { until });
        assert_eq!(&*suspension.reason, "timeout");
    }

    #[test]
    fn a_probe_that_panics_hands_back_its_claim() {
        let start = Instant::now();
        let pair = suspended(start, start + SECOND);
        let now = start + SECOND;
        let panicked = std::panic::catch_unwind(|| {
            let _probe = pair.try_admit(now).unwrap();
            std::panic::resume_unwind(Box::new("in the middle of an attempt"));
        });
        assert!(panicked.is_err());
        assert_eq!(pair.standing(now), Standing::Ended);
    }

    #[test]
    fn a_failure_that_suspends_for_nothing_remembers_nothing() {
        let now = Instant::now();
        let pair = PairState::alone(Epoch(now));
        pair.try_admit(now).unwrap().fail(now, now, "500");
        assert_eq!(pair.standing(now), Standing::Healthy);

        pair.suspend(now, now + SECOND, "500");
        let end = now + SECOND;
        pair.try_admit(end).unwrap().fail(end, end, "500");
        assert_eq!(pair.standing(end), Standing::Ended, "the next one probes");
    }

    #[test]
    fn a_later_failure_never_shortens_it() {
        let now = Instant::now();
        let long = now + 600 * SECOND;
        let pair = PairState::alone(Epoch(now));
        let older = pair.try_admit(now).unwrap();
        pair.suspend(now, long, "429");
        older.fail(now, now + SECOND, "500");
        let suspension = pair.suspension(now).unwrap();
        assert_eq!((suspension.until, &*suspension.reason), (long, "429"));
    }

    #[test]
    fn a_success_that_began_before_a_later_failure_does_not_clear_it() {
        let start = Instant::now();
        let pair = suspended(start, start + SECOND);
        let now = start + SECOND;
        let probe = pair.try_admit(now).unwrap();
        // Confirms an end that stands already, and is a failure all the same.
        let forced = pair.force(now);
        pair.suspend(now, now + SECOND, "reset");
        let forced_later = pair.force(now);
        probe.success();
        forced.success();
        assert!(pair.standing(now).is_suspended());
        forced_later.success();
        assert_eq!(pair.standing(now), Standing::Healthy);
    }

    #[test]
    fn never_ends_early_and_at_most_a_millisecond_late() {
        let epoch = Instant::now();
        let pair = PairState::alone(Epoch(epoch));
        let until = epoch + Duration::from_nanos(5_000_001);
        pair.suspend(epoch, until, "500");
        assert!(
            pair.standing(until - Duration::from_nanos(1))
                .is_suspended()
        );
        assert_eq!(
            pair.standing(epoch + Duration::from_millis(6)),
            Standing::Ended
        );
    }

    #[test]
    fn times_out_of_range_are_held_in_it() {
        let epoch = Instant::now() + 1000 * SECOND;
        let pair = PairState::alone(Epoch(epoch));
        let before = epoch - 900 * SECOND;
        pair.suspend(before, before + SECOND, "500");
        assert!(pair.standing(before).is_suspended());
        assert_eq!(pair.standing(epoch + SECOND), Standing::Ended);

        let century = 100 * 365 * 86_400 * SECOND;
        pair.suspend(epoch, epoch + century, "by hand");
        assert!(pair.standing(epoch + century / 3).is_suspended());
        assert_eq!(&*pair.suspension(epoch).unwrap().reason, "by hand");
    }

    /// The same in plain words: no bits, no atomics, one caller at a time.
    #[derive(Default)]
    struct Model {
        now: u64,
        suspension: Option<ModelSuspension>,
        begun: usize,
    }

    struct ModelSuspension {
        id: usize,
        until: u64,
        reason: String,
        probe: bool,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Held {
        Healthy,
        Probe(usize),
        Forced(usize),
    }

    impl Model {
        fn standing(&self) -> Standing<u64> {
            match &self.suspension {
                None => Standing::Healthy,
                Some(s) if self.now < s.until => Standing::Suspended { until: s.until },
                Some(s) if s.probe => Standing::Probing,
                Some(_) => Standing::Ended,
            }
        }

        fn try_admit(&mut self) -> Option<Held> {
            match self.standing() {
                Standing::Healthy => Some(Held::Healthy),
                Standing::Ended => self.suspension.as_mut().map(|s| {
                    s.probe = true;
                    Held::Probe(s.id)
                }),
                _ => None,
            }
        }

        fn force(&mut self) -> Held {
            let admitted = self.try_admit();
            let id = self.suspension.as_ref().map_or(0, |s| s.id);
            admitted.unwrap_or(Held::Forced(id))
        }

        fn success(&mut self, held: Held) {
            if let Held::Probe(id) | Held::Forced(id) = held {
                self.suspension = self.suspension.take().filter(|s| s.id != id);
            }
        }

        fn neutral(&mut self, held: Held) {
            if let (Some(s), Held::Probe(id)) = (&mut self.suspension, held) {
                s.probe &= s.id != id;
            }
        }

        fn fail(&mut self, held: Held, span: u64, reason: &str) {
            self.suspend(span, reason);
            self.neutral(held);
        }

        fn suspend(&mut self, span: u64, reason: &str) {
            if span == 0 {
                return;
            }
            self.begun += 1;
            let (mut until, mut why) = (self.now + span, reason.to_owned());
            if let Some(before) = self.suspension.take().filter(|s| s.until > until) {
                (until, why) = (before.until, before.reason);
            }
            self.suspension = Some(ModelSuspension {
                id: self.begun,
                until,
                reason: why,
                probe: false,
            });
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        TryAdmit,
        Force,
        Success(prop::sample::Index),
        Neutral(prop::sample::Index),
        Fail(prop::sample::Index, u64),
        Suspend(u64),
        Resume,
    }

    fn step() -> impl Strategy<Value = Step> {
        let which = any::<prop::sample::Index>;
        prop_oneof![
            4 => (0..6u64).prop_map(Step::Wait),
            6 => Just(Step::TryAdmit),
            2 => Just(Step::Force),
            3 => which().prop_map(Step::Success),
            2 => which().prop_map(Step::Neutral),
            3 => (which(), 0..8u64).prop_map(|(permit, span)| Step::Fail(permit, span)),
            1 => (0..8u64).prop_map(Step::Suspend),
            1 => Just(Step::Resume),
        ]
    }

    fn run(steps: &[Step]) -> Result<(), TestCaseError> {
        let epoch = Instant::now();
        let at = |millis| epoch + Duration::from_millis(millis);
        let pair = PairState::alone(Epoch(epoch));
        let mut model = Model::default();
        let mut permits: Vec<(Permit<'_>, Held)> = Vec::new();

        for (number, step) in steps.iter().enumerate() {
            let now = at(model.now);
            let reason = format!("failure {number}");
            let mut take = |which: &prop::sample::Index| {
                let some = !permits.is_empty();
                some.then(|| permits.swap_remove(which.index(permits.len())))
            };
            match step {
                Step::Wait(millis) => model.now += millis,
                Step::TryAdmit => {
                    let (permit, held) = (pair.try_admit(now), model.try_admit());
                    prop_assert_eq!(permit.is_some(), held.is_some());
                    permits.extend(permit.zip(held));
                }
                Step::Force => permits.push((pair.force(now), model.force())),
                Step::Success(which) => {
                    if let Some((permit, held)) = take(which) {
                        permit.success();
                        model.success(held);
                    }
                }
                Step::Neutral(which) => {
                    if let Some((permit, held)) = take(which) {
                        permit.neutral();
                        model.neutral(held);
                    }
                }
                Step::Fail(which, span) => {
                    if let Some((permit, held)) = take(which) {
                        permit.fail(now, at(model.now + span), reason.as_str());
                        model.fail(held, *span, &reason);
                    }
                }
                Step::Suspend(span) => {
                    pair.suspend(now, at(model.now + span), reason.as_str());
                    model.suspend(*span, &reason);
                }
                Step::Resume => {
                    pair.resume();
                    model.suspension = None;
                }
            }
            let now = at(model.now);
            prop_assert_eq!(pair.standing(now), model.standing().map(at));
            let seen = pair
                .suspension(now)
                .map(|s| (s.until, s.reason.to_string()));
            let expected = model.suspension.as_ref();
            prop_assert_eq!(seen, expected.map(|s| (at(s.until), s.reason.clone())));
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_sequence_goes_as_in_the_model(steps in prop::collection::vec(step(), 1..60)) {
            run(&steps)?;
        }
    }
}
