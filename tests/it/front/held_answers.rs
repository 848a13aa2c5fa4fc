//! Answers that are held back count among all that is held, and are shown as they come where there is no
//! room for them.

use std::future::IntoFuture;

use serde_json::json;

use super::{CHAT, MODEL, Stage, assert_error, question, question_of};
use crate::support::{Reply, Step};

const KIB: usize = 1024;
const LIMITS: &str = "request_body: 8KiB\nbuffered_bodies: 16KiB";

/// An answer of this many bytes or a few more.
fn answer_of(bytes: usize) -> String {
    json!({"model": MODEL, "choices": [], "padding": "x".repeat(bytes)}).to_string()
}

/// The answer, with something to do before its last byte; each part of it is read apart.
fn reply(answer: &str, before_the_end: Step) -> Reply {
    let (most, end) = answer.split_at(answer.len() - 1);
    let parts = most.as_bytes().chunks(5 * KIB).map(<[u8]>::to_vec);
    let steps = parts
        .map(Step::write)
        .chain([before_the_end, Step::write(end.to_owned())]);
    Reply::status(200)
        .header("content-type", "application/json")
        .steps(steps)
}

fn asked() -> usize {
    question().to_string().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_of_an_answer_counts() {
    let stage = Stage::limited(LIMITS).await;
    for (client, gate) in stage.clients().into_iter().zip(["first", "second"]) {
        let answer = answer_of(10 * KIB);
        stage.upstream.push(reply(&answer, Step::Gate(gate)));
        let asking = tokio::spawn(client.post(CHAT, question()).into_future());
        stage.wait_held(asked() + answer.len() - 1).await;
        let refused = stage.client().post(CHAT, question_of(6 * KIB)).await;
        assert_error(&refused, 503, "gateway_overloaded", &["answers"]);

        stage.upstream.open(gate);
        let answered = asking.await.unwrap();
        assert_eq!(
            (answered.status, &answered.body[..]),
            (200, answer.as_bytes())
        );
        assert!(answered.header("content-length").is_some(), "it was whole");
        stage.wait_held(0).await;
        let served = stage.client().post(CHAT, question_of(6 * KIB)).await;
        assert_eq!(served.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_finds_no_room_is_shown_as_it_comes() {
    let stage = Stage::limited(LIMITS).await;
    for (client, gate) in stage.clients().into_iter().zip(["first", "second"]) {
        let answer = answer_of(20 * KIB);
        stage.upstream.push(reply(&answer, Step::Gate(gate)));
        let answering = client.open(CHAT, question()).await;
        assert_eq!(answering.status(), 200);
        stage.wait_held(asked()).await;
        stage.upstream.open(gate);
        let answered = answering.rest().await;
        assert!(answered.complete && answered.body == answer.as_bytes());
        assert_eq!(answered.header("x-standin-attempts"), Some("1"));
        stage.wait_held(0).await;
    }
    let lines = stage.gateway.wait_log(2).await;
    assert!(
        lines.iter().all(|line| line["error"].is_null()),
        "{lines:?}"
    );
    assert_eq!(stage.suspended(), 0);
}

/// What is lost of it: nobody can take its place when it breaks, and its caller sees that it broke.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_found_no_room_and_breaks_is_cut() {
    for (bytes, status, error) in [
        (20 * KIB, 200, "stream_broken"),
        (10 * KIB, 502, "all_targets_failed"),
    ] {
        let stage = Stage::limited(LIMITS).await;
        stage.upstream.push(reply(&answer_of(bytes), Step::Close));
        let answer = stage.client().open(CHAT, question()).await.rest().await;
        assert_eq!((answer.status, answer.complete), (status, status != 200));
        let line = &stage.gateway.wait_log(1).await[0];
        assert_eq!(line["error"], error, "{line}");
        assert_eq!(line["attempts"][0]["outcome"], "truncated", "{line}");
        assert_eq!(stage.suspended(), 1);
        stage.wait_held(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_until_its_reader_has_taken_it() {
    let stage = Stage::new().await;
    // More than the buffers of both kernels hold, less than may be held of one answer.
    let body = answer_of(7 << 20);
    let reply = Reply::status(200).header("content-type", "application/json");
    stage.upstream.push(reply.body(body.clone()));
    let client = stage.client().receive_buffer(4096);
    let answering = client.open(CHAT, question()).await;
    assert_eq!(stage.held(), asked() + body.len());
    let answered = answering.rest().await;
    assert!(answered.complete && answered.body == body.as_bytes());
    stage.wait_held(0).await;
}

/// What it cost is read when its reader has it, or has left in the midst of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_tells_what_it_cost_whether_or_not_its_reader_takes_it() {
    let stage = Stage::new().await;
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 41});
    let body = json!({"model": MODEL, "usage": usage, "padding": "x".repeat(7 << 20)}).to_string();
    for (count, takes_it) in [(1, true), (2, false)] {
        let reply = Reply::status(200).header("content-type", "application/json");
        stage.upstream.push(reply.body(body.clone()));
        let client = stage.client().receive_buffer(4096);
        let answering = client.open(CHAT, question()).await;
        if takes_it {
            assert!(answering.rest().await.complete);
        } else {
            drop(answering);
        }
        let lines = stage.gateway.wait_log(count).await;
        let line = &lines[count - 1];
        assert_eq!(line["error"].is_null(), takes_it, "{line}");
        assert_eq!(line["tokens_in"], 7, "{line}");
        assert_eq!(line["tokens_out"], 41, "{line}");
    }
}
