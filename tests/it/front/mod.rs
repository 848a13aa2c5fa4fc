//! What a client meets before an upstream is asked: the door, the framing, the limits, the clock,
//! and the ways on which a request gets past them.

mod bodies;
mod connections;
mod framing;
mod hanging_up;
mod held_answers;
mod keys;
mod limits;
mod listeners;
mod native;
mod operations;
mod slow;
mod upgrade;

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{Client, Gateway, KEY, Reply, Response, Setup, Upstream, until};

/// The operation with a policy.
pub const CHAT: &str = "/v1/chat/completions";

/// What a request asks for here.
pub const MODEL: &str = "gpt-4o";

/// A request that the policy serves.
pub fn question() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]})
}

/// The same as a stream.
pub fn streaming_question() -> Value {
    let mut question = question();
    question["stream"] = true.into();
    question
}

/// A JSON body of exactly this many bytes that the policy serves.
fn question_of(bytes: usize) -> Vec<u8> {
    let mut question = question();
    question["padding"] = "".into();
    let bare = question.to_string().len();
    let padding = bytes.checked_sub(bare);
    question["padding"] = "x".repeat(padding.expect("room for the question")).into();
    question.to_string().into_bytes()
}

/// A gateway with one upstream behind it, that answers every question.
struct Stage {
    upstream: Upstream,
    gateway: Gateway,
}

impl Stage {
    async fn new() -> Self {
        Self::with(|setup| setup).await
    }

    /// One with these `limits`.
    async fn limited(limits: &str) -> Self {
        Self::with(|setup| setup.limits(limits)).await
    }

    async fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let upstream = Upstream::start().await;
        upstream.always(Reply::chat(MODEL, "Hello"));
        let setup = Setup::new()
            .listener("{address: 127.0.0.1:0, h2c: true}")
            .endpoint("openai", &upstream.url())
            .chain(&[(MODEL, "openai")], "suspend_duration: 60s");
        let gateway = change(setup).start();
        Self { upstream, gateway }
    }

    /// A client with the production key, in HTTP/1.1.
    fn client(&self) -> Client {
        self.gateway.client()
    }

    /// Where HTTP/2 is spoken, too.
    fn h2c_addr(&self) -> SocketAddr {
        self.gateway.running.addresses[1]
    }

    /// A client of each protocol without a key.
    fn strangers(&self) -> [Client; 2] {
        [
            Client::new(self.gateway.addr()),
            Client::h2c(self.h2c_addr()),
        ]
    }

    /// A client of each protocol with the production key.
    fn clients(&self) -> [Client; 2] {
        self.strangers().map(|client| client.key(KEY))
    }

    /// The bytes of bodies that are held now.
    fn held(&self) -> usize {
        self.gateway.running.gateway.held_bytes().current()
    }

    async fn wait_held(&self, bytes: usize) {
        let reached = || self.held() == bytes;
        until(format!("{bytes} held bytes"), reached).await;
    }

    async fn wait_open_connections(&self, count: usize) {
        let reached = || self.gateway.running.connections.open() == count;
        until(format!("{count} open connections"), reached).await;
    }

    /// How many pairs are suspended now.
    fn suspended(&self) -> usize {
        let suspensions = self.gateway.running.gateway.suspensions();
        suspensions.list(std::time::Instant::now()).len()
    }
}

/// A request as bytes: head, then body.
fn raw(request_line: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut text = format!("{request_line}\r\n");
    for header in headers {
        let _ = write!(text, "{header}\r\n");
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body.as_ref());
    bytes
}

/// A question as bytes, in order.
fn raw_question(more_headers: &[&str]) -> Vec<u8> {
    let body = question().to_string();
    let length = format!("content-length: {}", body.len());
    raw_post(&[&[&*length], more_headers].concat(), body)
}

/// A post to the operation with a policy, whose body's framing is among the headers.
fn raw_post(headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let key = format!("authorization: Bearer {KEY}");
    let usual = ["host: gateway", &key, "content-type: application/json"];
    raw(
        &format!("POST {CHAT} HTTP/1.1"),
        &[&usual, headers].concat(),
        body,
    )
}

/// Asserts that an answer is this error, in `OpenAI`'s shape and no other, and gives its message.
#[track_caller]
fn error_message(answer: &Response, status: u16, code: &str) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{text}");
    assert!(answer.complete, "a cut answer: {text}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let kind = match status {
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let message = body["error"]["message"].as_str().unwrap_or_default();
    let shape = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    assert_eq!(body, shape);
    message.to_owned()
}

/// [`error_message`] of an answer whose message says each of `words`.
#[track_caller]
fn assert_error(answer: &Response, status: u16, code: &str, words: &[&str]) {
    let message = error_message(answer, status, code);
    for word in words {
        assert!(message.contains(word), "no {word:?} in {message:?}");
    }
}
