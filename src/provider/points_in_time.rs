//! How providers write a span or a point in time into a header.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Nothing longer is believed; it also keeps every sum with a clock far from its overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The first Unix time that a bare number is taken for (2001-09-09); less is a span in seconds.
const FIRST_UNIX_SECONDS: f64 = 1e9;
/// The first Unix time in milliseconds (1973-03-03); less is one in seconds.
const FIRST_UNIX_MILLIS: f64 = 1e11;

/// A `Retry-After`: seconds, which some providers write with a fraction, or an HTTP date (RFC
/// 9110, 10.2.3). A date in the past is no wait at all.
pub(super) fn seconds_or_date(text: &str, now: SystemTime) -> Option<Duration> {
    match decimal(text) {
        Some(seconds) => span(seconds),
        None => from_now(httpdate::parse_http_date(text).ok()?, now),
    }
}

/// A span in whole or broken milliseconds.
pub(super) fn milliseconds(text: &str) -> Option<Duration> {
    span(decimal(text)? / 1e3)
}

/// A time of reset, in any way that is known: seconds (Azure, Mistral, Cerebras), a Unix time in
/// seconds or milliseconds (`OpenRouter`), a span as Go prints it (`OpenAI`, Groq), a time in RFC
/// 3339 (Anthropic), or an HTTP date.
pub(super) fn reset(text: &str, now: SystemTime) -> Option<Duration> {
    if let Some(number) = decimal(text) {
        let unix = if number < FIRST_UNIX_SECONDS {
            return span(number);
        } else if number < FIRST_UNIX_MILLIS {
            number
        } else {
            number / 1e3
        };
        let unix = Duration::try_from_secs_f64(unix).ok()?;
        return from_now(UNIX_EPOCH.checked_add(unix)?, now);
    }
    if let Some(span) = go_duration(text) {
        return Some(span);
    }
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return from_now(time.into(), now);
    }
    from_now(httpdate::parse_http_date(text).ok()?, now)
}

/// A span as Go prints it: `1s`, `6m0s`, `20ms`, `2m59.56s`, `114h18m0s`.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|char| !is_decimal(char))?);
        let (unit, tail) = tail.split_at(tail.find(is_decimal).unwrap_or(tail.len()));
        let seconds = decimal(number)? * seconds_of(unit)?;
        total = total.checked_add(span(seconds)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total.min(LONGEST))
}

const fn seconds_of(unit: &str) -> Option<f64> {
    match unit.as_bytes() {
        b"ns" => Some(1e-9),
        b"us" => Some(1e-6),
        b"ms" => Some(1e-3),
        b"s" => Some(1.0),
        b"m" => Some(60.0),
        b"h" => Some(3_600.0),
        b"d" => Some(86_400.0),
        _ => None,
    }
}

/// A number without a sign or an exponent, as headers have it.
fn decimal(text: &str) -> Option<f64> {
    text.chars().all(is_decimal).then(|| text.parse().ok())?
}

const fn is_decimal(char: char) -> bool {
    char.is_ascii_digit() || char == '.'
}

fn span(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.min(LONGEST.as_secs_f64())).ok()
}

fn from_now(time: SystemTime, now: SystemTime) -> Option<Duration> {
    Some(time.duration_since(now).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2025-08-21T12:40:00Z
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_755_780_000)
    }

    #[test]
    fn resets_as_providers_write_them() {
        for (text, expected_millis) in [
            ("1s", Some(1_000)),
            ("6m0s", Some(360_000)),
            ("20ms", Some(20)),
            ("2m59.56s", Some(179_560)),
            ("114h18m0s", Some(411_480_000)),
            ("1d1h", Some(90_000_000)),
            ("55", Some(55_000)),
            ("33011.382867", Some(33_011_383)),
            ("0", Some(0)),
            ("1755780030", Some(30_000)),
            ("1755780030500", Some(30_500)),
            ("1755770000", Some(0)),
            ("2025-08-21T12:41:00Z", Some(60_000)),
            ("2025-08-21T14:41:00.250+02:00", Some(60_250)),
            ("2025-08-21T12:39:59Z", Some(0)),
            ("Thu, 21 Aug 2025 12:41:00 GMT", Some(60_000)),
            ("", None),
            (".", None),
            ("s", None),
            ("5 s", None),
            ("5x", None),
            ("-1", None),
            ("-1s", None),
            ("1e3", None),
            ("inf", None),
            ("NaN", None),
            ("soon", None),
        ] {
            let millis = reset(text, now()).map(|wait| wait.as_nanos().div_ceil(1_000_000));
            assert_eq!(millis, expected_millis, "{text}");
        }
    }

    #[test]
    fn waits_as_rfc_9110_writes_them() {
        for (text, expected) in [
            ("120", Some(120.0)),
            ("0", Some(0.0)),
            ("1.5", Some(1.5)),
            ("Thu, 21 Aug 2025 12:42:00 GMT", Some(120.0)),
            ("Thursday, 21-Aug-25 12:42:00 GMT", Some(120.0)),
            ("Thu Aug 21 12:42:00 2025", Some(120.0)),
            ("Fri, 31 Dec 1999 23:59:59 GMT", Some(0.0)),
            ("-5", None),
            ("2m", None),
            ("tomorrow", None),
        ] {
            let seconds = seconds_or_date(text, now()).map(|wait| wait.as_secs_f64());
            assert_eq!(seconds, expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_longer_than_a_year() {
        let endless = "9".repeat(400);
        for text in [&*endless, "99999999d99999999d", "9999-12-31T23:59:59Z"] {
            assert!(
                reset(text, now()).is_none_or(|wait| wait <= LONGEST),
                "{text}"
            );
        }
        assert_eq!(seconds_or_date(&endless, now()), Some(LONGEST));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[ -~]{0,40}|[0-9.]{1,30}[a-z]{0,2}[0-9.]{0,5}[a-z]{0,2}") {
            for wait in [reset(&text, now()), seconds_or_date(&text, now()), milliseconds(&text)] {
                prop_assert!(wait.is_none_or(|wait| wait <= LONGEST));
            }
        }

        #[test]
        fn every_span_that_go_prints_is_read(hours in 0u64..200, minutes in 0u64..60, millis in 0u64..60_000) {
            let text = format!("{hours}h{minutes}m{}.{:03}s", millis / 1_000, millis % 1_000);
            let expected = Duration::from_millis((hours * 60 + minutes) * 60_000 + millis);
            let read = go_duration(&text).unwrap();
            prop_assert!(read.abs_diff(expected) < Duration::from_micros(1));
        }
    }
}
