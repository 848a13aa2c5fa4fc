//! The admin listener: what it shows and changes, and to whom.

mod document;
mod edits;
mod health;
mod reload;
mod state;

use serde_json::Value;

use crate::support::Response;

/// The operation with a policy.
const CHAT: &str = "/v1/chat/completions";

/// Asserts that a response is a problem of this status and code; gives it.
#[track_caller]
fn problem(response: &Response, status: u16, code: &str) -> Value {
    let text = response.text();
    assert_eq!(response.status, status, "{text}");
    let kind = response.header("content-type");
    assert_eq!(kind, Some("application/problem+json"), "{text}");
    let problem = response.json();
    assert_eq!(problem["status"], status, "{text}");
    assert_eq!(problem["code"], code, "{text}");
    for words in ["title", "detail"] {
        assert!(problem[words].is_string(), "{text}");
    }
    problem
}
