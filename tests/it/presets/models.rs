//! Which models there are, as the gateway tells it.

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Setup};

fn gateway() -> Gateway {
    let chain = |target: &str, endpoint: &str, fields: &str| {
        format!("production:\n  target: {{model: {target}, endpoint: {endpoint}}}\n{fields}")
    };
    let named = chain(
        "gpt-4o",
        "openai",
        "match: [gpt-4o, fast]\nsandbox:\n  target: {model: gpt-4o-mini, endpoint: openai}",
    );
    let all = chain(
        "gpt-5",
        "openai",
        "  fallbacks: [{model: gpt-4o, endpoint: openai}, {model: o9, endpoint: openai}]\nmatch: [\"gpt-*\"]",
    );
    Setup::new()
        .endpoint_with("openai", "http://127.0.0.1:9", "provider: openai")
        .endpoint_with("anthropic", "http://127.0.0.1:9", "provider: anthropic")
        .endpoint_with("gemini", "http://127.0.0.1:9", "provider: gemini")
        .other_policy("named", &named)
        .other_policy("all", &all)
        .other_policy("claude", &chain("claude-opus", "anthropic", ""))
        .other_policy("gemini", &chain("gemini-pro", "gemini", ""))
        .preset("openai", "policies: [named, all]")
        .preset("anthropic", "policies: [claude]")
        .preset("gemini", "policies: [gemini]")
        .start()
}

async fn ids(client: &Client, path: &str, list: &str, id: &str) -> Vec<String> {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-standin-attempts"), Some("0"));
    let models = answer.json()[list].as_array().unwrap().clone();
    models
        .iter()
        .map(|model| model[id].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_of_the_caller_s_environment_are_listed() {
    let gateway = gateway();
    let production = gateway.client();
    // `o9` is no name that the pattern matches.
    let listed = ids(&production, "/v1/models", "data", "id").await;
    assert_eq!(listed, ["fast", "gpt-4o", "gpt-5"]);
    let listed = ids(&gateway.sandbox(), "/v1/models", "data", "id").await;
    assert_eq!(listed, ["fast", "gpt-4o"]);
    let anthropic = gateway.client().header("anthropic-version", "2023-06-01");
    assert_eq!(
        ids(&anthropic, "/v1/models", "data", "id").await,
        ["claude-opus"]
    );
    let listed = ids(&production, "/v1beta/models", "models", "name").await;
    assert_eq!(listed, ["models/gemini-pro"]);
    // Google's SDKs ask below /v1, too.
    let gemini = gateway
        .stranger()
        .header("x-goog-api-key", crate::support::KEY);
    let listed = ids(&gemini, "/v1/models", "models", "name").await;
    assert_eq!(listed, ["models/gemini-pro"]);
    assert_eq!(gateway.stranger().get("/v1/models").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_model_is_told_of_in_each_api_s_shape() {
    let gateway = gateway();
    let (openai, sandbox) = (gateway.client(), gateway.sandbox());
    let anthropic = gateway.client().header("anthropic-version", "2023-06-01");
    let told = |client: &Client, path: &str| {
        let request = client.get(path);
        async move {
            let answer = request.await;
            (answer.status, answer.json())
        }
    };
    let gpt = json!({"id": "gpt-x/1", "object": "model", "created": 0, "owned_by": "standin"});
    assert_eq!(told(&openai, "/v1/models/gpt-x%2F1").await, (200, gpt));
    let claude = json!({"type": "model", "id": "claude-opus", "display_name": "claude-opus", "created_at": "1970-01-01T00:00:00Z"});
    assert_eq!(
        told(&anthropic, "/v1/models/claude-opus").await,
        (200, claude)
    );
    let (status, gemini): (u16, Value) = told(&openai, "/v1beta/models/gemini-pro").await;
    assert_eq!(
        (status, &gemini["name"]),
        (200, &json!("models/gemini-pro"))
    );
    let methods = [
        "generateContent",
        "streamGenerateContent",
        "embedContent",
        "batchEmbedContents",
        "countTokens",
    ];
    assert_eq!(gemini["supportedGenerationMethods"], json!(methods));
    for (client, path) in [
        (&openai, "/v1/models/claude-opus"),
        (&anthropic, "/v1/models/gpt-4o"),
        (&sandbox, "/v1/models/gpt-x"),
        (&openai, "/v1beta/models/gpt-4o"),
    ] {
        assert_eq!(told(client, path).await.0, 404, "{path}");
    }
}
