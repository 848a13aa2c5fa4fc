//! Requests that were refused, or failed, or were given up.

use serde_json::Value;

use super::{CHAT, ask, attempts, failure, line, lines, members};
use crate::support::{Gateway, Reply, Setup, Step, Upstream};

async fn gateway() -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    upstream.on_model("broken", failure(500));
    upstream.on_model("limited", failure(429));
    upstream.on_model("slow", Reply::hang());
    upstream.on_model("refused", failure(401));
    upstream.on_path("/v1/models", Reply::close());
    let policy = |model| {
        format!(
            "production: {{target: {{model: {model}, endpoint: openai}}, fallbacks: []}}\nrequest_timeout: 200ms\nsuspend_duration: 60s"
        )
    };
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .limits("request_body: 1KiB")
        .policy("broken", &policy("broken"))
        .policy("limited", &policy("limited"))
        .policy("slow", &policy("slow"))
        .default_endpoint("openai")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: openai}")
        .operation("method: POST\npath: /v1/completions\npolicies: [broken]")
        .start();
    (upstream, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_has_its_line() {
    let (upstream, gateway) = gateway().await;
    let (client, stranger) = (gateway.client(), gateway.stranger());
    let long = vec![b' '; 2048];
    let cases = [
        (stranger.post(CHAT, ask("broken")), 401, "invalid_api_key"),
        (
            stranger.post(CHAT, ask("broken")).key("wrong"),
            401,
            "invalid_api_key",
        ),
        (stranger.get("/nowhere"), 401, "invalid_api_key"),
        (client.get("/nowhere?key=1"), 404, "unknown_operation"),
        (client.get(CHAT), 405, "method_not_allowed"),
        (client.request("POST", CHAT), 411, "length_required"),
        (client.post(CHAT, long.clone()), 413, "request_too_large"),
        (
            client.request("POST", CHAT).chunked_body([long]),
            413,
            "request_too_large",
        ),
        (
            client.post(CHAT, "{}").header("content-type", "text/plain"),
            415,
            "unsupported_content_type",
        ),
        (
            client
                .post(CHAT, ask("broken"))
                .header("content-encoding", "br"),
            415,
            "unsupported_content_encoding",
        ),
        (client.post(CHAT, "{}"), 400, "missing_model"),
        (client.post(CHAT, "[]"), 400, "invalid_body"),
        (
            client.post("/v1/completions", ask("nobody")),
            404,
            "model_not_found",
        ),
    ];
    let (mut expected, mut answers) = (Vec::new(), Vec::new());
    for (request, status, code) in cases {
        expected.push((request.to_string(), status, code));
        answers.push(request.await);
    }
    let lines = lines(&gateway, &answers).await;
    for ((line, answer), (asked, status, code)) in lines.iter().zip(&answers).zip(&expected) {
        assert_eq!(answer.status, *status, "{asked}");
        assert_eq!(line["status"], *status, "{asked}");
        assert_eq!(line["error"], *code, "{asked}");
        assert_eq!(line["attempts"], serde_json::json!([]), "{asked}");
        assert_eq!(line["bytes_out"], answer.body.len(), "{asked}");
        let known = *status != 401;
        assert_eq!(line.get("caller").is_some(), known, "{asked}");
        assert_eq!(line.get("environment").is_some(), known, "{asked}");
        let named = *code == "model_not_found";
        assert_eq!(line.get("model").is_some(), named, "{asked}");
        let path = asked.split([' ', '?']).nth(1).unwrap();
        assert_eq!(line["path"], path, "{asked}");
        assert!(asked.starts_with(line["method"].as_str().unwrap()));
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_request_says_how() {
    let (_upstream, gateway) = gateway().await;
    let client = gateway.client();
    let chat = |model| client.post(CHAT, ask(model));
    let cases = [
        (
            chat("broken"),
            502,
            "all_targets_failed",
            Some("openai/broken 500 500"),
        ),
        (chat("broken"), 503, "all_targets_suspended", None),
        (
            chat("limited"),
            429,
            "all_targets_failed",
            Some("openai/limited 429 429"),
        ),
        (
            chat("slow"),
            504,
            "all_targets_failed",
            Some("openai/slow timeout"),
        ),
        (
            chat("refused"),
            502,
            "endpoint_failed",
            Some("openai/refused 401 401"),
        ),
        (
            client.get("/v1/models"),
            502,
            "endpoint_failed",
            Some("openai closed"),
        ),
    ];
    let (mut expected, mut answers) = (Vec::new(), Vec::new());
    for (request, status, code, attempt) in cases {
        expected.push((status, code, attempt));
        answers.push(request.await);
    }
    let lines = lines(&gateway, &answers).await;
    for ((line, answer), (status, code, attempt)) in lines.iter().zip(&answers).zip(expected) {
        assert_eq!(answer.status, status, "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert_eq!(line["error"], code, "{line}");
        assert_eq!(attempts(line), Vec::from_iter(attempt), "{line}");
        assert_eq!(line["bytes_out"], answer.body.len(), "{line}");
        assert_eq!(line["caller"], "shop");
    }
}

/// The answer had begun: its status stays, and the attempt says what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_says_how() {
    let (upstream, gateway) = gateway().await;
    let cut = Reply::chat("unnamed", "Hello.").cut_body_at(50, Step::Close);
    upstream.on_model("unnamed", cut);
    let answer = gateway.client().post(CHAT, ask("unnamed")).await;
    assert!(!answer.complete);
    let line = line(&gateway).await;
    assert_eq!(line["status"], 200);
    assert_eq!(line["error"], "stream_broken");
    assert_eq!(line["bytes_out"], 50);
    assert_eq!(attempts(&line), ["openai/unnamed truncated 200"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_its_answer_has_no_status() {
    let (upstream, gateway) = gateway().await;
    let leaving = tokio::spawn(gateway.client().post(CHAT, ask("slow")).into_future());
    upstream.wait_for_requests(1).await;
    leaving.abort();
    let line = line(&gateway).await;
    assert_eq!(line["error"], "client_gone");
    assert_eq!(line.get("status"), None);
    assert_eq!(line["bytes_out"], 0);
    assert_eq!(attempts(&line), ["openai/slow client_gone"]);
    assert!(!members(&line).contains(&"stream_end"));
}

/// A client that leaves in the middle of its own request has asked for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_within_its_request_is_told_of_too() {
    let (upstream, gateway) = gateway().await;
    let mut connection = gateway.client().connect().await;
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\n{{\"mod",
        crate::support::KEY
    );
    connection.write(head.as_bytes()).await;
    drop(connection);
    let line = line(&gateway).await;
    assert_eq!(line["error"], "client_gone");
    assert_eq!(line.get("status"), None);
    assert_eq!(line["attempts"], Value::Array(Vec::new()));
    assert_eq!(line["caller"], "shop");
    assert_eq!(upstream.count(), 0);
}

/// What can't be read as a request is one all the same: it was answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_refused_has_its_line() {
    let (_upstream, gateway) = gateway().await;
    let answer = gateway
        .stranger()
        .send_raw(b"GET /secret-path HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n")
        .await;
    assert_eq!(answer.status, 400);
    let line = line(&gateway).await;
    assert_eq!(line["request_id"].as_str(), answer.header("x-request-id"));
    assert_eq!(line["method"], "-");
    assert_eq!(line["path"], "-");
    assert_eq!(line["client"], "127.0.0.1");
    assert_eq!(line["status"], 400);
    assert_eq!(line["error"], "invalid_request_framing");
    assert_eq!(line["bytes_out"], answer.body.len());
}

/// A sampled log leaves out what went as it should, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_has_every_failure() {
    let upstream = Upstream::start().await;
    upstream.on_model("fine", Reply::chat("fine", "Hello"));
    upstream.on_model("down", failure(500));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .policy("fine", "production: {target: {model: fine, endpoint: openai}, fallbacks: []}")
        .policy("down", "production: {target: {model: down, endpoint: openai}, fallbacks: [{model: fine, endpoint: openai}]}")
        .access_log("sample: 0")
        .start();
    let client = gateway.client();
    for model in ["fine", "down", "fine"] {
        assert_eq!(client.post(CHAT, ask(model)).await.status, 200);
    }
    assert_eq!(client.get("/v1/nothing").await.status, 404);
    let lines = gateway.wait_log(2).await;
    let told: Vec<_> = lines.iter().map(|line| line["status"].as_u64()).collect();
    assert_eq!(told, [Some(200), Some(404)]);
    assert_eq!(lines[0]["model"], "down");
}
