//! When everything failed: one error, with the status that fits the last failure.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CHAT, ask, attempt, failover_error, failure};
use crate::support::{Dead, Reply, Setup, Step, Upstream, bodies};

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_is_told_in_order() {
    let upstream = Upstream::start().await;
    upstream.on_model("broken", failure(500));
    upstream.on_model("slow", Reply::hang());
    upstream.on_model(
        "unknown",
        Reply::json(400, &bodies::mistral_invalid_model("unknown")),
    );
    upstream.on_model(
        "limited",
        Reply::json(429, &bodies::openai_rate_limited()).header("retry-after", "17"),
    );
    let down = Dead::refusing();
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .endpoint_with("mistral", &upstream.url(), "provider: mistral")
        .endpoint("down", &down.url())
        .chain(
            &[
                ("broken", "openai"),
                ("slow", "openai"),
                ("unreachable", "down"),
                ("unknown", "mistral"),
                ("limited", "openai"),
            ],
            "request_timeout: 200ms",
        )
        .start();

    let response = gateway.client().post(CHAT, ask("broken")).await;

    assert_eq!(response.status, 429);
    assert_eq!(response.header("retry-after"), Some("17"));
    let error = failover_error(&response);
    assert_eq!(error["code"], "all_targets_failed");
    assert_eq!(
        error["attempts"],
        json!([
            attempt("openai", "broken", 500, "500"),
            attempt("openai", "slow", Value::Null, "timeout"),
            attempt("down", "unreachable", Value::Null, "refused"),
            attempt("mistral", "unknown", 400, "400:invalid_model"),
            attempt("openai", "limited", 429, "429"),
        ])
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("All 5 attempts failed"), "{message}");
    assert!(
        message.ends_with("Rate limit reached for requests"),
        "{message}"
    );
    let counts = ["broken", "slow", "unknown", "limited"].map(|model| upstream.count_for(model));
    assert_eq!(counts, [1; 4]);
}

/// A request is told of as a failed one whichever way its only target fails.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_fits_the_last_failure() {
    let openai =
        |status, code: &str| Reply::json(status, &bodies::openai_error("error", Some(code), "No."));
    let cases: Vec<(Reply, u16, &str)> = vec![
        (failure(429), 429, "429"),
        (openai(429, "insufficient_quota"), 429, "429"),
        (Reply::hang(), 504, "timeout"),
        (failure(500), 502, "500"),
        (failure(503), 502, "503"),
        (failure(504), 502, "504"),
        (failure(529), 502, "529"),
        (failure(401), 502, "401"),
        (failure(402), 502, "402"),
        (failure(403), 502, "403"),
        (failure(404), 502, "404"),
        (failure(408), 502, "408"),
        (
            Reply::json(404, &bodies::openai_model_not_found("x")),
            502,
            "404",
        ),
        (
            Reply::json(400, &bodies::openai_context_length_exceeded()),
            502,
            "400:context_length_exceeded",
        ),
        (Reply::close(), 502, "closed"),
        (Reply::reset(), 502, "reset"),
        (
            Reply::raw("HELLO\r\n\r\n").then(Step::Close),
            502,
            "malformed",
        ),
        (
            Reply::chat("m", "Hello").cut_body_at(20, Step::Close),
            502,
            "truncated",
        ),
        (
            Reply::status(200)
                .header("content-type", "application/json")
                .body("{\"cut\":"),
            502,
            "malformed",
        ),
        (Reply::sse(["data: [DONE]\n\n"]), 502, "empty_stream"),
        (
            Reply::sse(["data: {\"error\":{\"message\":\"No.\"}}\n\n"]),
            502,
            "error_event",
        ),
    ];
    let upstream = Upstream::start().await;
    let mut setup = Setup::new().endpoint("openai", &upstream.url());
    for (number, (reply, _, _)) in cases.iter().enumerate() {
        let model = format!("model-{number}");
        upstream.on_model(&model, reply.clone());
        setup = setup.policy(
            &model,
            &format!("production: {{target: {{model: {model}, endpoint: openai}}, fallbacks: []}}\nrequest_timeout: 500ms"),
        );
    }
    let gateway = setup.start();
    for (number, (_, status, reason)) in cases.iter().enumerate() {
        let model = format!("model-{number}");
        let response = gateway.client().post(CHAT, ask(&model)).await;
        assert_eq!(response.status, *status, "{model}: {}", response.text());
        let error = failover_error(&response);
        assert_eq!(error["attempts"][0]["reason"], *reason, "{model}");
        assert_eq!(error["attempts"].as_array().unwrap().len(), 1);
        let told_to_wait = response.header("retry-after").is_some();
        assert_eq!(told_to_wait, *status == 429, "{model}");
        // A connection that was used before and dies in silence is replaced, and nobody counts it.
        let replaced = matches!(*reason, "closed" | "reset");
        assert!(
            upstream.count_for(&model) <= 1 + usize::from(replaced),
            "{model}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_last_failure_decides() {
    let upstream = Upstream::start().await;
    upstream.on_model("limited", failure(429));
    upstream.on_model("slow", Reply::hang());
    upstream.on_model("broken", failure(500));
    for (chain, status) in [
        (["slow", "broken", "limited"], 429),
        (["limited", "broken", "slow"], 504),
        (["limited", "slow", "broken"], 502),
    ] {
        let gateway = Setup::new()
            .endpoint("openai", &upstream.url())
            .chain(
                &chain.map(|model| (model, "openai")),
                "request_timeout: 200ms",
            )
            .start();
        let response = gateway.client().post(CHAT, ask(chain[0])).await;
        assert_eq!(response.status, status, "{chain:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_token_that_does_not_come_is_a_timeout() {
    let upstream = Upstream::start().await;
    let silent = Reply::sse([": ping\n\n"]).then(Step::Hang);
    upstream.on_model("silent", silent);
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("silent", "openai")], "first_token_timeout: 200ms")
        .start();
    let mut body = ask("silent");
    body["stream"] = true.into();
    let response = gateway.client().post(CHAT, body).await;
    assert_eq!(response.status, 504);
    let error = failover_error(&response);
    assert_eq!(
        error["attempts"],
        json!([attempt("openai", "silent", 200, "first_token_timeout")])
    );
}

/// The time to wait, from wherever the last answer says it.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_says_when_to_come_back() {
    let cases = [
        (vec![], 1..=60),
        (vec![("retry-after", "17")], 17..=17),
        (vec![("retry-after", "0")], 1..=1),
        (vec![("retry-after-ms", "1500")], 2..=2),
        (
            vec![
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "1m30s"),
            ],
            90..=90,
        ),
    ];
    for (headers, expected) in cases {
        let upstream = Upstream::start().await;
        let limited = headers.iter().fold(failure(429), |reply, (name, value)| {
            reply.header(name, value)
        });
        upstream.always(limited);
        let gateway = Setup::new()
            .endpoint("openai", &upstream.url())
            .chain(&[("model", "openai")], "")
            .start();
        let response = gateway.client().post(CHAT, ask("model")).await;
        assert_eq!(response.status, 429);
        let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!(expected.contains(&seconds), "{headers:?}: {seconds}");
    }
}

/// The words of the last target are kept, whatever its error looks like.
#[tokio::test(flavor = "multi_thread")]
async fn the_target_s_own_words_are_kept() {
    let plain = Reply::status(503)
        .header("content-type", "text/plain")
        .body("upstream connect error");
    let page = Reply::status(502)
        .header("content-type", "text/html")
        .body("<html><h1>502 Bad Gateway</h1></html>");
    for (reply, words) in [
        (failure(500), Some("The server had an error.")),
        (
            Reply::json(429, &bodies::openai_insufficient_quota()),
            Some("check your plan and billing details."),
        ),
        (
            Reply::json(400, &bodies::mistral_invalid_model("x")),
            Some("Invalid model: x"),
        ),
        (
            Reply::json(404, &bodies::azure_deployment_not_found()),
            Some("The API deployment for this resource does not exist."),
        ),
        (
            Reply::json(
                503,
                &bodies::gemini_error(503, "UNAVAILABLE", "The model is overloaded."),
            ),
            Some("The model is overloaded."),
        ),
        (plain, Some("upstream connect error")),
        (page, None),
        (
            Reply::sse(["data: {\"error\":{\"message\":\"The engine died.\"}}\n\n"]),
            Some("The engine died."),
        ),
    ] {
        let upstream = Upstream::start().await;
        upstream.always(reply);
        let gateway = Setup::new()
            .endpoint("openai", &upstream.url())
            .chain(&[("model", "openai")], "")
            .start();
        let response = gateway.client().post(CHAT, ask("model")).await;
        let error = failover_error(&response);
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with("The target failed: openai/model: "),
            "{message}"
        );
        match words {
            Some(words) => assert!(message.ends_with(words), "{message}"),
            None => assert!(!message.contains("html"), "{message}"),
        }
    }
}

/// A message may be as long as a page; what the client gets of it is short and on one line.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_message_is_cut() {
    let upstream = Upstream::start().await;
    let words = "All work and no play.\n".repeat(1_000);
    upstream.always(Reply::json(500, &bodies::openai_error("e", None, &words)));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("model", "openai")], "")
        .start();
    let response = gateway.client().post(CHAT, ask("model")).await;
    let error = failover_error(&response);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("All work and no play. All work"),
        "{message}"
    );
    assert!(message.len() < 2_000 && message.ends_with('…'), "{message}");
}

/// Retries are attempts: each exchange that was begun is told of.
#[tokio::test(flavor = "multi_thread")]
async fn retries_count_as_attempts() {
    let upstream = Upstream::start().await;
    upstream.on_model("first", [failure(503), failure(500), failure(502)]);
    upstream.on_model("second", failure(500));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(
            &[("first", "openai"), ("second", "openai")],
            "retries: 2\nretry_backoff: {base: 1ms, max: 2ms}",
        )
        .start();
    let response = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(response.header("x-standin-attempts"), Some("6"));
    let reasons = ["503", "500", "502", "500", "500", "500"];
    let told = failover_error(&response)["attempts"].clone();
    for (attempt, reason) in told.as_array().unwrap().iter().zip(reasons) {
        assert_eq!(attempt["reason"], reason);
    }
    assert_eq!(upstream.count(), 6);
}

/// The request's own patience ends it: what was under way is a timeout of the last target.
#[tokio::test(flavor = "multi_thread")]
async fn an_overall_timeout_is_a_timeout() {
    let upstream = Upstream::start().await;
    upstream.on_model("first", failure(500).delayed(Duration::from_millis(50)));
    upstream.on_model("second", Reply::hang());
    upstream.on_model("third", Reply::chat("third", "Too late."));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(
            &[
                ("first", "openai"),
                ("second", "openai"),
                ("third", "openai"),
            ],
            "overall_timeout: 400ms",
        )
        .start();
    let response = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(response.status, 504);
    assert_eq!(
        failover_error(&response)["attempts"],
        json!([
            attempt("openai", "first", 500, "500"),
            attempt("openai", "second", Value::Null, "timeout"),
        ])
    );
    assert_eq!(upstream.count_for("third"), 0);
}

/// Anthropic's clients look for a `type` at the top; the rest is the same.
#[tokio::test(flavor = "multi_thread")]
async fn anthropic_s_clients_find_an_error_too() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::json(
        529,
        &bodies::anthropic_error("overloaded_error", "Overloaded"),
    ));
    let gateway = Setup::new()
        .endpoint_with("anthropic", &upstream.url(), "provider: custom")
        .chain(&[("claude", "anthropic")], "")
        .operation("method: POST\npath: /v1/messages\npolicies: [chat]")
        .start();
    let response = gateway.client().post("/v1/messages", ask("claude")).await;
    assert_eq!(response.status, 502);
    let body = response.json();
    assert_eq!(body["type"], "error");
    assert_eq!(body["error"]["type"], "failover_error");
    assert_eq!(body["error"]["code"], "all_targets_failed");
    assert_eq!(
        body["error"]["attempts"],
        json!([attempt("anthropic", "claude", 529, "529")])
    );
    let rejected = gateway.stranger().post("/v1/messages", ask("claude")).await;
    assert_eq!(
        (rejected.status, &rejected.json()["type"]),
        (401, &json!("error"))
    );
}
