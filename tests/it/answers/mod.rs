//! What the client is told: by the headers of every answer, when everything failed, and where no
//! policy is.

mod connection;
mod failed;
mod labels;
mod secrets;
mod without_policy;

use serde_json::{Value, json};

use crate::support::{Reply, Response, bodies};

const CHAT: &str = "/v1/chat/completions";

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

fn failure(status: u16) -> Reply {
    let body = bodies::openai_error("server_error", None, "The server had an error.");
    Reply::json(status, &body)
}

/// One attempt in an error's list of them.
fn attempt(endpoint: &str, model: &str, status: impl Into<Value>, reason: &str) -> Value {
    json!({"endpoint": endpoint, "model": model, "status": status.into(), "reason": reason})
}

/// The error of a failed request, after a look at everything around it.
fn failover_error(response: &Response) -> Value {
    assert_eq!(response.header("content-type"), Some("application/json"));
    let body = response.json();
    let names =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&body), ["error"]);
    let error = body["error"].clone();
    assert_eq!(
        names(&error),
        ["attempts", "code", "message", "param", "type"]
    );
    assert_eq!(error["type"], "failover_error");
    assert_eq!(error["param"], Value::Null);
    error
}

/// All of an answer that a client gets to see.
fn everything(response: &Response) -> String {
    let mut text = String::new();
    for (name, value) in response.headers.iter() {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value)));
    }
    text.push_str(response.text());
    text
}
