//! Azure OpenAI: <https://learn.microsoft.com/azure/ai-foundry/openai/reference>, data plane inference.

use super::{Case, Stage};

const JSON: &str = "application/json";

const CASES: [Case; 4] = [
    Case {
        path: "/openai/deployments/MODEL/chat/completions?api-version=2024-10-21",
        body: r#"{"messages":[{"role":"user","content":"Does Azure OpenAI support customer managed keys?"}]}"#,
        answer: (JSON, br#"{"id":"chatcmpl-6v7mkQj980V1yBec6ETrKPRqFjNw9","object":"chat.completion","created":1679072642,"model":"gpt-35-turbo","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}],"choices":[{"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop","index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}],"usage":{"prompt_tokens":58,"completion_tokens":68,"total_tokens":126}}"#),
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
