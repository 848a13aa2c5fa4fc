//! What an answer's headers say about waiting.
//!
//! Providers limit several things at once (requests, tokens, a minute, a day), and each limit has
//! a header for what remains and one for its reset. A reset counts only where it is that limit
//! which is used up: `OpenAI` sends `x-ratelimit-reset-requests: 120ms` beside the six minutes that
//! the tokens take. A header whose value can't be read counts as absent: Azure sends `-1` for what
//! it does not limit (openai/openai-dotnet#838).

use std::time::{Duration, SystemTime};

use http::header::{self, AsHeaderName};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::points_in_time::{milliseconds, reset, seconds_or_date};

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// How long the answer asks to wait before the next request: `retry-after-ms` (Azure), else
/// `retry-after`. A time in the past is a wait of zero. `now` is asked for only where there is one.
pub fn retry_after(headers: &HeaderMap, now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    value(headers, RETRY_AFTER_MS)
        .and_then(milliseconds)
        .or_else(|| seconds_or_date(value(headers, header::RETRY_AFTER)?, now()))
}

/// How long a refusal for too many requests lasts by its reset headers: the longest of those
/// whose limit is not said to have anything left.
pub fn rate_limit_reset(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    LIMITS
        .iter()
        .filter(|limit| limit.remaining(headers).unwrap_or(0) == 0)
        .filter_map(|limit| limit.reset(headers, now))
        .max()
}

/// Whether a limit is used up with this answer, so that the next request would be refused.
/// `Some(Some(wait))`: until the longest reset of the limits that are; `Some(None)`: no header
/// says how long. `now` is asked for only where there is one.
pub fn quota_used_up(
    headers: &HeaderMap,
    now: impl Fn() -> SystemTime,
) -> Option<Option<Duration>> {
    // By the answer's headers instead of by the limits: of the few there are, hardly one says 0.
    headers
        .iter()
        .filter(|(_, value)| says_zero(value))
        .filter_map(|(name, _)| LIMITS.iter().find(|limit| limit.remaining == name.as_str()))
        .filter(|limit| limit.remaining(headers) == Some(0))
        .map(|limit| limit.reset(headers, now()))
        .max()
}

/// Whether a number stands there that may be 0.
fn says_zero(value: &HeaderValue) -> bool {
    let text = value.as_bytes().trim_ascii();
    text.last() == Some(&b'0') && text.iter().all(|byte| matches!(byte, b'0' | b'+'))
}

/// The headers of one limit.
struct Limit {
    remaining: &'static str,
    reset: &'static [&'static str],
}

impl Limit {
    const fn new(remaining: &'static str, reset: &'static [&'static str]) -> Self {
        Self { remaining, reset }
    }

    fn remaining(&self, headers: &HeaderMap) -> Option<u64> {
        value(headers, self.remaining)?.parse().ok()
    }

    fn reset(&self, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
        self.reset
            .iter()
            .filter_map(|name| reset(value(headers, *name)?, now))
            .max()
    }
}

fn value(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// Sources: `OpenAI` "Rate limits"; Groq "Rate limits"; Azure: Azure/azure-rest-api-specs#26884 and,
/// for the spelling with `rate-limit`, openai/openai-python#937; Anthropic "Rate limits" (its
/// `anthropic-priority-*` are left out: past them requests go on in the standard tier); Mistral:
/// mistralai/client-ts#169, and the older `ratelimitbysize` that its clients read; Cerebras "Rate
/// limits"; `OpenRouter` "Limits"; draft-polli-ratelimit-headers.
const LIMITS: [Limit; 18] = [
    // OpenAI, Azure, Groq
    Limit::new(
        "x-ratelimit-remaining-requests",
        &["x-ratelimit-reset-requests"],
    ),
    Limit::new(
        "x-ratelimit-remaining-tokens",
        &["x-ratelimit-reset-tokens", "x-rate-limit-reset-tokens"],
    ),
    // Anthropic
    Limit::new(
        "anthropic-ratelimit-requests-remaining",
        &["anthropic-ratelimit-requests-reset"],
    ),
    Limit::new(
        "anthropic-ratelimit-tokens-remaining",
        &["anthropic-ratelimit-tokens-reset"],
    ),
    Limit::new(
        "anthropic-ratelimit-input-tokens-remaining",
        &["anthropic-ratelimit-input-tokens-reset"],
    ),
    Limit::new(
        "anthropic-ratelimit-output-tokens-remaining",
        &["anthropic-ratelimit-output-tokens-reset"],
    ),
    // Mistral
    Limit::new(
        "x-ratelimit-remaining-req-minute",
        &["x-ratelimit-reset-req-minute"],
    ),
    Limit::new(
        "x-ratelimitbysize-remaining-minute",
        &["ratelimitbysize-reset"],
    ),
    Limit::new("x-ratelimitbysize-remaining-month", &[]),
    Limit::new("ratelimitbysize-remaining", &["ratelimitbysize-reset"]),
    // Mistral and Cerebras
    Limit::new(
        "x-ratelimit-remaining-tokens-minute",
        &["x-ratelimit-reset-tokens-minute"],
    ),
    // Cerebras
    Limit::new(
        "x-ratelimit-remaining-requests-minute",
        &["x-ratelimit-reset-requests-minute"],
    ),
    Limit::new(
        "x-ratelimit-remaining-requests-hour",
        &["x-ratelimit-reset-requests-hour"],
    ),
    Limit::new(
        "x-ratelimit-remaining-requests-day",
        &["x-ratelimit-reset-requests-day"],
    ),
    Limit::new(
        "x-ratelimit-remaining-tokens-hour",
        &["x-ratelimit-reset-tokens-hour"],
    ),
    Limit::new(
        "x-ratelimit-remaining-tokens-day",
        &["x-ratelimit-reset-tokens-day"],
    ),
    // OpenRouter and many others; the draft of the IETF
    Limit::new("x-ratelimit-remaining", &["x-ratelimit-reset"]),
    Limit::new("ratelimit-remaining", &["ratelimit-reset"]),
];

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    /// 2025-08-21T12:40:00Z
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_755_780_000)
    }

    fn headers(text: &str) -> HeaderMap {
        text.lines()
            .map(|line| {
                let (name, value) = line.trim().split_once(": ").unwrap();
                (
                    HeaderName::try_from(name).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn millis(wait: Option<Duration>) -> Option<u128> {
        wait.map(|wait| wait.as_millis())
    }

    #[test]
    fn the_wait_that_an_answer_asks_for() {
        for (text, expected) in [
            ("retry-after: 20", Some(20_000)),
            ("retry-after: Thu, 21 Aug 2025 12:41:00 GMT", Some(60_000)),
            ("retry-after-ms: 350\nretry-after: 1", Some(350)),
            ("retry-after-ms: none\nretry-after: 1", Some(1_000)),
            ("retry-after: soon", None),
            ("content-type: application/json", None),
        ] {
            assert_eq!(millis(retry_after(&headers(text), now)), expected, "{text}");
        }
    }

    /// What each provider's headers say: how long a 429 with them lasts, and whether the quota is
    /// used up.
    #[test]
    fn limits_by_provider() {
        for (provider, text, refused_for, used_up) in [
            (
                "OpenAI, tokens used up",
                "x-ratelimit-limit-requests: 500
                 x-ratelimit-remaining-requests: 499
                 x-ratelimit-reset-requests: 120ms
                 x-ratelimit-limit-tokens: 30000
                 x-ratelimit-remaining-tokens: 0
                 x-ratelimit-reset-tokens: 6m0s",
                Some(360_000),
                Some(Some(360_000)),
            ),
            (
                "OpenAI, enough left",
                "x-ratelimit-remaining-requests: 4999
                 x-ratelimit-reset-requests: 12ms
                 x-ratelimit-remaining-tokens: 159976
                 x-ratelimit-reset-tokens: 9ms",
                None,
                None,
            ),
            (
                "Azure, a limit that it does not have",
                "x-ratelimit-limit-tokens: -1
                 x-ratelimit-remaining-tokens: -1
                 x-ratelimit-reset-tokens: 0",
                Some(0),
                None,
            ),
            (
                "Azure, in its other spelling",
                "x-ratelimit-remaining-requests: 79
                 x-rate-limit-reset-tokens: 55",
                Some(55_000),
                None,
            ),
            (
                "Anthropic, output tokens used up",
                "anthropic-ratelimit-requests-remaining: 999
                 anthropic-ratelimit-requests-reset: 2025-08-21T12:59:59Z
                 anthropic-ratelimit-output-tokens-remaining: 0
                 anthropic-ratelimit-output-tokens-reset: 2025-08-21T12:40:45Z
                 anthropic-priority-input-tokens-remaining: 0",
                Some(45_000),
                Some(Some(45_000)),
            ),
            (
                "Groq, requests of the day",
                "x-ratelimit-remaining-requests: 0
                 x-ratelimit-reset-requests: 2m59.56s
                 x-ratelimit-remaining-tokens: 17997
                 x-ratelimit-reset-tokens: 7.66s",
                Some(179_560),
                Some(Some(179_560)),
            ),
            (
                "Mistral, no reset told",
                "x-ratelimit-limit-req-minute: 720
                 x-ratelimit-remaining-req-minute: 0
                 x-ratelimit-remaining-tokens-minute: 4999911",
                None,
                Some(None),
            ),
            (
                "Mistral, by size",
                "x-ratelimitbysize-remaining-month: 998000000
                 x-ratelimitbysize-remaining-minute: 0
                 ratelimitbysize-reset: 28",
                Some(28_000),
                Some(Some(28_000)),
            ),
            (
                "Cerebras, tokens of the minute",
                "x-ratelimit-remaining-requests-day: 1000
                 x-ratelimit-reset-requests-day: 33011.382867
                 x-ratelimit-remaining-tokens-minute: 0
                 x-ratelimit-reset-tokens-minute: 11.382867",
                Some(11_382),
                Some(Some(11_382)),
            ),
            (
                "OpenRouter",
                "x-ratelimit-limit: 20
                 x-ratelimit-remaining: 0
                 x-ratelimit-reset: 1755780030000",
                Some(30_000),
                Some(Some(30_000)),
            ),
            (
                "a header that is no number",
                "x-ratelimit-remaining-tokens: many",
                None,
                None,
            ),
        ] {
            let headers = headers(text);
            assert_eq!(
                millis(rate_limit_reset(&headers, now())),
                refused_for,
                "{provider}"
            );
            assert_eq!(
                quota_used_up(&headers, now).map(millis),
                used_up,
                "{provider}"
            );
        }
    }

    #[test]
    fn of_two_limits_the_longer_one_counts() {
        let headers = headers(
            "x-ratelimit-remaining-requests: 0
             x-ratelimit-reset-requests: 1s
             x-ratelimit-remaining-tokens: 0
             x-ratelimit-reset-tokens: 6m0s
             x-ratelimit-remaining-tokens-day: 0",
        );
        assert_eq!(
            quota_used_up(&headers, now).map(millis),
            Some(Some(360_000))
        );
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_a_panic(bytes in proptest::collection::vec(0x20u8..=0xff, 0..40)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            for limit in LIMITS {
                headers.insert(limit.remaining, HeaderValue::from_static("0"));
                for name in limit.reset {
                    headers.insert(*name, value.clone());
                }
            }
            headers.insert("retry-after", value);
            let _ = (retry_after(&headers, now), rate_limit_reset(&headers, now()));
            prop_assert!(quota_used_up(&headers, now).is_some());
        }
    }
}
