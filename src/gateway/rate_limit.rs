//! How much a key may ask for in a minute: requests, tokens, or both (`keys[].rate_limit`).
//!
//! Each of the two is a [`Bucket`] of a minute's worth that fills evenly (the generic cell rate algorithm): what
//! was left unused for a minute can be had at once, and never more than that.
//!
//! **Requests** are paid when they come. **Tokens** are known when an answer is over, so they are paid then: a
//! request is let in as long as anything is left, and what its answer costs beyond that is a debt that the
//! next ones wait out, a day at most. An answer of a model that doesn't say what it has cost is put down at a
//! token for four bytes of the question, and one for each event of a stream or four bytes of an answer. What
//! asks for no model (files, lists) costs no tokens.
//!
//! The buckets are a key's by its name and environment: they outlive a reload, also one that rotates the key,
//! as long as the limit is the same. A key without a limit has none, and pays for nothing.
//!
//! `governor` has the first kind and not the second (a cost that comes later and may be more than there is);
//! two sorts of buckets would be more than these lines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};

use super::error::Rejection;
use crate::policy::{Authentication, Caller, Environment, RateLimit};
use crate::telemetry::RequestRecord;

const MINUTE: Duration = Duration::from_secs(60);

/// The longest debt: a guess about one huge question must not shut a key out for good.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// By what a key is known over reloads.
type KeyName = (Environment, Arc<str>);

/// The limits of all keys that have one.
#[derive(Debug, Default)]
pub(super) struct RateLimits(Mutex<HashMap<KeyName, Weak<KeyLimits>>>);

impl RateLimits {
    /// Those of all callers, in the order of the configuration.
    pub(super) fn resolve(
        &self,
        authentication: &Authentication,
        now: Instant,
    ) -> Vec<Option<Arc<KeyLimits>>> {
        let callers = match authentication {
            Authentication::Keys(callers) => callers.in_order(),
            Authentication::None(everybody) => vec![everybody],
        };
        let callers = callers.into_iter();
        callers.map(|caller| self.of(caller, now)).collect()
    }

    /// Those of a caller: the ones there are, where nothing has changed.
    fn of(&self, caller: &Caller, now: Instant) -> Option<Arc<KeyLimits>> {
        let limit = caller.rate_limit?;
        let mut known = lock(&self.0);
        let name = (caller.environment, caller.name.clone());
        let limits = known.get(&name).and_then(Weak::upgrade);
        if let Some(limits) = limits.filter(|limits| limits.limit == limit) {
            return Some(limits);
        }
        let limits = Arc::new(KeyLimits::new(limit, now));
        known.retain(|_, limits| limits.strong_count() > 0);
        known.insert(name, Arc::downgrade(&limits));
        Some(limits)
    }
}

/// What one key has left.
#[derive(Debug)]
pub(super) struct KeyLimits {
    limit: RateLimit,
    requests: Option<Mutex<Bucket>>,
    tokens: Option<Mutex<Bucket>>,
}

impl KeyLimits {
    fn new(limit: RateLimit, now: Instant) -> Self {
        let bucket = |a_minute: Option<u32>| Some(Mutex::new(Bucket::new(a_minute?, now)));
        Self {
            limit,
            requests: bucket(limit.requests_per_minute),
            tokens: bucket(limit.tokens_per_minute),
        }
    }

    /// Lets a request in, or says how long it is too early. A request that is turned away costs nothing.
    ///
    /// # Errors
    /// 429, where a minute's worth of either is used up.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Rejection> {
        if let Some(tokens) = &self.tokens
            && let Some(wait) = lock(tokens).too_early(now)
        {
            return Err(Rejection::rate_limited("tokens", wait));
        }
        if let Some(requests) = &self.requests {
            let mut requests = lock(requests);
            if let Some(wait) = requests.too_early(now) {
                return Err(Rejection::rate_limited("requests", wait));
            }
            requests.pay(1, now);
        }
        Ok(())
    }

    /// Pays for the tokens of a request that is over.
    pub(super) fn pay(&self, record: &RequestRecord, now: Instant) {
        if let Some(bucket) = &self.tokens {
            lock(bucket).pay(tokens(record), now);
        }
    }

    /// How it stands, as the headers that OpenAI's clients know.
    pub(super) fn headers(&self, now: Instant) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let told = [(&REQUESTS, &self.requests), (&TOKENS, &self.tokens)];
        told.into_iter()
            .filter_map(move |(names, bucket)| {
                let (most, left, reset) = lock(bucket.as_ref()?).standing(now);
                let reset = HeaderValue::try_from(format!("{}ms", reset.as_millis())).ok()?;
                Some(names.iter().cloned().zip([most.into(), left.into(), reset]))
            })
            .flatten()
    }
}

/// Each: the most, what is left, and when all of it is there again.
static REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
static TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// What a request has cost: as its answer says, or about that. One that asks for no model costs nothing, nor
/// does one without an answer.
fn tokens(record: &RequestRecord) -> u64 {
    if record.model.is_none() {
        return 0;
    }
    let said = [record.tokens_in, record.tokens_out];
    if said.iter().any(Option::is_some) {
        return said.into_iter().flatten().sum();
    }
    match (record.status, &record.stream) {
        (Some(200..300), Some(stream)) => record.bytes_in / 4 + stream.events,
        (Some(200..300), None) => (record.bytes_in + record.bytes_out) / 4,
        _ => 0,
    }
}

/// A minute's worth of something, which fills evenly.
#[derive(Debug)]
struct Bucket {
    a_minute: u32,
    /// When it is full again. Further away than a minute: in debt.
    full_at: Instant,
}

impl Bucket {
    fn new(a_minute: u32, now: Instant) -> Self {
        Self {
            a_minute: a_minute.max(1),
            full_at: now,
        }
    }

    /// How long until one can be had; `None`: now.
    fn too_early(&self, now: Instant) -> Option<Duration> {
        let used = self.used(now) + self.filling(1);
        used.checked_sub(MINUTE).filter(|wait| !wait.is_zero())
    }

    /// Takes so many out, also more than there are.
    fn pay(&mut self, count: u64, now: Instant) {
        let full_in = self.used(now).saturating_add(self.filling(count));
        self.full_at = now + full_in.min(LONGEST);
    }

    /// The most, what is left, and how long until it is full.
    fn standing(&self, now: Instant) -> (u32, u32, Duration) {
        let used = self.used(now);
        let left = MINUTE.saturating_sub(used).as_nanos() * u128::from(self.a_minute);
        let left = u32::try_from(left / MINUTE.as_nanos()).unwrap_or(self.a_minute);
        (self.a_minute, left, used)
    }

    /// How long it would take to fill what has been taken out.
    fn used(&self, now: Instant) -> Duration {
        self.full_at.saturating_duration_since(now)
    }

    /// How long it takes to fill so many.
    fn filling(&self, count: u64) -> Duration {
        let nanos = MINUTE.as_nanos() * u128::from(count) / u128::from(self.a_minute);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_minutes_worth_can_be_had_at_once_and_then_one_by_one() {
        let start = Instant::now();
        let mut bucket = Bucket::new(60, start);
        for left in (0..60).rev() {
            assert_eq!(bucket.too_early(start), None);
            bucket.pay(1, start);
            assert_eq!(bucket.standing(start).1, left);
        }
        assert_eq!(bucket.too_early(start), Some(SECOND));
        assert_eq!(bucket.standing(start), (60, 0, MINUTE));
        assert_eq!(bucket.too_early(start + SECOND / 2), Some(SECOND / 2));
        assert_eq!(bucket.too_early(start + SECOND), None);
        assert_eq!(bucket.standing(start + 3 * SECOND), (60, 3, 57 * SECOND));
        // However long it was left alone, it has a minute's worth.
        assert_eq!(
            bucket.standing(start + 9 * MINUTE),
            (60, 60, Duration::ZERO)
        );
    }

    #[test]
    fn what_costs_more_than_there_is_becomes_a_debt() {
        let start = Instant::now();
        let mut bucket = Bucket::new(600, start);
        bucket.pay(599, start);
        assert_eq!(bucket.too_early(start), None, "there is one left");
        bucket.pay(1201, start);
        assert_eq!(bucket.standing(start), (600, 0, 3 * MINUTE));
        let wait = bucket.too_early(start).unwrap();
        assert_eq!(wait, 2 * MINUTE + SECOND / 10);
        assert_eq!(bucket.too_early(start + wait), None);
        bucket.pay(u64::MAX, start);
        assert_eq!(bucket.standing(start), (600, 0, LONGEST));
    }
}
