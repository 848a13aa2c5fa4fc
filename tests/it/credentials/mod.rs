//! What endpoints are shown in the place of the caller's credential.

mod passthrough;
mod places;
mod several;

use serde_json::{Value, json};

use crate::support::{KEY, Received, Response, SANDBOX_KEY};

const CHAT: &str = "/v1/chat/completions";

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

fn assert_ok(answer: &Response) {
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// No key of the gateway's callers has come, wherever in the request.
fn assert_no_caller_key(received: &Received) {
    let everything = format!("{received:?}");
    for key in [KEY, SANDBOX_KEY] {
        assert!(!everything.contains(key), "{everything}");
    }
}
