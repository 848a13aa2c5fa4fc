//! Streams: the rows of the table "Judging an outcome" that are about them, and about a client that
//! leaves.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{CHAT, FALLBACK_SAYS, SUSPENDING, Stage, question, stream_question};
use crate::support::{Reply, Step, bodies};

/// An event that tells of an error.
fn error_event(error: &Value) -> String {
    bodies::data(error)
}

/// What a stream begins with before it says anything.
fn preamble() -> String {
    bodies::chat_chunk("first", &json!({"role": "assistant", "content": ""}), None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_stream_is_the_answer() {
    for stage in [Stage::new().await, Stage::http2().await] {
        let tokens = ["Berthe ", "Morisot", "."];
        stage.target.always(Reply::chat_stream("first", &tokens));
        for round in 1..=2 {
            let answer = stage.ask_stream().await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.body, bodies::chat_events("first", &tokens).concat());
            assert_eq!(answer.header("x-standin-attempts"), Some("1"));
            assert!(answer.complete && !answer.closed);
            assert_eq!(stage.counts(), (round, 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_without_content_is_an_answer() {
    let stage = Stage::new().await;
    stage.target.always(Reply::chat_stream("first", &[]));
    for round in 1..=2 {
        let answer = stage.ask_stream().await;
        assert_eq!(answer.body, bodies::chat_events("first", &[]).concat());
        assert_eq!(stage.counts(), (round, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_begins_with_an_error_fails_over() {
    let overloaded =
        json!({"error": {"message": "Overloaded", "type": "server_error", "code": 503}});
    for reply in [
        Reply::sse([error_event(&overloaded)]),
        Reply::sse([preamble(), error_event(&overloaded)]),
        Reply::sse([": ping\n\n".to_owned(), error_event(&overloaded)]).then(Step::Hang),
    ] {
        let stage = Stage::new().await;
        stage.target.always(reply);
        stage.assert_stream_fault("error_event").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_begins_with_a_content_filter_is_the_answer() {
    let stage = Stage::new().await;
    let event = error_event(&bodies::openai_content_policy_violation());
    stage.target.always(Reply::sse([event.clone()]));
    for round in 1..=2 {
        let answer = stage.ask_stream().await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().starts_with(&event), "{answer:?}");
        assert_eq!(stage.counts(), (round, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_before_it_says_anything_fails_over() {
    let nothing: [&str; 0] = [];
    for reply in [
        Reply::sse(nothing),
        Reply::sse([preamble()]),
        Reply::sse(["data: [DONE]\n\n"]),
        Reply::sse([preamble(), "data: [DONE]\n\n".to_owned()]),
        Reply::sse([": ping\n\n"]),
        Reply::sse(["data: {cut"]),
    ] {
        let stage = Stage::new().await;
        stage.target.always(reply);
        stage.assert_stream_fault("empty_stream").await;
    }
    for (end, reason) in [(Step::Close, "truncated"), (Step::Reset, "reset")] {
        let stage = Stage::new().await;
        stage.target.always(Reply::sse([preamble()]).then(end));
        stage.assert_stream_fault(reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_after_its_first_token_suspends_the_pair() {
    for (end, reason) in [
        (Step::Close, "truncated"),
        (Step::Reset, "reset"),
        (Step::Hang, "idle_timeout"),
    ] {
        let policy = format!("{SUSPENDING}\nstream_rescue: off\nstream_idle_timeout: 300ms");
        let stage = Stage::with(&policy).await;
        let begun = bodies::chat_events("first", &["Berthe"]);
        let begun = begun[..2].concat();
        stage.target.always(Reply::sse([begun.clone()]).then(end));

        let answer = stage.ask_stream().await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().starts_with(&begun), "{answer:?}");
        assert!(!answer.complete, "it must not look whole: {answer:?}");
        let events = answer.events();
        let last = events.last().unwrap().json();
        assert_eq!(last["error"]["code"], "stream_broken", "{last}");
        assert!(
            !events
                .iter()
                .any(super::super::support::sse::Event::is_done)
        );
        assert_eq!(stage.counts(), (1, 0));
        let log = stage.gateway.wait_log(1).await;
        assert_eq!(log[0]["attempts"][0]["outcome"], reason, "{}", log[0]);

        Stage::assert_fallback(&stage.ask().await, 1, None);
        assert_eq!(stage.counts(), (1, 1), "not suspended");
    }
}

/// Whatever it waits for: the head, the rest of a body, the first token, the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_nobody_s_fault_and_cancels_at_once() {
    let begun = bodies::chat_events("first", &["Berthe"])[..2].concat();
    let whole = bodies::chat_completion("first", FALLBACK_SAYS);
    for stage in [Stage::new().await, Stage::http2().await] {
        let hung = [
            (
                question("first"),
                Reply::status(200).held("the head"),
                "the head",
            ),
            (
                question("first"),
                Reply::json(200, &whole).cut_body_at(10, Step::Gate("the body")),
                "the body",
            ),
            (
                stream_question("first"),
                Reply::sse([preamble()]).then(Step::Gate("the first token")),
                "the first token",
            ),
            (
                stream_question("first"),
                Reply::sse([begun.clone()]).then(Step::Gate("the next token")),
                "the next token",
            ),
        ];
        for (question, reply, gate) in hung {
            stage.target.always(reply);
            let mut quickest = Duration::MAX;
            // The quickest of three: the machine has more to do than this.
            for _ in 0..3 {
                quickest = quickest.min(leave(&stage, &question, gate).await);
                if quickest < Duration::from_millis(100) {
                    break;
                }
            }
            assert!(
                quickest < Duration::from_millis(100),
                "{quickest:?}: {question}"
            );
        }
        assert_eq!(stage.fallback.count(), 0);
        // The pair is not suspended.
        stage.target.always(Reply::chat("first", FALLBACK_SAYS));
        let answer = stage.ask().await;
        assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
    }
}

/// Asks and hangs up once the answer stands at `gate`: how long it takes until the target's exchange is cancelled.
async fn leave(stage: &Stage, question: &Value, gate: &'static str) -> Duration {
    let request = stage.target.count();
    let mut connection = stage.client.connect().await;
    connection.write(&raw(stage, question)).await;
    stage.target.wait_for_requests(request + 1).await;
    // What of the answer comes has been written: now the gateway waits for more.
    stage.target.wait_gate(gate).await;
    let left = Instant::now();
    drop(connection);
    let cancelled = stage.target.wait_cancelled(request).await;
    let log = stage.gateway.wait_log(request + 1).await;
    assert_eq!(log[request]["error"], "client_gone", "{}", log[request]);
    cancelled.saturating_duration_since(left)
}

/// A request as it goes over the wire.
fn raw(stage: &Stage, body: &Value) -> Vec<u8> {
    let (addr, key) = (stage.gateway.addr(), crate::support::KEY);
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {CHAT} HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// An endpoint that doesn't stream answers a request for a stream all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_request_may_be_answered_by_no_stream() {
    let stage = Stage::new().await;
    stage.target.always(Reply::chat("first", "Berthe Morisot."));
    let answer = stage.ask_stream().await;
    assert_eq!(answer.content(), "Berthe Morisot.");
    assert_eq!(stage.counts(), (1, 0));

    let stage = Stage::new().await;
    stage.target.always(Reply::status(429));
    stage.assert_stream_fault("429").await;
}
