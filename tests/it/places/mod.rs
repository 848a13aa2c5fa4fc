//! Where a request names its model: each place is read, and in each place the target's name is
//! written and nothing else.
//!
//! In each test the first target fails, so that two upstreams tell what has reached them: models
//! whose names mean something in URLs show whether they are encoded.

mod forms;
mod urls;

use bytes::Bytes;

use crate::support::client::Request;
use crate::support::{Client, Gateway, Received, Reply, Response, Setup, Upstream, bodies};

/// The first target's model, which is what clients ask for.
const ASKED: &str = "vendor/gpt:4o";
/// The same in a URL.
const ASKED_IN_URL: &str = "vendor%2Fgpt%3A4o";
/// The fallback's model.
const FALLBACK: &str = "é & o";
/// The same in a URL.
const FALLBACK_IN_URL: &str = "%C3%A9%20%26%20o";

/// Two upstreams, the first of which fails, and a gateway with one operation.
struct Stage {
    first: Upstream,
    second: Upstream,
    gateway: Gateway,
}

impl Stage {
    /// With an operation of these fields, and endpoints that have these besides.
    async fn new(operation: &str, endpoints: &str) -> Self {
        let (first, second) = tokio::join!(Upstream::start(), Upstream::start());
        first.always(Reply::json(
            500,
            &bodies::openai_error("server_error", None, "No."),
        ));
        second.always(Reply::json(200, &serde_json::json!({"served": true})));
        let fields = format!("provider: custom\n{endpoints}");
        let chain = format!(
            "production:\n  target: {{model: {ASKED:?}, endpoint: first}}\n  fallbacks: [{{model: {FALLBACK:?}, endpoint: second}}]\n"
        );
        let gateway = Setup::new()
            .endpoint_with("first", &first.url(), &fields)
            .endpoint_with("second", &second.url(), &fields)
            .default_endpoint("second")
            .other_policy("places", &chain)
            .operation(&format!(
                "{operation}\npolicies: [places]\ndefault_endpoint: {{production: second}}"
            ))
            .start();
        Self {
            first,
            second,
            gateway,
        }
    }

    fn client(&self) -> Client {
        self.gateway.client()
    }

    /// Sends a request that fails over: what the two upstreams received.
    async fn fail_over(&self, request: Request) -> [Received; 2] {
        let answer = request.await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.text(), r#"{"served":true}"#);
        assert_eq!(answer.header("x-standin-attempts"), Some("2"));
        [self.first.last_request(), self.second.last_request()]
    }

    /// Sends a request for a model that no policy names: what the default endpoint received.
    async fn pass(&self, request: Request) -> Received {
        let before = self.first.count();
        let answer = request.await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("x-standin-attempts"), Some("1"));
        assert_eq!(self.first.count(), before);
        self.second.last_request()
    }

    /// Sends a request that the gateway refuses itself.
    async fn refused(&self, request: Request, status: u16, code: &str) -> Response {
        let before = (self.first.count(), self.second.count());
        let answer = request.await;
        assert_eq!(answer.status, status, "{answer:?}");
        // In Gemini's shape the code is the status.
        let error = &answer.json()["error"];
        let field = if error["code"] == status {
            "reason"
        } else {
            "code"
        };
        assert_eq!(error[field], code);
        assert_eq!((self.first.count(), self.second.count()), before);
        answer
    }
}

/// JSON that is no ordinary one: what is not the model must stay as it is.
fn odd(model: &str) -> Bytes {
    format!("{{ \"a\" : 1e400,\n\"model\": {model} , \"b\":\"\\ud800\",\"a\":2}}").into()
}
