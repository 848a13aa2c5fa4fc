//! After an error whose framing is whole, the client's connection serves its next request.

use super::{CHAT, ask, failure};
use crate::support::client::Request;
use crate::support::{Client, Dead, Gateway, Reply, Setup, Upstream, bodies};

async fn gateway() -> (Upstream, Dead, Gateway) {
    let upstream = Upstream::start().await;
    let down = Dead::refusing();
    upstream.on_model("well", Reply::chat("well", "Hello."));
    upstream.on_model("broken", failure(500));
    upstream.on_model("limited", failure(429));
    upstream.on_model("slow", Reply::hang());
    upstream.on_model("cut", Reply::close());
    let fault = bodies::openai_error("invalid_request_error", None, "No messages.");
    upstream.on_model("faulty", Reply::json(400, &fault));
    upstream.on_model("unnamed-broken", failure(500));
    upstream.on_model("unnamed-refused", failure(401));
    upstream.on_model("unnamed-cut", Reply::close());
    upstream.on_path("/native/refused", failure(401));
    upstream.on_path("/native/broken", failure(500));
    upstream.on_path("/native/cut", Reply::close());
    let mut setup = Setup::new()
        .endpoint("openai", &upstream.url())
        .endpoint("down", &down.url())
        .limits("request_body: 1KiB")
        .default_endpoint("openai");
    for (model, endpoint) in [
        ("well", "openai"),
        ("broken", "openai"),
        ("limited", "openai"),
        ("slow", "openai"),
        ("cut", "openai"),
        ("faulty", "openai"),
        ("unreachable", "down"),
    ] {
        setup = setup.policy(model, &format!("production: {{target: {{model: {model}, endpoint: {endpoint}}}, fallbacks: []}}\nrequest_timeout: 200ms\nsuspend_duration: 60s"));
    }
    for (path, endpoint) in [
        ("refused", "openai"),
        ("broken", "openai"),
        ("cut", "openai"),
        ("unreachable", "down"),
    ] {
        setup = setup.operation(&format!(
            "method: POST\npath: /native/{path}\ndefault_endpoint: {{production: {endpoint}}}"
        ));
    }
    let other = "method: POST\npath: /v1/completions\npolicies: [well]";
    (upstream, down, setup.operation(other).start())
}

/// Every kind of error, with the status that it has.
fn errors(client: &Client, stranger: &Client) -> Vec<(Request, u16)> {
    let chat = |model| client.post(CHAT, ask(model));
    let typed = |kind| client.post(CHAT, "{}").header("content-type", kind);
    let long = vec![b' '; 2048];
    vec![
        (stranger.post(CHAT, ask("well")), 401),
        (stranger.post(CHAT, ask("well")).key("no-such-key"), 401),
        (client.post("/nowhere", ask("well")), 404),
        (client.get(CHAT), 405),
        (client.request("POST", CHAT), 411),
        (client.post(CHAT, long.clone()), 413),
        (
            client.request("POST", CHAT).chunked_body([long.clone()]),
            413,
        ),
        (client.post("/native/broken", long), 413),
        (typed("text/plain"), 415),
        (chat("well").header("content-encoding", "gzip"), 415),
        (client.post(CHAT, "{}"), 400),
        (client.post(CHAT, "{\"model\":"), 400),
        (client.post(CHAT, "{\"model\":\"a\",\"model\":\"b\"}"), 400),
        (client.post("/v1/completions", ask("nobody-knows")), 404),
        (chat("broken"), 502),
        (chat("broken"), 503),
        (chat("limited"), 429),
        (chat("slow"), 504),
        (chat("cut"), 502),
        (chat("faulty"), 400),
        (chat("unreachable"), 502),
        (chat("unnamed-broken"), 500),
        (chat("unnamed-refused"), 502),
        (chat("unnamed-cut"), 502),
        (client.post("/native/broken", "x"), 500),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_kept_after_every_error() {
    let (_upstream, _down, gateway) = gateway().await;
    let (client, stranger) = (gateway.client(), gateway.stranger());
    for (request, status) in errors(&client, &stranger) {
        let asked = request.to_string();
        let response = request.await;
        assert_eq!(response.status, status, "{asked}: {}", response.text());
        assert!(
            response.complete && !response.closed,
            "{asked}: {response:?}"
        );
        assert!(!response.headers.lists("connection", "close"), "{asked}");
        assert!(
            client.connections() + stranger.connections() <= 2,
            "{asked}"
        );
    }
    assert_eq!(client.post(CHAT, ask("well")).await.status, 200);
    assert_eq!((client.connections(), stranger.connections()), (1, 1));
}

/// Pingora closes a connection on which its own path has failed: then that is announced, so that
/// nobody sends a next request into the close.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_announced() {
    let (_upstream, _down, gateway) = gateway().await;
    let client = gateway.client();
    for path in ["/native/refused", "/native/cut", "/native/unreachable"] {
        let response = client.post(path, "x").await;
        assert_eq!(response.status, 502, "{path}");
        assert!(response.complete, "{path}: {response:?}");
        let announced = response.headers.lists("connection", "close");
        assert!(announced && response.closed, "{path}: {response:?}");
    }
}

/// One connection takes them all in a row, and none is answered with another's.
#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_answered_on_its_own_request() {
    let (_upstream, _down, gateway) = gateway().await;
    let client = gateway.client();
    for _ in 0..3 {
        for (request, status) in errors(&client, &gateway.stranger())
            .into_iter()
            .skip(2)
            .take(12)
        {
            let asked = request.to_string();
            assert_eq!(request.await.status, status, "{asked}");
            let well = client.post(CHAT, ask("well")).try_send().await;
            let well = well.unwrap_or_else(|reason| panic!("{reason:?} after {asked}"));
            assert_eq!(client.connections(), 1, "{asked}");
            assert_eq!((well.status, well.content().as_str()), (200, "Hello."));
        }
    }
}
