//! Further tries at the same target: after a transient failure, and after a wait that it asks for.

use std::time::Duration;

use super::{CHAT, FALLBACK_SAYS, SUSPENDING, Stage, question};
use crate::support::{Dead, Reply, Upstream, bodies};

/// Two retries, as good as at once.
const TWICE: &str = "retries: 2\nretry_backoff: {base: 1ms, max: 1ms}";

/// `target/first=REASON`, so many times.
fn failures(reason: &str, count: usize) -> String {
    vec![format!("target/first={reason}"); count].join(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_failure_is_tried_again_before_the_fallback() {
    for (reply, reason) in [
        (Reply::status(500), "500"),
        (Reply::status(502), "502"),
        (Reply::status(503), "503"),
        (Reply::status(504), "504"),
        (Reply::reset(), "reset"),
        (Reply::close(), "closed"),
    ] {
        let stage = Stage::with(&format!("{SUSPENDING}\n{TWICE}")).await;
        stage.target.always(reply);
        Stage::assert_fallback(&stage.ask().await, 4, Some(&failures(reason, 3)));
        assert_eq!(stage.counts(), (3, 1));
        Stage::assert_fallback(&stage.ask().await, 1, None);
        assert_eq!(stage.counts(), (3, 2), "{reason}: not suspended");
    }
    let dead = Dead::refusing();
    let policy = format!("{SUSPENDING}\n{TWICE}");
    let stage = Stage::at(Upstream::start().await, &dead.url(), "", &policy).await;
    Stage::assert_fallback(&stage.ask().await, 4, Some(&failures("refused", 3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_in_a_moment_is_not_tried_again() {
    for (reply, reason) in [
        (Reply::status(429), "429"),
        (Reply::status(404), "404"),
        (Reply::status(401), "401"),
        (Reply::status(501), "501"),
        (Reply::status(529), "529"),
        (
            Reply::json(503, &bodies::openai_insufficient_quota()),
            "503",
        ),
        (Reply::raw("HELLO\r\n\r\n"), "malformed"),
    ] {
        let stage = Stage::with(&format!("{SUSPENDING}\n{TWICE}")).await;
        stage.target.always(reply);
        stage.assert_target_fault(reason).await;
    }
    let stage = Stage::with(&format!("{SUSPENDING}\n{TWICE}")).await;
    stage
        .target
        .always(Reply::json(400, &super::invalid_request()));
    stage
        .assert_client_fault(400, &super::invalid_request())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_that_succeeds_is_the_answer_and_suspends_nobody() {
    let stage = Stage::with(&format!("{SUSPENDING}\n{TWICE}")).await;
    // On a connection that is used again a reset would be no attempt.
    stage.target.push(Reply::status(503).closing());
    stage.target.push(Reply::reset());
    stage.target.always(Reply::chat("first", FALLBACK_SAYS));
    let answer = stage.ask().await;
    assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
    assert_eq!(answer.header("x-standin-attempts"), Some("3"));
    assert_eq!(
        answer.header("x-standin-failover"),
        Some("target/first=503, target/first=reset")
    );
    let answer = stage.ask().await;
    assert_eq!(answer.header("x-standin-attempts"), Some("1"));
    assert_eq!(stage.counts(), (4, 0));
}

/// Each try gets the whole request again.
#[tokio::test(flavor = "multi_thread")]
async fn every_try_gets_the_same_request() {
    let stage = Stage::with(TWICE).await;
    stage.target.always(Reply::status(503));
    stage.ask().await;
    let received = stage.target.requests();
    assert_eq!(received.len(), 3);
    for request in received {
        assert_eq!(request.json(), question("first"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_between_two_tries_grows() {
    let stage = Stage::with("retries: 3\nretry_backoff: {base: 200ms, max: 400ms}").await;
    stage.target.always(Reply::status(503));
    stage.ask().await;
    let at: Vec<_> = stage
        .target
        .requests()
        .iter()
        .map(|request| request.at)
        .collect();
    assert_eq!(at.len(), 4);
    // Half to all of 200 ms, then of 400, then of 400 again, since that is the cap.
    for (pair, least) in at.windows(2).zip([100, 200, 200]) {
        let waited = pair[1] - pair[0];
        assert!(
            waited >= Duration::from_millis(least),
            "{waited:?} < {least} ms"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_asked_for_is_waited_out_once() {
    for (header, value, least) in [
        ("retry-after", "1", Duration::from_secs(1)),
        ("retry-after-ms", "150", Duration::from_millis(150)),
    ] {
        for status in [429, 503] {
            let stage = Stage::with(&format!("{SUSPENDING}\nmax_retry_after: 2s")).await;
            stage
                .target
                .push(Reply::status(status).header(header, value));
            stage.target.always(Reply::chat("first", FALLBACK_SAYS));
            let answer = stage.ask().await;
            assert_eq!(
                answer.header("x-standin-endpoint"),
                Some("target"),
                "{answer:?}"
            );
            assert_eq!(answer.header("x-standin-attempts"), Some("2"));
            let failover = failures(&status.to_string(), 1);
            assert_eq!(answer.header("x-standin-failover"), Some(&*failover));
            let received = stage.target.requests();
            let waited = received[1].at - received[0].at;
            assert!(waited >= least, "{waited:?} < {least:?}");
        }
    }
    let stage = Stage::with(&format!("{SUSPENDING}\nmax_retry_after: 2s")).await;
    stage
        .target
        .always(Reply::status(429).header("retry-after-ms", "50"));
    Stage::assert_fallback(&stage.ask().await, 3, Some(&failures("429", 2)));
    Stage::assert_fallback(&stage.ask().await, 1, None);
    assert_eq!(stage.counts(), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_wait_is_left_to_the_fallback() {
    for (status, reason) in [(429, "429"), (503, "503")] {
        let stage = Stage::with(&format!("{SUSPENDING}\nmax_retry_after: 1s\n{TWICE}")).await;
        stage
            .target
            .always(Reply::status(status).header("retry-after", "2"));
        stage.assert_target_fault(reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_longest_wait_none_is_waited_out() {
    let stage = Stage::new().await;
    stage
        .target
        .always(Reply::status(429).header("retry-after-ms", "1"));
    stage.assert_target_fault("429").await;

    // With retries the longest is 5 s, unless the policy says another.
    let stage = Stage::with(&format!("{SUSPENDING}\nretries: 1")).await;
    stage
        .target
        .push(Reply::status(429).header("retry-after-ms", "1"));
    stage.target.always(Reply::chat("first", FALLBACK_SAYS));
    let answer = stage.ask().await;
    assert_eq!(answer.header("x-standin-attempts"), Some("2"));
    assert_eq!(stage.counts(), (2, 0));

    let stage = Stage::with(&format!("{SUSPENDING}\nretries: 1")).await;
    stage
        .target
        .always(Reply::status(429).header("retry-after-ms", "5001"));
    stage.assert_target_fault("429").await;

    let stage = Stage::with(&format!("{SUSPENDING}\nretries: 1\nmax_retry_after: 0s")).await;
    stage
        .target
        .always(Reply::status(429).header("retry-after-ms", "1"));
    stage.assert_target_fault("429").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_does_not_mend_an_empty_account() {
    let stage = Stage::with(&format!("{SUSPENDING}\nmax_retry_after: 2s")).await;
    let reply = Reply::json(429, &bodies::openai_insufficient_quota());
    stage.target.always(reply.header("retry-after-ms", "1"));
    stage.assert_target_fault("429").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_statuses_ask_for_no_wait() {
    let stage = Stage::with(&format!("{SUSPENDING}\nmax_retry_after: 2s")).await;
    stage
        .target
        .always(Reply::status(500).header("retry-after-ms", "1"));
    stage.assert_target_fault("500").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_during_a_wait_ends_it() {
    let stage = Stage::with(&format!("{SUSPENDING}\nmax_retry_after: 60s")).await;
    stage
        .target
        .always(Reply::status(429).header("retry-after", "30"));
    let mut asked = tokio::spawn(stage.client.post(CHAT, question("first")).try_send());
    stage.target.wait_ended(0).await;
    let answered = tokio::time::timeout(Duration::from_millis(100), &mut asked).await;
    assert!(answered.is_err(), "the wait is on: {answered:?}");
    asked.abort();
    let log = stage.gateway.wait_log(1).await;
    assert_eq!(log[0]["error"], "client_gone", "{}", log[0]);
    assert_eq!(stage.counts(), (1, 0));
}
