//! Bodies and headers as providers send them, and what they come to.

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
        now(),
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

fn assert_judged(provider: &str, cases: &[(u16, &str, &str)]) {
    for (status, body, expected) in cases {
        assert_eq!(
            told(&judged(*status, body)),
            *expected,
            "{provider}: {body}"
        );
    }
}

#[test]
fn openai() {
    assert_judged(
        "openai",
        &[
            (
                400,
                r#"{"error":{"message":"Invalid type for 'messages'.","type":"invalid_request_error","param":"messages","code":"invalid_type"}}"#,
                "client 400",
            ),
            (
                404,
                r#"{"error":{"message":"The model `gpt-9` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
                "target 404",
            ),
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens. However, your messages resulted in 8227 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"{"error":{"message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy.","type":"invalid_request_error","param":null,"code":"invalid_prompt"}}"#,
                "client 400",
            ),
            (
                400,
                r#"{"error":{"message":"Your request was rejected as a result of our safety system.","type":"image_generation_user_error","param":null,"code":"content_policy_violation"}}"#,
                "client 400",
            ),
            (
                400,
                r#"{"error":{"message":"Billing hard limit has been reached","type":"invalid_request_error","param":null,"code":"billing_hard_limit_reached"}}"#,
                "target 400:billing_hard_limit_reached",
            ),
            (
                401,
                r#"{"error":{"message":"Incorrect API key provided: sk-proj-****MxYA.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
                "target 401",
            ),
            (
                403,
                r#"{"error":{"message":"Country, region, or territory not supported","type":"request_forbidden","param":null,"code":"unsupported_country_region_territory"}}"#,
                "target 403",
            ),
            (
                429,
                r#"{"error":{"message":"Rate limit reached for gpt-4o on tokens per min (TPM).","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
                "target 429",
            ),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"credit_balance_exhausted"}}"#,
                "target 429",
            ),
            (
                500,
                r#"{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}"#,
                "target, transient 500",
            ),
            (
                503,
                r#"{"error":{"message":"The engine is currently overloaded.","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}"#,
                "target, transient 503",
            ),
        ],
    );
}

#[test]
fn mistral() {
    assert_judged(
        "mistral",
        &[
            (
                400,
                r#"{"object":"error","message":"Invalid model: invalid-model","type":"invalid_model","code":"1500"}"#,
                "target 400:invalid_model",
            ),
            (
                400,
                r#"{"object":"error","message":"Expected last role User or Tool","type":"invalid_request_message","param":null,"code":"1500"}"#,
                "client 400",
            ),
            (
                400,
                r#"{"object":"error","message":"Prompt contains 66385 tokens, too large for model with 32768 maximum context length","type":"invalid_request_prompt","param":null,"code":"1800"}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                401,
                r#"{"message":"Unauthorized","request_id":"2a5f7e1b9c"}"#,
                "target 401",
            ),
            (
                422,
                r#"{"object":"error","message":{"detail":[{"loc":["body","temperature"],"msg":"Input should be less than or equal to 1.5","type":"less_than_equal"}]},"type":"invalid_request_error"}"#,
                "client 422",
            ),
            (
                429,
                r#"{"object":"error","message":"Service tier capacity exceeded for this model.","type":"service_tier_capacity_exceeded","param":null,"code":"3505"}"#,
                "target 429",
            ),
            (
                429,
                r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429}"#,
                "target 429",
            ),
        ],
    );
}

#[test]
fn anthropic() {
    assert_judged(
        "anthropic",
        &[
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages: at least one message is required"}}"#,
                "client 400",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 219898 tokens > 200000 maximum"}}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease input length or `max_tokens` and try again"}}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}"#,
                "target 400:insufficient_quota",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-04-01 at 00:00 UTC."}}"#,
                "target 400:insufficient_quota",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
                "client 400",
            ),
            (
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
                "target 401",
            ),
            (
                404,
                r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}"#,
                "target 404",
            ),
            (
                413,
                r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
                "client 413",
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                "target 529",
            ),
        ],
    );
}

#[test]
fn azure() {
    assert_judged(
        "azure",
        &[
            (
                404,
                r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#,
                "target 404",
            ),
            (
                400,
                r#"{"error":{"code":"OperationNotSupported","message":"The chatCompletion operation does not work with the specified model, gpt-5.1-codex."}}"#,
                "target 400:OperationNotSupported",
            ),
            (
                400,
                r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
                "client 400",
            ),
            (
                401,
                r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}"#,
                "target 401",
            ),
            (
                429,
                r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation have exceeded token rate limit. Please retry after 86400 seconds."}}"#,
                "target 429",
            ),
        ],
    );
}

#[test]
fn gemini() {
    assert_judged(
        "gemini",
        &[
            (
                404,
                r#"{"error":{"code":404,"message":"models/x is not found for API version v1beta.","status":"NOT_FOUND"}}"#,
                "target 404",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]"#,
                "target 400:API_KEY_INVALID",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}]"#,
                "target 400:FAILED_PRECONDITION",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"The input token count (2845475) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"Invalid JSON payload received.","status":"INVALID_ARGUMENT"}}]"#,
                "client 400",
            ),
            (
                503,
                r#"[{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}]"#,
                "target, transient 503",
            ),
        ],
    );
}

#[test]
fn servers_of_ones_own_and_others_that_speak_openai() {
    assert_judged(
        "vLLM",
        &[
            (
                404,
                r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}"#,
                "target 404",
            ),
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 131072 tokens. However, you requested 156632 tokens.","type":"BadRequestError","param":null,"code":400}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"{"error":{"message":"You passed 1015 input tokens and requested 10 output tokens. However, the model's context length is only 1024 tokens.","type":"BadRequestError","param":"input_tokens","code":400}}"#,
                "does not fit 400:context_length_exceeded",
            ),
            (
                400,
                r#"{"object":"error","message":"[{'type': 'missing', 'loc': ('body', 'messages')}]","type":"BadRequestError","param":null,"code":400}"#,
                "client 400",
            ),
        ],
    );
    assert_judged(
        "llama.cpp",
        &[
            (
                500,
                r#"{"error":{"code":500,"message":"the request exceeds the available context size.","type":"exceed_context_size_error","n_prompt_tokens":1407,"n_ctx":256}}"#,
                "does not fit 500:exceed_context_size_error",
            ),
            (
                500,
                r#"{"error":{"code":500,"message":"the request exceeds the available context size, try increasing it","type":"server_error"}}"#,
                "does not fit 500:context_length_exceeded",
            ),
            (
                503,
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                "target, transient 503",
            ),
        ],
    );
    assert_judged(
        "Ollama",
        &[
            (
                404,
                r#"{"error":{"message":"model \"x\" not found, try pulling it first","type":"api_error","param":null,"code":null}}"#,
                "target 404",
            ),
            (
                400,
                r#"{"error":"invalid options: temperature"}"#,
                "client 400",
            ),
        ],
    );
    assert_judged(
        "TGI",
        &[
            (
                422,
                r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 1000 `max_new_tokens`","error_type":"validation"}"#,
                "does not fit 422:context_length_exceeded",
            ),
            (
                424,
                r#"{"error":"Request failed during generation: Server error: CANCELLED","error_type":"generation"}"#,
                "target 424",
            ),
            (
                429,
                r#"{"error":"Model is overloaded","error_type":"overloaded"}"#,
                "target 429",
            ),
        ],
    );
    assert_judged(
        "Groq",
        &[
            (
                400,
                r#"{"error":{"message":"The model `qwen-qwq-32b` has been decommissioned and is no longer supported.","type":"invalid_request_error","code":"model_decommissioned"}}"#,
                "target 400:model_decommissioned",
            ),
            (
                413,
                r#"{"error":{"message":"Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 8000.","type":"tokens","code":"rate_limit_exceeded"}}"#,
                "target 413:rate_limit_exceeded",
            ),
        ],
    );
    assert_judged(
        "OpenRouter",
        &[
            (
                402,
                r#"{"error":{"code":402,"message":"Insufficient credits"}}"#,
                "target 402",
            ),
            (
                403,
                r#"{"error":{"code":403,"message":"Flagged","metadata":{"reasons":["violence"],"flagged_input":"…"}}}"#,
                "client 403:content_policy_violation",
            ),
            (
                502,
                r#"{"error":{"code":502,"message":"Provider returned error"}}"#,
                "target, transient 502",
            ),
        ],
    );
    assert_judged(
        "in between",
        &[
            (
                502,
                "<html><head><title>502 Bad Gateway</title></head></html>",
                "target, transient 502",
            ),
            (
                503,
                "upstream connect error or disconnect/reset before headers",
                "target, transient 503",
            ),
            (400, "", "client 400"),
        ],
    );
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
        now(),
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
            now(),
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
        now(),
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
            now(),
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
