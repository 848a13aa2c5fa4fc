//! A stream that breaks after its first token goes on at the next target.

mod asking;
mod chain;
mod everywhere;
mod messages;
mod obstacles;
mod seam;

use serde_json::Value;

use crate::support::stage::{FIRST, Stage};
use crate::support::{Reply, Response, bodies};

/// A whole answer.
const WORDS: [&str; 8] = [
    "The ",
    "quick ",
    "brown ",
    "fox ",
    "jumps ",
    "over ",
    "the lazy ",
    "dog.",
];

/// Its text.
fn whole() -> String {
    WORDS.concat()
}

/// The first target's answer, of which `count` words come, and then nothing but the end.
fn broken(count: usize) -> Reply {
    Reply::sse(bodies::chat_events(FIRST, &WORDS)[..=count].to_vec())
}

/// A model's stream that says the words from the one behind `count` on.
fn rest(model: &str, count: usize) -> Reply {
    Reply::sse(bodies::chat_events_with_usage(model, &WORDS[count..]))
}

/// The text that the client gets of a stream that is broken after four words, where the second
/// target goes on with `continuation`.
async fn continued_by(stage: &Stage, continuation: &[&str]) -> Response {
    stage.first.push(broken(4));
    stage.second.push(Reply::chat_stream(
        crate::support::stage::SECOND,
        continuation,
    ));
    stage.answer().await
}

/// It is one whole stream that the first target began.
fn assert_one_stream(answer: &Response, models: &[&str]) {
    let transcript = answer.transcript();
    assert_eq!(transcript.text, whole());
    assert!(answer.complete && transcript.done, "{}", answer.text());
    assert_eq!(transcript.errors, Vec::<Value>::new());
    assert_eq!(transcript.finishes, ["stop"]);
    assert_eq!(transcript.ids, [bodies::chat_id(FIRST)]);
    assert_eq!(transcript.models, models);
    assert_eq!(transcript.roles, 1);
}

/// It ends with one error, and cut.
fn assert_broken(answer: &Response, text: &str) {
    let transcript = answer.transcript();
    assert_eq!(transcript.text, text, "{}", answer.text());
    assert_eq!(transcript.errors.len(), 1, "{}", answer.text());
    assert_eq!(transcript.errors[0]["code"], "stream_broken");
    assert!(!transcript.done && transcript.finishes.is_empty());
    assert!(!answer.complete, "it would look whole");
}
