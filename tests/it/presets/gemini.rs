//! Gemini: <https://ai.google.dev/api/generate-content>, `/embeddings`, `/tokens`, and
//! <https://ai.google.dev/gemini-api/docs/troubleshooting> for the errors.

use serde_json::json;

use super::{Case, FIRST, Stage};
use crate::support::Reply;

const JSON: &str = "application/json; charset=UTF-8";

const CASES: [Case; 5] = [
    Case {
        path: "/v1beta/models/MODEL:generateContent",
        body: r#"{"contents": [{"parts":[{"text": "Write a story about a magic \"model\"."}]}]}"#,
        answer: (JSON, br#"{"candidates":[{"content":{"parts":[{"text":"Once upon a time"}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":4,"totalTokenCount":12},"modelVersion":"gemini-2.5-flash","responseId":"x"}"#),
    },
    Case {
        path: "/v1beta/models/MODEL:embedContent",
        body: r#"{"model": "models/MODEL", "content": {"parts":[{"text": "Hello world"}]}}"#,
        answer: (JSON, br#"{"embedding":{"values":[0.013168523,-0.008711934]}}"#),
    },
    Case {
        path: "/v1beta/models/MODEL:batchEmbedContents",
        body: r#"{"requests": [{"model": "models/MODEL", "content": {"parts":[{"text": "What is the meaning of life?"}]}}, {"model": "models/MODEL", "content": {"parts":[{"text": "model"}]}}]}"#,
        answer: (JSON, br#"{"embeddings":[{"values":[-0.010632273]},{"values":[0.018467998]}]}"#),
    },
    Case {
        path: "/v1beta/models/MODEL:countTokens",
        body: r#"{"contents": [{"parts":[{"text": "The quick brown fox jumps over the lazy dog."}]}]}"#,
        answer: (JSON, br#"{"totalTokens":10,"promptTokensDetails":[{"modality":"TEXT","tokenCount":10}]}"#),
    },
    Case {
        path: "/v1beta/models/MODEL:countTokens",
        body: r#"{"generateContentRequest": {"model": "models/MODEL", "contents": [{"parts":[{"text": "Hi"}]}]}}"#,
        answer: (JSON, br#"{"totalTokens":1}"#),
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn operations_fail_over() {
    let stage = Stage::new("gemini", "gemini").await;
    let exhausted = r#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"38s"}]}}"#;
    let overloaded = r#"{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}"#;
    let key = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
    for case in &CASES {
        let header = ("x-goog-api-key", "");
        stage.check(case, (429, exhausted), "429", header).await;
        stage.check(case, (503, overloaded), "503", header).await;
        stage
            .check(case, (400, key), "400:API_KEY_INVALID", header)
            .await;
    }
}

const STREAM: &str = "/v1beta/models/MODEL:streamGenerateContent?alt=sse";

#[tokio::test(flavor = "multi_thread")]
async fn streams_fail_over_before_their_first_content() {
    let stage = Stage::new("gemini", "gemini").await;
    stage
        .check_stream(
            STREAM,
            r#"{"contents": [{"parts":[{"text": "Hi"}]}]}"#,
            "data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded.\",\"status\":\"UNAVAILABLE\"}}\n\n",
            &[
                "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Hello\"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 2,\"totalTokenCount\": 2},\"modelVersion\": \"gemini-2.5-flash\",\"responseId\": \"x\"}\r\n\r\n",
                "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"!\"}],\"role\": \"model\"},\"finishReason\": \"STOP\",\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 2,\"candidatesTokenCount\": 2,\"totalTokenCount\": 4},\"modelVersion\": \"gemini-2.5-flash\",\"responseId\": \"x\"}\r\n\r\n",
            ],
        )
        .await;
}

/// A stream that breaks ends with an error that Gemini's SDKs raise on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_ends_with_gemini_s_error() {
    let stage = Stage::new("gemini", "gemini").await;
    let chunk = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Hello\"}]},\"index\": 0}]}\n\n";
    stage.first.push(Reply::sse([chunk]));
    let request = stage.gateway.client();
    let response = request
        .post(&STREAM.replace("MODEL", FIRST), json!({"contents": []}))
        .await;
    assert_eq!(response.status, 200);
    assert!(!response.complete);
    let rest = response.text().strip_prefix(chunk).unwrap();
    assert!(
        rest.starts_with("data: {\"error\":{\"code\":502,"),
        "{rest}"
    );
    assert_eq!(stage.second.count(), 0);
}

/// When all has failed the error has Gemini's shape, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_gateway_s_own_has_gemini_s_shape() {
    let stage = Stage::new("gemini", "gemini").await;
    for upstream in [&stage.first, &stage.second] {
        upstream.push(Reply::status(429));
    }
    let path = format!("/v1beta/models/{FIRST}:generateContent");
    let response = stage
        .gateway
        .client()
        .post(&path, json!({"contents": []}))
        .await;
    assert_eq!(response.status, 429);
    let error = &response.json()["error"];
    assert_eq!(error["code"], 429);
    assert_eq!(error["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(error["reason"], "all_targets_failed");
    assert_eq!(error["attempts"].as_array().unwrap().len(), 2);
    // Callers' keys come as Google's clients send them.
    let asked = stage
        .gateway
        .stranger()
        .post(&path, json!({"contents": []}));
    assert_eq!(asked.await.status, 401);
    stage
        .first
        .push(Reply::json(200, &json!({"candidates": []})));
    let asked = stage
        .gateway
        .stranger()
        .post(&path, json!({"contents": []}));
    let answer = asked.header("x-goog-api-key", crate::support::KEY).await;
    assert_eq!(answer.status, 200);
}
