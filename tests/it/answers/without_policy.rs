//! Where no policy is, the one answer passes unchanged: for a model that no policy names, and for
//! an operation that has none.

use serde_json::{Value, json};

use super::{CHAT, ask, failover_error, failure};
use crate::support::{Dead, Gateway, Reply, Response, Setup, Step, Upstream, bodies};

/// A gateway whose only policy is about another model.
fn gateway(url: &str) -> Gateway {
    Setup::new()
        .endpoint_with("openai", url, "provider: openai\nconnect_timeout: 300ms")
        .policy(
            "chat",
            "production: {target: {model: named, endpoint: openai}, fallbacks: []}",
        )
        .default_endpoint("openai")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: openai}")
        .operation("method: POST\npath: /v1/files\ndefault_endpoint: {production: openai}")
        .start()
}

/// The answers on the two ways without a policy: buffered for its model's sake, and streamed.
async fn both_ways(gateway: &Gateway) -> [Response; 2] {
    let client = gateway.client();
    [
        client.post(CHAT, ask("unnamed")).await,
        client.get("/v1/models").await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_passes_unchanged() {
    let html = Reply::status(502)
        .header("content-type", "text/html")
        .body("<html>Bad Gateway</html>");
    let invalid = Reply::status(200)
        .header("content-type", "application/json")
        .body("{\"cut\":");
    for reply in [
        Reply::chat("unnamed", "Hello."),
        Reply::json(400, &bodies::mistral_invalid_model("unnamed")),
        Reply::json(404, &bodies::openai_model_not_found("unnamed")),
        failure(429).header("retry-after", "17"),
        failure(500),
        failure(503),
        html,
        invalid,
        Reply::status(204),
        Reply::status(302).header("location", "/elsewhere"),
        Reply::status(200).body(vec![0xff; 200_000]),
        Reply::status(200).chunked(["in ", "pieces"]),
    ] {
        let upstream = Upstream::start().await;
        upstream.always(reply.header("x-theirs", "kept"));
        let direct = crate::support::Client::new(upstream.addr());
        let expected = direct.get("/v1/models").await;
        let gateway = gateway(&upstream.url());
        for response in both_ways(&gateway).await {
            assert_eq!(response.status, expected.status);
            assert_eq!(response.body, expected.body);
            assert!(response.complete);
            for name in ["content-type", "retry-after", "location", "x-theirs"] {
                assert_eq!(response.header(name), expected.header(name), "{name}");
            }
            assert_eq!(response.header("x-standin-attempts"), Some("1"));
        }
        assert_eq!(upstream.count(), 3, "one attempt each");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_passes_unchanged_but_for_its_key() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::status(200).body("{}"));
    let gateway = gateway(&upstream.url());
    let body = " {\"messages\" : [ ],\t\"model\":\"\\u0075nnamed\", \"big\":1e400,\"n\":12345678901234567890 } ";
    gateway
        .client()
        .post(&format!("{CHAT}?api-version=1"), body)
        .await;
    let received = upstream.last_request();
    assert_eq!(received.body, body);
    assert_eq!(received.target, "/v1/chat/completions?api-version=1");
    assert_eq!(
        received.headers.all("authorization"),
        ["Bearer secret-of-openai"]
    );

    gateway
        .client()
        .post("/v1/files?purpose=batch", vec![0xff, 0, 1])
        .await;
    let received = upstream.last_request();
    assert_eq!(received.body, vec![0xff, 0, 1]);
    assert_eq!(received.target, "/v1/files?purpose=batch");
    assert_eq!(
        received.headers.all("authorization"),
        ["Bearer secret-of-openai"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_passes_as_it_comes() {
    let upstream = Upstream::start().await;
    let events = bodies::chat_events("unnamed", &["Hel", "lo"]);
    let expected = events.concat();
    upstream.always(Reply::sse(events).before_write(2, Step::Gate("rest")));
    let gateway = gateway(&upstream.url());
    let mut body = ask("unnamed");
    body["stream"] = true.into();
    let mut stream = gateway.client().open(CHAT, body).await;
    assert_eq!(
        stream.next_event().await.unwrap().json()["model"],
        "unnamed"
    );
    assert_eq!(
        stream.next_event().await.unwrap().content().as_deref(),
        Some("Hel")
    );
    upstream.open("rest");
    let rest = stream.rest().await;
    assert!(rest.complete && expected.ends_with(rest.text()));
    assert!(rest.transcript().done);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_is_seen_to_break() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("unnamed", "Hello.").cut_body_at(100, Step::Close));
    let gateway = gateway(&upstream.url());
    for response in both_ways(&gateway).await {
        assert_eq!(response.status, 200);
        assert!(!response.complete && response.closed);
    }
    upstream.always(
        Reply::sse(bodies::chat_events("m", &["Hel", "lo"])[..2].to_vec()).then(Step::Reset),
    );
    for response in both_ways(&gateway).await {
        assert_eq!(response.status, 200);
        assert!(!response.complete && response.closed);
    }
}

async fn assert_fails(gateway: &Gateway, status: u16, reason: &str) {
    let models = [Some("unnamed"), None];
    for (response, model) in both_ways(gateway).await.into_iter().zip(models) {
        assert_eq!(response.status, status, "{}", response.text());
        let error = failover_error(&response);
        assert_eq!(error["code"], "endpoint_failed");
        assert_eq!(
            error["attempts"],
            json!([{"endpoint": "openai", "model": model, "status": null, "reason": reason}])
        );
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("openai") && message.contains(reason),
            "{message}"
        );
        assert_eq!(response.header("x-standin-endpoint"), Some("openai"));
        assert_eq!(response.header("x-standin-attempts"), Some("1"));
        let model = model.map_or(String::new(), |model| format!("/{model}"));
        let failover = format!("openai{model}={reason}");
        assert_eq!(response.header("x-standin-failover"), Some(&*failover));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_refuses_is_a_502() {
    let down = Dead::refusing();
    assert_fails(&gateway(&down.url()), 502, "refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_takes_no_connection_is_a_504() {
    let dead = Dead::unconnectable().await;
    assert_fails(&gateway(&dead.url()), 504, "timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_gives_no_answer_is_a_502() {
    for (reply, reason) in [
        (Reply::close(), "closed"),
        (Reply::reset(), "reset"),
        (Reply::raw("HELLO\r\n\r\n").then(Step::Close), "malformed"),
    ] {
        let upstream = Upstream::start().await;
        upstream.always(reply);
        assert_fails(&gateway(&upstream.url()), 502, reason).await;
        assert_eq!(upstream.count(), 2, "{reason}: one attempt each");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_nobody_knows_is_a_404() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("named", "Hello."));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("named", "openai")], "")
        .start();
    for client in [gateway.client(), gateway.sandbox()] {
        let response = client.post(CHAT, ask("unnamed")).await;
        assert_eq!(response.status, 404);
        let error = &response.json()["error"];
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["code"], "model_not_found");
        assert_eq!(error["param"], Value::Null);
        assert!(error["message"].as_str().unwrap().contains("unnamed"));
        assert_eq!(error.get("attempts"), None);
    }
    let no_sandbox = gateway.sandbox().post(CHAT, ask("named")).await;
    assert_eq!(no_sandbox.status, 404);
    assert_eq!(upstream.count(), 0);
}

/// A policy without the caller's environment is none for that caller.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_the_other_environment_is_none() {
    let upstream = Upstream::start().await;
    upstream.always(failure(500));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(
            &[("named", "openai"), ("spare", "openai")],
            "suspend_duration: 60s",
        )
        .default_endpoint("openai")
        .start();
    for _ in 0..2 {
        let response = gateway.sandbox().post(CHAT, ask("named")).await;
        assert_eq!(response.status, 500);
        assert_eq!(response.header("x-standin-model"), Some("named"));
    }
    assert_eq!(upstream.count(), 2);
    let production = gateway.client().post(CHAT, ask("named")).await;
    assert_eq!(production.status, 502);
    assert_eq!(upstream.count(), 4);
}

/// An operation that one environment alone has.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_without_the_caller_s_environment_is_unknown() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream.url());
    let response = gateway.sandbox().get("/v1/models").await;
    assert_eq!(response.status, 404);
    assert_eq!(response.json()["error"]["code"], "unknown_operation");
    assert_eq!(upstream.count(), 0);
}
