//! What is counted, added up for those who watch: of all requests, and of each model at each endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The models at endpoints that are told apart; those beyond them are left out.
pub const MOST_TARGETS: usize = 200;

/// Everything since the start, of the configuration that runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Requests, whatever became of them.
    pub requests: u64,
    /// Those that nobody answered well: failed, broken, refused for want of room or of targets.
    pub failed: u64,
    /// Times that a broken stream was continued by another target.
    pub rescues: u64,
    /// The gateway's own part of requests.
    pub own: Spans,
    /// By endpoint and model; the model is empty where it is whichever the caller asks for.
    pub targets: BTreeMap<(Arc<str>, Arc<str>), TargetTotals>,
}

/// Of one model at one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TargetTotals {
    /// Exchanges begun.
    pub attempts: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those after which another target was asked.
    pub failovers: u64,
    /// Attempts whose answer the client got, to its last byte.
    pub answers: Spans,
    /// From the start of a request to its first event with content.
    pub first_tokens: Spans,
    /// Tokens of prompts.
    pub tokens_in: u64,
    /// Tokens of answers.
    pub tokens_out: u64,
}

/// How often something took a while, and how long together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spans {
    /// How often.
    pub count: u64,
    /// Together.
    pub seconds: f64,
}

impl Spans {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        self.seconds += other.seconds;
    }

    /// What has come since `before`; nothing where the count began anew.
    pub fn since(self, before: Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            seconds: (self.seconds - before.seconds).max(0.0),
        }
    }

    /// One of them on average, in seconds.
    pub fn mean(self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "an average need not be exact")]
        (self.count > 0).then(|| self.seconds / self.count as f64)
    }
}

impl TargetTotals {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.failed += other.failed;
        self.failovers += other.failovers;
        self.answers.add(other.answers);
        self.first_tokens.add(other.first_tokens);
        self.tokens_in += other.tokens_in;
        self.tokens_out += other.tokens_out;
    }

    /// What has come since `before`; nothing where the count began anew.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            attempts: self.attempts.saturating_sub(before.attempts),
            failed: self.failed.saturating_sub(before.failed),
            failovers: self.failovers.saturating_sub(before.failovers),
            answers: self.answers.since(before.answers),
            first_tokens: self.first_tokens.since(before.first_tokens),
            tokens_in: self.tokens_in.saturating_sub(before.tokens_in),
            tokens_out: self.tokens_out.saturating_sub(before.tokens_out),
        }
    }
}

impl Totals {
    /// Adds a target, where there is room for it.
    pub(super) fn add(&mut self, endpoint: &Arc<str>, model: &Arc<str>, counted: &TargetTotals) {
        let key = (endpoint.clone(), model.clone());
        if self.targets.len() < MOST_TARGETS || self.targets.contains_key(&key) {
            self.targets.entry(key).or_default().add(counted);
        }
    }

    /// What has come since `before`, of targets with anything new.
    pub fn since(&self, before: &Self) -> Self {
        let new = |(key, now): (&(Arc<str>, Arc<str>), &TargetTotals)| {
            let before = before.targets.get(key).copied().unwrap_or_default();
            let new = now.since(&before);
            (new != TargetTotals::default()).then(|| (key.clone(), new))
        };
        Self {
            requests: self.requests.saturating_sub(before.requests),
            failed: self.failed.saturating_sub(before.failed),
            rescues: self.rescues.saturating_sub(before.rescues),
            own: self.own.since(before.own),
            targets: self.targets.iter().filter_map(new).collect(),
        }
    }

    /// All targets together.
    pub fn all_targets(&self) -> TargetTotals {
        let mut all = TargetTotals::default();
        for target in self.targets.values() {
            all.add(target);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(requests: u64, targets: &[(&str, u64)]) -> Totals {
        let mut totals = Totals {
            requests,
            ..Totals::default()
        };
        for (model, attempts) in targets {
            let counted = TargetTotals {
                attempts: *attempts,
                ..TargetTotals::default()
            };
            totals.add(&"e".into(), &(*model).into(), &counted);
        }
        totals
    }

    #[test]
    fn what_is_new_is_told_and_never_less_than_nothing() {
        let before = totals(5, &[("a", 3), ("b", 2), ("gone", 9)]);
        let now = totals(9, &[("a", 3), ("b", 7), ("c", 1)]);
        assert_eq!(now.since(&before), totals(4, &[("b", 5), ("c", 1)]));
        assert_eq!(before.since(&now).requests, 0);
        assert_eq!(now.all_targets().attempts, 11);
    }

    #[test]
    fn one_target_of_two_policies_is_one() {
        let twice = totals(0, &[("a", 3), ("a", 4)]);
        assert_eq!(twice, totals(0, &[("a", 7)]));
        let spans = |count, seconds| Spans { count, seconds };
        assert_eq!(spans(4, 2.0).mean(), Some(0.5));
        assert_eq!(spans(0, 0.0).mean(), None);
    }

    #[test]
    fn there_is_a_most() {
        let mut totals = Totals::default();
        for number in 0..=MOST_TARGETS {
            let model = number.to_string().into();
            totals.add(&"e".into(), &model, &TargetTotals::default());
        }
        assert_eq!(totals.targets.len(), MOST_TARGETS);
    }
}
