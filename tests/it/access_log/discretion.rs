//! What no line may hold: a key, a prompt, an answer, a header, a query.

use serde_json::json;

use super::{CHAT, lines};
use crate::support::{KEY, Reply, SANDBOX_KEY, Setup, Step, Upstream, bodies, secret};

/// Stands in everything that a line must not tell.
const UNSPEAKABLE: &str = "zq7Xunspeakable";

#[tokio::test(flavor = "multi_thread")]
async fn no_line_holds_a_key_a_prompt_or_a_query() {
    let upstream = Upstream::start().await;
    let key = secret("openai");
    let words = format!("{UNSPEAKABLE} {key} said {KEY}");
    let leaky = |reply: Reply| {
        reply
            .header("x-leak", UNSPEAKABLE)
            .header("x-request-id", UNSPEAKABLE)
            .header("set-cookie", UNSPEAKABLE)
    };
    let error = bodies::openai_error(UNSPEAKABLE, Some(UNSPEAKABLE), &words);
    upstream.on_model("well", leaky(Reply::chat("well", &words)));
    upstream.on_model("broken", leaky(Reply::json(500, &error)));
    upstream.on_model("faulty", leaky(Reply::json(400, &error)));
    upstream.on_model("refusing", leaky(Reply::json(401, &error)));
    upstream.on_model(
        "streaming",
        leaky(Reply::chat_stream("streaming", &[&words])),
    );
    let cut = bodies::chat_events("cut", &[&words])[..2].to_vec();
    upstream.on_model("cut", leaky(Reply::sse(cut).then(Step::Close)));
    upstream.on_model("unnamed", leaky(Reply::json(500, &error)));
    upstream.on_path("/v1/models", leaky(Reply::json(500, &error)));
    let policy = |model| {
        format!(
            "production: {{target: {{model: {model}, endpoint: openai}}, fallbacks: []}}\nstream_rescue: off"
        )
    };
    let mut setup = Setup::new()
        .endpoint("openai", &upstream.url())
        .default_endpoint("openai")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: openai}");
    for model in ["well", "broken", "faulty", "refusing", "streaming", "cut"] {
        setup = setup.policy(model, &policy(model));
    }
    let gateway = setup.start();
    let client = gateway
        .client()
        .header("cookie", UNSPEAKABLE)
        .header("x-request-id", UNSPEAKABLE)
        .header("user-agent", UNSPEAKABLE)
        .header("x-anything", UNSPEAKABLE);
    let query = |path: &str| format!("{path}?key={UNSPEAKABLE}&token={KEY}");
    let ask = |model: &str| {
        json!({
            "model": model,
            "messages": [{"role": "user", "content": words}],
            "user": UNSPEAKABLE,
        })
    };
    let mut count = 0;
    for model in [
        "well",
        "broken",
        "faulty",
        "refusing",
        "streaming",
        "cut",
        "unnamed",
    ] {
        client.post(&query(CHAT), ask(model)).await;
        count += 1;
    }
    let broken_json = format!("{{\"model\": \"well\", \"{UNSPEAKABLE}\": ");
    for request in [
        client.get(&query("/v1/models")),
        client.get(&query("/nowhere")),
        client.get(&query(CHAT)),
        client.post(&query(CHAT), &*broken_json),
        client.post(CHAT, json!({"messages": words})),
        client
            .post(CHAT, ask("well"))
            .header("content-encoding", UNSPEAKABLE),
        client
            .post(CHAT, &*ask("well").to_string())
            .header("content-type", UNSPEAKABLE),
        gateway
            .stranger()
            .post(&query(CHAT), ask("well"))
            .key(UNSPEAKABLE),
        gateway
            .stranger()
            .post(&query(CHAT), ask("well"))
            .header("x-api-key", UNSPEAKABLE),
        gateway.sandbox().post(&query(CHAT), ask("unnamed")),
    ] {
        request.await;
        count += 1;
    }
    let lines = gateway.wait_log(count).await;
    assert_eq!(lines.len(), count);
    let text = gateway.log_text();
    for secret in [
        UNSPEAKABLE,
        KEY,
        SANDBOX_KEY,
        &key,
        "secret-of",
        "Bearer",
        "?",
    ] {
        assert!(!text.contains(secret), "{secret} in:\n{text}");
    }
}

/// A client names its model itself: whatever it writes there stays within its line.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_can_t_forge_a_line() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("m", "Hello."));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .default_endpoint("openai")
        .chain(&[("m", "openai")], "")
        .start();
    let names = [
        "x\",\"caller\":\"admin",
        "x\n{\"time\":\"2026-01-01T00:00:00.000Z\"}",
        "x\r\u{2028}\u{0}\u{7f}\u{1b}[31m",
        "\\",
        "模型 🙂",
    ];
    let mut answers = Vec::new();
    for name in names {
        answers.push(gateway.client().post(CHAT, json!({"model": name})).await);
    }
    let lines = lines(&gateway, &answers).await;
    let told: Vec<_> = lines
        .iter()
        .map(|line| line["model"].as_str().unwrap())
        .collect();
    assert_eq!(told, names);
    assert!(lines.iter().all(|line| line["caller"] == "shop"));
    let text = gateway.log_text();
    assert!(
        text.chars().all(|char| char == '\n' || !char.is_control()),
        "{text:?}"
    );
}
