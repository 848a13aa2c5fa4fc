//! Answers that pass as they are: large errors, compressed ones, and what is said with them.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::Value;

use super::{FALLBACK_SAYS, SUSPENDING, Stage, invalid_request};
use crate::support::{Certificate, Reply, Step, Upstream, bodies};

/// The longest error that is judged by its body.
const JUDGED: usize = 64 << 10;

/// An error whose code says that the target is at fault, `length` bytes long.
fn long_error(length: usize) -> Vec<u8> {
    let mut body = bodies::mistral_invalid_model("first")
        .to_string()
        .into_bytes();
    assert!(length > body.len());
    body.resize(length, b' ');
    body
}

/// The framings of an answer's body.
fn framed(status: u16, body: &[u8]) -> [Reply; 3] {
    let reply = || Reply::status(status).header("content-type", "application/json");
    [
        reply().body(body.to_vec()),
        reply().chunked(body.chunks(10_000).map(<[u8]>::to_vec)),
        reply().body(body.to_vec()).until_close(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_up_to_64_kib_is_judged_by_its_body() {
    for reply in framed(400, &long_error(JUDGED)) {
        let stage = Stage::new().await;
        stage.target.always(reply);
        stage.assert_target_fault("400:invalid_model").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_one_is_judged_by_its_status_and_passed_whole() {
    for length in [JUDGED + 1, 300 << 10, 9 << 20] {
        let body = long_error(length);
        for reply in framed(400, &body) {
            let stage = Stage::new().await;
            stage.target.always(reply);
            for round in 1..=2 {
                let answer = stage.ask().await;
                assert_eq!(answer.status, 400);
                assert!(answer.complete && answer.body == body, "{length}");
                assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
                assert_eq!(stage.counts(), (round, 0));
            }
        }
        for reply in framed(500, &body) {
            let stage = Stage::new().await;
            stage.target.always(reply);
            stage.assert_target_fault("500").await;
        }
    }
    let stage = Stage::http2().await;
    let body = long_error(300 << 10);
    stage.target.always(Reply::status(400).body(body.clone()));
    let answer = stage.ask().await;
    assert!(answer.complete && answer.body == body);
}

/// An answer that is larger than may be held is passed on as it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_of_any_size_passes_whole() {
    let text = "Monet. ".repeat(2 << 20);
    let body = bodies::chat_completion("first", &text).to_string();
    for reply in framed(200, body.as_bytes()) {
        let stage = Stage::new().await;
        stage.target.always(reply);
        let answer = stage.ask().await;
        assert!(answer.complete && answer.body == body);
        assert_eq!(stage.counts(), (1, 0));
    }
}

/// Once its first byte is out nothing can save it: the client must see that it is cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_that_breaks_is_cut() {
    for end in [Step::Close, Step::Reset] {
        let stage = Stage::new().await;
        let body = vec![b'x'; 9 << 20];
        let reply = Reply::status(200).body(body);
        stage.target.always(reply.cut_body_at(1 << 20, end));
        let answer = stage.ask().await;
        assert_eq!(answer.status, 200);
        assert!(!answer.complete, "{} bytes", answer.body.len());
        assert_eq!(stage.counts(), (1, 0));
    }
}

fn gzip(body: &Value) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.to_string().as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn deflate(body: &Value) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.to_string().as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn brotli(body: &Value) -> Vec<u8> {
    let mut compressed = Vec::new();
    brotli::CompressorWriter::new(&mut compressed, 4096, 3, 20)
        .write_all(body.to_string().as_bytes())
        .unwrap();
    compressed
}

type Encode = fn(&Value) -> Vec<u8>;

/// Every coding that can be taken off.
const CODINGS: [(&str, Encode); 3] = [("gzip", gzip), ("deflate", deflate), ("br", brotli)];

fn coded(status: u16, coding: &str, body: Vec<u8>) -> Reply {
    Reply::status(status)
        .header("content-type", "application/json")
        .header("content-encoding", coding)
        .body(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_error_is_decoded_for_judging() {
    for (coding, encode) in CODINGS {
        let stage = Stage::new().await;
        let body = encode(&bodies::mistral_invalid_model("first"));
        stage.target.always(coded(400, coding, body));
        stage.assert_target_fault("400:invalid_model").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_answer_passes_as_it_came() {
    let success = bodies::chat_completion("first", FALLBACK_SAYS);
    for (coding, encode) in CODINGS {
        for (status, plain) in [(400, invalid_request()), (200, success.clone())] {
            let stage = Stage::new().await;
            let body = encode(&plain);
            stage.target.always(coded(status, coding, body.clone()));
            let answer = stage.ask().await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("content-encoding"), Some(coding));
            assert_eq!(answer.body, body);
            assert_eq!(stage.counts(), (1, 0));
            // Also what it cost is read in what was compressed.
            let line = &stage.gateway.wait_log(1).await[0];
            let tokens = &plain["usage"]["prompt_tokens"];
            assert_eq!(&line["tokens_in"], tokens, "{line}");
            assert_eq!(tokens.is_null(), status == 400);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_decoded_is_judged_by_its_status() {
    for (coding, body) in [
        ("zstd", &b"\x28\xb5\x2f\xfd\x04\x00"[..]),
        ("gzip, br", b"\x1f\x8b"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0cut"),
    ] {
        let stage = Stage::new().await;
        stage.target.always(coded(400, coding, body.to_vec()));
        let answer = stage.ask().await;
        assert_eq!((answer.status, &*answer.body), (400, body), "{coding}");
        assert_eq!(stage.counts(), (1, 0));
    }
    // A success too: nothing is known of it that could be wrong.
    let stage = Stage::new().await;
    stage
        .target
        .always(coded(200, "zstd", b"\x28\xb5".to_vec()));
    assert_eq!(stage.ask().await.status, 200);
    assert_eq!(stage.counts(), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_success_that_is_cut_fails_over() {
    let whole = bodies::chat_completion("first", FALLBACK_SAYS).to_string();
    let cut = Value::String(whole);
    let mut body = gzip(&cut);
    body.truncate(body.len() / 2);
    let stage = Stage::new().await;
    stage.target.always(coded(200, "gzip", body));
    stage.assert_target_fault("malformed").await;
}

/// A bomb is not unpacked: what would be larger than an error may be is judged by its status.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_body_that_is_a_large_one_compressed_is_not_unpacked() {
    let stage = Stage::new().await;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(b"{\"type\":\"invalid_model\"}").unwrap();
    for _ in 0..8 {
        encoder.write_all(&[b' '; 1 << 20]).unwrap();
    }
    stage
        .target
        .always(coded(400, "gzip", encoder.finish().unwrap()));
    assert_eq!(stage.ask().await.status, 400);
    assert_eq!(stage.counts(), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_fault_passes_with_everything_that_came_with_it() {
    let body = "{\n  \"error\" : {\"message\":\"caf\\u00e9\", \"code\": null }\r\n}\n";
    for stage in [Stage::new().await, Stage::http2().await] {
        let reply = Reply::status(422)
            .header("content-type", "application/problem+json; charset=utf-8")
            .header("x-ratelimit-remaining-requests", "59")
            .header("openai-processing-ms", "7")
            .header("x-should-retry", "false")
            .header("vary", "origin")
            .header("vary", "accept-encoding");
        stage.target.always(reply.body(body));
        let answer = stage.ask().await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.text(), body);
        for (name, values) in [
            (
                "content-type",
                &["application/problem+json; charset=utf-8"][..],
            ),
            ("x-ratelimit-remaining-requests", &["59"]),
            ("openai-processing-ms", &["7"]),
            ("x-should-retry", &["false"]),
            ("vary", &["origin", "accept-encoding"]),
        ] {
            assert_eq!(answer.headers.all(name), values);
        }
        assert!(answer.complete && !answer.closed);
        assert_eq!(stage.counts(), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_it_is_the_same() {
    let upstream = Upstream::tls(Certificate::Valid).await;
    let stage = Stage::before(upstream, "tls: {verify: false}", SUSPENDING).await;
    let body = long_error(300 << 10);
    stage.target.always(Reply::status(400).body(body.clone()));
    let answer = stage.ask().await;
    assert!(answer.complete && answer.body == body);
    stage
        .target
        .always(Reply::json(400, &bodies::mistral_invalid_model("first")));
    Stage::assert_fallback(
        &stage.ask().await,
        2,
        Some("target/first=400:invalid_model"),
    );
    assert_eq!(stage.counts(), (2, 1));
}

/// Nothing follows its head, and its length would be that of something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_304_says_no_length() {
    let passing = "failover_on: {statuses: {remove: [304]}}";
    for (target, fields) in [
        (Upstream::start().await, ""),
        (Upstream::h2c().await, "http_version: 2"),
    ] {
        let stage = Stage::before(target, fields, passing).await;
        let unchanged = Reply::status(304).header("content-length", "7");
        stage.target.always(unchanged);
        let answer = stage.ask().await;
        assert_eq!((answer.status, answer.body.len()), (304, 0));
        assert_eq!(answer.header("content-length"), None);
        assert!(answer.complete && !answer.closed);
        assert_eq!(stage.ask().await.status, 304);
        assert_eq!(stage.client.connections(), 1, "the connection stays usable");
    }
}
