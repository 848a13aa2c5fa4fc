//! What is remembered of a request's attempts: for its log line, for its headers, and for the
//! error that a client gets when all of them have failed.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::time::Instant;

use super::error::{Exhausted, FailedAttempt};
use super::judge::{ExchangeFault, Outcome, Reason, Verdict, final_status, judge_fault};
use super::rate_limit::KeyLimits;
use super::table::{EndpointLinks, Table};
use crate::policy::{Backend, PairId, Secret};
use crate::provider::redact;
use crate::telemetry::AttemptRecord;
use crate::telemetry::metrics::AttemptClass;
use crate::telemetry::traces::RequestTrace;

const UNDECIDED: Cow<'static, str> = AttemptRecord::CLIENT_GONE;

/// Every exchange that was begun for one request, in order.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    attempts: Vec<AttemptRecord>,
    begun: Option<Instant>,
    trace: Option<Arc<RequestTrace>>,
    limits: Option<Arc<KeyLimits>>,
    waited: Duration,
    last: Option<Verdict>,
}

impl Ledger {
    /// An exchange begins, with a pair or without a policy, with one of several keys or with an only one. Tells
    /// when.
    pub(super) fn begin(
        &mut self,
        endpoint: &EndpointLinks,
        model: Option<&Arc<str>>,
        pair: Option<PairId>,
        key: Option<usize>,
    ) -> Instant {
        let begun = Instant::now();
        self.begun = Some(begun);
        let span =
            |trace: &Arc<RequestTrace>| trace.begin_attempt(endpoint.provider(), SystemTime::now());
        if self.attempts.is_empty() {
            // Mostly it is the only one, else there is one more.
            self.attempts.reserve_exact(2);
        }
        self.attempts.push(AttemptRecord {
            endpoint: endpoint.name().clone(),
            model: model.cloned(),
            backend: None,
            key,
            outcome: UNDECIDED,
            class: AttemptClass::CLIENT_GONE,
            pair,
            span: self.trace.as_ref().map(span),
            status: None,
            duration: Duration::ZERO,
        });
        begun
    }

    /// The request is traced: every attempt has a span.
    pub(super) fn trace(&mut self, trace: Option<Arc<RequestTrace>>) {
        self.trace = trace;
    }

    /// What every target is told of the trace, if there is one.
    pub(super) const fn traced(&self) -> Option<&Arc<RequestTrace>> {
        self.trace.as_ref()
    }

    /// The request is a caller's whose key has these limits.
    pub(super) fn limit(&mut self, limits: Arc<KeyLimits>) {
        self.limits = Some(limits);
    }

    /// The limits of the caller's key, if it has any.
    pub(super) fn limits(&self) -> Option<&KeyLimits> {
        self.limits.as_deref()
    }

    /// Its answer's head has come, from `backend` where the endpoint has several.
    pub(super) fn answered(&mut self, status: StatusCode, backend: Option<&Arc<str>>) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.status = Some(status.as_u16());
            attempt.backend = backend.cloned();
        }
    }

    /// Its answer goes to the client.
    pub(super) fn succeed(&mut self) {
        self.conclude(AttemptRecord::SUCCESS, AttemptClass::SUCCESS);
        self.last = None;
    }

    /// It has failed.
    pub(super) fn fail(&mut self, verdict: &Verdict) {
        self.conclude(verdict.reason.to_string().into(), verdict.reason.class());
        self.last = Some(verdict.clone());
    }

    /// Its endpoint has no place for it.
    pub(super) fn busy(&mut self) -> Verdict {
        let busy = judge_fault(ExchangeFault::Busy);
        self.fail(&busy);
        busy
    }

    /// The client has left.
    pub(super) fn client_gone(&mut self) {
        self.conclude(UNDECIDED, AttemptClass::CLIENT_GONE);
    }

    /// The request ends in the middle, by the process's end or by a panic: an exchange without a verdict
    /// will have none but the request's `error`.
    pub(super) fn cut(&mut self, error: &'static str) {
        let undecided = |attempt: &AttemptRecord| attempt.outcome == UNDECIDED;
        if self.current().is_some_and(undecided) {
            self.conclude(error.into(), AttemptClass::named(error));
        }
    }

    /// So long nothing was to be done but wait: for the request's body, or before another attempt.
    pub(super) fn waited(&mut self, span: Duration) {
        self.waited += span;
    }

    /// All waits together.
    pub(super) const fn waits(&self) -> Duration {
        self.waited
    }

    /// The exchange is over now: an answer's last byte has come.
    pub(super) fn finish(&mut self) {
        if let (Some(attempt), Some(begun)) = (self.attempts.last_mut(), self.begun) {
            attempt.duration = begun.elapsed();
        }
    }

    fn conclude(&mut self, outcome: Cow<'static, str>, class: AttemptClass) {
        self.finish();
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.outcome = outcome;
            attempt.class = class;
        }
    }

    /// How many exchanges were begun.
    pub(super) fn count(&self) -> usize {
        self.attempts.len()
    }

    /// The attempt that counts for the client: the last.
    pub(super) fn current(&self) -> Option<&AttemptRecord> {
        self.attempts.last()
    }

    /// `openai/gpt-4o=429, mistral/mistral-large-latest=timeout`: why it isn't the first target's
    /// answer. `None` where it is, or where nobody has failed.
    pub(super) fn failover(&self) -> Option<String> {
        let mut text = String::new();
        for attempt in &self.attempts {
            if attempt.outcome == AttemptRecord::SUCCESS || attempt.outcome == UNDECIDED {
                continue;
            }
            if text.is_empty() {
                text.reserve(64);
            } else {
                text.push_str(", ");
            }
            text.push_str(&attempt.endpoint);
            if let Some(model) = &attempt.model {
                text.push('/');
                text.push_str(model);
            }
            text.push('=');
            text.push_str(&attempt.outcome);
        }
        (!text.is_empty()).then_some(text)
    }

    /// The attempts, for the log.
    pub(super) fn take(&mut self) -> Vec<AttemptRecord> {
        std::mem::take(&mut self.attempts)
    }

    /// The error for a client whose every target has failed.
    pub(super) fn exhausted(&self, table: &Table) -> Exhausted {
        self.failed(table, "all_targets_failed")
    }

    /// The error for a client whose request had but one place to go, without a policy.
    pub(super) fn endpoint_failed(&self, table: &Table) -> Exhausted {
        self.failed(table, "endpoint_failed")
    }

    fn failed(&self, table: &Table, code: &'static str) -> Exhausted {
        let Some(last) = &self.last else {
            return self.all_suspended(Duration::from_secs(1));
        };
        Exhausted {
            status: final_status(&last.reason),
            code,
            message: self.message(last, table),
            retry_after: retry_after(last),
            attempts: self.failed_attempts(),
        }
    }

    /// The error for a client while every target is suspended; the soonest is back after `wait`.
    pub(super) fn all_suspended(&self, wait: Duration) -> Exhausted {
        Exhausted {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "all_targets_suspended",
            message: "Every target of the model is left out for a while: it failed a moment ago, or no backend of its endpoint is healthy. Send the request again after the time that Retry-After says.".to_owned(),
            retry_after: Some(wait),
            attempts: self.failed_attempts(),
        }
    }

    /// What the error says, with the target's own words but none of its secrets.
    fn message(&self, last: &Verdict, table: &Table) -> String {
        let count = self.attempts.len();
        let mut message = match count {
            1 => "The target failed".to_owned(),
            _ => format!("All {count} attempts failed"),
        };
        if let Some(attempt) = self.attempts.last() {
            message.push_str(if count == 1 { ": " } else { "; the last: " });
            message.push_str(&attempt.endpoint);
            if let Some(model) = &attempt.model {
                message.push('/');
                message.push_str(model);
            }
            message.push_str(": ");
            message.push_str(&attempt.outcome);
        }
        if let Some(words) = &last.message {
            message.push_str(": ");
            message.push_str(&discreet(words, table));
        }
        message
    }

    fn failed_attempts(&self) -> Vec<FailedAttempt> {
        self.attempts
            .iter()
            .map(|attempt| FailedAttempt {
                endpoint: attempt.endpoint.clone(),
                model: attempt.model.clone(),
                status: attempt.status,
                reason: attempt.outcome.clone().into_owned(),
            })
            .collect()
    }
}

/// A target's words without what is nobody's business outside: keys, and where endpoints are.
fn discreet(words: &str, table: &Table) -> String {
    let backends = table
        .snapshot
        .endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.backends);
    let mut places = Vec::new();
    for Backend { host, port, .. } in backends {
        // A name without a dot may be any word.
        if host.contains(['.', ':']) {
            places.push(host.clone());
        }
        places.push(format!("{host}:{port}"));
    }
    // Found by DNS, most of them.
    let found = table.pools().into_iter().flat_map(|pool| pool.places());
    places.extend(found.flat_map(|place| [place.ip().to_string(), place.to_string()]));
    let keys = table.secrets().iter().map(Secret::expose);
    redact(words, keys.chain(places.iter().map(String::as_str)))
}

/// How long a client that was turned away for too many requests, its own or everybody's, is asked to
/// wait.
fn retry_after(last: &Verdict) -> Option<Duration> {
    if last.reason == Reason::Fault(ExchangeFault::Busy) {
        return Some(Duration::from_secs(1));
    }
    let Outcome::TargetFault(fault) = &last.outcome else {
        return None;
    };
    let too_many = final_status(&last.reason) == StatusCode::TOO_MANY_REQUESTS;
    too_many.then(|| {
        fault
            .retry_after
            .or(fault.wish)
            .unwrap_or(Duration::from_secs(1))
    })
}
