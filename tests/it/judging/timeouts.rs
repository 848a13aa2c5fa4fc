//! Every deadline of an attempt, and of all of them together.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{CHAT, FALLBACK_SAYS, SUSPENDING, Stage, question, stream_question};
use crate::support::{Gateway, Reply, Setup, Step, Upstream, bodies};

/// Longer than the short timeouts here, whatever else the machine does.
const LONG: Duration = Duration::from_millis(500);

fn preamble() -> String {
    bodies::chat_chunk("first", &json!({"role": "assistant", "content": ""}), None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_late_is_a_fault_and_the_target_is_not_tried_again() {
    let policy = format!(
        "{SUSPENDING}\nrequest_timeout: 200ms\nretries: 3\nretry_backoff: {{base: 1ms, max: 1ms}}"
    );
    for target in [
        (Upstream::start().await, ""),
        (Upstream::h2c().await, "http_version: 2"),
    ] {
        let stage = Stage::before(target.0, target.1, &policy).await;
        stage.target.always(Reply::hang());
        stage.assert_target_fault("timeout").await;
        stage.target.wait_cancelled(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_late_is_one_too() {
    let whole = || Reply::chat("first", "Berthe Morisot.");
    let error = Reply::json(400, &bodies::mistral_invalid_model("first"));
    for reply in [
        whole().cut_body_at(10, Step::Hang),
        // Each read brings something, but the whole takes too long.
        whole().split_every(1),
        error.cut_body_at(10, Step::Hang),
    ] {
        let stage = Stage::with(&format!("{SUSPENDING}\nrequest_timeout: 200ms")).await;
        stage.target.always(reply);
        stage.assert_target_fault("timeout").await;
        stage.target.wait_cancelled(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_may_last_longer_than_the_request_timeout() {
    let policy = format!("{SUSPENDING}\nrequest_timeout: 250ms\nstream_idle_timeout: 30s");
    let stage = Stage::with(&policy).await;
    let reply = Reply::chat_stream("first", &["Berthe ", "Morisot."]);
    stage.target.always(reply.before_write(2, Step::Wait(LONG)));
    let mut answer = stage.client.open(CHAT, stream_question("first")).await;
    assert!(answer.next_event().await.is_some());
    let answer = answer.rest().await;
    assert!(
        answer.complete && answer.text().ends_with("data: [DONE]\n\n"),
        "{answer:?}"
    );
    assert_eq!(stage.counts(), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_token_that_is_late_is_a_fault() {
    let policy = format!("{SUSPENDING}\nfirst_token_timeout: 200ms\nretries: 3");
    for reply in [
        Reply::hang(),
        Reply::sse([preamble()]).then(Step::Hang),
        // Pings don't count as an answer.
        Reply::sse([preamble()]).steps((0..400).flat_map(|_| {
            [
                Step::write(": ping\n\n"),
                Step::Wait(Duration::from_millis(5)),
            ]
        })),
    ] {
        let stage = Stage::with(&policy).await;
        stage.target.always(reply);
        stage.assert_stream_fault("first_token_timeout").await;
        stage.target.wait_cancelled(0).await;
    }
}

/// The default of `first_token_timeout` is `request_timeout`, and it is the head that is late.
#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_a_stream_has_the_request_timeout_too() {
    let stage = Stage::with(&format!(
        "{SUSPENDING}\nrequest_timeout: 200ms\nfirst_token_timeout: 30s"
    ))
    .await;
    stage.target.always(Reply::hang());
    stage.assert_stream_fault("timeout").await;

    let stage = Stage::with(&format!("{SUSPENDING}\nrequest_timeout: 200ms")).await;
    stage
        .target
        .always(Reply::sse([preamble()]).then(Step::Hang));
    stage.assert_stream_fault("first_token_timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_no_stream_knows_no_first_token() {
    let stage = Stage::with(&format!("{SUSPENDING}\nfirst_token_timeout: 100ms")).await;
    stage
        .target
        .always(Reply::chat("first", "Berthe Morisot.").delayed(LONG));
    let answer = stage.ask().await;
    assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
    assert_eq!(stage.counts(), (1, 0));
}

/// A chain of this many targets, at one upstream: `m0`, `m1`, …
fn long_chain(upstream: &Upstream, targets: usize, policy: &str) -> Gateway {
    let models: Vec<String> = (0..targets).map(|index| format!("m{index}")).collect();
    let chain: Vec<(&str, &str)> = models.iter().map(|model| (model.as_str(), "all")).collect();
    Setup::new()
        .endpoint("all", &upstream.url())
        .chain(&chain, policy)
        .start()
}

#[tokio::test(flavor = "multi_thread")]
async fn overall_timeout_ends_the_request_wherever_it_is() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::hang());
    let gateway = long_chain(
        &upstream,
        3,
        &format!("{SUSPENDING}\noverall_timeout: 300ms"),
    );
    let client = gateway.client();
    for round in 1..=2 {
        let began = Instant::now();
        let answer = client.post(CHAT, question("m0")).await;
        assert_eq!(answer.status, 504, "{answer:?}");
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(answer.json()["error"]["attempts"][0]["reason"], "timeout");
        assert_eq!(answer.header("x-standin-attempts"), Some("1"));
        // The request's patience was at an end, which says nothing of the target.
        assert_eq!(upstream.count_for("m0"), round);
        assert_eq!(upstream.count(), round);
        upstream.wait_cancelled(round - 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overall_timeout_covers_all_attempts() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::hang());
    let policy = "request_timeout: 200ms\noverall_timeout: 500ms";
    let gateway = long_chain(&upstream, 6, policy);
    let began = Instant::now();
    let answer = gateway.client().post(CHAT, question("m0")).await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert!(began.elapsed() >= Duration::from_millis(500));
    let attempts = answer.json()["error"]["attempts"].as_array().unwrap().len();
    assert!((2..=3).contains(&attempts), "{answer:?}");
    // The last may have ended before it reached anybody.
    assert!(
        (attempts - 1..=attempts).contains(&upstream.count()),
        "{upstream}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_past_overall_timeout_is_not_begun() {
    let policy = format!(
        "{SUSPENDING}\noverall_timeout: 4s\nmax_retry_after: 10s\nretries: 3\nretry_backoff: {{base: 60s, max: 60s}}"
    );
    for reply in [
        Reply::status(429).header("retry-after", "5"),
        Reply::status(503).header("retry-after", "5"),
        Reply::status(503),
    ] {
        let reason = if format!("{reply:?}").contains("429") {
            "429"
        } else {
            "503"
        };
        let stage = Stage::with(&policy).await;
        stage.target.always(reply);
        stage.assert_target_fault(reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_failure_s_timeout_is_the_client_s_504() {
    let upstream = Upstream::start().await;
    upstream.on_model("m0", Reply::status(500));
    upstream.on_model("m1", Reply::hang());
    let gateway = long_chain(&upstream, 2, "request_timeout: 200ms");
    let answer = gateway.client().post(CHAT, question("m0")).await;
    assert_eq!(answer.status, 504);
    let attempts = &answer.json()["error"]["attempts"];
    assert_eq!(attempts[0]["reason"], "500");
    assert_eq!(attempts[1]["reason"], "timeout");
    assert_eq!(attempts[1]["status"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_time_is_not_held_up_by_any_of_them() {
    let policy = "request_timeout: 20s\nfirst_token_timeout: 20s\noverall_timeout: 20s\nstream_idle_timeout: 20s";
    let stage = Stage::with(policy).await;
    stage
        .target
        .always(Reply::chat_stream("first", &[FALLBACK_SAYS]));
    let began = Instant::now();
    assert_eq!(stage.ask_stream().await.content(), FALLBACK_SAYS);
    assert!(began.elapsed() < Duration::from_secs(5));
}
