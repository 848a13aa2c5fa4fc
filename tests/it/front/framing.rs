//! Heads and bodies whose end, or whose meaning, two readers could see differently: 400 and a
//! closed connection, and nothing of what follows is ever taken for a request.

use std::time::Duration;

use super::{CHAT, MODEL, Stage, assert_error, question, question_of, raw, raw_post, raw_question};
use crate::support::{KEY, Reply};

/// A request that would be served if anybody took it for one.
fn smuggled() -> Vec<u8> {
    raw_question(&["x-smuggled: yes"])
}

/// Headers that break the framing, what else the request needs, and what its refusal says.
const BROKEN_HEADS: [(&str, &str); 31] = [
    // Two lengths.
    (
        "content-length: 2\r\ntransfer-encoding: chunked",
        "more than once",
    ),
    (
        "transfer-encoding: chunked\r\ncontent-length: 2",
        "more than once",
    ),
    ("content-length: 2\r\ncontent-length: 2", "more than once"),
    ("content-length: 2\r\ncontent-length: 3", "more than once"),
    ("content-length: 2\r\nCONTENT-LENGTH: 0", "more than once"),
    (
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "more than once",
    ),
    // A length that is none.
    ("content-length: 2, 2", "content-length"),
    ("content-length: 2 2", "content-length"),
    ("content-length: +2", "content-length"),
    ("content-length: -2", "content-length"),
    ("content-length: 0x2", "content-length"),
    ("content-length: 2.0", "content-length"),
    ("content-length: 2_0", "content-length"),
    ("content-length: two", "content-length"),
    ("content-length:", "content-length"),
    ("content-length: 99999999999999999999", "content-length"),
    // A transfer-encoding that hides what it is.
    ("transfer-encoding: identity", "`chunked`, alone"),
    ("transfer-encoding: gzip, chunked", "`chunked`, alone"),
    ("transfer-encoding: chunked, identity", "`chunked`, alone"),
    ("transfer-encoding: chunked, chunked", "`chunked`, alone"),
    ("transfer-encoding: xchunked", "`chunked`, alone"),
    ("transfer-encoding: \"chunked\"", "`chunked`, alone"),
    ("transfer-encoding: chunked;q=1", "`chunked`, alone"),
    ("transfer-encoding:\r\n chunked", "malformed"),
    ("transfer-encoding : chunked", "malformed"),
    ("transfer-encoding\t: chunked", "malformed"),
    (" transfer-encoding: chunked", "malformed"),
    // Lines that are none.
    ("x-folded: a\r\n b: c", "malformed"),
    ("no colon", "malformed"),
    (": no name", "malformed"),
    ("x-na\u{7f}me: a", "malformed"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_head_ends_the_connection() {
    let stage = Stage::new().await;
    for (headers, words) in BROKEN_HEADS {
        // Whichever way the body is read, the smuggled request follows it, or is a part of it.
        let body = [b"{}", &*smuggled()].concat();
        let request = raw_post(&[headers], body);
        let mut connection = stage.client().connect().await;
        connection.write(&request).await;
        let answer = connection.response().await;
        assert_error(&answer, 400, "invalid_request_framing", &[words]);
        assert!(answer.closed, "{headers:?}");
    }
    assert_eq!(stage.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_end_the_connection() {
    let stage = Stage::new().await;
    let controls = (0..=8).chain([11, 12]).chain(14..32).chain([127]);
    for control in controls {
        let control = char::from(control);
        let header = format!("x-header: a{control}b");
        for request in [
            raw_post(&[&header, "content-length: 2"], "{}"),
            raw(
                &format!("POST {CHAT}{control} HTTP/1.1"),
                &["host: gateway"],
                "",
            ),
            raw(
                &format!("PO{control}ST {CHAT} HTTP/1.1"),
                &["host: gateway"],
                "",
            ),
        ] {
            let answer = stage.client().send_raw(&request).await;
            assert_error(&answer, 400, "invalid_request_framing", &["malformed"]);
            assert!(answer.closed, "{control:?}");
        }
    }
    assert_eq!(stage.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_end_with_crlf_and_nothing_else() {
    let stage = Stage::new().await;
    let fine = String::from_utf8(raw_question(&[])).unwrap();
    let (head, body) = fine.split_once("\r\n\r\n").unwrap();
    let bare = [
        format!("{}\n\n{body}", head.replace("\r\n", "\n")),
        format!("{head}\n\n{body}"),
        format!("{head}\r\n\n{body}"),
        format!("{head}\n\r\n{body}"),
        format!("{}\r\n\r\n{body}", head.replacen("\r\n", "\n", 1)),
        format!(
            "{}\r\n\r\n{body}",
            head.replacen("host: gateway\r\n", "host: gateway\n", 1)
        ),
        format!("{head}\nx-smuggled: yes\r\n\r\n{body}"),
    ];
    for request in &bare {
        let answer = stage.client().send_raw(request.as_bytes()).await;
        assert_error(&answer, 400, "invalid_request_framing", &["CRLF"]);
        assert!(answer.closed, "{request:?}");
    }
    let bare_cr = fine.replacen("host: gateway\r\n", "host: gateway\rx: y\r\n", 1);
    let answer = stage.client().send_raw(bare_cr.as_bytes()).await;
    assert_error(&answer, 400, "invalid_request_framing", &["malformed"]);
    assert_eq!(stage.upstream.connections(), 0);

    let answer = stage.client().send_raw(fine.as_bytes()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_1_gets_an_answer_that_says_so() {
    let stage = Stage::new().await;
    for request in [
        "HELLO\r\n\r\n",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nhost: a\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n",
        "GET / http/1.1\r\nhost: a\r\n\r\n",
        "GET v1/models HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /v1/models#part HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        // HTTP/2 where it is not spoken.
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // The beginning of a TLS handshake with an empty line in it.
        "\u{16}\u{3}\u{1}\r\n\r\n",
    ] {
        let answer = stage.client().send_raw(request.as_bytes()).await;
        assert_error(&answer, 400, "invalid_request_framing", &[]);
        assert!(answer.closed, "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_one_host() {
    let stage = Stage::new().await;
    let body = question().to_string();
    let key = format!("authorization: Bearer {KEY}");
    let length = format!("content-length: {}", body.len());
    let with = |version: &str, hosts: &[&str]| {
        let headers = [hosts, &[&key, &length]].concat();
        raw(&format!("POST {CHAT} {version}"), &headers, &body)
    };
    for hosts in [
        &[][..],
        &["host: a", "host: a"],
        &["host: a", "Host: b"],
        &["host: user@a"],
    ] {
        let answer = stage.client().send_raw(&with("HTTP/1.1", hosts)).await;
        assert_error(&answer, 400, "invalid_request_framing", &["host"]);
        assert!(answer.closed, "{hosts:?}");
    }
    assert_eq!(stage.upstream.connections(), 0);

    for (version, hosts) in [("HTTP/1.1", &["host:"][..]), ("HTTP/1.0", &[])] {
        let answer = stage.client().send_raw(&with(version, hosts)).await;
        assert_eq!(answer.status, 200, "{version} {hosts:?}: {answer:?}");
    }
    // What the caller calls the gateway is not what the gateway calls its upstream.
    for received in stage.upstream.requests() {
        let upstream = stage.upstream.addr().to_string();
        assert_eq!(received.authority, Some(upstream));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_has_no_chunks() {
    let stage = Stage::new().await;
    let body = [b"0\r\n\r\n", &*smuggled()].concat();
    let request = raw(
        &format!("POST {CHAT} HTTP/1.0"),
        &["host: gateway", "transfer-encoding: chunked"],
        body,
    );
    let answer = stage.client().send_raw(&request).await;
    assert_error(&answer, 400, "invalid_request_framing", &["content-length"]);
    assert!(answer.closed);
    assert_eq!(stage.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_head_is_431() {
    let stage = Stage::new().await;
    let long = |bytes: usize| format!("x-long: {}", "x".repeat(bytes));
    let many = |count: usize| vec!["x-many: 1"; count];
    let answer = stage
        .client()
        .send_raw(&raw_question(&[&long(60 << 10)]))
        .await;
    assert_eq!(answer.status, 200);
    let answer = stage.client().send_raw(&raw_question(&many(120))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        stage.upstream.last_request().headers.all("x-many").len(),
        120
    );
    assert_eq!(stage.upstream.count(), 2);

    let endless_line = format!("GET /{}", "x".repeat(70 << 10));
    let endless_head = format!("GET / HTTP/1.1\r\nhost: a\r\n{}", long(70 << 10));
    for request in [
        raw_question(&[&long(70 << 10)]),
        raw_question(&[&long(1 << 20)]),
        raw_question(&many(200)),
        raw_question(&many(5_000)),
        endless_line.into_bytes(),
        endless_head.into_bytes(),
    ] {
        let answer = stage.client().send_raw(&request).await;
        let words = [
            "larger than 65536 bytes",
            "more than 128 headers",
            "Send fewer",
        ];
        assert_error(&answer, 431, "request_head_too_large", &words);
        assert!(answer.closed);
    }
    assert_eq!(stage.upstream.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_chunks_end_the_connection() {
    let stage = Stage::new().await;
    let size = question().to_string().len();
    let body = question().to_string();
    let broken = [
        "x\r\n".to_owned(),
        "\r\n".to_owned(),
        ";a=b\r\n\r\n".to_owned(),
        "-1\r\n".to_owned(),
        "+5\r\nhello\r\n0\r\n\r\n".to_owned(),
        " 5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "0x5\r\nhello\r\n0\r\n\r\n".to_owned(),
        "ffffffffffffffff\r\nhello".to_owned(),
        "fffffffffffffffff\r\nhello".to_owned(),
        "10000000000000000\r\nhello".to_owned(),
        format!("{size:x}\n{body}\n0\n\n"),
        format!("{size:x}\r\n{body}0\r\n\r\n"),
        format!("{size:x}\r\n{body}xx0\r\n\r\n"),
        format!("{:x}\r\n{body}\r\n0\r\n\r\n", size - 1),
        format!("{size:x}\r\n{body}\n0\r\n\r\n"),
        format!("{size:x}\r\n{body}\r\nzero\r\n\r\n"),
        format!("{size:x};{}\r\n{body}\r\n0\r\n\r\n", "a".repeat(64 << 10)),
    ];
    for chunks in &broken {
        let bytes = [chunks.as_bytes(), &*smuggled()].concat();
        let request = raw_post(&["transfer-encoding: chunked"], bytes);
        let answer = stage.client().send_raw(&request).await;
        assert_error(&answer, 400, "invalid_body_framing", &["chunks"]);
        assert!(answer.closed, "{chunks:?}");
    }
    assert_eq!(stage.upstream.connections(), 0);
    stage.wait_held(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_may_be_cut_anywhere() {
    let stage = Stage::new().await;
    let body = question_of(200);
    let (first, rest) = body.split_at(17);
    let chunked = [
        format!("00{:X};name=\"value\"\r\n", first.len()).as_bytes(),
        first,
        format!("\r\n{:x}\r\n", rest.len()).as_bytes(),
        rest,
        b"\r\n000\r\nx-trailer: a\r\n\r\n",
    ]
    .concat();
    let request = raw_post(&["Transfer-Encoding: Chunked"], &chunked);
    let mut connection = stage.client().connect().await;
    let pause = || tokio::time::sleep(Duration::from_millis(1));
    for cut in 1..request.len() {
        let (early, late) = request.split_at(cut);
        connection.write(early).await;
        pause().await;
        connection.write(late).await;
        let answer = connection.response().await;
        assert_eq!(answer.status, 200, "cut at {cut}: {answer:?}");
        assert_eq!(stage.upstream.last_request().body, body, "cut at {cut}");
    }
    for byte in &request {
        connection.write(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.response().await.status, 200);

    let received = stage.upstream.requests();
    assert_eq!(received.len(), request.len());
    for request in received {
        assert_eq!(request.body, body);
        assert_eq!(request.header("content-length"), Some("200"));
        assert!(!request.headers.contains("transfer-encoding"));
        assert!(!request.headers.contains("x-trailer"));
        assert!(request.trailers.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_request_unasked_is_never_taken_for_another() {
    let stage = Stage::new().await;
    let body = question().to_string();
    let short = format!("content-length: {}", body.len());
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (served, request) in [
        raw_post(&[&short], [body.as_bytes(), &*smuggled()].concat()),
        raw_post(
            &["transfer-encoding: chunked"],
            [chunks.as_bytes(), &*smuggled()].concat(),
        ),
        raw_post(&[&short], [body.as_bytes(), b"\r\n\r\ngarbage"].concat()),
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = stage.client().connect().await;
        connection.write(&request).await;
        assert_eq!(connection.response().await.status, 200);
        // The client asks again on another connection (RFC 9112, section 9.3.2).
        assert!(connection.closed().await);
        assert_eq!(stage.upstream.count(), served + 1);
    }
    for received in stage.upstream.requests() {
        assert_eq!(received.header("x-smuggled"), None);
        assert_eq!(received.body, body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_request_that_is_refused_is_never_taken_for_another() {
    let stage = Stage::new().await;
    let key = format!("authorization: Bearer {KEY}");
    for request in [
        // Unknown, and without a body: everything after its head is the next request.
        raw("GET /unknown HTTP/1.1", &["host: a", &key], smuggled()),
        // No key: its body is the smuggled request, and another one follows.
        raw(
            &format!("POST {CHAT} HTTP/1.1"),
            &["host: a", &format!("content-length: {}", smuggled().len())],
            [smuggled(), smuggled()].concat(),
        ),
        // 411: a client that believes it has sent a body.
        raw_post(&[], smuggled()),
    ] {
        let mut connection = stage.client().connect().await;
        connection.write(&request).await;
        let answer = connection.response().await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert!(connection.closed().await);
    }
    assert_eq!(stage.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_while_the_first_waits_is_never_served_in_its_place() {
    let stage = Stage::new().await;
    stage
        .upstream
        .always(Reply::chat(MODEL, "Hello").held("answer"));
    let mut connection = stage.client().connect().await;
    connection.write(&raw_question(&[])).await;
    stage.upstream.wait_gate("answer").await;
    connection.write(&smuggled()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    stage.upstream.open("answer");

    let answer = connection.response().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(answer.closed);
    assert_eq!(stage.upstream.count(), 1);
    assert_eq!(stage.upstream.last_request().header("x-smuggled"), None);
}
