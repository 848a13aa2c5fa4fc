//! Bodies that can't be read for their model: 400, 411, 415.

use bytes::Bytes;

use super::{CHAT, MODEL, Stage, assert_error, question, raw, raw_post};
use crate::support::KEY;

/// A body, the code of its refusal, and what the refusal says.
fn unreadable() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let texts = [
        ("{}", "missing_model", "model"),
        (r#"{"messages": []}"#, "missing_model", "model"),
        (
            r#"{"input": {"model": "gpt-4o"}}"#,
            "missing_model",
            "model",
        ),
        (r#"{"Model": "gpt-4o"}"#, "invalid_body", "leave it out"),
        (r#"{"model": 5}"#, "invalid_body", "string"),
        (r#"{"model": null}"#, "invalid_body", "string"),
        (r#"{"model": ["gpt-4o"]}"#, "invalid_body", "string"),
        (
            r#"{"model": "gpt-4o", "model": "gpt-4o"}"#,
            "invalid_body",
            "model",
        ),
        (
            r#"{"mod\u0065l": "a", "model": "gpt-4o"}"#,
            "invalid_body",
            "model",
        ),
        ("", "invalid_body", ""),
        ("   ", "invalid_body", ""),
        ("null", "invalid_body", "object"),
        ("[]", "invalid_body", "object"),
        (r#"[{"model": "gpt-4o"}]"#, "invalid_body", "object"),
        (r#""gpt-4o""#, "invalid_body", "object"),
        (r#"{"model": "gpt-4o""#, "invalid_body", ""),
        (r#"{"model": "gpt-4o"} x"#, "invalid_body", ""),
        (
            r#"{"model": "gpt-4o"}{"model": "gpt-4o"}"#,
            "invalid_body",
            "",
        ),
        (r#"{'model': 'gpt-4o'}"#, "invalid_body", ""),
        (r#"{"model": "gpt-4o",}"#, "invalid_body", ""),
        ("{\"model\": \"gpt-4o\", \"a\": \"\n\"}", "invalid_body", ""),
        ("\u{feff}{\"model\": \"gpt-4o\"}", "invalid_body", ""),
        ("model=gpt-4o", "invalid_body", "object"),
    ];
    let mut bodies: Vec<_> = texts
        .into_iter()
        .map(|(text, code, words)| (text.as_bytes().to_vec(), code, words))
        .collect();
    let latin1 = b"{\"model\": \"gpt-4o\", \"a\": \"caf\xe9\"}";
    bodies.push((latin1.to_vec(), "invalid_body", "UTF-8"));
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_one_clear_model_is_400() {
    let stage = Stage::new().await;
    for client in stage.clients() {
        for (body, code, words) in unreadable() {
            let answer = client.post(CHAT, body.clone()).await;
            let text = String::from_utf8_lossy(&body);
            assert_eq!(answer.status, 400, "{text}");
            assert_error(&answer, 400, code, &[words]);
            assert!(!answer.closed, "{text}");
        }
        let chunks = [r#"{"mo"#, r#"del": 5"#, "}"];
        let answer = client.request("POST", CHAT).chunked_body(chunks).await;
        assert_error(&answer, 400, "invalid_body", &["string"]);
        assert_eq!(client.connections(), 1, "the connection stays usable");
    }
    assert_eq!(stage.upstream.count(), 0);
    stage.wait_held(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_star_policy_does_not_answer_for_a_body_without_a_model() {
    let stage = Stage::with(|setup| {
        let anything = "match: [\"*\"]\nproduction:\n  target: {model: any, endpoint: openai}\n  fallbacks: []";
        setup.policy("anything", anything).default_endpoint("openai")
    })
    .await;
    for client in stage.clients() {
        let answer = client.post(CHAT, "{}").await;
        assert_error(&answer, 400, "missing_model", &["model"]);
        let answer = client
            .post(CHAT, serde_json::json!({"model": "whatever"}))
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-standin-model"), Some("any"));
    }
    assert_eq!(stage.upstream.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_leads_nowhere_is_404() {
    let stage = Stage::new().await;
    let long = "long".repeat(5_000);
    for client in stage.clients() {
        for model in ["gpt-4", "gpt-4o ", "GPT-4o", "", "*", &long] {
            let answer = client.post(CHAT, serde_json::json!({"model": model})).await;
            let remedy = ["No policy", "Use a model that a policy matches"];
            assert_error(&answer, 404, "model_not_found", &remedy);
            assert!(answer.body.len() < 1024);
        }
        assert_eq!(client.connections(), 1, "the connection stays usable");
    }
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coding_or_a_type_that_can_t_be_read_is_415() {
    let stage = Stage::new().await;
    let codings = ["gzip", "br", "gzip, identity", "x", ""];
    let types = [
        "text/plain",
        "multipart/mixed; boundary=x",
        "application/x-www-form-urlencoded",
        "json",
        "",
    ];
    for client in stage.clients() {
        for coding in codings {
            let request = client.post(CHAT, question());
            let answer = request.header("content-encoding", coding).await;
            let words = [coding, "Send it uncompressed"];
            assert_error(&answer, 415, "unsupported_content_encoding", &words);
        }
        for kind in types {
            let request = client.post(CHAT, question());
            let answer = request.header("content-type", kind).await;
            let words = [kind, "`content-type: application/json`"];
            assert_error(&answer, 415, "unsupported_content_type", &words);
        }
        assert_eq!(client.connections(), 1, "the connection stays usable");
    }
    assert_eq!(stage.upstream.count(), 0);

    for client in stage.clients() {
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "text/json",
            "application/vnd.api+json",
        ] {
            let request = client.post(CHAT, question());
            let answer = request.header("content-type", kind).await;
            assert_eq!(answer.status, 200, "{kind}");
            assert_eq!(
                stage.upstream.last_request().header("content-type"),
                Some(kind)
            );
        }
        let plain = client
            .post(CHAT, question())
            .header("content-encoding", "identity");
        assert_eq!(plain.await.status, 200);
        // Without a type it is taken for what it must be.
        let untyped = client.post(CHAT, question().to_string().into_bytes());
        assert_eq!(untyped.await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_body_is_411_and_the_connection_stays_usable() {
    let stage = Stage::new().await;
    let [http1, http2] = stage.clients();
    let answer = http1.request("POST", CHAT).await;
    let words = ["`content-length`", "`transfer-encoding: chunked`"];
    assert_error(&answer, 411, "length_required", &words);
    assert_eq!(http1.post(CHAT, question()).await.status, 200);
    assert_eq!(http1.connections(), 1, "the connection stays usable");

    let key = format!("authorization: Bearer {KEY}");
    let http10 = raw(&format!("POST {CHAT} HTTP/1.0"), &[&key], "");
    let answer = http1.send_raw(&http10).await;
    assert_error(&answer, 411, "length_required", &words);
    assert!(answer.closed);

    // HTTP/2 says where a body ends without a length: an empty one is no JSON.
    let answer = http2.request("POST", CHAT).await;
    assert_error(&answer, 400, "invalid_body", &[]);
    let answer = http1
        .send_raw(&raw_post(&["content-length: 0", "connection: close"], ""))
        .await;
    assert_error(&answer, 400, "invalid_body", &[]);
    assert_eq!(stage.upstream.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_any_framing_arrives_whole() {
    let stage = Stage::new().await;
    let body = super::question_of(300_000);
    for client in stage.clients() {
        for piece in [1_000, 16_384, 70_000] {
            let pieces: Vec<Bytes> = body.chunks(piece).map(Bytes::copy_from_slice).collect();
            let request = client.request("POST", CHAT).chunked_body(pieces);
            assert_eq!(request.await.status, 200);
            assert_eq!(stage.upstream.last_request().body, body);
        }
        assert_eq!(client.post(CHAT, body.clone()).await.status, 200);
        assert_eq!(stage.upstream.last_request().body, body);
        assert_eq!(
            stage.upstream.last_request().model().as_deref(),
            Some(MODEL)
        );
    }
    stage.wait_held(0).await;
}
