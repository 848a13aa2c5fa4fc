//! Azure OpenAI: <https://learn.microsoft.com/azure/ai-foundry/openai/reference>, data plane inference.

use super::{Case, FIRST, SECOND, Stage};
use crate::support::Reply;

const JSON: &str = "application/json";

const CASES: [Case; 5] = [
    Case {
        path: "/openai/deployments/MODEL/chat/completions?api-version=2024-10-21",
        body: r#"{"messages":[{"role":"user","content":"Does Azure OpenAI support customer managed keys?"}]}"#,
        answer: (JSON, br#"{"id":"chatcmpl-6v7mkQj980V1yBec6ETrKPRqFjNw9","object":"chat.completion","created":1679072642,"model":"gpt-35-turbo","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}],"choices":[{"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop","index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}],"usage":{"prompt_tokens":58,"completion_tokens":68,"total_tokens":126}}"#),
    },
    Case {
        path: "/openai/deployments/MODEL/completions?api-version=2024-10-21",
        body: r#"{"prompt": ["tell me a joke about mango"], "max_tokens": 32}"#,
        answer: (JSON, br#"{"id":"cmpl-7QmVI15qgYVllxK0FtxVGG6ywfzaq","object":"text_completion","created":1686617332,"choices":[{"text":"es\n\nWhat do you call a mango who's in charge?","index":0,"finish_reason":"stop","logprobs":null}],"usage":{"completion_tokens":20,"prompt_tokens":6,"total_tokens":26}}"#),
    },
    // Its SDKs send the model in the body as well.
    Case {
        path: "/openai/deployments/MODEL/embeddings?api-version=2024-10-21",
        body: r#"{"input": ["this is a test"], "model": "MODEL"}"#,
        answer: (JSON, br#"{"object":"list","model":"ada","data":[{"object":"embedding","embedding":[0.018990106],"index":0}],"usage":{"prompt_tokens":9,"total_tokens":9}}"#),
    },
    Case {
        path: "/openai/deployments/MODEL/images/generations?api-version=2024-10-21",
        body: r#"{"prompt": "In the style of WordArt, Microsoft Clippy wearing a cowboy hat.", "n": 1}"#,
        answer: (JSON, br#"{"created":1698342300,"data":[{"revised_prompt":"Clippy","url":"https://dalletipusw2.blob.core.windows.net/x"}]}"#),
    },
    Case {
        path: "/openai/deployments/MODEL/audio/speech?api-version=2025-04-01-preview",
        body: r#"{"input": "Hi! What are you going to make?", "voice": "fable", "response_format": "mp3"}"#,
        answer: ("audio/mpeg", b"ID3\x04\0"),
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn deployments_fail_over() {
    let stage = Stage::new("azure-openai", "azure-openai").await;
    let missing = r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."}}"#;
    let limited = r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate limit. Please retry after 6 seconds."}}"#;
    for case in &CASES {
        stage
            .check(case, (404, missing), "404", ("api-key", ""))
            .await;
        stage
            .check(case, (429, limited), "429", ("api-key", ""))
            .await;
    }
}

/// Forms: the deployment is in the path, and the form is passed on as it came.
#[tokio::test(flavor = "multi_thread")]
async fn forms_fail_over() {
    let stage = Stage::new("azure-openai", "azure-openai").await;
    let client = stage.gateway.client();
    let form = "--X\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\0\r\n--X--\r\n";
    let answer = br#"{"text":"Hello"}"#;
    for operation in ["images/edits", "audio/transcriptions", "audio/translations"] {
        let path =
            |model: &str| format!("/openai/deployments/{model}/{operation}?api-version=2024-10-21");
        let request = |model: &str| {
            let request = client.post(&path(model), form);
            request.header("content-type", "multipart/form-data; boundary=X")
        };
        let failure = Reply::status(503);
        let reply = Reply::status(200)
            .header("content-type", JSON)
            .body(&answer[..]);
        let (_, received) = stage
            .fails_over(request, failure, "503", (reply, answer))
            .await;
        for (received, model) in received.iter().zip([FIRST, SECOND]) {
            assert_eq!(received.target, path(model));
            assert_eq!(received.body, form);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_fail_over_before_their_first_content() {
    let stage = Stage::new("azure-openai", "azure-openai").await;
    stage
        .check_stream(
            "/openai/deployments/MODEL/chat/completions?api-version=2024-10-21",
            r#"{"messages":[{"role":"user","content":"Hi"}],"stream":true}"#,
            "data: {\"error\":{\"code\":\"InternalServerError\",\"message\":\"Backend returned unexpected response.\"}}\n\n",
            &[
                // Azure's streams begin with what its filter says of the prompt.
                "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":{}}]}\n\n",
                "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\",\"role\":\"assistant\"},\"finish_reason\":null,\"index\":0}],\"created\":1,\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o\",\"object\":\"chat.completion.chunk\"}\n\n",
                "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"index\":0}],\"created\":1,\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o\",\"object\":\"chat.completion.chunk\"}\n\n",
                "data: [DONE]\n\n",
            ],
        )
        .await;
}
