//! Every operation of every preset, with its provider's own requests, answers, errors and streams: the
//! first target fails in the provider's way, the second one answers, and each has received the
//! request byte for byte but for the model.
//!
//! The shapes are those of the providers' public references, named in each module.

mod anthropic;
mod azure;
mod bedrock;
mod gemini;
mod models;
mod openai;

use bytes::Bytes;

use crate::support::client::Request;
use crate::support::{Gateway, Received, Reply, Response, Setup, Upstream, secret};

/// The first target's model, which is what clients ask for.
const FIRST: &str = "first-model";
/// The fallback's model.
const SECOND: &str = "second-model";

/// Two upstreams of one provider behind a preset.
struct Stage {
    first: Upstream,
    second: Upstream,
    gateway: Gateway,
}

impl Stage {
    async fn new(preset: &str, provider: &str) -> Self {
        let (first, second) = tokio::join!(Upstream::start(), Upstream::start());
        let provider = format!("provider: {provider}");
        let chain = format!(
            "production:\n  target: {{model: {FIRST}, endpoint: first}}\n  fallbacks: [{{model: {SECOND}, endpoint: second}}]\nsuspend_duration: 0s"
        );
        let gateway = Setup::new()
            .endpoint_with("first", &first.url(), &provider)
            .endpoint_with("second", &second.url(), &provider)
            .other_policy("preset", &chain)
            .preset(preset, "policies: [preset]")
            .start();
        Self {
            first,
            second,
            gateway,
        }
    }

    /// A request that fails at the first target and is answered by the second: each received the
    /// request that `request` makes for its model, and the client the second one's answer as it is.
    async fn fails_over(
        &self,
        request: impl Fn(&str) -> Request,
        failure: Reply,
        reason: &str,
        answer: (Reply, &[u8]),
    ) -> (Response, [Received; 2]) {
        self.first.push(failure);
        self.second.push(answer.0);
        let response = request(FIRST).await;
        assert_eq!(response.status, 200, "{response:?}");
        assert!(response.complete, "{response:?}");
        assert_eq!(response.body, answer.1);
        let failover = format!("first/{FIRST}={reason}");
        assert_eq!(response.header("x-standin-failover"), Some(&*failover));
        assert_eq!(response.header("x-standin-model"), Some(SECOND));
        (
            response,
            [self.first.last_request(), self.second.last_request()],
        )
    }
}

/// An operation with JSON in both directions.
struct Case {
    /// `MODEL` stands for the model.
    path: &'static str,
    /// The same.
    body: &'static str,
    /// The content type of the answer, and the answer.
    answer: (&'static str, &'static [u8]),
}

impl Stage {
    /// The request of a case reaches both upstreams as it is but for the model, with their own keys
    /// in `header`.
    async fn check(&self, case: &Case, error: (u16, &str), reason: &str, header: (&str, &str)) {
        let client = self.gateway.client();
        let request = |model: &str| {
            let body = Bytes::from(case.body.replace("MODEL", model));
            let request = client.post(&case.path.replace("MODEL", model), body);
            request.header("content-type", "application/json")
        };
        let failure = Reply::status(error.0)
            .header("content-type", "application/json")
            .body(error.1.to_owned());
        let (kind, answer) = case.answer;
        let reply = Reply::status(200).header("content-type", kind).body(answer);
        let sent = (reply, answer);
        let (response, received) = self.fails_over(request, failure, reason, sent).await;
        assert_eq!(response.header("content-type"), Some(kind));
        for ((received, model), endpoint) in received
            .iter()
            .zip([FIRST, SECOND])
            .zip(["first", "second"])
        {
            assert_eq!(received.target, case.path.replace("MODEL", model));
            assert_eq!(received.body, case.body.replace("MODEL", model));
            let key = format!("{}{}", header.1, secret(endpoint));
            assert_eq!(received.headers.all(header.0), [key]);
        }
    }

    /// A request whose stream the first target begins with an error, and the second completes.
    async fn check_stream(&self, path: &str, body: &str, error: &str, events: &[&str]) {
        let client = self.gateway.client();
        let request = |model: &str| {
            let body = Bytes::from(body.replace("MODEL", model));
            let request = client.post(&path.replace("MODEL", model), body);
            request.header("content-type", "application/json")
        };
        let answer = events.concat();
        let events: Vec<String> = events.iter().map(|event| (*event).to_owned()).collect();
        let sent = (Reply::sse(events), answer.as_bytes());
        let failure = Reply::sse([error.to_owned()]);
        let (_, received) = self.fails_over(request, failure, "error_event", sent).await;
        assert_eq!(received[1].body, body.replace("MODEL", SECOND));
    }
}
