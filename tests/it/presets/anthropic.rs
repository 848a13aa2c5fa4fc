//! Anthropic: <https://platform.claude.com/docs/en/api/messages>, `/count_tokens`, `/errors` and
//! `/messages-streaming`.

use super::{Case, Stage};

const JSON: &str = "application/json";

const CASES: [Case; 2] = [
    Case {
        path: "/v1/messages",
        body: r#"{"model": "MODEL", "max_tokens": 1024, "messages": [{"role": "user", "content": "Hello, world"}]}"#,
        answer: (JSON, br#"{"id":"msg_013Zva2CMHLNnXjNJJKqJ2EF","type":"message","role":"assistant","content":[{"type":"text","text":"Hi! My name is Claude."}],"model":"claude-opus-4-6","stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":2095,"output_tokens":503}}"#),
    },
    Case {
        path: "/v1/messages/count_tokens",
        body: r#"{"model": "MODEL", "messages": [{"role": "user", "content": "Hello, world"}]}"#,
        answer: (JSON, br#"{"input_tokens":2095}"#),
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn operations_fail_over() {
    let stage = Stage::new("anthropic", "anthropic").await;
    let error = |kind: &str| {
        format!(
            "{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"Overloaded\"}},\"request_id\":\"req_011CSHoEeqs5C35K2UUqR7Fy\"}}"
        )
    };
    for case in &CASES {
        let key = ("x-api-key", "");
        let overloaded = error("overloaded_error");
        stage.check(case, (529, &overloaded), "529", key).await;
        let unknown = error("not_found_error");
        stage.check(case, (404, &unknown), "404", key).await;
        assert_eq!(
            stage.second.last_request().header("anthropic-version"),
            Some("2023-06-01")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_fail_over_before_their_first_content() {
    let stage = Stage::new("anthropic", "anthropic").await;
    stage
        .check_stream(
            "/v1/messages",
            r#"{"model": "MODEL", "max_tokens": 256, "stream": true, "messages": [{"role": "user", "content": "Hello"}]}"#,
            "event: error\ndata: {\"type\": \"error\", \"error\": {\"type\": \"overloaded_error\", \"message\": \"Overloaded\"}}\n\n",
            &[
                "event: message_start\ndata: {\"type\": \"message_start\", \"message\": {\"id\": \"msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY\", \"type\": \"message\", \"role\": \"assistant\", \"content\": [], \"model\": \"claude-opus-4-6\", \"stop_reason\": null, \"stop_sequence\": null, \"usage\": {\"input_tokens\": 25, \"output_tokens\": 1}}}\n\n",
                "event: content_block_start\ndata: {\"type\": \"content_block_start\", \"index\": 0, \"content_block\": {\"type\": \"text\", \"text\": \"\"}}\n\n",
                "event: ping\ndata: {\"type\": \"ping\"}\n\n",
                "event: content_block_delta\ndata: {\"type\": \"content_block_delta\", \"index\": 0, \"delta\": {\"type\": \"text_delta\", \"text\": \"Hello\"}}\n\n",
                "event: content_block_stop\ndata: {\"type\": \"content_block_stop\", \"index\": 0}\n\n",
                "event: message_delta\ndata: {\"type\": \"message_delta\", \"delta\": {\"stop_reason\": \"end_turn\", \"stop_sequence\":null}, \"usage\": {\"output_tokens\": 15}}\n\n",
                "event: message_stop\ndata: {\"type\": \"message_stop\"}\n\n",
            ],
        )
        .await;
}
