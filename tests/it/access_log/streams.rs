//! What is told of a stream.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CHAT, ask, attempts, failure, line, members, millis};
use crate::support::{Gateway, Reply, Setup, Step, Upstream, bodies};

/// A stream whose first event with content comes after this.
const UNTIL_CONTENT: Duration = Duration::from_millis(60);

fn ask_for_stream(model: &str) -> Value {
    let mut body = ask(model);
    body["stream"] = true.into();
    body
}

/// A gateway whose target answers so.
async fn gateway(reply: Reply, fields: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    upstream.on_model("m", reply);
    upstream.on_model("spare", Reply::chat_stream("spare", &[" and", " well."]));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("m", "openai"), ("spare", "openai")], fields)
        .start();
    (upstream, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_stream() {
    let events = bodies::chat_events_with_usage("m", &["Hel", "lo"]);
    let count = events.len();
    let reply = Reply::sse(events).before_write(1, Step::Wait(UNTIL_CONTENT));
    let (_upstream, gateway) = gateway(reply.before_write(2, Step::Wait(UNTIL_CONTENT)), "").await;
    let response = gateway.client().post(CHAT, ask_for_stream("m")).await;
    let line = line(&gateway).await;
    let of_stream = ["events", "events_dropped", "stream_end", "ttft_ms"];
    assert!(of_stream.iter().all(|name| members(&line).contains(name)));
    assert_eq!(line["stream_end"], "complete");
    assert_eq!(line["events"], count);
    assert_eq!(line["events_dropped"], 0);
    assert_eq!(line.get("rescued_at_bytes"), None);
    assert_eq!(
        (&line["tokens_in"], &line["tokens_out"]),
        (&json!(9), &json!(2))
    );
    assert_eq!(line["status"], 200);
    assert_eq!(line.get("error"), None);
    assert_eq!(line["bytes_out"], response.body.len());
    assert_eq!(attempts(&line), ["openai/m success 200"]);
    let ttft = millis(&line, "ttft_ms");
    assert!(ttft >= 60.0, "{ttft}");
    let attempt = millis(&line["attempts"][0], "duration_ms");
    assert!(attempt >= 120.0, "to its last byte: {attempt}");
    assert!(millis(&line, "duration_ms") >= attempt);
}

/// The time to the first token is the client's: what failed before it counts.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_the_first_token_is_that_of_the_request() {
    let (_upstream, gateway) = gateway(failure(500).delayed(UNTIL_CONTENT), "").await;
    gateway.client().post(CHAT, ask_for_stream("m")).await;
    let line = line(&gateway).await;
    assert_eq!(
        attempts(&line),
        ["openai/m 500 500", "openai/spare success 200"]
    );
    assert!(millis(&line, "ttft_ms") >= 60.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_lacked_its_end_mark() {
    let mut events = bodies::chat_events("m", &["Hel", "lo"]);
    events.pop();
    let (_upstream, gateway) = gateway(Reply::sse(events), "").await;
    let response = gateway.client().post(CHAT, ask_for_stream("m")).await;
    assert!(response.transcript().done);
    let line = line(&gateway).await;
    assert_eq!(line["stream_end"], "repaired");
    assert_eq!(line.get("error"), None);
    assert_eq!(line["bytes_out"], response.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_dropped_are_counted() {
    let mut events = bodies::chat_events("m", &["Hel", "lo"]);
    events.insert(2, "data: {\"cut\n\n".to_owned());
    events.insert(3, "data: no json\n\n".to_owned());
    let whole = events.len() - 2;
    let (_upstream, gateway) = gateway(Reply::sse(events), "").await;
    let response = gateway.client().post(CHAT, ask_for_stream("m")).await;
    assert_eq!(response.transcript().text, "Hello");
    let line = line(&gateway).await;
    assert_eq!(line["events_dropped"], 2);
    assert_eq!(line["events"], whole);
    assert_eq!(line["stream_end"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_is_an_error() {
    let events = bodies::chat_events("m", &["Hel", "lo"]);
    let reply = Reply::sse(events[..2].to_vec()).then(Step::Reset);
    let (_upstream, gateway) = gateway(reply, "stream_rescue: off").await;
    let response = gateway.client().post(CHAT, ask_for_stream("m")).await;
    assert!(!response.complete);
    let line = line(&gateway).await;
    assert_eq!(line["stream_end"], "broken");
    assert_eq!(line["error"], "stream_broken");
    assert_eq!(line["status"], 200, "which it had begun with");
    assert_eq!(attempts(&line), ["openai/m reset 200"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescued_stream_tells_of_its_seam() {
    let events = bodies::chat_events("m", &["Alive", "!"]);
    let reply = Reply::sse(events[..2].to_vec()).then(Step::Close);
    let (_upstream, gateway) = gateway(reply, "").await;
    let response = gateway.client().post(CHAT, ask_for_stream("m")).await;
    assert_eq!(response.transcript().text, "Alive and well.");
    let line = line(&gateway).await;
    assert_eq!(line["stream_end"], "rescued");
    assert_eq!(line["rescued_at_bytes"], json!(["Alive".len()]));
    assert_eq!(line.get("error"), None);
    assert_eq!(
        attempts(&line),
        ["openai/m truncated 200", "openai/spare success 200"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_middle() {
    let events = bodies::chat_events("m", &["Hel", "lo"]);
    let reply = Reply::sse(events[..2].to_vec()).then(Step::Hang);
    let (upstream, gateway) = gateway(reply, "").await;
    let mut stream = gateway.client().open(CHAT, ask_for_stream("m")).await;
    stream.next_event().await;
    stream.hang_up();
    upstream.wait_cancelled(0).await;
    let line = line(&gateway).await;
    assert_eq!(line["stream_end"], "client_gone");
    assert_eq!(line["error"], "client_gone");
    assert_eq!(line["status"], 200);
    assert_eq!(attempts(&line), ["openai/m success 200"]);
    assert!(line["bytes_out"].as_u64().unwrap() > 0);
}
