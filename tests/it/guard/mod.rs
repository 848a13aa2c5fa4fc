//! What keeps the gateway, and those behind it, standing: limits, floods, faults and secrets.

mod concurrency;
mod connections;
mod desync;
mod http2;
mod rate_limits;

use serde_json::{Value, json};

/// The operation with a policy.
const CHAT: &str = "/v1/chat/completions";

/// What a request asks for here.
const MODEL: &str = "gpt-4o";

/// A request that the policy serves.
fn question() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]})
}

/// The same as a stream.
fn streaming_question() -> Value {
    let mut question = question();
    question["stream"] = true.into();
    question
}
