//! One line a request in the access log, whatever became of it.

mod answered;
mod discretion;
mod failed;
mod streams;

use serde_json::{Value, json};

use crate::support::{Gateway, Reply, Response, bodies};

const CHAT: &str = "/v1/chat/completions";

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

fn failure(status: u16) -> Reply {
    Reply::json(status, &bodies::openai_error("server_error", None, "No."))
}

/// The one line that there is.
async fn line(gateway: &Gateway) -> Value {
    let mut lines = gateway.wait_log(1).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// The lines of these answers' requests, and no others: in the order of the answers, since lines of
/// two connections have none.
async fn lines(gateway: &Gateway, answers: &[Response]) -> Vec<Value> {
    let mut lines = gateway.wait_log(answers.len()).await;
    assert_eq!(lines.len(), answers.len(), "{lines:?}");
    let take = |answer: &Response| {
        let id = answer.header("x-request-id").unwrap();
        let at = lines.iter().position(|line| line["request_id"] == id);
        lines.swap_remove(at.unwrap_or_else(|| panic!("no line of {id}")))
    };
    answers.iter().map(take).collect()
}

/// The names of a line's members.
fn members(line: &Value) -> Vec<&str> {
    let members = line.as_object().unwrap();
    members.keys().map(String::as_str).collect()
}

/// What is told of the attempts but for their durations, as `openai/gpt-4o 429 429`.
fn attempts(line: &Value) -> Vec<String> {
    let attempts = line["attempts"].as_array().unwrap().iter();
    attempts
        .map(|attempt| {
            let endpoint = attempt["endpoint"].as_str().unwrap();
            let mut text = endpoint.to_owned();
            if let Some(model) = attempt.get("model") {
                text = format!("{text}/{}", model.as_str().unwrap());
            }
            text = format!("{text} {}", attempt["outcome"].as_str().unwrap());
            if let Some(status) = attempt.get("status") {
                text = format!("{text} {status}");
            }
            text
        })
        .collect()
}

/// A number of milliseconds in a line or an attempt.
fn millis(value: &Value, name: &str) -> f64 {
    let millis = value[name].as_f64();
    millis.unwrap_or_else(|| panic!("no {name} in {value}"))
}
