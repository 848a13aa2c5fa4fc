//! Every interleaving of the lock-free part of a suspension, by loom: the same source file as in
//! the gateway, on loom's atomics instead of the standard library's.
//!
//! Time stands still in each of them (`now` is given), so a suspension that ends at `END` is
//! over at `END` and on until then.

#[path = "../src/gateway/suspension/cell.rs"]
#[expect(
    dead_code,
    reason = "what only the gateway calls is no business of this test"
)]
mod cell;

/// What `cell` finds as `super::sync`.
mod sync {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}

use std::sync::Arc;

use cell::{Cell, Millis, Standing, Ticket};
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

const END: Millis = Millis(10);
const LATER: Millis = Millis(20);
const LATEST: Millis = Millis(30);

/// A pair whose suspension ends at `END`.
fn suspended() -> Arc<Cell> {
    let cell = Arc::new(Cell::new());
    assert!(cell.suspend(END));
    cell
}

/// Runs the closures at once and waits for all; the last one on this thread.
macro_rules! at_once {
    ($($other:expr),* ; $last:expr) => {{
        let others = [$(thread::spawn($other)),*];
        let last = ($last)();
        (others.map(|other| other.join().unwrap()), last)
    }};
}

fn until(cell: &Cell) -> Option<Millis> {
    cell.suspension(END).map(|(until, _)| until)
}

#[test]
fn one_of_many_callers_is_the_probe() {
    loom::model(|| {
        let cell = suspended();
        let caller = || {
            let cell = Arc::clone(&cell);
            move || cell.try_admit(END).is_some()
        };
        let (others, last) = at_once!(caller(), caller(); caller());
        let admitted = others.into_iter().chain([last]).filter(|&won| won).count();
        assert_eq!(admitted, 1);
        assert_eq!(cell.standing(END), Standing::Probing);
    });
}

#[test]
fn a_released_probe_is_claimed_again_and_never_held_twice() {
    loom::model(|| {
        let cell = suspended();
        let probes = Arc::new(AtomicUsize::new(0));
        let caller = || {
            let (cell, probes) = (Arc::clone(&cell), Arc::clone(&probes));
            move || {
                if let Some(ticket) = cell.try_admit(END) {
                    assert_eq!(probes.fetch_add(1, Relaxed), 0, "two probes at once");
                    probes.fetch_sub(1, Relaxed);
                    cell.release(ticket);
                }
            }
        };
        at_once!(caller(), caller(); caller());
        assert_eq!(cell.standing(END), Standing::Ended);
    });
}

#[test]
fn those_who_come_as_the_probe_succeeds_pass_by_or_are_admitted_as_healthy() {
    loom::model(|| {
        let cell = suspended();
        let probe = cell.try_admit(END).unwrap();
        let (succeeding, asking) = (Arc::clone(&cell), Arc::clone(&cell));
        let (_, late) = at_once!(
            move || succeeding.succeed(probe);
            move || asking.try_admit(END)
        );
        assert_eq!(cell.standing(END), Standing::Healthy);
        if let Some(ticket) = late {
            cell.suspend(LATER);
            cell.succeed(ticket);
            assert_eq!(until(&cell), Some(LATER), "it had a suspension to end");
        }
    });
}

/// An attempt that succeeds against a failure that comes meanwhile: the failure always stays.
fn success_beside_failure(admit: impl Fn(&Cell) -> Ticket + Sync + Send + 'static) {
    loom::model(move || {
        let cell = suspended();
        let ticket = admit(&cell);
        let (succeeding, failing) = (Arc::clone(&cell), Arc::clone(&cell));
        at_once!(
            move || succeeding.succeed(ticket);
            move || failing.suspend(LATER)
        );
        assert_eq!(cell.standing(END), Standing::Suspended { until: LATER });
    });
}

#[test]
fn a_failure_beside_the_success_of_the_probe_is_not_lost() {
    success_beside_failure(|cell| cell.try_admit(END).unwrap());
}

#[test]
fn a_failure_beside_the_success_of_a_forced_attempt_is_not_lost() {
    success_beside_failure(|cell| cell.force(Millis(0)));
}

#[test]
fn a_failure_beside_a_resume_ends_as_either_came_last() {
    loom::model(|| {
        let cell = suspended();
        let (resuming, failing) = (Arc::clone(&cell), Arc::clone(&cell));
        at_once!(
            move || resuming.resume();
            move || failing.suspend(LATER)
        );
        let standing = cell.standing(END);
        let suspended = Standing::Suspended { until: LATER };
        assert!(standing == suspended || standing == Standing::Healthy);
    });
}

#[test]
fn of_failures_at_once_the_latest_end_stays() {
    loom::model(|| {
        let cell = suspended();
        let failure = |until| {
            let cell = Arc::clone(&cell);
            move || cell.suspend(until)
        };
        let (_, decided) = at_once!(failure(LATER), failure(END); failure(LATEST));
        assert!(decided);
        assert_eq!(until(&cell), Some(LATEST));
    });
}

/// A probe gives up while the pair fails anew and is claimed anew: the new claim is not its own.
#[test]
fn a_release_that_comes_late_leaves_the_next_probe_its_claim() {
    loom::model(|| {
        let cell = suspended();
        let probe = cell.try_admit(END).unwrap();
        let (releasing, failing) = (Arc::clone(&cell), Arc::clone(&cell));
        let (_, next) = at_once!(
            move || releasing.release(probe);
            move || {
                failing.suspend(END);
                failing.try_admit(END)
            }
        );
        assert!(next.is_some());
        assert_eq!(cell.standing(END), Standing::Probing);
    });
}

/// Claiming and releasing the probe does not make the suspension another one.
#[test]
fn a_forced_success_ends_the_suspension_whatever_its_probe_does() {
    loom::model(|| {
        let cell = suspended();
        let forced = cell.force(Millis(0));
        let (probing, succeeding) = (Arc::clone(&cell), Arc::clone(&cell));
        at_once!(
            move || {
                if let Some(ticket) = probing.try_admit(END) {
                    probing.release(ticket);
                }
            };
            move || succeeding.succeed(forced)
        );
        assert_eq!(cell.standing(END), Standing::Healthy);
    });
}

#[test]
fn of_forced_attempts_at_once_one_is_the_probe() {
    loom::model(|| {
        let cell = suspended();
        let caller = || {
            let cell = Arc::clone(&cell);
            move || cell.force(END)
        };
        let ([other], last) = at_once!(caller(); caller());
        // The one that is no probe has no claim to hand back; the probe has.
        cell.release(other);
        let after_one = cell.standing(END);
        cell.release(last);
        assert_eq!(cell.standing(END), Standing::Ended);
        assert!(after_one == Standing::Probing || after_one == Standing::Ended);
    });
}
