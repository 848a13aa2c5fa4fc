//! What follows from the outcome of an attempt, and what an attempt is.
//!
//! Most tests run on a [`Stage`]: a chain of two, where the target is what the test makes of it and
//! the fallback always answers. A first request shows what follows from the target's answer, a
//! second one whether the pair was suspended.

mod answers;
mod breakage;
mod chains;
mod credentials;
mod encryption;
mod forwarding;
mod http2;
mod original;
mod passing;
mod payloads;
mod retries;
mod reuse;
mod streams;
mod timeouts;

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Reply, Response, Setup, Upstream, bodies};

/// Where chat requests go.
const CHAT: &str = "/v1/chat/completions";

/// Fields of a policy: failed pairs are left out for longer than any test lasts.
const SUSPENDING: &str = "suspend_duration: 60s";

/// What the fallback of a [`Stage`] answers.
const FALLBACK_SAYS: &str = "Claude Monet.";

/// A chat request for a model.
fn question(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Who is the most renowned French painter?"}]})
}

/// The same for a stream.
fn stream_question(model: &str) -> Value {
    let mut question = question(model);
    question["stream"] = json!(true);
    question
}

/// An ordinary error of a provider that blames the request.
fn invalid_request() -> Value {
    let message = "Invalid value for 'temperature': expected a number.";
    bodies::openai_error("invalid_request_error", None, message)
}

/// An ordinary error of a provider that blames itself.
fn server_error() -> Reply {
    let message = "The server had an error while processing your request.";
    Reply::json(500, &bodies::openai_error("server_error", None, message))
}

/// A gateway with the chain `first` at the endpoint `target`, then `second` at the endpoint
/// `fallback`, which always answers.
struct Stage {
    target: Upstream,
    fallback: Upstream,
    gateway: Gateway,
    client: Client,
}

impl Stage {
    /// With suspension, and a target that answers in cleartext HTTP/1.1.
    async fn new() -> Self {
        Self::with(SUSPENDING).await
    }

    /// The same with these fields of the policy.
    async fn with(policy: &str) -> Self {
        Self::before(Upstream::start().await, "", policy).await
    }

    /// With suspension, and a target in HTTP/2.
    async fn http2() -> Self {
        Self::before(Upstream::h2c().await, "http_version: 2", SUSPENDING).await
    }

    /// With this target, fields of its endpoint, and fields of the policy.
    async fn before(target: Upstream, endpoint: &str, policy: &str) -> Self {
        let url = target.url();
        Self::at(target, &url, endpoint, policy).await
    }

    /// The same where the target's URL is not its address.
    async fn at(target: Upstream, url: &str, endpoint: &str, policy: &str) -> Self {
        let fallback = Upstream::start().await;
        fallback.answer_with(|request| match request.json()["stream"] {
            Value::Bool(true) => Reply::chat_stream("second", &[FALLBACK_SAYS]),
            _ => Reply::chat("second", FALLBACK_SAYS),
        });
        let gateway = Setup::new()
            .endpoint_with("target", url, &format!("provider: openai\n{endpoint}"))
            .endpoint("fallback", &fallback.url())
            .chain(&[("first", "target"), ("second", "fallback")], policy)
            .start();
        let client = gateway.client();
        Self {
            target,
            fallback,
            gateway,
            client,
        }
    }

    /// Asks for `first`.
    async fn ask(&self) -> Response {
        self.client.post(CHAT, question("first")).await
    }

    /// Asks for `first` as a stream.
    async fn ask_stream(&self) -> Response {
        self.client.post(CHAT, stream_question("first")).await
    }

    /// How many requests have reached the target and the fallback.
    fn counts(&self) -> (usize, usize) {
        (self.target.count(), self.fallback.count())
    }

    /// The answer is the fallback's, after `attempts` attempts; the failed ones are told of so.
    #[track_caller]
    fn assert_fallback(answer: &Response, attempts: usize, failover: Option<&str>) {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.complete, "{answer:?}");
        assert_eq!(answer.content(), FALLBACK_SAYS);
        assert_eq!(answer.header("x-standin-failover"), failover);
        assert_eq!(answer.header("x-standin-endpoint"), Some("fallback"));
        assert_eq!(answer.header("x-standin-model"), Some("second"));
        let attempts = attempts.to_string();
        assert_eq!(answer.header("x-standin-attempts"), Some(&*attempts));
    }

    /// The target failed for `reason` and was asked once: the fallback answers, and a second
    /// request passes the target by.
    async fn assert_target_fault(&self, reason: &str) {
        self.assert_fault_after(1, self.ask().await, reason).await;
    }

    /// The same of a stream.
    async fn assert_stream_fault(&self, reason: &str) {
        self.assert_fault_after(1, self.ask_stream().await, reason)
            .await;
    }

    /// The same of an answer for which `requests` have reached the target.
    async fn assert_fault_after(&self, requests: usize, answer: Response, reason: &str) {
        let failover = format!("target/first={reason}");
        Self::assert_fallback(&answer, 2, Some(&failover));
        assert_eq!(self.counts(), (requests, 1), "{reason}");
        Self::assert_fallback(&self.ask().await, 1, None);
        assert_eq!(self.counts(), (requests, 2), "{reason}: not suspended");
    }

    /// The request did not fit the target: the fallback answers, and a second request goes to the
    /// target again.
    async fn assert_does_not_fit(&self, reason: &str) {
        let failover = format!("target/first={reason}");
        for round in 1..=2 {
            Self::assert_fallback(&self.ask().await, 2, Some(&failover));
            assert_eq!(self.counts(), (round, round), "{reason}");
        }
    }

    /// The request is at fault: the target's answer reaches the client as it is, nobody else is
    /// asked, and a second request goes to the target again.
    async fn assert_client_fault(&self, status: u16, body: &Value) {
        for round in 1..=2 {
            let answer = self.ask().await;
            assert_eq!(answer.status, status, "{answer:?}");
            assert_eq!(answer.body, body.to_string());
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
            assert_eq!(answer.header("x-standin-attempts"), Some("1"));
            assert_eq!(answer.header("x-standin-failover"), None);
            assert_eq!(self.counts(), (round, 0), "{status} {body}");
        }
    }
}
