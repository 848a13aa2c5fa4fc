//! What of a request reaches an upstream, and what of an answer reaches the client.

use super::{CHAT, FALLBACK_SAYS, Stage, question};
use crate::support::wire::Headers;
use crate::support::{Client, KEY, Received, Reply, Setup, Upstream, secret};

/// A gateway in which every way of a request ends at `upstream`: a policy's, the default
/// endpoint's, and the one of an operation without policies.
fn start(upstream: &Upstream, endpoint: &str) -> crate::support::Gateway {
    start_at(&upstream.url(), endpoint)
}

fn start_at(url: &str, endpoint: &str) -> crate::support::Gateway {
    Setup::new()
        .listener("{address: 127.0.0.1:0, h2c: true}")
        .endpoint_with("only", url, &format!("provider: openai\n{endpoint}"))
        .chain(&[("first", "only")], "")
        .default_endpoint("only")
        .operation("method: POST\npath: /v1/files\ndefault_endpoint: {production: only}")
        .start()
}

/// A request on each of the three ways, and whether it has a policy.
fn ways(client: &Client) -> [(crate::support::client::Request, bool); 3] {
    [
        (client.post(CHAT, question("first")), true),
        (client.post(CHAT, question("of-no-policy")), false),
        (client.post("/v1/files", "a file"), false),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_is_the_endpoint_s_and_the_query_the_caller_s() {
    let query = "?api-version=2024-10-21&q=%2F%20a+b&q=&x";
    for (base, rewrite, path) in [
        ("", "", "/v1/chat/completions"),
        ("/", "", "/v1/chat/completions"),
        ("/proxy/openai", "", "/proxy/openai/v1/chat/completions"),
        ("/proxy/", "", "/proxy/v1/chat/completions"),
        (
            "",
            "rewrite_path: {from: /v1, to: /v1beta/openai}",
            "/v1beta/openai/chat/completions",
        ),
        (
            "/base",
            "rewrite_path: {from: /v1/chat, to: /}",
            "/base/completions",
        ),
        (
            "",
            "rewrite_path: {from: /v1/chat/completions, to: /generate}",
            "/generate",
        ),
        (
            "",
            "rewrite_path: {from: /v1/ch, to: /no}",
            "/v1/chat/completions",
        ),
        (
            "",
            "rewrite_path: {from: /v2, to: /no}",
            "/v1/chat/completions",
        ),
    ] {
        let upstream = Upstream::start().await;
        upstream.always(Reply::chat("first", FALLBACK_SAYS));
        let gateway = start_at(&format!("{}{base}", upstream.url()), rewrite);
        for model in ["first", "of-no-policy"] {
            let with_query = format!("{CHAT}{query}");
            for (asked, expected) in [
                (CHAT, path.to_owned()),
                (&*with_query, format!("{path}{query}")),
            ] {
                let answer = gateway.client().post(asked, question(model)).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                let received = upstream.last_request();
                assert_eq!(received.target, expected, "{base:?} {rewrite:?}");
                assert_eq!(received.method, "POST");
                assert_eq!(received.authority, Some(upstream.addr().to_string()));
            }
        }
        let asked = gateway
            .client()
            .post(&format!("/v1/files{query}"), "a file")
            .await;
        assert_eq!(asked.status, 200);
        let target = upstream.last_request().target;
        assert!(target.ends_with(&format!("/files{query}")), "{target}");
    }
}

/// What a caller may know and no upstream may.
const PRIVATE: [(&str, &str); 11] = [
    ("x-request-id", "req-of-the-client"),
    ("x-api-key", "client-key-in-x-api-key"),
    ("api-key", "client-key-in-api-key"),
    ("x-goog-api-key", "client-key-in-x-goog"),
    ("cookie", "session=of-the-client"),
    ("proxy-authorization", "Basic of-the-client"),
    ("x-standin-endpoint", "forged"),
    ("x-standin-model", "forged"),
    ("x-standin-anything", "forged"),
    ("x-standin-attempts", "99"),
    ("x-standin-failover", "forged"),
];

/// About the client's connection.
const OF_THE_CONNECTION: [(&str, &str); 6] = [
    ("connection", "keep-alive, x-of-the-hop, x-another"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "keep-alive"),
    ("te", "trailers"),
    ("x-of-the-hop", "1"),
    ("x-another", "2"),
];

/// Everybody's.
const PUBLIC: [(&str, &str); 5] = [
    ("user-agent", "OpenAI/Python 1.0"),
    ("accept", "application/json"),
    ("x-stainless-retry-count", "0"),
    ("openai-beta", "assistants=v2"),
    (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
];

fn assert_only_public(received: &Received, what: &str) {
    for (name, value) in PUBLIC {
        assert_eq!(received.headers.all(name), [value], "{what}");
    }
    for (name, _) in PRIVATE.into_iter().chain(OF_THE_CONNECTION) {
        let seen = received.headers.all(name);
        // An upstream may be told about its own connection.
        let own = name == "connection" && seen.iter().all(|value| !value.contains("x-"));
        assert!(seen.is_empty() || own, "{what}: {name}: {seen:?}");
    }
    let own_key = format!("Bearer {}", secret("only"));
    assert_eq!(received.headers.all("authorization"), [own_key]);
    let text = format!("{:?}", received.headers);
    for private in [KEY, "client-key-in", "of-the-client", "forged"] {
        assert!(!text.contains(private), "{what}: {private}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_caller_s_own_never_goes_upstream() {
    for (upstream, fields) in [
        (Upstream::start().await, ""),
        (Upstream::h2c().await, "http_version: 2"),
    ] {
        upstream.always(Reply::chat("first", FALLBACK_SAYS));
        let gateway = start(&upstream, fields);
        let http2 = Client::h2c(gateway.running.addresses[1]).key(KEY);
        for client in [gateway.client(), http2] {
            for (mut request, _) in ways(&client) {
                for (name, value) in PRIVATE.into_iter().chain(PUBLIC) {
                    request = request.header(name, value);
                }
                let what = request.to_string();
                let answer = request.await;
                assert_eq!(answer.status, 200, "{what}: {answer:?}");
                assert_only_public(&upstream.last_request(), &what);
            }
        }
        for (mut request, _) in ways(&gateway.client()) {
            for (name, value) in PRIVATE.into_iter().chain(PUBLIC).chain(OF_THE_CONNECTION) {
                request = request.header(name, value);
            }
            let what = request.to_string();
            assert_eq!(request.await.status, 200, "{what}");
            assert_only_public(&upstream.last_request(), &what);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_not_offered_to_upstreams() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("first", FALLBACK_SAYS));
    let gateway = start(&upstream, "");
    let request = gateway.client().post(CHAT, question("first"));
    let answer = request
        .header("connection", "upgrade, http2-settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQAAP__")
        .await;
    assert_eq!(answer.status, 200);
    let received = upstream.last_request();
    for name in ["upgrade", "http2-settings", "connection"] {
        assert_eq!(received.header(name), None);
    }
}

/// The caller's key is taken from any of three headers; none of them goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_s_key_stays_here_wherever_it_stands() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("first", FALLBACK_SAYS));
    let gateway = start(&upstream, "");
    for (name, value) in [
        ("authorization", format!("Bearer {KEY}")),
        ("authorization", format!("bearer {KEY}")),
        ("x-api-key", KEY.to_owned()),
        ("api-key", KEY.to_owned()),
    ] {
        for (request, _) in ways(&gateway.stranger().header(name, &value)) {
            assert_eq!(request.await.status, 200);
            let received = upstream.last_request();
            assert!(!format!("{received:?}").contains(KEY), "{received:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_a_key_gets_none() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("first", FALLBACK_SAYS));
    let gateway = Setup::new()
        .bare_endpoint("only", &format!("url: {}", upstream.url()))
        .chain(&[("first", "only")], "")
        .default_endpoint("only")
        .operation("method: POST\npath: /v1/files\ndefault_endpoint: {production: only}")
        .start();
    for (request, _) in ways(&gateway.client()) {
        assert_eq!(request.await.status, 200);
        let received = upstream.last_request();
        for name in ["authorization", "x-api-key", "api-key"] {
            assert_eq!(received.header(name), None);
        }
    }
}

/// Only what is judged must be readable.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_judged_are_asked_for_uncompressed() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("first", FALLBACK_SAYS));
    let gateway = start(&upstream, "");
    for (request, has_policy) in ways(&gateway.client()) {
        request.clone().header("accept-encoding", "gzip, br").await;
        let asked = if has_policy { "identity" } else { "gzip, br" };
        assert_eq!(
            upstream.last_request().headers.all("accept-encoding"),
            [asked]
        );
        request.await;
        let received = upstream.last_request();
        let asked = if has_policy { Some("identity") } else { None };
        assert_eq!(received.header("accept-encoding"), asked);
    }
}

/// Headers of an upstream that are not the client's business.
const OF_THE_UPSTREAM: [(&str, &str); 7] = [
    ("connection", "keep-alive, x-of-the-hop"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "keep-alive"),
    ("proxy-authenticate", "Basic"),
    ("x-of-the-hop", "1"),
    ("x-standin-endpoint", "forged"),
    ("x-standin-secret", "forged"),
];

fn with_headers(mut reply: Reply) -> Reply {
    for (name, value) in OF_THE_UPSTREAM {
        reply = reply.header(name, value);
    }
    reply
        .header("x-request-id", "of-the-upstream")
        .header("openai-processing-ms", "12")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
}

fn assert_client_s(headers: &Headers, what: &str) {
    for (name, _) in OF_THE_UPSTREAM {
        let seen = headers.all(name);
        let own = match name {
            "connection" => seen.iter().all(|value| !value.contains("x-")),
            "x-standin-endpoint" => seen == ["only"],
            _ => false,
        };
        assert!(seen.is_empty() || own, "{what}: {name}: {seen:?}");
    }
    assert_eq!(headers.all("openai-processing-ms"), ["12"], "{what}");
    assert_eq!(headers.all("set-cookie"), ["a=1", "b=2"], "{what}");
    assert_eq!(
        headers.all("x-standin-upstream-request-id"),
        ["of-the-upstream"],
        "{what}"
    );
    let id = headers.all("x-request-id");
    assert!(
        id.len() == 1 && id[0] != "of-the-upstream",
        "{what}: {id:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_the_upstream_s_connection_stays_there() {
    let large = vec![b'x'; 100 << 10];
    for reply in [
        Reply::chat("first", FALLBACK_SAYS),
        Reply::chat_stream("first", &[FALLBACK_SAYS]),
        Reply::json(400, &super::invalid_request()),
        Reply::status(400).body(large.clone()),
        Reply::status(400).chunked([large]),
    ] {
        let upstream = Upstream::start().await;
        upstream.always(with_headers(reply));
        let gateway = start(&upstream, "");
        let http2 = Client::h2c(gateway.running.addresses[1]).key(KEY);
        for client in [gateway.client(), http2] {
            for (request, _) in ways(&client) {
                let what = request.to_string();
                let answer = request.await;
                assert!(answer.complete, "{what}: {answer:?}");
                assert_client_s(&answer.headers, &what);
            }
        }
    }
}

/// Trailers of an answer that is passed on as it comes; one that is held whole needs none.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_follow_a_long_answer() {
    for (upstream, fields) in [
        (Upstream::start().await, ""),
        (Upstream::h2c().await, "http_version: 2"),
    ] {
        let long = Reply::status(200).chunked([vec![b'x'; 9 << 20]]);
        upstream.always(long.trailer("x-checksum", "abc"));
        let gateway = start(&upstream, fields);
        let http2 = Client::h2c(gateway.running.addresses[1]).key(KEY);
        // Pingora writes no trailers in HTTP/1.1.
        for (client, trailer) in [(gateway.client(), None), (http2, Some("abc"))] {
            let answer = client.post(CHAT, question("first")).await;
            assert!(answer.complete && !answer.closed);
            assert_eq!(answer.body.len(), 9 << 20);
            assert_eq!(answer.trailers.get("x-checksum"), trailer);
        }
    }
}

/// Two lengths that agree are one, on the next connection too.
#[tokio::test(flavor = "multi_thread")]
async fn a_length_said_twice_is_said_once() {
    for size in [2, 100 << 10] {
        let stage = Stage::new().await;
        let body = "x".repeat(size);
        let head = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-length: {size}\r\ncontent-length: {size}\r\n\r\n"
        );
        stage.target.always(Reply::raw(format!("{head}{body}")));
        let answer = stage.ask().await;
        assert_eq!(answer.headers.all("content-length"), [size.to_string()]);
        assert_eq!(answer.text(), body);
    }
}
