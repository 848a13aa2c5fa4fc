//! What can't be spliced is not rescued: it ends with one error, and cut.

use serde_json::{Value, json};

use super::{WORDS, assert_one_stream, broken, rest};
use crate::support::stage::{FIRST, LANES, SECOND, Setting, question};
use crate::support::{Reply, bodies};

/// A healthy fallback is not asked.
async fn assert_not_rescued(request: Value, events: &[String], why: &str) {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        stage.first.always(Reply::sse(events.to_vec()));
        let answer = stage.ask_for(request.clone()).await;
        let transcript = answer.transcript();
        assert!(!answer.complete, "{why} over {lane:?}: {}", answer.text());
        assert!(
            answer.text().starts_with(&events.concat()),
            "{why}: {}",
            answer.text()
        );
        assert_eq!(transcript.errors.len(), 1, "{why}: {}", answer.text());
        assert_eq!(transcript.errors[0]["code"], "stream_broken");
        assert!(!transcript.done && transcript.finishes.is_empty(), "{why}");
        assert_eq!(stage.second.count(), 0, "{why} over {lane:?}");
        let line = stage.account().await;
        assert_eq!(line["stream_end"], "broken", "{why}");
        assert_eq!(line["rescued_at_bytes"], Value::Null, "{why}");
    }
}

fn begun() -> Vec<String> {
    bodies::chat_events(FIRST, &WORDS)[..5].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_request_asks_for() {
    for (member, value) in [
        ("n", json!(2)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(3)),
        ("response_format", json!({"type": "json_object"})),
        (
            "response_format",
            json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}),
        ),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({"voice": "alloy", "format": "wav"})),
        ("guided_json", json!({"type": "object"})),
    ] {
        let mut request = question();
        request[member] = value;
        assert_not_rescued(request, &begun(), member).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent() {
    let tool = json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
        "function": {"name": "paint", "arguments": "{\"col"}}]});
    for (delta, why) in [
        (tool, "a tool call"),
        (
            json!({"function_call": {"name": "paint", "arguments": "{"}}),
            "a function call",
        ),
        (json!({"audio": {"id": "a", "data": "UklGRg=="}}), "audio"),
        (json!({"refusal": "I can't"}), "a refusal"),
        (
            json!({"content": [{"type": "image_url", "image_url": {}}]}),
            "an image",
        ),
    ] {
        let mut events = begun();
        events.push(bodies::chat_chunk(FIRST, &delta, None));
        assert_not_rescued(question(), &events, why).await;
    }
    let mut events = begun();
    let second = json!({"id": "1", "choices": [{"index": 1, "delta": {"content": "Or"}}]});
    events.push(bodies::data(&second));
    assert_not_rescued(question(), &events, "a second choice").await;
    let mut events = begun();
    let rated = json!({"id": "1", "choices": [{"index": 0, "delta": {"content": "a"},
        "logprobs": {"content": [{"token": "a", "logprob": -0.1}]}}]});
    events.push(bodies::data(&rated));
    assert_not_rescued(question(), &events, "log probabilities").await;
}

/// More text than is kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long() {
    let kilobyte = "x".repeat(1 << 10);
    let words = vec![&*kilobyte; 1025];
    let events = bodies::chat_events(FIRST, &words)[..1026].to_vec();
    assert_not_rescued(question(), &events, "too long").await;
}

/// As much as is kept is rescued.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_is_continued() {
    let kilobyte = format!("{}. ", "x".repeat(1022));
    let words: Vec<_> = (0..1000)
        .map(|number| format!("{number} {}", &kilobyte[..1000]))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for lane in LANES {
        let stage = Setting::new(lane).second("openai", "true").start().await;
        let events = bodies::chat_events(FIRST, &words);
        stage.first.always(Reply::sse([events[..901].concat()]));
        stage.second.always(Reply::sse([
            bodies::chat_events(SECOND, &words[890..]).concat()
        ]));
        let answer = stage.answer().await;
        assert_eq!(answer.transcript().text, words.concat(), "{lane:?}");
        assert!(answer.complete);
        let asked = stage.second.last_request().json();
        assert_eq!(asked["messages"][1]["content"], words[..900].concat());
    }
}

/// Tools in the request forbid nothing, as long as none was called; nor do other members.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_obstacle() {
    for (member, value) in [
        (
            "tools",
            json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]),
        ),
        ("n", json!(1)),
        ("logprobs", json!(false)),
        ("response_format", json!({"type": "text"})),
        ("modalities", json!(["text"])),
        ("audio", Value::Null),
    ] {
        for lane in LANES {
            let stage = Setting::new(lane).start().await;
            stage.first.always(broken(4));
            stage.second.always(rest(SECOND, 4));
            let mut request = question();
            request[member] = value.clone();
            assert_one_stream(&stage.ask_for(request).await, &[FIRST, SECOND]);
            assert_eq!(
                stage.second.last_request().json()[member],
                value,
                "{lane:?}"
            );
        }
    }
}

/// A rescuer may well call a tool: its stream goes on as it is, and can't be rescued itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_rescuer_may_call_a_tool() {
    let tool = json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
        "function": {"name": "paint", "arguments": "{}"}}]});
    for lane in LANES {
        let stage = Setting::new(lane).fallbacks(2).start().await;
        stage.first.always(broken(4));
        let mut events = bodies::chat_events(SECOND, &["jumps"]);
        events.insert(2, bodies::chat_chunk(SECOND, &tool, None));
        stage.second.push(Reply::sse(events.clone()));
        let answer = stage.answer().await;
        assert!(answer.complete && answer.transcript().done);
        assert_eq!(answer.transcript().text, "The quick brown fox jumps");
        let calls: Vec<_> = answer
            .events()
            .iter()
            .filter(|event| !event.is_done() && event.data.is_some())
            .filter_map(|event| event.json().pointer("/choices/0/delta/tool_calls").cloned())
            .collect();
        assert_eq!(calls, [tool["tool_calls"].clone()], "{lane:?}");

        stage.second.push(Reply::sse(events[..3].to_vec()));
        let answer = stage.answer().await;
        assert!(!answer.complete, "{lane:?}");
        assert_eq!(answer.transcript().errors.len(), 1);
        assert_eq!(stage.third.count(), 0);
    }
}
