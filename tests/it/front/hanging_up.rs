//! A client that hangs up: its upstream exchange is cancelled within 100 ms, nobody is blamed, and
//! the log says who left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{CHAT, MODEL, Stage, question, raw_post, streaming_question};
use crate::support::{Client, Reply, Step};

/// What the product promises.
const PROMPT: Duration = Duration::from_millis(100);

/// How often each is tried. Every one must be cancelled; that it was prompt is asked of the fastest,
/// since a busy machine may take a while to run anybody.
const TRIES: usize = 3;

/// How a client goes.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    /// It closes the connection: FIN.
    Close,
    /// It resets it: RST.
    Reset,
    /// It cancels the HTTP/2 stream: RST_STREAM.
    Cancel,
}

const EVERY_WAY: [Leaving; 3] = [Leaving::Close, Leaving::Reset, Leaving::Cancel];

/// Sends `body`, waits until the upstream stands at `gate`, and leaves before the answer's head.
async fn leave_while_waiting(stage: Arc<Stage>, leaving: Leaving, body: Value) -> Instant {
    if let Leaving::Cancel = leaving {
        let [_, client] = stage.clients();
        let request = tokio::spawn(client.post(CHAT, body).try_open());
        stage.upstream.wait_gate("gate").await;
        let left = Instant::now();
        request.abort();
        assert!(request.await.is_err());
        // The connection stays: only the stream is cancelled.
        assert_eq!(client.get("/v1/unknown").await.status, 404);
        assert_eq!(client.connections(), 1);
        return left;
    }
    let body = body.to_string();
    let length = format!("content-length: {}", body.len());
    let mut connection = stage.client().connect().await;
    connection.write(&raw_post(&[&length], body)).await;
    stage.upstream.wait_gate("gate").await;
    let left = Instant::now();
    match leaving {
        Leaving::Reset => connection.reset(),
        _ => drop(connection),
    }
    left
}

/// Opens a stream, reads its first event, and leaves.
async fn leave_within_a_stream(stage: Arc<Stage>, leaving: Leaving) -> Instant {
    let [http1, http2] = stage.clients();
    let client: &Client = match leaving {
        Leaving::Cancel => &http2,
        _ => &http1,
    };
    let mut answer = client.open(CHAT, streaming_question()).await;
    assert!(answer.next_event().await.is_some());
    stage.upstream.wait_gate("gate").await;
    let left = Instant::now();
    match leaving {
        Leaving::Reset => answer.reset(),
        _ => answer.hang_up(),
    }
    left
}

/// Lets a client leave `TRIES` times, each time at a gateway of its own whose upstream answers with
/// `reply`: the upstream is told in time, nobody is blamed, and what was held is given back. The
/// requests' lines of the log.
async fn assert_cancelled<F: Future<Output = Instant>>(
    what: &str,
    reply: Reply,
    leave: impl Fn(Arc<Stage>) -> F,
) -> Vec<Value> {
    let mut delays = Vec::new();
    let mut lines = Vec::new();
    for _ in 0..TRIES {
        let stage = Arc::new(Stage::new().await);
        stage.upstream.always(reply.clone());
        let left = leave(Arc::clone(&stage)).await;
        let told = stage.upstream.wait_cancelled(0).await;
        delays.push(told.saturating_duration_since(left));
        lines.push(the_line(&stage).await);
        stage.wait_held(0).await;
        assert_eq!(stage.suspended(), 0);

        stage.upstream.always(Reply::chat(MODEL, "Hello"));
        let answer = stage.client().post(CHAT, question()).await;
        assert_eq!(answer.header("x-standin-attempts"), Some("1"));
        assert_eq!(answer.content(), "Hello");
    }
    let fastest = delays.iter().min().unwrap();
    assert!(*fastest < PROMPT, "{what}: {delays:?}");
    lines
}

/// The log's line of the one question so far.
async fn the_line(stage: &Stage) -> Value {
    let mut expected = 1;
    loop {
        let log = stage.gateway.wait_log(expected).await;
        let mut questions = log.iter().filter(|line| line["path"] == CHAT);
        if let Some(line) = questions.next() {
            return line.clone();
        }
        expected += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_answer() {
    for leaving in EVERY_WAY {
        for body in [question(), streaming_question()] {
            let reply = Reply::chat(MODEL, "Hello").held("gate");
            let what = format!("{leaving:?} {body}");
            let leave = |stage| leave_while_waiting(stage, leaving, body.clone());
            for line in assert_cancelled(&what, reply, leave).await {
                assert_eq!(line["status"], Value::Null, "{line}");
                assert_eq!(line["error"], "client_gone", "{line}");
                assert_eq!(line["attempts"].as_array().map(Vec::len), Some(1), "{line}");
                assert_eq!(line["attempts"][0]["outcome"], "client_gone", "{line}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn within_an_answer_that_is_held_until_it_is_whole() {
    for leaving in EVERY_WAY {
        let half = Reply::status(200)
            .header("content-type", "application/json")
            .chunked(["{\"choices\": ["])
            .then(Step::Gate("gate"));
        let leave = |stage| leave_while_waiting(stage, leaving, question());
        for line in assert_cancelled(&format!("{leaving:?}"), half, leave).await {
            assert_eq!(line["status"], Value::Null, "{line}");
            assert_eq!(line["error"], "client_gone", "{line}");
            assert_eq!(line["attempts"].as_array().map(Vec::len), Some(1), "{line}");
            assert_eq!(line["attempts"][0]["outcome"], "client_gone", "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_stream() {
    for leaving in EVERY_WAY {
        let stream = Reply::chat_stream(MODEL, &["Hel", "lo"]).before_write(2, Step::Gate("gate"));
        let leave = |stage| leave_within_a_stream(stage, leaving);
        for line in assert_cancelled(&format!("{leaving:?}"), stream, leave).await {
            assert_eq!(line["status"], 200, "{line}");
            assert_eq!(line["error"], "client_gone", "{line}");
            assert_eq!(line["stream_end"], "client_gone", "{line}");
            assert_eq!(line["attempts"].as_array().map(Vec::len), Some(1), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_request_is_still_tried_elsewhere() {
    let stage = Stage::with(|setup| {
        let chain = "match: [tried]\nretries: 3\nretry_backoff: {base: 10s, max: 10s}\n\
                     production:\n  target: {model: flaky, endpoint: openai}\n  fallbacks: []";
        setup.policy("tried", chain)
    })
    .await;
    stage.upstream.on_model("flaky", Reply::status(500));
    let mut connection = stage.client().connect().await;
    let body = r#"{"model":"tried"}"#;
    connection
        .write(&raw_post(&["content-length: 17"], body))
        .await;
    stage.upstream.wait_ended(0).await;
    // Now it waits for its second try, which never comes.
    drop(connection);
    let log = stage.gateway.wait_log(1).await;
    assert_eq!(log[0]["error"], "client_gone");
    assert_eq!(log[0]["attempts"][0]["outcome"], "500");
    assert_eq!(stage.upstream.count(), 1);
    stage.wait_held(0).await;
}
