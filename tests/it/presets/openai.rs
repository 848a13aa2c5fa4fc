//! OpenAI: <https://platform.openai.com/docs/api-reference>, each operation's first example.

use super::{Case, FIRST, SECOND, Stage};
use crate::support::Reply;

const JSON: &str = "application/json";

const CASES: [Case; 8] = [
    Case {
        path: "/v1/chat/completions",
        body: r#"{"model": "MODEL", "messages": [{"role": "developer", "content": "You are a helpful assistant."}, {"role": "user", "content": "Hello!"}]}"#,
        answer: (JSON, br#"{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion","created":1741569952,"model":"gpt-5.4","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I assist you today?","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29},"service_tier":"default"}"#),
    },
    Case {
        path: "/v1/completions",
        body: r#"{"model": "MODEL", "prompt": "Say this is a test", "max_tokens": 7, "temperature": 0}"#,
        answer: (JSON, br#"{"id":"cmpl-uqkvlQyYK7bGYrRHQ0eXlWi7","object":"text_completion","created":1589478378,"model":"gpt-3.5-turbo-instruct","system_fingerprint":"fp_44709d6fcb","choices":[{"text":"\n\nThis is indeed a test","index":0,"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#),
    },
    Case {
        path: "/v1/responses",
        body: r#"{"model": "MODEL", "input": "Tell me a three sentence bedtime story about a unicorn."}"#,
        answer: (JSON, br#"{"id":"resp_67ccd2bed1ec8190","object":"response","created_at":1741476542,"status":"completed","error":null,"incomplete_details":null,"model":"gpt-4.1","output":[{"type":"message","id":"msg_67ccd2bf17f0","status":"completed","role":"assistant","content":[{"type":"output_text","text":"In a peaceful grove...","annotations":[]}]}],"usage":{"input_tokens":36,"output_tokens":87,"total_tokens":123}}"#),
    },
    Case {
        path: "/v1/embeddings",
        body: r#"{"input": "The food was delicious and the waiter...", "model": "MODEL", "encoding_format": "float"}"#,
        answer: (JSON, br#"{"object":"list","data":[{"object":"embedding","embedding":[0.0023064255,-0.009327292,-0.0028842222],"index":0}],"model":"text-embedding-ada-002","usage":{"prompt_tokens":8,"total_tokens":8}}"#),
    },
    Case {
        path: "/v1/moderations",
        body: r#"{"model": "MODEL", "input": "I want to kill them."}"#,
        answer: (JSON, br#"{"id":"modr-AB8CjOTu2jiq12hp1AQPfeqFWaORR","model":"text-moderation-007","results":[{"flagged":true,"categories":{"violence":true},"category_scores":{"violence":0.99}}]}"#),
    },
    Case {
        path: "/v1/images/generations",
        body: r#"{"model": "MODEL", "prompt": "A cute baby sea otter", "n": 1, "size": "1024x1024"}"#,
        answer: (JSON, br#"{"created":1713833628,"data":[{"b64_json":"iVBORw0KGgo="}],"usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50}}"#),
    },
    // It may come as JSON, too.
    Case {
        path: "/v1/images/edits",
        body: r#"{"model": "MODEL", "prompt": "Add a hat", "images": [{"file_id": "file-abc"}]}"#,
        answer: (JSON, br#"{"created":1713833628,"data":[{"b64_json":"iVBORw0KGgo="}]}"#),
    },
    // The answer is sound, and no JSON.
    Case {
        path: "/v1/audio/speech",
        body: r#"{"model": "MODEL", "input": "The quick brown fox jumped over the lazy dog.", "voice": "alloy"}"#,
        answer: ("audio/mpeg", b"\xff\xfb\x90\x64\0{\"cut"),
    },
];

/// What OpenAI answers to an unknown model.
const UNKNOWN_MODEL: &str = r#"{"error":{"message":"The model `first-model` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn json_operations_fail_over() {
    let stage = Stage::new("openai", "openai").await;
    let key = ("authorization", "Bearer ");
    for case in &CASES {
        stage.check(case, (404, UNKNOWN_MODEL), "404", key).await;
        let quota = UNKNOWN_MODEL.replace("model_not_found", "insufficient_quota");
        stage.check(case, (429, &quota), "429", key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_fail_over_before_their_first_content() {
    let stage = Stage::new("openai", "openai").await;
    let error = "data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n";
    stage
        .check_stream(
            "/v1/chat/completions",
            r#"{"model": "MODEL", "messages": [], "stream": true}"#,
            error,
            &[
                "data: {\"id\":\"chatcmpl-123\",\"object\":\"chat.completion.chunk\",\"created\":1694268190,\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                "data: {\"id\":\"chatcmpl-123\",\"object\":\"chat.completion.chunk\",\"created\":1694268190,\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                "data: {\"id\":\"chatcmpl-123\",\"object\":\"chat.completion.chunk\",\"created\":1694268190,\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n",
                "data: [DONE]\n\n",
            ],
        )
        .await;
    stage
        .check_stream(
            "/v1/responses",
            r#"{"model": "MODEL", "input": "Hello!", "stream": true}"#,
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":1,\"response\":{\"id\":\"resp_1\",\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"The model failed\"}}}\n\n",
            &[
                "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_2\",\"status\":\"in_progress\"}}\n\n",
                "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"Hi\"}\n\n",
                "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":2,\"response\":{\"id\":\"resp_2\",\"status\":\"completed\"}}\n\n",
            ],
        )
        .await;
    // Of these nothing is known but that they are events, and what an error is.
    stage
        .check_stream(
            "/v1/audio/speech",
            r#"{"model": "MODEL", "input": "Hello!", "voice": "alloy", "stream_format": "sse"}"#,
            error,
            &[
                "data: {\"type\":\"speech.audio.delta\",\"audio\":\"AAAA\"}\n\n",
                "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":1,\"output_tokens\":2,\"total_tokens\":3}}\n\n",
            ],
        )
        .await;
    stage
        .check_stream(
            "/v1/images/generations",
            r#"{"model": "MODEL", "prompt": "An otter", "stream": true, "partial_images": 1}"#,
            error,
            &[
                "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"partial_image_index\":0,\"b64_json\":\"AAAA\"}\n\n",
                "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"AAAA\"}\n\n",
            ],
        )
        .await;
}

/// Transcriptions and translations may be answered with text, and images are edited by forms.
#[tokio::test(flavor = "multi_thread")]
async fn forms_fail_over() {
    let stage = Stage::new("openai", "openai").await;
    let client = stage.gateway.client();
    for (path, kind, answer) in [
        (
            "/v1/audio/transcriptions",
            "application/json",
            "{\"text\":\"Imagine the wildest idea\"}",
        ),
        (
            "/v1/audio/transcriptions",
            "text/plain; charset=utf-8",
            "1\n00:00:00,000 --> 00:00:01,000\nHello {\n",
        ),
        (
            "/v1/audio/translations",
            "application/json",
            "{\"text\":\"Hello\"}",
        ),
        (
            "/v1/images/edits",
            "application/json",
            "{\"created\":1713833628,\"data\":[{\"b64_json\":\"AAAA\"}]}",
        ),
        (
            "/v1/images/variations",
            "application/json",
            "{\"created\":1589478378,\"data\":[{\"url\":\"https://example.com\"}]}",
        ),
    ] {
        let form = |model: &str| {
            format!(
                "--0123abc\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--0123abc\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\nID3\0model\r\n--0123abc--\r\n"
            )
        };
        let request = |model: &str| {
            let request = client.post(path, &*form(model));
            request.header("content-type", "multipart/form-data; boundary=0123abc")
        };
        let failure = Reply::status(503).body("upstream connect error");
        let reply = Reply::status(200).header("content-type", kind).body(answer);
        let sent = (reply, answer.as_bytes());
        let (_, received) = stage.fails_over(request, failure, "503", sent).await;
        assert_eq!(received[0].body, form(FIRST));
        assert_eq!(received[1].body, form(SECOND));
    }
}
