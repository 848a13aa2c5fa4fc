//! When an attempt must have come how far.
//!
//! ```text
//! attempt begins          head                 first content            end
//!      ├────── request_timeout ─┤                                        │
//!      ├────────────────── request_timeout (answers that are no stream) ─┤
//!      ├────── first_token_timeout (streams) ──┤                         │
//!      │                                       ├─ stream_idle_timeout ─┤ between two reads
//!      ├──────────────── overall_timeout (of all attempts together) ─────┤
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::judge::{ExchangeFault, Outcome, Verdict, judge_fault};
use crate::policy::FailoverPolicy;

/// The deadlines of one attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    request: Instant,
    first_token: Instant,
    idle: Duration,
    overall: Option<Instant>,
    streaming: bool,
}

impl Deadlines {
    /// Those of an attempt that has `begun`. `streaming`: the request asks for a stream.
    pub(super) fn of(
        policy: &FailoverPolicy,
        streaming: bool,
        overall: Option<Instant>,
        begun: Instant,
    ) -> Self {
        Self {
            request: begun + policy.request_timeout,
            first_token: begun + policy.first_token_timeout,
            idle: policy.stream_idle_timeout,
            overall,
            streaming,
        }
    }

    /// From the attempt's beginning to the answer's head.
    pub(super) fn head(&self) -> Instant {
        let own = if self.streaming {
            self.request.min(self.first_token)
        } else {
            self.request
        };
        self.capped(own)
    }

    /// To the end of an answer that is no stream.
    pub(super) fn whole(&self) -> Instant {
        self.capped(self.request)
    }

    /// To a stream's first event with content.
    pub(super) fn first_content(&self) -> Instant {
        self.capped(self.first_token)
    }

    /// To the next read of a stream whose answer has begun. A client that was slow to take the
    /// last one has cost nothing of it.
    pub(super) fn next_read(&self) -> Instant {
        self.capped(Instant::now() + self.idle)
    }

    /// The verdict where no head came in time.
    pub(super) fn missed_head(&self) -> Verdict {
        if self.streaming && self.first_token < self.request {
            self.missed(ExchangeFault::FirstTokenTimeout)
        } else {
            self.missed(ExchangeFault::Timeout)
        }
    }

    /// The verdict where a deadline passed: `fault`, unless it was the request's own patience that
    /// ended, which is no target's fault.
    pub(super) fn missed(&self, fault: ExchangeFault) -> Verdict {
        let mut verdict = judge_fault(fault);
        if self
            .overall
            .is_some_and(|overall| Instant::now() >= overall)
        {
            verdict.outcome = Outcome::DoesNotFit;
        }
        verdict
    }

    fn capped(&self, own: Instant) -> Instant {
        self.overall.map_or(own, |overall| own.min(overall))
    }
}
