//! `policies`: which targets, in which order, and when to leave one for the next.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::super::file;
use super::super::place::Place;
use super::super::read::{Entry, Field, List, Written, items};
use super::balance::{PolicyType, target_balance, warn_of_no_set};
use super::chains::{Context, chains};
use super::check::{TIMEOUT, WAIT, choice_or, duration, printable, small_number};
use super::failover_on::failover_on;
use crate::policy::{FailoverPolicy, PolicyId, RetryBackoff, StreamRescue, WhenAllSuspended};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_SUSPEND_DURATION: Duration = Duration::from_secs(600);
const RETRY_BACKOFF: RetryBackoff = RetryBackoff {
    base: Duration::from_millis(200),
    max: Duration::from_secs(2),
};
/// `max_retry_after` where a target is tried again at all.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

const SUSPENSION: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 24 * 3600);
const RETRIES: RangeInclusive<u64> = 0..=10;

/// A policy by its entry; `None` where something about it is wrong.
pub(super) fn policy<'n>(
    id: PolicyId,
    entry: &Entry<'n, file::Policy<'n>>,
    place: Place<'_>,
    context: &mut Context<'_, 'n>,
) -> Option<FailoverPolicy> {
    let name = Written {
        line: entry.line,
        value: entry.name,
    };
    printable(&name, place);
    let body = entry.body.as_ref()?;
    let policy = &body.value;
    let kind = PolicyType::of(policy, place);
    check_matches(&policy.matches, place.field("match"));
    let balance = target_balance(policy, kind, place);
    let chains = chains(body, (kind, &balance), place, context);
    if let Some(chains) = &chains {
        warn_of_no_set(policy, chains, place);
    }
    let timeouts = timeouts(policy, place);
    let retries = small_number(&policy.retries, place.field("retries"), &RETRIES);
    let retries = retries.unwrap_or_default();
    let default_wait = if retries > 0 {
        MAX_RETRY_AFTER
    } else {
        Duration::ZERO
    };
    let span =
        |field, name, range, default| duration(field, place.field(name), range).unwrap_or(default);
    Some(FailoverPolicy {
        id,
        name: Arc::from(entry.name),
        balance,
        request_timeout: timeouts.request,
        overall_timeout: timeouts.overall,
        first_token_timeout: timeouts.first_token,
        stream_idle_timeout: timeouts.stream_idle,
        retries,
        suspend_duration: span(
            &policy.suspend_duration,
            "suspend_duration",
            &SUSPENSION,
            Duration::ZERO,
        ),
        max_suspend_duration: span(
            &policy.max_suspend_duration,
            "max_suspend_duration",
            &SUSPENSION,
            MAX_SUSPEND_DURATION,
        ),
        max_retry_after: span(
            &policy.max_retry_after,
            "max_retry_after",
            &WAIT,
            default_wait,
        ),
        retry_backoff: retry_backoff(&policy.retry_backoff, place.field("retry_backoff")),
        failover_on: failover_on(&policy.failover_on, place.field("failover_on")),
        stream_rescue: choice_or(
            &policy.stream_rescue,
            place.field("stream_rescue"),
            &[
                ("continue", StreamRescue::Continue),
                ("off", StreamRescue::Off),
            ],
            "ways to rescue a stream",
            StreamRescue::Continue,
        ),
        when_all_suspended: choice_or(
            &policy.when_all_suspended,
            place.field("when_all_suspended"),
            &[
                ("reject", WhenAllSuspended::Reject),
                ("try_soonest", WhenAllSuspended::TrySoonest),
            ],
            "ways to go on",
            WhenAllSuspended::Reject,
        ),
        chains: chains?,
    })
}

fn check_matches(field: &Field<List<&str>>, place: Place<'_>) {
    if let Some(written) = field.given()
        && written.value.is_empty()
    {
        let message =
            "is empty: nothing would ever use the policy; leave it out to match the target's model";
        place.error(written.line, message);
    }
    let mut seen = HashSet::new();
    for (index, name) in items(field) {
        let place = place.item(index);
        printable(name, place);
        if !seen.insert(name.value) {
            place.error(
                name.line,
                format!("`{}` stands in this list twice", name.value),
            );
        }
    }
}

struct Timeouts {
    request: Duration,
    overall: Option<Duration>,
    first_token: Duration,
    stream_idle: Duration,
}

fn timeouts(policy: &file::Policy<'_>, place: Place<'_>) -> Timeouts {
    let timeout = |field, name| duration(field, place.field(name), &TIMEOUT);
    let request = timeout(&policy.request_timeout, "request_timeout").unwrap_or(REQUEST_TIMEOUT);
    let overall = timeout(&policy.overall_timeout, "overall_timeout");
    let first_token = timeout(&policy.first_token_timeout, "first_token_timeout");
    let stream_idle = timeout(&policy.stream_idle_timeout, "stream_idle_timeout");
    if let (Some(overall), Some(written)) = (overall, policy.overall_timeout.given())
        && overall <= request
    {
        let message = "is no longer than `request_timeout`: a target that times out leaves no time for its fallbacks";
        place
            .field("overall_timeout")
            .warning(written.line, message);
    }
    Timeouts {
        request,
        overall,
        first_token: first_token.unwrap_or(request),
        stream_idle: stream_idle.unwrap_or(request),
    }
}

fn retry_backoff(field: &Field<file::RetryBackoff>, place: Place<'_>) -> RetryBackoff {
    let Some(backoff) = field.value() else {
        return RETRY_BACKOFF;
    };
    let base = duration(&backoff.base, place.field("base"), &TIMEOUT);
    let base = base.unwrap_or(RETRY_BACKOFF.base);
    let max = duration(&backoff.max, place.field("max"), &TIMEOUT);
    if let (Some(max), Some(written)) = (max, backoff.max.given())
        && max < base
    {
        place
            .field("max")
            .error(written.line, "must not be shorter than `base`");
    }
    let max = max.unwrap_or(RETRY_BACKOFF.max.max(base));
    RetryBackoff { base, max }
}
