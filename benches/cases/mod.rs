//! What the benchmarks of decisions and the counts of instructions are made of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use standin::gateway::choose::{Next, choose, order};
use standin::gateway::places::Places;
use standin::gateway::suspension::{Epoch, Millis, PairState, Suspensions};
use standin::policy::{Environment, Pair, Pattern, PolicyId, Routes, WhenAllSuspended};

/// As many policies, each of one exact name: `model-0`, `model-1`, ….
pub fn names(policies: u32) -> Routes {
    let exact = (0..policies).map(|number| (name(number).into(), PolicyId(number)));
    Routes::new(exact, [])
}

/// As many policies, each of one pattern: `model-0*`, `model-1*`, ….
pub fn patterns(policies: u32) -> Routes {
    let pattern = |number| Pattern::parse(&(name(number) + "*")).map(|it| (it, PolicyId(number)));
    Routes::new([], (0..policies).filter_map(pattern))
}

/// The exact name of a policy.
pub fn name(number: u32) -> String {
    format!("model-{number}")
}

/// The targets of a policy, all but the last suspended.
pub struct Chain {
    pairs: Vec<Arc<PairState>>,
    epoch: Epoch,
    now: Instant,
}

impl Chain {
    pub fn all_but_the_last_suspended(targets: usize) -> Self {
        let now = Instant::now();
        let suspensions = Suspensions::new(now);
        let pairs: Vec<_> = (0..targets)
            .map(|number| {
                suspensions.resolve(&Pair {
                    environment: Environment::Production,
                    endpoint: "openai".into(),
                    model: format!("model-{number}").into(),
                })
            })
            .collect();
        for pair in &pairs[..targets - 1] {
            pair.suspend(now, now + Duration::from_secs(3600), "503");
        }
        let epoch = suspensions.epoch();
        Self { pairs, epoch, now }
    }

    /// What a request does that has tried nothing yet.
    pub fn next(&self) -> Next<Millis> {
        let at = self.epoch.floor(self.now);
        choose(
            order(0, self.pairs.len()),
            &Places::default(),
            |index| self.pairs[index].standing_at(at),
            WhenAllSuspended::Reject,
        )
    }
}
