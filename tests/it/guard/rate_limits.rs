//! `keys[].rate_limit`: what one key may ask for in a minute, whatever others do.

use serde_json::json;

use super::{CHAT, MODEL, question, streaming_question};
use crate::support::{Client, Gateway, KEY, Reply, Response, SANDBOX_KEY, Setup, Upstream};

struct Stage {
    upstream: Upstream,
    gateway: Gateway,
}

/// A gateway whose production key has this limit.
fn setup(upstream: &Upstream, limit: &str) -> Setup {
    Setup::new()
        .listener("{address: 127.0.0.1:0, h2c: true}")
        .rate_limit(limit)
        .endpoint("openai", &upstream.url())
        .chain(&[(MODEL, "openai")], "")
        .operation(
            "method: POST\npath: /v1/files\ndefault_endpoint: {production: openai, sandbox: openai}",
        )
}

impl Stage {
    async fn new(limit: &str) -> Self {
        let upstream = Upstream::start().await;
        upstream.always(Reply::chat(MODEL, "Hello").header("x-ratelimit-remaining-requests", "7"));
        let gateway = setup(&upstream, limit).start();
        Self { upstream, gateway }
    }

    fn clients(&self) -> [Client; 2] {
        let h2c = Client::h2c(self.gateway.running.addresses[1]).key(KEY);
        [self.gateway.client(), h2c]
    }
}

#[track_caller]
fn assert_limited(answer: &Response, kind: &str) {
    assert_eq!(answer.status, 429, "{answer:?}");
    let error = &answer.json()["error"];
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!(kind), &json!("rate_limit_exceeded"))
    );
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=120).contains(&seconds), "{seconds}");
    let remaining = format!("x-ratelimit-remaining-{kind}");
    assert_eq!(answer.header(&remaining), Some("0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_so_many_requests_a_minute() {
    let stage = Stage::new("{requests_per_minute: 4}").await;
    let [http1, http2] = stage.clients();
    for (left, client) in [&http1, &http2, &http1, &http2].into_iter().enumerate() {
        let path = if left < 2 { CHAT } else { "/v1/files" };
        let answer = client.post(path, question()).await;
        assert_eq!(answer.status, 200);
        let left = (3 - left).to_string();
        for (name, value) in [("limit", "4"), ("remaining", &left)] {
            let name = format!("x-ratelimit-{name}-requests");
            assert_eq!(answer.headers.all(&name), [value], "{answer:?}");
        }
    }
    for client in [&http1, &http2] {
        assert_limited(&client.post(CHAT, question()).await, "requests");
        assert_limited(&client.post("/v1/files", "a file").await, "requests");
        assert_eq!(client.connections(), 1, "the connection stays usable");
    }
    assert_eq!(stage.upstream.count(), 4);
    let line = stage.gateway.wait_log(8).await.pop().unwrap();
    assert_eq!(
        (&line["error"], &line["caller"]),
        (&json!("rate_limit_exceeded"), &json!("shop"))
    );

    // Another key has no limit, and its answers say what the upstream says.
    let sandbox = stage.gateway.stranger().key(SANDBOX_KEY);
    for _ in 0..6 {
        let answer = sandbox.post("/v1/files", "a file").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("7"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_paid_for_when_they_are_known() {
    // 21 of them in each answer.
    let stage = Stage::new("{tokens_per_minute: 30}").await;
    let client = stage.gateway.client();
    for _ in 0..2 {
        assert_eq!(client.post(CHAT, question()).await.status, 200);
    }
    stage.gateway.wait_log(2).await;
    assert_limited(&client.post(CHAT, question()).await, "tokens");
    assert_eq!(stage.upstream.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_tells_no_usage_is_paid_for_by_its_events() {
    let stage = Stage::new("{tokens_per_minute: 40}").await;
    stage
        .upstream
        .always(Reply::chat_stream(MODEL, &["one"; 40]));
    let client = stage.gateway.client();
    assert!(client.post(CHAT, streaming_question()).await.complete);
    stage.gateway.wait_log(1).await;
    assert_limited(&client.post(CHAT, streaming_question()).await, "tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_forgives_nothing() {
    let stage = Stage::new("{requests_per_minute: 2}").await;
    let client = stage.gateway.client();
    for _ in 0..2 {
        assert_eq!(client.post(CHAT, question()).await.status, 200);
    }
    stage
        .gateway
        .install(&setup(&stage.upstream, "{requests_per_minute: 2}"));
    assert_limited(&client.post(CHAT, question()).await, "requests");
    // Another limit begins anew.
    stage
        .gateway
        .install(&setup(&stage.upstream, "{requests_per_minute: 3}"));
    assert_eq!(client.post(CHAT, question()).await.status, 200);
}
