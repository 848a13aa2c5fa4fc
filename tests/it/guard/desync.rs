//! Requests that two servers could read differently, on both ways that HTTP/1.1 takes here: the one of
//! operations with policies, and Pingora's. Whatever of them is answered, no second request of theirs
//! reaches an upstream.
//!
//! The table in docs/security.md names the shapes; `front/framing.rs` has more of each.

use std::fmt::Write as _;

use super::{CHAT, MODEL, question};
use crate::support::{Gateway, KEY, Received, Reply, Response, Setup, Upstream};

/// Where the two ways begin.
const WAYS: [&str; 2] = [CHAT, "/v1/files"];

struct Stage {
    upstream: Upstream,
    gateway: Gateway,
}

impl Stage {
    async fn new() -> Self {
        let upstream = Upstream::start().await;
        upstream.always(Reply::chat(MODEL, "Hello"));
        let gateway = Setup::new()
            .endpoint("openai", &upstream.url())
            .chain(&[(MODEL, "openai")], "")
            .operation("method: POST\npath: /v1/files\ndefault_endpoint: {production: openai}")
            .start();
        Self { upstream, gateway }
    }

    /// Sends bytes on a connection of their own, up to the answer and the connection's end.
    async fn send(&self, bytes: &[u8]) -> Response {
        let mut connection = self.gateway.stranger().connect().await;
        connection.write(bytes).await;
        let answer = connection.response().await;
        assert!(connection.closed().await, "{answer:?}");
        answer
    }

    /// Nothing that looked like a second request has come through, as one or within one.
    fn assert_nothing_smuggled(&self, shape: &str) {
        for request in self.upstream.requests() {
            assert_eq!(request.header("x-smuggled"), None, "{shape}: {request:?}");
        }
        assert_eq!(self.upstream.take_faults(), [""; 0], "{shape}");
    }
}

/// A request that would be served, were it taken for one.
fn smuggled(path: &str) -> String {
    let body = question().to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\nx-smuggled: yes\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request with these lines in its head, and what follows it.
fn request(path: &str, lines: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
    );
    for line in lines {
        let _ = write!(text, "{line}\r\n");
    }
    (text + "\r\n" + body).into_bytes()
}

/// Heads about whose body's length, or whose lines, two servers may differ.
const HEADS: &[(&str, &[&str])] = &[
    (
        "content-length with transfer-encoding",
        &["content-length: 2", "transfer-encoding: chunked"],
    ),
    (
        "transfer-encoding with content-length",
        &["transfer-encoding: chunked", "content-length: 2"],
    ),
    (
        "several content-lengths",
        &["content-length: 2", "content-length: 3"],
    ),
    (
        "the same content-length twice",
        &["content-length: 2", "content-length: 2"],
    ),
    ("a list of content-lengths", &["content-length: 2, 2"]),
    ("a signed content-length", &["content-length: +2"]),
    ("a negative content-length", &["content-length: -2"]),
    ("a hexadecimal content-length", &["content-length: 0x2"]),
    ("a content-length in words", &["content-length: two"]),
    ("an empty content-length", &["content-length:"]),
    (
        "a content-length past all numbers",
        &["content-length: 99999999999999999999"],
    ),
    (
        "an unknown transfer-encoding",
        &["transfer-encoding: xchunked"],
    ),
    (
        "chunked behind another coding",
        &["transfer-encoding: gzip, chunked"],
    ),
    (
        "chunked before another coding",
        &["transfer-encoding: chunked, identity"],
    ),
    (
        "transfer-encoding twice",
        &["transfer-encoding: chunked", "transfer-encoding: identity"],
    ),
    (
        "a tab in the transfer-encoding",
        &["transfer-encoding: chun\tked"],
    ),
    (
        "a vertical tab in the transfer-encoding",
        &["transfer-encoding: \u{b}chunked"],
    ),
    (
        "quotes around the transfer-encoding",
        &["transfer-encoding: \"chunked\""],
    ),
    (
        "a parameter of the transfer-encoding",
        &["transfer-encoding: chunked;a=b"],
    ),
    (
        "a space before the colon",
        &["transfer-encoding : chunked", "content-length: 2"],
    ),
    (
        "a folded line",
        &["transfer-encoding:", " chunked", "content-length: 2"],
    ),
    ("a line without a colon", &["transfer-encoding chunked"]),
    ("NUL in a value", &["x-header: a\0b", "content-length: 2"]),
    ("NUL in a name", &["x-he\0ader: a", "content-length: 2"]),
    (
        "a bare LF at a line's end",
        &[
            "x-header: a\ntransfer-encoding: chunked",
            "content-length: 2",
        ],
    ),
    (
        "a bare CR within a line",
        &[
            "x-header: a\rtransfer-encoding: chunked",
            "content-length: 2",
        ],
    ),
    ("two hosts", &["host: other", "content-length: 2"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_head_is_400_and_goes_nowhere() {
    let stage = Stage::new().await;
    for path in WAYS {
        for (shape, lines) in HEADS {
            // However its body is read, a whole request stands at the end of it.
            for body in ["{}", "0\r\n\r\n", "2\r\n{}\r\n0\r\n\r\n"] {
                let bytes = request(path, lines, &format!("{body}{}", smuggled(path)));
                let answer = stage.send(&bytes).await;
                assert_eq!(answer.status, 400, "{path}: {shape}: {answer:?}");
                let code = &answer.json()["error"]["code"];
                assert_eq!(code, "invalid_request_framing", "{path}: {shape}");
            }
        }
    }
    assert_eq!(stage.upstream.connections(), 0);
}

/// Chunks about whose end two servers may differ.
const CHUNKS: &[(&str, &str)] = &[
    ("no size", "\r\n"),
    ("no number", "x\r\n{}\r\n0\r\n\r\n"),
    ("a sign", "+2\r\n{}\r\n0\r\n\r\n"),
    ("a negative size", "-2\r\n{}\r\n0\r\n\r\n"),
    ("a prefix", "0x2\r\n{}\r\n0\r\n\r\n"),
    ("a space before the size", " 2\r\n{}\r\n0\r\n\r\n"),
    ("a size past all numbers", "10000000000000000\r\n{}"),
    ("the largest size", "ffffffffffffffff\r\n{}"),
    ("a bare LF behind the size", "2\n{}\r\n0\r\n\r\n"),
    ("a bare LF behind the data", "2\r\n{}\n0\r\n\r\n"),
    ("nothing behind the data", "2\r\n{}0\r\n\r\n"),
    ("more data than the size", "1\r\n{}\r\n0\r\n\r\n"),
    ("a bare CR in an extension", "2;a\rb\r\n{}\r\n0\r\n\r\n"),
    ("a bare LF in an extension", "2;a\nb\r\n{}\r\n0\r\n\r\n"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_chunk_ends_the_connection_and_goes_nowhere() {
    for path in WAYS {
        let stage = Stage::new().await;
        for (shape, chunks) in CHUNKS {
            let bytes = request(
                path,
                &["transfer-encoding: chunked"],
                &format!("{chunks}{}", smuggled(path)),
            );
            let answer = stage.send(&bytes).await;
            assert_eq!(answer.status, 400, "{path}: {shape}: {answer:?}");
            stage.assert_nothing_smuggled(shape);
        }
        let whole = |request: &Received| request.complete;
        assert!(!stage.upstream.requests().iter().any(whole), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_request_is_never_a_second_one() {
    for path in WAYS {
        let stage = Stage::new().await;
        let body = question().to_string();
        let length = format!("content-length: {}", body.len());
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let trailers = format!(
            "{:x}\r\n{body}\r\n0\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            body.len()
        );
        let remnants = [
            request(path, &[&length], &format!("{body}{}", smuggled(path))),
            request(
                path,
                &["transfer-encoding: chunked"],
                &format!("{chunks}{}", smuggled(path)),
            ),
            request(
                path,
                &["transfer-encoding: chunked"],
                &format!("{trailers}{}", smuggled(path)),
            ),
            request(
                path,
                &[&length],
                &format!("{body}\r\n\r\n{}", smuggled(path)),
            ),
        ];
        for (served, bytes) in remnants.iter().enumerate() {
            let answer = stage.send(bytes).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            stage.assert_nothing_smuggled(path);
            assert_eq!(stage.upstream.count(), served + 1, "{path}");
            assert_eq!(stage.upstream.last_request().body, body.as_bytes());
        }
    }
}
