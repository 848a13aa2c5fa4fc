//! Amazon Bedrock: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html> and
//! its neighbours.

use serde_json::json;

use super::{Case, FIRST, SECOND, Stage};
use crate::support::{Reply, Step};

const JSON: &str = "application/json";

const CASES: [Case; 2] = [
    Case {
        path: "/model/MODEL/converse",
        body: r#"{"messages": [{"role": "user", "content": [{"text": "Write an article about impact of high inflation."}]}], "inferenceConfig": {"maxTokens": 1000}}"#,
        answer: (JSON, br#"{"metrics":{"latencyMs":1275},"output":{"message":{"content":[{"text":"Inflation"}],"role":"assistant"}},"stopReason":"end_turn","usage":{"inputTokens":125,"outputTokens":60,"totalTokens":185}}"#),
    },
    Case {
        path: "/model/MODEL/invoke",
        body: r#"{"anthropic_version": "bedrock-2023-05-31", "max_tokens": 512, "messages": []}"#,
        answer: (JSON, br#"{"id":"msg_bdrk_1","type":"message","role":"assistant","content":[{"type":"text","text":"Hi"}],"usage":{"input_tokens":1,"output_tokens":2}}"#),
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn operations_fail_over() {
    let stage = Stage::new("bedrock", "bedrock").await;
    for case in &CASES {
        for (status, body, reason) in [
            (
                429,
                r#"{"message":"Too many requests, please wait before trying again."}"#,
                "429",
            ),
            (
                400,
                r#"{"message":"The provided model identifier is invalid."}"#,
                "400:model_not_found",
            ),
            (
                400,
                r#"{"message":"Input is too long for requested model."}"#,
                "400:context_length_exceeded",
            ),
            (
                503,
                r#"{"message":"The service is currently unavailable."}"#,
                "503",
            ),
        ] {
            let header = ("authorization", "Bearer ");
            stage.check(case, (status, body), reason, header).await;
        }
    }
}

/// The kind of an error stands in a header.
#[tokio::test(flavor = "multi_thread")]
async fn the_kind_of_an_error_is_read_in_its_header() {
    let stage = Stage::new("bedrock", "bedrock").await;
    let client = stage.gateway.client();
    let request =
        |model: &str| client.post(&format!("/model/{model}/converse"), json!({"messages": []}));
    let error = |kind: &str| {
        let reply = Reply::json(400, &json!({"message": "Your request can't be served."}));
        reply.header(
            "x-amzn-errortype",
            &format!("{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"),
        )
    };
    let answer = "{\"output\":{}}";
    let reply = Reply::json(200, &json!({"output": {}}));
    let quota = error("ServiceQuotaExceededException");
    let reason = "400:ServiceQuotaExceededException";
    stage
        .fails_over(request, quota, reason, (reply, answer.as_bytes()))
        .await;
    // An ordinary one is the client's fault.
    stage.first.push(error("ValidationException"));
    let response = request(FIRST).await;
    assert_eq!(response.status, 400);
    assert_eq!(response.header("x-standin-attempts"), Some("1"));

    for upstream in [&stage.first, &stage.second] {
        upstream.push(Reply::status(429));
    }
    let response = request(FIRST).await;
    assert_eq!(
        response.header("x-amzn-errortype"),
        Some("ThrottlingException")
    );
    let body = response.json();
    assert_eq!(body["message"], body["error"]["message"]);
}

/// Amazon's streams are binary: they are passed on from their first bytes, and until then there is
/// another target.
#[tokio::test(flavor = "multi_thread")]
async fn a_binary_stream_is_passed_on_from_its_first_bytes() {
    let stage = Stage::new("bedrock", "bedrock").await;
    let client = stage.gateway.client();
    let kind = "application/vnd.amazon.eventstream";
    for (operation, gate) in [
        ("converse-stream", "first piece"),
        ("invoke-with-response-stream", "another"),
    ] {
        let stream = Reply::status(200).header("content-type", kind);
        stage
            .first
            .push(stream.clone().chunked(Vec::<Vec<u8>>::new()));
        let pieces = [&b"\0\0\0\x10first"[..], b"second"];
        let reply = stream.chunked(pieces).before_write(1, Step::Gate(gate));
        stage.second.push(reply);
        let path = |model: &str| format!("/model/{model}/{operation}");
        let mut response = client.open(&path(FIRST), json!({"messages": []})).await;
        assert_eq!(
            response.header("x-standin-failover"),
            Some("first/first-model=empty_stream")
        );
        assert_eq!(response.header("content-type"), Some(kind));
        assert_eq!(response.next_chunk().await.unwrap().data, pieces[0]);
        stage.second.open(gate);
        let rest = response.rest().await;
        assert!(rest.complete);
        assert_eq!(stage.second.last_request().target, path(SECOND));
    }
}
