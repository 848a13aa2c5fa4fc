//! The known faults of the original, none of which may come back. Each is named after the fault.

use std::time::Duration;

use serde_json::Value;

use super::{CHAT, FALLBACK_SAYS, SUSPENDING, Stage, question, stream_question};
use crate::support::{Dead, Received, Reply, Setup, Upstream, bodies, secret};

/// A gateway with the chain `m0`, `m1`, … over the endpoints of these upstreams: `e0`, `e1`, …
fn start(upstreams: &[&Upstream], policy: &str) -> crate::support::Gateway {
    let names: Vec<(String, String)> = (0..upstreams.len())
        .map(|index| (format!("m{index}"), format!("e{index}")))
        .collect();
    let mut setup = Setup::new();
    for ((_, endpoint), upstream) in names.iter().zip(upstreams) {
        setup = setup.endpoint(endpoint, &upstream.url());
    }
    let chain: Vec<(&str, &str)> = names
        .iter()
        .map(|(model, endpoint)| (&**model, &**endpoint))
        .collect();
    setup.default_endpoint("e0").chain(&chain, policy).start()
}

/// The first attempt goes where the target says, not where the operation's requests go otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn the_target_s_endpoint_is_ignored_at_the_first_attempt() {
    let (default, target) = (Upstream::start().await, Upstream::start().await);
    target.always(Reply::chat("m1", FALLBACK_SAYS));
    let gateway = Setup::new()
        .endpoint("default", &default.url())
        .endpoint("target", &target.url())
        .default_endpoint("default")
        .chain(&[("m1", "target"), ("m0", "default")], "")
        .start();
    let answer = gateway.client().post(CHAT, question("m1")).await;
    assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
    assert_eq!((target.count(), default.count()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_errors_and_timeouts_do_not_fail_over() {
    let dead = Dead::refusing();
    let stage = Stage::at(Upstream::start().await, &dead.url(), "", SUSPENDING).await;
    stage
        .assert_fault_after(0, stage.ask().await, "refused")
        .await;

    let stage = Stage::with(&format!("{SUSPENDING}\nrequest_timeout: 200ms")).await;
    stage.target.always(Reply::hang());
    stage.assert_target_fault("timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_covers_only_the_first_attempt() {
    let upstreams = [
        Upstream::start().await,
        Upstream::start().await,
        Upstream::start().await,
    ];
    for upstream in &upstreams[..2] {
        upstream.always(Reply::hang());
    }
    upstreams[2].always(Reply::chat("m2", FALLBACK_SAYS));
    let gateway = start(&upstreams.each_ref(), "request_timeout: 200ms");
    let answer = gateway.client().post(CHAT, question("m0")).await;
    assert_eq!(
        answer.header("x-standin-failover"),
        Some("e0/m0=timeout, e1/m1=timeout")
    );
    assert_eq!(answer.header("x-standin-endpoint"), Some("e2"));
    let at = upstreams
        .each_ref()
        .map(|upstream| upstream.last_request().at);
    for pair in at.windows(2) {
        // A connection more or less on either side of the two moments.
        let waited = pair[1] - pair[0];
        assert!(waited >= Duration::from_millis(190), "{waited:?}");
    }
    for upstream in &upstreams[..2] {
        upstream.wait_cancelled(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn about_five_attempts_are_all() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::status(503));
    upstream.on_model("m25", Reply::chat("m25", FALLBACK_SAYS));
    let all = vec![&upstream; 26];
    let gateway = start(&all, "");
    let answer = gateway.client().post(CHAT, question("m0")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-standin-model"), Some("m25"));
    assert_eq!(answer.header("x-standin-attempts"), Some("26"));
    let asked: Vec<_> = upstream
        .requests()
        .iter()
        .filter_map(Received::model)
        .collect();
    let expected: Vec<_> = (0..26).map(|index| format!("m{index}")).collect();
    assert_eq!(asked, expected);
    for (index, request) in upstream.requests().iter().enumerate() {
        let key = format!("Bearer {}", secret(&format!("e{index}")));
        assert_eq!(request.headers.all("authorization"), [key]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_fallback_is_never_suspended() {
    let upstreams = [Upstream::start().await, Upstream::start().await];
    for upstream in &upstreams {
        upstream.always(Reply::status(503));
    }
    let gateway = start(&upstreams.each_ref(), SUSPENDING);
    let client = gateway.client();
    assert_eq!(client.post(CHAT, question("m0")).await.status, 502);
    let answer = client.post(CHAT, question("m0")).await;
    assert_eq!(answer.status, 503);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&wait), "{wait}");
    assert_eq!(answer.header("x-standin-attempts"), Some("0"));
    assert_eq!(upstreams.each_ref().map(Upstream::count), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_s_own_error_is_thrown_away() {
    let upstreams = [Upstream::start().await, Upstream::start().await];
    upstreams[0].always(Reply::status(500));
    upstreams[1].always(Reply::json(404, &bodies::openai_model_not_found("m1")));
    let gateway = start(&upstreams.each_ref(), "");
    let answer = gateway.client().post(CHAT, question("m0")).await;
    assert_eq!(answer.status, 502);
    let error = &answer.json()["error"];
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("The model `m1` does not exist or you do not have access to it."),
        "{message}"
    );
    assert_eq!(error["type"], "failover_error");
    assert_eq!(error["param"], Value::Null);
    let attempts = serde_json::json!([
        {"endpoint": "e0", "model": "m0", "status": 500, "reason": "500"},
        {"endpoint": "e1", "model": "m1", "status": 404, "reason": "404"},
    ]);
    assert_eq!(error["attempts"], attempts);
}

/// Here with the same model at both; [`super::credentials`] has the rest.
#[tokio::test(flavor = "multi_thread")]
async fn one_endpoint_s_key_can_reach_another_endpoint() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    first.always(Reply::json(
        401,
        &bodies::openai_invalid_api_key(&secret("e0")),
    ));
    second.always(Reply::chat("m", FALLBACK_SAYS));
    let gateway = Setup::new()
        .endpoint("e0", &first.url())
        .bare_endpoint("e1", &format!("url: {}", second.url()))
        .chain(&[("m", "e0"), ("m", "e1")], "")
        .start();
    let answer = gateway.client().post(CHAT, question("m")).await;
    assert_eq!(answer.header("x-standin-endpoint"), Some("e1"));
    let received = format!("{:?}", second.last_request());
    assert!(!received.contains(&secret("e0")), "{received}");
    assert!(
        !received.to_lowercase().contains("authorization"),
        "{received}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_streaming() {
    let stage = Stage::new().await;
    stage.target.always(Reply::status(503));
    let answer = stage.ask_stream().await;
    Stage::assert_fallback(&answer, 2, Some("target/first=503"));
    assert_eq!(
        answer.body,
        bodies::chat_events("second", &[FALLBACK_SAYS]).concat()
    );
    assert_eq!(
        stage.fallback.last_request().json(),
        stream_question("second")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remaining_tokens_header_that_is_no_number_stops_the_request() {
    for value in [
        "lots",
        "",
        "-1",
        "NaN",
        "0x0",
        "1e3",
        "99999999999999999999999",
        "\u{e9}",
    ] {
        let stage = Stage::new().await;
        let reply = Reply::chat("first", FALLBACK_SAYS);
        stage.target.always(
            reply
                .header("x-ratelimit-remaining-tokens", value)
                .header("anthropic-ratelimit-tokens-remaining", value),
        );
        for round in 1..=2 {
            let answer = stage.ask().await;
            assert_eq!(answer.status, 200, "{value:?}: {answer:?}");
            assert_eq!(stage.counts(), (round, 0), "{value:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_without_a_model_or_an_endpoint_are_accepted() {
    let whole = "{model: gpt, endpoint: only}";
    for (target, fallback, path) in [
        (
            "{endpoint: only}",
            whole,
            "policies.chat.production.target.model",
        ),
        (
            "{model: gpt}",
            whole,
            "policies.chat.production.target.endpoint",
        ),
        (
            "{model: '', endpoint: only}",
            whole,
            "policies.chat.production.target.model",
        ),
        (
            "{model: gpt, endpoint: ''}",
            whole,
            "policies.chat.production.target.endpoint",
        ),
        (
            "{model: gpt, endpoint: nowhere}",
            whole,
            "policies.chat.production.target.endpoint",
        ),
        (
            whole,
            "{endpoint: only}",
            "policies.chat.production.fallbacks[0].model",
        ),
        (
            whole,
            "{model: gpt}",
            "policies.chat.production.fallbacks[0].endpoint",
        ),
        ("null", whole, "policies.chat.production.target"),
    ] {
        let policy = format!("production:\n  target: {target}\n  fallbacks: [{fallback}]");
        let yaml = Setup::new()
            .endpoint("only", "http://127.0.0.1:9")
            .policy("chat", &policy)
            .yaml("off");
        let refused = standin::config::parse(&yaml, &|name| Some(secret(name)));
        let errors = refused
            .err()
            .unwrap_or_else(|| panic!("accepted: {policy}"))
            .to_string();
        assert!(errors.contains(path), "{path} in {errors}");
    }
}
