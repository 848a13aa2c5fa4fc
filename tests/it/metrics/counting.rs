//! What is counted of requests, attempts and streams.

use std::time::Duration;

use super::{CHAT, Scrape, ask, ask_for_stream, failure};
use crate::support::{Gateway, Reply, Setup, Step, Upstream, bodies};

const CHAT_ROUTE: &str = "POST /v1/chat/completions,chat,production";

/// A gateway whose policy `chat` has two targets, which answer so.
async fn gateway(first: Reply, second: Reply, fields: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    upstream.on_model("m", first);
    upstream.on_model("spare", second);
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .endpoint("mistral", &upstream.url())
        .chain(&[("m", "openai"), ("spare", "mistral")], fields)
        .start();
    (upstream, gateway)
}

/// What is counted once `count` requests have ended.
async fn after(gateway: &Gateway, count: usize) -> Scrape {
    gateway.wait_log(count).await;
    Scrape::of(gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_answered_at_once() {
    let answer = Reply::chat("m", "Hello");
    let (_upstream, gateway) = gateway(answer, failure(500), "").await;
    for _ in 0..3 {
        gateway.client().post(CHAT, ask("m")).await;
    }
    let scrape = after(&gateway, 3).await;
    assert_eq!(
        scrape.told("standin_requests_total"),
        [format!("{CHAT_ROUTE},success 3")]
    );
    let target = format!("{CHAT_ROUTE},openai,m");
    assert_eq!(
        scrape.told("standin_attempts_total"),
        [format!("{target},success 3")]
    );
    let usage = &bodies::chat_completion("m", "Hello")["usage"];
    let tokens = |name: &str| usage[name].as_u64().unwrap() * 3;
    assert_eq!(
        scrape.told("standin_tokens_total"),
        [
            format!("{target},input {}", tokens("prompt_tokens")),
            format!("{target},output {}", tokens("completion_tokens")),
        ]
    );
    for (histogram, labels) in [
        ("standin_request_duration_seconds_count", CHAT_ROUTE),
        ("standin_gateway_duration_seconds_count", CHAT_ROUTE),
        ("standin_upstream_duration_seconds_count", &target),
    ] {
        assert_eq!(
            scrape.told(histogram),
            [format!("{labels} 3")],
            "{histogram}"
        );
    }
    assert_eq!(scrape.told("standin_failovers_total"), [""; 0]);
    assert_eq!(scrape.told("standin_streams_total"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_says_from_where_and_why() {
    let (_upstream, gateway) = gateway(failure(429), Reply::chat("spare", "Hello"), "").await;
    gateway.client().post(CHAT, ask("m")).await;
    let scrape = after(&gateway, 1).await;
    assert_eq!(
        scrape.told("standin_requests_total"),
        [format!("{CHAT_ROUTE},failed_over 1")]
    );
    assert_eq!(
        scrape.told("standin_attempts_total"),
        [
            format!("{CHAT_ROUTE},mistral,spare,success 1"),
            format!("{CHAT_ROUTE},openai,m,429 1"),
        ]
    );
    assert_eq!(
        scrape.told("standin_failovers_total"),
        [format!("{CHAT_ROUTE},openai,m,429 1")]
    );
}

/// A retry at the same target is an attempt, and no failover; nor is the last target's failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_no_failover() {
    let fields = "retries: 1\nretry_backoff: {base: 1ms, max: 1ms}";
    let (_upstream, gateway) = gateway(failure(503), failure(500), fields).await;
    gateway.client().post(CHAT, ask("m")).await;
    let scrape = after(&gateway, 1).await;
    assert_eq!(
        scrape.told("standin_requests_total"),
        [format!("{CHAT_ROUTE},failed 1")]
    );
    assert_eq!(
        scrape.told("standin_attempts_total"),
        [
            format!("{CHAT_ROUTE},mistral,spare,500 2"),
            format!("{CHAT_ROUTE},openai,m,503 2"),
        ]
    );
    assert_eq!(
        scrape.told("standin_failovers_total"),
        [format!("{CHAT_ROUTE},openai,m,503 1")]
    );
}

/// Codes have few words, and statuses that nobody has heard of share one.
#[tokio::test(flavor = "multi_thread")]
async fn reasons_are_of_a_fixed_set() {
    for (reply, reason) in [
        (failure(500), "500"),
        (failure(599), "5xx"),
        (Reply::status(399), "3xx"),
        (
            Reply::json(400, &bodies::mistral_invalid_model("m")),
            "unknown_model",
        ),
        (
            Reply::json(400, &bodies::openai_invalid_api_key("k")),
            "credential",
        ),
        (
            Reply::json(400, &bodies::openai_context_length_exceeded()),
            "context_length",
        ),
        (
            Reply::json(400, &bodies::openai_error("e", Some("ours"), "No.")),
            "configured_code",
        ),
        (Reply::close(), "closed"),
        (Reply::hang(), "timeout"),
    ] {
        let fields = "request_timeout: 300ms\nfailover_on: {error_codes: {add: [ours]}}";
        let (_upstream, gateway) = gateway(reply, Reply::chat("spare", "Hello"), fields).await;
        gateway.client().post(CHAT, ask("m")).await;
        let scrape = after(&gateway, 1).await;
        assert_eq!(
            scrape.told("standin_failovers_total"),
            [format!("{CHAT_ROUTE},openai,m,{reason} 1")]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_requests() {
    let upstream = Upstream::start().await;
    upstream.on_model("fine", Reply::chat("fine", "Hello"));
    upstream.on_model(
        "filtered",
        Reply::json(400, &bodies::azure_content_filter()),
    );
    upstream.on_model("down", failure(500));
    upstream.on_model("unnamed", failure(500));
    upstream.on_model("hangs", Reply::hang());
    upstream.on_path("/v1/models", Reply::status(200));
    let policy = |model: &str| {
        format!(
            "production: {{target: {{model: {model}, endpoint: openai}}, fallbacks: []}}\nsuspend_duration: 60"
        )
    };
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .policy("fine", &policy("fine"))
        .policy("filtered", &policy("filtered"))
        .policy("down", &policy("down"))
        .policy("hangs", &policy("hangs"))
        .default_endpoint("openai")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: openai}")
        .start();
    let client = gateway.client();
    for model in ["fine", "filtered", "down", "down", "unnamed"] {
        client.post(CHAT, ask(model)).await;
    }
    let leaving = client.connect().await;
    drop(leaving);
    client.get("/v1/models").await;
    client.get("/v1/nothing").await;
    client.post(CHAT, "no JSON").await;
    gateway.stranger().post(CHAT, ask("fine")).await;
    gateway.stranger().send_raw(b"GET / HTTP/1.1\r\n\r\n").await;
    let gone = gateway.client().connect().await;
    let mut gone = gone;
    let body = ask("hangs").to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        crate::support::KEY,
        body.len()
    );
    gone.write(head.as_bytes()).await;
    upstream.wait_for_requests(6).await;
    gone.reset();

    let scrape = after(&gateway, 11).await;
    let chat = "POST /v1/chat/completions";
    assert_eq!(
        scrape.told("standin_requests_total"),
        [
            ",,,rejected 3".to_owned(),
            "GET /v1/models,,production,success 1".to_owned(),
            format!("{chat},,production,rejected 1"),
            format!("{chat},,production,upstream_error 1"),
            format!("{chat},down,production,failed 1"),
            format!("{chat},down,production,suspended 1"),
            format!("{chat},filtered,production,client_error 1"),
            format!("{chat},fine,production,success 1"),
            format!("{chat},hangs,production,client_gone 1"),
        ]
    );
    assert_eq!(
        scrape.told("standin_attempts_total"),
        [
            "GET /v1/models,,production,openai,,success 1".to_owned(),
            format!("{chat},,production,openai,,success 1"),
            format!("{chat},down,production,openai,down,500 1"),
            format!("{chat},filtered,production,openai,filtered,success 1"),
            format!("{chat},fine,production,openai,fine,success 1"),
            format!("{chat},hangs,production,openai,hangs,client_gone 1"),
        ]
    );
}

/// What an upstream takes, what a client takes to send its body and what is waited between two
/// attempts is not the gateway's own time.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_s_own_time_is_without_the_others() {
    const SPAN: Duration = Duration::from_millis(150);
    let fields = "retries: 1\nretry_backoff: {base: 150ms, max: 150ms}\nmax_retry_after: 1s";
    let upstream = Upstream::start().await;
    upstream.on_model(
        "m",
        [
            failure(503).header("retry-after-ms", "150"),
            Reply::chat("m", "Hello").delayed(SPAN),
        ],
    );
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("m", "openai")], fields)
        .start();
    let body = ask("m").to_string();
    let mut connection = gateway.client().connect().await;
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        crate::support::KEY,
        body.len()
    );
    connection.write(head.as_bytes()).await;
    tokio::time::sleep(SPAN).await; // the caller is slow
    connection.write(body.as_bytes()).await;
    assert_eq!(connection.response().await.status, 200);

    let scrape = after(&gateway, 1).await;
    let all = scrape.sum("standin_request_duration_seconds_sum", &[]);
    let own = scrape.sum("standin_gateway_duration_seconds_sum", &[]);
    let upstream = scrape.sum("standin_upstream_duration_seconds_sum", &[]);
    assert!(upstream >= SPAN.as_secs_f64(), "{upstream}");
    assert!(own > 0.0);
    // Any of the three would be a whole span. How much of the caller's the gateway has waited for depends
    // on when it got to reading the head.
    assert!(own < SPAN.as_secs_f64() / 2.0, "{own} of {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_how_they_end() {
    let mut garbled = bodies::chat_events("m", &["Hel", "lo"]);
    garbled.insert(2, "data: {\"cut\n\n".to_owned());
    let cut = bodies::chat_events("m", &["Alive", "!"])[..2].to_vec();
    let mut unmarked = bodies::chat_events("m", &["Hel", "lo"]);
    unmarked.pop();
    for (reply, fields, end, outcome, rescues, dropped) in [
        (
            Reply::chat_stream("m", &["Hello"]),
            "",
            "complete",
            "success",
            0.0,
            0.0,
        ),
        (Reply::sse(garbled), "", "complete", "success", 0.0, 1.0),
        (Reply::sse(unmarked), "", "repaired", "success", 0.0, 0.0),
        (
            Reply::sse(cut.clone()).then(Step::Close),
            "",
            "rescued",
            "failed_over",
            1.0,
            0.0,
        ),
        (
            Reply::sse(cut).then(Step::Close),
            "stream_rescue: off",
            "broken",
            "broken",
            0.0,
            0.0,
        ),
    ] {
        let spare = Reply::chat_stream("spare", &[" and", " well."]);
        let (_upstream, gateway) = gateway(reply, spare, fields).await;
        gateway.client().post(CHAT, ask_for_stream("m")).await;
        let scrape = after(&gateway, 1).await;
        assert_eq!(
            scrape.told("standin_streams_total"),
            [format!("{CHAT_ROUTE},{end} 1")]
        );
        assert_eq!(
            scrape.told("standin_requests_total"),
            [format!("{CHAT_ROUTE},{outcome} 1")],
            "{end}"
        );
        assert_eq!(scrape.sum("standin_rescues_total", &[]), rescues, "{end}");
        let name = "standin_stream_events_dropped_total";
        assert_eq!(scrape.sum(name, &[]), dropped, "{end}");
    }
}

/// It is told by the target that the answer is of, under the names of the conventions.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_the_first_token() {
    let stream = Reply::chat_stream("spare", &["Hello"]);
    let (_upstream, gateway) = gateway(failure(500), stream, "").await;
    gateway.client().post(CHAT, ask_for_stream("m")).await;
    let scrape = after(&gateway, 1).await;
    assert_eq!(
        scrape.told("gen_ai_server_time_to_first_token_seconds_count"),
        [format!("{CHAT_ROUTE},mistral,chat,openai,spare 1")]
    );
}
