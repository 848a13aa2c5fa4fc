//! Two environments, two callers, and endpoints of three providers, each with a key of its own: no
//! upstream ever receives a credential that is not its own.

use crate::support::{Gateway, KEY, Received, Reply, SANDBOX_KEY, Setup, Upstream, bodies, secret};

use super::{CHAT, FALLBACK_SAYS, question};

const MESSAGES: &str = "/v1/messages";

/// Endpoints: its name, its provider, and the header in which its key is sent.
const ENDPOINTS: [(&str, &str, &str); 6] = [
    ("openai_live", "openai", "authorization"),
    ("azure_live", "azure-openai", "api-key"),
    ("anthropic_live", "anthropic", "x-api-key"),
    ("openai_test", "openai", "authorization"),
    ("azure_test", "azure-openai", "api-key"),
    ("anthropic_test", "anthropic", "x-api-key"),
];

/// Both environments have a chain of the `OpenAI` format over two providers, and one of Anthropic's
/// over two endpoints.
fn start(upstreams: &[Upstream; 6]) -> Gateway {
    let mut setup = Setup::new();
    for ((name, provider, _), upstream) in ENDPOINTS.iter().zip(upstreams) {
        let fields = format!("provider: {provider}");
        setup = setup.endpoint_with(name, &upstream.url(), &fields);
    }
    let chat = "production:
  target: {model: gpt, endpoint: openai_live}
  fallbacks: [{model: gpt-azure, endpoint: azure_live}]
sandbox:
  target: {model: gpt, endpoint: azure_test}
  fallbacks: [{model: gpt-openai, endpoint: openai_test}]";
    let messages = "production:
  target: {model: claude, endpoint: anthropic_live}
  fallbacks: [{model: claude-small, endpoint: anthropic_live}]
sandbox:
  target: {model: claude, endpoint: anthropic_test}
  fallbacks: [{model: claude-small, endpoint: anthropic_test}]";
    setup
        .policy("chat", chat)
        .other_policy("claude", messages)
        .operation(&format!("path: {MESSAGES}\npolicies: [claude]\ndefault_endpoint: {{production: anthropic_live, sandbox: anthropic_test}}"))
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: openai_live, sandbox: openai_test}")
        .operation("method: POST\npath: /v1/files\ndefault_endpoint: {production: azure_live, sandbox: azure_test}")
        .start()
}

/// The endpoint's key, in its provider's header, and nobody else's key anywhere.
fn assert_own(received: &Received, endpoint: (&str, &str, &str)) {
    let (name, _, header) = endpoint;
    let key = match header {
        "authorization" => format!("Bearer {}", secret(name)),
        _ => secret(name),
    };
    assert_eq!(received.headers.all(header), [key], "{name}: {received:?}");
    let everything = format!("{received:?}");
    let others = ENDPOINTS.iter().map(|(other, ..)| *other);
    for other in others.filter(|other| *other != name) {
        assert!(
            !everything.contains(&secret(other)),
            "{other}'s at {name}: {everything}"
        );
    }
    for client in [KEY, SANDBOX_KEY] {
        assert!(
            !everything.contains(client),
            "{client} at {name}: {everything}"
        );
    }
    for (_, _, other) in ENDPOINTS.iter().filter(|(_, _, other)| *other != header) {
        assert_eq!(received.header(other), None, "{name}: {received:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_upstream_receives_a_credential_that_is_not_its_own() {
    let upstreams = [
        Upstream::start().await,
        Upstream::start().await,
        Upstream::start().await,
        Upstream::start().await,
        Upstream::start().await,
        Upstream::start().await,
    ];
    for upstream in &upstreams {
        upstream.on_path(
            "/v1/models",
            Reply::json(200, &serde_json::json!({"data": []})),
        );
        upstream.on_path("/v1/files", Reply::status(201));
        upstream.on_model("gpt", Reply::status(500));
        upstream.on_model("claude", Reply::status(529));
        upstream.on_model("other", Reply::status(500));
        upstream.always(Reply::chat("any", FALLBACK_SAYS));
    }
    let gateway = start(&upstreams);
    for (key, environment) in [(KEY, "live"), (SANDBOX_KEY, "test")] {
        // The caller's key in each of the headers that could be mistaken for an endpoint's own.
        for (name, value) in [
            ("authorization", format!("Bearer {key}")),
            ("api-key", key.to_owned()),
            ("x-api-key", key.to_owned()),
        ] {
            let client = gateway.stranger().header(name, &value);
            let before: Vec<usize> = upstreams.iter().map(Upstream::count).collect();
            for (path, model, status) in [
                (CHAT, "gpt", 200),
                (MESSAGES, "claude", 200),
                (MESSAGES, "other", 500),
            ] {
                let answer = client.post(path, question(model)).await;
                assert_eq!(answer.status, status, "{answer:?}");
            }
            assert_eq!(client.get("/v1/models").await.status, 200);
            assert_eq!(client.post("/v1/files", "a file").await.status, 201);
            for ((name, ..), (upstream, before)) in
                ENDPOINTS.iter().zip(upstreams.iter().zip(before))
            {
                let reached = upstream.count() > before;
                assert_eq!(
                    reached,
                    name.ends_with(environment),
                    "{name} by {environment}"
                );
            }
        }
    }
    for (endpoint, upstream) in ENDPOINTS.into_iter().zip(&upstreams) {
        for received in upstream.requests() {
            assert_own(&received, endpoint);
        }
    }
}

/// Anthropic refuses requests without a version; the client's own wins.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_insists_on_is_added() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::json(
        200,
        &bodies::anthropic_message("claude", FALLBACK_SAYS),
    ));
    let gateway = Setup::new()
        .endpoint_with("anthropic", &upstream.url(), "provider: anthropic")
        .other_policy(
            "claude",
            "production:\n  target: {model: claude, endpoint: anthropic}\n  fallbacks: []",
        )
        .operation(&format!("path: {MESSAGES}\npolicies: [claude]"))
        .default_endpoint("anthropic")
        .start();
    let client = gateway.client();
    assert_eq!(client.post(MESSAGES, question("claude")).await.status, 200);
    assert_eq!(
        upstream.last_request().headers.all("anthropic-version"),
        ["2023-06-01"]
    );
    let request = client.post(MESSAGES, question("claude"));
    request.header("anthropic-version", "2030-01-01").await;
    assert_eq!(
        upstream.last_request().headers.all("anthropic-version"),
        ["2030-01-01"]
    );
}
