//! Bodies of any size fail over byte by byte, but for the model.

use bytes::Bytes;

use super::{CHAT, FALLBACK_SAYS};
use crate::support::{Client, Gateway, KEY, Reply, Setup, Upstream, bodies};

/// Around every bound on the way: a read, what Pingora would keep (64 KiB), a window of HTTP/2.
const SIZES: [usize; 6] = [0, 1 << 10, 63 << 10, 65 << 10, 1 << 20, 10 << 20];

/// A body with everything that a careless rewrite would change.
struct Payload {
    before: String,
    after: String,
}

impl Payload {
    /// About `size` bytes, most of them before the model or after it.
    fn new(size: usize, model_is_last: bool) -> Self {
        let text: String = "caf\\u00e9 \u{1f3a8}\\n \\\"model\\\": \\\"first\\\" "
            .chars()
            .cycle()
            .take(size)
            .collect();
        // Cut inside an escape it would be no JSON.
        let text = &text[..text.rfind(' ').unwrap_or(0)];
        let rest = format!(
            "\"messages\" : [ {{\"role\":\"user\",\t\"content\":\"{text}\"}} ],\r\n \"seed\":123456789012345678901234567890, \"temperature\":1.0e-0, \"nested\":{{\"model\":\"first\"}},\"zero\":-0"
        );
        if model_is_last {
            let before = format!("\n{{ {rest} ,\n  \"mod\\u0065l\" :\t");
            let after = " }\r\n".to_owned();
            Self { before, after }
        } else {
            let before = " { \"model\": ".to_owned();
            let after = format!(", {rest} }}");
            Self { before, after }
        }
    }

    fn with(&self, model: &str) -> Bytes {
        format!("{}{model}{}", self.before, self.after).into()
    }
}

/// A gateway that also speaks HTTP/2, and the clients of it.
fn start(first: &Upstream, second: &Upstream, http2: bool) -> (Gateway, [Client; 2]) {
    let fields = match http2 {
        true => "provider: openai\nhttp_version: 2",
        false => "provider: openai",
    };
    let gateway = Setup::new()
        .listener("{address: 127.0.0.1:0, h2c: true}")
        .endpoint_with("a", &first.url(), fields)
        .endpoint_with("b", &second.url(), fields)
        .chain(&[("first", "a"), ("second \"model\" \u{e9}", "b")], "")
        .start();
    let h2c = Client::h2c(gateway.running.addresses[1]).key(KEY);
    let http1 = gateway.client();
    (gateway, [http1, h2c])
}

/// A body in chunks of changing sizes.
fn chunks(body: &Bytes) -> Vec<Bytes> {
    let mut rest = body.clone();
    let mut pieces = Vec::new();
    for size in [1, 7, 4096, 65_537].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        pieces.push(rest.split_to(size.min(rest.len())));
    }
    pieces
}

async fn fails_over_byte_exact(http2: bool) {
    let start_one = || async {
        match http2 {
            true => Upstream::h2c().await,
            false => Upstream::start().await,
        }
    };
    let (first, second) = (start_one().await, start_one().await);
    first.always(Reply::json(
        503,
        &bodies::openai_error("server_error", None, "No."),
    ));
    second.always(Reply::chat("second", FALLBACK_SAYS));
    let (_gateway, clients) = start(&first, &second, http2);
    for client in clients {
        for size in SIZES {
            for model_is_last in [false, true] {
                if size > 1 << 20 && !model_is_last {
                    // Once is enough: reading it as JSON takes the upstream its time.
                    continue;
                }
                let payload = Payload::new(size, model_is_last);
                let body = payload.with("\"f\\u0069rst\"");
                let whole = client.post(CHAT, body.clone());
                let chunked = client.request("POST", CHAT).chunked_body(chunks(&body));
                for request in [whole, chunked] {
                    let what = request.to_string();
                    let answer = request.await;
                    assert_eq!(answer.status, 200, "{size} {what}: {answer:?}");
                    assert_eq!(answer.header("x-standin-attempts"), Some("2"));
                    for (upstream, model) in [
                        (&first, "\"first\""),
                        (&second, "\"second \\\"model\\\" \u{e9}\""),
                    ] {
                        let received = upstream.last_request();
                        assert!(received.complete);
                        let exact = received.body == payload.with(model);
                        assert!(exact, "{size}, model last: {model_is_last}, {what}");
                        let length = received.body.len().to_string();
                        assert_eq!(received.header("content-length"), Some(&*length));
                        assert_eq!(received.header("transfer-encoding"), None);
                        let version = if http2 {
                            http::Version::HTTP_2
                        } else {
                            http::Version::HTTP_11
                        };
                        assert_eq!(received.version, version);
                    }
                }
            }
        }
    }
    assert_eq!(first.count(), second.count());
    assert_eq!(first.count(), 2 * (SIZES.len() * 2 - 1) * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn to_upstreams_in_http1() {
    fails_over_byte_exact(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_upstreams_in_http2() {
    fails_over_byte_exact(true).await;
}

/// Without a policy not even the model's spelling is touched.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_every_byte_stays() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("other", FALLBACK_SAYS));
    let gateway = Setup::new()
        .endpoint("only", &upstream.url())
        .chain(&[("first", "only")], "")
        .default_endpoint("only")
        .start();
    for size in [0, 65 << 10, 1 << 20] {
        let body = Payload::new(size, true).with("\"\\u006fther\"");
        let answer = gateway.client().post(CHAT, body.clone()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(upstream.last_request().body == body);
    }
}

/// A body of any size is accepted where the client waits for permission to send it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_before_it_sends_may_send() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("first", FALLBACK_SAYS));
    let gateway = Setup::new()
        .endpoint("only", &upstream.url())
        .chain(&[("first", "only")], "")
        .start();
    let payload = Payload::new(1 << 20, false);
    let request = gateway.client().post(CHAT, payload.with("\"first\""));
    let answer = request.expect_continue().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.interim.len(), 1);
    let received = upstream.last_request();
    assert!(received.body == payload.with("\"first\""));
    assert_eq!(received.header("expect"), None);
}
