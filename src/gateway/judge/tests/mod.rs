//! Bodies and headers as providers send them, and what they come to.

mod providers;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::policy::{PerEnvironment, PolicyId, RetryBackoff, StreamRescue, WhenAllSuspended};

const SECOND: Duration = Duration::from_secs(1);

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

fn judged_by(failover_on: &FailoverOn, status: u16, body: &str) -> Verdict {
    judge_answer(
        failover_on,
        StatusCode::from_u16(status).unwrap(),
        &HeaderMap::new(),
        Some(body.as_bytes()),
        now,
    )
}

fn judged(status: u16, body: &str) -> Verdict {
    judged_by(&FailoverOn::default(), status, body)
}

/// The outcome in a word, and the reason.
fn told(verdict: &Verdict) -> String {
    let outcome = match &verdict.outcome {
        Outcome::Success => "success",
        Outcome::ClientFault => "client",
        Outcome::DoesNotFit => "does not fit",
        Outcome::TargetFault(TargetFault {
            transient: true, ..
        }) => "target, transient",
        Outcome::TargetFault(_) => "target",
        Outcome::ClientGone => "gone",
    };
    format!("{outcome} {}", verdict.reason)
}

#[test]
fn every_status_has_its_default() {
    let client: BTreeSet<u16> = (100..=999)
        .filter(|&status| judged(status, "").outcome == Outcome::ClientFault)
        .collect();
    assert_eq!(client, BTreeSet::from(CLIENT_FAULTS));
    let transient: Vec<u16> = (100..=999)
        .filter(|&status| told(&judged(status, "")).starts_with("target, transient"))
        .collect();
    assert_eq!(transient, [500, 502, 503, 504]);
    for status in 200..300 {
        let refused_inside = r#"{"choices":[{"finish_reason":"content_filter"}],"error":null}"#;
        assert_eq!(
            told(&judged(status, refused_inside)),
            format!("success {status}")
        );
    }
}

#[test]
fn of_several_codes_the_weightiest_decides() {
    let body = |codes: [&str; 3]| {
        let [code, inner, kind] = codes;
        format!(
            r#"{{"error":{{"code":"{code}","innererror":{{"code":"{inner}"}},"type":"{kind}"}}}}"#
        )
    };
    let configured = FailoverOn {
        add_error_codes: ["own".to_owned()].into(),
        ..FailoverOn::default()
    };
    for (codes, expected) in [
        (
            [
                "model_not_found",
                "context_length_exceeded",
                "content_filter",
            ],
            "client 400",
        ),
        (
            ["model_not_found", "context_length_exceeded", "own"],
            "does not fit 400:context_length_exceeded",
        ),
        (
            ["own", "rate_limit_exceeded", "model_not_found"],
            "target 400:model_not_found",
        ),
        (["rate_limit_exceeded", "own", "vague"], "target 400:own"),
    ] {
        assert_eq!(
            told(&judged_by(&configured, 400, &body(codes))),
            expected,
            "{codes:?}"
        );
    }
}

#[test]
fn what_lasts_is_not_retried() {
    for code in ["model_not_found", "insufficient_quota", "invalid_api_key"] {
        let body = format!(r#"{{"error":{{"code":"{code}"}}}}"#);
        assert_eq!(told(&judged(503, &body)), "target 503", "{code}");
    }
}

#[test]
fn the_policy_changes_the_default() {
    const INVALID_MODEL: &str = r#"{"type":"invalid_model","code":"1500"}"#;
    const FILTERED: &str = r#"{"error":{"code":"content_filter"}}"#;
    const TOO_LONG: &str = r#"{"error":{"message":"prompt is too long"}}"#;
    const NOT_FOUND: &str = r#"{"error":{"code":"model_not_found"}}"#;
    const LIMITED: &str = r#"{"error":{"code":"rate_limit_exceeded"}}"#;
    const QUOTA: &str = r#"{"error":{"code":"insufficient_quota","type":"own"}}"#;
    let codes = |codes: &[&str]| codes.iter().map(|&code| code.to_owned()).collect();
    let added = |statuses: &[u16], error_codes: &[&str]| FailoverOn {
        add_statuses: statuses.iter().copied().collect(),
        add_error_codes: codes(error_codes),
        ..FailoverOn::default()
    };
    let removed = |statuses: &[u16], error_codes: &[&str]| FailoverOn {
        remove_statuses: statuses.iter().copied().collect(),
        remove_error_codes: codes(error_codes),
        ..FailoverOn::default()
    };
    for (failover_on, status, body, expected) in [
        (added(&[400], &[]), 400, "", "target 400"),
        (
            added(&[400], &[]),
            400,
            FILTERED,
            "client 400:content_filter",
        ),
        (
            added(&[400], &[]),
            400,
            TOO_LONG,
            "does not fit 400:context_length_exceeded",
        ),
        (
            added(&[], &["1500"]),
            400,
            r#"{"code":"1500"}"#,
            "target 400:1500",
        ),
        (
            added(&[], &["Own Code"]),
            400,
            r#"{"code":"own code"}"#,
            "target 400:own_code",
        ),
        (
            added(&[], &["content_filter"]),
            400,
            FILTERED,
            "target 400:content_filter",
        ),
        (
            added(&[], &["own"]),
            503,
            r#"{"code":"own"}"#,
            "target, transient 503",
        ),
        (removed(&[404], &[]), 404, NOT_FOUND, "client 404"),
        (removed(&[429], &[]), 429, LIMITED, "client 429"),
        (removed(&[503], &[]), 503, "", "client 503"),
        (
            removed(&[], &["invalid_model"]),
            400,
            INVALID_MODEL,
            "client 400",
        ),
        (
            removed(&[], &["context_length_exceeded"]),
            400,
            TOO_LONG,
            "client 400",
        ),
        (
            removed(&[], &["model_not_found"]),
            404,
            NOT_FOUND,
            "target 404",
        ),
        (
            FailoverOn {
                add_error_codes: codes(&["own"]),
                ..removed(&[429], &[])
            },
            429,
            QUOTA,
            "target 429:own",
        ),
    ] {
        let verdict = judged_by(&failover_on, status, body);
        assert_eq!(told(&verdict), expected, "{failover_on:?} on {body}");
    }
}

#[test]
fn a_body_that_is_too_long_leaves_the_status_alone() {
    let verdict = judge_answer(
        &FailoverOn::default(),
        StatusCode::BAD_REQUEST,
        &HeaderMap::new(),
        None,
        now,
    );
    assert_eq!(told(&verdict), "client 400");
    assert_eq!(verdict.message, None);
}

#[test]
fn waits_are_told_where_waiting_helps() {
    const TOKENS: &str = "x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 6m0s";
    const RESET_ONLY: &str = "x-ratelimit-reset-tokens: 6m0s";
    const QUOTA: &str = r#"{"error":{"code":"insufficient_quota"}}"#;
    const RETRY_INFO: &str = r#"{"error":{"details":[{"retryDelay":"38s"}]}}"#;
    let seconds = |seconds| Some(SECOND * seconds);
    for (status, text, body, retry_after, wish) in [
        (429, "retry-after: 3", "", seconds(3), seconds(3)),
        (503, "retry-after: 3", "", seconds(3), seconds(3)),
        (529, "retry-after: 3", "", None, seconds(3)),
        (500, "retry-after: 3", "", None, seconds(3)),
        (429, "retry-after: 3", QUOTA, None, seconds(3)),
        (
            429,
            "retry-after: Thu, 21 Aug 2025 12:40:09 GMT",
            "",
            seconds(9),
            seconds(9),
        ),
        (429, TOKENS, "", None, seconds(360)),
        (429, RESET_ONLY, "", None, seconds(360)),
        (500, RESET_ONLY, "", None, None),
        (500, TOKENS, "", None, seconds(360)),
        (429, "x-a: b", RETRY_INFO, seconds(38), seconds(38)),
        (429, "retry-after: never", "", None, None),
    ] {
        let verdict = judge_answer(
            &FailoverOn::default(),
            StatusCode::from_u16(status).unwrap(),
            &headers(text),
            Some(body.as_bytes()),
            now,
        );
        let Outcome::TargetFault(fault) = verdict.outcome else {
            panic!("{status} {text}: {verdict:?}");
        };
        assert_eq!(
            (fault.retry_after, fault.wish),
            (retry_after, wish),
            "{status} {text} {body}"
        );
    }
    let beside = format!("retry-after: 3\n{TOKENS}");
    let verdict = judge_answer(
        &FailoverOn::default(),
        StatusCode::TOO_MANY_REQUESTS,
        &headers(&beside),
        None,
        now,
    );
    let expected = TargetFault {
        transient: false,
        retry_after: seconds(3),
        wish: seconds(3),
        about_key: true,
    };
    assert_eq!(verdict.outcome, Outcome::TargetFault(expected));
}

#[test]
fn what_is_about_the_key() {
    let credential = r#"{"error":{"code":"invalid_api_key"}}"#;
    let rate = r#"{"error":{"code":"rate_limit_exceeded"}}"#;
    let model = r#"{"error":{"code":"model_not_found"}}"#;
    for (status, body, about_key) in [
        (401, "", true),
        (402, "", true),
        (403, "", true),
        (429, "", true),
        (400, credential, true),
        (500, rate, true),
        (403, model, false),
        (429, r#"{"error":{"type":"overloaded_error"}}"#, false),
        (404, "", false),
        (500, "", false),
        (529, "", false),
    ] {
        let verdict = judge_answer(
            &FailoverOn::default(),
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            Some(body.as_bytes()),
            now,
        );
        let Outcome::TargetFault(fault) = verdict.outcome else {
            panic!("{status} {body}: {verdict:?}");
        };
        assert_eq!(fault.about_key, about_key, "{status} {body}");
    }
    let event = judge_error_event(&FailoverOn::default(), rate.as_bytes());
    assert!(matches!(event.outcome, Outcome::TargetFault(fault) if fault.about_key));
}

#[test]
fn faults_of_the_exchange() {
    use ExchangeFault as Fault;
    for (fault, expected) in [
        (Fault::Refused, "target, transient refused"),
        (Fault::Dns, "target dns"),
        (Fault::Tls, "target tls"),
        (Fault::Reset, "target, transient reset"),
        (Fault::Closed, "target, transient closed"),
        (Fault::Timeout, "target timeout"),
        (Fault::FirstTokenTimeout, "target first_token_timeout"),
        (Fault::IdleTimeout, "target idle_timeout"),
        (Fault::Truncated, "target truncated"),
        (Fault::Malformed, "target malformed"),
        (Fault::ErrorEvent, "target error_event"),
        (Fault::EmptyStream, "target empty_stream"),
        (Fault::Busy, "does not fit busy"),
        (Fault::ClientGone, "gone client_gone"),
    ] {
        assert_eq!(told(&judge_fault(fault)), expected);
    }
}

#[test]
fn error_events() {
    for (data, expected, message) in [
        (
            r#"{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"}}"#,
            "target error_event",
            Some("Overloaded"),
        ),
        (
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
            "client error_event",
            Some("Output blocked by content filtering policy"),
        ),
        (
            r#"{"error":{"code":"content_filter","message":"Filtered"}}"#,
            "client error_event",
            Some("Filtered"),
        ),
        (
            r#"{"object":"error","message":"This model's maximum context length is 8 tokens.","code":400}"#,
            "does not fit error_event",
            Some("This model's maximum context length is 8 tokens."),
        ),
        (
            r#"{"error":{"message":"Provider returned error","code":429}}"#,
            "target error_event",
            Some("Provider returned error"),
        ),
        ("cut {", "target error_event", Some("cut {")),
        ("", "target error_event", None),
    ] {
        let verdict = judge_error_event(&FailoverOn::default(), data.as_bytes());
        assert_eq!(told(&verdict), expected, "{data}");
        assert_eq!(verdict.message.as_deref(), message, "{data}");
    }
}

#[test]
fn the_wait_that_a_header_asks_for_is_capped() {
    for (suspend_duration, wish, expected) in [
        (0, None, None),
        (0, Some(30), None),
        (60, None, Some(60)),
        (60, Some(30), Some(60)),
        (60, Some(90), Some(90)),
        (60, Some(86_400), Some(600)),
        (900, Some(86_400), Some(900)),
    ] {
        let policy = policy(SECOND * suspend_duration);
        let suspended = suspend_for(&policy, wish.map(|seconds| SECOND * seconds));
        assert_eq!(suspended, expected.map(|seconds| SECOND * seconds));
    }
}

#[test]
fn the_last_failure_gives_the_client_its_status() {
    let last = |status, body| judged(status, body).reason;
    for (reason, expected) in [
        (last(429, ""), 429),
        (last(400, r#"{"type":"invalid_model"}"#), 502),
        (last(401, ""), 502),
        (last(500, ""), 502),
        (last(504, ""), 502),
        (Reason::Fault(ExchangeFault::Timeout), 504),
        (Reason::Fault(ExchangeFault::FirstTokenTimeout), 504),
        (Reason::Fault(ExchangeFault::IdleTimeout), 504),
        (Reason::Fault(ExchangeFault::Refused), 502),
        (Reason::Fault(ExchangeFault::ErrorEvent), 502),
    ] {
        assert_eq!(final_status(&reason).as_u16(), expected, "{reason}");
    }
}

proptest! {
    #[test]
    fn any_answer_gets_a_verdict_that_can_be_shown(
        status in 100u16..1000,
        code in "\\PC{0,200}",
        message in "\\PC{0,200}",
        added in any::<bool>(),
    ) {
        let body = serde_json::json!({"error": {"code": code.clone(), "message": message}}).to_string();
        let mut failover_on = FailoverOn::default();
        if added {
            failover_on.add_error_codes.insert(code.trim().to_owned());
        }
        let verdict = judged_by(&failover_on, status, &body);
        let mut shown = String::new();
        write!(shown, "{}", verdict.reason).unwrap();
        prop_assert!(shown.len() <= "400:".len() + 64);
        prop_assert!(!shown.contains([',', '=', ' ']));
        prop_assert!(HeaderValue::from_str(&shown).is_ok());
        prop_assert_eq!(verdict.reason.status().map(|status| status.as_u16()), Some(status));
    }
}

fn policy(suspend_duration: Duration) -> FailoverPolicy {
    FailoverPolicy {
        id: PolicyId(0),
        name: Arc::from("chat"),
        chains: PerEnvironment::default(),
        balance: crate::policy::TargetBalance::default(),
        request_timeout: SECOND,
        suspend_duration,
        overall_timeout: None,
        first_token_timeout: SECOND,
        stream_idle_timeout: SECOND,
        retries: 0,
        retry_backoff: RetryBackoff {
            base: SECOND,
            max: SECOND,
        },
        max_retry_after: Duration::ZERO,
        max_suspend_duration: SECOND * 600,
        failover_on: FailoverOn::default(),
        stream_rescue: StreamRescue::Continue,
        when_all_suspended: WhenAllSuspended::Reject,
    }
}
