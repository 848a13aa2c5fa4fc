//! Answers with a status: the rows of the table "Judging an outcome" that tell them apart.

use serde_json::{Value, json};

use super::{SUSPENDING, Stage, invalid_request, server_error};
use crate::support::{Reply, Setup, Upstream, bodies};

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_success_is_the_answer() {
    for stage in [Stage::new().await, Stage::http2().await] {
        stage.target.always(Reply::chat("first", "Berthe Morisot."));
        for round in 1..=2 {
            let answer = stage.ask().await;
            assert_eq!(answer.status, 200);
            assert_eq!(
                answer.json(),
                bodies::chat_completion("first", "Berthe Morisot.")
            );
            assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
            assert_eq!(answer.header("x-standin-model"), Some("first"));
            assert_eq!(answer.header("x-standin-attempts"), Some("1"));
            assert_eq!(answer.header("x-standin-failover"), None);
            assert_eq!(stage.counts(), (round, 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_successes_are_answers_too() {
    for reply in [
        Reply::json(201, &json!({"id": "x"})),
        Reply::status(202).body("accepted"),
        Reply::status(200)
            .header("content-type", "text/plain")
            .body(""),
        Reply::status(200)
            .header("content-type", "audio/mpeg")
            .body(&b"\xff\xfb\x90"[..]),
        Reply::status(204),
    ] {
        let stage = Stage::new().await;
        stage.target.always(reply);
        let answer = stage.ask().await;
        assert!((200..300).contains(&answer.status), "{answer:?}");
        assert!(answer.complete && !answer.closed, "{answer:?}");
        assert_eq!(stage.counts(), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_content_has_no_length_and_the_connection_goes_on() {
    for stage in [Stage::new().await, Stage::http2().await] {
        stage.target.always(Reply::status(204));
        for _ in 0..2 {
            let answer = stage.ask().await;
            assert_eq!(answer.status, 204);
            assert_eq!(answer.header("content-length"), None);
            assert_eq!(answer.header("transfer-encoding"), None);
            assert!(answer.complete && !answer.closed);
        }
        assert_eq!(stage.client.connections(), 1);
        assert_eq!(stage.target.connections(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_at_fault_gets_the_target_s_answer() {
    for status in [400, 405, 413, 415, 422] {
        let stage = Stage::new().await;
        stage.target.always(Reply::json(status, &invalid_request()));
        stage.assert_client_fault(status, &invalid_request()).await;
    }
    let stage = Stage::http2().await;
    stage.target.always(Reply::json(400, &invalid_request()));
    stage.assert_client_fault(400, &invalid_request()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_filter_is_never_routed_around() {
    let anthropic = bodies::anthropic_error(
        "invalid_request_error",
        "Output blocked by content filtering policy",
    );
    let inner = json!({"error": {
        "code": "content_filter", "message": "filtered", "status": 403,
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }});
    for (status, body) in [
        (400, bodies::openai_content_policy_violation()),
        (400, bodies::azure_content_filter()),
        (400, anthropic),
        (403, inner.clone()),
        (500, inner),
    ] {
        let stage = Stage::new().await;
        stage.target.always(Reply::json(status, &body));
        stage.assert_client_fault(status, &body).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_too_long_for_the_model_goes_on_and_suspends_nobody() {
    let anthropic = bodies::anthropic_error(
        "invalid_request_error",
        "prompt is too long: 219898 tokens > 200000 maximum",
    );
    for body in [bodies::openai_context_length_exceeded(), anthropic] {
        let stage = Stage::new().await;
        stage.target.always(Reply::json(400, &body));
        stage
            .assert_does_not_fit("400:context_length_exceeded")
            .await;
    }
}

/// Errors whose code decides, or whose status does: who says so, and the reason that is told.
fn target_faults() -> Vec<(u16, Value, &'static str)> {
    let openai = |code, message| bodies::openai_error("invalid_request_error", Some(code), message);
    let anthropic = bodies::anthropic_error;
    vec![
        // An unknown or retired model.
        (404, bodies::openai_model_not_found("first"), "404"),
        (
            400,
            bodies::openai_model_not_found("first"),
            "400:model_not_found",
        ),
        (
            400,
            bodies::mistral_invalid_model("first"),
            "400:invalid_model",
        ),
        (404, anthropic("not_found_error", "model: claude-9"), "404"),
        (
            404,
            bodies::gemini_error(404, "NOT_FOUND", "models/x is not found"),
            "404",
        ),
        (404, bodies::azure_deployment_not_found(), "404"),
        (
            410,
            openai("model_deprecated", "The model has been deprecated."),
            "410",
        ),
        // The gateway's key or account.
        (401, bodies::openai_invalid_api_key("sk-***"), "401"),
        (
            402,
            json!({"error": {"message": "Insufficient credits"}}),
            "402",
        ),
        (
            403,
            anthropic("permission_error", "not allowed to use this model"),
            "403",
        ),
        (429, bodies::openai_insufficient_quota(), "429"),
        (
            400,
            openai(
                "billing_hard_limit_reached",
                "Billing hard limit has been reached",
            ),
            "400:billing_hard_limit_reached",
        ),
        (
            400,
            anthropic(
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API.",
            ),
            "400:insufficient_quota",
        ),
        // Too many requests, or too much to do.
        (429, bodies::openai_rate_limited(), "429"),
        (529, anthropic("overloaded_error", "Overloaded"), "529"),
        (
            503,
            bodies::gemini_error(503, "UNAVAILABLE", "The model is overloaded."),
            "503",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_whose_code_or_status_blames_the_target_fails_over_and_suspends() {
    for (status, body, reason) in target_faults() {
        let stage = Stage::new().await;
        stage.target.always(Reply::json(status, &body));
        stage.assert_target_fault(reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_every_status_of_the_table_without_a_body() {
    let statuses = [
        300, 301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 407, 408, 409, 410, 425, 429, 500,
        501, 502, 503, 504, 505, 507, 508, 511, 520, 522, 529, 599,
    ];
    for status in statuses {
        let stage = Stage::new().await;
        let reply = Reply::status(status);
        stage.target.always(match status {
            300..=308 => reply.header("location", "https://elsewhere.example/"),
            _ => reply,
        });
        stage.assert_target_fault(&status.to_string()).await;
    }
    for status in [302, 429, 503] {
        let stage = Stage::http2().await;
        stage.target.always(Reply::status(status));
        stage.assert_target_fault(&status.to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_suspend_duration_nothing_is_remembered() {
    for (status, reason) in [(429, "429"), (503, "503"), (404, "404")] {
        let stage = Stage::with("").await;
        let reply = Reply::status(status).header("retry-after", "60");
        stage.target.always(reply);
        stage.assert_does_not_fit(reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_can_judge_otherwise() {
    let more = "failover_on: {statuses: {add: [422]}, error_codes: {add: [out_of_paint]}}";
    let policy = format!("{SUSPENDING}\n{more}");
    let stage = Stage::with(&policy).await;
    stage.target.always(Reply::json(422, &invalid_request()));
    stage.assert_target_fault("422").await;

    let stage = Stage::with(&policy).await;
    let body = bodies::openai_error("invalid_request_error", Some("out_of_paint"), "No paint.");
    stage.target.always(Reply::json(400, &body));
    stage.assert_target_fault("400:out_of_paint").await;

    let less =
        "failover_on: {statuses: {remove: [404, 500]}, error_codes: {remove: [invalid_model]}}";
    let policy = format!("{SUSPENDING}\n{less}");
    for (status, body) in [
        (404, bodies::openai_model_not_found("first")),
        (500, json!({"error": {"message": "No."}})),
        (400, bodies::mistral_invalid_model("first")),
    ] {
        let stage = Stage::with(&policy).await;
        stage.target.always(Reply::json(status, &body));
        stage.assert_client_fault(status, &body).await;
    }
}

/// The key is the gateway's: its client can't mend it, and would look for the fault in its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_gateway_s_key_is_never_the_client_s() {
    for status in [401, 403] {
        let upstream = Upstream::start().await;
        let secret = crate::support::secret("only");
        upstream.always(Reply::json(
            status,
            &bodies::openai_invalid_api_key(&secret),
        ));
        for policy in [
            "",
            "failover_on: {statuses: {remove: [401, 403]}, error_codes: {remove: [invalid_api_key]}}",
        ] {
            let gateway = Setup::new()
                .endpoint("only", &upstream.url())
                .chain(&[("first", "only")], policy)
                .default_endpoint("only")
                .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: only}")
                .start();
            let client = gateway.client();
            for request in [
                client.post(super::CHAT, super::question("first")),
                client.post(super::CHAT, super::question("of-no-policy")),
                client.get("/v1/models"),
            ] {
                let answer = request.await;
                assert_eq!(answer.status, 502, "{answer:?}");
                let error = &answer.json()["error"];
                assert_eq!(error["type"], "failover_error");
                assert_eq!(error["attempts"][0]["status"], status);
                assert_eq!(error["attempts"][0]["endpoint"], "only");
                assert!(!answer.text().contains(&secret), "{answer:?}");
            }
        }
    }
}

/// An answer of which a policy has said that nobody else need be asked ends the request.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_must_not_fail_over_asks_nobody_else() {
    let stage = Stage::with(&format!(
        "{SUSPENDING}\nfailover_on: {{statuses: {{remove: [401]}}}}"
    ))
    .await;
    stage.target.always(Reply::status(401));
    for round in 1..=2 {
        assert_eq!(stage.ask().await.status, 502);
        assert_eq!(stage.counts(), (round, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_fallback_s_failure_decides_the_client_s_status() {
    for (reply, status, retry_after) in [
        (server_error(), 502, None),
        (
            Reply::status(429).header("retry-after", "7"),
            429,
            Some("7"),
        ),
        (Reply::status(404), 502, None),
        (Reply::close(), 502, None),
    ] {
        let (first, last) = (Upstream::start().await, Upstream::start().await);
        first.always(Reply::status(503));
        last.always(reply);
        let gateway = Setup::new()
            .endpoint("a", &first.url())
            .endpoint("b", &last.url())
            .chain(&[("first", "a"), ("second", "b")], "")
            .start();
        let answer = gateway
            .client()
            .post(super::CHAT, super::question("first"))
            .await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("retry-after"), retry_after);
        assert_eq!((first.count(), last.count()), (1, 1));
    }
}
